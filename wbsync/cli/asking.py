"""What the commands `runs`, `sweeps`, `artifacts` and `registry` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from wbsync.cli.output import output_options
from wbsync.cli.translate import MEANINGS, read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.cli.options import Globals
    from wbsync.cli.output import OutputOptions

F = TypeVar("F", bound="Callable[..., Any]")


def asking_options(function: F) -> F:
    """Adds the options that say what is asked for, and how it is written."""
    for option in (
        output_options,
        click.option("--limit", type=click.IntRange(min=0), help="Most rows."),
        click.option("--columns", metavar="NAME,…",
                     help="Columns and fields, for example run_id,config.lr,summary.loss."),
        click.option("--order", metavar="±FIELD,…", default="+created_at", show_default=True,
                     help="Order, for example -summary_metrics.acc."),
        click.option("--meaning", type=click.Choice(MEANINGS), default="mongo", show_default=True,
                     help="MongoDB's manual, or what W&B's server is believed to answer."),
        click.option("--filter", "filter_text", metavar="JSON|@FILE|-",
                     help="Filter in W&B's language."),
    ):  # fmt: skip
        function = option(function)
    return function


def ask_and_write(
    shared: Globals,
    kind: str,
    path: str | None,
    output: OutputOptions,
    *,
    filter_text: str | None,
    columns: str | None,
    **how: Any,
) -> None:
    """Answers a question, and writes the rows."""
    from wbsync.query.asking import ask, build_question
    from wbsync.query.filters import kind_of
    from wbsync.sync.publication import open_published

    names = kind_of(kind).columns
    if columns is not None:
        names = tuple(name.strip() for name in columns.split(",") if name.strip())
        if not names:
            raise click.UsageError("--columns names no column")
    source = None if filter_text is None else read_text(filter_text)
    question = build_question(kind, path, source, columns=names, **how)
    with open_published(shared.root()) as engine:
        result = ask(engine, question)
        if how["limit"] != 0 and not result.preview(1)[0]:
            place = f" of {path}" if path else ""
            shared.say.note(f"nothing that is held{place} passes; `wbsync status` shows what is")
        output.write(result, shared.say)
