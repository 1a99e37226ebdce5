"""What DINOv2 sees: patch features of a photograph as colours (their first three components).

python examples/07_dinov2_features.py dinov2_vits14_pretrain.pth

Without a file the published weights are downloaded.
"""

import sys
from pathlib import Path

import torch

import rangemask as rm
from rangemask.data.samples import motorcycle
from rangemask.structures.images import write_image

frame, _ = motorcycle()
backbone = rm.load_backbone("dinov2-small", checkpoint=sys.argv[1] if len(sys.argv) > 1 else None)
images = torch.from_numpy(frame.left).permute(2, 0, 1)[None] / 255
with torch.inference_mode():
    (last,) = backbone.intermediate(images, layers=(11,), fit="resize")

vectors = last[0].flatten(1).T.double()
vectors = vectors - vectors.mean(dim=0)
_, _, axes = torch.linalg.svd(vectors, full_matrices=False)
colours = vectors @ axes[:3].T
low, high = colours.quantile(0.02, dim=0), colours.quantile(0.98, dim=0)
picture = ((colours - low) / (high - low)).clamp(0, 1).mul(255).byte()
folder = Path("outputs")
folder.mkdir(exist_ok=True)
picture = picture.view(*last.shape[-2:], 3).repeat_interleave(14, 0).repeat_interleave(14, 1)
write_image(folder / "features.png", picture.numpy())
print(f"{tuple(last.shape)} features -> {folder / 'features.png'}")
