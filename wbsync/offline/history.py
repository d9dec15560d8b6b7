"""A run's history and system metrics as rows, sampled as W&B samples or whole.

Numbers are what W&B's JSON makes of them: a whole number is an integer. What is not finite is a
float, where the SDK's `history()` gives the texts "NaN" and "Infinity".
Source: wandb/apis/public/runs.py (`history`, `scan_history`), history.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.values import parse_json
from wbsync.model import MAX_EXACT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from wbsync.offline.reader import Reader

    Row = dict[str, Any]

_PLACES = """
SELECT step, row FROM history
WHERE entity = $entity AND project = $project AND run_id = $run
GROUP BY step, row ORDER BY step NULLS FIRST, row
"""

_PLACES_OF_KEYS = """
SELECT step, row FROM history
JOIN (SELECT unnest($keys) AS key, unnest($heads) AS head) wanted USING (key)
WHERE entity = $entity AND project = $project AND run_id = $run
GROUP BY step, row HAVING count(DISTINCT head) = $count ORDER BY step NULLS FIRST, row
"""

_CELLS = """
SELECT step, row, key, value, json FROM history
WHERE entity = $entity AND project = $project AND run_id = $run
  AND ($keys IS NULL OR key IN (SELECT unnest($keys)))
  AND ($low IS NULL OR step >= $low) AND ($high IS NULL OR step < $high)
ORDER BY step NULLS FIRST, row
"""

_CELLS_AT = """
SELECT h.step, h.row, h.key, h.value, h.json FROM history h
JOIN (SELECT unnest($steps) AS step, unnest($rows) AS row) chosen
  ON h.step IS NOT DISTINCT FROM chosen.step AND h.row = chosen.row
WHERE entity = $entity AND project = $project AND run_id = $run
  AND ($keys IS NULL OR key IN (SELECT unnest($keys)))
ORDER BY h.step NULLS FIRST, h.row, h.key
"""

_SPAN = """
SELECT coalesce(sum(held_count), 0) AS cells FROM history_keys
WHERE entity = $entity AND project = $project AND run_id = $run
  AND ($keys IS NULL OR key IN (SELECT unnest($keys)))
"""

_SYSTEM = """
SELECT step, timestamp, runtime, key, value, json FROM system_metrics
WHERE entity = $entity AND project = $project AND run_id = $run ORDER BY step, key
"""

CELLS_AT_ONCE = 1_000_000

_RUNNING = frozenset({"_timestamp", "_runtime"})
"""Keys of W&B's own, which hold numbers in every run."""


