"""Whose fault an error is: one run's, or the server's as a whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.errors import (
    ApiError,
    ExtractError,
    GraphQLError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from wbsync.lake import Lake
from wbsync.model import ProjectPath, RunPath
from wbsync.state import State
from wbsync.sync.context import Context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Client:
    """A client whose every answer is the same."""

    def __init__(self, answer: ApiError | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def execute(self, document: Any, variables: Any, *, max_attempts: int) -> dict[str, Any]:
        """Answers, or fails."""
        assert not variables
        assert max_attempts <= 2
        self.asked.append(document.name)
        if self.answer is not None:
            raise self.answer
        return {"viewer": None}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """An empty state."""
    found = State(tmp_path / "state.sqlite")
    yield found
    found.close()


def context_of(client: Client, state: State, root: Path) -> Context:
    """Returns the context of a project's sync."""
    return Context(
        client=client,  # type: ignore[arg-type]
        lake=Lake(root), state=state, scratch=root, entity="e", project=ProjectPath("e", "p"),
        progress=lambda _: None, concurrency=1, stream="history",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "answer", "raised", "asks"),
    [
        (ExtractError("bad rows"), TransportError("gone"), None, 0),
        (GraphQLError("no"), TransportError("gone"), None, 0),
        (TransportError("cut"), None, None, 1),
        (ServerError("ill", status=500), GraphQLError("what viewer?"), None, 1),
        (TransportError("cut"), TransportError("gone"), TransportError, 1),
        (ServerError("ill", status=502), ServerError("ill", status=502), ServerError, 1),
        (RateLimitedError("slow"), None, RateLimitedError, 0),
    ],
)
def test_a_server_that_fails_at_everything_is_no_runs_fault(
    state: State, tmp_path: Path, error: Exception, answer: ApiError | None,
    raised: type[ApiError] | None, asks: int,
) -> None:  # fmt: skip
    """A run is blamed only where the server answers something else; else the sync ends."""
    client = Client(answer)
    context = context_of(client, state, tmp_path)
    if raised is None:
        asyncio.run(context.check_server(error))
    else:
        with pytest.raises(raised):
            asyncio.run(context.check_server(error))
    assert client.asked == ["Viewer"] * asks
    assert state.runs_set_aside() == []


def test_a_run_is_set_aside_once_a_sync_and_by_stream(state: State, tmp_path: Path) -> None:
    """Attempts count syncs and not errors; one stream's failure is not another's."""
    run = RunPath("e", "p", "r")
    for expected in (1, 2):
        context = context_of(Client(None), state, tmp_path)
        for reason in ("first", "second"):
            context.set_aside(run, ExtractError(reason))
        (aside,) = [a for a in state.runs_set_aside() if a.stream == "history"]
        assert (aside.attempts, str(aside)) == (expected, "e/p/r")
        assert len(context.tally.skipped) == 2
    context.stream, context.failed = "system_metrics", set()
    context.set_aside(run, ExtractError("other"))
    state.take_back([("e", "p", "r")], "history")
    (aside,) = state.runs_set_aside()
    assert (aside.stream, aside.attempts, aside.reason) == ("system_metrics", 1, "other")


def test_a_copy_of_the_state_leaves_the_original_alone(state: State, tmp_path: Path) -> None:
    """What is written to the copy is not in the original; a torn or missing one is an empty one."""
    state.keep_walk("e", "p", {"seen": ["a"]})
    (tmp_path / "copy").mkdir()
    copy = State.copy_of(tmp_path / "state.sqlite", tmp_path / "copy")
    assert copy.walk("e", "p") == {"seen": ["a"]}
    copy.forget_walk("e", "p")
    copy.close()
    assert state.walk("e", "p") == {"seen": ["a"]}
    for name, content in (("torn", b"SQLite format 3\x00 and then nothing"), ("none", None)):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "state.sqlite").write_bytes(content)
        (tmp_path / name / "copy").mkdir()
        empty = State.copy_of(tmp_path / name / "state.sqlite", tmp_path / name / "copy")
        assert empty.walk("e", "p") is None
        empty.close()
