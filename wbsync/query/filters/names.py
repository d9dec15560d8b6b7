"""Names of fields in one text: with commas between, and quotes around what holds a comma itself.

    run_id,config.lr,config."a,b",config.""

Quotes stand around a whole name, or a whole key of a path; a quote inside them is written twice.
Anywhere else a quote is part of the name.
"""

from __future__ import annotations

import re

_QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\s*(?:[.,]|$))')
_START = re.compile(r"\s*[+-]?")


def split_names(text: str) -> list[str]:
    """Returns the names of a text, without the quotes.

    >>> split_names('run_id, -config."a,b".c')
    ['run_id', '-config.a,b.c']
    """
    names: list[str] = []
    pieces: list[str] = []
    position, is_start = 0, True
    while position < len(text):
        if is_start and not pieces and (sign := _START.match(text, position)):
            pieces.append(sign[0].strip())
            position = sign.end()
        elif is_start and (quoted := _QUOTED.match(text, position)):
            pieces.append(quoted[1].replace('""', '"'))
            position = quoted.end()
            rest = text[position:]
            position += len(rest) - len(rest.lstrip())
            is_start = False
        elif text[position] == ",":
            names.append("".join(pieces))
            pieces, is_start = [], True
            position += 1
        else:
            end = next((i for i in range(position, len(text)) if text[i] in ".,"), len(text))
            is_dot = text[end : end + 1] == "."
            piece = text[position : end + is_dot]
            pieces.append(piece if is_dot else piece.rstrip())
            position, is_start = end + is_dot, is_dot
    return [*names, "".join(pieces)]


def comma_hint(name: str, names: list[str]) -> str:
    """Returns what to write where a name and the one before it are one key with a comma.

    Args:
        name: The name that is unknown.
        names: All names, as they were split.

    >>> comma_hint("b", ["config.a", "b"])
    'a key that holds a comma stands in quotes: config."a,b"'
    """
    if name not in names[1:]:
        return ""
    head, dot, rest = names[names.index(name, 1) - 1].partition(".")
    if not dot:
        return ""
    key = f"{rest},{name}".replace('"', '""')
    return f'a key that holds a comma stands in quotes: {head}."{key}"'
