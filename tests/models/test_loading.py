"""``load_backbone`` and ``load_depth_anything``: the wrong file is told, the right one loads."""

import json
import logging
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import rangemask
from rangemask.errors import InputError
from rangemask.models import loading
from rangemask.models.backbone import build_backbone
from rangemask.models.depth_anything import build_depth_anything
from rangemask.models.loading import load_depth_anything
from rangemask.structures import StereoFrame
from support.golden import HERE, SHARED, relative_error

DOCS = Path(__file__).resolve().parents[2] / "docs"
CASE = HERE / "depth_anything_v2" / "case_vits_240x320.npz"
SaveFilled = Callable[..., Path]


def zeros(system: str, keys: str, folder: Path) -> Path:
    """A file with the entries of a published one; its values do not matter."""
    path = (HERE if (HERE / system / f"keys_{keys}.json").exists() else SHARED) / system
    if not (path / f"keys_{keys}.json").exists():
        pytest.skip(f"the list of entries of {system} is not beside this checkout")
    shapes = json.loads((path / f"keys_{keys}.json").read_text(encoding="utf-8"))
    # One number, seen everywhere: the file is small.
    weights = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    file = folder / f"{system}_{keys}.pth"
    torch.save(weights, file)
    assert file.stat().st_size < 1e6
    return file


def nano(folder: Path, **others: Tensor) -> Path:
    torch.manual_seed(0)
    weights = build_backbone("dinov2-nano").vit.state_dict()
    save_file({**weights, **others}, folder / "model.safetensors")
    return folder


# The wrong file

SMALL = r"ViT-S/14 \(small, 384 wide\)"
BASE = r"ViT-B/14 \(base, 768 wide\)"


@pytest.mark.parametrize(
    ("name", "system", "keys", "words"),
    [
        (
            "dinov2-small",
            "dinov2",
            "vitb14",
            r"not the weights of dinov2-small; of 174 entries 174 of another shape \(cls_token is "
            r"\[1, 1, 768\], not \[1, 1, 384\], .*looks like a "
            rf"{BASE}; load it as dinov2-base\.",
        ),
        ("dinov2-base", "dinov2", "vits14", rf"looks like a {SMALL}; load it as dinov2-small\."),
        (
            "dinov2-small",
            "dinov2",
            "vits14_reg",
            r"1 of another shape \(pos_embed is \[1, 1369, 384\], not \[1, 1370, 384\]\); 1 "
            rf"unknown \(reg_token\).*{SMALL} with registers; load it as dinov2-small-reg\.",
        ),
        (
            "dinov2-small-reg",
            "dinov2",
            "vits14",
            rf"1 missing \(reg_token\).*looks like a {SMALL}; load it as dinov2-small\.",
        ),
        ("dinov2-large", "depth_anything_v2", "vits", rf"looks like a {SMALL}; load it as dinov2-"),
        ("dinov2-small", "sam2", "hiera_tiny", "looks like a Segment Anything model"),
        (
            "depth-anything-v2-small",
            "dinov2",
            "vits14",
            rf"missing \(backbone\.vit\..*looks like a {SMALL}; load it as dinov2-small\.",
        ),
        (
            "depth-anything-v2-small-metric-indoor",
            "depth_anything_v2",
            "vitb",
            rf"of another shape.*Depth Anything model on a {BASE}; load it as depth-anything-v2-b",
        ),
        ("depth-anything-v2-base", "sam2", "hiera_tiny", "looks like a Segment Anything model"),
    ],
)
def test_the_wrong_model_is_recognised(
    name: str, system: str, keys: str, words: str, tmp_path: Path
) -> None:
    load = rangemask.load_backbone if name.startswith("dinov2") else rangemask.load_depth
    with pytest.raises(InputError, match=words):
        load(name, checkpoint=zeros(system, keys, tmp_path), device="cpu")


