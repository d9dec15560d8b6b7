"""Walks over connections that behave as servers do, and as they should not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbsync.api import Document, Page, iter_pages
from wbsync.api.pagination import MAX_EMPTY_PAGES, Pager
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    GraphQLError,
    ResponseShapeError,
    ServerError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WALK = Document("Walk", "query Walk($cursor: String, $perPage: Int) { c }")


def connection(ids: list[int], cursor: str | None, *, has_next: bool) -> dict[str, Any]:
    """Returns a connection as a server answers it."""
    return {
        "edges": [{"node": {"id": i}, "cursor": str(i + 1)} for i in ids],
        "pageInfo": {"endCursor": cursor, "hasNextPage": has_next},
    }


class FakeClient:
    """A client whose answers a function makes."""

    def __init__(self, handler: Callable[[str | None, int], Any]) -> None:
        self._handler = handler
        self.asked: list[tuple[str | None, int]] = []

    async def execute(
        self, document: Document, variables: dict[str, Any], *, max_attempts: int | None = None
    ) -> dict[str, Any]:
        """Answers as the handler says."""
        assert document is WALK
        cursor, rows = variables["cursor"], variables["perPage"]
        assert (max_attempts is None) == (rows == 1)
        self.asked.append((cursor, rows))
        await asyncio.sleep(0)
        return {"c": self._handler(cursor, rows)}


def rows_of(total: int, clamp: int = 10**9) -> Callable[[str | None, int], Any]:
    """Returns a handler that serves so many rows, and never more than `clamp` at once."""

    def handler(cursor: str | None, rows: int) -> Any:
        start = int(cursor or 0)
        end = min(total, start + min(rows, clamp))
        return connection(list(range(start, end)), str(end), has_next=end < total)

    return handler


def walk(client: FakeClient, page_rows: int = 10, *, prefetch: bool = False) -> list[Page]:
    """Returns the pages of a walk to the end."""

    async def run() -> list[Page]:
        return [
            page
            async for page in iter_pages(
                client,  # type: ignore[arg-type]
                WALK,
                {},
                connection=lambda data: data["c"],
                page_rows=page_rows,
                prefetch=prefetch,
            )
        ]

    return asyncio.run(run())


def ids(pages: list[Page]) -> list[int]:
    """Returns the ids of all nodes of the pages."""
    return [node["id"] for page in pages for node in page.nodes]


def test_a_walk_goes_on_behind_a_cursor() -> None:
    """The first page asked for is the one behind the end cursor of the last one that was read."""

    async def run() -> list[int]:
        client = FakeClient(rows_of(95))
        pages = iter_pages(
            client,  # type: ignore[arg-type]
            WALK, {}, connection=lambda data: data["c"], page_rows=10, start="40",
        )  # fmt: skip
        return ids([page async for page in pages])

    assert asyncio.run(run()) == list(range(40, 95))


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("total", [0, 1, 10, 11, 95])
def test_a_walk_gives_every_row_once(total: int, *, prefetch: bool) -> None:
    """All rows, in order, in as many requests as there are pages, which overlap by a row."""
    client = FakeClient(rows_of(total))
    pages = walk(client, prefetch=prefetch)
    assert ids(pages) == list(range(total))
    assert len(client.asked) == len(pages) == max(1, -(-(total - 1) // 9))
    assert not pages[-1].has_next


def test_a_server_may_give_fewer_rows_than_asked() -> None:
    """A server that clamps `first` is walked to its end."""
    assert ids(walk(FakeClient(rows_of(95, clamp=7)), 50)) == list(range(95))


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20), st.booleans())
def test_no_sizes_lose_or_repeat_a_row(
    total: int, page_rows: int, clamp: int, prefetch: bool
) -> None:
    """Whatever the sizes, a walk is the list."""
    pages = walk(FakeClient(rows_of(total, clamp)), page_rows, prefetch=prefetch)
    assert ids(pages) == list(range(total))


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_repeated_cursor_is_an_error(*, prefetch: bool) -> None:
    """A server that answers the same page for ever does not hold us for ever."""
    for cursors in (["a"], ["a", "b"]):
        turn = iter(cursors * 100)
        client = FakeClient(lambda *_, t=turn: connection([1], next(t), has_next=True))
        with pytest.raises(ResponseShapeError, match="cursor"):
            walk(client, prefetch=prefetch)
        assert len(client.asked) == len(cursors) + 1


@pytest.mark.parametrize("cursor", [None, "", 7, ["x"]])
def test_a_next_page_without_a_cursor_is_an_error(cursor: Any) -> None:
    """A promise of more that cannot be asked for is not taken for the end."""
    answer = {"edges": [], "pageInfo": {"endCursor": cursor, "hasNextPage": True}}
    with pytest.raises(ResponseShapeError):
        walk(FakeClient(lambda *_: answer))


def test_the_last_edges_cursor_stands_in() -> None:
    """Where a server gives no endCursor, the last edge's own is used."""

    def handler(cursor: str | None, rows: int) -> Any:
        start = int(cursor or 0)
        page = connection(list(range(start, min(start + rows, 40))), None, has_next=start < 30)
        del page["pageInfo"]["endCursor"]
        return page

    assert ids(walk(FakeClient(handler))) == list(range(40))


