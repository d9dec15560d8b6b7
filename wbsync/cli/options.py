"""What every command shares: global options, and where they lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from wbsync.cli.diagnostics import Diagnostics
    from wbsync.settings import ProjectFile


@dataclass(frozen=True, slots=True)
class Globals:
    """The global options."""

    warehouse: str | None
    say: Diagnostics

    def root(self) -> Path:
        """Returns the warehouse's folder, which need not exist."""
        from wbsync.settings import warehouse_dir

        return warehouse_dir(self.warehouse)

    def project_file(self) -> ProjectFile | None:
        """Returns the nearest wbsync.toml."""
        from wbsync.settings import find_project_file

        return find_project_file()


def complete_tables(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Completes the last name of a list of tables."""
    del ctx, param
    from wbsync.tables import table_names

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in table_names() if name.startswith(last)]
