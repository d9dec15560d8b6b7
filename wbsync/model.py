"""Frozen values that every layer shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable


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


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What a sync is to read, where it is not everything."""

    only: frozenset[str] = frozenset()
    """Tables to sync; empty for all that are synced without being asked for."""
    skip: frozenset[str] = frozenset()
    """Tables to leave as they are."""
    logs: bool = False
    """Whether console output is read, too."""

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
