"""`wbsync config`: the options, where each comes from, and what is wrong with the files."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wbsync.cli.diagnostics import ExitCode
from wbsync.cli.options import Globals  # noqa: TC001
from wbsync.plain import plain

if TYPE_CHECKING:
    from wbsync.configuration import Problem


@click.group()
def command() -> None:
    """Show and check what wbsync.toml, the environment and the defaults add up to.

    A value is taken from the command line, else from the environment, else from the nearest
    wbsync.toml upward, else from your own config file, else it is the default.

    \b
    Example:
      wbsync config show
    """


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_context
def show(ctx: click.Context, *, as_json: bool) -> None:
    """Print each option and where it comes from.

    The API key is never shown.

    \b
    Example:
      wbsync config show
    """
    from wbsync.configuration import Setting
    from wbsync.errors import AuthenticationError
    from wbsync.settings import resolve_base_url

    shared: Globals = ctx.obj
    configuration = shared.configuration(ctx)
    settings = dict(configuration.settings)
    if settings["base_url"].value is None:
        settings["base_url"] = Setting(resolve_base_url(), "the wandb SDK's settings or default")
    try:
        source = shared.credentials(None, configuration).source
        settings["api_key"] = Setting("(set)", source)
    except AuthenticationError as error:
        settings["api_key"] = Setting(None, str(error))
    if as_json:
        facts = {n: {"value": _plain(s.value), "origin": s.origin} for n, s in settings.items()}
        files = [str(path) for path in configuration.files]
        click.echo(json.dumps({"files": files, "settings": facts}))
        return
    for name, setting in settings.items():
        value = _plain(setting.value)
        for item in value if isinstance(value, list) and value else [value]:
            click.echo(f"{name:<14} = {_as_text(item)}  ({plain(setting.origin)})")


@command.command()
@click.argument("files", nargs=-1, metavar="[FILE]…")
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON object.")
@click.pass_obj
def validate(shared: Globals, *, files: tuple[str, ...], as_json: bool) -> int:
    """List all that is wrong with the files.

    They are those that would be read, or those named.

    \b
    Examples:
      wbsync config validate
      wbsync config validate ./wbsync.toml
    """
    from wbsync.configuration import find_files, read_file

    paths = [Path(name).resolve() for name in files]
    if not paths and not shared.no_config:
        named = Path(shared.config) if shared.config else None
        paths = [path for path in find_files(named, Path.cwd()) if path is not None]
    problems = [problem for path in paths for problem in _check(path, read_file)]
    if as_json:
        listed = [asdict(problem) for problem in problems]
        click.echo(json.dumps({"files": [str(p) for p in paths], "problems": listed}))
    else:
        for problem in problems:
            click.echo(plain(str(problem)))
        if not paths:
            shared.say.note("there is no configuration file")
        elif not problems:
            shared.say.note(f"no problem in {', '.join(str(p) for p in paths)}")
    return ExitCode.USAGE if problems else ExitCode.OK


def _check(path: Path, read_file: Any) -> list[Problem]:
    """Returns what is wrong with a file, its server's address included."""
    from wbsync.configuration import Problem
    from wbsync.errors import ConfigError
    from wbsync.settings import resolve_base_url

    content = read_file(path)
    try:
        resolve_base_url(content.values.get("base_url"), environ={})
    except ConfigError as error:
        return [*content.problems, Problem(str(path), "base_url", str(error))]
    return list(content.problems)


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it; of a source, what it sets."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [{k: v for k, v in asdict(entry).items() if v is not None} for entry in value]
    return value


def _as_text(value: Any) -> str:
    if value is None or value == []:
        return "(none)"
    if isinstance(value, dict) and value.keys() == {"path"}:
        return plain(value["path"])
    is_plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return plain(str(value) if is_plain else json.dumps(value, ensure_ascii=False, default=str))
