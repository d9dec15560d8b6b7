"""Shared ground: real runs logged by the real SDK, and ways to call what a user calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parent


def _run_script(name: str, sandbox: Sandbox, cwd: Path, *args: str) -> Any:
    """Runs a script beside this file against a sandbox; returns the JSON it prints last."""
    done = subprocess.run(
        [sys.executable, str(HERE / name), *args], check=False, cwd=cwd, timeout=240, text=True,
        env=sandbox.env(WANDB_DIR=str(cwd), WANDB_CACHE_DIR=str(cwd / "cache")),
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def run_script() -> Callable[..., Any]:
    """Runs a script beside this file against a sandbox."""
    return _run_script


@pytest.fixture(scope="session")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sandbox's folder with runs that the SDK logged."""
    data = tmp_path_factory.mktemp("logged")
    with Sandbox(data) as sandbox:
        _run_script("log_runs.py", sandbox, tmp_path_factory.mktemp("work"))
    return data


@pytest.fixture
def wbsync_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls the command on a warehouse of its own."""

    def call(
        sandbox: Sandbox, *args: str, warehouse: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        root = warehouse or tmp_path / "warehouse"
        return subprocess.run(
            [sys.executable, "-m", "wbsync", "-w", str(root), *args],
            check=False, env=sandbox.env(), capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    return call


def _content_of(root: Path) -> dict[str, Any]:
    """Returns a warehouse's content as plain values, comparable between warehouses."""
    with wbsync.open(root) as warehouse:
        content: dict[str, Any] = {}
        for table in (
            "runs", "run_config", "run_summary", "run_tags", "history", "system_metrics",
            "history_keys", "artifacts", "artifact_aliases", "run_artifacts", "entities", "users",
            "team_members", "reports", "automations", "integrations", "run_files",
            "artifact_files", "registries", "registry_collections", "registry_versions",
        ):  # fmt: skip
            rows = warehouse.sql(f"SELECT * EXCLUDE (synced_at) FROM {table}").arrow()
            if table == "history_keys":
                rows = rows.drop_columns(["source"])
            content[table] = sorted(map(repr, rows.to_pylist()))
    return content


@pytest.fixture(scope="session")
def content_of() -> Callable[[Path], dict[str, Any]]:
    """Returns a warehouse's content as plain values, comparable between warehouses."""
    return _content_of


@pytest.fixture
def wbsync_env(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sandbox], None]:
    """Points wbsync in this process at a sandbox."""

    def point(sandbox: Sandbox) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("WANDB_API_KEY", sandbox.api_key)

    return point
