"""Commands that tests interrupt."""

import signal


def interruptible() -> None:
    """In a child, before its command: Ctrl-C is heard.

    A shell lets what it starts in the background ignore it, tests and all that they start too.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
