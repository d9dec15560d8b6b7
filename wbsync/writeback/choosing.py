"""Which runs are meant, where a filter says so: those that pass by what the warehouse holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wbsync.query import Engine
    from wbsync.writeback.operations import Target


def runs_passing(engine: Engine, filters: str | Mapping[str, Any]) -> Callable[[Target], bool]:
    """Returns what says whether a target is a run that passes a filter in W&B's language.

    Raises:
        FilterError: The filter cannot be used.
    """
    from wbsync.query.asking import ask, build_question

    columns = ("entity", "project", "run_id")
    question = build_question("runs", None, filters, None, columns, None, "mongo")
    passing = set(ask(engine, question).fetchall())
    return lambda target: target.kind == "run" and target.key[1:] in passing
