"""Files of runs and of artifacts, and console output: what W&B says of them is what SQL gives."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wbsync.progress import SyncReport

HERE = Path(__file__).resolve().parent
STREAMED = {"files", "logLines", "currentManifest"}
"""Fields that an unchanged sync does not ask for."""

HOSTILE = [
    "../../../etc/passwd", "/absolute", "..", ".", "a/../../b", "line\nbreak", "tab\t\x1b[31m",
    "'; DROP TABLE run_files; --", "ünï ☃ 😀", "a" * 200, "%2e%2e%2f", "C:\\x", "con", " ",
]  # fmt: skip


def load_raw() -> Any:
    """Returns the module beside this file, which is no package."""
    spec = importlib.util.spec_from_file_location("wbsync_test_raw", HERE / "raw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pull(sandbox: Sandbox, root: Path, *, logs: bool = True) -> SyncReport:
    """Syncs the project main, console output included."""
    with wbsync.open(root) as warehouse:
        return warehouse.sync(
            "sandbox/main", api_key=sandbox.api_key, base_url=sandbox.base_url, logs=logs
        )


def asked(sandbox: Sandbox, since: int) -> list[dict[str, Any]]:
    """Returns the requests after the first ones."""
    return sandbox.requests()[since:]


def fields(requests: list[dict[str, Any]]) -> set[str]:
    """Returns the schema fields that the requests named."""
    return {field for request in requests for field in request.get("fields") or ()}


def rows(root: Path, query: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a query."""
    with wbsync.open(root) as warehouse:
        return warehouse.sql(query).fetchall()


