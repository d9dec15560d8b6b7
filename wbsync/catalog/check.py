"""Compares the published file with the lake: is it of the newest version, and whole?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import sqlglot
from sqlglot import exp

from wbsync.catalog.publish import (
    VIEW_TABLES,
    attached,
    is_published,
    select_rows,
    stamps_in,
    stamps_of,
)
from wbsync.model import Finding
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wbsync.lake import Lake

STALE = "stale catalog"
DAMAGED = "damaged catalog"


def check_published(root: Path, lake: Lake) -> list[Finding]:
    """Returns what is wrong with the published file, nothing where nothing is published.

    A stale file is one that another publication brings up to date; a damaged one must be built
    from nothing.
    """
    target = root / "warehouse.duckdb"
    builds = [p for p in (root / "catalog").glob("*.duckdb") if p.stem.isdigit()]
    if not lake.tables() and not builds:
        return []
    newest = max(builds, key=lambda p: int(p.stem), default=None)
    if newest is None or not target.exists():
        return [Finding(STALE, f"{target.name}: the lake was never published")]
    if not is_published(newest, target):
        return [Finding(STALE, f"{target.name}: it is not the newest build, {newest.name}")]
    held, wanted = stamps_in(newest), stamps_of(lake)
    if not held:
        return [Finding(DAMAGED, f"{target.name}: it cannot be opened")]
    findings = [
        Finding(STALE, f"{target.name}: {_difference(name, held.get(name), stamp)}", table=name)
        for name, stamp in wanted.items()
        if held.get(name) != stamp
    ]
    stale = {finding.table for finding in findings}
    try:
        with attached(newest) as connection:
            findings += [
                Finding(DAMAGED, f"{target.name}: {message}", table=name)
                for name in wanted.keys() - stale
                if (message := _content_problem(connection, lake, name))
            ]
    except duckdb.Error as error:
        findings.append(Finding(DAMAGED, f"{target.name}: it cannot be read: {error}"))
    return sorted(findings, key=lambda f: f.table or "")


def published_files(root: Path) -> set[str]:
    """Returns the names of the Parquet files that any published file reads."""
    names: set[str] = set()
    for path in [*(root / "catalog").glob("*.duckdb"), root / "warehouse.duckdb"]:
        try:
            with attached(path) as connection:
                for name in VIEW_TABLES:
                    names.update(Path(file).name for file in _view_files(connection, name))
        except (duckdb.Error, OSError):
            continue
    return names


def _difference(name: str, held: str | None, wanted: str) -> str:
    if held is None:
        return f"{name} is not in it"
    (ours, columns, place), (theirs, other_columns, other_place) = (
        (*text.split(" ", 2), "")[:3] for text in (wanted, held)
    )
    if ours != theirs:
        return f"{name} is of version {theirs}, the lake at {ours}"
    if columns != other_columns:
        return f"{name} has other columns than this wbsync writes"
    return f"{name} looks for its files in {other_place}, which are in {place}"


def _content_problem(connection: duckdb.DuckDBPyConnection, lake: Lake, name: str) -> str | None:
    """Returns what is wrong with a published table that claims to be of the newest version."""
    schema = load_table(name)
    if name in VIEW_TABLES:
        query = select_rows(schema, lake.parts(name))
        wanted = set(_files_in(query))
        found = set(_view_files(connection, name))
        return None if found == wanted else f"the view {name} names other files than the lake"
    marks_deletions = any(c.name == "deleted_at" for c in schema.columns)
    stored = exp.table_(
        f"{name}_all" if marks_deletions else name, "main", "published", quoted=True
    )
    count = exp.select(exp.Count(this=exp.Star())).from_(stored)
    rows = connection.execute(count.sql("duckdb")).fetchall()[0][0]
    held = sum(file.rows or 0 for file in lake.data_files(name))
    return None if rows == held else f"{name} has {rows:,} rows, the lake {held:,}"


def _view_files(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[str]:
    rows = connection.execute(
        "SELECT sql FROM duckdb_views() WHERE database_name = 'published' AND view_name = ?", [name]
    ).fetchall()
    for (text,) in rows:
        yield from _files_in(sqlglot.parse_one(text, dialect="duckdb"))


def _files_in(tree: exp.Expr) -> Iterator[str]:
    for literal in tree.find_all(exp.Literal):
        if literal.is_string and literal.this.endswith(".parquet"):
            yield str(literal.this)
