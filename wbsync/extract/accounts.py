"""Entities, users and members of teams.

Source: queries/wandb/entity_state.graphql; wandb/apis/public/{teams,users}.py. Members' keys are
never asked for. Their ids are those of memberships, not of users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import as_int, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import pyarrow as pa


def build_entity_rows(
    node: dict[str, Any], entity: str, kept: dict[str, Any], synced_at: datetime
) -> pa.Table:
    """Returns the row of an entity in the table entities.

    Args:
        node: The entity.
        entity: Its name, as it was asked for.
        kept: Columns whose value the server refused, with what is held.
        synced_at: When it was read.
    """
    user = node.get("user") or {}
    is_team = node.get("isTeam")
    return build_table(
        "entities",
        [
            {
                "entity": entity,
                "entity_id": node.get("id"),
                "kind": node.get("entityType") or ("team" if is_team else "user"),
                "username": None if is_team else user.get("username"),
                "organization": (node.get("organization") or {}).get("name"),
                "default_access": node.get("defaultAccess"),
                "is_read_only": node.get("readOnly"),
                "is_private_only": node.get("privateOnly"),
                "is_code_saved": node.get("codeSavingEnabled"),
                "is_paid": node.get("isPaid"),
                "storage_bytes": as_int(node.get("storageBytes")),
                "synced_at": synced_at,
                **kept,
            }
        ],
    )


def build_member_rows(nodes: Iterable[dict[str, Any]], team: str, synced_at: datetime) -> pa.Table:
    """Returns rows of the table team_members; W&B gives an invitation by mail no username."""
    rows = {}
    for node in nodes:
        member_id = node.get("id") or node.get("username") or node.get("name") or ""
        rows[member_id] = {
            "team": team,
            "member_id": member_id,
            "username": node.get("username"),
            "name": node.get("name"),
            "email": node.get("email"),
            "is_admin": node.get("admin"),
            "account_type": node.get("accountType"),
            "is_pending": node.get("pending"),
            "synced_at": synced_at,
        }
    return build_table("team_members", list(rows.values()))


def build_user_rows(
    users: Sequence[dict[str, Any] | None],
    members: Iterable[dict[str, Any]],
    held: Sequence[dict[str, Any]],
    synced_at: datetime,
) -> pa.Table:
    """Returns rows of the table users, each person once.

    What one place leaves out, another may tell: a field that is null here keeps what was said
    elsewhere, in this answer or an earlier one.

    Args:
        users: Users, null for those that the key may not see.
        members: Members of teams.
        held: Rows that are held.
        synced_at: When they were read.
    """
    told: dict[str, dict[str, Any]] = {}

    def tell(username: str | None, facts: dict[str, Any]) -> None:
        if username:
            known = told.setdefault(username, {"username": username, "synced_at": synced_at})
            known.update((k, v) for k, v in facts.items() if v is not None)

    for node in members:
        tell(node.get("username"), {"name": node.get("name"), "email": node.get("email")})
    for user in users:
        if user is not None:
            tell(
                user.get("username"),
                {
                    "user_id": user.get("id"),
                    "name": user.get("name"),
                    "email": user.get("email"),
                    "entity": user.get("entity"),
                    "is_admin": user.get("admin"),
                    "deleted_at": parse_time(user.get("deletedAt")),
                },
            )
    before = {row["username"]: row for row in held}
    return build_table("users", [{**before.get(name, {}), **row} for name, row in told.items()])
