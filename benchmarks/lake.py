"""A lake of many runs, written straight.

`lake.py fill ROOT RUNS KEYS` writes config and summary, `lake.py histories ROOT RUNS STEPS KEYS`
histories; `lake.py edit ROOT` changes a run. `lake.py publish ROOT` publishes it, and prints
seconds and peak memory of its process as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wbsync.catalog import publish
from wbsync.extract.history import HistoryBatch, Slice, merge_batches
from wbsync.lake import Lake, open_warehouse
from wbsync.model import RunPath
from wbsync.tables import load_table

PLACE = {"entity": "team", "project": "main"}
BATCH_RUNS = 2_000


def rows(table: str, count: int, **given: Any) -> pa.Table:
    """Returns rows of a table; a value that is no list is that of all rows."""
    fixed = {**PLACE, "synced_at": datetime.now(UTC), **given}
    columns = [
        pa.array(fixed[f.name], f.type)
        if isinstance(fixed.get(f.name), list)
        else pa.repeat(pa.scalar(fixed.get(f.name), f.type), count)
        for f in load_table(table).arrow()
    ]
    return pa.Table.from_arrays(columns, schema=load_table(table).arrow())


def fill(root: Path, runs: int, keys: int) -> None:
    """Writes runs with as many config and summary keys each."""
    open_warehouse(root)
    lake = Lake(root)
    lake.append("projects", rows("projects", 1), {})
    names = [f"key_{n:03}" for n in range(keys)]
    for start in range(0, runs, BATCH_RUNS):
        ids = [f"{n * 2654435761 % 2**32:08x}" for n in range(start, min(start + BATCH_RUNS, runs))]
        count = len(ids) * keys
        for table in ("run_config", "run_summary"):
            leaves = rows(
                table, count, run_id=[i for i in ids for _ in names], key=names * len(ids),
                value=[n / count for n in range(count)],
            )  # fmt: skip
            lake.append(table, leaves, {})
        config = [json.dumps({name: f"{i} {name}" for name in names}) for i in ids]
        lake.append("runs", rows("runs", len(ids), run_id=ids, config=config, summary=config), {})


def histories(root: Path, runs: int, steps: int, keys: int) -> None:
    """Writes the histories of runs, in segments as a sync cuts them."""
    open_warehouse(root)
    lake, dice, per_segment = Lake(root), np.random.default_rng(0), max(1, 10**6 // (steps * keys))
    lake.append("projects", rows("projects", 1), {})
    ids = [f"{n * 2654435761 % 2**32:08x}" for n in range(runs)]
    lake.append("runs", rows("runs", runs, run_id=ids), {})
    step, row = pa.array(np.arange(steps)), pa.array(np.zeros(steps, np.int64))
    none = pa.nulls(steps, pa.string())
    for start in range(0, runs, per_segment):
        batches = []
        for run_id in ids[start : start + per_segment]:
            values = np.cumsum(dice.normal(size=(keys, steps)), axis=1)
            slices = {f"key_{k:02}": [Slice(step, row, pa.array(values[k]), none)]
                      for k in range(keys)}  # fmt: skip
            run = RunPath(PLACE["entity"], PLACE["project"], run_id)
            batches.append(HistoryBatch(run, slices, steps, steps - 1))
        lake.append("history", merge_batches(batches, datetime.now(UTC)), {})


def edit(root: Path) -> None:
    """Changes one run and its config."""
    lake = Lake(root)
    run_id = lake.read("runs", ["run_id"])["run_id"][0].as_py()
    scope = pa.table({**{k: [v] for k, v in PLACE.items()}, "run_id": [run_id]})
    for table in ("run_config", "runs"):
        held = lake.read(table, filters=[("run_id", "=", run_id)])
        index = held.schema.get_field_index("synced_at")
        now = pa.repeat(pa.scalar(datetime.now(UTC), held.schema.field(index).type), held.num_rows)
        lake.replace(table, scope, held.set_column(index, held.schema.field(index), now), {})


if __name__ == "__main__":
    what, folder, *amounts = sys.argv[1:]
    if what == "fill":
        fill(Path(folder), *map(int, amounts))
    elif what == "histories":
        histories(Path(folder), *map(int, amounts))
    elif what == "edit":
        edit(Path(folder))
    else:
        done = publish(Path(folder), Lake(Path(folder)))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"how": done.how, "seconds": done.seconds, "peak_mb": peak}))
