"""`wbsync.Api`: where one starts. Source: wandb/apis/public/api.py."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from wbsync.configuration import resolve
from wbsync.errors import NotHeldAttributeError, NotHeldError
from wbsync.model import REGISTRY_PREFIX
from wbsync.offline.artifacts import Artifact, find_artifact
from wbsync.offline.automations import Automation, Automations, Integrations
from wbsync.offline.collections import (
    ArtifactCollection,
    ArtifactCollections,
    Artifacts,
    ArtifactType,
    ArtifactTypes,
    find_collection,
    find_type,
)
from wbsync.offline.listing import refuse_cursor
from wbsync.offline.projects import Project, Projects
from wbsync.offline.reader import Reader
from wbsync.offline.records import refuse
from wbsync.offline.registries import Registries, Registry, find_organization, is_linked
from wbsync.offline.reports import BetaReport, Reports, find_report
from wbsync.offline.run_list import Runs
from wbsync.offline.runs import Run, find_run
from wbsync.offline.sweeps import Sweep, find_sweep
from wbsync.offline.users import Team, User, find_team, find_users, find_viewer
from wbsync.settings import resolve_base_url
from wbsync.warehouse import Warehouse, open_warehouse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wbsync.download import ArtifactName

REFUSED = frozenset({
    "create_project", "create_run", "create_run_queue", "create_custom_chart", "create_user",
    "create_team", "create_registry", "create_automation", "update_automation",
    "delete_automation", "upsert_run_queue", "sync_tensorboard",
})  # fmt: skip
"""Methods of wandb.Api that change W&B."""

UNHELD = frozenset({"organization", "job", "list_jobs", "queued_run", "run_queue", "user_agent"})
"""What no sync brings."""


class Api:
    """What `wandb.Api()` reads, read from a warehouse: no network, no key, no sampling by luck."""

    def __init__(
        self,
        overrides: dict[str, Any] | None = None,
        timeout: int | None = None,
        api_key: str | None = None,
        *,
        warehouse: Warehouse | str | Path | None = None,
    ) -> None:
        """Opens a warehouse.

        Args:
            overrides: `entity`, `project` and `base_url` that stand where a path names none.
            timeout: Taken for wandb's sake.
            api_key: Taken for wandb's sake.
            warehouse: Its folder, or an open one; None takes `WBSYNC_WAREHOUSE`, the nearest
                wbsync.toml's, or the default under the user's data folder.
        """
        del timeout, api_key
        given = overrides or {}
        opened = warehouse if isinstance(warehouse, Warehouse) else open_warehouse(warehouse)
        base_url = resolve_base_url(given.get("base_url") or resolve({})["base_url"])
        self.settings = {
            "base_url": base_url,
            "entity": given.get("entity") or os.environ.get("WANDB_ENTITY"),
            "project": given.get("project") or os.environ.get("WANDB_PROJECT"),
            "organization": given.get("organization"),
        }
        self._reader = Reader(opened, os.environ.get("WANDB_APP_URL") or app_url(base_url))

    def __getattr__(self, name: str) -> Any:
        if name in REFUSED:
            return partial(refuse, f"Api.{name}()")
        if name in UNHELD:
            raise NotHeldAttributeError(f"Api.{name}")
        raise AttributeError(f"{self!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<wbsync.Api {self._reader.root}>"

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse that is read, for SQL."""
        return self._reader.warehouse

    api_key = None
    """No key is used."""

    @property
    def viewer(self) -> User:
        """Who the key belongs to that the warehouse was synced with."""
        return find_viewer(self._reader, os.environ)

    @property
    def default_entity(self) -> str | None:
        """The viewer's entity; where that is not held, the only entity that is."""
        try:
            entity: str = self.viewer.entity
        except NotHeldError:
            rows = self._reader.rows("SELECT DISTINCT entity FROM projects ORDER BY entity")
            return str(rows[0]["entity"]) if len(rows) == 1 else None
        return entity

    def flush(self) -> None:
        """Does nothing: each call reads the newest published state."""

    def projects(self, entity: str | None = None, per_page: int = 200) -> Projects:
        """Returns the projects of an entity that were synced."""
        del per_page
        return Projects(self._reader, entity or self._entity())

    def project(self, name: str, entity: str | None = None) -> Project:
        """Returns a project."""
        row = self._reader.project(entity or self._entity(), name)
        return Project(self._reader, row)

    def runs(
        self,
        path: str | None = None,
        filters: Any = None,
        order: str | Sequence[str] = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
    ) -> Runs:
        """Returns the runs of a project that pass a filter, in order.

        Args:
            path: `ENTITY/PROJECT`.
            filters: As wandb.Api() takes them, and all else that `wbsync runs --filter` takes.
            order: A sign and a field, for example `-summary_metrics.acc`; several with commas.
            per_page: Taken for wandb's sake.
            include_sweeps: Taken for wandb's sake.
            lazy: Taken for wandb's sake.
        """
        del include_sweeps, lazy
        entity, project = self._project_path(path)
        return Runs(self._reader, entity, project, filters, order, per_page)

    def run(self, path: str = "") -> Run:
        """Returns a run by `ENTITY/PROJECT/RUN_ID`."""
        return find_run(self._reader, *self._path(path))

    def sweep(self, path: str = "") -> Sweep:
        """Returns a sweep by `ENTITY/PROJECT/SWEEP_ID`."""
        return find_sweep(self._reader, *self._path(path))

    def artifact_types(self, project: str | None = None, start: str | None = None) -> ArtifactTypes:
        """Returns the artifact types of a project."""
        refuse_cursor(start)
        return ArtifactTypes(self._reader, *self._project_path(project))

    def artifact_type(self, type_name: str, project: str | None = None) -> ArtifactType:
        """Returns an artifact type of a project."""
        return find_type(self._reader, *self._project_path(project), type_name)

    def artifact_collections(
        self,
        project_name: str,
        type_name: str,
        order: str | None = None,
        per_page: int = 50,
        start: str | None = None,
    ) -> ArtifactCollections:
        """Returns the collections of a type in a project."""
        del per_page
        refuse_cursor(start)
        entity, project = self._project_path(project_name)
        return ArtifactCollections(self._reader, entity, project, type_name, order=order)

    def artifact_collection(self, type_name: str, name: str) -> ArtifactCollection:
        """Returns a collection by `ENTITY/PROJECT/NAME`."""
        entity, project, collection = self._artifact_path(name)
        return find_collection(self._reader, entity, project, collection, type_name)

    def artifacts(
        self,
        type_name: str,
        name: str,
        order: str | None = None,
        per_page: int = 50,
        tags: str | list[str] | None = None,
        start: str | None = None,
    ) -> Artifacts:
        """Returns the versions of a collection, the newest first."""
        del per_page
        refuse_cursor(start)
        entity, project, collection = self._artifact_path(name)
        return Artifacts(self._reader, entity, project, collection, type_name, order, tags)

    artifact_versions = artifacts

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """Returns a version by `ENTITY/PROJECT/NAME:ALIAS`.

        Raises:
            NotHeldError: The warehouse does not hold it.
            ValueError: It is of another type.
        """
        found = find_artifact(self._reader, *self._artifact_name(name))
        if type is not None and found.type != type:
            raise ValueError(f"type {type!r} specified but this artifact is of type {found.type!r}")
        return found

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Says whether there is a version.

        Raises:
            NotHeldError: The project's artifacts were not synced.
        """
        try:
            self.artifact(name, type)
        except NotHeldError:
            wanted, _ = self._artifact_name(name)
            if wanted.is_registry and is_linked(self._reader, wanted):
                raise
            self._check_artifacts(name)
            return False
        return True

    def artifact_collection_exists(self, name: str, type: str) -> bool:
        """Says whether there is a collection.

        Raises:
            NotHeldError: The project's artifacts were not synced.
        """
        try:
            self.artifact_collection(type, name)
        except NotHeldError:
            self._check_artifacts(name)
            return False
        return True

    def registries(
        self,
        organization: str | None = None,
        filter: Any = None,
        order: str | None = None,
        per_page: int = 100,
        start: str | None = None,
    ) -> Registries:
        """Returns the registries of an organisation; None takes the only one that is held."""
        del per_page
        refuse_cursor(start)
        name = organization or self.settings["organization"] or find_organization(self._reader)
        return Registries(self._reader, name, filter, order)

    def registry(self, name: str, organization: str | None = None) -> Registry:
        """Returns a registry."""
        registries = self.registries(organization)
        for found in registries:
            if found.name == name:
                return found
        raise NotHeldError(
            f"the registry {registries.organization}/{name}", "wbsync sync ENTITY of a team in it"
        )

    def reports(self, path: str = "", name: str | None = None, per_page: int = 50) -> Reports:
        """Returns the published reports of a project."""
        del per_page
        return Reports(self._reader, *self._project_path(path or None), name)

    def user(self, username_or_email: str) -> User | None:
        """Returns a user, None for none held."""
        return next(iter(self.users(username_or_email)), None)

    def users(self, username_or_email: str) -> list[User]:
        """Returns the users of this login or mail address."""
        return find_users(self._reader, username_or_email)

    def team(self, team: str) -> Team:
        """Returns a team."""
        return find_team(self._reader, team)

    def from_path(self, path: str) -> Project | Run | Sweep | BetaReport:
        """Returns what a path names: a project, a run, a sweep or a report.

        Raises:
            NotHeldError: The warehouse does not hold it.
            ValueError: The path names none of these.
        """
        parts = path.strip("/ ").split("/")
        if len(parts) == 1:
            return self.project(parts[0])
        if len(parts) == 2:
            return self.project(parts[1], parts[0])
        if len(parts) == 3:
            return self.run(path)
        if len(parts) == 4 and parts[2].startswith("run"):
            return self.run(path)
        if len(parts) == 4 and parts[2].startswith("sweep"):
            return self.sweep(path)
        if len(parts) == 4 and parts[2].startswith("report"):
            return find_report(self._reader, parts[0], parts[1], parts[3].rpartition("--")[2])
        raise ValueError(
            "Invalid path, should be TEAM/PROJECT/TYPE/ID where TYPE is runs, sweeps, or reports"
        )

    def automations(
        self,
        entity: str | None = None,
        *,
        name: str | None = None,
        per_page: int = 50,
        start: str | None = None,
    ) -> Automations:
        """Returns the automations of an entity, or of all that were synced."""
        del per_page
        refuse_cursor(start)
        return Automations(self._reader, entity, name)

    def automation(self, name: str, *, entity: str | None = None) -> Automation:
        """Returns the only automation of this name.

        Raises:
            ValueError: There is none, or there are several.
        """
        return self.automations(entity, name=name).only()

    def integrations(
        self, entity: str | None = None, *, per_page: int = 50, start: str | None = None
    ) -> Integrations:
        """Returns the webhooks and Slack channels of an entity."""
        del per_page
        refuse_cursor(start)
        return Integrations(self._reader, entity or self._entity())

    def webhook_integrations(
        self, entity: str | None = None, *, per_page: int = 50, start: str | None = None
    ) -> Integrations:
        """Returns the webhooks of an entity; of their addresses the host is known."""
        del per_page
        refuse_cursor(start)
        return Integrations(self._reader, entity or self._entity(), "webhook")

    def slack_integrations(
        self, *, entity: str | None = None, per_page: int = 50, start: str | None = None
    ) -> Integrations:
        """Returns the Slack channels of an entity."""
        del per_page
        refuse_cursor(start)
        return Integrations(self._reader, entity or self._entity(), "slack")

    def _entity(self) -> str:
        entity = self.settings["entity"] or self.default_entity
        if not entity:
            raise ValueError('name the entity in the path, or in Api(overrides={"entity": …})')
        return str(entity)

    def _project_path(self, path: str | None) -> tuple[str, str]:
        """Returns entity and project of `ENTITY/PROJECT`, `PROJECT` or none."""
        entity, slash, project = (path or "").strip("/ ").partition("/")
        if slash:
            return entity, project
        return self._entity(), entity or self.settings["project"] or "uncategorized"

    def _artifact_name(self, name: str) -> tuple[ArtifactName, str | None]:
        """Returns a version's name, and `collection:alias` as it was written, if an alias was."""
        from wbsync.download import ArtifactName

        entity, project, rest = self._artifact_path(name)
        collection, _, alias = rest.partition(":")
        is_registry = project.startswith(REGISTRY_PREFIX)
        owner = entity if not is_registry or name.count("/") == 2 else None
        found = ArtifactName(owner, project, collection, alias or "latest")
        return found, rest if alias else None

    def _check_artifacts(self, name: str) -> None:
        """Raises NotHeldError where it is not known which artifacts there are."""
        entity, project, _ = self._artifact_path(name)
        if project.startswith(REGISTRY_PREFIX):
            self._reader.check_entity("registries", None)
        else:
            self._reader.check_read("artifact_types", entity, project)

    def _path(self, path: str) -> tuple[str, str, str]:
        """Returns entity, project and id of a path in any of the forms that wandb takes.

        Raises:
            ValueError: A part is missing.
        """
        plain = path.replace("/runs/", "/").replace("/sweeps/", "/").strip("/ ")
        parts = plain.split("/")
        if ":" in parts[-1]:
            parts[-1:] = parts[-1].split(":", 1)
        parts = [part.strip() for part in parts]
        if len(parts) > 3 or not all(parts):
            raise ValueError(f"Invalid path: {path!r}; write ENTITY/PROJECT/ID")
        if len(parts) < 3:
            project = self.settings["project"]
            if len(parts) == 1 and not project:
                raise ValueError(f"Invalid path: {path!r} (missing project)")
            parts = [self._entity(), *(parts if len(parts) == 2 else [project, parts[0]])]
        entity, project, name = parts
        return entity, project, name

    def _artifact_path(self, name: str) -> tuple[str, str, str]:
        """Returns entity, project and `collection[:alias]` of an artifact's name."""
        path, colon, alias = name.strip("/ ").partition(":")
        *front, collection = path.split("/")
        if len(front) > 2 or not collection:
            raise ValueError(f"{name!r} is no artifact's name; write ENTITY/PROJECT/NAME:ALIAS")
        project = front[-1] if front else self.settings["project"] or "uncategorized"
        entity = front[0] if len(front) == 2 else self._entity()
        return entity, project, collection + colon + alias


def app_url(base_url: str) -> str:
    """Returns W&B's web pages of an API.

    Source: wandb/util.py (`api_to_app_url`).

    >>> app_url("https://api.wandb.ai"), app_url("http://localhost:8080")
    ('https://wandb.ai', 'http://localhost:8080')
    """
    if ".forge.coreweave.com" in base_url:
        return base_url.replace("://api.", "://") + "/wandb"
    if "://api.wandb.test" in base_url or "://api.wandb." not in base_url:
        return base_url.replace("://api.", "://app.")
    return base_url.replace("://api.", "://")
