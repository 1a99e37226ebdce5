"""``rangemask``: the commands, and what becomes of their errors."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core

from rangemask._version import __version__
from rangemask.cli import convert, demo, doctor, label, labelstudio, predict, train
from rangemask.cli import eval as eval_command
from rangemask.cli import export as export_command
from rangemask.cli.console import print_error, start_logging
from rangemask.errors import RangemaskError

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended: 128 + SIGINT."""


class InterruptedCommandError(RangemaskError):
    """Ctrl-C, by a name that typer lets through."""


class _Commands(typer.core.TyperGroup):
    """Typer ends the process itself on Ctrl-C, without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise InterruptedCommandError from interrupt


app = typer.Typer(
    name="rangemask",
    cls=_Commands,
    help="Masks that know how far away they are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("predict")(predict.predict)
app.add_typer(eval_command.app, name="eval", help="Measure predictions against ground truth.")
app.command("label")(label.label)
app.add_typer(labelstudio.app, name="labelstudio", help="Correct masks in Label Studio.")
app.command("train", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(
    train.train
)
app.add_typer(export_command.app, name="export", help="Networks as ONNX, with a parity check.")
app.command("convert")(convert.convert)
app.command("doctor")(doctor.doctor)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rangemask {__version__}")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and details; works anywhere.")
    ] = False,
) -> None:
    """Masks that know how far away they are."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    start_logging(verbose=debug)
    # A polite kill cleans up as Ctrl-C does: no staging folder stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app([argument for argument in given if argument != "--debug"])
    except (KeyboardInterrupt, InterruptedCommandError):
        print_error("interrupted. What was finished is kept; run again to go on.")
        sys.exit(INTERRUPTED)
    except RangemaskError as error:
        if debug:
            raise
        print_error(str(error))
    except MemoryError:
        if debug:
            raise
        print_error("out of memory. Use smaller images, or --quality fast.")
    except Exception as error:
        # The last line of defence: whatever comes here is a defect and is called one.
        if debug:
            raise
        print_error(
            f"rangemask failed in a way it should not ({type(error).__name__}: {error}). "
            "Run again with --debug for the details, and please report it."
        )
    sys.exit(1)


if __name__ == "__main__":
    main()
