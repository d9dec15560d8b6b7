"""Which run's history is held up to where: derived from the lake's commits.

A history commit carries, in its Delta commit metadata, the cursor of every run it wrote; commits of
files, console lines and manifests carry cursors of their own. The SQLite cache lags behind after a
kill at most; opening replays the commits it has not seen. So a cursor can neither run ahead of the
rows nor fall behind them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from wbsync.checksum import Content
from wbsync.model import ArtifactPath, RunPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wbsync.lake import Lake
    from wbsync.model import ProjectPath
    from wbsync.state import State

Kind = TypeVar("Kind")
Owner = TypeVar("Owner", bound=RunPath | ArtifactPath)

_METADATA_KEY = "wbsync.cursors"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How much of a run's rows is held."""

    storage_id: str | None
    """W&B's id of the run: another one under the same name is another run."""
    last_step: int | None
    """Highest step held; None for none."""
    rows: int
    """Logged rows held."""
    claimed_rows: int | None
    """Rows W&B claimed when all it had was read; None while a run is half way."""
    claimed_last_step: int | None
    branch_point: str | None = None
    values: int | None = None
    """Values held; None with `steps` and `checksum` where they were never counted."""
    steps: int | None = None
    checksum: int | None = None
    source: str | None = None
    """Where they came from: export, rows, export+rows or sampled."""

    @property
    def content(self) -> Content | None:
        """What the held values amount to, None where they were never counted."""
        if self.values is None or self.steps is None or self.checksum is None:
            return None
        return Content(self.values, self.steps, self.checksum)

    @property
    def is_complete(self) -> bool:
        """Whether all that W&B had was read."""
        return self.claimed_rows is not None


class Cursors:
    """Reads cursors of one stream, and turns new ones into commit metadata."""

    def __init__(self, lake: Lake, state: State, table: str) -> None:
        self._lake = lake
        self._state = state
        self._table = table

    def catch_up(self) -> None:
        """Replays into the cache the commits that it has not seen."""
        version = self._lake.version(self._table)
        seen = self._state.replayed_version(self._table)
        if version == seen:
            return
        if version is None or (seen is not None and seen > version):
            self._state.forget_cursors(self._table, [self._table])
            if version is None:
                return
            seen = None
        cursors = [
            (self._table, (entity, project, run_id), json.dumps(cursor))
            for _, metadata in self._lake.commits(self._table, seen)
            for entity, project, run_id, cursor in json.loads(metadata.get(_METADATA_KEY, "[]"))
        ]
        self._state.replay(self._table, version, cursors)

    def of_project(self, project: ProjectPath) -> dict[str, Cursor]:
        """Returns run id to cursor."""
        return self.read(project, Cursor)

    def read(self, project: ProjectPath, kind: type[Kind]) -> dict[str, Kind]:
        """Returns id of run or artifact to cursor, in the form that a stream gives its own."""
        found = self._state.cursors(self._table, project.entity, project.project)
        cursors = {name: json.loads(text) for name, text in found.items()}
        return {name: kind(**cursor) for name, cursor in cursors.items() if cursor}

    def committed(self, since: int | None) -> dict[RunPath, Cursor | None]:
        """Returns the newest cursors of the runs that commits after a version wrote, or forgot."""
        return {
            RunPath(entity, project, run_id): Cursor(**cursor) if cursor else None
            for _, metadata in self._lake.commits(self._table, since)
            for entity, project, run_id, cursor in json.loads(metadata.get(_METADATA_KEY, "[]"))
        }

    def owners(self) -> dict[tuple[str, str, str], Any]:
        """Returns entity, project and id of all that a commit spoke of, each with its cursor."""
        found: dict[tuple[str, str, str], Any] = {}
        for _, metadata in self._lake.commits(self._table, None):
            for entity, project, name, cursor in json.loads(metadata.get(_METADATA_KEY, "[]")):
                found[entity, project, name] = cursor
        return {owner: cursor for owner, cursor in found.items() if cursor}

    @staticmethod
    def metadata(cursors: Mapping[Owner, Any]) -> dict[str, str]:
        """Returns the commit metadata that carries cursors, which are dataclasses."""
        rows = [[*astuple(owner), asdict(cursor)] for owner, cursor in cursors.items()]
        return {_METADATA_KEY: json.dumps(rows, separators=(",", ":"))}

    @staticmethod
    def forget(owners: Iterable[tuple[str, str, str]]) -> dict[str, str]:
        """Returns the commit metadata that says of runs or artifacts: nothing is held of them."""
        rows = [[*owner, None] for owner in owners]
        return {_METADATA_KEY: json.dumps(rows, separators=(",", ":"))}
