"""Named queries as files and as commands: headers, parameters, a folder of one's own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlglot
from sqlglot import exp

import wbsync
from wbsync.errors import ConfigError, QueryError
from wbsync.query import Engine
from wbsync.query.named import Catalog, print_query, read_query, run_query, shipped_queries

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

GIVEN: dict[str, dict[str, Any]] = {
    "activity": {}, "artifact_runs": {"artifact": "data"}, "artifact_storage": {},
    "best_runs": {"project": "team/vision", "metric": "val/loss"},
    "compare_configs": {"project": "team/drift", "run": ["m10", "m21"]},
    "compare_runs": {"project": "team/vision", "a": "s01", "b": "s02"},
    "config_drift": {"project": "team/drift", "first": "2026-01-16", "second": "2026-02-16"},
    "curves": {"project": "team/curves", "metric": "loss", "points": 3},
    "divergence": {"project": "team/curves", "metric": "loss"}, "duplicate_configs": {},
    "failures": {}, "gpu_hours": {}, "idle_gpus": {},
    "leaderboard": {"project": "team/vision", "metric": "val/loss"},
    "lineage": {"artifact": "data:v0"}, "non_finite": {"project": "team"},
    "overfit_gap": {"project": "team/fit", "train": "train/loss", "validation": "val.loss"},
    "parameter_effect": {"project": "team/vision", "parameter": "lr", "metric": "val/loss"},
    "parameter_importance": {"project": "team/vision", "metric": "val/loss"},
    "plateaus": {"project": "team/curves", "metric": "loss"},
    "seed_spread": {"project": "team/seeds", "metric": "acc"},
    "stale_artifacts": {"now": "2026-03-02T12:00Z", "days": 1}, "throughput": {},
    "time_to_target": {"project": "team/curves", "metric": "loss", "target": 0.6},
    "zombies": {"now": "2026-03-02T12:00Z"},
}  # fmt: skip
"""Values with which each query has rows."""


@pytest.fixture(scope="module")
def engine(held: Any) -> Any:
    """The warehouse, in DuckDB."""
    with Engine.open(held.root) as opened:
        yield opened


def test_every_query_has_rows_here() -> None:
    """No query ships that the tests do not run."""
    assert set(GIVEN) == set(shipped_queries())
    assert len(GIVEN) >= 20


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_a_header_says_what_the_query_does(engine: Any, name: str) -> None:
    """Question, parameters and columns of the header are those of the statement, types included."""
    query = shipped_queries()[name]
    assert query.question.endswith("?")
    tree = sqlglot.parse_one(query.text, read="duckdb")
    assert {p.this for p in tree.find_all(exp.Placeholder)} == {p.name for p in query.parameters}
    assert sqlglot.parse(query.text, read="duckdb") == [tree]
    for parameter in query.parameters:
        assert parameter.comment.endswith("."), parameter
        if not parameter.is_required:
            parameter.read(parameter.default, NOW)
    bound = query.bind(GIVEN[name], NOW)
    found = engine.sql(query.text, bound).arrow()
    wanted = [(c.name, c.type) for c in query.columns]
    types = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN",
             "timestamp[us]": "TIMESTAMP"}  # fmt: skip
    assert [(f.name, types.get(str(f.type), f.type)) for f in found.schema] == wanted
    assert found.num_rows > 0
    widths = [len(line) for line in query.path.read_text(encoding="utf-8").splitlines()]
    assert max(widths) <= 100


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_the_sql_that_is_printed_is_the_query(engine: Any, name: str) -> None:
    """What --sql prints gives the same rows in `wbsync sql`; what is missing stays $name."""
    query = shipped_queries()[name]
    text = print_query(query, GIVEN[name], NOW, "duckdb")
    assert "$" not in text
    wanted = run_query(engine, query, GIVEN[name], NOW).arrow()
    assert repr(engine.sql(text).arrow().to_pylist()) == repr(wanted.to_pylist())
    bare = print_query(query, {}, NOW, "duckdb")
    required = {p.name for p in query.parameters if p.is_required}
    assert {p.this for p in sqlglot.parse_one(bare, read="duckdb").find_all(exp.Placeholder)} == (
        required
    )
    assert "$" not in print_query(query, GIVEN[name], NOW, "spark")


def test_values_are_read_by_their_types() -> None:
    """Text becomes what the header says; what cannot is named, with what was expected."""
    catalog = Catalog()
    bound = catalog.find("zombies").bind({"hours": "1.5", "now": "2d"}, NOW)
    assert bound == {"project": None, "hours": 1.5, "now": datetime(2026, 2, 28, 12)}  # noqa: DTZ001
    bound = catalog.find("stale_artifacts").bind({"latest": "True", "days": 3}, NOW)
    assert (bound["latest"], bound["days"], bound["now"]) == (True, 3.0, NOW.replace(tzinfo=None))
    bound = catalog.find("duplicate_configs").bind({"ignore": "seed, a.b"}, NOW)
    assert bound["ignore"] == ["seed", "a.b"]
    for name, values, says in (
        ("zombies", {"hours": "many"}, "hours must be a number"),
        ("zombies", {"now": "yesterday"}, "now must be a time like"),
        ("zombies", {"now": float("nan")}, "now must be a time like"),
        ("zombies", {"project": "a\x00b"}, "project must be a text"),
        ("zombies", {"hour": 1}, "has no parameter 'hour'; did you mean 'hours'"),
        ("leaderboard", {"project": "a/b"}, "must be told metric"),
        ("leaderboard", {"project": "a/b", "metric": "m", "top": 1.5}, "a whole number"),
        ("leaderboard", {"project": "a/b", "metric": "m", "top": 2**63}, "a whole number"),
        ("leaderboard", {"project": "a/b", "metric": "m", "goal": "up"}, "minimize, maximize"),
        ("stale_artifacts", {"latest": 1}, "true or false"),
        ("leaderboard", {"project": "a/b", "metric": "\ud800"}, "metric must be a text"),
        ("leaderboard", {"project": "a/b", "metric": "m", "top": -1}, "top must be at least 1"),
        ("curves", {"project": "a/b", "metric": "m", "smoothing": 1}, "at least 0 and below 1"),
        ("curves", {"project": "a/b", "metric": "m", "points": 0}, "points must be at least 1"),
        ("plateaus", {"project": "a/b", "metric": "m", "share": 9}, "at most 1"),
        ("time_to_target", {"project": "a", "metric": "m", "target": "nan"}, "a number"),
    ):  # fmt: skip
        with pytest.raises(QueryError) as caught:
            catalog.find(name).bind(values, NOW)
        assert says in str(caught.value)
    with pytest.raises(QueryError, match="did you mean 'leaderboard'"):
        catalog.find("leader_board")
    with pytest.raises(QueryError, match="wbsync query"):
        catalog.find("zzz")


OWN = """-- Which runs are mine?
-- They are all yours.
--
-- Parameters:
--   who VARCHAR = 'ann' -- A user, and
--     more about it.
--   least BIGINT = NULL -- Fewest steps.
--
-- Columns:
--   run_id VARCHAR -- Run id.
--   steps DOUBLE -- Steps.
SELECT run_id, last_step AS steps -- a comment with $nothing in it
FROM runs WHERE username = $who AND coalesce(last_step, 0) >= coalesce($least, 0) ORDER BY run_id;
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a user's own queries."""
    folder = tmp_path / "my queries"
    folder.mkdir()
    (folder / "mine.sql").write_text(OWN, encoding="utf-8")
    return folder


