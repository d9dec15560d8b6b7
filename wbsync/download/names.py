"""How artifacts are named: `[[ENTITY/]PROJECT/]COLLECTION[:ALIAS or :vN]`.

A project `wandb-registry-R` is a registry; it belongs to an organisation, whose name or entity may
stand in front.
Source: wandb/sdk/artifacts/_validators.py; wandb/apis/public/registries/_utils.py.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import ConfigError
from wbsync.model import REGISTRY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = re.compile(r"v(\d+)")


@dataclass(frozen=True, slots=True)
class ArtifactName:
    """One version of an artifact, by name."""

    entity: str | None
    """Entity, or for a registry the organisation's name or entity; None where none was given."""
    project: str
    collection: str
    alias: str

    def __str__(self) -> str:
        path = f"{self.project}/{self.collection}:{self.alias}"
        return path if self.entity is None else f"{self.entity}/{path}"

    @property
    def is_registry(self) -> bool:
        """Whether it names a link in a registry."""
        return self.project.startswith(REGISTRY_PREFIX)

    @property
    def version_index(self) -> int | None:
        """The N of `vN`, None for another alias."""
        match = VERSION.fullmatch(self.alias)
        return int(match[1]) if match else None

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] = os.environ) -> ArtifactName:
        """Returns what a text names; entity and project may come from the SDK's variables.

        >>> str(ArtifactName.parse("team/project/data:best", {}))
        'team/project/data:best'
        >>> str(ArtifactName.parse("wandb-registry-model/net", {}))
        'wandb-registry-model/net:latest'

        Raises:
            ConfigError: It names no artifact.
        """
        path, _, alias = text.strip().partition(":")
        parts = path.split("/")
        hint = "write ENTITY/PROJECT/NAME:ALIAS, for example my-team/my-project/data:latest"
        if len(parts) > 3 or not all(parts) or "/" in alias or ":" in alias:
            raise ConfigError(f"{text!r} is no artifact's name; {hint}")
        *front, collection = parts
        project = front[-1] if front else environ.get("WANDB_PROJECT")
        if not project:
            raise ConfigError(f"{text!r} names no project; {hint}, or set WANDB_PROJECT")
        entity = front[0] if len(front) == 2 else None
        if entity is None and not project.startswith(REGISTRY_PREFIX):
            entity = environ.get("WANDB_ENTITY")
        return cls(entity or None, project, collection, alias or "latest")