@given(st.data())
def test_rows_that_shift_while_they_are_read_are_not_missed(data: st.DataObject) -> None:
    """Where cursors are places and rows go between requests, each row that stays is seen."""
    rows = list(range(data.draw(st.integers(1, 40))))
    stay = set(rows)

    def handler(cursor: str | None, count: int) -> Any:
        start = int(cursor or 0)
        page = connection(rows[start : start + count], None, has_next=start + count < len(rows))
        for place, edge in enumerate(page["edges"], start + 1):
            edge["cursor"] = str(place)
        for gone in data.draw(st.lists(st.sampled_from(rows or [0]), max_size=4)):
            if gone in rows:
                rows.remove(gone)
                stay.discard(gone)
        return page

    seen = walk(FakeClient(handler), data.draw(st.integers(2, 7)))
    assert not seen[-1].has_gaps
    assert stay <= set(ids(seen))


def test_a_list_that_never_keeps_still_is_said_to_have_gaps() -> None:
    """A walk that cannot find its footing ends, and its pages say that rows may be missing."""
    fresh = iter(range(10_000))

    def handler(_: str | None, count: int) -> Any:
        return connection([next(fresh) for _ in range(count)], None, has_next=True)

    async def run() -> list[Page]:
        pages: list[Page] = []
        async for page in iter_pages(
            FakeClient(handler),  # type: ignore[arg-type]
            WALK,
            {},
            connection=lambda data: data["c"],
            page_rows=5,
        ):
            pages.append(page)
            if len(pages) == 80:
                break
        return pages

    assert asyncio.run(run())[-1].has_gaps


def test_an_empty_page_with_a_next_does_not_end_the_walk() -> None:
    """Rows that the key may not see leave holes, not an end; null rows count for none."""
    pages = {
        None: connection([1], "a", has_next=True),
        "a": connection([], "b", has_next=True),
        "b": {
            "edges": [None, {"node": None}, {}, "?"],
            "pageInfo": {"endCursor": "c", "hasNextPage": True},
        },
        "c": connection([2], "d", has_next=False),
    }
    assert ids(walk(FakeClient(lambda cursor, _: pages[cursor]))) == [1, 2]


def test_empty_pages_without_end_are_an_error() -> None:
    """A server that promises for ever and gives nothing is left after a bounded time."""
    pager = Pager("Walk", 10)
    for turn in range(MAX_EMPTY_PAGES):
        pager.take(connection([], f"c{turn}", has_next=True))
    with pytest.raises(ResponseShapeError, match="empty"):
        pager.take(connection([], "end", has_next=True))


