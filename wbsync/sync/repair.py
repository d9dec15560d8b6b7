"""Mends what a verification found: only what is wrong is read again.

Nothing is copied or guessed: files that are damaged are taken out of the lake's tables, and what
marks their rows as held is undone, so that an ordinary sync reads them again. What is left of a run
stays until all of it has come anew: W&B may no longer have it. Marks are undone before, or in the
same commit as, the files go: a repair that is killed leaves a warehouse that a sync, or another
repair, brings to the same end.
"""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wbsync.catalog.check import DAMAGED
from wbsync.errors import NotFoundError
from wbsync.extract.history import key_stats_of
from wbsync.lake import verify as disk
from wbsync.model import ArtifactPath, ProjectPath, RunPath
from wbsync.sync.artifact_files import ManifestCursor
from wbsync.sync.cursors import Cursor, Cursors
from wbsync.sync.entity import TABLES as ENTITY_TABLES
from wbsync.sync.entity_state import REGISTRY_TABLES
from wbsync.sync.holding import held
from wbsync.sync.leaves import LEAVES, rebuild
from wbsync.sync.ledger import LEDGER, keep_ledger
from wbsync.sync.ledger import TABLES as COUNTED
from wbsync.sync.log_plan import LogCursor
from wbsync.sync.run_files import FileCursor
from wbsync.sync.runs import TABLES as RUN_TABLES
from wbsync.sync.segments import run_scope
from wbsync.sync.verify import (
    KEYS_DIFFER,
    LEAVES_DIFFER,
    REFETCHED,
    UNACCOUNTED,
    Verification,
    verify,
)
from wbsync.tables import load_table, table_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from wbsync.lake import Lake
    from wbsync.lake.delta import DataFile
    from wbsync.progress import ProgressHook
    from wbsync.settings import Credentials
    from wbsync.sync.holding import Holding

GATES = {
    **{table: ("runs", "content_hash") for table in RUN_TABLES if table != "runs"},
    "artifacts": ("artifact_collections", "version_count"),
    "artifact_aliases": ("artifact_collections", "version_count"),
    "registry_versions": ("registry_collections", "version_count"),
}
"""Table to what must differ for a sync to write it: a column of another table."""

Owned = tuple[str, type[FileCursor | LogCursor | ManifestCursor], str | None]

OWNED: dict[str, Owned] = {
    "run_files": ("run_id", FileCursor, None),
    "console_logs": ("run_id", LogCursor, "lines"),
    "artifact_files": ("artifact_id", ManifestCursor, "files"),
}
"""Table whose cursors say of which runs or artifacts it holds rows: the column that names them, the
kind of cursor, and its field that counts the rows. Those whose rows do not add up are read again.

A table that is named neither here nor above is compared by a sync with what W&B lists, row by row.
"""

OF_ENTITIES = frozenset({*ENTITY_TABLES, *REGISTRY_TABLES})
"""Tables that no project owns: the entity that a row names may be the organisation's."""

CHANGE_LOG = "run_changes"

UNKNOWN = Cursor(None, None, 0, None, None)
"""Stands for the cursor of a run that has values and none."""


