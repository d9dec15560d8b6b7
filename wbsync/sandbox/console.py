"""Console output of runs: the lines that `output.log` streams in, read back page by page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from wbsync.sandbox.nodes import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.sandbox.nodes import Scope

OLD_PAGE_LINES = 500
"""Without the improved pagination the first lines come for any cursor, as they do at W&B."""
OLD_TAIL_LINES = 10_000

_PLAIN = re.compile(
    r"(?P<error>ERROR )?(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?) (?P<line>.*)", re.DOTALL
)


def parse_line(text: str) -> dict[str, Any]:
    """Returns `LogLine` less its number, of a streamed line in either of the SDK's two forms."""
    try:
        entry = json.loads(text)
        line, stamp = entry["content"], entry["ts"]
    except (ValueError, KeyError, TypeError):
        match = _PLAIN.fullmatch(text)
        if match is None:
            return {"timestamp": None, "level": None, "label": None, "line": text}
        level = "error" if match["error"] else None
        return {"timestamp": match["at"], "level": level, "label": None, "line": match["line"]}
    return {
        "timestamp": stamp,
        "level": entry.get("level") or None,
        "label": entry.get("label") or None,
        "line": line,
    }


def log_lines(
    scope: Scope,
    run_pk: int,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    is_improved: bool,
) -> dict[str, Any]:
    """Returns a page of a run's console output.

    Args:
        scope: The request's.
        run_pk: Whose.
        first: Lines of a page counted from the start.
        after: Cursor of the line before the page.
        last: Lines of a page counted from the end.
        is_improved: Whether cursors work; where they do not, the first lines come every time.
    """
    numbers = [
        row[0]
        for row in scope.store.rows(
            "SELECT line FROM lines WHERE run_pk = ? AND stream = 'log' ORDER BY line", run_pk
        )
    ]

    def load(chosen: Sequence[int]) -> list[Any]:
        rows = scope.store.rows(
            "SELECT line, text FROM lines WHERE run_pk = ? AND stream = 'log'"
            " AND line BETWEEN ? AND ? ORDER BY line",
            run_pk, chosen[0], chosen[-1],
        )  # fmt: skip
        return [{"number": row["line"], **parse_line(row["text"])} for row in rows]

    if not is_improved:
        after = None
        first = None if first is None else min(first, OLD_PAGE_LINES)
        last = None if last is None else min(last, OLD_TAIL_LINES)
    page = connection(scope, numbers, load, first=first, after=after, last=last)
    if not is_improved and first is not None:
        page["pageInfo"]["hasNextPage"] = len(numbers) > len(page["edges"])
    return page
