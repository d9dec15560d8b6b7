"""Which runs a selective sync is about: asked of the server, and checked again here.

Not every server filters, so ids and times are compared here whatever was asked; a filter is
applied here where the selection brings a `matches`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.values import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wbsync.model import Selection


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
    if selection.matches is None or not found:
        return found
    passing = selection.matches(list(found.values()))
    return {name: node for name, node in found.items() if name in passing}
