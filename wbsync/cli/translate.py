"""`wbsync translate`: a filter in W&B's language, as SQL."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import click

from wbsync.cli.options import Globals, decoded

KINDS = (
    "runs", "sweeps", "artifacts", "collections", "registries", "registry_collections",
    "registry_versions", "reports",
)  # fmt: skip
MEANINGS = ("mongo", "wandb")
DIALECTS = ("duckdb", "spark", "trino", "snowflake", "bigquery", "postgres")


def read_text(text: str) -> str:
    """Returns a filter's text: itself, a file's for @FILE, or standard input's for `-`.

    Raises:
        click.UsageError: It cannot be read, or is not UTF-8.
    """
    if text == "-":
        return decoded(sys.stdin.buffer.read(), "standard input")
    if not text.startswith("@"):
        return text
    try:
        return decoded(Path(text[1:]).read_bytes(), text[1:])
    except OSError as error:
        raise click.UsageError(f"cannot read {text[1:]}: {error.strerror}") from None


@click.command()
@click.argument("filter_text", metavar="FILTER|@FILE|-")
@click.option("--kind", type=click.Choice(KINDS), default="runs", show_default=True,
              help="What is filtered.")  # fmt: skip
@click.option("--meaning", type=click.Choice(MEANINGS), default="mongo", show_default=True,
              help="MongoDB's manual, or what W&B's server is believed to answer.")  # fmt: skip
@click.option("--dialect", type=click.Choice(DIALECTS), default="duckdb", show_default=True,
              help="Whose SQL.")  # fmt: skip
@click.option("--order", help="Order, for example -summary_metrics.loss.")
@click.option("--explain", "as_explained", is_flag=True,
              help="Say where each field is found, and what a server could be asked.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print all of it as one JSON object.")
@click.pass_obj
def command(
    shared: Globals, *, filter_text: str, kind: str, meaning: str, dialect: str,
    order: str | None, as_explained: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print the SQL that a filter in W&B's language becomes.

    FILTER is JSON in MongoDB's form, a Python-like text as reports take it, or the filter of a run
    set. No warehouse is needed.

    \b
    Examples:
      wbsync translate '{"config.lr": {"$gt": 0.01}, "tags": {"$ne": "bad"}}'
      wbsync translate 'Metric("loss") < 0.1 and Tags == "prod"' --dialect spark
      wbsync translate @filter.json --explain
    """
    from wbsync.query.filters import Question, kind_of, parse_filter, push_down, question_sql
    from wbsync.query.filters.dialects import words_of
    from wbsync.query.filters.explain import explain
    from wbsync.query.filters.order import parse_order

    found = parse_filter(read_text(filter_text), kind, meaning)  # type: ignore[arg-type]
    words = words_of(dialect)
    question = Question(found, order=parse_order(order), columns=kind_of(kind).columns)
    query = question_sql(question, words, pretty=True)
    pushed = push_down(found)
    explained = explain(found, pushed)
    if words.limits:
        shared.say.note(f"{dialect}: {words.limits}")
    if as_json:
        facts = {
            "kind": kind, "meaning": meaning, "dialect": dialect, "sql": query,
            "server_filter": pushed.filter,
            "tests": [dataclasses.asdict(e) for e in explained],
        }  # fmt: skip
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    if as_explained:
        from wbsync.query.formats import render_table

        rows = [(e.at, e.found_in, "yes" if e.asked else f"no: {e.reason}") for e in explained]
        click.echo(render_table(["test", "found in", "a server is asked"], rows))
        click.echo(f"\nA server is asked: {json.dumps(pushed.filter, ensure_ascii=False)}")
        click.echo("Whatever it answers is tested again here.\n")
    click.echo(query)