def test_a_query_of_ones_own(engine: Any, own: Path) -> None:
    """It is found, takes its parameters, and its rows are fitted to its header."""
    query = Catalog(own).find("mine")
    assert (query.question, query.about) == ("Which runs are mine?", "They are all yours.")
    assert query.parameters[0].comment == "A user, and more about it."
    found = run_query(engine, query, {"who": "böb", "least": 400}, NOW)
    assert found.arrow().to_pylist() == [
        {"run_id": "o11", "steps": 550.0}, {"run_id": "o9", "steps": 450.0}
    ]  # fmt: skip
    (own / "bare.sql").write_text("-- How many?\nFROM runs SELECT count(*) AS n\n")
    bare = Catalog(own).find("bare")
    assert run_query(engine, bare, {}, NOW).columns == ["n"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("Mine.sql", "-- Q?\nSELECT 1", "names the query"),
        ("a b.sql", "-- Q?\nSELECT 1", "names the query"),
        ("m.sql", "SELECT 1", "the first line must be a comment"),
        ("m.sql", "-- Q?\n-- Parameters:\n--   a\nSELECT 1", "cannot read 'a'"),
        ("m.sql", "-- Q?\n-- Parameters:\n--   a FLOAT -- x\nSELECT $a", "a type of VARCHAR"),
        ("m.sql", "-- Q?\n-- Parameters:\n--   sql VARCHAR -- x\nSELECT $sql", "an option is"),
        ("m.sql", "-- Q?\n-- Columns:\n--   a VARCHAR[] -- x\nSELECT 1", "a column looks like"),
    ],
)
def test_a_header_that_cannot_be_read(tmp_path: Path, name: str, text: str, says: str) -> None:
    """It is said what is wrong, and the other queries are there all the same."""
    (tmp_path / name).write_text(text)
    with pytest.raises(QueryError) as caught:
        read_query(tmp_path / name, is_own=True)
    assert says in str(caught.value)
    catalog = Catalog(tmp_path)
    assert catalog.problems[Path(name).stem].startswith(str(tmp_path / name))
    assert "leaderboard" in catalog.names()
    with pytest.raises(QueryError, match=r"header|names the query|comment|option"):
        catalog.find(Path(name).stem)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("-- Q?\n-- Columns:\n--   b BIGINT -- x\nSELECT 1 AS a", "promises b"),
        ("-- Q?\n-- Columns:\n--   a BIGINT -- x\nSELECT 'x' AS a", "do not fit"),
        ("-- Q?\n-- Columns:\n--   a BIGINT -- x\nSELECT 1.5::DOUBLE AS a", "do not fit"),
        ("-- Q?\nDROP TABLE runs", "refused"),
        ("-- Q?\n-- Parameters:\n--   a BIGINT = 1 -- x\nSELECT 1", "$a"),
        ("-- Q?\nSELECT $other", "$other"),
        ("-- Q?\nSELECT 1; SELECT 2", "one statement"),
        ("-- Q?\n", "no statement"),
    ],
)
def test_a_query_that_breaks_its_promise(
    engine: Any, tmp_path: Path, text: str, says: str
) -> None:
    """Columns, parameters and reading are checked when it runs."""
    (tmp_path / "m.sql").write_text(text)
    with pytest.raises(QueryError) as caught:
        run_query(engine, Catalog(tmp_path).find("m"), {}, NOW).arrow()
    assert says in str(caught.value)


