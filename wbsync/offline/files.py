"""Files of runs and artifacts, and console output.

What a file holds is not in the tables: it comes from the cache that `wbsync files get` and
`wbsync artifact get` fill, by the digest of its content.
Source: wandb/apis/public/files.py, console_logs.py.
"""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wbsync.errors import NotHeldError
from wbsync.offline.listing import Held
from wbsync.offline.reader import not_held
from wbsync.offline.records import Record, instant

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from datetime import datetime
    from typing import TextIO

    from wbsync.offline.reader import Reader
    from wbsync.offline.runs import Run

T = TypeVar("T")

_FILES = """
SELECT * FROM run_files
WHERE entity = $entity AND project = $project AND run_id = $run ORDER BY name
"""

_LISTED = """
SELECT 1 FROM ledger WHERE entity = $entity AND project = $project AND run_id = $run
  AND table_name = 'run_files'
"""

_LINES = """
SELECT number, timestamp, level, label, line FROM console_logs
WHERE entity = $entity AND project = $project AND run_id = $run ORDER BY number
"""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class File(Record):
    """A file that W&B holds."""

    _refused = frozenset({"delete"})
    _unheld = frozenset({"url", "direct_url", "path_uri"})

    def __init__(
        self, reader: Reader, attrs: dict[str, Any], command: str, run: Run | None = None
    ) -> None:
        """Takes a file.

        Args:
            reader: Asks the warehouse.
            attrs: Its fields: id, name, sizeBytes, mimetype, md5 and updatedAt.
            command: Command that brings its content to the cache.
            run: Whose file it is; None for an artifact's.
        """
        super().__init__(attrs)
        self.run = run
        self._reader = reader
        self._command = command

    @property
    def size(self) -> int:
        """Size in bytes."""
        return int(self._attrs["sizeBytes"] or 0)

    def download(
        self, root: str = ".", replace: bool = False, exist_ok: bool = False, api: Any = None
    ) -> TextIO:
        """Copies the file from the cache, and opens it.

        Args:
            root: Folder below which it comes, under its own path.
            replace: Whether one that is there is written over.
            exist_ok: Whether one that is there is opened as it is.
            api: Taken for wandb's sake.

        Raises:
            NotHeldError: Its content is not in the cache.
            ValueError: There is one already.
        """
        del api
        place = Path(root) / str(self._attrs["name"])
        if place.exists() and not replace:
            if exist_ok:
                return place.open()
            raise ValueError(
                "File already exists, pass replace=True to overwrite "
                "or exist_ok=True to leave it as is and don't error."
            )
        return copy_cached(self._reader, self._attrs, Path(root), self._command).open()

    def __repr__(self) -> str:
        number, unit = float(self.size), 0
        while number >= 1024 and unit < len(_UNITS) - 1:
            number, unit = number / 1024, unit + 1
        return (
            f"<File {self._attrs['name']} ({self._attrs['mimetype']}) {number:.1f}{_UNITS[unit]}>"
        )


