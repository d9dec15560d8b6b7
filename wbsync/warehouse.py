"""The warehouse in Python: `wbsync.open(DIR)`."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from wbsync.configuration import resolve, warehouse_dir
from wbsync.errors import ConfigError, MigrationError, QueryError
from wbsync.model import ProjectPath, PublishOptions
from wbsync.resources import read_resource
from wbsync.settings import resolve_credentials
from wbsync.times import parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from wbsync.catalog import Published
    from wbsync.progress import Event, ProgressHook, SyncReport
    from wbsync.query import Engine, Result, TableInfo
    from wbsync.query.filters import Meaning
    from wbsync.query.spark import SparkEngine
    from wbsync.writeback.accepting import Edited
    from wbsync.writeback.plan import Plan
    from wbsync.writeback.push import PushReport
    from wbsync.writeback.undo import Undone


T = TypeVar("T")


def run_aside(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Returns what a coroutine does, run in a thread: the caller's may have an event loop."""
    import asyncio

    outcome: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    thread = threading.Thread(target=run, name="wbsync")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return outcome[0]


def read_whole(result: Result) -> Result:
    """Returns a result that no longer needs its engine."""
    result.arrow()
    return result


def silent(event: Event) -> None:
    """Takes an event and says nothing."""
    del event


class Warehouse:
    """A folder that holds what was synced; nothing is opened before it is asked for."""

    def __init__(self, root: Path) -> None:
        """Takes the folder of the warehouse, which need not exist before the first sync."""
        self.root = root
        self._engine: Engine | None = None
        self._past = ExitStack()

    def sync(
        self,
        *sources: str,
        api_key: str | None = None,
        base_url: str | None = None,
        progress: ProgressHook | None = None,
        concurrency: int = 4,
        only: Iterable[str] = (),
        skip: Iterable[str] = (),
        logs: bool = False,
        runs: Iterable[str] = (),
        since: datetime | None = None,
        filters: str | Mapping[str, Any] | None = None,
        max_requests: int | None = None,
        max_minutes: float | None = None,
        wait_s: float = 0.0,
        retry: bool = False,
        full: bool = False,
    ) -> SyncReport:
        """Brings the warehouse in step with W&B; works inside a running event loop, too.

        Args:
            sources: `ENTITY/PROJECT`, `ENTITY/GLOB`, or `ENTITY` for all its projects.
            api_key: None looks it up as the wandb SDK does.
            base_url: Server; None looks it up as the wandb SDK does.
            progress: Called with each event.
            concurrency: Requests and downloads in flight.
            only: Tables to sync; none for all.
            skip: Tables to leave as they are.
            logs: Whether console output is synced, too.
            runs: Ids of the only runs to sync; empty for all.
            since: Only runs created or active since then.
            filters: Only runs that pass this filter, in W&B's language; the server is asked for
                what it can tell, and all of it is tested here.
            max_requests: Stop cleanly after so many requests; None for any number.
            max_minutes: Stop cleanly after so many minutes; None for any time.
            wait_s: Seconds to wait for another sync to let go of the warehouse.
            retry: Try runs that were set aside at once.
            full: Read all again, mend and report what earlier syncs had missed.

        Raises:
            WbsyncError: Any of `wbsync.errors`, which say what to do.
            ValueError: `since` has no time zone, or a text stands where a list is wanted.
        """
        from dataclasses import replace

        from wbsync.api import Budget
        from wbsync.query.fetching import select_runs
        from wbsync.sync.engine import sync
        from wbsync.sync.streams import choose_tables

        if isinstance(runs, str):
            raise ValueError('runs is a list, also of one: runs=["abc123"]')  # noqa: TRY004
        if since is not None and since.tzinfo is None:
            raise ValueError("since must have a time zone")
        selection = select_runs(filters, runs=runs, since=since)
        chosen = choose_tables(only, skip)
        options = replace(chosen, logs=logs, selection=selection, retry=retry, full=full)
        credentials = resolve_credentials(api_key, base_url)
        return run_aside(
            lambda: sync(
                self.root, sources, credentials, progress=progress or silent,
                concurrency=concurrency, options=options,
                budget=Budget(max_requests, max_minutes), wait_s=wait_s,
            )
        )  # fmt: skip

    def edit(
        self,
        kind: str,
        path: str,
        *,
        filters: str | Mapping[str, Any] | None = None,
        names: Sequence[str] | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        tags: Sequence[str] | None = None,
        add_aliases: Sequence[str] = (),
        remove_aliases: Sequence[str] = (),
        append_notes: str | None = None,
        values: Mapping[str, Any] | None = None,
        unset: Sequence[str] = (),
        stop: bool = False,
        reason: str = "",
        dry_run: bool = False,
        over_conflicts: bool = False,
    ) -> Edited:
        """Queues the same change of some runs, artifacts or collections; `push` sends it.

        What is queued shows in the tables at once. What would change nothing is not queued.

        Args:
            kind: runs, artifacts or collections.
            path: `ENTITY/PROJECT`.
            filters: Only things that pass this filter, in W&B's language.
            names: Only these: run ids, `collection:v3` or `collection:alias`, or collections.
            add_tags: Tags to add.
            remove_tags: Tags to take away.
            tags: Tags to have in the place of all; None leaves them.
            add_aliases: Aliases to give to artifacts.
            remove_aliases: Aliases to take from them.
            append_notes: Text to append to runs' notes, as it is.
            values: Field or leaf to what it is to be, for example `{"config.lr": 0.1}`.
            unset: Leaves to take away, for example `config.lr`.
            stop: Whether live runs are asked to stop.
            reason: What for, for the audit trail.
            dry_run: Whether to work it out alone; the answer's `plan` says what would change.
            over_conflicts: Whether it takes the place of conflicts that wait where it changes
                something: it is then written over what W&B was found to hold there.

        Raises:
            EditError: W&B would not take it, or something that is named is unknown.
            FilterError: The filter cannot be used.
        """
        from wbsync.writeback.accepting import face_conflicts
        from wbsync.writeback.assignments import build_assignments
        from wbsync.writeback.editing import plan_edit

        assignments = build_assignments(
            kind, add_tags=add_tags, remove_tags=remove_tags, tags=tags, add_aliases=add_aliases,
            remove_aliases=remove_aliases, append_notes=append_notes, values=values, unset=unset,
            stop=stop,
        )  # fmt: skip
        plan = plan_edit(self._open(), kind, path, assignments, filters=filters, names=names)
        if over_conflicts:
            face_conflicts(self.root, plan)
        return self._accept(plan, "python", reason, dry_run)

    def edit_sql(
        self, statement: str, *, every: bool = False, reason: str = "", dry_run: bool = False
    ) -> Edited:
        """Queues what an UPDATE of runs or artifacts does; the SQL itself is sent nowhere.

        Args:
            statement: For example `UPDATE runs SET config.lr = 0.1 WHERE run_id = 'a'`.
            every: Whether it may be about every row of every project.
            reason: What for, for the audit trail.
            dry_run: Whether to work it out alone.

        Raises:
            EditError: It is no such UPDATE, or W&B would not take what it sets.
            QueryError: Its WHERE or a right-hand side fails.
        """
        from wbsync.writeback.update_sql import plan_update

        plan = plan_update(self._open(), statement, every=every)
        return self._accept(plan, "sql", reason, dry_run, statement)

    def edit_import(
        self, file: str | Path, project: str | None = None, *, reason: str = "",
        dry_run: bool = False,
    ) -> Edited:  # fmt: skip
        """Queues what a file says of runs: CSV, JSON lines or Parquet, one run a row.

        Args:
            file: The file; `wbsync edit import --help` says which columns it may have.
            project: `ENTITY/PROJECT` of runs whose row does not name it.
            reason: What for, for the audit trail.
            dry_run: Whether to work it out alone.

        Raises:
            EditError: The file cannot be read, or sets what it may not.
        """
        from pathlib import Path

        from wbsync.writeback.importing import plan_import

        plan = plan_import(self._open(), Path(file), project)
        return self._accept(plan, "import", reason, dry_run, f"import {file}")

    def _accept(
        self, plan: Plan, origin: str, reason: str, dry_run: bool, command: str = ""
    ) -> Edited:
        from wbsync.writeback.accepting import Edited, accept

        if dry_run:
            return Edited(plan)
        return accept(self.root, plan, origin=origin, why=reason, command=command)

    def push(
        self,
        *,
        filters: str | Mapping[str, Any] | None = None,
        limit: int | None = None,
        on_conflict: str = "fail",
        force: bool = False,
        dry_run: bool = False,
        api_key: str | None = None,
        base_url: str | None = None,
    ) -> PushReport:
        """Pushes the edits that wait in the queue; works inside a running event loop, too.

        Args:
            filters: Only runs that pass this filter by what is held; None for everything.
            limit: Most runs and other things to push; None for all.
            on_conflict: What to do where someone has changed the same in W&B since: fail (the edit
                waits), mine or theirs.
            force: Whether config and summary of live runs are written.
            dry_run: Whether to say alone what would be done.
            api_key: None looks it up as the wandb SDK does.
            base_url: Server; None looks it up as the wandb SDK does.

        Raises:
            WbsyncError: Any of `wbsync.errors`, which say what to do.
        """
        from wbsync.writeback.choosing import runs_passing
        from wbsync.writeback.merge import Policy
        from wbsync.writeback.push import push

        credentials = resolve_credentials(api_key, base_url)
        chosen = None if filters is None else runs_passing(self._open(), filters)
        policy = Policy(on_conflict, force)
        return run_aside(
            lambda: push(
                self.root, credentials, chosen=chosen, limit=limit, policy=policy, dry_run=dry_run
            )
        )

    def resolve(self, side: str, op_ids: Iterable[int] | None = None) -> int:
        """Settles conflicts for one side; the table `edits` lists them.

        Args:
            side: `mine` pushes the edits over what W&B was found to hold, and no other; `theirs`
                drops them.
            op_ids: Which operations; None for all that are in conflict.

        Returns:
            The number of operations that are settled.

        Raises:
            EditError: One of them is no conflict.
            WarehouseError: There is no warehouse.
        """
        from wbsync.writeback import Queue
        from wbsync.writeback.overlay import show

        with Queue(self.root) as queue:
            chosen = [e.op_id for e in queue.entries(["conflict"])] if op_ids is None else [*op_ids]
            count = queue.resolve(chosen, side)
        if count:
            show(self.root)
        return count

    def undo(
        self, which: str | None = None, *, reason: str = "", dry_run: bool = False
    ) -> Undone:  # fmt: skip
        """Queues what takes back a push or an edit.

        Args:
            which: Its id; None for the last push that has changed something.
            reason: What for, for the audit trail.
            dry_run: Whether to work it out alone; the answer's `plan` says what it would do.

        Raises:
            EditError: There is none, or it was taken back already.
            WarehouseError: There is no warehouse.
        """
        from wbsync.writeback import Queue, who_am_i
        from wbsync.writeback.undo import Undone, plan_undo, undo

        with Queue(self.root) as queue:
            if dry_run:
                return Undone(plan_undo(queue, which))
            return undo(queue, which, who_am_i(), why=reason)

    def publish(
        self,
        *,
        storage_version: str | None = None,
        materialize: bool | None = None,
        rebuild: bool = False,
    ) -> Published:
        """Brings `warehouse.duckdb` up to date with the lake; a sync does it by itself.

        Args:
            storage_version: DuckDB's format of the file; None leaves it as it is.
            materialize: Whether the rows of history and the like are in the file; None leaves it
                as it is.
            rebuild: Whether the file is made anew in any case.

        Raises:
            WbsyncError: Any of `wbsync.errors`, which say what to do.
        """
        from wbsync.sync.publication import publish_warehouse

        return publish_warehouse(
            self.root, silent, PublishOptions(storage_version, materialize), rebuild=rebuild
        )

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        as_of: datetime | str | None = None,
        on: str | None = None,
    ) -> Result:
        """Returns the rows of a query, which only reads.

        Args:
            query: SQL, as DuckDB understands it.
            params: Values for `?` (a sequence) or `$name` (a mapping).
            as_of: Asks the warehouse as it was then: an instant, ISO 8601 (without a zone: UTC), a
                day, or how long ago (`2h`, `3d`); None asks it as it is.
            on: `sc://HOST:PORT` of a Spark Connect engine to ask over the same tables; None asks
                DuckDB.

        Raises:
            QueryError: It does not parse, would write, or names what is not there.
            ConfigError: `as_of` is no time, or before anything was held.
            WarehouseError: Nothing is synced yet, or what was then is deleted.
        """
        if on is not None:
            if as_of is not None:
                raise ConfigError("as_of is for the warehouse here, not for another engine")
            with self._elsewhere(on) as spark:
                return read_whole(spark.sql(query, params))
        if as_of is None:
            return self._open().sql(query, params)
        self._past.close()
        return self._past.enter_context(engine_as_of(self.root, as_of, query)).sql(query, params)

    def changes(
        self,
        *projects: str,
        since: datetime | None = None,
        runs: Iterable[str] = (),
        fields: Iterable[str] = (),
    ) -> Result:
        """Returns the changes of runs' metadata that syncs saw, oldest first.

        Args:
            projects: `ENTITY/PROJECT`; none for all.
            since: From when on; None for all.
            runs: Ids of the only runs to look at; none for all.
            fields: Columns of runs, or `config.` or `summary.` and a dotted path, each with all
                that is below it; none for all.

        Returns:
            seen_at (timestamp, UTC), project, run_id, display_name, field, and old and new as JSON,
            null where there was or is no value.

        Raises:
            ConfigError: A project is not `ENTITY/PROJECT`.
            MigrationError: An older wbsync wrote the warehouse.
            WarehouseError: Nothing is synced yet.
        """
        engine = self._open()
        if ("run_changes",) not in engine.run_trusted("SHOW TABLES").fetchall():
            raise MigrationError("an older wbsync wrote this warehouse: run `wbsync sync` once")
        start = None if since is None else as_utc(since).replace(tzinfo=None)
        values = {
            "since": start,
            "projects": [str(ProjectPath.parse(project)) for project in projects],
            "runs": [*runs],
            "fields": [*fields],
        }
        return engine.run_trusted(read_resource("queries/warehouse/run_changes.sql"), values)

    def query(self, name: str, /, *, on: str | None = None, **values: Any) -> Result:
        """Returns the rows of a named query; `wbsync query` lists them.

        Args:
            name: Which.
            on: `sc://HOST:PORT` of a Spark Connect engine to ask over the same tables; None asks
                DuckDB.
            values: Its parameters; what is left out takes its default.

        Raises:
            QueryError: There is no such query, or a parameter is missing or wrong.
            ConfigError: A project, run or sweep that is named is not held.
            WarehouseError: Nothing is synced yet.
        """
        from wbsync.query.named import Catalog, run_query
        from wbsync.query.nearness import check_subjects

        query, now = Catalog(resolve({})["queries.path"]).find(name), datetime.now(UTC)
        if on is not None:
            with self._elsewhere(on) as spark:
                return read_whole(run_query(spark, query, values, now))
        engine = self._open()
        check_subjects(engine, query, query.bind(values, now))
        return run_query(engine, query, values, now)

    def history(
        self, project: str, keys: Sequence[str], runs: Sequence[str] | None = None
    ) -> Result:
        """Returns history wide: one row per run, step and row, one column per key.

        Args:
            project: `ENTITY/PROJECT`.
            keys: Keys, in the order of the columns; dotted for nested ones.
            runs: Run ids; None takes all.

        Returns:
            run_id (string), step (int64), row (int64), then each key as double, null where it was
            not logged. A key that holds texts, media or lists in all runs is a string: the text, or
            JSON. Of a key that holds numbers in some, only these; the table history has the rest.

        Raises:
            ConfigError: The project is not `ENTITY/PROJECT`.
            ValueError: No key is named, or a text stands where a list is wanted.
            QueryError: The warehouse does not hold the project, or no run of it has such a key.
        """
        from wbsync.query.wide import texts_among, wide_history

        if not keys:
            raise ValueError("name at least one key")
        if isinstance(keys, str) or isinstance(runs, str):
            raise ValueError('keys and runs are lists, also of one: keys=["loss"]')  # noqa: TRY004
        path = ProjectPath.parse(project)
        held = self._open().run_trusted(
            "SELECT 1 FROM projects WHERE entity = ? AND project = ?", [path.entity, path.project]
        )
        if not held.fetchall():
            raise QueryError(f"{path} is not in this warehouse; sync it first")
        texts = texts_among(self._open(), path, keys)
        query, parameters, names = wide_history(path, keys, runs, texts)
        return self._open().run_trusted(query, parameters, names=names)

    def runs(
        self,
        path: str | None = None,
        filters: str | Mapping[str, Any] | None = None,
        order: str | Sequence[str] | None = "+created_at",
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        meaning: Meaning = "mongo",
    ) -> Result:
        """Returns runs, as one asks W&B for them.

        Args:
            path: `ENTITY/PROJECT`, or `ENTITY`; None for all that is held.
            filters: W&B's filter: a dictionary, JSON, or a text such as `Tags == "prod"`.
            order: Order strings, for example `-summary_metrics.acc`; None leaves the order open.
            columns: Columns of the table runs and fields, for example `config.lr`; None for the
                whole table.
            limit: Most rows; None for all.
            meaning: `mongo` (MongoDB's manual) or `wandb` (as W&B is believed to answer).

        Returns:
            The columns, under the names by which they were asked for. Config and summary fields are
            numbers, booleans or texts where all runs have only these, else texts.

        Raises:
            FilterError: The filter, the order or a column cannot be used.
            ConfigError: The path is none.
            WarehouseError: Nothing is synced yet.
        """
        return self.find("runs", path, filters, order, columns, limit, meaning)

    def sweeps(
        self, path: str | None = None, filters: str | Mapping[str, Any] | None = None, **how: Any
    ) -> Result:
        """Returns sweeps; everything else is as for `runs`."""
        return self.find("sweeps", path, filters, **how)

    def artifacts(
        self, path: str | None = None, filters: str | Mapping[str, Any] | None = None, **how: Any
    ) -> Result:
        """Returns artifact versions; everything else is as for `runs`."""
        return self.find("artifacts", path, filters, **how)

    def find(
        self,
        kind: str,
        path: str | None = None,
        filters: str | Mapping[str, Any] | None = None,
        order: str | Sequence[str] | None = "+created_at",
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        meaning: Meaning = "mongo",
    ) -> Result:
        """Returns things of any kind that can be filtered; everything else is as for `runs`.

        Args:
            kind: runs, sweeps, artifacts, collections, registries, registry_collections,
                registry_versions or reports. Registries' paths are `ORGANIZATION/REGISTRY`.
            path: See `runs`.
            filters: See `runs`.
            order: See `runs`.
            columns: See `runs`.
            limit: See `runs`.
            meaning: See `runs`.
        """
        from wbsync.query.asking import ask, build_question

        question = build_question(kind, path, filters, order, columns, limit, meaning)
        return ask(self._open(), question)

    def tables(self) -> list[TableInfo]:
        """Returns what there is to ask."""
        return self._open().tables()

    def engine(self) -> Engine:
        """Returns the newest published state, open for wbsync's own queries.

        Raises:
            WarehouseError: Nothing is synced yet.
        """
        return self._open()

    def _elsewhere(self, on: str) -> SparkEngine:
        from wbsync.query.spark import SparkEngine

        return SparkEngine.open(self.root, on)

    def _open(self) -> Engine:
        from wbsync.sync.publication import open_published

        if self._engine is None or not self._engine.is_newest():
            self.close()
            self._engine = open_published(self.root)
        return self._engine

    def close(self) -> None:
        """Closes the connection; results that are being read go on."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self._past.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def engine_as_of(root: Path, as_of: datetime | str, query: str) -> Iterator[Engine]:
    """Opens a warehouse as it was, read-only and closed in like the published state.

    Args:
        root: Folder of the warehouse.
        as_of: An instant, or a text as `Warehouse.sql` takes it; without a zone it is UTC.
        query: What will be asked. Projects have their schemas where it may name one: they cost a
            count of all keys.

    Raises:
        ConfigError: It is no time, or before anything was held.
        WarehouseError: The folder is no warehouse, or what was then is deleted.
    """
    import tempfile
    from pathlib import Path

    from wbsync.catalog.as_of import build_as_of
    from wbsync.lake import Lake, check_warehouse
    from wbsync.query import Engine
    from wbsync.state import State
    from wbsync.sync.holding import sync_log_table

    instant = parse_instant(as_of, datetime.now(UTC)) if isinstance(as_of, str) else as_utc(as_of)
    check_warehouse(root)
    with tempfile.TemporaryDirectory(prefix="wbsync-as-of-") as name:
        folder = Path(name).resolve()
        state = State.copy_of(root / "state.sqlite", folder)
        try:
            sync_log = sync_log_table(state)
        finally:
            state.close()
        path = folder / "warehouse.duckdb"
        build_as_of(path, Lake(root), instant, sync_log, has_projects="__" in query)
        with Engine.open(root, path) as engine:
            yield engine


def as_utc(instant: datetime) -> datetime:
    """Returns an instant in UTC; one without a zone is UTC already."""
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)


def open_warehouse(directory: str | Path | None = None) -> Warehouse:
    """Returns a warehouse.

    Args:
        directory: Its folder; None takes `WBSYNC_WAREHOUSE`, the nearest wbsync.toml's, or the
            default under the user's data folder.
    """
    return Warehouse(warehouse_dir(directory))
