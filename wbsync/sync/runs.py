"""Keeps a project's runs, and their leaf tables, in step with W&B.

A first sync walks all runs in heavy pages. Later ones ask in light pages only for what W&B says
has changed, or, where it cannot filter by `updatedAt`, for everything, and then fetch the whole of
what differs. Leaf tables are committed before `runs`, whose content hash is what marks a run as
held: a kill in between leaves the run to be fetched again.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.extract.runs import RunRows, build_run_rows, tags_json
from wbsync.extract.values import parse_time
from wbsync.progress import PageFetched
from wbsync.sync.plan import INDEX_COLUMNS, LIVE_STATES, Stored, has_changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from wbsync.sync.context import Context

TABLES = ("run_config", "run_summary", "run_tags", "run_artifacts", "runs")
"""Tables made of run pages, in the order they are committed."""

LAG = timedelta(minutes=15)
"""W&B shows new data minutes late, so each sync looks back over this much."""

HEAVY_PAGE_ROWS = 100
LIGHT_PAGE_ROWS = 1000
BATCH_RUNS = 2000


class RunSync:
    """One walk over a project's runs."""

    def __init__(self, context: Context, bookmark: dict[str, Any] | None) -> None:
        self._context = context
        self._bookmark = bookmark
        self._buffer: list[RunRows] = []
        self._buffered = 0
        self._stored: dict[str, Stored] = {}
        self._held: dict[str, set[str]] | None = None
        self._seen: set[str] = set()
        self._taken: set[str] = set()
        self._is_whole = False
        self._updated_at: datetime | None = None

    async def run(self, run_count: int | None) -> dict[str, Any]:
        """Brings the runs up to date.

        Args:
            run_count: Runs that the server claims, None where it does not say.

        Returns:
            The bookmark for the next sync.
        """
        context = self._context
        self._stored = await asyncio.to_thread(read_index, context)
        has_updated_at = "Run.updatedAt" not in context.client.capabilities.missing_fields
        if self._bookmark is None or not has_updated_at:
            await self._find_held()
            rows = HEAVY_PAGE_ROWS if self._bookmark is None else LIGHT_PAGE_ROWS
            await self._walk_heavy({}, page_rows=rows)
            self._is_whole = True
            if "Run.updatedAt" not in context.client.capabilities.missing_fields:
                await context.client.can_filter_updated_at(context.project)  # for the next sync
        else:
            await self._walk_light(await self._changed_filter())
            missed = self._bookmark.get("hidden", 0)
            if not self._is_whole and run_count is not None:
                held = sum(s["deleted_at"] is None for s in self._stored.values())
                new = sum(run_id not in self._stored for run_id in self._seen)
                if run_count != held + new + missed:
                    await self._walk_light({})
                    self._is_whole = True
        await self._flush()
        if self._is_whole:
            await self._mark_deleted(run_count)
        return self._next_bookmark(run_count)

    async def _changed_filter(self) -> dict[str, Any]:
        """Returns a filter for runs that may have changed; empty where W&B cannot tell."""
        context = self._context
        since = parse_time((self._bookmark or {}).get("updated_at"))
        self._updated_at = since
        if since is None:
            return {}
        if not await context.client.can_filter_updated_at(context.project):
            return {}
        instant = (since - LAG).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"$or": [{"updatedAt": {"$gte": instant}}, {"state": {"$in": list(LIVE_STATES)}}]}

    async def _walk_light(self, filters: dict[str, Any]) -> None:
        self._is_whole = self._is_whole or not filters
        changed: list[str] = []
        async for nodes in self._pages("project_runs_light", filters, LIGHT_PAGE_ROWS):
            for node in nodes:
                if node["name"] in self._seen and not self._is_whole:
                    continue
                updated_at = self._note(node)
                if has_changed(
                    node,
                    self._stored.get(node["name"]),
                    tags=tags_json(node.get("tags")),
                    heartbeat_at=parse_time(node.get("heartbeatAt")),
                    updated_at=updated_at,
                ):
                    changed.append(node["name"])
        wanted = list(dict.fromkeys(changed))
        for start in range(0, len(wanted), HEAVY_PAGE_ROWS):
            names = wanted[start : start + HEAVY_PAGE_ROWS]
            await self._walk_heavy(
                {"name": {"$in": names}}, page_rows=HEAVY_PAGE_ROWS, only=frozenset(names)
            )

    async def _walk_heavy(
        self, filters: dict[str, Any], *, page_rows: int, only: frozenset[str] | None = None
    ) -> None:
        wanted = set(only or ())
        async for nodes in self._pages("project_runs", filters, page_rows):
            taken = {n["name"]: n for n in nodes if only is None or n["name"] in only}
            for node in taken.values():
                self._note(node)
            await self._take([n for name, n in taken.items() if name not in self._taken])
            self._taken.update(taken)
            wanted.difference_update(taken)
            if only is not None and not wanted:
                return

    async def _pages(
        self, name: str, filters: dict[str, Any], page_rows: int
    ) -> Any:  # async iterator of node lists
        context = self._context
        variables = {
            "entity": context.project.entity,
            "project": context.project.project,
            "order": "+created_at",
            "filters": json.dumps(filters),
        }
        async for page in iter_pages(
            context.client,
            load_document(name),
            variables,
            connection=lambda data: (data.get("project") or {}).get("runs"),
            page_rows=page_rows,
            prefetch=True,
        ):
            nodes = [node for node in page.nodes if node is not None]
            context.progress(PageFetched(project=str(context.project), rows=len(nodes)))
            yield nodes

    def _note(self, node: dict[str, Any]) -> datetime | None:
        """Counts a run as seen; returns its `updatedAt`."""
        self._seen.add(node["name"])
        updated_at = parse_time(node.get("updatedAt"))
        if updated_at and (self._updated_at is None or updated_at > self._updated_at):
            self._updated_at = updated_at
        return updated_at

    async def _take(self, nodes: list[dict[str, Any]]) -> None:
        """Buffers the runs of a page that differ from what is held."""
        import pyarrow as pa
        import pyarrow.compute as pc

        context = self._context
        rows = await asyncio.to_thread(build_run_rows, nodes, context.project, context.synced_at)
        hashes = rows.runs.column("content_hash").to_pylist()
        names = rows.runs.column("run_id").to_pylist()
        changed = [
            name
            for name, content in zip(names, hashes, strict=True)
            if (held := self._stored.get(name)) is None
            or held["content_hash"] != content
            or held["deleted_at"] is not None
        ]
        if not changed:
            return
        if len(changed) < len(names):
            chosen = pa.array(changed, pa.string())
            rows = RunRows(
                **{
                    table: (t := getattr(rows, table)).filter(
                        pc.is_in(t.column("run_id"), value_set=chosen)
                    )
                    for table in TABLES
                }
            )
        self._buffer.append(rows)
        self._buffered += len(changed)
        if self._buffered >= BATCH_RUNS:
            await self._flush()

    async def _flush(self) -> None:
        """Commits the buffered runs, `runs` itself last."""
        import pyarrow as pa

        buffer, self._buffer = self._buffer, []
        self._context.tally.runs_changed += self._buffered
        self._buffered = 0
        if not buffer:
            return
        scope = pa.concat_tables([b.runs for b in buffer]).select(["entity", "project", "run_id"])
        names = set(scope.column("run_id").to_pylist())
        for table in TABLES:
            rows = pa.concat_tables([getattr(b, table) for b in buffer])
            is_new = self._held is not None and names.isdisjoint(self._held[table])
            await self._context.write(table, rows, scope=None if is_new else scope)

    async def _find_held(self) -> None:
        """Learns which runs each table holds already, so that new ones may simply be appended."""
        context = self._context

        def read() -> dict[str, set[str]]:
            return {
                table: set(
                    context.lake.read(table, columns=["run_id"], filters=project_filter(context))
                    .column("run_id")
                    .unique()
                    .to_pylist()
                )
                for table in TABLES
            }

        self._held = await asyncio.to_thread(read)

    async def _mark_deleted(self, run_count: int | None) -> None:
        """Marks the runs that a whole walk did not meet, unless the server hides what it counts."""
        gone = [
            run_id
            for run_id, stored in self._stored.items()
            if run_id not in self._seen and stored["deleted_at"] is None
        ]
        if not gone or (run_count is not None and run_count > len(self._seen)):
            return
        import pyarrow as pa

        context = self._context

        def read() -> pa.Table:
            table = context.lake.read(
                "runs", filters=[*project_filter(context), ("run_id", "in", gone)]
            )
            place = table.schema.get_field_index("deleted_at")
            marks = pa.array([context.synced_at] * table.num_rows, pa.timestamp("us", tz="UTC"))
            return table.set_column(place, table.schema.field(place), marks)

        rows = await asyncio.to_thread(read)
        await context.write("runs", rows, scope=rows.select(["entity", "project", "run_id"]))

    def _next_bookmark(self, run_count: int | None) -> dict[str, Any]:
        self._context.tally.runs_seen = len(self._seen | set(self._stored))
        hidden = (self._bookmark or {}).get("hidden", 0)
        if self._is_whole and run_count is not None:
            hidden = run_count - len(self._seen)
        return {
            "updated_at": self._updated_at.isoformat() if self._updated_at else None,
            "hidden": hidden,
        }


def project_filter(context: Context) -> list[tuple[str, str, Any]]:
    """Returns the lake filter for the context's project."""
    return [("entity", "=", context.project.entity), ("project", "=", context.project.project)]


def read_index(context: Context, columns: Sequence[str] = INDEX_COLUMNS) -> dict[str, Stored]:
    """Returns run id to the columns of a held run that a sync compares."""
    table = context.lake.read("runs", columns=list(columns), filters=project_filter(context))
    return {row["run_id"]: row for row in table.to_pylist()}
