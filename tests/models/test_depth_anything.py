"""The published numbers of Depth Anything V2, from the authors' files and transformers'."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import rangemask
from rangemask.backends.depth.depth_anything import network_input, network_size
from rangemask.errors import InputError
from rangemask.models.depth_anything import (
    build_depth_anything,
    canonical_depth_anything,
    check_settings,
)
from rangemask.models.loading import load_depth_anything
from rangemask.structures import StereoFrame
from support.checkpoints import release_4, release_5, transformers_depth_anything
from support.golden import HERE, case_id, cases, filled_weights, relative_error

SIZES = {"depth_anything_v2_vits": ("small", "vits"), "depth_anything_v2_vitb": ("base", "vitb")}
KINDS = {0.0: "", 20.0: "-metric-indoor", 80.0: "-metric-outdoor"}


# Of a case that is here in part and beside the checkout in full, the full one.
CASES = {path.name: path for path in cases("depth_anything_v2")}


@pytest.mark.parametrize("path", CASES.values(), ids=case_id)
def test_published_numbers(path: Path, filled_checkpoint: Callable[..., Path]) -> None:
    case = np.load(path)
    size, keys = SIZES[str(case["model"])]
    kind = KINDS[float(case["metric_max_depth"])]
    model = rangemask.load_depth(
        f"depth-anything-v2-{size}{kind}",
        checkpoint=filled_checkpoint("depth_anything_v2", keys, int(case["seed"])),
        device="cpu",
    )
    image = case["image_rgb"]
    expected_size = tuple(case["network_input_size"].tolist())
    assert network_size(*image.shape[:2], 518) == expected_size
    prepared = network_input(image, expected_size)
    np.testing.assert_allclose(
        prepared[:, ::16, ::16], case["network_input_slice"], rtol=0, atol=1e-5
    )
    found = model(StereoFrame(image))
    assert found.kind == ("metric_m" if kind else "relative_inverse")
    step = int(case.get("depth_step", 1))
    assert found.values.shape == image.shape[:2]
    assert relative_error(found.values[::step, ::step], case["depth"]) < 1e-5
    assert model.passport.licence_class == ("commercial-ok" if size == "small" else "research-only")


# transformers' files


@pytest.mark.parametrize("kind", ["saved", "release 5", "release 4"])
@pytest.mark.parametrize(
    ("name", "max_depth_m"),
    [
        ("depth-anything-v2-nano", None),
        ("depth-anything-v2-nano-metric-indoor", 20),
        ("depth-anything-v2-nano-metric-outdoor", 80),
    ],
)
def test_depth_is_that_of_transformers(
    name: str, max_depth_m: int | None, kind: str, tmp_path: Path
) -> None:
    theirs: Any = transformers_depth_anything(max_depth_m=max_depth_m)
    theirs.save_pretrained(tmp_path)
    weights = release_5(tmp_path)
    if kind != "saved":
        named = weights if kind == "release 5" else release_4(weights)
        save_file(named, tmp_path / "model.safetensors")
    ours, _ = load_depth_anything(name, checkpoint=tmp_path, device="cpu")
    pixels = torch.randn(2, 3, 70, 126, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, found = theirs(pixels).predicted_depth, ours(pixels)
    assert found.shape == (2, 70, 126)
    assert found.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_their_settings_are_heeded(tmp_path: Path) -> None:
    """Relative and metric files have the same entries; transformers says beside which it is."""
    transformers_depth_anything(max_depth_m=80).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"depth is metric; load it by a name with -metric-ind"):
        load_depth_anything("depth-anything-v2-nano", checkpoint=tmp_path, device="cpu")
    indoor = "depth-anything-v2-nano-metric-indoor"
    with pytest.raises(InputError, match=r"max_depth is 80\S* m, not 20\S* m; pass max_depth_m=80"):
        load_depth_anything(indoor, checkpoint=tmp_path, device="cpu")
    network, _ = load_depth_anything(indoor, checkpoint=tmp_path, device="cpu", max_depth_m=80)
    assert network.depth.config.max_depth_m == 80
    transformers_depth_anything().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"depth is relative; load it by a name without -metric"):
        load_depth_anything(indoor, checkpoint=tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("given_settings", "refused"),
    [
        ({}, False),
        ({"model_type": "dinov2", "depth_estimation_type": "metric"}, False),
        ({"model_type": "depth_anything"}, False),
        ({"model_type": "depth_anything", "backbone_config": None}, False),
        ({"model_type": "depth_anything", "backbone_config": "dinov2"}, False),
        (
            {"model_type": "depth_anything", "backbone_config": {"out_indices": [3, 6, 9, 12]}},
            False,
        ),
        (
            {"model_type": "depth_anything", "backbone_config": {"out_indices": [9, 10, 11, 12]}},
            True,
        ),
        ({"model_type": "depth_anything", "depth_estimation_type": "metric"}, True),
    ],
)
def test_settings_of_the_first_version_are_refused(
    given_settings: dict[str, Any], refused: bool
) -> None:
    """Depth Anything V1 has the same entries as V2, but reads the last four layers."""
    source = Path("model.safetensors")
    if not refused:
        check_settings(given_settings, size="small", max_depth_m=None, source=source)
        return
    with pytest.raises(InputError, match=r"config\.json beside it says that"):
        check_settings(given_settings, size="small", max_depth_m=None, source=source)


@pytest.mark.parametrize(
    ("name", "file", "warned"),
    [
        ("depth-anything-v2-small", "depth_anything_v2_vits.pth", False),
        ("depth-anything-v2-small", "mine.pth", False),
        ("depth-anything-v2-small", "depth_anything_v2_metric_hypersim_vits.pth", True),
        ("depth-anything-v2-small-metric-indoor", "depth_anything_v2_vits.pth", True),
        (
            "depth-anything-v2-small-metric-indoor",
            "depth_anything_v2_metric_hypersim_vits.pth",
            False,
        ),
        (
            "depth-anything-v2-small-metric-outdoor",
            "depth_anything_v2_metric_hypersim_vits.pth",
            True,
        ),
    ],
)
def test_a_published_name_of_another_kind_is_warned_of(
    name: str,
    file: str,
    warned: bool,
    filled_checkpoint: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / file).hardlink_to(filled_checkpoint("depth_anything_v2", "vits"))
    load_depth_anything(name, checkpoint=tmp_path / file, device="cpu")
    assert bool(caplog.records) == warned
    if warned:
        assert caplog.records[0].levelno == logging.WARNING
        assert f"but is loaded as {name}" in caplog.records[0].getMessage()


def test_the_passport_tells_the_weights(filled_checkpoint: Callable[..., Path]) -> None:
    checkpoint = filled_checkpoint("depth_anything_v2", "vits")
    loaded: Any = rangemask.load_depth(
        "depth-anything-v2-small-metric-indoor",
        checkpoint=checkpoint,
        device="cpu",
        input_size_px=140,
        max_depth_m=12.5,
    )
    passport = loaded.passport
    assert loaded.metric
    assert passport.weights == checkpoint.name
    assert len(passport.weights_sha256) == 64
    assert passport.licence == "Apache-2.0"
    assert passport.options == {"input_size_px": 140, "precision": "auto", "max_depth_m": 12.5}
    assert loaded(StereoFrame(np.zeros((20, 30, 3), np.uint8))).values.max() <= 12.5


# Entries

DEAD = ("pretrained.mask_token", "depth_head.scratch.refinenet4.resConfUnit1.")


@pytest.mark.parametrize(("size", "keys"), [("small", "vits"), ("base", "vitb")])
def test_every_published_entry_has_its_place_but_the_dead_ones(size: str, keys: str) -> None:
    listed = json.loads((HERE / "depth_anything_v2" / f"keys_{keys}.json").read_text("utf-8"))
    with torch.device("meta"):
        expected = {n: v.shape for n, v in build_depth_anything(size).state_dict().items()}
        published = {name: torch.empty(shape) for name, shape in listed.items()}
    found = {n: v.shape for n, v in canonical_depth_anything(published).items()}
    assert found == expected
    assert sum(name.startswith(DEAD) for name in published) == 5
    assert len(found) == len(published) - 5


@pytest.mark.parametrize(("size", "millions"), [("small", 24.8), ("base", 97.5), ("large", 335.3)])
def test_sizes_are_the_published_ones(size: str, millions: float) -> None:
    """The authors count what is in their files, dead weights too."""
    with torch.device("meta"):
        network = build_depth_anything(size)
    dead = (
        network.backbone.width + 2 * (9 * network.pyramid.channels + 1) * network.pyramid.channels
    )
    count = sum(value.numel() for value in network.state_dict().values())
    assert round((count + dead) / 1e6, 1) == millions


@pytest.mark.parametrize("dead", DEAD)
def test_dead_weights_may_be_absent(
    dead: str, filled_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Files that went through a converter lack them."""
    weights = filled_weights("depth_anything_v2", "vits")
    kept = {name: value for name, value in weights.items() if not name.startswith(dead)}
    assert len(kept) < len(weights)
    torch.save(kept, tmp_path / "a.pth")
    load_depth_anything("depth-anything-v2-small", checkpoint=tmp_path, device="cpu")


