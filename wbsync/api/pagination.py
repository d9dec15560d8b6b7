"""Walks a connection page by page, whatever the server does.

The page's size adapts: halved where the server fails or times out on it, grown again slowly. A
cursor that repeats is an error and not a loop; an empty page that has a next one does not end
the walk.

A cursor may be a mere place in the list, and then rows shift when others go while it is read. So
each page is asked for from the last but one row of the one before, and must hold that one's last
row. Where it does not, rows have shifted past the boundary: the walk steps back until it finds its
footing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.errors import ApiError, GraphQLError, ResponseShapeError, ServerError, TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from wbsync.api.client import Client
    from wbsync.api.documents import Document

MAX_EMPTY_PAGES = 1000
ATTEMPTS_BEFORE_SHRINKING = 3
"""A page that fails so often is asked for again with half the rows."""
MAX_SHIFTS = 50
"""So often a walk steps back before it goes on over what it may have missed."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a connection."""

    nodes: list[dict[str, Any]]
    end_cursor: str | None
    has_next: bool
    has_gaps: bool = False
    """Whether rows before this page may have been missed: the list did not keep still."""
    has_hidden: bool = False
    """Whether the server lists something here that it does not show."""


class Pager:
    """Decides, without I/O, which page to ask for next."""

    def __init__(
        self,
        operation: str,
        page_rows: int,
        *,
        start: str | None = None,
        keeps_footing: bool = False,
    ) -> None:
        """Takes what is walked.

        Args:
            operation: Name of the document, for messages.
            page_rows: Rows to ask for.
            start: Cursor after which to begin.
            keeps_footing: Whether each page is asked for from the last row of the one before, so
                that a list which shifts meanwhile is noticed.
        """
        self._operation = operation
        self._wanted = page_rows
        self._keeps_footing = keeps_footing
        self.page_rows = page_rows
        self._trail: list[tuple[str | None, Any]] = [(start, None)]
        """For each page up to the next: its cursor, and the id of a row that it must hold."""
        self._shifts = 0
        self._empty = 0

    @property
    def cursor(self) -> str | None:
        """After which cursor to ask."""
        return self._trail[-1][0]

    def shrink(self) -> bool:
        """Halves the page; False where it is a single row already."""
        if self.page_rows == 1:
            return False
        self.page_rows = max(1, self.page_rows // 2)
        return True

    def take(self, connection: Any) -> Page:
        """Returns the page of a connection, and moves on to the next; for walks without footing.

        Raises:
            ResponseShapeError: The connection is none, or its cursor does not move.
        """
        page = self.step(connection)
        assert page is not None
        return page

    def step(self, connection: Any) -> Page | None:
        """Returns the page of a connection, and moves on to the next.

        Returns:
            None where rows have shifted: the walk has stepped back, and asks again from there.

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
        has_hidden = len(nodes) < len(connection["edges"])
        footing = self._trail[-1][1]
        if footing is not None:
            if all(node.get("id") != footing for node in nodes) and self._shifts < MAX_SHIFTS:
                self._shifts += 1
                self._trail.pop()
                return None
            nodes = [node for node in nodes if node.get("id") != footing]
        info = connection.get("pageInfo") or {}
        has_next = bool(info.get("hasNextPage"))
        cursor = info.get("endCursor") or (edges[-1].get("cursor") if edges else None)
        self._empty = 0 if nodes else self._empty + 1
        if has_next:
            self._move_on(edges, cursor)
        return Page(
            nodes,
            cursor if isinstance(cursor, str) else None,
            has_next,
            has_gaps=self._shifts >= MAX_SHIFTS,
            has_hidden=has_hidden,
        )

    def _move_on(self, edges: list[dict[str, Any]], cursor: Any) -> None:
        footing = None
        can_step_back = self._keeps_footing and len(edges) > 1
        if can_step_back and isinstance(edges[-2].get("cursor"), str) and edges[-2]["cursor"]:
            footing = (edges[-1].get("node") or {}).get("id")
        if footing is not None:
            cursor = edges[-2]["cursor"]
        if not isinstance(cursor, str) or not cursor or any(cursor == c for c, _ in self._trail):
            raise ResponseShapeError(
                f"{self._operation}: the server promises a next page and its cursor does not move",
                operation=self._operation,
            )
        if self._empty > MAX_EMPTY_PAGES:
            raise ResponseShapeError(
                f"{self._operation}: {MAX_EMPTY_PAGES} pages in a row were empty",
                operation=self._operation,
            )
        self._trail.append((cursor, footing))
        self.page_rows = min(self._wanted, self.page_rows + max(1, self.page_rows // 4))


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
    """Yields the pages of a connection, in order; a row may come twice where the list shifted.

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
    pager = Pager(document.name, page_rows, start=start, keeps_footing=True)

    async def fetch() -> Page:
        while True:
            try:
                data = await client.execute(
                    document,
                    {**variables, "cursor": pager.cursor, "perPage": pager.page_rows},
                    max_attempts=ATTEMPTS_BEFORE_SHRINKING if pager.page_rows > 1 else None,
                )
            except ApiError as error:
                if not is_too_large(error) or not pager.shrink():
                    raise
                continue
            taken = pager.step(connection(data))
            if taken is not None:
                return taken

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


def is_too_large(error: ApiError) -> bool:
    """Says whether a request may succeed when it asks for less."""
    if isinstance(error, GraphQLError):
        text = " ".join(str(e.get("message", "")) for e in error.errors).lower()
        return any(word in text for word in ("complexity", "too large", "timeout", "timed out"))
    return isinstance(error, (ServerError, TransportError))
