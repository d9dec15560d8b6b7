"""The command line as people and programs use it: streams, exit codes, quiet, JSON, terminals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING, Any

import click
import pytest

from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESCAPE = "\x1b[31mred\x9b2J"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with a small project."""
    data = tmp_path_factory.mktemp("command")
    with Sandbox(data) as running:
        subprocess.run(
            [
                sys.executable, "-m", "wbsync", "-q", "sandbox", "seed", "--data", str(data),
                "--project", "main", "--runs", "3", "--steps", "10", "--keys", "2",
            ],
            check=True, timeout=60,
        )  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def held(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of it."""
    root = tmp_path_factory.mktemp("held") / "w"
    done = call(sandbox, root, "-q", "sync", "sandbox/main")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return root


def call(sandbox: Sandbox, root: Path, *args: Any, **how: Any) -> subprocess.CompletedProcess[str]:
    """Calls the command."""
    env = {**sandbox.env(), **how.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(root), *args],
        check=False, env=env, capture_output=True, timeout=60, encoding="utf-8", **how,
    )  # fmt: skip


def test_status_says_when_a_sync_that_changed_nothing_ended(sandbox: Sandbox, held: Path) -> None:
    """The last sync is the last one, though an unchanged one neither commits nor publishes."""

    def facts() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(call(sandbox, held, "status", "--json").stdout)
        return found

    def written() -> dict[str, int]:
        kept = [*(held / "lake").rglob("*"), *held.glob("*.duckdb"), *held.glob("catalog/*")]
        return {str(p): p.stat().st_mtime_ns for p in kept}

    before, files = facts(), written()
    (held / "also").hardlink_to(held / "warehouse.duckdb")
    assert facts()["bytes"] == before["bytes"], "what has two names is counted twice"
    (held / "also").unlink()
    assert call(sandbox, held, "-q", "sync", "sandbox/main").returncode == 0
    [now], [was] = facts()["projects"], before["projects"]
    assert now["last_sync"] > was["last_sync"]
    assert written() == files


@pytest.mark.parametrize(
    ("args", "code", "kind"),
    [
        (("sql", "--json", "SELEC"), 1, "QueryError"),
        (("sync", "--json", "sandbox/nope"), 1, "NotFoundError"),
        (("sync", "--json", "a/b/c"), 2, "ConfigError"),
        (("status", "--json", "--nonsense"), 2, "NoSuchOption"),
        (("runs", "--json", "--filter", "{"), 2, "FilterSyntaxError"),
        (("files", "ls", "--json", "sandbox/main/nope"), 1, "NotFoundError"),
        (("artifact", "show", "--json", "a/b/c:v0"), 1, "WarehouseError"),
        (("sql", "--json", "FROM runs", "-o", "/nowhere/x.json"), 1, "FileNotFoundError"),
        (("sync", "--json", "--max-minutes", "nan", "x/y"), 2, "BadParameter"),
    ],
)
def test_json_says_why_a_command_failed(
    sandbox: Sandbox, held: Path, args: tuple[str, ...], code: int, kind: str
) -> None:
    """A program that asked for JSON gets an object as the last line, whatever went wrong."""
    done = call(sandbox, held, *args)
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert (done.returncode, error["exit_code"], error["type"]) == (code, code, kind)
    assert error["message"]
    assert error["message"][:20] in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_names_what_is_wrong(sandbox: Sandbox, held: Path, tmp_path: Path) -> None:
    """One line for each fault, and the exit code of the first."""

    def faults(root: Path, **env: str) -> tuple[int, dict[str, str]]:
        done = call(sandbox, root, "doctor", env=env)
        lines = [line[4:].strip().split(": ", 1) for line in done.stdout.splitlines()]
        named = [line.startswith("FAIL") for line in done.stdout.splitlines()]
        assert not done.stderr
        found = {k: v for (k, v), bad in zip(lines, named, strict=True) if bad}
        return done.returncode, found

    assert faults(held) == (0, {})
    assert faults(tmp_path / "absent") == (0, {})
    assert faults(held, WANDB_API_KEY="0" * 40)[0] == 4
    code, found = faults(held, WANDB_BASE_URL="http://127.0.0.1:9")
    assert (code, list(found)) == (3, ["server"])
    root = tmp_path / "w"
    shutil.copytree(held, root)
    code, found = faults(root)
    assert (code, list(found)) == (1, ["warehouse"])
    assert "`wbsync publish`" in found["warehouse"]
    assert call(sandbox, root, "publish").returncode == 0
    next((root / "lake" / "runs").glob("*.parquet")).unlink()
    (root / "state.sqlite").write_text("garbage" * 100)
    (root / "warehouse.duckdb").unlink()
    (root / "warehouse.duckdb").write_bytes(b"garbage" * 10_000)
    code, found = faults(root)
    assert (code, list(found)) == (1, ["warehouse", "lake", "state"])
    assert "--rebuild" in found["warehouse"]
    assert "1 of" in found["lake"]
    assert "damaged" in found["state"]
    (root / "wbsync-warehouse.json").write_text('{"format": 99}')
    code, found = faults(root)
    assert code == 1
    assert "upgrade wbsync" in found["warehouse"]


def test_sql_with_comments_and_several_statements(sandbox: Sandbox, held: Path) -> None:
    """A comment is no option; a table shows each result; what can hold one refuses two."""
    done = call(sandbox, held, "sql", "--best runs\n--two = 2\nSELECT 1 AS a; SELECT 2 AS b")
    assert done.stdout.splitlines() == ["a", "-", "1", "", "b", "-", "2"], done.stderr
    done = call(sandbox, held, "sql", "--format", "csv", "-- x\nSELECT 1; SELECT 2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 statements" in done.stderr
    done = call(sandbox, held, "sql", "--fromat", "csv", "SELECT 1")
    assert (done.returncode, "--format" in done.stderr) == (2, True)


def test_odd_streams_and_locales(sandbox: Sandbox, held: Path) -> None:
    """Closed streams, readers that go, full devices and a locale without UTF-8 do no harm."""
    asked = [sys.executable, "-m", "wbsync", "-w", str(held)]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = call(sandbox, held, "sql", "SELECT 'é😀' AS ü", "--format", "csv", env=ascii_only)
    assert done.stdout == "ü\né😀\n", done.stderr
    for script, code, words in (
        ('"$@" sync sandbox/main >&-', 0, ""),
        ('"$@" sql "SELECT 1" <&- >&- 2>&-', 0, ""),
        ('"$@" sql "FROM history" --format csv | head -1', 0, ""),
        ('"$@" sql "FROM range(1000000)" >/dev/full', 1, "wbsync: error: No space left on device"),
        ('"$@" status >/dev/full', 1, "wbsync: error: No space left on device"),
    ):
        shell = subprocess.run(
            ["bash", "-c", script, "-", *asked], check=False, env=sandbox.env(),
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (shell.returncode, shell.stderr.strip()) == (code, words), script
    assert call(sandbox, held, "doctor").returncode == 0


def test_ctrl_c_ends_a_query(sandbox: Sandbox, held: Path) -> None:
    """A query that would run for hours ends at once, though it gives no row before its end."""
    query = "SELECT count(*) FROM range(10000000) a, range(1000000) b WHERE a.range * b.range = 7"
    process = subprocess.Popen(
        [sys.executable, "-m", "wbsync", "-w", str(held), "sql", "--json", query],
        env=sandbox.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    said, narration = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(said)["error"]["type"] == "Interrupted"
    assert narration.count("\n") <= 2
    assert "Traceback" not in narration


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
def test_a_terminal_gets_what_fits_and_no_escapes(sandbox: Sandbox, held: Path, kind: str) -> None:
    """A table is as wide as the terminal; text of others never steers it, in any format."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    query = f"SELECT r.*, '{ESCAPE}' AS evil FROM runs r"
    if kind != "table":
        query = f"SELECT '{ESCAPE}' AS evil"
    said: list[bytes] = []

    def listen() -> None:
        try:
            while chunk := os.read(primary, 65536):
                said.append(chunk)
        except OSError:
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    process = subprocess.Popen(
        [sys.executable, "-m", "wbsync", "-w", str(held), "sql", query, "--format", kind],
        env={k: v for k, v in sandbox.env().items() if k not in {"COLUMNS", "LINES"}},
        stdin=secondary, stdout=secondary, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(secondary)
    _, narration = process.communicate(timeout=60)
    listener.join()
    os.close(primary)
    shown = b"".join(said).decode().replace("\r\n", "\n")
    assert process.returncode == 0, narration
    assert not [c for c in shown if not c.isprintable() and c != "\n"]
    if kind == "table":
        assert max(map(len, shown.splitlines())) <= 50
        assert "columns are shown" in narration
    else:
        assert "red" in shown


def test_every_command_has_an_example_and_every_option_its_help() -> None:
    """Help shows how each command is called, and leaves no option unexplained."""
    from wbsync.cli import cli
    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.cli.options import Globals

    seen = 0

    def look(name: str, command: click.Command, ctx: click.Context) -> None:
        nonlocal seen
        seen += 1
        assert name == "wbsync" or "Example" in command.get_help(ctx), name
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{name} {option.opts[0]}"
        if isinstance(command, click.Group):
            for inner in command.list_commands(ctx):
                found = command.get_command(ctx, inner)
                assert found is not None
                look(f"{name} {inner}", found, click.Context(found, ctx, inner))

    ctx = click.Context(cli, info_name="wbsync", obj=Globals(None, Diagnostics(), no_config=True))
    look("wbsync", cli, ctx)
    assert seen > 40


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("wbsync s", {"sandbox", "sql", "status", "sweeps", "sync"}),
        ("wbsync sync --only history,run_t", {"history,run_tags"}),
        ("wbsync tables run_t", {"run_tags"}),
        ("wbsync sql --format j", {"json", "jsonl"}),
        ("wbsync artifact g", {"get"}),
        ("wbsync nonsense x", set()),
    ],
)
def test_completion_proposes(words: str, proposed: set[str]) -> None:
    """The shell is told commands, options' values and tables; nonsense is no reason to speak."""
    env = {
        **os.environ, "_WBSYNC_COMPLETE": "bash_complete", "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }  # fmt: skip
    code = "import sys; sys.argv = ['wbsync']; from wbsync.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=env, capture_output=True, text=True
    )
    assert {line.removeprefix("plain,") for line in done.stdout.split()} == proposed
    assert not done.stderr
