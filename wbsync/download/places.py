"""Where a file may be put: inside the target folder, whatever its name says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wbsync.errors import UnsafePathError

if TYPE_CHECKING:
    from pathlib import Path

_DRIVE = re.compile(r"^[A-Za-z]:")


def place_in(root: Path, name: str) -> Path:
    """Returns where a file of this name goes below a folder, and makes the folders on the way.

    Args:
        root: The target folder, which exists.
        name: Path with forward slashes, as W&B gives it.

    Raises:
        UnsafePathError: It would leave the folder: by `..`, as an absolute path, or through a
            link.
    """
    parts = name.split("/")
    if (
        not name
        or "\0" in name
        or "\\" in name
        or _DRIVE.match(name)
        or any(part in {"", ".", ".."} for part in parts)
    ):
        raise UnsafePathError(f"{name!r} is no path inside the target folder")
    folder = root
    for part in parts[:-1]:
        folder = folder / part
        if folder.is_symlink():
            raise UnsafePathError(f"{name!r} leads through the link {folder}")
        folder.mkdir(exist_ok=True)
    return folder / parts[-1]
