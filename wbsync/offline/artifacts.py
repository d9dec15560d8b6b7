"""Versions of artifacts. Source: wandb/sdk/artifacts/artifact.py."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from wbsync.errors import DownloadError, NotHeldError, UnsafePathError
from wbsync.extract.values import parse_json
from wbsync.model import REGISTRY_PREFIX
from wbsync.offline.listing import Held, refuse_cursor
from wbsync.offline.reader import not_held
from wbsync.offline.records import Record, instant, refuse
from wbsync.writeback.assignments import texts
from wbsync.writeback.objects import (
    changes_of_leaves,
    changes_of_tags,
    changes_of_text,
)
from wbsync.writeback.operations import Operation, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wbsync.download import ArtifactName
    from wbsync.offline.collections import ArtifactCollection
    from wbsync.offline.manifests import ArtifactFiles, Entry, Manifest
    from wbsync.offline.reader import Reader
    from wbsync.offline.runs import Run

_ALIASED = """
SELECT a.*, l.aliases FROM artifacts a LEFT JOIN (
    SELECT artifact_id, entity, project, collection, list(alias ORDER BY alias) AS aliases
    FROM artifact_aliases GROUP BY ALL
) l USING (artifact_id, entity, project, collection)
"""

_BY_IDS = _ALIASED + " WHERE a.artifact_id IN (SELECT unnest($ids))"

_BY_ALIAS = """
SELECT artifact_id FROM artifact_aliases
WHERE entity = $entity AND project = $project AND collection = $collection AND alias = $alias
"""

_BY_VERSION = """
SELECT artifact_id FROM artifacts
WHERE entity = $entity AND project = $project AND collection = $collection
  AND version_index = $version
"""

_OF_RUN = """
SELECT r.artifact_id, r.artifact_name FROM run_artifacts r
LEFT JOIN artifacts a USING (artifact_id)
WHERE r.entity = $entity AND r.project = $project AND r.run_id = $run
  AND r.direction = $direction
