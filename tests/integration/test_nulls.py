"""What W&B gives as null, without an error, is not taken for deleted, and heals by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from graphql import TypeInfo, TypeInfoVisitor, Visitor, build_schema, is_non_null_type, parse, visit

import wbsync
from wbsync.api.documents import load_document
from wbsync.resources import read_resource
from wbsync.sandbox.process import Sandbox
from wbsync.sync import runs as runs_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Account = Any

TABLES = (
    "projects", "runs", "run_config", "run_summary", "run_tags", "run_artifacts", "run_changes",
    "history", "history_keys", "sweeps", "artifact_types", "artifact_collections", "artifacts",
    "artifact_aliases", "artifact_files", "reports",
)  # fmt: skip

HIDDEN = (
    (
        "Run.config", "Run.summaryMetrics", "Run.systemMetrics", "Sweep.updatedAt",
        "Project.internalId", "Project.access", "Project.updatedAt", "Project.readOnly",
        "View.name", "View.type",
        "View.updatedAt", "ArtifactSequence.tags", "ArtifactSequence.updatedAt",
        "ArtifactSequence.project", "VersionedArtifactConnection.totalCount", "Artifact.tags",
        "Artifact.updatedAt", "Artifact.fileCount",
    ),
    ("Run.inputArtifacts", "Run.outputArtifacts", "Project.sweeps", "Project.artifactTypes"),
    (
        "Run.displayName", "Run.state", "Run.updatedAt", "SweepEdge.node", "ArtifactTypeEdge.node",
    ),
    ("Artifact.versionIndex", "ArtifactCollectionEdge.node", "ArtifactType.artifactCollections"),
    ("ArtifactSequence.aliases", "Artifact.aliases", "RunEdge.node", "TagEdge.node"),
    ("ArtifactAlias.artifactCollection", "ArtifactSequence.artifacts"),
    ("VersionedArtifactEdge.node",),
)  # fmt: skip
"""Fields that are hidden together: none hides another one."""

OPTIONAL = (
    "Run.tags", "Run.notes", "Run.group", "Run.jobType", "Run.sweepName", "Run.commit", "Run.host",
    "Run.user", "Run.heartbeatAt", "Run.computeSeconds", "Run.eventsLineCount",
    "Run.logLineCount", "User.name", "User.username", "Sweep.description", "Sweep.displayName",
    "Sweep.runCountExpected", "Project.description", "View.description", "View.displayName",
    "ArtifactSequence.description", "Artifact.description", "Artifact.metadata",
    "Artifact.commitHash", "Artifact.historyStep", "ArtifactType.description",
)  # fmt: skip
"""Fields whose null is W&B's own word for none."""

UNSAID = {
    "Artifact.aliases": "said once for both",
    "ArtifactAlias.artifactCollection": "said as the aliases",
    "ArtifactCollectionEdge.node": "said as the node", "ArtifactTypeEdge.node": "said as the node",
    "ArtifactSequence.project": "where an alias is, its name says, too",
    "ArtifactSequence.artifacts": "an error where versions are read, and else said as artifacts",
    "VersionedArtifactEdge.node": "said as the versions and aliases",
    "TagEdge.node": "said as the tags",
    "View.type": "the list in which a view stands says its type",
    "RunEdge.node": "runs that no page shows are asked for by their names",
}  # fmt: skip
"""Fields that the report does not name as they are called."""

ELSEWHERE = {
    "Query.project": "a project that is not to be seen",
    "Project.runs": "a page that is none is an error",
    "Project.artifactType": "a page that is none is an error",
    "ArtifactType.artifactCollection": "a page that is none is an error",
    "Project.allViews": "what a key may not see of reports is left as it is held",
    "ViewEdge.node": "what a key may not see of reports is left as it is held",
    "PageInfo.endCursor": "cursors of edges do as well",
    "ArtifactAliasEdge.node": "versions tell their aliases, too",
    "ArtifactEdge.node": "stands for an artifact that was deleted",
    "Sweep.bestLoss": "a sweep may lose it",
    "Run.historyLineCount": "histories have tests of their own",
    "Run.historyKeys": "histories have tests of their own",
}
"""Fields that are null for other reasons, or are tested elsewhere."""


