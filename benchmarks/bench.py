"""Measures what the documentation promises, on the embedded sandbox: figure beside budget.

`make bench` runs all of it; `make bench ARGS="requests help"` some. It gates nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Run:
    """One call of the command: seconds, CPU seconds, peak memory, report."""

    def __init__(self, sandbox: Sandbox | None, *args: str) -> None:
        out = tempfile.TemporaryFile()
        env = sandbox.env() if sandbox else dict(os.environ)
        begun = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "wbsync", *args], stdout=out, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.perf_counter() - begun
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.peak_mb = usage.ru_maxrss / 1024
        out.seek(0)
        lines = out.read().decode().splitlines()
        out.close()
        if process.returncode:
            raise SystemExit(f"wbsync {' '.join(args)} ended with {process.returncode}")
        is_report = lines and lines[-1].startswith("{")
        self.report: dict[str, Any] = json.loads(lines[-1]) if is_report else {}


def seed(data: Path, **amounts: int) -> dict[str, Any]:
    """Fills the project main, and returns what was made, with seconds."""
    options = [str(x) for name, value in amounts.items() for x in (f"--{name}", value)]
    return Run(
        None, "sandbox", "seed", "--data", str(data), "--project", "main", "--json", *options
    ).report


def sync(sandbox: Sandbox, root: Path) -> Run:
    """Syncs the project main."""
    return Run(sandbox, "-q", "-w", str(root), "sync", "sandbox/main", "--json")


Line = tuple[str, float, str, float, bool]
"""What, figure, unit, budget, whether less is better."""


def bench_requests(folder: Path) -> Iterator[Line]:
    """Requests and CPU of a first sync of 10,000 runs, and of one that finds nothing new."""
    runs = 10_000
    seed(folder / "data", runs=runs, steps=5, keys=5, sweeps=1)
    for server, options in (("", []), (" without updatedAt", ["--without", "updatedAt"])):
        root = folder / f"w{len(options)}"
        with Sandbox(folder / "data", options=options) as sandbox:
            first = sync(sandbox, root)
            second = sync(sandbox, root)
        unchanged = 3 if not options else 3 + runs / 1000
        yield (
            f"requests, first sync of {runs:,} runs{server}",
            first.report["requests"],
            "",
            0.05 * runs + 50,
            True,
        )
        yield f"requests, unchanged{server}", second.report["requests"], "", unchanged, True
        if not options:
            yield "CPU of an unchanged sync", second.cpu_s, "s", 1.0, True
            yield "peak memory, 10,000 runs", first.peak_mb, "MB", 400, True


def bench_metadata(folder: Path) -> Iterator[Line]:
    """Runs a second, of 150 config and summary keys."""
    runs = 6_000
    seed(folder / "data", runs=runs, steps=1, keys=146, sweeps=0, artifacts=0)
    with Sandbox(folder / "data", options=["--without", "parquetHistory"]) as sandbox:
        warm = sync(sandbox, folder / "w")
    yield "whole sync, 150 keys and 1 step each", runs / warm.seconds, "runs/s", 0, False
    yield "metadata pages to lake", metadata_rate(folder, runs), "runs/s", 3000, False


def metadata_rate(folder: Path, runs: int) -> float:
    """Fetches the heavy pages of a project, makes rows and commits them; runs per second.

    The sandbox answers once and is recorded; what is timed is the same walk against a server that
    replays its answers, in a process of its own.
    """
    answers = folder / "answers"
    answers.mkdir()
    with Sandbox(folder / "data") as sandbox:
        asyncio.run(
            walk_runs(folder / "recorded", sandbox.base_url, sandbox.api_key, runs, answers)
        )
    replay = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("replay.py")), str(answers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert replay.stdin is not None
    assert replay.stdout is not None
    try:
        base_url = replay.stdout.readline().strip()
        seconds = asyncio.run(walk_runs(folder / "replayed", base_url, "k" * 40, runs, None))
    finally:
        replay.stdin.close()
        replay.wait()
    return runs / seconds


async def walk_runs(
    root: Path, base_url: str, api_key: str, runs: int, answers: Path | None
) -> float:
    """Brings the runs of the project main into a new lake; returns how many seconds that took.

    Args:
        root: Folder of the new warehouse.
        base_url: Whom to ask.
        api_key: With which key.
        runs: Runs there are.
        answers: Where to write each answer, None for nowhere.
    """
    from replay import name_of

    from wbsync.api import Client
    from wbsync.api.transport import Answer, Transport
    from wbsync.lake import Lake, open_warehouse
    from wbsync.model import ProjectPath
    from wbsync.settings import resolve_credentials
    from wbsync.state import State
    from wbsync.sync.context import Context
    from wbsync.sync.engine import patient_collector
    from wbsync.sync.runs import RunSync

    post = Transport.post_graphql

    async def record(self: Transport, body: bytes, operation: str) -> Answer:
        answer = await post(self, body, operation)
        assert answers is not None
        (answers / name_of(body)).write_bytes(answer.body)
        return answer

    open_warehouse(root)
    if answers is not None:
        Transport.post_graphql = record  # type: ignore[method-assign]
    try:
        async with Client.open(resolve_credentials(api_key, base_url)) as client:
            context = Context(
                client=client, lake=Lake(root), state=State(root / "state.sqlite"), scratch=root,
                entity="sandbox", project=ProjectPath("sandbox", "main"),
                progress=lambda _: None, concurrency=4,
            )  # fmt: skip
            with patient_collector():
                begun = time.perf_counter()
                await RunSync(context, None, context.synced_at).run(runs)
                return time.perf_counter() - begun
    finally:
        Transport.post_graphql = post  # type: ignore[method-assign]


def bench_history(folder: Path) -> Iterator[Line]:
    """Values a second from downloaded exports to the committed lake, and a sync's memory."""
    made = seed(folder / "data", runs=20, steps=20_000, keys=40, sweeps=0, artifacts=0)
    yield "seed", made["cells"] / made["seconds"] / 1e6, "M values/s", 1.0, False
    with Sandbox(folder / "data") as sandbox:
        whole = sync(sandbox, folder / "w")
        cells = whole.report["history_rows"]
        yield "whole sync of 20 runs × 20,000 × 40", cells / whole.seconds / 1e6, "M/s", 0, False
        yield "peak memory of it", whole.peak_mb, "MB", 400, True
        rate = asyncio.run(export_rate(sandbox, folder))
        yield "downloaded Parquet to committed lake", rate, "M/s", 5.0, False
    data = folder / "long"
    seed(data, runs=1, steps=1_000_000, keys=10, sweeps=0, artifacts=0)
    with Sandbox(data) as sandbox:
        long = sync(sandbox, folder / "w-long")
        yield "peak memory, one run of 1,000,000 steps", long.peak_mb, "MB", 400, True


