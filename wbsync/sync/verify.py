"""Proves that a warehouse is whole, or says what is wrong with it; no network is needed.

Three things must agree: the files on disk with the tables' logs, what the files hold of each run
with the ledger and with what W&B claims, and the published file with the lake.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pyarrow as pa

from wbsync.catalog.check import check_published
from wbsync.errors import ConfigError, WarehouseError
from wbsync.lake import verify as disk
from wbsync.model import Finding, ProjectPath, RunPath
from wbsync.progress import Working
from wbsync.sync.cursors import Cursors
from wbsync.sync.leaves import LEAVES, find_differing
from wbsync.sync.ledger import LEDGER, checksum_text, counts_of_keys, read_ledger
from wbsync.sync.ledger import TABLES as COUNTED
from wbsync.sync.unread import NOT_ASKED, UNFINISHED, find_unread
from wbsync.sync.vouching import Vouched
from wbsync.tables import table_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from wbsync.lake import Lake
    from wbsync.progress import ProgressHook
    from wbsync.sync.holding import Holding

SHORT, EXCESS, ALTERED = "missing values", "doubled values", "altered values"
UNACCOUNTED = "values without an account"
INCOMPLETE, NOT_READ = "incomplete run", "run that was not read"
SAMPLED, WITHHELD = "sampled run", "run with rows that W&B does not give"
KEYS_DIFFER = "key counts that do not add up"
LEAVES_DIFFER = "leaves that are not those of the run"
"""What is mended from what is held of the run itself."""
REFETCHED = frozenset({SHORT, EXCESS, ALTERED, UNACCOUNTED, INCOMPLETE})
"""Kinds of findings that are mended by reading a run again."""

CLAIMS = {"history": "history_line_count", "system_metrics": "event_line_count"}
"""Table to the column of runs with the rows that W&B claims of it."""

EXPLAINED_RUNS = 10
"""As many runs have their steps looked at one by one."""


class Claim(NamedTuple):
    """What W&B says that it has of a run."""

    rows: int
    written_at: datetime
    """When the run's row, which says so, was written."""


