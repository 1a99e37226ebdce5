"""Two-in-one networks on disk: our folders and the authors' files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import rangemask as rm
from rangemask.errors import InputError, OutputError
from rangemask.models.card import ModelCard, Source
from rangemask.models.config import RangeMaskConfig
from rangemask.models.rangemask import RangeMask, build_rangemask
from rangemask.models.two_in_one import (
    TwoInOne,
    TwoInOneConfig,
    build_two_in_one,
    load_two_in_one,
    save_two_in_one,
)
from support.two_in_one import tiny_network

CARD = ModelCard(
    sources=(
        Source(name="our yard", role="images", licence="own", terms="commercial-ok"),
        Source(name="dinov2-small", role="backbone", licence="Apache-2.0", terms="commercial-ok"),
    ),
    training="50 epochs on 900 pairs.",
    metrics={"val/abs_rel": 0.09},
)
OPTIONS = {"full_size": (64, 96), "focal_px": 55.5, "metric": False, "mono_path": "mono"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "yard"
    return save_two_in_one(tiny_network(**OPTIONS), folder, card=CARD)


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "yard"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_what_is_saved_is_what_is_read(saved: Path) -> None:
    model = tiny_network(**OPTIONS).eval()
    for again in (load_two_in_one(saved), load_two_in_one(saved / "model.safetensors")):
        assert again.config == model.config
        assert again.card == CARD
        assert not again.training
        for name, value in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name
    learning = [name for name, value in model.named_parameters() if value.requires_grad]
    assert learning == [n for n, value in again.named_parameters() if value.requires_grad]


def test_load_model_knows_it(saved: Path) -> None:
    model = rm.load_model(saved, device="cpu", precision="float32")
    assert isinstance(model, TwoInOne)
    assert not any(value.requires_grad for value in model.parameters())
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = tiny_network(**OPTIONS).eval()(images, images).disparity
    assert torch.allclose(model(images, images).disparity, expected, rtol=1e-4)


def test_config_and_card_are_for_people(saved: Path) -> None:
    values = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert values["architecture"] == "two-in-one"
    assert values["model"]["full_size"] == [64, 96]
    page = (saved / "README.md").read_text(encoding="utf-8")
    for words in ("our yard", "50 epochs", "val/abs_rel | 0.09", "commercial-ok", "At 64 x 96"):
        assert words in page
    costs = [line.split("|") for line in page.splitlines() if line.startswith(("| one", "| a p"))]
    assert len(costs) == 2
    assert 2 * float(costs[0][3]) <= float(costs[1][3]) + 0.1


def test_students_of_the_other_kind_are_told_apart(saved: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = build_rangemask(RangeMaskConfig.preset("nano", ("depth",)))
    folder = other.save_pretrained(tmp_path / "student")
    assert isinstance(rm.load_model(folder, device="cpu"), RangeMask)
    with pytest.raises(InputError, match="is of a rangemask network, not of two-in-one"):
        load_two_in_one(folder)
    with pytest.raises(InputError, match="is of a two-in-one network, not of rangemask"):
        RangeMask.from_pretrained(saved)


def test_nothing_is_overwritten_unasked(copy: Path) -> None:
    model = tiny_network()
    with pytest.raises(OutputError, match="pass overwrite=True"):
        save_two_in_one(model, copy)
    save_two_in_one(model, copy, overwrite=True)
    assert load_two_in_one(copy).config == model.config
    (copy / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds notes\.txt"):
        save_two_in_one(model, copy, overwrite=True)


def test_damage_is_said(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_two_in_one(tmp_path / "nothing")
    weights = load_file(copy / "model.safetensors")
    name = next(iter(weights))
    save_file({n: v for n, v in weights.items() if n != name}, copy / "model.safetensors")
    with pytest.raises(InputError, match="1 missing"):
        load_two_in_one(copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(
        json.dumps({**config, "architecture": "three-in-one"}), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"architecture 'three-in-one'.*Update rangemask"):
        rm.load_model(copy, device="cpu")
    config["model"]["full_size"] = [64]
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InputError, match="full_size must be height and width"):
        load_two_in_one(copy)


@pytest.mark.parametrize("focal_px", [0.0, float("inf")])
def test_impossible_lenses_are_refused(focal_px: float) -> None:
    with pytest.raises(InputError, match="focal_px must be positive"):
        TwoInOneConfig(focal_px=focal_px)


def test_the_authors_file_is_a_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = build_two_in_one(TwoInOneConfig(encoder="swin-t"))
    file = tmp_path / "tio_depth.pth"
    entries = {
        **{f"0.{name}": value for name, value in theirs.encoder.state_dict().items()},
        **{f"1.{name}": value for name, value in theirs.decoder.state_dict().items()},
    }
    torch.save({"model_params": entries}, file)
    model = rm.load_model(file, device="cpu", precision="float32")
    assert isinstance(model, TwoInOne)
    assert model.card.terms == "research-only"
    assert model.config.focal_px == pytest.approx(742.4, abs=0.1)
    for name, value in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    depth = rm.load_depth(f"student:{file}", device="cpu", precision="float32")
    assert depth.passport.weights == "tio_depth.pth"
    assert depth.passport.licence_class == "research-only"
    matcher = rm.load_stereo(f"student:{file}", device="cpu", precision="float32")
    assert matcher.passport.options["architecture"] == "two-in-one"
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the weights of TiO-Depth's Swin-T"):
        rm.load_model(tmp_path / "other.pth", device="cpu")
