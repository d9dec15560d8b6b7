"""The warehouse in Python: `wbsync.open(DIR)`."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wbsync.configuration import resolve, warehouse_dir
from wbsync.errors import QueryError
from wbsync.model import ProjectPath, Selection
from wbsync.settings import resolve_credentials
from wbsync.times import parse_instant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wbsync.progress import Event, ProgressHook, SyncReport
    from wbsync.query import Engine, Result, TableInfo


def silent(event: Event) -> None:
    """Takes an event and says nothing."""
    del event


class Warehouse:
    """A folder that holds what was synced; nothing is opened before it is asked for."""

    def __init__(self, root: Path) -> None:
        """Takes the folder of the warehouse, which need not exist before the first sync."""
        self.root = root
        self._engine: Engine | None = None
        self._past: ExitStack | None = None

    def sync(
        self,
        *sources: str,
        api_key: str | None = None,
        base_url: str | None = None,
        progress: ProgressHook | None = None,
        concurrency: int = 4,
        only: Iterable[str] = (),
        skip: Iterable[str] = (),
        runs: Iterable[str] = (),
        since: datetime | None = None,
        filters: Mapping[str, Any] | None = None,
        max_requests: int | None = None,
        max_minutes: float | None = None,
        wait_s: float = 0.0,
        retry: bool = False,
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
            runs: Ids of the only runs to sync; empty for all.
            since: Only runs created or active since then.
            filters: Only runs that pass this filter, in W&B's Mongo-like language.
            max_requests: Stop cleanly after so many requests; None for any number.
            max_minutes: Stop cleanly after so many minutes; None for any time.
            wait_s: Seconds to wait for another sync to let go of the warehouse.
            retry: Try runs that were set aside at once.

        Raises:
            WbsyncError: Any of `wbsync.errors`, which say what to do.
            ValueError: `since` has no time zone, or a text stands where a list is wanted.
        """
        import asyncio
        from dataclasses import replace

        from wbsync.api import Budget
        from wbsync.sync.engine import sync
        from wbsync.sync.streams import choose_tables

        if isinstance(runs, str):
            raise ValueError('runs is a list, also of one: runs=["abc123"]')  # noqa: TRY004
        if since is not None and since.tzinfo is None:
            raise ValueError("since must have a time zone")
        selection = Selection(frozenset(runs), since, filters or None)
        options = replace(choose_tables(only, skip), selection=selection, retry=retry)
        credentials = resolve_credentials(api_key, base_url)
        outcome: list[SyncReport] = []
        problems: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(
                    asyncio.run(
                        sync(
                            self.root, sources, credentials, progress=progress or silent,
                            concurrency=concurrency, options=options,
                            budget=Budget(max_requests, max_minutes), wait_s=wait_s,
                        )
                    )
                )  # fmt: skip
            except BaseException as error:  # noqa: BLE001
                problems.append(error)

        thread = threading.Thread(target=work, name="wbsync-sync")
        thread.start()
        thread.join()
        if problems:
            raise problems[0]
        return outcome[0]

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        as_of: datetime | str | None = None,
    ) -> Result:
        """Returns the rows of a query, which only reads.

        Args:
            query: SQL, as DuckDB understands it.
            params: Values for `?` (a sequence) or `$name` (a mapping).
            as_of: Asks the warehouse as it was then: an instant, ISO 8601 (without a zone: UTC), a
                day, or how long ago (`2h`, `3d`); None asks it as it is.

        Raises:
            QueryError: It does not parse, would write, or names what is not there.
            ConfigError: `as_of` is no time, or before anything was held.
            WarehouseError: Nothing is synced yet, or what was then is deleted.
        """
        if as_of is None:
            return self._open().sql(query, params)
        if self._past is not None:
            self._past.close()
        self._past = ExitStack()
        return self._past.enter_context(engine_as_of(self.root, as_of)).sql(query, params)

    def query(self, name: str, /, **values: Any) -> Result:
        """Returns the rows of a named query; `wbsync query` lists them.

        Args:
            name: Which.
            values: Its parameters; what is left out takes its default.

        Raises:
            QueryError: There is no such query, or a parameter is missing or wrong.
            WarehouseError: Nothing is synced yet.
        """
        from wbsync.query.named import Catalog, run_query

        query = Catalog(resolve({})["queries.path"]).find(name)
        return run_query(self._open(), query, values, datetime.now(UTC))

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
            not logged.

        Raises:
            ConfigError: The project is not `ENTITY/PROJECT`.
            ValueError: No key is named, or a text stands where a list is wanted.
            QueryError: The warehouse does not hold the project.
        """
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
        chosen = "max(value) FILTER (WHERE key = ?)"
        columns = ", ".join([chosen] * len(keys))
        marks = ", ".join("?" * len(keys))
        only = f" AND run_id IN ({', '.join('?' * len(runs))})" if runs else ""
        if runs is not None and not runs:
            only = " AND false"
        query = (
            f"SELECT run_id, step, row, {columns} FROM history"  # noqa: S608
            f" WHERE entity = ? AND project = ? AND key IN ({marks}){only}"
            " GROUP BY run_id, step, row ORDER BY run_id, step, row"
        )
        params = [*keys, path.entity, path.project, *keys, *(runs or ())]
        return self._open().run_trusted(query, params, names=["run_id", "step", "row", *keys])

    def tables(self) -> list[TableInfo]:
        """Returns what there is to ask."""
        return self._open().tables()

    def _open(self) -> Engine:
        from wbsync.query import Engine

        if self._engine is None or not self._engine.is_newest():
            self.close()
            self._engine = Engine.open(self.root)
        return self._engine

    def close(self) -> None:
        """Closes the connection; results that are being read go on."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        if self._past is not None:
            self._past.close()
            self._past = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def engine_as_of(root: Path, as_of: datetime | str) -> Iterator[Engine]:
    """Opens a warehouse as it was, read-only and closed in like the published state.

    Args:
        root: Folder of the warehouse.
        as_of: An instant, or a text as `Warehouse.sql` takes it; without a zone it is UTC.

    Raises:
        ConfigError: It is no time, or before anything was held.
        WarehouseError: The folder is no warehouse, or what was then is deleted.
    """
    import tempfile

    from wbsync.catalog.as_of import build_as_of
    from wbsync.lake import Lake, check_warehouse
    from wbsync.query import Engine
    from wbsync.state import State
    from wbsync.sync.held import sync_log_table

    if isinstance(as_of, str):
        instant = parse_instant(as_of, datetime.now(UTC))
    else:
        instant = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)).astimezone(UTC)
    check_warehouse(root)
    with tempfile.TemporaryDirectory(prefix="wbsync-as-of-") as name:
        folder = Path(name).resolve()
        state = State.copy_of(root / "state.sqlite", folder)
        try:
            sync_log = sync_log_table(state)
        finally:
            state.close()
        path = folder / "warehouse.duckdb"
        build_as_of(path, Lake(root), instant, sync_log)
        with Engine.open(root, path) as engine:
            yield engine


def open_warehouse(directory: str | Path | None = None) -> Warehouse:
    """Returns a warehouse.

    Args:
        directory: Its folder; None takes `WBSYNC_WAREHOUSE`, the nearest wbsync.toml's, or the
            default under the user's data folder.
    """
    return Warehouse(warehouse_dir(directory))
