"""``rangemask demo`` as a new user runs it, with the learning stack out of reach."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_TORCH = (
    "import sys\n"
    "for name in ('torch', 'torchvision', 'timm', 'transformers', 'lightning'):\n"
    "    sys.modules[name] = None\n"
    "from rangemask.cli.main import main\n"
    "main(sys.argv[1:])\n"
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "demo", "--output", str(folder / "out"), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", json.loads(done.stdout)


def test_it_needs_no_torch_and_leaves_the_stated_files(demo: tuple[Path, dict]) -> None:
    folder, result = demo
    assert Path(result["folder"]) == folder / "motorcycle"
    for name in ("scene.json", "fusion/overlay.png", "3d/cloud.ply", "stereo/disparity.png"):
        assert (folder / "motorcycle" / name).is_file()
    assert (folder / "report.html").is_file()


def test_every_distance_is_within_2_percent_of_the_truth(demo: tuple[Path, dict]) -> None:
    _, result = demo
    objects = result["accuracy"]["objects"]
    assert len(objects) >= 1
    for thing in objects:
        assert thing["error_share"] is not None
        assert thing["error_share"] <= 0.02, thing


def test_the_table_says_where_things_are(demo: tuple[Path, dict]) -> None:
    folder, _ = demo
    arguments = ["demo", "--output", str(folder)]
    refused = subprocess.run(
        [sys.executable, "-m", "rangemask", *arguments], capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "--overwrite" in refused.stderr
    done = subprocess.run(
        [sys.executable, "-m", "rangemask", *arguments, "--overwrite"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for word in ("overlay.png", "cloud.ply", "ground truth", " m"):
        assert word in done.stdout
