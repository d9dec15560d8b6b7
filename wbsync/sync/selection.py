"""Which runs a selective sync is about: asked of the server, and checked again here.

Not every server filters, so ids and times are compared here whatever was asked; a filter is
applied here where the selection brings a `test`: to heavy pages, and to what is held.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.runs import build_run_rows
from wbsync.extract.values import parse_time
from wbsync.model import ProjectPath
from wbsync.sync.context import project_filter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from wbsync.model import RunTest, Selection
    from wbsync.sync.context import Context


def server_filter(selection: Selection, runs: list[str] | None = None) -> dict[str, Any]:
    """Returns what to ask the server for, in its filter language; empty for everything.

    Args:
        selection: What the sync is about.
        runs: Ids to ask for at once, out of the selection's own.
    """
    parts: list[Mapping[str, Any]] = []
    if runs:
        parts.append({"name": {"$in": runs}})
    if selection.since is not None:
        instant = selection.since.strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = ("createdAt", "heartbeatAt")
        parts.append({"$or": [{name: {"$gte": instant}} for name in fields]})
    if selection.filters:
        parts.append(selection.filters)
    return dict(parts[0]) if len(parts) == 1 else {"$and": parts} if parts else {}


def takes(selection: Selection, node: Mapping[str, Any]) -> bool:
    """Says whether a run belongs to a selection, as far as its id and times tell.

    Args:
        selection: What the sync is about.
        node: The run, of a light or a heavy page.
    """
    if selection.runs and node["name"] not in selection.runs:
        return False
    if selection.since is not None:
        times = (parse_time(node.get(name)) for name in ("createdAt", "heartbeatAt"))
        return any(at is not None and at >= selection.since for at in times)
    return True


def taken(selection: Selection, nodes: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the runs of a heavy page that belong to a selection, by their ids."""
    found = {node["name"]: node for node in nodes if takes(selection, node)}
    if selection.test is None or not found:
        return found
    passing = selection.test(_rows_of(found.values()))
    return {name: node for name, node in found.items() if name in passing}


def _rows_of(nodes: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the rows of runs, table by table, wherever they are."""
    project, now = ProjectPath("-", "-"), datetime.now(UTC)
    rows = build_run_rows([dict(node) for node in nodes], project, now)
    place = {"entity": "-", "project": "-", "held_count": 0, "synced_at": now}
    keys = [
        {**place, "run_id": node["name"], "key": key}
        for node in nodes
        for key in (node.get("historyKeys") or {}).get("keys") or ()
    ]
    return {
        "runs": rows.runs,
        "run_artifacts": rows.run_artifacts,
        "history_keys": build_table("history_keys", keys),
    }


def can_test_held(test: RunTest) -> bool:
    """Says whether a run's metadata is enough for a test; what it logged may not be held."""
    return "history_keys" not in test.reads


def taken_of_held(context: Context, test: RunTest) -> set[str]:
    """Returns the runs of the project that pass a test, by what is held of them.

    Args:
        context: The project's sync.
        test: A test that `can_test_held`.
    """
    lake, where = context.lake, project_filter(context)
    rows = {
        table: lake.read(table, sorted(columns), where)
        for table, columns in test.reads.items()
        if table != "runs"
    }
    found: set[str] = set()
    for file in lake.files("runs"):  # one by one: all configs at once may be too much to hold
        found.update(
            test({**rows, "runs": lake.read("runs", sorted(test.reads["runs"]), where, [file])})
        )
    return found
