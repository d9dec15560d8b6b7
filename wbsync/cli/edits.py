"""What the commands about edits share: how changes are shown, and which are meant."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wbsync.cli.diagnostics import ExitCode
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.cli.options import Globals
    from wbsync.writeback import Entry, Queue

F = TypeVar("F", bound="Callable[..., Any]")

MAX_SHOWN_CHARS = 48
LEAD_CHARS = 17
"""What is shown before the place where two long values begin to differ."""


def ask(question: str, otherwise: str) -> None:
    """Asks on the terminal.

    Args:
        question: What to ask.
        otherwise: What to do where there is no terminal.

    Raises:
        click.UsageError: There is nobody to ask.
        click.exceptions.Exit: The answer is no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask on: {otherwise}")
    if not click.confirm(question, err=True):
        click.echo("nothing is done", err=True)
        raise click.exceptions.Exit(ExitCode.FAILED)


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a number of things in words.

    >>> counted(1, "operation"), counted(2000, "operation"), counted(0, "thing is", "things are")
    ('1 operation', '2,000 operations', '0 things are')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def value_text(value: Any, *, is_short: bool = True) -> str:
    """Returns a value as one line; `(none)` for what is not there."""
    from wbsync.writeback import MISSING
    from wbsync.writeback.leaves import json_text

    if value is MISSING:
        return "(none)"
    text = plain(json_text(value))
    return shortened(text) if is_short else text


def shortened(text: str) -> str:
    """Returns the beginning of a text."""
    return f"{text[: MAX_SHOWN_CHARS - 1]}…" if len(text) > MAX_SHOWN_CHARS else text


def value_texts(before: Any, after: Any) -> str:
    """Returns a value and what it becomes, as one line that shows where they differ.

    >>> value_texts(["a" * 60, "b"], ["a" * 60, "b", "c"])
    '…aaaaaaaaaa", "b"] → …aaaaaaaaaa", "b", "c"]'
    """
    texts = [value_text(value, is_short=False) for value in (before, after)]
    same = next((i for i, pair in enumerate(zip(*texts, strict=False)) if len({*pair}) > 1), 0)
    start = max(0, same - LEAD_CHARS)
    if start and max(map(len, texts)) > MAX_SHOWN_CHARS:
        texts = [f"…{text[start + 1 :]}" for text in texts]
    return " → ".join(map(shortened, texts))


def change_text(entry: Entry, *, is_short: bool = True) -> str:
    """Returns what an operation does, as one line."""
    operation = entry.operation

    def show(value: Any) -> str:
        return value_text(value, is_short=is_short)

    if operation.action in {"add", "remove"}:
        return f"{'+' if operation.action == 'add' else '-'} {show(operation.value)}"
    if operation.action == "append":
        return f"… + {show(operation.value)}"
    if is_short:
        return value_texts(operation.base, entry.mine)
    return f"{show(operation.base)} → {show(entry.mine)}"


def choosing_options(function: F) -> F:
    """Adds what says which operations are meant; they arrive as `chosen`, arguments of entries."""

    @click.argument("op_ids", nargs=-1, type=click.IntRange(1), metavar="[OP]…")
    @click.option("--edit", "edit_id", metavar="EDIT", help="Operations of this edit.")
    @click.option("--push", "push_id", metavar="PUSH", help="Operations of this push.")
    @click.option("--project", metavar="ENTITY/PROJECT", help="Operations on this project.")
    @click.option("--runs", "names", multiple=True, metavar="ID", help="On this run; repeatable.")
    @click.option("--field", metavar="FIELD", help="On this field, for example tags or config.")
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        op_ids: tuple[int, ...],
        edit_id: str | None,
        push_id: str | None,
        project: str | None,
        names: tuple[str, ...],
        field: str | None,
        **kwargs: Any,
    ) -> Any:
        from wbsync.model import ProjectPath

        chosen: dict[str, Any] = {
            "op_ids": op_ids, "edit_id": edit_id, "push_id": push_id, "names": names, "field": field
        }  # fmt: skip
        if project is not None:
            path = ProjectPath.parse(project)
            chosen |= {"entity": path.entity, "project": path.project}
        return function(*args, chosen=chosen, **kwargs)

    return wrapper  # type: ignore[return-value]


def is_empty(chosen: dict[str, Any]) -> bool:
    """Says whether no operation in particular is meant."""
    return not any(value for value in chosen.values())


def open_queue(shared: Globals) -> Queue:
    """Returns the queue of the warehouse.

    Raises:
        WarehouseError: There is no warehouse.
    """
    from wbsync.writeback import Queue

    return Queue(shared.root())
