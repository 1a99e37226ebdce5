"""Where the command line speaks: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

LOGGER_NAME = "rangemask"


def start_logging(*, verbose: bool = False) -> None:
    """Send the package's log to standard error, warnings in words that stand out."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(stderr=True),
        show_time=False,
        show_path=False,
        show_level=True,
        markup=False,
        highlighter=None,
    )
    logger = logging.getLogger(LOGGER_NAME)
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def print_json(data: Any) -> None:
    """Print plain values as JSON on standard output; unknown numbers are null already."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


def print_rich(*renderables: Any) -> None:
    """Print tables and text on standard output."""
    from rich.console import Console

    console = Console(highlight=False)
    for renderable in renderables:
        console.print(renderable)


def print_error(message: str) -> None:
    """Print one error for the person at the keyboard."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, highlight=False).print(
        Text.assemble(("error: ", "bold red"), message), soft_wrap=True
    )
