"""Exports are read whole, in order, each row once, however they are cut into files."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbsync.errors import ExtractError
from wbsync.extract.exports import read_exports
from wbsync.extract.history import Held, rows_to_history
from wbsync.model import RunPath

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.extract.history import HistoryBatch

RUN = RunPath("e", "p", "r")

Row = dict[str, Any]


def write(path: Path, rows: list[Row], **options: Any) -> Path:
    """Writes rows as an export."""
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def values_of(batches: list[HistoryBatch]) -> list[tuple[str, int | None, int, str, str | None]]:
    """Returns every value of batches, as (key, step, row, number, JSON)."""
    return [
        (key, step, row, repr(value), text)
        for batch in batches
        for key, parts in batch.slices.items()
        for part in parts
        for step, row, value, text in zip(
            part.step.to_pylist(), part.row.to_pylist(), part.value.to_pylist(),
            part.json.to_pylist(), strict=True,
        )
    ]  # fmt: skip


def row(step: int | None, time: float, **values: Any) -> Row:
    """Returns a logged row."""
    return {"_step": step, "_timestamp": time, "loss": float(step or 0), **values}


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.one_of(st.none(), st.integers(0, 6)), min_size=1, max_size=25
    ),
    cuts=st.lists(st.integers(0, 25), max_size=3),
    is_sorted=st.booleans(),
    after_step=st.one_of(st.none(), st.integers(0, 6)),
    max_cells=st.sampled_from([1, 12, 1000]),
    turned=st.booleans(),
    is_timed_backwards=st.booleans(),
)  # fmt: skip
def test_any_cut_into_files_gives_what_the_rows_give(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[int | None],
    cuts: list[int],
    is_sorted: bool,
    after_step: int | None,
    max_cells: int,
    turned: bool,
    is_timed_backwards: bool,
) -> None:
    """Files in any number and order hold the same values as the same rows served as JSON."""
    folder = tmp_path_factory.mktemp("exports")
    if is_sorted:
        steps = sorted(steps, key=lambda s: -1 if s is None else s)
    sign = -1 if is_timed_backwards else 1
    rows = [row(step, 100.0 + sign * i, n=i) for i, step in enumerate(steps)]
    edges = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    parts = [rows[a:b] for a, b in pairwise(edges) if b > a]
    paths = [write(folder / f"{i}.parquet", part) for i, part in enumerate(parts)]
    paths = paths[::-1] if turned else paths
    held = None if after_step is None else Held(after_step, ())
    batches = list(read_exports(paths, RUN, held=held, max_cells=max_cells))
    wanted = rows_to_history([dict(r) for r in rows], RUN, held=held, is_whole=True)
    assert sorted(values_of(batches), key=str) == sorted(values_of([wanted]), key=str)
    assert sum(b.rows for b in batches) == wanted.rows
    assert max((b.last_step for b in batches if b.last_step is not None), default=None) == (
        wanted.last_step
    )


def test_a_batch_never_parts_the_rows_of_a_step(tmp_path: Path) -> None:
    """However small batches are, the rows of one step come in one, so that it may be a bookmark."""
    steps = [step for step in range(3000) for _ in range(1 + step % 3)]
    rows = [row(step, float(i)) for i, step in enumerate(steps)]
    path = write(tmp_path / "a.parquet", rows, row_group_size=700)
    batches = list(read_exports([path], RUN, held=None, max_cells=1))
    assert len(batches) > 3
    lasts = [b.last_step for b in batches]
    firsts = [b.slices["loss"][0].step[0].as_py() for b in batches]
    assert all(last < first for last, first in zip(lasts[:-1], firsts[1:], strict=True))
    assert sum(b.rows for b in batches) == len(rows)


def test_a_row_that_two_files_hold_is_taken_once(tmp_path: Path) -> None:
    """Overlapping exports give each row once, and several rows of one step all of them."""
    rows = [row(1, 1.0), row(2, 2.0), row(2, 2.5), row(3, 3.0)]
    paths = [write(tmp_path / "a.parquet", rows[:3]), write(tmp_path / "b.parquet", rows[1:])]
    batches = list(read_exports(paths, RUN, held=None))
    found = [v[1:3] for v in values_of(batches) if v[0] == "loss"]
    assert found == [(1, 0), (2, 0), (2, 1), (3, 0)]


def test_values_of_every_kind(tmp_path: Path) -> None:
    """Numbers keep their value, everything else its JSON; a NULL is nothing."""
    rows = [
        {
            "_step": 1.0, "a.b": math.nan, "inf": -math.inf, "big": 2**60, "yes": True,
            "text": "é\n",
            "media": {"_type": "image-file", "path": "x/y.png", "size": None},
            "mixed": {"_type_0": None, "_type_1": "now a text"}, "bytes": b'{"q": [1, 2.0]}',
            "list": [1.0, 2.5], "nested": {"deep": {"er": 7}}, "Loss": 1.0, "loss": 2.0,
        },
        {"_step": 2.0, "Loss": None},
    ]  # fmt: skip
    path = write(tmp_path / "a.parquet", rows)
    found = {v[0]: v[3:] for v in values_of(list(read_exports([path], RUN, held=None)))}
    assert found == {
        "a.b": ("nan", None), "inf": ("-inf", None), "big": (repr(float(2**60)), str(2**60)),
        "yes": ("1.0", "true"), "text": ("None", '"é\\n"'),
        "media": ("None", '{"_type":"image-file","path":"x/y.png"}'),
        "mixed": ("None", '"now a text"'), "bytes.q": ("None", "[1,2]"),
        "list": ("None", "[1,2.5]"), "nested.deep.er": ("7.0", None),
        "Loss": ("1.0", None), "loss": ("2.0", None),
    }  # fmt: skip


def test_a_literal_key_comes_before_a_path_of_the_same_name(tmp_path: Path) -> None:
    """A key and step never have two values in one row, and no value of another row is lost."""
    rows = [{"_step": 0, "a.b": 1.0, "a": {"b": 2.0, "c": 3.0}}, {"_step": 1, "a": {"b": 4.0}}]
    batches = list(read_exports([write(tmp_path / "a.parquet", rows)], RUN, held=None))
    wanted = rows_to_history([dict(r) for r in rows], RUN, held=None, is_whole=True)
    assert sorted(values_of(batches)) == sorted(values_of([wanted])) == [
        ("a.b", 0, 0, "1.0", None), ("a.b", 1, 0, "4.0", None), ("a.c", 0, 0, "3.0", None),
    ]  # fmt: skip


def test_unsigned_integers_are_exact(tmp_path: Path) -> None:
    """An export's unsigned column beyond 2^63 is kept, digit by digit."""
    table = pa.table({"_step": [0, 1], "n": pa.array([7, 2**64 - 1], pa.uint64())})
    pq.write_table(table, tmp_path / "a.parquet")
    found = values_of(list(read_exports([tmp_path / "a.parquet"], RUN, held=None)))
    assert [v[4] for v in found] == [None, str(2**64 - 1)]


def test_half_a_surrogate_pair_does_no_harm() -> None:
    """Text that no file could hold becomes a replacement character instead of an error."""
    batch = rows_to_history(['{"_step": 0, "t": "x\\ud800y"}'], RUN, held=None, is_whole=True)
    assert batch.slices["t"][0].json.to_pylist() == ['"x\ufffdy"']


def test_what_is_no_parquet_file_is_said(tmp_path: Path) -> None:
    """A broken download is an error that names the run, not a crash."""
    (tmp_path / "a.parquet").write_bytes(b"<html>expired</html>")
    with pytest.raises(ExtractError, match="e/p/r"):
        list(read_exports([tmp_path / "a.parquet"], RUN, held=None))