def test_a_file_of_the_right_model_with_entries_missing_is_not_sent_elsewhere(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    weights = build_backbone("dinov2-nano").vit.state_dict()
    del weights["norm.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"1 missing \(norm\.bias\)") as caught:
        rangemask.load_backbone("dinov2-nano", checkpoint=tmp_path, device="cpu")
    assert "load it as" not in str(caught.value)


def test_a_file_with_more_than_the_model_is_refused(tmp_path: Path) -> None:
    nano(tmp_path, **{"head.weight": torch.ones(10, 96)})
    with pytest.raises(InputError, match=r"1 unknown \(head\.weight\)"):
        rangemask.load_backbone("dinov2-nano", checkpoint=tmp_path, device="cpu")


def test_a_file_of_something_unknown_is_described(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(3)}, tmp_path / "a.pth")
    for load, name in (
        (rangemask.load_backbone, "dinov2-small"),
        (rangemask.load_depth, "depth-anything-v2-small"),
    ):
        with pytest.raises(InputError, match=r"an unknown model of 1 entries \(conv\.weight\)"):
            load(name, checkpoint=tmp_path / "a.pth", device="cpu")


def test_a_missing_checkpoint_of_a_large_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        rangemask.load_backbone("dinov2-giant", checkpoint=tmp_path / "a.pth", device="cpu")


# The right file


def test_the_backbone_of_depth_anything_and_of_a_student_are_backbones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    weights = build_depth_anything("nano").state_dict()
    save_file(weights, tmp_path / "ours.safetensors")
    theirs = {n.replace("backbone.vit.", "pretrained."): value for n, value in weights.items()}
    torch.save(theirs, tmp_path / "theirs.pth")
    for file, prefix in (("ours.safetensors", "backbone.vit."), ("theirs.pth", "pretrained.")):
        caplog.clear()
        found = rangemask.load_backbone("dinov2-nano", checkpoint=tmp_path / file, device="cpu")
        for name, value in found.vit.state_dict().items():
            assert torch.equal(value, weights[f"backbone.vit.{name}"])
        assert f"taking the backbone {prefix}*" in caplog.text


def test_wrapped_and_prefixed_weights_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_depth_anything("nano")
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": weights, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "run.pth")
    found, source = load_depth_anything(
        "depth-anything-v2-nano", checkpoint=tmp_path / "run.pth", device="cpu"
    )
    assert source == tmp_path / "run.pth"
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_half_precision_files_load_into_full_precision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = build_backbone("dinov2-nano").vit.state_dict()
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "half.pth")
    found = rangemask.load_backbone("dinov2-nano", checkpoint=tmp_path, device="cpu")
    assert {value.dtype for value in found.parameters()} == {torch.float32}
    for name, value in found.vit.state_dict().items():
        assert torch.equal(value, weights[name].half().float())


def test_loading_leaves_the_file_and_the_random_numbers_alone(tmp_path: Path) -> None:
    """The weights are copies: a file that is later overwritten in place does no harm."""
    torch.manual_seed(0)
    torch.save(build_backbone("dinov2-nano").vit.state_dict(), tmp_path / "a.pth")
    before = torch.random.get_rng_state()
    found = rangemask.load_backbone("dinov2-nano", checkpoint=tmp_path, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)
    kept = {name: value.clone() for name, value in found.state_dict().items()}
    size = (tmp_path / "a.pth").stat().st_size
    with (tmp_path / "a.pth").open("r+b") as stream:
        stream.write(bytes(size))
    assert all(torch.equal(value, kept[name]) for name, value in found.state_dict().items())


def test_networks_come_frozen_and_ready(tmp_path: Path) -> None:
    found = rangemask.load_backbone("dinov2-nano", checkpoint=nano(tmp_path), device="cpu")
    assert not found.training
    assert not any(value.requires_grad for value in found.parameters())


@pytest.mark.parametrize(
    "build", [lambda: build_backbone("dinov2-nano-reg"), lambda: build_depth_anything("nano")]
)
def test_every_buffer_is_in_the_file(build: Callable[[], torch.nn.Module]) -> None:
    """What is outside the state dict would stay empty where a network is built without memory."""
    network = build()
    assert {name for name, _ in network.named_buffers()} <= set(network.state_dict())


