"""History and system metrics: Parquet exports and JSON rows in, long key-major columns out.

Both sources give the same content. A logged null is dropped, as an export cannot tell it from
"not logged"; integral floats inside lists and media are written as integers, as exports do not
tell 1 from 1.0; nested dictionaries are joined with dots. Numeric columns are sliced and
concatenated, never touched value by value.

Source: core/internal/runhistoryreader and its parquet package in the wandb SDK.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wbsync.errors import ExtractError
from wbsync.extract.rows import build_table
from wbsync.extract.values import MAX_EXACT, canonical_json, flatten, parse_json, split_value
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from wbsync.model import RunPath

MAX_CELLS = 250_000
"""Values of one batch, about: bounds the memory that a run of any length takes."""

UNION_PREFIX = "_type_"

KeyStats = dict[str, tuple[int, int | None]]
"""Key to (values held, last step)."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The values of one key: four columns of one length."""

    step: pa.Array
    row: pa.Array
    value: pa.Array
    json: pa.Array


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """Some logged rows of one run."""

    run: RunPath
    slices: dict[str, list[Slice]]
    """Key to its values, in step order."""
    rows: int
    """Logged rows."""
    last_step: int | None

    @property
    def cells(self) -> int:
        """Returns the number of values."""
        return sum(len(s.step) for parts in self.slices.values() for s in parts)

    @property
    def key_stats(self) -> KeyStats:
        """Returns what is held of each key."""
        return {
            key: (
                sum(len(s.step) for s in parts),
                max((pc.max(s.step).as_py() for s in parts if len(s.step)), default=None),
            )
            for key, parts in self.slices.items()
        }


def read_exports(
    paths: Sequence[Path], run: RunPath, *, after_step: int | None, max_cells: int = MAX_CELLS
) -> Iterator[HistoryBatch]:
    """Yields what a run's Parquet exports hold, in step order.

    A batch never ends between two rows of one step. A row that two files hold (same step, same
    time) is taken once.

    Args:
        paths: The run's export files, in any order, of any schemas.
        run: Whose they are.
        after_step: Last step that is held; None for none.
        max_cells: Values of a batch, about.

    Raises:
        ExtractError: A file is not Parquet.
    """
    try:
        files = [pq.ParquetFile(path) for path in paths]
    except (pa.ArrowInvalid, OSError) as error:
        raise ExtractError(f"{run}: an export is not a Parquet file: {error}") from error
    try:
        yield from _Exports(files, run, after_step).batches(max_cells)
    except pa.ArrowInvalid as error:
        raise ExtractError(f"{run}: an export cannot be read: {error}") from error
    finally:
        for file in files:
            file.close()


