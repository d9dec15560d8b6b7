"""History from the Parquet files that W&B exports.

Most exports are in step order, file after file: they are streamed, a batch at a time. Where rows
are out of order, lack a step, or stand in two files, the whole of the run's rows is put in order.
Numeric columns are sliced, never touched value by value.

Source: core/internal/runhistoryreader/parquet of the wandb SDK.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wbsync.errors import ExtractError
from wbsync.extract.history import Gathered, Held, HistoryBatch, Slice, Tail, content_of
from wbsync.extract.values import parse_json
from wbsync.model import MAX_EXACT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from wbsync.model import RunPath

MAX_CELLS = 250_000
"""Values of one batch, about: bounds the memory that a run of any length takes."""

UNION_PREFIX = "_type_"

Pieces = list[tuple[pa.Table, "npt.NDArray[Any]"]]
"""Tables, each with the step of its rows; NaN for none."""


def read_exports(
    paths: Sequence[Path], run: RunPath, *, held: Held | None, max_cells: int = MAX_CELLS
) -> Iterator[HistoryBatch]:
    """Yields what a run's Parquet exports hold and is not held yet, in step order.

    A batch never ends between two rows of one step. A row that two files hold (same step, same
    time) is taken once.

    Args:
        paths: The run's export files, in any order, of any schemas.
        run: Whose they are.
        held: Up to where it is held; None for nothing.
        max_cells: Values of a batch, about.

    Raises:
        ExtractError: A file is not Parquet.
        HistoryRewrittenError: What is held is not in them.
    """
    files: list[_File] = []
    try:
        files += (_File.open(path) for path in paths)
        files = sorted((f for f in files if f.rows), key=lambda f: f.first)
        if all(f.is_ordered for f in files) and all(a.last < b.first for a, b in pairwise(files)):
            batches = _stream(files, run, held, max_cells)
            yield from (batch for batch in batches if batch.rows)
        elif files and (batch := _whole(files, run, held)).rows:
            yield batch
    except (pa.ArrowInvalid, OSError) as error:
        raise ExtractError(f"{run}: an export is not a readable Parquet file: {error}") from error
    finally:
        for file in files:
            file.parquet.close()


@dataclass(frozen=True, slots=True)
class _File:
    """An export, and what a look at its steps alone tells."""

    parquet: pq.ParquetFile
    rows: int
    first: float
    """Lowest step; -1 for none."""
    last: float
    is_ordered: bool
    """Whether every row has a step, and none follows a later step or, within a step, time."""

    @classmethod
    def open(cls, path: Path) -> _File:
        parquet = pq.ParquetFile(path)
        first = last = -1.0
        previous = np.array([-np.inf, 0.0])
        is_ordered = True
        for steps, times in _steps_and_times(parquet):
            present = steps[~np.isnan(steps)]
            if len(present):
                lowest = float(present.min())
                first = lowest if previous[0] == -np.inf else min(first, lowest)
                last = max(last, float(present.max()))
            gaps = np.diff(steps, prepend=previous[0])
            later = np.diff(times, prepend=previous[1]) >= 0
            is_ordered = bool(
                is_ordered
                and len(present) == len(steps)
                and np.all((gaps > 0) | ((gaps == 0) & later))
            )
            previous = np.array([steps[-1], times[-1]]) if len(steps) else previous
        return cls(parquet, parquet.metadata.num_rows, first, last, is_ordered)

    def groups_from(self, step: int | None) -> list[int]:
        """Returns the row groups that may hold this step or a later one."""
        metadata = self.parquet.metadata
        groups = list(range(metadata.num_row_groups))
        place = self.parquet.schema_arrow.get_field_index("_step")
        if step is None or place < 0:
            return groups

        def may_hold(group: int) -> bool:
            statistics = _statistics_of(metadata.row_group(group), "_step")
            return statistics is None or statistics.max >= step

        return [group for group in groups if may_hold(group)]


def _statistics_of(group: pq.RowGroupMetaData, name: str) -> pq.Statistics | None:
    for place in range(group.num_columns):
        column = group.column(place)
        if column.path_in_schema == name:
            held = column.statistics
            return held if held is not None and held.has_min_max else None
    return None


def _steps_and_times(
    file: pq.ParquetFile,
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yields the steps of a file's rows, and their times; 0 for no time."""
    names = [n for n in ("_step", "_timestamp") if n in file.schema_arrow.names]
    if "_step" not in names:
        yield np.full(file.metadata.num_rows, np.nan), np.zeros(file.metadata.num_rows)
        return
    for batch in file.iter_batches(columns=names):
        table = pa.Table.from_batches([batch])
        yield _steps_of(table), _sortable(_times_of(table))


