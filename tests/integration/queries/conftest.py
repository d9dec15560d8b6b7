"""A warehouse with known answers, and the two engines that must give them.

What a real account holds is in it, and what hurts: NaN and infinities, missing and mistyped
values, deleted runs, one run id in two projects and one project name under two entities, `Loss`
beside `loss`, keys with dots, slashes and spaces, several rows at a step and rows without one.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from wbsync.catalog import publish
from wbsync.cli import main
from wbsync.extract.rows import build_table
from wbsync.extract.values import canonical_json, flatten, split_value
from wbsync.lake import Lake, open_warehouse
from wbsync.query import Engine
from wbsync.query.named import Catalog, run_query
from wbsync.query.spark import SparkEngine

# Without a file of its main module, as in a worker of xdist, pyspark takes itself for a doctest.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NAN, INF = math.nan, math.inf


class Rows:
    """Rows of every table, gathered run by run."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, **row: Any) -> None:
        """Adds a row."""
        self.tables.setdefault(table, []).append({"synced_at": NOW, **row})

    def run(
        self,
        path: str,
        config: dict[str, Any] | None = None,
        summary: dict[str, Any] | None = None,
        history: dict[str, list[tuple[Any, ...]]] | None = None,
        tags: tuple[str, ...] = (),
        **fields: Any,
    ) -> None:
        """Adds a run with its leaves; history is key to (step, value) or (step, row, value)."""
        entity, project, run_id = path.split("/")
        key = {"entity": entity, "project": project, "run_id": run_id}
        config, summary = config or {}, summary or {}
        self.add(
            "runs", **key,
            **{
                "display_name": run_id.upper(), "state": "finished", "username": "ann",
                "created_at": NOW - 20 * DAY,
                "heartbeat_at": fields.get("created_at", NOW - 20 * DAY) + DAY / 24,
                "config": canonical_json(config), "summary": canonical_json(summary),
                "tags": json.dumps(list(tags)), **fields,
            },
        )  # fmt: skip
        for table, leaves in (("run_config", config), ("run_summary", summary)):
            for name, (value, text) in flatten(leaves).items():
                self.add(table, **key, key=name, value=value, json=text)
        for tag in tags:
            self.add("run_tags", **key, tag=tag)
        for name, points in (history or {}).items():
            for point in points:
                step, row, logged = point if len(point) == 3 else (point[0], 0, point[1])
                value, text = split_value(logged)
                self.add("history", **key, key=name, step=step, row=row, value=value, json=text)

    def artifact(self, path: str, index: int, **fields: Any) -> str:
        """Adds a version; returns its id."""
        entity, project, collection = path.split("/")
        artifact_id = f"id-{path}-{index}"
        self.add(
            "artifacts", entity=entity, project=project, collection=collection,
            artifact_id=artifact_id, version_index=index, version=f"v{index}",
            **{
                "type_name": "dataset", "state": "COMMITTED", "size_bytes": 100,
                "file_count": 1, "created_at": NOW - 200 * DAY, **fields,
            },
        )  # fmt: skip
        return artifact_id

    def link(self, path: str, direction: str, artifact_id: str) -> None:
        """Adds an edge of lineage."""
        entity, project, run_id = path.split("/")
        name = artifact_id.rsplit("/", 1)[-1].rsplit("-", 1)
        self.add(
            "run_artifacts", entity=entity, project=project, run_id=run_id, direction=direction,
            artifact_id=artifact_id, type_name="dataset", artifact_name=f"{name[0]}:v{name[1]}",
        )  # fmt: skip


