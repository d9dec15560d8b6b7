"""Pushes that are really killed, in bad weather, apply every edit once: none lost, none twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.lake import open_warehouse
from wbsync.sandbox.process import Sandbox
from wbsync.writeback import MISSING, Edit, Entry, Operation, Queue, Target
from wbsync.writeback.leaves import with_leaf
from wbsync.writeback.undo import undo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = 110 if os.environ.get("WBSYNC_LONG") else 15
RUNS = 120
WEATHER = [
    "--latency-ms", "15", "--fault-rate", "0.15", "--seed", "5", "--hang", "0.3",
    "--fault-kinds", "500,502,timeout,cut,graphql,partial",
]  # fmt: skip


def requests_of(sandbox: Sandbox) -> int:
    """Returns the number of lines in the request log."""
    path = sandbox.data / "requests.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def insist(act: Callable[[], Any]) -> Any:
    """Does what the weather may spoil until it works."""
    for _ in range(100):
        try:
            return act()
        except Exception as error:  # noqa: BLE001
            last = error
    raise last


class Expected:
    """What the runs are to hold in the end."""

    def __init__(self, runs: dict[int, Target], versions: list[Target]) -> None:
        self.runs, self.versions = runs, versions
        self.number = {run.name: n for n, run in runs.items()}
        self.tags: dict[int, list[str]] = {n: ["a"] for n in range(RUNS)}
        self.config: dict[int, dict[str, Any]] = {n: {"lr": n} for n in range(RUNS)}
        self.words: dict[int, dict[str, int]] = {n: {} for n in range(RUNS)}
        """Text that was appended to the notes to how often it is to stand there."""
        self.marks: dict[int, str] = {}
        """What colleagues have set last."""
        self.holder = versions[0].storage_id
        self.turns = 0
        self.undone: dict[int, tuple[int, str]] = {}
        """Undo of an appended text to the run and the text."""

    def interfere(self, account: Any, rng: random.Random) -> None:
        """Lets a colleague change some runs, whatever they hold now: all fields, other values."""
        time.sleep(0.1)  # what was sent by the killed push is done, or never will be
        for n in rng.sample(range(RUNS), 5):
            mark = f"c{rng.random()}"
            held = insist(lambda n=n: account.run("kill", f"r{n}", "tags notes config"))
            config = json.loads(held["config"]) | {"theirs": {"value": mark}}
            insist(
                lambda n=n, mark=mark, held=held, config=config: account.edit(
                    "kill", f"r{n}", tags=[*held["tags"], mark], groupName=mark, config=config,
                    notes=f"{held['notes']} {mark}.",
                )
            )  # fmt: skip
            self.marks[n] = mark
            self.tags[n].append(mark)
            self.config[n]["theirs"] = mark
            self.words[n][f" {mark}."] = 1

    def edit(self, queue: Queue) -> str:
        """Queues edits of every kind, each on what the one before it makes; returns the edit."""
        turn = self.turns = self.turns + 1
        ops = []
        for n, run in self.runs.items():
            word = f" t{turn}."
            ops.append(Operation(run, "notes", "append", word, "n"))
            self.words[n][word] = 1
            ops.append(Operation(run, "tags", "add", f"t{turn}", list(self.tags[n])))
            gone = next((t for t in self.tags[n] if t.startswith("t")), None)
            if gone is not None:
                ops.append(Operation(run, "tags", "remove", gone, list(self.tags[n])))
            held = self.config[n].get("turn", {})
            key = f"k{turn % 3}"
            base = held.get(key, MISSING)
            ops.append(Operation(run, "config", "set", turn, base, ("turn", key)))
            other = f"k{(turn + 1) % 3}"
            if other in held:
                ops.append(Operation(run, "config", "unset", MISSING, held[other], ("turn", other)))
        new = next(v for v in self.versions if v.storage_id != self.holder)
        ops.append(Operation(new, "aliases", "add", "best", self.holder, ("best",)))
        edit = Edit("me")
        assert queue.add(edit, ops) == len(ops)
        self.apply(queue.entries(edit_id=edit.edit_id))
        return edit.edit_id

    def undo(self, queue: Queue, edit_id: str) -> None:
        """Takes back what was applied of an edit."""
        entries = queue.entries(edit_id=edit_id)
        undone = undo(queue, edit_id, "me")
        if undone.edit_id is None:
            return
        by_id = {entry.op_id: entry for entry in entries}
        inverses = queue.entries(edit_id=undone.edit_id)
        for inverse in inverses:
            if inverse.operation.field == "notes":
                first = by_id[inverse.operation.takes_back or 0].operation
                self.undone[inverse.op_id] = (self.number[first.target.name], first.value)
        self.apply(inverses)

    def apply(self, entries: list[Entry]) -> None:
        """Notes what operations are to come to."""
        for entry in entries:
            op = entry.operation
            if op.field == "aliases":
                self.holder = op.target.storage_id
                continue
            n = self.number[op.target.name]
            if op.field == "tags":
                self.tags[n] = [t for t in self.tags[n] if t != op.value]
                self.tags[n] += [op.value] if op.action == "add" else []
            elif op.field == "config":
                self.config[n] = with_leaf(self.config[n], op.path, op.value)

    def settle(self, queue: Queue) -> None:
        """Resolves conflicts as a person does who looks whether the edit is there already."""
        for entry in queue.entries(["conflict"]):
            op, theirs = entry.operation, entry.theirs
            if entry.op_id in self.undone:
                n, word = self.undone.pop(entry.op_id)
                self.words[n][word] = theirs.count(word)
                side = "theirs"
            elif op.action == "append":
                side = "theirs" if op.value in theirs else "mine"
            elif op.field == "tags":
                side = "theirs" if (op.value in theirs) == (op.action == "add") else "mine"
            else:
                side = "mine"
            queue.resolve([entry.op_id], side)

    def check(self, account: Any) -> None:
        """Compares the runs with what they are to hold."""
        for n, word in self.undone.values():
            self.words[n][word] = 0
        for n in range(RUNS):
            held = account.run("kill", f"r{n}", "notes tags config group")
            assert held["group"] == self.marks.get(n)
            assert {w: held["notes"].count(w) for w in self.words[n]} == self.words[n]
            assert len(held["notes"]) == 1 + sum(len(w) * c for w, c in self.words[n].items())
            assert sorted(held["tags"]) == sorted(self.tags[n])
            config = {k: v["value"] for k, v in json.loads(held["config"]).items()}
            assert config == self.config[n]
        nodes = account.collections("kill")["m"]["artifacts"]
        holders = [n["id"] for n in nodes if "best" in [a["alias"] for a in n["aliases"]]]
        assert holders == [self.holder]


@pytest.mark.timeout(3600)
def test_killed_pushes_apply_every_edit_once(tmp_path: Path, account_of: Any) -> None:
    """SIGKILLs at random moments, silence and errors after W&B has applied, answers cut short.

    A colleague changes the same fields between a kill and the next push, and edits are undone:
    neither side loses anything.
    """
    rng = random.Random(11)
    root = tmp_path / "w"
    open_warehouse(root)
    data = tmp_path / "data"
    runs = {}
    with Sandbox(data) as calm:
        account = account_of(calm)
        for n in range(RUNS):
            made = account.upsert(
                "kill", f"r{n}", state="finished", tags=["a"], notes="n",
                config={"lr": {"value": n}},
            )  # fmt: skip
            at = account.run("kill", f"r{n}", "createdAt")["createdAt"]
            runs[n] = Target("run", "sandbox", "kill", f"r{n}", made["id"], at)
        ids = [account.make_version("kill", "m", str(n)) for n in range(2)]
        account.alias("kill", "m", ids[0], "best")
    versions = [Target("artifact", "sandbox", "kill", f"m:v{n}", i) for n, i in enumerate(ids)]
    expected = Expected(runs, versions)
    kills = finished = in_flight = conflicts = undos = 0
    last: str | None = None
    with Queue(root) as queue:
        with Sandbox(data, options=WEATHER) as sandbox:
            while kills < KILLS:
                expected.settle(queue)
                if not any(queue.counts()[s] for s in ("pending", "sending")):
                    if last is not None and expected.turns % 3 == 0:
                        expected.undo(queue, last)
                        last, undos = None, undos + 1
                    else:
                        last = expected.edit(queue)
                if push_and_kill(sandbox, root, rng):
                    kills += 1
                    in_flight += queue.counts()["sending"] > 0
                    expected.interfere(account_of(sandbox), rng)
                else:
                    finished += 1
                conflicts += queue.counts()["conflict"]
            for _ in range(20):
                expected.settle(queue)
                if start(sandbox, root).wait(timeout=300) == 0:
                    break
        counts = queue.counts()
        settled = {e.op_id for e in queue.entries(["dropped"])}
    print(
        f"{kills} kills, {in_flight} with edits in flight, {finished} pushes ended, {undos} undos,"
        f" {sum(counts.values())} operations, {conflicts} conflicts on the way"
    )
    assert in_flight > KILLS / 4
    assert not settled & expected.undone.keys()
    with Sandbox(data) as calm:
        expected.check(account_of(calm))
    assert {state for state, count in counts.items() if count} <= {"applied", "dropped"}


def start(sandbox: Sandbox, root: Path) -> subprocess.Popen[bytes]:
    """Starts a push as a person would."""
    return subprocess.Popen(
        [sys.executable, "-m", "wbsync", "-q", "-w", str(root), "push"],
        env=sandbox.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def push_and_kill(sandbox: Sandbox, root: Path, rng: random.Random) -> bool:
    """Kills a push a moment after one of its requests; says whether it was still at work."""
    kill_at = requests_of(sandbox) + rng.randint(1, 8)
    process = start(sandbox, root)
    while process.poll() is None:
        if requests_of(sandbox) >= kill_at:
            time.sleep(rng.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.002)
    return False