async def export_rate(sandbox: Sandbox, folder: Path) -> float:
    """Reads exports that lie on disk, cuts segments and commits them; M values per second."""
    from wbsync.api import Client, run_batch_document
    from wbsync.extract.exports import read_exports
    from wbsync.lake import Lake, open_warehouse
    from wbsync.model import ProjectPath, RunPath
    from wbsync.settings import resolve_credentials
    from wbsync.state import State
    from wbsync.sync.context import Context
    from wbsync.sync.cursors import Cursor
    from wbsync.sync.segments import SegmentWriter

    root = folder / "exports"
    open_warehouse(root)
    import wbsync

    names = [
        r[0]
        for r in wbsync.open(folder / "w")
        .sql("SELECT run_id FROM runs WHERE history_line_count > 0")
        .fetchall()
    ]
    credentials = resolve_credentials(sandbox.api_key, sandbox.base_url)
    async with Client.open(credentials) as client:
        variables = {f"n{i}": name for i, name in enumerate(names)}
        data = await client.execute(
            run_batch_document("exports", len(names)),
            {"entity": "sandbox", "project": "main", **variables},
        )
        files: dict[str, list[Path]] = {}
        for index, name in enumerate(names):
            urls = data["project"][f"r{index}"]["parquetHistory"]["parquetUrls"]
            for number, url in enumerate(urls):
                path = root / f"{name}-{number}.parquet"
                await client.download(url, path)
                files.setdefault(name, []).append(path)
        context = Context(
            client=client, lake=Lake(root), state=State(root / "state.sqlite"), scratch=root,
            entity="sandbox", project=ProjectPath("sandbox", "main"), progress=lambda _: None,
            concurrency=4,
        )  # fmt: skip
        cursor = Cursor(storage_id=None, last_step=None, rows=0, claimed_rows=0,
                        claimed_last_step=None)  # fmt: skip
        writer = SegmentWriter(context)
        gate = asyncio.Semaphore(4)

        async def take(name: str, paths: list[Path]) -> None:
            async with gate:
                batches = read_exports(paths, RunPath("sandbox", "main", name), held=None)
                while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                    await writer.add(batch, cursor, reset=False)

        begun = time.perf_counter()
        await asyncio.gather(*(take(*item) for item in files.items()))
        await writer.flush()
        return context.tally.history_values / (time.perf_counter() - begun) / 1e6