ORDER BY a.created_at, a.collection, a.version_index, r.artifact_id
"""

_RUNS_OF = """
SELECT r.entity, r.project, r.run_id FROM run_artifacts r
LEFT JOIN runs x USING (entity, project, run_id)
WHERE r.artifact_id = $id AND r.direction = $direction
ORDER BY x.created_at NULLS LAST, r.run_id
"""

_LINKS = """
SELECT r.entity, v.* FROM registry_versions v JOIN registries r USING (organization, registry)
WHERE v.artifact_id = $id ORDER BY v.linked_at, v.membership_id
"""

_SOURCE = """
SELECT source_entity, source_project FROM registry_versions
WHERE artifact_id = $id AND source_entity IS NOT NULL AND source_project IS NOT NULL LIMIT 1
"""


class Artifact(Record):
    """A version of an artifact, in its source collection or where it is linked to."""

    _refused = frozenset({
        "delete", "link", "unlink", "wait", "new_draft", "new_file", "add", "add_file",
        "add_dir", "add_reference", "remove", "finalize", "checkout", "get",
        "get_added_local_path_name",
    })  # fmt: skip
    _unheld = frozenset({"digest_algorithm", "use_as", "distributed_id"})

    _editable: ClassVar[Mapping[str, str]] = {
        name: name for name in ("aliases", "tags", "description", "metadata")
    }

    def __init__(self, reader: Reader, row: dict[str, Any], link: dict[str, Any] | None = None,
                 name: str | None = None) -> None:  # fmt: skip
        """Takes a version.

        Args:
            reader: Asks the warehouse.
            row: Of the table artifacts, with its aliases.
            link: Where it is linked to: entity, project, collection, version, aliases and
                linked_at; None for its source collection.
            name: Name by which it was asked for; None for `collection:vN`.
        """
        home = link or row
        super().__init__(
            {
                "id": row["artifact_id"],
                "entity": home["entity"],
                "project": home["project"],
                "name": name or f"{home['collection']}:{home['version']}",
                "version": home["version"],
                "aliases": list(home["aliases"] or []),
                "type": row["type_name"],
                "description": row["description"],
                "metadata": parse_json(row["metadata"]) or {},
                "tags": parse_json(row["tags"]) or [],
                "state": row["state"],
                "digest": row["digest"],
                "size": row["size_bytes"],
                "fileCount": row["file_count"],
                "commitHash": row["commit_hash"],
                "historyStep": row["history_step"],
                "createdAt": instant(row["created_at"]),
                "updatedAt": instant(row["updated_at"]),
                "linked_at": instant(home["linked_at"]) if link else None,
                "source_entity": row["entity"],
                "source_project": row["project"],
                "source_version": row["version"],
                "source_name": f"{row['collection']}:{row['version']}",
                "is_link": link is not None,
                "incremental": False,
            }
        )
        self._row = row
        self._home = home
        self._manifest: Manifest | None = None
        self._reader = reader

    @property
    def reader(self) -> Reader:
        """Asks the warehouse."""
        return self._reader

    @property
    def qualified_name(self) -> str:
        """Entity, project and name."""
        return f"{self._attrs['entity']}/{self._attrs['project']}/{self._attrs['name']}"

    @property
    def source_qualified_name(self) -> str:
        """Entity, project and name of the version where it was logged."""
        attrs = self._attrs
        return f"{attrs['source_entity']}/{attrs['source_project']}/{attrs['source_name']}"

    @property
    def collection(self) -> ArtifactCollection:
        """Collection that it was read from."""
        from wbsync.offline.collections import find_collection

        home = self._home
        return find_collection(self._reader, home["entity"], home["project"], home["collection"])

    @property
    def source_collection(self) -> ArtifactCollection:
        """Collection that it was logged to."""
        from wbsync.offline.collections import find_collection

        row = self._row
        return find_collection(self._reader, row["entity"], row["project"], row["collection"])

    @property
    def source_artifact(self) -> Artifact:
        """The version where it was logged."""
        return Artifact(self._reader, self._row) if self._attrs["is_link"] else self

    @property
    def linked_artifacts(self) -> list[Artifact]:
        """Where the version is linked to in registries; none for a link itself."""
        if self._attrs["is_link"]:
            return []
        rows = self._reader.rows(_LINKS, id=self._attrs["id"])
        if not rows:
            what = f"where {self.source_qualified_name} is linked to"
            self._reader.check_entity("registries", self._row["entity"], what)
        return [Artifact(self._reader, self._row, link_of(row)) for row in rows]

    @property
    def ttl(self) -> timedelta | None:
        """Time to live, None for none."""
        seconds = self._row["ttl_seconds"]
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def url(self) -> str:
        """Page of the version."""
        attrs, collection = self._attrs, self._home["collection"]
        base = self._reader.app_url
        if self._home.get("organization"):
            place = quote(f"{attrs['entity']}/{attrs['project']}/{collection}", safe="")
            return (
                f"{base}/orgs/{self._home['organization']}/registry/{self._home['registry']}"
                f"?selectionPath={place}&view=membership&version={attrs['version']}"
            )
        path = f"{attrs['entity']}/{attrs['project']}/artifacts"
        return f"{base}/{path}/{quote(attrs['type'])}/{quote(collection)}/{attrs['version']}"

    @property
    def manifest(self) -> Manifest:
        """What it holds, file by file.

        Raises:
            NotHeldError: Neither the tables nor the cache have it.
        """
        from wbsync.offline.manifests import read_entries

        if self._manifest is None:
            self._manifest = read_entries(self)
        return self._manifest

    def is_draft(self) -> bool:
        """Says no: what is held was logged."""
        return False

    def logged_by(self) -> Run | None:
        """Returns the run that logged it first, None for none."""
        return next(iter(self._runs("logged")), None)

    def used_by(self) -> list[Run]:
        """Returns the runs that used it, of the projects that were synced."""
        return self._runs("used")

    def files(
        self, names: list[str] | None = None, per_page: int = 50, start: str | None = None
    ) -> ArtifactFiles:
        """Returns its files, or those of these names."""
        from wbsync.offline.manifests import ArtifactFiles

        del per_page
        refuse_cursor(start)
        return ArtifactFiles(self, names)

    def get_entry(self, name: str) -> Entry:
        """Returns the entry of a path.

        Raises:
            KeyError: There is none.
        """
        entry = self.manifest.get_entry_by_path(str(name))
        if entry is None:
            raise KeyError(f"Path not contained in artifact: {name}")
        return entry

    get_path = get_entry

    def file(self, root: str | None = None) -> str:
        """Copies its only file from the cache; returns where it is.

        Raises:
            ValueError: It holds several.
        """
        entries = list(self.manifest.entries.values())
        if len(entries) != 1:
            raise ValueError(
                "This artifact contains more than one file, call `.download()` to get all files"
            )
        return entries[0].download(root)

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Copies its files from the cache; returns the folder.

        Args:
            root: Folder; None makes `artifacts/COLLECTION:vN`.
            allow_missing_references: Whether references may be left out.
            skip_cache: Taken for wandb's sake.
            path_prefix: Only files whose path begins so.
            multipart: Taken for wandb's sake.

        Raises:
            NotHeldError: A file is not in the cache.
        """
        from wbsync.download import get_artifact
        from wbsync.offline.files import run_apart

        del skip_cache, multipart
        folder = Path(root or self.default_root())
        try:
            _, fetched = run_apart(
                get_artifact(
                    self._source(), self._reader.root, None, target=folder,
                    prefix=path_prefix or "", with_references=False, progress=lambda _: None,
                )
            )  # fmt: skip
        except DownloadError as error:
            raise NotHeldError(
                f"the content of {self.source_qualified_name}", self.get_command()
            ) from error
        missing = [*fetched.failed, *(() if allow_missing_references else fetched.references)]
        if missing:
            raise NotHeldError(
                f"the content of {', '.join(sorted(missing)[:3])} of {self.source_qualified_name}",
                self.get_command(),
            )
        return str(root or folder)

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Checks that a folder has its files, each with the content that was logged, and no others.

        References are not checked, as in wandb.

        Args:
            root: Folder; None takes `artifacts/COLLECTION:vN`, where `download` puts them.

        Raises:
            ValueError: A file is missing, another one, or not of this version.
            NotHeldError: It is not known which files it has.
        """
        from wbsync.download.digests import Digest

        folder = Path(root or self.default_root())
        entries = self.manifest.entries
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if not path.is_dir() and name not in entries:
                raise ValueError(f"Found file {path} which is not a member of artifact {self.name}")
        for name, entry in entries.items():
            if entry.ref is None:
                path, attrs = folder / name, entry.file_attrs()
                if path.resolve() != folder.resolve() / name or not path.is_file():
                    raise ValueError(f"File missing: {name}")
                digest = Digest.parse(attrs["digest"], attrs["algorithm"])
                if digest is None or not digest.matches(path):
                    raise ValueError(f"Digest mismatch for file: {name}")

    def default_root(self) -> str:
        """Returns the folder that files come to where none is named.

        Raises:
            UnsafePathError: The artifact's name would lead elsewhere.
        """
        base = os.environ.get("WANDB_ARTIFACT_DIR") or "artifacts"
        name = self._attrs["source_name"]
        if "/" in name or "\\" in name:
            raise UnsafePathError(f"{name!r} is no name of a folder; say where to: root=…")
        return str(Path(base).absolute() / name)

    def get_command(self) -> str:
        """Returns the command that brings its files to the cache."""
        return f"wbsync artifact get {self.source_qualified_name}"

    def save(self, project: str | None = None, settings: Any = None) -> None:
        """Queues what was changed in aliases, tags, description and metadata.

        `wbsync push` brings it to W&B; the warehouse shows it at once.

        Args:
            project: Taken for wandb's sake.
            settings: Taken for wandb's sake.

        Raises:
            EditError: W&B would not take it; nothing is queued.
            ReadOnlyError: It is a link: its source is edited.
        """
        del project, settings
        row, attrs = self._row, self._attrs
        if attrs["is_link"]:
            refuse("Artifact.save() of a link (edit artifact.source_artifact)")
        name = f"{row['collection']}:{row['version']}"
        target = Target(
            "artifact", row["entity"], row["project"], name, row["artifact_id"], None
        )  # fmt: skip
        aliases, tags = texts("aliases", attrs["aliases"]), texts("tags", attrs["tags"])
        operations = [
            *self._moves(target, list(row["aliases"] or []), aliases),
            *changes_of_tags(target, parse_json(row["tags"]) or [], tags),
            *changes_of_text(target, "description", row["description"], attrs["description"]),
            *changes_of_leaves(
                target, "metadata", parse_json(row["metadata"]) or {}, attrs["metadata"] or {}
            ),
        ]
        self._reader.queue(operations)
        self._row = {
            **row, "aliases": aliases, "tags": json.dumps(tags),
            "description": attrs["description"],
            "metadata": json.dumps(attrs["metadata"] or {}),
        }  # fmt: skip

    def _moves(self, target: Target, was: Sequence[str], now: Sequence[str]) -> Iterator[Operation]:
        """Yields what gives and takes aliases."""
        row = self._row
        for alias in was:
            if alias not in now:
                held = row["artifact_id"]
                yield Operation(target, "aliases", "remove", alias, held, (alias,))
        for alias in dict.fromkeys(now):
            if alias not in was:
                found = self._reader.rows(
                    _BY_ALIAS, entity=row["entity"], project=row["project"],
                    collection=row["collection"], alias=alias,
                )  # fmt: skip
                holder = found[0]["artifact_id"] if found else None
                yield Operation(target, "aliases", "add", alias, holder, (alias,))

    def json_encode(self) -> dict[str, Any]:
        """Returns what stands for it in JSON."""
        return {
            "_type": "artifactVersion",
            "_version": "v0",
            "id": self._attrs["id"],
            "version": self._attrs["source_version"],
            "sequenceName": self._row["collection"],
            "usedAs": None,
        }

    def __repr__(self) -> str:
        return f"<Artifact {self._attrs['id']}>"

    def _source(self) -> ArtifactName:
        from wbsync.download import ArtifactName

        row = self._row
        return ArtifactName(row["entity"], row["project"], row["collection"], row["version"])

    def _runs(self, direction: str) -> list[Run]:
        from wbsync.offline.runs import find_run

        rows = self._reader.rows(_RUNS_OF, id=self._attrs["id"], direction=direction)
        return [find_run(self._reader, r["entity"], r["project"], r["run_id"]) for r in rows]


def link_of(row: dict[str, Any]) -> dict[str, Any]:
    """Returns where a row of registry_versions links its version to."""
    return {
        "entity": row["entity"],
        "project": f"{REGISTRY_PREFIX}{row['registry']}",
        "organization": row["organization"],
        "registry": row["registry"],
        "collection": row["collection"],
        "version": row["version"],
        "aliases": [a for a in parse_json(row["aliases"]) or [] if a != row["version"]],
        "linked_at": row["linked_at"],
    }


def read_versions(reader: Reader, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the rows of versions that are held, with their aliases, by id."""
    return {row["artifact_id"]: row for row in reader.rows(_BY_IDS, ids=list(ids))}


