"""``rangemask train`` with Hydra's overrides, as people type them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rangemask.data.synthetic.store import write_synthetic
from rangemask.geometry import Rig
from support.kitti_raw import write_drive

RIG = Rig.rectified(fx=75.0, cx=41.5, cy=27.5, baseline_m=0.12, width=84, height=56)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered") / "store"
    write_synthetic(root, range(5), RIG)
    return root


def train(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rangemask", "train", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )


def usual(rendered: Path) -> list[str]:
    return [
        f"data.root={rendered}",
        "model=nano",
        "data.size_px=[56,84]",
        "data.batch_size=2",
        "data.workers=0",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        "optimizer.lr=1e-3",
    ]


def test_overrides_reach_the_run_and_sweeps_make_several(rendered: Path, tmp_path: Path) -> None:
    done = train(tmp_path, "semantic", *usual(rendered), "-m", "run.seed=1,2")
    assert done.returncode == 0, done.stderr
    runs = sorted(path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert [run.name for run in runs] == ["semantic-1", "semantic-2"]
    settings = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
    assert [one["run"]["seed"] for one in settings] == [1, 2]
    assert settings[0]["optimizer"]["lr"] == 1e-3
    assert settings[0]["model"]["preset"] == "nano"
    assert (runs[0] / "report.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}, "Hydra leaves nothing about"


def test_two_processes_train_one_student(rendered: Path, tmp_path: Path) -> None:
    done = train(tmp_path, "masks", *usual(rendered), "trainer.devices=2", "data.batch_size=1")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/masks-1"
    assert json.loads((run / "run.json").read_text())["state"] == "finished"
    assert (run / "best/model.safetensors").is_file()


def test_two_eyes_learn_from_kitti_by_its_published_split(tmp_path: Path) -> None:
    write_drive(tmp_path / "kitti", "2011_09_26_drive_0001", (0, 1, 2))
    write_drive(tmp_path / "kitti", "2011_09_26_drive_0002", (0, 1, 3))
    options = (
        "encoder=nano",
        "epochs=1",
        "augmentation.full_size=[64,96]",
        "augmentation.crop_size=[32,64]",
        "loss.mono_perceptual=0",
        "data.batch_size=2",
        "data.workers=0",
        "trainer.accelerator=cpu",
    )
    done = train(tmp_path, "two-in-one", "data=kitti", "data.root=kitti", *options)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/two-in-one-1"
    found = json.loads((run / "data.json").read_text())
    assert len(found["train"]) == 3
    assert [name[-10:] for name in found["val"]] == ["0000000000", "0000000003"]
    assert json.loads((run / "best/config.json").read_text())["architecture"] == "two-in-one"
    page = (run / "report.html").read_text()
    assert ">one eye<" in page
    assert "one eye refined" in page
    assert "two eyes" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two-in-one"], "data.root=FOLDER says what to learn from"),
        (["two-in-one", "colour=1"], "Hydra refused these settings"),
        (["dpeth"], "no stage 'dpeth'; known: backbone, depth"),
        (["depth", "data.rot=x"], "Hydra refused these settings"),
        (["depth", "optimizer.lr=fast"], "config.optimizer.lr must be float"),
        (["depth", "data.root=nowhere"], "nowhere"),
        (["depth"], "data.root=FOLDER says what to learn from"),
    ],
)
def test_bad_settings_speak(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = train(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
