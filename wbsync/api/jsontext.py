"""JSON as servers write it, which is not always JSON."""

from __future__ import annotations

import json
from typing import Any

import orjson


def from_json(body: bytes) -> Any:
    """Returns what a body's JSON says, None where it is none.

    Takes what servers write beyond the standard: NaN and infinities, and half a surrogate pair,
    which becomes a replacement character.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return mended(json.loads(body))
    except (ValueError, RecursionError):
        return None


def mended(value: Any) -> Any:
    """Returns decoded JSON with a replacement character for each half of a surrogate pair."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [mended(v) for v in value]
    if isinstance(value, dict):
        return {mended(k): mended(v) for k, v in value.items()}
    return value


def as_json(value: Any) -> bytes:
    """Returns JSON text of a request."""
    return orjson.dumps(value)
