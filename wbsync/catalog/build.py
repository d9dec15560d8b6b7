"""Makes a whole published file from nothing but files of the lake."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from wbsync.catalog.keys import PARTS, count_all
from wbsync.catalog.overlay import write_overlay
from wbsync.catalog.projects import write_projects
from wbsync.catalog.record import create_record, record_facts, record_files, restore_names, seen
from wbsync.catalog.rows import fill
from wbsync.catalog.shape import LAKE_VIEWS, lake_tables, shape_of
from wbsync.catalog.views import find_gone, write_lake_view, write_macros, write_plain_views
from wbsync.catalog.writing import LARGE_ROW_GROUP, Form, with_enough_memory, writing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.catalog.overlay import Overlay
    from wbsync.catalog.record import Names
    from wbsync.lake.scan import Part


def build(
    path: Path,
    tables: Mapping[str, Sequence[Part]],
    *,
    form: Form | None = None,
    sync_log: pa.Table | None = None,
    facts: Mapping[str, str] | None = None,
    names: Names | None = None,
    overlay: Overlay | None = None,
) -> None:
    """Makes a published file.

    Args:
        path: The file; one that is there is replaced. What does not fit in memory waits beside it.
        tables: Table of the lake to the files it is made of, as `Lake.parts` gives them for the
            newest or for an older version; a table that is left out is empty.
        form: What kind of file; None for the usual one.
        sync_log: Rows of the table sync_log.
        facts: What the file is to record about itself.
        names: Names of schemas and columns that an earlier file has given.
        overlay: Edits to lay over it; None for none.

    Raises:
        duckdb.Error: A file of the lake cannot be read, or the disk refused.
    """

    def make(memory: str | None) -> None:
        discard(path)
        _make(path, tables, form or Form(), sync_log, facts or {}, names, overlay, memory)

    with_enough_memory(make)


def discard(path: Path) -> None:
    """Removes a file that was being made, and what lies beside it."""
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(".spill"), ignore_errors=True)


def _make(
    path: Path,
    tables: Mapping[str, Sequence[Part]],
    form: Form,
    sync_log: pa.Table | None,
    facts: Mapping[str, str],
    names: Names | None,
    overlay: Overlay | None,
    memory: str | None,
) -> None:
    shapes = [shape_of(name) for name in lake_tables()]
    with writing(path, form, memory, row_group=LARGE_ROW_GROUP) as connection:
        for shape in shapes:
            if shape.is_leaf and not is_lake_view(shape.name, form):
                fill(connection, shape, tables.get(shape.name, ()))
    with writing(path, form, memory) as connection:
        create_record(connection)
        fill(connection, shape_of("sync_log"), () if sync_log is None else sync_log)
        for shape in shapes:
            parts = tables.get(shape.name, ())
            if is_lake_view(shape.name, form):
                write_lake_view(connection, shape, parts)
            elif not shape.is_leaf:
                fill(connection, shape, parts)
            if shape.name in PARTS and form.has_projects:
                count_all(connection, shape.name, shape.stored)
        record_files(
            connection,
            {name: [f.name for p in parts for f in p.files] for name, parts in tables.items()},
        )
        gone, pending = find_gone(connection), write_overlay(connection, overlay)
        write_plain_views(connection, gone, pending)
        write_macros(connection)
        if names is not None:
            restore_names(connection, names)
        if form.has_projects:
            write_projects(connection, ())
        record_facts(connection, {**facts, **seen(gone, pending)})


def is_lake_view(name: str, form: Form) -> bool:
    """Says whether a table is a view over Parquet files in a file of this kind."""
    return form.is_passing or (name in LAKE_VIEWS and not form.materialize)