class History:
    """The history of one run."""

    def __init__(self, reader: Reader, entity: str, project: str, run_id: str) -> None:
        """Takes whose history it is."""
        self._reader = reader
        self._where = {"entity": entity, "project": project, "run": run_id}

    def sampled(self, samples: int, shape: dict[str, Any]) -> list[Row]:
        """Returns at most so many rows, with all that was logged in them.

        Args:
            samples: Most rows.
            shape: The run's summary: what is nested there is nested here, which the warehouse's
                dotted keys alone do not tell.
        """
        found = self._at(self._places(_PLACES), samples, None)
        return [_nested(row, shape) for row in found]

    def sampled_keys(
        self, keys: Sequence[str], samples: int, shape: Callable[[], dict[str, Any]]
    ) -> list[Row]:
        """Returns at most so many of the rows that hold all of these keys, with these alone.

        Args:
            keys: Keys as they were logged; one that holds a dictionary comes as that.
            samples: Most rows.
            shape: Returns the run's summary, which tells a dotted key from a nested one.
        """
        wanted = [k for k in dict.fromkeys(keys) if k != "_step"]
        if not wanted:
            found = self._at(self._places(_PLACES), samples, None)
            return [{key: row.get(key) for key in dict.fromkeys(keys)} for row in found]
        heads = {key: key for key in wanted}
        parts: dict[str, list[str]] = {}
        names = self._names() if any(key not in _RUNNING for key in wanted) else []
        for head, name in ((h, n) for n in names for h in wanted if n.startswith(f"{h}.")):
            path = _path(name, shape())
            if path is None and head not in names:
                path = [head, *name[len(head) + 1 :].split(".")]
            if path is not None and path[0] == head and name not in heads:
                heads[name], parts[name] = head, path
        places = self._places(
            _PLACES_OF_KEYS, keys=[*heads], heads=[*heads.values()], count=len(wanted)
        )
        found = [_opened(row, parts) for row in self._at(places, samples, [*heads])]
        return [{key: row.get(key) for key in dict.fromkeys(keys)} for row in found]

    def scan(self, keys: Sequence[str] | None, low: int, high: int) -> Iterator[Row]:
        """Yields the rows of the steps from `low` up to, without, `high`.

        With keys, those rows that hold all of them. Without, all rows, each with every key of the
        run: None where it was not logged, as in W&B's exports.
        """
        wanted = None if keys is None else [k for k in dict.fromkeys(keys) if k != "_step"]
        (held,) = self._reader.rows(_SPAN, **self._where, keys=wanted or None)
        windows = int(held["cells"]) // CELLS_AT_ONCE + 1
        width = max(-(-(high - low) // windows), 1)
        names = self._names() if wanted is None else wanted
        for start in range(low, high, width):
            cells = self._reader.table(_CELLS, **self._where, keys=wanted or None, low=start,
                                       high=min(start + width, high))  # fmt: skip
            for row in _grouped(cells):
                if wanted is None:
                    yield {"_step": row["_step"], **{name: row.get(name) for name in names}}
                elif all(name in row for name in names):
                    yield {"_step": row["_step"], **{name: row[name] for name in names}}

    def system(self, samples: int) -> list[Row]:
        """Returns at most so many rows of system metrics."""
        cells = self._reader.table(_SYSTEM, **self._where)
        rows: list[Row] = []
        columns = (cells.column(i).to_pylist() for i in range(6))
        last = None
        for step, timestamp, runtime, key, value, json in zip(*columns, strict=True):
            if step != last:
                rows.append({"_wandb": True, "_timestamp": timestamp, "_runtime": runtime})
                last = step
            rows[-1][key] = _value(value, json)
        return [rows[i] for i in spread(len(rows), samples)]

    def _at(self, places: pa.Table, samples: int, keys: list[str] | None) -> list[Row]:
        """Returns a sample of the rows in these places."""
        if not places.num_rows or samples <= 0:
            return []
        chosen = places.take(spread(places.num_rows, samples))
        steps, rows = (column.to_pylist() for column in chosen.columns)
        cells = self._reader.table(_CELLS_AT, **self._where, keys=keys, steps=steps, rows=rows)
        return _grouped(cells)

    def _names(self) -> list[str]:
        found = self._reader.rows(
            "SELECT key FROM history_keys WHERE entity = $entity AND project = $project"
            " AND run_id = $run AND held_count > 0 ORDER BY key",
            **self._where,
        )
        return [row["key"] for row in found]

    def _places(self, query: str, **params: Any) -> pa.Table:
        return self._reader.table(query, **self._where, **params)


class HistoryScan:
    """All rows of a history; each loop starts from the first."""

    def __init__(self, history: History, keys: list[str] | None, min_step: int, stop: int) -> None:
        """Takes what is read."""
        self._history = history
        self.keys = keys
        self.min_step = min_step
        self._stop = stop
        self._going: Iterator[dict[str, Any]] | None = None

    @property
    def max_step(self) -> int:
        """Highest step that can come."""
        return self._stop - 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._history.scan(self.keys or None, self.min_step, self._stop)

    def __next__(self) -> dict[str, Any]:
        if self._going is None:
            self._going = iter(self)
        return next(self._going)

    next = __next__


def spread(count: int, samples: int) -> list[int]:
    """Returns which of so many rows a sample takes: evenly spread, the first and the last.

    >>> spread(3, 500), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    if count <= samples:
        return list(range(count))
    if samples <= 1:
        return [0][:samples]
    step = (count - 1) / (samples - 1)
    return [round(i * step) for i in range(samples)]


def _value(value: float | None, json: str | None) -> Any:
    """Returns a value of the warehouse as W&B's JSON has it."""
    if json is not None:
        return parse_json(json)
    if value is not None and value.is_integer() and abs(value) <= MAX_EXACT:
        return int(value)
    return value


def _grouped(cells: Any) -> list[Row]:
    """Returns one dictionary a row of cells that come in the order of rows."""
    out: list[Row] = []
    columns = [cells.column(name).to_pylist() for name in ("step", "row", "key", "value", "json")]
    last: tuple[int | None, int] | None = None
    for step, row, key, value, json in zip(*columns, strict=True):
        if (step, row) != last:
            last = (step, row)
            out.append({} if step is None else {"_step": step})
        out[-1][key] = _value(value, json)
    return out


def _nested(row: Row, shape: dict[str, Any]) -> Row:
    """Returns a row with those dotted keys opened that are dictionaries in the summary.

    >>> _nested({"a.b": 1, "c.d": 2}, {"a": {"b": 5}, "c.d": 6})
    {'a': {'b': 1}, 'c.d': 2}
    """
    paths = {key: path for key in row if "." in key and (path := _path(key, shape))}
    return _opened(row, paths)


def _opened(row: Row, paths: Mapping[str, list[str]]) -> Row:
    """Returns a row with some of its keys opened along paths."""
    out: Row = {}
    for key, value in row.items():
        path = paths.get(key, [key])
        inner: Any = out
        for part in path[:-1]:
            inner = inner.setdefault(part, {}) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner[path[-1]] = value
        else:
            out[key] = value
    return out


def _path(key: str, shape: Any) -> list[str] | None:
    """Returns the keys that lead to a dotted key in nested dictionaries, None for no such."""
    if key in shape:
        return [key]
    for head, inner in shape.items():
        if isinstance(inner, dict) and key.startswith(f"{head}."):
            rest = _path(key[len(head) + 1 :], inner)
            if rest is not None:
                return [head, *rest]
    return None
