"""System metrics, from the rows of `Run.events`. Source: queries/wandb/run_events.graphql."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from wbsync.checksum import Content, hash_places, hash_texts, hash_values, sum_of
from wbsync.errors import ExtractError
from wbsync.extract.history import Tail, time_of
from wbsync.extract.values import flatten, parse_json
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from wbsync.model import RunPath


def event_times(rows: Sequence[str | dict[str, Any]]) -> Tail:
    """Returns the `_timestamp` of each row of system metrics, None for a row that has none."""
    times: list[float | None] = []
    for row in rows:
        try:
            parsed = parse_json(row) if isinstance(row, (str, bytes)) else row
        except ValueError:
            parsed = None
        times.append(time_of(parsed.get("_timestamp")) if isinstance(parsed, dict) else None)
    return tuple(times)


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


def content_of_metrics(metrics: pa.Table) -> Content:
    """Returns what rows of the table system_metrics, all of one run, amount to."""
    columns = {name: metrics.column(name).combine_chunks() for name in metrics.column_names}
    words = hash_values(
        hash_places(columns["step"], columns["row"]),
        hash_texts(columns["key"]),
        [columns["value"], columns["timestamp"], columns["runtime"]],
        columns["json"],
    )
    return Content(len(words), len(pc.unique(columns["step"])), sum_of(words))
