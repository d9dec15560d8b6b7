"""Files of runs and of artifacts as GraphQL objects."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from graphql import GraphQLError

from wbsync.sandbox.nodes import Node
from wbsync.sandbox.store import global_id, now, parse_id

if TYPE_CHECKING:
    from wbsync.sandbox.nodes import Scope


class RunFileNode(Node):
    """`File` of a run; its row has the blob's size and md5."""

    typename = "File"
    __slots__ = ()

    def id(self) -> str:
        return global_id("File", self.row["pk"])

    def url(self, upload: bool | None = None) -> str:
        del upload
        return self.directUrl()

    def directUrl(self) -> str:
        return self.scope.signed_url(self.row["blob"], "get")

    def sizeBytes(self) -> int:
        return int(self.row["size"])


def guess_mimetype(name: str) -> str:
    """Returns what kind of file a name stands for."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def create_run_files(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Takes names of files that a run will upload; returns where to.

    Raises:
        GraphQLError: There is no such run.
    """
    store = scope.store
    pk = store.run_pk(values["entityName"], values["projectName"], values["runName"])
    if pk is None:
        raise GraphQLError(f"run {values['runName']} not found")
    files = []
    with store.transaction():
        for name in values["files"]:
            blob = store.new_blob()
            store.write(
                "INSERT INTO files(run_pk, name, blob, mimetype, updatedAt) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT(run_pk, name) DO UPDATE SET blob = excluded.blob,"
                " updatedAt = excluded.updatedAt",
                pk, name, blob, guess_mimetype(name), now(),
            )  # fmt: skip
            files.append({"name": name, "uploadUrl": scope.signed_url(blob, "put")})
    return {"runID": global_id("RunPk", pk), "uploadHeaders": [], "files": files}


def delete_files(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Deletes files of runs.

    Raises:
        GraphQLError: A file is not there, or is of another project than the one named.
    """
    store = scope.store
    with store.transaction():
        for file_id in values["files"]:
            parts = parse_id(file_id)
            row = store.row(
                "SELECT f.pk, r.project_pk, p.entity_pk FROM files f JOIN runs r ON r.pk = f.run_pk"
                " JOIN projects p ON p.pk = r.project_pk WHERE f.pk = ?",
                parts[-1] if parts[:1] == ["File"] else None,
            )
            project_pk = values.get("projectId")
            if (
                row is None
                or not scope.may_see(row["entity_pk"])
                or project_pk not in {None, row["project_pk"]}
            ):
                raise GraphQLError(f"file {file_id} not found")
            store.write("DELETE FROM files WHERE pk = ?", row["pk"])
    return {"success": True}


def artifact_file(
    scope: Scope, name: str, blob: str | None, size: int | None = None, md5: str | None = None
) -> dict[str, Any]:
    """Returns `File` of an artifact."""
    url = None if blob is None else scope.signed_url(blob, "get")
    return {
        "id": global_id("ArtifactFile", blob, quote(name)),
        "name": name,
        "displayName": name,
        "url": url,
        "directUrl": url,
        "sizeBytes": size,
        "md5": md5,
        "digest": md5,
        "mimetype": guess_mimetype(name),
        "storagePath": f"blob/{blob}",
    }
