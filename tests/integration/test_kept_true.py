"""What changes in W&B, in whatever way, is found by the next sync: made to happen with the SDK."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.sandbox.process import Sandbox
from wbsync.sync.holding import held
from wbsync.sync.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Account = Any

HISTORY_FIELDS = {"history", "sampledHistory", "events", "parquetHistory"}
HERE = Path(__file__).resolve().parent


class Session:
    """A process that works with the SDK."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "sdk_session.py")], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=sandbox.env(WANDB_DIR=str(folder), WANDB_CACHE_DIR=str(folder / "cache")),
        )  # fmt: skip

    def __call__(self, code: str) -> Any:
        """Runs code, and returns what it leaves in `result`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": textwrap.dedent(code)}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the SDK's process died of {code}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def kill(self) -> None:
        """Kills the process, and the SDK's own with it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server on which runs that are not heard of for five minutes have crashed."""
    with Sandbox(tmp_path_factory.mktemp("data"), options=["--crash-after", "300"]) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def sdk(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The SDK at work on it."""
    session = Session(sandbox, tmp_path_factory.mktemp("sdk"))
    yield session
    session.kill()


class Mirror:
    """A warehouse, and what its syncs ask."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self.sandbox = sandbox
        self.warehouse = wbsync.open(root)
        self.asked: list[dict[str, Any]] = []

    def sync(self, *sources: str, **options: Any) -> Any:
        """Syncs; whatever is skipped or had been missed fails the test."""
        before = len(self.sandbox.requests())
        report = self.warehouse.sync(
            *sources, base_url=self.sandbox.base_url, api_key=self.sandbox.api_key, **options
        )
        self.asked = [r for r in self.sandbox.requests()[before:] if r["port"] == "api"]
        assert not report.drift
        assert not report.skipped
        return report

    @property
    def fields(self) -> set[str]:
        """The schema fields that the last sync named."""
        return {field for request in self.asked for field in request.get("fields") or ()}

    def rows(self, query: str, *params: Any) -> list[Any]:
        """Returns rows; single values where there is one column."""
        found = self.warehouse.sql(query, list(params)).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

    def losses(self, run: str) -> list[tuple[int, float]]:
        """Returns (step, loss) of a run."""
        return self.rows(
            "SELECT step, value FROM history WHERE run_id = ? AND key = 'loss' ORDER BY step, row",
            run,
        )

    def run(self, run: str, column: str) -> Any:
        """Returns a column of a run, None where it is not there."""
        found = self.rows(f'SELECT "{column}" FROM runs WHERE run_id = ?', run)
        return found[0] if found else None


@pytest.fixture
def mirror(sandbox: Sandbox, tmp_path: Path) -> Iterator[Mirror]:
    """A warehouse of the module's sandbox."""
    mirror = Mirror(sandbox, tmp_path / "w")
    yield mirror
    mirror.warehouse.close()
    with held(tmp_path / "w", lambda _: None) as holding:
        assert verify(holding, (), lambda _: None, deep=True).problems == []


@pytest.fixture
def account(account_of: Callable[..., Account], sandbox: Sandbox) -> Iterator[Account]:
    """A hand on the module's sandbox, whose clock is set right in the end."""
    account = account_of(sandbox)
    yield account
    account.admin("clock", ahead_s=0)


LIVE = "wandb.Settings(x_file_stream_transmit_interval=0.1)"


def test_a_life_of_a_run(sdk: Session, mirror: Mirror, account: Account) -> None:
    """It grows, finishes, is edited, resumed, rewound and forked; each is there after a sync."""
    project = "life"
    sdk(f"""
        import time
        run = wandb.init(project="life", id="a", config={{"lr": 1}}, settings={LIVE})
        def log(values):
            for value in values:
                run.log({{"loss": value}})
            while (api.run("sandbox/life/a")._attrs["historyLineCount"] or 0) < run.step:
                time.sleep(0.05)
                api.flush()
        log([0.0, 1.0, 2.0])
    """)
    mirror.sync(f"sandbox/{project}")
    assert mirror.run("a", "state") == "running"
    assert mirror.losses("a") == [(0, 0.0), (1, 1.0), (2, 2.0)]

    sdk("log([3.0])")
    mirror.sync(f"sandbox/{project}")
    assert mirror.losses("a")[-1] == (3, 3.0)

    sdk("run.log({'loss': 4.0}); run.finish()")
    mirror.sync(f"sandbox/{project}")
    assert mirror.run("a", "state") == "finished"
    assert mirror.losses("a") == [(i, float(i)) for i in range(5)]

    # Edits of a finished run move no heartbeat and cost no history request.
    heartbeat = mirror.run("a", "heartbeat_at")
    account.pass_time(1000)
    sdk("""
        run = api.run("sandbox/life/a")
        run.tags, run.notes, run.display_name, run.group = ["x", "y z"], "new notes", "new", "g"
        run.config["lr"] = 2
        run.config["deep"] = {"er": True}
        run.update()
    """)
    mirror.sync(f"sandbox/{project}")
    assert not mirror.fields & HISTORY_FIELDS
    assert mirror.run("a", "heartbeat_at") == heartbeat
    assert [mirror.run("a", c) for c in ("notes", "display_name", "group_name")] == [
        "new notes", "new", "g",
    ]  # fmt: skip
    assert mirror.rows("SELECT tag FROM run_tags WHERE run_id = 'a' ORDER BY 1") == ["x", "y z"]
    assert mirror.rows("SELECT key, value FROM run_config WHERE run_id = 'a' ORDER BY 1") == [
        ("deep.er", 1.0), ("lr", 2.0),
    ]  # fmt: skip
    account.pass_time(1000)
    sdk("run = api.run('sandbox/life/a'); run.summary.update({'best': {'loss': 0.5}})")
    mirror.sync(f"sandbox/{project}")
    assert not mirror.fields & HISTORY_FIELDS
    found = mirror.rows("SELECT value FROM run_summary WHERE run_id = 'a' AND key = 'best.loss'")
    assert found == [0.5]

    sdk("""
        with wandb.init(project="life", id="a", resume="must") as run:
            for i in range(5, 8):
                run.log({"loss": float(i)})
    """)
    mirror.sync(f"sandbox/{project}")
    assert mirror.losses("a") == [(i, float(i)) for i in range(8)]

    sdk("""
        with wandb.init(project="life", resume_from="a?_step=4") as run:
            run.log({"loss": -5.0})
        with wandb.init(project="life", id="b", fork_from="a?_step=2") as run:
            run.log({"loss": 30.0})
    """)
    mirror.sync(f"sandbox/{project}")
    kept = [(i, float(i)) for i in range(5)]
    assert mirror.losses("a") == [*kept, (5, -5.0)]
    assert mirror.losses("b") == [*kept[:3], (3, 30.0)]

    # Rewound to the same step again, and as many rows logged: only their times tell.
    sdk("""
        with wandb.init(project="life", resume_from="a?_step=4") as run:
            run.log({"loss": -50.0})
    """)
    mirror.sync(f"sandbox/{project}")
    assert mirror.losses("a") == [*kept, (5, -50.0)]

    account.pass_time(1000)
    account.log(project, "a", [{"_step": 6, "_timestamp": 2e9, "loss": 6.0}])
    mirror.sync(f"sandbox/{project}")
    assert mirror.losses("a")[-1] == (6, 6.0), "history that grows late"

    sdk("""
        api.run("sandbox/life/a").delete()
        api.flush()
    """)
    mirror.sync(f"sandbox/{project}")
    assert mirror.run("a", "state") is None
    for table in ("history", "run_config", "run_summary", "run_tags", "history_keys"):
        assert mirror.rows(f"SELECT DISTINCT run_id FROM {table}") in (["b"], [])
    assert mirror.rows("SELECT deleted_at IS NULL FROM runs_all WHERE run_id = 'a'") == [False]
    assert mirror.rows("SELECT count(*) FROM history_all WHERE run_id = 'a'")[0] > 0

    sdk("""
        with wandb.init(project="life", id="a") as run:
            run.log({"loss": 100.0})
    """)
    mirror.sync(f"sandbox/{project}")
    assert mirror.losses("a") == [(0, 100.0)]
    assert mirror.rows("SELECT count(*) FROM history_all WHERE run_id = 'a' AND key = 'loss'") == [
        1
    ]
    mirror.sync(f"sandbox/{project}", full=True)


def test_a_run_crashes(sandbox: Sandbox, mirror: Mirror, account: Account, tmp_path: Path) -> None:
    """The server takes it to have crashed when its process died, and moves none of its times."""
    session = Session(sandbox, tmp_path)
    session(f"""
        import time
        run = wandb.init(project="crash", id="c", settings={LIVE})
        run.log({{"loss": 1.0}})
        while not (api.run("sandbox/crash/c")._attrs["historyLineCount"] or 0):
            time.sleep(0.05)
            api.flush()
    """)
    session.kill()
    mirror.sync("sandbox/crash")
    assert mirror.run("c", "state") == "running"
    updated_at = mirror.run("c", "updated_at")
    account.pass_time(3600)
    mirror.sync("sandbox/crash")
    assert mirror.run("c", "state") == "crashed"
    assert mirror.run("c", "updated_at") == updated_at
    assert mirror.losses("c") == [(0, 1.0)]
    assert not mirror.fields & HISTORY_FIELDS


def test_runs_and_projects_move(
    sandbox: Sandbox, mirror: Mirror, account_of: Callable[..., Account]
) -> None:
    """Rows follow a run to another project, and a project to another name; nothing is lost."""
    account = account_of(sandbox, "team")
    account.admin("teams", name="team")
    for run in ("a", "b"):
        account.upsert("from", run, config={"n": {"value": 1}})
        rows = [{"_step": s, "_timestamp": 1.7e9 + s, "loss": s / 2} for s in range(20)]
        account.log("from", run, rows, done=True)
    account.upsert("to", "z")
    account.log("to", "z", [], done=True)
    mirror.sync("team")
    account.pass_time(3600)
    account.move_run("from", "b", "to")
    mirror.sync("team")
    where = (
        "SELECT project, run_id, count(*) FROM history WHERE key = 'loss' GROUP BY ALL ORDER BY 1"
    )
    assert mirror.rows(where) == [("from", "a", 20), ("to", "b", 20)]

    account.pass_time(3600)
    account.rename_project("to", "new name ☃")
    account.rename_project("from", "to")
    mirror.sync("team")
    assert not mirror.fields & HISTORY_FIELDS, "history follows, it is not fetched anew"
    assert mirror.rows(where) == [("new name ☃", "b", 20), ("to", "a", 20)]
    assert sorted(mirror.rows("SELECT project FROM projects")) == ["new name ☃", "to"]
    assert mirror.rows("SELECT storage_id FROM runs WHERE run_id = 'a'") == [
        account.run("to", "a", "id")["id"]
    ]
    assert not mirror.sync("team").rows

    # The old name of a project that is named by it: its rows follow all the same.
    account.rename_project("to", "third")
    report = mirror.warehouse.sync(
        "team/to", base_url=mirror.sandbox.base_url, api_key=mirror.sandbox.api_key
    )
    assert "team/third" in report.skipped[0].reason
    assert mirror.rows(where) == [("new name ☃", "b", 20), ("third", "a", 20)]

    account.delete_project("third")
    mirror.sync("team")
    assert mirror.rows(where) == [("new name ☃", "b", 20)]
    gone = "SELECT project, run_id FROM runs_all WHERE deleted_at IS NOT NULL ORDER BY 2"
    assert mirror.rows(gone) == [("third", "a"), ("third", "b")]
    report = mirror.warehouse.sync(
        "team/third", base_url=mirror.sandbox.base_url, api_key=mirror.sandbox.api_key
    )
    assert "no longer has" in report.skipped[0].reason

    # Another project under a name that was one's before.
    account.pass_time(3600)
    account.upsert("third", "a")
    account.log("third", "a", [{"_step": 0, "_timestamp": 1.8e9, "loss": 9.0}], done=True)
    mirror.sync("team")
    assert mirror.losses("a") == [(0, 9.0)]
    mirror.sync("team", full=True)
    account.admin("clock", ahead_s=0)


def test_a_rename_reads_only_metadata_again(
    sandbox: Sandbox, mirror: Mirror, account_of: Callable[..., Account]
) -> None:
    """Files, console output, manifests and system metrics are held once, however often it is."""
    subprocess.run(
        [
            sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(sandbox.data),
            "--entity", "ml", "--project", "lg0", "--runs", "2", "--steps", "5", "--sweeps", "1",
            "--artifacts", "1",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    account = account_of(sandbox, "ml")
    for project in ("lg0", "bare0"):
        account.upsert(project, "live")
        rows = [{"_runtime": n, "_timestamp": 1.7e9 + n, "system.cpu": 0.5} for n in range(3)]
        account.log(project, "live", rows, stream="events")
    account.make_version("bare0", "no-files", "0" * 32)
    streams = ("artifact_files", "console_logs", "run_files", "system_metrics", "history")

    def held_rows() -> dict[str, Any]:
        rows = {name: mirror.rows(f"SELECT * EXCLUDE (project) FROM {name}") for name in streams}
        return {name: sorted(map(str, found)) for name, found in rows.items()}

    mirror.sync("ml", logs=True)
    before = held_rows()
    assert all(before.values())
    for n in range(2):
        account.pass_time(60)
        for project in ("lg", "bare"):
            account.rename_project(f"{project}{n}", f"{project}{n + 1}")
        report = mirror.sync("ml", logs=True)
        assert not report.rows.keys() & set(streams)
        unread = {"files", "logLines", "currentManifest", "reports", "collection_artifacts"}
        assert not mirror.fields & (HISTORY_FIELDS | unread)
        assert held_rows() == before
    assert not mirror.sync("ml", logs=True).rows
    mirror.sync("ml", logs=True, full=True)

    # What comes later is read from there on.
    rows = [{"_runtime": 3, "_timestamp": 1.7e9 + 3, "system.cpu": 0.5}]
    account.log("lg2", "live", rows, stream="events", done=True)
    mirror.sync("ml", logs=True)
    after = held_rows()
    assert len(after.pop("system_metrics")) == len(before.pop("system_metrics")) + 1
    assert after == before
    account.admin("clock", ahead_s=0)


def test_names_of_projects_are_used_again(
    sandbox: Sandbox, mirror: Mirror, account_of: Callable[..., Account]
) -> None:
    """Where projects take each other's names, or a deleted one's, no row is lost or asked anew."""
    account = account_of(sandbox, "team2")
    account.admin("teams", name="team2")
    for project in ("main", "dev"):
        account.upsert(project, f"of {project}")
        rows = [{"_step": s, "_timestamp": 1.7e9 + s, "loss": s / 2} for s in range(20)]
        account.log(project, f"of {project}", rows, done=True)
    mirror.sync("team2/dev", only=["runs"])
    mirror.sync("team2/main")
    account.pass_time(3600)

    def verified() -> list[str]:
        with held(mirror.warehouse.root, lambda _: None) as holding:
            return [f.message for f in verify(holding, (), lambda _: None).problems]

    runs = "SELECT project, run_id FROM runs ORDER BY 1"
    curves = (
        "SELECT project, run_id, count(*) FROM history_all WHERE key = 'loss' GROUP BY ALL"
        " ORDER BY 1, 2"
    )
    account.rename_project("main", "old main")
    account.rename_project("dev", "main")
    mirror.sync("team2/main", only=["runs"])
    assert mirror.rows(runs) == [("main", "of dev"), ("old main", "of main")]
    assert mirror.rows(curves) == [("old main", "of main", 20)]
    assert verified() == [], "history of dev was never asked for"
    mirror.sync("team2")
    both = [("main", "of dev", 20), ("old main", "of main", 20)]
    assert mirror.rows(curves) == both

    account.pass_time(3600)
    for old, new in (("main", "between"), ("old main", "main"), ("between", "old main")):
        account.rename_project(old, new)
    mirror.sync("team2")
    assert not mirror.fields & HISTORY_FIELDS
    assert mirror.rows(curves) == [("main", "of main", 20), ("old main", "of dev", 20)]

    account.pass_time(3600)
    account.delete_project("main")
    account.rename_project("old main", "main")
    mirror.sync("team2/main")
    assert not mirror.fields & HISTORY_FIELDS
    assert mirror.rows(runs) == [("main", "of dev")]
    (gone,) = mirror.rows("SELECT project FROM runs_all WHERE deleted_at IS NOT NULL")
    assert gone.startswith("main (")
    assert mirror.rows(curves) == [("main", "of dev", 20), (gone, "of main", 20)]
    logged = "SELECT project, run_id, old FROM run_changes WHERE field = 'deleted_at'"
    assert mirror.rows(logged) == [(gone, "of main", None)]
    assert verified() == []
    assert not mirror.sync("team2").rows
    assert mirror.rows(logged) == [(gone, "of main", None)]
    account.admin("clock", ahead_s=0)


def test_a_project_that_is_out_of_sight_is_not_taken_to_be_deleted(
    mirror: Mirror, account: Account
) -> None:
    """A key that sees neither project nor entity says nothing of what they hold."""
    account.upsert("private", "a")
    mirror.sync("sandbox/private")
    account.admin("users", username="other", api_key="o" * 40)
    with pytest.raises(wbsync.errors.NotFoundError):
        mirror.warehouse.sync("sandbox/private", base_url=mirror.sandbox.base_url, api_key="o" * 40)
    assert mirror.rows("SELECT project FROM projects") == ["private"]
    assert mirror.run("a", "state") == "running"


def test_sweeps_and_artifacts_change(sdk: Session, mirror: Mirror, account: Account) -> None:
    """A sweep's state and best run, aliases, versions, tags and descriptions of collections."""
    sdk("""
        from pathlib import Path
        config = {
            "method": "grid", "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {"lr": {"values": [1, 2]}},
        }
        sweep = wandb.sweep(config, project="things")
        def train():
            with wandb.init() as run:
                run.log({"loss": float(run.config["lr"])})
        wandb.agent(sweep, train, project="things", count=2)
        api = wandb.Api()  # the agent has ended the SDK's own service
        with wandb.init(project="things", id="logger") as run:
            for number in range(3):
                artifact = wandb.Artifact("data", "dataset", metadata={"rows": number})
                Path("data.txt").write_text(str(number))
                artifact.add_file("data.txt")
                run.log_artifact(artifact, aliases=["best"] if number == 0 else []).wait()
        result = sweep
    """)
    mirror.sync("sandbox/things")
    best, sweep = mirror.rows("SELECT best_run_id, sweep_id FROM sweeps")[0]
    lr = "SELECT value FROM run_config WHERE key = 'lr' AND run_id = ?"
    assert mirror.rows(lr, best) == [1.0]
    aliases = "SELECT alias, version_index FROM artifact_aliases ORDER BY 1"
    assert mirror.rows(aliases) == [("best", 0), ("latest", 2)]

    account.pass_time(3600)
    other = mirror.rows("SELECT run_id FROM runs WHERE sweep_id = ? AND run_id <> ?", sweep, best)
    sdk(f"run = api.run('sandbox/things/{other[0]}'); run.summary.update({{'loss': -1.0}})")
    account.edit_sweep("things", sweep, state="CANCELED")
    sdk("""
        artifact = api.artifact("sandbox/things/data:v1")
        artifact.aliases.append("best")
        artifact.metadata["checked"] = True
        artifact.description = "new"
        artifact.tags.append("good")
        artifact.save()
    """)
    mirror.sync("sandbox/things")
    assert mirror.rows("SELECT state, best_run_id FROM sweeps") == [("CANCELED", other[0])]
    assert mirror.rows(aliases) == [("best", 1), ("latest", 2)]
    found = mirror.rows("SELECT description, metadata, tags FROM artifacts WHERE version = 'v1'")
    assert found[0][0] == "new"
    assert json.loads(found[0][1]) == {"rows": 1, "checked": True}
    assert json.loads(found[0][2]) == ["good"]

    account.pass_time(3600)
    versions = "SELECT version FROM artifacts WHERE collection = 'data' ORDER BY 1"
    sdk("""
        api.artifact("sandbox/things/data:v0").delete(delete_aliases=True)
        collection = api.artifact_collection("dataset", "sandbox/things/data")
        collection.description = "cats"
        collection.tags = ["gold"]
        collection.save()
    """)
    mirror.sync("sandbox/things")
    assert mirror.rows(versions) == ["v1", "v2"]
    deleted = "SELECT version FROM artifacts_all WHERE deleted_at IS NOT NULL"
    assert mirror.rows(deleted) == ["v0"]
    found = mirror.rows(
        "SELECT description, tags FROM artifact_collections WHERE collection = 'data'"
    )
    assert found == [("cats", '["gold"]')]
    lineage = (
        "SELECT artifact_name FROM run_artifacts WHERE run_id = 'logger' AND type_name = 'dataset'"
    )
    assert sorted(mirror.rows(lineage)) == ["data:v1", "data:v2"]
    assert not mirror.sync("sandbox/things").rows
    mirror.sync("sandbox/things", full=True)
