"""Asks the same of many objects in one request, and finds out which of them it fails on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from wbsync.api import batch_document
from wbsync.api.capabilities import learn
from wbsync.errors import ApiError, AuthenticationError, GraphQLError, RateLimitedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wbsync.sync.context import EntityContext

ATTEMPTS_BEFORE_SPLITTING = 3
"""A request for many objects that fails so often is made for fewer."""

Answer = dict[str, Any] | ApiError | None
"""What the server says of one object: nothing where it does not show it."""


async def ask_each(
    context: EntityContext,
    template: str,
    items: Sequence[Mapping[str, Any]],
    *,
    shared: Mapping[str, Any],
    find: Callable[[dict[str, Any]], Any],
) -> list[Answer]:
    """Returns what the server says of each of some objects, in their order.

    Args:
        context: The sync.
        template: Document for one object, see batch_document.
        items: The objects' own variables, by their names without the number.
        shared: Variables that are the same for all.
        find: Finds in an answer's data what holds the objects, None where the server shows nothing.

    Raises:
        AuthenticationError: The server does not take the key.
        RateLimitedError, ServerError, TransportError: The server does not answer anything else
            either.
    """
    variables = {
        **shared,
        **{f"{name}{i}": value for i, item in enumerate(items) for name, value in item.items()},
    }
    try:
        data = await context.client.execute(
            batch_document(template, len(items)),
            variables,
            max_attempts=ATTEMPTS_BEFORE_SPLITTING if len(items) > 1 else None,
        )
    except (AuthenticationError, RateLimitedError):
        raise
    except ApiError as error:
        if _is_refused(error):
            return [error for _ in items]
        if len(items) == 1:
            await context.check_server(error)
            return [error]
        chosen = _blamed(error, len(items))
        answers: list[Answer] = [None] * len(items)
        for part in (chosen, [i for i in range(len(items)) if i not in set(chosen)]):
            found = await ask_each(
                context, template, [items[i] for i in part], shared=shared, find=find
            )
            for index, answer in zip(part, found, strict=True):
                answers[index] = answer
        return answers
    holder = find(data) or {}
    return [holder.get(f"r{i}") for i in range(len(items))]


def _is_refused(error: ApiError) -> bool:
    """Says whether the server does not know what it was asked, of however many objects."""
    return isinstance(error, GraphQLError) and bool(
        learn(str(e.get("message")) for e in error.errors)
    )


def _blamed(error: ApiError, count: int) -> list[int]:
    """Returns some of the objects, never all: those the error names, or else the first half."""
    paths = [e.get("path") or () for e in error.errors] if isinstance(error, GraphQLError) else []
    steps = [re.fullmatch(r"r(\d+)", str(step)) for path in paths for step in path]
    named = sorted({int(m[1]) for m in steps if m is not None and int(m[1]) < count})
    return named if 0 < len(named) < count else list(range(count // 2))


def lacks(context: EntityContext, field: str) -> bool:
    """Says whether the server is known to lack a field, written `Type.field`."""
    return field in context.client.capabilities.missing_fields
