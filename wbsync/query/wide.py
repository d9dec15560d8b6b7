"""The query that shows history wide: a column for each of some keys."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wbsync.model import ProjectPath
    from wbsync.query.engine import Engine

_KEYS = """
SELECT key, numbers, texts FROM _wbsync.keys
WHERE entity = ? AND project = ? AND part = 'history' AND numbers + booleans + texts > 0
"""

BY = ("run_id", "step", "row")
"""What one row is."""


def wide_history(
    project: ProjectPath,
    keys: Sequence[str],
    runs: Sequence[str] | None,
    texts: Collection[str] = (),
) -> tuple[str, list[Any], list[str]]:
    """Returns the query, its parameters, and the names of its columns.

    Args:
        project: Whose history.
        keys: Keys, in the order of the columns.
        runs: Run ids; None takes all.
        texts: Those of the keys that hold no numbers: their columns are texts.
    """

    def column(name: str) -> exp.Column:
        return exp.column(name, quoted=True)

    def one_of(name: str, values: Sequence[str]) -> exp.Condition:
        return column(name).isin(*(exp.Placeholder() for _ in values)) if values else exp.false()

    def value(key: str) -> exp.Expression:
        held = column("json" if key in texts else "value")
        found = exp.Max(this=exp.case().when(column("key").eq(exp.Placeholder()), held))
        if key not in texts:
            return found
        root = exp.Literal.string("$")
        return exp.Anonymous(this="json_extract_string", expressions=[found, root])

    by = [column(name) for name in BY]
    query = exp.select(*by, *map(value, keys)).from_("history")
    for name in ("entity", "project"):
        query = query.where(column(name).eq(exp.Placeholder()))
    query = query.where(one_of("key", keys))
    if runs is not None:
        query = query.where(one_of("run_id", runs))
    query = query.group_by(*by).order_by(*by)
    parameters = [*keys, project.entity, project.project, *keys, *(runs or ())]
    return query.sql("duckdb"), parameters, [*BY, *keys]


def texts_among(engine: Engine, project: ProjectPath, keys: Sequence[str]) -> set[str]:
    """Returns those keys of a project that hold texts, media or lists in all its runs.

    Raises:
        QueryError: No run of the project has such a key.
    """
    rows = engine.run_trusted(_KEYS, [project.entity, project.project]).fetchall()
    if not rows:
        raise QueryError(f"no history of {project} is held; `wbsync sync {project}` brings it")
    known = {str(key): bool(texts and not numbers) for key, numbers, texts in rows}
    for key in keys:
        if key not in known:
            below = sorted(name for name in known if name.startswith(f"{key}."))
            near = below or difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "the table history_keys has all"
            raise QueryError(f"no run of {project} has logged {key!r}; {hint}")
    return {key for key in keys if known[key]}
