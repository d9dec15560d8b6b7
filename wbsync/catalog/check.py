"""Compares the published file with the lake: is it of the newest version, and whole?"""

from __future__ import annotations

import filecmp
import json
from typing import TYPE_CHECKING

import duckdb
import sqlglot
from sqlglot import exp

from wbsync.catalog.build import is_lake_view
from wbsync.catalog.ddl import table
from wbsync.catalog.publish import facts_of, form_of, went_back
from wbsync.catalog.record import attached, read_record
from wbsync.catalog.shape import LAKE_VIEWS, lake_tables, shape_of
from wbsync.catalog.swap import TARGET, Builds
from wbsync.lake.verify import LOST
from wbsync.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wbsync.catalog.record import Record
    from wbsync.catalog.writing import Connection, Form
    from wbsync.lake import Lake

STALE = "stale catalog"
DAMAGED = "damaged catalog"


def check_published(root: Path, lake: Lake, *, deep: bool = False) -> list[Finding]:
    """Returns what is wrong with the published file, nothing where nothing is published.

    A stale file is one that another publication brings up to date; a damaged one must be built
    from nothing.

    Args:
        root: Folder of the warehouse.
        lake: Its lake.
        deep: Whether every byte of the published file is compared with the build it is a copy of.
    """
    builds = Builds(root)
    newest = builds.newest()
    versions = {name: lake.version(name) for name in lake_tables()}
    if newest is None and not any(v is not None for v in versions.values()):
        return []
    if newest is None or not builds.target.exists():
        return [_finding(STALE, "the lake was never published")]
    record = read_record(newest)
    if record is None:
        return [_finding(DAMAGED, "it cannot be opened, or an older wbsync wrote it")]
    form = form_of(record.facts)
    findings = list(_differences(record, facts_of(lake, form, versions), versions))
    stale = {finding.table for finding in findings}
    if None not in stale:
        try:
            with attached(newest) as connection:
                findings += [
                    _finding(DAMAGED, message, name)
                    for name in lake_tables()
                    if name not in stale and (message := _problem(connection, lake, name, form))
                ]
        except duckdb.Error as error:
            findings.append(_finding(DAMAGED, f"it cannot be read: {error}"))
    is_in_place = builds.is_in_place(builds.read_note())
    if is_in_place and deep and not filecmp.cmp(newest, builds.target, shallow=False):
        findings.append(_finding(DAMAGED, f"it is not a copy of {newest.name}, as it was"))
    if not findings and not is_in_place:
        findings.append(_finding(STALE, f"it is not the newest build, {newest.name}"))
    return findings


def published_files(root: Path) -> set[str]:
    """Returns the names of the Parquet files that are read through any published file."""
    builds = Builds(root)
    names: set[str] = set()
    for path in [*map(builds.path, builds.numbers()), builds.target]:
        record = read_record(path)
        if record is not None:
            names.update(*(record.files.get(name, ()) for name in LAKE_VIEWS))
    return names


def _differences(
    record: Record, wanted: Mapping[str, str], versions: Mapping[str, int | None]
) -> Iterator[Finding]:
    """Yields how a file's record differs from what one made now would say."""
    facts = record.facts
    if facts.get("place") != wanted["place"]:
        message = f"it looks for its files in {facts.get('place')}, which are in {wanted['place']}"
        yield _finding(STALE, message)
    if facts.get("layout") != wanted["layout"]:
        yield _finding(STALE, "it has other tables or columns than this wbsync publishes")
    held = json.loads(facts.get("versions") or "{}")
    lost = went_back(versions, record)
    for name, version in versions.items():
        if name in lost:
            message = f"{name}: version {held[name]} was published, and the lake is at {version}"
            yield Finding(LOST, message, table=name)
        elif held.get(name) != version:
            message = f"{name} is of version {held.get(name)}, the lake at {version}"
            yield _finding(STALE, message, name)


def _problem(connection: Connection, lake: Lake, name: str, form: Form) -> str | None:
    """Returns what is wrong with a published table that claims to be of the newest version."""
    files = lake.data_files(name)
    shape = shape_of(name)
    if is_lake_view(name, form):
        is_same = set(_view_files(connection, shape.stored)) == {str(f.path) for f in files}
        return None if is_same else f"the view {name} names other files than the lake"
    count = exp.select(exp.Count(this=exp.Star())).from_(table(shape.stored))
    rows = connection.execute(count.sql("duckdb")).fetchall()[0][0]
    held = sum(file.rows or 0 for file in files)
    return None if rows == held else f"{name} has {rows:,} rows, the lake {held:,}"


def _view_files(connection: Connection, name: str) -> Iterator[str]:
    """Yields the paths that a view names, as it writes them."""
    rows = connection.execute(
        "SELECT sql FROM duckdb_views() WHERE database_name = 'published'"
        " AND schema_name = 'main' AND view_name = ?",
        [name],
    ).fetchall()
    for (text,) in rows:
        for read in sqlglot.parse_one(text, dialect="duckdb").find_all(exp.ReadParquet):
            for literal in read.find_all(exp.Literal):
                yield str(literal.this)


def _finding(kind: str, message: str, name: str | None = None) -> Finding:
    return Finding(kind, f"{TARGET}: {message}", table=name)
