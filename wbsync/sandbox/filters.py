"""Run filters and order strings, as the server understands them.

W&B keeps runs in SQL and documents MongoDB's words for its filters, so what is answered here is
what SQL would: a field that is missing, null or a list without elements is unknown; nothing is true
of it, nor is the opposite, but for the question whether it is there. `{"tags": null}` and
`{"tags": {"$ne": …}}` stand side by side in the official client for this reason.

This is the sandbox's own reading; wbsync's translation to SQL is checked against it, so neither may
use the other.
"""

from __future__ import annotations

import json
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
    "_step": "summary_metrics._step",
    "_runtime": "summary_metrics._runtime",
    "_timestamp": "summary_metrics._timestamp",
}

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""Texts by which the server writes what JSON has no number for."""

LIST_FIELDS = frozenset({"tags", "tag", "aliases", "alias"})
"""Fields that are lists by themselves: without elements they are not there."""

Truth = bool | None
"""True, false, or unknown."""


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

    Raises:
        FilterError: The filter is none that the server takes.
    """
    return _truth(filters, lookup) is True


def _truth(filters: Any, lookup: Callable[[str], Any]) -> Truth:
    if not isinstance(filters, dict):
        raise FilterError("a filter must be an object")
    found: list[Truth] = []
    for key, operand in filters.items():
        if key == "$and":
            found.append(_all([_truth(f, lookup) for f in _list(operand)]))
        elif key == "$or":
            found.append(_any([_truth(f, lookup) for f in _list(operand)]))
        elif key == "$nor":
            found.append(_not(_any([_truth(f, lookup) for f in _list(operand)])))
        elif key == "$not":
            found.append(_not(_truth(operand, lookup)))
        elif key.startswith("$"):
            raise FilterError(f"unknown operator {key}")
        else:
            field = canonical_field(key)
            value = lookup(field)
            value = MISSING if field in LIST_FIELDS and value == [] else value
            found.append(_field_truth(value, operand, is_date=field in DATE_FIELDS))
    return _all(found)


def _all(found: list[Truth]) -> Truth:
    return False if False in found else None if None in found else True


def _any(found: list[Truth]) -> Truth:
    return True if True in found else None if None in found else False


def _not(found: Truth) -> Truth:
    return None if found is None else not found


def _list(operand: Any) -> list[Any]:
    if not isinstance(operand, list):
        raise FilterError("$and, $or, $nor, $in, $nin and $all take a list")
    return operand


def _field_truth(value: Any, operand: Any, *, is_date: bool) -> Truth:
    if isinstance(operand, dict) and any(k.startswith("$") for k in operand):
        return _all([
            _operator_truth(value, op, wanted, operand, is_date=is_date)
            for op, wanted in operand.items()
        ])  # fmt: skip
    return _equal(value, operand, is_date=is_date)


def _operator_truth(
    value: Any, op: str, wanted: Any, whole: dict[str, Any], *, is_date: bool
) -> Truth:
    if op == "$eq":
        return _equal(value, wanted, is_date=is_date)
    if op == "$ne":
        return _not(_equal(value, wanted, is_date=is_date))
    if op in {"$in", "$nin"}:
        # IN with a NULL in its list is true or unknown, never false.
        each = [None if w is None else _equal(value, w, is_date=is_date) for w in _list(wanted)]
        found = None if _is_unknown(value) and each else _any(each)
        return found if op == "$in" else _not(found)
    if op == "$exists":
        return _is_unknown(value) != bool(wanted)
    if op == "$not":
        return _not(_field_truth(value, wanted, is_date=is_date))
    if op == "$options":
        return True
    if _is_unknown(value) or wanted is None:
        return None
    if op in {"$gt", "$gte", "$lt", "$lte"}:
        return any(_compare(v, op, wanted, is_date=is_date) for v in _each(value))
    if op == "$regex":
        flags = sum(getattr(re, letter.upper(), 0) for letter in str(whole.get("$options", "")))
        try:
            pattern = re.compile(str(wanted), flags)
        except re.error as error:
            raise FilterError(f"bad regex: {error}") from error
        return any(_is_text(v) and bool(pattern.search(v)) for v in _each(value))
    if op == "$contains":
        return any(_is_text(v) and str(wanted) in v for v in _each(value))
    if op == "$all":
        return _all([_equal(value, w, is_date=is_date) for w in _list(wanted)])
    if op == "$size":
        return isinstance(value, list) and len(value) == wanted
    raise FilterError(f"unknown operator {op}")


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_unknown(value: Any) -> bool:
    return value is MISSING or value is None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value not in NON_FINITE


