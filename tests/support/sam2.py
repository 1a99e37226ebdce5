"""SAM 2.1 and Grounding DINO for tests: tiny and random."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    Sam2Model,
    Sam2VideoModel,
    SwinConfig,
)

from rangemask.backends.protocols import Detections
from rangemask.geometry.arrays import ImageArray
from rangemask.models.sam2.presets import SIZES, image_config, video_config
from rangemask.structures import Passport

NANO = "sam2.1-nano"
PASSPORT = Passport(
    role="masks", model=NANO, licence="Apache-2.0", licence_class="commercial-ok", options={}
)


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Weights of a size that lets prompts and images be felt at the end."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            if not value.is_floating_point() or "inv_freq" in name:
                continue
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim <= 1:
                value.copy_(0.05 * noise if name.endswith("bias") else 1 + 0.1 * noise)
            else:
                value.copy_(noise / max(value[0].numel(), 1) ** 0.5)


def _tie(network: Sam2Model | Sam2VideoModel) -> None:
    # Published files hold one matrix for both.
    grid = network.prompt_encoder.shared_embedding.positional_embedding
    network.shared_image_embedding.positional_embedding.copy_(grid)


def nano_sam2(seed: int = 0) -> Sam2Model:
    """A model of single images whose masks are blobs that depend on image and prompt."""
    network = Sam2Model(image_config(SIZES["nano"]))
    randomise(network, seed)
    _tie(network)
    with torch.no_grad():
        # As sure of its masks as a trained one.
        for part in network.mask_decoder.output_hypernetworks_mlps:
            part.proj_out.weight.mul_(5)
    return network.eval().requires_grad_(False)


def nano_sam2_video(seed: int = 0) -> Sam2VideoModel:
    """The same with a memory."""
    network = Sam2VideoModel(video_config(SIZES["nano"]))
    randomise(network, seed)
    _tie(network)
    with torch.no_grad():
        # Sure that the objects are there, so that there is something to follow.
        network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(20.0)
    return network.eval().requires_grad_(False)


def picture(height: int = 60, width: int = 90, seed: int = 0) -> ImageArray:
    """Coloured rectangles."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for _ in range(6):
        top, left = random.integers(0, height - 10), random.integers(0, width - 10)
        bottom, right = top + random.integers(8, 30), left + random.integers(8, 40)
        image[top:bottom, left:right] = random.integers(0, 256, 3)
    return image


class FixedDetector:
    """Finds what it was told to find, and counts how often it is asked."""

    def __init__(self, boxes: Sequence[tuple[str, float, Sequence[float]]]) -> None:
        self.found = list(boxes)
        self.asked: list[tuple[str, ...]] = []

    @property
    def passport(self) -> Passport:
        return Passport(
            role="text",
            model="fixed",
            licence="CC-BY-NC-4.0",
            licence_class="research-only",
            weights="fixed.safetensors",
            weights_sha256="ab" * 32,
            options={"box_threshold": 0.3},
        )

    def __call__(self, image: ImageArray, labels: Sequence[str]) -> Detections:
        self.asked.append(tuple(labels))
        kept = [entry for entry in self.found if entry[0] in labels]
        return Detections(
            np.array([box for _, _, box in kept], dtype=np.float32).reshape(-1, 4),
            tuple(name for name, _, _ in kept),
            np.array([score for _, score, _ in kept], dtype=np.float32),
        )


WORDS = ("traffic", "light", "person", "chair", "red", "dog", "##s", "house")
VOCABULARY_SIZE = 1040


def vocabulary() -> list[str]:
    """BERT's, but small: full stop and question mark are where the network expects them."""
    entries = [f"[unused{index}]" for index in range(VOCABULARY_SIZE)]
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    special |= {1012: ".", 1029: "?"}
    special |= {200 + index: word for index, word in enumerate(WORDS)}
    for index, word in special.items():
        entries[index] = word
    return entries


def tiny_detector(folder: Path, *, max_text: int = 256) -> Path:
    """A folder of transformers with a tiny Grounding DINO in it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=512,
        ),
        d_model=32,
        num_queries=20,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_text_len=max_text,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary())})
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoImageProcessor(size=size).save_pretrained(folder)
    return folder
