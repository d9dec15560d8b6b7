"""Looks at the published file as other tools will: does it open, does it say what it should?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from wbsync.catalog.record import read_record
from wbsync.catalog.swap import TARGET

if TYPE_CHECKING:
    from pathlib import Path

SAFE_TYPES = ("VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP")
"""Types that every tool with a DuckDB driver understands."""

OLDEST_STORAGE = "v1.0."
"""Storage versions that begin so are read by DuckDB 1.1 and later."""


def examine(root: Path) -> tuple[str, list[str]]:
    """Returns what the published file is, and what is wrong with it.

    Args:
        root: Folder of the warehouse.

    Returns:
        A description, and one sentence for each fault; the description is empty where nothing is
        published yet.
    """
    path = root / TARGET
    if not path.is_file():
        return "", []
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal")
            storage = str((tags.fetchall()[0][0] or {}).get("storage_version", ""))
            unsafe = connection.execute(
                "SELECT schema_name || '.' || table_name || '.' || column_name || ' ' || data_type"
                " FROM duckdb_columns() WHERE NOT internal AND schema_name <> '_wbsync'"
                " AND data_type NOT IN (SELECT unnest(?::VARCHAR[])) ORDER BY ALL",
                [list(SAFE_TYPES)],
            ).fetchall()
    except duckdb.Error as error:
        reason = str(error).split("\n", 1)[0]
        return "damaged", [f"it does not open ({reason}); run `wbsync publish --rebuild`"]
    faults = [f"{column} is a type that older tools may not know" for (column,) in unsafe]
    record = read_record(path)
    if record is None:
        faults.append("an older wbsync wrote it; run `wbsync publish`")
    elif record.facts["place"] != str((root / "lake").resolve()):
        faults.append("the warehouse was moved or copied; run `wbsync publish`")
    if storage and not storage.startswith(OLDEST_STORAGE):
        return f"needs a DuckDB that reads storage version {storage.rstrip('+')}", faults
    return "opens in DuckDB 1.1 and later", faults
