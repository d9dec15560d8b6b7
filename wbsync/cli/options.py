"""What every command shares: global options, and where they lead."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.configuration import Configuration
    from wbsync.settings import Credentials


base_url_option = click.option(
    "--base-url", envvar=["WBSYNC_BASE_URL", "WANDB_BASE_URL"], show_envvar=True,
    help="W&B server.",
)  # fmt: skip
"""Names the server; `Globals.credentials` takes its value."""


@dataclass(frozen=True, slots=True)
class Globals:
    """The global options."""

    warehouse: str | None
    say: Diagnostics
    config: str | None = None
    """The one configuration file to read; None looks for them."""
    no_config: bool = False

    def root(self) -> Path:
        """Returns the warehouse's folder, which need not exist."""
        if self.warehouse:
            return _folder(self.warehouse)
        return Path(self.configuration()["warehouse"])

    def credentials(
        self, base_url: str | None, configuration: Configuration | None = None
    ) -> Credentials:
        """Returns the server and the key.

        Args:
            base_url: What the command line or the environment says; None looks on.
            configuration: The options that are in force, None to look for them.

        Raises:
            AuthenticationError: There is no key.
            ConfigError: A file, the key or the address cannot be used.
        """
        from wbsync.settings import resolve_credentials

        if base_url is not None:
            return resolve_credentials(base_url=base_url)
        setting = (configuration or self.configuration()).settings["base_url"]
        return resolve_credentials(
            base_url=setting.value, named_in=setting.origin if setting.is_of_project else None
        )

    def configuration(self, ctx: click.Context | None = None) -> Configuration:
        """Returns the options that are in force.

        Args:
            ctx: The command's; what was typed there comes first.

        Raises:
            ConfigError: A file or a variable holds what cannot be used.
        """
        from wbsync.configuration import resolve

        flags = typed(ctx) if ctx is not None else {}
        flags.pop("sources", None)  # an argument of sync: paths, which files may say more about
        if "warehouse" in flags:
            flags["warehouse"] = _folder(flags["warehouse"])
        return resolve(
            flags, config=Path(self.config) if self.config else None, no_config=self.no_config
        )


def _folder(text: str) -> Path:
    return Path(text).expanduser().resolve()


def typed(ctx: click.Context) -> dict[str, Any]:
    """Returns the parameters that stood on the command line, of the command and those above it."""
    above = typed(ctx.parent) if ctx.parent is not None else {}
    return above | {
        name: value
        for name, value in ctx.params.items()
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }


def decoded(text: bytes, place: str) -> str:
    """Returns text that was read; whatever the locale, it is UTF-8, with or without a mark.

    Raises:
        click.UsageError: It is not.
    """
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{place} is not UTF-8: {error}") from None


def complete_tables(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Completes the last name of a list of tables."""
    del ctx, param
    from wbsync.tables import table_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in table_names() if name.startswith(last)]
