"""Makes commits to Delta tables, and says what failed in words of the warehouse."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, Field, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from wbsync.errors import (
    CommitConflictError,
    MigrationError,
    SchemaMismatchError,
    WarehouseError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deltalake import DeltaTable

CONFIGURATION = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
}

ADDED_IN = "wbsync.added_in"
"""Field metadata of a column that came later than the table: files may lack it."""


def make_commit(
    folder: Path,
    table: DeltaTable | None,
    schema: pa.Schema,
    actions: Sequence[AddAction | RemoveAction],
    metadata: dict[str, str],
) -> None:
    """Makes one commit, and before it, where columns are new, one that adds them.

    Args:
        folder: Folder of the table.
        table: The table at its newest version; None makes it.
        schema: Schema that the table is to have.
        actions: Files that come and go.
        metadata: Commit metadata.
    """
    wanted = Schema.from_arrow(schema)
    properties = CommitProperties(custom_metadata=metadata)
    if table is None:
        create_table_with_add_actions(
            str(folder),
            wanted,
            [a for a in actions if isinstance(a, AddAction)],
            configuration=CONFIGURATION,
            commit_properties=properties,
        )
        return
    _evolve(table, wanted)
    table.create_write_transaction(list(actions), "append", wanted, commit_properties=properties)


def removals(files: Sequence[Path], *, data_change: bool) -> list[RemoveAction]:
    """Returns what the log must say of files that go."""
    now = int(time.time() * 1000)
    return [
        RemoveAction(quote(f.name), data_change=data_change, deletion_timestamp=now) for f in files
    ]


def _evolve(found: DeltaTable, schema: Schema) -> None:
    """Adds to a table, in a commit of its own, the columns that an older wbsync did not know.

    Raises:
        MigrationError: A column may not be NULL, and so cannot be added to rows that are there.
    """
    held = {field.name for field in found.schema().fields}
    new = [field for field in schema.fields if field.name not in held]
    if not new:
        return
    if required := [field.name for field in new if not field.nullable]:
        raise MigrationError(f"{found.table_uri} lacks {', '.join(required)}, never NULL")
    mark = {ADDED_IN: str(found.version() + 1)}
    found.alter.add_columns([Field(f.name, f.type, nullable=True, metadata=mark) for f in new])


class Guard:
    """Says what failed in words of the warehouse."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, CommitFailedError):
            raise CommitConflictError(
                f"{self._path}: another process wrote at the same time; sync again"
            ) from error
        if isinstance(error, (pa.ArrowInvalid, pa.ArrowTypeError)):
            raise SchemaMismatchError(f"rows do not fit {self._path}: {error}") from error
        if isinstance(error, (DeltaError, OSError, duckdb.Error)):
            text = str(error)
            hint = (
                "the disk is full: free some room and sync again"
                if "No space left" in text or "os error 28" in text
                else text
            )
            raise WarehouseError(f"cannot write {self._path}: {hint}") from error
