"""SAM 2.1 on random weights: encoding, one prompt, and everything in an image.

    python benchmarks/sam2.py [--size tiny] [--threads 2] [--points 32] [--width 1920]
                              [--height 1080] [--device cpu] [--json FILE]

``automatic`` decodes a grid of points in batches on one embedding, judges masks at low resolution
and brings only what it keeps to full size. ``loop`` is the plain way: every point alone, its three
masks at full size, all kept until the end; it has ``--loop-points`` points a side, since it takes
so long, and is compared per point. Neither filters by score, which means nothing with random
weights, so that every mask lives until the repetitions are thrown out.

Every column is a process of its own. Memory is its largest resident size, above that with the
weights loaded and the image encoded.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torchvision.ops import masks_to_boxes, nms
from transformers import Sam2Model

from rangemask.backends.masks.sam2 import Sam2MasksConfig, Sam2Segmenter
from rangemask.models.sam2.presets import PREFIX, SIZES, image_config
from rangemask.models.sam2.prompting import decode, stability
from rangemask.structures import Passport, StereoFrame
from rangemask.structures.masks import encode_masks

COLUMNS = ("encode", "prompt", "automatic", "loop")
KIB = 1 << 10


def main() -> None:
    options = _options()
    if options.only:
        print(json.dumps(measure(options)))
        return
    rows = {}
    for column in COLUMNS:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", column]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        rows[column] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"sam2.1-{options.size}, {options.width} x {options.height} px, {options.threads} threads"
    )
    print(f"{'':>10} {'s':>8} {'points':>7} {'ms a point':>11} {'masks':>6} {'MiB':>7}")
    for column, row in rows.items():
        each = f"{1000 * row['s'] / row['points']:.1f}" if row["points"] else ""
        print(
            f"{column:>10} {row['s']:8.2f} {row['points']:7d} {each:>11} {row['masks']:6d} "
            f"{row['mib']:7.0f}"
        )
    fast, slow = rows["automatic"], rows["loop"]
    ratio = (slow["s"] / slow["points"]) / (fast["s"] / fast["points"])
    print(f"a point in the loop costs {ratio:.1f} times as much as one in the grid")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--loop-points", type=int, default=8)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=COLUMNS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    segmenter = _segmenter(options)
    image = _picture(options.height, options.width)
    encoded = segmenter.encode(image)
    encoded.predict([[(5, 5)]])
    before = _peak_kib()
    if options.only == "encode":
        seconds, points, masks = _best(lambda: segmenter.encode(image), options), 0, 0
    elif options.only == "prompt":
        seconds, points, masks = _best(lambda: encoded.predict([[(50, 50)]]), options), 1, 1
    elif options.only == "automatic":
        start = time.perf_counter()
        found = segmenter(StereoFrame(image))
        seconds = time.perf_counter() - start - _best(lambda: segmenter.encode(image), options)
        points, masks = options.points**2, len(found)
    else:
        start = time.perf_counter()
        masks = _loop(segmenter, encoded, options)
        seconds, points = time.perf_counter() - start, options.loop_points**2
    mib = (_peak_kib() - before) / KIB
    return {"s": seconds, "points": points, "masks": masks, "mib": mib}


def _segmenter(options: argparse.Namespace) -> Sam2Segmenter:
    network = Sam2Model(image_config(SIZES[options.size])).eval().requires_grad_(False)
    passport = Passport(
        role="masks", model=PREFIX + options.size, licence="random", licence_class="unknown"
    )
    config = Sam2MasksConfig(points_per_side=options.points, min_iou=0.0, min_stability=0.0)
    return Sam2Segmenter(network.to(options.device), passport, config)


def _picture(height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(small, 40, 0), 40, 1)
    return np.ascontiguousarray(image)


def _best(run: Any, options: argparse.Namespace) -> float:
    times = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _loop(segmenter: Sam2Segmenter, encoded: Any, options: argparse.Namespace) -> int:
    """Every point alone, masks at full size; the number of masks that remain."""
    height, width = encoded.image_size
    cells = (torch.arange(options.loop_points) + 0.5) / options.loop_points
    inside = torch.ones(1, 1, dtype=torch.long, device=options.device)
    masks, scores = [], []
    with torch.inference_mode():
        for y in cells.tolist():
            for x in cells.tolist():
                side = SIZES[options.size].image_size_px
                point = torch.tensor([[[x * side, y * side]]], device=options.device)
                answer = decode(
                    segmenter.network,
                    encoded.features,
                    points=point,
                    labels=inside,
                    multimask=True,
                )
                full = F.interpolate(answer.logits, (height, width), mode="bilinear")[0]
                stability(full.flatten(1), 1.0)
                masks.append(full > 0)
                scores.append(answer.iou[0])
    every, iou = torch.cat(masks), torch.cat(scores)
    some = every.flatten(1).any(1)
    every, iou = every[some], iou[some]
    kept = nms(masks_to_boxes(every), iou, 0.7) if len(every) else []
    return len(encode_masks(every[kept].cpu().numpy()))


if __name__ == "__main__":
    main()
