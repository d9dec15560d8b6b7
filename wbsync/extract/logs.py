"""Console output of runs.

Source: queries/wandb/run_logs.graphql; wandb/apis/public/console_logs.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import as_int, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import pyarrow as pa

    from wbsync.model import RunPath


@dataclass(frozen=True, slots=True)
class Line:
    """A line of console output."""

    number: int
    timestamp: str | None
    level: str | None
    label: str | None
    text: str | None


def parse_lines(nodes: Sequence[dict[str, Any]], first: int) -> list[Line]:
    """Returns the lines of a page.

    Args:
        nodes: The page's nodes.
        first: Number of the first one, where the server does not say.
    """
    lines = []
    for node in nodes:
        number = as_int(node.get("number"))
        number = first if number is None else number
        lines.append(
            Line(
                number,
                node.get("timestamp"),
                node.get("level") or None,
                node.get("label") or None,
                node.get("line"),
            )
        )
        first = number + 1
    return lines


def build_log_rows(run: RunPath, lines: Sequence[Line], synced_at: datetime) -> pa.Table:
    """Returns rows of the table console_logs; of several with one number the last one counts."""
    return build_table(
        "console_logs",
        [
            {
                "entity": run.entity,
                "project": run.project,
                "run_id": run.run_id,
                "number": number,
                "timestamp": parse_time(line.timestamp),
                "level": line.level,
                "label": line.label,
                "line": line.text,
                "synced_at": synced_at,
            }
            for number, line in sorted({line.number: line for line in lines}.items())
        ],
    )


def hash_of(lines: Iterable[Line]) -> str:
    """Returns a hash that differs where a line does."""
    digest = hashlib.blake2b(digest_size=16)
    for line in lines:
        digest.update(repr(line).encode(errors="surrogatepass"))
    return digest.hexdigest()
