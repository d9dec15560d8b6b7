"""`wbsync sync`: bring the warehouse in step with W&B."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wbsync.cli.diagnostics import ExitCode
from wbsync.cli.options import Globals, base_url_option, complete_tables, typed
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.configuration import Configuration, SourceEntry
    from wbsync.model import Source
    from wbsync.progress import SyncReport
    from wbsync.settings import Credentials
    from wbsync.sync.estimate import Estimate
    from wbsync.sync.watch import Round
    from wbsync.writeback.push import PushReport

MAY_STAND_ALONE = frozenset({"--wait", "--watch"})
"""Options whose value may be left out."""
DURATION = re.compile(r"\d[\d.]*\w?")
"""What looks like a duration, and is no source."""


class SyncCommand(click.Command):
    """A command some of whose options may stand without their value, wherever they stand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Gives such an option an empty value where no duration follows it."""
        settled = []
        for index, arg in enumerate(args):
            following = args[index + 1] if index + 1 < len(args) else ""
            is_bare = arg in MAY_STAND_ALONE and not DURATION.fullmatch(following)
            settled.append(f"{arg}=" if is_bare else arg)
        return super().parse_args(ctx, settled)


def _finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of minutes")
    return value


@click.command(cls=SyncCommand)
@click.argument("sources", nargs=-1, metavar="[ENTITY/PROJECT | ENTITY/GLOB | ENTITY]…")
@base_url_option
@click.option(
    "--only", multiple=True, metavar="TABLE,…", shell_complete=complete_tables,
    help="Sync these tables alone.",
)  # fmt: skip
@click.option(
    "--skip", multiple=True, metavar="TABLE,…", shell_complete=complete_tables,
    help="Leave these tables as they are, e.g. history for metadata alone.",
)  # fmt: skip
@click.option(
    "--logs/--no-logs", default=None, help="Sync console output, too (or WBSYNC_LOGS).",
)  # fmt: skip
@click.option("--runs", multiple=True, metavar="ID", help="Only this run; may be repeated.")
@click.option(
    "--since", metavar="TIME",
    help="Only runs created or active since then: 2026-01-31, 2026-01-31T12:00Z, 7d, 12h.",
)  # fmt: skip
@click.option(
    "--filter", "filter_text", metavar="FILTER",
    help="Only runs that pass this filter, in W&B's language; @FILE reads a file.",
)  # fmt: skip
@click.option(
    "--full", is_flag=True, help="Read all again, mend and report what earlier syncs had missed."
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; say what would be done, and its cost."
)
@click.option(
    "--max-requests", type=click.IntRange(1), envvar="WBSYNC_MAX_REQUESTS", show_envvar=True,
    help="Stop cleanly after so many requests; the next sync goes on. With --watch, of each round.",
)  # fmt: skip
@click.option(
    "--max-minutes", type=click.FloatRange(0, min_open=True), envvar="WBSYNC_MAX_MINUTES",
    show_envvar=True, callback=_finite,
    help="Stop cleanly after so many minutes; the next sync goes on. With --watch, of each round.",
)  # fmt: skip
@click.option(
    "--watch", metavar="[INTERVAL]", envvar="WBSYNC_WATCH_INTERVAL", show_envvar=True,
    help="Follow: sync, wait, sync, until Ctrl-C. Default: 60s, or watch_interval of wbsync.toml."
    " --max-minutes and --max-requests bound each round.",
)  # fmt: skip
@click.option(
    "--wait", metavar="[TIME]",
    help="Where another sync holds the warehouse, wait so long for it, or as long as it takes.",
)  # fmt: skip
@click.option("--retry", is_flag=True, help="Try runs that were set aside at once.")
@click.option("--push", "pushes", is_flag=True, help="Push the edits that wait in the queue first.")
@click.option(
    "-j", "--concurrency", type=click.IntRange(1, 32), default=4, show_default=True,
    envvar="WBSYNC_CONCURRENCY", show_envvar=True, help="Requests and downloads in flight.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.pass_context
def command(ctx: click.Context, /, **_: Any) -> int:
    """Pull what is new from W&B: runs, full history, sweeps, artifacts and lineage.

    Without a source, those of wbsync.toml are synced, each with its options there. The API key is
    looked up as the wandb SDK does: WANDB_API_KEY, netrc, settings file.

    A sync that is limited by --since, --filter or --runs brings those runs up to date and leaves
    all others as they are.

    \b
    Examples:
      wbsync sync my-team/my-project
      wbsync sync my-team 'other-team/exp-*'    # all projects; those that fit
      wbsync sync my-team --skip history,system_metrics
      wbsync sync my-team/my-project --dry-run
      wbsync sync my-team/my-project --since 7d --max-requests 200
      wbsync sync my-team/my-project --full     # all anew: what had been missed?
      wbsync sync --watch 60s                   # what wbsync.toml lists, again and again
    """
    # Arrow's own allocator keeps what it was given; the system's hands it back: a fifth less.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    shared: Globals = ctx.obj
    flags = typed(ctx)
    configuration = shared.configuration(ctx)
    make_sources(flags, configuration, datetime.now(UTC))  # refused before anything is asked
    credentials = shared.credentials(None, configuration)
    shared.say.detail(f"key from {credentials.source}; server {credentials.base_url}")
    work = Work(Path(configuration["warehouse"]), credentials, flags, configuration, shared.say)
    if flags.get("pushes") and (flags.get("dry_run") or "watch" in flags):
        raise click.UsageError("--push goes neither with --dry-run nor with --watch")
    if flags.get("dry_run"):
        if "watch" in flags:
            raise click.UsageError("--dry-run and --watch exclude each other")
        return work.look()
    if "watch" in flags:
        return work.follow()
    return work.once()


class Work:
    """One call of the command."""

    def __init__(
        self,
        root: Path,
        credentials: Credentials,
        flags: Mapping[str, Any],
        configuration: Configuration,
        say: Diagnostics,
    ) -> None:
        self._root = root
        self._credentials = credentials
        self._flags = flags
        self._configuration = configuration
        self._say = say
        self._as_json = bool(flags.get("as_json"))
        # A watch has all the time in the world; a single sync does not wait unless told to.
        default_s = math.inf if "watch" in flags else 0.0
        self._wait_s = _seconds(flags.get("wait"), default=default_s, bare=math.inf)

    async def _sync(self) -> SyncReport:
        from wbsync.api import Budget
        from wbsync.cli.no_pandas import leave_out_pandas
        from wbsync.cli.progress import Watcher
        from wbsync.model import PublishOptions
        from wbsync.sync.engine import sync

        configuration = self._configuration
        leave_out_pandas()
        with Watcher(self._say) as watcher:
            return await sync(
                self._root,
                make_sources(self._flags, configuration, datetime.now(UTC)),
                self._credentials,
                progress=watcher,
                concurrency=configuration["concurrency"],
                budget=Budget(configuration["max_requests"], configuration["max_minutes"]),
                wait_s=self._wait_s,
                published=PublishOptions(
                    configuration["publish.storage_version"], configuration["publish.materialize"]
                ),
            )

    def once(self) -> int:
        """Syncs once, and prints the report."""
        from wbsync.cli.interrupt import run_until_told

        pushed = self._push()
        report = run_until_told(self._sync)
        is_pushed = pushed is None or pushed.outcome == "complete"
        if self._as_json:
            facts = report.to_dict()
            click.echo(json.dumps(facts | {"push": pushed.to_dict()} if pushed else facts))
        elif self._say.quiet:
            for skipped in report.skipped[:20]:
                self._say.error(f"skipped {skipped.what}: {skipped.reason}")
        else:
            _print_report(report, str(self._root))
        return ExitCode.OK if report.outcome == "complete" and is_pushed else ExitCode.PARTIAL

    def _push(self) -> PushReport | None:
        """Pushes what waits, if that was asked for."""
        if not self._flags.get("pushes"):
            return None
        from wbsync.cli.push import print_report, run_push
        from wbsync.writeback.queue_file import QUEUE_FILE

        if not (self._root / QUEUE_FILE).is_file():
            return None
        report = run_push(self._say, self._root, self._credentials)
        if not (self._as_json or self._say.quiet):
            print_report(report)
        return report

    def look(self) -> int:
        """Prints what a sync would do and cost."""
        from wbsync.cli.interrupt import run_until_told
        from wbsync.cli.progress import Watcher
        from wbsync.sync.estimate import estimate

        async def work() -> Estimate:
            with Watcher(self._say) as watcher:
                return await estimate(
                    self._root,
                    make_sources(self._flags, self._configuration, datetime.now(UTC)),
                    self._credentials,
                    progress=watcher,
                    concurrency=self._configuration["concurrency"],
                )

        found = run_until_told(work)
        if self._as_json:
            click.echo(json.dumps(found.to_dict()))
        else:
            _print_estimate(found)
        return ExitCode.PARTIAL if found.failed else ExitCode.OK

    def follow(self) -> int:
        """Syncs again and again until it is told to stop."""
        from wbsync.cli.interrupt import follow_until_told
        from wbsync.sync.watch import watch

        default_s = self._configuration["watch_interval"].total_seconds()
        interval_s = _seconds(self._flags["watch"], default=default_s, bare=default_s)
        if interval_s <= 0:
            raise click.UsageError("--watch must wait between two syncs: write for example 60s")
        return follow_until_told(
            lambda stop: watch(self._sync, interval_s, stop=stop, tell=self._tell)
        )

    def _tell(self, turn: Round) -> None:
        """Says how a round of a watch went: a line for people, an object for programs."""
        if self._as_json:
            facts: dict[str, Any] = {"round": turn.number, "next_in_s": round(turn.next_in_s, 1)}
            if turn.report is not None:
                facts |= turn.report.to_dict()
            else:
                facts |= {"outcome": "failed", "error": str(turn.error)}
            click.echo(json.dumps(facts))
        now = f"{datetime.now(UTC):%H:%M:%S} round {turn.number}"
        if turn.report is not None:
            again = "; it works again" if turn.had_failed else ""
            self._say.note(f"{now}: {turn.report.outcome}, {_in_one_line(turn.report)}{again}")
        elif turn.failures == 1:
            self._say.note(f"{now}: {turn.error}; trying again until it works")
        else:
            self._say.detail(f"{now}: still so; next try in {turn.next_in_s:.0f} s")


def make_sources(
    flags: Mapping[str, Any], configuration: Configuration, now: datetime
) -> list[Source]:
    """Returns what to sync: what was typed, else what files list, with the options of each.

    Args:
        flags: What was typed; it goes before what a file says of a source. A source that is typed
            and that a file lists, too, has the options that it has there.
        configuration: The options that are in force.
        now: What relative times are relative to.

    Raises:
        ConfigError: There is nothing to sync, or an option cannot be used.
    """
    from wbsync.configuration import SourceEntry
    from wbsync.errors import ConfigError
    from wbsync.model import ProjectPattern, Source

    listed: tuple[SourceEntry, ...] = configuration["sources"]
    entries = list(listed)
    if flags.get("sources"):
        by_path = {entry.path: entry for entry in reversed(listed)}
        entries = [by_path.get(path, SourceEntry(path)) for path in flags["sources"]]
    if not entries:
        raise ConfigError(
            "nothing to sync: name ENTITY/PROJECT or ENTITY, or list sources in wbsync.toml"
        )
    typed_entry = SourceEntry(
        path="",
        filter=_read_filter(flags["filter_text"]) if "filter_text" in flags else None,
        since=flags.get("since"),
        only=flags.get("only"),
        skip=flags.get("skip"),
        logs=flags.get("logs"),
    )
    made = []
    for entry in entries:
        chosen = {
            name: value
            for name in ("filter", "since", "only", "skip", "logs")
            if (value := getattr(typed_entry, name)) is not None
        }
        options = _options(replace(entry, **chosen), configuration, flags, now)
        made.append(Source(ProjectPattern.parse(entry.path), options))
    return made


def _options(
    entry: SourceEntry, configuration: Configuration, flags: Mapping[str, Any], now: datetime
) -> Any:
    from wbsync.model import Selection
    from wbsync.sync.streams import choose_tables
    from wbsync.times import parse_instant

    since = None if entry.since is None else parse_instant(entry.since, now)
    selection = Selection(frozenset(flags.get("runs", ())), since)
    if entry.filter:
        from wbsync.query.fetching import select_runs

        selection = select_runs(entry.filter, runs=selection.runs, since=since)
    return replace(
        choose_tables(entry.only or (), entry.skip or ()),
        logs=configuration["logs"] if entry.logs is None else entry.logs,
        selection=selection,
        retry=bool(flags.get("retry")),
        full=bool(flags.get("full")),
    )


def _read_filter(text: str) -> str:
    """Returns a filter's text: itself, or a file's where it is @FILE; checks it."""
    from wbsync.cli.translate import read_text
    from wbsync.errors import ConfigError, FilterError
    from wbsync.query.fetching import select_runs

    text = read_text(text)
    if not text.strip():
        raise ConfigError("--filter is empty; without it, all runs are synced")
    try:
        select_runs(text)
    except FilterError as error:
        raise ConfigError(f"--filter: {error}") from None
    return text


def _seconds(text: str | None, *, default: float, bare: float) -> float:
    """Returns the seconds of an option, which may stand without a value or not at all."""
    from wbsync.times import parse_duration

    if text is None:
        return default
    return parse_duration(text).total_seconds() if text else bare


def _in_one_line(report: SyncReport) -> str:
    gone = f", {report.runs_deleted:,} gone" if report.runs_deleted else ""
    return (
        f"{report.runs:,} runs ({report.runs_changed:,} changed{gone}),"
        f" {report.history_rows:,} history values, {report.requests:,} requests,"
        f" {report.bytes_in / 1e6:,.1f} MB, {report.seconds:.1f} s"
    )


def _print_report(report: SyncReport, root: str) -> None:
    click.echo(_in_one_line(report))
    written = ", ".join(f"{t} {n:,}" for t, n in sorted(report.rows.items()) if n)
    removed = ", ".join(report.removed_from)
    click.echo(f"rows written: {written or ('none' if removed else 'none, nothing has changed')}")
    if removed:
        click.echo(f"rows removed or amended: {removed}")
    for skipped in report.skipped[:20]:
        click.echo(f"skipped {plain(skipped.what)}: {plain(skipped.reason)}")
    if len(report.skipped) > 20:
        click.echo(f"… and {len(report.skipped) - 20} more; see --json")
    if report.set_aside:
        click.echo(f"still set aside: {len(report.set_aside):,}; see wbsync status")
    if report.outcome == "stopped":
        click.echo("stopped, as the requests or minutes allowed are used up; sync again to go on")
    for drift in report.drift[:20]:
        click.echo(f"had missed {drift.table} {plain(drift.key)}: {plain(drift.field)}")
    if len(report.drift) > 20:
        click.echo(f"… and {len(report.drift) - 20} more; see --json")
    for left in report.left[:20]:
        click.echo(f"left: {plain(left.what)}: {plain(left.reason)}")
    if len(report.left) > 20:
        click.echo(f"… and {len(report.left) - 20} more; see --json")
    click.echo(f"warehouse: {root}")


def _print_estimate(found: Estimate) -> None:
    from wbsync.query.formats import render_table

    rows = [
        (
            p.project or "total", p.runs, p.new, p.changed, p.gone, p.history_runs, p.values,
            p.requests, f"{p.bytes / 1e6:,.1f}", f"{p.seconds:,.0f}",
        )
        for p in (*found.projects, *((found.total(),) if len(found.projects) != 1 else ()))
    ]  # fmt: skip
    heads = [
        "project", "runs", "new", "changed", "gone", "with history to read", "values, about",
        "requests, about", "MB, about", "seconds, about",
    ]  # fmt: skip
    click.echo(render_table(heads, rows))
    for failed in found.failed:
        click.echo(f"skipped {plain(failed.what)}: {plain(failed.reason)}")
    click.echo(f"nothing was written; {found.asked:,} requests were made to find this out")