def add_sweep(rows: Rows) -> None:
    """A sweep whose metric follows lr (monotone), depth (V-shaped) and optimizer; not noise."""
    rng = random.Random(7)
    rows.add(
        "sweeps", entity="team", project="vision", sweep_id="sw1", display_name="search",
        state="FINISHED", method="random", metric="val/loss", goal="minimize", created_at=NOW,
    )  # fmt: skip
    for index in range(40):
        lr, depth = 10 ** rng.uniform(-5, -1), rng.choice([2, 4, 6, 8])
        optimizer, width = rng.choice(["adam", "sgd"]), rng.choice([64, 128])
        loss = 0.4 * math.log10(lr) + abs(depth - 5) + (optimizer == "sgd") + rng.gauss(0, 0.05)
        summary: dict[str, Any] = {"val/loss": loss, "Loss": -loss}
        if index == 5:
            summary = {"val/loss": NAN}
        if index == 6:
            summary = {"val/loss": -INF}
        if index == 7:
            summary = {"val/loss": "broken"}
        if index == 8:
            summary = {}
        rows.run(
            f"team/vision/s{index:02d}", sweep_id="sw1", group_name=f"g {index % 3}",
            config={
                "lr": lr, "model": {"depth": depth, "width/px": width}, "optimizer": optimizer,
                "noise": rng.random(), "constant": 3, "name": f"trial {index}",
                "bag": [index % 2], "mixed": "auto" if index % 2 else index,
            },
            summary=summary, created_at=NOW - 10 * DAY + index * DAY / 24,
            compute_seconds=3600.0, gpu_count=index % 3 or None, gpu="A100", last_step=100,
            heartbeat_at=NOW - 10 * DAY + (index + 1) * DAY / 24,
            username="ann" if index % 4 else "böb", history_line_count=100,
        )  # fmt: skip
    rows.run(
        "team/vision/gone", sweep_id="sw1", group_name="g 0", summary={"val/loss": -100.0},
        config={"lr": 1.0, "model": {"depth": 5}}, deleted_at=NOW - DAY, compute_seconds=1e6,
        history={"loss": [(0, NAN), (1, -5.0)]}, state="failed", gpu_count=8,
    )  # fmt: skip


def add_curves(rows: Rows) -> None:
    """Runs whose histories show one thing each."""
    steps = range(0, 101, 10)
    curves: dict[str, list[tuple[Any, ...]]] = {
        "steady": [(s, 1.0 - s / 200) for s in steps],
        "plateau": [(s, max(1.0 - s / 40, 0.25)) for s in steps],
        "blown": [(s, 1.0 if s < 60 else 50.0 * s) for s in steps],
        "nan": [(s, 0.9 if s < 30 else NAN) for s in steps],
        "inf": [(0, 0.5), (10, INF), (20, 0.4), (20, 1, 0.3), (None, 0.1), (30, "text")],
        "one": [(5, 0.7)],
        "sparse": [(0, 4.0), (100, 2.0)],
        "empty": [],
    }
    for number, (name, points) in enumerate(curves.items()):
        numbers = [p[-1] for p in points if isinstance(p[-1], float)]
        times = [(p[0], p[1] if len(p) == 3 else 0, 3.0 * p[0]) for p in points if p[0] is not None]
        others = [(p[0], 7.0) for p in points if p[0] is not None and len(p) == 2]
        rows.run(
            f"team/curves/{name}", summary={"loss": numbers[-1]} if numbers else {},
            history={"loss": points, "_runtime": times, "Loss": others},
            created_at=NOW - 30 * DAY + number * DAY, last_step=100, compute_seconds=7200.0,
        )  # fmt: skip
    for name, train, validation in (
        ("over", lambda s: 1 - s / 120, lambda s: 1 - s / 100 if s <= 50 else s / 100),
        ("fine", lambda s: 1 - s / 120, lambda s: 1.1 - s / 120),
        ("bad", lambda _: NAN, lambda _: NAN),
    ):
        rows.run(
            f"team/fit/{name}",
            history={
                "train/loss": [(s, train(s)) for s in steps],
                "val.loss": [(s, validation(s)) for s in steps if s % 20 != 10 or s == 50],
            },
        )  # fmt: skip
    rows.run("other/curves/steady", history={"loss": [(s, 100.0) for s in steps]})


