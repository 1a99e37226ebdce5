"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rangemask.errors import OutputError

_umask_lock = threading.Lock()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it when the block ends well.

    Raises:
        OutputError: the target cannot be written.
    """
    target = Path(path)
    with speaking(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix
        )
        os.close(handle)
    staging = Path(name)
    try:
        with speaking(target):
            yield staging
            _open_up(staging, 0o666)
            staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside ``path``; rename it when the block ends well.

    An existing target stays untouched until the new one is complete.

    Raises:
        OutputError: the target exists and overwrite is off, or it cannot be written.
    """
    target = Path(path)
    check_free(target, overwrite=overwrite)
    with speaking(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with speaking(target):
            yield staging
            _open_up(staging, 0o777)
            _swap_in(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_free(target: Path, *, overwrite: bool) -> None:
    """Fail in words where something is in the way.

    Raises:
        OutputError: the target exists and overwrite is off, or it is a file.
    """
    if target.is_symlink() or target.is_file():
        raise OutputError(f"{target}: expected a folder to write to, but a file is there.")
    if target.exists() and not overwrite:
        raise OutputError(
            f"{target}: already exists and is kept. Choose another --output, or pass --overwrite."
        )


def _swap_in(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    # A folder cannot be renamed onto a full one: the old one steps aside first.
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    target.rename(old / target.name)
    try:
        staging.rename(target)
    except OSError:
        (old / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _open_up(path: Path, mode: int) -> None:
    """Temporary files are private; give the result the rights that a plain write would."""
    with _umask_lock:  # which can be read by writing it only
        umask = os.umask(0)
        os.umask(umask)
    path.chmod(mode & ~umask)


@contextmanager
def speaking(target: Path) -> Iterator[None]:
    """What the system says against writing a file, in words.

    Raises:
        OutputError: the system said no.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written ({error.strerror or error}). Is the place full, "
            "read-only, or owned by somebody else?"
        ) from error
