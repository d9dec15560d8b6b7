"""Reads the commits of a Delta table's log: when each was made, which files came and went.

The log is one JSON file a commit, named by its version. wbsync never cleans it up, so it goes
back to the first commit, unless another tool has. Its times are those of the clocks of the machines
that wrote it, which may be set back or ahead: order is told by versions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from wbsync.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a table."""

    version: int
    at: datetime
    """What the clock of the machine said."""
    added: tuple[str, ...]
    """Names of the files that became part of the table."""
    removed: tuple[str, ...]
    """Names of the files that ceased to be."""
    metadata: dict[str, Any]
    """Commit info, with the commit metadata in it."""


def versions_of(folder: Path) -> list[int]:
    """Returns the versions whose commits a table's log holds, in order."""
    log = folder / "_delta_log"
    if not log.is_dir():
        return []
    return sorted(int(p.stem) for p in log.glob("*.json") if p.stem.isdigit())


def read_commit(folder: Path, version: int) -> Commit:
    """Returns a commit of a table.

    Raises:
        WarehouseError: The log lacks it, or its file is damaged.
    """
    path = folder / "_delta_log" / f"{version:020}.json"
    added: list[str] = []
    removed: list[str] = []
    info: dict[str, Any] = {}
    try:
        for line in path.read_bytes().splitlines():
            action = orjson.loads(line)
            if "add" in action:
                added.append(unquote(action["add"]["path"]))
            elif "remove" in action:
                removed.append(unquote(action["remove"]["path"]))
            elif "commitInfo" in action:
                info = action["commitInfo"]
        at = EPOCH + timedelta(milliseconds=int(info.get("timestamp", 0)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WarehouseError(f"cannot read {path}: {error}") from error
    return Commit(version, at, tuple(added), tuple(removed), info)


def newest_first(folder: Path) -> Iterator[Commit]:
    """Yields the commits of a table, the newest first."""
    for version in reversed(versions_of(folder)):
        yield read_commit(folder, version)


def iter_times(folder: Path) -> Iterator[tuple[datetime, Commit]]:
    """Yields the commits of a table, the oldest first, each with a time that never runs back.

    Where a clock was set back, or so far ahead that its time has not come yet, a commit counts as
    made right after the one before.
    """
    now, latest = datetime.now(UTC), EPOCH
    for version in versions_of(folder):
        commit = read_commit(folder, version)
        if commit.at <= now:
            latest = max(latest, commit.at)
        yield latest, commit


def version_at(folder: Path, instant: datetime) -> int | None:
    """Returns the newest version of a table that is not later than an instant, None for none."""
    newest: int | None = None
    for at, commit in iter_times(folder):
        if at > instant:
            break
        newest = commit.version
    return newest


def whole_since(folder: Path) -> datetime | None:
    """Returns since when each version of a table can be read whole, None where it has no commit.

    A version can be read while the files it names exist; a vacuum removes those of old ones.
    """
    held = {p.name for p in folder.glob("*.parquet")}
    since: datetime | None = None
    for at, commit in iter_times(folder):
        if since is None or any(name not in held for name in commit.removed):
            since = at
    return since
