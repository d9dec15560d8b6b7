"""The ways to write a result: a table for people, and formats for machines."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO

    from wbsync.query.result import Result

FORMATS = ("table", "csv", "json", "jsonl", "markdown", "parquet", "arrow")

MAX_CELL_CHARS = 60
TABLE_ROWS = 1000
"""Rows that a table for people shows at most; the other formats are whole."""


def cell_text(value: Any) -> str:
    r"""Returns a value as printable text: control characters and terminal escapes are escaped.

    >>> cell_text("a\x1b[31mb"), cell_text(None), cell_text(0.1)
    ('a\\x1b[31mb', '', '0.1')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = value if isinstance(value, str) else str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 1] + "…"


def render_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns rows as an aligned table; numbers stand to the right.

    >>> print(render_table(["a", "n"], [("x", 1)]))
    a  n
    -  -
    x  1
    """
    rows = list(rows)
    cells = [[_shortened(cell_text(v)) for v in row] for row in rows]
    heads = [_shortened(cell_text(c)) for c in columns]
    widths = [max([len(h), *(len(r[i]) for r in cells)]) for i, h in enumerate(heads)]
    is_number = [
        all(isinstance(r[i], (int, float)) or r[i] is None for r in rows) for i in range(len(heads))
    ]

    def line(values: Sequence[str]) -> str:
        return "  ".join(
            v.rjust(w) if right else v.ljust(w)
            for v, w, right in zip(values, widths, is_number, strict=True)
        ).rstrip()

    return "\n".join([line(heads), line(["-" * w for w in widths]), *map(line, cells)])


def render_markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns rows as a Markdown table."""

    def line(values: Iterable[str]) -> str:
        return "| " + " | ".join(v.replace("|", "\\|") for v in values) + " |"

    body = [line(cell_text(v) for v in row) for row in rows]
    return "\n".join([line(map(cell_text, columns)), line("---" for _ in columns), *body])


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it; non-finite numbers become W&B's strings for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return str(value)


def write_result(result: Result, kind: str, out: BinaryIO) -> bool:
    """Writes a result; returns whether rows were left out, which only a table does.

    Args:
        result: What to write.
        kind: One of FORMATS.
        out: Where to; for Parquet a file that can seek is not needed.

    Raises:
        ValueError: The format is unknown.
    """
    columns = result.columns
    if kind == "parquet":
        import pyarrow.parquet as pq

        with pq.ParquetWriter(out, result.schema, compression="zstd") as writer:
            for batch in result.batches():
                writer.write_batch(batch)
        return False
    if kind == "arrow":
        import pyarrow as pa

        with pa.ipc.new_file(out, result.schema) as ipc:
            for batch in result.batches():
                ipc.write_batch(batch)
        return False
    if kind in {"table", "markdown"}:
        rows, has_more = result.preview(TABLE_ROWS)
        render = render_table if kind == "table" else render_markdown
        out.write((render(columns, rows) + "\n").encode())
        return has_more
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        _write_text(result, kind, columns, text)
    finally:
        text.detach()
    return False


def _write_text(result: Result, kind: str, columns: list[str], text: io.TextIOWrapper) -> None:
    if kind == "csv":
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            [v.isoformat(sep=" ") if isinstance(v, datetime) else v for v in row] for row in result
        )
    elif kind == "jsonl":
        text.writelines(_object(columns, row) + "\n" for row in result)
    elif kind == "json":
        text.write("[")
        text.writelines(
            ("," if index else "") + "\n" + _object(columns, row)
            for index, row in enumerate(result)
        )
        text.write("\n]\n")
    else:
        raise ValueError(f"unknown format {kind}")


def _object(columns: list[str], row: Sequence[Any]) -> str:
    values = dict(zip(columns, map(_plain, row), strict=True))
    return json.dumps(values, ensure_ascii=False)