def find_artifact(reader: Reader, name: ArtifactName, given: str | None = None) -> Artifact:
    """Returns the version that a name stands for.

    Args:
        reader: Asks the warehouse.
        name: What is looked for.
        given: `collection:alias` as it was written, None where no alias was.

    Raises:
        NotHeldError: The warehouse does not hold it.
    """
    if name.is_registry:
        from wbsync.offline.registries import find_linked

        return find_linked(reader, name, given)
    entity, project = name.entity or "", name.project
    where = {"entity": entity, "project": project, "collection": name.collection}
    if name.version_index is None:
        found = reader.rows(_BY_ALIAS, **where, alias=name.alias)
    else:
        found = reader.rows(_BY_VERSION, **where, version=name.version_index)
    rows = read_versions(reader, [row["artifact_id"] for row in found])
    if not rows:
        raise not_held(f"the artifact {name}", entity, project)
    row = next(iter(rows.values()))
    link = None
    if (row["entity"], row["project"], row["collection"]) != (entity, project, name.collection):
        link = {**row, **where, "version": row["version"], "aliases": [name.alias],
                "linked_at": None}  # fmt: skip
    return Artifact(reader, row, link, given)


class RunArtifacts(Held[Artifact]):
    """The versions that a run logged or used."""

    def __init__(self, reader: Reader, run: Run, direction: Literal["logged", "used"]) -> None:
        """Takes whose versions, and which."""
        self._reader = reader
        self.run = run
        self._direction = direction

    def _load(self) -> list[Artifact]:
        run = self.run
        found = self._reader.rows(
            _OF_RUN, entity=run.entity, project=run.project, run=run.id, direction=self._direction
        )
        rows = read_versions(self._reader, [row["artifact_id"] for row in found])
        for row in found:
            if row["artifact_id"] not in rows:
                what = f"the artifact {row['artifact_name']} that {'/'.join(run.path)}"
                raise NotHeldError(f"{what} {self._direction}", self._command(row["artifact_id"]))
        return [Artifact(self._reader, rows[row["artifact_id"]]) for row in found]

    def _command(self, artifact_id: str) -> str:
        """Returns the command that brings a version: W&B does not tell of which project it is."""
        run = self.run
        for row in self._reader.rows(_SOURCE, id=artifact_id):
            return f"wbsync sync {row['source_entity']}/{row['source_project']}"
        try:
            self._reader.check_read("artifact_types", run.entity, run.project)
        except NotHeldError as error:
            return str(error.command)
        return f"wbsync sync {run.entity} --only artifacts"

    def __repr__(self) -> str:
        return f"<RunArtifacts {self._direction} by {'/'.join(self.run.path)} ({self._size})>"
