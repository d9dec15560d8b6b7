"""JSON of W&B is read exactly, whichever decoder reads it."""

from __future__ import annotations

import json
import math

import pytest

from wbsync.extract.values import parse_json, split_value

TEXTS = (
    '{"a": 1152921504606846976, "b": 0.1}',
    "[36893488147419103232, -36893488147419103233]",
    "[0.0012345678901234567, 1.12345678901234567890123, -0.00000000000000000000123]",
    "[12345678901234567890.5, 1e19, 1.5e-19]",
    '{"digits": "1234567890123456789012345", "id": 9007199254740993}',
    "[1234567890123456789]",
    "1234567890123456789012",
)


@pytest.mark.parametrize("text", TEXTS)
def test_numbers_of_any_length_are_exact(text: str) -> None:
    """Big integers keep each digit, and fractions of many digits are the nearest double."""
    for given in (text, text.encode()):
        found = parse_json(given)
        assert found == json.loads(text)
        assert repr(found) == repr(json.loads(text))


def test_integers_beyond_every_double_are_held() -> None:
    """An integer that no double reaches is infinite as a number, and exact as JSON."""
    for sign in (1, -1):
        assert split_value(sign * 10**400) == (sign * math.inf, str(sign * 10**400))
