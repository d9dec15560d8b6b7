"""Edits find their way in, are shown at once, and are what the next sync after a push shows."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wbsync
from wbsync.errors import EditError, QueryError, StatementRefusedError, WbsyncError
from wbsync.sandbox.process import Sandbox
from wbsync.writeback import MISSING, Edit, Operation, Queue, Target, overlay
from wbsync.writeback.accepting import accept
from wbsync.writeback.assignments import build_assignments
from wbsync.writeback.editing import plan_edit
from wbsync.writeback.overlay import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

P, PUSHED = "sandbox/edits", "sandbox/pushed"
CONFIG = {
    "lr": 0.1, "epochs": 3, "name": "adam", "a.b": 1, "optimizer": {"lr": 0.01, "betas": [0.9, 1]},
    "empty": {}, "big": 2**60 + 1, "it's \"odd\"/~1": "x", "Loss": 1, "loss": 2, "seven": "7",
}  # fmt: skip


class Place:
    """A sandbox with a project of runs and artifacts, and a warehouse that has synced it."""

    def __init__(self, sandbox: Sandbox, account: Any, root: Path) -> None:
        self.sandbox, self.account, self.root = sandbox, account, root

    def cli(self, *args: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Calls the command; standard input is no terminal."""
        return subprocess.run(
            [sys.executable, "-m", "wbsync", "-w", str(self.root), *args], check=False,
            env=self.sandbox.env(), capture_output=True, text=True, timeout=240,
            stdin=subprocess.DEVNULL, **how,
        )  # fmt: skip

    def operations(self, edit_id: str | None = None) -> list[tuple[Any, ...]]:
        """Returns what tells the operations of an edit apart."""
        with Queue(self.root) as queue:
            entries = queue.entries(edit_id=edit_id)
        return sorted(
            (e.target.key, str(e.target.created_at), str(e.target.storage_id), e.operation.field,
             e.operation.action, e.operation.path, repr(e.operation.value), repr(e.operation.base))
            for e in entries
        )  # fmt: skip

    def forget(self) -> None:
        """Drops what waits in the queue."""
        with Queue(self.root) as queue:
            queue.drop([e.op_id for e in queue.entries(("pending", "conflict", "failed"))])
        show(self.root)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox."""
    with Sandbox(tmp_path_factory.mktemp("data")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def place(
    served: Sandbox, tmp_path_factory: pytest.TempPathFactory, account_of: Callable[..., Any]
) -> Iterator[Place]:
    """The project, synced."""
    account = account_of(served)
    for project in ("edits", "pushed"):
        for index in range(4):
            account.upsert(
                project, f"r{index}", state="finished", tags=["a"], notes="fine",
                displayName=f"run {index}", config=CONFIG | {"index": index},
                summaryMetrics={"acc": index / 4, "deep": {"x": 1}},
            )  # fmt: skip
        first = account.make_version(project, "data", "1", metadata='{"n": 1, "m": {"k": 2}}')
        account.make_version(project, "data", "2")
        account.alias(project, "data", first, "best")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", served.base_url)
        patch.setenv("WANDB_API_KEY", served.api_key)
        made = Place(served, account, tmp_path_factory.mktemp("w") / "w")
        wbsync.open(made.root).sync("sandbox")
        yield made


@pytest.fixture
def warehouse(place: Place) -> Iterator[wbsync.warehouse.Warehouse]:
    """The warehouse, with an empty queue before and after."""
    with wbsync.open(place.root) as opened:
        yield opened
    place.forget()


def test_a_question_that_is_declined_queues_nothing(place: Place) -> None:
    """No is an answer, not an interruption."""
    with Queue(place.root) as queue:
        was = len(queue.entries())
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wbsync", "-w", str(place.root), "edit", "runs", P, "--runs", "r1",
         "--set-tags", "more"],
        env=place.sandbox.env(), stdin=secondary, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    os.write(primary, b"n\n")
    shown, narration = process.communicate(timeout=60)
    os.close(secondary)
    os.close(primary)
    assert (process.returncode, "interrupted" in narration) == (1, False)
    assert "nothing is done" in narration
    assert '["a"] → ["more"]' in shown
    with Queue(place.root) as queue:
        assert len(queue.entries()) == was


def test_all_ways_in_give_the_same_operations(
    place: Place, warehouse: wbsync.warehouse.Warehouse, tmp_path: Path
) -> None:
    """Command, SQL, file, method and objects: one edit, the same operations, to the base."""
    made = {}

    def keep(way: str, edit_id: str | None) -> None:
        assert edit_id is not None
        made[way] = place.operations(edit_id)
        place.forget()

    done = place.cli(
        "edit", "runs", P, "--runs", "r1,r2", "--add-tag", "it's \"best\" 🦊", "--remove-tag", "a",
        "--set-notes", "größer\n", "--set", "config.optimizer.lr=0.5", "--set", "config.epochs=4",
        "--set", "summary.acc=1", "--unset", "config.a.b", "--group", "g", "--job-type", "t",
        "--name", "n", "--reason", "why not", "--yes", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["matched"], told["changed"], told["queued"]) == (2, 2, 20)
    with Queue(place.root) as queue:
        entry = queue.entries(edit_id=told["edit_id"])[0]
        assert (entry.edit.why, entry.edit.origin) == ("why not", "cli")
    keep("cli", told["edit_id"])
    edited = warehouse.edit_sql(
        "UPDATE runs SET tags = list_append(list_filter(tags, t -> t <> 'a'), 'it''s \"best\" 🦊'),"
        " notes = 'größer' || chr(10), config.optimizer.lr = config['optimizer.lr'] * 50,"
        " config.epochs = config.epochs + 1, summary_metrics.acc = 1, config['a.b'] = NULL,"
        " group_name = 'g', job_type = 't', display_name = 'n'"
        " WHERE project = 'edits' AND run_id IN ('r1', 'r2')"
    )
    keep("sql", edited.edit_id)
    names = ["run_id", "remove_tags", "add_tags", "notes", "config.optimizer.lr", "config.epochs",
             "summary.acc", "group", "job_type", "name"]  # fmt: skip
    cells = [["a"], ['it\'s "best" 🦊'], "größer\n", 0.5, 4, 1, "g", "t", "n"]
    records = [dict(zip(names, [run, *cells], strict=True)) for run in ("r1", "r2")]
    unset = warehouse.edit("runs", P, names=["r1", "r2"], unset=["config.a.b"])
    without = place.operations(unset.edit_id)
    place.forget()
    (tmp_path / "f.jsonl").write_text("\n".join(map(json.dumps, records)))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "f.parquet")
    header = ",".join(names).replace("run_id", "path")
    lines = [f'{P}/{run},a,"it\'s ""best"" 🦊","größer\n",0.5,4,1,g,t,n' for run in ("r1", "r2")]
    (tmp_path / "f.csv").write_text("\n".join([header, *lines]))
    for ending in ("jsonl", "parquet", "csv"):
        edited = warehouse.edit_import(tmp_path / f"f.{ending}", None if ending == "csv" else P)
        keep(ending, edited.edit_id)
        made[ending] = sorted([*made[ending], *without])
    edited = warehouse.edit(
        "runs", P, filters={"$or": [{"name": "r1"}, {"name": "r2"}]},
        add_tags=["it's \"best\" 🦊"], remove_tags=["a"], unset=["config.a.b"],
        values={"notes": "größer\n", "config.optimizer.lr": 0.5, "config.epochs": 4,
                "summary.acc": 1, "group": "g", "job_type": "t", "display_name": "n"},
    )  # fmt: skip
    keep("python", edited.edit_id)
    api = wbsync.Api(warehouse=warehouse)
    for run_id in ("r1", "r2"):
        run = api.run(f"{P}/{run_id}")
        run.tags.append('it\'s "best" 🦊')
        run.tags.remove("a")
        run.notes, run.group, run.job_type, run.name = "größer\n", "g", "t", "n"
        run.config["optimizer"]["lr"] = 0.5
        run.config["epochs"] = 4
        del run.config["a.b"]
        run.summary["acc"] = 1
        run.update()
        run.update()
    with Queue(place.root) as queue:
        ids = [e.op_id for e in queue.entries(("pending",))]
        made["objects"] = sorted(
            operation
            for edit_id in {e.edit.edit_id for e in queue.entries(op_ids=ids)}
            for operation in place.operations(edit_id)
        )
    tags = [o for o in made["cli"] if o[3] == "tags"]
    assert len(tags) == 4
    for way, operations in made.items():
        # Which of two tags is changed first is not part of what is meant.
        assert [o for o in operations if o[3] != "tags"] == [
            o for o in made["cli"] if o[3] != "tags"
        ], way
        assert [o[:7] for o in operations if o[3] == "tags"] == [o[:7] for o in tags], way


EDITS: tuple[dict[str, Any], ...] = (
    {"add_tags": ["b", "x" * 64], "append_notes": " checked", "values": {
        "config.optimizer.lr": 0.5, "config.optimizer.new": [1, None], "config.lr": "text",
        "config.empty.x": 2**60 + 1, "config.big": 1e300, "config.it's \"odd\"/~1": True,
        "config.fresh.deep.er": float("nan"), "summary.acc": float("-inf"), "summary.deep": 1,
        "display_name": "größer", "group": "g"}, "unset": ["config.a.b", "config.loss"]},
    {"tags": [], "values": {"notes": "", "config.optimizer": {"betas": 1}, "summary.new.x": "y"}},
)  # fmt: skip


def test_what_is_shown_is_what_the_next_sync_after_a_push_shows(
    place: Place, warehouse: wbsync.warehouse.Warehouse, held_content_of: Callable[..., Any]
) -> None:
    """Queued, pushed, and synced: the tables say the same of runs, leaves, tags and artifacts."""
    remote = held_content_of(warehouse, "sandbox")
    plain = warehouse.sql("SELECT run_id, tags, notes, config FROM runs ORDER BY ALL").fetchall()
    warehouse.edit("runs", PUSHED, names=["r1", "r2"], **EDITS[0])
    warehouse.edit("runs", PUSHED, names=["r2", "r3"], **EDITS[1])
    warehouse.edit(
        "artifacts", PUSHED, names=["data:v1"], add_aliases=["best", "new one"],
        add_tags=["good"], values={"description": "d", "metadata.n": {"k": [1]}},
    )  # fmt: skip
    warehouse.edit("artifacts", PUSHED, names=["data:v0"], unset=["metadata.m.k"])
    warehouse.edit(
        "collections", PUSHED, names=["data"], add_tags=["t"], values={"description": "c"}
    )
    shown = held_content_of(warehouse, "sandbox")
    assert shown["runs"] != remote["runs"]
    assert shown["versions"] != remote["versions"]
    assert shown["aliases"]["pushed", "data", "best"] != remote["aliases"]["pushed", "data", "best"]
    assert shown["runs"]["pushed", "r0"] == remote["runs"]["pushed", "r0"]
    kept = "SELECT run_id, tags, notes, config FROM runs_remote ORDER BY ALL"
    assert warehouse.sql(kept).fetchall() == plain
    for table in ("runs", "run_tags", "run_config"):
        counts = "SELECT count(*) FROM " + table
        assert (
            warehouse.sql(f"{counts}_remote").fetchall()
            == warehouse.sql(f"{counts}_all").fetchall()
        )
    states = (
        "SELECT DISTINCT state, who <> '' FROM edits"
        " WHERE state <> 'dropped' AND project = 'pushed'"
    )
    assert warehouse.sql(states).fetchall() == [("pending", True)]
    tagged = warehouse.runs(
        PUSHED, {"tags": "b"}, columns=["run_id", "config.optimizer.lr"]
    ).fetchall()
    assert tagged == [("r1", 0.5)]
    wide = 'SELECT run_id, "config.optimizer.lr" FROM sandbox__pushed.runs ORDER BY 1 LIMIT 2'
    assert warehouse.sql(wide).fetchall() == [("r0", 0.01), ("r1", 0.5)]
    assert wbsync.Api(warehouse=warehouse).run(f"{PUSHED}/r1").config["empty"] == {"x": 2**60 + 1}
    # A BI tool sees it, too, and a file that is made anew.
    warehouse.publish(rebuild=True)
    assert held_content_of(warehouse, "sandbox") == shown
    report = warehouse.push()
    assert (report.outcome, report.unsettled) == ("complete", 0), report.told
    assert held_content_of(warehouse, "sandbox") == shown
    warehouse.sync("sandbox")
    synced = held_content_of(warehouse, "sandbox")
    for content in (shown, synced):
        content["versions"] = {
            key: (*v[:4], json.loads(v[4] or "{}"), v[5]) for key, v in content["versions"].items()
        }
    for key, facts in synced["runs"].items():
        assert facts == shown["runs"][key], key
    assert synced == shown
    names = "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'pending%'"
    assert warehouse.sql(names).fetchall() == [(0,)]
    # What a colleague changes after a push shows once a sync has seen it.
    warehouse.edit("runs", PUSHED, names=["r0"], values={"notes": "mine"})
    warehouse.push()
    place.account.upsert("pushed", "r0", notes="theirs")
    note = "SELECT notes FROM runs WHERE project = 'pushed' AND run_id = 'r0'"
    assert warehouse.sql(note).fetchall() == [("mine",)]
    warehouse.sync("sandbox")
    assert warehouse.sql(note).fetchall() == [("theirs",)]
    # Edits that wait meet what a sync finds as a push would.
    warehouse.edit("runs", PUSHED, names=["r0"], add_tags=["z"], values={"notes": "mine"})
    place.account.upsert("pushed", "r0", notes="theirs again", tags=["a", "q"])
    warehouse.sync("sandbox")
    row = warehouse.sql("SELECT notes, tags FROM runs WHERE project = 'pushed' AND run_id = 'r0'")
    assert row.fetchall() == [("theirs again", '["a","q","z"]')]


REFUSED_SQL = (
    ("DELETE FROM runs WHERE run_id = 'r1'", "DELETE is refused"),
    ("INSERT INTO runs (run_id) VALUES ('x')", "INSERT is refused"),
    ("SELECT 1", "SELECT is refused"),
    ("UPDATE runs SET notes = 'x' WHERE run_id = 'r1'; DROP TABLE runs", "2 statements"),
    ("UPDATE runs SET notes = 'x' WHERE", "does not parse"),
    ("UPDATE runs SET notes = 'x' WHERE run_id = 'r1' RETURNING *", "RETURNING"),
    ("UPDATE runs SET notes = t.tag FROM run_tags t WHERE t.run_id = runs.run_id", "FROM"),
    ("WITH x AS (SELECT 1) UPDATE runs SET notes = 'x' WHERE run_id = 'r1'", "WITH"),
    ("UPDATE run_config SET value = 1 WHERE key = 'lr'", "only runs and artifacts"),
    ("UPDATE main.runs SET notes = 'x' WHERE run_id = 'r1'", "only runs and artifacts"),
    ("UPDATE runs SET run_id = 'x' WHERE run_id = 'r1'", "may be assigned: tags, notes"),
    ("UPDATE runs SET state = 'failed' WHERE run_id = 'r1'", "may be assigned"),
    ("UPDATE runs SET config = '{}' WHERE run_id = 'r1'", "name a leaf"),
    ("UPDATE runs SET config._wandb.x = 1 WHERE run_id = 'r1'", "W&B's own"),
    ("UPDATE runs SET config.lr = 1, config['lr'] = 2 WHERE run_id = 'r1'", "set twice"),
    ("UPDATE runs SET tags = 'best' WHERE run_id = 'r1'", "list_append"),
    ("UPDATE runs SET tags = ['%s'] WHERE run_id = 'r1'" % ("x" * 65), "1 to 64 characters"),
    ("UPDATE runs SET config.lr = current_date WHERE run_id = 'r1'", "nothing that JSON holds"),
    ("UPDATE runs SET config.lr.deep = 1 WHERE run_id = 'r1'", "lr is a value"),
    ("UPDATE runs SET notes = ? WHERE run_id = 'r1'", "parameters"),
    ("UPDATE runs SET notes = 'x'", "--all"),
    ("UPDATE runs SET notes = 'x' WHERE 1 = 1", "--all"),
    ("UPDATE runs SET notes = 'x' WHERE run_id <> ''", "all 8 runs of 2 projects"),
    ("UPDATE runs SET notes = 'x' WHERE nothing = 1", "nothing"),
    ("UPDATE runs SET notes = (SELECT content FROM read_text('/etc/passwd')) WHERE run_id = 'r1'",
     "outside the warehouse"),
    ("UPDATE runs SET notes = 'x' WHERE getenv('HOME') = run_id", "getenv"),
    ("UPDATE runs SET config.x = display_name + 1 WHERE run_id = 'r1'", "CAST(x AS DOUBLE)"),
)  # fmt: skip


@pytest.mark.parametrize(("statement", "reason"), REFUSED_SQL)
def test_sql_that_is_no_such_update_is_refused(
    warehouse: wbsync.warehouse.Warehouse, place: Place, statement: str, reason: str
) -> None:
    """Nothing but an UPDATE of some things' fields; the message says what is allowed."""
    with pytest.raises((EditError, QueryError, StatementRefusedError)) as refused:
        warehouse.edit_sql(statement)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 500, "the message is one that people read"
    with Queue(place.root) as queue:
        assert not queue.entries(("pending",))


