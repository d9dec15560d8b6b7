"""Reads the filters of run sets, as report and workspace specs hold them.

There are two forms. The old one is a tree: groups `{"op": "OR", "filters": […]}` and leaves
`{"key": {"section", "name"}, "op", "value", "disabled"}`. The new one, `filterV2`, is a flat list
whose items say by `connector` how they are joined to what stands before; AND binds tighter.

Source: wandb/apis/public/query_generator.py; wandb-workspaces, wandb_workspaces/expr.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.errors import FilterSyntaxError, UnsupportedOperatorError
from wbsync.query.filters.frontend import SECTIONS, clause, server_name, within
from wbsync.query.filters.operands import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

OPERATORS = {
    "=": "", "==": "", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte",
    "IN": "$in", "NIN": "$nin", "REGEX": "$regex",
}  # fmt: skip
"""Operator of a spec to MongoDB's; equality is a bare value."""

JOINS = {"AND": "$and", "OR": "$or"}


def is_run_set(source: Mapping[Any, Any]) -> bool:
    """Says whether a dictionary is a run set's filter, or a run set, rather than MongoDB's form.

    >>> is_run_set({"op": "OR", "filters": []}), is_run_set({"state": "finished"})
    (True, False)
    """
    return (
        "filterFormat" in source
        or isinstance(source.get("filterV2"), (list, dict))
        or isinstance(source.get("filters"), (list, dict))
        or (isinstance(source.get("key"), dict) and "op" in source)
    )


def run_set_filter(source: Mapping[str, Any], *, now: datetime | None = None) -> dict[str, Any]:
    """Returns a run set's filter in MongoDB's form.

    Args:
        source: The filter in either form, or the run set that holds it.
        now: Instant from which WITHINSECONDS counts; None takes the clock.

    Raises:
        FilterSyntaxError: It is of neither form.
        UnsupportedOperatorError: An operator is unknown.

    >>> leaf = {"key": {"section": "summary", "name": "loss"}, "op": "<", "value": 1}
    >>> run_set_filter({"op": "OR", "filters": [{"op": "AND", "filters": [leaf]}]})
    {'summary_metrics.loss': {'$lt': 1}}
    """
    return _read(source, "", now, 0) or {}


def _read(source: Any, at: str, now: datetime | None, depth: int) -> dict[str, Any] | None:
    """Returns a group or leaf in MongoDB's form, None for one that asks nothing."""
    if depth > MAX_DEPTH:
        raise FilterSyntaxError(f"the filter is nested deeper than {MAX_DEPTH} levels", at=at)
    if not isinstance(source, dict):
        raise FilterSyntaxError("a run set's filter is made of objects", at=at)
    if source.get("disabled"):
        return None
    flat = source.get("filterV2")
    if isinstance(flat, (list, dict)):
        items = flat.get("filters") if isinstance(flat, dict) else flat
        source = {"filterFormat": "filterV2", "filters": items}
    inner = source.get("filters")
    if isinstance(inner, dict):
        return _read(inner, f"{at}filters.", now, depth + 1)
    if not isinstance(inner, list):
        return _leaf(source, at, now)
    children = [_read(f, f"{at}filters[{i}].", now, depth + 1) for i, f in enumerate(inner)]
    if source.get("filterFormat") is not None or "op" not in source:
        return _flat([f for f in inner if isinstance(f, dict)], children)
    join = JOINS.get(str(source["op"]))
    if join is None:
        raise UnsupportedOperatorError(
            f"groups are joined by AND or OR, not {source['op']!r}",
            operator=str(source["op"]),
            at=f"{at}op",
        )
    return _joined(join, [c for c in children if c is not None])


def _flat(items: list[dict[str, Any]], children: list[dict[str, Any] | None]) -> dict[str, Any]:
    """Joins a flat list by its connectors: OR between runs of AND."""
    groups: list[list[dict[str, Any]]] = [[]]
    for item, child in zip(items, children, strict=True):
        if child is None:
            continue
        if item.get("connector") == "OR" and groups[-1]:
            groups.append([])
        groups[-1].append(child)
    return _joined("$or", [_joined("$and", g) for g in groups if g])


def _joined(join: str, children: list[dict[str, Any]]) -> dict[str, Any]:
    if not children:
        return {}
    return children[0] if len(children) == 1 else {join: children}


def _leaf(leaf: Mapping[str, Any], at: str, now: datetime | None) -> dict[str, Any] | None:
    op, value = leaf.get("op", "="), leaf.get("value")
    path = _path(leaf.get("key"), at)
    if not path or path in SECTIONS.values() or (value is None and op not in {"=", "==", "!="}):
        # A row of the filter editor that is not filled in yet.
        return None
    if op == "WITHINSECONDS":
        return within(path, value, now)
    if op not in OPERATORS:
        raise UnsupportedOperatorError(
            f"{op!r} is unknown: there are {', '.join(OPERATORS)} and WITHINSECONDS",
            operator=str(op),
            at=f"{at}op",
        )
    return clause(path, OPERATORS[op], value)


def _path(key: Any, at: str) -> str:
    if not isinstance(key, dict) or not isinstance(key.get("name", ""), str):
        raise FilterSyntaxError("a key is an object of section and name", at=f"{at}key")
    section, name = key.get("section", "run"), key.get("name", "")
    if section not in SECTIONS:
        raise FilterSyntaxError(
            f"the section {section!r} is unknown: there are {', '.join(SECTIONS)}", at=f"{at}key"
        )
    if not SECTIONS[section]:
        return server_name(name) or str(name)
    return f"{SECTIONS[section]}{name}"
