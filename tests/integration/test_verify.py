"""Damage of every kind is really done, found, mended, and leaves what was never damaged."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import wbsync
from wbsync.errors import LockedError, TransportError, WarehouseError
from wbsync.lake import Lake
from wbsync.model import RunPath
from wbsync.sandbox.process import Sandbox
from wbsync.settings import resolve_credentials
from wbsync.state import State
from wbsync.sync import repair as repairs
from wbsync.sync.cursors import Cursors
from wbsync.sync.holding import held
from wbsync.sync.ledger import keep_ledger
from wbsync.sync.lock import hold
from wbsync.sync.unread import NOT_ASKED, UNFINISHED
from wbsync.sync.verify import LEAVES_DIFFER, NOT_READ, Verification, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wbsync.sync.repair import Repair

RUN = {"entity": "sandbox", "project": "main"}


def quiet(event: object) -> None:
    """Takes an event and says nothing."""


@dataclass
class Place:
    """A warehouse, its server, and what it holds while nothing is wrong."""

    root: Path
    sandbox: Sandbox
    content: dict[str, Any]

    @property
    def lake(self) -> Lake:
        """The warehouse's lake, opened anew."""
        return Lake(self.root)

    def verify(self, *, deep: bool = False) -> Verification:
        """Looks at the warehouse."""
        with held(self.root, quiet) as holding:
            return verify(holding, (), quiet, deep=deep)

    def repair(self, *, deep: bool = False) -> Repair:
        """Mends the warehouse."""
        return asyncio.run(repairs.repair(self.root, (), resolve_credentials, quiet, deep=deep))


