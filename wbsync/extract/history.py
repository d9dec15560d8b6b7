"""History: JSON rows in, long key-major columns out; `exports` reads the Parquet files.

Both sources give the same content. A logged null is dropped, as an export cannot tell it from
"not logged"; integral floats inside lists and media are written as integers, as exports do not
tell 1 from 1.0; nested dictionaries are joined with dots.

Source: core/internal/runhistoryreader of the wandb SDK.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wbsync.checksum import MASK, Content, hash_places, hash_text, hash_values, sum_of
from wbsync.errors import ExtractError, HistoryRewrittenError
from wbsync.extract.rows import build_columns
from wbsync.extract.values import (
    Split,
    canonical_json,
    flatten,
    parse_json,
    split_value,
)
from wbsync.model import MAX_EXACT
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from wbsync.checksum import Words
    from wbsync.model import RunPath

KeyStats = dict[str, tuple[int, int | None]]
"""Key to (values held, last step)."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The values of one key: four columns of one length."""

    step: pa.Array
    row: pa.Array
    value: pa.Array
    json: pa.Array


Tail = tuple[float | None, ...]
"""`_timestamp` of each row at a run's last step, in their order: what tells a row from another."""


@dataclass(frozen=True, slots=True)
class Held:
    """Up to where a run's rows are held."""

    last_step: int
    tail: Tail
    """Empty where it is not known: rows of that step are then taken to be held."""

    def new_rows(self, times: Sequence[float | None], *, is_whole: bool) -> list[int]:
        """Returns which rows of the last step are not held yet.

        Args:
            times: `_timestamp` of each row of that step, in order.
            is_whole: Whether the source holds every row of that step.

        Raises:
            HistoryRewrittenError: They are not what is held and more: W&B holds another timeline.
        """
        if not self.tail:
            return []
        known = Counter(self.tail)
        new: list[int] = []
        for place, time in enumerate(times):
            if known[time] > 0:
                known[time] -= 1
                if new:
                    raise HistoryRewrittenError("a row came before those held of its step")
            else:
                new.append(place)
        if is_whole and known.total():
            raise HistoryRewrittenError(f"rows held of step {self.last_step} are no more")
        return new


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """Some logged rows of one run."""

    run: RunPath
    slices: dict[str, list[Slice]]
    """Key to its values, in step order."""
    rows: int
    """Logged rows."""
    last_step: int | None
    tail: Tail = ()
    """Of the rows at `last_step` that are in the batch."""
    content: Content = field(default_factory=Content)
    """What the values amount to; a step that was held before is none of its steps."""

    @property
    def cells(self) -> int:
        """Returns the number of values."""
        return self.content.values

    @property
    def key_stats(self) -> KeyStats:
        """Returns what is held of each key."""
        seen: dict[int, tuple[int, int | None]] = {}  # most keys share their steps
        found: KeyStats = {}
        for key, parts in self.slices.items():
            for part in parts:
                if id(part.step) not in seen:
                    seen[id(part.step)] = (len(part.step), pc.max(part.step).as_py())
                add_stats(found, key, *seen[id(part.step)])
        return found


def add_stats(stats: KeyStats, key: str, count: int, last_step: int | None) -> None:
    """Counts more values of a key."""
    held, step = stats.get(key, (0, None))
    if step is None or (last_step is not None and last_step > step):
        step = last_step
    stats[key] = (held + count, step)


HASHED = 16_384
"""Values that are hashed at once, of short columns that share their steps."""


