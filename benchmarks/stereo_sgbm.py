"""Quality and speed of the ``sgbm`` matcher against plain OpenCV, on pairs with ground truth.

    python benchmarks/stereo_sgbm.py [--data ../shared/data/stereo] [--repeats 5] [--json FILE]

Motorcycle ships with scikit-image; the other scenes are read from the data folder where it is
there. Plain is ``cv2.StereoSGBM`` (3-way, block 3), told its range by the ground truth; ours
searches for the range itself. One setting for all scenes.

``all`` is plain's share of pixels off by more than 2 px with missing ones counted as bad;
``bad`` is the share of pixels off by more than 2 px, in per cent: over all pixels with known
truth where the map is filled (a missing one counts as bad), over those given where it is not.
``auc`` is the area under the sparsification curve of that, against random order. Times are of
the filled map, the best of runs that take turns, as multiples of plain's in the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm import SgbmConfig, SgbmMatcher
from rangemask.backends.stereo.sgbm.config import Quality
from rangemask.data.samples import motorcycle
from rangemask.metrics.confidence import sparsification
from rangemask.metrics.disparity import disparity_metrics
from rangemask.structures import StereoFrame, StereoMatch

BAD_PX = 2.0
SAMPLE = "motorcycle (scikit-image)"
RANGE_MARGIN_PX = 8
Map = NDArray[np.float32]
Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/stereo"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: dict[str, Row] = {}
    print(header())
    for frame, truth_px in scenes(options.data):
        rows[frame.name] = measure(frame, truth_px, options.repeats)
        print(line(frame.name, rows[frame.name]), flush=True)
    others = [row for name, row in rows.items() if name != SAMPLE]
    if others:
        rows["mean"] = {key: float(np.nanmean([row[key] for row in others])) for key in others[0]}
        print(line(f"mean of the other {len(others)}", rows["mean"]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def scenes(folder: Path) -> Iterator[tuple[StereoFrame, Map]]:
    """Pairs with their true disparity, not finite where unknown."""
    frame, truth_px = motorcycle()
    yield StereoFrame(frame.left, frame.right, name=SAMPLE), truth_px
    found = sorted(folder.glob("*/calib.json"))
    if not found:
        print(f"(no scenes in {folder}: Motorcycle only)")
    for path in found:
        calib = json.loads(path.read_text(encoding="utf-8"))
        yield (
            StereoFrame.read(
                path.parent / calib["left_file"],
                path.parent / calib["right_file"],
                name=path.parent.name,
            ),
            np.load(path.parent / calib["disparity_file"]),
        )


def measure(frame: StereoFrame, truth_px: Map, repeats: int) -> Row:
    """All numbers of one scene."""
    plain = plain_matcher(frame, truth_px)
    filled = {quality: matcher(quality, fill=True) for quality in ("best", "fast")}
    times_s = take_turns(
        {"plain": plain, **{name: lambda m=m: m(frame) for name, m in filled.items()}}, repeats
    )
    row = scored("plain", plain(), truth_px) | {"plain_s": times_s["plain"]}
    for quality in ("best", "fast"):
        row |= judged(f"{quality}_filled", filled[quality](frame), truth_px)
        row |= judged(quality, matcher(quality, fill=False)(frame), truth_px)
        row[f"{quality}_s"] = times_s[quality]
        row[f"{quality}_times_plain"] = times_s[quality] / times_s["plain"]
    return row


def matcher(quality: Quality, *, fill: bool) -> SgbmMatcher:
    return SgbmMatcher(SgbmConfig(quality=quality, fill=fill))


def plain_matcher(frame: StereoFrame, truth_px: Map) -> Callable[[], Map]:
    """OpenCV's matcher as one uses it first, its range taken from the truth."""
    largest_px = np.max(truth_px, where=np.isfinite(truth_px), initial=0.0)
    engine = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=16 * int(np.ceil((largest_px + RANGE_MARGIN_PX) / 16)),
        blockSize=3,
        P1=216,
        P2=864,
        disp12MaxDiff=1,
        uniquenessRatio=5,
        speckleWindowSize=100,
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )

    def run() -> Map:
        found = engine.compute(frame.left, frame.right)
        return np.where(found < 0, np.float32(np.nan), found.astype(np.float32) / 16)

    return run


def take_turns(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Best time of each in seconds; they alternate, so that a busy machine is fair to all."""
    best_s = dict.fromkeys(runs, np.inf)
    for _ in range(repeats):
        for name, run in runs.items():
            start_s = time.perf_counter()
            run()
            best_s[name] = min(best_s[name], time.perf_counter() - start_s)
    return best_s


def scored(name: str, disparity_px: Map, truth_px: Map) -> Row:
    """Shares in per cent."""
    metrics = disparity_metrics(disparity_px, truth_px)
    return {
        f"{name}_bad": 100 * metrics.bad_2,
        f"{name}_bad_given": 100 * metrics.bad_2_given,
        f"{name}_given": 100 * metrics.density,
        f"{name}_epe_px": metrics.epe_px,
    }


def judged(name: str, match: StereoMatch, truth_px: Map) -> Row:
    """Shares in per cent, and what the confidence is worth."""
    known = np.isfinite(match.disparity) & np.isfinite(truth_px)
    bad = np.abs(match.disparity[known] - truth_px[known]) > BAD_PX
    curve = sparsification(bad.astype(np.float64), match.confidence[known])
    return scored(name, match.disparity, truth_px) | {f"{name}_auc": curve.ratio_to_random}


def header() -> str:
    groups = "".join(f"| {quality + ': filled, unfilled':^42} " for quality in ("best", "fast"))
    columns = f"{'bad':>5} {'auc':>5} {'bad':>6} {'given':>6} {'auc':>5} {'x plain':>9}"
    return (
        f"{'':27}| {'plain: all, given':^23} {groups}\n"
        f"{'scene':27}| {'all':>5} {'bad':>5} {'given':>6} {'ms':>4} | {columns:42} | {columns}"
    )


def line(name: str, row: Row) -> str:
    text = f"{name:27}| {row['plain_bad']:5.2f} {row['plain_bad_given']:5.2f} "
    text += f"{row['plain_given']:6.1f} "
    text += f"{1000 * row['plain_s']:4.0f} "
    for quality in ("best", "fast"):
        text += (
            f"| {row[f'{quality}_filled_bad']:5.2f} {row[f'{quality}_filled_auc']:5.2f} "
            f"{row[f'{quality}_bad_given']:6.2f} {row[f'{quality}_given']:6.1f} "
            f"{row[f'{quality}_auc']:5.2f} {row[f'{quality}_times_plain']:9.1f}  "
        )
    return text


if __name__ == "__main__":
    main()