class _Exports:
    """Several Parquet files as one sequence of rows."""

    def __init__(self, files: list[pq.ParquetFile], run: RunPath, after_step: int | None) -> None:
        self._run = run
        steps_of = [_column(f, "_step") for f in files]
        order = sorted(
            (i for i, f in enumerate(files) if f.metadata.num_rows),
            key=lambda i: np.nanmin(steps_of[i]) if not np.isnan(steps_of[i]).all() else -1.0,
        )
        self._files = [files[i] for i in order]
        counts = [f.metadata.num_rows for f in self._files]
        empty = np.empty(0)
        steps = np.concatenate([empty, *(steps_of[i] for i in order)])
        times = np.concatenate([empty, *(_column(f, "_timestamp") for f in self._files)])
        owner = np.repeat(np.arange(len(counts)), counts)
        has_step = ~np.isnan(steps)
        self._has_step = has_step
        self._steps = np.where(has_step, steps, -1).astype(np.int64)
        self._is_ordered = bool(np.all(self._steps[1:] >= self._steps[:-1]))
        position = np.arange(len(steps))
        self._order = position if self._is_ordered else np.lexsort((position, times, self._steps))
        steps_sorted = self._steps[self._order]
        same = np.concatenate([[False], steps_sorted[1:] == steps_sorted[:-1]])
        keep = np.ones(len(steps), bool)
        if same.any():
            times_sorted, owner_sorted = times[self._order], owner[self._order]
            doubled = np.zeros(len(steps), bool)
            doubled[1:] = (
                same[1:]
                & (times_sorted[1:] == times_sorted[:-1])
                & (owner_sorted[1:] != owner_sorted[:-1])
            )
            keep &= ~doubled
        if after_step is not None:
            keep &= steps_sorted > after_step
        self._keep = keep
        starts = np.maximum.accumulate(np.where(~same, position, 0))
        before = np.cumsum(keep) - keep
        self._ordinals = (before - before[starts]).astype(np.int64) if len(steps) else before
        self._sorted_steps = steps_sorted

    def batches(self, max_cells: int) -> Iterator[HistoryBatch]:
        total = len(self._steps)
        if not self._keep.any():
            return
        columns = max((len(f.schema_arrow.names) for f in self._files), default=1)
        if not self._is_ordered:
            table = (
                pa.concat_tables([f.read() for f in self._files], promote_options="permissive")
                if _same_kinds(self._files)
                else None
            )
            if table is not None:
                table = table.take(pa.array(self._order))
                yield self._batch([(table, 0, total)])
                return
            yield self._batch(self._pieces_by_file())
            return
        rows = max(1000, max_cells // columns)
        start = int(np.argmax(self._keep))
        reader = _RowReader(self._files)
        while start < total:
            end = min(start + rows, total)
            while end < total and self._steps[end] == self._steps[end - 1]:
                end += 1
            yield self._batch([(t, a, a + t.num_rows) for t, a in reader.read(start, end)])
            start = end

    def _pieces_by_file(self) -> list[tuple[pa.Table, int, int]]:
        """Returns each file as a table, for files whose rows interleave and whose types differ."""
        place = np.empty(len(self._order), np.int64)
        place[self._order] = np.arange(len(self._order))
        self._keep, self._ordinals = self._keep[place], self._ordinals[place]
        self._sorted_steps = self._steps
        pieces = []
        start = 0
        for file in self._files:
            end = start + file.metadata.num_rows
            pieces.append((file.read(), start, end))
            start = end
        return pieces

    def _batch(self, pieces: list[tuple[pa.Table, int, int]]) -> HistoryBatch:
        """Returns the rows of tables, each of which covers positions `start` to `end`."""
        slices: dict[str, list[Slice]] = {}
        rows = 0
        last_step: int | None = None
        for table, start, end in pieces:
            keep = self._keep[start:end]
            count = int(keep.sum())
            if not count:
                continue
            rows += count
            raw_steps = self._sorted_steps[start:end]
            raw_rows = self._ordinals[start:end]
            steps = pa.array(raw_steps, mask=raw_steps < 0)
            ordinals = pa.array(raw_rows)
            if count < len(keep):
                mask = pa.array(keep)
                table, steps, ordinals = (  # noqa: PLW2901
                    table.filter(mask), steps.filter(mask), ordinals.filter(mask)
                )  # fmt: skip
            highest = pc.max(steps).as_py()
            if highest is not None:
                last_step = highest if last_step is None else max(highest, last_step)
            for name in table.column_names:
                if name == "_step":
                    continue
                for key, part in _slices(name, table.column(name), steps, ordinals):
                    slices.setdefault(key, []).append(part)
        return HistoryBatch(self._run, slices, rows, last_step)


class _RowReader:
    """Reads ranges of rows, forward only, from several files."""

    def __init__(self, files: list[pq.ParquetFile]) -> None:
        self._batches = (batch for file in files for batch in file.iter_batches(batch_size=32_768))
        self._offset = 0
        self._left: pa.RecordBatch | None = None

    def read(self, start: int, end: int) -> Iterator[tuple[pa.Table, int]]:
        """Yields the rows from `start` to `end`, as tables with the position of their first row."""
        while self._offset < end:
            batch = self._left if self._left is not None else next(self._batches)
            self._left = None
            first, last = self._offset, self._offset + batch.num_rows
            if last > end:
                self._left = batch.slice(end - first)
                batch = batch.slice(0, end - first)
                last = end
            self._offset = last
            if last > start:
                skipped = max(start - first, 0)
                yield pa.Table.from_batches([batch.slice(skipped)]), first + skipped


def _same_kinds(files: list[pq.ParquetFile]) -> bool:
    """Says whether no column has another type in another file."""
    kinds: dict[str, pa.DataType] = {}
    return all(
        kinds.setdefault(field.name, field.type) == field.type
        for file in files
        for field in file.schema_arrow
    )


def _column(file: pq.ParquetFile, name: str) -> np.ndarray[Any, Any]:
    """Returns a column of numbers as doubles, NaN where it or a value is missing."""
    count = file.metadata.num_rows
    if name not in file.schema_arrow.names:
        return np.full(count, np.nan)
    column = file.read(columns=[name]).column(name)
    try:
        return np.asarray(
            column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=float
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(count, np.nan)


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
            is_big = pc.or_(pc.greater(values, MAX_EXACT), pc.less(values, -MAX_EXACT))
            json = pc.if_else(is_big, pc.cast(values, pa.string()), json)
    yield key, Slice(steps, rows, pc.cast(values, pa.float64(), safe=False), json)


def _flat(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _object_slices(
    key: str, column: pa.ChunkedArray, steps: pa.Array, rows: pa.Array
) -> Iterator[tuple[str, Slice]]:
    gathered = _Gathered()
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


def _settled(value: Any) -> Any:
    """Returns a list or media value without the differences that an export cannot hold."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_settled(v) for v in value]
    return value


class _Gathered:
    """Values gathered one by one, key by key."""

    def __init__(self) -> None:
        self._columns: dict[
            str, tuple[list[int | None], list[int], list[float | None], list[str | None]]
        ] = {}
        self.last_step: int | None = None

    def add(self, logged: dict[str, Any], step: int | None, row: int) -> None:
        columns = self._columns
        for key, value in logged.items():
            if value is None:
                continue
            if isinstance(value, (dict, list)):
                leaves = {
                    k: leaf for k, leaf in flatten({key: _settled(value)}).items()
                    if leaf != (None, "null")
                }  # fmt: skip
            else:
                leaves = {key: split_value(value)}
            for name, (number, json) in leaves.items():
                held = columns.get(name)
                if held is None:
                    held = columns[name] = ([], [], [], [])
                held[0].append(step)
                held[1].append(row)
                held[2].append(number)
                held[3].append(json)

    def slices(self) -> Iterator[tuple[str, Slice]]:
        for key, (steps, rows, values, json) in self._columns.items():
            yield (
                key,
                Slice(
                    pa.array(steps, pa.int64()),
                    pa.array(rows, pa.int64()),
                    pa.array(values, pa.float64()),
                    pa.array(json, pa.string()),
                ),
            )


def rows_to_history(
    rows: Iterable[str | dict[str, Any]], run: RunPath, *, after_step: int | None
) -> HistoryBatch:
    """Returns the values of JSON rows, as `Run.history` serves them.

    Args:
        rows: Rows in any order, as JSON text or decoded.
        run: Whose they are.
        after_step: Last step that is held; rows up to it, or without a step, are left out.

    Raises:
        ExtractError: A row is not a JSON object.
    """
    parsed: list[tuple[int | None, float, dict[str, Any]]] = []
    for text in rows:
        try:
            row = parse_json(text) if isinstance(text, (str, bytes)) else text
        except ValueError as error:
            raise ExtractError(f"{run}: a row of history is not JSON") from error
        if not isinstance(row, dict):
            raise ExtractError(f"{run}: a row of history is not an object")
        step = _step(row.get("_step"))
        if after_step is not None and (step is None or step <= after_step):
            continue
        number = row.get("_timestamp")
        parsed.append((step, float(number) if isinstance(number, (int, float)) else 0.0, row))
    parsed.sort(key=lambda item: (-1 if item[0] is None else item[0], item[1]))
    gathered = _Gathered()
    last: int | None = None
    ordinal = 0
    for index, (step, _, row) in enumerate(parsed):
        ordinal = ordinal + 1 if index and step == last else 0
        last = step
        row.pop("_step", None)
        gathered.add(row, step, ordinal)
    slices = {key: [part] for key, part in gathered.slices()}
    return HistoryBatch(run, slices, len(parsed), last)


def _step(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def merge_batches(batches: Sequence[HistoryBatch], synced_at: datetime) -> pa.Table:
    """Returns batches of one or many runs as one key-major segment: key, then run, then step.

    Nothing is sorted: the slices of each key are put one after another.
    """
    by_key: dict[str, list[tuple[RunPath, Slice]]] = {}
    for batch in sorted(batches, key=lambda b: b.run):
        for key, parts in batch.slices.items():
            by_key.setdefault(key, []).extend((batch.run, part) for part in parts)
    ordered = [(key, run, part) for key in sorted(by_key) for run, part in by_key[key]]
    parts = [part for _, _, part in ordered]
    lengths = np.array([len(p.step) for p in parts], np.int64)
    schema = load_table("history").arrow()
    total = int(lengths.sum()) if parts else 0

    def labels(values: list[str]) -> pa.DictionaryArray:
        names = sorted(set(values))
        place = {name: i for i, name in enumerate(names)}
        indices = np.repeat(np.array([place[v] for v in values], np.int32), lengths)
        return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names, pa.string()))

    def joined(arrays: list[pa.Array], kind: pa.DataType) -> pa.Array:
        return pa.concat_arrays(arrays) if arrays else pa.array([], kind)

    columns = [
        labels([run.entity for _, run, _ in ordered]),
        labels([run.project for _, run, _ in ordered]),
        labels([run.run_id for _, run, _ in ordered]),
        labels([key for key, _, _ in ordered]),
        joined([p.step for p in parts], pa.int64()),
        joined([p.row for p in parts], pa.int64()),
        joined([p.value for p in parts], pa.float64()),
        joined([p.json for p in parts], pa.string()),
        pa.repeat(pa.scalar(synced_at, schema.field("synced_at").type), total),
    ]
    return pa.Table.from_arrays(columns, names=schema.names)


def events_to_metrics(
    rows: Sequence[str | dict[str, Any]], run: RunPath, *, first_step: int, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table system_metrics.

    Args:
        rows: Rows of system metrics in the order served, as JSON text or decoded.
        run: Whose they are.
        first_step: Ordinal of the first of them within the run.
        synced_at: When they were read.

    Raises:
        ExtractError: A row is not a JSON object.
    """
    columns: dict[str, list[Any]] = {
        n: [] for n in ("key", "step", "timestamp", "runtime", "value", "json")
    }
    for ordinal, text in enumerate(rows, first_step):
        try:
            row = parse_json(text) if isinstance(text, (str, bytes)) else text
        except ValueError as error:
            raise ExtractError(f"{run}: a row of system metrics is not JSON") from error
        if not isinstance(row, dict):
            raise ExtractError(f"{run}: a row of system metrics is not an object")
        timestamp, runtime = row.pop("_timestamp", None), row.pop("_runtime", None)
        row.pop("_wandb", None)
        for key, (value, json) in flatten(row).items():
            if json == "null":
                continue
            columns["key"].append(key)
            columns["step"].append(ordinal)
            columns["timestamp"].append(timestamp)
            columns["runtime"].append(runtime)
            columns["value"].append(value)
            columns["json"].append(json)
    count = len(columns["key"])
    schema = load_table("system_metrics").arrow()
    fixed: dict[str, Any] = {
        "entity": run.entity,
        "project": run.project,
        "run_id": run.run_id,
        "row": 0,
        "synced_at": synced_at,
    }
    return pa.Table.from_arrays(
        [
            pa.array(columns[f.name], f.type)
            if f.name in columns
            else pa.repeat(pa.scalar(fixed[f.name], f.type), count)
            for f in schema
        ],
        schema=schema,
    )


def build_history_keys(
    run: RunPath,
    history_keys: dict[str, Any] | None,
    stats: KeyStats,
    source: str | None,
    synced_at: datetime,
) -> pa.Table:
    """Returns rows of the table history_keys: what W&B claims of each key beside what is held."""
    claimed = (history_keys or {}).get("keys") or {}
    rows = []
    for key in sorted({k for k in claimed if not k.startswith("system/")} | stats.keys()):
        if key == "_step":
            continue
        counts: dict[str, int] = {}
        for entry in (claimed.get(key) or {}).get("typeCounts") or []:
            kind = str(entry.get("type"))
            counts[kind] = counts.get(kind, 0) + int(entry.get("count") or 0)
        if key not in stats and not counts.keys() - {"map", "nil"}:
            continue
        held, last_step = stats.get(key, (0, None))
        rows.append(
            {
                "entity": run.entity,
                "project": run.project,
                "run_id": run.run_id,
                "key": key,
                "types": canonical_json(counts) if counts else None,
                "claimed_count": sum(n for kind, n in counts.items() if kind != "nil")
                if counts
                else None,
                "held_count": held,
                "last_step": last_step,
                "source": source,
                "synced_at": synced_at,
            }
        )
    return build_table("history_keys", rows)


def key_stats_of(rows: pa.Table) -> pa.Table:
    """Returns run_id, key, held_count and last_step of history rows."""
    grouped = rows.group_by(["run_id", "key"]).aggregate([([], "count_all"), ("step", "max")])
    return grouped.rename_columns(["run_id", "key", "held_count", "last_step"])
