"""Durations and instants as people write them: `60s`, `7d`, `2026-01-31`, `2026-01-31T12:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from wbsync.errors import ConfigError

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MAX = timedelta(days=36500)


def parse_duration(text: str) -> timedelta:
    """Returns a duration: a number with s, m (minutes), h, d or w; a bare number is seconds.

    Raises:
        ConfigError: It is none, or longer than a century.

    >>> parse_duration("90"), parse_duration("1.5h")
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=5400))
    """
    stripped = text.strip()
    match = _DURATION.fullmatch(f"{stripped}s" if stripped[-1:].isdecimal() else stripped)
    try:
        if match is not None:
            found = timedelta(**{_UNITS[match["unit"]]: float(match["number"])})
            if found <= _MAX:
                return found
    except (OverflowError, ValueError):
        pass
    raise ConfigError(f"{text!r} is no duration: write 60s, 5m, 12h, 7d or 2w")


def parse_instant(text: str, now: datetime) -> datetime:
    """Returns an instant in UTC: an ISO date or instant, or how long before `now`, such as 7d.

    A date is its midnight, and what names no time zone is UTC.

    Raises:
        ConfigError: It is none, or lies in the future.

    >>> now = datetime(2026, 2, 1, tzinfo=UTC)
    >>> parse_instant("12h", now).isoformat(), parse_instant("2026-01-31", now).isoformat()
    ('2026-01-31T12:00:00+00:00', '2026-01-31T00:00:00+00:00')
    """
    stripped = text.strip()
    if _DURATION.fullmatch(stripped):
        return now - parse_duration(stripped)
    try:
        found = datetime.fromisoformat(stripped)
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00Z, 7d or 12h"
        ) from None
    if found > now:
        raise ConfigError(f"{text!r} lies in the future")
    return found