def test_sql_reads_what_it_likes_and_sets_what_it_may(
    warehouse: wbsync.warehouse.Warehouse, place: Place
) -> None:
    """Leaves by either spelling, subqueries, an alias, types kept, NULL takes away, artifacts."""
    edited = warehouse.edit_sql(
        "UPDATE runs r SET notes = notes || ' ' || r.config.name,"
        " config.epochs = r.config.epochs + 1,"
        " config['loss'] = NULL, config.betas = [1, 0.5, NULL], config['x y'] = {'a': true}"
        " WHERE project = 'edits' AND r.summary_metrics.acc > 0.3 AND list_contains(tags, 'a')"
        " AND config['optimizer.lr'] < 0.1 AND run_id IN (SELECT run_id FROM run_tags)"
    )
    assert (edited.plan.matched, edited.queued) == (2, 10)
    values = {o[3:6]: o[6] for o in place.operations(edited.edit_id) if o[0][3] == "r2"}
    assert values == {
        ("notes", "append", ()): "' adam'", ("config", "set", ("epochs",)): "4",
        ("config", "unset", ("loss",)): "MISSING", ("config", "set", ("betas",)): "[1, 0.5, None]",
        ("config", "set", ("x y",)): "{'a': True}",
    }  # fmt: skip
    edited = warehouse.edit_sql(
        "UPDATE artifacts SET tags = ['x'], description = version || '!', metadata.n = 5"
        " WHERE version = 'v0' AND project = 'edits'"
    )
    assert edited.plan.counts() == [("tags", "set", 1), ("description", "set", 1),
                                    ("metadata.n", "set", 1)]  # fmt: skip
    assert (
        warehouse.edit_sql("UPDATE runs SET notes = 'x'", every=True, dry_run=True).plan.matched
        == 8
    )


