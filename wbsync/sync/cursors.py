"""Which run's history is held up to where: derived from the lake's commits.

A history commit carries, in its Delta commit metadata, the cursor of every run it wrote; commits of
files, console lines and manifests carry cursors of their own. The SQLite cache lags behind after a
kill at most; opening replays the commits it has not seen. So a cursor can neither run ahead of the
rows nor fall behind them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, overload

from wbsync import __version__
from wbsync.checksum import Content
from wbsync.model import ArtifactPath, RunPath

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from wbsync.lake import Lake
    from wbsync.model import ProjectPath
    from wbsync.state import State

Kind = TypeVar("Kind")
Owner = TypeVar("Owner", bound=RunPath | ArtifactPath)

_METADATA_KEY = "wbsync.cursors"
NOTHING = "null"
"""The cursor, as JSON, of a run of which nothing is held any more."""


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
    created_at: str | None = None
    """When the run was created: another time under the same name is another run."""
    tail: tuple[float | None, ...] = ()
    """`_timestamp` of each row held at `last_step`, in their order; empty where unknown."""
    heartbeat_at: str | None = None
    """The run's heartbeat when all that W&B had was read."""
    logged_at: float | None = None
    """`_timestamp` of the run's summary when all that W&B had was read."""
    timeline: int = 0
    """How often what was held had to go, because W&B held another timeline."""
    values: int | None = None
    """Values held; None with `steps` and `checksum` where they were never counted."""
    steps: int | None = None
    checksum: int | None = None
    source: str | None = None
    """Where they came from: export, rows, export+rows or sampled."""
    is_doubted: bool = False
    """Whether other values were found than it vouches for: all is read anew, and replaces them."""

    @property
    def content(self) -> Content | None:
        """What the held values amount to, None where they were never counted."""
        if self.values is None or self.steps is None or self.checksum is None:
            return None
        return Content(self.values, self.steps, self.checksum)


def decode(kind: type[Kind], text: str) -> Kind:
    """Returns a cursor that was written as JSON; fields of another wbsync count for nothing."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    values = {k: v for k, v in json.loads(text).items() if k in names}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


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
            self._state.forget_cursors(self._table)
            if version is None:
                return
            seen = None
        cursors = ((self._table, owner, text) for owner, text in self._newest(seen).items())
        self._state.replay(self._table, version, cursors)

    def of_project(
        self, project: ProjectPath, among: Container[str] | None = None
    ) -> dict[str, Cursor]:
        """Returns run id to cursor."""
        return self.read(project, Cursor, among)

    def read(
        self, project: ProjectPath, kind: type[Kind], among: Container[str] | None = None
    ) -> dict[str, Kind]:
        """Returns id of run or artifact to cursor, in the form that a stream gives its own.

        Args:
            project: Where they are.
            kind: The form.
            among: Ids of those that are wanted; None for all.
        """
        found = self._state.cursors(self._table, project.entity, project.project)
        return {
            name: decode(kind, text)
            for name, text in found.items()
            if text != NOTHING and (among is None or name in among)
        }

    @overload
    def committed(self, since: int | None) -> dict[RunPath, Cursor | None]: ...
    @overload
    def committed(self, since: int | None, kind: type[Kind]) -> dict[RunPath, Kind | None]: ...
    def committed(self, since: int | None, kind: type[Any] = Cursor) -> dict[RunPath, Any]:
        """Returns the newest cursors of the runs that commits after a version wrote, or forgot."""
        found = self._newest(since).items()
        return {
            RunPath(*run): decode(kind, text) if text != NOTHING else None for run, text in found
        }

    def owners(self, kind: type[Kind]) -> dict[tuple[str, str, str], Kind]:
        """Returns entity, project and id of all that is held, each with its cursor."""
        found = self._newest(None).items()
        return {owner: decode(kind, text) for owner, text in found if text != NOTHING}

    def _newest(self, since: int | None) -> dict[tuple[str, str, str], str]:
        """Returns the newest cursors, as JSON, that commits after a version carry."""
        return {
            (entity, project, name): json.dumps(cursor)
            for _, metadata in self._lake.commits(self._table, since)
            for entity, project, name, cursor in json.loads(metadata.get(_METADATA_KEY, "[]"))
        }

    def moved(self, project: ProjectPath, name: str) -> dict[str, str] | None:
        """Returns the commit metadata that gives a project's cursors to its new name.

        W&B's ids of runs are made of the project's name: the moved cursors know none.

        Args:
            project: The project under its old name.
            name: Its new name.

        Returns:
            None where there are no cursors.
        """
        rows: list[list[Any]] = []
        found = self._state.cursors(self._table, project.entity, project.project)
        for owner, text in found.items():
            if text == NOTHING:
                continue
            cursor = json.loads(text)
            if "storage_id" in cursor:
                cursor["storage_id"] = None
            rows.append([project.entity, project.project, owner, None])
            rows.append([project.entity, name, owner, cursor])
        return {_METADATA_KEY: json.dumps(rows, separators=(",", ":"))} if rows else None

    def is_settled(self, project: ProjectPath, *sources: str) -> bool:
        """Says whether it is known that nothing need be read, without looking at all that is held.

        A mark that does not hold is gone for good: a lake that was brought back from a copy comes
        to the same versions again, with other content.

        Args:
            project: The project that is synced.
            sources: Tables whose rows or cursors, beside these cursors, decide what is read.
        """
        found = self._state.settled_at(self._table, project.entity, project.project)
        if found is None:
            return False
        if found == self._versions(sources):
            return True
        self._state.unsettle(self._table, project.entity, project.project)
        return False

    def settle(self, project: ProjectPath, *sources: str) -> None:
        """Notes that nothing need be read while the tables are at these versions."""
        self._state.settle(self._table, project.entity, project.project, self._versions(sources))

    def _versions(self, sources: Sequence[str]) -> str:
        held = [self._lake.version(table) for table in (*sources, self._table)]
        return json.dumps([__version__, *held])

    @staticmethod
    def metadata(cursors: Mapping[Owner, Any]) -> dict[str, str]:
        """Returns the commit metadata that carries cursors, which are dataclasses.

        None says that nothing of a run or an artifact is held: it is read anew.
        """
        rows = [
            [*astuple(owner), None if cursor is None else asdict(cursor)]
            for owner, cursor in cursors.items()
        ]
        return {_METADATA_KEY: json.dumps(rows, separators=(",", ":"))}
