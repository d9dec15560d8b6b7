"""Keeps a project's runs, and their leaf tables, in step with W&B.

A first sync walks all runs in heavy pages. Later ones ask in light pages only for what W&B says
has changed, or, where it cannot filter by `updatedAt`, for everything, and then fetch the whole of
what differs. Leaf tables are committed before `runs`, whose content hash is what marks a run as
held: a kill in between leaves the run to be fetched again. A held run without a content hash is one
of which W&B did not tell all: each sync fetches it until it does.
"""

from __future__ import annotations

import asyncio
import bisect
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from wbsync.api import iter_pages, load_document, runs_by_name_document
from wbsync.api.pagination import ATTEMPTS_BEFORE_SHRINKING, is_too_large
from wbsync.errors import (
    ApiError,
    BudgetSpentError,
    ExtractError,
    GraphQLError,
    ResponseShapeError,
)
from wbsync.extract.runs import RunRows, build_run_rows, content_hash, tags_json
from wbsync.extract.values import parse_time
from wbsync.model import RunPath
from wbsync.progress import Drift, PageFetched
from wbsync.sync.changes import log_changes, log_deletions
from wbsync.sync.context import project_filter
from wbsync.sync.drift import find_run_drift
from wbsync.sync.lineage import complete_lineage
from wbsync.sync.plan import INDEX_COLUMNS, LIVE_STATES, Stored, has_changed
from wbsync.sync.recall import recall_light, recall_runs
from wbsync.sync.selection import can_test_held, server_filter, taken, taken_of_held, takes
from wbsync.sync.untold import Untold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.sync.context import Context
    from wbsync.sync.recall import Recalled

TABLES = ("run_config", "run_summary", "run_tags", "run_artifacts", "runs")
"""Tables made of run pages, in the order they are committed."""

LAG = timedelta(minutes=15)
"""W&B shows new data minutes late, so each sync looks back over this much."""

CHECK_AFTER = timedelta(hours=1)
"""So often some runs are read in full that seem unchanged: one more request."""

SWEEP_AFTER = timedelta(days=1)
"""So often all runs are looked at, whatever the server says has changed."""

