"""What is published: the right rows, under names that hold, in a file that is nobody's to write."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

import wbsync
import wbsync.catalog.writing as writing_module
from wbsync.catalog import Form, build, publish
from wbsync.catalog.shape import lake_tables, shape_of
from wbsync.catalog.writing import with_enough_memory
from wbsync.errors import ConfigError, QueryError, WarehouseError
from wbsync.lake import Lake, open_warehouse
from wbsync.model import ProjectPath, PublishOptions
from wbsync.query import Engine
from wbsync.query.wide import wide_history
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def rows(table: str, *items: dict[str, Any]) -> pa.Table:
    """Returns rows of a table."""
    base = {"synced_at": NOW, "entity": "e", "project": "p"}
    schema = load_table(table).arrow()
    return pa.Table.from_pylist([base | item for item in items], schema=schema)


def leaves(run_id: str, values: dict[str, Any], at: datetime = NOW) -> list[dict[str, Any]]:
    """Returns leaf rows of a run, as `extract` splits values."""
    made = []
    for key, value in values.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if is_number or isinstance(value, bool) else None
        text = None if is_number else json.dumps(value, ensure_ascii=False)
        made.append({"run_id": run_id, "key": key, "value": number, "json": text, "synced_at": at})
    return made


def points(run_id: str, key: str, values: Iterable[Any]) -> list[dict[str, Any]]:
    """Returns history rows of a run's key."""
    return [
        leaves(run_id, {key: value})[0] | {"step": step, "row": 0}
        for step, value in enumerate(values)
    ]