@dataclass(slots=True)
class Verification:
    """What a verification looked at, and what it found."""

    is_deep: bool
    tables: int = 0
    files: int = 0
    runs: int = 0
    values: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def problems(self) -> list[Finding]:
        """Returns what is wrong."""
        return [finding for finding in self.findings if finding.is_wrong]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is wrong, and all was read of the runs that are held."""
        return not self.problems and {UNFINISHED, NOT_ASKED}.isdisjoint(
            finding.kind for finding in self.findings
        )

    def damaged(self, table: str) -> set[str]:
        """Returns the names of a table's files whose rows cannot be trusted."""
        return {
            f.file
            for f in self.findings
            if f.table == table and f.kind in disk.FILE_KINDS and f.file
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        report = asdict(self)
        report["deep"] = report.pop("is_deep")
        for finding in report["findings"]:
            finding["wrong"] = finding.pop("is_wrong")
        return {"ok": not self.problems, "complete": self.is_complete, **report}


def verify(
    holding: Holding, sources: Sequence[str], progress: ProgressHook, *, deep: bool = False
) -> Verification:
    """Looks at a warehouse that this process holds.

    Args:
        holding: The warehouse.
        sources: `ENTITY/PROJECT` or `ENTITY` whose runs to look at; none means all. Files and
            the published file belong to no project, and are looked at anyway.
        progress: Told how it goes.
        deep: Whether to read every value.

    Raises:
        ConfigError: A source is neither.
    """
    started = time.monotonic()
    report = Verification(deep)
    is_chosen = chosen_by(sources)
    names = _check_tables(holding.lake, report, progress)
    for table in COUNTED:
        if table in names or "runs" in names:
            _check_runs(holding, table, report, is_chosen, progress)
    if not report.damaged("runs") and not report.damaged("projects"):
        with suppress(WarehouseError):  # said already
            report.findings += find_unread(holding, is_chosen)
    if {"history", "runs", LEDGER} <= set(names):
        _check_keys(holding, report, is_chosen)
    if deep:
        for table in names:
            if table not in COUNTED:
                _check_deep(holding, table, report)
                progress(Working("reading", names.index(table) + 1, len(names)))
        for table in LEAVES:
            if {table, "runs"} <= set(names):
                _check_leaves(holding, table, report, is_chosen)
    try:
        report.findings += check_published(holding.root, holding.lake, deep=deep)
    except WarehouseError as error:
        report.findings.append(Finding(disk.BROKEN, f"the published file: {error}"))
    report.seconds = round(time.monotonic() - started, 3)
    return report


def chosen_by(sources: Sequence[str]) -> Callable[[RunPath], bool]:
    """Returns the predicate that says whether a run belongs to one of the sources.

    Raises:
        ConfigError: A source is neither `ENTITY/PROJECT` nor `ENTITY`.
    """
    projects = {ProjectPath.parse(s) for s in sources if "/" in s}
    entities = {s for s in sources if "/" not in s}
    if "" in entities:
        raise ConfigError("a source is ENTITY/PROJECT or ENTITY, never empty")

    def is_chosen(run: RunPath) -> bool:
        project = ProjectPath(run.entity, run.project)
        return not sources or run.entity in entities or project in projects

    return is_chosen


def _check_tables(lake: Lake, report: Verification, progress: ProgressHook) -> list[str]:
    """Looks at size and footer of every file; returns the tables that can be read."""
    readable = []
    for name in table_names():
        try:
            files = lake.data_files(name)
            if lake.version(name) is None:
                continue
        except WarehouseError as error:
            report.findings.append(disk.unreadable(name, error))
            continue
        readable.append(name)
        report.tables += 1
        for number, file in enumerate(files, 1):
            if finding := disk.check_file(name, file):
                report.findings.append(finding)
            progress(Working(f"files of {name}", number, len(files)))
        report.files += len(files)
    return readable


def _check_runs(
    holding: Holding,
    table: str,
    report: Verification,
    is_chosen: Callable[[RunPath], bool],
    progress: ProgressHook,
) -> None:
    """Compares what a table holds of each run with the ledger, and that with W&B's claims."""
    lake = holding.lake
    try:
        files = disk.healthy(lake.data_files(table), report.damaged(table))
    except WarehouseError:  # said already
        return
    sums: disk.Sums = {}
    if report.is_deep:
        for number, file in enumerate(list(files), 1):
            try:
                disk.sum_by_run(lake, table, file, sums)
            except (OSError, pa.ArrowException) as error:
                message = f"{table}/{file.name}: a value cannot be read: {error}"
                report.findings.append(
                    Finding(disk.UNREADABLE, message, table=table, file=file.name)
                )
                files.remove(file)
            progress(Working(f"reading {table}", number, len(files)))
    try:
        counts = disk.count_by_run(lake, table, files)
        ledger = {} if report.damaged(LEDGER) else _by_run(read_ledger(lake, table))
        claims = {} if report.damaged("runs") else _claims(lake, table)
        doubled = (
            disk.doubled_values(
                lake,
                table,
                files,
                holding.scratch,
                lambda done, total: progress(Working(f"comparing {table}", done, total)),
            )
            if report.is_deep
            else {}
        )
    except (WarehouseError, duckdb.Error) as error:
        report.findings.append(disk.unreadable(table, error))
        return
    vouched = Vouched(holding.state)
    lacking: dict[RunPath, bool] = {}
    """Runs of which no sync claims to have read all; whether one has begun to."""
    runs = sorted(filter(is_chosen, ledger.keys() | counts.keys()))
    report.runs = max(report.runs, len(runs))
    report.values += sum(counts.get(run, 0) for run in runs)
    explained = 0
    for run in runs:
        count, account = counts.get(run, 0), ledger.get(run)
        if account is None:
            if not report.damaged(LEDGER):
                report.findings.append(
                    _of_run(
                        UNACCOUNTED,
                        table,
                        run,
                        f"{count:,} values of which the ledger says nothing",
                    )
                )
            continue
        wanted = account["held_values"]
        if wanted is not None and count != wanted:
            explained += 1
            can_tell = count and not report.damaged(table) and explained <= EXPLAINED_RUNS
            detail = _steps(lake, table, files, account) if can_tell else ""
            kind = SHORT if count < wanted else EXCESS
            message = f"{count:,} values where {wanted:,} were written{detail}"
            report.findings.append(_of_run(kind, table, run, message))
        elif run in doubled:
            message = f"{doubled[run]:,} values are held twice"
            report.findings.append(_of_run(EXCESS, table, run, message))
        elif run in sums and checksum_text(sums[run][1]) != (account["checksum"] or ""):
            message = "its values are not those that were written"
            report.findings.append(_of_run(ALTERED, table, run, message))
        elif finding := _compared(table, run, account, claim := claims.get(run)):
            is_behind = finding.kind == INCOMPLETE and _is_behind(account, claim)
            if claim and is_behind and not vouched.has_read(table, run, claim.written_at):
                lacking[run] = account["claimed_rows"] is None
            else:
                report.findings.append(finding)
    if not report.damaged(LEDGER):
        for run in sorted(filter(is_chosen, claims.keys() - ledger.keys())):
            claim = claims[run]
            if claim.rows and vouched.has_read(table, run, claim.written_at):
                message = f"none of {claim.rows:,} rows that W&B claims was read"
                report.findings.append(_of_run(NOT_READ, table, run, message))
            elif claim.rows:
                lacking[run] = False
    report.findings += _summed_up(table, lacking, vouched)


def _by_run(rows: pa.Table) -> dict[RunPath, dict[str, Any]]:
    return {RunPath(r["entity"], r["project"], r["run_id"]): r for r in rows.to_pylist()}


def _claims(lake: Lake, table: str) -> dict[RunPath, Claim]:
    """Returns the rows that W&B claims of each run that it still has."""
    column = CLAIMS[table]
    columns = ["entity", "project", "run_id", column, "deleted_at", "synced_at"]
    return {
        run: Claim(row[column] or 0, row["synced_at"])
        for run, row in _by_run(lake.read("runs", columns=columns)).items()
        if row["deleted_at"] is None
    }


def _compared(
    table: str, run: RunPath, account: dict[str, Any], claim: Claim | None
) -> Finding | None:
    """Returns how a run's account falls short of what W&B claims."""
    rows, claimed = account["held_rows"], account["claimed_rows"]
    if account["source"] == "sampled":
        message = f"W&B sampled: {rows:,} of {claimed or 0:,} rows; it does not offer the rest"
        return _of_run(SAMPLED, table, run, message, is_wrong=False)
    if claim is None:
        return None
    if claimed is None:
        return _of_run(INCOMPLETE, table, run, f"half read: {rows:,} of {claim.rows:,} rows")
    if _is_behind(account, claim):
        return _of_run(INCOMPLETE, table, run, f"{rows:,} of {claim.rows:,} rows that W&B claims")
    if not rows and claimed:
        message = f"none of {claim.rows:,} rows that W&B claims were given; sync again"
        return _of_run(INCOMPLETE, table, run, message)
    if rows < claimed:
        message = f"W&B claims {claimed:,} rows and gave {rows:,}, however it was asked"
        return _of_run(WITHHELD, table, run, message, is_wrong=False)
    return None


def _is_behind(account: dict[str, Any], claim: Claim | None) -> bool:
    """Says whether a run was half read, or has claimed more rows since it was read."""
    rows, claimed = account["held_rows"], account["claimed_rows"]
    if claim is None or claimed is None:
        return claimed is None
    return bool(rows < claim.rows and claimed < claim.rows)


def _summed_up(table: str, lacking: dict[RunPath, bool], vouched: Vouched) -> Iterator[Finding]:
    """Yields, project by project, what no sync claims to have read."""
    counted = Counter(
        (run.entity, run.project, is_begun or vouched.was_cut_short(run))
        for run, is_begun in lacking.items()
    )
    for (entity, project, is_unfinished), count in sorted(counted.items()):
        kind, message = (
            NOT_ASKED,
            (
                f"not synced ({count:,} runs have some); to have it, sync without --runs, --since,"
                " --filter, --only or --skip"
            ),
        )
        if is_unfinished:
            kind = UNFINISHED
            message = f"not finished ({count:,} runs lack some), as a sync was stopped; sync again"
        text = f"{table} of {entity}/{project}: {message}"
        yield Finding(kind, text, table=table, is_wrong=False)


def _steps(lake: Lake, table: str, files: Sequence[Path], account: dict[str, Any]) -> str:
    """Returns which steps of a run are held twice or missing, as far as that can be told."""
    run = RunPath(account["entity"], account["project"], account["run_id"])
    steps, doubled = disk.steps_of_run(lake, table, files, run)
    if doubled:
        return f": held twice: {_listed(doubled)}"
    wanted, last = account["held_steps"], account["last_step"]
    if table == "history" and wanted is not None and last is not None and last + 1 == wanted:
        if missing := sorted(set(range(last + 1)) - set(steps)):
            return f": missing: {_listed(missing)}"
    elif wanted is not None and len(steps) < wanted:
        return f": {wanted - len(steps):,} of {wanted:,} steps are missing"
    return ""


def _listed(steps: list[int]) -> str:
    """Returns steps in words.

    >>> _listed([3]), _listed([3, 4, 5, 9])
    ('step 3', 'steps 3 to 5, 9')
    """
    spans: list[list[int]] = []
    for step in steps:
        if spans and step == spans[-1][-1] + 1:
            spans[-1][1:] = [step]
        else:
            spans.append([step])
    texts = [" to ".join(map(str, span)) for span in spans[:10]]
    more = f" and {len(spans) - 10:,} more" if len(spans) > 10 else ""
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(texts)}{more}"


