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
        click.option("--columns", metavar="NAME,…", multiple=True,
                     help='Columns and fields, for example run_id,config.lr,config."a,b"; may be'
                     " given several times."),
        click.option("--order", metavar="±FIELD,…", multiple=True,
                     help="Order, for example -summary_metrics.acc; may be given several times."
                     "  [default: +created_at]"),
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
    columns: tuple[str, ...],
    order: tuple[str, ...],
    **how: Any,
) -> None:
    """Answers a question, and writes the rows."""
    from wbsync.errors import UnknownFieldError
    from wbsync.query.asking import ask, build_question
    from wbsync.query.filters import kind_of
    from wbsync.query.filters.names import comma_hint, split_names
    from wbsync.sync.publication import open_published

    names = kind_of(kind).columns
    if columns:
        names = tuple(name for text in columns for name in split_names(text) if name)
        if not names:
            raise click.UsageError("--columns names no column")
    keys = [k for text in order if text for k in split_names(text)] if order else "+created_at"
    source = None if filter_text is None else read_text(filter_text)
    question = build_question(kind, path, source, order=keys, columns=names, **how)
    with open_published(shared.root()) as engine:
        try:
            result = ask(engine, question)
        except UnknownFieldError as error:
            if hint := comma_hint(error.field, [*names]):
                shared.say.note(hint)
            raise
        if how["limit"] != 0 and not result.preview(1)[0]:
            place = f" of {path}" if path else ""
            shared.say.note(f"nothing that is held{place} passes; `wbsync status` shows what is")
        output.write(result, shared.say)
