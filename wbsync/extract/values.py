"""How W&B's values become a number and a JSON text.

Every leaf of config, summary and history is kept as `value DOUBLE` where it is a number, and as
`json VARCHAR` where a double would not be exact: strings, booleans, lists, media, big integers.
Non-finite numbers are IEEE values; W&B writes them as the strings "NaN", "Infinity" and
"-Infinity", which are therefore read as numbers wherever they come.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from wbsync.api.jsontext import mended
from wbsync.model import MAX_EXACT, NON_FINITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INTERNAL_CONFIG_KEYS = frozenset({"_wandb", "wandb_version"})

_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?$")

Split = tuple[float | None, str | None]


def split_value(value: Any) -> Split:
    """Returns a leaf as (number, JSON).

    >>> split_value(1.5), split_value(True), split_value("a"), split_value(2**60)
    ((1.5, None), (1.0, 'true'), (None, '"a"'), (1.152921504606847e+18, '1152921504606846976'))
    """
    if value is True:
        return 1.0, "true"
    if value is False:
        return 0.0, "false"
    if isinstance(value, int):
        if -MAX_EXACT <= value <= MAX_EXACT:
            return float(value), None
        try:
            return float(value), str(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf, str(value)
    if isinstance(value, float):
        return value, None
    if isinstance(value, str) and value in NON_FINITE:
        return NON_FINITE[value], None
    return None, canonical_json(value)


def canonical_json(value: Any) -> str:
    """Returns compact JSON with sorted keys; non-finite numbers inside are strings.

    >>> canonical_json({"b": [float("nan")], "a": "é"})
    '{"a":"é","b":["NaN"]}'
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        if b"null" in text:  # where orjson writes what is not finite, too
            text = orjson.dumps(finite(value), option=orjson.OPT_SORT_KEYS)
        return text.decode()
    except TypeError:  # an integer beyond 64 bits, or half a surrogate pair
        return json.dumps(
            finite(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"),
            allow_nan=False,
        )  # fmt: skip


def finite(value: Any) -> Any:
    """Returns a value with non-finite numbers as W&B's strings for them."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return value


def parse_json(text: str | bytes | None) -> Any:
    """Returns what JSON text holds, NaN tokens and integers of any size included; None for none.

    Half a surrogate pair becomes a replacement character: no file could hold it.

    Raises:
        ValueError: It is not JSON.
    """
    if text is None:
        return None
    try:
        value = orjson.loads(text)
        return mended(json.loads(text)) if _has_big_number(text) else value
    except orjson.JSONDecodeError:
        pass
    try:
        return mended(json.loads(text))
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def json_text(text: str | None) -> str | None:
    """Returns JSON text as canonical JSON; what is no JSON becomes a JSON string.

    >>> json_text('{"b": 1, "a": NaN}'), json_text("no {"), json_text(None)
    ('{"a":"NaN","b":1}', '"no {"', None)
    """
    try:
        return None if text is None else canonical_json(parse_json(text))
    except (ValueError, RecursionError):
        return canonical_json(text)


_DIGITS = bytes(ord("0") if chr(b).isdigit() else b for b in range(128)) + bytes(range(128, 256))
_BIG = b"0" * 19
_NO_DIGIT = re.compile(rb"[^0]")


def _has_big_number(text: str | bytes) -> bool:
    """Says whether text may hold an integer that orjson reads as a float: 19 digits or more."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    digits = raw.translate(_DIGITS)
    place = digits.find(_BIG)
    while place >= 0:
        if digits[place - 1 : place] != b".":
            return True
        # Many a fraction has as many digits behind its point: on with what follows them.
        end = _NO_DIGIT.search(digits, place)
        place = -1 if end is None else digits.find(_BIG, end.start())
    return False


def flatten(values: Mapping[str, Any]) -> dict[str, Split]:
    """Returns dotted key to leaf.

    A dictionary with `_type` (media) or without entries is a leaf. Where a literal dotted key and
    a path of nested keys are the same, the literal key wins; of two paths the last one.

    >>> flatten({"a": {"b": 1}, "c": {}})
    {'a.b': (1.0, None), 'c': (None, '{}')}
    >>> flatten({"a": {"b.c": 1}, "a.b": {"c": 2}})
    {'a.b.c': (2.0, None)}
    """
    leaves: dict[str, Split] = {}
    literal: dict[str, Split] = {}
    for key, value in values.items():
        if type(value) is float:  # most leaves are: a call for each would cost more than they do
            literal[key] = (value, None)
        elif isinstance(value, dict) and value and "_type" not in value:
            for inner, leaf in _paths(value, key + "."):
                leaves[inner] = leaf  # noqa: PERF403
        else:
            literal[key] = split_value(value)
    return leaves | literal if leaves else literal


def _paths(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Split]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and "_type" not in inner:
            yield from _paths(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, split_value(inner)


def unwrap_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns config without W&B's own keys and without the `{value, desc}` around each value."""
    return {
        key: wrapped["value"]
        if isinstance(wrapped, dict) and "value" in wrapped and wrapped.keys() <= {"value", "desc"}
        else wrapped
        for key, wrapped in raw.items()
        if key not in INTERNAL_CONFIG_KEYS
    }


def parse_time(text: str | None) -> datetime | None:
    """Returns an instant in UTC; W&B's times without a zone are UTC. None for none or another form.

    >>> parse_time("2026-01-02T03:04:05")
    datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    """
    match = _TIME.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    micros = (fraction or "0")[:6].ljust(6, "0")
    zone = "+00:00" if zone in {None, "Z"} else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{micros}{zone}").astimezone(UTC)
    except ValueError:
        return None


def valid_text(text: str) -> str:
    """Returns text that can be stored: half a surrogate pair becomes a replacement character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_int(value: Any) -> int | None:
    """Returns an integer that the server may have sent as a number or a string; None beyond 64 bit.

    >>> as_int("12"), as_int(None), as_int(2**63)
    (12, None, None)
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if -(2**63) <= number < 2**63 else None


def as_float(value: Any) -> float | None:
    """Returns a number that the server may have sent as a string."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
