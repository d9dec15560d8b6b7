"""Puts what was written where a power cut cannot take it back.

A file's content and its name in the folder reach the disk separately, and both only when they are
asked to. Measured on ext4: a third of a millisecond each, where little was written.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


FICLONE = 0x40049409
"""Linux: lets a file share another's blocks until one of them is written."""


def persist(path: Path) -> None:
    """Returns once the content of a file is on the disk.

    Raises:
        OSError: The disk refused.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def persist_names(folder: Path) -> None:
    """Returns once the names in a folder are on the disk, where the system can be asked for it."""
    if os.name == "posix":
        persist(folder)


def replace_durably(source: Path, target: Path) -> None:
    """Renames a complete file into its place, and returns once it stands there for good.

    Raises:
        OSError: The disk refused; `target` is as it was.
    """
    persist(source)
    source.replace(target)
    persist_names(target.parent)


def clone(source: Path, target: Path) -> None:
    """Copies a file's content, sharing its blocks where the file system can.

    Raises:
        OSError: The disk refused.
    """
    if sys.platform == "linux":
        import fcntl

        with source.open("rb") as held, target.open("wb") as made, suppress(OSError):
            fcntl.ioctl(made.fileno(), FICLONE, held.fileno())
            return
    shutil.copyfile(source, target)