def _check_keys(
    holding: Holding, report: Verification, is_chosen: Callable[[RunPath], bool]
) -> None:
    """Compares the counts of history_keys with the ledger.

    They are written after the values: a sync that was stopped in between goes on with them.
    """
    lake = holding.lake
    if report.damaged("history_keys") or report.damaged(LEDGER):
        return
    counts, differing = counts_of_keys(lake), dict[RunPath, str]()
    for run, account in _by_run(read_ledger(lake, "history")).items():
        wanted = account["held_values"]
        count, _ = counts.get(run, (0, None))
        if is_chosen(run) and wanted is not None and count != wanted:
            message = f"the counts of its keys sum to {count:,}, the ledger says {wanted:,}"
            differing[run] = message
    if not differing:
        return
    claims, vouched = _claims(lake, "history"), Vouched(holding.state)
    values, keys = (
        Cursors(lake, holding.state, table).committed(None) for table in ("history", "history_keys")
    )
    lacking = {
        run: True
        for run in differing
        if (claim := claims.get(run)) is not None
        and values.get(run) != keys.get(run)
        and not vouched.has_read("history_keys", run, claim.written_at)
    }
    report.findings += _summed_up("history_keys", lacking, vouched)
    report.findings += (
        _of_run(KEYS_DIFFER, "history_keys", run, message)
        for run, message in differing.items()
        if run not in lacking
    )


