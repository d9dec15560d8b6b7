"""Bad input gets one clear line, the right exit code, and nothing is lost."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.cli.diagnostics import _message
from wbsync.errors import NotFoundError, WarehouseError
from wbsync.extract.rows import build_table
from wbsync.lake import Lake
from wbsync.sandbox.process import Sandbox
from wbsync.state import State
from wbsync.sync.holding import Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox with a small project."""
    data = tmp_path_factory.mktemp("small")
    with Sandbox(data) as sandbox:
        subprocess.run(
            [
                sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data),
                "--project", "main", "--runs", "10", "--steps", "50", "--keys", "3",
            ],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        yield sandbox


@pytest.fixture(scope="module")
def held(small: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of it."""
    root = tmp_path_factory.mktemp("held") / "w"
    done = run(small, root, "sync", "sandbox/main")
    assert done.returncode == 0, done.stderr
    return root


def run(
    sandbox: Sandbox, root: Path, *args: str, stdin: str | None = None, **env: str | None
) -> subprocess.CompletedProcess[str]:
    """Calls the command."""
    environment = {**sandbox.env(), **{k: v for k, v in env.items() if v is not None}}
    for name in (k for k, v in env.items() if v is None):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(root), *args],
        check=False, env=environment, capture_output=True, text=True, timeout=60, input=stdin,
    )  # fmt: skip


def complains(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Asserts an exit code and one line of error that holds some words."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("wbsync: error:")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_no_key(small: Sandbox, tmp_path: Path) -> None:
    """Without a key the message says where keys come from."""
    done = run(
        small, tmp_path / "w", "sync", "sandbox/main", WANDB_API_KEY=None, HOME=str(tmp_path),
        NETRC=str(tmp_path / "none"),
    )  # fmt: skip
    complains(done, 4, "WANDB_API_KEY", "wandb login")


def test_wrong_key(small: Sandbox, tmp_path: Path) -> None:
    """A key that the server does not take."""
    done = run(small, tmp_path / "w", "sync", "sandbox/main", WANDB_API_KEY="0" * 40)
    complains(done, 4, small.base_url)


def test_unknown_project(small: Sandbox, held: Path) -> None:
    """A project that is not there; what is held stays."""
    complains(run(small, held, "sync", "sandbox/nope"), 1, "sandbox/nope", "no such project")
    done = run(small, held, "sql", "SELECT count(*) FROM runs", "--format", "csv")
    assert done.stdout.split()[-1] == "10"


@pytest.mark.parametrize("source", ["a/b/c", "/x", "x/", "", "sandbox/../x"])
def test_sources_that_are_none(small: Sandbox, tmp_path: Path, source: str) -> None:
    """What is no ENTITY/PROJECT is refused before anything is asked."""
    complains(run(small, tmp_path / "w", "sync", source), 2, "ENTITY/PROJECT")


def test_a_server_that_is_not_wandb(small: Sandbox, tmp_path: Path) -> None:
    """A web server that answers with pages."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<html>hello</html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        done = run(small, tmp_path / "w", "sync", "sandbox/main", WANDB_BASE_URL=url)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    complains(done, 1, url, "W&B")


def test_nobody_answers(small: Sandbox, tmp_path: Path) -> None:
    """A port on which nobody listens."""
    done = run(small, tmp_path / "w", "sync", "a/b", WANDB_BASE_URL="http://127.0.0.1:9")
    complains(done, 3, "127.0.0.1:9")


def test_a_folder_that_is_no_warehouse(small: Sandbox, tmp_path: Path) -> None:
    """A folder with something else in it is left alone."""
    (tmp_path / "thesis.tex").write_text("x")
    complains(run(small, tmp_path, "sync", "sandbox/main"), 1, "warehouse")
    complains(run(small, tmp_path, "sql", "SELECT 1"), 1, "warehouse")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_newer_warehouse(small: Sandbox, held: Path, tmp_path: Path) -> None:
    """A warehouse of a later wbsync is neither read nor written."""
    root = tmp_path / "w"
    shutil.copytree(held, root)
    marker = root / "wbsync-warehouse.json"
    marker.write_text(json.dumps({"format": 99, "written_by": "9.0"}))
    complains(run(small, root, "sync", "sandbox/main"), 1, "upgrade wbsync")
    complains(run(small, root, "sql", "SELECT 1"), 1, "upgrade wbsync")


def test_nothing_synced_yet(small: Sandbox, tmp_path: Path) -> None:
    """Asking before the first sync says what to do first."""
    complains(run(small, tmp_path / "w", "sql", "SELECT 1"), 1, "wbsync sync")
    complains(run(small, tmp_path / "w", "status"), 1, "wbsync sync")


def test_two_syncs_at_once(tmp_path: Path) -> None:
    """The second says who holds the warehouse."""
    data = tmp_path / "data"
    with Sandbox(data, options=["--latency-ms", "400"]) as sandbox:
        subprocess.run(
            [
                sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data),
                "--project", "main", "--runs", "5", "--steps", "5",
            ],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        root = tmp_path / "w"
        first = subprocess.Popen(
            [sys.executable, "-m", "wbsync", "-w", str(root), "sync", "sandbox/main"],
            env=sandbox.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while not (root / ".lock-holder.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        done = run(sandbox, root, "sync", "sandbox/main")
        complains(done, 1, f"process {first.pid}", "wait")
        assert first.wait(timeout=60) == 0


SQL = [
    ("SELEC 1", "syntax error"),
    ("SELECT * FROM nowhere", "nowhere"),
    ("DELETE FROM runs_all", "only read"),
    ("UPDATE runs SET notes = 'x'", "only read"),
    ("COPY runs TO 'out.csv'", "only read"),
    ("EXPORT DATABASE 'x'", "only read"),
    ("ATTACH 'x.db'", "only read"),
    ("INSTALL httpfs", "only read"),
    ("SET memory_limit = '1GB'", "only read"),
    ("PRAGMA database_list; DROP TABLE runs_all", "only read"),
    ("SELECT 1; DROP TABLE runs_all", "only read"),
    ("SELECT * FROM read_csv('/etc/passwd')", "outside"),
    ("SELECT * FROM '/etc/passwd'", "/etc/passwd does not exist"),
    ("SELECT content FROM read_text('/etc/passwd')", "outside"),
    ("SELECT getenv('WANDB_API_KEY')", "getenv is refused"),
    ("", "there is no statement"),
    ("-- nothing", "there is no statement"),
]


@pytest.mark.parametrize(("query", "word"), SQL)
def test_sql_that_is_refused(small: Sandbox, held: Path, query: str, word: str) -> None:
    """What does not parse, writes or reaches outside is refused in one line; no row is lost."""
    before = {p: p.stat().st_mtime_ns for p in held.rglob("*") if p.is_file()}
    done = run(small, held, "sql", "--", query)
    assert done.returncode in {1, 2}
    complains(done, done.returncode, word)
    assert small.api_key not in done.stdout + done.stderr
    assert {p: p.stat().st_mtime_ns for p in held.rglob("*") if p.is_file()} == before


SLIPS = [
    (("vacuum", "--keep", "7"), "write 7d"),
    (("sync", "sandbox/main", "--only", ""), "names no table"),
    (("sync", "sandbox/main", "--skip", ","), "names no table"),
    (("sync", "sandbox/main", "--filter", " "), "--filter is empty"),
    (("artifact", "ls", "sandbox/main/nope"), "nothing is held of"),
]


@pytest.mark.parametrize(("args", "word"), SLIPS)
def test_a_slip_is_not_taken_for_everything(
    small: Sandbox, held: Path, args: tuple[str, ...], word: str
) -> None:
    """A forgotten unit or an empty shell variable deletes and syncs nothing."""
    complains(run(small, held, *args), 2, word)


ADVICE = "the disk is full: free some room and sync again"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, where this machine lets one be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=192m", "tmpfs", str(place)],
        check=False, capture_output=True,
    ).returncode:  # fmt: skip
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, but_bytes: int = 0) -> Path:
    """Fills a disk but for some bytes, and returns the file that takes the room."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        chunk = b"x" * 4096
        with suppress(OSError):
            while file.write(chunk):
                pass
        file.truncate(max(0, filler.stat().st_size - but_bytes))
    return filler


def test_a_disk_without_room(small: Sandbox, disk: Path) -> None:
    """Whatever cannot be written says what to do, first things first; with room all goes on."""
    root = disk / "w"
    assert run(small, root, "sync", "sandbox/main").returncode == 0
    published = (root / "warehouse.duckdb").read_bytes()

    filler = fill(disk)
    complains(run(small, disk / "new", "sync", "sandbox/main"), 1, ADVICE)
    filler.unlink()
    filler = fill(disk, but_bytes=100_000)
    complains(run(small, root, "publish", "--rebuild"), 1, "cannot publish", ADVICE)
    state = State(root / "state.sqlite")
    with pytest.raises(WarehouseError, match=ADVICE):
        state.set_mark("m", "e", "p", "long " * 1_000_000)
    state.close()
    rows = build_table("run_tags", [
        {"entity": "e", "project": "p", "run_id": f"{n}", "tag": uuid.uuid4().hex,
         "synced_at": datetime.now(UTC)} for n in range(10_000)
    ])  # fmt: skip
    with pytest.raises(WarehouseError, match=f"run_tags: {ADVICE}"):
        Lake(root).append("run_tags", rows, {})
    assert (root / "warehouse.duckdb").read_bytes() == published

    # What goes wrong first is said first, though publishing fails after it.
    filler.unlink()
    other = disk / "other"
    assert run(small, other, "sync", "sandbox/main", "--only", "sweeps").returncode == 0
    filler = fill(disk, but_bytes=120_000)
    done = run(small, other, "sync", "sandbox/main")
    complains(done, 1, "cannot write", ADVICE)
    filler.unlink()
    for folder in (root, other):
        again = run(small, folder, "sync", "sandbox/main")
        assert again.returncode == 0, again.stderr
        counted = run(small, folder, "sql", "SELECT count(*) FROM runs", "--format", "csv")
        assert counted.stdout.split()[-1] == "10"


def test_a_database_without_room_says_so(tmp_path: Path) -> None:
    """SQLite's own word for a full disk brings the same advice."""
    state = State(tmp_path / "state.sqlite")
    state._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(WarehouseError, match=ADVICE):
        state.set_mark("m", "e", "p", "long " * 100_000)
    state.close()


def test_the_first_error_is_the_one_that_is_told(
    small: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publication that fails after an error does not hide it."""

    def fail(*_: object, **__: object) -> None:
        raise WarehouseError("cannot publish: it rains")

    monkeypatch.setattr(Holding, "publish", fail)
    with wbsync.open(tmp_path / "w") as warehouse:
        with pytest.raises(NotFoundError, match="no such project") as caught:
            warehouse.sync("sandbox/nope", base_url=small.base_url, api_key=small.api_key)
        assert any("it rains" in note for note in caught.value.__notes__)
        assert "it rains" in _message(caught.value)
        with pytest.raises(WarehouseError, match="it rains"):
            warehouse.sync("sandbox/main", base_url=small.base_url, api_key=small.api_key)


def test_a_file_that_may_not_grow(small: Sandbox, tmp_path: Path) -> None:
    """A limit on the size of files: one line, and without it the sync goes on."""
    root = tmp_path / "w"
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        " import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " sys.argv = ['wbsync', *sys.argv[1:]]; runpy.run_module('wbsync', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "-w", str(root), "sync", "sandbox/main"],
        check=False, env=small.env(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    complains(done, 1, "cannot")
    again = run(small, root, "sync", "sandbox/main")
    assert again.returncode == 0, again.stderr
    counted = run(small, root, "sql", "SELECT count(*) FROM runs", "--format", "csv")
    assert counted.stdout.split()[-1] == "10"


def test_ctrl_c(tmp_path: Path) -> None:
    """An interrupted sync stops cleanly, and the next one goes on."""
    import signal

    data = tmp_path / "data"
    with Sandbox(data, options=["--latency-ms", "300"]) as sandbox:
        subprocess.run(
            [
                sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data),
                "--project", "main", "--runs", "150", "--steps", "20",
            ],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        root = tmp_path / "w"
        first = subprocess.Popen(
            [sys.executable, "-m", "wbsync", "-w", str(root), "sync", "sandbox/main"],
            env=sandbox.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not any(r.get("operation") == "ProjectRuns" for r in sandbox.requests()):
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGINT)
        _, said = first.communicate(timeout=30)
        assert first.returncode == 130
        assert "Traceback" not in said
        assert "again" in said
        assert run(sandbox, root, "sync", "sandbox/main").returncode == 0
        counted = run(sandbox, root, "sql", "SELECT count(*) FROM runs", "--format", "csv")
        assert counted.stdout.split()[-1] == "150"
