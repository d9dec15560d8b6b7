"""Fills a project fast with experiments such as real projects hold.

Histories are written as the export files that the server would make of them; running runs have a
tail of live rows beside. It writes to the folder itself, whether or not a server runs on it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from wbsync.sandbox.files import guess_mimetype
from wbsync.sandbox.history import write_part
from wbsync.sandbox.store import now

if TYPE_CHECKING:
    from wbsync.sandbox.store import Store

KEYS = ("loss", "Loss", "val/loss", "train acc", "lr.group[0]", "größe", "grad/norm")
"""Names that the first metrics take; the others are numbered."""

FILES = ("requirements.txt", "config.yaml", "media/images/über ☃.png")
"""Files that each run has."""

LIVE_ROWS = 20
LOG_LINES = 30
PART_ROWS = 100_000
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to make."""

    entity: str
    project: str
    runs: int = 100
    steps: int = 1000
    keys: int = 10
    sweeps: int = 1
    artifacts: int = 0
    seed: int = 0


def seed_project(store: Store, plan: Plan) -> dict[str, int]:
    """Makes a project's worth of runs; returns counts of what was made.

    Raises:
        LookupError: There is no such entity.
    """
    rng = np.random.default_rng(plan.seed)
    user_pk = store.value(
        "SELECT coalesce(e.user_pk, (SELECT min(pk) FROM users)) FROM entities e WHERE e.name = ?",
        plan.entity,
    )
    project_pk = store.ensure_project(plan.entity, plan.project, user_pk)
    names = [KEYS[i] if i < len(KEYS) else f"metric_{i:03d}" for i in range(plan.keys)]
    with store.transaction():
        sweeps = [_make_sweep(store, project_pk, user_pk) for _ in range(plan.sweeps)]
    blobs = [_make_blob(store, f"seeded {name}\n".encode()) for name in FILES]
    cells = 0
    started = datetime.now(UTC).replace(microsecond=0) - DAY * 30
    for first in range(0, plan.runs, 200):
        with store.transaction():
            for index in range(first, min(first + 200, plan.runs)):
                at = started + DAY * 30 * index / max(plan.runs, 1)
                sweep = sweeps[index % len(sweeps)] if sweeps and index % 3 == 0 else None
                cells += _make_run(store, plan, rng, index, (project_pk, user_pk), names, at, sweep)
                _add_files(store, index, blobs, at)
    with store.transaction():
        for index in range(plan.artifacts):
            _make_artifact(store, project_pk, user_pk, index)
    return {
        "runs": plan.runs, "cells": cells, "sweeps": plan.sweeps, "artifacts": plan.artifacts,
    }  # fmt: skip


def _state(index: int) -> str:
    if index % 25 == 24:
        return "running"
    return "failed" if index % 10 == 9 else "crashed" if index % 40 == 17 else "finished"