def test_no_field_is_forgotten() -> None:
    """Each field that a sync of a project selects and that may be null is hidden by some test."""
    schema = build_schema(read_resource("schemas/wandb.graphql"))
    found: set[str] = set()
    for name in (
        "project_state", "project_runs", "project_runs_light", "project_sweeps",
        "collection_artifacts",
    ):  # fmt: skip
        info = TypeInfo(schema)

        class Nullable(Visitor):
            def enter_field(self, node: Any, *_: Any, info: TypeInfo = info) -> None:
                kind = info.get_type()
                if kind is not None and not is_non_null_type(kind):
                    found.add(f"{info.get_parent_type()}.{node.name.value}")

        visit(parse(load_document(name).text), TypeInfoVisitor(info, Nullable()))
    hidden = {field for group in (*HIDDEN, OPTIONAL) for field in group}
    # An interface's fields are hidden in the type that has them.
    hidden |= {f.replace("ArtifactSequence.", "ArtifactCollection.") for f in hidden}
    assert found - hidden - ELSEWHERE.keys() == set()


class Mirror:
    """A healthy server, and a warehouse that is in step with it."""

    def __init__(self, account: Account, root: Path, held_content_of: Any) -> None:
        self.account = account
        self.root = root
        self.warehouse = wbsync.open(root)
        self._held = held_content_of

    def sync(self, **options: Any) -> Any:
        """Syncs."""
        sandbox = self.account.sandbox
        return self.warehouse.sync(
            "sandbox/p", base_url=sandbox.base_url, api_key=sandbox.api_key, **options
        )

    def hide(self, *fields: str, denied: tuple[str, ...] = ()) -> None:
        """Has the server give null, or errors, for these fields, and for no others."""
        self.account.admin("restrictions", hidden=list(fields), denied=list(denied))

    def rows(self, *tables: str) -> dict[str, list[str]]:
        """Returns the rows of plain tables, without when they were read."""
        unstable = {"synced_at", "held_since", "updated_at", "bookmark", "content_hash"}
        found = {}
        for table in tables or TABLES:
            rows = self.warehouse.sql(f"SELECT * FROM {table}").arrow().to_pylist()
            found[table] = sorted(
                repr({k: v for k, v in r.items() if k not in unstable}) for r in rows
            )
        return found

    def check(self) -> None:
        """The warehouse is the server's equal."""
        wanted, found = self.account.content(), self._held(self.warehouse, "sandbox")
        for table, content in wanted.items():
            assert found[table] == content, table


