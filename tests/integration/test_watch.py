"""A watch through a server's restarts, signals, and other syncs of the same warehouse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

import wbsync
from wbsync.cli import cli
from wbsync.errors import LockedError
from wbsync.sandbox.process import Sandbox
from wbsync.sync.lock import hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIMEOUT_S = 120


def seed(data: Path, runs: int, number: int = 0) -> None:
    """Adds runs to the project main, whether or not a server runs."""
    subprocess.run(
        [
            sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data), "--project",
            "main", "--runs", str(runs), "--steps", "20", "--keys", "3", "--seed", str(number),
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sandbox's folder with a small project."""
    folder = tmp_path_factory.mktemp("watched") / "data"
    seed(folder, 8)
    return folder


class Watched:
    """A `wbsync sync` in a process of its own, whose words are files."""

    def __init__(self, sandbox: Sandbox, root: Path, *arguments: str) -> None:
        self.out, self.err = root.with_suffix(".out"), root.with_suffix(".err")
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wbsync", "-w", root, "sync", "sandbox/main", *arguments],
                env=sandbox.env(), stdout=out, stderr=err,
            )  # fmt: skip

    def rounds(self) -> list[dict[str, Any]]:
        """Returns the rounds so far, as stdout has them."""
        lines = self.out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Waits until the rounds are as they should."""
        ends_at = time.monotonic() + TIMEOUT_S
        while not condition(self.rounds()):
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < ends_at, self.err.read_text()
            time.sleep(0.05)
        return self.rounds()

    def end(self, number: signal.Signals) -> int:
        """Sends a signal; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=TIMEOUT_S)

    def resident_mb(self) -> float:
        """Returns the memory that the process holds."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


@pytest.fixture
def start() -> Iterator[Callable[..., Watched]]:
    """Starts syncs, and sees to it that none outlives the test."""
    started: list[Watched] = []

    def begin(*arguments: Any) -> Watched:
        started.append(Watched(*arguments))
        return started[-1]

    yield begin
    for watched in started:
        if watched.process.poll() is None:
            watched.process.kill()
            watched.process.wait()


def test_a_watch_outlives_its_server(
    data: Path, tmp_path: Path, start: Callable[..., Watched], wbsync_env: Any
) -> None:
    """It follows, says once that the server is gone and once that it is back, and gathers nothing.

    Between its rounds others may sync; SIGTERM ends it with exit code 0.
    """
    root = tmp_path / "w"
    with Sandbox(data) as sandbox:
        port = urlsplit(sandbox.base_url).port
        watch = start(sandbox, root, "--watch", "0.05s", "--json")
        first = watch.wait_for(lambda rounds: len(rounds) >= 2)
        assert [r["round"] for r in first[:2]] == [1, 2]
        assert (first[0]["outcome"], first[0]["runs"], first[1]["rows"]) == ("complete", 8, {})
        seed(data, 2, 1)
        watch.wait_for(lambda rounds: rounds[-1].get("runs") == 10)
        wbsync_env(sandbox)
        with wbsync.open(root) as warehouse:
            assert warehouse.sync("sandbox/main", wait_s=60).outcome == "complete"
            assert warehouse.sql("SELECT count(*) FROM runs").fetchall() == [(10,)]
    watch.wait_for(lambda rounds: sum(r["outcome"] == "failed" for r in rounds) >= 2)
    seed(data, 3, 2)
    with Sandbox(data, port=port or 0) as sandbox:
        rounds = watch.wait_for(lambda rounds: rounds[-1].get("runs") == 13)
        failed = [r for r in rounds if r["outcome"] == "failed"]
        assert all("127.0.0.1" in r["error"] for r in failed)
        said = watch.err.read_text()
        assert said.count("trying again until it works") == 1
        assert said.count("it works again") == 1
        done = len(rounds)
        watch.wait_for(lambda rounds: len(rounds) >= done + 4)
        before = watch.resident_mb()
        watch.wait_for(lambda rounds: len(rounds) >= done + 16)
        assert watch.resident_mb() < before + 12
        assert watch.end(signal.SIGTERM) == 0
    assert "Traceback" not in watch.err.read_text()
    assert not (root / ".lock-holder.json").exists()
    assert not list(root.glob("scratch-*"))


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        ((), signal.SIGTERM, 130),
        (("--watch",), signal.SIGINT, 130),
        (("--watch",), signal.SIGTERM, 0),
    ],
)
def test_a_signal_ends_a_sync_after_what_it_has_in_hand(
    data: Path, tmp_path: Path, start: Callable[..., Watched], arguments: tuple[str, ...],
    number: signal.Signals, code: int,
) -> None:  # fmt: skip
    """What was begun is committed and published, the lock is free, and the next sync goes on."""
    root = tmp_path / "w"
    with Sandbox(data, options=["--latency-ms", "250"]) as sandbox:
        begun = len(sandbox.requests())
        watch = start(sandbox, root, *arguments)
        while not any(r.get("operation") == "RunExports" for r in sandbox.requests()[begun:]):
            assert watch.process.poll() is None, watch.err.read_text()
            time.sleep(0.02)
        assert watch.end(number) == code
        said = watch.err.read_text()
        assert "Traceback" not in said
        assert not (root / ".lock-holder.json").exists()
        assert not list(root.glob("scratch-*"))
        with wbsync.open(root) as warehouse:
            held = warehouse.sql("SELECT count(*) FROM runs").fetchall()[0][0]
            assert held >= 8
            report = warehouse.sync(
                "sandbox/main", base_url=sandbox.base_url, api_key=sandbox.api_key
            )
            assert (report.outcome, report.runs_changed) == ("complete", 0)


def test_what_a_first_sync_had_read_is_shown(
    data: Path, tmp_path: Path, start: Callable[..., Watched]
) -> None:
    """After Ctrl-C amid the pages of a first sync runs are there, and status says what lacks."""
    root = tmp_path / "w"
    with Sandbox(data, options=["--latency-ms", "250", "--max-page-rows", "3"]) as sandbox:

        def said(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "wbsync", "-w", root, *arguments],
                check=True, env=sandbox.env(), capture_output=True, text=True, timeout=TIMEOUT_S,
            )  # fmt: skip
            return done.stdout

        begun = len(sandbox.requests())
        watch = start(sandbox, root)
        while sum(r.get("operation") == "ProjectRuns" for r in sandbox.requests()[begun:]) < 2:
            assert watch.process.poll() is None, watch.err.read_text()
            time.sleep(0.02)
        assert watch.end(signal.SIGINT) == 130
        [project] = json.loads(said("status", "--json"))["projects"]
        assert project["last_outcome"] == "interrupted"
        shown = project["runs"]
        assert 3 <= shown == project["runs_without_history"]
        assert "incomplete sandbox/main: its last sync was interrupted" in said("status")
        assert "sync again" in said("verify")
        said("sync", "sandbox/main")
        [project] = json.loads(said("status", "--json"))["projects"]
        assert shown < project["runs"]
        assert project["runs_without_history"] == 0
        assert "incomplete" not in said("status")
        assert said("verify").startswith("all is well:")


def test_a_second_sync_may_wait(data: Path, tmp_path: Path) -> None:
    """Without --wait it says who holds the warehouse; with it, it waits so long and no longer."""
    root = tmp_path / "w"
    with Sandbox(data) as sandbox:

        def sync(*arguments: str) -> Any:
            call = ["-w", str(root), "sync", *arguments, "sandbox/main"]
            return CliRunner().invoke(cli, call, env=sandbox.env(), standalone_mode=False)

        assert sync("--wait").exception is None
        release, is_held = threading.Event(), threading.Event()

        def hold_it() -> None:
            with hold(root):
                is_held.set()
                release.wait(60)

        holder = threading.Thread(target=hold_it)
        holder.start()
        assert is_held.wait(10)
        for arguments in ((), ("--wait", "0.3s")):
            done = sync(*arguments)
            assert isinstance(done.exception, LockedError)
            assert f"process {os.getpid()}" in str(done.exception)
        threading.Timer(1.0, release.set).start()
        done = sync("--wait", "60")
        assert done.exception is None
        assert done.stderr.count("waiting") == 1
        holder.join()