def test_the_command_lists_and_explains(call: Any, own: Path) -> None:
    """Without a name all are listed; help is the header; nearest names are proposed."""
    listed = call("query")
    assert listed.returncode == 0
    assert listed.stderr == ""
    for query in shipped_queries().values():
        assert query.name in listed.stdout
    facts = json.loads(call("query", "--json").stdout)
    assert [f["name"] for f in facts] == sorted(shipped_queries())
    board = next(f for f in facts if f["name"] == "leaderboard")
    assert board["parameters"][2]["choices"] == ["minimize", "maximize"]
    shown = call("query", "leaderboard", "--help").stdout
    for text in (
        "Which runs are best", "--metric", "required", "default: minimize", "-o, --output",
        "display_name: Name shown", "wbsync query leaderboard --project my-team",
    ):  # fmt: skip
        assert text in shown
    wrong = call("query", "leadrboard")
    assert wrong.returncode == 2
    assert "did you mean 'leaderboard'" in wrong.stderr
    missing = call("query", "leaderboard", "--project", "team/vision")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "'--metric'" in missing.stderr
    near = call("query", "leaderboard", "--metrc", "x")
    assert near.returncode == 2
    assert "--metric" in near.stderr
    late = call("query", "zombies", "--now", "later")
    assert late.returncode == 2
    assert "now must be a time like" in late.stderr


def test_the_command_runs_and_prints(call: Any, tmp_path: Path, sail: str) -> None:
    """Every format, files, both spellings of a name, the SQL in either dialect, another engine."""
    given = ("--project", "team/vision", "--metric", "val/loss", "--top", "2")
    rows = [json.loads(r) for r in call("query", "leaderboard", *given, "--format", "jsonl")
            .stdout.splitlines()]  # fmt: skip
    assert [r["run_id"] for r in rows] == ["s35", "s01"]
    out = tmp_path / "x.parquet"
    assert call("query", "leaderboard", *given, "-o", str(out)).returncode == 0
    assert pq.read_table(out)["rank"].to_pylist() == [1, 2]
    assert "s35" in call("query", "best-runs", *given[:4], "--by", "sweep").stdout
    printed = call("query", "leaderboard", *given, "--sql").stdout
    assert duckdb.extract_statements(printed)
    again = call("sql", printed, "--format", "jsonl")
    assert [json.loads(r) for r in again.stdout.splitlines()] == rows
    spark = call("query", "leaderboard", "--sql", "--on", "sc://nowhere").stdout
    assert ":metric" in spark
    there = call("query", "leaderboard", *given, "--format", "jsonl", WBSYNC_ON=sail)
    assert [json.loads(r) for r in there.stdout.splitlines()] == rows
    several = call("query", "compare_configs", "--project", "team/drift", "--run", "m10", "--run",
                   "m21", "--format", "csv")  # fmt: skip
    assert len(several.stdout.splitlines()) == 1 + 4 * 2
    none = call("query", "leaderboard", *given[:2], "--metric", "val/lozz")
    assert none.returncode == 0
    assert "no rows" in none.stderr
    assert "val/loss" in none.stderr
    below = call("query", "leaderboard", *given[:2], "--metric", "val")
    assert "in its summary" in below.stderr
    split = call("query", "compare_configs", "--project", "team/drift", "--run", "m10,m21",
                 "--format", "csv")  # fmt: skip
    assert split.stdout == several.stdout
    for args, says in (
        (("compare_runs", *given[:2], "--a", "s01", "--b", "nope"), "no run 'nope'"),
        (("compare_runs", "--project", "team", "--a", "s01", "--b", "s02"), "ENTITY/PROJECT here"),
        (("curves", "--project", "team/curves", "--metric", "loss", "--run", "x"), "no run 'x'"),
        (("best_runs", *given[:4], "--by", "no"), "--by"),
        (("time_to_target", *given[:4], "--target", "1", "--sweep", "no"), "no sweep 'no'"),
        (("curves", *given[:4], "--smoothing", "5"), "below 1"),
    ):  # fmt: skip
        odd = call("query", *args)
        assert (odd.returncode, odd.stdout) == (2, ""), args
        assert says in odd.stderr
    nobody = call("query", "zombies", "--project", "no-one")
    assert nobody.returncode == 2
    assert "no-one" in nobody.stderr


