"""Whatever happens on the server, in whatever order, the next sync makes the warehouse its equal.

An independent reader (`Account.content`, plain GraphQL) says what the server holds. What is not the
case in this file: the runs that each sync reads in full though they seem unchanged would find all
in projects so small, so they are left out; what is tested is what the cheap path finds.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

import wbsync
from wbsync.sandbox.process import Sandbox
from wbsync.sync import runs as runs_module
from wbsync.sync.holding import held
from wbsync.sync.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IS_LONG = bool(os.environ.get("WBSYNC_LONG"))

SERVERS = {
    "filters by updatedAt": [],
    "cannot filter": ["--without", "updatedAtFilter"],
    "has no updatedAt": ["--without", "updatedAt"],
    "shifts": ["--offset-cursors", "--max-page-rows", "3"],
    "ignores": ["--ignore", "filters,order"],
    "has no exports": ["--without", "parquetHistory"],
}

PROJECTS = ("p", "q", "größe ☃")
RUNS = ("a", "b", "c", "d")
VALUES = st.one_of(
    st.floats(-10, 10), st.integers(-3, 3), st.sampled_from([math.nan, math.inf, 2**60, True]),
    st.text("x☃/ ", max_size=3),
)  # fmt: skip
HIDDEN = (
    "Run.config", "Run.summaryMetrics", "Run.tags", "Run.displayName", "Run.state", "Run.notes",
    "Run.outputArtifacts", "RunEdge.node", "Project.runs", "Project.sweeps", "SweepEdge.node",
    "Project.artifactTypes", "ArtifactType.artifactCollections", "ArtifactCollectionEdge.node",
    "Artifact.aliases", "ArtifactSequence.aliases", "VersionedArtifactEdge.node",
    "Artifact.description", "ArtifactSequence.tags", "Project.internalId",
)  # fmt: skip
"""Fields that the server gives as null for a while."""

NEXT, SAME, LOWER, NONE = "next", "same", "lower", "none"

_entities = itertools.count()


class Server(RuleBasedStateMachine):
    """Random changes on the server, and syncs between them."""

    sandbox: ClassVar[Sandbox]
    account_of: ClassVar[Callable[..., Any]]
    held_content_of: ClassVar[Callable[..., Any]]

    def __init__(self) -> None:
        super().__init__()
        self.entity = f"team{next(_entities)}"
        self.account = self.account_of(self.sandbox, self.entity)
        self.account.ahead_s = getattr(type(self), "ahead_s", 0.0)
        self.account.admin("teams", name=self.entity)
        self.folder = tempfile.TemporaryDirectory()
        self.warehouse = wbsync.open(Path(self.folder.name) / "w")
        self.runs: dict[tuple[str, str], list[int]] = {}
        """Runs that are there, each with the steps that it has logged."""
        self.stepless: set[tuple[str, str]] = set()
        self.clock = 1_700_000_000.0
        self.versions: dict[str, tuple[str, str]] = {}
        self.digests = itertools.count()

    def teardown(self) -> None:
        """Syncs once more, so that each example ends with a comparison, and accounts for it."""
        self.sync(full=False, quiet=True)
        with held(Path(self.folder.name) / "w", lambda _: None) as holding:
            assert verify(holding, (), lambda _: None, deep=True).problems == []
        type(self).ahead_s = self.account.ahead_s  # type: ignore[attr-defined]
        self.warehouse.close()
        self.folder.cleanup()

    def later(self, seconds: float = 2.0) -> None:
        """Lets the server's clock run."""
        self.account.pass_time(seconds)

    def pick(self, data: st.DataObject) -> tuple[str, str]:
        """Returns some run."""
        return data.draw(st.sampled_from(sorted(self.runs)))

    @initialize()
    def begin(self) -> None:
        """There is a run to begin with."""
        self.account.upsert("p", "a", config={"lr": {"value": 0.1, "desc": None}})
        self.runs["p", "a"] = []

    @rule(project=st.sampled_from(PROJECTS), run=st.sampled_from(RUNS), lr=VALUES)
    def make_or_resume(self, project: str, run: str, lr: Any) -> None:
        """A run's process starts, for the first time or again."""
        self.later()
        config = {"lr": {"value": 0.1 if isinstance(lr, float) else lr, "desc": None}}
        is_known = (project, run) in self.runs
        self.account.upsert(project, run, **({} if is_known else {"config": config}))
        self.runs.setdefault((project, run), [])

    @precondition(lambda self: self.runs)
    @rule(
        data=st.data(), where=st.sampled_from([NEXT, NEXT, NEXT, NEXT, SAME, LOWER, NONE]),
        count=st.integers(1, 6), ends=st.sampled_from([None, None, 0, 1]), value=VALUES,
    )  # fmt: skip
    def log(
        self, data: st.DataObject, where: str, count: int, ends: int | None, value: Any
    ) -> None:
        """A process logs rows: at next steps, at the last, at lower ones, or without a step."""
        self.later()
        key = self.pick(data)
        steps = self.runs[key]
        rows = []
        for index in range(count):
            self.clock += 1.25
            last = max(steps, default=-1)
            step = last + 1 + index % 2
            if steps and where == SAME:
                step = last
            elif steps and where == LOWER:
                step = data.draw(st.integers(0, last))
            row = {"_step": step, "_timestamp": self.clock, "loss": index / 7, "Loss": step}
            if where == NONE:
                del row["_step"]
                self.stepless.add(key)
            else:
                steps.append(step)
            if index == 0:
                row |= {"a.b": {"c": value}, "odd": value}
            rows.append(row)
        self.account.log(*key, rows, done=ends is not None, exitcode=ends or 0)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), count=st.integers(1, 3))
    def log_events(self, data: st.DataObject, count: int) -> None:
        """A process logs system metrics."""
        self.later()
        rows = []
        for index in range(count):
            self.clock += 1.25
            rows.append({"_timestamp": self.clock, "_runtime": 1.0, "system.cpu": index / 3})
        self.account.log(*self.pick(data), rows, stream="events")

    @precondition(lambda self: self.runs)
    @rule(
        data=st.data(),
        what=st.sampled_from(["tags", "notes", "displayName", "groupName", "config", "summary"]),
        text=st.text("ab ☃'\"", min_size=1, max_size=4),
    )
    def edit(self, data: st.DataObject, what: str, text: str) -> None:
        """Somebody edits a run."""
        self.later()
        value: Any = text
        if what == "tags":
            value = [text, "t"]
        elif what == "config":
            value = {"lr": {"value": 2, "desc": None}, text: {"value": {"x": text}, "desc": None}}
        elif what == "summary":
            what, value = "summaryMetrics", {"best": text, "_timestamp": self.clock}
        self.account.edit(*self.pick(data), **{what: value})

    @precondition(lambda self: any(self.runs.values()))
    @rule(data=st.data(), again=st.booleans())
    def rewind(self, data: st.DataObject, again: bool) -> None:
        """A run is rewound, and perhaps logs as much again."""
        self.later()
        key = data.draw(st.sampled_from(sorted(k for k, steps in self.runs.items() if steps)))
        steps = self.runs[key]
        step = data.draw(st.integers(0, max(steps)))
        gone = [s for s in steps if s > step]
        self.account.rewind(*key, step)
        self.runs[key] = [s for s in steps if s <= step]
        if again:
            # As many rows, up to the same step: only their times tell.
            rows = []
            for s in gone:
                self.clock += 1.25
                rows.append({"_step": s, "_timestamp": self.clock, "loss": -1.0})
            self.account.log(*key, rows, done=True)
            self.runs[key] += gone

    @precondition(lambda self: any(self.runs.values()))
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """A run is forked."""
        project, parent = data.draw(
            st.sampled_from(sorted(k for k, steps in self.runs.items() if steps))
        )
        name = f"fork-of-{parent}"
        if (project, name) in self.runs or (project, parent) in self.stepless:
            return
        self.later()
        step = data.draw(st.integers(0, max(self.runs[project, parent])))
        origin = {"branch_point": {"run_id": parent, "step": step}}
        self.account.upsert(project, name, config={"_wandb": {"value": origin}})
        self.runs[project, name] = [s for s in self.runs[project, parent] if s <= step]

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), again=st.booleans())
    def delete_run(self, data: st.DataObject, again: bool) -> None:
        """A run is deleted, and perhaps made again."""
        self.later()
        key = self.pick(data)
        self.account.delete_run(*key)
        del self.runs[key]
        self.stepless.discard(key)
        if again:
            self.later()
            self.account.upsert(*key)
            self.runs[key] = []

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), to=st.sampled_from(PROJECTS))
    def move_run(self, data: st.DataObject, to: str) -> None:
        """A run moves to another project."""
        project, run = key = self.pick(data)
        if (to, run) in self.runs:
            return
        self.later()
        self.account.move_run(project, run, to)
        self.runs[to, run] = self.runs.pop(key)
        if key in self.stepless:
            self.stepless.remove(key)
            self.stepless.add((to, run))

    @rule(data=st.data(), new=st.sampled_from(PROJECTS))
    def rename_project(self, data: st.DataObject, new: str) -> None:
        """A project is renamed, perhaps to a name that another one had."""
        there = self.account.projects()
        old = data.draw(st.sampled_from(sorted(there)))
        if new in there:
            return
        self.later()
        self.account.rename_project(old, new)

        def moved(key: tuple[str, str]) -> tuple[str, str]:
            return (new, key[1]) if key[0] == old else key

        self.runs = {moved(key): steps for key, steps in self.runs.items()}
        self.stepless = {moved(key) for key in self.stepless}
        self.versions = {i: moved(place) for i, place in self.versions.items()}

    @rule(data=st.data())
    def delete_project(self, data: st.DataObject) -> None:
        """A project is deleted."""
        there = sorted(self.account.projects())
        if len(there) < 2:
            return
        self.later()
        project = data.draw(st.sampled_from(there))
        self.account.delete_project(project)
        self.runs = {key: steps for key, steps in self.runs.items() if key[0] != project}
        self.stepless = {key for key in self.stepless if key[0] != project}
        self.versions = {i: place for i, place in self.versions.items() if place[0] != project}

    @rule(data=st.data(), state=st.sampled_from(["RUNNING", "PAUSED", "FINISHED"]))
    def sweep(self, data: st.DataObject, state: str) -> None:
        """A sweep is made, with a run, and changes its state."""
        self.later()
        project = data.draw(st.sampled_from(sorted(self.account.projects())))
        sweep = self.account.make_sweep(project)
        run = f"of-{len(self.runs)}"
        self.account.upsert(project, run, sweep=sweep)
        self.runs.setdefault((project, run), [])
        self.account.edit_sweep(project, sweep, state=state, displayName=state.lower())

    @rule(data=st.data(), collection=st.sampled_from(["data", "model"]))
    def make_version(self, data: st.DataObject, collection: str) -> None:
        """A version of an artifact is logged."""
        self.later()
        project = data.draw(st.sampled_from(sorted(self.account.projects())))
        digest = f"{next(self.digests):032x}"
        made = self.account.make_version(project, collection, digest, metadata="{}")
        self.versions[made] = (project, collection)

    @precondition(lambda self: self.versions)
    @rule(
        data=st.data(),
        what=st.sampled_from(
            ["alias", "alias", "description", "tags", "delete", "tag", "rename", "describe", "drop"]
        ),
    )
    def edit_artifacts(self, data: st.DataObject, what: str) -> None:
        """Versions, aliases and collections change."""
        self.later()
        artifact_id = data.draw(st.sampled_from(sorted(self.versions)))
        project, collection = place = self.versions[artifact_id]
        account = self.account
        if what == "alias":
            account.alias(project, collection, artifact_id, data.draw(st.sampled_from("xy")))
        elif what == "description":
            account.edit_version(artifact_id, description="new", metadata='{"rows":3}')
        elif what == "tags":
            account.edit_version(artifact_id, tagsToAdd=[{"tagName": "good"}])
        elif what == "delete":
            account.delete_version(artifact_id)
            del self.versions[artifact_id]
        elif what == "tag":
            account.tag_collection(project, collection, "gold")
        elif what == "describe":
            account.edit_collection(project, collection, description="of cats")
        elif what == "rename" and "renamed" not in account.collections(project):
            account.edit_collection(project, collection, name="renamed")
            self.versions = {
                i: (project, "renamed") if p == place else p for i, p in self.versions.items()
            }
        elif what == "drop":
            account.delete_collection(project, collection)
            self.versions = {i: p for i, p in self.versions.items() if p != place}

    @rule(offered=st.sampled_from(["all", "half", "none"]))
    def export(self, offered: str) -> None:
        """W&B exports more, or other parts, of the histories."""
        self.account.admin("exports", offered=offered)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), field=st.sampled_from(HIDDEN), text=st.text("ab☃", min_size=1))
    def hide(self, data: st.DataObject, field: str, text: str) -> None:
        """For one sync, in which something else has changed, the server gives a field as null."""
        self.sync(full=False, quiet=False)
        self.later()
        self.account.edit(*self.pick(data), displayName=text)
        if self.versions:
            artifact_id = data.draw(st.sampled_from(sorted(self.versions)))
            self.account.alias(*self.versions[artifact_id], artifact_id, "x")
        self.account.admin("restrictions", hidden=[field])
        full = data.draw(st.booleans())
        self.warehouse.sync(
            self.entity, base_url=self.sandbox.base_url, api_key=self.sandbox.api_key, full=full
        )
        self.account.admin("restrictions")

    @rule(seconds=st.sampled_from([1.0, 60.0, 600.0, 7200.0]))
    def wait(self, seconds: float) -> None:
        """Time passes; what was not heard of for long has crashed."""
        self.later(seconds)

    @rule(full=st.sampled_from([False, False, False, True]), quiet=st.sampled_from([False, True]))
    def sync(self, full: bool, quiet: bool) -> None:
        """The warehouse is the server's equal, and nothing had been missed."""
        report = self.warehouse.sync(
            self.entity, base_url=self.sandbox.base_url, api_key=self.sandbox.api_key, full=full
        )
        assert not report.drift
        short = {tuple(s.what.split("/")[1:]) for s in report.skipped if "gave" in s.reason}
        assert short <= self.stepless
        assert len(report.skipped) == len(short)
        wanted = self.account.content()
        found = self.held_content_of(self.warehouse, self.entity)
        for key in self.stepless:
            # Rows without a step come with exports alone.
            for content in (wanted, found):
                cells = content["history"].get(key, {})
                content["history"][key] = {k: v for k, v in cells.items() if k[1] is not None}
        for table, rows in wanted.items():
            assert found[table] == rows, table
        if quiet:
            again = self.warehouse.sync(
                self.entity, base_url=self.sandbox.base_url, api_key=self.sandbox.api_key
            )
            assert not again.rows

    @rule()
    def sync_now(self) -> None:
        """Syncs come often."""
        self.sync(full=False, quiet=False)

    @rule()
    def sync_soon(self) -> None:
        """Syncs come often."""
        self.sync(full=False, quiet=False)


@pytest.fixture
def server(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    account_of: Callable[..., Any],
    held_content_of: Callable[..., Any],
) -> Iterator[type[Server]]:
    """A machine on a server of some kind."""
    monkeypatch.setattr(runs_module, "CHECKED_RUNS", 0)
    options = [*SERVERS[request.param], "--crash-after", "300"]
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        members = {
            "sandbox": sandbox,
            "account_of": staticmethod(account_of),
            "held_content_of": staticmethod(held_content_of),
        }
        yield type("Server", (Server,), members)


@pytest.mark.timeout(3600 if IS_LONG else 600)
@pytest.mark.parametrize(
    "server", list(SERVERS) if IS_LONG else ["filters by updatedAt", "shifts"], indirect=True
)
def test_the_warehouse_is_the_servers_equal_after_each_sync(server: type[Server]) -> None:
    """Random changes of every kind, in random order, are all found by the next sync."""
    run_state_machine_as_test(
        server,
        settings=settings(
            max_examples=150 if IS_LONG else 4,
            stateful_step_count=40,
            deadline=None,
            derandomize=not IS_LONG,
            database=None,
            # To shrink what failed takes minutes: `make test-long` does.
            phases=Phase if IS_LONG else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
