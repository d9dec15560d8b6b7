"""The change log: what changed in runs' metadata from one sync to the next.

Entries are derived when a run's row is about to be replaced, from the row that is held and the
one that comes, and are committed before it. A sync that is killed in between leaves entries whose
row is still the old one; they bear the time of that row, so the next sync knows them, takes what
they say for held, and adds only what changed since. So none is lost and none comes twice.

What counts is what people edit and what the server decides: names, tags, notes, group, config,
state, sweep, deletion. What a run's own process keeps moving does not: heartbeats, counters,
system metrics, and the summary of a run that is, or was until now, live. A new run is no change.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import canonical_json, flatten, parse_json
from wbsync.model import MAX_EXACT
from wbsync.sync.plan import LIVE_STATES
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from wbsync.lake.delta import Filter
    from wbsync.sync.context import Context, EntityContext

CHANGES = "run_changes"
KEY = ("entity", "project", "run_id")
NOISE = frozenset(
    {
        "synced_at", "content_hash", "heartbeat_at", "updated_at", "compute_seconds",
        "history_line_count", "last_step", "event_line_count", "log_line_count", "system_summary",
        "config_raw", "storage_id", "user_name",
    }
)  # fmt: skip
"""Columns of runs that move by themselves, or say in another form what another column says."""

JSON_COLUMNS = frozenset({"tags", "branch_point"})
"""Columns that hold JSON as it is."""

GONE = "deleted_at"
LEAVES = ("config", "summary")
"""Columns that are compared leaf by leaf."""

Fields = dict[str, str]
"""Field to value as JSON; what has no value is left out."""


async def log_changes(context: Context, rows: pa.Table) -> None:
    """Writes to the change log how rows of runs differ from the held ones that they replace.

    Args:
        context: The project's sync.
        rows: Rows of the table runs, about to be written.
    """
    entries = await asyncio.to_thread(_changes_of, context, rows)
    await context.write(CHANGES, entries)


async def log_deletions(context: EntityContext, where: Sequence[Filter]) -> None:
    """Writes to the change log that W&B no longer has some runs, which are about to be marked.

    Args:
        context: The sync of their project, or of its entity.
        where: Which runs; those that are marked already are left out.
    """
    entries = await asyncio.to_thread(_deletions, context, where)
    await context.write(CHANGES, entries)


def _deletions(context: EntityContext, where: Sequence[Filter]) -> pa.Table:
    alive = context.lake.read(
        "runs", columns=[*KEY, "synced_at"], filters=[*where, (GONE, "is", None)]
    ).to_pylist()
    if not alive:
        return build_table(CHANGES, [])
    times = sorted({row["synced_at"] for row in alive})
    logged = context.lake.read(
        CHANGES,
        columns=[*KEY, "held_since"],
        filters=[("field", "=", GONE), ("old", "is", None), ("held_since", "in", times)],
    )
    known = {tuple(entry.values()) for entry in logged.to_pylist()}
    now = context.synced_at
    entries = [
        {**row, "field": GONE, "new": _json(now), "held_since": row["synced_at"], "synced_at": now}
        for row in alive
        if tuple(row.values()) not in known
    ]
    return build_table(CHANGES, entries)


def _changes_of(context: Context, rows: pa.Table) -> pa.Table:
    where = [
        ("entity", "=", context.project.entity),
        ("project", "=", context.project.project),
        ("run_id", "in", rows.column("run_id").to_pylist()),
    ]
    columns = [c for c in rows.schema.names if c not in NOISE or c == "synced_at"]
    held_rows = context.lake.read("runs", columns=columns, filters=where)
    held = {row["run_id"]: row for row in held_rows.to_pylist()}
    if not held:
        return build_table(CHANGES, [])
    times = sorted({row["synced_at"] for row in held.values()})
    logged = context.lake.read(CHANGES, filters=[*where, ("held_since", "in", times)])
    pending: dict[str, list[dict[str, Any]]] = {}
    for entry in logged.sort_by("synced_at").to_pylist():
        if entry["held_since"] == held.get(entry["run_id"], {}).get("synced_at"):
            pending.setdefault(entry["run_id"], []).append(entry)
    entries = []
    for new in rows.select(columns).to_pylist():
        old = held.get(new["run_id"])
        if old is not None:
            logged_of = pending.get(new["run_id"], ())
            entries += [
                {**entry, "synced_at": context.synced_at}
                for entry in changes_between(old, new, logged_of)
            ]
    return build_table(CHANGES, entries)


def changes_between(
    old: Mapping[str, Any], new: Mapping[str, Any], logged: Any = ()
) -> list[dict[str, Any]]:
    """Returns the entries that say how a run's row differs from the held one, without their time.

    Args:
        old: The row that is held.
        new: The row that comes.
        logged: Entries of the change log that were derived from the row that is held, oldest
            first: what they say is known.
    """
    is_live = old["state"] in LIVE_STATES or new["state"] in LIVE_STATES
    same = {name for name in LEAVES if not logged and old[name] == new[name]}
    left_out = same | ({"summary"} if is_live else set())
    before, after = fields_of(old, left_out), fields_of(new, left_out)
    for entry in logged:
        field = entry["field"]
        if field.partition(".")[0] in left_out:
            continue
        if entry["new"] is None:
            before.pop(field, None)
        else:
            before[field] = entry["new"]
    return [
        {
            **{name: new[name] for name in KEY},
            "field": field,
            "old": before.get(field),
            "new": after.get(field),
            "held_since": old["synced_at"],
        }
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
        # A sync that was killed before it marked a run as deleted has found it at another time.
        and not (field == GONE and field in before and field in after)
    ]


def fields_of(row: Mapping[str, Any], left_out: Collection[str] = ()) -> Fields:
    """Returns the fields of a run that count, each as JSON.

    >>> fields_of({"state": "finished", "config": '{"a":{"b":1}}', "notes": None})
    {'state': '"finished"', 'config.a.b': '1'}
    """
    fields: Fields = {}
    for column in load_table("runs").columns:
        name, value = column.name, row.get(column.name)
        if value is None or name in NOISE or name in KEY or name in left_out:
            continue
        if name in LEAVES:
            for key, (number, text) in flatten(parse_json(value) or {}).items():
                if not (name == "summary" and key.startswith("_")):
                    fields[f"{name}.{key}"] = _json(number) if text is None else text
        else:
            fields[name] = value if name in JSON_COLUMNS else _json(value)
    return fields


def _json(value: Any) -> str:
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
        value = int(value)
    return canonical_json(value)