def add_seeds(rows: Rows) -> None:
    """Three settings with several seeds each, and copies of one run."""
    for setting, lr in enumerate([1e-3, 1e-8, 2.0**60]):
        for seed in range(4):
            rows.run(
                f"team/seeds/r{setting}{seed}", group_name=None if setting else "base",
                config={"lr": lr, "seed": seed, "data": {"seed": seed}, "note": "it's"},
                summary={"acc": NAN if seed == 3 and setting == 1 else setting + seed / 10},
                created_at=NOW - 5 * DAY + seed * DAY / 24 + setting * DAY,
                compute_seconds=100.0 * (seed + 1),
            )  # fmt: skip
    for copy in range(3):
        rows.run(
            f"team/seeds/copy{copy}", config={"lr": 1e-3, "seed": 0, "data": {"seed": 0},
                                              "note": "it's"},
            summary={"acc": 0.5}, created_at=NOW - DAY + copy * DAY / 24, compute_seconds=50.0,
        )  # fmt: skip
    rows.run("team/seeds/tagged", summary={"acc": 0.1}, tags=("it's; DROP TABLE runs --", "b"))
    rows.run("team/seeds/bare", created_at=NOW - DAY)
    rows.run("team/seeds/bare2", created_at=NOW - DAY / 2)
    rows.run("other/seeds/r00", config={"lr": 1e-3, "seed": 0}, summary={"acc": 9.0})


def add_operations(rows: Rows) -> None:
    """Runs in every state, with users, hosts and GPUs."""
    states = [
        "finished", "failed", "crashed", "killed", "running", "failed", "preempted", "failed",
        "running", "pending", "crashed", "mystery",
    ]  # fmt: skip
    for index, state in enumerate(states):
        begin = NOW - 21 * DAY + index * 1.5 * DAY
        summary: dict[str, Any] = {"loss": NAN} if index == 5 else {"loss": 1.0}
        rows.run(
            f"team/ops/o{index}", state=state, created_at=begin,
            heartbeat_at=None if state == "pending" else NOW - DAY / 48 if index == 8
            else begin + 6 * DAY / 24,
            username=None if index == 3 else ["ann", "böb"][index % 2], host=f"node-{index % 2}",
            gpu_count=[None, 1, 8][index % 3], gpu=[None, "A100", "H100"][index % 3],
            compute_seconds=None if index == 0 else 3600.0 * index,
            history_line_count=0 if index == 1 else None if index == 2 else 50 * index,
            last_step=None if index in (1, 2) else 50 * index, summary=summary,
            program=f"train{index % 2}.py", group_name="nightly" if index % 2 else "",
        )  # fmt: skip
        for card in range([0, 1, 2][index % 3]):
            for sample in range(20):
                busy = 95.0 if (index + card) % 2 and sample < 15 else 2.0
                for name in (f"system.gpu.{card}.gpu", f"system.gpu.process.{card}.gpu"):
                    rows.add(
                        "system_metrics", entity="team", project="ops", run_id=f"o{index}",
                        key=name, step=sample, row=0, runtime=30.0 * sample,
                        timestamp=begin.timestamp() + 30.0 * sample,
                        value=NAN if sample == 19 else busy if "process" not in name else 1.0,
                    )  # fmt: skip


def add_drift(rows: Rows) -> None:
    """Runs of one week in January and one in February, with other settings."""
    for month, lr, extra in ((1, 0.1, {"old": True}), (2, 0.01, {"new key": "x"})):
        for index in range(6):
            rows.run(
                f"team/drift/m{month}{index}",
                config={"lr": lr if index else 0.5, "same": 1, "opt": "adam", **extra,
                        "kind": "a" if month == 1 else 1},
                created_at=datetime(2026, month, 10 + index, tzinfo=UTC),
            )  # fmt: skip


