"""Keeps a project's runs, and their leaf tables, in step with W&B.

A first sync walks all runs in heavy pages. Later ones ask in light pages only for what W&B says
has changed, or, where it cannot filter by `updatedAt`, for everything, and then fetch the whole of
what differs. Leaf tables are committed before `runs`, whose content hash is what marks a run as
held: a kill in between leaves the run to be fetched again.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document
from wbsync.errors import BudgetSpentError, ExtractError, GraphQLError, ResponseShapeError
from wbsync.extract.runs import RunRows, build_run_rows, tags_json
from wbsync.extract.values import parse_time
from wbsync.model import RunPath
from wbsync.progress import PageFetched
from wbsync.sync.plan import INDEX_COLUMNS, LIVE_STATES, Stored, has_changed
from wbsync.sync.selection import server_filter, taken, takes

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
THE_END = "the end"
"""Stands for the end cursor of a walk that has come to its end."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What light pages say of a project's runs, beside what is held."""

    index: dict[str, Stored]
    """Held runs."""
    seen: set[str]
    changed: dict[str, dict[str, Any]]
    """Runs that are new or differ, as their page shows them."""
    gone: list[str]
    pages: int
    """Pages that were read."""
    page_rows: int
    """Runs of the fullest page that had a next one; 0 where all runs fit in one."""


