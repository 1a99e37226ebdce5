"""Label Studio's brush masks: run lengths of RGBA pixels as a stream of bits.

The format is that of thi.ng's rle-pack: 32 bits for the number of values, 5 for the bits of a value
less one, four times 4 for the bits of run lengths less one; then tokens. A token is one bit (1: one
value repeated, 0: as many values), two bits that choose one of the four sizes, the run length less
one, and the value or values. All numbers have their highest bit first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap

Bytes: TypeAlias = NDArray[np.uint8]

OPAQUE = 128
"""Alpha from which a pixel is inside: a brush with soft edges leaves values between."""

_CHANNELS = 4
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_HEADER_BITS = 32 + 5 + 4 * 4
_LONGEST = 1 << 16


def encode_brush(mask: BoolMap) -> list[int]:
    """A mask as Label Studio holds it, the same bytes as ``mask2rle`` of its SDK gives.

    Args:
        mask: (H, W) bool.

    Returns:
        bytes, as numbers.

    Raises:
        InputError: the mask has no pixels.
    """
    values = np.where(mask.ravel(), np.uint8(255), np.uint8(0))
    return encode_values(values, repeat=_CHANNELS)


def encode_values(values: Bytes, *, repeat: int = 1) -> list[int]:
    """Values as a stream, the same bytes as ``encode_rle`` of Label Studio's SDK gives.

    Args:
        values: (N,) uint8.
        repeat: how often each value stands in the stream.

    Returns:
        bytes, as numbers.

    Raises:
        InputError: there are no values, or more than the format can count.
    """
    if not 0 < values.size * repeat < 1 << 32:
        raise InputError(f"a brush mask holds 1 to 2^32 - 1 values, not {values.size * repeat}.")
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    lengths = np.diff(np.append(starts, values.size)) * repeat
    words, widths = _tokens(lengths, values[starts].astype(np.int64))
    header = [values.size * repeat, _WORD_BITS - 1, *(bits - 1 for bits in _LENGTH_BITS)]
    words = np.concatenate([np.array(header, dtype=np.int64), words])
    widths = np.concatenate([[32, 5, 4, 4, 4, 4], widths])
    bits = _bits_of(words, widths)
    # The SDK fills a stream that ends with a byte by another byte of zeros.
    packed = np.packbits(np.append(bits, np.zeros(8 - bits.size % 8, dtype=np.uint8)))
    return packed.tolist()


def decode_brush(stream: Sequence[Any], height: int, width: int) -> BoolMap:
    """A mask from Label Studio's bytes, of any program that writes them.

    Args:
        stream: bytes, as numbers.
        height: of the image, px.
        width: of the image, px.

    Returns:
        (H, W) bool: where alpha is ``OPAQUE`` or more.

    Raises:
        InputError: the stream is damaged, or of an image of another size.
    """
    lengths, values = _runs(stream, height * width * _CHANNELS)
    # Alpha is the last of four values: the pixels that end before the end of a run.
    pixels = np.diff(np.cumsum(lengths) // _CHANNELS, prepend=0)
    return np.repeat(values >= OPAQUE, pixels).reshape(height, width)


def decode_values(stream: Sequence[Any], *, expected: int) -> Bytes:
    """The inverse of ``encode_values``.

    Args:
        stream: bytes, as numbers.
        expected: how many values there must be, so that no stream asks for all memory.

    Returns:
        (expected,) uint8.

    Raises:
        InputError: the stream is damaged, or of another number of values.
    """
    lengths, values = _runs(stream, expected)
    return np.repeat(values, lengths)


def _runs(stream: Sequence[Any], expected: int) -> tuple[NDArray[np.int64], Bytes]:
    """Lengths and values of all runs."""
    try:
        data = bytes(stream)
    except (TypeError, ValueError) as error:
        raise InputError(f"a brush mask is a list of bytes, 0 to 255; {error}.") from error
    count = int.from_bytes(data[:4], "big")
    if len(data) * 8 < _HEADER_BITS or count != expected:
        raise InputError(
            f"a brush mask of {count} values, expected {expected} (4 for each pixel of the image)."
        )
    sizes = int.from_bytes(data[4:7], "big") >> 3
    if sizes >> 16 != _WORD_BITS - 1:
        raise InputError(f"a brush mask of {(sizes >> 16) + 1}-bit values, expected 8-bit ones.")
    length_bits = [((sizes >> shift) & 15) + 1 for shift in (12, 8, 4, 0)]
    lengths, values = _runs_of(data, length_bits, count)
    return np.array(lengths, dtype=np.int64), np.array(values, dtype=np.uint8)


def _tokens(
    lengths: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each token as one number and its width in bits."""
    full = (lengths - 1) // _LONGEST
    counts = full + 1
    last = np.cumsum(counts) - 1
    runs = np.full(int(counts.sum()), _LONGEST, dtype=np.int64)
    runs[last] = lengths - full * _LONGEST
    values = np.repeat(values, counts)
    # What is left of a run beyond 2^16 keeps its long form, however short it is.
    size = np.repeat(np.searchsorted([8, 16, 256], lengths), counts)
    bits = np.array(_LENGTH_BITS)[size]
    repeated = np.repeat(lengths > 1, counts).astype(np.int64)
    words = (((((repeated << 2) | size) << bits) | (runs - 1)) << _WORD_BITS) | values
    return words, bits + 3 + _WORD_BITS


def _bits_of(words: NDArray[np.int64], widths: NDArray[np.int64]) -> Bytes:
    """Numbers of different widths behind each other, a bit each."""
    ends = np.cumsum(widths)
    place = np.repeat(ends, widths) - 1 - np.arange(ends[-1])
    return ((np.repeat(words, widths) >> place) & 1).astype(np.uint8)


def _runs_of(data: bytes, length_bits: Sequence[int], count: int) -> tuple[list[int], list[int]]:
    """Walk from token to token: where one begins is known only when the one before is read."""
    lengths: list[int] = []
    values: list[int] = []
    at, done, end = _HEADER_BITS, 0, len(data) * 8
    while done < count:
        byte = at >> 3
        # Eight bytes hold any token but for the values of a row of different ones.
        window = int.from_bytes(data[byte : byte + 8].ljust(8, b"\0"), "big") << (at & 7)
        head = (window >> 61) & 7
        bits = length_bits[head & 3]
        length = ((window >> (61 - bits)) & ((1 << bits) - 1)) + 1
        at += 3 + bits
        done += length
        amount = 1 if head >> 2 else length
        if at + amount * _WORD_BITS > end or done > count:
            raise InputError("a brush mask is cut off, or its runs do not end where it does.")
        if amount == 1:
            lengths.append(length)
            values.append((window >> (53 - bits)) & 255)
        else:
            lengths += [1] * amount
            values += _literals(data, at, amount)
        at += amount * _WORD_BITS
    return lengths, values


def _literals(data: bytes, at: int, amount: int) -> bytes:
    """Whole bytes that begin at any bit."""
    first, shift = at >> 3, at & 7
    number = int.from_bytes(data[first : first + amount + 1].ljust(amount + 1, b"\0"), "big")
    return (number >> (8 - shift) & ((1 << 8 * amount) - 1)).to_bytes(amount, "big")
