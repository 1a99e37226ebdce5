"""Relative depth brought to metres, and holes of stereo filled from it, against ground truth.

    python benchmarks/align.py [--data ../shared/data/stereo] [--synthetic 9] [--json FILE]

No network runs here. A monocular map is made from the truth in the way such maps are wrong: inverse
depth, blurred over edges, bent by a smooth field over the image and by an offset of its own for
each object (both given as standard deviations of log depth), with noise of 1 % and an unknown
scale and shift. The reference is what ``sgbm`` matches. Three groups of pairs: Motorcycle (ships
with scikit-image) and the pairs of the data folder with dense truth; those with sparse truth (no
objects there: the truth does not show them); and synthetic scenes, on which nothing was tuned.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

import rangemask as rm
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.data.samples import motorcycle
from rangemask.data.synthetic import SensorConfig, random_scene, render
from rangemask.fusion.align import align
from rangemask.fusion.fill import FillConfig, fill_depth
from rangemask.geometry import depth_from_disparity
from rangemask.structures import DepthMap, StereoFrame

RIG = rm.Rig.rectified(fx=520, cx=319.5, cy=239.5, baseline_m=0.1, width=640, height=480)
KINDS = ("room", "table", "outdoor")
FIRST_SEED = 7000
DENSE_SHARE = 0.7
NOISE, BLUR_PX = 0.01, 1.5
BENDS = ((0.0, 0.0), (0.05, 0.0), (0.1, 0.0), (0.05, 0.05), (0.1, 0.1))
"""Standard deviations of log depth: smooth field, objects."""
OUTLIERS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.45)
MISSING = 1.0
"""Relative error of a pixel that is not filled; larger ones count as this."""


@dataclass(frozen=True)
class Pair:
    """One pair, its truth, and what stereo makes of it."""

    group: str
    truth_m: np.ndarray
    stereo: DepthMap
    own_fill: DepthMap
    objects: np.ndarray
    """(H, W) a number for each object, 0 for none."""


def pairs(folder: Path, synthetic: int) -> Iterator[Pair]:
    frame, truth_px = motorcycle()
    yield matched(frame, truth_px, "dense")
    for path in sorted(folder.glob("*/calib.json")):
        frame, truth_px = stored(path)
        dense = np.isfinite(truth_px).mean() > DENSE_SHARE
        if "motorcycle" not in path.parent.name and "aloe" not in path.parent.name:
            yield matched(frame, truth_px, "dense" if dense else "sparse")
    for i in range(synthetic):
        scene = random_scene(FIRST_SEED + i, kind=KINDS[i % 3])
        sample = render(scene, RIG, seed=i, sensor=SensorConfig(noise=2.0))
        objects = np.zeros(sample.depth_m.shape, dtype=np.int64)
        for number, mask in enumerate(sample.masks(), start=1):
            objects[mask] = number
        yield matched(sample.frame, sample.depth_m, "synthetic", objects)


def stored(path: Path) -> tuple[StereoFrame, np.ndarray]:
    """A pair with its true disparity; without a calibration, a nominal one."""
    calib = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent
    frame = StereoFrame.read(folder / calib["left_file"], folder / calib["right_file"])
    rig = rm.Rig.rectified(
        fx=calib.get("fx") or frame.width,
        cx=frame.width / 2,
        cy=frame.height / 2,
        baseline_m=calib.get("baseline_m") or 0.1,
        doffs_px=calib.get("doffs") or 0.0,
    )
    truth_px = np.load(folder / calib["disparity_file"])
    return StereoFrame(frame.left, frame.right, rig), np.where(
        np.isfinite(truth_px), truth_px, np.nan
    )


def matched(
    frame: StereoFrame, truth: np.ndarray, group: str, objects: np.ndarray | None = None
) -> Pair:
    """Truth is depth in metres where objects are given, and disparity where they are not."""
    assert frame.rig is not None
    truth_m = truth if objects is not None else depth_from_disparity(truth, frame.rig)
    if objects is None:
        objects = surfaces(truth_m) if group == "dense" else np.zeros(truth.shape, dtype=np.int64)
    stereo, filled = (
        depth_of_match(rm.load_stereo("sgbm", fill=fill)(frame), frame) for fill in (False, True)
    )
    return Pair(group, truth_m, stereo, filled, objects)


def surfaces(truth_m: np.ndarray) -> np.ndarray:
    """(H, W) what hangs together without steps of depth of more than 6 %."""
    known = np.isfinite(truth_m)
    log = np.where(known, np.log(np.where(known, truth_m, 1)), 9).astype(np.float32)
    square = np.ones((3, 3), dtype=np.uint8)
    edge = cv2.dilate(log, square) - cv2.erode(log, square) > 0.06
    labels, _ = ndimage.label(~edge & known)
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    return np.asarray(labels[tuple(nearest)])


def smooth(shape: tuple[int, ...], random: np.random.Generator, knots: int) -> np.ndarray:
    """(H, W) standard normal field with so many knots along the longer side."""
    step = max(shape) / knots
    coarse = random.normal(size=[int(np.ceil(side / step)) + 1 for side in shape])
    field = cv2.resize(coarse.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(field / field.std())


def monocular(pair: Pair, seed: int, field: float, objects: float) -> DepthMap:
    random = np.random.default_rng(seed)
    shape = pair.truth_m.shape
    known = np.isfinite(pair.truth_m)
    inverse = np.where(known, 1 / np.where(known, pair.truth_m, 1), 0).astype(np.float32)
    offsets = random.normal(0, objects, int(pair.objects.max()) + 1)[pair.objects]
    inverse *= np.exp(field * smooth(shape, random, 4) + offsets).astype(np.float32)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), BLUR_PX)
    inverse = cv2.GaussianBlur(inverse, (0, 0), BLUR_PX) / np.maximum(weight, 1e-6)
    near = float(np.percentile(inverse[known], 98))
    inverse += NOISE * near * smooth(shape, random, max(shape) // 8)
    values = np.where(known, 37 * inverse / near - 3, np.nan)
    return DepthMap(values=values.astype(np.float32), kind="relative_inverse")


def errors(depth_m: np.ndarray, truth_m: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(n,) relative, not above ``MISSING``."""
    off = np.abs(depth_m[where] / truth_m[where] - 1)
    return np.minimum(np.nan_to_num(off, nan=MISSING), MISSING)


