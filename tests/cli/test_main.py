import logging
import signal
from collections.abc import Iterator

import pytest

from rangemask import __version__
from rangemask.cli import main as cli
from rangemask.errors import InputError


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    logger = logging.getLogger("rangemask")
    before = (logger.handlers, logger.level, logger.propagate)
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)
    logger.handlers, logger.level, logger.propagate = before


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def app(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"rangemask {__version__}\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["predict"], ["demo", "--no-such"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("left.png: the file is empty."), "error: left.png: the file is empty."),
        (MemoryError(), "out of memory"),
        (KeyError("x"), "in a way it should not (KeyError: 'x'). Run again with --debug"),
    ],
)
def test_errors_are_sentences(
    error: BaseException,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo"])
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert words in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err


def test_ctrl_c_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*, fast: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rangemask.cli.doctor.examine", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--fast"])
    assert ended.value.code == 130
    assert "interrupted. What was finished is kept" in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (InputError("x"), MemoryError(), KeyError("x")):
        failing(monkeypatch, error)
        with pytest.raises(type(error)):
            cli.main(["demo", "--debug"])
