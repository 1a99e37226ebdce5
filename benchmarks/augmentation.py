"""What augmentation costs, and the picture of docs/augmentation.md.

Milliseconds for one stereo example of 640 x 480 px on one thread, each step alone and all of
them as the preset ``full`` draws them; the picture shows a rendered pair and what became of it.

    python benchmarks/augmentation.py [--runs 40] [--picture docs/images/augmentation.jpg]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from rangemask.data.sample import Sample
from rangemask.data.synthetic import random_scene, render
from rangemask.geometry import Rig
from rangemask.structures import DepthMap
from rangemask.training import augmentation as aug
from rangemask.training.batch import Example
from rangemask.training.examples import Wanted, to_example
from rangemask.view.colormap import ColourRange, disparity_picture

RIG = Rig.rectified(fx=520, cx=319.5, cy=239.5, baseline_m=0.2, width=640, height=480)
SIZE = (476, 644)
WANTED = Wanted(
    needs=frozenset({"right", "disparity", "depth", "semantic"}),
    classes=("floor", "wall", "object", "person"),
)
FULL = aug.Augmentation.preset("full")
STEPS: dict[str, Callable[[Example, torch.Generator], Example]] = {
    "flip of the pair": aug.Flip(probability=1),
    "crop and scale": lambda example, generator: FULL.crop(example, generator, SIZE),
    "wide angle": aug.WideAngle(probability=1, stretch_depth=True),
    "misalignment": aug.Misalignment(probability=1),
    "occlusion": aug.Occlusion(probability=1),
    "colour": aug.Colour(probability=1),
    "blur": aug.Blur(probability=1),
    "noise": aug.Noise(probability=1),
    "JPEG": aug.Jpeg(probability=1),
    "fitted in (validation)": lambda example, _: aug.fit(example, SIZE),
    "preset light": lambda e, g: aug.Augmentation.preset("light")(e, g, size=SIZE),
    "preset full": lambda e, g: FULL(e, g, size=SIZE),
}


def sample() -> Sample:
    made = render(random_scene(11), RIG, samples=2)
    return Sample(
        frame=made.frame,
        disparity=made.disparity,
        depth=DepthMap(values=made.depth_m),
        semantic=made.semantic,
    )


def milliseconds(run: Callable[[int], object], runs: int) -> tuple[float, float]:
    """Median and 95th percentile."""
    run(0)
    spans = []
    for seed in range(runs):
        start = time.perf_counter()
        run(seed)
        spans.append((time.perf_counter() - start) * 1e3)
    return float(np.median(spans)), float(np.percentile(spans, 95))


def row(example: Example, title: str, width: int = 300) -> np.ndarray:
    """Left, right and disparity side by side."""
    assert example.right_image is not None
    assert example.disparity is not None
    images = [
        (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        for image in (example.image, example.right_image)
    ]
    colours = ColourRange(low=5.0, high=90.0)
    images.append(disparity_picture(example.disparity.numpy(), colour_range=colours, scale=False))
    size = (width, round(width * SIZE[0] / SIZE[1]))
    shown = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
    shown[0][:24] //= 3
    cv2.putText(
        shown[0], title, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.hstack(shown)


def picture(example: Example) -> np.ndarray:
    def drawn(name: str, seed: int) -> Example:
        return aug.fit(STEPS[name](example, torch.Generator().manual_seed(seed)), SIZE)

    wide = aug.WideAngle(probability=1, half_angle_rad=(0.7, 0.7), stretch_depth=True)
    rows = [
        (aug.fit(example, SIZE), "as it was"),
        (drawn("flip of the pair", 0), "flip: left and right swapped"),
        (drawn("crop and scale", 4), "crop and scale"),
        (aug.fit(wide(example, torch.Generator().manual_seed(2)), SIZE), "wide angle"),
        (drawn("preset full", 3), "full"),
        (drawn("preset full", 14), "full"),
    ]
    return np.vstack([row(one, title) for one, title in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    given = sample()
    example = to_example(given, WANTED)
    print(f"{'step':<26}{'median ms':>10}{'95 % ms':>10}")
    cost = milliseconds(lambda _: to_example(given, WANTED), options.runs)
    print(f"{'sample to example':<26}{cost[0]:>10.1f}{cost[1]:>10.1f}")
    for name, step in STEPS.items():
        cost = milliseconds(
            lambda seed, step=step: step(example, torch.Generator().manual_seed(seed)),
            options.runs,
        )
        print(f"{name:<26}{cost[0]:>10.1f}{cost[1]:>10.1f}")
    if options.picture is not None:
        bgr = cv2.cvtColor(picture(example), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(options.picture), bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
