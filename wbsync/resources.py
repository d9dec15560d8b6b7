"""Finds the files that ship beside the code: `schemas/` and `queries/`.

A wheel holds them inside the package, an editable install and a checkout beside it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def resource_root() -> Path:
    """Returns the folder that holds `schemas/` and `queries/`."""
    for root in (_PACKAGE, _PACKAGE.parent):
        if (root / "schemas" / "tables").is_dir():
            return root
    raise FileNotFoundError("this installation of wbsync lacks its schemas/ folder: reinstall it")


def read_resource(name: str) -> str:
    """Returns the text of a shipped file.

    Args:
        name: Path below the resource root, for example `schemas/wandb.graphql`.
    """
    return (resource_root() / name).read_text(encoding="utf-8")