def ask(root: Path, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Asks the published file, as a BI tool does, from a copy: DuckDB caches a file by its path."""
    copy = root.parent / f"asked-{random.getrandbits(64)}.duckdb"
    copy.write_bytes((root / "warehouse.duckdb").read_bytes())
    try:
        with duckdb.connect(str(copy), read_only=True) as connection:
            return connection.execute(query, parameters).fetchall()
    finally:
        copy.unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A new warehouse with one project."""
    folder = tmp_path / "w"
    open_warehouse(folder)
    Lake(folder).append("projects", rows("projects", {}), {})
    return folder


def content(path: Path) -> dict[str, list[str]]:
    """Returns all that a published file holds, its record included."""
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal UNION ALL"
            " SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        found = {}
        for schema, name in tables:
            if (schema, name) in {("_wbsync", "facts"), ("_wbsync", "columns")}:
                continue
            held = connection.table(f'"{schema}"."{name}"')
            columns = ", ".join(f'"{c}"::VARCHAR' for c in sorted(held.columns))
            dropped = "WHERE runs <> 0" if (schema, name) == ("_wbsync", "keys") else ""
            query = (
                f'SELECT {columns.replace(chr(34) * 3, chr(34))} FROM "{schema}"."{name}" {dropped}'
            )
            found[f"{schema}.{name}"] = sorted(map(repr, connection.execute(query).fetchall()))
        return found


def test_patched_files_equal_files_made_anew(tmp_path: Path, root: Path) -> None:
    """Whatever changes, in whatever order: a patch gives what a build from nothing gives."""
    rng = random.Random(11)
    lake = Lake(root)
    keys = ["lr", "Loss", "loss", "a.b", "flag", "name"]
    ids = [f"r{n}" for n in range(8)]
    how = set()
    for step in range(9):
        at = NOW + timedelta(minutes=step)
        chosen = rng.sample(ids, rng.randint(1, 3))
        scope = pa.table({"entity": ["e"] * len(chosen), "project": ["p"] * len(chosen),
                          "run_id": chosen})  # fmt: skip
        for table in ("run_config", "run_summary"):
            made = [
                row
                for run_id in chosen
                for row in leaves(
                    run_id,
                    {k: rng.choice([1.5, 2**60, True, "text", None, float("nan")])
                     for k in rng.sample(keys, rng.randint(0, 5))},
                    at,
                )
            ]  # fmt: skip
            lake.replace(table, scope, rows(table, *made), {})
        deleted = at if rng.random() < 0.2 else None
        made = [{"run_id": r, "notes": str(step), "deleted_at": deleted, "synced_at": at}
                for r in chosen]  # fmt: skip
        lake.replace("runs", scope, rows("runs", *made), {})
        if step % 3 == 0:
            lake.append("history", rows("history", *points(chosen[0], "loss", [step, "x"])), {})
            lake.replace(
                "history_keys", scope,
                rows("history_keys", {"run_id": chosen[0], "key": "loss", "held_count": 2,
                                      "types": '{"number":1,"string":1}'}), {},
            )  # fmt: skip
        if step == 5:
            lake.append("projects", rows("projects", {"project": "second"}), {})
        done = publish(root, lake)
        how.add(done.how)
        assert publish(root, lake).how == "unchanged"
        fresh = tmp_path / f"fresh-{step}.duckdb"
        build(fresh, {name: lake.parts(name) for name in lake_tables()})
        newest = max((root / "catalog").glob("*.duckdb"), key=lambda p: int(p.stem))
        found, wanted = content(newest), content(fresh)
        # The shape of a view depends on the order in which its columns were named.
        for whole in (found, wanted):
            whole.pop("_wbsync.schemas")
        assert found.keys() == wanted.keys()
        for name, held in wanted.items():
            if not name.startswith("e__"):
                assert found[name] == held, (step, name)
            assert len(found[name]) == len(held), (step, name)
    assert how == {"rebuilt", "patched"}


def test_an_edit_writes_only_its_own_rows(root: Path) -> None:
    """One edited run neither rebuilds the file nor touches views of projects that stay."""
    lake = Lake(root)
    lake.append("projects", rows("projects", {"project": "other"}), {})
    for project in ("p", "other"):
        lake.append("runs", rows("runs", {"run_id": "a", "project": project}), {})
        made = [r | {"project": project} for r in leaves("a", {"lr": 1.0})]
        lake.append("run_config", rows("run_config", *made), {})
    assert publish(root, lake).how == "rebuilt"
    oids = "SELECT schema_name, view_name, view_oid FROM duckdb_views() WHERE NOT internal"
    before = ask(root, oids)
    scope = pa.table({"entity": ["e"], "project": ["p"], "run_id": ["a"]})
    lake.replace("run_config", scope, rows("run_config", *leaves("a", {"lr": 2.0, "new": 1})), {})
    done = publish(root, lake)
    assert (done.how, done.changed) == ("patched", ("run_config",))
    assert ask(root, 'SELECT "config.lr", "config.new" FROM e__p.runs') == [(2.0, 1.0)]
    assert ask(root, 'SELECT "config.lr" FROM e__other.runs') == [(1.0,)]
    changed = {row[:2] for row in set(before) ^ set(ask(root, oids))}
    assert ("e__other", "runs") not in changed
    assert ("e__p", "history") not in changed
    for zero in (0.0, -0.0, 0.0):
        made = rows("run_config", *leaves("a", {"lr": zero}))
        lake.replace("run_config", scope, made, {})
        assert publish(root, lake).how == "patched"
        held = ask(root, "SELECT value::VARCHAR FROM run_config WHERE project = 'p'")
        assert held == [(str(zero),)], "equal numbers, but not the same"


def test_what_belongs_to_a_deleted_run_or_project_is_out_of_sight(root: Path) -> None:
    """Plain names leave it out, `<table>_all` keeps it; without deletions views have no join."""
    lake = Lake(root)
    lake.append("projects", rows("projects", {"project": "q"}), {})
    for project, run_id in (("p", "a"), ("p", "b"), ("q", "a")):
        run = {"project": project, "run_id": run_id}
        lake.append("runs", rows("runs", run), {})
        lake.append("run_tags", rows("run_tags", run | {"tag": "t"}), {})
        lake.append("history", rows("history", points(run_id, "loss", [1])[0] | run), {})
    lake.append("sweeps", rows("sweeps", {"project": "q", "sweep_id": "s"}), {})
    publish(root, lake)
    plain = "SELECT sql FROM duckdb_views() WHERE view_name = 'run_tags'"
    assert "JOIN" not in ask(root, plain)[0][0].upper()

    def counts(*tables: str) -> list[int]:
        return [ask(root, f"SELECT count(*) FROM {t}")[0][0] for t in tables]

    names = ("runs", "run_tags", "history", "sweeps")
    assert counts(*names) == [3, 3, 3, 1]
    scope = pa.table({"entity": ["e"], "project": ["p"], "run_id": ["a"]})
    lake.replace("runs", scope, rows("runs", {"run_id": "a", "deleted_at": NOW}), {})
    assert publish(root, lake).how == "patched"
    assert counts(*names) == [2, 2, 2, 1]
    scope = pa.table({"entity": ["e"], "project": ["q"]})
    lake.replace("projects", scope, rows("projects", {"project": "q", "deleted_at": NOW}), {})
    publish(root, lake)
    assert counts(*names) == [1, 1, 1, 0]
    assert counts(*(f"{n}_all" for n in names)) == [3, 3, 3, 1]
    schemas = "SELECT schema_name FROM _wbsync.schemas"
    assert ask(root, schemas) == [("e__p",)]
    lake.replace("projects", scope, rows("projects", {"project": "q"}), {})
    lake.replace("runs", scope, rows("runs", {"project": "q", "run_id": "a"}), {})
    scope = pa.table({"entity": ["e"], "project": ["p"], "run_id": ["a"]})
    lake.replace("runs", scope, rows("runs", {"run_id": "a"}), {})
    publish(root, lake)
    assert counts(*names) == [3, 3, 3, 1]
    assert "JOIN" not in ask(root, plain)[0][0].upper()


HOSTILE = [
    "loss", "Loss", "LOSS", "run_id", "step", 'a"b', "a'b", "a;DROP TABLE runs_all;--", "a[0]",
    "naïve λ 🙂", "line\nbreak", "tab\tcr\r", "a.b", "", " ", "%s {x} $1 ?", "\\n", "nul\x00",
    "x" * 300, "/* c */", "ß", "SS",
]  # fmt: skip


def test_names_and_keys_of_any_text_are_reachable(root: Path) -> None:
    """Keys become columns whatever they are; none is lost, none runs, none hides another."""
    lake = Lake(root)
    project = "P'\"; [x]\n/é"
    named = {"project": project}
    lake.append("projects", rows("projects", named, {"project": "p_x_e"}), {})
    lake.append("runs", rows("runs", named | {"run_id": "a"}), {})
    values = dict(zip(HOSTILE, map(float, range(len(HOSTILE))), strict=True))
    for table in ("run_config", "run_summary"):
        lake.append(table, rows(table, *(r | named for r in leaves("a", values))), {})
    made = [point | named for key, n in values.items() for point in points("a", key, [n])]
    lake.append("history", rows("history", *made), {})
    held = [named | {"run_id": "a", "key": k, "held_count": 1} for k in HOSTILE]
    lake.append("history_keys", rows("history_keys", *held), {})
    publish(root, lake)
    (schema,) = ask(root, "SELECT schema_name FROM _wbsync.schemas WHERE project = ?", [project])[0]
    assert schema.isascii()
    for view, parts in (("runs", ("config", "summary")), ("history", ("history",))):
        for part in parts:
            names = dict(
                ask(
                    root,
                    "SELECT key, column_name FROM _wbsync.columns WHERE project = ? AND part = ?",
                    [project, part],
                )
            )
            assert names.keys() == {k for k in HOSTILE if "\x00" not in k}
            assert len({n.casefold() for n in names.values()}) == len(names)
            columns = ", ".join('"' + n.replace('"', '""') + '"' for n in names.values())
            (found,) = ask(root, f'SELECT {columns} FROM "{schema}"."{view}"')
            assert dict(zip(names, found, strict=True)) == {k: values[k] for k in names}
    assert ask(root, "SELECT count(*) FROM runs_all") == [(1,)]
    comments = ask(
        root, "SELECT count(*) FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
        " AND schema_name <> '_wbsync'",
    )  # fmt: skip
    assert comments == [(0,)]
    others = [k for k in HOSTILE if "\x00" not in k]
    with wbsync.open(root) as warehouse:
        path = f"e/{project}".replace("/é", "")
        assert warehouse.tables()
        with pytest.raises(QueryError, match="not in this warehouse"):
            warehouse.history(path, others)
        query, parameters, names = wide_history(ProjectPath("e", project), HOSTILE, ["a"])
        found = warehouse._open().run_trusted(query, parameters, names=names).fetchall()
        assert found == [("a", 0, 0, *values.values())]
        query, parameters, _ = wide_history(ProjectPath("e", project), others, [])
        assert warehouse.sql(query, parameters).fetchall() == []
    with Engine.open(root) as engine:
        assert {t.name for t in engine.tables()} >= {f"{schema}.runs", f"{schema}.history"}
        query = "SELECT value1 FROM history_wide(?, ?, ?)"
        assert engine.sql(query, ["e", project, "a'b"]).fetchall() == [(6.0,)]


def test_a_column_keeps_its_name_and_its_type(root: Path) -> None:
    """A stray text makes no column of numbers a column of texts; names survive a rebuild."""
    lake = Lake(root)
    lake.append("runs", rows("runs", {"run_id": "a"}, {"run_id": "b"}), {})
    first = {"Lr": 1, "flag": True, "opt": "adam", "big": 2**60}
    lake.append("run_config", rows("run_config", *leaves("a", first)), {})
    publish(root, lake)
    kinds = "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = 'e__p'"
    kinds += " AND column_name LIKE 'config.%' ORDER BY ALL"
    before = [
        ("config.Lr", "DOUBLE"), ("config.big", "DOUBLE"), ("config.flag", "BOOLEAN"),
        ("config.opt", "VARCHAR"),
    ]  # fmt: skip
    assert ask(root, kinds) == before
    second = {"Lr": "auto", "lr": 2, "flag": False, "opt": 'a "quoted"\n\\ text', "none": None}
    lake.append("run_config", rows("run_config", *leaves("b", second)), {})
    for rebuild in (False, True):
        publish(root, lake, rebuild=rebuild)
        added = [("config.Lr_text", "VARCHAR"), ("config.lr_2", "DOUBLE")]
        assert ask(root, kinds) == sorted(before + added)
        query = (
            'SELECT "config.Lr", "config.Lr_text", "config.lr_2", "config.flag", "config.opt"'
            " FROM e__p.runs ORDER BY run_id"
        )
        assert ask(root, query) == [
            (1.0, None, None, True, "adam"),
            (None, "auto", 2.0, False, 'a "quoted"\n\\ text'),
        ]


WRITER = """
import os, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("UPDATE runs_all SET notes = 'forged'")
connection.execute("CREATE TABLE mine (x INTEGER)")
if sys.argv[2] == "die":
    os._exit(1)
"""


@pytest.mark.parametrize("end", ["die", "close"])
def test_a_foreign_writer_changes_nothing_that_lasts(root: Path, end: str) -> None:
    """What another tool wrote, closed or killed, is gone with the next publication."""
    lake = Lake(root)
    lake.append("runs", rows("runs", {"run_id": "a", "notes": "ours"}), {})
    publish(root, lake)
    target = root / "warehouse.duckdb"
    assert target.stat().st_mode & 0o222 == 0
    assert target.stat().st_nlink == 1
    target.chmod(0o644)
    subprocess.run([sys.executable, "-c", WRITER, str(target), end], check=False, timeout=60)
    wal = root / "warehouse.duckdb.wal"
    assert wal.exists() == (end == "die")
    with Engine.open(root) as engine:
        assert engine.sql("SELECT notes FROM runs").fetchall() == [("ours",)]
    publish(root, lake)
    assert not wal.exists()
    assert ask(root, "SELECT notes FROM runs") == [("ours",)]
    lake.append("runs", rows("runs", {"run_id": "b", "notes": "new"}), {})
    assert publish(root, lake).how == "patched"
    assert ask(root, "SELECT notes FROM runs ORDER BY 1") == [("new",), ("ours",)]
    assert ask(root, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'mine'") == [(0,)]
    assert target.stat().st_mode & 0o222 == 0


def test_a_publication_that_was_killed_is_made_good(root: Path) -> None:
    """Leftovers are no obstacle; a build that was not swapped in yet is."""
    lake = Lake(root)
    lake.append("runs", rows("runs", {"run_id": "a"}), {})
    publish(root, lake)
    old = (root / "warehouse.duckdb").read_bytes()
    note = (root / "catalog" / "published.json").read_bytes()
    lake.append("runs", rows("runs", {"run_id": "b"}), {})
    publish(root, lake)
    (root / "warehouse.duckdb").unlink()
    (root / "warehouse.duckdb").write_bytes(old)
    (root / "catalog" / "published.json").write_bytes(note)
    for name in ("building.duckdb", "building.duckdb.wal", "published.duckdb"):
        (root / "catalog" / name).write_bytes(b"half")
    (root / "catalog" / "building.spill").mkdir()
    publish(root, lake)
    assert ask(root, "SELECT count(*) FROM runs") == [(2,)]
    lake.append("runs", rows("runs", {"run_id": "c"}), {})
    assert publish(root, lake).how == "patched"
    assert {p.name for p in (root / "catalog").iterdir()} == {
        "2.duckdb", "3.duckdb", "published.json"
    }  # fmt: skip
    newest = root / "catalog" / "3.duckdb"
    newest.chmod(0o644)
    newest.write_bytes(b"damaged")
    lake.append("runs", rows("runs", {"run_id": "d"}), {})
    assert publish(root, lake).how == "rebuilt"
    assert ask(root, "SELECT count(*) FROM runs") == [(4,)]


def test_files_of_the_lake_that_are_gone_lead_to_a_rebuild(root: Path) -> None:
    """After a vacuum the rows that went cannot be told from files, so the file is made anew."""
    lake = Lake(root)
    lake.append("run_tags", rows("run_tags", {"run_id": "a", "tag": "old"}), {})
    publish(root, lake)
    (old,) = lake.files("run_tags")
    scope = pa.table({"entity": ["e"], "project": ["p"], "run_id": ["a"]})
    lake.replace("run_tags", scope, rows("run_tags", {"run_id": "a", "tag": "new"}), {})
    old.unlink()
    assert publish(root, lake).how == "rebuilt"
    assert ask(root, "SELECT tag FROM run_tags") == [("new",)]


def test_a_form_is_kept_until_another_is_chosen(root: Path, tmp_path: Path) -> None:
    """A materialised file holds everything, stays so through patches, and travels alone."""
    lake = Lake(root)
    lake.append("runs", rows("runs", {"run_id": "a"}), {})
    lake.append("history", rows("history", *points("a", "loss", [1, 2])), {})
    publish(root, lake)
    assert publish(root, lake, options=PublishOptions("v1.4.0", materialize=True)).how == "rebuilt"
    lake.append("history", rows("history", *points("a", "acc", [3])), {})
    assert publish(root, lake).how == "patched"
    alone = tmp_path / "alone.duckdb"
    alone.write_bytes((root / "warehouse.duckdb").read_bytes())
    (root / "lake").rename(tmp_path / "elsewhere")
    with duckdb.connect(str(alone), read_only=True) as connection:
        assert connection.execute("SELECT sum(value) FROM history").fetchall() == [(6.0,)]
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal")
        assert tags.fetchall()[0][0]["storage_version"].startswith("v1.4")
    (tmp_path / "elsewhere").rename(root / "lake")
    assert publish(root, lake, options=PublishOptions(materialize=False)).how == "rebuilt"
    assert ask(root, "SELECT table_type FROM information_schema.tables WHERE table_name ="
               " 'history_all'") == [("VIEW",)]  # fmt: skip
    with pytest.raises(ConfigError, match="v1\\.0\\.0"):
        publish(root, lake, options=PublishOptions("'; DROP TABLE runs"))


def test_a_file_of_older_versions_copies_nothing(root: Path, tmp_path: Path) -> None:
    """A file for a moment shows a table's files of any version, and costs no copy of rows."""
    lake = Lake(root)
    lake.append("runs", rows("runs", {"run_id": "a", "notes": "old"}), {})
    version = lake.version("runs")
    scope = pa.table({"entity": ["e"], "project": ["p"], "run_id": ["a"]})
    lake.replace("runs", scope, rows("runs", {"run_id": "a", "deleted_at": NOW}), {})
    past = tmp_path / "past.duckdb"
    tables = {name: lake.parts(name) for name in lake_tables()}
    tables["runs"] = lake.parts("runs", version=version)
    build(past, tables, form=Form(is_passing=True))
    with duckdb.connect(str(past), read_only=True) as connection:
        assert connection.execute("SELECT notes FROM runs").fetchall() == [("old",)]
        held = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"
        )
        assert held.fetchall() == [("edits",), ("edit_log",), ("sync_log",)]


def test_leaf_tables_have_no_key_and_the_others_do(root: Path) -> None:
    """BI tools find the keys of runs, projects and the like."""
    publish(root, Lake(root))
    keyed = ask(root, "SELECT DISTINCT table_name FROM duckdb_constraints()"
                " WHERE constraint_type = 'PRIMARY KEY' AND schema_name = 'main'")  # fmt: skip
    keyed_names = {name for (name,) in keyed}
    assert {"runs_all", "projects_all", "sweeps_all", "artifacts_all"} <= keyed_names
    assert not {"run_config_all", "run_summary_all", "history_keys_all"} & keyed_names
    assert all(shape_of(n).stored.endswith("_all") for n in ("runs", "run_tags", "history"))


def test_more_memory_is_tried_before_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of our own makes no publication fail; other errors are not tried again."""
    monkeypatch.setattr(writing_module, "MEMORY", ("1MB", None))
    tried: list[str | None] = []

    def work(memory: str | None) -> str:
        tried.append(memory)
        if memory:
            raise duckdb.TransactionException("Failed to commit: failed to pin block of size 1")
        return "done"

    assert with_enough_memory(work) == "done"
    assert tried == ["1MB", None]

    def fail(memory: str | None) -> str:
        tried.append(memory)
        raise duckdb.IOException("No space left on device")

    tried.clear()
    with pytest.raises(duckdb.IOException):
        with_enough_memory(fail)
    assert tried == ["1MB"]


MEASURE = """
import os, sys
from pathlib import Path
from wbsync.catalog import publish
from wbsync.lake import Lake
os.chdir(sys.argv[2])
root = Path(sys.argv[1])
publish(root, Lake(root))
with open("/proc/self/status") as status:  # ru_maxrss would start at the parent's size
    peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(peak_kb // 1024, os.listdir("."))
"""


def test_many_runs_are_published_in_little_memory(tmp_path: Path, root: Path) -> None:
    """Neither an index nor large configs need memory of their own; nothing spills elsewhere."""
    lake, runs, keys = Lake(root), 10_000, 150
    for start in range(0, runs, 2_500):
        ids = [f"{n:08}" for n in range(start, start + 2_500)]
        for table in ("run_config", "run_summary"):
            lake.append(table, repeated(table, ids, keys), {})
        config = [json.dumps({f"key_{k}": f"{i}-{k}" for k in range(keys)}) for i in ids]
        lake.append("runs", repeated("runs", ids, 1, config=config, summary=config), {})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(root), str(elsewhere)],
        check=False, capture_output=True, text=True, timeout=240,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    peak_mb, _, left = done.stdout.strip().partition(" ")
    assert int(peak_mb) < 400
    assert left == "[]"
    assert not list((root / "catalog").glob("*.spill"))
    assert ask(root, "SELECT count(*), count(DISTINCT run_id) FROM run_config") == [
        (runs * keys, runs)
    ]


def repeated(table: str, ids: list[str], keys: int, **given: list[str]) -> pa.Table:
    """Returns rows of many runs with as many keys, without a loop over the rows."""
    count = len(ids) * keys
    fixed = {"entity": "e", "project": "p", "synced_at": NOW, "value": 0.5}
    columns = []
    for field in load_table(table).arrow():
        if field.name == "run_id":
            columns.append(pa.array([i for i in ids for _ in range(keys)], field.type))
        elif field.name == "key":
            columns.append(pa.array([f"key_{k}" for k in range(keys)] * len(ids), field.type))
        elif field.name in given:
            columns.append(pa.array(given[field.name], field.type))
        else:
            columns.append(pa.repeat(pa.scalar(fixed.get(field.name), field.type), count))
    return pa.Table.from_arrays(columns, schema=load_table(table).arrow())


def test_a_file_that_cannot_be_made_leaves_the_old_one(root: Path) -> None:
    """A damaged file of the lake is an error of one line, and what was published stays."""
    lake = Lake(root)
    lake.append("run_tags", rows("run_tags", {"run_id": "a", "tag": "t"}), {})
    publish(root, lake)
    before = (root / "warehouse.duckdb").read_bytes()
    lake.append("run_tags", rows("run_tags", {"run_id": "b", "tag": "t"}), {})
    for path in lake.files("run_tags"):
        path.write_bytes(b"PAR1")
    with pytest.raises(WarehouseError, match="cannot publish"):
        publish(root, lake)
    assert (root / "warehouse.duckdb").read_bytes() == before
    assert Form().storage_version == "v1.0.0"
