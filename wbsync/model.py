"""Frozen values that every layer shares."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wbsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    import pyarrow as pa


NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The texts by which W&B writes what JSON has no number for."""

MAX_EXACT = 2**53
"""Whole numbers up to this are exact where they are doubles."""

REGISTRY_PREFIX = "wandb-registry-"
"""What the name of a project that is a registry begins with."""

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet", "arrow")
"""How rows can be written."""


@dataclass(frozen=True, slots=True, order=True)
class ProjectPath:
    """A project on a W&B server."""

    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}"

    @classmethod
    def parse(cls, text: str) -> ProjectPath:
        """Returns the project that `entity/project` names.

        Raises:
            ConfigError: The text is not two non-empty parts with one slash between.
        """
        if "://" in text:
            raise ConfigError(
                f"{text!r} is the address of a page; write ENTITY/PROJECT, as in its path"
            )
        entity, slash, project = text.strip().partition("/")
        if not (entity and slash and project) or "/" in project:
            raise ConfigError(
                f"{text!r} is not ENTITY/PROJECT; write for example my-team/my-project"
            )
        return cls(entity, project)


@dataclass(frozen=True, slots=True)
class ProjectPattern:
    """What a source names: one project, those that a glob fits, or all of an entity."""

    entity: str
    project: str
    """A name, or a glob of `*`, `?` and `[...]`; empty for all projects."""

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}" if self.project else self.entity

    @classmethod
    def parse(cls, text: str) -> ProjectPattern:
        """Returns what `entity`, `entity/project` or `entity/glob` names.

        Raises:
            ConfigError: The text is none of these.
        """
        entity = text.strip()
        if "/" not in entity and entity and not _is_glob(entity):
            return cls(entity, "")
        path = ProjectPath.parse(text)
        if _is_glob(path.entity):
            raise ConfigError(f"{text!r}: only the project of ENTITY/PROJECT may be a glob")
        return cls(path.entity, path.project)

    @property
    def is_exact(self) -> bool:
        """Whether it names one project."""
        return bool(self.project) and not _is_glob(self.project)

    def fits(self, project: str) -> bool:
        """Says whether a project of the entity is meant; case counts."""
        return not self.project or fnmatch.fnmatchcase(project, self.project)


def _is_glob(text: str) -> bool:
    return any(character in text for character in "*?[")


@dataclass(frozen=True, slots=True, order=True)
class RunPath:
    """A run: `run_id` is what W&B's server calls `name` and its web page shows in the URL."""

    entity: str
    project: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run_id}"

    @classmethod
    def parse(cls, text: str) -> RunPath:
        """Returns the run that `entity/project/run_id` names.

        Raises:
            ConfigError: The text is not three non-empty parts with slashes between.
        """
        parts = text.strip().split("/")
        if len(parts) != 3 or not all(parts):
            raise ConfigError(
                f"{text!r} is not ENTITY/PROJECT/RUN_ID; write for example my-team/my-project/abc12"
            )
        return cls(*parts)


@dataclass(frozen=True, slots=True, order=True)
class ArtifactPath:
    """A version of an artifact, by W&B's id, in the project that is its home."""

    entity: str
    project: str
    artifact_id: str


class RunTest(Protocol):
    """A filter that is applied here, to rows."""

    @property
    def reads(self) -> Mapping[str, frozenset[str]]:
        """The tables that it reads, each with the columns."""

    def __call__(self, rows: Mapping[str, pa.Table]) -> Collection[str]:
        """Returns the ids of the runs that pass.

        Args:
            rows: Rows of each table of `reads`, with those columns at least, of one project.
        """


@dataclass(frozen=True, slots=True)
class Selection:
    """Which runs of a project a sync is about, where it is not about all."""

    runs: frozenset[str] = frozenset()
    """Ids; empty for any."""
    since: datetime | None = None
    """Runs created or active since then."""
    filters: Mapping[str, Any] | None = None
    """A filter in W&B's Mongo-like language, which the server applies; empty asks for all."""
    test: RunTest | None = None
    """Tells which runs pass: not every server filters. None trusts the server."""

    @property
    def is_everything(self) -> bool:
        """Whether all runs are meant."""
        return not self.runs and self.since is None and self.filters is None


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What a sync is to read, where it is not everything."""

    only: frozenset[str] = frozenset()
    """Tables to sync; empty for all that are synced without being asked for."""
    skip: frozenset[str] = frozenset()
    """Tables to leave as they are."""
    logs: bool = False
    """Whether console output is read, too."""
    selection: Selection = field(default_factory=Selection)
    retry: bool = False
    """Whether runs that were set aside are tried at once, whenever their next try is due."""
    full: bool = False
    """Whether all is read again, and what earlier syncs had missed is reported."""

    def wants(self, tables: Iterable[str], *, on_request: bool = False) -> bool:
        """Says whether a stream that fills these tables is to run.

        Args:
            tables: Tables that it fills; it runs for any of them.
            on_request: Whether it runs only where it is asked for.
        """
        names = set(tables) - self.skip
        if self.only:
            return bool(names & self.only)
        return bool(names) and (self.logs or not on_request)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What kind of file is published; what is None stays as it is."""

    storage_version: str | None = None
    """DuckDB's format of the file; at first v1.0.0, which DuckDB 1.1 and everything later reads."""
    materialize: bool | None = None
    """Whether the rows of history and the like are in the file; at first they stay in the lake."""


@dataclass(frozen=True, slots=True)
class Source:
    """What to sync, and how."""

    pattern: ProjectPattern
    options: SyncOptions = field(default_factory=SyncOptions)

    @classmethod
    def parse(cls, text: str, options: SyncOptions | None = None) -> Source:
        """Returns the source that `entity`, `entity/project` or `entity/glob` names.

        Raises:
            ConfigError: The text is none of these.
        """
        return cls(ProjectPattern.parse(text), options or SyncOptions())


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a verification found."""

    kind: str
    """What sort of thing it is, in a few words that do not change."""
    message: str
    """What is wrong, and where, in one line."""
    table: str | None = None
    file: str | None = None
    """Name of the file that is damaged."""
    run: RunPath | None = None
    is_wrong: bool = True
    """False for what W&B does not offer any better."""
