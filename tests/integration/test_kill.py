"""Syncs that are really killed, at any moment, end like one that never was."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
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


def start(sandbox: Sandbox, root: Path) -> subprocess.Popen[bytes]:
    """Starts a sync as a person would."""
    return subprocess.Popen(
        [sys.executable, "-m", "wbsync", "-w", str(root), "sync", "sandbox/main"],
        env=sandbox.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


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
        began = time.monotonic()
        assert start(sandbox, tmp_path / "w0").wait(timeout=120) == 0
        whole_s = time.monotonic() - began
        roots = [tmp_path / "w0"]
        while kills < KILLS:
            process = start(sandbox, roots[-1])
            try:
                process.wait(timeout=rng.uniform(0.2, 1.1) * whole_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            else:
                assert process.returncode == 0
                finished += 1
                # Every other one goes on in a folder that is held already and has to grow.
                if finished % 2:
                    roots.append(tmp_path / f"w{len(roots)}")
                else:
                    seed(data, finished, 6)
        undisturbed = tmp_path / "undisturbed"
        for root in [*roots, undisturbed]:
            assert start(sandbox, root).wait(timeout=120) == 0
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
