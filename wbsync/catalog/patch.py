"""Brings a copy of the last published file up to date, by what changed in the lake since.

What changed is told by files: a table's rows that differ are in files that were added or removed
since. Rows of both that are equal only moved. So one edited run costs reading a file or two, and
writing its own rows, however large the warehouse is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.catalog.build import is_lake_view
from wbsync.catalog.ddl import column, create_temporary, table
from wbsync.catalog.keys import PARTS, came, count_changes, kinds
from wbsync.catalog.overlay import write_overlay
from wbsync.catalog.projects import write_projects
from wbsync.catalog.record import record_facts, record_files, seen
from wbsync.catalog.rows import append, fill, published
from wbsync.catalog.shape import shape_of
from wbsync.catalog.views import find_gone, write_lake_view, write_plain_views
from wbsync.catalog.writing import run, writing
from wbsync.lake.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.catalog.overlay import Overlay
    from wbsync.catalog.record import Project, Record
    from wbsync.catalog.shape import Shape
    from wbsync.catalog.writing import Connection, Form
    from wbsync.lake import Lake
    from wbsync.lake.scan import Part


CHEAP_BYTES = 32 * 1024 * 1024
"""So much of the lake is read for a patch without asking whether a new file would cost less."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a table's files differ from those that are published."""

    shape: Shape
    files: tuple[Path, ...]
    added: tuple[Path, ...]
    removed: tuple[Path, ...]


def find_change(lake: Lake, name: str, record: Record) -> Change:
    """Returns how a table's files differ from those that a published file was made of.

    Files that were only put together since count as if they had been together then.
    """
    files = lake.files(name)
    held = set(record.files.get(name, ()))
    since = json.loads(record.facts["versions"]).get(name)
    for gone, made in () if since is None else lake.rewrites(name, since):
        if gone <= held:
            held = (held - gone) | made
    names = {f.name for f in files}
    return Change(
        shape_of(name),
        tuple(files),
        tuple(f for f in files if f.name not in held),
        tuple(lake.path(name) / file for file in sorted(held - names)),
    )


