"""Whole runs: what is kept, what is made again, what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rangemask.labels.work as work
from rangemask.data.store import LabelStore, open_labels
from rangemask.data.store.record import LabelFile
from rangemask.errors import InputError, OutputError
from rangemask.labels import LabelConfig, RunOptions, label_dataset
from rangemask.labels.work import Worker
from rangemask.structures import StereoFrame
from rangemask.structures.images import write_image
from support.datasets import label_files, mono_dataset, stereo_dataset

FAST = LabelConfig(stereo_options={"quality": "fast"})


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs with labels; copy before changing."""
    root = stereo_dataset(tmp_path_factory.mktemp("labelled") / "set")
    label_dataset(root, FAST)
    return root


@pytest.fixture
def dataset(labelled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(labelled, tmp_path / "set"))


def count_teachers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the frames that teachers look at from now on."""
    asked: list[str] = []
    real = work.Teachers.__call__

    def counted(self: work.Teachers, frame: StereoFrame, *rest: Any) -> work.Judged:
        asked.append(frame.name)
        return real(self, frame, *rest)

    monkeypatch.setattr(work.Teachers, "__call__", counted)
    return asked


def test_labels_lie_beside_their_images_and_read_back(labelled: Path) -> None:
    folders = {path.name for path in labelled.iterdir() if path.is_dir()}
    assert folders == {
        *("left", "right", "disparity", "confidence", "weight", "masks", "semantic", "records")
    }
    labels = open_labels(labelled)
    assert labels.names == ("f000", "f001", "f002")
    assert labels.sequences == ("f", "f", "f")
    sample = labels[1]
    assert sample.frame.right is not None
    assert sample.frame.rig is not None
    assert sample.disparity is not None
    assert sample.weight is not None
    known = np.isfinite(sample.disparity)
    assert known.mean() > 0.7
    assert (sample.weight[~known] == 0).all()
    assert sample.masks is not None
    assert sample.semantic is not None
    assert sample.semantic.names == ("unknown", *labels.classes)
    assert labels.classes[0] == "object"


def test_a_second_run_asks_no_teacher_and_changes_no_file(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = label_files(dataset)
    asked = count_teachers(monkeypatch)
    report = label_dataset(dataset, FAST)
    assert report.done == {"kept": 3}
    assert asked == []
    assert label_files(dataset) == before


def test_a_copy_of_a_data_set_is_known_by_what_its_images_hold(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (dataset / "left").iterdir():
        path.touch()
    asked = count_teachers(monkeypatch)
    assert label_dataset(dataset, FAST).done == {"kept": 3}
    assert asked == []


@pytest.mark.parametrize("harm", ["image", "label", "cut", "record", "no record"])
def test_what_changed_is_labelled_again_and_nothing_else(
    dataset: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = label_files(dataset)
    if harm == "image":
        shutil.copy(dataset / "left/f000.png", dataset / "left/f001.png")
    elif harm == "label":
        (dataset / "weight/f001.png").unlink()
    elif harm == "cut":
        (dataset / "masks/f001.json").write_bytes(b"{")
    elif harm == "record":
        (dataset / "records/f001.json").write_text('{"name": "f0')
    else:
        (dataset / "records/f001.json").unlink()
        # A killed process leaves its claim, by which the files are known to be ours.
        (dataset / "records/.claims").mkdir(exist_ok=True)
        (dataset / "records/.claims/f001.lock").touch()
    asked = count_teachers(monkeypatch)
    report = label_dataset(dataset, FAST)
    assert asked == ["f001"]
    assert report.done == {"labelled": 1, "kept": 2}
    if harm != "image":
        assert label_files(dataset) == before


def test_another_option_is_noticed_and_said(dataset: Path) -> None:
    with pytest.raises(
        InputError, match=r"3 of 3 frames were labelled otherwise: .*quality was 'fast', is 'best'"
    ):
        label_dataset(dataset, LabelConfig())
    report = label_dataset(dataset, LabelConfig(), RunOptions(overwrite=True))
    assert report.done == {"labelled": 3}
    store = LabelStore(dataset)
    record = store.record("f001")
    assert record is not None
    recipe = store.manifest.recipes[record.files["weight"].recipe]
    assert recipe.models[0].options["quality"] == "best"


def test_another_rig_is_noticed(dataset: Path) -> None:
    rig = (dataset / "rig.yaml").read_text()
    (dataset / "rig.yaml").write_text(rig.replace("120.0", "121.0"))
    with pytest.raises(InputError, match="option rig was"):
        label_dataset(dataset, FAST)


def test_other_kinds_of_labels_join_those_that_are_there(tmp_path: Path) -> None:
    root = stereo_dataset(tmp_path / "set", frames=1)
    label_dataset(root, LabelConfig(masks=None, stereo_options={"quality": "fast"}))
    disparity = (root / "disparity/f000.png").read_bytes()
    assert not (root / "masks").exists()
    report = label_dataset(root, LabelConfig(stereo=None))
    assert report.summary.files == dict.fromkeys(
        ("disparity", "confidence", "weight", "masks", "semantic"), 1
    )
    record = LabelStore(root).record("f000")
    assert record is not None
    assert set(record.quality) == {"coverage", "trust", "exposure", "masks"}
    assert (root / "disparity/f000.png").read_bytes() == disparity


def test_the_limit_of_quality_moves_without_teachers(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_teachers(monkeypatch)
    report = label_dataset(dataset, FAST, RunOptions(min_quality=1.0))
    assert report.done == {"rejected": 3}
    assert sum(report.rejected_for.values()) == 3
    assert len(open_labels(dataset)) == 0
    assert len(open_labels(dataset, rejected=True)) == 3
    assert label_dataset(dataset, FAST).done == {"labelled": 3}
    assert asked == []


def test_a_corrupt_image_is_skipped_counted_and_named(dataset: Path) -> None:
    (dataset / "left/f001.png").write_bytes(b"\x89PNG cut")
    report = label_dataset(dataset, FAST)
    assert report.done == {"kept": 2, "failed": 1}
    assert "left/f001.png" in report.problems["f001"]
    assert report.summary.failures["f001"] == report.problems["f001"]
    assert open_labels(dataset).names == ("f000", "f002")
    with pytest.raises(InputError, match=r"f001\.png.*--strict stops at the first such frame"):
        label_dataset(dataset, FAST, RunOptions(strict=True))
    shutil.copy(dataset / "left/f000.png", dataset / "left/f001.png")
    assert label_dataset(dataset, FAST).done == {"kept": 2, "labelled": 1}


def test_missing_partners_and_double_names_are_skipped_and_named(dataset: Path) -> None:
    (dataset / "right/f001.png").unlink()
    write_image(dataset / "left/f002.jpg", np.zeros((120, 160, 3), dtype=np.uint8))
    report = label_dataset(dataset, FAST)
    assert report.done == {"kept": 1}
    assert "has no partner of that name" in report.problems["f001"]
    assert "f002.png" in report.problems["f002"]
    assert "would write to the same files" in report.problems["f002"]
    with pytest.raises(InputError, match="--strict takes only whole data sets"):
        label_dataset(dataset, FAST, RunOptions(strict=True))


def test_nothing_to_label_speaks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder with images, but it does not exist"):
        label_dataset(tmp_path / "none")
    root = stereo_dataset(tmp_path / "set", frames=1)
    (root / "right/f000.png").rename(root / "right/g000.jpeg.txt")
    with pytest.raises(InputError, match="none of its 1 frames can be labelled; the first: "):
        label_dataset(root)


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    root = stereo_dataset(tmp_path / "set", frames=1)
    (root / "disparity").mkdir()
    (root / "disparity/f000.png").write_bytes(b"ground truth")
    with pytest.raises(InputError, match=r"disparity/f000\.png.*was not made by rangemask label"):
        label_dataset(root, FAST)
    assert (root / "disparity/f000.png").read_bytes() == b"ground truth"
    report = label_dataset(root, FAST, RunOptions(output=tmp_path / "labels"))
    assert report.done == {"labelled": 1}
    assert (tmp_path / "labels/left/f000.png").read_bytes() == (root / "left/f000.png").read_bytes()
    assert open_labels(tmp_path / "labels").rig is not None


def test_side_by_side_images_are_cut_into_another_folder(tmp_path: Path) -> None:
    root = stereo_dataset(tmp_path / "set", frames=1)
    frame = open_frame(root)
    grabs = tmp_path / "grabs"
    grabs.mkdir()
    assert frame.right is not None
    write_image(grabs / "g7.png", np.concatenate([frame.left, frame.right], axis=1))
    options = RunOptions(layout="side-by-side", rig=root / "rig.yaml")
    with pytest.raises(InputError, match="labels go beside images in left/ and right/"):
        label_dataset(grabs, FAST, options)
    out = RunOptions(layout="side-by-side", rig=root / "rig.yaml", output=tmp_path / "out")
    assert label_dataset(grabs, FAST, out).done == {"labelled": 1}
    (sample,) = open_labels(tmp_path / "out")
    assert np.array_equal(sample.frame.left, frame.left)
    assert sample.frame.right is not None
    assert np.array_equal(sample.frame.right, frame.right)
    assert label_dataset(grabs, FAST, out).done == {"kept": 1}


def open_frame(root: Path) -> StereoFrame:
    return StereoFrame.read(root / "left/f000.png", root / "right/f000.png")


def test_a_raw_rig_needs_a_place_for_rectified_images(tmp_path: Path) -> None:
    root = stereo_dataset(tmp_path / "set", frames=1)
    rig = (root / "rig.yaml").read_text()
    assert "distortion: []" in rig
    (root / "rig.yaml").write_text(rig.replace("distortion: []", "distortion: [-0.1, 0.01, 0, 0]"))
    with pytest.raises(InputError, match="the rig is not rectified"):
        label_dataset(root, FAST)
    report = label_dataset(root, FAST, RunOptions(output=tmp_path / "out"))
    assert report.done == {"labelled": 1}
    labels = open_labels(tmp_path / "out")
    assert labels.rig is not None
    assert labels.rig.is_rectified
    assert not np.array_equal(labels[0].frame.left, open_frame(root).left)


def test_resized_images_scale_their_rig(tmp_path: Path) -> None:
    root = stereo_dataset(tmp_path / "set", frames=1)
    frame = open_frame(root)
    for side in ("left", "right"):
        write_image(root / side / "h000.png", getattr(frame, side)[::2, ::2])
        (root / side / "f000.png").unlink()
    assert "h000" in label_dataset(root, FAST).problems
    assert label_dataset(root, FAST, RunOptions(scale_rig=True)).done == {"labelled": 1}
    (sample,) = open_labels(root)
    assert sample.frame.rig is not None
    assert sample.frame.rig.fx == 60.0


def test_single_images_without_depth_fail_in_words(tmp_path: Path) -> None:
    root = mono_dataset(tmp_path / "set")
    report = label_dataset(root)
    assert report.done == {"failed": 2}
    assert "depth" in report.problems["a0"]


def test_a_full_disk_stops_at_once_and_resumes(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("f000", "f001", "f002"):
        (dataset / f"masks/{name}.json").unlink()
    real = LabelStore.write_labels
    asked = count_teachers(monkeypatch)

    def full(self: LabelStore, name: str, *rest: object) -> dict[str, LabelFile]:
        if name == "f001":
            raise OutputError("no space left on device")
        return real(self, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LabelStore, "write_labels", full)
    with pytest.raises(OutputError, match="no space left"):
        label_dataset(dataset, FAST)
    assert asked == ["f000", "f001"]
    assert json.loads((dataset / "manifest.json").read_text())["complete"]
    monkeypatch.setattr(LabelStore, "write_labels", real)
    assert label_dataset(dataset, FAST).done == {"kept": 1, "labelled": 2}


def test_a_newer_manifest_is_refused_and_kept(dataset: Path) -> None:
    manifest = dataset / "manifest.json"
    text = manifest.read_text().replace('"format_version": 1', '"format_version": 9')
    manifest.write_text(text)
    for call in (lambda: label_dataset(dataset, FAST), lambda: open_labels(dataset)):
        with pytest.raises(InputError, match="format version 9, this program reads up to 1"):
            call()
    assert manifest.read_text() == text


def test_another_run_with_other_options_at_the_same_time_is_a_conflict(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other one begins after this one has looked at what is there.
    monkeypatch.setattr("rangemask.labels.run._check_earlier", lambda *_, **__: None)
    with pytest.raises(InputError, match="f000 was just labelled by another run with other"):
        label_dataset(dataset, LabelConfig())


def test_corrected_masks_survive_every_run(dataset: Path) -> None:
    store = LabelStore(dataset)
    record = store.record("f001")
    assert record is not None
    mark, recipe = record.files["masks"].mark, record.files["masks"].recipe
    corrected = LabelFile(mark=mark, recipe=recipe, details={"corrected": {"by": "ada"}})
    store.commit(work.replace(record, files={**record.files, "masks": corrected}))
    masks = (dataset / "masks/f001.json").read_bytes()
    assert label_dataset(dataset, FAST).done == {"kept": 3}
    other = LabelConfig(mask_options={"min_score": 0.9})
    report = label_dataset(dataset, other, RunOptions(overwrite=True))
    assert report.done == {"labelled": 3}
    assert (dataset / "masks/f001.json").read_bytes() == masks
    after = store.record("f001")
    assert after is not None
    assert after.files["masks"].details["corrected"] == {"by": "ada"}
    (dataset / "left/f001.png").write_bytes(b"broken")
    label_dataset(dataset, other)
    assert (dataset / "masks/f001.json").read_bytes() == masks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_quality": 2.0}, "min_quality must lie within"),
        ({"workers": 2}, "the local engine is one process"),
        ({"workers": 0}, "workers must be 1 or more"),
        ({"engine": "spark"}, "engine must be one of local, ray"),
    ],
)
def test_impossible_options_speak(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RunOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stereo": None, "masks": None}, "labelling needs a teacher"),
        ({"stereo": None, "second_stereo": "sgbm"}, "a second matcher has nothing to agree with"),
        ({"masks": None, "labels": ("person",)}, "labels are for a segmenter"),
        ({"labels": ("a", "a")}, "each label once"),
        ({"left_right": "maybe"}, "left_right must be one of auto, on, off"),
        ({"maps": "exr"}, "maps must be one of png, npy"),
    ],
)
def test_impossible_teachers_speak(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelConfig(**options)  # type: ignore[arg-type]


def test_a_busy_frame_is_left_to_whoever_has_it(dataset: Path) -> None:
    (dataset / "weight/f001.png").unlink()
    job = work.Job(store=dataset, config=FAST)
    source = work.FrameSource(
        name="f001", left=dataset / "left/f001.png", right=dataset / "right/f001.png"
    )
    with LabelStore(dataset).claim("f001") as ours:
        assert ours
        assert Worker(job)(work.Task(source=source)).what == "busy"
