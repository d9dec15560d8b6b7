"""Frozen values that every layer shares."""

from __future__ import annotations

from dataclasses import dataclass

from wbsync.errors import ConfigError


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
