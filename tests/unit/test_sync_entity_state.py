"""The entity's one request: registries ride along, and cost nothing else when they are too much."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wbsync.errors import ServerError, TransportError
from wbsync.model import SyncOptions
from wbsync.sync.entity_state import PARTS, REGISTRIES, EntityState, entity_state

ORGANIZATION = {"name": "acme", "orgEntity": {"name": "acme-org"}}
ENTITY = {"name": "crew", "organization": ORGANIZATION, "user": None}


class Server:
    """A client that answers, refuses or fails in turn."""

    def __init__(self, *turns: Any) -> None:
        self.turns = list(turns)
        self.asked: list[dict[str, Any]] = []
        self.capabilities = SimpleNamespace(missing_fields=set())

    async def execute_parts(
        self, document: Any, variables: dict[str, Any], parts: Any, **_: Any
    ) -> Any:
        """Answers."""
        del document
        assert parts == PARTS
        self.asked.append(variables)
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn


def fetch(server: Server, held_versions: int = 0, **options: Any) -> EntityState:
    """Asks twice, as two streams do; returns the state."""
    context = SimpleNamespace(
        client=server, entity="crew", options=SyncOptions(**options), entity_state=None,
        lake=SimpleNamespace(row_count=lambda table: held_versions),
    )  # fmt: skip

    async def run() -> EntityState:
        first = await entity_state(cast("Any", context))
        assert await entity_state(cast("Any", context)) is first
        return first

    return asyncio.run(run())


def test_one_request_serves_all_streams() -> None:
    """Registries come with the rest; versions with them while few are held."""
    for held, few in ((0, True), (100, True), (101, False)):
        server = Server(({"entity": ENTITY}, {}))
        state = fetch(server, held)
        assert state.organizations == [ORGANIZATION]
        assert [a["versions"] for a in server.asked] == [few]
        assert not state.refused


def test_registries_that_nobody_wants_are_not_asked_for() -> None:
    """`--skip registries` keeps them out of the request."""
    tables = frozenset({"registries", "registry_collections", "registry_versions"})
    server = Server(({"entity": ENTITY}, {}))
    assert fetch(server, skip=tables).organizations == []
    assert "registries" not in server.asked[0]


@pytest.mark.parametrize(
    "turn",
    [
        ServerError("too much", status=502), TransportError("too much"),
        ({"entity": {"name": "crew"}}, dict.fromkeys(PARTS, "too much")),
    ],
    ids=["fails", "hangs", "refuses the whole document"],
)  # fmt: skip
def test_what_is_too_much_at_once_is_asked_without_registries(turn: Any) -> None:
    """The members and automations come all the same; only registries are said to be missing."""
    server = Server(turn, ({"entity": ENTITY | {"members": [{"id": "m"}], "isTeam": True}}, {}))
    state = fetch(server)
    assert state.refused == {"registries": "too much"}
    assert state.nodes["members"] == [{"id": "m"}]
    assert "registries" not in server.asked[1]


def test_a_refusal_of_registries_is_theirs_alone() -> None:
    """The server's words are kept for registries; a person's organisations are all taken."""
    person = {
        "name": "ann", "organization": None,
        "user": {"organizations": [ORGANIZATION, {"name": "beta", "orgEntity": None}, None]},
    }  # fmt: skip
    server = Server(({"entity": person}, {REGISTRIES[0]: "denied"}))
    state = fetch(server)
    assert state.refused == {"registries": "denied"}
    assert [o["name"] for o in state.organizations] == ["acme", "beta"]
