"""Users, teams and organisations as GraphQL objects."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox import registries
from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.store import global_id, make_team, make_user, now, parse_id

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

    def readOnlyAdmin(self) -> bool:
        return False

    def privateOnly(self) -> bool:
        return False

    def storageBytes(self) -> int:
        return int(
            self.store.value(
                "SELECT (SELECT coalesce(sum(b.size), 0) FROM files f JOIN blobs b ON b.id = f.blob"
                " JOIN runs r ON r.pk = f.run_pk JOIN projects p ON p.pk = r.project_pk"
                " WHERE p.entity_pk = ?1) + (SELECT coalesce(sum(a.size), 0) FROM artifacts a"
                " JOIN collections c ON c.pk = a.collection_pk"
                " JOIN projects p ON p.pk = c.project_pk WHERE p.entity_pk = ?1)",
                self.row["pk"],
            )
        )

    def codeSavingEnabled(self) -> bool:
        return True

    def defaultAccess(self) -> str:
        return "ENTITY_WRITE"

    def isPaid(self) -> bool:
        return False

    def members(self) -> list[dict[str, Any]]:
        return list_members(self.scope, self.row["pk"])

    def integrations(self, **page: Any) -> dict[str, Any]:
        from wbsync.sandbox.automations import integration_connection

        return integration_connection(self.scope, self.row["pk"], **page)

    def triggers(
        self, filters: str | None = None, order: str | None = None, **page: Any
    ) -> dict[str, Any]:
        del order
        from wbsync.sandbox.automations import trigger_connection

        return trigger_connection(self.scope, self.row["pk"], filters, **page)

    def organization(self) -> OrganizationNode | None:
        row = self.store.row(
            "SELECT * FROM organizations WHERE pk = ?", self.row["organization_pk"]
        )
        return None if row is None else OrganizationNode(self.scope, row)

    def user(self) -> UserNode | None:
        return UserNode.load(self.scope, self.row["user_pk"])

    def project(self, name: str | None = None) -> Any:
        from wbsync.sandbox.projects import find_project

        return find_project(self.scope, self.row["name"], name)

    def projects(self, filters: str | None = None, order: str | None = None, **page: Any) -> Any:
        return registries.project_page(self.scope, self.row["pk"], filters, order, **page)

    def artifactCollections(self, **page: Any) -> Any:
        return registries.collection_page(self.scope, self.row["pk"], **page)

    def artifactMemberships(self, **page: Any) -> Any:
        return registries.membership_page(self.scope, self.row["pk"], **page)


class OrganizationNode(Node):
    """`Organization`."""

    typename = "Organization"
    __slots__ = ()

    @classmethod
    def named(cls, scope: Scope, name: str | None) -> OrganizationNode | None:
        row = scope.store.row(
            "SELECT o.*, e.pk AS entity_pk FROM organizations o JOIN entities e"
            " ON e.organization_pk = o.pk AND e.kind = 'organization' WHERE o.name = ?",
            name,
        )
        if row is None or not scope.may_see(row["entity_pk"]):
            return None
        return cls(scope, row)

    def id(self) -> str:
        return global_id("Organization", self.row["pk"])

    def orgEntity(self) -> EntityNode | None:
        row = self.store.row(
            "SELECT * FROM entities WHERE kind = 'organization' AND organization_pk = ?",
            self.row["pk"],
        )
        return None if row is None else EntityNode(self.scope, row)

    def triggers(self, **page: Any) -> dict[str, Any] | None:
        entity = self.orgEntity()
        return None if entity is None else entity.triggers(**page)

    def coreWeaveOrganizationId(self) -> None:
        return None

    def advancedRegistryFeatures(self) -> dict[str, bool]:
        return {"advancedSearch": True}

    def featureFlags(self, rampIDType: str) -> list[Any]:
        del rampIDType
        return []


def list_members(scope: Scope, team_pk: int) -> list[dict[str, Any]]:
    """Returns who is invited to a team, then its members; keys of service accounts for admins."""
    store, viewer = scope.store, scope.viewer
    rows = store.rows(
        "SELECT u.*, m.admin AS is_admin, s.user_pk AS service FROM members m"
        " JOIN users u ON u.pk = m.user_pk LEFT JOIN service_accounts s ON s.user_pk = u.pk"
        " WHERE m.entity_pk = ? ORDER BY u.pk",
        team_pk,
    )
    manages = viewer["admin"] or any(r["pk"] == viewer["pk"] and r["is_admin"] for r in rows)
    members = [
        {
            "id": global_id("Member", team_pk, row["pk"]),
            "username": row["username"],
            "name": row["name"],
            "email": row["email"] if manages or row["pk"] == viewer["pk"] else None,
            "admin": bool(row["is_admin"]),
            "pending": False,
            "accountType": "SERVICE" if row["service"] else "MEMBER",
            "apiKey": row["api_key"] if row["service"] and manages else None,
        }
        for row in rows
    ]
    invited = [
        {
            "id": global_id("Invite", row["pk"]),
            "name": row["email"],
            "email": row["email"],
            "admin": bool(row["admin"]),
            "pending": True,
            "accountType": "MEMBER",
        }
        for row in store.rows("SELECT * FROM invites WHERE entity_pk = ? ORDER BY pk", team_pk)
    ]
    return invited + members


def _team_pk(scope: Scope, name: str) -> int:
    """Returns the key of a team that the viewer belongs to.

    Raises:
        GraphQLError: There is none.
    """
    row = scope.store.row("SELECT * FROM entities WHERE name = ? AND kind = 'team'", name)
    if row is None or not scope.may_see(row["pk"]):
        raise GraphQLError("team not found or permission denied")
    return int(row["pk"])


def create_team(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes a team whose administrator is the one named, else the viewer."""
    name = values["teamName"]
    admin = values.get("teamAdminUserName") or scope.viewer["username"]
    try:
        make_team(scope.store, name, members=[admin])
    except (LookupError, ValueError) as error:
        raise GraphQLError(str(error)) from error
    pk = _team_pk(scope, name)
    scope.store.write(
        "UPDATE members SET admin = 1 WHERE entity_pk = ?"
        " AND user_pk = (SELECT pk FROM users WHERE username = ?)",
        pk, admin,
    )  # fmt: skip
    return {"entity": load_entities(scope, [pk])[0]}


