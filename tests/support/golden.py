"""Golden cases: inputs and outputs of published code on weights made by a rule.

Both sides fill every entry of a state dict with numbers that depend on its published name, its
shape and a seed, so a case needs no weights.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parents[1] / "golden"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "golden"


def _uniform(name: str, count: int, seed: int) -> np.ndarray:
    key = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    bits = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(count)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def filled(name: str, shape: list[int], seed: int) -> torch.Tensor:
    """One entry."""
    value = (_uniform(name, math.prod(shape), seed) - 0.5) * math.sqrt(12.0)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        value = 1 + 0.1 * np.abs(value)
    elif leaf == "running_mean":
        value = 0.1 * value
    elif leaf == "gamma":
        value = 0.5 + 0.1 * value
    elif leaf == "bias":
        value = 0.05 * value
    elif len(shape) <= 1:
        value = 1 + 0.1 * value
    elif leaf in {"pos_embed", "cls_token", "register_tokens", "mask_token"}:
        value = 0.02 * value
    else:
        value = value / math.sqrt(max(math.prod(shape[1:]), 1))
    return torch.from_numpy(value.astype(np.float32).reshape(shape))


def filled_weights(system: str, keys: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """The weights of a system's cases; ``keys`` names its list of entries."""
    shapes = json.loads((HERE / system / f"keys_{keys}.json").read_text(encoding="utf-8"))
    shapes = shapes.get("float", shapes)  # beside counters, which no rule fills
    return {name: filled(name, shape, seed) for name, shape in shapes.items()}


def cases(system: str) -> list[Path]:
    """The cases that ship with the repository, and those that lie beside it, if any."""
    ours = sorted((HERE / system).glob("case_*.npz"))
    beside = sorted((SHARED / system).glob("case_*.npz"))
    return [*ours, *beside]


def case_id(path: Path) -> str:
    """For pytest."""
    return f"{path.stem.removeprefix('case_')}-{'repository' if HERE in path.parents else 'full'}"


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected||."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