def test_what_cannot_be_is_refused_before_it_is_queued(
    warehouse: wbsync.warehouse.Warehouse, place: Place, tmp_path: Path
) -> None:
    """Unknown runs, tags of 65 characters, fields by their nearest name, files with odd columns."""

    def refused(call: Callable[[], Any]) -> str:
        with pytest.raises(WbsyncError) as error:
            call()
        return str(error.value)

    def edit(**how: Any) -> Callable[[], Any]:
        return lambda: warehouse.edit("runs", P, **{"names": ["r1"], **how})

    assert "no sandbox/edits/nope" in refused(edit(names=["r1", "nope"], add_tags=["x"]))
    unknown = refused(lambda: warehouse.edit("runs", "sandbox/edit", add_tags=["x"]))
    assert unknown == "'sandbox/edit' is not in this warehouse; did you mean 'sandbox/edits'?"
    assert edit(names=None, filters={"state": "no"}, add_tags=["x"])().plan.matched == 0
    assert "1 to 64" in refused(edit(add_tags=["🦊" * 65]))
    assert "spaces around" in refused(edit(add_tags=[" x"]))
    assert "did you mean notes" in refused(edit(values={"note": "x"}))
    assert "10 MB" in refused(edit(values={"config.x": "x" * 10_000_001}))
    assert "set is nothing that JSON holds" in refused(edit(values={"config.x": {1, 2}}))
    assert "lr is a value" in refused(edit(values={"config.lr.x": 1}))
    assert "what is to be changed" in refused(edit())
    pair: dict[str, Any] = {"names": ["data:v0", "data:v1"], "add_aliases": ["x"]}
    assert "cannot be both" in refused(partial(warehouse.edit, "artifacts", P, **pair))
    assert edit(add_tags=["🦊" * 64, 'it\'s\n"quoted"'], dry_run=True)().plan.changed == 1
    assert edit(add_tags=["a"])().edit_id is None

    def load(text: str, name: str = "f.csv") -> Callable[[], Any]:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return lambda: warehouse.edit_import(tmp_path / name, P)

    assert "did you mean notes" in refused(load("run_id,note\nr1,x"))
    assert "take the column out" in refused(load("run_id,state\nr1,failed"))
    assert "named twice" in refused(load("run_id,notes\nr1,x\nr1,y"))
    assert "row 2: it names no run" in refused(load("run_id,notes\nr1,x\n,y"))
    assert "more cells" in refused(load("run_id,notes\nr1,x,y"))
    assert "no column sets" in refused(load("run_id\nr1"))
    assert "f.xlsx" in refused(load("", "f.xlsx"))
    assert "must be an object" in refused(load("[1, 2]", "f.jsonl"))
    done = load('run_id,tags,config.seven,config.lr,notes\nr1,,7,,\nr2,"b,c",8,0.5,x')()
    counts = done.plan.counts()
    assert counts == [("tags", "set", 1), ("config.seven", "set", 1), ("config.lr", "set", 1),
                      ("notes", "set", 1)]  # fmt: skip
    with Queue(place.root) as queue:
        assert {e.target.name for e in queue.entries(("pending",))} == {"r2"}


