"""The one way in which objects ask the warehouse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wbsync.errors import NotHeldError, QueryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.warehouse import Warehouse
    from wbsync.writeback.operations import Operation

_PROJECT = "SELECT * FROM projects WHERE entity = $entity AND project = $project"


class Reader:
    """Asks a warehouse, and says what is missing from it."""

    def __init__(self, warehouse: Warehouse, app_url: str) -> None:
        """Takes a warehouse.

        Args:
            warehouse: Where the rows are.
            app_url: W&B's web pages, without a trailing slash.
        """
        self.warehouse = warehouse
        self.app_url = app_url

    @property
    def root(self) -> Path:
        """Folder of the warehouse."""
        return self.warehouse.root

    def table(self, query: str, **params: Any) -> pa.Table:
        """Returns the rows of one of our own queries, with `$name` parameters, as Arrow."""
        from wbsync.writeback.objects import show_changes

        show_changes(self.root)
        try:
            return self.warehouse.engine().run_trusted(query, params).arrow()
        except QueryError as error:
            if "does not exist" not in str(error):
                raise
            # A file that an older wbsync published lacks the tables of this one.
            raise NotHeldError("what this newer wbsync reads", "wbsync sync") from error

    def rows(self, query: str, **params: Any) -> list[dict[str, Any]]:
        """Returns the rows of one of our own queries as dictionaries."""
        rows: list[dict[str, Any]] = self.table(query, **params).to_pylist()
        return rows

    def select(
        self,
        kind: str,
        scope: Mapping[str, str],
        filters: Any = None,
        order: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Returns the things of a kind that pass a filter, in order, as W&B's server means both.

        Args:
            kind: One of `wbsync.query.filters.KINDS`.
            scope: Column to the value that all rows have in it.
            filters: A filter in any form that `parse_filter` takes.
            order: An order string, or a list of them.
            columns: Columns of the kind's table; None for all.
            limit: Most rows.

        Raises:
            FilterError: The filter or the order cannot be used.
        """
        from wbsync.query.filters import Question, build_select, parse_filter, parse_order

        question = Question(
            parse_filter(filters, kind, "wandb"),
            scope,
            parse_order(order),
            None if columns is None else tuple(columns),
            limit,
        )
        return self.table(build_select(question).sql("duckdb"))

    def project(self, entity: str, project: str) -> dict[str, Any]:
        """Returns the row of a project.

        Raises:
            NotHeldError: It was not synced.
        """
        rows = self.rows(_PROJECT, entity=entity, project=project)
        if not rows:
            raise not_held(f"{entity}/{project}", entity, project)
        return rows[0]

    def queue(self, operations: Sequence[Operation]) -> None:
        """Queues what was changed in a thing.

        Raises:
            EditError: W&B would not take it, or the key may only read there; nothing is queued.
        """
        from wbsync.writeback.objects import accept_changes
        from wbsync.writeback.things import check_writable

        targets = [operation.target for operation in operations]
        if targets:
            check_writable(self.warehouse.engine(), [(t.entity, t.project) for t in targets])
        accept_changes(self.root, operations)

    def check_read(self, table: str, entity: str, project: str) -> None:
        """Says what an empty list means: that W&B has none, or that they were never read.

        Args:
            table: Table of things of the project as a whole, the first that its stream fills.
            entity: Entity that owns the project.
            project: Project.

        Raises:
            NotHeldError: No sync has read them to their end.
        """
        bookmark = json.loads(self.project(entity, project)["bookmark"] or "{}")
        if table not in bookmark.get("held", ()):
            what = f"the list of {table.replace('_', ' ')} of {entity}/{project}"
            raise not_held(what, entity, project)


def not_held(what: str, entity: str, project: str, options: str = "") -> NotHeldError:
    """Returns the error that says which sync of a project brings a thing."""
    return NotHeldError(what, f"wbsync sync {entity}/{project}{options}")
