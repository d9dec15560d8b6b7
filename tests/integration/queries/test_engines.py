"""A query means the same on another engine, or is refused there; and only reads."""

from __future__ import annotations

import builtins
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from wbsync.errors import (
    ConfigError,
    EngineError,
    QueryError,
    StatementRefusedError,
    WarehouseError,
)
from wbsync.query import Engine
from wbsync.query.spark import SparkEngine
from wbsync.query.transpile import to_spark

SAME = r"""
SELECT run_id FROM runs_all EXCEPT SELECT run_id FROM Runs ORDER BY 1

SELECT date_diff('day', TIMESTAMP '2024-01-01 23:00:00', TIMESTAMP '2024-01-02 01:00:00') AS d,
    datediff('month', DATE '2024-01-31', DATE '2024-02-01') AS m

SELECT epoch(TIMESTAMP '2024-01-01 00:00:00.25') + 1 AS e

SELECT isinf(value) AS i, isfinite(value) AS f, isnan(value) AS n, count(*) AS c FROM history
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3

SELECT count(*) AS n FROM history WHERE isnan(value)

SELECT count(*) AS n FROM history WHERE value <= 5

SELECT quantile_cont(value, 0.25) AS q, median(value) AS m FROM run_config WHERE key = 'lr'

SELECT max(created_at) AS a, date_trunc('week', max(created_at)) AS w FROM main.runs

SELECT state, string_agg(run_id, ', ' ORDER BY run_id) AS ids FROM runs GROUP BY state ORDER BY
    state

SELECT config->'model'->>'depth' AS d FROM runs WHERE run_id = 's01'

SELECT 7 / 2 AS a, 7 // 2 AS b, -7 % 3 AS d, round(2.5) AS r, round(-2.5) AS s

SELECT 'a' || NULL AS x, concat('a', NULL) AS y, greatest(1, NULL) AS g

SELECT t.i * 2 AS i FROM range(5, 8) AS t(i) ORDER BY 1

SELECT i FROM generate_series(1, 3) AS t(i) ORDER BY i

SELECT unnest([3, 1, 2]) AS x

WITH runs AS (SELECT run_id FROM runs WHERE project = 'ops') SELECT count(*) AS n FROM runs

SELECT * FROM (SELECT run_id FROM runs QUALIFY row_number() OVER (PARTITION BY project ORDER BY
    run_id) = 1) AS firsts ORDER BY 1

SELECT created_at - INTERVAL 5 HOUR AS t FROM runs WHERE run_id = 's01'

SELECT CAST('NaN' AS DOUBLE) > 5 AS x, CAST('NaN' AS DOUBLE) = CAST('NaN' AS DOUBLE) AS y

SELECT 'a_b' LIKE 'a\_b' AS a, 'x\y' LIKE 'x\y' AS b, 'A%' ILIKE 'a\%' AS c, 'a' LIKE '_' AS d

SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, t) ORDER BY n

SELECT count(*) FILTER (WHERE state = 'failed') AS f, arg_max(run_id, created_at) AS a FROM runs
    WHERE project = 'ops'

SELECT 1 AS a; SELECT 2 AS b

FROM projects

FROM artifact_types_all
""".strip().split("\n\n")
"""Queries that DuckDB and Spark would answer differently if their words were only copied, and
others; the last two read tables that this lake does not hold."""

HOSTILE = "SELECT 'it''s \\ a \"test\" ${env:HOME} ${spark.app.name} \n -- ; /* ü☃ 💥' AS t"


@pytest.fixture(scope="module")
def engines(held: Any, sail: str) -> Any:
    """Both engines."""
    with Engine.open(held.root) as duck, SparkEngine.open(held.root, sail) as spark:
        yield duck, spark


@pytest.mark.parametrize("query", [*SAME, HOSTILE])
def test_the_same_words_mean_the_same(engines: Any, query: str) -> None:
    """Both engines give the same columns and rows."""
    duck, spark = (engine.sql(query).arrow() for engine in engines)
    assert spark.schema.names == duck.schema.names
    assert repr(spark.to_pylist()) == repr(duck.to_pylist())


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT list(x ORDER BY x) FROM range(3) AS t(x)", "sort the list"),
        ("SELECT quantile(value, 0.5) FROM history", "use quantile_cont"),
        ("SELECT config->'lr' FROM runs", "use ->>"),
        ("FROM runs QUALIFY row_number() OVER (ORDER BY run_id) = 1 LIMIT 1", "into a subquery"),
        ("FROM run", "did you mean 'runs'"),
        ("FROM sync_log", "wbsync tables"),
        ('FROM runs, "delta"."/etc"', "there is no table"),
        ("SELECT (SELECT count(*) FROM elsewhere.runs)", "there is no table"),
        ("SELECT $a AS x", "no value for $a"),
        ("SELECT nothing FROM runs", "nothing"),
        ("selec 1", "syntax error"),
        ("SELECT 'a\x00b'", "NUL"),
    ],
)  # fmt: skip
def test_what_cannot_be_the_same_says_why(engines: Any, query: str, says: str) -> None:
    """Words that Spark has in another meaning, and names that it lacks, end in one line."""
    with pytest.raises(QueryError) as caught:
        engines[1].sql(query)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE runs", "INSERT INTO runs SELECT * FROM runs", "COPY runs TO 'x'",
        "CREATE VIEW v AS SELECT 1", "WITH x AS (COPY runs TO 'x') FROM x", "SET threads = 1",
        "EXPLAIN SELECT 1", "SHOW TABLES", "SUMMARIZE runs", "ATTACH 'x'", "CALL range(1)",
        "SELECT 1; DELETE FROM runs", "SELECT java_method('java.lang.System', 'exit', 1)",
        "SELECT reflect('java.lang.System', 'exit', 1)", "SELECT getenv('HOME')",
        "FROM read_parquet('/etc/passwd')", "FROM read_csv('x')", "FROM glob('*')",
        "FROM duckdb_settings()", "SELECT * FROM query('SELECT 1')",
    ],
)  # fmt: skip
def test_only_what_reads_is_sent(engines: Any, query: str) -> None:
    """What writes, runs code or reads files is refused before the engine hears of it."""
    with pytest.raises(StatementRefusedError):
        engines[1].sql(query)


