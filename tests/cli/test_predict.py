"""What the options of ``predict`` make of the pipeline; nothing is predicted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from rangemask.backends.stereo.sgbm import SgbmMatcher
from rangemask.cli.main import app
from rangemask.errors import InputError
from rangemask.structures.images import write_image


class BuiltError(Exception):
    """Ends the command once the pipeline is built."""


@pytest.fixture
def options_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The arguments of the pipeline that a command line over one pair builds."""
    monkeypatch.chdir(tmp_path)
    for name in ("left.png", "right.png"):
        write_image(Path(name), np.zeros((8, 8, 3), np.uint8))
    built: list[dict[str, Any]] = []

    def build(**options: Any) -> None:
        built.append(options)
        raise BuiltError

    monkeypatch.setattr("rangemask.pipeline.Pipeline", build)

    def call(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["predict", "left.png", "right.png", *arguments])
        assert done.exception is not None
        if not isinstance(done.exception, BuiltError):
            raise done.exception
        return built[-1]

    return call


def test_networks_are_named_and_told_where_to_run(options_of: Any) -> None:
    options = options_of("--depth", "d:x.pth", "--device", "cuda:1", "--precision", "bfloat16")
    assert (options["stereo"], options["depth"], options["masks"]) == (
        "sgbm",
        "d:x.pth",
        "geometry",
    )
    assert (options["device"], options["precision"]) == ("cuda:1", "bfloat16")
    plain = options_of()
    assert (plain["device"], plain["precision"], plain["depth"]) == ("auto", "auto", None)
    assert not plain["fill"]


def test_fill_is_the_matchers_own_unless_there_is_a_depth_model(options_of: Any) -> None:
    own = options_of("--fill")
    assert isinstance(own["stereo"], SgbmMatcher)
    assert own["stereo"].config.fill
    assert not own["fill"]
    monocular = options_of("--fill", "--depth", "d", "--quality", "fast")
    assert isinstance(monocular["stereo"], SgbmMatcher)
    assert not monocular["stereo"].config.fill
    assert monocular["fill"]
    student = options_of("--fill", "--depth", "d", "--stereo", "student:s")
    assert (student["stereo"], student["fill"]) == ("student:s", True)


def test_roles_can_be_left_out(options_of: Any) -> None:
    options = options_of("--stereo", "none", "--masks", "none", "--depth", "d")
    assert options["stereo"] is None
    assert options["masks"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fill", "--stereo", "student:s"), r"student:s cannot fill by itself.*--depth NAME"),
        (("--fill", "--stereo", "none", "--depth", "d"), "none has no matcher"),
        (("--quality", "best", "--stereo", "student:s"), "--quality is for the matcher sgbm"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options_of: Any, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        options_of(*arguments)
