"""Reports, their drafts and workspaces: all are views of a project, told apart by their type."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.store import global_id, instant, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence

EDITABLE = ("name", "displayName", "description", "type", "spec")


class ViewNode(Node):
    """`View`."""

    typename = "View"
    __slots__ = ()

    def id(self) -> str:
        return global_id("View", self.row["pk"])

    def user(self) -> Any:
        from wbsync.sandbox.accounts import UserNode

        return UserNode.load(self.scope, self.row["user_pk"])

    def project(self) -> Any:
        from wbsync.sandbox.projects import ProjectNode

        return ProjectNode.load(self.scope, self.row["project_pk"])


def load_views(scope: Scope, keys: Sequence[int]) -> list[ViewNode]:
    """Returns views by their keys."""
    rows = scope.store.rows(f"SELECT * FROM views WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [ViewNode(scope, row) for row in by_key(rows, list(keys))]


def view_connection(
    scope: Scope, project_pk: int, kind: str | None, name: str | None, user: str | None, **page: Any
) -> dict[str, Any]:
    """Returns a page of a project's views, published reports where no type is asked for."""
    keys = [
        row[0]
        for row in scope.store.rows(
            "SELECT v.pk FROM views v LEFT JOIN users u ON u.pk = v.user_pk"
            " WHERE v.project_pk = ?1 AND v.type = ?2 AND (?3 IS NULL OR v.name = ?3)"
            " AND (?4 IS NULL OR u.username = ?4) ORDER BY v.pk",
            project_pk, kind or "runs", name, user,
        )
    ]  # fmt: skip
    return connection(scope, keys, partial(load_views, scope), **page)


def find_view(scope: Scope, view_id: str) -> ViewNode | None:
    """Returns a view, None where there is none or the viewer may not see its project."""
    parts = parse_id(view_id)
    pk = int(parts[1]) if len(parts) == 2 and parts[0] == "View" and parts[1].isdigit() else None
    row = scope.store.row(
        "SELECT v.*, p.entity_pk FROM views v JOIN projects p ON p.pk = v.project_pk"
        " WHERE v.pk = ?",
        pk,
    )
    return ViewNode(scope, row) if row is not None and scope.may_see(row["entity_pk"]) else None


def upsert_view(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes or edits a view.

    Raises:
        GraphQLError: There is no such view or project.
    """
    from wbsync.sandbox.projects import find_project

    store = scope.store
    if values.get("id"):
        view = find_view(scope, values["id"])
        if view is None:
            raise GraphQLError("view not found")
        pk = view.row["pk"]
        changes = {name: values[name] for name in EDITABLE if values.get(name) is not None}
        changes["updatedAt"] = instant()
        columns = ", ".join(f"{name} = ?" for name in changes)
        store.write(f"UPDATE views SET {columns} WHERE pk = ?", *changes.values(), pk)  # noqa: S608
        return {"view": load_views(scope, [pk])[0], "inserted": False}
    project = find_project(scope, values.get("entityName"), values.get("projectName"))
    if project is None:
        raise GraphQLError("project not found")
    moment = instant()
    pk = store.write(
        "INSERT INTO views(project_pk, type, name, displayName, description, spec, user_pk,"
        " createdAt, updatedAt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        project.row["pk"], values.get("type") or "runs", values.get("name") or secrets.token_hex(6),
        values.get("displayName"), values.get("description"), values.get("spec"),
        scope.viewer["pk"], moment, moment,
    )  # fmt: skip
    return {"view": load_views(scope, [pk])[0], "inserted": True}


def delete_view(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Deletes a view."""
    view = find_view(scope, values.get("id") or "")
    if view is None:
        return {"success": False, "pendingDrafts": False}
    scope.store.write("DELETE FROM views WHERE pk = ?", view.row["pk"])
    return {"success": True, "pendingDrafts": False}
