"""What holds for the package as a whole."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import rangemask as rm

HEAVY = ("torch", "torchvision", "timm", "transformers", "lightning", "skimage", "matplotlib")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )


def test_every_public_name_loads() -> None:
    for name in rm.__all__:
        assert getattr(rm, name) is not None
    assert dir(rm) == rm.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rm.nothing


def test_the_public_names_are_these() -> None:
    """Names leave by the calendar, not by accident; additions are added here."""
    assert sorted(rm.__all__) == [
        "Camera",
        "DepthMap",
        "Distance",
        "InputError",
        "MaskSet",
        "OutputError",
        "Pipeline",
        "RangemaskError",
        "Rig",
        "Scene",
        "SceneObject",
        "Segmentation",
        "SemanticMap",
        "StereoFrame",
        "StereoMatch",
        "__version__",
        "align",
        "load_backbone",
        "load_depth",
        "load_masks",
        "load_model",
        "load_stereo",
    ]


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = run_python(
        "import sys, rangemask; print([m for m in ('numpy', 'cv2', *"
        f"{HEAVY!r}) if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["eval", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = run_python(
        "import sys, contextlib\n"
        "from rangemask.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments!r})\n"
        f"print('LOADED', [m for m in ('cv2', 'scipy', *{HEAVY!r}) if m in sys.modules])"
    )
    assert "LOADED []" in done.stdout, done.stdout + done.stderr


def test_sources_keep_to_the_rules(repository: Path) -> None:
    forbidden = re.compile(r"sys\.path|\byaml\.load\(|pickle\.load|\beval\(|except:|import \*")
    for path in (repository / "src").rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            assert not forbidden.search(line), f"{path}:{number}: {line}"


def test_files_stay_readable(repository: Path) -> None:
    for path in (repository / "src").rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 420, f"{path} has {lines} lines"