def copy_cached(reader: Reader, attrs: dict[str, Any], root: Path, command: str) -> Path:
    """Copies a file from the cache below a folder; returns where it is.

    Raises:
        NotHeldError: Its content is not in the cache.
        UnsafePathError: Its name leads out of the folder.
    """
    from wbsync.download.digests import Digest
    from wbsync.download.fetch import Fetcher, Item
    from wbsync.download.places import place_in

    name = attrs["name"]
    root.mkdir(parents=True, exist_ok=True)
    place = place_in(root, name)
    digest = Digest.parse(attrs["md5"], attrs.get("algorithm", "md5"))
    fetcher = Fetcher(reader.root, root, None, lambda _: None, 1)

    async def nowhere(items: Sequence[Item]) -> dict[str, str]:
        del items
        return {}

    run_apart(fetcher.fetch([Item(name, digest, attrs["sizeBytes"])], nowhere))
    if fetcher.fetched.failed:
        raise NotHeldError(f"the content of {name}", command)
    return place


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in a thread of its own: notebooks have a loop already."""
    outcome: list[T] = []
    problems: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    thread = threading.Thread(target=target, name="wbsync-offline")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return outcome[0]


class Files(Held[File]):
    """The files of a run."""

    def __init__(
        self, reader: Reader, run: Run, names: Sequence[str] = (), pattern: str | None = None
    ) -> None:
        """Takes what is asked for.

        Args:
            reader: Asks the warehouse.
            run: Whose files.
            names: Only these; none for all.
            pattern: Only those that match, with `%` and `_` as in SQL's LIKE.

        Raises:
            ValueError: Both names and a pattern are given.
        """
        if names and pattern:
            raise ValueError("name files, or give a pattern, not both")
        self._reader = reader
        self.run = run
        self._names = frozenset(names)
        self._pattern = _like(pattern) if pattern else None

    def only(self, name: str) -> File:
        """Returns the one file of this name.

        Raises:
            NotHeldError: The warehouse knows none.
        """
        if not len(self):
            run = self.run
            raise not_held(f"the file {name} of {'/'.join(run.path)}", run.entity, run.project)
        return self[0]

    def _load(self) -> list[File]:
        run = self.run
        rows = self._reader.rows(
            _FILES, entity=run.entity, project=run.project, run=run.id
        )  # fmt: skip
        if not rows:
            self._check_held()
        where = f"{run.entity}/{run.project}/{run.id}"
        return [
            File(
                self._reader,
                {
                    "id": row["file_id"],
                    "name": row["name"],
                    "sizeBytes": row["size_bytes"],
                    "mimetype": row["mimetype"],
                    "md5": row["md5"],
                    "updatedAt": instant(row["updated_at"]),
                },
                f"wbsync files get {where} {row['name']!r}",
                run,
            )
            for row in rows
            if (not self._names or row["name"] in self._names)
            and (self._pattern is None or self._pattern.fullmatch(row["name"]))
        ]

    def _check_held(self) -> None:
        """Raises NotHeldError where no sync has listed the run's files."""
        run = self.run
        found = self._reader.rows(_LISTED, entity=run.entity, project=run.project, run=run.id)
        if not found:
            raise not_held(f"the list of files of {'/'.join(run.path)}", run.entity, run.project)

    def __repr__(self) -> str:
        return f"<Files {'/'.join(self.run.path)} ({self._size})>"


def _like(pattern: str) -> re.Pattern[str]:
    """Returns a pattern of SQL's LIKE as a regular expression.

    >>> bool(_like("%.json").fullmatch("a/b.json")), bool(_like("a_c").fullmatch("ac"))
    (True, False)
    """
    parts = {"%": ".*", "_": "."}
    return re.compile("".join(parts.get(c) or re.escape(c) for c in pattern), re.DOTALL)


@dataclass(frozen=True, slots=True)
class ConsoleLogLine:
    """A line of console output."""

    number: int
    timestamp: datetime | None
    level: str
    label: str
    content: str


class ConsoleLogs(Held[ConsoleLogLine]):
    """The console output of a run."""

    def __init__(self, reader: Reader, run: Run, last: int | None) -> None:
        """Takes whose output, and how many of the last lines; None for all."""
        self._reader = reader
        self.run = run
        self._last = last

    def _load(self) -> list[ConsoleLogLine]:
        from datetime import UTC

        run = self.run
        rows = self._reader.rows(_LINES, entity=run.entity, project=run.project, run=run.id)
        if not rows and run.log_line_count:
            what = f"the console output of {'/'.join(run.path)}"
            raise not_held(what, run.entity, run.project, " --only console_logs")
        lines = [
            ConsoleLogLine(
                row["number"],
                row["timestamp"] and row["timestamp"].replace(tzinfo=UTC),
                row["level"] or "",
                row["label"] or "",
                row["line"] or "",
            )
            for row in rows
        ]
        return lines if self._last is None else lines[max(len(lines) - self._last, 0) :]

    def __repr__(self) -> str:
        run = self.run
        return f"<ConsoleLogs {run.entity}/{run.project}/{run.id}>"
