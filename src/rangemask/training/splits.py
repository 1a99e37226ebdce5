"""What is trained on and what is held out: whole recordings, never single frames.

Frames of one recording look alike; a frame held out next to one that was learnt tests nothing.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rangemask.errors import InputError

logger = logging.getLogger(__name__)

_SHOWN = 12
"""Names that a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which samples of a data set are for what, by their numbers."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    dropped: tuple[int, ...] = ()
    """Used for neither: the gap within a single recording, or recordings that were not named."""
    train_sequences: tuple[str, ...] = ()
    val_sequences: tuple[str, ...] = ()
    warning: str = ""
    """Why the split is weaker than it should be; empty where it is not."""

    def __str__(self) -> str:
        """Counts, for a log."""
        parts = [
            f"{len(numbers)} frames of {len(names)} sequences {use}"
            for numbers, names, use in (
                (self.train, self.train_sequences, "to train on"),
                (self.val, self.val_sequences, "held out"),
            )
        ]
        if self.dropped:
            parts.append(f"{len(self.dropped)} frames used for neither")
        return "; ".join(parts)


def split_sequences(
    sequences: Sequence[str],
    *,
    val_share: float = 0.1,
    seed: int = 0,
    train: Sequence[str] | None = None,
    val: Sequence[str] | None = None,
    gap: int | None = None,
) -> Split:
    """Split samples by the recordings they belong to.

    The order in which recordings are held out hangs on the seed and each one's name alone, so
    that a data set that grows does not move all of them to the other side.

    Args:
        sequences: of each sample (``Dataset.sequences``).
        val_share: frames to hold out, as a share; met as nearly as whole recordings allow, with
            at least one on either side. 0 holds out nothing.
        seed: which recordings.
        train: recordings to train on; all that ``val`` does not name without it.
        val: recordings to hold out; all that ``train`` does not name without it.
        gap: frames left out between the two where there is only one recording, which is then
            cut into two blocks, with a warning; a fiftieth of it without this.

    Raises:
        InputError: there are too few samples, a share or a gap is out of range, a recording is
            not there, or one is named for both.
    """
    if not sequences:
        raise InputError("there are no samples to split.")
    if not 0 <= val_share < 1:
        raise InputError(f"val_share must lie within [0, 1), got {val_share}.")
    if train is not None or val is not None:
        return _named(sequences, train, val)
    if val_share == 0:
        return _by_names(sequences, set(sequences), set())
    names = sorted(set(sequences))
    if len(names) == 1:
        return _blocks(sequences, val_share, gap)
    order = sorted(names, key=lambda name: _rank(seed, name))
    return _by_names(sequences, set(names), _held_out(sequences, order, val_share))


def _held_out(sequences: Sequence[str], order: Sequence[str], share: float) -> set[str]:
    """Recordings in this order for as long as that comes nearer to the share."""
    counts = dict.fromkeys(order, 0)
    for name in sequences:
        counts[name] += 1
    wanted = share * len(sequences)
    held, total = {order[0]}, counts[order[0]]
    for name in order[1:-1]:  # one stays to train on
        if abs(total + counts[name] - wanted) < abs(total - wanted):
            held.add(name)
            total += counts[name]
    return held


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _named(
    sequences: Sequence[str], train: Sequence[str] | None, val: Sequence[str] | None
) -> Split:
    there = set(sequences)
    for use, names in (("train", train), ("val", val)):
        unknown = sorted(set(names or ()) - there)
        if unknown:
            raise InputError(
                f"{use} names sequences that the data does not have: {_listed(unknown)}. "
                f"It has {_listed(sorted(there))}."
            )
    both = sorted(set(train or ()) & set(val or ()))
    if both:
        raise InputError(
            f"sequences named for both train and val: {_listed(both)}. Frames of one recording "
            "look alike; give each to one side."
        )
    learnt = there - set(val or ()) if train is None else set(train)
    held = there - learnt if val is None else set(val)
    if not learnt:
        raise InputError(
            "nothing is left to train on: name fewer sequences for val, or some for train."
        )
    return _by_names(sequences, learnt, held)


def _by_names(sequences: Sequence[str], learnt: set[str], held: set[str]) -> Split:
    learnt = learnt - held
    numbers = range(len(sequences))
    return Split(
        train=tuple(i for i in numbers if sequences[i] in learnt),
        val=tuple(i for i in numbers if sequences[i] in held),
        dropped=tuple(i for i in numbers if sequences[i] not in learnt | held),
        train_sequences=tuple(sorted(learnt)),
        val_sequences=tuple(sorted(held)),
    )


def _blocks(sequences: Sequence[str], share: float, gap: int | None) -> Split:
    """The last frames of the only recording are held out, some before them left out."""
    count = len(sequences)
    held = max(round(share * count), 1)
    if gap is None:
        gap = min(math.ceil(count / 50), max(count - held - 1, 0))
    if gap < 0:
        raise InputError(f"gap must not be negative, got {gap}.")
    learnt = count - held - gap
    if learnt < 1:
        raise InputError(
            f"all {count} frames are of one sequence, {sequences[0]!r}: with {held} held out and a "
            f"gap of {gap} nothing is left to train on. Record more sequences, or lower val_share "
            "or gap."
        )
    warning = (
        f"all frames are of one sequence, {sequences[0]!r}: its last {held} are held out, the "
        f"{gap} before them left out. Held-out figures will flatter; record a second sequence."
    )
    logger.warning(warning)
    return Split(
        train=tuple(range(learnt)),
        val=tuple(range(count - held, count)),
        dropped=tuple(range(learnt, count - held)),
        train_sequences=(sequences[0],),
        val_sequences=(sequences[0],),
        warning=warning,
    )


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(map(repr, shown[:_SHOWN])) + more