def _equal(value: Any, wanted: Any, *, is_date: bool) -> Truth:
    if wanted is None:
        return _is_unknown(value)
    if _is_unknown(value):
        return None
    if isinstance(value, list) and not isinstance(wanted, list):
        return any(_is_same(v, wanted, is_date=is_date) for v in value)
    return _is_same(value, wanted, is_date=is_date)


def _is_same(value: Any, wanted: Any, *, is_date: bool) -> bool:
    if is_date:
        left, right = _instant(value), _instant(wanted)
        return left is not None and left == right
    value, wanted = _plain(value), _plain(wanted)
    if isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    if isinstance(value, float) and math.isnan(value):
        return isinstance(wanted, float) and math.isnan(wanted)
    return bool(value == wanted)


def _plain(value: Any) -> Any:
    """Returns a value with the texts that stand for numbers as those numbers."""
    return NON_FINITE.get(value, value) if isinstance(value, str) else value


def _compare(value: Any, op: str, wanted: Any, *, is_date: bool) -> bool:
    if is_date:
        value, wanted = _instant(value), _instant(wanted)
    value, wanted = _plain(value), _plain(wanted)
    if value is MISSING or value is None or wanted is None:
        return False
    is_number = _is_number(value) and _is_number(wanted)
    if not is_number and type(value) is not type(wanted):
        return False
    if is_number and (math.isnan(value) or math.isnan(wanted)):
        return op in {"$gte", "$lte"} and math.isnan(value) and math.isnan(wanted)
    if not isinstance(value, (int, float, str, datetime)):
        return False
    if op == "$gt":
        return bool(value > wanted)
    if op == "$gte":
        return bool(value >= wanted)
    if op == "$lt":
        return bool(value < wanted)
    return bool(value <= wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_run_filter(filters: Any) -> None:
    """Checks that a filter of runs holds nothing on which the server fails.

    `$all`, and comparisons with lists and objects: W&B answers them with an error.

    Raises:
        FilterError: It does.
    """
    if isinstance(filters, list):
        for inner in filters:
            check_run_filter(inner)
    if not isinstance(filters, dict):
        return
    for key, operand in filters.items():
        if key in {"$and", "$or", "$nor", "$not"}:
            check_run_filter(operand)
        elif key == "$all":
            raise FilterError("$all")
        elif key in {"$in", "$nin"}:
            if any(isinstance(v, (list, dict)) for v in _list(operand)):
                raise FilterError("a list or an object in a list")
        elif isinstance(operand, dict) and any(k.startswith("$") for k in operand):
            check_run_filter(operand)
        elif isinstance(operand, (list, dict)):
            raise FilterError(f"comparison of {key} with a list or an object")


def _instant(value: Any) -> datetime | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def sort_key(value: Any) -> tuple[int, Any]:
    """Returns what orders values of any kind: what is missing first, then type by type.

    NaN stands below all numbers; then come texts, objects, lists, false and true.
    """
    if value is MISSING or value is None:
        return 0, 0
    value = _plain(value)
    if isinstance(value, bool):
        return 6, value
    if isinstance(value, (int, float)):
        return (1, 0) if math.isnan(value) else (2, value)
    if isinstance(value, str):
        return 3, value
    return (4 if isinstance(value, dict) else 5), json.dumps(value, sort_keys=True)


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
