"""Students on disk: whole, readable by people, and strict when read back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import rangemask
from rangemask.errors import InputError, OutputError
from rangemask.models.backbone import build_backbone
from rangemask.models.card import ModelCard, Source
from rangemask.models.config import RangeMaskConfig
from rangemask.models.depth_anything import build_depth_anything
from rangemask.models.loading import load_backbone
from rangemask.models.pretrained import start_from_backbone, start_from_depth_anything
from rangemask.models.rangemask import RangeMask, build_rangemask
from support.golden import filled_weights

CARD = ModelCard(
    sources=(
        Source(name="DINOv2 ViT-S", role="backbone", licence="Apache-2.0", terms="commercial-ok"),
        Source(name="captures of our hall", role="images", licence="own", terms="commercial-ok"),
    ),
    training="10 epochs on 300 pairs.",
    metrics={"val/rmse_m": 0.31},
)


def nano(heads: tuple[str, ...] = ("depth", "masks", "semantic", "fusion")) -> RangeMask:
    torch.manual_seed(0)
    return build_rangemask(RangeMaskConfig.preset("nano", heads, classes=("person",)), CARD)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nano().save_pretrained(tmp_path_factory.mktemp("students") / "hall")


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "hall"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_what_is_saved_is_what_is_read(saved: Path) -> None:
    model = nano()
    again = RangeMask.from_pretrained(saved)
    assert again.config == model.config
    assert again.card == CARD
    assert again.card.terms == "commercial-ok"
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert {file.name for file in saved.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }


def test_all_heads_survive(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_rangemask(RangeMaskConfig.preset("nano"))
    again = rangemask.load_model(model.save_pretrained(tmp_path / "all"), device="cpu")
    images = torch.rand(1, 3, 56, 56)
    with torch.inference_mode():
        one, other = model.train(False)(images, images), again(images, images)
    torch.testing.assert_close(one.depth, other.depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        one.stereo.disparity_px, other.stereo.disparity_px, rtol=1e-3, atol=1e-3
    )


def test_the_card_says_where_it_comes_from_and_what_it_costs(saved: Path) -> None:
    page = (saved / "README.md").read_text(encoding="utf-8")
    for words in (
        "A RangeMask model on dinov2-nano",
        "Heads: depth, masks, semantic, fusion",
        "**commercial-ok**",
        "| backbone | DINOv2 ViT-S | Apache-2.0 | commercial-ok |",
        "10 epochs on 300 pairs.",
        "| val/rmse_m | 0.31 |",
        "| pyramid |",
        "| total |",
        "license: other",  # the captures have a licence of their own
        "One square image, 224 px",
    ):
        assert words in page, words


def test_the_strictest_licence_counts() -> None:
    research = Source(name="a", role="labels", licence="CC-BY-NC-4.0", terms="research-only")
    unknown = Source(name="b", role="images", licence="?")
    assert ModelCard(sources=(*CARD.sources, unknown)).terms == "unknown"
    assert ModelCard(sources=(*CARD.sources, unknown, research)).terms == "research-only"
    assert ModelCard().terms == "unknown"


def test_terms_are_one_of_three_and_metrics_are_numbers() -> None:
    with pytest.raises(InputError, match="terms of x must be one of commercial-ok"):
        Source(name="x", role="labels", licence="CC-BY-NC-4.0", terms="non-commercial")
    for metrics in ({"rmse": float("nan")}, {"rmse": "low"}, 3):
        with pytest.raises(InputError, match="metric"):
            ModelCard(metrics=metrics)
    share = Source(name="x", role="images", licence="CC-BY-SA-4.0", terms="commercial-ok")
    assert CARD.terms == "commercial-ok"
    assert not CARD.is_apache
    assert not ModelCard(sources=(share,)).is_apache
    assert ModelCard(sources=CARD.sources[:1]).is_apache


def test_an_existing_folder_is_kept_unless_told_otherwise(copy: Path) -> None:
    before = (copy / "model.safetensors").read_bytes()
    other = nano(("depth",))
    with pytest.raises(OutputError, match="already exists and is kept; pass overwrite=True"):
        other.save_pretrained(copy)
    (copy / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt besides a student"):
        other.save_pretrained(copy, overwrite=True)
    (copy / "notes.txt").unlink()
    assert (copy / "model.safetensors").read_bytes() == before
    other.save_pretrained(copy, overwrite=True)
    assert RangeMask.from_pretrained(copy).config.heads == ("depth",)
    assert [file.name for file in copy.parent.iterdir()] == ["hall"]


def test_weights_in_less_precision_can_be_read(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    half = {n: v.half() if v.is_floating_point() else v for n, v in weights.items()}
    save_file(half, copy / "model.safetensors")
    again = RangeMask.from_pretrained(copy)
    assert again.backbone.dtype == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_load_model_places_and_freezes(saved: Path, precision: str) -> None:
    model = rangemask.load_model(saved, device="cpu", precision=precision)
    assert model.head_dtype == getattr(torch, precision)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    with torch.inference_mode():
        assert torch.isfinite(model(torch.rand(1, 3, 28, 42)).depth).all()


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "config.json").unlink(), r"holds no config\.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json: cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "must hold a table"),
        (lambda f: (f / "config.json").write_text("{}"), "has no card, format, model"),
        (lambda f: change_config(f, lambda c: c.update(format=9)), "has format 9.*reads 1"),
        (lambda f: change_config(f, lambda c: c.update(card=3)), "card must be a table"),
        (lambda f: change_config(f, lambda c: c["card"].update(colour=1)), "colour"),
        (lambda f: change_config(f, lambda c: c["model"].update(colour=1)), "has no colour"),
        (lambda f: (f / "model.safetensors").unlink(), "no such checkpoint"),
        (
            lambda f: (f / "model.safetensors").write_bytes(
                (f / "model.safetensors").read_bytes()[:5000]
            ),
            "safetensors; its 5000 bytes are damaged",
        ),
        (
            lambda f: change_config(f, lambda c: c["model"].update(backbone="dinov2-small")),
            r"not the weights of the student of .*config\.json.*nano, 96 wide",
        ),
        (
            lambda f: change_config(f, lambda c: c["model"].update(semantic=None)),
            r"unknown \(semantic",
        ),
    ],
)
def test_bad_folders_are_refused(copy: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(copy)
    with pytest.raises(InputError, match=words):
        RangeMask.from_pretrained(copy)


def test_the_file_of_weights_stands_for_its_folder(saved: Path) -> None:
    assert RangeMask.from_pretrained(saved / "model.safetensors").card == CARD


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        rangemask.load_model(tmp_path / "nothing")


def test_depth_anything_becomes_a_student_with_its_numbers(
    filled_checkpoint: Callable[..., Path],
) -> None:
    checkpoint = filled_checkpoint("depth_anything_v2", "vits")
    source = Source(name="Depth Anything V2 S", role="depth", licence="Apache-2.0")
    student = build_rangemask(RangeMaskConfig.preset("small", ["depth"])).train(False)
    start_from_depth_anything(student, checkpoint, source)
    published = rangemask.load_depth(
        "depth-anything-v2-small", checkpoint=checkpoint, device="cpu"
    ).network
    images = torch.rand(1, 3, 126, 98, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        from rangemask.models.images import normalise

        torch.testing.assert_close(
            student(images).depth, published(normalise(images)), rtol=1e-4, atol=1e-5
        )
    (noted,) = student.card.sources
    assert noted.name == source.name
    assert len(noted.sha256 or "") == 64
    assert "Depth Anything V2 S (depth) as given; all other parts" in student.card.training


def test_a_student_can_start_from_parts(
    tmp_path: Path, filled_checkpoint: Callable[..., Path]
) -> None:
    source = Source(name="x", role="backbone", licence="Apache-2.0")
    torch.save(build_backbone("dinov2-nano").vit.state_dict(), tmp_path / "nano.pth")
    student = nano(("semantic",))
    start_from_backbone(student, tmp_path / "nano.pth", source)
    expected = load_backbone("dinov2-nano", checkpoint=tmp_path / "nano.pth", device="cpu")
    for name, value in expected.vit.state_dict().items():
        assert torch.equal(student.backbone.vit.state_dict()[name], value)
    with pytest.raises(InputError, match="without a pyramid"):
        start_from_depth_anything(student, tmp_path / "nano.pth", source)
    whole = build_depth_anything("nano")
    torch.save(whole.state_dict(), tmp_path / "dav2.pth")
    masks = nano(("masks",))
    start_from_depth_anything(masks, tmp_path / "dav2.pth", source)
    torch.testing.assert_close(
        masks.pyramid.state_dict(), whole.pyramid.state_dict(), rtol=0, atol=0
    )
    with pytest.raises(InputError, match="not the weights of dinov2-nano"):
        start_from_backbone(nano(), filled_checkpoint("dinov2", "vits14"), source)
    assert "patch_embed.proj.weight" in filled_weights("dinov2", "vits14")
