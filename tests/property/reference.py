"""MongoDB's rules for filters, written down plainly: the measure for the translation to SQL.

It walks decoded documents and filters, and shares nothing with the translation. Sources: MongoDB's
manual; for paths through arrays, the order of traversal of its path.cpp.
"""

from __future__ import annotations

import math
import re
from typing import Any

MISSING = object()
NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
ORDERS = {
    "$gt": lambda a, b: a > b, "$gte": lambda a, b: a >= b,
    "$lt": lambda a, b: a < b, "$lte": lambda a, b: a <= b,
}  # fmt: skip
JOINS = {"$and": all, "$or": any, "$nor": lambda found: not any(found)}


class Placed:
    """An array element that a number in a path led to: it is not opened."""

    def __init__(self, value: Any) -> None:
        self.value = value


def normal(value: Any) -> Any:
    """Returns a value with W&B's three texts as numbers (docs/decisions/0004)."""
    if isinstance(value, list):
        return [normal(v) for v in value]
    if isinstance(value, dict):
        return {k: normal(v) for k, v in value.items()}
    return NUMBERS.get(value, value) if isinstance(value, str) else value


def kind(value: Any) -> str:
    """Returns the type by which values are told apart."""
    if value is None or value is MISSING:
        return "null"
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def equal(one: Any, other: Any) -> bool:
    """Says whether values are equal: types first, keys in order, NaN equal to itself."""
    if kind(one) != kind(other) or kind(one) == "null":
        return kind(one) == kind(other)
    if kind(one) == "array":
        return len(one) == len(other) and all(map(equal, one, other))
    if kind(one) == "object":
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    return one == other or (one != one and other != other)  # noqa: PLR0124


def on_side(op: str, value: Any, wanted: Any) -> bool:
    """Says whether a value is on a side of another of its type; of null and NaN only `=` holds."""
    if kind(value) != kind(wanted):
        return False
    if kind(wanted) == "null" or wanted != wanted or value != value:  # noqa: PLR0124
        return op in {"$gte", "$lte"} and equal(value, wanted)
    return ORDERS[op](value, wanted)


def is_of_type(value: Any, names: list[str]) -> bool:
    """Says whether a value is of a type; whole numbers are int or long by their size."""
    if value is MISSING or kind(value) != "number":
        return value is not MISSING and kind(value) in names
    is_whole = math.isfinite(value) and value == int(value) and -(2**63) <= value < 2**63
    name = "double" if not is_whole else "int" if -(2**31) <= value < 2**31 else "long"
    return "number" in names or name in names


def leaves(value: Any, divisor: int, wanted: int) -> bool:
    """Says whether a number, cut to a whole one, leaves this remainder, whose sign is its own."""
    if kind(value) != "number" or not math.isfinite(value) or not -(2**63) <= int(value) < 2**63:
        return False
    return wanted == (abs(int(value)) % abs(divisor)) * (-1 if value < 0 else 1)


def walk(value: Any, path: list[str]) -> list[Any]:
    """Returns what a path leads to; arrays at its end are not opened yet."""
    while path:
        value = value.get(path[0], MISSING) if isinstance(value, dict) else MISSING
        path = path[1:]
        if isinstance(value, list) and path:
            return within(value, path)
    return [value]


def within(array: list[Any], path: list[str]) -> list[Any]:
    """Returns what a path leads to in an array: in its objects, and at the place it may name."""
    found: list[Any] = []
    for index, value in enumerate(array):
        if isinstance(value, dict):
            found += walk(value, path)
        if path[0] == str(index) and len(path) == 1:
            found.append(Placed(value))
        elif path[0] == str(index) and isinstance(value, (dict, list)):
            found += walk(value, path[1:]) if isinstance(value, dict) else within(value, path[1:])
    return found


def meets(values: list[Any], op: str, wanted: Any, options: str = "") -> bool:
    """Says whether the values of a field meet an operator."""
    if op in {"$ne", "$nin", "$not"}:
        if op == "$not":
            return not meets_all(values, wanted)
        return not meets(values, {"$ne": "$eq", "$nin": "$in"}[op], wanted)
    if op == "$all":
        each = [w if is_query(w) else {"$eq": w} for w in wanted]
        return bool(each) and all(meets_all(values, w) for w in each)
    whole = [v.value if isinstance(v, Placed) else v for v in values]
    if op == "$exists":
        return any(v is not MISSING for v in whole) == wanted
    if op == "$size":
        return any(isinstance(v, list) and len(v) == wanted for v in whole)
    if op == "$elemMatch":
        return any(passes(e, wanted) for v in whole if isinstance(v, list) for e in v)
    opened = [e for v in values if isinstance(v, list) for e in v]
    return any(holds(v, op, wanted, options) for v in [*opened, *whole])


def holds(value: Any, op: str, wanted: Any, options: str) -> bool:
    """Says whether one value meets an operator."""
    if op in {"$eq", "$in"}:
        return any(equal(value, normal(w)) for w in ([wanted] if op == "$eq" else wanted))
    if op in ORDERS:
        return on_side(op, value, normal(wanted))
    if op == "$type":
        return is_of_type(value, wanted if isinstance(wanted, list) else [wanted])
    if op == "$mod":
        return leaves(value, *wanted)
    if op == "$options" or kind(value) != "string":
        return op == "$options"
    flags = sum(getattr(re, letter.upper()) for letter in options)
    return wanted in value if op == "$contains" else bool(re.search(wanted, value, flags))


def is_query(wanted: Any) -> bool:
    """Says whether an operand is an object of operators."""
    return isinstance(wanted, dict) and bool(wanted) and all(k.startswith("$") for k in wanted)


def meets_all(values: list[Any], wanted: Any) -> bool:
    """Says whether values meet a value to equal, or all operators of an object."""
    if not is_query(wanted):
        return meets(values, "$eq", wanted)
    options = wanted.get("$options", "")
    return all(op == "$options" or meets(values, op, w, options) for op, w in wanted.items())


def passes(value: Any, query: dict[str, Any]) -> bool:
    """Says whether an element of an array passes `$elemMatch`."""
    if is_query(query) and next(iter(query)) not in JOINS:
        return meets_all([Placed(value)], query)
    if isinstance(value, list):
        value = {str(i): v for i, v in enumerate(value)}
    return isinstance(value, dict) and matches(query, value)


def matches(query: dict[str, Any], document: dict[str, Any]) -> bool:
    """Says whether a document passes a filter."""
    return all(
        JOINS[key](matches(q, document) for q in wanted)
        if key in JOINS
        else meets_all(walk(document, key.split(".")), wanted)
        for key, wanted in query.items()
    )
