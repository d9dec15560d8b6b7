"""The loop of a push against answers that no server of the tests gives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.errors import WritebackError
from wbsync.lake import open_warehouse
from wbsync.writeback import Edit, Operation, Queue, Target, settling
from wbsync.writeback.merge import Policy
from wbsync.writeback.present import Present
from wbsync.writeback.queue import Change
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
