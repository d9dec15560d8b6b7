"""The ways to write a result: a table for people, and formats for machines."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from wbsync.query.result import Result

MAX_CELL_CHARS = 60
MIN_CELL_CHARS = 20
"""Cells are not cut to less than this for a narrow terminal: columns are left out instead."""
TABLE_ROWS = 1000
"""Rows that a table shows at most on a terminal; elsewhere, and in other formats, all are."""

_QUOTED = re.compile(r'[",\r\n]')


def cell_text(value: Any) -> str:
    r"""Returns a value as printable text: control characters and terminal escapes are escaped.

    Numbers and times are exact: what is copied from a table finds the row that it came from.

    >>> cell_text("a\x1b[31mb"), cell_text(None), cell_text(1 / 3), cell_text(2**63)
    ('a\\x1b[31mb', '', '0.3333333333333333', '9223372036854775808')
    """
    if value is None:
        return ""
    text = value if isinstance(value, str) else exact_text(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def exact_text(value: Any) -> str:
    r"""Returns a value, which is not None, as DuckDB spells it in CSV, but nested values as JSON.

    >>> exact_text(True), exact_text(b"a\xff"), exact_text({"a": [1, None]}), exact_text(0.1)
    ('true', 'a\\xFF', '{"a": [1, null]}', '0.1')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return "".join(
            chr(b) if 32 <= b < 127 and chr(b) not in "\\\"'" else f"\\x{b:02X}" for b in value
        )
    if hasattr(value, "nanoseconds"):  # Arrow's interval, which is a tuple
        parts = {"months": value.months, "days": value.days, "seconds": value.nanoseconds / 1e9}
        return " ".join(f"{n:g} {unit}" for unit, n in parts.items() if n) or "0 seconds"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(_plain(value), ensure_ascii=False)
    return str(value)


def on_screen(text: str) -> str:
    r"""Returns text without what a terminal would take for more than text; JSON stays JSON.

    >>> print(on_screen('{"a": "\x9b31m"}'))
    {"a": "\u009b31m"}
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the lines of a table are set."""

    widths: list[int]
    """Of each column that is shown."""
    is_number: list[bool]
    is_cut: bool
    """Whether cells that are wider are cut; else they push the rest of their line to the right."""

    def line(self, cells: Iterable[str], *, has_numbers: bool = False) -> str:
        """Returns a line; numbers in it are never cut, as that would make others of them."""
        shown = [
            (cell if right and has_numbers else self._cut(cell, width), width, right)
            for cell, width, right in zip(cells, self.widths, self.is_number, strict=False)
        ]
        return "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in shown
        ).rstrip()

    def head(self, columns: Iterable[str]) -> str:
        """Returns the lines above the rows."""
        return f"{self.line(map(cell_text, columns))}\n{self.line('-' * w for w in self.widths)}"

    def row(self, values: Iterable[Any]) -> str:
        """Returns the line of a row."""
        return self.line(map(cell_text, values), has_numbers=True)

    def _cut(self, text: str, width: int) -> str:
        return text if not self.is_cut or len(text) <= width else text[: width - 1] + "…"


def _layout(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], screen: int | None, *, is_cut: bool
) -> _Layout:
    """Returns how a table is set whose first rows these are; on a screen, with what fits there."""
    cells = [[len(cell_text(v)) for v in row] for row in rows]
    is_number = [
        all(isinstance(r[i], (int, float, Decimal)) or r[i] is None for r in rows)
        for i in range(len(columns))
    ]
    least = [max([r[i] for r in cells], default=0) if n else 0 for i, n in enumerate(is_number)]
    wide = [max([len(cell_text(c)), *(r[i] for r in cells)]) for i, c in enumerate(columns)]
    cap = MAX_CELL_CHARS
    widths = [max(min(w, cap), low) for w, low in zip(wide, least, strict=True)]
    if screen is not None:
        while cap > MIN_CELL_CHARS and sum(widths) + 2 * (len(widths) - 1) > screen:
            cap -= 5
            widths = [max(min(w, cap), low) for w, low in zip(widths, least, strict=True)]
        while len(widths) > 1 and sum(widths) + 2 * (len(widths) - 1) > screen:
            widths.pop()
    return _Layout(widths, is_number, is_cut)


