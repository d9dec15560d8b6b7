"""Answers of which the server refuses a part: what is lost, and what is left.

W&B answers 200 with data and errors where a key may not see some of what was asked. A caller names
the parts that it can do without; what an error touched there becomes null, and the rest stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wbsync.api.pruning import Part
    from wbsync.errors import GraphQLError


def refusals(error: GraphQLError, parts: Collection[Part]) -> dict[Part, str] | None:
    """Returns each refused part with the server's first words; None where more is lost."""
    if not error.errors or error.data is None:
        return None
    refused: dict[Part, str] = {}
    for entry in error.errors:
        path = entry.get("path")
        path = tuple(path) if isinstance(path, list) else ()
        part = next((p for p in parts if path[: len(p)] == p), None)
        if part is None or _walk(error.data, part[:-1]) is None:
            return None
        refused.setdefault(part, str(entry.get("message", "")))
    return refused


def leave_out(error: GraphQLError, refused: Collection[Part]) -> dict[str, Any]:
    """Returns the data of a partial answer with null wherever an error of a refused part lies.

    The null stands for the entry of a list that the error is in, else for the part as a whole.
    """
    data = error.data or {}
    for entry in error.errors:
        path = entry.get("path") or []
        part = next((p for p in refused if tuple(path[: len(p)]) == p), None)
        if part is None:
            continue
        depth = next(
            (i for i, step in enumerate(path) if i >= len(part) and isinstance(step, int)),
            len(part) - 1,
        )
        place = _walk(data, path[:depth])
        if _walk(place, path[depth : depth + 1]) is not None:
            place[path[depth]] = None
    return data


def _walk(data: Any, path: Sequence[Any]) -> Any:
    """Returns what lies at the end of a path, None where the server gave nothing so far down."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data
