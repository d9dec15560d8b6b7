"""Regular expressions, in the one syntax that W&B's server and DuckDB share: RE2's.

MongoDB's options become inline flags: DuckDB's own option for `m` does not move `^` (measured), the
flag does. RE2 has no `x`, so what it would ignore is taken out here.
"""

from __future__ import annotations

import re

from wbsync.errors import FilterSyntaxError

OPTIONS = "imsx"

_REFUSED = re.compile(r"\(\?<?[=!]|\(\?>|\(\?P=|\(\?\(|\\[1-9]|\\k[<{']")
_PYTHON_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}


def translate_pattern(pattern: str, options: str, at: str) -> str:
    r"""Returns a pattern with its options as inline flags.

    Args:
        pattern: What `$regex` holds.
        options: What `$options` holds: any of i, m, s and x.
        at: Place in the filter, for messages.

    Raises:
        FilterSyntaxError: An option is unknown, or RE2 does not take the pattern.

    >>> translate_pattern("^run", "im", "name.$regex")
    '(?im)^run'
    >>> translate_pattern("a b  # a comment", "x", "name.$regex")
    'ab'
    """
    for option in options:
        if option not in OPTIONS:
            raise FilterSyntaxError(
                f"the regex option {option!r} is unknown: there are i, m, s and x", at=at
            )
    body = _without_layout(pattern) if "x" in options else pattern
    flags = "".join(sorted(set(options) - {"x"}))
    translated = f"(?{flags}){body}" if flags else body
    _check(translated, at)
    return translated


def options_of(pattern: re.Pattern[str]) -> str:
    """Returns the options of a compiled Python pattern.

    >>> options_of(re.compile("a", re.I))
    'i'
    """
    return "".join(letter for flag, letter in _PYTHON_FLAGS.items() if pattern.flags & flag)


def _check(pattern: str, at: str) -> None:
    """Has RE2 itself compile the pattern: pyarrow carries it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), pattern=pattern)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        if _REFUSED.search(pattern):
            reason = "it has neither lookaround nor backreferences"
        else:
            reason = str(error).removeprefix("Invalid regular expression: ")
        raise FilterSyntaxError(
            f"regexes are RE2's, as W&B's server and DuckDB have them: {reason}", at=at
        ) from None


def _without_layout(pattern: str) -> str:
    r"""Returns a pattern without the white space and comments that option x ignores.

    >>> _without_layout(r"[ a] \  b # c")
    '[ a]\\ b'
    """
    kept: list[str] = []
    position, is_class = 0, False
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            kept.append(pattern[position : position + 2])
            position += 2
            continue
        if is_class:
            is_class = character != "]"
        elif character == "[":
            is_class = True
        elif character == "#":
            end = pattern.find("\n", position)
            position = len(pattern) if end < 0 else end + 1
            continue
        elif character.isspace():
            position += 1
            continue
        kept.append(character)
        position += 1
    return "".join(kept)