def test_without_checkpoint_the_published_one_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return nano(tmp_path) / "model.safetensors"

    monkeypatch.setattr(loading, "fetch", fetch)
    rangemask.load_backbone("dinov2-nano", device="cpu")
    assert asked == ["dinov2-nano"]


# Devices, precisions, names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"device": "cuda:99"}, "'cuda:99' is not there"),
        ({"precision": "half"}, "precision must be one of auto, float32"),
    ],
)
def test_devices_and_precisions_are_checked_before_files(
    options: dict[str, str], words: str, tmp_path: Path
) -> None:
    given = {"device": "cpu", "checkpoint": tmp_path / "nowhere.pth", **options}
    with pytest.raises(InputError, match=words):
        rangemask.load_backbone("dinov2-small", **given)
    with pytest.raises(InputError, match=words):
        rangemask.load_depth("depth-anything-v2-small", **given)


@pytest.mark.parametrize(
    "name",
    [
        "depth-anything-v2-tiny",
        "depth-anything-v2-small-metric-moon",
        "depth-anything-small",
    ],
)
def test_unknown_depth_models_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"no depth model .*known: depth-anything-v2-nano"):
        load_depth_anything(name, device="cpu")


def test_float16_on_a_processor_is_advised_against(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = nano(tmp_path)
    for precision in ("float32", "bfloat16", "auto"):
        rangemask.load_backbone(
            "dinov2-nano", checkpoint=checkpoint, device="cpu", precision=precision
        )
    assert not caplog.records
    rangemask.load_backbone("dinov2-nano", checkpoint=checkpoint, device="cpu", precision="float16")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "float16 on a processor is slower than float32" in record.getMessage()


def test_bfloat16_agrees_with_the_published_numbers(filled_checkpoint: SaveFilled) -> None:
    case = np.load(CASE)
    model = rangemask.load_depth(
        "depth-anything-v2-small",
        checkpoint=filled_checkpoint("depth_anything_v2", "vits", int(case["seed"])),
        device="cpu",
        precision="bfloat16",
    )
    step = int(case.get("depth_step", 1))
    found = model(StereoFrame(case["image_rgb"])).values
    assert found.dtype == np.float32
    assert 1e-5 < relative_error(found[::step, ::step], case["depth"]) < 0.02


@pytest.mark.parametrize("kind", ["", "-metric-outdoor"])
def test_less_precision_agrees_with_float32(kind: str, filled_checkpoint: SaveFilled) -> None:
    """On a smaller input: processors take long for float16."""
    case = np.load(CASE)
    exact, rounded, half = (
        rangemask.load_depth(
            f"depth-anything-v2-small{kind}",
            checkpoint=filled_checkpoint("depth_anything_v2", "vits", int(case["seed"])),
            device="cpu",
            precision=precision,
            input_size_px=196,
        )(StereoFrame(case["image_rgb"])).values
        for precision in ("float32", "bfloat16", "float16")
    )
    assert 0 < relative_error(rounded, exact) < 0.02
    assert 0 < relative_error(half, exact) < 0.01


# The pages


@pytest.mark.parametrize("page", ["backbone.md", "depth-anything.md"])
def test_the_pages_run(
    page: str, filled_checkpoint: SaveFilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with files of the names that the pages speak of."""
    for system, keys, name in (
        ("dinov2", "vits14", "dinov2_vits14_pretrain.pth"),
        ("depth_anything_v2", "vits", "depth_anything_v2_vits.pth"),
        ("depth_anything_v2", "vits", "depth_anything_v2_metric_hypersim_vits.pth"),
    ):
        (tmp_path / name).hardlink_to(filled_checkpoint(system, keys))
    text = (DOCS / page).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert snippets
    (tmp_path / "page.py").write_text("\n".join(snippets), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("page.py")
