"""Values in filters: JSON's, MongoDB's extended JSON, and instants in every spelling."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from wbsync.errors import FilterSyntaxError, UnsupportedOperatorError
from wbsync.model import NON_FINITE
from wbsync.query.filters.tree import Document, Operand

MAX_DEPTH = 100
"""Levels of nesting that a filter may have, as in MongoDB."""

_EXTENDED = frozenset(
    {"$date", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$oid"}
)


def parse_operand(value: Any, at: str, depth: int = 0) -> Operand:
    """Returns a value of a filter, frozen.

    Args:
        value: Decoded JSON, or what Python has for it: tuples, datetimes, NumPy scalars.
        at: Place in the filter, for messages.
        depth: Levels of nesting above it.

    Raises:
        FilterSyntaxError: No value of a run can be equal to it.
        UnsupportedOperatorError: An operator stands where a value belongs.

    >>> parse_operand([1, {"a": None}], "x")
    (1, Document(items=(('a', None),)))
    """
    if depth > MAX_DEPTH:
        raise FilterSyntaxError(f"the filter is nested deeper than {MAX_DEPTH} levels", at=at)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return checked_text(value, at)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, (list, tuple)):
        return tuple(parse_operand(v, f"{at}[{i}]", depth + 1) for i, v in enumerate(value))
    if isinstance(value, dict):
        return _parse_object(value, at, depth)
    if hasattr(value, "item"):
        return parse_operand(value.item(), at, depth + 1)
    raise FilterSyntaxError(f"a {type(value).__name__} is no value that JSON has", at=at)


def shown_value(value: Any) -> str:
    """Returns a value as a message shows it: short, and whatever its size.

    >>> shown_value(10**5000), shown_value("soon")
    ('an integer of 16610 bits', "'soon'")
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except ValueError:
        text = f"this {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:79]}…"


def read_integer(digits: str) -> int:
    """Returns the integer of digits, of any number: Python's own reader stops at 4,300."""
    return int(digits) if len(digits) < 4000 else int(Decimal(digits))


def integer_digits(number: int) -> str:
    """Returns the digits of an integer of any size: Python's own writer stops at 4,300."""
    return str(number) if number.bit_length() < 10_000 else f"{Decimal(number):f}"


def checked_text(text: str, at: str) -> str:
    """Returns a text that can be written as UTF-8.

    Raises:
        FilterSyntaxError: It holds half a surrogate pair.
    """
    if not is_writable(text):
        raise FilterSyntaxError(
            "a text holds half a surrogate pair, or bytes that are no UTF-8", at=at
        )
    return text


def is_writable(text: str) -> bool:
    """Says whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_object(value: dict[Any, Any], at: str, depth: int) -> Operand:
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in _EXTENDED:
            return _parse_extended(str(key), inner, at)
    items = []
    for key, inner in value.items():
        if not isinstance(key, str):
            raise FilterSyntaxError(f"the key {key!r} is no text", at=at)
        if key.startswith("$"):
            raise UnsupportedOperatorError(
                f"{key} stands where a value belongs; operators belong directly below a field",
                operator=key,
                at=f"{at}.{key}",
            )
        items.append((checked_text(key, at), parse_operand(inner, f"{at}.{key}", depth + 1)))
    return Document(tuple(items))


def _parse_extended(key: str, inner: Any, at: str) -> Operand:
    """Returns what MongoDB's extended JSON spells out: `{"$date": …}` and typed numbers."""
    try:
        if key == "$date":
            if isinstance(inner, dict):
                inner = int(inner["$numberLong"])
            if isinstance(inner, (int, float)):
                return datetime.fromtimestamp(inner / 1000, UTC)
            return parse_instant(inner) or datetime.fromisoformat(inner)
        if key == "$oid":
            return checked_text(str(inner), at)
        if key in {"$numberLong", "$numberInt"}:
            return read_integer(inner) if isinstance(inner, str) else int(inner)
        return NON_FINITE[inner] if inner in NON_FINITE else float(inner)
    except (KeyError, TypeError, ValueError, ArithmeticError, OSError):
        raise FilterSyntaxError(f"{key} does not take {shown_value(inner)}", at=at) from None


def parse_instant(value: Any) -> datetime | None:
    """Returns an instant in UTC, None where the value is none.

    ISO 8601 with or without time, fraction and zone (UTC where there is none), or seconds since
    1970.

    >>> parse_instant("2026-01-31 12:00:00.5").isoformat()
    '2026-01-31T12:00:00.500000+00:00'
    >>> parse_instant(0).year, parse_instant("soon")
    (1970, None)
    """
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        if not isinstance(value, str):
            return None
        parsed = datetime.fromisoformat(value.strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def is_number(value: Any) -> bool:
    """Says whether a value is a number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_nan(value: Any) -> bool:
    """Says whether a value is the number NaN."""
    return isinstance(value, float) and math.isnan(value)
