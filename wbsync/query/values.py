"""Values of a query's parameters: from text or Python to what an engine is given."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from wbsync.errors import QueryError

TYPES = ("VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR[]")
BIGINT_BOUND = 2**63

_AGO = re.compile(r"(?P<number>\d{1,6}(?:\.\d{1,6})?)(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WANTED = {
    "VARCHAR": "a text",
    "BIGINT": "a whole number",
    "DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "TIMESTAMP": "a time like 2026-01-31, 2026-01-31T12:00Z, now, or 30d for 30 days ago",
    "VARCHAR[]": "a list of texts",
}


def read_value(value: Any, kind: str, name: str, now: datetime) -> Any:
    """Returns a parameter's value; instants are UTC, without a zone, as the tables have them.

    Args:
        value: A Python value or its text; None is NULL of any type.
        kind: One of TYPES.
        name: What to call it in an error.
        now: What `now` and durations count from; aware.

    Raises:
        QueryError: It is no value of that type.
    """
    if value is None:
        return None
    try:
        found = _READERS[kind](value, now)
    except (ValueError, TypeError, OverflowError):
        found = None
    if found is None:
        raise QueryError(f"{name} must be {_WANTED[kind]}, not {value!a}")
    return found


def _text(value: Any, _now: datetime) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(value)
    value.encode()  # a UnicodeEncodeError is a ValueError
    return value


def _whole(value: Any, _now: datetime) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError(value)
    found = int(value)
    if not -BIGINT_BOUND <= found < BIGINT_BOUND:
        raise OverflowError(value)
    return found


def _number(value: Any, _now: datetime) -> float:
    if isinstance(value, bool):
        raise TypeError(value)
    found = float(value)
    if found != found:  # noqa: PLR0124
        raise ValueError(value)
    return found


def _flag(value: Any, _now: datetime) -> bool:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _texts(value: Any, now: datetime) -> list[str]:
    if isinstance(value, str):
        from wbsync.query.filters.names import split_names

        value = split_names(value) if value else []
    return [_text(part, now) for part in value]


def read_instant(value: Any, now: datetime) -> datetime:
    """Returns an instant in UTC, without a zone; what names no zone is UTC, a date its midnight.

    >>> read_instant("36h", datetime(2026, 2, 1, tzinfo=UTC)).isoformat()
    '2026-01-30T12:00:00'
    >>> read_instant("2026-01-31T12:00+02:00", datetime.now(UTC)).isoformat()
    '2026-01-31T10:00:00'
    """
    if isinstance(value, str):
        text = value.strip()
        if text == "now":
            value = now
        elif match := _AGO.fullmatch(text):
            value = now - timedelta(**{_UNITS[match["unit"]]: float(match["number"])})
        else:
            value = datetime.fromisoformat(text)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise TypeError(value)
    found: datetime = value
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo is not None else found


_READERS = {
    "VARCHAR": _text,
    "BIGINT": _whole,
    "DOUBLE": _number,
    "BOOLEAN": _flag,
    "TIMESTAMP": read_instant,
    "VARCHAR[]": _texts,
}
