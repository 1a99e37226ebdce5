"""How well ``geometry`` finds objects, with the depth of ``sgbm``, on held-out synthetic scenes.

    python benchmarks/geometry_masks.py [--scenes 10] [--quality best|fast] [--json FILE]

Per true object of at least 400 px between 0.5 and 8 m: the IoU of the mask that fits best (0
without one), and how far off the median depth of that mask's inside is, where they overlap by
half: of the true depth of the object, and of the matcher's own depth of the object, which is
what the mask alone is to blame for. A mask is right when it overlaps some object by 0.3.
The seeds of tuning were 0 to 99; these begin at 5000. ``crowd`` scenes are of another kind:
other figures, nearer together, seen from 0.5 to 2.2 m height and up to 28 degrees downward.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import rangemask as rm
from rangemask.data.samples import motorcycle
from rangemask.data.synthetic import (
    SCENE_KINDS,
    Box,
    Cylinder,
    Material,
    Plane,
    SensorConfig,
    Sphere,
    SyntheticScene,
    Thing,
    camera_pose,
    random_scene,
    render,
)
from rangemask.metrics import iou_matrix
from rangemask.pipeline import depth_of_match

FIRST_SEED = 5000
RIGS = (
    rm.Rig.rectified(fx=500, cx=319.5, cy=239.5, baseline_m=0.12, width=640, height=480),
    rm.Rig.rectified(fx=900, cx=639.5, cy=359.5, baseline_m=0.12, width=1280, height=720),
    rm.Rig.rectified(fx=420, cx=375.5, cy=239.5, baseline_m=0.11, width=752, height=480),
)


@dataclass
class Row:
    """What is summed up for one kind of scene."""

    ious: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    mask_errors: list[float] = field(default_factory=list)
    masks: int = 0
    right: int = 0
    seconds: list[float] = field(default_factory=list)


def crowd_scene(seed: int) -> SyntheticScene:
    """Boxes, balls, columns and people of boxes; every other scene without a wall."""
    random = np.random.default_rng([seed, 77])
    height_m, pitch_rad = random.uniform(0.5, 2.2), random.uniform(0.0, 0.5)
    things = [_thing(random, "floor", Plane((0, 0, 0), (0, -1, 0)), 0.3)]
    far_m = 8.0
    if seed % 2:
        wall_m = random.uniform(3.0, 9.0)
        far_m = wall_m - 0.6
        turned = (random.uniform(-0.3, 0.3), 0, -1)
        things.append(_thing(random, "wall", Plane((0, 0, wall_m), turned), 0.4))
    taken: list[tuple[float, float, float]] = []
    for _ in range(300):
        z = math.exp(random.uniform(math.log(0.8), math.log(far_m)))
        x = z * math.tan(random.uniform(-0.5, 0.5))
        radius = random.uniform(0.12, 0.35) * min(1.0, z / 1.5)
        in_view = abs(math.atan2(height_m, z) - pitch_rad) < 0.35
        apart = all(math.hypot(x - a, z - b) > radius + c + 0.15 for a, b, c in taken)
        if in_view and apart and len(taken) < 5:
            taken.append((x, z, radius))
            things.append(_figure(random, x, z, radius))
    pose = camera_pose(height_m, pitch_rad=pitch_rad, yaw_rad=random.uniform(-0.1, 0.1))
    return SyntheticScene(things=tuple(things), camera_pose=pose)


def _figure(random: np.random.Generator, x: float, z: float, radius: float) -> Thing:
    kind = random.choice(["box", "ball", "column", "person"])
    cell_m = 0.15 * min(1.0, z / 1.5)
    if kind == "person" and z > 2:
        tall = random.uniform(1.2, 1.9)
        legs, trunk, head = (_material(random, cell_m) for _ in range(3))
        parts = (
            (Box((x - 0.1, -0.24 * tall, z), (0.15, 0.48 * tall, 0.16)), legs),
            (Box((x + 0.1, -0.24 * tall, z), (0.15, 0.48 * tall, 0.16)), legs),
            (Cylinder((x, -0.66 * tall, z), 0.2, 0.38 * tall), trunk),
            (Sphere((x, -0.92 * tall, z), 0.08 * tall), head),
        )
        return Thing(name="person", parts=parts)
    if kind == "ball":
        return _thing(random, "object", Sphere((x, -radius, z), radius), cell_m)
    height = radius * random.uniform(0.8, 5.0)
    if kind == "column":
        shape = Cylinder((x, -height / 2, z), 0.8 * radius, height)
        return _thing(random, "object", shape, cell_m)
    sides = (radius * random.uniform(0.8, 1.4), height, radius * random.uniform(0.6, 1.3))
    return _thing(random, "object", Box((x, -height / 2, z), sides, random.uniform(-3, 3)), cell_m)


def _thing(random: np.random.Generator, name: str, shape: object, cell_m: float) -> Thing:
    return Thing(name=name, parts=((shape, _material(random, cell_m)),))  # type: ignore[arg-type]


def _material(random: np.random.Generator, cell_m: float) -> Material:
    light, dark = random.uniform(0.5, 1.0, 3), random.uniform(0.0, 0.5, 3)
    return Material(
        light=(light[0], light[1], light[2]),
        dark=(dark[0], dark[1], dark[2]),
        pattern=("noise", "noise", "checker", "stripes")[int(random.integers(4))],
        cell_m=cell_m * random.uniform(0.6, 1.5),
        seed=int(random.integers(2**31)),
    )


def measure(make: Callable[[int], SyntheticScene], scenes: int, quality: str) -> Row:
    """One kind of scene, cameras in turn."""
    matcher, segmenter = rm.load_stereo("sgbm", quality=quality), rm.load_masks("geometry")
    row = Row()
    for seed in range(FIRST_SEED, FIRST_SEED + scenes):
        rig = RIGS[seed % len(RIGS)]
        sample = render(make(seed), rig, seed=seed, sensor=SensorConfig(noise=1.5))
        depth = depth_of_match(matcher(sample.frame), sample.frame)
        start = time.perf_counter()
        found = segmenter(sample.frame, depth=depth).masks.dense()
        row.seconds.append(time.perf_counter() - start)
        truth = sample.masks()
        ious = iou_matrix(found, truth)
        row.masks += len(found)
        row.right += int((ious.max(axis=1, initial=0.0) >= 0.3).sum())
        for number, mask in enumerate(truth):
            if mask.sum() < 400 or not 0.5 <= np.median(sample.depth_m[mask]) <= 8.0:
                continue
            best = float(ious[:, number].max(initial=0.0))
            row.ious.append(best)
            if best >= 0.5:
                inside = inner(found[int(ious[:, number].argmax())])
                distance = np.nanmedian(depth.values[inside])
                row.errors.append(abs(distance / np.median(sample.depth_m[inner(mask)]) - 1))
                row.mask_errors.append(abs(distance / np.nanmedian(depth.values[inner(mask)]) - 1))
    return row


def inner(mask: np.ndarray) -> np.ndarray:
    """Away from the outline, where that leaves something."""
    eroded = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    return eroded if eroded.sum() >= 20 else mask


def summary(row: Row) -> dict[str, float]:
    errors, by_mask = np.array(row.errors), np.array(row.mask_errors)
    return {
        "objects": len(row.ious),
        "mean_iou": float(np.mean(row.ious)),
        "recall_50": float(np.mean(np.array(row.ious) >= 0.5)),
        "precision": row.right / max(row.masks, 1),
        "distance_error_median": float(np.median(errors)),
        "distance_error_within_2": float((errors <= 0.02).mean()),
        "mask_error_within_2": float((by_mask <= 0.02).mean()),
        "seconds": float(np.median(row.seconds)),
    }


def best_time(frame: rm.StereoFrame, repeats: int = 5) -> float:
    """Shortest run of the segmenter alone, seconds."""
    depth = depth_of_match(rm.load_stereo("sgbm")(frame), frame)
    segmenter = rm.load_masks("geometry")
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        segmenter(frame, depth=depth)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=10, help="per kind")
    parser.add_argument("--quality", choices=("best", "fast"), default="best")
    parser.add_argument("--json", type=Path, help="where to write the numbers too")
    options = parser.parse_args()
    makers: dict[str, Callable[[int], SyntheticScene]] = {
        kind: (lambda seed, kind=kind: random_scene(seed, kind=kind)) for kind in SCENE_KINDS
    }
    makers["crowd"] = crowd_scene
    print(f"{'scenes':8s} objects  mean IoU  recall@0.5  precision   distance: median  "
          f"<= 2 %  by the mask <= 2 %")  # fmt: skip
    results = {}
    for name, make in makers.items():
        numbers = summary(measure(make, options.scenes, options.quality))
        results[name] = numbers
        print(
            f"{name:8s} {numbers['objects']:7.0f} {numbers['mean_iou']:9.3f} "
            f"{numbers['recall_50']:11.3f} {numbers['precision']:10.3f} "
            f"{100 * numbers['distance_error_median']:15.2f} % "
            f"{100 * numbers['distance_error_within_2']:6.1f} % "
            f"{100 * numbers['mask_error_within_2']:12.1f} %",
            flush=True,
        )
    room = render(random_scene(FIRST_SEED), RIGS[1]).frame
    results["seconds"] = {"741 x 500": best_time(motorcycle()[0]), "1280 x 720": best_time(room)}
    print("\nshortest run: ", ", ".join(f"{k}: {v:.3f} s" for k, v in results["seconds"].items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