def create_invite(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Adds a user to a team by name, or invites one by mail."""
    store, pk = scope.store, _team_pk(scope, values["entityName"])
    admin = int(bool(values.get("admin")))
    username, email = values.get("username"), values.get("email")
    user = store.row("SELECT * FROM users WHERE username = ?", username)
    if user is not None:
        store.write("INSERT OR IGNORE INTO members VALUES (?, ?, ?)", pk, user["pk"], admin)
    elif email:
        store.write(
            "INSERT OR IGNORE INTO invites(entity_pk, email, admin, createdAt) VALUES (?, ?, ?, ?)",
            pk, email, admin, now(),
        )  # fmt: skip
    else:
        raise GraphQLError(f"user {username} not found")
    invite = {"id": global_id("Invite", pk, username or email), "name": username or email}
    return {"invite": {**invite, "email": email, "createdAt": now(), "toUser": None}}


def delete_invite(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Takes a member, or an invitation, from a team."""
    store, pk = scope.store, _team_pk(scope, values.get("entityName") or "")
    parts = parse_id(values.get("id") or "")
    if parts[:1] == ["Member"]:
        store.write("DELETE FROM members WHERE entity_pk = ? AND user_pk = ?", pk, parts[2])
    elif parts[:1] == ["Invite"]:
        store.write("DELETE FROM invites WHERE entity_pk = ? AND pk = ?", pk, parts[1])
    else:
        return {"success": False}
    return {"success": True}


def create_service_account(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes a service account of a team, with a key of its own."""
    store, pk = scope.store, _team_pk(scope, values["entityName"])
    name = values["description"]
    username = "-".join(["service", secrets.token_hex(4)])
    with store.transaction():
        make_user(store, username)
        user_pk = store.value("SELECT pk FROM users WHERE username = ?", username)
        store.write("UPDATE users SET name = ? WHERE pk = ?", name, user_pk)
        store.write("INSERT INTO service_accounts VALUES (?, ?)", user_pk, pk)
        store.write("INSERT INTO members(entity_pk, user_pk) VALUES (?, ?)", pk, user_pk)
    return {"user": UserNode.load(scope, user_pk)}
