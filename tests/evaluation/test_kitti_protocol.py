"""KITTI's protocols on small drives: numbers, published lines, words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from rangemask.cli.main import app
from rangemask.data.readers import open_kitti, open_kitti_raw
from rangemask.data.sample import Dataset
from rangemask.errors import InputError, RangemaskError
from rangemask.evaluation.kitti_protocol import (
    PUBLISHED,
    ProtocolOptions,
    evaluate_kitti,
)
from rangemask.evaluation.opening import open_predictor
from rangemask.evaluation.predictors import Prediction
from rangemask.metrics.kitti import eigen_depth_metrics
from rangemask.models.two_in_one import save_two_in_one
from rangemask.structures import DepthMap, StereoFrame
from support import layouts
from support.kitti_raw import (
    BASELINE_M,
    DATE,
    FX,
    HEIGHT,
    WIDTH,
    point_at,
    write_depth,
    write_drive,
    write_points,
)
from support.two_in_one import tiny_network

runner = CliRunner()
DRIVE = f"{DATE}_drive_0002"


class Says:
    """A predictor of fixed depth."""

    name = "fixed"
    kinds = frozenset({"depth", "disparity"})
    labels = None
    trained_on: frozenset[str] = frozenset()

    def __init__(self, depth: Any, kind: Any = "metric_m", stereo: Any = None) -> None:
        self.depth, self.kind, self.stereo = depth, kind, stereo

    def __call__(self, frame: StereoFrame) -> Prediction:
        full = np.ones((frame.height, frame.width), np.float32)
        depth = None if self.depth is None else DepthMap(values=full * self.depth, kind=self.kind)
        disparity = None if self.stereo is None else full * self.stereo
        stereo_m = None if disparity is None else np.float32(FX * BASELINE_M) / disparity
        return Prediction(depth=depth, disparity=disparity, stereo_depth_m=stereo_m)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    drive = write_drive(root, DRIVE, (0, 3))
    places = [(row, column) for row in range(30, 60, 3) for column in range(6, 90, 7)]
    points = [point_at(row, column, 4 + row / 10 + column / 20) for row, column in places]
    write_points(drive, 0, np.array(points))
    truth = np.full((HEIGHT, WIDTH), np.nan)
    truth[28:] = 12.0
    write_depth(drive, 0, truth)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_network(full_size=(64, 96), d2d=FX * BASELINE_M, focal_px=FX)
    return save_two_in_one(model, tmp_path_factory.mktemp("runs") / "model")


def eigen(root: Path, depth: Any = "velodyne-forward") -> Dataset:
    return open_kitti_raw(root, split="eigen-test", depth=depth)


def test_eigen_is_the_metric_of_each_frame(root: Path) -> None:
    data = eigen(root)
    report = evaluate_kitti(Says(10.0, stereo=5.0), data)
    assert list(report.frames) == [f"{DRIVE}_sync-0000000000"]
    truth = data[0].depth
    assert truth is not None
    for eyes, depth in (("one", 10.0), ("two", FX * BASELINE_M / 5)):
        full = np.full((HEIGHT, WIDTH), depth, np.float32)
        expected = eigen_depth_metrics(full, truth.values)
        assert report.totals[eyes]["abs_rel"] == pytest.approx(expected.depth.abs_rel)  # type: ignore[index]
        assert report.totals[eyes]["median_ratio"] == pytest.approx(expected.median_ratio)  # type: ignore[index]
    assert any("1 of the 697 frames" in note for note in report.notes)
    assert any("1 frames have no truth" in note for note in report.notes)


def test_improved_truth_is_another_protocol(root: Path) -> None:
    options = ProtocolOptions(protocol="kitti-eigen-improved")
    report = evaluate_kitti(Says(12.0), eigen(root, "improved"), options=options)
    assert report.totals["one"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert report.published == ()


def test_median_scaling_is_for_those_without_metres(root: Path) -> None:
    data = eigen(root, "improved")
    with pytest.raises(RangemaskError, match=r"no metres.*--median-scaling"):
        evaluate_kitti(Says(3.0, "up_to_scale"), data)
    scaled = ProtocolOptions(median_scaling=True)
    report = evaluate_kitti(Says(3.0, "up_to_scale"), data, options=scaled)
    assert report.totals["one"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert report.totals["one"]["median_ratio"] == pytest.approx(4)
    assert any("scale is not judged" in note for note in report.notes)
    with pytest.raises(RangemaskError, match="no metres"):
        evaluate_kitti(Says(3.0, "relative_inverse"), data, options=scaled)


def test_kitti2015_has_disparity_too(tmp_path: Path) -> None:
    layouts.kitti_2015(tmp_path, layouts.truths())
    data = open_kitti(tmp_path)
    options = ProtocolOptions(protocol="kitti2015")
    report = evaluate_kitti(Says(None, stereo=4.0), data, options=options)
    errors = []
    for sample in data:
        assert sample.disparity is not None
        errors.append(np.abs(4.0 - sample.disparity[np.isfinite(sample.disparity)]).mean())
    assert report.totals["two"]["epe_px"] == pytest.approx(np.mean(errors), rel=1e-5)
    assert 0 <= report.totals["two"]["d1"] <= 1
    assert "one" not in report.totals
    assert {row.eyes for row in report.published} == {"one", "two"}


def test_published_numbers_are_those_of_the_readme() -> None:
    table = {(row.protocol, row.eyes, row.flip): row.values for row in PUBLISHED}
    mono, pair = table["kitti-eigen", "one", "none"], table["kitti-eigen", "two", "none"]
    assert (mono["abs_rel"], mono["rmse_m"]) == (0.085, 3.919)
    assert (pair["abs_rel"], pair["rmse_m"]) == (0.063, 3.611)


def test_without_truth_it_says_what_is_missing(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 2 frames has the truth.*velodyne_points"):
        evaluate_kitti(Says(1.0), eigen(root, "none"))
    layouts.kitti_2015(tmp_path, layouts.truths())
    (tmp_path / "training").rename(tmp_path / "testing")
    for folder in ("disp_occ_0", "disp_noc_0"):
        for file in (tmp_path / "testing" / folder).iterdir():
            file.unlink()
        (tmp_path / "testing" / folder).rmdir()
    with pytest.raises(InputError, match="kitti2015 wants, disparity: training/disp_occ_0"):
        evaluate_kitti(
            Says(1.0), open_kitti(tmp_path), options=ProtocolOptions(protocol="kitti2015")
        )
    with pytest.raises(RangemaskError, match=r"all 1 frames failed.*for every pixel"):
        evaluate_kitti(Says(np.float32("nan")), eigen(root))
    with pytest.raises(RangemaskError, match="gives no depth of this frame"):
        evaluate_kitti(Says(None), eigen(root))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "kitti"}, "must be one of kitti-eigen"),
        ({"limit": 0}, "at least one frame"),
        ({"cap_m": 0.0}, "cap_m must be positive"),
        ({"protocol": "kitti2015", "median_scaling": True}, "no median scaling"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ProtocolOptions(**options)


def test_a_two_in_one_network_answers_at_its_own_size(root: Path, run: Path) -> None:
    predictor = open_predictor(f"student:{run}", device="cpu", precision="float32")
    assert predictor.kinds == {"disparity", "depth"}
    report = evaluate_kitti(predictor, eigen(root))
    (row,) = report.frames.values()
    sample = eigen(root)[0]
    model = tiny_network(full_size=(64, 96), d2d=FX * BASELINE_M, focal_px=FX).eval()
    views = [
        torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        for image in (sample.frame.left, sample.frame.right)
        if image is not None
    ]
    assert sample.depth is not None
    with torch.no_grad():
        for eyes, seen in (("one", model(views[0])), ("two", model(*views))):
            depth = seen.depth[0, 0].numpy()
            expected = eigen_depth_metrics(depth, sample.depth.values).depth
            assert row[eyes]["abs_rel"] == pytest.approx(expected.abs_rel, rel=1e-4)  # type: ignore[index]


def test_a_network_without_metres_is_judged_through_the_rig(root: Path, tmp_path: Path) -> None:
    model = tiny_network(full_size=(64, 96), d2d=7.0, metric=False)
    folder = save_two_in_one(model, tmp_path / "model")
    predictor = open_predictor(folder, device="cpu", precision="float32")
    with pytest.raises(RangemaskError, match="no metres"):
        evaluate_kitti(predictor, eigen(root))
    alone = replace(predictor, depth=None)  # type: ignore[type-var]
    report = evaluate_kitti(alone, eigen(root))
    assert set(report.totals) == {"two"}
    disparity = alone.pipeline.stereo.native(eigen(root)[0].frame)[1]  # type: ignore[union-attr]
    truth = eigen(root)[0].depth
    assert truth is not None
    expected = eigen_depth_metrics(FX * BASELINE_M / disparity, truth.values).depth
    assert report.totals["two"]["abs_rel"] == pytest.approx(expected.abs_rel, rel=1e-5)


def said(*arguments: object) -> str:
    done = runner.invoke(app, ["eval", *map(str, arguments)], env={"COLUMNS": "160"})
    if done.exception is not None and done.exit_code != 0:
        raise done.exception
    return done.stdout


def test_from_the_command_line_to_the_page(root: Path, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    common = (f"student:{run}", root, "--protocol", "kitti-eigen", "--device", "cpu")
    table = said(*common, "--flip", "fpp", "--output", output)
    for words in ("one eye, fpp (this run)", "two eyes (this run)", "0.085", "3.919", "3.611"):
        assert words in table
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["format"] == "rangemask-kitti-protocol"
    assert report["flip"] == "fpp"
    assert report["published"][0]["abs_rel"] == 0.085
    page = (output / "report.html").read_text(encoding="utf-8")
    for words in ("one eye, fpp (this run)", "two eyes (published)", "0.063", "697 frames"):
        assert words in page
    lines = (output / "frames.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    plain = json.loads(said(*common, "--json"))
    assert plain["totals"]["two"] == report["totals"]["two"]
    assert plain["totals"]["one"] != report["totals"]["one"]
    listing = tmp_path / "list.txt"
    listing.write_text(f"{DATE}/{DRIVE}_sync 0 l")
    found = json.loads(said(*common, "--split", listing, "--json"))
    assert found["totals"]["one"] == plain["totals"]["one"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--protocol", "kitti-eigen", "--weighted"), "leave out --weighted"),
        (("--flip", "fpp"), "--flip: only together with --protocol"),
        (("--protocol", "kitti2015", "--split", "x"), "kitti2015 has no --split"),
        (("--protocol", "kitti-eigen", "--split", "x", "--dataset-kind", "kitti"), "leave --data"),
    ],
)
def test_options_that_do_not_go_together(
    root: Path, run: Path, more: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        said(run, root, *more)