def can_patch(changes: Iterable[Change], form: Form) -> bool:
    """Says whether changes can be applied, and for less than making the file anew costs.

    Rows that went are told by reading the files that held them, so these must still be there, and
    rows must have a key. Many new rows lie better in a new file, in large row groups.
    """
    read = total = 0
    for change in changes:
        if is_lake_view(change.shape.name, form):
            continue
        key = {
            c.name: c
            for c in change.shape.schema.columns
            if c.name in change.shape.schema.primary_key
        }
        has_key = bool(key) and not any(c.nullable for c in key.values())
        if change.removed and not (has_key and all(f.exists() for f in change.removed)):
            return False
        read += sum(f.stat().st_size for f in (*change.removed, *change.added))
        total += sum(f.stat().st_size for f in change.files)
    return read <= max(total // 2, CHEAP_BYTES)


def patch(
    path: Path,
    lake: Lake | None,
    changes: Sequence[Change],
    *,
    form: Form,
    sync_log: pa.Table | None,
    facts: Mapping[str, str],
    overlay: Overlay | None,
    record: Record,
    memory: str | None,
    since: str = "",
) -> None:
    """Applies changes to a published file.

    Args:
        path: The file, a copy of the one that is published.
        lake: Where rows are read; None where nothing changed there.
        changes: What changed, for each table that did.
        form: What kind of file it is.
        sync_log: Rows of the table sync_log; None leaves it.
        facts: What the file is to record about itself.
        overlay: Edits to lay over it; None leaves those that are there.
        record: What the file has recorded so far.
        memory: What DuckDB may use.
        since: Version of the overlay after which alone one need look; empty for all.

    Raises:
        duckdb.Error: A file of the lake cannot be read, or the disk refused.
    """
    touched: set[Project] = set()
    with writing(path, form, memory) as connection:
        if sync_log is not None:
            fill(connection, shape_of("sync_log"), sync_log)
        for change in changes:
            assert lake is not None
            name = change.shape.name
            if is_lake_view(name, form):
                write_lake_view(connection, change.shape, lake.parts(name, change.files))
            elif change.removed:
                touched |= _exchange(connection, lake, change)
            elif change.added:
                parts = lake.parts(name, change.added)
                append(connection, change.shape, parts)
                if name in PARTS:
                    rows = scan(change.shape.schema, parts).subquery("rows")
                    touched |= count_changes(connection, name, came(name, rows))
        record_files(connection, {c.shape.name: [f.name for f in c.files] for c in changes})
        gone, pending = record.names("gone"), record.names("pending")
        now_gone = find_gone(connection) if changes else gone
        now_pending = pending
        if overlay is not None:
            # What edits make of other rows is worked out anew; the queue is what it was.
            log_since = since or overlay.since(record.facts.get("edits", ""))
            now_pending = write_overlay(connection, overlay, pending, since, log_since)
        if now_gone != gone:
            write_plain_views(connection, now_gone, now_pending)
        elif now_pending != pending:
            write_plain_views(connection, gone, now_pending, now_pending ^ pending)
        if changes:
            write_projects(connection, touched)
        record_facts(connection, {**facts, **seen(now_gone, now_pending)})


def _exchange(connection: Connection, lake: Lake, change: Change) -> set[Project]:
    """Takes out the rows that went and puts in those that came, and counts their keys.

    Returns:
        The projects whose keys were touched.
    """
    shape = change.shape
    schema = shape.schema
    key: list[Any] = [column(name) for name in schema.primary_key]
    added = lake.parts(shape.name, change.added)
    extra = kinds(shape.name) if shape.name in PARTS else []
    for name, parts in (("was", lake.parts(shape.name, change.removed)), ("now", added)):
        run(connection, create_temporary(name, _fingerprints(shape, parts, extra)))
    same = [*key, column("fingerprint")]
    for name, here, there in (("gone", "was", "now"), ("came", "now", "was")):
        query = exp.select("*").from_(_temporary(here))
        run(
            connection,
            create_temporary(name, query.join(_temporary(there), using=same, join_type="anti")),
        )
    stored, gone = table(shape.stored), _temporary("gone")
    equal = exp.and_(*(column(k.name, "held").eq(column(k.name, "gone")) for k in key))
    held = exp.alias_(stored, "held", table=True)
    run(connection, exp.Delete(this=held, using=[gone], where=exp.Where(this=equal)))
    rows = exp.select("*").from_(scan(schema, added).subquery("added"))
    rows = rows.join(_temporary("came"), using=key, join_type="semi")
    run(connection, exp.insert(published(schema, rows), table(shape.stored)))
    touched: set[Project] = set()
    if extra:
        names = ["entity", "project", "key", *(e.alias for e in extra)]
        signed = [
            exp.select(exp.alias_(exp.Literal.number(sign), "sign"), *map(column, names)).from_(
                _temporary(name)
            )
            for name, sign in (("came", 1), ("gone", -1))
        ]
        touched = count_changes(connection, shape.name, exp.union(*signed, distinct=False))
    for name in ("was", "now", "gone", "came"):
        connection.execute(exp.Drop(tables=[_temporary(name)], kind="TABLE").sql("duckdb"))
    return touched


def _fingerprints(shape: Shape, parts: Sequence[Part], extra: Sequence[exp.Expr]) -> exp.Select:
    """Returns the query for key and hash of each row of some files."""
    columns = shape.schema.columns
    # To DuckDB, 0.0 and -0.0 are equal, and so are their hashes.
    signs = [exp.func("signbit", column(c.name)) for c in columns if c.type == "DOUBLE"]
    whole = exp.alias_(exp.func("hash", *(column(c.name) for c in columns), *signs), "fingerprint")
    rows = scan(shape.schema, parts).subquery("rows")
    return exp.select(*map(column, shape.schema.primary_key), whole, *extra).from_(rows)


def _temporary(name: str) -> exp.Table:
    return exp.table_(name, db="temp", quoted=True)
