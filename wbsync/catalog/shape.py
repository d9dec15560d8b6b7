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

STATE_TABLES = frozenset({"sync_log", "edits"})
"""Tables whose rows come from the local state, not from the lake."""

LOGS = STATE_TABLES | {"run_changes"}
"""Tables of what happened: it happened even where the run is gone."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table stands in the published file."""

    schema: TableSchema
    marks_deletions: bool
    """Whether its rows say themselves when W&B was found not to have them any more."""
    is_of_run: bool
    """Whether each row belongs to a run, and goes out of sight with it."""
    is_of_project: bool
    """Whether each row belongs to a project, and goes out of sight with it."""
    is_leaf: bool
    """Whether it holds many short rows for one run: written in large row groups, without a key."""

    @property
    def name(self) -> str:
        """Name that people use."""
        return self.schema.name

    @property
    def is_filtered(self) -> bool:
        """Whether the plain name is a view on `stored`."""
        return self.marks_deletions or self.is_of_run or self.is_of_project

    @property
    def stored(self) -> str:
        """Name under which all rows stand."""
        return f"{self.name}_all" if self.is_filtered else self.name

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
    columns = {c.name for c in schema.columns}
    is_log = name in LOGS
    key = schema.primary_key
    return Shape(
        schema,
        marks_deletions="deleted_at" in columns,
        is_of_run=not is_log and name != "runs" and {"entity", "project", "run_id"} <= columns,
        is_of_project=not is_log and name != "projects" and {"entity", "project"} <= columns,
        is_leaf=name in LAKE_VIEWS or not key or ("run_id" in key and key[-1] != "run_id"),
    )


@cache
def lake_tables() -> tuple[str, ...]:
    """Returns the names of the tables whose rows come from the lake."""
    return tuple(name for name in table_names() if name not in STATE_TABLES)
