"""`wbsync sandbox`: the W&B-compatible server, and what fills it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from wbsync.cli.options import Globals  # noqa: TC001

DATA = click.Path(file_okay=False, path_type=Path)
PORT = click.IntRange(0, 65535)
MIN_SDK_KEY_LENGTH = 40
"""The SDK takes no shorter key; wbsync and this server do."""


@click.group()
def command() -> None:
    """A W&B-compatible server for demos, tests and development.

    \b
    Example:
      wbsync sandbox serve --data ./sandbox --port 8080
      (export what it prints, then:) python train.py && wbsync sync sandbox/my-project
    """


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


@command.command()
@click.option("--data", type=DATA, required=True, help="Folder that keeps everything.")
@click.option("--port", type=PORT, default=0, show_default=True,
              help="Port of the API; 0 takes a free one.")  # fmt: skip
@click.option("--storage-port", type=PORT, default=0, help="Port of storage; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--api-key", envvar="WBSYNC_SANDBOX_API_KEY", show_envvar=True,
    help="Key of the administrator. Default: made at the first start and printed.",
)  # fmt: skip
@click.option("--user", default="sandbox", show_default=True, help="The administrator's login.")
@click.option("--add-user", multiple=True, metavar="NAME[:KEY]", help="A further user.")
@click.option("--add-organization", multiple=True, metavar="NAME:MEMBER,…", help="An organisation.")
@click.option(
    "--add-team", multiple=True, metavar="[ORG/]NAME:MEMBER,…", help="A team, in an organisation."
)
@click.option(
    "--exports", type=click.Choice(["all", "half", "none"]), default="all", show_default=True,
    help="What of a history is offered as Parquet exports.",
)  # fmt: skip
@click.option("--latency-ms", type=click.FloatRange(0), default=0, help="Wait before each answer.")
@click.option("--rate-limit", metavar="N/min", help="Requests a user may make, e.g. 300/min, 20/s.")
@click.option("--fault-rate", type=click.FloatRange(0, 1), default=0, help="Share of bad answers.")
@click.option(
    "--fault-kinds", metavar="KIND,…", default="500,502,timeout,cut,graphql,partial",
    show_default=True, help="Which bad answers.",
)  # fmt: skip
@click.option(
    "--hang", "hang_s", type=click.FloatRange(0), default=120, show_default=True, metavar="SECONDS",
    help="How long an answer that never comes keeps its connection open.",
)  # fmt: skip
@click.option("--seed", type=int, help="Makes faults and searches repeatable.")
@click.option(
    "--without", metavar="FIELD,…",
    help="Be an older server that lacks these fields, e.g. updatedAt,parquetHistory; the word"
    " updatedAtFilter takes only the filter away.",
)  # fmt: skip
@click.option("--deny", metavar="FIELD,…", help="Answer an error for these fields, e.g. members.")
@click.option("--hide", metavar="FIELD,…", help="Answer null for these fields.")
@click.option(
    "--clock-skew", "ahead_s", type=float, default=0, metavar="SECONDS",
    help="How far the server's clock is ahead.",
)  # fmt: skip
@click.option(
    "--crash-after", "crash_after_s", type=click.FloatRange(0), metavar="SECONDS",
    help="Silence after which a running run has crashed. Default: never.",
)  # fmt: skip
@click.option(
    "--lag", "lag_s", type=click.FloatRange(0), default=0, metavar="SECONDS",
    help="How late filtered lists of runs show what was written.",
)  # fmt: skip
@click.option(
    "--read-lag", "read_lag_s", type=click.FloatRange(0), default=0, metavar="SECONDS",
    help="How late all queries show what mutations wrote, as a read replica does.",
)  # fmt: skip
@click.option("--ignore", metavar="WHAT,…", help="Take and do not heed: filters, order, cursors.")
@click.option(
    "--offset-cursors", is_flag=True, help="Let rows of lists shift when others come or go."
)
@click.option(
    "--unstamped", metavar="FIELD,…",
    help="Fields of runs, e.g. config,tags, whose edits do not move updatedAt.",
)  # fmt: skip
@click.option("--max-page-rows", type=click.IntRange(1), help="Cap on the size of a page.")
@click.option("--json", "as_json", is_flag=True,
              help="Print the addresses, the key and the entity as JSON.")  # fmt: skip
@click.option("--until-stdin-closes", is_flag=True, hidden=True)
@click.pass_obj
def serve(
    shared: Globals,
    *,
    data: Path,
    port: int,
    storage_port: int,
    host: str,
    api_key: str | None,
    user: str,
    add_user: tuple[str, ...],
    add_organization: tuple[str, ...],
    add_team: tuple[str, ...],
    exports: str,
    latency_ms: float,
    rate_limit: str | None,
    fault_rate: float,
    fault_kinds: str,
    hang_s: float,
    seed: int | None,
    without: str | None,
    deny: str | None,
    hide: str | None,
    ahead_s: float,
    crash_after_s: float | None,
    lag_s: float,
    read_lag_s: float,
    ignore: str | None,
    offset_cursors: bool,
    unstamped: str | None,
    max_page_rows: int | None,
    as_json: bool,
    until_stdin_closes: bool,
) -> None:
    """Serve a folder until interrupted; the official wandb SDK works against it.

    \b
    Examples:
      wbsync sandbox serve --data ./sandbox --port 8080
      wbsync sandbox serve --data ./sandbox --latency-ms 50 --rate-limit 300/min --fault-rate 0.05
    """
    import asyncio

    try:
        from wbsync.sandbox.graph import build_schema
        from wbsync.sandbox.nodes import IGNORABLE, Options
        from wbsync.sandbox.runs import EDITABLE
        from wbsync.sandbox.server import serve as run_server
        from wbsync.sandbox.store import (
            Store,
            make_organization,
            make_team,
            make_user,
            set_clock,
        )
        from wbsync.sandbox.weather import FAULT_KINDS, parse_rate
    except ImportError as error:
        raise click.UsageError(
            f"the sandbox needs {error.name}: pip install 'wbsync[sandbox]'"
        ) from error
    options = Options(
        exports=exports, latency_ms=latency_ms, rate_limit=rate_limit, fault_rate=fault_rate,
        fault_kinds=_names(fault_kinds), hang_s=hang_s, seed=seed, without=_names(without),
        max_page_rows=max_page_rows, denied=_names(deny), hidden=_names(hide),
        crash_after_s=crash_after_s, lag_s=lag_s, read_lag_s=read_lag_s,
        ignore=_names(ignore), has_offset_cursors=offset_cursors, unstamped=_names(unstamped),
    )  # fmt: skip
    set_clock(ahead_s)
    try:
        build_schema(options.without, options.denied, options.hidden)
        if rate_limit:
            parse_rate(rate_limit)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for what, given, known_names in (
        ("fault", options.fault_kinds, FAULT_KINDS),
        ("thing to ignore", options.ignore, IGNORABLE),
        ("field of runs", options.unstamped, EDITABLE),
    ):
        if unknown := set(given) - set(known_names):
            raise click.UsageError(
                f"unknown {what} {min(unknown)}; there are {', '.join(known_names)}"
            )
    store = Store(data)
    known = store.value("SELECT api_key FROM users WHERE username = ?", user)
    try:
        api_key = make_user(store, user, api_key=api_key or known, admin=True)["api_key"]
        if len(api_key) < MIN_SDK_KEY_LENGTH:
            shared.say.note(
                f"the wandb SDK takes no key of fewer than {MIN_SDK_KEY_LENGTH} characters: with"
                " this one only wbsync works"
            )
        for entry in add_user:
            name, _, key = entry.partition(":")
            made = make_user(store, name, api_key=key or None)
            if not key and not as_json:
                shared.say.note(f"user {name}: key {made['api_key']}")
        for entry in add_organization:
            name, _, members = entry.partition(":")
            make_organization(store, name, _names(members))
        for entry in add_team:
            path, _, members = entry.partition(":")
            organization, _, name = path.rpartition("/")
            make_team(store, name, organization or None, _names(members))
    except (LookupError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    finally:
        store.close()

    def announce(addresses: dict[str, str]) -> None:
        if as_json:
            click.echo(json.dumps({**addresses, "api_key": api_key, "entity": user}))
            return
        click.echo(f"export WANDB_BASE_URL={addresses['base_url']}")
        click.echo(f"export WANDB_API_KEY={api_key}")
        click.echo(f"export WANDB_ENTITY={user}")
        shared.say.note(f"serving {data}; blobs at {addresses['storage_url']}; Ctrl-C stops")

    asyncio.run(
        run_server(
            data, options, host=host, port=port, storage_port=storage_port, announce=announce,
            until_stdin_closes=until_stdin_closes,
        )
    )  # fmt: skip


@command.command()
@click.option("--data", type=DATA, required=True, help="Folder of the sandbox.")
@click.option("--entity", default="sandbox", show_default=True, help="Made where it is missing.")
@click.option("--project", required=True, help="Project to fill.")
@click.option("--runs", type=click.IntRange(0), default=100, show_default=True, help="Runs.")
@click.option("--steps", type=click.IntRange(0), default=1000, show_default=True,
              help="Steps of each run.")  # fmt: skip
@click.option("--keys", type=click.IntRange(1), default=10, show_default=True,
              help="Metrics of each run.")  # fmt: skip
@click.option("--sweeps", type=click.IntRange(0), default=1, show_default=True, help="Sweeps.")
@click.option("--artifacts", type=click.IntRange(0), default=5, show_default=True,
              help="Artifact versions.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same values.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
@click.pass_obj
def seed(shared: Globals, /, *, data: Path, entity: str, as_json: bool, **amounts: object) -> None:
    """Fill a project with believable experiments, whether or not a server runs on the folder.

    \b
    Example:
      wbsync sandbox seed --data ./sandbox --project demo --runs 500 --steps 1000
    """
    import time

    from wbsync.sandbox.seed import Plan, seed_project
    from wbsync.sandbox.store import Store, make_user

    started = time.monotonic()
    store = Store(data)
    try:
        if store.value("SELECT 1 FROM entities WHERE name = ?", entity) is None:
            make_user(store, entity)
        made = seed_project(store, Plan(entity=entity, **amounts))  # type: ignore[arg-type]
    finally:
        store.close()
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps({**made, "seconds": round(seconds, 3)}))
    elif not shared.say.quiet:
        rate = made["cells"] / max(seconds, 1e-9) / 1e6
        click.echo(
            f"{made['runs']:,} runs, {made['cells']:,} values in {seconds:.1f} s: {rate:.1f} M/s"
        )
