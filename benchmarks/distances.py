"""How far off the distances of objects are, on synthetic scenes and on Motorcycle.

    python benchmarks/distances.py [--scenes 8] [--json FILE]

Synthetic: per kind of scene, objects of at least 400 visible px between 0.5 and 8 m, with the
disparity of ``sgbm`` and (a) their true masks, (b) the masks of ``geometry``. The truth is the
median true depth under the mask that was measured. Motorcycle: every object that ``geometry``
finds, against the median of the pair's ground truth under its mask.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import rangemask as rm
from rangemask.data.samples import motorcycle
from rangemask.data.synthetic import SCENE_KINDS, SensorConfig, random_scene, render
from rangemask.evaluation.scene_truth import compare_with_truth
from rangemask.fusion.measure import measure_masks
from rangemask.metrics import iou_matrix
from rangemask.pipeline import depth_of_match
from rangemask.structures import MaskSet

FIRST_SEED = 3000
"""Not 1000: the width of the erosion was chosen on those scenes."""
RIG = rm.Rig.rectified(fx=500, cx=319.5, cy=239.5, baseline_m=0.12, width=640, height=480)


def synthetic(scenes: int) -> dict[str, dict[str, list[float]]]:
    """Relative errors and IoUs by kind of scene; infinity for an unknown distance."""
    matcher, segmenter = rm.load_stereo("sgbm"), rm.load_masks("geometry")
    results: dict[str, dict[str, list[float]]] = {}
    for kind in SCENE_KINDS:
        row: dict[str, list[float]] = {"true masks": [], "geometry": [], "iou": []}
        for seed in range(FIRST_SEED, FIRST_SEED + scenes):
            sample = render(
                random_scene(seed, kind=kind), RIG, seed=seed, sensor=SensorConfig(noise=2.0)
            )
            depth = depth_of_match(matcher(sample.frame), sample.frame)
            truth = np.stack(
                [m for m in sample.masks() if counted(m, sample.depth_m)]
                or [np.zeros_like(sample.masks()[0])]
            )
            if not truth.any():
                continue
            row["true masks"] += errors(MaskSet.from_dense(truth), depth, sample.depth_m)
            found = segmenter(sample.frame, depth=depth).masks
            ious = iou_matrix(found.dense(), truth)
            row["iou"] += ious.max(axis=0, initial=0.0).tolist()
            hits = np.flatnonzero(ious.max(axis=1, initial=0.0) >= 0.5)
            row["geometry"] += errors(found.select(hits.tolist()), depth, sample.depth_m)
        results[kind] = row
    return results


def counted(mask: np.ndarray, depth_m: np.ndarray) -> bool:
    return bool(mask.sum() >= 400 and 0.5 <= np.median(depth_m[mask]) <= 8.0)


def errors(masks: MaskSet, depth: rm.DepthMap, true_depth_m: np.ndarray) -> list[float]:
    found = []
    for mask, measured in zip(masks, measure_masks(masks, depth, RIG), strict=True):
        true_m = float(np.nanmedian(true_depth_m[mask]))
        known = measured.distance.known
        found.append(abs(measured.distance.median / true_m - 1) if known else float("inf"))
    return found


def show(name: str, values: list[float], limit: float) -> dict[str, float]:
    errors_share = np.array(values)
    known = np.isfinite(errors_share)
    summary = {
        "objects": int(errors_share.size),
        "unknown": int((~known).sum()),
        "median": float(np.median(errors_share[known])),
        "p95": float(np.quantile(errors_share[known], 0.95)),
        "worst": float(errors_share[known].max()),
        "within_limit": float((errors_share <= limit).mean()),
    }
    print(
        f"{name:34s} {summary['objects']:4d} objects, {summary['unknown']} unknown; error median "
        f"{summary['median']:.2%}, 95 % {summary['p95']:.2%}, worst {summary['worst']:.2%}; "
        f"within {limit:.0%}: {summary['within_limit']:.1%}"
    )
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=8, help="per kind of scene")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report: dict[str, object] = {}
    every: dict[str, list[float]] = {"true masks": [], "geometry": [], "iou": []}
    for kind, row in synthetic(arguments.scenes).items():
        report[f"{kind}, true masks"] = show(f"{kind}, true masks", row["true masks"], 0.01)
        report[f"{kind}, geometry"] = show(f"{kind}, masks of geometry", row["geometry"], 0.02)
        print(f"{kind + ', mean IoU of geometry':34s} {np.mean(row['iou']):.3f}")
        for key, values in every.items():
            values += row[key]
    report["all, true masks"] = show("all, true masks", every["true masks"], 0.01)
    report["all, geometry"] = show("all, masks of geometry", every["geometry"], 0.02)
    report["mean IoU"] = float(np.mean(every["iou"]))
    print(f"{'all, mean IoU of geometry':34s} {report['mean IoU']:.3f}")
    frame, truth_px = motorcycle()
    objects = compare_with_truth(rm.Pipeline()(frame), truth_px).objects
    motorcycle_errors = [np.inf if o.error_share is None else o.error_share for o in objects]
    report["motorcycle"] = show("Motorcycle, masks of geometry", motorcycle_errors, 0.02)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
