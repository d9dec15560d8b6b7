"""Edits find their way in, are shown at once, and are what the next sync after a push shows."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wbsync
from wbsync.errors import EditError, QueryError, StatementRefusedError, WbsyncError
from wbsync.sandbox.process import Sandbox
from wbsync.writeback import Queue
from wbsync.writeback.overlay import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

P = "sandbox/edits"
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
    for index in range(4):
        account.upsert(
            "edits", f"r{index}", state="finished", tags=["a"], notes="fine",
            displayName=f"run {index}", config=CONFIG | {"index": index},
            summaryMetrics={"acc": index / 4, "deep": {"x": 1}},
        )  # fmt: skip
    account.upsert("other", "r0", state="finished", config={"lr": 1})
    first = account.make_version("edits", "data", "1", metadata='{"n": 1, "m": {"k": 2}}')
    account.make_version("edits", "data", "2")
    account.alias("edits", "data", first, "best")
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
    cells = [["a"], ["it's \"best\" 🦊"], "größer\n", 0.5, 4, 1, "g", "t", "n"]
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
        run.tags.append("it's \"best\" 🦊")
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
    warehouse.edit("runs", P, names=["r1", "r2"], **EDITS[0])
    warehouse.edit("runs", P, names=["r2", "r3"], **EDITS[1])
    warehouse.edit("artifacts", P, names=["data:v1"], add_aliases=["best", "new one"],
                   add_tags=["good"], values={"description": "d", "metadata.n": {"k": [1]}})  # fmt: skip
    warehouse.edit("artifacts", P, names=["data:v0"], unset=["metadata.m.k"])
    warehouse.edit("collections", P, names=["data"], add_tags=["t"], values={"description": "c"})
    shown = held_content_of(warehouse, "sandbox")
    assert shown["runs"] != remote["runs"]
    assert shown["versions"] != remote["versions"]
    assert shown["aliases"]["edits", "data", "best"] != remote["aliases"]["edits", "data", "best"]
    assert shown["runs"]["edits", "r0"] == remote["runs"]["edits", "r0"]
    kept = "SELECT run_id, tags, notes, config FROM runs_remote ORDER BY ALL"
    assert warehouse.sql(kept).fetchall() == plain
    for table in ("runs", "run_tags", "run_config"):
        counts = "SELECT count(*) FROM " + table
        assert warehouse.sql(f"{counts}_remote").fetchall() == warehouse.sql(f"{counts}_all").fetchall()
    assert warehouse.sql("SELECT DISTINCT state, who <> '' FROM edits WHERE state <> 'dropped'"
                         ).fetchall() == [("pending", True)]  # fmt: skip
    tagged = warehouse.runs(P, {"tags": "b"}, columns=["run_id", "config.optimizer.lr"]).fetchall()
    assert tagged == [("r1", 0.5)]
    wide = "SELECT run_id, \"config.optimizer.lr\" FROM sandbox__edits.runs ORDER BY 1 LIMIT 2"
    assert warehouse.sql(wide).fetchall() == [("r0", 0.01), ("r1", 0.5)]
    assert wbsync.Api(warehouse=warehouse).run(f"{P}/r1").config["empty"] == {"x": 2**60 + 1}
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
    warehouse.edit("runs", P, names=["r0"], values={"notes": "mine"})
    warehouse.push()
    place.account.upsert("edits", "r0", notes="theirs")
    note = "SELECT notes FROM runs WHERE project = 'edits' AND run_id = 'r0'"
    assert warehouse.sql(note).fetchall() == [("mine",)]
    warehouse.sync("sandbox")
    assert warehouse.sql(note).fetchall() == [("theirs",)]
    # Edits that wait meet what a sync finds as a push would.
    warehouse.edit("runs", P, names=["r0"], add_tags=["z"], values={"notes": "mine"})
    place.account.upsert("edits", "r0", notes="theirs again", tags=["a", "q"])
    warehouse.sync("sandbox")
    row = warehouse.sql("SELECT notes, tags FROM runs WHERE project = 'edits' AND run_id = 'r0'")
    assert row.fetchall() == [("theirs again", '["a","q","z"]')]
