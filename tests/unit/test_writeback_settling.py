"""The loop of a push against answers that no server of the tests gives."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.errors import ServerError, WritebackError
from wbsync.lake import open_warehouse
from wbsync.writeback import Edit, Operation, Queue, Target, settling
from wbsync.writeback.entries import Change
from wbsync.writeback.merge import Policy
from wbsync.writeback.present import Present
from wbsync.writeback.sending import Sender
from wbsync.writeback.settling import Settling

if TYPE_CHECKING:
    from pathlib import Path

RUNS = [Target("run", "e", "p", f"r{n}", f"id{n}") for n in range(2)]


@pytest.fixture
def queue(tmp_path: Path) -> Any:
    """Returns a queue with two operations on each of two runs."""
    open_warehouse(tmp_path / "w")
    with Queue(tmp_path / "w") as opened:
        for run in RUNS:
            opened.add(
                Edit("me"),
                [Operation(run, "tags", "add", "t", []), Operation(run, "notes", "set", "x", "")],
            )
        yield opened


class Astray:
    """A client of a server that makes new runs of the first mutation."""

    base_url = "https://wandb.example"

    def __init__(self) -> None:
        self.sent = 0

    async def execute(self, document: str, variables: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Answers mutations."""
        del document
        count = sum(name.startswith("id") for name in variables)
        self.sent += 1
        return {
            f"r{i}": {"bucket": {"id": "new" if i == 0 else variables[f"id{i}"]},
                      "inserted": i == 0}
            for i in range(count)
        }  # fmt: skip


def settle(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, client: Any, sender: Sender | None, **facts: Any
) -> list[tuple[int, str]]:
    """Runs the loop over all that is open; returns what was told."""
    held = {"tags": [], "notes": ""}

    async def read(*_: Any) -> dict[Any, Present]:
        return {
            run.key: Present(run, storage_id=run.storage_id or "", state="finished",
                             typename="Run", values=held, **facts)
            for run in RUNS
        }  # fmt: skip

    monkeypatch.setattr(settling, "read_present", read)
    told: list[tuple[int, str]] = []
    ids = [entry.op_id for entry in queue.entries(("pending", "sending"))]
    loop = Settling(queue, client, Policy(), "p1", ids)
    asyncio.run(loop.run(sender, lambda v, state, _: told.append((v.entry.op_id, state))))
    return told


def test_what_wandb_wrote_elsewhere_is_not_sent_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the mutation has failed, the push stops, and of the others the next one finds out."""
    client = Astray()
    with pytest.raises(WritebackError, match="made a new one"):
        settle(queue, monkeypatch, client, Sender(client))  # type: ignore[arg-type]
    assert client.sent == 1
    assert [e.state for e in queue.entries()] == ["failed", "failed", "sending", "sending"]
    assert "another run" in (queue.entries()[0].error or "")


def test_a_dry_run_tells_of_what_nobody_knows(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a push was cut short and the server cannot say what it holds, it is left."""
    queue.transition([Change(1, "sending")])
    told = settle(queue, monkeypatch, None, None, problem="error 500", is_ill=True)
    assert sorted(told) == [(n, "pending") for n in range(1, 5)]
    assert [e.state for e in queue.entries()] == ["sending", "pending", "pending", "pending"]


class Silent:
    """A client of a server whose answers never come."""

    base_url = "https://wandb.example"

    async def execute(self, *_: Any, **__: Any) -> Any:
        """Fails, as a gateway does."""
        raise ServerError("502: bad gateway")


def test_what_was_sent_and_never_answered_is_left_on_its_way(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the values that it was sent with, and the reason; it may still arrive."""
    monkeypatch.setattr(settling, "wait_s", lambda *_: 0)
    client = Silent()
    told = settle(queue, monkeypatch, client, Sender(client))  # type: ignore[arg-type]
    assert sorted(told) == [(n, "pending") for n in range(1, 5)]
    for entry in queue.entries():
        assert (entry.state, entry.attempts) == ("sending", settling.MAX_TRIES)
        assert entry.after == (["t"] if entry.operation.field == "tags" else "x")
        assert "502" in (entry.error or "")


def test_what_wandb_never_shows_fails_in_the_end(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a day of saying that it was done; until then it is left on its way."""

    class Deaf(Astray):
        async def execute(self, document: str, variables: Any, **_: Any) -> dict[str, Any]:
            answer = await super().execute(document, variables)
            for i, told in enumerate(answer.values()):
                told.update(inserted=False, bucket={"id": variables[f"id{i}"]})
            return answer

    monkeypatch.setattr(settling, "PATIENCE_S", 0.01)
    client = Deaf()
    settle(queue, monkeypatch, client, Sender(client))  # type: ignore[arg-type]
    assert {e.state for e in queue.entries()} == {"sending"}
    monkeypatch.setattr(settling, "MAX_UNSHOWN", timedelta(0))
    settle(queue, monkeypatch, client, Sender(client))  # type: ignore[arg-type]
    assert {e.state for e in queue.entries()} == {"failed"}
    queue.retry([1])
    assert queue.entries(op_ids=[1])[0].state == "sending"
