"""`wbsync verify`: prove that the warehouse is whole, or say what is wrong."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from typing import TYPE_CHECKING

import click

from wbsync.cli.diagnostics import ExitCode
from wbsync.cli.options import Globals, base_url_option
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wbsync.model import Finding
    from wbsync.sync.repair import Repair
    from wbsync.sync.verify import Verification

SHOWN = 20
"""Findings of one kind in one table that are shown one by one."""


@click.command()
@click.argument("sources", nargs=-1, metavar="[ENTITY/PROJECT | ENTITY]…")
@click.option("--deep", is_flag=True, help="Read every value; compare checksums run by run.")
@click.option("--repair", "mend", is_flag=True, help="Read again from W&B what is wrong.")
@base_url_option
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@click.pass_obj
def command(
    shared: Globals,
    *,
    sources: tuple[str, ...],
    deep: bool,
    mend: bool,
    base_url: str | None,
    as_json: bool,
) -> int:
    """Compare the files of the lake, the ledger of runs and the published file.

    Needs no network and no key, unless --repair has to read something again. Exits 1 when something
    is wrong. Without a source, all runs are looked at.

    What no sync has claimed to have read is not wrong: what a sync that was stopped has left, and
    what was never asked for. It is noted, with what to do, and the command exits 0.

    \b
    Examples:
      wbsync verify
      wbsync verify my-team/my-project --deep
      wbsync verify --repair
    """
    import asyncio

    from wbsync.cli.progress import Watcher
    from wbsync.sync.holding import held
    from wbsync.sync.repair import repair
    from wbsync.sync.verify import verify

    root = shared.root()
    done: Repair | None = None
    with Watcher(shared.say) as watcher:
        if mend:
            done = asyncio.run(
                repair(root, sources, lambda: shared.credentials(base_url), watcher, deep=deep)
            )
            report = done.after
        else:
            with held(root, watcher) as holding:
                report = verify(holding, sources, watcher, deep=deep)
    if as_json:
        click.echo(json.dumps((done or report).to_dict()))
    else:
        if done is not None:
            _print_repair(done)
        _print(report, sources)
    return ExitCode.FAILED if report.problems else ExitCode.OK


def _print_repair(done: Repair) -> None:
    for line in _lines(done.before.problems):
        click.echo(f"was wrong  {line}")
    for line in done.mended.lost:
        click.echo(f"lost  {plain(line)}")
    click.echo(
        f"mended from what is held: {done.mended.in_place:,};"
        f" files taken out: {done.mended.files:,}; runs read again: {len(done.mended.runs):,};"
        f" projects synced: {len(done.mended.sources):,}"
    )


def _print(report: Verification, sources: Sequence[str]) -> None:
    for line in _lines(report.problems):
        click.echo(f"WRONG  {line}")
    for line in _lines([f for f in report.findings if not f.is_wrong]):
        click.echo(f"note   {line}")
    found = len(report.problems)
    verdict = f"{found:,} thing{'s' if found > 1 else ''} wrong" if found else "all is well"
    if not found and not report.is_complete:
        verdict = "all is well as far as it was synced"
    click.echo(
        f"{verdict}:"
        f" {report.tables:,} tables, {report.files:,} files, {report.runs:,} runs,"
        f" {report.values:,} values{' read' if report.is_deep else ''}, {report.seconds:.1f} s"
    )
    if found:
        # What only a deep look finds, only a deep repair sees.
        options = ["--deep"] * report.is_deep + ["--repair"]
        click.echo(f"mend it with: wbsync verify {shlex.join([*sources, *options])}")


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yields one line a finding; of many of one sort only the first."""
    seen: Counter[tuple[str, str | None]] = Counter()
    for finding in findings:
        seen[finding.kind, finding.table] += 1
        if seen[finding.kind, finding.table] <= SHOWN:
            yield plain(finding.message)
    for (kind, table), count in seen.items():
        if count > SHOWN:
            yield f"{table}: {count - SHOWN:,} more of {kind}; see --json"