def spoilt(stereo: DepthMap, share: float, seed: int, how: str) -> DepthMap:
    """So many of the pixels wrong: anywhere between near and far, or all at half the depth."""
    random = np.random.default_rng([seed, 1])
    wrong = random.random(stereo.values.shape) < share
    near, far = np.nanpercentile(stereo.values, (1, 99))
    other = 0.5 * stereo.values
    if how == "anywhere":
        other = 1 / random.uniform(1 / far, 1 / near, wrong.shape)
    values = np.where(wrong & np.isfinite(stereo.values), other, stereo.values)
    return DepthMap(values=values.astype(np.float32), confidence=stereo.confidence)


def report_outliers(found: list[Pair]) -> dict[str, list[float]]:
    print("(a) mean error of the aligned map, by share of wrong pixels in the reference\n")
    print(f"{'wrong pixels':14s}{'fit':16s}" + "".join(f"{share:8.0%}" for share in OUTLIERS))
    table = {}
    for how in ("anywhere", "too near"):
        for method in ("least-squares", "robust"):
            row = []
            for share in OUTLIERS:
                means = []
                for i, pair in enumerate(found):
                    mono = monocular(pair, i, 0.05, 0.0)
                    reference = spoilt(pair.stereo, share, i, how)
                    try:
                        depth_m = align(mono, reference, method=method).values
                    except rm.InputError:
                        depth_m = np.full_like(mono.values, np.nan)
                    where = np.isfinite(mono.values)
                    means.append(errors(depth_m, pair.truth_m, where).mean())
                row.append(float(np.mean(means)))
            table[f"{how}, {method}"] = row
            print(f"{how:14s}{method:16s}" + "".join(f"{value:8.1%}" for value in row), flush=True)
    return table


def report_filled(found: list[Pair]) -> dict[str, list[float]]:
    print("\n(b) pixels that sgbm did not match: error median, mean, share off by more than 10 %\n")
    print(f"{'pairs':16s}{'bend (field, objects)':24s}{'filled by':18s}median    mean   > 10 %")
    table = {}
    for group in ("dense", "sparse", "synthetic"):
        some = [pair for pair in found if pair.group == group]
        bends = [bend for bend in BENDS if group != "sparse" or bend[1] == 0]
        for field, objects in bends if some else ():
            monos = [monocular(pair, 50 + i, field, objects) for i, pair in enumerate(some)]
            ways: dict[str, Callable[[Pair, DepthMap], np.ndarray]] = {
                "sgbm itself": lambda pair, _: pair.own_fill.values,
                "aligned": lambda pair, mono: (
                    fill_depth(pair.stereo, mono, FillConfig(local=False)).values
                ),
                "aligned, local": lambda pair, mono: fill_depth(pair.stereo, mono).values,
            }
            for way, call in ways.items():
                row = []
                for pair, mono in zip(some, monos, strict=True):
                    where = ~np.isfinite(pair.stereo.values) & np.isfinite(mono.values)
                    off = errors(call(pair, mono), pair.truth_m, where)
                    row.append((np.median(off), off.mean(), (off > 0.1).mean()))
                median, mean, bad = np.mean(row, axis=0)
                table[f"{group}, {field:g}, {objects:g}, {way}"] = [median, mean, bad]
                name = f"{group} ({len(some)})"
                bend = f"{field:.0%}, {objects:.0%}"
                print(
                    f"{name:16s}{bend:24s}{way:18s}{median:6.1%}{mean:8.1%}{bad:9.1%}", flush=True
                )
    return table


