"""Says why an answer is empty: a project or a metric that nothing held is called."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from wbsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wbsync.query.engine import Engine
    from wbsync.query.filters import Kind


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


def nearest_metric(engine: Engine, metric: str) -> str | None:
    """Returns what a metric that no run has may have meant; None where a run has it."""
    rows = engine.run_trusted(
        "SELECT key FROM history_keys UNION SELECT key FROM run_summary"
    ).fetchall()
    known = [str(key) for (key,) in rows]
    if metric in known:
        return None
    below = sorted(key for key in known if key.startswith(f"{metric}."))
    return next(iter(below or difflib.get_close_matches(metric, known, 1)), "")
