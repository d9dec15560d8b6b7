"""What others read: the published file with any DuckDB, the Delta tables with another engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import wbsync
from wbsync.lake import Lake
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

READERS = Path(sys.prefix) / "readers"
"""Environments with a DuckDB of their own, made by `make setup`."""

COUNT = """
import json, sys, duckdb
def ask(query):
    return connection.execute(query).fetchall()
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    names = [r[0] for r in ask(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
    )]
    counts = {n: ask(f'SELECT count(*) FROM "{n}"')[0][0] for n in names}
    wide = {}
    for schema, name in ask("SELECT schema_name, view_name FROM duckdb_views()"
                            " WHERE contains(schema_name, '__')"):
        columns = [r[0] for r in ask(f'DESCRIBE "{schema}"."{name}"')]
        quoted = ", ".join('count("' + c.replace('"', '""') + '")' for c in columns)
        filled = ask(f'SELECT {quoted} FROM "{schema}"."{name}"')[0]
        wide[f"{schema}.{name}"] = dict(zip(columns, filled))
    curve = ask("SELECT count(*), count(loss), count(acc) FROM"
                " history_wide('sandbox', 'main', 'loss', key2 := 'a/b')"
                " AS w(run_id, step, row, loss, acc)")
    silent = ask("SELECT count(*) FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
                 " AND schema_name <> '_wbsync'")[0][0]
print(json.dumps({"duckdb": duckdb.__version__, "counts": counts, "wide": wide, "curve": curve,
                  "silent": silent}))
"""

WATCH = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
for _ in sys.stdin:
    try:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM history),"
            " (SELECT (sum(hash(run_id, key, step, value)) % 1000000007)::BIGINT FROM history)"
        ).fetchone()
    except duckdb.Error as error:
        rows = [type(error).__name__]
    print(*rows, flush=True)
"""


def counts_with(python: str, path: Path) -> dict[str, Any]:
    """Counts every table's rows with the DuckDB of an interpreter."""
    done = subprocess.run(
        [python, "-I", "-c", COUNT, str(path)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def warehouse(logged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of what the SDK logged."""
    root = tmp_path_factory.mktemp("readers") / "w"
    with Sandbox(logged) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", sandbox.base_url)
        patch.setenv("WANDB_API_KEY", sandbox.api_key)
        wbsync.open(root).sync("sandbox/main")
    return root


@pytest.mark.parametrize("version", ["1.1.3", "1.4.0", "2.0.0"])
def test_older_duckdb_opens_the_published_file(warehouse: Path, version: str) -> None:
    """Each DuckDB opens the file as it lies, and counts what wbsync counts."""
    python = READERS / version / "bin" / "python"
    assert python.exists(), "run `make setup`"
    found = counts_with(str(python), warehouse / "warehouse.duckdb")
    assert found["duckdb"] == version
    with wbsync.open(warehouse) as held:
        wanted = {t.name: t.rows for t in held.tables() if "." not in t.name}
        runs = held.sql("SELECT count(DISTINCT run_id) FROM run_summary WHERE key = 'Loss'")
        wide = held.sql("SELECT count(*) FROM history WHERE key = 'a/b'").fetchall()[0][0]
        with_capital = runs.fetchall()[0][0]
    assert wanted["history"] > 15_000
    assert found["counts"] == wanted
    assert found["wide"]["sandbox__main.runs"]["run_id"] == wanted["runs"]
    summaries = {c: n for c, n in found["wide"]["sandbox__main.runs"].items() if "oss" in c}
    assert with_capital in summaries.values()
    assert {"summary.loss", "summary.loss_2"} <= {c.casefold() for c in summaries}
    assert found["wide"]["sandbox__main.history"]["a/b"] == wide > 0
    assert found["curve"][0][2] == wide
    assert found["silent"] == 0


def test_polars_reads_the_lake(warehouse: Path) -> None:
    """Another engine reads the Delta tables as they lie, and counts the same rows."""
    with wbsync.open(warehouse) as held:
        counts = {t.name: t.rows for t in held.tables()}
    tables = [p.name for p in (warehouse / "lake").iterdir()]
    assert {"runs", "history", "run_config", "run_summary"} <= set(tables)
    for name in tables:
        rows = pl.scan_delta(str(warehouse / "lake" / name)).select(pl.len()).collect().item()
        assert rows == counts.get(f"{name}_all", counts[name]), name


def test_a_reader_is_undisturbed_and_a_new_one_sees_the_new_state(
    tmp_path: Path, wbsync_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """An open connection keeps its state through sync, compaction, vacuum; a new one has the next.

    A vacuum that keeps less than usual says what it takes from open readers.
    """
    data = tmp_path / "data"
    root = tmp_path / "w"

    def seed(number: int) -> None:
        done = wbsync_cli(
            sandbox, "sandbox", "seed", "--data", str(data), "--project", "main", "--runs", "10",
            "--steps", "50", "--keys", "4", "--seed", str(number),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    with Sandbox(data) as sandbox:
        seed(0)
        assert wbsync_cli(sandbox, "sync", "sandbox/main", warehouse=root).returncode == 0
        path = root / "warehouse.duckdb"
        reader = subprocess.Popen(
            [sys.executable, "-I", "-c", WATCH, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert reader.stdin is not None
        assert reader.stdout is not None

        def ask() -> list[str]:
            reader.stdin.write("\n")
            reader.stdin.flush()
            return reader.stdout.readline().split()

        def call(*args: str) -> str:
            done = wbsync_cli(sandbox, *args, warehouse=root)
            assert done.returncode == 0, done.stderr
            return done.stderr

        before = ask()
        assert before[0] == "10"
        seed(1)
        assert wbsync_cli(sandbox, "sync", "sandbox/main", warehouse=root).returncode == 0
        assert ask() == before
        now = counts_with(sys.executable, path)["counts"]
        assert now["runs"] == 20
        assert now["history"] > int(before[1])
        with wbsync.open(root) as same_process:
            assert same_process.sql("SELECT count(*) FROM runs").fetchall() == [(20,)]
        seed(2)
        call("sync", "sandbox/main")
        call("compact")
        held = Lake(root)
        assert len(held.files("history")) == 1
        took = "who has had the published file open since before that must open it again"
        assert took not in call("vacuum", "--keep", "7d")
        assert took not in call("vacuum", "--keep", "0s", "--dry-run")
        call("vacuum", "--keep", "1h")
        assert ask() == before
        seed(3)
        call("sync", "sandbox/main")
        files = len(list(held.path("history").glob("*.parquet")))
        assert took in call("vacuum", "--keep", "0s")
        assert len(list(held.path("history").glob("*.parquet"))) < files
        assert ask() == ["IOException"], "what is gone is an error, never a smaller answer"
        assert counts_with(sys.executable, path)["counts"]["runs"] == 40
        reader.stdin.close()
        assert reader.wait(timeout=20) == 0
        reader.stdout.close()
