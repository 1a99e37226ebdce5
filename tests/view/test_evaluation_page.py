import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rangemask.data.sample import Dataset
from rangemask.errors import InputError
from rangemask.evaluation.comparison import compare_reports
from rangemask.evaluation.datasets import as_predictor, evaluate_dataset
from rangemask.structures import DepthMap, Segmentation, StereoFrame
from rangemask.view.evaluation_page import write_evaluation_page
from support.judged import Knowing, Listed, pipeline_of, rendered


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return rendered(tmp_path_factory.mktemp("page") / "store")


def half_of_the_masks(found: Segmentation) -> Segmentation:
    return Segmentation(found.masks.select(range(0, len(found.masks), 2)), found.semantic)


def relative(depth: DepthMap) -> DepthMap:
    return DepthMap(values=1 / depth.values, kind="relative_inverse")


def test_a_page_holds_numbers_plots_and_the_worst_frames(dataset: Dataset, tmp_path: Path) -> None:
    bad = dataset.names[2]

    class Uneven(Knowing):
        def match(self, frame: StereoFrame) -> object:
            self.change_disparity = lambda px: px + (5 if frame.name == bad else 0.2)
            return super().match(frame)

    knowing = Uneven(dataset, depth=relative, found=half_of_the_masks)
    predictor = as_predictor(pipeline_of(knowing, depth=True))
    report = evaluate_dataset(predictor, dataset, name="<store>")
    page = write_evaluation_page(report, dataset, [predictor], tmp_path / "report.html")
    html = page.read_text(encoding="utf-8")
    assert "4 frames of &lt;store&gt;." in html
    assert "<store>" not in html
    assert f"{bad}: share off by more than 2 px 1<" in html
    worst = html[html.index("Worst frames: disparity") :]
    assert worst.index(bad) < worst.index("Worst frames: depth of one image")
    for words in ("IoU of each class", "Distances of objects", "Mean error of disparity"):
        assert words in html
    for kind in ("depth of one image", "classes of pixels", "masks"):
        assert f"Worst frames: {kind}" in html
    assert "The depth of one image is relative" in html
    assert "://" not in re.sub(r"data:image[^\"]*", "", html)  # it asks for nothing
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) > 20
    assert all('alt="' in image and 'src="data:image' in image for image in images)


def test_two_runs_and_the_frames_on_which_they_differ(dataset: Dataset, tmp_path: Path) -> None:
    far = dataset.names[1]

    class Other(Knowing):
        def match(self, frame: StereoFrame) -> object:
            self.change_disparity = lambda px: px + (3 if frame.name == far else 0)
            return super().match(frame)

    runs = [as_predictor(pipeline_of(one)) for one in (Knowing(dataset), Other(dataset))]
    reports = [evaluate_dataset(run, dataset) for run in runs]
    found = compare_reports(*reports, resamples=20)
    page = write_evaluation_page(found, dataset, runs, tmp_path / "report.html")
    html = page.read_text(encoding="utf-8")
    section = html[html.index("Frames that differ most: disparity") :]
    assert re.search(r"<h3[^>]*>(\w+):", section)[1] == far
    assert f"{far}: share off by more than 2 px 0 (A), 1 (B)" in section
    assert "95 % of 20 resamples" in html


def test_frames_that_are_gone_leave_a_gap(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = as_predictor(pipeline_of(Knowing(dataset), masks=False))
    report = evaluate_dataset(predictor, dataset)

    class Gone(Listed):
        def __getitem__(self, index: int) -> object:
            raise InputError("the disk was pulled.")

    page = write_evaluation_page(report, Gone(list(dataset)), [predictor], tmp_path / "r.html")
    assert "Worst frames: disparity" in page.read_text(encoding="utf-8")
    assert "is not on the page: the disk was pulled" in caplog.text


def test_large_images_are_drawn_small_and_what_failed_is_said(
    dataset: Dataset, tmp_path: Path
) -> None:
    big = [
        replace(
            sample,
            frame=StereoFrame(
                *(np.tile(side, (1, 5, 1)) for side in (sample.frame.left, sample.frame.right)),
                name=sample.name,
            ),
            disparity=np.tile(sample.disparity, (1, 5)),
            weight=None,
            semantic=None,
            masks=None,
        )
        for sample in list(dataset)[:2]
    ]
    data = Listed(big)
    knowing = Knowing(data)
    predictor = as_predictor(pipeline_of(knowing, masks=False))
    report = replace(
        evaluate_dataset(predictor, data), failed={"x": "no"}, unlabelled=("y",), stopped=True
    )
    page = write_evaluation_page(report, data, [predictor], tmp_path / "r.html")
    html = page.read_text(encoding="utf-8")
    assert 'width="420"' in html
    for words in ("1 frame failed: x.", "1 frame had no labels to judge by: y.", "interrupted"):
        assert words in html