def test_the_command_shows_asks_and_says(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """A preview, a dry run, nobody to ask, nothing to change; names of others are harmless."""
    place.account.upsert("edits", "r3", displayName="\x1b[2J evil\nname")
    warehouse.sync("sandbox")
    args = ("edit", "runs", P, "--runs", "r3,r2", "--name", "new")
    done = place.cli(*args, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs change" in done.stdout
    assert "evil" in done.stdout
    assert "\x1b" not in done.stdout
    assert "a dry run: nothing is queued" in done.stdout
    done = place.cli(*args)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    with Queue(place.root) as queue:
        assert not queue.entries(("pending",))
    done = place.cli("edit", "runs", P, "--add-tag", "a", "--yes")
    assert (done.returncode, "nothing would change" in done.stdout) == (0, True)
    done = place.cli("edit", "sql", "UPDATE runs SET notes = 'x' WHERE run_id = 'r2'", "-y")
    assert done.returncode == 0, done.stderr
    assert "`wbsync push`" in done.stdout
    done = place.cli("edit", "sql", "UPDATE runs SET notes = 'x'", "-y")
    assert (done.returncode, "--all" in done.stderr) == (1, True)
    found = place.cli("runs", P, "--filter", '{"notes": "x"}', "--columns", "run_id", "--json")
    assert json.loads(found.stdout) == [{"run_id": "r2"}]
    done = place.cli("queue", "drop", "--all", "--yes")
    assert done.returncode == 0, done.stderr
    found = place.cli("runs", P, "--filter", '{"notes": "x"}', "--columns", "run_id", "--json")
    assert json.loads(found.stdout or "[]") == []


def test_edits_show_while_a_sync_holds_the_warehouse_and_in_older_duckdb(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """An edit neither waits for a sync nor shows half of one; each DuckDB reads what is shown."""
    from wbsync.sync.lock import hold

    before = duckdb_counts(place.root)
    with hold(place.root):
        warehouse.edit("runs", P, names=["r1"], add_tags=["b"], values={"config.new": 1})
    after = duckdb_counts(place.root)
    assert after["run_tags"] == before["run_tags"] + 1
    assert after["run_config"] == before["run_config"] + 1
    assert after["edits"] == before["edits"] + 2
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
        "print(c.execute(\"SELECT tags FROM runs WHERE project = 'edits' AND run_id = 'r1'\")"
        ".fetchall(), c.execute('SELECT count(*) FROM run_config').fetchall())"
    )
    for version in ("1.1.3", "1.4.0", "2.0.0"):
        python = Path(sys.prefix) / "readers" / version / "bin" / "python"
        assert python.exists(), "run `make setup`"
        done = subprocess.run(
            [str(python), "-c", script, str(place.root / "warehouse.duckdb")],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        assert done.stdout.strip() == f'[(\'["a","b"]\',)] [({after["run_config"]},)]'


def duckdb_counts(root: Path) -> dict[str, int]:
    """Returns the rows of some tables of the published file, as a BI tool counts them."""
    newest = max((root / "catalog").glob("*.duckdb"), key=lambda p: int(p.stem))
    assert newest.read_bytes() == (root / "warehouse.duckdb").read_bytes()
    with wbsync.open(root) as warehouse:
        return {
            name: warehouse.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0]
            for name in ("run_tags", "run_config", "edits")
        }


def test_edits_laid_over_one_by_one_are_those_laid_over_at_once(
    place: Place, warehouse: wbsync.warehouse.Warehouse, held_content_of: Callable[..., Any]
) -> None:
    """What an edit adds to what is shown, and what a drop takes, is as if made anew."""
    for step in range(6):
        name = f"r{step % 3}"
        warehouse.edit("runs", P, names=[name], add_tags=[f"t{step}"],
                       values={"config.optimizer.lr": step, f"config.k{step}": step})  # fmt: skip
        if step % 2:
            warehouse.edit("runs", P, names=[name], unset=["config.optimizer.lr"], tags=["only"])
        if step == 2:
            warehouse.edit("artifacts", P, names=["data:v0"], add_aliases=["x"], add_tags=["y"])
        if step == 4:
            with Queue(place.root) as queue:
                queue.drop([e.op_id for e in queue.entries(("pending",))][-3:-1])
            show(place.root)
        if step in {0, 1, 3}:
            continue
        shown = held_content_of(warehouse, "sandbox")
        edits = warehouse.sql("FROM edits ORDER BY op_id").fetchall()
        warehouse.publish(rebuild=True)
        assert held_content_of(warehouse, "sandbox") == shown, step
        assert warehouse.sql("FROM edits ORDER BY op_id").fetchall() == edits
    with sqlite3.connect(place.root / "queue.sqlite") as queue_file:
        assert queue_file.execute("SELECT count(*) FROM operations").fetchone()[0] == len(edits)


def test_objects_queue_what_was_set_and_no_more(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """Tags, leaves, summaries and versions as with wandb; a second save has nothing to do."""
    api = wbsync.Api(warehouse=warehouse)
    for run in api.runs(P):
        run.tags.append("loop")
        run.save()
    run = api.run(f"{P}/r1")
    assert run.tags == ["a", "loop"]
    run.config["optimizer"]["new"] = {"x": float("nan")}
    run.summary["deep"]["y"] = 2
    run.summary.update({"acc": 9, "new": "x"})
    run.update()
    run.update()
    run.tags.append("x" * 65)
    with pytest.raises(EditError, match="64"):
        run.update()
    version = api.artifact(f"{P}/data:v1")
    version.aliases.append("best")
    version.metadata["k"] = [1]
    version.description = "said"
    version.save()
    version.save()
    collection = api.artifact_collection("dataset", f"{P}/data")
    collection.tags = ["c"]
    collection.save()
    odd = [(api.run(f"{P}/r2"), "tags"), (api.artifact(f"{P}/data:v0"), "tags"),
           (api.artifact(f"{P}/data:v0"), "aliases"),
           (api.artifact_collection("dataset", f"{P}/data"), "tags")]  # fmt: skip
    for thing, name in odd:
        for value in ("abc", "", None, 7):
            setattr(thing, name, value)
            with pytest.raises(EditError, match="list of texts, also of one"):
                thing.save()
    with pytest.raises(EditError, match="finished cannot be set to failed"):
        api.run(f"{P}/r1").update_state("failed")
    read = api.run(f"{P}/r1")
    assert read.summary["deep"] == {"x": 1, "y": 2}
    assert (read.summary["acc"], read.config["optimizer"]["lr"]) == (9, 0.01)
    assert "best" in api.artifact(f"{P}/data:v1").aliases
    assert "best" not in api.artifact(f"{P}/data:v0").aliases
    with Queue(place.root) as queue:
        labels = [e.operation.label for e in queue.entries(("pending",))]
    assert sorted(labels) == sorted([
        *["tags"] * 4, "config.optimizer.new", "summary.acc", "summary.deep.y", "summary.new",
        "aliases.best", "metadata.k", "description", "tags",
    ])  # fmt: skip


def test_an_edit_over_a_conflict_shows_what_it_replaces(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """The command shows W&B's value and takes its place; from Python it conflicts anew."""
    run = "r3"
    warehouse.edit("runs", PUSHED, names=[run], values={"notes": "mine", "config.lr": 5})
    theirs = "th\x1b[31m\x9b31meirs"
    place.account.edit("pushed", run, notes=theirs)
    assert warehouse.push().conflicts == 1
    warehouse.edit("runs", PUSHED, names=[run], values={"notes": "unseen"})
    assert warehouse.push().conflicts == 1
    assert place.account.run("pushed", run, "notes")["notes"] == theirs
    args = ("edit", "runs", PUSHED, "--runs", "r2,r3", "--set-notes", "seen", "--set",
            "config.epochs=9")  # fmt: skip
    dry = place.cli(*args, "--dry-run")
    told = dry.stdout[dry.stdout.index("1 of these replaces a conflict") :]
    assert "r3 notes: " in told
    assert "eirs" in told
    assert not {"\x1b", "\x9b"} & set(told)
    assert "seen" in told
    answer = place.cli(*args, "--yes", "--json").stdout
    assert answer.isascii()
    made = json.loads(answer)
    assert (made["replacing"], made["replaced"][0]["before"]) == (1, theirs)
    with Queue(place.root) as queue:
        assert queue.counts()["conflict"] == 0
        assert {e.operation.base for e in queue.entries(names=[run], field="notes")
                if e.state == "pending"} == {theirs}  # fmt: skip
    assert warehouse.push().unsettled == 0
    assert place.account.run("pushed", run, "notes")["notes"] == "seen"
    warehouse.edit("runs", PUSHED, names=[run], values={"summary.acc": 0.9, "notes": "mine"})
    place.account.edit("pushed", run, notes="theirs", summaryMetrics={"acc": 0.95})
    assert warehouse.push().conflicts == 2
    args = ("edit", "runs", PUSHED, "--runs", run, "--set", "summary.acc=0.95")
    dry = place.cli(*args, "--dry-run")
    assert "1 conflict is settled" in dry.stdout
    assert "a dry run" in dry.stdout
    made = json.loads(place.cli(*args, "--yes", "--json").stdout)
    assert (made["queued"], made["settled"], made["edit_id"]) == (0, 1, None)
    with Queue(place.root) as queue:
        (left,) = queue.entries(("pending", "conflict"))
        (gone,) = queue.entries(("dropped",), names=[run], field="summary")
    assert (left.state, left.operation.field) == ("conflict", "notes")
    assert gone.error == "settled by an edit to what W&B holds"
    made = json.loads(place.cli(*args[:-1], "config.other=7", "--set-notes", "theirs", "--yes",
                                "--json").stdout)  # fmt: skip
    assert (made["queued"], made["settled"]) == (1, 1)
    assert warehouse.push().unsettled == 0
    assert place.account.run("pushed", run, "notes")["notes"] == "theirs"


def test_sql_tells_leaves_apart_that_differ_in_case_alone(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """Loss and loss are two keys, in values and in WHERE, of runs and of artifacts."""
    (version,) = warehouse.sql(
        "SELECT artifact_id FROM artifacts WHERE version = 'v0' AND project = 'edits'"
    ).fetchall()[0]
    with Queue(place.root) as queue:
        held = Target("artifact", "sandbox", "edits", "data:v0", version)
        queue.add(Edit("me"), [
            Operation(held, "metadata", "set", value, path=(key,))
            for key, value in (("acc", 1), ("Acc", 2), ("Version", 3))
        ])  # fmt: skip
    show(place.root)
    edited = warehouse.edit_sql(
        "UPDATE runs SET config.loss = config.Loss + 10, config.Loss = config.loss + 100"
        " WHERE run_id = 'r1' AND project = 'edits' AND config['Loss'] = 1 AND config.loss = 2"
    )
    made = {o[5]: o[6] for o in place.operations(edited.edit_id)}
    assert made == {("loss",): "11", ("Loss",): "102"}
    same = "UPDATE runs SET notes = 'x' WHERE config.loss = config.Loss"
    assert warehouse.edit_sql(f"{same} AND run_id <> 'r1'", dry_run=True).plan.matched == 0
    edited = warehouse.edit_sql(
        "UPDATE artifacts SET metadata.acc = metadata.Acc + 10, metadata.Acc = metadata.acc + 100"
        " WHERE metadata.Version > 2 AND metadata.acc < metadata.Acc AND version = 'v0'"
    )
    made = {o[5]: o[6] for o in place.operations(edited.edit_id)}
    assert made == {("acc",): "12", ("Acc",): "101"}
    shown = place.cli("runs", P, "--columns", "config.loss,config.Loss", "--json")
    assert json.loads(shown.stdout)[1] == {"config.loss": 11, "config.Loss": 102}

def test_sql_copies_leaves_as_they_are_and_reckons_with_plain_ones_alone(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """Lists, objects, texts and long numbers are no texts and no doubles in the copy."""
    edited = warehouse.edit_sql(
        "UPDATE runs SET config.b = config['optimizer.betas'], config.c = (config.optimizer),"
        " config.d = runs.config.big, summary.e = config.seven, config.epochs = config.absent,"
        " summary.n = config.epochs * 2 WHERE project = 'edits' AND run_id = 'r1'"
    )
    with Queue(place.root) as queue:
        entries = queue.entries(edit_id=edited.edit_id)
    made = {e.operation.label: (e.operation.action, e.operation.value) for e in entries}
    assert made == {
        "config.b": ("set", [0.9, 1]), "config.c": ("set", CONFIG["optimizer"]),
        "config.d": ("set", 2**60 + 1), "summary.e": ("set", "7"),
        "config.epochs": ("unset", MISSING), "summary.n": ("set", 6),
    }  # fmt: skip
    for value in ("config.optimizer || 'x'", "len(config.optimizer.betas)"):
        with pytest.raises(EditError, match="list or an object"):
            warehouse.edit_sql(f"UPDATE runs SET config.x = {value} WHERE project = 'edits'")


def test_what_is_queued_is_told_whatever_becomes_of_the_tables(
    place: Place, warehouse: wbsync.warehouse.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error there would have the edit made twice: the call says what is queued, and returns."""

    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(overlay, "publish_edits", fail)
    edited = warehouse.edit("runs", P, names=["r1"], add_tags=["kept"])
    assert edited.queued == 1
    assert len(place.operations(edited.edit_id)) == 1
    told: list[str | None] = []

    def look(*_: Any) -> None:
        told.append("shown")
        raise KeyboardInterrupt

    monkeypatch.setattr(overlay, "publish_edits", look)
    plan = plan_edit(
        warehouse._open(), "runs", P, build_assignments("runs", add_tags=["more"]), names=["r2"]
    )
    with pytest.raises(KeyboardInterrupt):
        accept(place.root, plan, origin="cli", tell=lambda e: told.append(e.edit_id))
    assert told[0] is not None
    assert told[0] != "shown"


def test_the_sdk_reads_back_what_sql_and_files_have_set(
    place: Place, run_script: Callable[..., Any], tmp_path: Path
) -> None:
    """After a push: an UPDATE, and a CSV, JSON lines and Parquet file, as what was meant."""
    project = "sandbox/ways"
    for index in range(4):
        place.account.upsert(
            "ways", f"r{index}", state="finished", tags=["a"], notes="fine", displayName="n",
            config=CONFIG, summaryMetrics={"acc": 0.5},
        )  # fmt: skip
    assert place.cli("sync", project).returncode == 0
    sql = (
        "UPDATE runs SET tags = list_append(tags, 'it''s 🦊'), notes = notes || ' checked\n☃',"
        " config.epochs = config.epochs + 1, config['it''s \"odd\"/~1'] = NULL, group_name = 'g',"
        " summary.acc = 0.75, config.big = config.big"
        " WHERE project = 'ways' AND run_id = 'r0'"
    )
    row = {
        "run_id": "r2", "add_tags": ["x, y", "☃"], "config.optimizer.lr": 2**60 + 1,
        "config.new": {"deep": [None, True]}, "summary.acc": 1e-7, "job_type": "t",
    }  # fmt: skip
    (tmp_path / "e.csv").write_text(
        "run_id,tags,notes,config.seven,config.lr,config.name\n"
        'r1,"b,c","two\nlines, ""x""",8,,007\n'
    )
    (tmp_path / "e.jsonl").write_text(json.dumps(row))
    table = pa.table({
        "path": [f"{project}/r3"], "display_name": ["größer"], "config.lr": [float("inf")],
        "config.epochs": [7], "remove_tags": [["a"]], "append_notes": ["!"],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "e.parquet")
    files = [tmp_path / name for name in ("e.csv", "e.jsonl", "e.parquet")]
    done = [
        place.cli("edit", "sql", sql, "--yes"),
        *(place.cli("edit", "import", str(f), "--project", project, "--yes") for f in files),
        place.cli("push"),
    ]
    assert [d.returncode for d in done] == [0] * 5, "".join(d.stderr for d in done)
    runs = run_script("read_runs.py", place.sandbox, tmp_path, project)
    first = {k: v for k, v in CONFIG.items() if not k.startswith("it")} | {"epochs": 4}
    assert runs["r0"]["config"] == first
    assert (runs["r0"]["tags"], runs["r0"]["notes"]) == (["a", "it's 🦊"], "fine checked\n☃")
    assert (runs["r0"]["group"], runs["r0"]["summary"]["acc"]) == ("g", 0.75)
    assert runs["r1"]["config"] == CONFIG | {"seven": 8, "name": "007"}
    assert (sorted(runs["r1"]["tags"]), runs["r1"]["notes"]) == (["b", "c"], 'two\nlines, "x"')
    assert runs["r2"]["config"] == CONFIG | {
        "optimizer": CONFIG["optimizer"] | {"lr": 2**60 + 1}, "new": {"deep": [None, True]},
    }  # fmt: skip
    assert (sorted(runs["r2"]["tags"]), runs["r2"]["job_type"]) == (["a", "x, y", "☃"], "t")
    assert runs["r2"]["summary"]["acc"] == 1e-7
    assert runs["r3"]["config"] == CONFIG | {"lr": "Infinity", "epochs": 7}
    assert (runs["r3"]["name"], runs["r3"]["tags"], runs["r3"]["notes"]) == ("größer", [], "fine!")


def test_where_the_key_may_only_read_edits_are_refused(
    place: Place, account_of: Callable[..., Any], tmp_path: Path
) -> None:
    """A public project of others: before anything is queued; what is queued fails, and is kept."""
    place.account.upsert("public", "r", state="finished", tags=["a"], config={"lr": {"value": 1}})
    ids = place.account.projects()
    place.account.change(
        "upsertModel", "UpsertModelInput", "model { id }", name="public", entityName="sandbox",
        access="USER_READ",
    )  # fmt: skip
    assert "public" in ids
    key = "e" * 40
    place.account.admin("users", username="eve", api_key=key)
    keys = {"api_key": key, "base_url": place.sandbox.base_url}
    root = tmp_path / "w"
    with wbsync.open(root) as warehouse:
        assert warehouse.sync("sandbox/public", only=["runs"], **keys).outcome == "complete"
        changes = {"names": ["r"], "add_tags": ["x"]}
        with pytest.raises(EditError, match="sandbox/public: this key may only read"):
            warehouse.edit("runs", "sandbox/public", **changes)
        with pytest.raises(EditError, match="may only read"):
            warehouse.edit_sql("UPDATE runs SET notes = 'x' WHERE run_id = 'r'")
        run = wbsync.Api(warehouse=root).run("sandbox/public/r")
        run.tags.append("x")
        with pytest.raises(EditError, match="may only read"):
            run.update()
    with Queue(root) as queue:
        assert queue.entries() == []
        target = Target("run", "sandbox", "public", "r")
        queue.add(Edit("eve"), [Operation(target, "tags", "add", "x", ["a"])])
        with wbsync.open(root) as warehouse:
            assert warehouse.push(dry_run=True, **keys).outcome == "partial"
            report = warehouse.push(**keys)
        assert (report.failed, report.requests) == (1, 1)
        assert "read-only to this key" in (queue.entries()[0].error or "")
    assert place.account.run("public", "r", "tags")["tags"] == ["a"]


def test_conflicts_are_settled_from_python(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """For a side, or by an edit over them; runs are stopped and requeued, registries refused."""
    for name, state in (("live", "running"), ("dead", "failed"), ("odd", "finished")):
        place.account.upsert("settled", name, state=state, notes="n", displayName="d")
    warehouse.sync("sandbox/settled")
    changes = {"names": ["odd"], "values": {"notes": "mine", "display_name": "mine"}}
    warehouse.edit("runs", "sandbox/settled", **changes)
    place.account.edit("settled", "odd", notes="theirs", displayName="theirs")
    assert warehouse.push().conflicts == 2
    listed = warehouse.sql("SELECT op_id FROM edits WHERE state = 'conflict' AND field = 'notes'")
    assert warehouse.resolve("mine", [listed.fetchall()[0][0]]) == 1
    with pytest.raises(EditError, match="no side"):
        warehouse.resolve("ours")
    again = changes | {"values": {"display_name": "again"}}
    warehouse.edit("runs", "sandbox/settled", **again, over_conflicts=True)
    assert warehouse.push().outcome == "complete"
    held = place.account.run("settled", "odd", "notes displayName")
    assert held == {"notes": "mine", "displayName": "again"}
    assert warehouse.resolve("theirs") == 0

    api = wbsync.Api(warehouse=warehouse)
    api.run("sandbox/settled/live").stop()
    api.run("sandbox/settled/odd").stop()
    assert api.run("sandbox/settled/dead").update_state("pending")
    with pytest.raises(EditError, match="pending or failed"):
        api.run("sandbox/settled/dead").update_state("finished")
    assert warehouse.push().applied == 2
    assert place.account.run("settled", "live", "stopped")["stopped"]
    assert place.account.run("settled", "dead", "state")["state"] == "pending"
    with pytest.raises(EditError, match="is a registry"):
        warehouse.edit("collections", "sandbox/wandb-registry-model", names=["m"], add_tags=["x"])


def test_a_queue_that_has_served_long_is_as_fast_as_a_new_one(
    place: Place, warehouse: wbsync.warehouse.Warehouse
) -> None:
    """What a sync has read anew since is not looked at again; what it has not still shows."""
    tag = {"add_tags": ["long ago"]}
    for index in range(3):
        place.account.upsert("served", f"r{index}", state="finished", tags=[], notes="")
    first = place.account.make_version("served", "data", "1")
    place.account.make_version("served", "data", "2")
    place.account.alias("served", "data", first, "best")
    warehouse.sync("sandbox/served")
    warehouse.edit("runs", "sandbox/served", **tag)
    warehouse.edit("artifacts", "sandbox/served", names=["data:v1"], add_aliases=["best"])
    warehouse.edit("artifacts", "sandbox/served", names=["data:v1"], values={"description": "d"})
    warehouse.push()
    warehouse.edit("runs", "sandbox/served", names=["r0"], append_notes="x")
    warehouse.edit("runs", "sandbox/served", names=["r0"], append_notes="y")
    warehouse.push()

    def in_force() -> list[str]:
        with Queue(place.root) as queue:
            applied, _ = queue.in_force()
        return sorted(
            e.operation.label for e in applied if e.target.project == "served"
        )  # fmt: skip

    assert in_force() == ["aliases.best", "description", "notes", *["tags"] * 3]
    shown = warehouse.sql("SELECT notes FROM runs WHERE run_id = 'r0' AND project = 'served'")
    assert shown.fetchall() == [("xy",)]
    warehouse.sync("sandbox/served")
    assert in_force() == []
    warehouse.edit("runs", "sandbox/served", names=["r1"], remove_tags=["long ago"])
    warehouse.push()
    assert in_force() == ["tags"]
    found = warehouse.sql("SELECT run_id, tags FROM runs WHERE project = 'served' ORDER BY 1")
    assert [tags for _, tags in found.fetchall()] == ['["long ago"]', "[]", '["long ago"]']
    states = warehouse.sql("SELECT state, count(*) FROM edits WHERE project = 'served' GROUP BY 1")
    assert states.fetchall() == [("applied", 8)]
    steps = warehouse.sql(
        "SELECT string_agg(to_state, ' ' ORDER BY line) FROM edit_log JOIN edits USING (op_id)"
        " WHERE project = 'served' GROUP BY op_id"
    ).fetchall()
    assert steps == [("pending sending applied",)] * 8
