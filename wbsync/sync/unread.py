"""Says which tables of a project no sync has read to their end: nothing is wrong with that.

The rows of history and system metrics are looked at run by run elsewhere; of the other tables the
marks tell that syncs leave: of those that hold rows of runs beside the lake, of others in the
project's own row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wbsync.model import Finding, RunPath
from wbsync.sync.ledger import TABLES as COUNTED
from wbsync.sync.streams import PROJECT_STREAMS
from wbsync.sync.vouching import ENDED, MARK, last_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wbsync.sync.holding import Holding

UNFINISHED, NOT_ASKED = "unfinished sync", "not asked for"
"""What no sync claims to have read yet."""

CUT_SHORT = frozenset({"stopped", "interrupted"})


def find_unread(holding: Holding, is_chosen: Callable[[RunPath], bool]) -> Iterator[Finding]:
    """Yields a note for each project of which a table was not read, or whose sync was stopped."""
    lake, outcomes = holding.lake, last_outcomes(holding.state)
    rows = {(r["entity"], r["project"]): r for r in lake.read("projects").to_pylist()}
    of_runs = lake.read("runs", columns=["entity", "project"]).to_pydict()
    cut_short = {place for place, outcome in outcomes.items() if outcome in CUT_SHORT}
    places = {*rows, *zip(of_runs["entity"], of_runs["project"], strict=True), *cut_short}
    for entity, project in sorted(places):
        row = rows.get((entity, project))
        is_gone = row is not None and row["deleted_at"] is not None
        if not project or is_gone or not is_chosen(RunPath(entity, project, "")):
            continue
        bookmark = json.loads((row and row["bookmark"]) or "{}")
        marks = json.loads(holding.state.mark(MARK, entity, project) or "{}")
        read = {*marks, *bookmark.get("held", ())} - {*bookmark.get("pending", ())}
        tables = [
            stream.tables[0]
            for stream in PROJECT_STREAMS
            if stream.tables[0] not in {*read, *COUNTED} and not stream.on_request
        ]
        outcome = outcomes.get((entity, project))
        if outcome not in ENDED:
            what = ", ".join(tables) or "what has changed"
            text = f"{what} of {entity}/{project}: not read, as its last sync did not end"
            yield Finding(UNFINISHED, f"{text}; sync again", is_wrong=False)
        elif tables:
            text = (
                f"{', '.join(tables)} of {entity}/{project}: not synced; to have it, sync without"
            )
            text += " --runs, --since, --filter, --only or --skip"
            if outcome == "partial":
                text += ", and look at what that says it skips"
            yield Finding(NOT_ASKED, text, is_wrong=False)
