"""System metrics are held whole or said to be sampled, whatever a live run does meanwhile."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.extract.metrics import content_of_metrics
from wbsync.lake import Lake, open_warehouse
from wbsync.model import ProjectPath, RunPath
from wbsync.state import State
from wbsync.sync.context import Context
from wbsync.sync.cursors import Cursors
from wbsync.sync.events import EventSync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wbsync.api import Document

PROJECT = ProjectPath("e", "p")


class Server:
    """Answers `events` as W&B does: all rows, or as many samples as were asked for."""

    def __init__(self) -> None:
        self.rows = 0
        self.is_hidden = False
        self.is_empty = False
        self.requests = 0

    async def execute(self, document: Document, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Answers the document RunEvents for one run."""
        assert re.search(r"events\(samples: \$s0\)", document.text)
        self.requests += 1
        if self.is_hidden:
            return {"project": {"r0": None}}
        asked = variables["s0"]
        given = 0 if self.is_empty else self.rows
        rows = [json.dumps({"_timestamp": float(i), "system.cpu": i}) for i in range(given)]
        if len(rows) > asked:
            rows = [rows[i * len(rows) // asked] for i in range(asked)]
        return {"project": {"r0": {"events": rows, "eventsLineCount": self.rows}}}


@pytest.fixture
def server() -> Server:
    """A server with one run."""
    return Server()


@pytest.fixture
def context(tmp_path: Path, server: Server) -> Iterator[Context]:
    """A sync against it."""
    root = tmp_path / "w"
    open_warehouse(root)
    state = State(root / "state.sqlite")
    yield Context(
        client=server, lake=Lake(root), state=state, scratch=root, entity="e", project=PROJECT,
        progress=lambda _: None, concurrency=1,
    )  # type: ignore[arg-type] # fmt: skip
    state.close()


async def sync(context: Context, claimed: int | None) -> list[float]:
    """Syncs the run at what its row claims, and returns the values then held, in order."""
    stored = {
        "run_id": "r", "storage_id": "s", "event_line_count": claimed, "deleted_at": None,
        "created_at": None,
    }  # fmt: skip
    events = EventSync(context, {"r": stored})
    await events.run(events.plan())
    held = context.lake.read("system_metrics").to_pylist()
    return [row["value"] for row in sorted(held, key=lambda row: row["step"])]


@pytest.mark.anyio
async def test_a_run_that_grows_between_two_requests_is_held_whole(
    context: Context, server: Server
) -> None:
    """Rows logged after the page of runs was read are neither lost nor doubled."""
    server.rows = 150
    assert await sync(context, 100) == list(range(150))
    server.rows = 210
    assert await sync(context, 200) == list(range(210))
    assert await sync(context, 210) == list(range(210))
    assert not context.tally.skipped
    asked = server.requests
    assert await sync(context, 210) == list(range(210))
    assert server.requests == asked


@pytest.mark.anyio
async def test_samples_are_never_gone_on_from(context: Context, server: Server) -> None:
    """A sampled answer is said to be one, and what follows replaces it."""
    server.rows = 5000
    sampled = await sync(context, 8)
    assert len(sampled) == 508
    assert "sampled" in context.tally.skipped[0].reason
    server.rows = 5001
    assert await sync(context, 5001) == list(range(5001))


@pytest.mark.anyio
async def test_what_is_held_whole_is_not_lost_to_samples(context: Context, server: Server) -> None:
    """A run that outgrows what W&B gives keeps each row it had, and gains later samples."""
    server.rows = 9000
    whole = await sync(context, 9000)
    assert whole == list(range(9000))
    for rows in (14_000, 20_000):
        server.rows, before = rows, await sync(context, None)
        held = await sync(context, rows)
        assert held[: len(before)] == before
        later = held[len(before) :]
        assert 2000 < len(later) < 5000
        assert later == sorted(set(later))
        assert before[-1] < later[0] <= later[-1] < rows
        assert "sampled" in context.tally.skipped[-1].reason
        cursors = Cursors(context.lake, context.state, "system_metrics")
        cursors.catch_up()
        cursor = cursors.of_project(PROJECT)["r"]
        assert (cursor.source, cursor.rows) == ("sampled", len(held))
        table = context.lake.read("system_metrics")
        assert cursor.content == content_of_metrics(table)
        requests = server.requests
        assert await sync(context, rows) == held
        assert server.requests == requests


@pytest.mark.anyio
async def test_a_sample_that_says_more_replaces_another(context: Context, server: Server) -> None:
    """A few samples give way to many of the same time."""
    server.rows = 5000
    assert len(await sync(context, 8)) == 508
    server.rows = 20_000
    assert len(await sync(context, 20_000)) == 10_000


@pytest.mark.anyio
async def test_what_the_server_hides_stays(context: Context, server: Server) -> None:
    """Neither a hidden run nor a count that is not told takes away what is held."""
    server.rows = 20
    assert len(await sync(context, 20)) == 20
    server.is_hidden = True
    assert len(await sync(context, 25)) == 20
    assert context.tally.skipped
    assert len(await sync(context, None)) == 20


@pytest.mark.anyio
async def test_what_is_doubted_stays_until_it_comes_anew(server: Server, context: Context) -> None:
    """An empty answer takes nothing of a run that W&B claims rows of; a whole one replaces all."""
    server.rows = 5
    assert await sync(context, 5) == [0, 1, 2, 3, 4]
    run = RunPath("e", "p", "r")
    cursor = Cursors(context.lake, context.state, "system_metrics").committed(None)[run]
    assert cursor is not None
    key = context.lake.read("system_metrics", filters=[("step", "=", 3)])
    doubted = Cursors.metadata({run: replace(cursor, is_doubted=True)})
    context.lake.replace("system_metrics", key.select(["step"]), key.slice(0, 0), doubted)
    server.is_empty = True
    assert await sync(context, 5) == [0, 1, 2, 4]
    assert [run.run_id for run in context.state.runs_set_aside()] == ["r"]
    server.is_empty = False
    assert await sync(context, 5) == [0, 1, 2, 3, 4]
    asked = server.requests
    assert await sync(context, 5) == [0, 1, 2, 3, 4]
    assert server.requests == asked
