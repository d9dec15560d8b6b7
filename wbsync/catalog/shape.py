"""How each table of the warehouse stands in the published file.

What W&B no longer has stays in `<table>_all`; the plain name is a view that leaves it out, and
with it all that belongs to a run or a project that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from wbsync.tables import load_table, table_names

if TYPE_CHECKING:
    from wbsync.tables import TableSchema

LAKE_VIEWS = frozenset({"history", "system_metrics", "console_logs", "artifact_files"})
"""Tables whose rows stay in the lake: the published file has views over their Parquet files."""

KEYED_TABLES = frozenset({"run_config", "run_summary"})
"""Tables whose rows lie key by key, so that a filter reads those of its keys and few others."""

STATE_TABLES = frozenset({"sync_log", "edits", "edit_log"})
"""Tables whose rows come from the local state, not from the lake."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table stands in the published file."""

    schema: TableSchema
    is_leaf: bool
    """Whether it holds many short rows for one run: written in large row groups, without a key."""

    @property
    def name(self) -> str:
        """Name that people use."""
        return self.schema.name

    @property
    def stored(self) -> str:
        """Name under which all rows stand."""
        return f"{self.name}_all" if self.schema.leaves_out else self.name

    @property
    def order(self) -> tuple[str, ...]:
        """Columns in whose order the rows of a file of the lake are written; none for its own."""
        return ("key", "entity", "project", "run_id") if self.name in KEYED_TABLES else ()

    @property
    def key(self) -> tuple[str, ...]:
        """Primary key in the published file.

        An index over a leaf table would be the greater part of the file, and DuckDB builds it in
        memory: for 10,000 runs of 150 keys it took the file from 18 to 81 MB.
        """
        return () if self.is_leaf else self.schema.primary_key


@cache
def shape_of(name: str) -> Shape:
    """Returns how a table stands in the published file."""
    schema = load_table(name)
    key = schema.primary_key
    is_leaf = name in LAKE_VIEWS or not key or ("run_id" in key and key[-1] != "run_id")
    return Shape(schema, is_leaf)


@cache
def lake_tables() -> tuple[str, ...]:
    """Returns the names of the tables whose rows come from the lake."""
    return tuple(name for name in table_names() if name not in STATE_TABLES)
