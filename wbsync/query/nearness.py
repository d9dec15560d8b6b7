"""Says why an answer is empty: a project or a metric that nothing held is called."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from wbsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wbsync.query.engine import Engine
    from wbsync.query.filters import Kind
    from wbsync.query.named import NamedQuery


def check_held(engine: Engine, kind: Kind, scope: Mapping[str, str]) -> None:
    """Checks that there is what a path names, be there nothing in it.

    Args:
        engine: Asks the warehouse.
        kind: What is asked for.
        scope: The columns that the path fixes, and their values.

    Raises:
        ConfigError: There is not; the message names the nearest that is.
    """
    path = "/".join(scope[column] for column in kind.scope if column in scope)
    if kind.scope == ("entity", "project"):
        check_project(engine, path)
    else:
        _check(path, engine.run_trusted("SELECT organization, registry FROM registries").fetchall())


def check_project(engine: Engine, path: str) -> None:
    """Checks that a project, or any of an entity, is held.

    Args:
        engine: Asks the warehouse.
        path: `ENTITY/PROJECT`, or `ENTITY`.

    Raises:
        ConfigError: It is not; the message names the nearest that is.
    """
    rows = engine.run_trusted(
        "SELECT entity, project FROM projects UNION SELECT entity, project FROM runs"
    ).fetchall()
    _check(path, rows)


def _check(path: str, rows: Sequence[tuple[str, ...]]) -> None:
    held = ["/".join(row) for row in rows]
    known = held if "/" in path else sorted({name.partition("/")[0] for name in held})
    if path not in known:
        near = difflib.get_close_matches(path, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`wbsync status` shows what is"
        raise ConfigError(f"{path!r} is not in this warehouse; {hint}")


def check_subjects(engine: Engine, query: NamedQuery, values: Mapping[str, Any]) -> None:
    """Checks that what the values of a named query name is held.

    Args:
        engine: Asks the warehouse.
        query: The query; its header says which parameters name what.
        values: Its parameters' values, bound.

    Raises:
        ConfigError: Something is not; the message names the nearest that is.
    """
    path = None
    for parameter in query.parameters:
        value = values.get(parameter.name)
        if value is not None and parameter.subject in {"project", "projects"}:
            if parameter.subject == "project" and "/" not in value:
                raise ConfigError(f"{parameter.name} is ENTITY/PROJECT here, not {value!r}")
            check_project(engine, value)
            path = value
    for parameter in query.parameters:
        value = values.get(parameter.name)
        if value and parameter.subject in _IDS:
            wanted = [value] if isinstance(value, str) else value
            _check_ids(engine, parameter.subject, path, wanted)


_IDS = {
    "run": """
        SELECT run_id FROM runs
        WHERE ($entity = '' OR entity = $entity) AND ($project = '' OR project = $project)
    """,
    "sweep": """
        SELECT sweep_id FROM (
            SELECT entity, project, sweep_id FROM sweeps
            UNION SELECT entity, project, sweep_id FROM runs
        )
        WHERE ($entity = '' OR entity = $entity) AND ($project = '' OR project = $project)
    """,
}
"""What a parameter names by an id, to the query for all there are."""


def _check_ids(engine: Engine, subject: str, path: str | None, wanted: Sequence[str]) -> None:
    entity, _, project = (path or "").partition("/")
    ids = engine.run_trusted(_IDS[subject], {"entity": entity, "project": project}).fetchall()
    known = {str(name) for (name,) in ids}
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"`wbsync {subject}s` lists them"
            place = path or "this warehouse"
            raise ConfigError(f"there is no {subject} {name!r} in {place}; {hint}")


_KEYS = {
    "config": "SELECT DISTINCT key FROM run_config",
    "summary": "SELECT DISTINCT key FROM run_summary",
    "history": "SELECT DISTINCT key FROM history_keys",
}
"""What a parameter names by a key, to the query for all there are."""


def key_hints(engine: Engine, query: NamedQuery, values: Mapping[str, Any]) -> list[str]:
    """Returns what there is to say of keys that no run has, for a query that found nothing.

    Args:
        engine: Asks the warehouse.
        query: The query; its header says which parameters name what.
        values: Its parameters' values.
    """
    hints = []
    for parameter in query.parameters:
        key = values.get(parameter.name)
        if not key or parameter.subject not in _KEYS:
            continue
        known = [str(k) for (k,) in engine.run_trusted(_KEYS[parameter.subject]).fetchall()]
        if key in known:
            continue
        below = sorted(k for k in known if k.startswith(f"{key}."))
        near = below or difflib.get_close_matches(key, known, 1)
        table = {"config": "run_config", "summary": "run_summary"}.get(
            parameter.subject, "history_keys"
        )
        hint = f"did you mean {near[0]!r}?" if near else f"the table {table} has all"
        hints.append(f"no run that is held has {key!r} in its {parameter.subject}; {hint}")
    return hints
