"""What the sandbox keeps: metadata in SQLite, blobs and exports as files.

The server is the only one to answer from it, but not the only one to write: `wbsync sandbox seed`
fills the same folder from another process. So nothing is kept in memory that `generation` does
not date.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import secrets
import sqlite3
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TABLES = """
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS organizations(pk INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS users(
  pk INTEGER PRIMARY KEY, username TEXT UNIQUE, name TEXT, email TEXT, admin INTEGER DEFAULT 0,
  api_key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS entities(
  pk INTEGER PRIMARY KEY, name TEXT UNIQUE, kind TEXT, user_pk INTEGER, organization_pk INTEGER);
CREATE TABLE IF NOT EXISTS members(
  entity_pk INTEGER, user_pk INTEGER, admin INTEGER DEFAULT 0, PRIMARY KEY(entity_pk, user_pk));
CREATE TABLE IF NOT EXISTS organization_members(
  organization_pk INTEGER, user_pk INTEGER, PRIMARY KEY(organization_pk, user_pk));
CREATE TABLE IF NOT EXISTS projects(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity_pk INTEGER, name TEXT, description TEXT, access TEXT,
  createdAt TEXT, updatedAt TEXT, user_pk INTEGER, UNIQUE(entity_pk, name));
CREATE TABLE IF NOT EXISTS runs(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, project_pk INTEGER, name TEXT, displayName TEXT,
  state TEXT, tags TEXT, notes TEXT, description TEXT, "group" TEXT, jobType TEXT,
  sweep_pk INTEGER, sweepName TEXT, user_pk INTEGER, "commit" TEXT, host TEXT,
  createdAt TEXT, heartbeatAt TEXT, updatedAt TEXT,
  historyLineCount INTEGER DEFAULT 0, eventsLineCount INTEGER DEFAULT 0,
  logLineCount INTEGER DEFAULT 0, lastStep INTEGER, exitcode INTEGER, stopped INTEGER DEFAULT 0,
  UNIQUE(project_pk, name));
CREATE INDEX IF NOT EXISTS runs_sweep ON runs(sweep_pk);
CREATE TABLE IF NOT EXISTS bodies(
  run_pk INTEGER PRIMARY KEY, config TEXT, summary TEXT, system TEXT, keys TEXT);
CREATE TABLE IF NOT EXISTS lines(
  run_pk INTEGER, stream TEXT, line INTEGER, step REAL, text TEXT,
  PRIMARY KEY(run_pk, stream, line)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lines_step ON lines(run_pk, step) WHERE stream = 'history';
CREATE TABLE IF NOT EXISTS parts(
  run_pk INTEGER, first_line INTEGER, row_count INTEGER, min_step INTEGER, max_step INTEGER,
  blob TEXT, is_seeded INTEGER, PRIMARY KEY(run_pk, first_line)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs(id TEXT PRIMARY KEY, size INTEGER, md5 TEXT);
CREATE TABLE IF NOT EXISTS files(
  pk INTEGER PRIMARY KEY, run_pk INTEGER, name TEXT, blob TEXT, mimetype TEXT, updatedAt TEXT,
  UNIQUE(run_pk, name));
CREATE TABLE IF NOT EXISTS sweeps(
  pk INTEGER PRIMARY KEY, project_pk INTEGER, name TEXT, displayName TEXT, description TEXT,
  config TEXT, state TEXT, controller TEXT, scheduler TEXT, createdAt TEXT, updatedAt TEXT,
  heartbeatAt TEXT, user_pk INTEGER, started INTEGER DEFAULT 0, UNIQUE(project_pk, name));
CREATE TABLE IF NOT EXISTS agents(
  pk INTEGER PRIMARY KEY, sweep_pk INTEGER, name TEXT, host TEXT, state TEXT, run_name TEXT,
  createdAt TEXT, heartbeatAt TEXT);
CREATE TABLE IF NOT EXISTS artifact_types(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, project_pk INTEGER, name TEXT, description TEXT,
  createdAt TEXT, UNIQUE(project_pk, name));
CREATE TABLE IF NOT EXISTS collections(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, project_pk INTEGER, type_pk INTEGER, name TEXT,
  description TEXT, kind TEXT, createdAt TEXT, updatedAt TEXT, UNIQUE(project_pk, name));
CREATE TABLE IF NOT EXISTS collection_tags(
  collection_pk INTEGER, name TEXT, PRIMARY KEY(collection_pk, name));
CREATE TABLE IF NOT EXISTS artifacts(
  pk INTEGER PRIMARY KEY, collection_pk INTEGER, type_pk INTEGER, versionIndex INTEGER,
  digest TEXT, digestAlgorithm TEXT, description TEXT, metadata TEXT, state TEXT, size INTEGER,
  fileCount INTEGER, historyStep INTEGER, commitHash TEXT, ttlDurationSeconds INTEGER,
  createdAt TEXT, updatedAt TEXT, run_pk INTEGER, user_pk INTEGER, wanted_aliases TEXT);
CREATE INDEX IF NOT EXISTS artifacts_digest ON artifacts(collection_pk, digest);
CREATE TABLE IF NOT EXISTS memberships(
  pk INTEGER PRIMARY KEY, collection_pk INTEGER, artifact_pk INTEGER, versionIndex INTEGER,
  createdAt TEXT, UNIQUE(collection_pk, artifact_pk));
CREATE INDEX IF NOT EXISTS memberships_artifact ON memberships(artifact_pk);
CREATE TABLE IF NOT EXISTS aliases(
  pk INTEGER PRIMARY KEY, collection_pk INTEGER, artifact_pk INTEGER, alias TEXT,
  UNIQUE(collection_pk, alias));
CREATE INDEX IF NOT EXISTS aliases_artifact ON aliases(artifact_pk);
CREATE TABLE IF NOT EXISTS artifact_tags(
  artifact_pk INTEGER, name TEXT, PRIMARY KEY(artifact_pk, name));
CREATE TABLE IF NOT EXISTS manifests(
  pk INTEGER PRIMARY KEY, artifact_pk INTEGER, digest TEXT, blob TEXT);
CREATE INDEX IF NOT EXISTS manifests_artifact ON manifests(artifact_pk);
CREATE TABLE IF NOT EXISTS artifact_files(
  artifact_pk INTEGER, name TEXT, md5 TEXT, blob TEXT, PRIMARY KEY(artifact_pk, name));
CREATE INDEX IF NOT EXISTS artifact_files_md5 ON artifact_files(md5);
CREATE TABLE IF NOT EXISTS usage(
  run_pk INTEGER, direction TEXT, artifact_pk INTEGER,
  PRIMARY KEY(run_pk, direction, artifact_pk)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_artifact ON usage(artifact_pk, direction);
CREATE TABLE IF NOT EXISTS registries(project_pk INTEGER PRIMARY KEY, allow_all INTEGER);
CREATE TABLE IF NOT EXISTS unlinked(
  collection_pk INTEGER, versionIndex INTEGER, PRIMARY KEY(collection_pk, versionIndex));
CREATE TABLE IF NOT EXISTS client_ids(client_id TEXT PRIMARY KEY, artifact_pk INTEGER);
CREATE TABLE IF NOT EXISTS service_accounts(user_pk INTEGER PRIMARY KEY, entity_pk INTEGER);
CREATE TABLE IF NOT EXISTS invites(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity_pk INTEGER, email TEXT, admin INTEGER,
  createdAt TEXT, UNIQUE(entity_pk, email));
CREATE TABLE IF NOT EXISTS views(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, project_pk INTEGER, type TEXT, name TEXT, displayName TEXT,
  description TEXT, spec TEXT, user_pk INTEGER, createdAt TEXT, updatedAt TEXT);
CREATE INDEX IF NOT EXISTS views_project ON views(project_pk, type);
CREATE TABLE IF NOT EXISTS integrations(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity_pk INTEGER, kind TEXT, name TEXT, urlEndpoint TEXT,
  teamName TEXT, channelName TEXT);
CREATE TABLE IF NOT EXISTS triggers(
  pk INTEGER PRIMARY KEY AUTOINCREMENT, entity_pk INTEGER, name TEXT, description TEXT,
  enabled INTEGER, scope_type TEXT, scope_pk INTEGER, event_type TEXT, filter TEXT,
  action_type TEXT, action TEXT, createdAt TEXT, updatedAt TEXT, UNIQUE(entity_pk, name));
"""

_OF_RUN = ("bodies", "lines", "parts", "files", "usage")


_ahead_s = 0.0
_editions = count(1)
"""Tell snapshots apart, which may come to lie where an earlier one lay."""


def set_clock(ahead_s: float) -> None:
    """Sets the server's clock ahead of the machine's, or behind it."""
    global _ahead_s  # noqa: PLW0603
    _ahead_s = ahead_s


def epoch_s() -> float:
    """Returns the server's clock."""
    return time.time() + _ahead_s


def stamp(at_s: float) -> str:
    """Returns an instant as W&B writes it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    """Returns the server's time as W&B writes it."""
    return stamp(epoch_s())


def instant() -> str:
    """Returns the server's time to the microsecond, so that two edits never bear the same."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def global_id(kind: str, *parts: object) -> str:
    """Returns an opaque id such as W&B gives."""
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


def parse_id(text: str) -> list[str]:
    """Returns kind and parts of an id that `global_id` made; empty for anything else."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return []
    return decoded.split(":") if decoded else []


class Store:
    """The folder that a sandbox serves."""

    def __init__(self, folder: Path) -> None:
        """Opens a folder, and makes what is missing in it."""
        self.folder = folder
        self.blob_folder = folder / "blobs"
        self.blob_folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(
            folder / "sandbox.sqlite", isolation_level=None, check_same_thread=False, timeout=60
        )
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.executescript(TABLES)
        self.write("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", secrets.token_hex(16))
        self.secret = str(self.value("SELECT value FROM meta WHERE name = 'secret'"))
        self.edition = 0

    def snapshot(self) -> Store:
        """Returns the store as it is now, in memory; blobs are shared."""
        taken = copy.copy(self)
        taken.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        taken.db.row_factory = sqlite3.Row
        self.db.backup(taken.db)
        taken.edition = next(_editions)
        return taken

    def rows(self, sql: str, *params: Any) -> list[sqlite3.Row]:
        """Returns the rows of a query."""
        return self.db.execute(sql, params).fetchall()

    def row(self, sql: str, *params: Any) -> sqlite3.Row | None:
        """Returns the first row of a query."""
        row: sqlite3.Row | None = self.db.execute(sql, params).fetchone()
        return row

    def value(self, sql: str, *params: Any) -> Any:
        """Returns the first value of a query."""
        row = self.db.execute(sql, params).fetchone()
        return None if row is None else row[0]

    def write(self, sql: str, *params: Any) -> int:
        """Runs a statement; returns the key of the row that it inserted."""
        return self.db.execute(sql, params).lastrowid or 0

    def write_many(self, sql: str, rows: Iterable[Any]) -> None:
        """Runs a statement for each row."""
        self.db.executemany(sql, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes what is written inside happen at once, or not at all."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def generation(self) -> tuple[int, int, int]:
        """Returns what changes with every write, here or in another process."""
        return self.value("PRAGMA data_version"), self.db.total_changes, self.edition

    def blob_path(self, blob: str) -> Path:
        """Returns where a blob lies; its name is one that this server made."""
        return self.blob_folder / blob[:2] / blob

    def new_blob(self) -> str:
        """Returns a name for a blob that will be uploaded."""
        blob = secrets.token_hex(16)
        self.blob_path(blob).parent.mkdir(exist_ok=True)
        return blob

    def finish_blob(self, blob: str) -> None:
        """Takes a blob into the books, once its file is complete."""
        path = self.blob_path(blob)
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        md5 = base64.b64encode(digest.digest()).decode()
        self.write("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", blob, path.stat().st_size, md5)

    def read_blob(self, blob: str) -> bytes:
        """Returns a blob's content."""
        return self.blob_path(blob).read_bytes()

    def project_pk(self, entity: str, project: str) -> int | None:
        """Returns the key of a project."""
        pk: int | None = self.value(
            "SELECT p.pk FROM projects p JOIN entities e ON e.pk = p.entity_pk"
            " WHERE e.name = ? AND p.name = ?",
            entity, project,
        )  # fmt: skip
        return pk

    def ensure_project(self, entity: str, project: str, user_pk: int | None) -> int:
        """Returns the key of a project, which is made where it is missing."""
        pk = self.project_pk(entity, project)
        if pk is not None:
            return pk
        entity_pk = self.value("SELECT pk FROM entities WHERE name = ?", entity)
        if entity_pk is None:
            raise LookupError(f"entity {entity} not found")
        return self.write(
            "INSERT INTO projects(entity_pk, name, access, createdAt, updatedAt, user_pk)"
            " VALUES (?, ?, 'ENTITY_READ', ?, ?, ?)",
            entity_pk, project, now(), now(), user_pk,
        )  # fmt: skip

    def run_pk(self, entity: str, project: str, run: str) -> int | None:
        """Returns the key of a run."""
        project_pk = self.project_pk(entity, project)
        pk: int | None = self.value(
            "SELECT pk FROM runs WHERE project_pk = ? AND name = ?", project_pk, run
        )
        return pk

    def delete_run(self, run_pk: int) -> None:
        """Deletes a run and all that belongs to it."""
        with self.transaction():
            for table in _OF_RUN:
                self.write(f"DELETE FROM {table} WHERE run_pk = ?", run_pk)  # noqa: S608
            self.write("DELETE FROM runs WHERE pk = ?", run_pk)

    def delete_project(self, project_pk: int) -> None:
        """Deletes a project and all that belongs to it."""
        with self.transaction():
            for row in self.rows("SELECT pk FROM runs WHERE project_pk = ?", project_pk):
                self.delete_run(row["pk"])
            for row in self.rows("SELECT pk FROM collections WHERE project_pk = ?", project_pk):
                self.delete_collection(row["pk"])
            for table in ("sweeps", "artifact_types"):
                self.write(f"DELETE FROM {table} WHERE project_pk = ?", project_pk)  # noqa: S608
            self.write("DELETE FROM projects WHERE pk = ?", project_pk)

    def delete_collection(self, pk: int) -> None:
        """Deletes a collection of artifacts, with the versions that have their home in it."""
        with self.transaction():
            self.write("UPDATE artifacts SET state = 'DELETED' WHERE collection_pk = ?", pk)
            for table in ("aliases", "memberships", "collection_tags"):
                self.write(f"DELETE FROM {table} WHERE collection_pk = ?", pk)  # noqa: S608
            self.write("DELETE FROM collections WHERE pk = ?", pk)

    def crash_silent_runs(self, silent_s: float) -> None:
        """Takes runs that were not heard of for so long to have crashed, as W&B does.

        Nobody knows whether that moves any of a run's times at W&B; here it moves none.
        """
        self.write(
            "UPDATE runs SET state = 'crashed' WHERE state = 'running' AND heartbeatAt < ?",
            stamp(epoch_s() - silent_s),
        )

    def close(self) -> None:
        """Closes the database."""
        self.db.close()


def make_user(
    store: Store,
    username: str,
    *,
    api_key: str | None = None,
    admin: bool = False,
    email: str | None = None,
) -> dict[str, Any]:
    """Makes a user with a personal entity; an existing one keeps its key unless one is named.

    Args:
        store: Where.
        username: Login, also the name of the personal entity.
        api_key: Of any form; None makes one as W&B does.
        admin: Whether it may see everything.
        email: Mail address; None makes one.

    Raises:
        ValueError: The name cannot be one, or the key is another user's.
    """
    _check_name(username)
    held = store.value("SELECT api_key FROM users WHERE username = ?", username)
    api_key = api_key or held or secrets.token_hex(20)
    owner = store.value("SELECT username FROM users WHERE api_key = ?", api_key)
    if owner not in {None, username}:
        raise ValueError("this key is another user's")
    email = email or f"{username}@example.com"
    with store.transaction():
        store.write(
            "INSERT INTO users(username, name, email, admin, api_key) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT(username) DO UPDATE SET api_key = excluded.api_key,"
            " admin = excluded.admin",
            username, username.replace("-", " ").title(), email, int(admin), api_key,
        )  # fmt: skip
        pk = store.value("SELECT pk FROM users WHERE username = ?", username)
        store.write(
            "INSERT OR IGNORE INTO entities(name, kind, user_pk) VALUES (?, 'user', ?)",
            username, pk,
        )  # fmt: skip
    return {"username": username, "email": email, "admin": admin, "api_key": api_key}


def make_organization(store: Store, name: str, members: Iterable[str] = ()) -> dict[str, Any]:
    """Makes an organisation with an entity of its own, and adds members.

    Raises:
        LookupError: A member is no user.
        ValueError: The name cannot be one.
    """
    _check_name(name)
    members = list(members)
    with store.transaction():
        store.write("INSERT OR IGNORE INTO organizations(name) VALUES (?)", name)
        pk = store.value("SELECT pk FROM organizations WHERE name = ?", name)
        store.write(
            "INSERT OR IGNORE INTO entities(name, kind, organization_pk)"
            " VALUES (?, 'organization', ?)",
            f"{name}-org", pk,
        )  # fmt: skip
        for user_pk in _user_pks(store, members):
            store.write("INSERT OR IGNORE INTO organization_members VALUES (?, ?)", pk, user_pk)
    return {"name": name, "entity": f"{name}-org", "members": members}


def make_team(
    store: Store, name: str, organization: str | None = None, members: Iterable[str] = ()
) -> dict[str, Any]:
    """Makes a team, in an organisation or none, and adds members.

    Raises:
        LookupError: A member is no user.
        ValueError: The name is a user's, or cannot be one.
    """
    _check_name(name)
    members = list(members)
    with store.transaction():
        kind = store.value("SELECT kind FROM entities WHERE name = ?", name)
        if kind not in {None, "team"}:
            raise ValueError(f"{name} is the name of a {kind}")
        organization_pk = None
        if organization is not None:
            make_organization(store, organization, members)
            organization_pk = store.value(
                "SELECT pk FROM organizations WHERE name = ?", organization
            )
        store.write(
            "INSERT INTO entities(name, kind, organization_pk) VALUES (?, 'team', ?)"
            " ON CONFLICT(name) DO UPDATE SET"
            " organization_pk = coalesce(excluded.organization_pk, organization_pk)",
            name, organization_pk,
        )  # fmt: skip
        pk = store.value("SELECT pk FROM entities WHERE name = ?", name)
        for user_pk in _user_pks(store, members):
            store.write(
                "INSERT OR IGNORE INTO members(entity_pk, user_pk) VALUES (?, ?)", pk, user_pk
            )
        held = store.row(
            "SELECT o.name FROM entities e JOIN organizations o ON o.pk = e.organization_pk"
            " WHERE e.pk = ?", pk,
        )  # fmt: skip
        everyone = store.rows(
            "SELECT u.username FROM members m JOIN users u ON u.pk = m.user_pk"
            " WHERE m.entity_pk = ? ORDER BY u.pk", pk,
        )  # fmt: skip
    return {
        "name": name,
        "organization": held["name"] if held else None,
        "members": [row["username"] for row in everyone],
    }


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def _check_name(name: str) -> None:
    """Refuses what W&B would not take as the name of a user, a team or an organisation."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: letters, digits, dash, dot and underscore")


def _user_pks(store: Store, usernames: Iterable[str]) -> list[int]:
    pks = []
    for username in usernames:
        pk = store.value("SELECT pk FROM users WHERE username = ?", username)
        if pk is None:
            raise LookupError(f"user {username} not found")
        pks.append(pk)
    return pks


def load_json(text: str | None, default: Any) -> Any:
    """Returns what JSON text holds, `default` for none."""
    return default if not text else json.loads(text)
