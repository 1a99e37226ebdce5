"""Stereo networks of ours as ONNX: the same numbers, through the matcher ``onnx``."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from rangemask import load_stereo
from rangemask.backends.stereo.foundation_stereo import (
    FoundationStereoMatcher,
    FoundationStereoOptions,
)
from rangemask.backends.stereo.onnx.session import open_network
from rangemask.backends.stereo.student import StudentMatcher
from rangemask.backends.student import Student
from rangemask.cli.export import parse_size
from rangemask.cli.main import app
from rangemask.data.samples import motorcycle
from rangemask.errors import InputError, OutputError
from rangemask.export import ExportError, StereoExportOptions, export_stereo, stereo, writing
from rangemask.export.parity import random_pair
from rangemask.models.foundation_stereo.config import tiny_config
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.structures import Passport, StereoFrame
from support.students import nano_student

from .conftest import HEIGHT, WIDTH, Exported

OPTIONS = StereoExportOptions(height=HEIGHT, width=WIDTH)
PASSPORT = Passport(
    role="stereo",
    model="foundation-stereo",
    licence="of the test",
    licence_class="research-only",
    weights="tiny.pth",
)
runner = CliRunner()


def textured(height: int, width: int) -> StereoFrame:
    left, right = random_pair(height, width, seed=3)
    return StereoFrame(left, right, name="textured")


def tiny_matcher(**options: Any) -> FoundationStereoMatcher:
    """FoundationStereo, tiny and random."""
    torch.manual_seed(0)
    network = FoundationStereo(tiny_config()).train(False).requires_grad_(False)
    asked = FoundationStereoOptions(**{"iterations": 1, "max_disparity_px": 64, **options})
    return FoundationStereoMatcher(network, PASSPORT, asked)


def put(network: Path) -> Any:
    """Instead of ``write_onnx``: what is at a path, without exporting anything anew."""

    def write(
        module: nn.Module,
        pair: Any,
        path: Path,
        *,
        opset: int,
        data_file: bool,
        about: Mapping[str, str],
    ) -> None:
        model = onnx.load(network)
        onnx.save(
            model,
            path,
            save_as_external_data=data_file,
            location=f"{path.name}.data",
            size_threshold=1024,  # what shapes are made of must stay inside
        )

    return write


@pytest.fixture
def quick(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> str:
    """The student's name, whose export takes no time."""
    monkeypatch.setattr(stereo, "write_onnx", put(exported.report.network))
    return f"student:{exported.student}"


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# -- the same numbers --------------------------------------------------------------------------


def test_a_student_says_the_same_as_onnx(exported: Exported) -> None:
    """On a real pair that is resized on the way in and back."""
    frame, _ = motorcycle()
    student = load_stereo(f"student:{exported.student}", device="cpu", input_size_px=HEIGHT)
    network = load_stereo(f"onnx:{exported.report.network}", device="cpu", threads=1)
    fitted = StereoFrame(frame.left[:480, :640], frame.right[:480, :640])
    expected, found = student(fitted), network(fitted)
    np.testing.assert_allclose(found.disparity, expected.disparity, atol=2e-3)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    np.testing.assert_array_equal(found.occluded, expected.occluded)
    assert np.nanstd(found.disparity) > 1


def test_what_an_export_leaves(exported: Exported) -> None:
    report = exported.report
    assert names_in(report.network.parent) == ["net.onnx", "net.yaml"]
    assert report.parity.largest_px < 1e-3
    assert report.parity.spread_px > 1
    assert report.parity.confidence < 1e-4
    assert report.size_bytes == sum(f.stat().st_size for f in report.network.parent.iterdir())
    model = onnx.load(report.network)
    onnx.checker.check_model(model, full_check=True)
    assert [one.version for one in model.opset_import if not one.domain] == [18]
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["licence"] == "unknown: random weights"
    passport = load_stereo(f"onnx:{report.network}", device="cpu").passport
    assert passport.licence == "unknown: random weights"
    assert str(passport.options["network"]).startswith("student")


