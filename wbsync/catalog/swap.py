"""Where builds stand, and how one takes the published name.

Each build is `catalog/<number>.duckdb`, which wbsync itself opens: DuckDB caches a file by its
path within a process. `warehouse.duckdb` is a copy, not a link, so that a tool that opens it to
write cannot change ours. It may be read by all who could, and written by nobody.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.lake.disk import clone, persist, persist_names, replace_durably

if TYPE_CHECKING:
    from pathlib import Path

TARGET = "warehouse.duckdb"
KEPT_BUILDS = 2
"""The newest, and the one before for who has just looked up its name."""


@dataclass(frozen=True, slots=True)
class Builds:
    """The folder `catalog/` of a warehouse, and the published file beside it."""

    root: Path

    @property
    def folder(self) -> Path:
        """Folder of the builds."""
        return self.root / "catalog"

    @property
    def target(self) -> Path:
        """The published file."""
        return self.root / TARGET

    @property
    def temporary(self) -> Path:
        """Where the next build is made."""
        return self.folder / "building.duckdb"

    def numbers(self) -> list[int]:
        """Returns the numbers of the builds, in order."""
        return sorted(int(p.stem) for p in self.folder.glob("*.duckdb") if p.stem.isdigit())

    def path(self, number: int) -> Path:
        """Returns where a build stands."""
        return self.folder / f"{number}.duckdb"

    def newest(self) -> Path | None:
        """Returns the newest build, None where there is none."""
        numbers = self.numbers()
        return self.path(numbers[-1]) if numbers else None

    def accept(self) -> Path:
        """Makes what was made in `temporary` the newest build, and returns it."""
        build = self.path(max(self.numbers(), default=0) + 1)
        _forbid_writing(self.temporary)
        replace_durably(self.temporary, build)
        return build

    def put_in_place(self, build: Path, note: dict[str, Any]) -> None:
        """Gives a build the published name, at once for all who look, and notes what it is."""
        copy = self.folder / "published.duckdb"
        copy.unlink(missing_ok=True)
        clone(build, copy)
        _forbid_writing(copy)
        persist(copy)
        self.drop_foreign_wal()
        replace_durably(copy, self.target)
        self.drop_foreign_wal()
        note = {**note, "build": int(build.stem), "file": _identity(self.target)}
        temporary = self._note.with_suffix(".json.new")
        temporary.write_text(json.dumps(note), encoding="utf-8")
        replace_durably(temporary, self._note)

    def drop_foreign_wal(self) -> None:
        """Removes the log of a tool that opened the published file to write, and died.

        DuckDB would replay it into the next file of that name.
        """
        wal = self.target.with_name(f"{TARGET}.wal")
        if wal.exists():
            wal.unlink(missing_ok=True)
            persist_names(self.root)

    def drop_old(self) -> None:
        """Removes builds that nobody opens any more; who has one open goes on reading it."""
        for number in self.numbers()[:-KEPT_BUILDS]:
            with suppress(OSError):
                self.path(number).unlink()

    @property
    def _note(self) -> Path:
        return self.folder / "published.json"

    def read_note(self) -> dict[str, Any]:
        """Returns what was noted of the last file that was published; empty where nothing was."""
        try:
            return dict(json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def is_in_place(self, note: dict[str, Any]) -> bool:
        """Says whether what was noted is published still: no newer build, no foreign hand."""
        try:
            return bool(
                note["build"] == self.numbers()[-1] and note["file"] == _identity(self.target)
            )
        except (OSError, KeyError, IndexError):
            return False


def _forbid_writing(path: Path) -> None:
    if os.name == "posix":
        path.chmod(path.stat().st_mode & 0o444)


def _identity(path: Path) -> list[int]:
    """Returns what changes when a file is replaced or written."""
    facts = path.stat()
    return [facts.st_ino, facts.st_size, facts.st_mtime_ns]