@dataclass(slots=True)
class Mended:
    """What was mended without a network, and what must be read again."""

    sources: set[ProjectPath] = field(default_factory=set)
    """Projects to sync."""
    runs: set[RunPath] = field(default_factory=set)
    """Runs whose history or system metrics are to be read again."""
    tables: set[str] = field(default_factory=set)
    """Tables that are to be read again; others may never have been asked for."""
    files: int = 0
    """Files that were taken out of tables."""
    in_place: int = 0
    """Findings that were mended from what is held, without W&B."""
    lost: list[str] = field(default_factory=list)
    """What cannot be had again, in one line each."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair found, did, and left."""

    before: Verification
    after: Verification
    mended: Mended

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain values, for JSON."""
        return {
            **self.after.to_dict(),
            "before": self.before.to_dict()["findings"],
            "mended_in_place": self.mended.in_place,
            "files_dropped": self.mended.files,
            "runs_read_again": sorted(map(str, self.mended.runs)),
            "projects_synced": sorted(map(str, self.mended.sources)),
            "lost": self.mended.lost,
        }


async def repair(
    root: Path,
    sources: Sequence[str],
    credentials: Callable[[], Credentials],
    progress: ProgressHook,
    *,
    deep: bool = False,
) -> Repair:
    """Verifies a warehouse, mends it, and verifies it again.

    Args:
        root: Folder of the warehouse.
        sources: Whose runs to look at; none means all. Damaged files are mended whatever is in
            them.
        credentials: Returns whom to ask; called only where something must be read again.
        progress: Told how it goes.
        deep: Whether to read every value.

    Raises:
        WbsyncError: As a sync; what could be mended without a network is mended then.
    """
    from wbsync.sync.engine import sync
    from wbsync.sync.streams import ENTITY_STREAMS, PROJECT_STREAMS, choose_tables

    with held(root, progress) as holding:
        before = verify(holding, sources, progress, deep=deep)
        mended = mend(holding, before, progress)
    if mended.sources:
        known = {t for stream in (*PROJECT_STREAMS, *ENTITY_STREAMS) for t in stream.tables}
        options = choose_tables(only={"runs", *mended.tables & known})
        sources_to_sync = sorted(map(str, mended.sources))
        try:
            await sync(root, sources_to_sync, credentials(), progress=progress, options=options)
        except NotFoundError as error:  # of one project; where there are more, it is skipped
            mended.lost.append(str(error))
    with held(root, progress) as holding:
        after = verify(holding, sources, progress, deep=deep)
        if before.damaged("runs"):
            mended.lost += lost_rows(holding.lake)
        if lost := accept_loss(holding, after):
            mended.lost += lost
            holding.publish()
            after = verify(holding, sources, progress, deep=deep)
    return Repair(before, after, mended)


def mend(holding: Holding, found: Verification, progress: ProgressHook) -> Mended:
    """Does all that needs no network, and undoes the marks of what must be read again."""
    mended = Mended()
    if not found.problems:
        return mended
    report, renewed = found, _renew_tables(holding.lake, found, mended)
    doubts_ledger = bool(found.damaged(LEDGER)) or UNACCOUNTED in {f.kind for f in found.problems}
    if doubts_ledger or renewed:
        mended.files += _drop(holding.lake, LEDGER, report)
        keep_ledger(holding.lake, holding.state, datetime.now(UTC), anew=True)
    if doubts_ledger or renewed or any(f.kind in disk.FILE_KINDS for f in report.findings):
        # What was in a file is known by what is missing now, whoever's runs were looked at.
        report = verify(holding, (), progress, deep=found.is_deep)
    _mend_rows(holding, report, mended, renewed)
    _mend_runs(holding, report, mended)
    kinds = {f.kind for f in report.problems}
    if disk.BROKEN not in kinds:
        # A patch tells rows apart by their keys: of doubled ones it would leave both.
        doubts_published = bool(kinds & {DAMAGED, disk.DOUBLED} or renewed)
        holding.publish(rebuild=doubts_published)
    return mended


def _renew_tables(lake: Lake, found: Verification, mended: Mended) -> set[str]:
    """Makes tables that cannot be opened ones that can; returns those that are not what they were.

    Nothing is known of what was in them: they are read again of all projects.
    """
    renewed = {f.table for f in found.problems if f.kind == disk.LOST and f.table}
    for name in table_names():
        if not lake.can_be_opened(name):
            mended.lost.append(lake.renew_log(name))
            renewed.add(name)
    return renewed


def _mend_rows(holding: Holding, report: Verification, mended: Mended, renewed: set[str]) -> None:
    """Mends tables whose rows are replaced as things change."""
    lake = holding.lake
    damaged = {
        name: _damaged_files(lake, name, report)
        for name in table_names()
        if name not in {*COUNTED, LEDGER, "history_keys"}
        and (report.damaged(name) or name in renewed)
    }
    if CHANGE_LOG in renewed:
        damaged.pop(CHANGE_LOG)
    elif log := damaged.pop(CHANGE_LOG, None):
        lake.drop(CHANGE_LOG, [file.path for file in log], {})
        mended.files += len(log)
        mended.lost.append("entries of the change log, which W&B does not keep")
    affected = {
        name: _projects_in(lake, report, None if name in {*renewed, *OF_ENTITIES} else files)
        for name, files in damaged.items()
    }
    concerned = set().union(*affected.values())
    mended.tables |= damaged.keys() | renewed
    if renewed:
        concerned |= _projects_in(lake, report, None)
    if "projects" in damaged:
        # With its row goes what was read of a project as a whole.
        mended.tables |= set(lake.tables())
        mended.files += _drop(lake, "projects", report)
    if "entities" in damaged:
        mended.tables |= OF_ENTITIES  # likewise of an entity
    _forget_bookmarks(lake, concerned)
    gates = {gate for gate, _ in GATES.values()}
    for name in sorted(
        damaged.keys() - {"projects"}, key=lambda name: (name in OWNED, name not in gates)
    ):
        if name in OWNED:
            mended.lost += _doubt_owners(holding, name, damaged[name], affected[name])
            mended.files += len(damaged[name])
            continue
        if name in GATES:
            gate, column = GATES[name]
            _open_gate(lake, gate, column, affected[name])
        mended.files += _drop(lake, name, report)
    for project in concerned:
        holding.state.forget_walk(project.entity, project.project)
    mended.sources |= concerned
    for name in {f.table for f in report.findings if f.kind == disk.DOUBLED and f.table}:
        _undouble(holding, name)
    for name in LEAVES:
        differing = {f.run for f in report.problems if f.kind == LEAVES_DIFFER and f.table == name}
        rebuild(lake, name, filter(None, differing))
    mended.in_place = sum(f.kind in {disk.DOUBLED, LEAVES_DIFFER} for f in report.problems)


def _mend_runs(holding: Holding, report: Verification, mended: Mended) -> None:
    """Mends history, system metrics and the counts of keys: what is wrong is to be read again."""
    lake = holding.lake
    deleted = _runs_of(lake, "runs", deleted=True)
    found = [
        (f, f.run)
        for f in report.problems
        if f.run and f.run not in deleted and f.kind != LEAVES_DIFFER
    ]
    for name in (*COUNTED, "history_keys"):
        runs = {r for f, r in found if f.table == name and f.kind in {*REFETCHED, KEYS_DIFFER}}
        files = _damaged_files(lake, name, report)
        if name == "history_keys" and files:
            runs |= {r for r in _runs_of(lake, LEDGER) if _may_hold(files, r.entity, r.project)}
        if not files and not runs:
            continue
        marks: dict[RunPath, Cursor | None] = dict.fromkeys(sorted(runs))
        if name != "history_keys":
            known = Cursors(lake, holding.state, name).committed(None)
            marks = {r: replace(known.get(r) or UNKNOWN, is_doubted=True) for r in marks}
        lake.drop(name, [f.path for f in files], Cursors.metadata(marks))
        mended.files += len(files)
        mended.runs |= runs
        mended.tables.add(name)
    mended.tables |= {f.table for f, _ in found if f.table}
    mended.sources |= {
        ProjectPath(r.entity, r.project) for r in mended.runs | {r for _, r in found}
    }


def lost_rows(lake: Lake) -> list[str]:
    """Returns what to say of runs that have an account and no row: W&B has none to give."""
    orphans = _runs_of(lake, LEDGER) - _runs_of(lake, "runs")
    return [
        f"the row of {run}, which W&B no longer has: its values are left" for run in sorted(orphans)
    ]


def accept_loss(holding: Holding, report: Verification) -> list[str]:
    """Takes what is left of runs that W&B no longer has for all there is; says what is lost."""
    lake = holding.lake
    wrong = [f for f in report.problems if f.run and f.kind in REFETCHED and f.table in COUNTED]
    refetchable = _runs_of(lake, "runs", deleted=False)
    lost: list[str] = []
    for table in COUNTED:
        cursors = Cursors(lake, holding.state, table).committed(None)
        runs = {f.run for f in wrong if f.table == table and f.run} - refetchable
        known = {run: cursor for run, cursor in cursors.items() if cursor and run in runs}
        if not known:
            continue
        sums: disk.Sums = {}
        files = lake.files(table)
        for file in files:
            disk.sum_by_run(lake, table, file, sums)
        counted = {}
        for run, cursor in known.items():
            values, checksum = sums.get(run, (0, 0))
            steps, _ = disk.steps_of_run(lake, table, files, run)
            counted[run] = replace(
                cursor, values=values, checksum=checksum, steps=len(steps), is_doubted=False
            )
            lost.append(f"{table} of {run}, which W&B no longer has: {values:,} values are left")
        lake.drop(table, [], Cursors.metadata(counted))
        if table == "history":
            _recount_keys(lake, counted)
    if lost:
        keep_ledger(lake, holding.state, datetime.now(UTC))
    return lost


def _recount_keys(lake: Lake, cursors: Mapping[RunPath, Cursor]) -> None:
    """Writes what is left of each key of some runs."""
    import pyarrow as pa

    schema = load_table("history_keys").arrow()
    for run, cursor in cursors.items():
        where = [("entity", "=", run.entity), ("project", "=", run.project)]
        where.append(("run_id", "=", run.run_id))
        values = lake.read("history", columns=["run_id", "key", "step"], filters=where)
        left = {row["key"]: row for row in key_stats_of(values).to_pylist()}
        none = {"held_count": 0, "last_step": None}
        rows = [
            {**row, **{name: left.get(row["key"], none)[name] for name in none}}
            for row in lake.read("history_keys", filters=where).to_pylist()
        ]
        table = pa.Table.from_pylist(rows, schema=schema)
        lake.replace("history_keys", run_scope([run]), table, Cursors.metadata({run: cursor}))


def _damaged_files(lake: Lake, table: str, report: Verification) -> list[DataFile]:
    names = report.damaged(table)
    return [file for file in lake.data_files(table) if file.path.name in names] if names else []


def _drop(lake: Lake, table: str, report: Verification) -> int:
    """Takes the damaged files of a table out of it; returns how many."""
    files = _damaged_files(lake, table, report)
    lake.drop(table, [file.path for file in files], {})
    return len(files)


def _may_hold(files: Iterable[DataFile], entity: str, project: str) -> bool:
    """Says whether one of some files can have held rows of a project."""

    def within(file: DataFile, column: str, value: str) -> bool:
        low, high = file.bounds.get(column, (value, value))
        return bool(low <= value <= high)

    return any(within(f, "entity", entity) and within(f, "project", project) for f in files)


def _projects_in(
    lake: Lake, report: Verification, files: Sequence[DataFile] | None
) -> set[ProjectPath]:
    """Returns the projects that some files can have held rows of; all for None."""
    known: set[ProjectPath] = set()
    for table in ("projects", "runs", LEDGER):
        if not report.damaged(table):
            rows = lake.read(table, columns=["entity", "project"])
            known |= {ProjectPath(*pair) for pair in zip(*rows.to_pydict().values(), strict=True)}
    return {p for p in known if files is None or _may_hold(files, p.entity, p.project)}


def _doubt_owners(
    holding: Holding, table: str, lost: Sequence[DataFile], projects: set[ProjectPath]
) -> list[str]:
    """Takes lost files out of a table, and has what was in them read again.

    What is left of a run stays until then. A manifest is read at once or not at all: what is left
    of one goes. Of what W&B no longer has, what is left is all there is.

    Returns:
        What is lost, in one line each.
    """
    import pyarrow as pa

    lake, (column, kind, count) = holding.lake, OWNED[table]
    names = ["entity", "project", column]
    lost_paths = [file.path for file in lost]
    files = [path for path in lake.files(table) if path not in lost_paths]
    left = disk.count_by(lake, table, files, names)
    gone = _gone(lake, column)
    marks: dict[ArtifactPath, Any] = {}
    missing: list[str] = []
    cursors: dict[tuple[str, str, str], Any] = Cursors(lake, holding.state, table).owners(kind)
    for owner, cursor in cursors.items():
        rows, path = left.get(owner, 0), ArtifactPath(*owner)
        is_whole = count is not None and rows == getattr(cursor, count)
        if ProjectPath(*owner[:2]) not in projects or is_whole:
            continue
        if owner not in gone:
            # Lines that are those of another run are read anew, and replaced when they come.
            is_log = isinstance(cursor, LogCursor)
            marks[path] = replace(cursor, storage_id=None, is_complete=False) if is_log else None
        elif count is not None:
            marks[path] = replace(cursor, **{count: rows})
            what = "/".join(owner)
            missing.append(f"{table} of {what}, which W&B no longer has: {rows:,} rows are left")
    forgotten = [owner for owner, mark in marks.items() if mark is None]
    if column == "run_id" or not forgotten:
        lake.drop(table, lost_paths, Cursors.metadata(marks))
        return missing
    fields = [load_table(table).arrow().field(name) for name in names]
    scope = pa.Table.from_pylist(
        [dict(zip(names, astuple(owner), strict=True)) for owner in forgotten], pa.schema(fields)
    )
    none = load_table(table).arrow().empty_table()
    lake.replace(table, scope, none, Cursors.metadata(marks), lost_paths)
    return missing


def _gone(lake: Lake, column: str) -> set[tuple[str, ...]]:
    """Returns the runs or artifacts that W&B no longer has."""
    table = "runs" if column == "run_id" else "artifacts"
    rows = lake.read(table, columns=["entity", "project", column, "deleted_at"]).to_pylist()
    return {tuple(row.values())[:3] for row in rows if row["deleted_at"] is not None}


def _forget_bookmarks(lake: Lake, projects: set[ProjectPath]) -> None:
    """Has the next sync of some projects look at all of their runs."""
    for row in lake.read("projects", columns=["entity", "project", "bookmark"]).to_pylist():
        if ProjectPath(row["entity"], row["project"]) in projects and row["bookmark"]:
            whole = json.loads(row["bookmark"]).get("held")
            bookmark = json.dumps({"held": whole}) if whole else None
            where = [(name, "=", row[name]) for name in ("entity", "project")]
            lake.amend("projects", where, {"bookmark": bookmark}, {})


def _open_gate(lake: Lake, table: str, column: str, projects: set[ProjectPath]) -> None:
    """Sets a column of a table to NULL for some projects."""
    if not {"entity", "project"} <= set(load_table(table).arrow().names):
        lake.amend(table, [], {column: None}, {})
        return
    for project in sorted(projects):
        where = [("entity", "=", project.entity), ("project", "=", project.project)]
        lake.amend(table, where, {column: None}, {})


def _undouble(holding: Holding, table: str) -> None:
    """Leaves one row of each key that a table holds more than once: the newest."""
    import pyarrow as pa

    lake, key = holding.lake, load_table(table).primary_key
    doubled = set(disk.doubled_keys(lake, table, lake.files(table), holding.scratch))
    filters = [(name, "in", sorted({k[i] for k in doubled})) for i, name in enumerate(key)]
    rows = lake.read(table, filters=filters).sort_by("synced_at").to_pylist()
    newest = {k: row for row in rows if (k := tuple(row[name] for name in key)) in doubled}
    kept = pa.Table.from_pylist(list(newest.values()), schema=load_table(table).arrow())
    lake.replace(table, kept.select(list(key)), kept, {})


def _runs_of(lake: Lake, table: str, *, deleted: bool | None = None) -> set[RunPath]:
    """Returns the runs that a table names; of the table runs those that are deleted, or not."""
    columns = ["entity", "project", "run_id", *([] if deleted is None else ["deleted_at"])]
    return {
        RunPath(row["entity"], row["project"], row["run_id"])
        for row in lake.read(table, columns=columns).to_pylist()
        if deleted is None or (row["deleted_at"] is not None) == deleted
    }