def report_confidence(found: list[Pair]) -> None:
    print("\n(c) filled, local, bend 5 %, 5 %: mean error by confidence")
    edges = (0.0, 0.1, 0.15, 0.2, 0.23, 0.2501)
    parts: list[list[np.ndarray]] = [[] for _ in edges[1:]]
    for i, pair in enumerate(found):
        mono = monocular(pair, 50 + i, 0.05, 0.05)
        filled = fill_depth(pair.stereo, mono)
        where = ~np.isfinite(pair.stereo.values) & np.isfinite(filled.values)
        where &= np.isfinite(pair.truth_m)
        assert filled.confidence is not None
        off = errors(filled.values, pair.truth_m, where)
        place = np.digitize(filled.confidence[where], edges) - 1
        for k, part in enumerate(parts):
            part.append(off[place == k])
    total = sum(one.size for part in parts for one in part)
    for low, high, part in zip(edges[:-1], edges[1:], parts, strict=True):
        off = np.concatenate(part)
        print(f"  {low:.2f} to {high:.2f}: {off.mean():6.1%} ({off.size / total:.0%} of them)")


def report_kept(found: list[Pair]) -> None:
    print(
        "\n(d) matched pixels of low confidence: mean error of sgbm, and of what would replace it"
    )
    print("    (bend 5 %, 5 %)\n")
    edges = (0.0, 0.1, 0.2, 0.3)
    print(
        "  pairs      " + "".join(f"{a:8.1f} to {b:.1f}   " for a, b in itertools.pairwise(edges))
    )
    for group in ("dense", "sparse", "synthetic"):
        rows = []
        for i, pair in enumerate(one for one in found if one.group == group):
            mono = monocular(pair, 50 + i, 0.05, 0.05)
            other = fill_depth(pair.stereo, mono, FillConfig(replace_below=edges[-1]))
            known = np.isfinite(pair.stereo.values) & np.isfinite(pair.truth_m)
            assert pair.stereo.confidence is not None
            row = []
            for low, high in itertools.pairwise(edges):
                trust = (pair.stereo.confidence >= low) & (pair.stereo.confidence < high)
                for depth in (pair.stereo, other):
                    row.append(errors(depth.values, pair.truth_m, known & trust).mean())
            rows.append(row)
        if rows:
            means = np.mean(rows, axis=0)
            print(f"  {group:11s}" + "".join(f"{value:8.1%}" for value in means))


def report_cost() -> None:
    print("\n(e) time, best of 5, and memory beside the maps")
    random = np.random.default_rng(0)
    for height, width in ((720, 1280), (1200, 1920)):
        depth_m = 1 / random.uniform(0.1, 1, (height, width)).astype(np.float32)
        hidden = random.random((height, width)) < 0.2
        confidence = random.uniform(0.3, 1, (height, width)).astype(np.float32)
        stereo = DepthMap(values=np.where(hidden, np.nan, depth_m), confidence=confidence)
        mono = DepthMap(values=3 / depth_m + 1, kind="relative_inverse")
        for name, call in (
            ("align, least-squares", lambda m=mono, s=stereo: align(m, s, method="least-squares")),
            ("align, robust", lambda m=mono, s=stereo: align(m, s)),
            ("fill_depth", lambda m=mono, s=stereo: fill_depth(s, m)),
        ):
            times = []
            for _ in range(5):
                start_s = time.perf_counter()
                call()
                times.append(time.perf_counter() - start_s)
            tracemalloc.start()
            call()
            peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
            print(f"  {width} x {height}: {name:22s}{1000 * min(times):6.0f} ms {peak_mb:5.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/stereo"))
    parser.add_argument("--synthetic", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = list(pairs(options.data, options.synthetic))
    counts = {group: sum(p.group == group for p in found) for group in ("dense", "sparse")}
    print(f"{len(found)} pairs, {counts} and synthetic\n")
    report = {"outliers": report_outliers(found), "filled": report_filled(found)}
    report_confidence(found)
    report_kept(found)
    report_cost()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