@pytest.fixture(scope="module")
def place(
    logged: Path, content_of: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A warehouse of what the SDK logged, with its server running."""
    data = tmp_path_factory.mktemp("verify") / "sandbox"
    shutil.copytree(logged, data)
    root = tmp_path_factory.mktemp("warehouse") / "it's C# [v1] *50% w"
    options = ["--exports", "half"]
    with Sandbox(data, options=options) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", sandbox.base_url)
        patch.setenv("WANDB_API_KEY", sandbox.api_key)
        subprocess.run(
            [
                sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(data), "--project",
                "main", "--runs", "3", "--steps", "30", "--keys", "3",
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        warehouse = wbsync.open(root)
        warehouse.sync("sandbox/main")
        warehouse.sync("sandbox/main", only=["console_logs"])
        yield Place(root, sandbox, whole(content_of, root))


def whole(content_of: Any, root: Path) -> dict[str, Any]:
    """Returns a warehouse's content, console output included."""
    with wbsync.open(root) as warehouse:
        rows = warehouse.sql("SELECT * EXCLUDE (synced_at) FROM console_logs ORDER BY ALL")
        return {**content_of(root), "console_logs": rows.fetchall()}


def rows_where(lake: Lake, table: str, **wanted: Any) -> pa.Table:
    """Returns held rows by equality."""
    return lake.read(table, filters=[(name, "=", value) for name, value in wanted.items()])


def key_of(table: str, rows: pa.Table) -> pa.Table:
    """Returns the columns that tell rows of history apart."""
    return rows.select(["entity", "project", "run_id", "key", "step", "row"])


def plain(rows: pa.Table) -> list[str]:
    """Returns rows as texts in one order."""
    return sorted(map(repr, rows.to_pylist()))


def truncate_file(lake: Lake, table: str) -> None:
    """Cuts the largest file of a table in half."""
    file = max(lake.files(table), key=lambda f: f.stat().st_size)
    os.truncate(file, file.stat().st_size // 2)


def rot_file(lake: Lake, table: str) -> None:
    """Changes bytes at the head of the largest file, whose size and footer stay."""
    file = max(lake.files(table), key=lambda f: f.stat().st_size)
    with file.open("r+b") as opened:
        opened.seek(4)
        opened.write(b"\xff" * 2000)


def delete_file(table: str, lake: Lake) -> None:
    """Deletes a file of a table."""
    lake.files(table)[0].unlink()


def delete_all(lake: Lake) -> None:
    """Deletes a file of every table that has one."""
    for table in lake.tables():
        for file in lake.files(table)[:1]:
            file.unlink()


def tear_log(lake: Lake, table: str, number: int) -> None:
    """Cuts a commit of a table in half, as a disk that lies about writes may leave it."""
    commit = sorted((lake.path(table) / "_delta_log").glob("*.json"))[number]
    os.truncate(commit, commit.stat().st_size // 2)


def delete_table(table: str, lake: Lake) -> None:
    """Deletes the folder of a table."""
    shutil.rmtree(lake.path(table))


def go_back(lake: Lake) -> None:
    """Takes the newest commit of run_summary away, as an older copy of its folder does."""
    max((lake.path("run_summary") / "_delta_log").glob("*.json")).unlink()


def drop_step(lake: Lake, step: int) -> None:
    """Takes a step of the run `long` out of history, as a writer that lost it would."""
    rows = rows_where(lake, "history", **RUN, run_id="long", step=step)
    lake.replace("history", key_of("history", rows), rows.slice(0, 0), {})


def double_step(lake: Lake, step: int, run: str = "odd") -> None:
    """Writes a step of a run once more."""
    lake.append("history", rows_where(lake, "history", **RUN, run_id=run, step=step), {})


def alter_value(lake: Lake) -> None:
    """Gives one value another number."""
    rows = rows_where(lake, "history", **RUN, run_id="long", key="loss", step=77)
    place = rows.schema.get_field_index("value")
    other = rows.set_column(place, rows.schema.field(place), pa.array([-1.0]))
    lake.replace("history", key_of("history", rows), other, {})


def swap_steps(lake: Lake) -> None:
    """Loses one value and doubles another: the count of values stays."""
    lost = rows_where(lake, "history", **RUN, run_id="long", key="loss", step=41)
    lake.replace("history", key_of("history", lost), lost.slice(0, 0), {})
    again = rows_where(lake, "history", **RUN, run_id="long", key="loss", step=42)
    lake.append("history", again, {})


def lose_leaves(lake: Lake, table: str, column: str) -> None:
    """Takes a row of a run's leaves out, as a writer that lost it would, and all of another's."""
    for run, count in (("odd", 1), ("long", None)):
        rows = rows_where(lake, table, **RUN, run_id=run).slice(0, count)
        key = rows.select(["entity", "project", "run_id", column])
        lake.replace(table, key, rows.slice(0, 0), {})


def rename_leaf(lake: Lake) -> None:
    """Gives a leaf another name: the count of leaves stays."""
    rows = rows_where(lake, "run_summary", **RUN, run_id="odd").slice(0, 1)
    key = rows.select(["entity", "project", "run_id", "key"])
    lake.replace("run_summary", key, rows.set_column(3, rows.schema.field(3), pa.array(["x"])), {})


Damage = tuple[Callable[[Lake], None], bool, str, str]
"""What to do, whether a deep look is needed to see it, and what the finding says."""

LEAVES = (
    "run_config", "run_tags", "run_artifacts", "artifacts", "run_files", "artifact_files",
    "console_logs", "ledger", "history_keys", "projects",
)  # fmt: skip
"""Tables whose rows a sync takes for held by what other tables or cursors say, and those that say
so."""

ROUNDS: dict[str, list[Damage]] = {
    "steps": [
        (lambda lake: drop_step(lake, 17), False, "missing values", "step 17"),
        (lambda lake: double_step(lake, 5), False, "doubled values", "held twice: step 5"),
        (lambda lake: lake.drop("run_tags", [], {}), False, "stale catalog", "run_tags"),
    ],
    "values": [
        (alter_value, True, "altered values", "sandbox/main/long"),
        (swap_steps, True, "doubled values", "sandbox/main/long"),
        (lambda lake: rot_file(lake, "history"), True, "unreadable file", "history"),
    ],
    "leaves": [
        (lambda lake: lose_leaves(lake, "run_config", "key"), True, LEAVES_DIFFER, "main/odd"),
        (lambda lake: lose_leaves(lake, "run_tags", "tag"), True, LEAVES_DIFFER, "main/long"),
        (lambda lake: lose_leaves(lake, "run_summary", "key"), True, LEAVES_DIFFER, "main/odd"),
    ],
    "cut": [
        (lambda lake: truncate_file(lake, "history"), False, "truncated file", "history"),
        (partial(delete_file, "system_metrics"), False, "missing file", "system_me"),
        (partial(delete_file, "runs"), False, "missing file", "runs"),
    ],
    "one by one": [(partial(delete_file, table), False, "missing file", table) for table in LEAVES],
    "logs": [
        (lambda lake: tear_log(lake, "history", -1), False, "unreadable table", "history"),
        (lambda lake: tear_log(lake, "runs", 0), False, "unreadable table", "runs"),
    ],
    "tables": [
        (partial(delete_table, "run_config"), False, "lost table", "run_config"),
        (partial(delete_table, "artifact_files"), False, "lost table", "artifact_files"),
        (partial(delete_table, "system_metrics"), False, "missing values", "system_metrics"),
        (go_back, False, "lost table", "run_summary"),
    ],
    "all": [(delete_all, False, "missing file", "artifact_types")],
}


@pytest.mark.parametrize("name", ROUNDS)
def test_damage_is_found_and_mended(place: Place, content_of: Any, name: str) -> None:
    """Each damage is named; after a repair the content is that of an undisturbed warehouse."""
    for damage, deep, kind, where in ROUNDS[name]:
        damage(place.lake)
        found = place.verify(deep=deep).problems
        assert [f for f in found if f.kind == kind and where in f.message], found
    done = place.repair(deep=deep)
    assert {f.message for f in found} <= {f.message for f in done.before.problems}
    assert done.after.problems == []
    assert place.verify(deep=True).problems == []
    assert whole(content_of, place.root) == place.content


def test_only_what_is_wrong_is_read_again(place: Place) -> None:
    """A repair of one run asks for the history of that run, and of no other."""
    shutil.rmtree(place.lake.path("ledger"))
    with pytest.raises(WarehouseError, match=r"ledger: the lake holds less .* --repair"):
        wbsync.open(place.root).publish()
    double_step(place.lake, 9)
    asked = len(place.sandbox.requests())
    done = place.repair()
    assert [run.run_id for run in done.mended.runs] == ["odd"]
    history = [
        r for r in place.sandbox.requests()[asked:]
        if {"history", "parquetHistory"} & set(r.get("fields") or ())
    ]  # fmt: skip
    assert 0 < len(history) <= 2


def test_leaves_come_back_without_a_server(place: Place, content_of: Any) -> None:
    """What is held of a run itself mends its leaves: a repair asks W&B for nothing."""
    lose_leaves(place.lake, "run_config", "key")
    rename_leaf(place.lake)
    asked = len(place.sandbox.requests())
    done = place.repair(deep=True)
    assert {(f.kind, f.table, f.run.run_id) for f in done.before.problems if f.run} == {
        (LEAVES_DIFFER, table, run)
        for table, run in (
            ("run_config", "long"), ("run_config", "odd"), ("run_summary", "odd"),
        )
    }  # fmt: skip
    assert done.after.problems == []
    assert len(place.sandbox.requests()) == asked
    assert whole(content_of, place.root) == place.content


def test_the_command_that_is_named_is_the_one_that_mends(place: Place) -> None:
    """What a deep look finds is mended by the command that it names, which says what it did."""
    lake = place.lake
    lake.append("run_tags", lake.read("run_tags"), {})
    place.repair()  # publishes, and sees no more

    def call(*args: str) -> list[str]:
        told = subprocess.run(
            [sys.executable, "-m", "wbsync", "-w", str(place.root), *args],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return told.stdout.splitlines()

    named = call("verify", "--deep")[-1].removeprefix("mend it with: wbsync ")
    assert named == "verify --deep --repair"
    told = call(*named.split())
    count = sum(line.startswith("was wrong") for line in told)
    assert count > 0
    assert any(f"mended from what is held: {count}; files taken out: 0" in line for line in told)
    assert place.verify(deep=True).problems == []


def test_a_query_of_a_damaged_file_says_who_knows_more(place: Place, tmp_path: Path) -> None:
    """What DuckDB cannot read of the lake is told with the command that says what is damaged."""
    root = tmp_path / "w"
    shutil.copytree(place.root, root)
    wbsync.open(root).publish()
    truncate_file(Lake(root), "history")
    with (
        wbsync.open(root) as warehouse,
        pytest.raises(WarehouseError, match=r"history/.*\.parquet.*`wbsync verify` says"),
    ):
        warehouse.sql("SELECT sum(value) FROM history").fetchall()


def test_a_repair_that_was_killed_is_ended_by_a_sync(place: Place, content_of: Any) -> None:
    """Once marks are undone an ordinary sync brings back what was taken out."""
    truncate_file(place.lake, "history")
    delete_file("run_summary", place.lake)
    with held(place.root, quiet) as holding:
        repairs.mend(holding, verify(holding, (), quiet), quiet)
    assert place.verify().problems != []
    wbsync.open(place.root).sync("sandbox/main")
    assert place.verify(deep=True).problems == []
    assert whole(content_of, place.root) == place.content


def test_verify_needs_neither_network_nor_key(
    place: Place, content_of: Any, tmp_path: Path
) -> None:
    """The command says what is wrong and exits 1; a moved folder is mended without asking W&B."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    env |= {"HOME": str(tmp_path), "WANDB_BASE_URL": "http://127.0.0.1:9"}

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wbsync", "-w", str(root), "verify", *args],
            check=False, env=env, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    root = tmp_path / "moved"
    shutil.copytree(place.root, root)
    told = call("--json", "sandbox/main")
    assert told.returncode == 1
    facts = json.loads(told.stdout)
    assert facts["ok"] is False
    assert {f["kind"] for f in facts["findings"]} == {"stale catalog"}
    assert str(place.root) in facts["findings"][0]["message"]
    assert call("--repair").stdout.splitlines()[-1].startswith("all is well")
    assert whole(content_of, root) == place.content
    build = max((root / "catalog").glob("[0-9]*.duckdb"), key=lambda p: int(p.stem))
    os.truncate(build, 5000)
    told = call()
    assert (told.returncode, "WRONG  warehouse.duckdb" in told.stdout) == (1, True)
    mended = call("--repair")
    assert mended.returncode == 0, mended.stderr
    assert whole(content_of, root) == place.content
    with wbsync.open(root) as warehouse:
        assert warehouse.sql("SELECT count(*) FROM sync_log").fetchall()[0][0] > 0


def test_what_w_and_b_deleted_is_said_to_be_lost(
    place: Place, run_script: Any, tmp_path: Path
) -> None:
    """Values of a run that W&B no longer has cannot come back: a repair says so, and once only."""
    root = tmp_path / "w"
    shutil.copytree(place.root, root)
    own = Place(root, place.sandbox, place.content)
    run_script("delete_run.py", place.sandbox, tmp_path, "sandbox/main/late")
    wbsync.open(root).sync("sandbox/main")
    lost = rows_where(own.lake, "history", **RUN, run_id="late", key="loss", step=0)
    own.lake.replace("history", key_of("history", lost), lost.slice(0, 0), {})
    done = own.repair()
    assert done.after.problems == []
    assert [line for line in done.mended.lost if "sandbox/main/late" in line]
    again = own.repair(deep=True)
    assert (again.before.problems, again.mended.lost) == ([], [])
    for path in own.lake.files("runs"):
        path.unlink()
    done = own.repair()
    assert done.after.problems == []
    assert [line for line in done.mended.lost if "the row of sandbox/main/late" in line]


def test_what_was_never_asked_for_is_not_wrong(place: Place, tmp_path: Path) -> None:
    """Metadata of all and history of one is a state that was wanted: it is noted, and all is well.

    What lacks though a sync has read all is wrong, and a repair brings it back.
    """
    own = Place(tmp_path / "w", place.sandbox, {})
    warehouse = wbsync.open(own.root)
    warehouse.sync("sandbox/main", only=["runs", "run_config", "run_summary"])
    warehouse.sync("sandbox/main", runs=["odd"])
    found = own.verify()
    assert found.problems == []
    assert not found.is_complete
    assert {f.kind for f in found.findings} == {NOT_ASKED}
    assert {f.table for f in found.findings} <= {"history", "system_metrics", None}
    assert len(found.findings) <= 3
    assert all("sync without --runs" in f.message for f in found.findings)
    assert own.repair().mended.sources == set(), "a repair reads what was not asked for"
    warehouse.sync("sandbox/main")
    assert own.verify().is_complete
    run = RunPath("sandbox", "main", "odd")
    held_rows = rows_where(own.lake, "history", **RUN, run_id="odd")
    forgotten = Cursors.metadata({run: None})
    own.lake.replace("history", key_of("history", held_rows), held_rows.slice(0, 0), forgotten)
    with held(own.root, quiet) as holding:
        keep_ledger(holding.lake, holding.state, datetime.now(UTC))
        holding.publish()
    assert [(f.kind, f.run) for f in own.verify().problems] == [(NOT_READ, run)]
    assert own.repair().after.is_complete


def test_a_repair_reads_no_table_that_was_never_asked_for(place: Place, tmp_path: Path) -> None:
    """Who has synced metadata alone gets no history by mending a file of tags."""
    own = Place(tmp_path / "w", place.sandbox, {})
    wbsync.open(own.root).sync("sandbox/main", only=["runs", "sweeps"])
    tables, tags = own.lake.tables(), own.lake.read("run_tags").num_rows
    delete_file("run_tags", own.lake)
    assert own.repair().after.problems == []
    assert own.lake.read("run_tags").num_rows == tags > 0
    assert own.lake.tables() == tables
    (row,) = own.lake.read("projects").to_pylist()
    assert json.loads(row["bookmark"])["held"] == ["sweeps"], "what was read whole is forgotten"


def test_tables_that_were_left_out_are_noted(place: Place, tmp_path: Path) -> None:
    """A sync without some tables is well and not complete: the note names them."""
    own = Place(tmp_path / "w", place.sandbox, {})
    wbsync.open(own.root).sync("sandbox/main", skip=["run_files", "artifacts"])
    found = own.verify()
    assert (found.problems, found.is_complete) == ([], False)
    (note,) = found.findings
    assert note.kind == NOT_ASKED
    assert note.message.startswith("run_files, artifact_types")
    wbsync.open(own.root).sync("sandbox/main")
    assert own.verify().is_complete


def test_what_a_stopped_sync_left_is_not_wrong(place: Place, tmp_path: Path) -> None:
    """After each part of a sync that is stopped again and again, verify says: sync again."""
    own = Place(tmp_path / "w", place.sandbox, {})
    warehouse, kinds, notes = wbsync.open(own.root), set[str](), list[str]()
    for _ in range(40):
        report = warehouse.sync("sandbox/main", max_requests=4)
        found = own.verify()
        assert found.problems == []
        kinds |= {f.kind for f in found.findings}
        assert all("sync again" in f.message for f in found.findings)
        if report.outcome == "complete":
            break
        assert not found.is_complete
        notes.append(" ".join(f.message for f in found.findings))
    assert all(table in notes[0] for table in ("runs", "sweeps", "artifact_files", "reports"))
    assert kinds == {UNFINISHED}
    assert found.is_complete
    drop_step(own.lake, 17)
    assert own.verify().problems


def test_what_a_killed_first_sync_committed_can_be_asked(place: Place, tmp_path: Path) -> None:
    """Who asks finds it published, and its accounts kept; where a sync is under way, that is said.

    Values that were committed are not wrong because the sync did not come to write their accounts.
    """
    own = Place(tmp_path / "w", place.sandbox, {})
    shutil.copytree(place.root, own.root)
    for name in ("catalog", "lake/ledger", "lake/history_keys"):
        shutil.rmtree(own.root / name)
    (own.root / "warehouse.duckdb").unlink()
    with closing(State(own.root / "state.sqlite")) as state:
        state.forget_project("sandbox", "main")
    with hold(own.root), pytest.raises(LockedError, match="wait until it has ended"):
        wbsync.open(own.root).sql("SELECT 1")
    with wbsync.open(own.root) as warehouse:
        values = warehouse.sql("SELECT count(*) FROM history").fetchall()
        assert values == [(own.lake.row_count("history"),)]
        assert warehouse.sql("SELECT sum(held_values) FROM ledger WHERE table_name = 'history'"
                             ).fetchall() == values  # fmt: skip
    found = own.verify(deep=True)
    assert found.problems == []
    noted = [(f.kind, f.table) for f in found.findings if f.table]
    assert noted == [(UNFINISHED, "history_keys")]


def test_the_ledger_is_what_is_held(place: Place) -> None:
    """Each run has an account of rows, steps and values that SQL confirms."""
    with wbsync.open(place.root) as warehouse:
        accounts = warehouse.sql(
            "SELECT run_id, held_rows, held_steps, held_values, last_step, claimed_rows, source"
            " FROM ledger WHERE table_name = 'history' ORDER BY run_id"
        ).fetchall()
        counted = warehouse.sql(
            "SELECT run_id, count(DISTINCT (step, row)), count(DISTINCT step), count(*), max(step)"
            " FROM history GROUP BY run_id ORDER BY run_id"
        ).fetchall()
        metrics = warehouse.sql(
            "SELECT l.held_values = (SELECT count(*) FROM system_metrics m"
            "   WHERE m.run_id = l.run_id), l.source"
            " FROM ledger l WHERE table_name = 'system_metrics'"
        ).fetchall()
    assert [a[:5] for a in accounts] == counted
    assert all(a[1] == a[5] for a in accounts)
    assert {a[6] for a in accounts} <= {"export", "rows", "export+rows"}
    assert set(metrics) == {(True, "rows")}


def test_what_is_left_of_a_run_stays_until_it_comes_anew(
    place: Place, run_script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair takes nothing out that can be read, be it that W&B cannot give it any more."""
    root = tmp_path / "w"
    shutil.copytree(place.root, root)
    own = Place(root, place.sandbox, place.content)
    logged = own.lake.read("console_logs")["run_id"].to_pylist()
    victim = max(set(logged), key=logged.count)
    lines = rows_where(own.lake, "console_logs", **RUN, run_id=victim)
    some, key = lines.slice(0, 2), ["entity", "project", "run_id", "number"]
    own.lake.replace("console_logs", some.select(key), some, {})
    (apart,) = [f for f in own.lake.data_files("console_logs") if f.rows == 2]
    drop_step(own.lake, 17)
    double_step(own.lake, 5, victim)
    before = {run: rows_where(own.lake, "history", **RUN, run_id=run) for run in ("long", victim)}

    with monkeypatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        with pytest.raises(TransportError):
            own.repair()
    for run, rows in before.items():
        assert plain(rows_where(own.lake, "history", **RUN, run_id=run)) == plain(rows)
    assert own.verify().problems != []

    run_script("delete_run.py", place.sandbox, tmp_path, f"sandbox/main/{victim}")
    done = own.repair()
    assert done.after.problems == []
    assert [line for line in done.mended.lost if f"history of sandbox/main/{victim}" in line]
    left = rows_where(own.lake, "history", **RUN, run_id=victim)
    assert left.num_rows == before[victim].num_rows, "W&B no longer has it, and the rest is gone"
    assert 17 in rows_where(own.lake, "history", **RUN, run_id="long")["step"].to_pylist()

    apart.path.unlink()
    done = own.repair()
    assert done.after.problems == []
    told = f"console_logs of sandbox/main/{victim}, which W&B no longer has: {len(lines) - 2} rows"
    assert [line for line in done.mended.lost if told in line]
    assert rows_where(own.lake, "console_logs", **RUN, run_id=victim).num_rows == len(lines) - 2


def test_a_repair_of_what_w_and_b_does_not_show_ends(place: Place, tmp_path: Path) -> None:
    """Where the only project is out of sight, that is said, and what needs no server is mended."""
    own = Place(tmp_path / "w", place.sandbox, {})
    wbsync.open(own.root).sync("sandbox/main", only=["runs"])
    runs = own.lake.row_count("runs")
    for table in ("runs", "projects"):
        own.lake.amend(table, [("project", "=", "main")], {"project": "hidden"}, {})
    own.lake.files("projects")[0].unlink()
    done = own.repair()
    assert [line for line in done.mended.lost if "sandbox/hidden: no such project" in line]
    assert done.after.problems == []
    assert own.lake.row_count("runs") == runs > 0
