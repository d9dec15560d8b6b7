"""Text of others, made fit to stand in one line that a person reads."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""A terminal escape, of which nothing is to be left; delta-rs puts some into its messages."""


def plain(text: str, *, indent: bool = False) -> str:
    r"""Returns text of others as one line without control characters or terminal escapes.

    Args:
        text: Anything.
        indent: Whether spaces are left as they are.

    >>> plain("a\n  b\x1b[31m c\x07")
    'a b c'
    """
    clean = "".join(c if c.isprintable() else " " for c in _ESCAPE.sub("", text))
    return clean if indent else " ".join(clean.split())


def first_line(text: str) -> str:
    """Returns the first line of a text of others, made fit to be shown."""
    return plain(text.split("\n", 1)[0])
