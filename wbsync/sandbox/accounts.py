"""Users, teams and organisations as GraphQL objects."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.store import global_id

if TYPE_CHECKING:
    from collections.abc import Sequence


class UserNode(Node):
    """`User`."""

    typename = "User"
    __slots__ = ()

    @classmethod
    def load(cls, scope: Scope, pk: int | None) -> UserNode | None:
        row = scope.store.row("SELECT * FROM users WHERE pk = ?", pk)
        return None if row is None else cls(scope, row)

    def id(self) -> str:
        return global_id("User", self.row["pk"])

    def entity(self) -> str:
        return str(self.row["username"])

    def admin(self) -> bool:
        return bool(self.row["admin"])

    def email(self) -> str | None:
        is_own = self.row["pk"] == self.scope.viewer["pk"] or self.scope.viewer["admin"]
        return str(self.row["email"]) if is_own else None

    def flags(self) -> str:
        return "{}"

    def apiKeys(self) -> dict[str, Any]:
        if self.row["pk"] != self.scope.viewer["pk"]:
            return {"edges": []}
        return {"edges": [{"node": {"id": global_id("ApiKey", self.row["pk"]), "name": "key"}}]}

    def teams(self, after: str | None = None, first: int | None = None) -> dict[str, Any]:
        keys = [
            row[0]
            for row in self.store.rows(
                "SELECT entity_pk FROM members WHERE user_pk = ? ORDER BY 1", self.row["pk"]
            )
        ]
        return connection(
            self.scope, keys, partial(load_entities, self.scope), first=first, after=after
        )

    def organizations(self) -> list[Any]:
        return [
            OrganizationNode(self.scope, row)
            for row in self.store.rows(
                "SELECT o.* FROM organizations o JOIN organization_members m"
                " ON m.organization_pk = o.pk WHERE m.user_pk = ? ORDER BY o.pk",
                self.row["pk"],
            )
        ]

    def projects(self, after: str | None = None, first: int | None = None) -> Any:
        from wbsync.sandbox.projects import project_connection

        pk = self.store.value("SELECT pk FROM entities WHERE user_pk = ?", self.row["pk"])
        return project_connection(self.scope, pk, first=first, after=after)


def load_entities(scope: Scope, keys: Sequence[int]) -> list[EntityNode]:
    """Returns entities by their keys."""
    rows = scope.store.rows(f"SELECT * FROM entities WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [EntityNode(scope, row) for row in by_key(rows, list(keys))]


class EntityNode(Node):
    """`Entity`."""

    typename = "Entity"
    __slots__ = ()

    @classmethod
    def named(cls, scope: Scope, name: str | None) -> EntityNode | None:
        row = scope.store.row(
            "SELECT * FROM entities WHERE name = ?", name or scope.viewer["username"]
        )
        if row is None or not scope.may_see(row["pk"]):
            return None
        return cls(scope, row)

    def id(self) -> str:
        return global_id("Entity", self.row["pk"])

    def isTeam(self) -> bool:
        return bool(self.row["kind"] == "team")

    def entityType(self) -> str:
        return str(self.row["kind"])

    def available(self) -> bool:
        return False

    def readOnly(self) -> bool:
        return False

    def xxhashDigestsEnabled(self) -> bool:
        return False

    def members(self) -> list[dict[str, Any]]:
        rows = self.store.rows(
            "SELECT u.*, m.admin AS is_admin FROM members m JOIN users u ON u.pk = m.user_pk"
            " WHERE m.entity_pk = ? ORDER BY u.pk",
            self.row["pk"],
        )
        return [
            {
                "id": global_id("User", row["pk"]),
                "username": row["username"],
                "name": row["name"],
                "email": row["email"],
                "admin": bool(row["is_admin"]),
                "pending": False,
                "accountType": "MEMBER",
            }
            for row in rows
        ]

    def organization(self) -> OrganizationNode | None:
        row = self.store.row(
            "SELECT * FROM organizations WHERE pk = ?", self.row["organization_pk"]
        )
        return None if row is None else OrganizationNode(self.scope, row)

    def user(self) -> UserNode | None:
        return UserNode.load(self.scope, self.row["user_pk"])

    def projects(self, after: str | None = None, first: int | None = None) -> Any:
        from wbsync.sandbox.projects import project_connection

        return project_connection(self.scope, self.row["pk"], first=first, after=after)


class OrganizationNode(Node):
    """`Organization`."""

    typename = "Organization"
    __slots__ = ()

    def id(self) -> str:
        return global_id("Organization", self.row["pk"])

    def orgEntity(self) -> EntityNode | None:
        row = self.store.row(
            "SELECT * FROM entities WHERE kind = 'organization' AND organization_pk = ?",
            self.row["pk"],
        )
        return None if row is None else EntityNode(self.scope, row)

    def coreWeaveOrganizationId(self) -> None:
        return None

    def featureFlags(self, rampIDType: str) -> list[Any]:
        del rampIDType
        return []
