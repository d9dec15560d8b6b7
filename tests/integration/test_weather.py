"""A bad day at W&B: faults of every kind and a rate limit; and the key, which goes nowhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


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
    tmp_path: Path, wbsync_cli: Callable[..., subprocess.CompletedProcess[str]], content_of: Any
) -> None:
    """500 runs, 5 % faults of every kind, 300 requests a minute: complete, without a 429 storm."""
    with Sandbox(tmp_path / "data") as sandbox:
        made = seed(wbsync_cli, sandbox, runs=500, steps=100, keys=6, sweeps=2, artifacts=8)
        calm = wbsync_cli(sandbox, "sync", "sandbox/main", "--json", warehouse=tmp_path / "calm")
        assert report_of(calm)["requests"] <= 0.05 * 500 + 50
    options = [
        "--fault-rate", "0.05", "--rate-limit", "300/min", "--seed", "3", "--exports", "half",
        "--max-page-rows", "20",
    ]  # fmt: skip
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        begun = len(sandbox.requests())
        stormy = wbsync_cli(sandbox, "sync", "sandbox/main", "--json", warehouse=tmp_path / "storm")
        requests = sandbox.requests()[begun:]
    assert stormy.returncode == 0, stormy.stderr
    report = report_of(stormy)
    assert report["outcome"] == "complete"
    assert report["skipped"] == []
    assert made["runs"] == report["runs"] == 500
    assert sum(r["status"] == 429 for r in requests) <= 3
    assert sum(bool(r.get("fault")) for r in requests) >= 10
    assert content_of(tmp_path / "storm") == content_of(tmp_path / "calm")


def test_the_key_goes_to_the_api_and_nowhere_else(
    tmp_path: Path,
    wbsync_cli: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file, no output and no request to storage holds the key."""
    key = "c0ffee" * 6 + "beef"
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(home))
    data = tmp_path / "data"
    options = ["--fault-rate", "0.1", "--fault-kinds", "500,graphql,partial", "--seed", "1"]
    with Sandbox(data, api_key=key, options=options) as sandbox:
        seed(wbsync_cli, sandbox, runs=20, steps=50, keys=4)
        said = ""
        for arguments in (
            ("sync", "sandbox/main"), ("sync", "sandbox/main", "--json"), ("status",), ("doctor",),
            ("sql", "SELECT count(*) FROM runs"), ("sync", "sandbox/no-such-project"),
            ("sync", "nobody"), ("tables",),
        ):  # fmt: skip
            done = wbsync_cli(sandbox, *arguments)
            said += done.stdout + done.stderr
        wrong = "0" * 39 + "1"
        monkeypatch.setattr(sandbox, "api_key", wrong)
        refused = wbsync_cli(sandbox, "sync", "sandbox/main")
        assert refused.returncode == 4
        requests = sandbox.requests()
        storage = [r for r in requests if r["port"] == "storage"]
    assert storage
    assert not any(r["has_authorization"] for r in storage)
    assert all(r["has_authorization"] for r in requests if r["port"] == "api")
    assert key not in said
    assert wrong not in refused.stdout + refused.stderr
    for root in (tmp_path / "warehouse", home):
        for path in root.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert key.encode() not in content, path
                assert wrong.encode() not in content, path