def test_other_entries_must_not_be_absent(tmp_path: Path) -> None:
    weights = filled_weights("depth_anything_v2", "vits")
    del weights["depth_head.scratch.refinenet3.resConfUnit1.conv1.bias"]
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"1 missing \(pyramid\.fuse\.2\.lateral\.first\.bias\)"):
        load_depth_anything("depth-anything-v2-small", checkpoint=tmp_path, device="cpu")


@pytest.fixture(scope="module")
def entries() -> dict[str, list[str]]:
    listed = json.loads((HERE / "depth_anything_v2" / "keys_vits.json").read_text("utf-8"))
    theirs = transformers_depth_anything().state_dict()
    return {"authors": list(listed), "transformers": list(theirs)}


@settings(deadline=None, max_examples=60)
@given(data=st.data(), prefix=st.sampled_from(["", "module.", "model."]))
def test_any_mixture_of_entries_passes(
    entries: dict[str, list[str]], data: st.DataObject, prefix: str
) -> None:
    """Half a file, or two at once: it is for the strict loading to say what is wrong."""
    names = data.draw(
        st.lists(st.sampled_from([*entries["authors"], *entries["transformers"]]), max_size=30)
    )
    found = canonical_depth_anything({f"{prefix}{name}": torch.zeros(1) for name in names})
    assert len(found) <= len(set(names))


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.module."])
def test_prefixes_of_training_runs_are_taken_off(
    entries: dict[str, list[str]], prefix: str
) -> None:
    for names in entries.values():
        shape = (2, 3, 14, 14)
        plain = canonical_depth_anything({name: torch.zeros(shape) for name in names})
        with_prefix = {f"{prefix}{name}": torch.zeros(shape) for name in names}
        assert canonical_depth_anything(with_prefix).keys() == plain.keys()
        assert all(name.startswith(("backbone.vit.", "pyramid.", "depth.")) for name in plain)
