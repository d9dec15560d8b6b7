"""Tells of a filter where each field is found, and which tests a server could make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.query.filters.fields import (
    Bridge,
    Column,
    Duration,
    Field,
    Flag,
    Json,
    Keys,
    Kind,
    Leaves,
    Version,
    kind_of,
    resolve_field,
)
from wbsync.query.filters.tree import iter_tests

if TYPE_CHECKING:
    from wbsync.query.filters.push import Pushed
    from wbsync.query.filters.select import Filter


@dataclass(frozen=True, slots=True)
class Explained:
    """One test of a filter."""

    at: str
    """Place in the filter."""
    field: str
    """W&B's spelling of the field."""
    found_in: str
    """Where the warehouse has it."""
    asked: bool
    """Whether a server is asked for it."""
    reason: str
    """Why it is not; empty where it is."""


def explain(found: Filter, pushed: Pushed) -> list[Explained]:
    """Returns what there is to say of each test of a filter.

    >>> from wbsync.query.filters.push import push_down
    >>> from wbsync.query.filters.select import parse_filter
    >>> found = parse_filter({"config.lr": 0.1})
    >>> explain(found, push_down(found))[0].found_in
    'run_config, key lr'
    """
    kind = kind_of(found.kind)
    kept = dict(pushed.kept)
    explained = []
    for where in iter_tests(found.root):
        field = resolve_field(kind, where.path, where.at)
        reason = kept.get(where.at, kept.get("", ""))
        if not reason and not pushed.filter:
            reason = "what it is joined to cannot be asked"
        name = ".".join([field.name, *field.parts])
        explained.append(Explained(where.at, name, found_in(kind, field), not reason, reason))
    return explained


def found_in(kind: Kind, field: Field) -> str:
    """Returns where the warehouse has a field, in words.

    >>> found_in(kind_of("runs"), resolve_field(kind_of("runs"), "displayName"))
    'runs.display_name'
    """
    source = field.source
    if isinstance(source, Leaves):
        return f"{source.table}, key {'.'.join(field.parts)}"
    if isinstance(source, Json):
        return f"{source.via or kind.table}.{source.column}, at {'.'.join(field.parts)}"
    if isinstance(source, Column):
        return f"{source.via or kind.table}.{source.column}"
    if isinstance(source, Version):
        return f"{kind.table}.{source.text}, or {source.number} for numbers"
    if isinstance(source, Bridge):
        return f"{source.table}.{source.column}"
    if isinstance(source, Flag):
        return f"{kind.table}.{source.column}, whether it holds {field.parts[0]}"
    if isinstance(source, Keys):
        return f"{source.table}, key {field.parts[0]}"
    assert isinstance(source, Duration)
    return "runs.compute_seconds, or run_summary, key _runtime"
