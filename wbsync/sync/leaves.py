"""Leaves of runs: are they those of the JSON they were made of? If not, they are made of it again.

Config, summary and tags stand twice in a warehouse: whole, as JSON in `runs`, and row by row in
tables of their own. So rows that were lost without a trace in any file are found, and need no
server to come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import flatten, parse_json
from wbsync.lake import verify as disk
from wbsync.lake.ranges import RUN
from wbsync.model import RunPath
from wbsync.sync.segments import run_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from wbsync.lake import Lake

LEAVES = {
    "run_config": ("config", "key"),
    "run_summary": ("summary", "key"),
    "run_tags": ("tags", "tag"),
}
"""Table of leaves to the column of runs that holds them whole, and its own that names a leaf."""

RUNS_AT_ONCE = 2_000


def find_differing(
    lake: Lake, table: str, files: Sequence[Path], spill: Path
) -> Iterator[tuple[RunPath, str]]:
    """Yields the runs whose leaves have other names than their JSON says, and how they differ.

    Args:
        lake: The lake.
        table: Table of leaves.
        files: Its files.
        spill: Folder for what does not fit into memory.
    """
    whole, name = LEAVES[table]
    held = disk.names_by_run(lake, table, files, name, spill)
    for file in lake.files("runs"):
        runs = lake.read("runs", columns=[*RUN, whole, "synced_at"], files=[file])
        for start in range(0, runs.num_rows, RUNS_AT_ONCE):
            rows = runs.slice(start, RUNS_AT_ONCE).to_pylist()
            wanted = disk.digest_by_run(build_table(table, _rows_of(table, rows)), name)
            for row in rows:
                run = RunPath(*(row[column] for column in RUN))
                count, digest = wanted.get(run, (0, 0))
                found, other, newest = held.get(run, (0, 0, None))
                # A sync that was killed writes leaves before the run, and the next one writes both.
                is_ahead = newest is not None and newest > row["synced_at"]
                if (count, digest) != (found, other) and not is_ahead:
                    yield run, f"{found:,} leaves where its {whole} has {count:,}"


def rebuild(lake: Lake, table: str, runs: Iterable[RunPath]) -> None:
    """Makes the leaves of some runs of the JSON that is held of them."""
    whole, _ = LEAVES[table]
    chosen = sorted(set(runs))
    for start in range(0, len(chosen), RUNS_AT_ONCE):
        scope = run_scope(chosen[start : start + RUNS_AT_ONCE])
        ids = scope.column("run_id").to_pylist()
        held = lake.read(
            "runs", columns=[*RUN, whole, "synced_at"], filters=[("run_id", "in", ids)]
        )
        rows = held.join(scope, list(RUN), join_type="left semi").to_pylist()
        lake.replace(table, scope, build_table(table, _rows_of(table, rows)), {})


def _rows_of(table: str, runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the leaves of some rows of runs."""
    whole, name = LEAVES[table]
    made = []
    for run in runs:
        shared = {column: run[column] for column in (*RUN, "synced_at")}
        held = parse_json(run[whole])
        if name == "tag":
            made += [{**shared, "tag": tag} for tag in held or ()]
        else:
            made += [
                {**shared, "key": key, "value": value, "json": text}
                for key, (value, text) in flatten(held or {}).items()
            ]
    return made
