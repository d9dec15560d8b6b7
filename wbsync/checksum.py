"""What rows of history hold, as three numbers that do not depend on how the rows lie.

Each value becomes a 64-bit number made of its key, step, row, number and JSON; a checksum is
their sum modulo 2^64. So it is the same in any order of rows and any layout of files, the sum of
two sets of rows is the sum of theirs, and a value that is held twice counts twice. It finds
damage and mistakes; against someone who wants to deceive it is no defence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    Words = np.ndarray[Any, np.dtype[np.uint64]]

MASK = 2**64 - 1
_STEP, _ROW, _NUMBER, _MIX = (
    np.uint64(n)
    for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD)
)
_NULL = np.uint64(0xA5A5A5A55A5A5A5B)
_NAN = np.uint64(0x7FF8000000000000)
_SHIFT = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Content:
    """What some rows of history hold."""

    values: int = 0
    steps: int = 0
    """Distinct steps."""
    checksum: int = 0

    def __add__(self, other: Content) -> Content:
        """Returns what both hold, where no step is in both."""
        return Content(
            self.values + other.values,
            self.steps + other.steps,
            (self.checksum + other.checksum) & MASK,
        )


def hash_places(step: pa.Array, row: pa.Array) -> Words:
    """Returns a number for each place (step, row); the values of several keys may share them."""
    places = _words(step) * _STEP
    if step.null_count:
        places[np.asarray(step.is_null())] = _NULL
    rows = _words(row)
    if rows.any():
        places += rows * _ROW
    return places


def hash_values(
    places: Words, keys: Words | np.uint64, numbers: Sequence[pa.Array], json: pa.Array
) -> Words:
    """Returns a number for each value.

    Args:
        places: What hash_places gave.
        keys: What hash_texts gave for the values' keys, or for the one key of all.
        numbers: Columns of doubles.
        json: Column of texts.
    """
    words = places + keys
    for column in numbers:
        bits = _double_bits(column)
        bits *= _NUMBER
        words ^= bits
        words ^= words >> _SHIFT
        words *= _MIX
    if json.null_count < len(json):
        words ^= hash_texts(json)
    words ^= words >> _SHIFT
    words *= _MIX
    words ^= words >> _SHIFT
    return words


def sum_of(words: Words) -> int:
    """Returns the checksum of values."""
    return int(words.sum(dtype=np.uint64))


def hash_texts(column: pa.Array) -> Words:
    """Returns a number for each text of a column, plain or dictionary-encoded; 0 for a NULL."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    known = [0, *map(_hash_large, column.dictionary.to_pylist())]
    indices = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    words: Words = np.array(known, np.uint64)[indices + 1]
    return words


@lru_cache(maxsize=16_384)
def hash_text(text: str) -> np.uint64:
    """Returns a number for a text."""
    return np.uint64(_hash_large(text))


def _hash_large(text: str | None) -> int:
    if text is None:
        return 0
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _words(column: pa.Array) -> Words:
    """Returns whole numbers as words, 0 for a NULL."""
    filled = column.fill_null(0) if column.null_count else column
    words: Words = np.asarray(filled.to_numpy(zero_copy_only=False)).view(np.uint64)
    return words


def _double_bits(column: pa.Array) -> Words:
    """Returns doubles as words that may be changed; every NaN is the same, and so is every NULL."""
    values = column.fill_null(0.0) if column.null_count else column
    doubles = np.asarray(values.to_numpy(zero_copy_only=False))
    bits: Words = doubles.view(np.uint64).copy()
    is_nan = np.isnan(doubles)
    if is_nan.any():
        bits[is_nan] = _NAN
    if column.null_count:
        bits[np.asarray(column.is_null())] = _NULL
    return bits
