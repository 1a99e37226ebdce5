"""``rangemask predict`` as a user runs it: good input, bad input, interruptions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rangemask as rm
from rangemask.structures.images import read_image, write_image
from support.interrupts import interruptible
from support.pairs import BOX, PairOnDisk, Run

FILES = [
    "scene.json",
    "frame/left.png",
    "frame/right.png",
    "stereo/disparity.npy",
    "stereo/disparity.png",
    "stereo/depth.npy",
    "stereo/confidence.png",
    "segmentation/masks.json",
    "segmentation/instances.png",
    "segmentation/overlay.png",
    "fusion/overlay.png",
    "3d/cloud.ply",
]


def test_a_pair_gives_its_object_and_distance(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    done = run("predict", pair.left, pair.right, "--output", "out", "--rig", pair.rig, "--json")
    assert done.returncode == 0, done.stderr
    (scene_json,) = json.loads(done.stdout)["scenes"]
    folder = tmp_path / "out" / "000"
    assert [name for name in FILES if not (folder / name).is_file()] == []
    assert (tmp_path / "out" / "report.html").is_file()
    scene = rm.Scene.load(tmp_path / "out")
    (thing,) = scene.objects
    assert thing.distance.median == pytest.approx(1.0, rel=0.02)
    assert scene_json["objects"][0]["distance"]["median"] == thing.distance.median
    truth = np.zeros((240, 320), dtype=bool)
    truth[BOX] = True
    assert (thing.mask & truth).sum() / (thing.mask | truth).sum() > 0.85
    assert scene.provenance.licence_class == "commercial-ok"


def test_a_folder_is_predicted_frame_by_frame_and_resumed(
    pair: PairOnDisk, run: Run, tmp_path: Path
) -> None:
    for side in ("left", "right"):
        shutil.copy(pair.folder / side / "000.png", pair.folder / side / "001.png")
    shutil.copy(pair.rig, pair.folder / "rig.yaml")
    first = run("predict", pair.folder, "--output", "out", "--no-cloud")
    assert first.returncode == 0, first.stderr
    assert "rig.yaml" in first.stderr.replace("\n", "")
    assert "2 frames, 2 objects" in first.stdout
    stamp = (tmp_path / "out/000/scene.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "out" / "001")
    second = run("predict", pair.folder, "--output", "out", "--no-cloud", "--json")
    assert second.returncode == 0, second.stderr
    summary = json.loads(second.stdout)
    assert summary["kept"] == ["000"]
    assert [scene["name"] for scene in summary["scenes"]] == ["001"]
    assert (tmp_path / "out/000/scene.json").stat().st_mtime_ns == stamp
    assert not (tmp_path / "out/000/3d").exists()


def test_one_bad_frame_does_not_stop_the_others(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    shutil.copy(pair.left, pair.folder / "left" / "001.png")
    (pair.folder / "right" / "001.png").write_bytes(b"cut off")
    done = run("predict", pair.folder, "--output", "out", "--rig", pair.rig, "--json")
    assert done.returncode == 1
    assert "1 of 2 frames failed: 001" in done.stderr
    summary = json.loads(done.stdout)
    assert "001.png" in summary["failed"]["001"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000", "report.html"]


def test_side_by_side_images(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    both = np.concatenate([read_image(pair.left), read_image(pair.right)], axis=1)
    write_image(tmp_path / "both.png", both)
    known = run("predict", "both.png", "--output", "a", "--rig", pair.rig)
    asked = run("predict", "both.png", "--output", "b", "--layout", "side-by-side")
    assert (known.returncode, asked.returncode) == (0, 0), known.stderr + asked.stderr
    assert rm.Scene.load(tmp_path / "a").objects[0].distance.median == pytest.approx(1.0, rel=0.02)
    without_rig = rm.Scene.load(tmp_path / "b")
    assert without_rig.depth is None
    assert without_rig.disparity is not None
    assert "no rig was given" in asked.stderr.replace("\n", " ")
    assert all(not thing.distance.known for thing in without_rig.objects)


@pytest.mark.parametrize("kind", ["grey", "16-bit", "rgba"])
def test_other_pixel_formats_are_handled(
    kind: str, pair: PairOnDisk, run: Run, tmp_path: Path
) -> None:
    from PIL import Image

    for path in (pair.left, pair.right):
        image = read_image(path)
        if kind == "grey":
            write_image(path, image[..., 1])
        elif kind == "16-bit":
            write_image(path, image[..., 1].astype(np.uint16) * 257)
        else:
            Image.fromarray(image).convert("RGBA").save(path)
    done = run("predict", pair.left, pair.right, "--output", "out", "--rig", pair.rig)
    assert done.returncode == 0, done.stderr
    (thing,) = rm.Scene.load(tmp_path / "out").objects
    assert thing.distance.median == pytest.approx(1.0, rel=0.02)


def test_objects_can_be_limited_by_distance(pair: PairOnDisk, run: Run) -> None:
    arguments = ("predict", pair.left, pair.right, "--rig", pair.rig, "--json", "--no-report")
    near = run(*arguments, "--output", "near", "--max-distance", "2")
    none = run(*arguments, "--output", "none", "--max-distance", "0.5")
    assert len(json.loads(near.stdout)["scenes"][0]["objects"]) == 1
    assert json.loads(none.stdout)["scenes"][0]["objects"] == []


def test_a_blank_pair_is_no_failure(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    for path in (pair.left, pair.right):
        write_image(path, np.zeros((240, 320, 3), dtype=np.uint8))
    done = run("predict", pair.left, pair.right, "--output", "out", "--rig", pair.rig)
    assert done.returncode == 0, done.stderr
    assert "No objects were found." in done.stdout
    assert np.isnan(rm.Scene.load(tmp_path / "out").disparity).all()


def test_an_existing_result_is_kept(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out" / "000").mkdir(parents=True)
    (tmp_path / "out" / "000" / "mine.txt").write_text("keep")
    arguments = ("predict", pair.left, pair.right, "--output", "out", "--rig", pair.rig)
    refused = run(*arguments)
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "out" / "000" / "mine.txt").read_text() == "keep"
    assert run(*arguments, "--overwrite").returncode == 0
    assert not (tmp_path / "out" / "000" / "mine.txt").exists()


def _broken(case: str, pair: PairOnDisk) -> None:
    if case == "missing":
        pair.right.unlink()
    elif case == "empty":
        pair.right.write_bytes(b"")
    elif case == "cut off":
        pair.right.write_bytes(pair.right.read_bytes()[:2000])
    elif case == "no image":
        pair.right.write_text("hello")
    elif case == "other size":
        write_image(pair.right, read_image(pair.right)[:200])
    elif case == "other size than the rig":
        for path in (pair.left, pair.right):
            write_image(path, read_image(path)[:200])
    elif case == "empty rig":
        pair.rig.write_text("")
    elif case == "NaN in the rig":
        pair.rig.write_text(
            "fx: .nan\ncx: 160\ncy: 120\nbaseline_m: 0.1\nwidth: 320\nheight: 240\n"
        )
    elif case == "zero baseline":
        pair.rig.write_text("fx: 300\ncx: 160\ncy: 120\nbaseline_m: 0\nwidth: 320\nheight: 240\n")
    elif case == "negative baseline":
        pair.rig.write_text("fx: 300\ncx: 160\ncy: 120\nbaseline_m: -1\nwidth: 320\nheight: 240\n")
    else:
        raise AssertionError(case)


@pytest.mark.parametrize(
    ("case", "named", "words"),
    [
        ("missing", "000.png", "does not exist"),
        ("empty", "000.png", "is empty"),
        ("cut off", "000.png", "cut off"),
        ("no image", "000.png", "not an image"),
        ("other size", "000.png", "one size"),
        ("other size than the rig", "000", "the rig is for 320 x 240"),
        ("empty rig", "rig.yaml", "empty"),
        ("NaN in the rig", "rig.yaml", "fx"),
        ("zero baseline", "rig.yaml", "baseline"),
        ("negative baseline", "rig.yaml", "baseline"),
    ],
)
def test_bad_input_is_one_clear_error(
    case: str, named: str, words: str, pair: PairOnDisk, run: Run, tmp_path: Path
) -> None:
    _broken(case, pair)
    done = run("predict", pair.left, pair.right, "--output", "out", "--rig", pair.rig)
    message = done.stderr.replace("\n", " ")
    assert done.returncode == 1
    assert "error: " in message
    assert named in message
    assert words in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_a_rig_without_a_baseline_is_refused(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    single = rm.Rig(left=rm.Rig.load(pair.rig).left)
    single.save(tmp_path / "single.yaml")
    done = run("predict", pair.left, pair.right, "--output", "out", "--rig", "single.yaml")
    assert done.returncode == 1
    assert "no baseline" in done.stderr
    assert "single.yaml" in done.stderr
    assert not (tmp_path / "out").exists()


def test_images_over_the_limit_are_refused(pair: PairOnDisk, run: Run) -> None:
    done = run("predict", pair.left, pair.right, "--output", "out", "--max-pixels", "0.05")
    assert done.returncode == 1
    assert "--max-pixels" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stereo", "sgmb"), "Did you mean 'sgbm'"),
        (("--masks", "xyz"), "known: geometry"),
        (("--depth", "xyz"), "no depth model"),
        (("--labels", "person"), "knows no names"),
        (("--max-distance", "-1"), "range of distances"),
        (("--layout", "mono"), "--layout is mono"),
        (("--refine", "masks,teeth"), "--refine knows masks, depth, flying-pixels; got teeth"),
        (("--voxel", "0"), "voxel_m must be"),
    ],
)
def test_bad_options_are_one_clear_error(
    arguments: tuple[str, ...], words: str, pair: PairOnDisk, run: Run, tmp_path: Path
) -> None:
    done = run("predict", pair.left, pair.right, "--output", "out", "--rig", pair.rig, *arguments)
    assert done.returncode == 1
    assert words in done.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_one_image_needs_a_depth_model(pair: PairOnDisk, run: Run) -> None:
    done = run("predict", pair.left, "--output", "out", "--rig", pair.rig)
    assert done.returncode == 1
    assert "--depth NAME" in done.stderr.replace("\n", " ")


def test_the_target_may_be_unwritable(pair: PairOnDisk, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("predict", pair.left, pair.right, "--output", "file/out", "--rig", pair.rig)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr.replace("\n", " ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_place_leaves_nothing_half_written(
    pair: PairOnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that the system refuses half-way: the staging folder goes, nothing else appears."""
    from rangemask.structures import scene_files

    def full(path: Path, array: np.ndarray) -> None:
        with Path("/dev/full").open("wb") as file:
            file.write(array.tobytes())

    monkeypatch.setattr(scene_files.np, "save", full)
    frame = rm.StereoFrame.read(pair.left, pair.right, rig=rm.Rig.load(pair.rig))
    scene = rm.Scene(frame=frame, disparity=np.ones((240, 320), dtype=np.float32))
    with pytest.raises(rm.OutputError, match="No space left"):
        scene.save(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one child")
@pytest.mark.parametrize(
    ("wait_s", "kind"),
    [
        (0.15, signal.SIGINT),
        (0.6, signal.SIGINT),
        (1.2, signal.SIGINT),
        (1.6, signal.SIGTERM),
        (2.0, signal.SIGINT),
    ],
)
def test_an_interrupt_leaves_nothing_half_written(
    wait_s: float, kind: signal.Signals, pair: PairOnDisk, tmp_path: Path
) -> None:
    for side in ("left", "right"):
        for i in range(1, 30):
            os.link(pair.folder / side / "000.png", pair.folder / side / f"{i:03d}.png")
    arguments = ["predict", pair.folder, "--output", "out", "--rig", pair.rig]
    process = subprocess.Popen(
        [sys.executable, "-m", "rangemask", *map(str, arguments)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        preexec_fn=interruptible,  # noqa: PLW1509 - no threads here
    )
    time.sleep(wait_s)
    process.send_signal(kind)
    process.communicate(timeout=60)
    assert process.returncode != 0
    for folder in (tmp_path / "out").glob("*"):
        assert not folder.name.startswith("."), "a staging folder was left behind"
        assert rm.Scene.load(folder).name == folder.name