def test_foundation_stereo_says_the_same_as_onnx(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On pairs that are padded, and shrunk first."""
    matcher = tiny_matcher()
    report = export_stereo(matcher, tmp_path / "net.onnx", StereoExportOptions(height=64, width=96))
    assert report.parity.largest_px < 1e-3
    assert report.parity.spread_px > 0.5
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        network = load_stereo(f"onnx:{report.network}", device="cpu", threads=1)
    assert "research use only" in caplog.text
    frame = textured(51, 83)
    expected, found = matcher(frame), network(frame)
    np.testing.assert_allclose(found.disparity, expected.disparity, atol=1e-3)
    np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-4)
    shrunk = network(textured(102, 166))
    assert shrunk.disparity.shape == (102, 166)
    assert network.passport.licence == "of the test"
    assert network.passport.options["network"] == "foundation-stereo tiny.pth"


# -- files -------------------------------------------------------------------------------------


def test_weights_in_a_file_of_their_own(quick: str, tmp_path: Path) -> None:
    options = StereoExportOptions(height=HEIGHT, width=WIDTH, data_file=True)
    report = export_stereo(quick, tmp_path / "a.onnx", options)
    assert names_in(tmp_path) == ["a.onnx", "a.onnx.data", "a.yaml"]
    assert report.data == tmp_path / "a.onnx.data"
    assert report.to_dict()["data"] == str(report.data)
    load_stereo(f"onnx:{report.network}", device="cpu")(textured(HEIGHT, WIDTH))
    # What takes its place has none, and nothing of the old one stays.
    again = export_stereo(quick, tmp_path / "a.onnx", OPTIONS, overwrite=True)
    assert again.data is None
    assert names_in(tmp_path) == ["a.onnx", "a.yaml"]


def test_large_weights_get_a_file_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Linear(4, 4)
    assert not writing.needs_data_file(module)
    monkeypatch.setattr(writing, "MOST_BYTES", 4 * 20 - 1)
    assert writing.needs_data_file(module)


class Difference(nn.Module):
    """Left minus right, weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 9, padding=4)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        disparity = self.conv(left - right)
        return disparity, disparity.sigmoid()


@pytest.mark.parametrize("data_file", [False, True])
def test_writing_a_module(tmp_path: Path, data_file: bool) -> None:
    pair = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    path = tmp_path / "net.onnx"
    writing.write_onnx(Difference(), pair, path, opset=18, data_file=data_file, about={"a": "b"})
    assert names_in(tmp_path) == ["net.onnx"] + ["net.onnx.data"] * data_file
    model = onnx.load(path)
    assert [one.name for one in model.graph.input] == ["left", "right"]
    assert [one.name for one in model.graph.output] == ["disparity", "confidence"]
    assert [port.name for port in open_network(path, "cpu").outputs] == ["disparity", "confidence"]


def test_existing_files_are_kept(quick: str, tmp_path: Path) -> None:
    for name in ("net.onnx", "net.yaml", "net.onnx.data"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
        with pytest.raises(OutputError, match=f"{name}: already exists and is kept"):
            export_stereo(quick, tmp_path / "net.onnx", OPTIONS)
        assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "net.yaml").mkdir()
    with pytest.raises(OutputError, match="a folder is in the way"):
        export_stereo(quick, tmp_path / "net.onnx", OPTIONS, overwrite=True)
    with pytest.raises(InputError, match=r"name a file that ends in \.onnx"):
        export_stereo(quick, tmp_path / "net.trt", OPTIONS)