def _make_run(
    store: Store,
    plan: Plan,
    rng: np.random.Generator,
    index: int,
    owner: tuple[int, int | None],
    names: list[str],
    at: datetime,
    sweep: tuple[int, str] | None,
) -> int:
    """Makes one run; returns how many values it logged."""
    state = _state(index)
    steps = 0 if index % 50 == 13 else plan.steps if index % 7 else max(plan.steps // 2, 1)
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    end = now() if state == "running" else stamp
    config = {
        "lr": {"value": float(10 ** rng.uniform(-4, -1)), "desc": None},
        "model": {"value": {"depth": int(rng.integers(2, 12)), "name": f"net-{index % 5}"}},
        "seed": {"value": index},
        "_wandb": {"value": {"cli_version": "0.31.0"}},
    }
    pk = store.write(
        'INSERT INTO runs(project_pk, name, displayName, state, tags, notes, "group", jobType,'
        " sweep_pk, sweepName, user_pk, createdAt, heartbeatAt, updatedAt)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 'train', ?, ?, ?, ?, ?, ?)",
        owner[0], secrets.token_hex(5), f"run {index}", state,
        json.dumps(["seeded", f"fold-{index % 5}"]), None, f"group-{index % 8}",
        sweep[0] if sweep else None, sweep[1] if sweep else None, owner[1], stamp, end, end,
    )  # fmt: skip
    keys: dict[str, dict[str, int]] = {}
    cells = 0
    last: dict[str, Any] = {}
    for first in range(0, steps, PART_ROWS):
        count = min(PART_ROWS, steps - first)
        table = _history(rng, names, first, count, at, is_odd=index % 20 == 3)
        blob = write_part(store, table)
        store.write(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, 1)",
            pk, first, count, first, first + count - 1, blob,
        )  # fmt: skip
        for name in table.column_names:
            column = table.column(name)
            held = count - column.null_count
            kind = "number" if not pa.types.is_nested(column.type) else "image-file"
            kind = "string" if pa.types.is_string(column.type) else kind
            counts = keys.setdefault(name, {})
            counts[kind] = counts.get(kind, 0) + held
            cells += held
        last = {k: v for k, v in table.slice(count - 1).to_pylist()[0].items() if v is not None}
    lines = 0
    if state == "running" and steps:
        lines = LIVE_ROWS
        rows = [
            {"_step": steps + i, "_timestamp": at.timestamp() + steps + i, "_runtime": 1.0 * i}
            | {name: float(rng.normal()) for name in names}
            for i in range(lines)
        ]
        store.write_many(
            "INSERT INTO lines VALUES (?, 'history', ?, ?, ?)",
            [(pk, steps + i, row["_step"], json.dumps(row)) for i, row in enumerate(rows)],
        )
        for name in rows[0]:
            keys[name]["number"] = keys[name].get("number", 0) + lines
        cells += lines * len(rows[0])
        last = rows[-1]
    summary = json.dumps(last).replace("NaN", '"NaN"').replace("Infinity", '"Infinity"')
    store.write(
        "INSERT INTO bodies VALUES (?, ?, ?, '{}', ?)",
        pk, json.dumps(config), summary.replace('-"Infinity"', '"-Infinity"'), json.dumps(keys),
    )  # fmt: skip
    store.write(
        "UPDATE runs SET historyLineCount = ?, lastStep = ? WHERE pk = ?",
        steps + lines, steps + lines - 1 if steps else None, pk,
    )  # fmt: skip
    return cells


def _make_blob(store: Store, content: bytes) -> str:
    blob = store.new_blob()
    store.blob_path(blob).write_bytes(content)
    store.finish_blob(blob)
    return blob


def _add_files(store: Store, index: int, blobs: list[str], at: datetime) -> None:
    """Gives the newest run its files, and every tenth one console output."""
    pk = store.value("SELECT max(pk) FROM runs")
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    store.write_many(
        "INSERT INTO files(run_pk, name, blob, mimetype, updatedAt) VALUES (?, ?, ?, ?, ?)",
        [
            (pk, name, blob, guess_mimetype(name), stamp)
            for name, blob in zip(FILES, blobs, strict=True)
        ],
    )
    if index % 10 == 0:
        lines = [f"{at:%Y-%m-%dT%H:%M:%S} step {number} ☃" for number in range(LOG_LINES)]
        store.write_many(
            "INSERT INTO lines VALUES (?, 'log', ?, NULL, ?)",
            [(pk, number, line) for number, line in enumerate(lines)],
        )
        store.write("UPDATE runs SET logLineCount = ? WHERE pk = ?", LOG_LINES, pk)


def _history(
    rng: np.random.Generator,
    names: list[str],
    first: int,
    count: int,
    at: datetime,
    *,
    is_odd: bool,
) -> pa.Table:
    """Returns logged rows: walks with noise, gaps, NaN and infinities; media in odd runs."""
    step = np.arange(first, first + count)
    columns: dict[str, pa.Array] = {
        "_step": pa.array(step),
        "_timestamp": pa.array(at.timestamp() + step),
        "_runtime": pa.array(step.astype(float)),
    }
    for index, name in enumerate(names):
        values = np.exp(-step / max(count, 1) * (1 + index % 3)) + rng.normal(0, 0.01, count)
        mask = None
        if index % 5 == 1:
            mask = step % 10 != 0
        if index % 7 == 2:
            values[step % 97 == 5] = np.nan
            values[step % 97 == 6] = np.inf
        columns[name] = pa.array(values, mask=mask)
    if is_odd:
        columns["phase"] = pa.array(["warm up" if s < 10 else "train ☃" for s in step])
        image = {"_type": "image-file", "path": "media/images/x.png", "size": 10}
        columns["sample"] = pa.array([image if s % 100 == 0 else None for s in step])
    return pa.table(columns)