class RunSync:
    """One walk over a project's runs.

    What the budget cuts short the next sync goes on with: `stop` keeps where each list of pages
    stood, which runs were seen, and which are still to be fetched.
    """

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
        self._changed: dict[str, dict[str, Any]] = {}
        """Runs that differ from what is held, as light pages show them, until they are fetched."""
        self._selected: set[str] = set()
        self._ends: dict[str, str] = {}
        """Document and filter to the end cursor of the last page that was read."""
        self._only_looks = False
        self._pages_read = 0
        self._page_rows = 0
        self._is_resumed = False
        self._updated_at_first: datetime | None = None
        """Newest `updatedAt` that the first part of a resumed walk saw: what changed later is
        newer."""

    async def run(self, run_count: int | None) -> dict[str, Any] | None:
        """Brings the runs up to date, or those that the sync is about.

        Args:
            run_count: Runs that the server claims, None where it does not say.

        Returns:
            The bookmark for the next sync; a selective sync leaves it as it is.

        Raises:
            BudgetSpentError: It is not done; call `stop`.
        """
        context = self._context
        self._stored = await asyncio.to_thread(read_index, context, whole=True)
        has_updated_at = "Run.updatedAt" not in context.client.capabilities.missing_fields
        if not context.options.selection.is_everything:
            await self._walk_selected(has_updated_at=has_updated_at)
            await self._flush()
            context.selected = context.tally.selected = frozenset(self._selected)
            self._context.tally.runs_seen = len(self._selected)
            return self._bookmark
        self._resume()
        self._changed.update((r, {}) for r in context.aside - context.resting)
        if self._bookmark is None or not has_updated_at:
            await self._find_held()
            rows = HEAVY_PAGE_ROWS if self._bookmark is None else LIGHT_PAGE_ROWS
            await self._walk_heavy({}, page_rows=rows)
            self._is_whole = True
            if "Run.updatedAt" not in context.client.capabilities.missing_fields:
                with suppress(BudgetSpentError):  # it is for the next sync
                    await context.client.can_filter_updated_at(context.project)
        else:
            self._updated_at = parse_time(self._bookmark.get("updated_at"))
            await self._walk_light(await self._changed_filter(self._updated_at))
            if not self._is_whole and not self._adds_up(run_count):
                await self._walk_light({})
        await self._flush()
        if self._is_resumed:
            await self._look_again()
        if self._is_whole:
            await self._mark_deleted(run_count)
        context.state.forget_walk(context.project.entity, context.project.project)
        return self._next_bookmark(run_count)

    def _adds_up(self, run_count: int | None) -> bool:
        """Says whether the runs held and met are as many as W&B claims."""
        if run_count is None:
            return True
        known = {r for r, stored in self._stored.items() if stored["deleted_at"] is None}
        known |= self._seen | self._context.aside
        hidden = int((self._bookmark or {}).get("hidden", 0))
        return run_count == len(known) + hidden

    async def survey(self, run_count: int | None) -> Survey:
        """Lists the runs that differ from what is held, in light pages; reads none of them.

        Args:
            run_count: Runs that the server claims, None where it does not say.
        """
        context = self._context
        self._only_looks = True
        self._stored = await asyncio.to_thread(read_index, context, whole=True)
        has_updated_at = "Run.updatedAt" not in context.client.capabilities.missing_fields
        gone: list[str] = []
        if not context.options.selection.is_everything:
            async for nodes in self._selected_pages():
                for node in nodes:
                    self._compare(node)
            context.selected = frozenset(self._selected)
        else:
            if self._bookmark is not None and has_updated_at:
                since = parse_time(self._bookmark.get("updated_at"))
                await self._walk_light(await self._changed_filter(since))
            if not self._is_whole and (not self._pages_read or not self._adds_up(run_count)):
                await self._walk_light({})
            if self._is_whole and (run_count or 0) <= len(self._seen):
                gone = [
                    run_id
                    for run_id, stored in self._stored.items()
                    if run_id not in self._seen and stored["deleted_at"] is None
                ]
        return Survey(
            index=self._stored,
            seen=self._seen,
            changed=self._changed,
            gone=gone,
            pages=self._pages_read,
            page_rows=self._page_rows,
        )

    async def stop(self) -> None:
        """Commits what was gathered, and keeps how far the walk came for the next sync."""
        context = self._context
        await self._flush()
        context.tally.runs_seen = len(self._seen)
        if self._ends and context.options.selection.is_everything:
            newest = self._updated_at_first or self._updated_at
            position = {
                "bookmark": self._bookmark,
                "ends": self._ends,
                "seen": sorted(self._seen),
                "changed": sorted(self._changed),
                "updated_at": newest.isoformat() if newest else None,
            }
            context.state.keep_walk(context.project.entity, context.project.project, position)

    def _resume(self) -> None:
        """Goes on where the last sync was stopped, if what was held then is held now.

        Without a limit only a first walk is gone on with: others are cheap, and looking at all runs
        anew finds what has changed since.
        """
        context = self._context
        position = context.state.walk(context.project.entity, context.project.project)
        if position is None or position["bookmark"] != self._bookmark:
            return
        if self._bookmark is not None and not context.client.budget.is_limited:
            return
        self._is_resumed = True
        self._ends = position["ends"]
        self._seen = set(position["seen"])
        self._changed = {run_id: {} for run_id in position["changed"]}
        self._updated_at_first = parse_time(position["updated_at"])

    async def _walk_selected(self, *, has_updated_at: bool) -> None:
        """Walks the runs that the sync is about; where ids are named, in heavy pages at once."""
        selection = self._context.options.selection
        if selection.runs:
            ids = sorted(selection.runs)
            for start in range(0, len(ids), HEAVY_PAGE_ROWS):
                names = ids[start : start + HEAVY_PAGE_ROWS]
                await self._walk_heavy(
                    server_filter(selection, names),
                    page_rows=HEAVY_PAGE_ROWS,
                    only=frozenset(names),
                )
        elif has_updated_at:
            async for nodes in self._selected_pages():
                for node in nodes:
                    self._compare(node)
            await self._fetch_changed()
        else:
            await self._walk_heavy(server_filter(selection), page_rows=HEAVY_PAGE_ROWS)

    async def select(self) -> frozenset[str]:
        """Returns the runs that a selective sync is about, and reads none of them."""
        selection = self._context.options.selection
        if selection.since is None and selection.filters is None:
            return selection.runs
        return frozenset([n["name"] async for nodes in self._selected_pages() for n in nodes])

    async def _selected_pages(self) -> Any:  # async iterator of node lists
        selection = self._context.options.selection
        ids = sorted(selection.runs)
        asked = server_filter(selection, ids)
        async for nodes in self._pages("project_runs_light", asked, LIGHT_PAGE_ROWS):
            chosen = [node for node in nodes if takes(selection, node)]
            self._selected.update(node["name"] for node in chosen)
            yield chosen

    async def _look_again(self) -> None:
        """Fetches what changed while the walk was interrupted.

        Without a limit all runs are looked at. With one, those that the server says have changed;
        where it cannot say, the next sync walks over all runs in any case.
        """
        filters: dict[str, Any] = {}
        if self._context.client.budget.is_limited:
            filters = await self._changed_filter(self._updated_at_first)
            if not filters:
                return
        else:
            self._seen, self._is_whole, self._is_resumed = set(), True, False
        async for nodes in self._pages("project_runs_light", filters, LIGHT_PAGE_ROWS):
            for node in nodes:
                self._compare(node)
        await self._fetch_changed()
        await self._flush()

    async def _changed_filter(self, since: datetime | None) -> dict[str, Any]:
        """Returns a filter for runs that may have changed; empty where W&B cannot tell."""
        context = self._context
        if since is None:
            return {}
        if not await context.client.can_filter_updated_at(context.project):
            return {}
        instant = (since - LAG).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"$or": [{"updatedAt": {"$gte": instant}}, {"state": {"$in": list(LIVE_STATES)}}]}

    async def _walk_light(self, filters: dict[str, Any]) -> None:
        """Walks light pages, and fetches the runs that differ from what is held."""
        self._is_whole = self._is_whole or not filters
        async for nodes in self._pages(
            "project_runs_light", filters, LIGHT_PAGE_ROWS, resumable=True
        ):
            for node in nodes:
                if node["name"] not in self._seen or self._is_whole:
                    self._compare(node)
        await self._fetch_changed()

    def _compare(self, node: dict[str, Any]) -> None:
        """Counts a run of a light page as seen, and as changed where it differs."""
        updated_at = self._note(node)
        is_open = node["name"] not in self._taken and node["name"] not in self._context.resting
        if is_open and has_changed(
            node,
            self._stored.get(node["name"]),
            tags=tags_json(node.get("tags")),
            heartbeat_at=parse_time(node.get("heartbeatAt")),
            updated_at=updated_at,
        ):
            self._changed[node["name"]] = node

    async def _fetch_changed(self) -> None:
        """Fetches the runs that were found to differ."""
        if self._only_looks:
            return
        wanted = list(self._changed)
        for start in range(0, len(wanted), HEAVY_PAGE_ROWS):
            names = wanted[start : start + HEAVY_PAGE_ROWS]
            await self._walk_heavy(
                {"name": {"$in": names}}, page_rows=HEAVY_PAGE_ROWS, only=frozenset(names)
            )
            for name in names:  # what was not met is gone
                self._changed.pop(name, None)

    async def _walk_heavy(
        self, filters: dict[str, Any], *, page_rows: int, only: frozenset[str] | None = None
    ) -> None:
        selection = self._context.options.selection
        wanted = set(only or ())
        async for nodes in self._pages(
            "project_runs", filters, page_rows, resumable=only is None and not filters
        ):
            met = {n["name"]: n for n in nodes if only is None or n["name"] in only}
            chosen = taken(selection, list(met.values()))
            self._selected.difference_update(met)
            self._selected.update(chosen)
            for node in chosen.values():
                self._note(node)
            await self._take([n for name, n in chosen.items() if name not in self._taken])
            self._taken.update(chosen)
            for name in met:
                self._changed.pop(name, None)
            wanted.difference_update(met)
            if only is not None and not wanted:
                return

    async def _pages(
        self, name: str, filters: dict[str, Any], page_rows: int, *, resumable: bool = False
    ) -> Any:  # async iterator of node lists
        context = self._context
        variables = {
            "entity": context.project.entity,
            "project": context.project.project,
            "order": "+created_at",
            "filters": json.dumps(filters),
        }
        walk = f"{name} {variables['filters']}"
        after = self._ends.get(walk) if resumable else None
        while after != THE_END:
            try:
                async for page in iter_pages(
                    context.client,
                    load_document(name),
                    variables,
                    connection=lambda data: (data.get("project") or {}).get("runs"),
                    page_rows=page_rows,
                    prefetch=True,
                    start=after,
                ):
                    nodes = [node for node in page.nodes if node is not None]
                    self._pages_read += 1
                    self._page_rows = max(self._page_rows, len(nodes) if page.has_next else 0)
                    context.progress(PageFetched(project=str(context.project), rows=len(nodes)))
                    yield nodes
                    if resumable:
                        self._ends[walk] = (page.end_cursor or "") if page.has_next else THE_END
                    after = None
            except (GraphQLError, ResponseShapeError):
                if after is None:
                    raise
                after = None  # the server no longer knows where the last sync was stopped
            else:
                return

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
        nodes = [node for node in nodes if node["name"] not in context.resting]
        try:
            rows = await asyncio.to_thread(
                build_run_rows, nodes, context.project, context.synced_at
            )
        except ExtractError as error:
            if len(nodes) > 1:
                for node in nodes:
                    await self._take([node])
                return
            project = context.project
            context.set_aside(RunPath(project.entity, project.project, nodes[0]["name"]), error)
            return
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
        if self._is_resumed:
            gone = await self._confirm_gone(gone)
        if not gone:
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

    async def _confirm_gone(self, names: list[str]) -> list[str]:
        """Returns those of the runs that W&B does not show when it is asked for them by name.

        Pages shift while a walk is interrupted, and may hide a run from it.
        """
        there: set[str] = set()
        for start in range(0, len(names), LIGHT_PAGE_ROWS):
            asked = {"name": {"$in": names[start : start + LIGHT_PAGE_ROWS]}}
            async for nodes in self._pages("project_runs_light", asked, LIGHT_PAGE_ROWS):
                for node in nodes:
                    if node["name"] in asked["name"]["$in"]:
                        there.add(node["name"])
                        self._compare(node)
        await self._fetch_changed()
        await self._flush()
        return [name for name in names if name not in there]

    def _next_bookmark(self, run_count: int | None) -> dict[str, Any]:
        self._context.tally.runs_seen = len(self._seen | set(self._stored))
        hidden = (self._bookmark or {}).get("hidden", 0)
        if self._is_whole and run_count is not None and not self._is_resumed:
            hidden = run_count - len(self._seen)
        times = [t for t in (self._updated_at, self._updated_at_first) if t is not None]
        return {
            "updated_at": min(times).isoformat() if times else None,
            "hidden": hidden,
        }


def project_filter(context: Context) -> list[tuple[str, str, Any]]:
    """Returns the lake filter for the context's project."""
    return [("entity", "=", context.project.entity), ("project", "=", context.project.project)]


def read_index(
    context: Context, columns: Sequence[str] = INDEX_COLUMNS, *, whole: bool = False
) -> dict[str, Stored]:
    """Returns run id to the columns of a held run that a sync compares.

    Args:
        context: The project's sync.
        columns: Columns to read; `run_id` among them.
        whole: All held runs; else those that the stream which runs now is to look at.
    """
    table = context.lake.read("runs", columns=list(columns), filters=project_filter(context))
    rows = {row["run_id"]: row for row in table.to_pylist()}
    return rows if whole else {r: row for r, row in rows.items() if context.is_in_play(r)}