def test_parameters_become_literals_of_the_same_value(engines: Any) -> None:
    """Hostile values come back as they were, from both engines; none becomes SQL."""
    values = {
        "t": "'; DROP TABLE runs; -- \\ \\' ${env:HOME} %_ ü 💥 \n\t",
        "n": -(2**63), "x": 1e-320, "nan": float("-inf"), "b": False, "none": None,
        "l": ["a'b", "c\\d"],
    }  # fmt: skip
    query = (
        "SELECT $t AS t, $n AS n, $x AS x, $nan AS nan, $b AS b, $none IS NULL AS z,"
        " list_contains($l, 'c\\d') AS l"
    )
    wanted = {"t": values["t"], "n": -(2**63), "x": 1e-320, "nan": float("-inf"), "b": False}
    for engine in engines:
        assert engine.sql(query, values).arrow().to_pylist() == [{**wanted, "z": True, "l": True}]
    with pytest.raises(QueryError, match="mapping"):
        engines[1].sql("SELECT ?", [1])
    with pytest.raises(QueryError, match="cannot be a bytes"):
        engines[1].sql("SELECT $a", {"a": b"x"})


def test_a_query_names_its_tables() -> None:
    """Views are made of the tables that a query reads, wherever in it they stand."""
    query = (
        "WITH c AS (SELECT * FROM run_config) SELECT (SELECT max(value) FROM history) FROM Runs"
        " WHERE EXISTS (SELECT 1 FROM c) AND run_id IN (SELECT run_id FROM run_tags)"
    )
    names = {"runs", "history", "run_config", "run_tags", "sweeps"}
    assert to_spark(query, None, names).tables == names - {"sweeps"}


def test_an_engine_that_is_not_there(held: Any, tmp_path: Any) -> None:
    """Wrong address, nobody there, no warehouse: said at once, and no token is shown."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(EngineError, match=f"127.0.0.1:{port}") as caught:
        SparkEngine.open(held.root, f"sc://127.0.0.1:{port}/;token=s3cret")
    assert time.monotonic() - begun < 30
    assert "s3cret" not in str(caught.value)
    for url in ("http://x", "sc://", "sc://h:port", "s3cret"):
        with pytest.raises(ConfigError, match="sc://HOST:PORT") as wrong:
            SparkEngine.open(held.root, url)
        assert "s3cret" not in str(wrong.value)
    with pytest.raises(WarehouseError, match="is not a warehouse"):
        SparkEngine.open(tmp_path, f"sc://127.0.0.1:{port}")


def test_without_the_client(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed, the error says what to install."""
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyspark"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'wbsync\[spark\]'"):
        SparkEngine.open(held.root, "sc://127.0.0.1:1")


def test_from_the_command_line(held: Any, call: Any, sail: str) -> None:
    """--on asks the engine; the answer is the same; an engine that is away is exit code 3."""
    query = "SELECT run_id, created_at FROM runs WHERE project = 'ops' ORDER BY 1"
    here = call("sql", query, "--format", "jsonl")
    there = call("sql", "--on", sail, query, "--format", "jsonl")
    assert (there.returncode, there.stdout, there.stderr) == (0, here.stdout, "")
    assert json.loads(there.stdout.splitlines()[0])["run_id"] == "o0"
    moved = call("sql", "--on", sail, "--lake", str(held.root / "lake"), "FROM run_tags")
    assert moved.returncode == 0, moved.stderr
    assert call("sql", "--on", sail, "--lake", "/nowhere", "FROM runs").returncode == 1
    refused = call("sql", "--on", sail, "DROP TABLE runs")
    assert (refused.returncode, refused.stdout) == (1, "")
    away = call("sql", "--on", "sc://127.0.0.1:1", "FROM runs")
    assert away.returncode == 3, away.stderr
    assert away.stderr.startswith("wbsync: error: no engine answers at 127.0.0.1:1")
    assert call("sql", "--on", "127.0.0.1:1", "FROM runs").returncode == 2


def test_from_a_process_of_its_own(held: Any, sail: str) -> None:
    """A process that asks another engine ends, and says no more than was asked."""
    done = subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(held.root), "query", "zombies", "--format",
         "csv", "--now", "2026-03-02T12:00Z"],
        check=False, capture_output=True, text=True, timeout=120, env=os.environ | {
            "WBSYNC_ON": sail
        },
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
