"""Keeps the ledger: what is held of each run, against what W&B claims.

Each commit of history or system metrics carries the cursors of the runs it wrote, and a cursor
counts and sums what it vouches for. The ledger is those cursors as a table. Its own commits say
which versions of the tables they have seen, so one that was never made is made by the next sync.

Lists of files are in it, too, without a checksum: so a run without files is told from one whose
files were never read.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from wbsync.model import RunPath
from wbsync.sync.cursors import Cursor, Cursors
from wbsync.sync.run_files import FileCursor
from wbsync.tables import load_table

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from wbsync.lake import Lake
    from wbsync.state import State

LEDGER = "ledger"
TABLES = ("history", "system_metrics")
"""Tables whose commits carry cursors that count."""

FILES = "run_files"

KEY = ["entity", "project", "run_id", "table_name"]
_METADATA_KEY = "wbsync.ledger"


def keep_ledger(lake: Lake, state: State, now: datetime, *, anew: bool = False) -> bool:
    """Brings the ledger up to what was committed; says whether it had to be written.

    Args:
        lake: The warehouse's lake.
        state: Its state.
        now: When this is.
        anew: Whether to write all of it, whatever it holds.
    """
    import pyarrow as pa

    held = lake.newest_metadata(LEDGER, _METADATA_KEY)
    seen: dict[str, int] = {} if anew or held is None else json.loads(held)
    versions = {table: lake.version(table) for table in (*TABLES, FILES)}
    now_seen = {table: version for table, version in versions.items() if version is not None}
    if not now_seen or (seen == now_seen and not anew):
        return False
    is_older = any(seen.get(table, -1) > version for table, version in now_seen.items())
    seen = {} if is_older else seen
    news = [
        (table, run, cursor)
        for table, version in now_seen.items()
        if table in TABLES and seen.get(table) != version
        for run, cursor in Cursors(lake, state, table).committed(seen.get(table)).items()
    ]
    if seen.get(FILES) != now_seen.get(FILES):
        news += [(FILES, *n) for n in _listed(lake, state, seen.get(FILES)).items()]
    if not news and not anew:
        return False
    schema = load_table(LEDGER).arrow()
    rows = [_row(table, run, cursor, now) for table, run, cursor in news if cursor is not None]
    if seen:
        named = [{**_key(run), "table_name": table} for table, run, _ in news]
        scope = pa.Table.from_pylist(named, schema=pa.schema([schema.field(n) for n in KEY]))
    else:
        scope = lake.read(LEDGER, columns=KEY)
    lake.replace(
        LEDGER,
        scope,
        pa.Table.from_pylist(rows, schema=schema),
        {_METADATA_KEY: json.dumps(now_seen, sort_keys=True)},
    )
    return True


def read_ledger(lake: Lake, table: str) -> pa.Table:
    """Returns the ledger's rows that speak of a table."""
    return lake.read(LEDGER, filters=[("table_name", "=", table)])


def counts_of_keys(lake: Lake) -> dict[RunPath, tuple[int, str | None]]:
    """Returns, run by run, how many values history_keys say are held, and whence they came."""
    run = ["entity", "project", "run_id"]
    rows = lake.read("history_keys", columns=[*run, "held_count", "source"])
    summed = rows.group_by(run).aggregate([("held_count", "sum"), ("source", "max")])
    return {
        RunPath(*(row[name] for name in run)): (row["held_count_sum"], row["source_max"])
        for row in summed.to_pylist()
    }


def checksum_text(checksum: int) -> str:
    """Returns a checksum as the ledger writes it."""
    return f"{checksum:016x}"


def _listed(lake: Lake, state: State, since: int | None) -> dict[RunPath, Cursor | None]:
    """Returns the runs whose files were listed by commits after a version, each as a cursor."""
    found = Cursors(lake, state, FILES).committed(since, FileCursor)
    if any(cursor is not None and cursor.files is None for cursor in found.values()):
        where = [("deleted_at", "is", None)]  # An older wbsync listed them, and did not count.
        rows = lake.read(FILES, columns=KEY[:3], filters=where)
        counts = Counter(zip(*(rows[name].to_pylist() for name in KEY[:3]), strict=True))
    return {
        run: None
        if cursor is None
        else Cursor(
            storage_id=cursor.storage_id,
            last_step=None,
            rows=counts[astuple(run)] if cursor.files is None else cursor.files,
            claimed_rows=None,
            claimed_last_step=None,
        )
        for run, cursor in found.items()
    }


def _key(run: RunPath) -> dict[str, str]:
    return {"entity": run.entity, "project": run.project, "run_id": run.run_id}


def _row(table: str, run: RunPath, cursor: Cursor, now: datetime) -> dict[str, Any]:
    content = cursor.content
    return {
        **_key(run),
        "table_name": table,
        "held_rows": cursor.rows,
        "held_steps": cursor.steps,
        "held_values": cursor.values,
        "last_step": cursor.last_step,
        "claimed_rows": cursor.claimed_rows,
        "claimed_last_step": cursor.claimed_last_step,
        "source": cursor.source,
        "checksum": None if content is None else checksum_text(content.checksum),
        "synced_at": now,
    }
