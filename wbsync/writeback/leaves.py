"""Leaves of fields that are JSON: found by their path, replaced, and written as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wbsync.errors import EditError
from wbsync.extract.values import finite
from wbsync.writeback.operations import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def leaf_at(values: Any, path: Sequence[str]) -> Any:
    """Returns the leaf at a path of nested dictionaries, MISSING where there is none.

    >>> leaf_at({"a": {"b.c": None}}, ("a", "b.c")), leaf_at({"a": 1}, ("a", "b"))
    (None, MISSING)
    """
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return MISSING
        values = values[key]
    return values


def with_leaf(values: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """Returns nested dictionaries with another leaf at a path; MISSING takes it away.

    Raises:
        EditError: The path leads through a value that is no dictionary.

    >>> with_leaf({"a": {"b": 1}}, ("a", "c"), 2), with_leaf({"a": 1, "b": 2}, ("a",), MISSING)
    ({'a': {'b': 1, 'c': 2}}, {'b': 2})
    """
    key, *rest = path
    if not rest:
        kept = {k: v for k, v in values.items() if k != key} if value is MISSING else dict(values)
        return kept if value is MISSING else {**kept, key: value}
    inner = values.get(key, {})
    if not isinstance(inner, dict):
        raise EditError(f"{key} is a value, and has no {'.'.join(rest)}")
    if value is MISSING and key not in values:
        return dict(values)
    return {**values, key: with_leaf(inner, rest, value)}


def resolve_path(values: Mapping[str, Any], dotted: str) -> tuple[str, ...]:
    """Returns the path that a dotted name means: of a leaf that is there, else by its dots.

    A literal key with dots goes before nested ones, as in the warehouse's leaf tables.

    >>> resolve_path({"a.b": {"c": 1}}, "a.b.c"), resolve_path({"a": {"b": 1}}, "a.b")
    (('a.b', 'c'), ('a', 'b'))
    >>> resolve_path({}, "a.b")
    ('a', 'b')
    """
    return _held_path(values, dotted) or _new_path(values, dotted)


def _held_path(values: Any, dotted: str) -> tuple[str, ...] | None:
    if not isinstance(values, dict):
        return None
    if dotted in values:
        return (dotted,)
    parts = dotted.split(".")
    for count in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:count])
        if head in values:
            rest = _held_path(values[head], ".".join(parts[count:]))
            if rest is not None:
                return (head, *rest)
    return None


def _new_path(values: Any, dotted: str) -> tuple[str, ...]:
    """Returns where a new leaf goes: into the deepest group that is there."""
    parts = dotted.split(".")
    for count in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:count])
        if isinstance(values, dict) and isinstance(values.get(head), dict):
            return (head, *_new_path(values[head], ".".join(parts[count:])))
    return tuple(parts)


def json_text(value: Any) -> str:
    """Returns a value as JSON that W&B takes: non-finite numbers are its texts for them."""
    return json.dumps(finite(_plain(value)), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
