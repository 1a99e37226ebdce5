"""Measure 200 masks of 1280 x 720 px: one vectorised pass against the plain loop over masks.

Both say the same numbers, which is checked in the same run. The loop is
``rangemask.fusion.reference.measure_masks_loop``: for each mask an OpenCV erosion, full-frame
boolean indexing and ``np.quantile``, as one writes it first.

    python benchmarks/measure_masks.py [--masks 200] [--repeats 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from rangemask.fusion import measure
from rangemask.fusion.reference import measure_masks_loop
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, MaskSet

HEIGHT, WIDTH = 720, 1280


def make_masks(count: int, random: np.random.Generator) -> np.ndarray:
    """Overlapping ellipses as a segmenter of everything gives them: many small, some large."""
    masks = np.zeros((count, HEIGHT, WIDTH), dtype=bool)
    for mask in masks:
        radius_y, radius_x = np.exp(random.uniform(np.log(8), np.log(120), 2))
        y, x = random.uniform(0, HEIGHT), random.uniform(0, WIDTH)
        rows = np.arange(HEIGHT)[:, None] - y
        columns = np.arange(WIDTH)[None, :] - x
        np.less((rows / radius_y) ** 2 + (columns / radius_x) ** 2, 1, out=mask)
    return masks


def make_depth(random: np.random.Generator) -> DepthMap:
    """A room with a floor, boxes and a fence; noise, holes and a confidence."""
    inverse = np.full((HEIGHT, WIDTH), 0.2)
    inverse = np.maximum(inverse, (np.arange(HEIGHT)[:, None] - HEIGHT / 2) / 400)
    for _ in range(60):
        y, x = int(random.integers(HEIGHT - 40)), int(random.integers(WIDTH - 40))
        height, width = random.integers(30, 200, 2)
        inverse[y : y + height, x : x + width] = random.uniform(0.25, 1.2)
    inverse[150:500, 700:1100][:, np.arange(400) % 24 < 9] = 0.9
    inverse += random.normal(0, 0.004, inverse.shape)
    depth = (1 / np.maximum(inverse, 0.01)).astype(np.float32)
    depth[random.random(depth.shape) < 0.08] = np.nan
    confidence = random.random(depth.shape, dtype=np.float32) ** 0.2
    return DepthMap(values=depth, confidence=confidence)


def best_of(repeats: int, call: Callable[[], object]) -> float:
    """Shortest of some runs, seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def check_same(first: list[measure.Measurement], second: list[measure.Measurement]) -> None:
    for one, other in zip(first, second, strict=True):
        for a, b in (
            (one.distance.values(), other.distance.values()),
            (one.centroid, other.centroid),
            (one.extent, other.extent),
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    masks, depth = make_masks(options.masks, random), make_depth(random)
    rig = Rig.rectified(fx=800, cx=640, cy=360, baseline_m=0.06, width=WIDTH, height=HEIGHT)
    packed = MaskSet.from_dense(masks)

    found = measure.measure_masks(masks, depth, rig)
    check_same(found, measure_masks_loop(masks, depth, rig))
    check_same(found, measure.measure_masks(packed, depth, rig))
    layers = np.bincount([one.distance.layers for one in found], minlength=3)
    mean_area = masks.mean() * HEIGHT * WIDTH
    print(f"{options.masks} masks of {WIDTH} x {HEIGHT} px, {mean_area:.0f} px each on average;")
    print(f"{layers[0]} without a distance, {layers[1]} of one layer, {layers[2]} of two.")
    print("The numbers of all ways are the same.\n")

    loop_s = best_of(options.repeats, lambda: measure_masks_loop(masks, depth, rig))
    ways = {
        "one pass, dense bool masks": lambda: measure.measure_masks(masks, depth, rig),
        "one pass, run lengths": lambda: measure.measure_masks(packed, depth, rig),
    }
    print(f"{'plain loop':38s} {loop_s * 1e3:8.1f} ms")
    workers = measure.WORKERS
    for threads in sorted({1, workers}):
        measure.WORKERS = threads
        for name, way in ways.items():
            seconds = best_of(2 * options.repeats, way)
            title = f"{name}, {threads} thread{'s' * (threads > 1)}"
            print(f"{title:38s} {seconds * 1e3:8.1f} ms   {loop_s / seconds:5.1f} x")
    measure.WORKERS = workers


if __name__ == "__main__":
    main()
