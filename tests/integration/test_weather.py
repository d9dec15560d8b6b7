"""A bad day at W&B: faults of every kind and a rate limit; and the key, which goes nowhere."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

import wbsync
from wbsync.api import transport
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Returns the report that `--json` prints last."""
    return dict(json.loads(done.stdout.splitlines()[-1]))


def seed(cli: Any, sandbox: Sandbox, **amounts: int) -> dict[str, Any]:
    """Fills the sandbox's project main."""
    options = [str(x) for name, value in amounts.items() for x in (f"--{name}", value)]
    done = cli(
        sandbox, "sandbox", "seed", "--data", str(sandbox.data), "--project", "main", "--json",
        *options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return report_of(done)


@pytest.mark.timeout(400)
def test_faults_and_a_rate_limit_cost_time_but_nothing_else(
    tmp_path: Path,
    wbsync_cli: Callable[..., subprocess.CompletedProcess[str]],
    wbsync_env: Callable[[Sandbox], None],
    content_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """500 runs, 5 % faults of every kind, 300 requests a minute: complete, without a 429 storm.

    A server that hangs is given up after seconds here, not after a minute.
    """
    for name in ("TIMEOUT", "STORAGE_TIMEOUT"):
        monkeypatch.setattr(transport, name, httpx.Timeout(8.0))
    with Sandbox(tmp_path / "data") as sandbox:
        made = seed(wbsync_cli, sandbox, runs=500, steps=100, keys=6, sweeps=2, artifacts=8)
        calm = wbsync_cli(sandbox, "sync", "sandbox/main", "--json", warehouse=tmp_path / "calm")
        assert report_of(calm)["requests"] <= 0.05 * 500 + 50
    options = [
        "--fault-rate", "0.05", "--rate-limit", "300/min", "--seed", "3", "--exports", "half",
        "--max-page-rows", "20",
    ]  # fmt: skip
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        wbsync_env(sandbox)
        begun = len(sandbox.requests())
        with wbsync.open(tmp_path / "storm") as warehouse:
            report = warehouse.sync("sandbox/main")
        requests = sandbox.requests()[begun:]
    assert report.outcome == "complete"
    assert not report.skipped
    assert made["runs"] == report.runs == 500
    assert sum(r["status"] == 429 for r in requests) <= 3
    faults = [r["fault"] for r in requests if r.get("fault")]
    assert len(faults) >= 10
    assert "timeout" in faults
    assert content_of(tmp_path / "storm") == content_of(tmp_path / "calm")


def arguments_seen(call: Callable[[], Any]) -> tuple[Any, bytes]:
    """Returns what a call returns, and the arguments of all processes while it ran."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(file.read_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return call(), b"\n".join(seen)
    finally:
        ended.set()
        watcher.join()


def test_the_key_goes_to_the_api_and_nowhere_else(
    tmp_path: Path,
    wbsync_cli: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file, output, process's argument and no request to storage holds the key.

    Neither as it is nor as it is sent; whichever command is called, however much it says, wherever
    the key comes from.
    """
    key = "c0ffee" * 6 + "beef"
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(home))
    data = tmp_path / "data"
    options = ["--fault-rate", "0.1", "--fault-kinds", "500,graphql,partial", "--seed", "1"]
    said, arguments = "", b""
    with Sandbox(data, api_key=key, options=options) as sandbox:

        def call(*args: str) -> subprocess.CompletedProcess[str]:
            nonlocal said, arguments
            done, seen = arguments_seen(lambda: wbsync_cli(sandbox, *args))
            said, arguments = said + done.stdout + done.stderr, arguments + seen
            return done

        seed(wbsync_cli, sandbox, runs=20, steps=50, keys=4, artifacts=2)
        assert call("-vv", "sync", "sandbox/main").returncode == 0
        query = "SELECT collection, run_id FROM artifacts, runs LIMIT 1"
        names = call("sql", query, "--format", "csv").stdout.splitlines()[1]
        collection, run_id = names.split(",")
        for args in (
            ("sync", "sandbox/main", "--json"), ("status",), ("doctor",), ("tables",),
            ("-vv", "sync", "sandbox/no-such-project"), ("sync", "nobody"),
            ("-vv", "artifact", "get", f"sandbox/main/{collection}", "-o", str(home / "a")),
            ("-vv", "files", "get", f"sandbox/main/{run_id}", "-o", str(home / "f")),
            ("config", "show"), ("verify",),
        ):  # fmt: skip
            call(*args)
        assert list((home / "a").iterdir())
        assert b"artifact" in arguments or not Path("/proc/self/cmdline").exists()

        # The key from netrc, which alone may hold it.
        (tmp_path / "netrc").write_text(
            f"machine {urlsplit(sandbox.base_url).netloc}\n  login user\n  password {key}\n"
        )
        with monkeypatch.context() as patch:
            env = {k: v for k, v in sandbox.env().items() if k != "WANDB_API_KEY"}
            patch.setattr(sandbox, "env", lambda: {**env, "NETRC": str(tmp_path / "netrc")})
            done = call("-vv", "sync", "sandbox/main")
            assert done.returncode == 0, done.stderr
            assert "netrc" in done.stderr
        wrong = "0" * 39 + "1"
        monkeypatch.setattr(sandbox, "api_key", wrong)
        assert call("-vv", "sync", "sandbox/main").returncode == 4
        requests = sandbox.requests()
        storage = [r for r in requests if r["port"] == "storage"]
    assert storage
    assert not any(r["has_authorization"] for r in storage)
    assert all(r["has_authorization"] for r in requests if r["port"] == "api")
    words = [w for k in (key, wrong) for w in (k, base64.b64encode(f"api:{k}".encode()).decode())]
    for word in words:
        assert word not in said
        assert word.encode() not in arguments
    for root in (tmp_path / "warehouse", home):
        for path in root.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(word.encode() in content for word in words), path
