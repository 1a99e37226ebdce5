"""Curves of a run as pictures: loss, accuracy, mean IoU, error in metres or px."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from rangemask.atomic import atomic_file
from rangemask.training.metrics_log import read_rows
from rangemask.training.run_folder import RunFolder
from rangemask.training.words import name_of

PLOTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "loss.png": ("train/loss", "val/loss"),
        "accuracy.png": ("val/pixel_accuracy", "val/delta1", "val/ap50"),
        "miou.png": ("val/miou", "val/mask_iou"),
        "rmse.png": ("val/rmse_m", "val/epe_px"),
        "abs_rel.png": ("val/mono_abs_rel", "val/pair_abs_rel", "val/refine_abs_rel"),
        "depth_rmse.png": ("val/mono_rmse_m", "val/pair_rmse_m", "val/refine_rmse_m"),
        "photometric.png": ("val/mono_photo", "val/pair_photo", "val/refine_photo"),
        "guard.png": ("val/knn", "val/linear", "val/patch_retrieval", "val/image_retrieval"),
        "drift.png": ("val/patch_drift", "val/class_drift"),
    }
)
"""Which numbers go into which picture; a picture of none of them is not drawn."""


def write_plots(folder: RunFolder) -> list[Path]:
    """Draw what the run has logged; gives the pictures."""
    curves = read_curves(folder.metrics_csv)
    written = []
    for name, series in PLOTS.items():
        found = {one: curves[one] for one in series if len(curves.get(one, ())) > 0}
        if found:
            written.append(_draw(folder.path / name, found))
    return written


def read_curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by name."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(path):
        for name, value in row.items():
            if name not in {"step", "epoch"}:
                curves.setdefault(name, []).append((int(row["step"]), value))
    return curves


def _label(name: str) -> str:
    if name.endswith("/loss"):
        return {"train": "training", "val": "validation"}[name.partition("/")[0]]
    plain = name.removeprefix("val/")
    unit = " (m)" if plain.endswith("_m") else " (px)" if plain.endswith("_px") else ""
    return f"{name_of(plain)}{unit}"


def _draw(path: Path, series: Mapping[str, list[tuple[int, float]]]) -> Path:
    # Imported here, and without pyplot: no window system, no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, points in series.items():
        steps, values = zip(*points, strict=True)
        marker = "o" if len(points) < 40 else ""
        axes.plot(steps, values, marker=marker, markersize=3, label=_label(name))
    axes.set_xlabel("optimiser steps")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    if path.stem == "loss" and min(value for points in series.values() for _, value in points) > 0:
        axes.set_yscale("log")
    with atomic_file(path) as staging:
        figure.savefig(staging, format="png")
    return path
