"""The command line: one file a command, each of which parses, calls and prints."""

from __future__ import annotations

import importlib
from typing import Any

import click

from wbsync import __version__
from wbsync.cli.diagnostics import Diagnostics, run_guarded
from wbsync.cli.options import Globals

COMMANDS = {
    "artifact": "Get artifacts' files; versions and lineage.",
    "artifacts": "Ask for artifact versions and collections as one asks W&B.",
    "changes": "List what changed in runs from one sync to the next.",
    "compact": "Put many small files of the lake together.",
    "completion": "Print the completion script of a shell.",
    "config": "Show and check what wbsync.toml, environment and defaults add up to.",
    "doctor": "Check key, server, disk and the published file.",
    "edit": "Queue changes of runs, artifacts and collections.",
    "files": "List and get the files of runs.",
    "publish": "Bring warehouse.duckdb up to date with the lake.",
    "push": "Bring the edits of the queue to W&B.",
    "query": "Ask a question that has a name.",
    "queue": "Look at edits that wait, and settle conflicts.",
    "registry": "Ask for registries, collections and linked versions.",
    "runs": "Ask for runs as one asks W&B, offline.",
    "sandbox": "A W&B-compatible server for demos and tests.",
    "sql": "Ask the warehouse in SQL.",
    "status": "Show what the warehouse holds and how fresh it is.",
    "sweeps": "Ask for sweeps as one asks W&B.",
    "sync": "Bring the warehouse in step with W&B.",
    "tables": "List the tables and their columns.",
    "translate": "Print the SQL of a filter in W&B's language.",
    "undo": "Take back what a push or an edit has done.",
    "vacuum": "Delete files of the lake that nothing needs any more.",
    "verify": "Prove that the warehouse is whole, or say what is wrong.",
}
"""Command to its one-line help: the module of a command is imported when it is run."""


class LazyGroup(click.Group):
    """A group whose commands are modules of `wbsync.cli`, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands."""
        del ctx
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"wbsync.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that the arguments name; proposes the nearest one where none is."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: wbsync sync ENTITY/PROJECT, then: wbsync runs",
)
@click.version_option(__version__, "-V", "--version", prog_name="wbsync")
@click.option(
    "-w", "--warehouse", metavar="DIR", envvar="WBSYNC_WAREHOUSE", show_envvar=True,
    help="Folder of the warehouse. Default: that of the nearest wbsync.toml upward, else one under"
    " your data folder.",
)  # fmt: skip
@click.option(
    "--config", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
    envvar="WBSYNC_CONFIG", show_envvar=True,
    help="Read this file in place of the nearest wbsync.toml and your own config file.",
)  # fmt: skip
@click.option(
    "--no-config", is_flag=True, envvar="WBSYNC_NO_CONFIG", show_envvar=True,
    help="Read no configuration file.",
)  # fmt: skip
@click.option(
    "-q", "--quiet", is_flag=True, help="Say nothing but errors; what was asked for is printed."
)
@click.option("-v", "--verbose", count=True, help="Say more; twice, show tracebacks.")
@click.option("--color/--no-color", default=None, help="Colours; default: as the terminal allows.")
@click.pass_context
def cli(
    ctx: click.Context,
    warehouse: str | None,
    config: str | None,
    no_config: bool,
    quiet: bool,
    verbose: int,
    color: bool | None,
) -> None:
    """Keep a local analytics warehouse in step with Weights & Biases."""
    if config and no_config:
        raise click.UsageError("--config and --no-config exclude each other")
    say = Diagnostics(quiet=quiet, verbose=verbose, color=color)
    ctx.obj = Globals(warehouse, say, config, no_config)


def main(args: list[str] | None = None) -> Any:
    """Runs the command line; the entry point of the script `wbsync`."""
    run_guarded(cli, args)
