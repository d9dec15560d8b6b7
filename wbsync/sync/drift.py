"""Finds what a sync that asks only for changes had missed, once all is read again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wbsync.progress import Drift
from wbsync.sync.context import project_filter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pyarrow as pa

    from wbsync.extract.runs import RunRows
    from wbsync.sync.context import Context

UNCOMPARED = frozenset({"synced_at", "deleted_at", "content_hash", "best_run_id"})
"""Columns that are made here, and so say nothing of W&B."""

TIMES = ("updated_at", "heartbeat_at")
"""Where one of these moves, a sync that asks for changes finds the row."""

WHOLE_ROW = "*"
"""Stands for the field where a row is held that should not be, or the other way round."""


def find_run_drift(context: Context, rows: RunRows, began: datetime) -> list[Drift]:
    """Returns in which fields runs differ from what is held, though no time of theirs has moved.

    A link to an artifact that is no more is none of a run's doing, so it does not count.

    Args:
        context: The project's sync.
        rows: Runs as they are.
        began: The server's clock when the sync looked for changes: what came later is no drift.
    """
    names = rows.runs.column("run_id").to_pylist()
    where = [*project_filter(context), ("run_id", "in", names)]
    held = context.lake.read("runs", filters=where)
    before = {row["run_id"]: _times(row) for row in held.to_pylist() if row["deleted_at"] is None}
    still = {
        row["run_id"]
        for row in rows.runs.select(["run_id", *TIMES]).to_pylist()
        if before.get(row["run_id"]) == _times(row)
    }
    links = [
        {
            (row["run_id"], row["direction"], row["artifact_name"])
            for row in table.to_pylist()
            if row["run_id"] in still
        }
        for table in (context.lake.read("run_artifacts", filters=where), rows.run_artifacts)
    ]
    return [
        *find_drift("runs", held, rows.runs, ["entity", "project", "run_id"], began),
        *(
            Drift("run_artifacts", f"{context.project}/{run_id}", f"{direction} {name}")
            for run_id, direction, name in sorted(links[1] - links[0], key=str)
        ),
    ]


def find_drift(
    table: str, held: pa.Table, rows: pa.Table, key: Sequence[str], began: datetime
) -> list[Drift]:
    """Returns in which fields rows differ from those held, though none of their times has moved.

    Args:
        table: Table they belong to.
        held: Rows held, at least those of the same keys.
        rows: Rows as they are.
        key: The table's key columns.
        began: The server's clock when the sync looked for changes: what came later is no drift.
    """
    before = {tuple(row[k] for k in key): row for row in held.to_pylist()}
    found = []
    for row in rows.to_pylist():
        values = tuple(row[k] for k in key)
        path = "/".join(map(str, values))
        old = before.get(values)
        if old is None or old.get("deleted_at") is not None:
            if row.get("created_at") is None or row["created_at"] < began:
                found.append(Drift(table, path, WHOLE_ROW))
            continue
        if _times(old) != _times(row):
            continue
        found += [
            Drift(table, path, name)
            for name in rows.schema.names
            if name not in UNCOMPARED and not same(old[name], row[name])
        ]
    return found


def same(ours: Any, theirs: Any) -> bool:
    """Says whether two values of a column are the same; NaN is NaN."""
    return bool(ours == theirs) or (is_nan(ours) and is_nan(theirs))


def is_nan(value: Any) -> bool:
    """Says whether a value of a column is NaN, which does not even equal itself."""
    return isinstance(value, float) and math.isnan(value)


def _times(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in TIMES)
