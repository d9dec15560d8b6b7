"""Durations and instants as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from wbsync.errors import ConfigError
from wbsync.times import parse_duration, parse_instant

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("60s", timedelta(minutes=1)), (" 5m ", timedelta(minutes=5)), ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)), ("2w", timedelta(weeks=2)), ("0.5s", timedelta(seconds=0.5)),
        ("90", timedelta(seconds=90)), ("0", timedelta(0)),
    ],
)  # fmt: skip
def test_a_duration_is_a_number_and_a_unit(text: str, found: timedelta) -> None:
    """Seconds, minutes, hours, days and weeks; a bare number is seconds."""
    assert parse_duration(text) == found


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 years", "1e9d", "99999999d", "5mm", "½h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The message repeats what was written and shows what can be."""
    with pytest.raises(ConfigError, match="write 60s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7d", "2026-02-03T12:00:00+00:00"), ("12h", "2026-02-10T00:00:00+00:00"),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T08:00Z", "2026-01-31T08:00:00+00:00"),
        ("2026-01-31T08:00+02:00", "2026-01-31T06:00:00+00:00"),
        ("2026-01-31T08:00:00.5", "2026-01-31T08:00:00.500000+00:00"),
    ],
)  # fmt: skip
def test_an_instant_is_iso_or_relative(text: str, found: str) -> None:
    """A date is its midnight, and without a zone it is UTC."""
    assert parse_instant(text, NOW).isoformat() == found


@pytest.mark.parametrize(
    ("text", "says"),
    [("yesterday", "no time"), ("", "no time"), ("60", "no time"), ("2026-13-01", "no time"),
     ("2027-01-01", "future"), ("0001-01-01T00:00+14:00", "no time")],
)  # fmt: skip
def test_what_is_no_instant_is_refused(text: str, says: str) -> None:
    """Neither nonsense nor the future selects anything."""
    with pytest.raises(ConfigError, match=says):
        parse_instant(text, NOW)
