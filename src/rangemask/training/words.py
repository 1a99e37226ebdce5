"""Scores in words, with their units, for pages and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "loss": "loss",
        "abs_rel": "depth, relative error",
        "rmse_m": "depth, RMSE",
        "delta1": "depth within 25 %",
        "epe_px": "disparity, mean error",
        "bad_2": "disparity off by more than 2 px",
        "ap": "masks, AP",
        "ap50": "masks, AP50",
        "mask_iou": "masks, mean IoU",
        "miou": "classes, mean IoU",
        "pixel_accuracy": "classes, pixel accuracy",
        "knn": "classes by nearest neighbours",
        "linear": "classes by a linear probe",
        "patch_retrieval": "patches found again",
        "image_retrieval": "images found again",
        "patch_drift": "drift of patches",
        "class_drift": "drift of class tokens",
        "cka": "likeness to the start (CKA)",
        "rank": "effective rank",
        "choice": "what the best epoch is chosen by",
        "mono_abs_rel": "one eye, relative error",
        "mono_rmse_m": "one eye, RMSE",
        "mono_photo": "one eye, photometric error",
        "pair_abs_rel": "two eyes, relative error",
        "pair_rmse_m": "two eyes, RMSE",
        "pair_photo": "two eyes, photometric error",
        "refine_abs_rel": "one eye refined, relative error",
        "refine_rmse_m": "one eye refined, RMSE",
        "refine_photo": "one eye refined, photometric error",
    }
)
_SHARES = frozenset({"delta1", "bad_2", "ap", "ap50", "mask_iou", "miou", "pixel_accuracy"})
_PERCENT = frozenset({"knn", "linear", "patch_retrieval", "image_retrieval"})
_TINY = 1e-4


def name_of(score: str) -> str:
    """Its name for people; ``depth/rmse_m`` of a workflow is that of its step."""
    step, _, plain = score.rpartition("/")
    words = NAMES.get(plain, plain)
    return f"{words}, after {step}" if step else words


def value_of(score: str, value: float) -> str:
    """Its value with its unit."""
    plain = score.rpartition("/")[2]
    if plain in _SHARES:
        return f"{100 * value:.1f} %"
    if plain in _PERCENT:
        return f"{value:.1f} %"
    unit = " m" if plain.endswith("_m") else " px" if plain.endswith("_px") else ""
    if 0 < abs(value) < _TINY:
        return f"< {_TINY:g}{unit}"
    return f"{value:.3g}{unit}"


def in_words(scores: Mapping[str, float]) -> str:
    """All of them, in one line."""
    return "; ".join(f"{name_of(name)} {value_of(name, scores[name])}" for name in sorted(scores))
