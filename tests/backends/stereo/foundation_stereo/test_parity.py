"""The published numbers, on weights made by a rule; bounds of the specification, section 13."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rangemask
from rangemask.backends.stereo.foundation_stereo import FoundationStereoMatcher
from rangemask.models.foundation_stereo.inference import infer
from rangemask.models.foundation_stereo.lookup import published_order
from rangemask.models.foundation_stereo.network import FoundationStereo, StereoOutput
from rangemask.models.foundation_stereo.streaming import Slabs
from rangemask.models.weights import sha256_of
from rangemask.structures import StereoFrame
from support.golden import case_id, cases

# Of a case that is here in part and beside the checkout in full, the full one.
CASES = {path.name: path for path in cases("foundation_stereo")}
BOUNDS = {"disp": 2e-3, "init_disp": 5e-4, "cells": 5e-4, "logits": 5e-6, "geo_iter0": 2e-4}


def _order(path: Path) -> tuple[str, str]:
    """Cases of one network next to each other, so that one is held at a time."""
    meta = _meta(path)
    return meta["vit"], meta["attention"]


@cache
def _meta(path: Path) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(str(np.load(path)["meta"]))
    return meta


@pytest.fixture(scope="module")
def matchers(published: Any) -> Any:
    """A matcher by size and attention; only the last network is kept."""
    held: dict[tuple[str, str], FoundationStereoMatcher] = {}

    def get(size: str, attention: str) -> FoundationStereoMatcher:
        if (size, attention) not in held:
            held.clear()
            held[size, attention] = rangemask.load_stereo(  # type: ignore[assignment]
                "foundation-stereo",
                checkpoint=published(size),
                device="cpu",
                attention=attention,
            )
        return held[size, attention]

    return get


@pytest.mark.parametrize("path", sorted(CASES.values(), key=_order), ids=case_id)
def test_published_numbers(path: Path, matchers: Any) -> None:
    case, meta = np.load(path), _meta(path)
    shown = np.load(CASES[path.name.replace("_headattn", "")])
    left, right = (np.ascontiguousarray(shown[n].transpose(1, 2, 0)) for n in ("left", "right"))
    matcher = _with(matchers(meta["vit"], meta["attention"]), meta)
    seen: dict[str, Any] = {}
    handles = _watch(matcher.network, seen)
    try:
        if meta["kind"] == "ramp":
            disparity = _started(matcher, left, right, torch.from_numpy(shown["init_disp"]), meta)
        else:
            match = matcher(StereoFrame(left, right))
            disparity = match.disparity
            assert np.isfinite(disparity).all()
            np.testing.assert_array_equal(
                match.occluded, np.arange(disparity.shape[1]) - disparity < 0
            )
    finally:
        for handle in handles:
            handle.remove()
    out: StereoOutput = seen["out"]
    rows, columns = case["pos_y"], case["pos_x"]
    found = {
        "disp": disparity,
        "init_disp": out.start[0, 0].numpy(),
        "cells": out.cells[0, 0].numpy(),
        "logits": out.logits[0].numpy()[:, rows][:, :, columns],
    }
    expected = {name: case["disp4_iter"][-1] if name == "cells" else case[name] for name in found}
    if meta["kind"] == "ramp" and "geo_iter0" in case:
        looked = published_order(seen["look"], 28, 1, tuple(out.cells.shape[-2:]))  # type: ignore[arg-type]
        found["geo_iter0"] = looked[0].numpy()[:, rows][:, :, columns]
        expected["geo_iter0"] = case["geo_iter0"]
    for name, values in found.items():
        assert values.shape == expected[name].shape
        assert np.abs(values - expected[name]).max() < BOUNDS[name], name


def test_terms_are_said_when_it_is_loaded(
    published: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = published("vits")
    (tmp_path / "model_best_bp2.pth").symlink_to(weights)
    (tmp_path / "cfg.yaml").write_text("vit_size: vits\nmax_disp: 320\n", encoding="utf-8")
    one = rangemask.load_stereo(
        f"foundation-stereo:{tmp_path / 'model_best_bp2.pth'}", device="cpu", iterations=4
    )
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "for research use only" in said[0]
    passport = one.passport
    assert passport.licence_class == "research-only"
    assert passport.weights_sha256 == sha256_of(weights)
    assert passport.options["max_disparity_px"] == 320
    assert passport.options["iterations"] == 4


def _watch(network: FoundationStereo, seen: dict[str, Any]) -> list[Any]:
    """Keep the last output of the network, and what the first round looked up."""

    def keep_output(_: Any, __: Any, out: StereoOutput) -> None:
        seen["out"] = out

    def keep_look(_: Any, given: Any) -> None:
        seen.setdefault("look", given[1])

    return [
        network.register_forward_hook(keep_output),
        network.update_block.encoder.register_forward_pre_hook(keep_look),
    ]


def _with(matcher: FoundationStereoMatcher, meta: dict[str, Any]) -> FoundationStereoMatcher:
    options = replace(
        matcher.options,
        iterations=meta["iters"],
        max_disparity_px=meta["max_disp"],
        hierarchical=meta["kind"] == "hier",
    )
    return FoundationStereoMatcher(matcher.network, matcher.passport, options)


def _started(
    matcher: FoundationStereoMatcher,
    left: np.ndarray,
    right: np.ndarray,
    start: torch.Tensor,
    meta: dict[str, Any],
) -> np.ndarray:
    """With a start on the network's own grid, beyond what a frame's disparity may be."""
    pair = [torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in (left, right)]
    with torch.inference_mode():
        found, _ = infer(
            matcher.network,
            *pair,
            iterations=meta["iters"],
            max_disparity_px=meta["max_disp"],
            start=start[None, None],
            slabs=Slabs(),
        )
    disparity: np.ndarray = found.disparity_px[0, 0].numpy()
    return disparity
