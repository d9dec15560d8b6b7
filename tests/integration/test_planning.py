"""Dry runs, budgets, selections and runs set aside, against a real server."""

from __future__ import annotations

import http.server
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import wbsync
from wbsync.cli import cli
from wbsync.errors import ConfigError
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HISTORY_FIELDS = {"history", "sampledHistory", "parquetHistory"}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sandbox's folder with a project of 40 runs and a small one."""
    data = tmp_path_factory.mktemp("seeded") / "data"
    seed(data, "main", runs=40, steps=60, keys=4, sweeps=2, artifacts=4)
    seed(data, "other", runs=3, steps=10, keys=2, sweeps=0, artifacts=0)
    return data


def seed(data: Path, project: str, **amounts: int) -> None:
    """Adds runs to a project, while a server runs or not."""
    options = [str(x) for name, value in amounts.items() for x in (f"--{name}", value)]
    subprocess.run(
        [
            sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data), "--project",
            project, *options,
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip


@contextmanager
def served(seeded: Path, data: Path, *options: str) -> Iterator[Sandbox]:
    """Serves a copy of a folder."""
    shutil.copytree(seeded, data)
    with Sandbox(data, options=options) as sandbox:
        yield sandbox


def change(sandbox: Sandbox, statement: str, *values: Any) -> None:
    """Changes what the server holds behind its back."""
    with closing(sqlite3.connect(sandbox.data / "sandbox.sqlite", timeout=30)) as store, store:
        assert store.execute(statement, values).rowcount


def ask(sandbox: Sandbox, query: str, **variables: Any) -> Any:
    """Asks the server itself."""
    import base64

    key = base64.b64encode(f"api:{sandbox.api_key}".encode()).decode()
    request = urllib.request.Request(
        f"{sandbox.base_url}/graphql",
        json.dumps(
            {"query": query, "variables": variables, "operationName": query.split("(", 1)[0][-1]}
        ).encode(),
        {"Authorization": f"Basic {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        payload = json.load(answer)
    assert not payload.get("errors"), payload
    return payload["data"]


def asked(sandbox: Sandbox, since: int = 0) -> list[dict[str, Any]]:
    """Returns wbsync's requests to the API, after the first so many of all."""
    new = sandbox.requests()[since:]
    return [r for r in new if r["port"] == "api" and r.get("operation") not in {"D", "R"}]


def files_of(root: Path) -> dict[str, bytes]:
    """Returns every file below a folder."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def call(sandbox: Sandbox, root: Path | None, *arguments: str, code: int = 0) -> str:
    """Calls the command within this process, which saves its start; returns what it printed."""
    folder = [] if root is None else ["-w", str(root)]
    done = CliRunner().invoke(cli, [*folder, *arguments], env=sandbox.env(), standalone_mode=False)
    assert done.exception is None, done.exception
    assert (done.return_value or 0) == code, (done.return_value, done.stderr)
    return done.stdout


def report_of(
    sandbox: Sandbox, root: Path | None, *arguments: str, code: int = 0
) -> dict[str, Any]:
    """Returns the JSON that a command printed."""
    said = call(sandbox, root, *arguments, "--json", code=code)
    return dict(json.loads(said.splitlines()[-1]))


RUN = """query R($name: String!) {
  project(name: "main", entityName: "sandbox") { run(name: $name) { id } } }"""
DELETE = "mutation D($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }"


def rows_of(sandbox: Sandbox, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Returns what the server's store holds."""
    with closing(sqlite3.connect(sandbox.data / "sandbox.sqlite", timeout=30)) as store:
        return list(store.execute(query, values).fetchall())


def runs_of(sandbox: Sandbox, where: str = "1", *values: Any) -> list[str]:
    """Returns the ids of the runs of main that pass a condition, oldest first."""
    query = f"""SELECT r.name FROM runs r JOIN projects p ON p.pk = r.project_pk
      WHERE p.name = 'main' AND {where} ORDER BY r.createdAt, r.pk"""
    return [name for (name,) in rows_of(sandbox, query, *values)]


def delete(sandbox: Sandbox, *names: str) -> None:
    """Deletes runs of main, as a person would on the page."""
    for name in names:
        ask(sandbox, DELETE, id=ask(sandbox, RUN, name=name)["project"]["run"]["id"])


SERVERS = {
    "as is": ((), 3),
    "without": (("--max-page-rows", "9", "--without", "updatedAtFilter,parquetHistory"), 5),
}


@pytest.mark.parametrize("server", SERVERS)
def test_limited_syncs_end_like_an_unlimited_one(
    seeded: Path, tmp_path: Path, wbsync_env: Any, content_of: Any, server: str
) -> None:
    """A handful of requests at a time gets there, never takes one more, and misses nothing."""
    options, allowed = SERVERS[server]

    def sync_in_parts(root: Path, change_between: Callable[[], None] | None = None) -> int:
        with wbsync.open(root) as warehouse:
            for number in range(60):
                before = len(sandbox.requests())
                report = warehouse.sync("sandbox/main", max_requests=allowed)
                assert report.requests == len(asked(sandbox, before)) <= allowed
                if report.outcome == "complete":
                    assert not report.left
                    return number
                assert report.outcome == "stopped"
                # What surrounds the project, its entity's, is a turn of its own.
                assert report.left
                assert {left.what for left in report.left} <= {"sandbox/main", "sandbox"}
                if change_between is not None and number == 2:
                    change_between()
        raise AssertionError("it never ended")

    with served(seeded, tmp_path / "data", *options) as sandbox:
        wbsync_env(sandbox)
        assert sync_in_parts(tmp_path / "parts") > 2
        with wbsync.open(tmp_path / "whole") as warehouse:
            assert warehouse.sync("sandbox/main").outcome == "complete"
        wanted = content_of(tmp_path / "whole")
        found = content_of(tmp_path / "parts")
        assert wanted["history"]
        for table, rows in wanted.items():
            assert found[table] == rows, table

        def delete_at(*places: int) -> None:
            runs = runs_of(sandbox)
            delete(sandbox, *(runs[place] for place in places))

        if not options:
            return
        # New runs, edits and deletions, before and while the parts are read.
        seed(tmp_path / "data", "main", runs=15, steps=30, keys=3, sweeps=0, seed=5)
        change(
            sandbox, "UPDATE runs SET notes = 'edited', updatedAt = ? WHERE pk % 5 = 0",
            datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )  # fmt: skip
        delete_at(3, 11, 30)
        sync_in_parts(tmp_path / "parts", change_between=lambda: delete_at(0, 1, 20))
        sync_in_parts(tmp_path / "parts")
        with wbsync.open(tmp_path / "whole") as warehouse:
            warehouse.sync("sandbox/main")
        alive = set(runs_of(sandbox))
    wanted = content_of(tmp_path / "whole")
    found = content_of(tmp_path / "parts")
    assert len(found["runs"]) == len(alive)

    def of_alive(rows: list[str]) -> list[str]:
        """A part may have read a run that was deleted before the whole looked."""
        return [
            r for r in rows if "'run_id': '" not in r or r.split("'run_id': '")[1][:10] in alive
        ]

    for table, rows in wanted.items():
        assert of_alive(found[table]) == of_alive(rows), table


@pytest.mark.parametrize("without", ["nothing", "updatedAtFilter"])
def test_what_changed_while_a_walk_was_interrupted_is_not_missed(
    seeded: Path, tmp_path: Path, wbsync_env: Any, without: str
) -> None:
    """An unlimited sync that goes on with a stopped one is as current as any other."""
    options = ["--without", without] if without != "nothing" else []
    with served(seeded, tmp_path / "data", "--max-page-rows", "8", *options) as sandbox:
        wbsync_env(sandbox)
        with wbsync.open(tmp_path / "w") as warehouse:
            report = warehouse.sync("sandbox/main", max_requests=3)
            # Two pages of eight, which overlap by one row.
            assert (report.outcome, report.runs) == ("stopped", 15)
            edited, gone = runs_of(sandbox)[1:3]
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            statement = "UPDATE runs SET notes = 'edited', updatedAt = ? WHERE name = ?"
            change(sandbox, statement, stamp, edited)
            delete(sandbox, gone, runs_of(sandbox)[20])
            report = warehouse.sync("sandbox/main")
            assert report.outcome == "complete"
            notes = warehouse.sql("SELECT run_id FROM runs WHERE notes = 'edited'").fetchall()
            assert notes == [(edited,)]
            held = {r for (r,) in warehouse.sql("SELECT run_id FROM runs").fetchall()}
            assert held == set(runs_of(sandbox))


def test_a_budget_too_small_says_so_and_several_projects_take_turns(
    seeded: Path, tmp_path: Path
) -> None:
    """Exit code 5, what is left, and no project starves behind another."""
    root = tmp_path / "w"
    with served(seeded, tmp_path / "data") as sandbox:
        report = report_of(sandbox, root, "sync", "sandbox/main", "--max-requests", "1", code=5)
        assert (report["outcome"], report["requests"]) == ("stopped", 1)
        assert "too small" in report["left"][0]["reason"]
        said = call(sandbox, root, "sync", "sandbox", "--max-minutes", "0.000001", code=5)
        assert "stopped" in said
        assert "left: sandbox" in said
        # Enough for one project at a time: the one that waits longer has its turn.
        turns: set[str] = set()
        for _ in range(8):
            report = report_of(sandbox, root, "sync", "sandbox", "--max-requests", "6", code=5)
            turns |= set(report["projects"])
            if turns == {"sandbox/main", "sandbox/other"}:
                break
        else:
            raise AssertionError("a project was starved")
        assert report_of(sandbox, root, "sync", "sandbox", "--max-requests", "99")["left"] == []


@pytest.mark.parametrize(
    "options",
    [(), ("--max-page-rows", "7", "--without", "parquetHistory,updatedAt")],
    ids=["as is", "older, small pages"],
)
def test_a_dry_run_foretells_and_writes_nothing(
    seeded: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Requests within a factor of two of what the sync takes; no byte of the folder changes."""
    root = tmp_path / "w"

    def compare(counts: dict[str, int], *arguments: str) -> None:
        before = files_of(root)
        begun = len(sandbox.requests())
        said = report_of(sandbox, root, "sync", *arguments, "--dry-run")
        assert said["asked"] == len(asked(sandbox, begun))
        assert files_of(root) == before
        assert root.exists() == bool(before)
        begun = len(sandbox.requests())
        report = report_of(sandbox, root, "sync", *arguments)
        total = said["total"]
        assert {name: total[name] for name in counts} == counts
        assert report["requests"] / 2 <= total["requests"] <= report["requests"] * 2
        assert report["requests"] == len(asked(sandbox, begun))
        assert report["history_rows"] / 2 <= total["values"] <= report["history_rows"] * 2
        assert total["seconds"] > 0
        if report["history_rows"]:
            assert report["bytes"] / 5 <= total["bytes"] <= report["bytes"] * 5

    with served(seeded, tmp_path / "data", *options) as sandbox:
        first = {"runs": 43, "new": 43, "changed": 0, "gone": 0}
        compare(first, "sandbox")
        compare({"new": 0, "changed": 0, "gone": 0, "history_runs": 0, "rows": 0}, "sandbox")
        seed(tmp_path / "data", "main", runs=20, steps=50, keys=3, sweeps=0, seed=5)
        change(
            sandbox, "UPDATE runs SET notes = 'edited', updatedAt = ? WHERE state = 'finished'"
            " AND pk <= 10", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )  # fmt: skip
        edited = len(rows_of(sandbox, "SELECT 1 FROM runs WHERE notes = 'edited'"))
        delete(sandbox, runs_of(sandbox)[30])
        (root / "state.sqlite-wal").write_bytes(b"")
        compare({"new": 20, "changed": edited, "gone": 1}, "sandbox/main")
        compare({"new": 0, "changed": 0, "gone": 0, "history_runs": 0}, "sandbox/main", "--full")
        root = tmp_path / "metadata first"
        compare({"new": 59, "history_runs": 0}, "sandbox/main", "--only", "runs")
        compare({"new": 0, "changed": 0}, "sandbox/main", "--logs")
        root = tmp_path / "w"
        sources = ("sandbox/main", "sandbox/none")
        said = call(sandbox, root, "sync", *sources, "--dry-run", code=5)
        assert "sandbox/main" in said
        assert "nothing was written" in said


class Deaf(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a sandbox, without their filters."""

    target = ""

    def do_POST(self) -> None:
        """Passes one on."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "filters" in body.get("variables", {}):
            body["variables"]["filters"] = "{}"
        request = urllib.request.Request(
            f"{self.target}/graphql", json.dumps(body).encode(),
            {"Authorization": self.headers["Authorization"], "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def deaf_to_filters(sandbox: Sandbox) -> Iterator[str]:
    """Serves what a sandbox serves, by a server that ignores filters."""
    handler = type("Handler", (Deaf,), {"target": sandbox.base_url})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("is_deaf", [False, True], ids=["filters", "ignores filters"])
def test_a_selective_sync_takes_what_is_selected_and_leaves_the_rest(
    seeded: Path, tmp_path: Path, content_of: Any, *, is_deaf: bool
) -> None:
    """By id, by time, by filter; nothing else is read, marked or moved; the rest comes later."""
    with served(seeded, tmp_path / "data") as sandbox, deaf_to_filters(sandbox) as deaf:
        runs = runs_of(sandbox)

        def sync(warehouse: Any, **options: Any) -> Any:
            base_url = deaf if is_deaf else sandbox.base_url
            return warehouse.sync(
                "sandbox/main", base_url=base_url, api_key=sandbox.api_key, **options
            )

        def held(table: str = "runs") -> set[str]:
            found = warehouse.sql(f"SELECT DISTINCT run_id FROM {table}").fetchall()
            return {run_id for (run_id,) in found}

        with wbsync.open(tmp_path / "w") as warehouse:
            report = sync(warehouse, runs=[runs[5], runs[7]])
            assert (report.outcome, report.runs_changed) == ("complete", 2)
            assert held() == held("history") == {runs[5], runs[7]}
            assert is_deaf or report.requests <= 4
            bookmark = "SELECT bookmark FROM projects WHERE bookmark LIKE '%updated_at%'"
            assert warehouse.sql(bookmark).fetchall() == []
            again = sync(warehouse, runs=[runs[5]])
            assert (again.outcome, again.rows) == ("complete", {})
            missing = sync(warehouse, runs=[runs[5], "no-such"])
            assert missing.outcome == "partial"
            assert [s.what for s in missing.skipped] == ["no-such"]

            since = datetime.now(UTC) - timedelta(days=10)
            young = set(
                runs_of(
                    sandbox, "max(r.createdAt, r.heartbeatAt) >= ?", f"{since:%Y-%m-%dT%H:%M:%SZ}"
                )
            )
            assert 5 < len(young) < 30
            sync(warehouse, since=since)
            assert held() == young | {runs[5], runs[7]}

            sync(warehouse, filters={"state": "crashed"})
            crashed = set(runs_of(sandbox, "r.state = 'crashed'"))
            assert crashed - young
            assert held() == young | crashed | {runs[5], runs[7]}

            # What is gone or edited beside the selection stays as it is held.
            before = held()
            delete(sandbox, runs[7])
            sync(warehouse, runs=[runs[5]])
            assert held() == before
            assert warehouse.sql(bookmark).fetchall() == []

            # A whole sync takes all, and a selective one after it does not move its bookmark.
            assert sync(warehouse).outcome == "complete"
            assert held() == set(runs_of(sandbox))
            bookmarks = warehouse.sql(bookmark).fetchall()
            assert len(bookmarks) == 1
            sync(warehouse, runs=[runs[5]])
            assert warehouse.sql(bookmark).fetchall() == bookmarks
        with wbsync.open(tmp_path / "whole") as other:
            sync(other)
    wanted, found = content_of(tmp_path / "whole"), content_of(tmp_path / "w")
    for table in ("runs", "run_config", "run_summary", "run_tags", "history", "system_metrics"):
        rows = [r for r in found[table] if runs[7] not in r]
        assert rows == wanted[table], table


def test_a_report_counts_the_runs_that_are(seeded: Path, tmp_path: Path, wbsync_env: Any) -> None:
    """A run that was deleted in W&B is told once, and is not counted any more."""
    root = tmp_path / "w"
    with served(seeded, tmp_path / "data") as sandbox:
        wbsync_env(sandbox)
        with wbsync.open(root) as warehouse:

            def synced(**how: Any) -> tuple[int, int, int]:
                report = warehouse.sync("sandbox/main", only=["runs"], **how)
                return report.runs, report.runs_changed, report.runs_deleted

            assert synced() == (40, 40, 0)
            delete(sandbox, *runs_of(sandbox)[:2])
            said = call(sandbox, root, "sync", "sandbox/main", "--only", "runs")
            assert said.startswith("38 runs (0 changed, 2 gone)")
            assert synced() == synced(full=True) == (38, 0, 0)


def test_a_filter_is_checked_here(seeded: Path, tmp_path: Path) -> None:
    """Nothing gets past a filter, whether the server applies it or not, or cannot be asked it."""
    with served(seeded, tmp_path / "data") as sandbox, deaf_to_filters(sandbox) as deaf:
        for base_url in (deaf, sandbox.base_url):
            with wbsync.open(tmp_path / "w") as warehouse:
                warehouse.sync(
                    "sandbox/main", base_url=base_url, api_key=sandbox.api_key,
                    filters='config.model.depth > 8 and State != "none"',
                )  # fmt: skip
    with wbsync.open(tmp_path / "w") as warehouse:
        depths = warehouse.sql(
            "SELECT min(value), max(value), count(*) FROM run_config WHERE key = 'model.depth'"
        ).fetchall()
        assert depths[0][0] == 9
        assert 0 < depths[0][2] < 40
        alien = warehouse.sql(
            "SELECT count(*) FROM history WHERE run_id NOT IN (SELECT run_id FROM runs)"
        )
        assert alien.fetchall() == [(0,)]


def test_a_filter_is_about_what_is_held_too(seeded: Path, tmp_path: Path) -> None:
    """Of runs whose metadata is held, only those that pass are read, counted or selected.

    Whether the server knows them to pass, what it held says so, or what it changed to since.
    """
    root = tmp_path / "w"
    nothing = '{"config.optimizer.lr": {"$gt": 1e9}}'
    deep = '{"config.model.depth": {"$gt": 8}}'

    def synced(*arguments: str) -> dict[str, Any]:
        return report_of(sandbox, root, "sync", "sandbox/main", *arguments)

    def dry(*arguments: str) -> dict[str, Any]:
        return dict(synced(*arguments, "--dry-run")["total"])

    def held(query: str) -> set[str]:
        with wbsync.open(root) as warehouse:
            return {run for (run,) in warehouse.sql(query).fetchall()}

    with served(seeded, tmp_path / "data") as sandbox:
        synced("--skip", "history,system_metrics")
        passing = held("SELECT run_id FROM run_config WHERE key = 'model.depth' AND value > 8")
        assert 1 < len(passing) < 40
        begun = len(sandbox.requests())
        assert dry("--filter", nothing)["runs"] == dry("--filter", nothing)["history_runs"] == 0
        report = synced("--filter", nothing)
        assert (report["runs"], report["history_rows"]) == (0, 0)
        fields = {f for r in asked(sandbox, begun) for f in r.get("fields") or ()}
        assert not fields & HISTORY_FIELDS
        names = [r.get("operation") for r in asked(sandbox, begun)]
        assert "RunsByName" not in names  # all are tested by what is held

        said = dry("--filter", deep)
        assert (said["runs"], said["changed"]) == (len(passing), 0)
        # Some do not pass any more, and one does that did not: W&B's word counts, not what is held.
        first, *_ = sorted(passing)
        other = min(set(runs_of(sandbox)) - passing)
        for run, depth in ((first, 1), (other, 99)):
            change(
                sandbox, "UPDATE bodies SET config = json_set(config, '$.model.value.depth', ?)"
                " WHERE run_pk = (SELECT pk FROM runs WHERE name = ?)", depth, run,
            )  # fmt: skip
            change(
                sandbox, "UPDATE runs SET updatedAt = ? WHERE name = ?",
                datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), run,
            )  # fmt: skip
        passing = passing - {first} | {other}
        said = dry("--filter", deep)
        assert (said["runs"], said["new"], said["changed"]) == (len(passing), 0, 1)
        # Where runs are not synced, they are looked at all the same.
        synced("--filter", deep, "--only", "system_metrics")
        assert held("SELECT DISTINCT run_id FROM system_metrics") <= passing
        assert synced("--filter", deep)["runs"] == len(passing)
        assert held("SELECT DISTINCT run_id FROM history") == passing
        # Which keys a run has logged is not held: it is asked again.
        key = max(held("SELECT DISTINCT key FROM history_keys WHERE key[1] <> '_'"))
        begun = len(sandbox.requests())
        report = synced("--filter", json.dumps({f"keys_info.keys.{key}": {"$exists": True}}))
        assert report["runs"] == len(held("SELECT DISTINCT run_id FROM history")) > len(passing)
        assert "RunsByName" in [r.get("operation") for r in asked(sandbox, begun)]


def test_a_poisoned_run_rests_and_comes_back(seeded: Path, tmp_path: Path, wbsync_cli: Any) -> None:
    """It is set aside, makes no request until it is due, is listed, and heals."""
    root = tmp_path / "w"

    def sync(*arguments: str, code: int = 0) -> tuple[dict[str, Any], set[str]]:
        begun = len(sandbox.requests())
        report = report_of(sandbox, root, "sync", "sandbox/main", *arguments, code=code)
        fields = {f for r in asked(sandbox, begun) for f in r.get("fields") or ()}
        return report, fields & HISTORY_FIELDS

    def wind_back(hours: float) -> None:
        with closing(sqlite3.connect(root / "state.sqlite")) as state, state:
            at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
            state.execute("UPDATE runs_set_aside SET last_tried_at = ?", (at,))

    with served(seeded, tmp_path / "data") as sandbox:
        runs = runs_of(sandbox)
        bad_history, bad_config = runs[2], runs[4]
        blob = rows_of(
            sandbox, "SELECT h.blob FROM parts h JOIN runs r ON r.pk = h.run_pk WHERE r.name = ?",
            bad_history,
        )[0][0]  # fmt: skip
        path = sandbox.data / "blobs" / blob[:2] / blob
        good = path.read_bytes()
        path.write_bytes(b"no Parquet at all")
        config = rows_of(
            sandbox, "SELECT config FROM bodies JOIN runs r ON r.pk = run_pk WHERE r.name = ?",
            bad_config,
        )[0][0]  # fmt: skip
        swap = "UPDATE bodies SET config = ? WHERE run_pk = (SELECT pk FROM runs WHERE name = ?)"
        change(sandbox, swap, '{"lr": ', bad_config)

        report, _ = sync(code=5)
        assert report["outcome"] == "partial"
        assert sorted(s["what"] for s in report["skipped"]) == sorted(
            f"sandbox/main/{r}" for r in (bad_history, bad_config)
        )
        report, fields = sync()
        assert (report["outcome"], report["skipped"], fields) == ("complete", [], set())
        assert {s["stream"] for s in report["set_aside"]} == {"run_config", "history"}
        assert report["requests"] <= 3

        status = report_of(sandbox, root, "status")
        listed = {a["what"].split("/")[-1]: a for a in status["set_aside"]}
        assert listed.keys() == {bad_history, bad_config}
        assert listed[bad_history]["attempts"] == 1
        assert "Parquet" in listed[bad_history]["reason"]
        assert datetime.fromisoformat(listed[bad_history]["next_try_at"]) > datetime.now(UTC)
        assert "tries, next " in call(sandbox, root, "status")

        report, fields = sync("--retry", code=5)
        assert fields
        assert len(report["skipped"]) == 2
        wind_back(0.1)  # six minutes: enough after one try, too few after two
        assert sync()[0]["outcome"] == "complete"
        wind_back(1)
        report, _ = sync(code=5)
        assert len(report["skipped"]) == 2

        path.write_bytes(good)
        change(sandbox, swap, config, bad_config)
        assert len(sync()[0]["set_aside"]) == 2
        report, _ = sync("--runs", bad_history)
        assert (report["outcome"], report["set_aside"][0]["what"]) == (
            "complete", f"sandbox/main/{bad_config}",
        )  # fmt: skip
        wind_back(48)
        report, _ = sync()
        assert (report["outcome"], report["set_aside"]) == ("complete", [])
        with wbsync.open(root) as warehouse:
            query = "SELECT count(DISTINCT run_id) FROM runs JOIN history USING (run_id)"
            held = warehouse.sql(f"{query} WHERE run_id IN (?, ?)", [bad_history, bad_config])
            assert held.fetchall() == [(2,)]


def test_wbsync_toml_says_what_is_synced(
    seeded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wbsync sync` alone: sources with options of their own, globs, and flags that go before."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))

    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    (tmp_path / "wbsync.toml").write_text(
        'warehouse = "w"\nsources = ["sandbox/oth*"]\n'
        '[[source]]\npath = "sandbox/main"\nskip = ["system_metrics"]\n'
        'filter = { state = "crashed" }\n'
    )
    with served(seeded, tmp_path / "data") as sandbox:
        report = report_of(sandbox, None, "sync")
        assert report["projects"] == ["sandbox/other", "sandbox/main"]
        with wbsync.open(tmp_path / "w") as warehouse:
            query = "SELECT project, state, count(*) FROM runs GROUP BY ALL ORDER BY ALL"
            crashed = len(runs_of(sandbox, "r.state = 'crashed'"))
            assert warehouse.sql(query).fetchall() == [
                ("main", "crashed", crashed), ("other", "finished", 3),
            ]  # fmt: skip
            chosen = ("--filter", '{"state": "failed"}')
            report = report_of(sandbox, None, "sync", "sandbox/main", *chosen)
            assert report["projects"] == ["sandbox/main"]
            failed = len(runs_of(sandbox, "r.state = 'failed'"))
            assert ("main", "failed", failed) in warehouse.sql(query).fetchall()
            assert warehouse.sql("SELECT count(*) FROM system_metrics").fetchall() == [(0,)]
        report = report_of(sandbox, tmp_path / "n", "--no-config", "sync", "sandbox/other")
        assert report["runs"] == 3
        (tmp_path / "filter.json").write_text('{"state": "running"}')
        report = report_of(sandbox, None, "sync", "sandbox/main", "--filter", "@../filter.json")
        assert report["runs"] == len(runs_of(sandbox, "r.state = 'running'")) > 0


BAD_OPTIONS = [
    (("--since", "soon"), "no time"),
    (("--since", "2999-01-01"), "future"),
    (("--filter", "{"), "--filter"),
    (("--filter", "[1]"), "JSON object"),
    (("--filter", '{"state": {"$gtt": 1}}'), "did you mean $gt"),
    (("--filter", '{"nonsense": 1}'), "no field nonsense"),
    (("--filter", "@nowhere.json"), "nowhere.json"),
    (("--max-requests", "0"), "--max-requests"),
    (("--max-minutes", "0"), "--max-minutes"),
    (("--watch", "0s"), "--watch"),
    (("--watch", "5x"), "no duration"),
    (("--wait", "9y"), "no duration"),
    (("--only", "history", "--skip", "history"), "leaves nothing"),
    (("sandbox/*/x",), "ENTITY/PROJECT"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD_OPTIONS)
def test_options_that_cannot_be_used(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2 and one line that says what is wrong, before anything is asked or made."""
    call = ["--no-config", "-w", str(tmp_path / "w"), "sync", "a/b", *arguments]
    env = {"WANDB_API_KEY": "k" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    done = CliRunner().invoke(cli, call, env=env)
    if isinstance(done.exception, ConfigError):
        assert says in str(done.exception)
    else:
        assert done.exit_code == 2
        assert says in done.output
    assert not (tmp_path / "w").exists()