def bench_objects(folder: Path) -> Iterator[Line]:
    """How long it takes to go through a list of runs with config and summary."""
    import wbsync

    root = folder / "w"
    made = make_warehouse(root, runs=10_000, keys=75)
    api = wbsync.Api({"entity": "e"}, warehouse=root)
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        leaves = sum(len(run.config) + len(run.summary) for run in api.runs("e/p"))
        best = min(best, time.perf_counter() - begun)
        assert leaves == made
    yield "10,000 runs with 150 config and summary keys, best of 3", best, "s", 1, True
    begun = time.perf_counter()
    assert api.runs("e/p")[0].config
    yield "the first run's config among them", (time.perf_counter() - begun) * 1000, "ms", 0, True


def make_warehouse(root: Path, runs: int, keys: int) -> int:
    """Makes a warehouse of runs with so many keys in config and summary; returns their number."""
    import random
    from datetime import UTC, datetime, timedelta

    from wbsync.catalog import publish
    from wbsync.extract.projects import build_project_rows
    from wbsync.extract.runs import build_run_rows
    from wbsync.lake import Lake, open_warehouse
    from wbsync.model import ProjectPath

    started, path, dice = datetime(2026, 1, 1, tzinfo=UTC), ProjectPath("e", "p"), random.Random(0)
    nodes = []
    for index in range(runs):
        at = f"{started + timedelta(seconds=index):%Y-%m-%dT%H:%M:%SZ}"
        config = {
            f"key_{k}": {"value": dice.random() if k % 3 else f"text {k}", "desc": None}
            for k in range(keys)
        }
        summary = {f"metric/{k}": dice.random() for k in range(keys)}
        nodes.append(
            {"id": f"s{index}", "name": f"run{index:06}", "state": "finished", "createdAt": at,
             "config": json.dumps(config), "summaryMetrics": json.dumps(summary), "tags": ["a"]}
        )  # fmt: skip
    root.mkdir()
    open_warehouse(root)
    lake = Lake(root)
    lake.append("projects", build_project_rows([{"name": "p"}], "e", started), {})
    lake.append("runs", build_run_rows(nodes, path, started).runs, {})
    publish(root, lake)
    return runs * keys * 2


def bench_filters(folder: Path) -> Iterator[Line]:
    """How long filters over 100,000 runs of 75 config and 75 summary keys take."""
    import wbsync
    from wbsync.query.filters import parse_filter

    root = folder / "w"
    for what in (("fill", str(root), "100000", "75"), ("publish", str(root))):
        script = str(Path(__file__).with_name("lake.py"))
        subprocess.run([sys.executable, script, *what], check=True, capture_output=True)
    with wbsync.open(root) as warehouse:
        for name, query in FILTERS.items():
            best, found = float("inf"), 0
            for _ in range(5):
                begun = time.perf_counter()
                answer = warehouse.runs("team/main", query, None, ["run_id"])
                found = answer.arrow().num_rows
                best = min(best, time.perf_counter() - begun)
            yield f"filter: {name} ({found:,} runs), best of 5", best * 1000, "ms", 100, True
        best = best_of(
            5,
            lambda: warehouse.query("leaderboard", project="team/main", metric="key_070").arrow(),
        )
        yield "leaderboard of 100,000 runs, best of 5", best * 1000, "ms", 200, True
        begun = time.perf_counter()
        parse_filter({"$or": [{"config.key_001": {"$gt": i}} for i in range(10_000)]})
        read = (time.perf_counter() - begun) * 1000
        yield "reading a filter of 10,000 terms", read, "ms", 0, True