def add_extremes(rows: Rows) -> None:
    """Two runs that a double cannot tell apart, and keys that only one of them has."""
    for name, number in (("big", 2**60), ("bigger", 2**60 + 1)):
        rows.run(
            f"team/exact/{name}", config={"n": number, "nan": NAN} | (
                {"gone": None} if name == "big" else {}
            ),
        )  # fmt: skip


def add_artifacts(rows: Rows) -> None:
    """From raw by way of data and two models to a report; with a loop, and a deleted run."""
    raw = rows.artifact("team/lake/raw ☃", 0, size_bytes=1000)
    data = [
        rows.artifact("team/lake/data", 0, size_bytes=500, created_at=NOW - 100 * DAY),
        rows.artifact("team/lake/data", 1, size_bytes=700, created_at=NOW - 3 * DAY),
    ]
    models = [
        rows.artifact("team/lake/model", i, size_bytes=None if i == 1 else 10, type_name="model",
                      created_at=NOW - 95 * DAY)
        for i in range(2)
    ]  # fmt: skip
    report = rows.artifact("team/eval/report", 0, type_name="report", created_at=NOW - 2 * DAY)
    orphan = rows.artifact("team/lake/data", 2, size_bytes=9, created_at=NOW - 150 * DAY)
    rows.artifact("team/lake/data", 3, deleted_at=NOW, size_bytes=10**6)
    rows.artifact("team/lake/data", 4, state="PENDING", size_bytes=10**6)
    rows.artifact("other/lake/data", 0, size_bytes=77)
    del orphan
    for name, artifact_id, index in (
        ("latest", data[1], 1), ("böst/1", data[0], 0), ("latest", models[1], 1),
    ):  # fmt: skip
        rows.add(
            "artifact_aliases", entity="team", project="lake", alias=name, version_index=index,
            collection=artifact_id.rsplit("/", 1)[-1].rsplit("-", 1)[0], artifact_id=artifact_id,
        )  # fmt: skip
    for name in ("raw ☃", "data", "model"):
        rows.add(
            "artifact_collections", entity="team", project="lake", collection=name,
            type_name="model" if name == "model" else "dataset", collection_id=f"c-{name}",
        )  # fmt: skip
    edges = [
        ("lake/prepare", "used", raw), ("lake/prepare", "logged", data[0]),
        ("lake/prepare", "logged", data[1]),
        ("lake/train0", "used", data[0]), ("lake/train0", "logged", models[0]),
        ("lake/train1", "used", data[0]), ("lake/train1", "logged", models[1]),
        ("lake/train1", "used", models[1]), ("lake/ghost", "used", data[0]),
        ("eval/judge", "used", models[0]), ("eval/judge", "used", models[1]),
        ("eval/judge", "logged", report), ("lake/train1", "used", "id-elsewhere/x/y-0"),
    ]  # fmt: skip
    for run in ("lake/prepare", "lake/train0", "lake/train1", "lake/ghost", "eval/judge"):
        rows.run(
            f"team/{run}", summary={"acc": 0.9} if run == "lake/train0" else {},
            deleted_at=NOW - DAY if run == "lake/ghost" else None,
            created_at=NOW - (95 if "train" in run else 2) * DAY,
        )  # fmt: skip
    for run, direction, artifact_id in edges:
        rows.link(f"team/{run}", direction, artifact_id)