def test_a_place_that_cannot_be_written(quick: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        export_stereo(quick, tmp_path / "file" / "net.onnx", OPTIONS)


# -- what goes wrong ---------------------------------------------------------------------------


def test_an_export_that_differs_is_not_written(quick: str, tmp_path: Path) -> None:
    """A student with other weights is given the export of the first: nothing stays behind."""
    other = StudentMatcher(Student(nano_student(("stereo",), seed=1)))
    with pytest.raises(ExportError, match=r"differs from the network by up to .* nothing was writ"):
        export_stereo(other, tmp_path / "net.onnx", OPTIONS)
    assert names_in(tmp_path) == []
    (tmp_path / "net.onnx").write_text("mine", encoding="utf-8")
    with pytest.raises(ExportError):
        export_stereo(other, tmp_path / "net.onnx", OPTIONS, overwrite=True)
    assert names_in(tmp_path) == ["net.onnx"]
    assert (tmp_path / "net.onnx").read_text(encoding="utf-8") == "mine"


def test_a_network_whose_answer_is_not_finite(quick: str, tmp_path: Path) -> None:
    student = nano_student(("stereo",))
    assert student.stereo is not None
    nn.init.constant_(next(student.stereo.parameters()), float("nan"))
    with pytest.raises(ExportError, match="own answer is not finite"):
        export_stereo(StudentMatcher(Student(student)), tmp_path / "net.onnx", OPTIONS)


class Unexportable(nn.Module):
    """Looks at values."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left if float(left.sum()) > 0 else right


def test_a_network_that_torch_cannot_export(tmp_path: Path) -> None:
    pair = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    with pytest.raises(ExportError, match="cannot export this network with opset 18"):
        writing.write_onnx(
            Unexportable(), pair, tmp_path / "net.onnx", opset=18, data_file=False, about={}
        )


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_the_extra_is_missing(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, missing, None)
    pair = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    with pytest.raises(InputError, match=rf'needs {missing}.*pip install "rangemask\[onnx\]"'):
        writing.write_onnx(
            Difference(), pair, tmp_path / "net.onnx", opset=18, data_file=False, about={}
        )


def test_what_cannot_be_exported(quick: str, tmp_path: Path) -> None:
    target = tmp_path / "net.onnx"
    for name in ("sgbm", "onnx:net.onnx"):
        with pytest.raises(InputError, match=f"{name} cannot be exported; foundation-stereo and"):
            export_stereo(name, target, OPTIONS)
    with pytest.raises(InputError, match="sgbm cannot be exported"):
        export_stereo(load_stereo("sgbm"), target, OPTIONS)
    with pytest.raises(InputError, match=r"multiples of 28 px .* got 90 x 112; 84 x 112 is near"):
        export_stereo(quick, target, StereoExportOptions(height=90, width=112))
    with pytest.raises(InputError, match="foundation-stereo needs checkpoint=PATH"):
        export_stereo("foundation-stereo", target, OPTIONS)
    matcher = tiny_matcher()
    with pytest.raises(InputError, match="has its checkpoint and options already"):
        export_stereo(matcher, target, OPTIONS, checkpoint="a.pth")
    for option in ({"hierarchical": True}, {"scale": 0.5}, {"z_far_m": 10.0}):
        with pytest.raises(InputError, match="leave hierarchical, scale and z_far_m out"):
            export_stereo(tiny_matcher(**option), target, OPTIONS)
    matcher.network.to(torch.bfloat16)
    with pytest.raises(InputError, match='device="cpu", precision="float32"'):
        export_stereo(matcher, target, OPTIONS)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"height": 0}, "height must be positive"),
        ({"iterations": 0}, "iterations must be 1 or more"),
        ({"opset": 9}, "opset must be 18 or more"),
        ({"tolerance_px": float("nan")}, "tolerance_px must be positive"),
    ],
)
def test_impossible_options(option: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        StereoExportOptions(**{"height": 64, "width": 96, **option})


def test_the_random_pair_has_a_known_disparity() -> None:
    left, right = random_pair(40, 64, seed=1)
    assert left.shape == right.shape == (40, 64, 3)
    np.testing.assert_array_equal(left[:, 4:], right[:, :-4])
    assert left.std() > 20
    assert (random_pair(40, 64, seed=2)[0] != left).any()


# -- the command -------------------------------------------------------------------------------


def test_the_command(quick: str, tmp_path: Path) -> None:
    net = tmp_path / "net.onnx"
    words = ["export", "stereo", "--model", quick, "--size", "84x112", "--output", str(net)]
    done = runner.invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["network"] == str(net)
    assert report["parity"]["largest_px"] < 1e-3
    done = runner.invoke(
        app, [*words, "--overwrite"], env={"COLUMNS": "200"}, catch_exceptions=False
    )
    for said in ("84 rows x 112 columns", "opset 18", "net.yaml", "Parity:", "random weights"):
        assert said in done.stdout
    with pytest.raises(OutputError, match="already exists"):
        runner.invoke(app, words, catch_exceptions=False)


def test_predict_takes_an_export(exported: Exported, tmp_path: Path) -> None:
    from rangemask.structures.images import write_image

    frame = textured(HEIGHT, WIDTH)
    assert frame.right is not None
    for name, image in (("left", frame.left), ("right", frame.right)):
        write_image(tmp_path / f"{name}.png", image)
    pair = [str(tmp_path / "left.png"), str(tmp_path / "right.png")]
    words = ["--stereo", f"onnx:{exported.report.network}", "--masks", "none", "--no-report"]
    done = runner.invoke(
        app,
        ["predict", *pair, "--output", str(tmp_path / "out"), *words, "--device", "cpu"],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    (scene,) = (tmp_path / "out").rglob("scene.json")
    (model,) = json.loads(scene.read_text(encoding="utf-8"))["provenance"]["models"]
    assert (model["model"], model["weights"]) == ("onnx", "net.onnx")


def test_sizes() -> None:
    assert parse_size("480x640") == parse_size(" 480 X 640") == (480, 640)
    for wrong in ("480", "480x", "axb", "480x640x3"):
        with pytest.raises(InputError, match="--size is height x width"):
            parse_size(wrong)
