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
from wbsync.writeback import MISSING, Edit, Operation, Queue, Target

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

    def __init__(self) -> None:
        self.notes = dict.fromkeys(range(RUNS), "n")
        self.tags: dict[int, list[str]] = {n: ["a"] for n in range(RUNS)}
        self.config: dict[int, dict[str, Any]] = {n: {"lr": n} for n in range(RUNS)}
        self.groups: dict[int, str] = {}
        """What colleagues have set."""
        self.alias = 0
        self.turns = 0

    def interfere(self, account: Any, rng: random.Random) -> None:
        """Lets a colleague tag some runs, whatever they hold now, and set their group."""
        for n in rng.sample(range(RUNS), 5):
            mark = f"c{len(self.groups)}-{rng.random()}"
            held = insist(lambda n=n: account.run("kill", f"r{n}", "tags"))["tags"]
            tags = [*held, mark]
            insist(
                lambda n=n, tags=tags, mark=mark: account.edit(
                    "kill", f"r{n}", tags=tags, groupName=mark
                )
            )
            self.groups[n] = mark
            self.tags[n].append(mark)

    def edit(self, queue: Queue, versions: list[Target]) -> None:
        """Queues edits of every kind, each on what the one before it makes."""
        turn = self.turns = self.turns + 1
        ops = []
        for n in range(RUNS):
            run = Target("run", "sandbox", "kill", f"r{n}")
            ops.append(Operation(run, "notes", "append", " +", self.notes[n]))
            self.notes[n] += " +"
            tag = f"t{turn}"
            ops.append(Operation(run, "tags", "add", tag, list(self.tags[n])))
            self.tags[n] = [*self.tags[n], tag]
            if turn > 1:
                gone = f"t{turn - 1}"
                ops.append(Operation(run, "tags", "remove", gone, list(self.tags[n])))
                self.tags[n].remove(gone)
            key = ("turn", f"k{turn % 3}")
            base = self.config[n].get("turn", {}).get(key[1], MISSING)
            ops.append(Operation(run, "config", "set", turn, base, key))
            self.config[n].setdefault("turn", {})[key[1]] = turn
        old, new = versions[self.alias], versions[1 - self.alias]
        ops.append(Operation(new, "aliases", "add", "best", old.storage_id, ("best",)))
        self.alias = 1 - self.alias
        assert queue.add(Edit("me"), ops) == len(ops)


@pytest.mark.timeout(1800)
def test_killed_pushes_apply_every_edit_once(tmp_path: Path, account_of: Any) -> None:
    """SIGKILLs at random moments, silence and errors after W&B has applied, answers cut short.

    A colleague changes runs between a kill and the next push: neither side loses anything.
    """
    rng = random.Random(11)
    root = tmp_path / "w"
    open_warehouse(root)
    data = tmp_path / "data"
    with Sandbox(data) as calm:
        account = account_of(calm)
        for n in range(RUNS):
            account.upsert(
                "kill", f"r{n}", state="finished", tags=["a"], notes="n",
                config={"lr": {"value": n}},
            )  # fmt: skip
        ids = [account.make_version("kill", "m", str(n)) for n in range(2)]
        account.alias("kill", "m", ids[0], "best")
    versions = [Target("artifact", "sandbox", "kill", f"m:v{n}", i) for n, i in enumerate(ids)]
    expected = Expected()
    kills = finished = in_flight = 0
    with Queue(root) as queue:
        with Sandbox(data, options=WEATHER) as sandbox:
            while kills < KILLS:
                if not any(queue.counts()[s] for s in ("pending", "sending")):
                    expected.edit(queue, versions)
                if push_and_kill(sandbox, root, rng):
                    kills += 1
                    in_flight += queue.counts()["sending"] > 0
                    expected.interfere(account_of(sandbox), rng)
                else:
                    finished += 1
            for _ in range(20):
                if start(sandbox, root).wait(timeout=300) == 0:
                    break
        counts = queue.counts()
    assert in_flight > KILLS / 4
    with Sandbox(data) as calm:
        account = account_of(calm)
        for n in range(RUNS):
            held = account.run("kill", f"r{n}", "notes tags config group")
            assert held["group"] == expected.groups.get(n)
            assert held["notes"] == expected.notes[n]
            assert sorted(held["tags"]) == sorted(expected.tags[n])
            config = {k: v["value"] for k, v in json.loads(held["config"]).items()}
            assert config == expected.config[n]
        nodes = account.collections("kill")["m"]["artifacts"]
        holders = [n["id"] for n in nodes if "best" in [a["alias"] for a in n["aliases"]]]
        assert holders == [versions[expected.alias].storage_id]
    assert {state for state, count in counts.items() if count} == {"applied"}


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
