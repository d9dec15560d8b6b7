"""Walks a connection page by page, whatever the server does.

The page's size adapts: halved where the server fails or times out on it, grown again slowly. A
cursor that repeats is an error and not a loop; an empty page that has a next one does not end
the walk.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.errors import GraphQLError, ResponseShapeError, ServerError, TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from wbsync.api.client import Client
    from wbsync.api.documents import Document

MAX_EMPTY_PAGES = 1000
TOO_LARGE = (ServerError, TransportError)
ATTEMPTS_BEFORE_SHRINKING = 3
"""A page that fails so often is asked for again with half the rows."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a connection."""

    nodes: list[dict[str, Any]]
    end_cursor: str | None
    has_next: bool


class Pager:
    """Decides, without I/O, which page to ask for next."""

    def __init__(self, operation: str, page_rows: int) -> None:
        self._operation = operation
        self._wanted = page_rows
        self.page_rows = page_rows
        self.cursor: str | None = None
        self._seen: set[str] = set()
        self._empty = 0

    def shrink(self) -> bool:
        """Halves the page; False where it is a single row already."""
        if self.page_rows == 1:
            return False
        self.page_rows = max(1, self.page_rows // 2)
        return True

    def take(self, connection: Any) -> Page:
        """Returns the page of a connection, and moves on to the next.

        Raises:
            ResponseShapeError: The connection is none, or its cursor does not move.
        """
        if not isinstance(connection, dict) or not isinstance(connection.get("edges"), list):
            raise ResponseShapeError(
                f"{self._operation}: the server's answer holds no page; the object may be gone",
                operation=self._operation,
            )
        edges = [edge for edge in connection["edges"] if isinstance(edge, dict)]
        nodes = [edge["node"] for edge in edges if isinstance(edge.get("node"), dict)]
        info = connection.get("pageInfo") or {}
        has_next = bool(info.get("hasNextPage"))
        cursor = info.get("endCursor") or (edges[-1].get("cursor") if edges else None)
        self._empty = 0 if nodes else self._empty + 1
        if has_next:
            if not isinstance(cursor, str) or not cursor or cursor in self._seen:
                raise ResponseShapeError(
                    f"{self._operation}: the server promises a next page and its cursor does not"
                    " move",
                    operation=self._operation,
                )
            if self._empty > MAX_EMPTY_PAGES:
                raise ResponseShapeError(
                    f"{self._operation}: {MAX_EMPTY_PAGES} pages in a row were empty",
                    operation=self._operation,
                )
            self._seen.add(cursor)
            self.cursor = cursor
            self.page_rows = min(self._wanted, self.page_rows + max(1, self.page_rows // 4))
        return Page(nodes, cursor if isinstance(cursor, str) else None, has_next)


async def iter_pages(
    client: Client,
    document: Document,
    variables: Mapping[str, Any],
    *,
    connection: Callable[[dict[str, Any]], Any],
    page_rows: int,
    prefetch: bool = False,
    start: str | None = None,
) -> AsyncIterator[Page]:
    """Yields the pages of a connection, in order.

    Args:
        client: Whom to ask.
        document: Takes `$cursor` and `$perPage`.
        variables: Its other variables.
        connection: Finds the connection in an answer's data.
        page_rows: Rows to ask for; fewer where the server fails on them.
        prefetch: Ask for the next page while the caller works on the last one.
        start: Cursor after which to begin.

    Raises:
        ResponseShapeError: The server's cursors do not move.
    """
    pager = Pager(document.name, page_rows)
    pager.cursor = start

    async def fetch() -> Page:
        while True:
            try:
                data = await client.execute(
                    document,
                    {**variables, "cursor": pager.cursor, "perPage": pager.page_rows},
                    max_attempts=ATTEMPTS_BEFORE_SHRINKING if pager.page_rows > 1 else None,
                )
            except (*TOO_LARGE, GraphQLError) as error:
                if isinstance(error, GraphQLError) and not _is_too_large(error):
                    raise
                if not pager.shrink():
                    raise
                continue
            return pager.take(connection(data))

    page = await fetch()
    while page.has_next:
        if not prefetch:
            yield page
            page = await fetch()
            continue
        task = asyncio.ensure_future(fetch())
        try:
            yield page
            page = await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
            elif not task.cancelled():
                task.exception()
    yield page


def _is_too_large(error: GraphQLError) -> bool:
    text = " ".join(str(e.get("message", "")) for e in error.errors).lower()
    return any(word in text for word in ("complexity", "too large", "timeout", "timed out"))