def _make_sweep(store: Store, project_pk: int, user_pk: int | None) -> tuple[int, str]:
    name = secrets.token_hex(4)
    config = (
        "method: random\nmetric:\n  name: loss\n  goal: minimize\n"
        "parameters:\n  lr:\n    min: 0.0001\n    max: 0.1\n"
    )
    pk = store.write(
        "INSERT INTO sweeps(project_pk, name, displayName, config, state, createdAt, updatedAt,"
        " heartbeatAt, user_pk) VALUES (?, ?, 'search', ?, 'FINISHED', ?, ?, ?, ?)",
        project_pk, name, config, now(), now(), now(), user_pk,
    )  # fmt: skip
    return pk, name


def _make_artifact(store: Store, project_pk: int, user_pk: int | None, index: int) -> None:
    """Makes a version of a seeded dataset with one small file, logged by one run, used by one."""
    content = f"seeded {index}\n".encode()
    md5 = b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    manifest = {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {"data.txt": {"digest": md5, "size": len(content)}},
    }
    blobs = [_make_blob(store, body) for body in (content, json.dumps(manifest).encode())]
    store.write(
        "INSERT OR IGNORE INTO artifact_types(project_pk, name, createdAt)"
        " VALUES (?, 'dataset', ?)",
        project_pk, now(),
    )  # fmt: skip
    type_pk = store.value(
        "SELECT pk FROM artifact_types WHERE project_pk = ? AND name = 'dataset'", project_pk
    )
    store.write(
        "INSERT OR IGNORE INTO collections(project_pk, type_pk, name, kind, createdAt, updatedAt)"
        " VALUES (?, ?, 'seeded', 'sequence', ?, ?)",
        project_pk, type_pk, now(), now(),
    )  # fmt: skip
    collection_pk = store.value(
        "SELECT pk FROM collections WHERE project_pk = ? AND name = 'seeded'", project_pk
    )
    version = store.value(
        "SELECT coalesce(max(versionIndex) + 1, 0) FROM memberships WHERE collection_pk = ?",
        collection_pk,
    )
    runs = [
        r[0]
        for r in store.rows(
            "SELECT pk FROM runs WHERE project_pk = ? ORDER BY pk DESC LIMIT 2 OFFSET ?",
            project_pk, index,
        )
    ]  # fmt: skip
    pk = store.write(
        "INSERT INTO artifacts(collection_pk, type_pk, versionIndex, digest, digestAlgorithm,"
        " metadata, state, size, fileCount, commitHash, createdAt, updatedAt, run_pk, user_pk)"
        " VALUES (?, ?, ?, ?, 'MANIFEST_MD5', '{}', 'COMMITTED', ?, 1, ?, ?, ?, ?, ?)",
        collection_pk, type_pk, version, secrets.token_hex(16), len(content),
        secrets.token_hex(10), now(), now(), runs[0] if runs else None, user_pk,
    )  # fmt: skip
    store.write(
        "INSERT INTO memberships(collection_pk, artifact_pk, versionIndex, createdAt)"
        " VALUES (?, ?, ?, ?)",
        collection_pk, pk, version, now(),
    )  # fmt: skip
    store.write(
        "INSERT INTO aliases(collection_pk, artifact_pk, alias) VALUES (?, ?, 'latest')"
        " ON CONFLICT(collection_pk, alias) DO UPDATE SET artifact_pk = excluded.artifact_pk",
        collection_pk, pk,
    )  # fmt: skip
    store.write("INSERT INTO artifact_files VALUES (?, 'data.txt', ?, ?)", pk, md5, blobs[0])
    store.write("INSERT INTO manifests(artifact_pk, digest, blob) VALUES (?, '', ?)", pk, blobs[1])
    for run_pk, direction in zip(runs, ("output", "input"), strict=False):
        store.write("INSERT OR IGNORE INTO usage VALUES (?, ?, ?)", run_pk, direction, pk)
