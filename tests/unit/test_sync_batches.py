"""Asking for many objects at once: whatever one of them does to the request, the others come."""

from __future__ import annotations

import asyncio
from types import MethodType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from wbsync.errors import (
    ApiError,
    AuthenticationError,
    GraphQLError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from wbsync.sync.batches import ask_each
from wbsync.sync.context import EntityContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.sync.batches import Answer


class Server:
    """A client that answers with the ids it is asked for, and fails where it is told to."""

    def __init__(self, fail: Callable[[list[str]], ApiError | None]) -> None:
        self.fail = fail
        self.is_down = False
        self.asked: list[list[str]] = []

    async def execute(
        self, document: Any, variables: dict[str, Any], *, max_attempts: int | None
    ) -> dict[str, Any]:
        """Answers."""
        del max_attempts
        if document.name == "Viewer":
            if self.is_down:
                raise ServerError("x", status=502)
            return {"viewer": None}
        ids = [variables[f"n{i}"] for i in range(len(variables))]
        self.asked.append(ids)
        error = self.fail(ids)
        if error is not None:
            raise error
        return {f"r{i}": None if n == "gone" else {"id": n} for i, n in enumerate(ids)}


def ask(server: Server, ids: list[str]) -> list[Answer]:
    """Asks for objects by their ids."""
    context = SimpleNamespace(client=server)
    context.check_server = MethodType(EntityContext.check_server, context)
    return asyncio.run(
        ask_each(
            cast("Any", context), "artifact_manifests",
            [{"n": n} for n in ids], shared={}, find=lambda data: data,
        )
    )  # fmt: skip


def told(ids: list[str], answers: list[Answer]) -> dict[str, Any]:
    """Returns id to what came of it."""
    return {
        n: type(a).__name__ if isinstance(a, ApiError) else a and a["id"]
        for n, a in zip(ids, answers, strict=True)
    }


IDS = [f"id{i}" for i in range(16)]


def test_all_come_in_one_request() -> None:
    """Nothing fails: one request, answers in order, nothing for what is not shown."""
    server = Server(lambda ids: None)
    assert told(["a", "gone", "b"], ask(server, ["a", "gone", "b"])) == {
        "a": "a", "gone": None, "b": "b",
    }  # fmt: skip
    assert len(server.asked) == 1


def test_what_the_server_names_is_asked_for_apart() -> None:
    """An error that names an object costs two more requests, and that object alone."""

    def fail(ids: list[str]) -> ApiError | None:
        if "id7" not in ids:
            return None
        path = [f"r{ids.index('id7')}", "currentManifest"]
        return GraphQLError("x", errors=[{"message": "boom", "path": path}], data={})

    server = Server(fail)
    found = told(IDS, ask(server, IDS))
    assert found == {n: n for n in IDS} | {"id7": "GraphQLError"}
    assert [len(ids) for ids in server.asked] == [16, 1, 15]


@pytest.mark.parametrize("poison", [["id0"], ["id15"], ["id3", "id4", "id11"]])
def test_what_nobody_names_is_found_by_halving(poison: list[str]) -> None:
    """A server that only fails: the poisoned objects are found, the others come."""

    def fail(ids: list[str]) -> ApiError | None:
        return ServerError("x", status=500) if set(ids) & set(poison) else None

    server = Server(fail)
    found = told(IDS, ask(server, IDS))
    assert found == {n: n for n in IDS} | dict.fromkeys(poison, "ServerError")
    assert len(server.asked) <= 1 + 8 * len(poison)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("x"), RateLimitedError("x"), TransportError("x"),
        ServerError("x", status=502),
    ],
)  # fmt: skip
def test_what_is_no_objects_fault_ends_it(error: ApiError) -> None:
    """A refused key, a rate limit, a network or a server that is gone are not worked around."""
    server = Server(lambda ids: error)
    server.is_down = True
    with pytest.raises((type(error), ServerError)):
        ask(server, IDS)
    assert len(server.asked) <= 5


def test_an_old_server_is_asked_once() -> None:
    """What a server does not know it does not know of fewer objects either."""
    message = "Cannot query field 'artifact' on type 'Query'."
    server = Server(lambda ids: GraphQLError("x", errors=[{"message": message}], data=None))
    assert set(told(IDS, ask(server, IDS)).values()) == {"GraphQLError"}
    assert len(server.asked) == 1
