"""What an artifact version holds, file by file.

Source: wandb/sdk/artifacts/artifact_manifest.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.errors import DownloadError, NotHeldError
from wbsync.extract.values import parse_json
from wbsync.offline.files import File, copy_cached, run_apart
from wbsync.offline.listing import Held
from wbsync.offline.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.offline.artifacts import Artifact

_ENTRIES = "SELECT * FROM artifact_files WHERE artifact_id = $id ORDER BY path"


class Entry(Record):
    """A file or a reference of a version."""

    _refused = frozenset({"ref_url"})

    def __init__(self, artifact: Artifact, attrs: dict[str, Any]) -> None:
        """Takes path, digest, size, ref, birth_artifact_id and extra."""
        super().__init__(attrs)
        self._artifact = artifact

    def parent_artifact(self) -> Artifact:
        """Returns the version that holds it."""
        return self._artifact

    def ref_target(self) -> str:
        """Returns the address that it refers to.

        Raises:
            ValueError: It is no reference.
        """
        if self._attrs["ref"] is None:
            raise ValueError("Only reference entries support ref_target().")
        return str(self._attrs["ref"])

    def download(self, root: str | None = None, **_: Any) -> str:
        """Copies the file from the cache; returns where it is.

        Raises:
            NotHeldError: Its content is not in the cache.
        """
        artifact = self._artifact
        folder = Path(root or artifact.default_root())
        return str(copy_cached(artifact.reader, self.file_attrs(), folder, artifact.get_command()))

    def file_attrs(self) -> dict[str, Any]:
        """Returns what a File shows of it."""
        import mimetypes

        attrs = self._attrs
        kind = mimetypes.guess_type(attrs["path"])[0] or "application/octet-stream"
        return {
            "name": attrs["path"],
            "sizeBytes": attrs["size"],
            "mimetype": kind,
            "md5": attrs["digest"],
            "digest": attrs["digest"],
            "algorithm": str(attrs["extra"].get("alg", "md5")).lower(),
            "updatedAt": None,
        }

    def __repr__(self) -> str:
        attrs = self._attrs
        return f"<Entry {attrs['path']} ({attrs['size']} bytes, {attrs['digest']})>"


class Manifest:
    """The files of a version."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        """Takes the entries by path."""
        self.entries = entries

    def get_entry_by_path(self, path: str) -> Entry | None:
        """Returns the entry of a path, None for none."""
        return self.entries.get(path)

    def get_entries_in_directory(self, directory: str) -> list[Entry]:
        """Returns the entries below a folder."""
        return [e for path, e in self.entries.items() if path.startswith(f"{directory}/")]

    def size(self) -> int:
        """Returns how many bytes the files have together."""
        return sum(entry.size or 0 for entry in self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return f"<Manifest of {len(self.entries)} files>"


def read_entries(artifact: Artifact) -> Manifest:
    """Returns what a version holds: from the tables, else from the cache of manifests.

    Raises:
        NotHeldError: Neither has it.
    """
    rows = _from_tables(artifact)
    if not rows and artifact.file_count:
        rows = _from_cache(artifact)
    return Manifest({row["path"]: Entry(artifact, row) for row in rows})


def _from_tables(artifact: Artifact) -> list[dict[str, Any]]:
    try:
        rows = artifact.reader.rows(_ENTRIES, id=artifact.id)
    except NotHeldError:
        return []
    return [
        {
            "path": row["path"],
            "digest": row["digest"],
            "size": row["size_bytes"],
            "ref": row["ref"],
            "birth_artifact_id": row["birth_artifact_id"],
            "extra": parse_json(row["extra"]) or {},
        }
        for row in rows
    ]


def _from_cache(artifact: Artifact) -> list[dict[str, Any]]:
    from wbsync.download.artifacts import Version, read_manifest

    version = Version(artifact.id, artifact.source_name, None)
    try:
        manifest = run_apart(read_manifest(None, version, artifact.reader.root))
    except DownloadError:
        raise NotHeldError(
            f"the list of files of {artifact.source_qualified_name}",
            f"wbsync sync {artifact.source_entity}/{artifact.source_project}",
        ) from None
    return [
        {
            "path": entry.path,
            "digest": entry.raw_digest,
            "size": entry.size,
            "ref": entry.ref,
            "birth_artifact_id": entry.birth_artifact_id,
            "extra": {} if entry.digest is None else {"alg": entry.digest.algorithm},
        }
        for entry in manifest.entries
    ]


class ArtifactFiles(Held[File]):
    """The files of a version."""

    def __init__(self, artifact: Artifact, names: Sequence[str] | None) -> None:
        """Takes the version, and the names that are asked for; None for all."""
        self.artifact = artifact
        self._names = None if names is None else frozenset(names)

    @property
    def path(self) -> list[str]:
        """Entity, project and name of the version."""
        return [self.artifact.entity, self.artifact.project, self.artifact.name]

    def _load(self) -> list[File]:
        artifact = self.artifact
        return [
            File(artifact.reader, entry.file_attrs(), artifact.get_command())
            for path, entry in sorted(artifact.manifest.entries.items())
            if self._names is None or path in self._names
        ]

    def __repr__(self) -> str:
        return f"<ArtifactFiles {'/'.join(self.path)} ({self._size})>"