def content_of(slices: dict[str, list[Slice]], steps: int) -> Content:
    """Returns what values amount to; columns that share their steps are placed once.

    Args:
        slices: Key to its values.
        steps: Distinct steps of the logged rows.
    """
    sharing: dict[tuple[int, int], list[tuple[str, Slice]]] = {}
    for key, parts in slices.items():
        for part in parts:
            sharing.setdefault((id(part.step), id(part.row)), []).append((key, part))
    values = total = 0
    for group in sharing.values():
        places = hash_places(group[0][1].step, group[0][1].row)
        width = max(1, HASHED // max(1, len(places)))
        for start in range(0, len(group), width):
            words = _hash_group(places, group[start : start + width])
            values += len(words)
            total += sum_of(words)
    return Content(values, steps, total & MASK)


def _hash_group(places: Words, group: Sequence[tuple[str, Slice]]) -> Words:
    """Returns a number for each value of some columns, which all have these places."""
    if len(group) == 1:
        ((key, part),) = group
        return hash_values(places, hash_text(key), [part.value], part.json)
    keys = np.array([hash_text(key) for key, _ in group], np.uint64)
    return hash_values(
        np.tile(places, len(group)),
        np.repeat(keys, len(places)),
        [pa.concat_arrays([part.value for _, part in group])],
        pa.concat_arrays([part.json for _, part in group]),
    )


def _settled(value: Any) -> Any:
    """Returns a list or media value without the differences that an export cannot hold."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    if isinstance(value, dict):
        return {k: _settled(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_settled(v) for v in value]
    return value


class Gathered:
    """Values gathered one by one, key by key."""

    def __init__(self) -> None:
        self._steps: list[int | None] = []
        self._rows: list[int] = []
        self._columns: dict[str, tuple[list[int], list[float | None], dict[int, str]]] = {}
        """Key to the places of its values among the rows, its numbers, and place to its JSON."""

    def add(self, logged: dict[str, Any], step: int | None, row: int) -> None:
        """Takes what was logged in one row: a literal key before a path of the same name."""
        columns, place = self._columns, len(self._steps)
        self._steps.append(step)
        self._rows.append(row)
        leaves: dict[str, Split] = {}
        for key, value in logged.items():
            if isinstance(value, (dict, list)):
                leaves |= flatten({key: _settled(value)})
        for key, value in logged.items():
            if type(value) is float:  # most are: a call for each would cost more than they do
                leaves[key] = (value, None)
            elif value is not None and not isinstance(value, (dict, list)):
                leaves[key] = split_value(value)
        for name, (number, json) in leaves.items():
            if json == "null":
                continue
            held = columns.get(name)
            if held is None:
                held = columns[name] = ([], [], {})
            held[0].append(place)
            held[1].append(number)
            if json is not None:
                held[2][place] = json

    def slices(self) -> Iterator[tuple[str, Slice]]:
        """Yields each key with its values; keys that were logged in the same rows share theirs."""
        steps, rows = pa.array(self._steps, pa.int64()), pa.array(self._rows, pa.int64())
        shared: dict[tuple[int, ...] | None, tuple[pa.Array, pa.Array, pa.Array]] = {}
        for key, (places, values, json) in self._columns.items():
            at = None if len(places) == len(steps) else tuple(places)
            if at not in shared:
                taken = pa.array(places, pa.int64())
                shared[at] = (
                    steps if at is None else steps.take(taken),
                    rows if at is None else rows.take(taken),
                    pa.nulls(len(places), pa.string()),
                )
            step, row, text = shared[at]
            if json:
                text = pa.array([json.get(place) for place in places], pa.string())
            yield key, Slice(step, row, pa.array(values, pa.float64()), text)


def rows_to_history(
    rows: Iterable[str | dict[str, Any]], run: RunPath, *, held: Held | None, is_whole: bool
) -> HistoryBatch:
    """Returns the values of JSON rows, as `Run.history` serves them.

    Args:
        rows: Rows in any order, as JSON text or decoded.
        run: Whose they are.
        held: Up to where it is held; what is, and rows without a step, are left out. None for
            nothing.
        is_whole: Whether they hold every row of the last step that is held.

    Raises:
        ExtractError: A row is not a JSON object.
        HistoryRewrittenError: What is held is not in them.
    """
    parsed: list[tuple[int | None, float | None, dict[str, Any]]] = []
    for text in rows:
        try:
            row = parse_json(text) if isinstance(text, (str, bytes)) else text
        except ValueError as error:
            raise ExtractError(f"{run}: a row of history is not JSON") from error
        if not isinstance(row, dict):
            raise ExtractError(f"{run}: a row of history is not an object")
        step = _step(row.get("_step"))
        if held is not None and (step is None or step < held.last_step):
            continue
        parsed.append((step, time_of(row.get("_timestamp")), row))
    parsed.sort(key=lambda item: (-1 if item[0] is None else item[0], item[1] or 0.0))
    first = 0
    if held is not None:
        here = sum(step == held.last_step for step, _, _ in parsed)
        new = held.new_rows([time for _, time, _ in parsed[:here]], is_whole=is_whole)
        parsed = [parsed[place] for place in new] + parsed[here:]
        first = len(held.tail) if new else 0
    gathered = Gathered()
    last: int | None = None
    ordinal = 0
    for index, (step, _, row) in enumerate(parsed):
        ordinal = ordinal + 1 if index and step == last else 0 if index else first
        last = step
        row.pop("_step", None)
        gathered.add(row, step, ordinal)
    slices = {key: [part] for key, part in gathered.slices()}
    tail = tuple(time for step, time, _ in parsed if step == last) if last is not None else ()
    held_step = None if held is None else held.last_step
    steps = len({step for step, _, _ in parsed} - {None, held_step})
    return HistoryBatch(run, slices, len(parsed), last, tail, content_of(slices, steps))


def last_step_of(rows: Iterable[str | dict[str, Any]]) -> int | None:
    """Returns the highest step of JSON rows, None where none has one."""
    parsed = (parse_json(row) if isinstance(row, (str, bytes)) else row for row in rows)
    steps = (_step(row.get("_step")) for row in parsed if isinstance(row, dict))
    return max((step for step in steps if step is not None), default=None)


def time_of(value: Any) -> float | None:
    """Returns a row's `_timestamp`, None where it is no number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


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


@dataclass(frozen=True, slots=True)
class KeysOfRun:
    """What is known of the keys of a run."""

    run: RunPath
    claimed: dict[str, Any] | None
    """What W&B claims, as `Run.historyKeys` says it."""
    stats: KeyStats
    source: str | None


def build_history_keys(runs: Iterable[KeysOfRun], synced_at: datetime) -> pa.Table:
    """Returns rows of the table history_keys: what W&B claims of each key beside what is held."""
    schema = load_table("history_keys").arrow()
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    texts: dict[tuple[tuple[str, int], ...], str] = {}
    for known in runs:
        before = len(columns["key"])
        claimed = (known.claimed or {}).get("keys") or {}
        keys = {k for k in claimed if not k.startswith("system/")} | known.stats.keys()
        for key in sorted(keys - {"_step"}):
            counts: dict[str, int] = {}
            for entry in (claimed.get(key) or {}).get("typeCounts") or []:
                kind = str(entry.get("type"))
                counts[kind] = counts.get(kind, 0) + int(entry.get("count") or 0)
            if key not in known.stats and not counts.keys() - {"map", "nil"}:
                continue
            types = tuple(counts.items())
            if types not in texts:
                texts[types] = canonical_json(counts)
            held, last_step = known.stats.get(key, (0, None))
            columns["key"].append(key)
            columns["types"].append(texts[types] if counts else None)
            columns["claimed_count"].append(
                sum(n for kind, n in types if kind != "nil") if counts else None
            )
            columns["held_count"].append(held)
            columns["last_step"].append(last_step)
        count = len(columns["key"]) - before
        for name, value in (
            ("entity", known.run.entity), ("project", known.run.project),
            ("run_id", known.run.run_id), ("source", known.source), ("synced_at", synced_at),
        ):  # fmt: skip
            columns[name] += [value] * count
    return build_columns("history_keys", columns)


def key_stats_of(rows: pa.Table) -> pa.Table:
    """Returns run_id, key, held_count and last_step of history rows."""
    grouped = rows.group_by(["run_id", "key"]).aggregate([([], "count_all"), ("step", "max")])
    return grouped.rename_columns(["run_id", "key", "held_count", "last_step"])


def claimed_values(history_keys: dict[str, Any] | None) -> int | None:
    """Returns how many values of history W&B counts, None where it does not say."""
    keys = (history_keys or {}).get("keys")
    if not isinstance(keys, dict):
        return None
    return sum(
        int(entry.get("count") or 0)
        for key, facts in keys.items()
        if key != "_step" and not key.startswith("system/")
        for entry in (facts or {}).get("typeCounts") or []
        if entry.get("type") not in {"nil", "map"}
    )
