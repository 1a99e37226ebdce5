"""``rangemask label`` as a user runs it: alone, in company, killed, on real pairs."""

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

from rangemask.data.store import LabelStore, open_labels
from support.datasets import label_files, stereo_dataset
from support.interrupts import interruptible
from support.pairs import Run

FRAMES = 8
COMMAND = (sys.executable, "-m", "rangemask", "label")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that one undisturbed run has labelled."""
    root = stereo_dataset(tmp_path_factory.mktemp("whole") / "set", frames=FRAMES)
    subprocess.run([*COMMAND, root, "--no-sheet"], check=True, capture_output=True)
    return root


@pytest.fixture
def bare(whole: Path, tmp_path: Path) -> Path:
    """The same data set without labels."""
    root = tmp_path / "set"
    for name in ("left", "right"):
        shutil.copytree(whole / name, root / name)
    shutil.copy(whole / "rig.yaml", root / "rig.yaml")
    return root


def records_of(root: Path) -> dict[str, int]:
    """Name and time of what is done."""
    folder = root / "records"
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return {path.stem: path.stat().st_mtime_ns for path in found if path.name[0] != "."}


@pytest.mark.skipif(os.name == "nt", reason="processes cannot be killed like this on Windows")
def test_killed_again_and_again_it_goes_on_where_it_was(whole: Path, bare: Path) -> None:
    random = np.random.default_rng(5)
    done: dict[str, int] = {}
    kills = 0
    while len(done) < FRAMES - 1 and kills < 6:
        process = subprocess.Popen(
            [*COMMAND, bare, "--no-sheet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while len(records_of(bare)) == len(done) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(float(random.uniform(0, 0.03)))  # at any moment of the next frame
        process.kill()
        assert process.wait() in {0, -signal.SIGKILL}
        kills += 1
        after = records_of(bare)
        # What was done is not done again.
        assert {name: after[name] for name in done} == done
        done = after
    assert kills > 1
    finished = subprocess.run([*COMMAND, bare, "--no-sheet", "--json"], capture_output=True)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["done"]["kept"] >= len(done)
    assert label_files(bare) == label_files(whole)
    hidden = [path for path in bare.rglob(".*") if path.is_file() and path.suffix != ".lock"]
    assert hidden == []


def test_two_labellers_share_the_work(whole: Path, bare: Path) -> None:
    processes = [
        subprocess.Popen(
            [*COMMAND, bare, "--no-sheet", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    done = [json.loads(output)["done"] for output, _ in said]
    assert sum(one["labelled"] for one in done) == FRAMES
    assert all(sum(one.values()) == FRAMES for one in done)
    assert label_files(bare) == label_files(whole)


def test_ray_workers_write_the_same_files(whole: Path, bare: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    finished = subprocess.run(
        [*COMMAND, bare, "--engine", "ray", "--workers", "2", "--no-sheet", "--json"],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["done"]["labelled"] == FRAMES
    assert label_files(bare) == label_files(whole)


def test_ctrl_c_keeps_what_is_done(bare: Path) -> None:
    # Somebody has the last frame, so the run cannot be over before it is interrupted.
    with LabelStore(bare).claim(f"f{FRAMES - 1:03}") as ours:
        assert ours
        process = subprocess.Popen(
            [*COMMAND, bare, "--no-sheet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # No threads here, so that it is safe.
            preexec_fn=None if sys.platform == "win32" else interruptible,  # noqa: PLW1509
        )
        while not records_of(bare) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in {1, 130}
    assert "Traceback" not in errors
    manifest = json.loads((bare / "manifest.json").read_text())
    assert manifest["complete"]
    assert {frame["name"] for frame in manifest["frames"]} == set(records_of(bare))


def test_the_command_says_what_it_did(whole: Path, run: Run, tmp_path: Path) -> None:
    root = shutil.copytree(whole, tmp_path / "set")
    (root / "left/f003.png").write_bytes(b"cut")
    done = run("label", root, "--min-quality", "0.65")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "1 failed" in text
    assert "skipped f003" in text
    assert "commercial-ok" in text
    page = (root / "contact_sheet.html").read_text()
    assert page.count("<article") >= 3
    assert "Failed" in page
    strict = run("label", root, "--strict")
    assert strict.returncode == 1
    assert "f003.png" in strict.stderr.replace("\n", "")
    other = run("label", root, "--quality", "fast")
    assert other.returncode == 1
    assert "--overwrite" in other.stderr
    nothing = run("label", tmp_path / "nowhere")
    assert nothing.returncode == 1
    assert "does not exist" in nothing.stderr


@pytest.mark.data
def test_real_pairs_are_labelled(shared_data: Path, tmp_path: Path, run: Run) -> None:
    root = tmp_path / "real"
    for side in ("left", "right"):
        shutil.copytree(shared_data / "sequence/euroc_a" / side, root / side)
    for path in sorted(root.glob("*/*.png"))[2:12]:
        path.unlink()
    done = run("label", root, "--quality", "fast", "--second-stereo", "sgbm", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    labels = open_labels(root)
    assert len(labels) == found["summary"]["labelled"] > 0
    assert set(labels.records[0].quality) >= {"coverage", "trust", "agreement"}
    assert LabelStore(root).is_whole(labels.records[0])
