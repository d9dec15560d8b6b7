"""The warehouse's tables, read from `schemas/tables/*.sql`.

Each file is one CREATE TABLE: comment lines above it describe the table, a trailing comment
describes each column. Nothing else in wbsync states a column, a type or a comment. The files keep
to a line a column, so that a few regular expressions read them; a test has DuckDB execute each
file and compares what it made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from wbsync.resources import read_resource, resource_root

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMN = re.compile(
    r"^\s{4}(?P<name>[a-z_0-9]+) (?P<type>VARCHAR|BIGINT|DOUBLE|BOOLEAN|TIMESTAMP)"
    r"(?P<required> NOT NULL)?,? *-- (?P<comment>.+)$"
)
_KEY = re.compile(r"^\s{4}PRIMARY KEY \((?P<columns>[a-z_0-9, ]+)\)$")
_COMMENT = re.compile(r"^-- (?P<text>.+)$")


OWNERS = {
    "runs": ("entity", "project", "run_id"),
    "projects": ("entity", "project"),
    "artifacts": ("artifact_id",),
}
"""Tables whose rows own rows of others, and the columns that say which."""

LOGS = frozenset({"sync_log", "edits", "edit_log", "run_changes"})
"""Tables of what happened: it happened even where the run is gone."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    """SQL type: VARCHAR, BIGINT, DOUBLE, BOOLEAN or TIMESTAMP (UTC)."""
    nullable: bool
    comment: str


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's columns, key and documentation."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    """Key columns; empty for tables that may hold equal rows."""

    @property
    def marks_deletions(self) -> bool:
        """Whether a row says itself when W&B was found not to have it any more."""
        return any(c.name == "deleted_at" for c in self.columns)

    @property
    def owners(self) -> tuple[str, ...]:
        """Tables of whose rows each row is a part: it goes out of sight with its owner."""
        names = {c.name for c in self.columns}
        return tuple(
            owner
            for owner, key in OWNERS.items()
            if owner != self.name and self.name not in LOGS and names.issuperset(key)
        )

    @property
    def leaves_out(self) -> bool:
        """Whether the plain name leaves rows out, which `<table>_all` shows."""
        return self.marks_deletions or bool(self.owners)

    def arrow(self) -> pa.Schema:
        """Returns the table's Arrow schema; instants are `timestamp[us, tz=UTC]`."""
        import pyarrow as pa

        types = {
            "VARCHAR": pa.string(),
            "BIGINT": pa.int64(),
            "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "TIMESTAMP": pa.timestamp("us", tz="UTC"),
        }
        return pa.schema(
            [pa.field(c.name, types[c.type], nullable=c.nullable) for c in self.columns]
        )


@cache
def table_names() -> tuple[str, ...]:
    """Returns the names of all tables, in alphabetical order."""
    return tuple(sorted(p.stem for p in (resource_root() / "schemas" / "tables").glob("*.sql")))


@cache
def load_table(name: str) -> TableSchema:
    """Returns the schema of a table.

    Raises:
        ValueError: The file does not keep to the form that the module describes.
    """
    comments: list[str] = []
    columns: list[Column] = []
    primary_key: tuple[str, ...] = ()
    for line in read_resource(f"schemas/tables/{name}.sql").splitlines():
        if match := _COLUMN.match(line):
            columns.append(
                Column(
                    match["name"],
                    match["type"],
                    match["required"] is None,
                    match["comment"].strip(),
                )
            )
        elif match := _KEY.match(line):
            primary_key = tuple(match["columns"].split(", "))
        elif match := _COMMENT.match(line):
            comments.append(match["text"])
        elif line not in {f"CREATE TABLE {name} (", ");", ""}:
            raise ValueError(f"schemas/tables/{name}.sql: cannot read the line {line!r}")
    return TableSchema(name, " ".join(comments), tuple(columns), primary_key)
