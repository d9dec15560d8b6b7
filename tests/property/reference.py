"""MongoDB's rules for filters, written down plainly: the measure for the translation to SQL.

It shares nothing with it: it walks decoded documents and decoded filters. Only what both must agree
on by docs/decisions/0004 is done first: a dot in a key is nesting, and W&B's texts "NaN", "Infinity"
and "-Infinity" are numbers. Sources: MongoDB's manual; the order of traversal from its path.cpp.
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


def normal(value: Any) -> Any:
    """Returns a value with the three texts as numbers."""
    if isinstance(value, str):
        return NUMBERS.get(value, value)
    if isinstance(value, list):
        return [normal(v) for v in value]
    return {k: normal(v) for k, v in value.items()} if isinstance(value, dict) else value


def kind(value: Any) -> str:
    """Returns the type by which values are bracketed."""
    if value is None or value is MISSING:
        return "null"
    if isinstance(value, bool):
        return "bool"
    names = {int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def equal(one: Any, other: Any) -> bool:
    """Says whether two values are equal: types first, keys in order, NaN equal to itself."""
    if kind(one) != kind(other):
        return False
    if kind(one) == "array":
        return len(one) == len(other) and all(map(equal, one, other))
    if kind(one) == "object":
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    if kind(one) == "number" and math.isnan(one):
        return math.isnan(other)
    return kind(one) == "null" or one == other


def compare(op: str, value: Any, wanted: Any) -> bool:
    """Says whether a value is on a side of another of its type."""
    if kind(value) != kind(wanted):
        return False
    if kind(wanted) == "null" or (kind(wanted) == "number" and math.isnan(wanted)):
        return op in {"$gte", "$lte"} and equal(value, wanted)
    if kind(value) == "number" and math.isnan(value):
        return False
    return ORDERS[op](value, wanted)


def of_type(value: Any, names: Any) -> bool:
    """Says whether a value is of one of the types; whole numbers are int or long by their size."""
    if value is MISSING:
        return False
    found = {kind(value)}
    if found == {"number"}:
        is_whole = math.isfinite(value) and value == int(value) and -(2**63) <= value < 2**63
        found.add(("int" if -(2**31) <= value < 2**31 else "long") if is_whole else "double")
    return bool(found & set([names] if isinstance(names, str) else names))


def remainder(value: Any, divisor: int, wanted: int) -> bool:
    """Says whether a number, cut to a whole one, leaves this remainder; the sign is its own."""
    if kind(value) != "number" or not math.isfinite(value) or not -(2**63) <= int(value) < 2**63:
        return False
    return int(math.copysign(abs(int(value)) % abs(divisor), value)) == wanted


def walk(document: Any, path: list[str]) -> list[Any]:
    """Returns what a path leads to; arrays at its end are not yet opened."""
    value, rest = document, path
    while rest:
        value = value.get(rest[0], MISSING) if isinstance(value, dict) else MISSING
        rest = rest[1:]
        if isinstance(value, list):
            break
    return within(value, rest) if rest else [value]


def within(array: list[Any], path: list[str]) -> list[Any]:
    """Returns what a path leads to in an array: in its objects, and at a place it may name."""
    found: list[Any] = []
    for index, element in enumerate(array):
        is_place = path[0] == str(index)
        if isinstance(element, dict):
            found += walk(element, path)
        if is_place and len(path) == 1:
            found.append(Closed(element))
        elif is_place and isinstance(element, dict):
            found += walk(element, path[1:])
        elif is_place and isinstance(element, list):
            found += within(element, path[1:])
    return found


class Closed:
    """A value that a number led to: its elements are not looked at one by one."""

    def __init__(self, value: Any) -> None:
        self.value = value


def opened(values: list[Any]) -> list[Any]:
    """Returns values, and beside each array its elements."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, Closed):
            found.append(value.value)
        else:
            found += [*value, value] if isinstance(value, list) else [value]
    return found


def test(values: list[Any], op: str, wanted: Any, whole: dict[str, Any]) -> bool:
    """Says whether an operator is met by the values of a field."""
    closed = [v.value if isinstance(v, Closed) else v for v in values]
    if op in {"$ne", "$nin"}:
        return not test(values, {"$ne": "$eq", "$nin": "$in"}[op], wanted, whole)
    if op == "$not":
        return not operators(values, wanted)
    if op == "$exists":
        return any(v is not MISSING for v in closed) == bool(wanted)
    if op == "$size":
        return any(isinstance(v, list) and len(v) == wanted for v in closed)
    if op == "$elemMatch":
        return any(element(e, wanted) for v in closed if isinstance(v, list) for e in v)
    if op == "$all":
        each = [("$elemMatch", w["$elemMatch"]) if is_query(w) else ("$eq", w) for w in wanted]
        return bool(each) and all(test(values, o, w, whole) for o, w in each)
    if op == "$options":
        return True
    if op == "$in":
        return any(equal(v, normal(w)) for v in opened(values) for w in wanted)
    return any(holds(v, op, wanted, whole) for v in opened(values))


def holds(value: Any, op: str, wanted: Any, whole: dict[str, Any]) -> bool:
    """Says whether an operator is met by one value."""
    if op == "$eq":
        return equal(value, normal(wanted))
    if op in ORDERS:
        return compare(op, value, normal(wanted))
    if op == "$type":
        return of_type(value, wanted)
    if op == "$mod":
        return remainder(value, *wanted)
    flags = sum(getattr(re, c.upper()) for c in whole.get("$options", ""))
    found = re.search(wanted, value, flags) if kind(value) == "string" and op == "$regex" else None
    return bool(found) or (op == "$contains" and kind(value) == "string" and wanted in value)


def is_query(wanted: Any) -> bool:
    """Says whether an operand is an object of operators."""
    return isinstance(wanted, dict) and bool(wanted) and all(k.startswith("$") for k in wanted)


def operators(values: list[Any], wanted: Any) -> bool:
    """Says whether values meet a value to equal, or all operators of an object."""
    if not is_query(wanted):
        return test(values, "$eq", wanted, {})
    return all(test(values, op, w, wanted) for op, w in wanted.items())


def element(value: Any, query: dict[str, Any]) -> bool:
    """Says whether an element of an array passes `$elemMatch`."""
    first = next(iter(query), "")
    if first.startswith("$") and first not in {"$and", "$or", "$nor"}:
        return operators([Closed(value)], query)
    if isinstance(value, list):
        value = {str(i): v for i, v in enumerate(value)}
    return isinstance(value, dict) and matches(query, value)


def matches(query: dict[str, Any], document: dict[str, Any]) -> bool:
    """Says whether a document passes a filter."""
    joins = {"$and": all, "$or": any, "$nor": lambda found: not any(found)}
    return all(
        joins[key](matches(q, document) for q in wanted)
        if key in joins
        else operators(walk(document, key.split(".")), wanted)
        for key, wanted in query.items()
    )