def _doubles(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    try:
        numbers = pc.cast(_flat(column), pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(len(column), np.nan)
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _steps_of(table: pa.Table) -> npt.NDArray[Any]:
    """Returns the step of each row, cut to a whole number; NaN for none."""
    if "_step" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(np.trunc(_doubles(table.column("_step"))))


def _times_of(table: pa.Table) -> npt.NDArray[Any]:
    """Returns the time of each row, seconds since 1970; NaN for none."""
    if "_timestamp" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return _doubles(table.column("_timestamp"))


def _sortable(times: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns times to sort by: 0 for none, as for rows served as JSON."""
    return np.where(np.isfinite(times), times, 0.0)


def _as_tail(times: npt.NDArray[Any]) -> Tail:
    return tuple(t if np.isfinite(t) else None for t in times.tolist())


def _stream(
    files: list[_File], run: RunPath, held: Held | None, max_cells: int
) -> Iterator[HistoryBatch]:
    """Yields the rows of files in order; the last step's rows wait for the next batch."""
    columns = max((len(f.parquet.schema_arrow.names) for f in files), default=1)
    rows = max(1000, max_cells // columns)
    last = max((f.last for f in files), default=-1.0)
    waiting: Pieces = []

    def batch(pieces: Pieces) -> HistoryBatch:
        nonlocal held
        steps = np.concatenate([s for _, s in pieces])
        times = np.concatenate([_times_of(table) for table, _ in pieces])
        ordinals = _ordinals(steps)
        keep = np.ones(len(steps), bool)
        if held is not None and steps[-1] < held.last_step:
            keep[:] = False
        elif held is not None:
            _leave_out(held, steps, times, ordinals, keep, is_whole=last > held.last_step)
            held = None
        return _cut(pieces, steps.astype(np.int64), times, ordinals, keep, run)

    for file in files:
        groups = file.groups_from(None if held is None else held.last_step)
        for part in file.parquet.iter_batches(batch_size=rows, row_groups=groups):
            table = pa.Table.from_batches([part])
            steps = _steps_of(table)
            cut = int(np.searchsorted(steps, steps[-1])) if len(steps) else 0
            if cut or (waiting and len(steps) and waiting[-1][1][-1] != steps[0]):
                yield batch([*waiting, (table.slice(0, cut), steps[:cut])])
                waiting = []
            if len(steps):
                waiting.append((table.slice(cut), steps[cut:]))
    if waiting:
        yield batch(waiting)


def _leave_out(
    held: Held,
    steps: npt.NDArray[Any],
    times: npt.NDArray[Any],
    ordinals: npt.NDArray[Any],
    keep: npt.NDArray[Any],
    *,
    is_whole: bool,
) -> None:
    """Unmarks the rows that are held; those that are new of the last step go on from its ordinals.

    Raises:
        HistoryRewrittenError: What is held is not there.
    """
    here = np.flatnonzero(keep & (steps == held.last_step))
    keep &= steps > held.last_step
    new = held.new_rows(_as_tail(times[here]), is_whole=is_whole)
    keep[here[new]] = True
    ordinals[here[new]] = len(held.tail) + np.arange(len(new))


def _ordinals(steps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns, for ordered steps, which of the rows of its step each one is."""
    position = np.arange(len(steps), dtype=np.int64)
    is_first = np.ones(len(steps), bool)
    is_first[1:] = steps[1:] != steps[:-1]
    return position - np.maximum.accumulate(np.where(is_first, position, 0))


def _whole(files: list[_File], run: RunPath, held: Held | None) -> HistoryBatch:
    """Returns all rows of files that overlap or are not in order, each row once."""
    tables = [file.parquet.read() for file in files]
    raw = [_steps_of(table) for table in tables]
    steps = np.concatenate(raw)
    times = np.concatenate([_times_of(table) for table in tables])
    owner = np.repeat(np.arange(len(files)), [file.rows for file in files])
    has_step = ~np.isnan(steps)
    order = np.lexsort((np.arange(len(steps)), _sortable(times), np.nan_to_num(steps), has_step))
    steps_sorted, times_sorted = np.where(has_step, steps, -np.inf)[order], times[order]
    keep_sorted = np.ones(len(steps), bool)
    keep_sorted[1:] = ~(
        (steps_sorted[1:] == steps_sorted[:-1])
        & (_sortable(times_sorted)[1:] == _sortable(times_sorted)[:-1])
        & (owner[order][1:] != owner[order][:-1])
        & has_step[order][1:]
    )
    ordinals_sorted = np.zeros(len(steps), np.int64)
    ordinals_sorted[keep_sorted] = _ordinals(steps_sorted[keep_sorted])
    if held is not None:
        is_whole = bool(steps_sorted[-1] > held.last_step)
        _leave_out(
            held, steps_sorted, times_sorted, ordinals_sorted, keep_sorted, is_whole=is_whole
        )
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    pieces = list(zip(tables, raw, strict=True))
    numbers = np.where(has_step, steps, -1).astype(np.int64)
    batch = _cut(pieces, numbers, times, ordinals_sorted[place], keep_sorted[place], run, has_step)
    return replace(batch, slices={k: [_sorted(parts)] for k, parts in batch.slices.items()})


def _sorted(parts: list[Slice]) -> Slice:
    """Returns the values of a key as one slice, in order of step and row."""
    joined = pa.table(
        {n: pa.concat_arrays([getattr(p, n) for p in parts]) for n in Slice.__slots__}
    )
    order = pc.sort_indices(joined, [("step", "ascending"), ("row", "ascending")])
    return Slice(*(_flat(column) for column in joined.take(order).columns))


def _cut(
    pieces: Pieces,
    steps: npt.NDArray[Any],
    times: npt.NDArray[Any],
    ordinals: npt.NDArray[Any],
    keep: npt.NDArray[Any],
    run: RunPath,
    has_step: npt.NDArray[Any] | None = None,
) -> HistoryBatch:
    """Returns the chosen rows of tables, cut into keys.

    Args:
        pieces: Tables, one after another.
        steps: Step of each row.
        times: Time of each row; NaN for none.
        ordinals: Which of its step's rows each one is.
        keep: Rows to take.
        run: Whose they are.
        has_step: Rows that have a step; None for all.
    """
    slices: dict[str, list[Slice]] = {}
    start = 0
    for table, _ in pieces:
        end = start + table.num_rows
        chosen = keep[start:end]
        mask = None if has_step is None else ~has_step[start:end][chosen]
        part_steps = pa.array(steps[start:end][chosen], mask=mask)
        part_rows = pa.array(ordinals[start:end][chosen])
        rows = table if chosen.all() else table.filter(pa.array(chosen))
        literal = {}
        paths = []
        for name in rows.column_names if rows.num_rows else ():
            if name != "_step":
                for key, part in _slices(name, rows.column(name), part_steps, part_rows):
                    if key == name:
                        literal[key] = part
                    else:
                        paths.append((key, part))
        for key, part in paths:
            rest = _without(part, literal[key]) if key in literal else part
            slices.setdefault(key, []).append(rest)
        for key, part in literal.items():
            slices.setdefault(key, []).append(part)
        start = end
    with_step = keep if has_step is None else keep & has_step
    # A step that was held before goes on from the ordinals held.
    content = content_of(slices, int((with_step & (ordinals == 0)).sum()))
    if not with_step.any():
        return HistoryBatch(run, slices, int(keep.sum()), None, content=content)
    last_step = int(steps[with_step].max())
    here = np.flatnonzero(with_step & (steps == last_step))
    tail = _as_tail(times[here[np.argsort(ordinals[here], kind="stable")]])
    return HistoryBatch(run, slices, int(keep.sum()), last_step, tail, content)


def _without(part: Slice, literal: Slice) -> Slice:
    """Returns the values of a path less those of rows in which the literal key has one."""
    taken = set(zip(literal.step.to_pylist(), literal.row.to_pylist(), strict=True))
    rows = zip(part.step.to_pylist(), part.row.to_pylist(), strict=True)
    keep = pa.array([row not in taken for row in rows], pa.bool_())
    return Slice(*(getattr(part, n).filter(keep) for n in Slice.__slots__))


def _slices(
    key: str, column: pa.ChunkedArray, steps: pa.Array, rows: pa.Array
) -> Iterator[tuple[str, Slice]]:
    """Yields the values of a column; several keys where it holds dictionaries."""
    if column.null_count == len(column):
        return
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        yield from _object_slices(key, column, steps, rows)
        return
    if column.null_count:
        valid = column.is_valid()
        column, steps, rows = column.drop_null(), steps.filter(valid), rows.filter(valid)
        steps, rows = _flat(steps), _flat(rows)
    values = _flat(column)
    if pa.types.is_boolean(kind):
        json = pc.if_else(values, "true", "false")
        yield key, Slice(steps, rows, pc.cast(values, pa.float64()), json)
        return
    json = pa.nulls(len(values), pa.string())
    if pa.types.is_integer(kind) and kind.bit_width == 64:
        bounds = pc.min_max(values).as_py()
        if bounds["max"] > MAX_EXACT or bounds["min"] < -MAX_EXACT:
            is_big = pc.greater(values, pa.scalar(MAX_EXACT, kind))
            if pa.types.is_signed_integer(kind):
                is_big = pc.or_(is_big, pc.less(values, pa.scalar(-MAX_EXACT, kind)))
            json = pc.if_else(is_big, pc.cast(values, pa.string()), json)
    yield key, Slice(steps, rows, pc.cast(values, pa.float64(), safe=False), json)


def _flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _object_slices(
    key: str, column: pa.ChunkedArray, steps: pa.Array, rows: pa.Array
) -> Iterator[tuple[str, Slice]]:
    gathered = Gathered()
    for value, step, row in zip(
        column.to_pylist(maps_as_pydicts="lossy")
        if pa.types.is_map(column.type)
        else column.to_pylist(),
        steps.to_pylist(),
        rows.to_pylist(),
        strict=True,
    ):
        if value is not None:
            gathered.add({key: _exported(value)}, step, row)
    yield from gathered.slices()


def _exported(value: Any) -> Any:
    """Returns an exported value as the JSON it was logged as."""
    if isinstance(value, bytes):
        try:
            return parse_json(value)
        except ValueError:
            return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        if value and all(name.startswith(UNION_PREFIX) for name in value):
            held = [v for v in value.values() if v is not None]
            return _exported(held[0]) if held else None
        return {k: _exported(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_exported(v) for v in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return str(value)