def test_the_command_knows_ones_own(call: Any, own: Path, tmp_path: Path) -> None:
    """A folder of wbsync.toml joins in; it hides nothing silently, and breaks nothing."""
    (tmp_path / "wbsync.toml").write_text('[queries]\npath = "my queries"\n')
    (own / "broken.sql").write_text("SELECT 1")
    listed = call("query")
    assert "Which runs are mine? (your own)" in listed.stdout
    assert "left out:" in listed.stderr
    assert "broken.sql" in listed.stderr
    assert call("query", "mine", "--who", "nobody").returncode == 0
    (own / "zombies.sql").write_text("-- Mine?\nSELECT 1 AS n")
    shadowed = call("query", "zombies", "--format", "csv")
    assert shadowed.stdout == "n\n1\n"
    assert "takes the place of wbsync's own query zombies" in shadowed.stderr
    done = call("query", _WBSYNC_COMPLETE="bash_complete", COMP_WORDS="wbsync query mi",
                COMP_CWORD="2")  # fmt: skip
    assert "mine" in done.stdout
    (tmp_path / "wbsync.toml").write_text('[queries]\npath = "nowhere"\n')
    gone = call("query")
    assert gone.returncode == 2
    assert "nowhere" in gone.stderr
    (tmp_path / "wbsync.toml").write_text('[queries]\npaths = "x"\n')
    assert "queries.paths" in call("query").stderr


def test_completion_proposes_queries_and_options(call: Any) -> None:
    """Names after `query`, then a query's own options and choices."""

    def propose(words: str) -> str:
        place = str(len(words.split(" ")) - 1)
        done = call(_WBSYNC_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=place)
        return str(done.stdout)

    assert "plain,leaderboard" in propose("wbsync query lead")
    assert "--metric" in propose("wbsync query leaderboard --me")
    assert "maximize" in propose("wbsync query leaderboard --goal m")


def test_from_python(held: Any, own: Path, sail: str) -> None:
    """`Warehouse.query` gives the same rows, and the same errors."""
    with wbsync.open(held.root) as warehouse:
        found = warehouse.query("leaderboard", project="team/vision", metric="val/loss", top=2)
        assert found.df()["run_id"].to_list() == ["s35", "s01"]
        with pytest.raises(QueryError, match="did you mean 'metric'"):
            warehouse.query("leaderboard", project="team/vision", metrik="x")
        with pytest.raises(ConfigError, match="no run 's1x' in team/vision; did you mean"):
            warehouse.query("compare_runs", project="team/vision", a="s01", b="s1x")
        there = warehouse.query(
            "leaderboard", on=sail, project="team/vision", metric="val/loss", top=2
        )
        assert there.df()["run_id"].to_list() == ["s35", "s01"]
        assert warehouse.sql("SELECT 1 AS n", on=sail).fetchall() == [(1,)]
        with pytest.raises(ConfigError, match="as_of"):
            warehouse.sql("SELECT 1", as_of="1d", on=sail)
    with pytest.raises(ConfigError, match="no folder"):
        Catalog(own / "nowhere")


def test_the_example_of_the_documentation(held: Any, asking: Any, tmp_path: Path) -> None:
    """The query that docs/queries.md shows is one that runs, on both engines."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "queries.md").read_text("utf-8")
    (tmp_path / "mine.sql").write_text(page.split("```sql\n")[1].split("```")[0])
    values = {"who": "ann", "since": "2026-01-01"}
    with asking(held.root, tmp_path) as ask:
        assert len(ask("mine", **values)) > 30
        assert list(ask("mine", **values, tag=["b", "x"])["run_id"]) == ["tagged"]
