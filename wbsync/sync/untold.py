"""What W&B does not tell: null where something is held is no answer, and what is held stays.

A server that is ill, or whose key may not see all, gives null for fields and lists, and no error.
An empty value (`{}`, `[]`, `""`) says that there is nothing; null says so only where nothing is
held. So the nulls of what is read are filled from the rows that are held, before rows are built of
it, and the report names the fields.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wbsync.sync.context import Context

    Source = str | Callable[[Mapping[str, Any]], Any]
    """A column, or what makes of a held row what W&B gives for it."""

NOTHING = ("", "{}")
"""Values that are held and say that there is nothing."""


class Untold:
    """Fields that W&B gives as null though something is held, for one kind of thing."""

    def __init__(self, context: Context, things: str) -> None:
        """Takes whose fields they are.

        Args:
            context: The project's sync.
            things: What the report calls them: a table.
        """
        self._context = context
        self._things = things
        self._found: dict[str, set[str]] = {}

    def fill(
        self,
        node: dict[str, Any],
        held: Mapping[str, Any] | None,
        fields: Mapping[str, Source],
        key: str,
    ) -> bool:
        """Fills the nulls of a node from the row that is held of it; a missing field stays so.

        Args:
            node: What W&B gives; it is changed in place.
            held: The row, None for a new thing.
            fields: Field of the node to where its value is held.
            key: Which thing it is.

        Returns:
            Whether something was filled in.
        """
        is_filled = False
        if held is None:
            return is_filled
        for name, source in fields.items():
            if name not in node or node[name] is not None:
                continue
            value = held[source] if isinstance(source, str) else source(held)
            if value is None:
                continue
            node[name] = value.isoformat() if isinstance(value, datetime) else value
            if value not in NOTHING:
                self.note(name, key)
                is_filled = True
        return is_filled

    def note(self, field: str, key: str) -> None:
        """Counts a field of a thing as not told."""
        self._found.setdefault(field, set()).add(key)

    def fields(self) -> set[str]:
        """Returns the fields that were not told of something."""
        return set(self._found)

    def say(self) -> None:
        """Names the fields in the report."""
        for field, keys in sorted(self._found.items()):
            self._context.skip(
                f"{self._context.project} {self._things}: {field}",
                f"W&B gives null for {len(keys):,} of which something is held, and that is kept",
            )
        self._found.clear()


def skip_list(context: Context, name: str, words: str | None, option: str) -> None:
    """Says that a list was refused, or null, and that what is held of it is left as it is.

    Args:
        context: The project's sync.
        name: The list.
        words: The server's words, None where it gives null.
        option: What `--skip` calls it.
    """
    reason = words or "W&B gives null for the list, so what is held is left as it is"
    context.skip(f"{context.project} {name}", f"{reason} (--skip {option})")


def names_of(row: Mapping[str, Any]) -> list[str] | None:
    """Returns the tags of a held row, None for none."""
    return json.loads(row["tags"] or "[]") or None


def tag_nodes(row: Mapping[str, Any]) -> list[dict[str, str]] | None:
    """Returns the tags of a held row as W&B lists those of a version, None for none."""
    return [{"name": name} for name in names_of(row) or ()] or None


def tag_connection(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the tags of a held row as W&B lists those of a collection, None for none."""
    nodes = tag_nodes(row)
    return None if nodes is None else {"edges": [{"node": node} for node in nodes]}
