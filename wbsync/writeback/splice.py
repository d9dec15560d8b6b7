"""Changes one leaf of JSON text and leaves every other byte as it is.

W&B takes config, summary and metadata as whole texts. What nobody edited must come back as it was:
`_wandb`, `desc`, unknown keys, numbers that no parser keeps (2^60, 1e-3, NaN), the order of keys.
So the text is never written anew: members are found in it, and the one is replaced.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING

from wbsync.errors import SpliceError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)
"""Only finds where a value ends; numbers stay texts, of any length."""

EMPTY = "{}"


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an object: where it lies in the text."""

    key: str
    start: int
    value: int
    """Where its value begins."""
    end: int


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _members(text: str, start: int) -> tuple[list[_Member], int]:
    """Returns the members of the object at a place, and the place of its closing brace.

    Raises:
        SpliceError: There is no object.
    """
    at = _after_space(text, start)
    if text[at : at + 1] != "{":
        raise SpliceError("there is a value where a group of keys is needed")
    members: list[_Member] = []
    try:
        at = _after_space(text, at + 1)
        while text[at] != "}":
            key_at = at
            if text[at] != '"':
                raise SpliceError("the text is not JSON")
            key, at = scanstring(text, at + 1, False)
            at = _after_space(text, at)
            if text[at] != ":":
                raise SpliceError("the text is not JSON")
            value_at = _after_space(text, at + 1)
            _, end = _DECODER.raw_decode(text, value_at)
            members.append(_Member(key, key_at, value_at, end))
            at = _after_space(text, end)
            if text[at] == ",":
                at = _after_space(text, at + 1)
    except (ValueError, IndexError, RecursionError) as error:
        raise SpliceError("the text is not JSON") from error
    return members, at


def _find(members: Sequence[_Member], key: str) -> _Member | None:
    """Returns the member of a key; of several the last, which is the one that parsers take."""
    return next((m for m in reversed(members) if m.key == key), None)


def text_at(text: str, path: Sequence[str]) -> str | None:
    """Returns the JSON text of the value at a path, None where there is none.

    >>> text_at('{"a": {"b": 1e-3}}', ("a", "b")), text_at('{"a": 1}', ("a", "b"))
    ('1e-3', None)
    """
    at, end = 0, len(text)
    for key in path:
        if text[_after_space(text, at) : _after_space(text, at) + 1] != "{":
            return None
        member = _find(_members(text, at)[0], key)
        if member is None:
            return None
        at, end = member.value, member.end
    return text[at:end]


def splice(text: str, path: Sequence[str], value: str | None) -> str:
    """Returns the text with another value at a path.

    Args:
        text: JSON text of an object.
        path: Keys down to the value; groups that are missing are made.
        value: Its JSON text; None takes it away.

    Raises:
        SpliceError: The text is no JSON object, or the path leads through a value.

    >>> splice('{"a":1,"b": {"c": 1e-3}}', ("b", "d"), "2")
    '{"a":1,"b": {"c": 1e-3, "d": 2}}'
    >>> splice('{"a": 1, "b": 2}', ("a",), None), splice('{"a":1,"b":2}', ("b",), None)
    ('{"b": 2}', '{"a":1}')
    """
    at = 0
    for depth, key in enumerate(path):
        members, closing = _members(text, at)
        is_last = depth == len(path) - 1
        member = _find(members, key)
        if member is None:
            return text if value is None else _insert(text, members, closing, path[depth:], value)
        if is_last and value is None:
            return _remove(text, members, key)
        if is_last:
            return text[: member.value] + (value or "") + text[member.end :]
        at = member.value
    raise SpliceError("a path names at least one key")


def _insert(
    text: str, members: Sequence[_Member], closing: int, path: Sequence[str], value: str
) -> str:
    """Writes a new member behind the last one, in the style of the one before it."""
    is_compact = bool(members) and text[members[-1].value - 1] == ":"
    comma, colon = (",", ":") if is_compact else (", ", ": ")
    for key in reversed(path[1:]):
        value = f"{{{json.dumps(key, ensure_ascii=False)}{colon}{value}}}"
    member = f"{json.dumps(path[0], ensure_ascii=False)}{colon}{value}"
    if not members:
        return text[:closing] + member + text[closing:]
    end = members[-1].end
    return f"{text[:end]}{comma}{member}{text[end:]}"


def _remove(text: str, members: Sequence[_Member], key: str) -> str:
    """Takes every member of a key away, each with the comma that joins it."""
    first_kept = next((i for i, m in enumerate(members) if m.key != key), len(members))
    for index in reversed([i for i, m in enumerate(members) if m.key == key]):
        member = members[index]
        if index > first_kept:
            start, end = members[index - 1].end, member.end
        else:
            is_last = index + 1 == len(members)
            start, end = member.start, member.end if is_last else members[index + 1].start
        text = text[:start] + text[end:]
    return text


@dataclass(frozen=True, slots=True)
class Spliced:
    """A text with another leaf, and what undoing that needs."""

    text: str
    replaced: str | None
    """JSON text of what was there: the leaf, or all of the key that was taken away."""
    made_from: int | None
    """Length of the shortest path that was not there before; None where all was there."""


def set_leaf(
    text: str, path: Sequence[str], value: str | None, *, is_config: bool, restores: bool = False
) -> Spliced:
    """Returns the text of a JSON field with another leaf.

    Config wraps the value of each key in an object with `desc`, which stays; a new key gets one.

    Args:
        text: The field's text; of no text at all, an empty object's.
        path: Keys down to the leaf, without W&B's wrapping.
        value: JSON text; None takes the leaf away, and of config its key with `desc`.
        is_config: Whether the field is config.
        restores: Whether the value of a key that is not there is the wrapping, too.

    Raises:
        SpliceError: The text is no JSON object, or the path leads through a value.
    """
    text = text if text.strip() else EMPTY
    key = path[0]
    held = text_at(text, (key,))
    if held is None:
        if value is None:
            return Spliced(text, None, None)
        if is_config and not (restores and len(path) == 1):
            for inner in reversed(path[1:]):
                value = f"{{{json.dumps(inner, ensure_ascii=False)}: {value}}}"
            value = f'{{"value": {value}, "desc": null}}'
            return Spliced(splice(text, (key,), value), None, 1)
        return Spliced(splice(text, path, value), None, 1)
    inner_path: Sequence[str] = path
    if is_config and _is_wrapped(held):
        if value is None and len(path) == 1:
            return Spliced(splice(text, (key,), None), held, None)
        inner_path = (key, "value", *path[1:])
    replaced = text_at(text, inner_path)
    made_from = None
    if replaced is None:
        shift = len(inner_path) - len(path)
        made_from = next(
            n for n in range(1, len(path) + 1) if text_at(text, inner_path[: n + shift]) is None
        )
    return Spliced(splice(text, inner_path, value), replaced, made_from)


def _is_wrapped(text: str) -> bool:
    """Says whether a key's text is an object of W&B's around the value."""
    if text[:1] != "{":
        return False
    keys = {member.key for member in _members(text, 0)[0]}
    return "value" in keys and keys <= {"value", "desc"}