def _check_deep(holding: Holding, table: str, report: Verification) -> None:
    """Reads every value of a table, and looks for rows that are held twice."""
    files = disk.healthy(holding.lake.data_files(table), report.damaged(table))
    for file in list(files):
        if finding := disk.read_whole(table, file):
            report.findings.append(finding)
            files.remove(file)
    try:
        doubled = disk.doubled_keys(holding.lake, table, files, holding.scratch)
    except (WarehouseError, duckdb.Error) as error:
        report.findings.append(disk.unreadable(table, error))
        return
    for key in doubled:
        message = f"{table}: held twice: {'/'.join(map(str, key))}"
        report.findings.append(Finding(disk.DOUBLED, message, table=table))


def _check_leaves(
    holding: Holding, table: str, report: Verification, is_chosen: Callable[[RunPath], bool]
) -> None:
    """Compares the leaves of runs with the JSON that they were made of."""
    lake = holding.lake
    if report.damaged(table) or report.damaged("runs"):
        return
    try:
        report.findings += (
            _of_run(LEAVES_DIFFER, table, run, message)
            for run, message in find_differing(lake, table, lake.files(table), holding.scratch)
            if is_chosen(run)
        )
    except (WarehouseError, duckdb.Error) as error:
        report.findings.append(disk.unreadable(table, error))


def _of_run(kind: str, table: str, run: RunPath, message: str, *, is_wrong: bool = True) -> Finding:
    text = f"{table} of {run}: {message}"
    return Finding(kind, text, table=table, run=run, is_wrong=is_wrong)
