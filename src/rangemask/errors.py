"""Errors for people: what was expected, what was found, and what to do.

The command line prints these as one message and exits with 1; anything else that escapes
is a defect of the program and is reported as such.
"""


class RangemaskError(Exception):
    """Base of every error that is meant to be read by the person at the keyboard."""


class InputError(RangemaskError, ValueError):
    """What was given cannot be used: a file, an image, a calibration, an option."""


class OutputError(RangemaskError):
    """A result could not be written: the target exists, is read-only or is full."""


class UnknownNameError(InputError):
    """A model or option was asked for by a name that nothing answers to."""
