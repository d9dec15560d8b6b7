"""Users and teams. Source: wandb/apis/public/users.py, teams.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.errors import NotHeldError
from wbsync.offline.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wbsync.offline.reader import Reader

_USER = """
SELECT * FROM users WHERE username = $text OR email = $text ORDER BY username
"""
_VIEWERS = "SELECT * FROM users WHERE entity IS NOT NULL ORDER BY username"
_TEAMS = "SELECT team FROM team_members WHERE username = $text ORDER BY team"
_MEMBERS = "SELECT * FROM team_members WHERE team = $text ORDER BY name, member_id"


class User(Record):
    """A person."""

    _refused = frozenset({"create", "delete_api_key", "generate_api_key", "user_api"})
    _unheld = frozenset({"api_keys", "flags", "deleted_at"})

    def __init__(self, attrs: dict[str, Any], reader: Reader | None = None) -> None:
        """Takes what is known of a user."""
        super().__init__(attrs)
        self._reader = reader

    @property
    def teams(self) -> list[str]:
        """Teams that were synced and that the user belongs to.

        Raises:
            NotHeldError: No team's members were synced.
        """
        if self._reader is None:
            return []
        rows = self._reader.rows(_TEAMS, text=self._attrs["username"])
        if not rows:
            self._reader.check_entity("team_members", None)
        return [row["team"] for row in rows]

    def __repr__(self) -> str:
        for key in ("email", "username", "id"):
            if self._attrs.get(key):
                return f"<User {self._attrs[key]}>"
        return "<User ???>"


class Member(Record):
    """A member of a team."""

    _refused = frozenset({"delete"})
    _unheld = frozenset({"api_key", "photo_url"})

    def __repr__(self) -> str:
        return f"<Member {self._attrs['name']} ({self._attrs['accountType']})>"


class Team(Record):
    """A team."""

    _refused = frozenset({"create", "invite", "create_service_account"})
    _unheld = frozenset({"available", "photo_url", "read_only_admin"})

    def __init__(self, attrs: dict[str, Any], reader: Reader) -> None:
        """Takes what is known of a team."""
        super().__init__(attrs)
        self._reader = reader

    @property
    def members(self) -> list[Member]:
        """Members, and who is invited.

        Raises:
            NotHeldError: They were not synced.
        """
        name = self._attrs["name"]
        rows = self._reader.rows(_MEMBERS, text=name)
        if not rows:
            self._reader.check_entity("team_members", name)
        return [
            Member(
                {
                    "id": row["member_id"],
                    "team": name,
                    "username": row["username"],
                    "name": row["name"],
                    "email": row["email"],
                    "admin": row["is_admin"],
                    "pending": row["is_pending"],
                    "accountType": row["account_type"],
                }
            )
            for row in rows
        ]

    def load(self, force: bool = False) -> dict[str, Any]:
        """Returns all fields."""
        del force
        return {**self._attrs, "members": self.members}

    def __repr__(self) -> str:
        return f"<Team {self._attrs['name']}>"


def find_users(reader: Reader, text: str) -> list[User]:
    """Returns the users of this login or mail address.

    Raises:
        NotHeldError: No sync has read users.
    """
    rows = reader.rows(_USER, text=text)
    if not rows:
        reader.check_entity("users", None, f"who {text} is")
    return [_user(row, reader) for row in rows]


def find_viewer(reader: Reader, environ: Mapping[str, str]) -> User:
    """Returns who the key belongs to that the warehouse was synced with.

    Raises:
        NotHeldError: The warehouse does not tell.
    """
    rows = reader.rows(_VIEWERS)
    named = environ.get("WANDB_USERNAME")
    chosen = [r for r in rows if r["username"] == named] if named else rows
    if len(chosen) != 1:
        command = "wbsync sync ENTITY" if not rows else None
        what = "who the viewer is" if not rows else "which of several users the viewer is"
        raise NotHeldError(what, command or "export WANDB_USERNAME=…")
    return _user(chosen[0], reader)


def _user(row: dict[str, Any], reader: Reader) -> User:
    return User(
        {
            "id": row["user_id"],
            "name": row["name"],
            "username": row["username"],
            "email": row["email"],
            "admin": row["is_admin"],
            "entity": row["entity"],
        },
        reader,
    )


def find_team(reader: Reader, name: str) -> Team:
    """Returns a team.

    Raises:
        NotHeldError: It was not synced.
    """
    rows = reader.rows("SELECT * FROM entities WHERE entity = $text", text=name)
    if not rows:
        raise NotHeldError(f"the team {name}", f"wbsync sync {name}")
    row = rows[0]
    return Team(
        {
            "id": row["entity_id"],
            "name": name,
            "entityType": row["kind"],
            "isTeam": row["kind"] == "team",
            "readOnly": row["is_read_only"],
            "privateOnly": row["is_private_only"],
            "codeSavingEnabled": row["is_code_saved"],
            "isPaid": row["is_paid"],
            "defaultAccess": row["default_access"],
            "storageBytes": row["storage_bytes"],
        },
        reader,
    )