@pytest.mark.parametrize("answer", [None, {}, [], "no", {"edges": None}, {"edges": "x"}])
def test_what_is_no_connection_is_an_error(answer: Any) -> None:
    """A project that went away mid-walk is an error, and not an empty walk."""
    with pytest.raises(ResponseShapeError):
        walk(FakeClient(lambda *_: answer))


@pytest.mark.parametrize(
    "error",
    [
        ServerError("502", status=502),
        TransportError("timed out"),
        GraphQLError("no", errors=[{"message": "query complexity exceeds 1000"}]),
        GraphQLError("no", errors=[{"message": "Query timed out"}]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("prefetch", [False, True])
def test_pages_that_are_too_large_are_halved_and_grow_again(
    error: ApiError, *, prefetch: bool
) -> None:
    """A server that fails on large pages is asked for smaller ones; no row is lost by it."""
    state = {"fits": 3}

    def handler(cursor: str | None, rows: int) -> Any:
        if rows > state["fits"]:
            raise error
        if int(cursor or 0) > 50:
            state["fits"] = 100
        return rows_of(300)(cursor, rows)

    client = FakeClient(handler)
    assert ids(walk(client, 64, prefetch=prefetch)) == list(range(300))
    sizes = [rows for _, rows in client.asked]
    assert sizes[:6] == [64, 32, 16, 8, 4, 2]
    assert sizes[-1] > 30


def test_a_single_row_that_fails_ends_the_walk() -> None:
    """Halving stops at one row; its error is the walk's."""

    def handler(_: str | None, rows: int) -> Any:
        raise ServerError(f"{rows} rows", status=500)

    client = FakeClient(handler)
    with pytest.raises(ServerError, match="1 rows"):
        walk(client, 8)
    assert [rows for _, rows in client.asked] == [8, 4, 2, 1]


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("no"),
        GraphQLError("https://timeout.example: no", errors=[{"message": "denied"}]),
    ],
    ids=repr,
)
def test_what_smaller_pages_do_not_help_is_raised(error: ApiError) -> None:
    """Only what a page's size can cause is met by a smaller page."""

    def handler(*_: Any) -> Any:
        raise error

    client = FakeClient(handler)
    with pytest.raises(type(error)):
        walk(client)
    assert len(client.asked) == 1


def test_the_next_page_is_asked_for_while_the_last_is_handled() -> None:
    """With prefetch, one page is under way ahead of the caller, and no more than one."""

    async def run(*, prefetch: bool) -> list[int]:
        client = FakeClient(rows_of(37))
        ahead = []
        async for _ in iter_pages(
            client,  # type: ignore[arg-type]
            WALK,
            {},
            connection=lambda data: data["c"],
            page_rows=10,
            prefetch=prefetch,
        ):
            await asyncio.sleep(0.01)
            ahead.append(len(client.asked))
        return ahead

    assert asyncio.run(run(prefetch=True)) == [2, 3, 4, 4]
    assert asyncio.run(run(prefetch=False)) == [1, 2, 3, 4]


def test_a_walk_that_is_left_early_leaves_nothing_behind() -> None:
    """Closing a walk ends the request that was under way, whether it waits or has failed."""

    async def run(*, slow: bool) -> None:
        async def execute(*_: Any, **__: Any) -> dict[str, Any]:
            if client.asked:
                if slow:
                    await asyncio.sleep(60)
                raise ServerError("late", status=500)
            return await FakeClient.execute(client, *_, **__)

        client = FakeClient(rows_of(40))
        client_like: Any = type("Client", (), {"execute": staticmethod(execute)})
        pages = iter_pages(
            client_like,
            WALK,
            {},
            connection=lambda data: data["c"],
            page_rows=10,
            prefetch=True,
        )
        assert (await anext(pages)).nodes
        await asyncio.sleep(0.01)
        await pages.aclose()  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run(slow=True))
    asyncio.run(run(slow=False))