class Held:
    """The warehouse: its folder, and its rows as data frames."""

    def __init__(self, root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
        self.root = root
        self._tables = tables

    def __getitem__(self, table: str) -> pd.DataFrame:
        """Returns a table's rows; of runs, those that are not deleted."""
        frame = build_table(table, self._tables[table]).to_pandas()
        if "deleted_at" in frame:
            frame = frame[frame["deleted_at"].isna()]
        for name in frame.select_dtypes("datetimetz"):
            frame[name] = frame[name].dt.tz_localize(None)
        return frame.reset_index(drop=True)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Returns a table's rows as they were written, those of deleted runs included."""
        return self._tables[table]

    def values(self, table: str, project: str, key: str) -> pd.DataFrame:
        """Returns runs of ENTITY/PROJECT or ENTITY with a key's value, those without left out."""
        entity, _, name = project.partition("/")
        runs, leaves = self["runs"], self[table]
        leaves = leaves[leaves["key"] == key].drop(columns="synced_at")
        runs = runs[(runs["entity"] == entity) & ((runs["project"] == name) | (name == ""))]
        return runs.merge(leaves, on=["entity", "project", "run_id"])

    def finite(self, table: str, project: str, key: str) -> pd.DataFrame:
        """Returns the rows of `values` whose value is a finite number."""
        found = self.values(table, project, key)
        return found[np.isfinite(found["value"].astype(float))]


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    """The warehouse, written straight into a lake."""
    root = tmp_path_factory.mktemp("queries") / "w"
    rows = Rows()
    for add in (add_sweep, add_curves, add_seeds, add_operations, add_drift, add_artifacts,
                add_extremes):  # fmt: skip
        add(rows)
    open_warehouse(root)
    lake = Lake(root)
    for table, held in rows.tables.items():
        lake.append(table, build_table(table, held), {})
    publish(root, lake)
    return Held(root, rows.tables)


@pytest.fixture(scope="session")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark Connect engine: its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("sail") / "log"
    command = [
        str(Path(sys.executable).parent / "sail"), "spark", "server", "--port", str(port),
    ]  # fmt: skip
    with log.open("w") as out:
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env=os.environ | {"RUST_LOG": "warn"}
        )
        try:
            for _ in range(300):
                if server.poll() is not None:
                    raise RuntimeError(log.read_text())
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"sc://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=30)


def plain(value: Any) -> Any:
    """Returns a value in a form that compares: no NaN, floats to nine digits, times as texts."""
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (float, np.floating)):
        return None if math.isnan(value) else float(f"{value:.9g}") + 0.0
    if isinstance(value, datetime):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


def _rows_of(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Returns the rows of some columns, or of all, as tuples that compare."""
    chosen = frame[list(columns)] if columns else frame
    return [tuple(map(plain, row)) for row in chosen.itertuples(index=False, name=None)]


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., list[tuple[Any, ...]]]:
    """Returns rows as tuples that compare."""
    return _rows_of


@dataclass(frozen=True)
class Done:
    """What a call of the command did."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Calls the command on the warehouse, in a folder of its own, within this process."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, **env: str) -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        code: Any = 0
        with pytest.MonkeyPatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                main(["-w", str(held.root), *args])
            except SystemExit as end:
                code = end.code
        return Done(code, *(s.buffer.getvalue().decode() for s in (out, err)))

    return run


@contextlib.contextmanager
def _asking(root: Path, url: str, own: Path | None = None) -> Iterator[Callable[..., pd.DataFrame]]:
    """Gives a function that runs a query on both engines, checks that they agree, returns rows."""
    catalog = Catalog(own)
    with Engine.open(root) as duck, SparkEngine.open(root, url) as spark:

        def ask(name: str, **values: Any) -> pd.DataFrame:
            query = catalog.find(name)
            frames = []
            for engine in (duck, spark):
                table = run_query(engine, query, values, NOW).arrow()
                assert table.schema.names == [c.name for c in query.columns]
                frames.append(table.to_pandas())
            here, there = map(_rows_of, frames)
            assert here == there, f"{name}: DuckDB and Sail differ"
            return frames[0]

        yield ask


@pytest.fixture(scope="session")
def asking(sail: str) -> Callable[..., Any]:
    """Gives, for a warehouse and a folder of queries, a function that asks both engines."""
    return lambda root, own=None: _asking(root, sail, own)


@pytest.fixture(scope="session")
def ask(held: Held, sail: str) -> Iterator[Callable[..., pd.DataFrame]]:
    """Asks both engines about the warehouse with known answers."""
    with _asking(held.root, sail) as call:
        yield call
