"""A checksum tells what rows hold, however they lie."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsync.checksum import MASK, Content, hash_places, hash_text, hash_texts, hash_values, sum_of

Value = tuple[str, int | None, int, float | None, str | None]

VALUES = st.lists(
    st.tuples(
        st.sampled_from(["loss", "Loss", "a.b", ""]),
        st.none() | st.integers(0, 2**40),
        st.integers(0, 3),
        st.none() | st.floats(allow_nan=True),
        st.none() | st.text(max_size=3),
    ),
    max_size=20,
    unique_by=repr,
)


def checksum(values: list[Value]) -> int:
    """Returns the checksum of (key, step, row, number, JSON)."""
    keys, steps, rows, numbers, texts = zip(*values, strict=True) if values else ([],) * 5
    return sum_of(
        hash_values(
            hash_places(pa.array(steps, pa.int64()), pa.array(rows, pa.int64())),
            hash_texts(pa.array(keys, pa.string())),
            [pa.array(numbers, pa.float64())],
            pa.array(texts, pa.string()),
        )
    )


@settings(deadline=None)
@given(VALUES, st.randoms(use_true_random=False), st.integers(0, 20))
def test_order_and_layout_do_not_matter(values: list[Value], rng: Any, cut: int) -> None:
    """Any order, and any cut into parts that are added up, gives the same."""
    shuffled = rng.sample(values, len(values))
    assert checksum(shuffled) == checksum(values)
    assert (checksum(values[:cut]) + checksum(values[cut:])) & MASK == checksum(values)


@settings(deadline=None)
@given(VALUES, st.data())
def test_any_difference_shows(values: list[Value], data: Any) -> None:
    """A value that is lost, doubled, or moved to another place changes it."""
    if len(values) < 2:
        return
    index = data.draw(st.integers(0, len(values) - 1))
    whole = checksum(values)
    assert checksum(values[:index] + values[index + 1 :]) != whole
    assert checksum([*values, values[index]]) != whole
    (a, b, *_) = values
    swapped = [(*a[:3], *b[3:]), (*b[:3], *a[3:])]
    if repr(a[3:]) != repr(b[3:]) and a[:3] != b[:3]:
        assert checksum([*swapped, *values[2:]]) != whole


def test_what_is_equal_in_meaning_is_equal() -> None:
    """NaNs are one value, NULL is none of 0, NaN or the empty text, and an encoding is no value."""
    odd_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0]
    nans = [checksum([("k", 1, 0, n, None)]) for n in (float("nan"), odd_nan)]
    assert nans[0] == nans[1]
    kinds = [None, 0.0, float("nan"), float("inf"), 1.0, 2.0**60]
    sums = {checksum([("k", 1, 0, n, j)]) for n in kinds for j in (None, "", "null", "1")}
    assert len(sums) == len(kinds) * 4
    assert len({checksum([("k", s, 0, 1.0, None)]) for s in (None, 0, 1)}) == 3
    texts = pa.array(["a", None, "b", "a"])
    assert (hash_texts(texts) == hash_texts(texts.dictionary_encode())).all()
    assert hash_texts(texts)[0] == hash_text("a")
    sliced = pa.array([9.0, 1.0, None]).slice(1)
    step = pa.array([5, 1, 2]).slice(1)
    row = pa.array(np.zeros(3, np.int64)).slice(1)
    words = hash_values(hash_places(step, row), hash_text("k"), [sliced], pa.nulls(2, pa.string()))
    assert sum_of(words) == checksum([("k", 1, 0, 1.0, None), ("k", 2, 0, None, None)])


def test_contents_add_up() -> None:
    """Sums stay within 64 bits."""
    assert Content(1, 1, MASK) + Content(2, 1, 2) == Content(3, 2, 1)