def render_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, is_cut: bool = False
) -> str:
    """Returns rows as an aligned table; numbers stand to the right.

    Args:
        columns: Names of the columns.
        rows: Values of each row.
        is_cut: Whether long texts are cut.

    >>> print(render_table(["a", "n"], [("x", 1)]))
    a  n
    -  -
    x  1
    """
    rows = list(rows)
    layout = _layout(columns, rows, None, is_cut=is_cut)
    return "\n".join([layout.head(columns), *map(layout.row, rows)])


def _write_table(result: Result, text: io.TextIOBase, screen: int | None) -> str:
    """Writes a table, whole where it goes to no screen; returns what was left out."""
    rows, has_more = result.preview(TABLE_ROWS)
    columns = result.columns
    layout = _layout(columns, rows, screen, is_cut=screen is not None)
    text.write(layout.head(columns) + "\n")
    text.writelines(layout.row(row) + "\n" for row in (result if screen is None else rows))
    if screen is None:
        return ""
    shown = len(layout.widths)
    left = [f"the first {len(rows):,} rows"] if has_more else []
    left += [f"{shown} of {len(columns)} columns"] if shown < len(columns) else []
    return " and ".join(left)


def _markdown_line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |\n"


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it; non-finite numbers become W&B's strings for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "nanoseconds"):
        return [_plain(v) for v in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, Decimal):  # whole numbers beyond 64 bits come as decimals, too
        return int(value) if value == value.to_integral_value() else float(value)
    return exact_text(value)


def write_result(result: Result, kind: str, out: BinaryIO, *, screen: int | None = None) -> str:
    """Writes a result; returns what alone is shown of it, empty where all is.

    Args:
        result: What to write.
        kind: One of `model.FORMATS`.
        out: Where to; it need not be able to seek.
        screen: Columns of the terminal that it goes to: a table is cut to it, and no text is a
            terminal escape. None for a file or a pipe, which get all, exactly.

    Raises:
        ValueError: The format is unknown.
    """
    if kind == "parquet":
        import pyarrow.parquet as pq

        with pq.ParquetWriter(out, result.schema, compression="zstd") as writer:
            for batch in result.batches():
                writer.write_batch(batch)
        return ""
    if kind == "arrow":
        import pyarrow as pa

        with pa.ipc.new_file(out, result.schema) as ipc:
            for batch in result.batches():
                ipc.write_batch(batch)
        return ""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        if kind == "table":
            return _write_table(result, text, screen)
        lines = _lines(result, kind)
        text.writelines(lines if screen is None else map(on_screen, lines))
    finally:
        text.detach()
    return ""


def _lines(result: Result, kind: str) -> Iterable[str]:
    """Yields the text of a result in pieces."""
    columns = result.columns
    if kind == "csv":
        yield _csv_line(columns)
        yield from map(_csv_line, result)
    elif kind == "markdown":
        yield _markdown_line(map(cell_text, columns)) + _markdown_line("---" for _ in columns)
        yield from (_markdown_line(map(cell_text, row)) for row in result)
    elif kind == "jsonl":
        yield from (_object(columns, row) + "\n" for row in result)
    elif kind == "json":
        yield "["
        for index, row in enumerate(result):
            yield ("," if index else "") + "\n" + _object(columns, row)
        yield "\n]\n"
    else:
        raise ValueError(f"unknown format {kind}")


def _csv_line(row: Iterable[Any]) -> str:
    """Returns a line of CSV, in which NULL is nothing and an empty text is quoted."""
    return ",".join(map(_csv_field, row)) + "\n"


def _csv_field(value: Any) -> str:
    if value is None:
        return ""
    if type(value) in {int, float}:
        return str(value)
    text = exact_text(value)
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _object(columns: list[str], row: Sequence[Any]) -> str:
    values = dict(zip(columns, map(_plain, row), strict=True))
    return json.dumps(values, ensure_ascii=False)
