"""`wbsync query`: ask a question that has a name."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from wbsync.cli.options import Globals
from wbsync.cli.output import OutputOptions, output_options
from wbsync.cli.sql import engine_options, open_engine

if TYPE_CHECKING:
    from wbsync.query.named import Catalog, NamedQuery, Parameter


def _catalog(ctx: click.Context, say: Any = None) -> Catalog:
    """Returns the queries that there are; says what is wrong with the user's own."""
    from wbsync.configuration import resolve
    from wbsync.query.named import Catalog

    shared = ctx.find_object(Globals)  # none while the shell completes
    configuration = resolve({}) if shared is None else shared.configuration()
    catalog = Catalog(configuration["queries.path"])
    for problem in catalog.problems.values() if say else ():
        say.note(f"left out: {problem}")
    return catalog


def _shared(ctx: click.Context) -> Globals:
    shared = ctx.find_object(Globals)
    assert shared is not None
    return shared


class QueryGroup(click.Group):
    """A group whose commands are the queries that there are."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all queries."""
        return _catalog(ctx).names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Makes the command of a query."""
        from wbsync.errors import QueryError

        catalog = _catalog(ctx)
        name = cmd_name.replace("-", "_")
        try:
            query = catalog.find(name)
        except QueryError as error:
            if ctx.resilient_parsing:
                return None
            ctx.fail(str(error))
        if name in catalog.shadowed and not ctx.resilient_parsing:
            _shared(ctx).say.note(f"{query.path} takes the place of wbsync's own query {name}")
        return _command(query)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of queries."""
        with formatter.section("Queries"):
            formatter.write_dl([(q.name, q.question) for q in _catalog(ctx).queries()])


@click.group(cls=QueryGroup, invoke_without_command=True, subcommand_metavar="[NAME [OPTIONS]]")
@click.option("--json", "as_json", is_flag=True, help="List as JSON, parameters and columns, too.")
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Ask a question that has a name; without one, list them.

    A folder of your own queries joins in: `[queries] path` in wbsync.toml.

    \b
    Examples:
      wbsync query
      wbsync query leaderboard --help
      wbsync query leaderboard --project my-team/my-project --metric loss
    """
    if ctx.invoked_subcommand is not None:
        return
    catalog = _catalog(ctx, _shared(ctx).say)
    if as_json:
        click.echo(json.dumps([_facts(q) for q in catalog.queries()], indent=2))
        return
    formatter = ctx.make_formatter()
    formatter.write_dl(
        [(q.name, q.question + (" (your own)" if q.is_own else "")) for q in catalog.queries()]
    )
    click.echo(formatter.getvalue(), nl=False)


def _facts(query: NamedQuery) -> dict[str, Any]:
    facts = dataclasses.asdict(query)
    facts["path"] = str(query.path)
    return facts


def _command(query: NamedQuery) -> click.Command:
    """Returns the command that runs a query."""
    from wbsync.query.filters.names import split_names
    from wbsync.query.named import example

    @click.pass_context
    def run(ctx: click.Context, /, **given: Any) -> None:
        values = {p.name: given.pop(p.name) for p in query.parameters}
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = [part for text in value for part in split_names(text)]
        _run(ctx, query, {n: v for n, v in values.items() if v not in (None, [])}, **given)

    made: Any = run
    for option in (
        output_options,
        click.option("--sql", "as_sql", is_flag=True,
                     help="Print the SQL instead, with the values that are given."),
        engine_options,
    ):  # fmt: skip
        made = option(made)
    params = [_option(p) for p in query.parameters]
    columns = "\n".join(f"  {c.name}: {c.comment}" for c in query.columns) or "  as they come"
    return click.Command(
        query.name,
        params=[*params, *reversed(getattr(made, "__click_params__", []))],
        callback=made,
        short_help=query.question,
        help=f"{query.question}\n\n{query.about}\n\n\b\nColumns:\n{columns}\n\n"
        f"\b\nExample:\n  {example(query)}",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _option(parameter: Parameter) -> click.Option:
    from wbsync.query.named import range_words

    is_list = parameter.type.endswith("[]")
    kinds: dict[str, Any] = {"BIGINT": click.INT, "DOUBLE": click.FLOAT, "BOOLEAN": click.BOOL}
    kind = kinds.get(parameter.type, click.STRING)
    if parameter.choices:
        kind = click.Choice(parameter.choices)
    notes = ["several times, or with commas between, for several"] if is_list else []
    if parameter.range:
        notes.append(range_words(parameter.range))
    if parameter.is_required:
        notes.append("required")
    elif parameter.default not in (None, ""):
        notes.append(f"default: {parameter.default}")
    return click.Option(
        [f"--{parameter.name.replace('_', '-')}", parameter.name],
        type=kind,
        multiple=is_list,
        metavar=None if parameter.choices else parameter.type.removesuffix("[]"),
        help=parameter.comment + (f"  [{'; '.join(notes)}]" if notes else ""),
    )


def _run(
    ctx: click.Context, query: NamedQuery, values: dict[str, Any], *, as_sql: bool,
    output: OutputOptions, on: str | None, lake: str | None,
) -> None:  # fmt: skip
    from wbsync.errors import QueryError
    from wbsync.query import Engine
    from wbsync.query.named import print_query, run_query
    from wbsync.query.nearness import check_subjects, key_hints

    shared = _shared(ctx)
    now = datetime.now(UTC)
    if not as_sql:
        for parameter in query.parameters:
            if parameter.is_required and parameter.name not in values:
                option = next(o for o in ctx.command.params if o.name == parameter.name)
                raise click.MissingParameter(ctx=ctx, param=option)
    for parameter in query.parameters:
        try:
            parameter.read(values.get(parameter.name, parameter.default), now)
        except QueryError as error:
            raise click.UsageError(str(error), ctx) from None
    if as_sql:
        click.echo(print_query(query, values, now, "duckdb" if on is None else "spark"))
        return
    with open_engine(shared, on, lake) as engine:
        if isinstance(engine, Engine):
            check_subjects(engine, query, query.bind(values, now))
        result = run_query(engine, query, values, now)
        if not result.preview(1)[0]:
            hints = key_hints(engine, query, values) if isinstance(engine, Engine) else []
            for hint in hints:
                shared.say.note(hint)
            shared.say.note("no rows: nothing that is held answers this")
        output.write(result, shared.say)
