"""A run's history as W&B keeps it: logged rows that are live, and Parquet exports of older ones.

Rows that the SDK logged stay in the database as the JSON they came as; exports are made of them
when first asked for. Seeded rows exist as exports alone. Which rows count as exported is the
server's choice (`--exports`), so the same content can be served in every way that W&B has.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from wbsync.sandbox.store import Store

PART_ROWS = 2000
"""Rows of one export file that is made of logged rows."""

TERMINAL = frozenset({"finished", "failed", "crashed", "killed"})

DEFAULT_SAMPLES = 500

MAX_EXACT = 2**53


def parse_row(text: str) -> dict[str, Any]:
    """Returns a logged row."""
    row: dict[str, Any] = json.loads(text)
    return row


def served(text: str) -> str:
    """Returns a logged row as the server gives it back: non-finite numbers as strings."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return json.dumps(_finite(json.loads(text)))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value


def flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns dotted key to value: dictionaries are opened, media and empty ones are not."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and value and "_type" not in value:
            out.update(flat(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out


def type_name(value: Any) -> str:
    """Returns W&B's word for the type of a value in `historyKeys`."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "number" if value in {"NaN", "Infinity", "-Infinity"} else "string"
    if isinstance(value, list):
        return "list"
    return str(value.get("_type", "map"))


def count_types(keys: dict[str, dict[str, int]], rows: Iterable[dict[str, Any]]) -> None:
    """Adds the values of rows to key → type → count."""
    for row in rows:
        for key, value in flat(row).items():
            counts = keys.setdefault(key, {})
            kind = type_name(value)
            counts[kind] = counts.get(kind, 0) + 1


def history_keys(keys: dict[str, dict[str, int]], last_step: int | None) -> dict[str, Any] | None:
    """Returns `Run.historyKeys`."""
    if not keys:
        return None
    return {
        "sets": [],
        "keys": {
            key: {"typeCounts": [{"type": t, "count": n} for t, n in counts.items()]}
            for key, counts in keys.items()
        },
        "lastStep": -1 if last_step is None else last_step,
    }


def sample(rows: list[Any], samples: int | None) -> list[Any]:
    """Returns at most `samples` rows, evenly spread, the first and the last among them."""
    count = DEFAULT_SAMPLES if samples is None else samples
    if len(rows) <= count:
        return rows
    if count <= 1:
        return rows[:count]
    step = (len(rows) - 1) / (count - 1)
    return [rows[round(i * step)] for i in range(count)]


def write_part(store: Store, table: pa.Table) -> str:
    """Writes an export file; returns its blob."""
    blob = store.new_blob()
    pq.write_table(table, store.blob_path(blob), compression="zstd", row_group_size=20_000)
    store.finish_blob(blob)
    return blob


def columns_of(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Returns logged rows as W&B exports them.

    Dotted columns for nested keys; a struct for media; a struct of `_type_…` children where a key
    holds values of several kinds; JSON as bytes where Parquet has no shape for a value.
    """
    flats = [flat(row) for row in rows]
    names = list(dict.fromkeys(key for row in flats for key in row))
    arrays = {}
    for name in names:
        values = [row.get(name) for row in flats]
        if any(value is not None for value in values):
            arrays[name] = _column(values)
    if not arrays:
        return pa.table({"_step": pa.nulls(len(rows), pa.int64())})
    return pa.table(arrays)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict) and "_type" in value:
        return "media"
    return "json"


def _column(values: list[Any]) -> pa.Array:
    kinds = {_kind(v) for v in values if v is not None}
    if kinds == {"int", "float"} and all(abs(v) <= 2**53 for v in values if isinstance(v, int)):
        kinds = {"float"}
    if len(kinds) == 1:
        return _one_kind(values, kinds.pop())
    children = {
        f"_type_{kind}": _one_kind(
            [v if v is not None and _kind(v) == kind else None for v in values], kind
        )
        for kind in sorted(kinds)
    }
    mask = pa.array([v is None for v in values])
    return pa.StructArray.from_arrays(list(children.values()), names=list(children), mask=mask)


def _one_kind(values: list[Any], kind: str) -> pa.Array:
    if kind == "float":
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if kind in {"media", "json"}:
        try:
            array = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            array = None
        if array is not None and all(
            _same(a, b) for a, b in zip(values, array.to_pylist(), strict=True)
        ):
            return array
        return pa.array([None if v is None else json.dumps(v).encode() for v in values])
    return pa.array(values)


def _same(logged: Any, stored: Any) -> bool:
    """Says whether Parquet's shape kept a value; missing fields of structs become nulls."""
    if isinstance(logged, dict):
        return (
            isinstance(stored, dict)
            and bool(logged)
            and all(_same(v, stored.get(k)) for k, v in logged.items())
            and all(v is None for k, v in stored.items() if k not in logged)
        )
    if isinstance(logged, list):
        return (
            isinstance(stored, list)
            and len(logged) == len(stored)
            and all(map(_same, logged, stored))
        )
    if isinstance(logged, float) and math.isnan(logged):
        return isinstance(stored, float) and math.isnan(stored)
    if isinstance(logged, (int, float)) and not isinstance(logged, bool):
        # A list of integers and floats becomes one of doubles, as it does at W&B.
        is_exact = isinstance(stored, int) or abs(logged) <= MAX_EXACT
        return isinstance(stored, (int, float)) and is_exact and bool(logged == stored)
    return type(logged) is type(stored) and bool(logged == stored)


@lru_cache(maxsize=8)
def _read_part(path: Path) -> pa.Table:
    """Returns a part; its file never changes once it has a name."""
    return pq.read_table(path)


class History:
    """The history of one run, read in every way that W&B offers."""

    def __init__(self, store: Store, run: sqlite3.Row, exports: str) -> None:
        """Takes a run.

        Args:
            store: Where it is.
            run: Its row.
            exports: What of it counts as exported: all, half or none.
        """
        self._store = store
        self._run = run
        self._exports = exports

    def _seeded(self) -> list[sqlite3.Row]:
        return self._store.rows(
            "SELECT * FROM parts WHERE run_pk = ? AND is_seeded ORDER BY first_line",
            self._run["pk"],
        )

    def rows(self, min_step: float = -math.inf, max_step: float = math.inf) -> list[str]:
        """Returns the rows of the steps from `min_step` up to, without, `max_step`, as JSON."""
        out: list[str] = []
        for part in self._seeded():
            if part["max_step"] < min_step or part["min_step"] >= max_step:
                continue
            table = _read_part(self._store.blob_path(part["blob"]))
            steps = table.column("_step").to_numpy()
            chosen = table.filter(pa.array((steps >= min_step) & (steps < max_step)))
            out += [
                json.dumps(_finite({k: v for k, v in row.items() if v is not None}))
                for row in chosen.to_pylist()
            ]
        if min_step == -math.inf and max_step == math.inf:
            found = self._store.rows(
                "SELECT text FROM lines WHERE run_pk = ? AND stream = 'history' ORDER BY line",
                self._run["pk"],
            )
        else:
            found = self._store.rows(
                "SELECT text FROM lines WHERE run_pk = ? AND stream = 'history' AND step >= ?"
                " AND step < ? ORDER BY step, line",
                self._run["pk"],
                max(min_step, -9e18),
                min(max_step, 9e18),
            )
        return out + [served(row["text"]) for row in found]

    def sampled(self, spec: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the rows that hold every key of a `sampledHistory` spec."""
        keys = list(dict.fromkeys(spec.get("keys") or []))
        low, high = spec.get("minStep"), spec.get("maxStep")
        rows = self.rows(-math.inf if low is None else low, math.inf if high is None else high + 1)
        chosen = []
        for text in rows:
            row = parse_row(text)
            dotted = flat(row)
            values = {k: row[k] if k in row else dotted.get(k) for k in keys}
            if all(value is not None for value in values.values()):
                chosen.append(values if keys else row)
        return sample(chosen, spec.get("samples"))

    def last_row(self) -> str:
        """Returns the last row, as `historyTail` gives it."""
        row = self._store.row(
            "SELECT text FROM lines WHERE run_pk = ? AND stream = 'history'"
            " ORDER BY line DESC LIMIT 1",
            self._run["pk"],
        )
        if row is not None:
            return json.dumps([served(row["text"])])
        last = self._run["lastStep"]
        rows = [] if last is None else self.rows(last)
        return json.dumps(rows[-1:] or ['{"_step": 0}'])

    def exported_rows(self) -> int:
        """Returns how many rows, from the first on, count as exported."""
        total: int = self._run["historyLineCount"]
        seeded = self._seeded()
        if self._exports == "none":
            return 0
        if self._exports == "half":
            if seeded:
                part = seeded[: max(1, len(seeded) // 2)][-1]
                return int(part["first_line"] + part["row_count"])
            return total // 2
        if self._run["state"] in TERMINAL:
            return total
        held = sum(part["row_count"] for part in seeded)
        return int(held + (total - held) // PART_ROWS * PART_ROWS)

    def export_blobs(self) -> list[str]:
        """Returns the export files of the run; makes those that are missing."""
        end = self.exported_rows()
        run_pk = self._run["pk"]
        blobs = [p["blob"] for p in self._seeded() if p["first_line"] + p["row_count"] <= end]
        start = sum(p["row_count"] for p in self._seeded())
        made = {
            p["first_line"]: p
            for p in self._store.rows(
                "SELECT * FROM parts WHERE run_pk = ? AND NOT is_seeded", run_pk
            )
        }
        for first in range(start, end, PART_ROWS):
            count = min(PART_ROWS, end - first)
            part = made.get(first)
            if part is not None and part["row_count"] == count:
                blobs.append(part["blob"])
                continue
            texts = self._store.rows(
                "SELECT text FROM lines WHERE run_pk = ? AND stream = 'history' AND line >= ?"
                " AND line < ? ORDER BY line",
                run_pk, first, first + count,
            )  # fmt: skip
            blob = write_part(self._store, columns_of([parse_row(t["text"]) for t in texts]))
            self._store.write(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, 0, 0, ?, 0)",
                run_pk, first, count, blob,
            )  # fmt: skip
            blobs.append(blob)
        return blobs

    def live_data(self, keys: list[str]) -> list[dict[str, Any]]:
        """Returns the rows that are not exported, with some of their keys only."""
        end = self.exported_rows()
        run_pk = self._run["pk"]
        live: list[dict[str, Any]] = []
        for part in self._seeded():
            if part["first_line"] + part["row_count"] > end:
                table = _read_part(self._store.blob_path(part["blob"]))
                live += table.select([k for k in keys if k in table.column_names]).to_pylist()
        for row in self._store.rows(
            "SELECT step, text FROM lines WHERE run_pk = ? AND stream = 'history' AND line >= ?"
            " ORDER BY line",
            run_pk, end,
        ):  # fmt: skip
            if keys == ["_step"] and row["step"] is not None:
                live.append({"_step": int(row["step"])})
            else:
                values = flat(parse_row(served(row["text"])))
                live.append({k: values[k] for k in keys if k in values})
        return live


def take_lines(store: Store, run_pk: int, stream: str, offset: int, content: Sequence[str]) -> None:
    """Takes lines of a stream; lines that are there already are written over.

    Args:
        store: Where.
        run_pk: Whose.
        stream: history, events or log.
        offset: Number of the first line.
        content: The lines.
    """
    if not content:
        return
    column = {"history": "historyLineCount", "events": "eventsLineCount", "log": "logLineCount"}[
        stream
    ]
    known = store.value(f"SELECT {column} FROM runs WHERE pk = ?", run_pk)  # noqa: S608
    parsed = [parse_row(text) for text in content] if stream != "log" else []
    steps = [row.get("_step") for row in parsed] or [None] * len(content)
    store.write_many(
        "INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?)",
        [
            (run_pk, stream, offset + i, step, text)
            for i, (step, text) in enumerate(zip(steps, content, strict=True))
        ],
    )
    count = max(known, offset + len(content))
    store.write(f"UPDATE runs SET {column} = ? WHERE pk = ?", count, run_pk)  # noqa: S608
    if stream == "events":
        store.write(
            "UPDATE bodies SET system = ? WHERE run_pk = ?",
            json.dumps(_finite({k: v for k, v in parsed[-1].items() if k.startswith("system.")})),
            run_pk,
        )
    if stream != "history":
        return
    if offset < known:
        store.write(
            "DELETE FROM parts WHERE run_pk = ? AND NOT is_seeded AND first_line + row_count > ?",
            run_pk, offset,
        )  # fmt: skip
        recount(store, run_pk)
        return
    keys = json.loads(store.value("SELECT keys FROM bodies WHERE run_pk = ?", run_pk) or "{}")
    count_types(keys, parsed)
    store.write("UPDATE bodies SET keys = ? WHERE run_pk = ?", json.dumps(keys), run_pk)
    last = max((int(s) for s in steps if s is not None), default=None)
    store.write("UPDATE runs SET lastStep = max(coalesce(lastStep, -1), ?) WHERE pk = ?",
                -1 if last is None else last, run_pk)  # fmt: skip


def recount(store: Store, run_pk: int) -> None:
    """Counts keys and steps of a run's logged rows from scratch."""
    keys: dict[str, dict[str, int]] = {}
    texts = store.rows(
        "SELECT step, text FROM lines WHERE run_pk = ? AND stream = 'history' ORDER BY line",
        run_pk,
    )
    count_types(keys, (parse_row(t["text"]) for t in texts))
    last = max((int(t["step"]) for t in texts if t["step"] is not None), default=None)
    store.write("UPDATE bodies SET keys = ? WHERE run_pk = ?", json.dumps(keys), run_pk)
    store.write("UPDATE runs SET lastStep = ? WHERE pk = ?", last, run_pk)


def rewind(store: Store, run_pk: int, step: int) -> None:
    """Forgets what a run logged after a step."""
    store.write(
        "DELETE FROM lines WHERE run_pk = ? AND (stream <> 'history' OR step > ?)", run_pk, step
    )
    store.write("DELETE FROM parts WHERE run_pk = ? AND NOT is_seeded", run_pk)
    kept = store.rows(
        "SELECT step, text FROM lines WHERE run_pk = ? AND stream = 'history' ORDER BY line", run_pk
    )
    store.write("DELETE FROM lines WHERE run_pk = ?", run_pk)
    count = len(kept)
    store.write_many(
        "INSERT INTO lines VALUES (?, 'history', ?, ?, ?)",
        [(run_pk, line, row["step"], row["text"]) for line, row in enumerate(kept)],
    )
    store.write(
        "UPDATE runs SET historyLineCount = ?, eventsLineCount = 0, logLineCount = 0 WHERE pk = ?",
        count, run_pk,
    )  # fmt: skip
    recount(store, run_pk)
