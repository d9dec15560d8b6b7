"""Keeps sweeps in step with W&B, from the one light request that opens a project's sync.

That request lists every sweep with what identifies its state. Only where that differs from what is
held are sweeps read in full.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.extract.rows import lists_all, nodes_of
from wbsync.extract.sweeps import build_sweep_rows
from wbsync.extract.values import as_float, parse_time
from wbsync.sync.context import project_filter
from wbsync.sync.drift import same
from wbsync.sync.inventory import PAGE_ROWS, project_variables, read_held, write_changes
from wbsync.sync.untold import Untold, skip_list

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from wbsync.sync.context import Context


FIELDS = {
    "config": "config_yaml",
    "updatedAt": "updated_at",
}
"""Fields whose null says nothing where something is held. Names, descriptions and
`bestLoss` may be cleared."""


async def sync_sweeps(
    context: Context, listing: dict[str, Any] | None, began: datetime, refused: str | None = None
) -> None:
    """Reads the sweeps in full when one of them differs from what is held.

    Which run of a sweep is best is looked up in any case: it depends on the runs alone.

    Args:
        context: The project's sync.
        listing: The sweeps as the opening request lists them; None where the server does not.
        began: The server's clock at that request.
        refused: The server's words where it refused the list, or some of it.
    """
    if listing is None or refused is not None:
        skip_list(context, "sweeps", refused, "sweeps")
    if listing is None:
        return
    rows = await read_held(context, "sweeps")
    held = {row["sweep_id"]: row for row in rows.to_pylist() if row["deleted_at"] is None}
    light, untold = nodes_of(listing), Untold(context, "sweeps")
    for node in light:
        untold.fill(node, held.get(node["name"]), FIELDS, node["name"])
    is_same = same_sweeps(held, light)
    is_whole = refused is None and lists_all(listing)
    if refused is None and not is_whole:
        for name in held.keys() - {node["name"] for node in light}:
            untold.note("node", name)
    if is_same and not (context.options.full and held):
        rows = rows.filter(rows["deleted_at"].is_null())
    else:
        nodes: dict[str, dict[str, Any]] = {}
        async for page in iter_pages(
            context.client,
            load_document("project_sweeps"),
            project_variables(context),
            connection=lambda data: (data.get("project") or {}).get("sweeps"),
            page_rows=PAGE_ROWS,
        ):
            nodes |= {node["name"]: node for node in page.nodes}
            is_whole = is_whole and not page.has_gaps and not page.has_hidden
        for name, node in nodes.items():
            if untold.fill(node, held.get(name), FIELDS, name) and "updatedAt" in node:
                node["updatedAt"] = _text(held[name]["updated_at"])  # so it is read again
        rows = build_sweep_rows(list(nodes.values()), context.project, context.synced_at)
    if rows.num_rows or held:
        rows = await asyncio.to_thread(_with_best_runs, context, rows)
        await write_changes(
            context,
            "sweeps",
            rows,
            key=["entity", "project", "sweep_id"],
            gone=is_whole,
            checked_since=began if is_same and context.options.full else None,
        )
    untold.say()


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def same_sweeps(held: dict[str, dict[str, Any]], light: list[dict[str, Any]]) -> bool:
    """Says whether the sweeps of an opening request are those held, by id, and just so."""
    return held.keys() == {node["name"] for node in light} and all(
        _same_sweep(held[node["name"]], node) for node in light
    )


def _same_sweep(held: dict[str, Any], node: dict[str, Any]) -> bool:
    fields = {
        "state": "state",
        "displayName": "display_name",
        "description": "description",
        "runCount": "run_count",
        "bestLoss": "best_loss",
    }
    is_same_time = "updatedAt" not in node or held["updated_at"] == parse_time(node["updatedAt"])
    return is_same_time and all(
        same(held[column], as_float(node[name]) if name == "bestLoss" else node[name])
        for name, column in fields.items()
        if name in node
    )


def _with_best_runs(context: Context, sweeps: pa.Table) -> pa.Table:
    """Fills best_run_id: the run whose summary has the best finite value of the sweep's metric."""
    import pyarrow as pa
    import pyarrow.compute as pc

    metrics = {m for m in sweeps.column("metric").to_pylist() if m}
    if not metrics:
        return sweeps
    where = project_filter(context)
    runs = context.lake.read("runs", columns=["run_id", "sweep_id", "deleted_at"], filters=where)
    runs = runs.filter(pc.and_(pc.is_valid(runs["sweep_id"]), pc.is_null(runs["deleted_at"])))
    leaves = context.lake.read(
        "run_summary",
        columns=["run_id", "key", "value"],
        filters=[*where, ("key", "in", sorted(metrics))],
    )
    sweep_of = dict(zip(runs["run_id"].to_pylist(), runs["sweep_id"].to_pylist(), strict=True))
    best: dict[tuple[str, str], tuple[float, str]] = {}
    goals = {row["sweep_id"]: row for row in sweeps.to_pylist()}
    finite = leaves.filter(pc.fill_null(pc.is_finite(leaves["value"]), fill_value=False))
    for row in finite.to_pylist():
        sweep = goals.get(sweep_of.get(row["run_id"], ""))
        if sweep is None or sweep["metric"] != row["key"]:
            continue
        sign = -1.0 if sweep["goal"] == "maximize" else 1.0
        candidate = (sign * row["value"], row["run_id"])
        slot = (sweep["sweep_id"], row["key"])
        best[slot] = min(best.get(slot, candidate), candidate)
    ids = [
        best.get((s, m), (0.0, None))[1]
        for s, m in zip(sweeps["sweep_id"].to_pylist(), sweeps["metric"].to_pylist(), strict=True)
    ]
    place = sweeps.schema.get_field_index("best_run_id")
    return sweeps.set_column(place, sweeps.schema.field(place), pa.array(ids, pa.string()))
