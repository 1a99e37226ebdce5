"""Options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

NONE = "none"
"""Stands for going without a matcher or a segmenter."""
LayoutName: TypeAlias = Literal["pair", "side-by-side", "mono"]
QualityName: TypeAlias = Literal["best", "fast"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Stereo = Annotated[
    str,
    typer.Option(
        "--stereo",
        help="Matcher: sgbm, foundation-stereo:FILE, onnx:FILE, student:PATH, or none.",
    ),
]
RigFile = Annotated[
    Path | None, typer.Option("--rig", help="Calibration file of any known format.")
]
ScaleRig = Annotated[
    bool, typer.Option("--scale-rig", help="The images were resized: scale the rig to them.")
]
FieldOfView = Annotated[
    float,
    typer.Option(
        "--field-of-view", min=0, max=1, help="Of raw images, rectified: 1 keeps everything."
    ),
]
Layout = Annotated[LayoutName | None, typer.Option("--layout", help="What the images are.")]
Labels = Annotated[str | None, typer.Option("--labels", help="What to look for: person,chair.")]
Quality = Annotated[QualityName | None, typer.Option("--quality", help="Of the sgbm matcher.")]
MaxPixels = Annotated[
    float, typer.Option("--max-pixels", help="Largest image accepted, million px.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier results.")]
Device = Annotated[
    str, typer.Option("--device", help="Where networks run: auto, cpu, cuda, cuda:1, mps.")
]
Precision = Annotated[
    str, typer.Option("--precision", help="Of networks: auto, float32, bfloat16, float16.")
]
MemoryBudget = Annotated[
    str | None,
    typer.Option(
        "--memory-budget",
        help="Such as 6GB: networks take turns on CUDA, and foundation-stereo plans within it.",
    ),
]