@pytest.fixture(scope="module")
def filed(run_script: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sandbox's folder that the SDK logged into, and what the SDK reads back."""
    data = tmp_path_factory.mktemp("filed")
    with Sandbox(data) as sandbox:
        said = run_script("log_files.py", sandbox, tmp_path_factory.mktemp("work"))
    return data, said


@pytest.fixture(scope="module")
def server(filed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server on it."""
    data = tmp_path_factory.mktemp("server") / "data"
    shutil.copytree(filed[0], data)
    with Sandbox(data) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def raw(server: Sandbox) -> Iterator[Any]:
    """A bare client of the server."""
    client = load_raw().Raw(server)
    yield client
    client.close()


def test_files_and_lines_are_what_the_sdk_reads(
    filed: Any, tmp_path: Path, wbsync_cli: Any
) -> None:
    """Every file, line and manifest entry is equal to the SDK's, however small the pages are."""
    shutil.copytree(filed[0], tmp_path / "data")
    said, root = filed[1], tmp_path / "w"
    with Sandbox(tmp_path / "data", options=["--max-page-rows", "2"]) as sandbox:
        done = wbsync_cli(sandbox, "sync", "sandbox/main", "--logs", warehouse=root)
        assert done.returncode == 0, done.stderr
        before = len(sandbox.requests())
        assert pull(sandbox, root).rows == {}
        assert not fields(asked(sandbox, before)) & STREAMED
        assert not any(r["has_authorization"] for r in sandbox.requests() if r["port"] == "storage")
    found: dict[str, dict[str, Any]] = {run: {} for run in said["files"]}
    for run, name, *facts, at in rows(
        root, "SELECT run_id, name, file_id, size_bytes, mimetype, md5, updated_at FROM run_files"
    ):
        found[run][name] = [*facts, f"{at:%Y-%m-%dT%H:%M:%SZ}"]
    assert found == said["files"]
    assert "über ☃ file.txt" in found["filed"]
    lines: dict[str, list[Any]] = {run: [] for run in said["lines"]}
    for run, number, at, *texts in rows(
        root,
        "SELECT run_id, number, timestamp, level, label, line FROM console_logs ORDER BY 1, 2",
    ):
        stamp = at.isoformat(timespec="microseconds") + "+00:00"
        lines[run].append([number, stamp, *(text or "" for text in texts)])
    assert lines == said["lines"]
    assert len(lines["filed"]) == 6
    manifests: dict[str, dict[str, Any]] = {version: {} for version in said["manifests"]}
    for version, path, digest, size, ref, birth, extra in rows(
        root,
        "SELECT artifact_id, path, digest, size_bytes, ref, birth_artifact_id, extra"
        " FROM artifact_files",
    ):
        entry = [digest, size or 0, ref, birth, json.loads(extra or "{}")]
        manifests[version][path] = entry
    assert manifests == said["manifests"]
    assert {len(m) for m in manifests.values()} == {5, 1}


def test_a_manifest_that_cannot_be_read(server: Sandbox, tmp_path: Path) -> None:
    """It is left out and said, the rest is there; once it is mended it is read, and only it."""
    root = tmp_path / "w"
    db = sqlite3.connect(server.data / "sandbox.sqlite", isolation_level=None, timeout=30)
    row = db.execute(
        "SELECT b.* FROM manifests m JOIN blobs b ON b.id = m.blob WHERE artifact_pk = 1"
        " ORDER BY m.pk DESC"
    ).fetchone()
    path = server.data / "blobs" / row[0][:2] / row[0]
    whole = path.read_bytes()
    for body, reason in (
        (whole[: len(whole) // 2], "not JSON"),
        (b'{"contents": {"a": {"size": 1}}}', "no digest"),
    ):
        path.write_bytes(body)
        report = pull(server, root)
        assert report.outcome == "partial"
        (skipped,) = report.skipped
        assert "sandbox/main/data:v0" in skipped.what
        assert reason in skipped.reason
        assert rows(root, "SELECT path FROM artifact_files") == [("a.txt",)]
    db.execute("DELETE FROM blobs WHERE id = ?", row[:1])
    (skipped,) = pull(server, root).skipped
    assert "no manifest" in skipped.reason
    path.write_bytes(whole)
    db.execute("INSERT INTO blobs VALUES (?, ?, ?)", row)
    db.close()
    before = len(server.requests())
    assert pull(server, root).outcome == "complete"
    assert len([r for r in asked(server, before) if r["port"] == "storage"]) == 1
    assert rows(root, "SELECT count(*), count(DISTINCT path) FROM artifact_files") == [(6, 6)]


def test_names_are_data_and_deleted_files_are_marked(
    server: Sandbox, raw: Any, tmp_path: Path
) -> None:
    """Any name is kept as it is and is no path; a file that goes keeps its row.

    Files are read again when the run's process has been heard of since.
    """
    root = tmp_path / "w"
    raw.start_run("hostile")
    raw.upload("hostile", *HOSTILE)
    assert pull(server, root).outcome == "complete"
    query = "SELECT name FROM run_files WHERE run_id = 'hostile' ORDER BY name"
    assert {name for (name,) in rows(root, query)} == set(HOSTILE)
    kept = {p.relative_to(root).parts[0] for p in root.rglob("*") if p.is_file()}
    assert kept <= {
        ".lock", ".publish-lock", "catalog", "lake", "state.sqlite", "warehouse.duckdb",
        "wbsync-warehouse.json",
    }  # fmt: skip
    # The run's process has not been heard of since: nothing is asked and nothing committed.
    before = len(server.requests())
    assert pull(server, root).rows == {}
    assert not fields(asked(server, before)) & STREAMED
    ids = raw.files("hostile")
    raw.mutate("deleteFiles", "success", files=[ids["/absolute"], ids[".."]])
    raw.upload("hostile", "new.txt")
    time.sleep(1.1)
    raw.stream("hostile")
    assert pull(server, root).rows["run_files"] == 3
    alive = {name for (name,) in rows(root, query)}
    assert alive == {*HOSTILE, "new.txt"} - {"/absolute", ".."}
    gone = "SELECT name FROM run_files_all WHERE deleted_at IS NOT NULL ORDER BY name"
    assert rows(root, gone) == [("..",), ("/absolute",)]
    # What comes back is there again; once the run has ended it is read one last time.
    raw.upload("hostile", "..")
    raw.stream("hostile", complete=True, exitcode=0)
    pull(server, root)
    assert rows(root, gone) == [("/absolute",)]
    before = len(server.requests())
    assert pull(server, root).requests <= 3
    assert not fields(asked(server, before)) & STREAMED
    # An edit of its row is no reason to; that it is resumed is one.
    raw.start_run("hostile", notes="edited", state="finished")
    before = len(server.requests())
    assert pull(server, root).runs_changed == 1
    assert not fields(asked(server, before)) & STREAMED
    raw.start_run("hostile")
    raw.upload("hostile", "late.txt")
    pull(server, root)
    assert ("late.txt",) in rows(root, query)


def served(raw: Any, run: str) -> list[tuple[int, str]]:
    """Returns number and text of a run's lines as the server has them."""
    found: list[tuple[int, str]] = []
    cursor = None
    query = """query ($project: String!, $run: String!, $after: String) {
      project(name: $project, entityName: "sandbox") { run(name: $run) {
        logLines(first: 1000, after: $after, useImprovedPagination: true) {
          edges { node { number line } } pageInfo { endCursor hasNextPage } } } } }"""
    while True:
        answer = raw.ask(query, project=raw.project, run=run, after=cursor)
        page = answer["project"]["run"]["logLines"]
        found += [(e["node"]["number"], e["node"]["line"]) for e in page["edges"]]
        cursor = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return found


def test_console_output_that_grows_and_is_rewritten(
    server: Sandbox, raw: Any, tmp_path: Path
) -> None:
    """A live run's last lines are looked at again, and no line is ever there twice.

    Growth is appended, rewritten lines replace the old ones, a rewound run loses its own.
    """
    root = tmp_path / "w"
    query = "SELECT number, line FROM console_logs WHERE run_id = 'chatty' ORDER BY number"

    def requests_for_lines() -> int:
        return len([r for r in server.requests() if r.get("operation") == "RunLogs"])

    def check(requests: int) -> None:
        before = requests_for_lines()
        assert pull(server, root).outcome == "complete"
        assert rows(root, query) == served(raw, "chatty")
        assert requests_for_lines() - before == requests

    raw.start_run("chatty")
    raw.stream("chatty", 0, [f"line {i}" for i in range(2_500)])
    check(3)
    files = len(list((root / "lake" / "console_logs").glob("*.parquet")))
    # It grows: the last page is looked at, what is new is one more file, nothing is rewritten.
    raw.stream("chatty", 2_500, ["more", "progress 1 %"])
    check(1)
    assert len(list((root / "lake" / "console_logs").glob("*.parquet"))) == files + 1
    # Lines already held are rewritten, and more follow.
    raw.stream("chatty", 2_420, [f"rewritten {i}" for i in range(90)])
    check(1)
    # Much more than a page at once; then nothing at all, and no commit.
    raw.stream("chatty", 2_510, [f"burst {i}" for i in range(3_000)])
    check(4)
    check(0)
    # It ends: read one last time, then no more.
    raw.stream("chatty", 5_509, ["the very last"], complete=True, exitcode=0)
    check(1)
    check(0)
    # Rewound, it starts anew; what was held is of a timeline that is no more.
    where = {"entityName": "sandbox", "projectName": "main", "runName": "chatty"}
    raw.mutate("rewindRun", "rewoundRun { id }", metricName="_step", metricValue=0, **where)
    raw.stream("chatty", 0, ["anew"], complete=True, exitcode=0)
    check(1)
    assert rows(root, query) == [(0, "anew")]
    # Nobody asked for it: it is not read, and what is held stays.
    before = requests_for_lines()
    pull(server, root, logs=False)
    assert requests_for_lines() == before
    assert rows(root, query) == [(0, "anew")]


def test_an_older_server(filed: Any, tmp_path: Path) -> None:
    """What a server lacks is done without; the rest is there, and the second sync is as cheap."""
    shutil.copytree(filed[0], tmp_path / "data")
    root = tmp_path / "w"
    without = "logLines,currentManifest,File.md5"
    with Sandbox(tmp_path / "data", options=["--without", without]) as sandbox:
        report = pull(sandbox, root)
        assert ["does not offer it" in s.reason for s in report.skipped] == [True]
        assert rows(root, "SELECT count(*), count(md5) FROM run_files") == [(14, 0)]
        assert rows(root, "SELECT count(*) FROM console_logs") == [(0,)]
        assert rows(root, "SELECT count(*) FROM artifact_files") == [(0,)]
        assert pull(sandbox, root).requests <= 3


def test_a_server_without_cursors_gives_the_end_of_a_log(filed: Any, tmp_path: Path) -> None:
    """The last 10,000 lines come; what is missing is said, and what was held stays."""
    shutil.copytree(filed[0], tmp_path / "data")
    root = tmp_path / "w"
    query = "SELECT count(*), min(number), max(number) FROM console_logs WHERE run_id = 'long'"
    without = "Run.logLines(useImprovedPagination),Run.files,Query.artifact"
    with Sandbox(tmp_path / "data", options=["--without", without]) as sandbox:
        raw = load_raw().Raw(sandbox)
        raw.start_run("long")
        raw.stream("long", 0, [f"line {i}" for i in range(9_000)])
        assert pull(sandbox, root).outcome == "complete"
        assert rows(root, "SELECT count(*) FROM console_logs WHERE run_id = 'filed'") == [(6,)]
        raw.stream("long", 9_000, [f"line {i}" for i in range(9_000, 12_000)])
        assert pull(sandbox, root).outcome == "complete"
        assert rows(root, query) == [(12_000, 0, 11_999)]
        raw.stream("long", 12_000, [f"line {i}" for i in range(12_000, 30_001)], complete=True)
        report = pull(sandbox, root)
        assert ["line 20001 and after" in s.reason for s in report.skipped] == [True]
        assert rows(root, query) == [(12_000 + 10_000, 0, 30_000)]
        assert pull(sandbox, root).requests <= 3
        raw.close()
    assert rows(root, "SELECT count(*) FROM run_files") == [(0,)]