def fill(account: Account) -> None:
    """Makes something of everything that a project has."""
    account.change(
        "upsertModel", "UpsertModelInput", "inserted", name="p", entityName="sandbox",
        description="über", access="USER_WRITE",
    )  # fmt: skip
    sweep = account.make_sweep("p")
    account.edit_sweep("p", sweep, displayName="search", description="wide")
    environment = {"host": "inside", "git": {"commit": "c0ffee"}, "startedAt": "2026-01-01"}
    for name in ("a", "b"):
        account.upsert(
            "p", name, groupName="g ☃", jobType="train", commit="abc", host="box", sweep=sweep,
            notes="noted", displayName=f"run {name}", tags=["x", "y/z"],
            config={
                "lr": {"value": 0.1, "desc": None}, "a.b": {"value": {"c": [1]}, "desc": None},
                "_wandb": {"value": {"e": {"w": environment}}},
            },
        )  # fmt: skip
        rows = [{"_step": s, "_timestamp": 1.7e9 + s, "loss": 1 / (s + 1)} for s in range(3)]
        account.log("p", name, rows)
        events = [{"_timestamp": 1.7e9, "_runtime": 1.0, "system.cpu": 5.0}]
        account.log("p", name, events, stream="events", done=True)
    account.upsert("p", "bare")
    account.log("p", "bare", [], done=True)
    versions = [
        account.make_version(
            "p", "data", f"{i:032x}", metadata='{"rows":3}', description=f"no. {i}", runName="a",
            historyStep=1,
        )
        for i in range(2)
    ]  # fmt: skip
    account.make_version("p", "model", "9" * 32, metadata="{}")
    account.edit_version(versions[1], tagsToAdd=[{"tagName": "good"}])
    account.alias("p", "data", versions[0], "best")
    account.alias("p", "data", versions[1], "latest")
    account.tag_collection("p", "data", "gold")
    account.edit_collection("p", "data", description="of cats")
    account.change(
        "useArtifact", "UseArtifactInput", "artifact { id }", entityName="sandbox",
        projectName="p", runName="b", artifactID=versions[0],
    )  # fmt: skip
    account.change(
        "upsertView", "UpsertViewInput", "inserted", entityName="sandbox", projectName="p",
        type="runs", name="r", displayName="Report ☃", description="d", spec="{}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server whose fields can be hidden while it runs."""
    with Sandbox(tmp_path_factory.mktemp("data")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a warehouse."""
    return tmp_path_factory.mktemp("w")


@pytest.fixture
def mirror(
    healthy: Sandbox,
    root: Path,
    account_of: Any,
    held_content_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Mirror]:
    """A server that holds something of everything, and a warehouse that is in step with it."""
    monkeypatch.setattr(runs_module, "CHECKED_RUNS", 0)
    mirror = Mirror(account_of(healthy), root, held_content_of)
    mirror.hide()
    if not (root / "lake").exists():
        fill(mirror.account)
        assert mirror.sync().outcome == "complete"
    yield mirror
    mirror.hide()
    mirror.warehouse.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fields", HIDDEN, ids=[group[0] for group in HIDDEN])
def test_null_is_not_deleted(mirror: Mirror, fields: tuple[str, ...]) -> None:
    """What is null is kept as it is held and named; once it is told again all is as on the server.

    That holds for what changed while it was hidden, too, though no further change points at it.
    """
    before = mirror.rows()
    mirror.hide(*fields)
    report = mirror.sync(full=True)
    assert mirror.rows() == before
    assert report.outcome == "partial"
    assert not report.drift
    said = " ".join(f"{s.what} {s.reason}" for s in report.skipped)
    assert "sandbox/p" in said
    for field in fields:
        assert field in UNSAID or field.partition(".")[2] in said, (field, said)

    mirror.account.pass_time(60)
    mirror.hide()
    lr = len(mirror.rows("run_changes")["run_changes"])
    mirror.account.edit(
        "p", "a", config={"lr": {"value": lr, "desc": None}}, tags=[f"t{lr}"], notes=f"n{lr}",
        groupName=f"g{lr}", summaryMetrics={"best": lr},
    )  # fmt: skip
    ((version,),) = mirror.warehouse.sql(
        "SELECT artifact_id FROM artifacts WHERE collection = 'data' AND version = 'v0'"
    ).fetchall()
    ((sweep,),) = mirror.warehouse.sql("SELECT sweep_id FROM sweeps").fetchall()
    mirror.account.edit_version(version, description=f"d{lr}")
    mirror.account.alias("p", "data", version, f"alias{lr}")
    mirror.account.edit_sweep("p", sweep, description=f"s{lr}")
    mirror.hide(*fields)
    mirror.sync()
    unchanged = mirror.sync()
    assert not unchanged.rows
    assert not unchanged.removed_from
    mirror.account.pass_time(7200)
    mirror.hide()
    healed = mirror.sync()
    assert healed.outcome == "complete", healed.skipped
    mirror.check()
    again = mirror.sync(full=True)
    assert not again.rows
    assert not again.drift


def test_what_somebody_has_cleared_is_gone(mirror: Mirror) -> None:
    """Null where W&B has no other word for none is taken as it is: the sync is complete."""
    mirror.hide(*OPTIONAL)
    report = mirror.sync(full=True)
    assert report.outcome == "complete", report.skipped
    cleared = "SELECT count(*) FROM runs WHERE notes IS NULL AND group_name IS NULL AND tags = '[]'"
    runs = mirror.warehouse.sql("SELECT count(*) FROM runs").fetchall()
    assert mirror.warehouse.sql(cleared).fetchall() == runs
    assert not mirror.sync().rows
    mirror.hide()
    assert mirror.sync(full=True).outcome == "complete"
    mirror.check()


@pytest.mark.parametrize("refusal", ["hidden", "denied"])
@pytest.mark.parametrize(("field", "tables"), [("sweeps", "sweeps"), ("artifactTypes", "artifact")])
def test_one_list_that_is_not_to_be_had_stops_no_other(
    mirror: Mirror, refusal: str, field: str, tables: str
) -> None:
    """A refused or hidden list is named, and all other streams go on."""
    before = mirror.rows("sweeps", "artifacts", "artifact_aliases")
    tag = f"{refusal} {field}"
    mirror.account.edit("p", "b", tags=[tag])
    if refusal == "denied":
        mirror.hide(denied=(f"Project.{field}",))
    else:
        mirror.hide(f"Project.{field}")
    report = mirror.sync()
    assert report.outcome == "partial"
    assert [s.what for s in report.skipped] == [f"sandbox/p {field}"]
    assert ("permission denied" in report.skipped[0].reason) == (refusal == "denied")
    assert mirror.rows("sweeps", "artifacts", "artifact_aliases") == before
    assert any(tag in row for row in mirror.rows("runs")["runs"])


def test_a_stream_that_fails_stops_no_other(mirror: Mirror) -> None:
    """Runs cannot be listed: that is reported, and artifacts are in step all the same."""
    version = mirror.account.make_version("p", "late", "7" * 32)
    mirror.hide("Project.runs")
    report = mirror.sync()
    assert report.outcome == "partial"
    assert any("sandbox/p run" in s.what for s in report.skipped)
    assert any(version in row for row in mirror.rows("artifacts")["artifacts"])
    mirror.hide()
    assert mirror.sync().outcome == "complete"
    mirror.check()


def test_what_is_empty_is_deleted(mirror: Mirror) -> None:
    """`{}`, `[]` and an empty text say that there is nothing, and the change log says so, too."""
    mirror.account.edit("p", "b", config={}, tags=[], notes="", summaryMetrics={})
    report = mirror.sync()
    assert report.outcome == "complete"
    mirror.check()
    changes = mirror.warehouse.sql(
        "SELECT field FROM run_changes WHERE run_id = 'b' AND new IS NULL"
    ).fetchall()
    assert {("config.lr",), ("summary.loss",)} <= set(changes)


def test_the_report_speaks_of_what_was_only_removed(mirror: Mirror) -> None:
    """A version that is gone with its aliases is a change, though no row is written for it."""
    made = mirror.account.make_version("p", "alone", "8" * 32)
    mirror.sync()
    mirror.account.delete_version(made)
    done = subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(mirror.root), "sync", "sandbox/p"],
        env=mirror.account.sandbox.env(), check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "nothing has changed" not in done.stdout
    assert "rows removed or amended: artifact_aliases, artifacts" in done.stdout
    again = subprocess.run(
        [sys.executable, "-m", "wbsync", "-w", str(mirror.root), "sync", "sandbox/p", "--json"],
        env=mirror.account.sandbox.env(), check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert json.loads(again.stdout)["removed_from"] == []
