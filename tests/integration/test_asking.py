"""What is asked of the warehouse is what W&B's own client answers, in the same order."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import wbsync
from wbsync.errors import ConfigError, FilterError, UnknownFieldError
from wbsync.query.filters import parse_filter
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wbsync.warehouse import Warehouse

FILTERS: list[dict[str, Any]] = [
    {},
    {"state": "finished"},
    {"state": {"$ne": "finished"}},
    {"name": {"$in": ["r1", "r4", "none"]}},
    {"displayName": "Alpha"},
    {"display_name": {"$regex": "^[A-Z]"}},
    {"display_name": {"$regex": "a$"}},
    {"displayName": {"$ne": "Alpha"}},
    {"display_name": "Gamma 'x'"},
    {"tags": "prod"},
    {"tags": {"$ne": "prod"}},
    {"tags": None},
    {"$or": [{"tags": None}, {"tags": {"$ne": "prod"}}]},
    {"tags": {"$in": ["v1", "v2"]}},
    {"tags": {"$nin": ["v1", "v2"]}},
    {"tags": "größe"},
    {"group": "g1"},
    {"group": None},
    {"group": {"$ne": "g1"}},
    {"group": {"$in": ["g1", "g3"]}},
    {"jobType": {"$exists": True}},
    {"job_type": {"$exists": False}},
    {"jobType": "train", "group": {"$exists": True}},
    {"username": "sandbox"},
    {"notes": {"$contains": "first"}},
    {"createdAt": {"$gt": "2020-01-01T00:00:00Z"}},
    {"created_at": {"$lt": "2020-01-01T00:00:00Z"}},
    {"config.lr": 0.01},
    {"config.lr.value": {"$gte": 0.1}},
    {"config.lr": {"$gt": 0}},
    {"config.lr": {"$lt": 1}},
    {"config.lr": {"$ne": 0.01}},
    {"config.lr": "0.1"},
    {"config.lr": {"$exists": True}},
    {"config.lr": {"$exists": False}},
    {"config.opt": {"$in": ["adam", "sgd"]}},
    {"config.opt": {"$nin": ["adam", "sgd"]}},
    {"config.opt": {"$regex": "^[aA]dam"}},
    {"config.opt": None},
    {"config.opt": {"$ne": None}},
    {"config.opt": ""},
    {"config.flag": True},
    {"config.flag": False},
    {"config.flag": {"$ne": True}},
    {"config.nested.depth": 3},
    {"config.nested.value.depth": {"$gt": 3}},
    {"config.nested.name": "it's"},
    {"config.big": 2**60 + 1},
    {"config.big": {"$lte": 2**60}},
    {"config.a/b": 1},
    {"config.a b.value": "x"},
    {"config.quote'\"]": "[x]"},
    {"config.layers": 2},
    {"config.layers": {"$size": 3}},
    {"summary_metrics.acc": {"$gt": 0.75}},
    {"summary_metrics.acc": 0.7},
    {"summary_metrics.loss": {"$lt": 0.2}},
    {"summary_metrics.loss": {"$ne": 0.1}},
    {"summary_metrics.loss": {"$not": {"$gt": 0.2}}},
    {"summary_metrics.Loss": 5},
    {"summary_metrics.best.acc": {"$gte": 0.95}},
    {"summary_metrics.text": {"$regex": "done"}},
    {"keys_info.keys.step_metric": {"$exists": True}},
    {"$nor": [{"group": "g1"}, {"config.lr": {"$gt": 0.5}}]},
    {"$not": {"group": "g1"}},
    {"$and": [{"tags": "prod"}, {"$or": [{"group": "g1"}, {"config.lr": 0}]}]},
]
ORDERS = [
    "+created_at", "-created_at", "created_at", "+createdAt", "-heartbeatAt", "+display_name",
    "-display_name", "+state", "-name", "+group", "-jobType", "+config.lr.value", "-config.lr",
    "+config.opt", "-config.opt.value", "+config.nested.depth", "-config.flag", "+config.layers",
    "+summary_metrics.acc", "-summary_metrics.acc", "+summary_metrics.loss",
    "-summary_metrics.loss", "+summary_metrics.best.acc", "-summary_metrics.text", "-config.big",
    "+summary_metrics.none",
]  # fmt: skip
PAIRS = [(f, ORDERS[i % len(ORDERS)]) for i, f in enumerate(FILTERS)] + [({}, o) for o in ORDERS]


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, run_script: Callable[..., Any]
) -> Iterator[Sandbox]:
    """A sandbox with runs that the SDK logged."""
    work = tmp_path_factory.mktemp("work")
    with Sandbox(tmp_path_factory.mktemp("asked")) as sandbox:
        run_script("log_asked.py", sandbox, work)
        yield sandbox


@pytest.fixture(scope="module")
def root(asked: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse of it."""
    folder = tmp_path_factory.mktemp("held") / "w"
    done = subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(folder), "sync", "sandbox/asked"],
        check=False, env=asked.env(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def held(root: Path) -> Iterator[Warehouse]:
    """The warehouse, open."""
    with wbsync.open(root) as warehouse:
        yield warehouse


def ids(result: Any) -> list[str]:
    """Returns the run ids of a result, in order."""
    return [row[0] for row in result.fetchall()]


def test_runs_and_order_are_those_of_the_official_client(
    asked: Sandbox,
    held: Warehouse,
    run_script: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """For each pair of filter and order, wandb.Api().runs() and the warehouse answer the same."""
    (tmp_path / "pairs.json").write_text(json.dumps(PAIRS), encoding="utf-8")
    answers = run_script("ask_api.py", asked, tmp_path, str(tmp_path / "pairs.json"))
    assert len(answers) >= 60
    wrong = []
    for (filters, order), answer in zip(PAIRS, answers, strict=True):
        found = ids(held.runs("sandbox/asked", filters, order, ["run_id"], meaning="wandb"))
        if found != answer:
            wrong.append((filters, order, answer, found))
    assert not wrong
    assert sum(0 < len(a) < 8 for a in answers) > 40, "most filters tell runs apart"


def test_orders_of_several_keys_and_limits(held: Warehouse) -> None:
    """Later keys order what earlier ones find alike, NaN below numbers, missing below all."""
    both = held.runs("sandbox/asked", None, "+group,-summary_metrics.acc", ["run_id"])
    assert ids(both) == ["r3", "r5", "r0", "r2", "r1", "r4", "r7", "r6"]
    loss = held.runs("sandbox/asked", None, ["-summary_metrics.loss"], ["run_id"])
    assert ids(loss) == ["r4", "r7", "r0", "r6", "r3", "r1", "r2", "r5"]
    assert ids(held.runs("sandbox/asked", limit=2, order="-name", columns=["run_id"])) == [
        "r7", "r6",
    ]  # fmt: skip


def test_columns_have_types(held: Warehouse) -> None:
    """Fields come as what all runs have in them, and as text where they are mixed."""
    names = [
        "run_id", "config.nested.depth", "config.flag", "summary.acc", "config.opt", "config.big",
        "summary_metrics.loss", "config.nested", "config.layers", "displayName", "config.lr",
    ]  # fmt: skip
    result = held.runs("sandbox", order="+name", columns=names)
    types = {f.name: f.type for f in result.schema}
    assert result.columns == names
    assert types["config.nested.depth"] == types["summary.acc"] == pa.float64()
    assert types["config.flag"] == types["config.lr"] == pa.string(), "mixed with a text"
    assert types["config.big"] == pa.int64()
    rows = {row[0]: dict(zip(names, row, strict=True)) for row in result.fetchall()}
    assert rows["r3"]["config.big"] == 2**60 + 1
    assert rows["r3"]["summary.acc"] == float("inf")
    assert rows["r0"]["config.nested"] == '{"depth":3,"name":"it\'s"}'
    assert rows["r2"]["config.layers"] == "[1,2,3]"
    assert rows["r2"]["config.opt"] is None
    assert rows["r0"]["config.flag"] == "true"
    assert rows["r0"]["config.lr"] == rows["r2"]["config.lr"] == "0.1"
    whole = held.runs("sandbox/asked", {"name": "r0"})
    assert "config" in whole.columns
    assert whole.fetchall()[0][whole.columns.index("display_name")] == "Alpha"


def test_python_like_filters_and_run_sets(held: Warehouse) -> None:
    """Filters of reports and workspaces are read as they stand."""

    def found(filters: Any) -> set[str]:
        return set(ids(held.runs("sandbox/asked", filters, columns=["run_id"])))

    assert found('Metric("loss") < 0.2 and Tags == "prod"') == {"r0", "r6"}
    assert found("State == 'Finished' and not Config('lr') >= 0.01") == {"r2", "r3", "r5", "r6"}
    assert found('Metric("CreatedTimestamp") within_last 5 days') == {f"r{i}" for i in range(8)}
    leaf = {"key": {"section": "config", "name": "lr.value"}, "op": "=", "value": 0.01}
    tag = {"key": {"section": "tags", "name": "prod"}, "op": "=", "value": False}
    tree = {"op": "OR", "filters": [{"op": "AND", "filters": [leaf, tag]}]}
    assert found(tree) == {"r7"}
    flat = {"filterFormat": "filterV2", "filters": [leaf, {**tag, "connector": "OR"}]}
    assert found(flat) == {"r1", "r2", "r3", "r4", "r5", "r7"}


def test_artifacts_and_sweeps(held: Warehouse) -> None:
    """Artifact versions, collections and sweeps are asked for in the same language."""

    def versions(filters: Any) -> list[Any]:
        return held.artifacts(
            "sandbox/asked", filters, columns=["collection", "version"]
        ).fetchall()

    one = [("data", "v0")]
    assert versions({"type": "dataset"}) == one
    assert versions({"aliases": "best"}) == versions({"alias": {"$in": ["best", "x"]}}) == one
    assert versions({"metadata.rows": {"$gt": 2}, "metadata.kind.of": "x"}) == one
    names = ["metadata.rows", "metadata.kind.of", "metadata.no"]
    shown = held.artifacts("sandbox/asked", {"type": "dataset"}, columns=names)
    assert shown.fetchall() == [(3.0, "x", None)]
    assert versions({"version": 0}) == versions({"version": "v0"}) == one
    assert versions({"aliases": {"$ne": "best"}, "type": "dataset"}) == []
    collections = held.find(
        "collections", "sandbox/asked", {"type": "dataset"}, columns=["collection"]
    )
    assert collections.fetchall() == [("data",)]
    assert held.sweeps("sandbox/asked").fetchall() == []
    assert ids(held.runs("sandbox/asked", {"outputArtifacts": "data:v0"}, columns=["run_id"])) == [
        "r3"
    ]


def test_errors_say_where_and_what_is_near(held: Warehouse) -> None:
    """A filter that cannot be used names the place in it and the nearest that can."""
    with pytest.raises(UnknownFieldError, match="did you mean displayName") as unknown:
        held.runs("sandbox/asked", {"$or": [{"displyName": "x"}]})
    assert unknown.value.at == "$or[0].displyName"
    assert "displayName" in unknown.value.suggestions
    with pytest.raises(UnknownFieldError, match=r"config\.lr or summary_metrics\.lr"):
        held.runs("sandbox/asked", {"lr": 1})
    with pytest.raises(FilterError, match="order"):
        held.runs("sandbox/asked", order="-nonsense")
    with pytest.raises(FilterError, match="column"):
        held.runs("sandbox/asked", columns=["nonsense"])


ODD: list[tuple[dict[str, Any], str]] = [
    ({"path": 5}, "5 is not ENTITY/PROJECT"),
    ({"path": "sandbox/\udcff"}, "is not ENTITY/PROJECT"),
    ({"path": "sandbox/nope"}, "not in this warehouse"),
    ({"path": "sandbox/askd"}, "did you mean 'sandbox/asked'"),
    ({"columns": []}, "names no column"),
    ({"columns": "run_id"}, "a list of names"),
    ({"columns": 5}, "a list of names"),
    ({"columns": [5]}, "a text, not 5"),
    ({"columns": ["config.\udcff"]}, "no UTF-8"),
    ({"order": 5}, "an order is a text"),
    ({"order": [5]}, "a text, not 5"),
    ({"order": "config.\udcff"}, "no UTF-8"),
    ({"limit": -1}, "a whole number of rows"),
    ({"limit": 2.5}, "a whole number of rows"),
    ({"limit": True}, "a whole number of rows"),
    ({"meaning": "wandbb"}, "mongo or wandb"),
    ({"columns": ["nope"]}, "column nope: runs have no field nope"),
    ({"order": "nope"}, "order nope: runs have no field nope"),
]


@pytest.mark.parametrize(("arguments", "says"), ODD, ids=[ascii(o[0]) for o in ODD])
def test_odd_arguments_are_refused_in_our_words(
    held: Warehouse, arguments: dict[str, Any], says: str
) -> None:
    """What is not of its type, not text, or not held is named; no engine's error comes through."""
    path = arguments.get("path", "sandbox/asked")
    with pytest.raises((ConfigError, FilterError)) as caught:
        held.runs(path, **{k: v for k, v in arguments.items() if k != "path"})
    assert says in str(caught.value)
    str(caught.value).encode()


def test_integers_beyond_every_number_are_compared(held: Warehouse) -> None:
    """A filter may hold integers of any size: they are above or below all that is held."""

    def found(filters: Any) -> list[str]:
        return ids(held.runs("sandbox/asked", filters, columns=["run_id"]))

    finite = found({"config.lr": {"$lt": 1e300}})
    assert finite
    for digits in (400, 5000):
        assert found({"config.lr": {"$lt": 10**digits}}) == finite
        assert found(f'{{"config.lr": {{"$lt": 1{"0" * digits}}}}}') == finite
        assert found({"config.lr": {"$gt": -(10**digits)}}) == finite
        assert found({"config.lr": 10**digits}) == []


def test_the_command_refuses_what_python_does(root: Path) -> None:
    """Names that are no UTF-8, commas, what is not held: the same on the command line."""
    for args, says in (
        (["runs", "sandbox/asked", "--columns", b"run_id,config.\xff"], "no UTF-8"),
        (["runs", "sandbox/asked", "--order", b"config.\xff"], "no UTF-8"),
        (["runs", b"sandbox/\xff"], "is not ENTITY/PROJECT"),
        (["runs", "sandbox/nope"], "not in this warehouse"),
        (["registry", "nope"], "not in this warehouse"),
        (["registry", "nope", "--versions"], "not in this warehouse"),
        (["runs", "sandbox/asked", "--columns", "run_id,config.a,b"], 'config."a,b"'),
        (["runs", "sandbox/asked", "--order", "-config.a,b"], 'config."a,b"'),
    ):
        done = command(root, *args)  # type: ignore[arg-type]
        assert done.returncode == 2, (args, done)
        assert says in done.stderr.decode(), args
    done = command(root, "runs", "sandbox/asked", "--columns", 'run_id,config."a,b"',
                   "--columns", 'config.""', "--order", '-config."a,b"', "--order", "+name",
                   "--format", "md")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"| run_id | config.a,b | config. |")
    none = command(root, "runs", "sandbox/asked", "--limit", "0")
    assert (none.returncode, none.stderr) == (0, b"")


def command(root: Path, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Calls the command."""
    return subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(root), *args], check=False, timeout=120,
        capture_output=True, input=stdin.encode() if stdin else None,
    )  # fmt: skip


def test_command_writes_every_format(root: Path, tmp_path: Path) -> None:
    """`wbsync runs` filters, orders, chooses columns, and writes what is asked for."""
    chosen = ["--filter", '{"tags": "prod"}', "--order", "-summary_metrics.acc", "--columns",
              "run_id,summary.acc"]  # fmt: skip
    done = command(root, "runs", "sandbox/asked", *chosen, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"run_id": "r0", "summary.acc": 0.9}, {"run_id": "r6", "summary.acc": 0.75},
        {"run_id": "r1", "summary.acc": 0.7},
    ]  # fmt: skip
    done = command(root, "runs", "sandbox/asked", *chosen, "--limit", "1", "--format", "csv")
    assert list(csv.reader(done.stdout.decode().splitlines())) == [
        ["run_id", "summary.acc"], ["r0", "0.9"],
    ]  # fmt: skip
    path = tmp_path / "runs.arrow"
    done = command(root, "runs", "sandbox/asked", *chosen, "-o", str(path))
    assert done.returncode == 0, done.stderr
    with pa.ipc.open_file(path) as file:
        assert file.read_all().column("run_id").to_pylist() == ["r0", "r6", "r1"]
    (tmp_path / "filter.json").write_text('{"name": "r4"}', encoding="utf-8")
    done = command(root, "runs", "--filter", f"@{tmp_path / 'filter.json'}", "--columns", "name")
    assert done.stdout.decode().split() == ["name", "----", "r4"]
    assert command(root, "artifacts", "sandbox/asked", "--filter", "-", "--json",
                   stdin='{"type": "none"}').stdout.split() == [b"[", b"]"]  # fmt: skip
    wrong = command(root, "runs", "sandbox/asked", "--filter", '{"config.lr": {"$gtt": 1}}')
    assert wrong.returncode == 2
    assert b"at config.lr.$gtt" in wrong.stderr
    assert b"did you mean $gt?" in wrong.stderr


def test_translate_prints_what_runs(root: Path) -> None:
    """The SQL that `wbsync translate` prints gives the same runs; --explain says where from."""
    query = '{"config.lr": {"$gt": 0}, "$nor": [{"tags": "prod"}], "config.a.b": {"$ne": 1}}'
    sql = command(root, "translate", query).stdout.decode()
    done = command(root, "sql", sql, "--json")
    assert done.returncode == 0, done.stderr
    with wbsync.open(root) as warehouse:
        wanted = warehouse.runs("sandbox/asked", query, columns=["run_id"]).fetchall()
    assert [(r["run_id"],) for r in json.loads(done.stdout)] == wanted
    explained = json.loads(command(root, "translate", query, "--json").stdout)
    assert explained["server_filter"]["$and"][0] == {"config.lr.value": {"$gt": 0}}
    assert {t["at"]: t["asked"] for t in explained["tests"]} == {
        "config.lr.$gt": True, "$nor[0].tags": True, "config.a.b.$ne": False,
    }  # fmt: skip
    assert parse_filter(query).kind == "runs"
    for dialect in ("spark", "trino", "snowflake", "bigquery", "postgres"):
        done = command(root, "translate", query, "--dialect", dialect)
        assert done.returncode == 0, done.stderr
        assert b"run_config" in done.stdout
