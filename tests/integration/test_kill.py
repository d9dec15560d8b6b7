"""Syncs that are really killed, at any moment, end like one that never was."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.catalog.check import STALE
from wbsync.cli import main
from wbsync.sandbox.process import Sandbox
from wbsync.sync.holding import held
from wbsync.sync.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 50
WEATHER = [
    "--latency-ms", "10", "--fault-rate", "0.02", "--fault-kinds", "500,502,cut,graphql,partial",
    "--seed", "7",
]  # fmt: skip


def seed(data: Path, number: int, runs: int) -> None:
    """Adds runs, sweeps and artifacts to the project, while the server runs."""
    subprocess.run(
        [
            sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data), "--project",
            "main", "--runs", str(runs), "--steps", "200", "--keys", "6", "--seed", str(number),
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


FORKS = multiprocessing.get_context("forkserver")
"""Where processes come from that have imported what a sync needs, so that kills hit syncs."""

FORKS.set_forkserver_preload(["wbsync.cli.sync", "wbsync.sync.engine"])


def start(root: Path) -> Any:
    """Starts a sync in a process of its own."""
    args = ["-q", "-w", str(root), "sync", "sandbox/main", "--json"]
    process = FORKS.Process(target=run_quietly, args=(args,))
    process.start()
    return process


def run_quietly(args: list[str]) -> None:
    """Calls the command; what it prints goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    main(args)


def sync(sandbox: Sandbox, root: Path) -> float:
    """Syncs to the end, as a person would; returns how many seconds that took."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(root), "sync", "sandbox/main"],
        check=True, env=sandbox.env(), capture_output=True, timeout=120,
    )  # fmt: skip
    return time.monotonic() - began


def look(root: Path) -> None:
    """Asks a warehouse whose sync was killed, which says nothing wrong of what was committed."""
    with wbsync.open(root) as warehouse:
        assert warehouse.sql("SELECT count(*) >= 0 FROM runs").fetchall() == [(True,)]
    with held(root, lambda _: None) as holding:
        problems = verify(holding, (), lambda _: None, deep=True).problems
    assert {problem.kind for problem in problems} <= {STALE}, problems


@pytest.mark.timeout(600)
def test_killed_syncs_end_like_one_that_was_not(
    tmp_path: Path, wbsync_env: Any, content_of: Any
) -> None:
    """At least 50 SIGKILLs at random moments; the content is equal row for row."""
    rng = random.Random(20)
    kills = finished = 0
    data = tmp_path / "data"
    seed(data, 0, 24)
    with Sandbox(data, options=WEATHER) as sandbox:
        wbsync_env(sandbox)
        roots = [tmp_path / "w0"]
        sync(sandbox, roots[0])
        start(tmp_path / "warm").join()  # the first one starts what forks
        began = time.monotonic()
        start(tmp_path / "whole").join()
        whole_s = time.monotonic() - began
        while kills < KILLS:
            process = start(roots[-1])
            process.join(rng.uniform(0.02, 1.1) * whole_s)
            if process.exitcode is None:
                process.kill()
                process.join()
            if process.exitcode == -signal.SIGKILL:
                kills += 1
                if kills % 10 == 0 and (roots[-1] / "lake").is_dir():
                    look(roots[-1])
            else:
                assert process.exitcode == 0
                finished += 1
                # Every other one goes on in a folder that is held already and has to grow.
                if finished % 2:
                    roots.append(tmp_path / f"w{len(roots)}")
                else:
                    seed(data, finished, 6)
        undisturbed = tmp_path / "undisturbed"
        for root in [*roots, undisturbed]:
            sync(sandbox, root)
    assert finished > 0
    wanted = content_of(undisturbed)
    assert wanted["history"]
    for root in roots:
        found = content_of(root)
        for table, rows in wanted.items():
            assert found[table] == rows, f"{root.name}: {table}"
        assert not list(root.glob("scratch-*"))
        with held(root, lambda _: None) as holding:
            assert verify(holding, (), lambda _: None, deep=True).problems == []
        assert wbsync.open(root).sql("SELECT count(*) FROM projects").fetchall() == [(1,)]
