"""A run that is held in part is read on from its last step, whichever way W&B serves it."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsync.checksum import Content
from wbsync.errors import HistoryRewrittenError
from wbsync.extract.exports import read_exports
from wbsync.extract.history import Held, HistoryBatch, rows_to_history
from wbsync.model import RunPath

RUN = RunPath("e", "p", "r")
Row = dict[str, Any]
Cells = dict[tuple[str, int | None, int], float]


def logged(steps: list[int]) -> list[Row]:
    """Returns rows in the order in which they were logged."""
    return [
        {"_step": step, "_timestamp": 100.0 + place, "loss": float(place)}
        for place, step in enumerate(steps)
    ]


def cells(*batches: HistoryBatch) -> Cells:
    """Returns what batches hold; a place that is held twice fails."""
    found: Cells = {}
    for batch in batches:
        for key, parts in batch.slices.items():
            for part in parts:
                for step, row, value in zip(
                    part.step.to_pylist(), part.row.to_pylist(), part.value.to_pylist(), strict=True
                ):
                    assert (key, step, row) not in found
                    found[key, step, row] = value
    return found


def exported(rows: list[Row], cuts: list[int], held: Held | None, seed: int) -> list[HistoryBatch]:
    """Returns what exports of the rows hold, cut into files that come in any order."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            if start < end:
                paths.append(Path(folder) / f"{len(paths)}.parquet")
                pq.write_table(pa.Table.from_pylist(rows[start:end]), paths[-1])
        random.Random(seed).shuffle(paths)
        return list(read_exports(paths, RUN, held=held, max_cells=20))


def served(rows: list[Row], held: Held | None) -> HistoryBatch:
    """Returns what the rows hold as JSON rows."""
    is_whole = held is not None
    return rows_to_history([dict(r) for r in rows], RUN, held=held, is_whole=is_whole)


def reached(*batches: HistoryBatch) -> Held | None:
    """Returns up to where a run is held after batches in order."""
    held: Held | None = None
    for batch in batches:
        if batch.last_step is not None:
            is_same = held is not None and held.last_step == batch.last_step
            tail = (*held.tail, *batch.tail) if held is not None and is_same else batch.tail
            held = Held(batch.last_step, tail)
    return held


def amount(*batches: HistoryBatch) -> Content:
    """Returns what batches amount to by their own account; a step in two of them counts once."""
    return sum((b.content for b in batches), Content())


STEPS = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@settings(deadline=None)
@given(STEPS, st.lists(st.integers(0, 12), max_size=3), st.integers(0, 9))
def test_exports_and_rows_give_the_same(steps: list[int], cuts: list[int], seed: int) -> None:
    """Rows of several writers, steps that repeat: both ways number and place them alike."""
    rows = logged(steps)
    places = sorted(min(c, len(rows)) for c in cuts)
    batches = exported(rows, places, None, seed)
    one = served(rows, None)
    assert cells(*batches) == cells(one)
    assert reached(*batches) == reached(one)
    assert sum(b.rows for b in batches) == one.rows == len(rows)
    assert amount(*batches) == amount(one)
    assert (one.content.values, one.content.steps) == (len(cells(one)), len(set(steps)))


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 1), min_size=2, max_size=14), st.data(), st.booleans(), st.booleans()
)
def test_a_run_that_grew_is_read_on(
    strides: list[int], data: st.DataObject, first: bool, second: bool
) -> None:
    """What is held and what is new give the whole, where the last step held grows further rows."""
    steps = [sum(strides[: i + 1]) for i in range(len(strides))]
    rows = logged(steps)
    known = data.draw(st.integers(1, len(rows)))
    cut = data.draw(st.integers(0, len(rows)))
    before = exported(rows[:known], [], None, 0) if first else [served(rows[:known], None)]
    held = reached(*before)
    after = exported(rows, [cut], held, cut) if second else [served(rows, held)]
    whole = served(rows, None)
    assert cells(*before, *after) == cells(whole)
    assert reached(*before, *after) == reached(whole)
    assert amount(*before, *after) == amount(whole)


@pytest.mark.parametrize("way", ["exports", "rows"])
@pytest.mark.parametrize(
    "now",
    [
        [{"_step": 0, "_timestamp": 1.0}, {"_step": 2, "_timestamp": 99.0}],
        [{"_step": 0, "_timestamp": 1.0}, {"_step": 3, "_timestamp": 99.0}],
        [{"_step": 2, "_timestamp": 1.5}, {"_step": 2, "_timestamp": 2.0}],
        [{"_step": 2, "_timestamp": None}, {"_step": 3, "_timestamp": 3.0}],
    ],
    ids=["other time", "no such row", "one before it", "no time"],
)
def test_another_timeline_is_noticed(way: str, now: list[Row]) -> None:
    """Where the rows of the last step held are not what is held, nothing is taken."""
    held = Held(2, (2.0,))
    rows = [{**row, "loss": 1.0} for row in now] + [{"_step": 9, "_timestamp": 9.0, "loss": 9.0}]
    read = {"exports": lambda: exported(rows, [], held, 0), "rows": lambda: served(rows, held)}
    with pytest.raises(HistoryRewrittenError):
        read[way]()


def test_rows_without_times_are_told_by_number() -> None:
    """Rows that bear no time are held as many as there are."""
    rows = [{"_step": 1, "loss": 1.0}, {"_step": 1, "loss": 2.0}, {"_step": 1, "loss": 3.0}]
    before = served(rows[:2], None)
    after = served(rows, reached(before))
    assert cells(before, after) == cells(served(rows, None))


def test_a_tail_that_is_not_known_is_taken_to_be_held() -> None:
    """A cursor of an older wbsync names a step alone: reading goes on behind it."""
    rows = logged([0, 1, 2])
    assert cells(served(rows, Held(1, ()))) == {("loss", 2, 0): 2.0, ("_timestamp", 2, 0): 102.0}