def best_of(times: int, work: Callable[[], Any]) -> float:
    """Returns the seconds that work takes at best."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


CURVES = {
    "all values of a metric": "SELECT run_id, step, value FROM {} WHERE key = 'key_17'",
    "mean curve of a metric": "SELECT step // 100 AS piece, avg(value), stddev(value) FROM {}"
    " WHERE key = 'key_17' GROUP BY piece ORDER BY piece",
    "last and best value by run": "SELECT run_id, arg_max(value, step), min(value) FROM {}"
    " WHERE key = 'key_17' GROUP BY run_id ORDER BY run_id",
}


def bench_curves(folder: Path) -> Iterator[Line]:
    """One metric's curves, against DuckDB on Parquet that was sorted by hand for that.

    `WBSYNC_BENCH_STEPS=10000` takes 400 million values; a tenth of them is the default.
    """
    import duckdb

    import wbsync
    from wbsync.lake import Lake

    steps = int(os.environ.get("WBSYNC_BENCH_STEPS", "1000"))
    root, runs, keys = folder / "w", 1000, 40
    script = str(Path(__file__).with_name("lake.py"))
    for what in (("histories", str(root), str(runs), str(steps), str(keys)),
                 ("publish", str(root))):  # fmt: skip
        subprocess.run([sys.executable, script, *what], check=True, capture_output=True)
    with wbsync.open(root) as warehouse:
        ours = warehouse.engine()
        path = folder / "sorted.parquet"
        with duckdb.connect() as connection:
            files = sorted(map(str, Lake(root).files("history")))
            connection.read_parquet(files).order("key, run_id, step").write_parquet(
                str(path), compression="zstd"
            )
            connection.execute(f"SET threads = {len(os.sched_getaffinity(0))}")
            for name, query in CURVES.items():
                by_hand = query.format(f"'{path}'")
                theirs = best_of(5, lambda q=by_hand: connection.sql(q).to_arrow_table())
                mine = best_of(5, lambda q=query: ours.run_trusted(q.format("history")).arrow())
                what = f"{name}, {runs:,} × {steps:,} × {keys}: {mine * 1000:.0f} ms"
                yield f"{what} / {theirs * 1000:.0f} ms", mine / theirs, "×", 1.5, True


FILTERS = {
    "one config key": {"config.key_001": {"$gt": 0.5}},
    "one summary key": {"summary_metrics.key_070": {"$lt": 0.01}},
    "config and summary": {"config.key_001": {"$gt": 0.5}, "summary_metrics.key_070": {"$gt": 0.6}},
    "the opposite, missing too": {"config.key_033": {"$ne": 0.5}},
    "tags": {"tags": {"$ne": "bad"}},
}


def bench_help(folder: Path) -> Iterator[Line]:
    """How long the command takes to start."""
    del folder
    best = min(Run(None, "--help").seconds for _ in range(10))
    yield "wbsync --help, best of 10", best * 1000, "ms", 150, True


def bench_publish(folder: Path) -> Iterator[Line]:
    """Publishing 20,000 runs of 150 config and summary keys, and one edit of them."""
    root = folder / "w"

    def call(what: str, *amounts: int) -> dict[str, Any]:
        script = str(Path(__file__).with_name("lake.py"))
        done = subprocess.run(
            [sys.executable, script, what, str(root), *map(str, amounts)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return dict(json.loads(done.stdout)) if done.stdout else {}

    call("fill", 20_000, 150)
    whole = call("publish")
    yield "publish 20,000 runs × 150 keys", whole["seconds"], "s", 0, True
    yield "peak memory of it", whole["peak_mb"], "MB", 400, True
    yield "publish it unchanged", call("publish")["seconds"] * 1000, "ms", 0, True
    call("edit")
    edited = call("publish")
    assert edited["how"] == "patched"
    yield "publish one edited run", edited["seconds"], "s", 0, True
    yield "peak memory of it", edited["peak_mb"], "MB", 400, True


def bench_edit(folder: Path) -> Iterator[Line]:
    """Previews over 100,000 runs of 75 config keys, 10,000 edits, and asking after that."""
    import wbsync
    from wbsync.writeback.assignments import build_assignments
    from wbsync.writeback.editing import plan_edit

    root = folder / "w"
    for what in (("fill", str(root), "100000", "75"), ("publish", str(root))):
        script = str(Path(__file__).with_name("lake.py"))
        subprocess.run([sys.executable, script, *what], check=True, capture_output=True)

    def asked(warehouse: Any) -> Iterator[tuple[str, float]]:
        for name in ("one config key", "tags"):
            times = []
            for _ in range(5):
                begun = time.perf_counter()
                warehouse.runs("team/main", FILTERS[name], None, ["run_id"]).arrow()
                times.append(time.perf_counter() - begun)
            yield name, min(times) * 1000

    with wbsync.open(root) as warehouse:
        names = [row[0] for row in warehouse.sql("SELECT run_id FROM runs").fetchall()]
        for what, changes in {
            "a tag": {"add_tags": ["best"]},
            "a config key": {"values": {"config.key_001": 1}},
        }.items():
            begun = time.perf_counter()
            assignments = build_assignments("runs", **changes)
            plan = plan_edit(warehouse.engine(), "runs", "team/main", assignments)
            assert plan.to_json()["changed"] == len(names)
            seconds = time.perf_counter() - begun
            yield f"preview of {what} over 100,000 runs", seconds, "s", 1, True
        for name, figure in asked(warehouse):
            yield f"filter: {name}, no edits", figure, "ms", 100, True
        for what, changes in {
            "tags": {"add_tags": ["best"]},
            "config keys": {"values": {"config.key_001": 1}},
        }.items():
            begun = time.perf_counter()
            done = warehouse.edit("runs", "team/main", names=names[:10_000], **changes)
            assert done.queued == 10_000
            seconds = time.perf_counter() - begun
            yield f"queueing 10,000 {what}, till they are shown", seconds, "s", 5, True
        for name, figure in asked(warehouse):
            yield f"filter: {name}, 20,000 edits", figure, "ms", 100, True
        begun = time.perf_counter()
        warehouse.edit("runs", "team/main", names=names[:1], add_tags=["one more"])
        yield "one edit more, till it is shown", time.perf_counter() - begun, "s", 0, True


def bench_push(folder: Path) -> Iterator[Line]:
    """Queueing 10,000 edits, and pushing 1,000 edited runs to a server with and without latency."""
    from wbsync.lake import open_warehouse
    from wbsync.writeback import Edit, Operation, Queue, Target

    seed(folder / "d", runs=1000, steps=0, keys=1, artifacts=0)
    with Sandbox(folder / "d") as sandbox:
        for latency_ms in (0, 100):
            root = folder / f"w{latency_ms}"
            open_warehouse(root)
            runs = read_runs(sandbox)
            operations = []
            for node in runs:
                run = Target("run", "sandbox", "main", node["name"], node["id"])
                config = json.loads(node["config"])
                held = config["lr"]["value"]
                tag = f"t{latency_ms}"
                operations += [
                    Operation(run, "tags", "add", tag, node["tags"]),
                    Operation(run, "notes", "append", " x", node["notes"]),
                    Operation(run, "config", "set", latency_ms, held, ("lr",)),
                ]
                operations += [
                    Operation(run, "config", "set", latency_ms, path=(f"{tag}-{n}",))
                    for n in range(7)
                ]
            with Queue(root) as queue:
                begun = time.perf_counter()
                count = queue.add(Edit("bench"), operations)
                seconds = time.perf_counter() - begun
            if not latency_ms:
                yield f"queueing {count:,} operations", seconds, "s", 5, True
            if latency_ms:
                slow = ["--latency-ms", str(latency_ms)]
                with Sandbox(folder / "d", options=slow) as server:
                    pushed = Run(server, "-q", "-w", str(root), "push", "--force", "--json")
            else:
                pushed = Run(sandbox, "-q", "-w", str(root), "push", "--force", "--json")
            report = pushed.report
            if report["applied"] != count:
                raise SystemExit(f"not everything was applied: {report}")
            yield f"pushing 1,000 runs, {latency_ms} ms: requests", report["requests"], "", 60, True
            yield f"pushing 1,000 runs, {latency_ms} ms: time", report["seconds"], "s", 0, True
        yield "peak memory of it", pushed.peak_mb, "MB", 400, True


def read_runs(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Returns the runs of the project main, as the server holds them."""
    import httpx

    query = (
        'query R { project(name: "main", entityName: "sandbox") { runs(first: 1000) { edges {'
        " node { id name tags notes config } } } } }"
    )
    answer = httpx.post(
        f"{sandbox.base_url}/graphql", auth=("api", sandbox.api_key), json={"query": query},
        timeout=60,
    ).json()  # fmt: skip
    return [edge["node"] for edge in answer["data"]["project"]["runs"]["edges"]]


BENCHMARKS: dict[str, Callable[[Path], Iterator[Line]]] = {
    "help": bench_help,
    "curves": bench_curves,
    "requests": bench_requests,
    "metadata": bench_metadata,
    "history": bench_history,
    "objects": bench_objects,
    "filters": bench_filters,
    "publish": bench_publish,
    "edit": bench_edit,
    "push": bench_push,
}


def main(names: list[str]) -> None:
    """Runs the benchmarks of these names, all where none is named."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        raise SystemExit(f"no benchmark {min(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(f"{'':56}{'measured':>12}{'budget':>12}")
    for name in names or BENCHMARKS:
        folder = Path(tempfile.mkdtemp(prefix=f"wbsync-bench-{name}-"))
        try:
            for what, figure, unit, budget, is_ceiling in BENCHMARKS[name](folder):
                meets = not budget or (figure <= budget if is_ceiling else figure >= budget)
                bound = f"{'≤' if is_ceiling else '≥'} {budget:,.6g}" if budget else ""
                mark = "" if meets else "  misses"
                print(f"{what:56}{figure:12,.4g}{bound:>12} {unit}{mark}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
