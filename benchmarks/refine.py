"""What each refining step does at object borders, on synthetic scenes with exact truth.

Truth is spoilt in the way each step is meant to put right, and once by a real matcher; the
tables say how far off it was before and after, and what the step does to what was right.

    python benchmarks/refine.py [--scenes 12]
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np

from rangemask.backends.registry import load_stereo
from rangemask.data.synthetic import SyntheticSample, random_scene, render
from rangemask.fusion.refine import RefineConfig, refine_depth, refine_masks, remove_flying_pixels
from rangemask.geometry import Rig, depth_from_disparity
from rangemask.structures import DepthMap

BAND_PX = 6
RIG = Rig.rectified(fx=520, cx=319.5, cy=239.5, baseline_m=0.1, width=640, height=480)
KINDS = ("room", "table", "outdoor")


def samples(count: int) -> list[SyntheticSample]:
    return [render(random_scene(i, kind=KINDS[i % 3]), RIG, seed=i) for i in range(count)]


def square(radius: int) -> np.ndarray:
    return np.ones((2 * radius + 1, 2 * radius + 1), dtype=np.uint8)


def band(mask: np.ndarray, radius: int = BAND_PX) -> np.ndarray:
    """(H, W): within so many pixels of a mask's border, on both sides."""
    grey = mask.view(np.uint8)
    return (cv2.dilate(grey, square(radius)) != cv2.erode(grey, square(radius))).astype(bool)


def noisy(depth_m: np.ndarray, seed: int, noise_px: float = 0.1) -> np.ndarray:
    """Depth with the noise of a disparity of that standard deviation."""
    random = np.random.default_rng(seed)
    scale = RIG.fx * (RIG.baseline_m or 1)
    disparity = scale / depth_m + random.normal(0, noise_px, depth_m.shape)
    return (scale / np.maximum(disparity, 0.5)).astype(np.float32)


def blurred(depth_m: np.ndarray, radius: int) -> np.ndarray:
    """Depth whose edges are smeared over so many pixels, as networks smear them."""
    far = np.where(np.isfinite(depth_m), depth_m, 100).astype(np.float32)
    return np.asarray(cv2.blur(far, (2 * radius + 1, 2 * radius + 1)))


def shrunk(depth_m: np.ndarray, radius: int) -> np.ndarray:
    """Depth in which the far layer eats so many pixels of the near one's rim."""
    far = np.where(np.isfinite(depth_m), depth_m, 100).astype(np.float32)
    return np.asarray(cv2.dilate(far, square(radius)))


def spoil(mask: np.ndarray, how: str, random: np.random.Generator) -> np.ndarray:
    grey = mask.view(np.uint8)
    if how.startswith("wider"):
        return cv2.dilate(grey, square(int(how[-1]))).astype(bool)
    if how.startswith("narrower"):
        return cv2.erode(grey, square(int(how[-1]))).astype(bool)
    if how.startswith("shifted"):
        return np.roll(mask, (int(how[-1]), int(how[-1])), axis=(0, 1))
    if how.startswith("ragged"):
        inside = cv2.distanceTransform(grey, cv2.DIST_L2, 5)
        outside = cv2.distanceTransform(1 - grey, cv2.DIST_L2, 5)
        wave = random.normal(0, 1, mask.shape).astype(np.float32)
        wave = cv2.GaussianBlur(wave, (0, 0), 4)
        return inside - outside > wave / wave.std() * float(how[-1])
    return mask


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / max((first | second).sum(), 1))


def report_masks(found: list[SyntheticSample], matched: list[DepthMap]) -> None:
    print("(a) refine_masks: mean IoU of masks, and of their border band of 6 px\n")
    print("masks         depth               IoU before   after  band before   after")
    for how in ("exact", "wider 3", "wider 5", "narrower 3", "shifted 3", "ragged 3"):
        for source in ("true + 0.1 px", "SGBM"):
            scores = []
            for i, sample in enumerate(found):
                truth = sample.masks()
                spoilt = np.stack([spoil(m, how, np.random.default_rng(i)) for m in truth])
                depth = matched[i]
                if source != "SGBM":
                    depth = DepthMap(values=noisy(sample.depth_m, i))
                refined = refine_masks(spoilt, depth)
                for mask, before, after in zip(truth, spoilt, refined, strict=True):
                    if mask.sum() < 400:
                        continue
                    near = band(mask)
                    scores.append(
                        (
                            iou(mask, before),
                            iou(mask, after),
                            iou(mask & near, before & near),
                            iou(mask & near, after & near),
                        )
                    )
            a, b, c, d = np.mean(scores, axis=0)
            print(f"{how:14s}{source:18s}{a:12.3f}{b:8.3f}{c:13.3f}{d:8.3f}")


def errors(depth: DepthMap, truth_m: np.ndarray, where: np.ndarray) -> tuple[float, float, float]:
    """Share off by more than 10 %, mean relative error and share known, inside ``where``."""
    known = where & np.isfinite(depth.values) & np.isfinite(truth_m)
    relative = np.abs(truth_m[known] / depth.values[known] - 1)
    return float((relative > 0.1).mean()), float(relative.mean()), known.sum() / where.sum()


def report_depth(found: list[SyntheticSample], matched: list[DepthMap]) -> None:
    print("\n(b) refine_depth and (c) remove_flying_pixels: pixels within 6 px of the borders of")
    print("true masks, inside (b) or on both sides (c): share off by more than 10 %, mean error,")
    print("share known\n")
    print("step                  depth               off before   after", end="")
    print("  error before   after   known   after")
    config = RefineConfig()
    steps = {
        "(b) filled": lambda depth, masks: refine_depth(depth, masks, config),
        "(b) made unknown": lambda depth, masks: refine_depth(depth, masks, config, fill=False),
        "(c) flying removed": lambda depth, _: remove_flying_pixels(depth, config),
    }
    for step, call in steps.items():
        for source in ("true + 0.1 px", "smeared 2 px", "shrunk 2 px", "SGBM"):
            rows = []
            for i, sample in enumerate(found):
                masks = sample.masks()
                depth = matched[i]
                if source.startswith("true"):
                    depth = DepthMap(values=noisy(sample.depth_m, i))
                elif source != "SGBM":
                    spoilt = blurred if source.startswith("smeared") else shrunk
                    depth = DepthMap(values=noisy(spoilt(sample.depth_m, 2), i))
                where = np.zeros(sample.depth_m.shape, dtype=bool)
                for mask in masks:
                    where |= band(mask) & (mask if step.startswith("(b)") else True)
                after = call(depth, masks)
                rows.append(
                    [*errors(depth, sample.depth_m, where), *errors(after, sample.depth_m, where)]
                )
            o1, e1, k1, o2, e2, k2 = np.mean(rows, axis=0)
            print(f"{step:22s}{source:18s}{o1:12.1%}{o2:8.1%}{e1:14.1%}{e2:8.1%}{k1:8.1%}{k2:8.1%}")


def match(sample: SyntheticSample) -> DepthMap:
    found = load_stereo("sgbm")(sample.frame)
    depth_m = depth_from_disparity(found.disparity, RIG)
    return DepthMap(values=depth_m, confidence=found.confidence, filled=found.filled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=12)
    options = parser.parse_args()
    found = samples(options.scenes)
    matched = [match(sample) for sample in found]
    print(f"{len(found)} scenes of {RIG.size} px, {sum(len(s.masks()) for s in found)} objects\n")
    report_masks(found, matched)
    report_depth(found, matched)


if __name__ == "__main__":
    main()
