"""Run filters and order strings, as the server understands them.

This is the sandbox's own reading of MongoDB's language; wbsync's own translation to SQL is
checked against it, so neither may use the other.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = object()

Lookup = "Callable[[str], Any]"

DATE_FIELDS = frozenset({"createdAt", "heartbeatAt", "updatedAt", "linkedAt"})

NAMES = {
    "created_at": "createdAt",
    "heartbeat_at": "heartbeatAt",
    "updated_at": "updatedAt",
    "display_name": "displayName",
    "job_type": "jobType",
    "artifact_created_at": "createdAt",
    "acm_created_at": "linkedAt",
    "linked_at": "linkedAt",
    "sweep": "sweepName",
    "summary": "summary_metrics",
    "summaryMetrics": "summary_metrics",
}


class FilterError(ValueError):
    """A filter that the server does not take."""


def canonical_field(path: str) -> str:
    """Returns the field that any of W&B's spellings names."""
    head, dot, rest = path.partition(".")
    return NAMES.get(head, head) + dot + rest


def matches(filters: Any, lookup: Callable[[str], Any]) -> bool:
    """Says whether a document passes a filter.

    Args:
        filters: The filter, as decoded JSON.
        lookup: Returns a field's value, MISSING where there is none.
    """
    if not isinstance(filters, dict):
        raise FilterError("a filter must be an object")
    for key, operand in filters.items():
        if key == "$and":
            if not all(matches(f, lookup) for f in _list(operand)):
                return False
        elif key == "$or":
            if not any(matches(f, lookup) for f in _list(operand)):
                return False
        elif key == "$nor":
            if any(matches(f, lookup) for f in _list(operand)):
                return False
        elif key == "$not":
            if matches(operand, lookup):
                return False
        elif key.startswith("$"):
            raise FilterError(f"unknown operator {key}")
        else:
            field = canonical_field(key)
            if not _field_matches(lookup(field), operand, is_date=field in DATE_FIELDS):
                return False
    return True


def _list(operand: Any) -> list[Any]:
    if not isinstance(operand, list):
        raise FilterError("$and, $or and $nor take a list")
    return operand


def _field_matches(value: Any, operand: Any, *, is_date: bool) -> bool:
    if isinstance(operand, dict) and any(k.startswith("$") for k in operand):
        return all(
            _operator_matches(value, op, wanted, operand, is_date=is_date)
            for op, wanted in operand.items()
        )
    return _equal(value, operand, is_date=is_date)


def _operator_matches(
    value: Any, op: str, wanted: Any, whole: dict[str, Any], *, is_date: bool
) -> bool:
    if op == "$eq":
        return _equal(value, wanted, is_date=is_date)
    if op == "$ne":
        return not _equal(value, wanted, is_date=is_date)
    if op == "$in":
        return any(_equal(value, w, is_date=is_date) for w in _list(wanted))
    if op == "$nin":
        return not any(_equal(value, w, is_date=is_date) for w in _list(wanted))
    if op == "$exists":
        return (value is not MISSING and value is not None) == bool(wanted)
    if op == "$not":
        return not _field_matches(value, wanted, is_date=is_date)
    if op in {"$gt", "$gte", "$lt", "$lte"}:
        return any(_compare(v, op, wanted, is_date=is_date) for v in _each(value))
    if op == "$regex":
        flags = re.IGNORECASE if "i" in str(whole.get("$options", "")) else 0
        try:
            pattern = re.compile(str(wanted), flags)
        except re.error as error:
            raise FilterError(f"bad regex: {error}") from error
        return any(isinstance(v, str) and pattern.search(v) for v in _each(value))
    if op == "$options":
        return True
    if op == "$contains":
        return any(isinstance(v, str) and str(wanted) in v for v in _each(value))
    if op == "$all":
        return all(_equal(value, w, is_date=is_date) for w in _list(wanted))
    if op == "$size":
        return isinstance(value, list) and len(value) == wanted
    raise FilterError(f"unknown operator {op}")


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _equal(value: Any, wanted: Any, *, is_date: bool) -> bool:
    if wanted is None:
        return value is MISSING or value is None or value == []
    if isinstance(value, list) and not isinstance(wanted, list):
        return any(_equal(v, wanted, is_date=is_date) for v in value)
    if is_date:
        left, right = _instant(value), _instant(wanted)
        return left is not None and left == right
    if isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    return bool(value is not MISSING and value == wanted)


def _compare(value: Any, op: str, wanted: Any, *, is_date: bool) -> bool:
    if is_date:
        value, wanted = _instant(value), _instant(wanted)
    if value is MISSING or value is None or wanted is None:
        return False
    is_number = isinstance(value, (int, float)) and isinstance(wanted, (int, float))
    if not is_number and type(value) is not type(wanted):
        return False
    if is_number and (math.isnan(value) or math.isnan(wanted)):
        return False
    if op == "$gt":
        return bool(value > wanted)
    if op == "$gte":
        return bool(value >= wanted)
    if op == "$lt":
        return bool(value < wanted)
    return bool(value <= wanted)


def _instant(value: Any) -> datetime | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def sort_key(value: Any) -> tuple[int, Any]:
    """Returns what orders values of any kind: missing ones first, then numbers, then text."""
    if value is MISSING or value is None:
        return 0, 0
    if isinstance(value, (int, float)):
        return (1, 0) if math.isnan(value) else (2, value)
    return 3, str(value)


def parse_order(order: str | None) -> tuple[str, bool]:
    """Returns (field, whether descending) of an order string."""
    text = (order or "+created_at").strip()
    is_descending = text.startswith("-")
    return canonical_field(text.lstrip("+-")), is_descending


def nested(value: Any, path: list[str]) -> Any:
    """Returns what a path of keys leads to; a key may itself hold dots."""
    if not path:
        return value
    if not isinstance(value, dict):
        return MISSING
    for count in range(len(path), 0, -1):
        key = ".".join(path[:count])
        if key in value:
            found = nested(value[key], path[count:])
            if found is not MISSING:
                return found
    return MISSING