HEAVY_PAGE_ROWS = 100
LIGHT_PAGE_ROWS = 1000
FETCH_RUNS = 100
CHECKED_RUNS = 50
BATCH_RUNS = 2000
BATCH_BYTES = 64 << 20
"""Where configs are large, fewer runs are committed at once."""
THE_END = "the end"
"""Stands for the end cursor of a walk that has come to its end."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What light pages say of a project's runs, beside what is held."""

    index: dict[str, Stored]
    """Held runs."""
    seen: set[str]
    """Runs that the sync is about, as far as pages were read."""
    met: int
    """Runs that W&B showed, whether the sync is about them or not."""
    tested: int
    """Runs that were read in full to be tested."""
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

    def __init__(self, context: Context, bookmark: dict[str, Any] | None, began: datetime) -> None:
        """Takes what is known so far.

        Args:
            context: The project's sync.
            bookmark: Up to where runs are held; None before a first whole walk.
            began: The server's clock when the sync began: what changes later may be missed.
        """
        self._context = context
        self._bookmark = bookmark
        self._began = began
        self._buffer: list[RunRows] = []
        self._buffered = self._buffered_bytes = 0
        self._stored: dict[str, Stored] = {}
        self._held: dict[str, set[str]] | None = None
        self._seen: set[str] = set()
        self._taken: set[str] = set()
        self._gone: set[str] = set()
        self._is_whole = False
        self._has_gaps = False
        self._is_from_scratch = False
        self._checked: str | None = None
        self._updated_at: datetime | None = None
        self._changed: dict[str, dict[str, Any]] = {}
        """Runs that differ from what is held, as light pages show them, until they are fetched."""
        self._untold = Untold(context, "runs")
        self._selected: set[str] = set()
        self._ends: dict[str, str] = {}
        """Document and filter to the end cursor of the last page that was read."""
        self._only_looks = False
        self._tested = 0
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
        if not context.options.selection.is_everything:
            await self._walk_selected()
            await self._flush()
            context.selected = context.tally.selected = frozenset(self._selected)
            self._context.tally.runs_seen = len(self._selected)
            return self._bookmark
        self._resume()
        self._changed.update((r, {}) for r in context.aside - context.resting)
        self._changed.update((r, {}) for r in self._half_told())
        if self._bookmark is None or self._lacks_updated_at():
            await self._find_held()
            self._is_from_scratch = True
            rows = HEAVY_PAGE_ROWS if self._bookmark is None else LIGHT_PAGE_ROWS
            await self._walk_heavy({}, page_rows=rows)
            self._is_whole = True
            if not self._lacks_updated_at():
                with suppress(BudgetSpentError):  # it is for the next sync
                    await context.client.can_filter_updated_at(context.project)
        else:
            self._updated_at = parse_time(self._bookmark.get("updated_at"))
            await self._walk_light(await self._changed_filter(self._updated_at))
            if not self._is_whole and (not self._adds_up(run_count) or self._is_sweep_due()):
                await self._walk_light({})
            if not self._is_whole and await self._fetch(self._doubtful()):
                await self._walk_light({})
            await self._check_some()
        await self._flush()
        if self._is_resumed:
            await self._look_again()
        if self._is_whole:
            await self._find_gone(run_count)
        await self._flush()
        await self._mark_deleted()
        self._keep_marks()
        context.state.forget_walk(context.project.entity, context.project.project)
        return self._next_bookmark(run_count)

    async def reconcile(self) -> None:
        """Reads all runs in full, and repairs and reports what `run` has missed."""
        if self._is_from_scratch:
            return
        self._stored = await asyncio.to_thread(read_index, self._context, whole=True)
        self._seen, self._taken, self._gone = set(), set(), set()
        await self._walk_heavy({}, page_rows=HEAVY_PAGE_ROWS, is_check=True)
        await self._find_gone(None)
        self._context.tally.drift += [
            Drift("runs", self._path(run_id), "deleted_at") for run_id in sorted(self._gone)
        ]
        await self._flush()
        await self._mark_deleted()
        self._context.tally.runs_seen -= len(self._gone)

    def _path(self, run_id: str) -> str:
        return f"{self._context.project}/{run_id}"

    def _lacks_updated_at(self) -> bool:
        return "Run.updatedAt" in self._context.client.capabilities.missing_fields

    def _alive(self) -> list[str]:
        """Returns the runs that are held and not marked as deleted, in a fixed order."""
        return sorted(r for r, stored in self._stored.items() if stored["deleted_at"] is None)

    def _half_told(self) -> list[str]:
        """Returns the runs that are held without all that W&B has of them."""
        resting = self._context.resting
        return [r for r in self._alive() if not self._is_whole_row(r) and r not in resting]

    def _is_whole_row(self, run_id: str) -> bool:
        return run_id not in self._stored or self._stored[run_id]["content_hash"] is not None

    def _adds_up(self, run_count: int | None) -> bool:
        """Says whether the runs held and met are as many as W&B claims."""
        if run_count is None:
            return True
        known = {r for r, stored in self._stored.items() if stored["deleted_at"] is None}
        known |= self._seen | self._context.aside
        hidden = int((self._bookmark or {}).get("hidden", 0))
        return run_count == len(known) + hidden

    def _is_sweep_due(self) -> bool:
        """Says whether it is long ago that all runs were looked at."""
        text = self._mark("swept")
        return text is None or self._context.synced_at - datetime.fromisoformat(text) > SWEEP_AFTER

    def _doubtful(self) -> list[str]:
        """Returns runs that were live and that the server did not list as live or changed.

        W&B may take a run to have crashed without moving any of its times.
        """
        return [
            run_id
            for run_id in self._alive()
            if self._stored[run_id]["state"] in LIVE_STATES and run_id not in self._seen
        ]

    async def survey(self, run_count: int | None) -> Survey:
        """Lists the runs that differ from what is held, in light pages; reads none of them.

        Args:
            run_count: Runs that the server claims, None where it does not say.
        """
        context = self._context
        self._only_looks = True
        self._stored = await asyncio.to_thread(read_index, context, whole=True)
        gone: list[str] = []
        if not context.options.selection.is_everything:
            await self._look_at_selected()
            context.selected = frozenset(self._selected)
        else:
            if self._bookmark is not None and not self._lacks_updated_at():
                since = parse_time(self._bookmark.get("updated_at"))
                await self._walk_light(await self._changed_filter(since))
            if not self._is_whole and (not self._pages_read or not self._adds_up(run_count)):
                await self._walk_light({})
            self._changed.update((r, {}) for r in self._half_told())
            if self._is_whole and (run_count or 0) <= len(self._seen):
                gone = [
                    run_id
                    for run_id, stored in self._stored.items()
                    if run_id not in self._seen and stored["deleted_at"] is None
                ]
        return Survey(
            index=self._stored,
            seen=self._seen if context.selected is None else self._selected,
            met=len(self._seen),
            tested=self._tested,
            changed=self._changed,
            gone=gone,
            pages=self._pages_read,
            page_rows=self._page_rows,
        )

    def say_untold(self) -> None:
        """Names in the report what W&B did not tell of runs."""
        self._untold.say()

    async def keep(self) -> None:
        """Commits what was gathered by a walk that was cancelled; the next one begins anew.

        It may have been cancelled amid a page or a commit, so that where it was says nothing.
        """
        await self._flush()
        self._context.tally.runs_seen = len(self._seen)

    async def stop(self) -> None:
        """Commits what was gathered, and keeps how far the walk came for the next sync."""
        context = self._context
        await self.keep()
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

    async def _walk_selected(self) -> None:
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
        elif not self._lacks_updated_at():
            await self._look_at_selected()
        else:
            await self._walk_heavy(server_filter(selection), page_rows=HEAVY_PAGE_ROWS)

    async def select(self) -> frozenset[str]:
        """Returns the runs that a selective sync is about, and takes none of them."""
        selection = self._context.options.selection
        if selection.since is None and selection.filters is None:
            return selection.runs
        self._only_looks = True
        self._stored = await asyncio.to_thread(read_index, self._context, whole=True)
        await self._look_at_selected()
        return frozenset(self._selected)

    async def _look_at_selected(self) -> None:
        """Finds the runs that the sync is about in light pages.

        Runs that are held as they are shown are tested by what is held, others are read in full.
        """
        selection = self._context.options.selection
        same: list[str] = []
        asked = server_filter(selection, sorted(selection.runs))
        async for nodes in self._pages("project_runs_light", asked, LIGHT_PAGE_ROWS):
            chosen = [node for node in nodes if takes(selection, node)]
            for node in chosen:
                self._compare(node)
            if selection.test is None:
                self._selected.update(n["name"] for n in chosen)
            else:
                same += [n["name"] for n in chosen if n["name"] not in self._changed]
        if same and selection.test is not None and can_test_held(selection.test):
            passing = await asyncio.to_thread(taken_of_held, self._context, selection.test)
            self._selected.update(passing.intersection(same))
            same = []
        if selection.test is not None or not self._only_looks:
            await self._fetch([*self._changed, *same])

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
        instant = (min(since, self._began) - LAG).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"$or": [{"updatedAt": {"$gte": instant}}, {"state": {"$in": list(LIVE_STATES)}}]}

    async def _walk_light(self, filters: dict[str, Any]) -> None:
        """Walks light pages, and fetches the runs that differ from what is held."""
        async for nodes in self._pages(
            "project_runs_light", filters, LIGHT_PAGE_ROWS, resumable=True
        ):
            for node in nodes:
                self._compare(node)
        self._is_whole = self._is_whole or not filters
        await self._fetch_changed()

    def _compare(self, node: dict[str, Any]) -> None:
        """Counts a run of a light page as seen, and as changed where it differs."""
        recall_light(self._untold, node, self._stored.get(node["name"]))
        updated_at = self._note(node)
        is_open = node["name"] not in self._taken and node["name"] not in self._context.resting
        if is_open and (
            not self._is_whole_row(node["name"])
            or has_changed(
                node,
                self._stored.get(node["name"]),
                tags=tags_json(node.get("tags")),
                heartbeat_at=parse_time(node.get("heartbeatAt")),
                updated_at=updated_at,
            )
        ):
            self._changed[node["name"]] = node

    async def _fetch_changed(self) -> None:
        """Fetches the runs that were found to differ."""
        if not self._only_looks:
            self._seen -= await self._fetch(list(self._changed))

    async def _walk_heavy(
        self,
        filters: dict[str, Any],
        *,
        page_rows: int,
        only: frozenset[str] | None = None,
        is_check: bool = False,
    ) -> None:
        wanted = set(only or ())
        resumable = only is None and not filters and not is_check
        async for nodes in self._pages("project_runs", filters, page_rows, resumable=resumable):
            met = [n for n in nodes if only is None or n["name"] in only]
            await self._take_met(met, is_check=is_check)
            wanted.difference_update(n["name"] for n in met)
            if only is not None and not wanted:
                return
        self._is_whole = self._is_whole or is_check

    async def _take_met(self, nodes: Sequence[dict[str, Any]], *, is_check: bool = False) -> None:
        """Counts runs that were read in full as seen, and takes those that the sync is about."""
        chosen = taken(self._context.options.selection, nodes)
        self._selected.difference_update(n["name"] for n in nodes)
        self._selected.update(chosen)
        if self._only_looks:
            self._tested += len(nodes)
            for node in nodes:
                if node["name"] not in chosen:
                    self._changed.pop(node["name"], None)
            return
        for node in chosen.values():
            self._note(node)
        await self._take(list(chosen.values()), is_check=is_check)
        for node in nodes:
            self._changed.pop(node["name"], None)

    async def _fetch(self, names: Sequence[str], *, is_check: bool = False) -> set[str]:
        """Takes runs by their names, and returns those that W&B lacks.

        Each is asked for by itself, many to a request: a filter may be ignored, or lag behind.
        """
        gone: set[str] = set()
        for start in range(0, len(names), FETCH_RUNS):
            gone |= await self._fetch_batch(names[start : start + FETCH_RUNS], is_check=is_check)
        return gone

    async def _fetch_batch(self, names: Sequence[str], *, is_check: bool) -> set[str]:
        context = self._context
        variables = {
            "entity": context.project.entity,
            "project": context.project.project,
            **{f"n{index}": name for index, name in enumerate(names)},
        }
        try:
            data = await context.client.execute(
                runs_by_name_document(len(names)),
                variables,
                max_attempts=ATTEMPTS_BEFORE_SHRINKING if len(names) > 1 else None,
            )
        except ApiError as error:
            if len(names) == 1 or not is_too_large(error):
                raise
            middle = len(names) // 2
            first = await self._fetch_batch(names[:middle], is_check=is_check)
            return first | await self._fetch_batch(names[middle:], is_check=is_check)
        project = data.get("project")
        if project is None:
            raise ResponseShapeError(
                f"{context.project}: the server no longer shows the project; sync again",
                operation="RunsByName",
            )
        nodes = [n for index in range(len(names)) if (n := project.get(f"r{index}")) is not None]
        context.progress(PageFetched(project=str(context.project), rows=len(nodes)))
        await self._take_met(nodes, is_check=is_check)
        gone = set(names) - {node["name"] for node in nodes}
        for name in gone:
            self._changed.pop(name, None)
        return gone

    async def _check_some(self) -> None:
        """Reads some runs in full that seem unchanged, other ones each time.

        An edit that moves no time and stands in no light page would not be found otherwise.
        """
        last = self._mark("checked") or ""
        alive = self._alive()
        place = bisect.bisect_right(alive, last)
        names = [r for r in alive[place:] + alive[:place] if r not in self._taken][:CHECKED_RUNS]
        if not names or not self._is_check_due():
            return
        gone = await self._fetch(names, is_check=True)
        if gone and not self._is_whole:
            await self._walk_light({})
        self._checked = names[-1]

    def _is_check_due(self) -> bool:
        """Says whether it is long ago that some runs were read in full."""
        text = self._mark("checked_at")
        return text is None or self._context.synced_at - datetime.fromisoformat(text) >= CHECK_AFTER

    def _keep_marks(self) -> None:
        """Notes which runs were looked at, once what was found is committed."""
        if self._is_from_scratch or self._checked is not None:
            self._set_mark("checked_at", self._context.synced_at.isoformat())
        if self._is_whole and not self._has_gaps:
            self._set_mark("swept", self._context.synced_at.isoformat())
        if self._checked is not None:
            self._set_mark("checked", self._checked)

    def _mark(self, name: str) -> str | None:
        project = self._context.project
        return self._context.state.mark(name, project.entity, project.project)

    def _set_mark(self, name: str, value: str) -> None:
        project = self._context.project
        self._context.state.set_mark(name, project.entity, project.project, value)

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
                    self._has_gaps = self._has_gaps or page.has_gaps
                    nodes = page.nodes
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

    async def _take(self, nodes: Sequence[dict[str, Any]], *, is_check: bool = False) -> None:
        """Buffers the runs that differ from what is held, each once.

        Args:
            nodes: Runs in full.
            is_check: Whether they ought not to differ.
        """
        fresh = {
            n["name"]: n
            for n in nodes
            if n["name"] not in self._taken and n["name"] not in self._context.resting
        }
        self._taken.update(n["name"] for n in nodes)
        if fresh:
            await self._build(list(fresh.values()), is_check=is_check)

    async def _build(self, nodes: list[dict[str, Any]], *, is_check: bool) -> None:
        await complete_lineage(self._context, nodes)
        fresh = [
            node
            for node in nodes
            if node["name"] not in self._stored or self._differs(node["name"], content_hash(node))
        ]
        if fresh:
            recalled = await asyncio.to_thread(
                recall_runs, self._context, self._untold, fresh, self._stored
            )
            await self._build_rows(fresh, recalled, is_check=is_check)

    def _differs(self, run_id: str, content: str | None) -> bool:
        """Says whether a run is not held with this content."""
        held = self._stored.get(run_id)
        return held is None or held["content_hash"] != content or held["deleted_at"] is not None

    async def _build_rows(
        self, nodes: list[dict[str, Any]], recalled: Recalled, *, is_check: bool
    ) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        context = self._context
        try:
            rows = await asyncio.to_thread(
                build_run_rows, nodes, context.project, context.synced_at, recalled.untold
            )
        except ExtractError as error:
            if len(nodes) > 1:
                for node in nodes:
                    await self._build_rows([node], recalled, is_check=is_check)
                return
            project = context.project
            context.set_aside(RunPath(project.entity, project.project, nodes[0]["name"]), error)
            return
        hashes = rows.runs.column("content_hash").to_pylist()
        names = rows.runs.column("run_id").to_pylist()
        as_held = await asyncio.to_thread(recalled.as_held, context, rows)
        changed = [
            name
            for name, content in zip(names, hashes, strict=True)
            if self._stored.get(name, {}).get("deleted_at") is not None
            or (name not in as_held and (content is None or self._differs(name, content)))
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
        if is_check:
            self._context.tally.drift += await asyncio.to_thread(
                find_run_drift, self._context, rows, self._began
            )
        self._buffer.append(rows)
        self._buffered += len(changed)
        self._buffered_bytes += sum(getattr(rows, table).nbytes for table in TABLES)
        if self._buffered >= BATCH_RUNS or self._buffered_bytes >= BATCH_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        """Commits the buffered runs, `runs` itself last."""
        import pyarrow as pa

        buffer, self._buffer = self._buffer, []
        self._context.tally.runs_changed += self._buffered
        self._buffered = self._buffered_bytes = 0
        if not buffer:
            return
        scope = pa.concat_tables([b.runs for b in buffer]).select(["entity", "project", "run_id"])
        names = set(scope.column("run_id").to_pylist())
        for table in TABLES:
            rows = pa.concat_tables([getattr(b, table) for b in buffer])
            if table == "runs" and not names.isdisjoint(self._stored):
                await log_changes(self._context, rows)
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

    async def _find_gone(self, run_count: int | None) -> None:
        """Looks for the runs that a whole walk did not meet; W&B lacks those that are gone.

        Where the server hides more of what it counts than before, nothing is taken to be gone.
        """
        hidden = (self._bookmark or {}).get("hidden", 0)
        missed = [run_id for run_id in self._alive() if run_id not in self._seen]
        if self._has_gaps:
            return
        if run_count is not None and run_count - len(self._seen) > hidden:
            for run_id in missed:
                self._untold.note("node", run_id)
            return
        self._gone = await self._fetch(missed)

    async def _mark_deleted(self) -> None:
        if self._gone:
            context = self._context
            where = [*project_filter(context), ("run_id", "in", sorted(self._gone))]
            await log_deletions(context, where)
            await context.amend("runs", where, {"deleted_at": context.synced_at})
            context.tally.runs_deleted += len(self._gone)

    def _next_bookmark(self, run_count: int | None) -> dict[str, Any]:
        context, bookmark = self._context, self._bookmark or {}
        context.tally.runs_seen = len((self._seen | set(self._alive())) - self._gone)
        hidden = bookmark.get("hidden", 0)
        if self._is_whole and run_count is not None and not self._is_resumed:
            hidden = max(0, run_count - len((self._seen | set(self._alive())) - self._gone))
        updated_at = bookmark.get("updated_at")
        # An older mark is as good where nothing was found, and saves a commit.
        if not self._has_gaps and (updated_at is None or context.tally.runs_changed):
            times = [t for t in (self._updated_at, self._updated_at_first) if t is not None]
            updated_at = min(*times, self._began).isoformat() if times else None
        return {"updated_at": updated_at, "hidden": hidden}


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


def count_held(context: Context) -> int:
    """Returns how many runs of the context's project are held, deleted ones included."""
    held = context.lake.read("runs", columns=["run_id"], filters=project_filter(context))
    return int(held.num_rows)
