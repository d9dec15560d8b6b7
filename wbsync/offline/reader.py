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

_ENTITY_HELD = """
SELECT held FROM entities WHERE held IS NOT NULL AND ($entity IS NULL OR entity = $entity)
"""
_OLDER = ("does not exist", "not found in FROM clause")
_ANY_RUN = "SELECT 1 FROM runs_all WHERE entity = $entity AND project = $project LIMIT 1"


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
            if not any(words in str(error) for words in _OLDER):
                raise
            # A file that an older wbsync published lacks tables and columns of this one.
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

    def has_read(self, table: str, entity: str | None = None) -> bool:
        """Says whether a sync has read a table of an entity as a whole to its end.

        Args:
            table: Table that the entity's sync fills; `registries` for all of the registries'.
            entity: The entity; None asks for any.
        """
        rows = self.rows(_ENTITY_HELD, entity=entity)
        return any(table in json.loads(row["held"]) for row in rows)

    def check_entity(self, table: str, entity: str | None, what: str | None = None) -> None:
        """Says what an empty list means, as check_read does for a project.

        Args:
            table: As for has_read.
            entity: The entity; None for any.
            what: What is looked for; None for the table's rows.

        Raises:
            NotHeldError: No sync has read the table of this entity to its end.
        """
        if not self.has_read(table, entity):
            what = what or f"the list of {table.replace('_', ' ')} of {entity or 'any entity'}"
            raise NotHeldError(what, f"wbsync sync {entity or 'ENTITY'} --only {table}")

    def check_runs(self, entity: str, project: str) -> None:
        """Says what it means that no run passes: none of W&B's does, or none were read.

        Raises:
            NotHeldError: No run of the project is held, and no sync has walked through all.
        """
        bookmark = json.loads(self.project(entity, project)["bookmark"] or "{}")
        if not bookmark.keys() - {"held", "pending"} and not self.rows(
            _ANY_RUN, entity=entity, project=project
        ):
            raise not_held(f"the list of runs of {entity}/{project}", entity, project)


def not_held(what: str, entity: str, project: str, options: str = "") -> NotHeldError:
    """Returns the error that says which sync of a project brings a thing."""
    return NotHeldError(what, f"wbsync sync {entity}/{project}{options}")
