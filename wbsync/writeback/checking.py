"""Whether W&B would take an operation, as far as can be told without asking it."""

from __future__ import annotations

import math
import re
from typing import Any

from wbsync.errors import EditError
from wbsync.extract.values import INTERNAL_CONFIG_KEYS
from wbsync.writeback.leaves import json_text
from wbsync.writeback.operations import (
    FIELDS,
    MAX_VALUE_BYTES,
    MISSING,
    SETTABLE_STATES,
    Operation,
)

MAX_TAG_CHARS = {"run": 64, "artifact": 128, "artifact_collection": 128}
"""As the SDK checks tags of runs, and its input types those of artifacts."""
MAX_ALIAS_CHARS = 128
_ARTIFACT_TAG = re.compile(r"[-\w]+( +[-\w]+)*")
_VERSION = re.compile(r"v\d+")


def check(operation: Operation) -> None:
    """Checks that W&B would take an operation, as far as can be told without asking.

    Raises:
        EditError: It would not; the message says why.
    """
    target, value = operation.target, operation.value
    where = f"{operation.label} of {target}"
    if not all((target.entity, target.project, target.name)):
        raise EditError(f"{operation.label}: the target's entity, project or name is empty")
    field = FIELDS.get((target.kind, operation.field))
    if field is None:
        known = ", ".join(name for kind, name in FIELDS if kind == target.kind)
        raise EditError(f"{operation.field!r} of a {target.kind} cannot be edited; try {known}")
    if operation.action not in field.actions:
        raise EditError(
            f"{where}: {operation.action} is not possible; {' and '.join(field.actions)} are"
        )
    if field.form == "leaf":
        _check_leaf(operation, where)
    elif operation.path and field.form != "holder":
        raise EditError(f"{where}: {operation.field} has no leaves")
    if field.form == "set":
        tags = [value] if operation.action in {"add", "remove"} else value
        if not isinstance(tags, (list, tuple)):
            raise EditError(f"{where}: tags are a list of texts")
        for tag in tags:
            _check_tag(tag, target.kind, where)
    elif field.form == "holder":
        if operation.path != (value,):
            raise EditError(f"{where}: the path of an alias is the alias")
        _check_alias(value, where)
    elif field.form == "text":
        _check_text(value, where)
        if operation.field == "display_name" and not value.strip():
            raise EditError(f"{where}: W&B takes no empty name")
    elif operation.field == "state" and value not in SETTABLE_STATES:
        raise EditError(f"{where}: a run can only be set to {' or '.join(SETTABLE_STATES)}")
    elif operation.field == "stop" and value is not True:
        raise EditError(f"{where}: a run can be stopped, and not be started again")


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise EditError(f"{where}: it takes a text, not {type(value).__name__}")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise EditError(f"{where}: the text holds a character that cannot be stored")


def _check_tag(tag: Any, kind: str, where: str) -> None:
    _check_text(tag, where)
    most = MAX_TAG_CHARS[kind]
    if not 1 <= len(tag) <= most:
        raise EditError(f"{where}: a tag has 1 to {most} characters, {_short(tag)} has {len(tag)}")
    if tag != tag.strip():
        raise EditError(f"{where}: W&B takes the spaces around {_short(tag)} away; leave them out")
    if kind != "run" and not _ARTIFACT_TAG.fullmatch(tag):
        raise EditError(
            f"{where}: {_short(tag)} is no tag here: letters, digits, - and _, single words or"
            " several with spaces between"
        )


def _check_alias(alias: Any, where: str) -> None:
    _check_text(alias, where)
    if not 1 <= len(alias) <= MAX_ALIAS_CHARS or alias != alias.strip():
        raise EditError(f"{where}: an alias has 1 to {MAX_ALIAS_CHARS} characters")
    if "/" in alias or ":" in alias:
        raise EditError(f"{where}: an alias holds neither / nor :")
    if _VERSION.fullmatch(alias):
        raise EditError(f"{where}: {alias} is a version's own name, which W&B gives")


def _check_leaf(operation: Operation, where: str) -> None:
    path, value = operation.path, operation.value
    if not path or not all(isinstance(key, str) for key in path):
        raise EditError(f"{where}: name a leaf, for example {operation.field}.lr")
    for key in path:
        _check_text(key, where)
    if not path[0]:
        raise EditError(f"{where}: an empty name is no key")
    if operation.field != "metadata" and path[0] in INTERNAL_CONFIG_KEYS:
        raise EditError(f"{where}: {path[0]} is W&B's own and stays as it is")
    if operation.action == "unset":
        if value is not MISSING:
            raise EditError(f"{where}: unset takes no value")
        return
    if value is MISSING:
        raise EditError(f"{where}: set takes a value")
    _check_json(value, where, is_finite=operation.field == "metadata")
    if len(json_text(value)) > MAX_VALUE_BYTES:
        raise EditError(f"{where}: the value is larger than the 10 MB that W&B takes")


def _check_json(value: Any, where: str, *, is_finite: bool, depth: int = 0) -> None:
    if depth > 50:
        raise EditError(f"{where}: the value is nested too deeply")
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float):
        if is_finite and not math.isfinite(value):
            raise EditError(f"{where}: W&B takes no {value} in an artifact's metadata")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key, where)
            _check_json(inner, where, is_finite=is_finite, depth=depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_json(inner, where, is_finite=is_finite, depth=depth + 1)
    elif value is not None and not isinstance(value, (bool, int)):
        raise EditError(f"{where}: {type(value).__name__} is nothing that JSON holds")


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:29]}…")
