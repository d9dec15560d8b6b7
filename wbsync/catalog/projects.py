"""A schema for each project, made for people: `runs` with typed columns, `history` wide.

They are views, so they cost no room, and one of them is written anew only when its project's keys
call for other columns. Names are given once and recorded: `Loss` beside `loss` becomes another
column, and neither changes places with the other later. A key that holds numbers in some runs and
texts in others has a column for each, so that a column of numbers stays one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from wbsync.catalog.ddl import create_schema, drop_schema
from wbsync.catalog.wide import HISTORY_COLUMNS, KeyColumn, history_view, runs_view
from wbsync.catalog.writing import run, run_together

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from wbsync.catalog.record import Project
    from wbsync.catalog.writing import Connection

MAX_KEYS = {"config": 200, "summary": 200, "history": 100}
"""Keys of each part that get a column; the most frequent ones do."""

VIEWS = {"runs": ("config", "summary"), "history": ("history",)}
"""View of a project to the parts whose keys are its columns."""


def write_projects(connection: Connection, touched: Collection[Project]) -> None:
    """Brings the schemas of projects up to date.

    Args:
        connection: The file.
        touched: Projects whose keys have changed; those that are new are found here.
    """
    live = connection.execute(
        "SELECT entity, project FROM main.projects ORDER BY created_at, entity, project"
    ).fetchall()
    recorded = connection.execute(
        "SELECT entity, project, schema_name, runs_shape FROM _wbsync.schemas"
    ).fetchall()
    named = {(entity, project): name for entity, project, name, _ in recorded}
    written = {(entity, project) for entity, project, _, shape in recorded if shape}
    for project in named.keys() - set(live):
        run(connection, drop_schema(named.pop(project)))
        connection.execute("DELETE FROM _wbsync.schemas WHERE entity = ? AND project = ?", project)
    taken = {name.casefold() for name in named.values()}
    for project in live:
        if project not in named:
            named[project] = name = schema_name(project, taken)
            taken.add(name.casefold())
            connection.execute(
                "INSERT INTO _wbsync.schemas VALUES (?, ?, ?, '', '')", [*project, name]
            )
        if project in touched or project not in written:
            _write_project(connection, project, named[project])


def schema_name(project: Project, taken: Collection[str]) -> str:
    """Returns the name of a project's schema: readable, and no other's ignoring case.

    The two underscores keep it apart from `main`, from the file's own name and from DuckDB's.

    >>> schema_name(("My-Team", "LLM finetune (v2)"), [])
    'my_team__llm_finetune_v2'
    >>> schema_name(("my_team", "llm-finetune-v2"), ["my_team__llm_finetune_v2"])
    'my_team__llm_finetune_v2_2'
    """
    name = "__".join(map(_snake, project))
    return _unique(f"p_{name}" if name[0].isdigit() else name, taken)


def _snake(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "x"


def _unique(name: str, taken: Collection[str]) -> str:
    """Returns a name that is not among `taken`, which are casefolded."""
    number, found = 1, name
    while found.casefold() in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def _write_project(connection: Connection, project: Project, schema: str) -> None:
    run(connection, create_schema(schema))
    held = connection.execute(
        "SELECT runs_shape, history_shape FROM _wbsync.schemas WHERE entity = ? AND project = ?",
        project,
    ).fetchall()[0]
    shapes = []
    for (view, parts), shape in zip(VIEWS.items(), held, strict=True):
        columns = _columns(connection, project, parts)
        shapes.append(_shape(columns))
        if shapes[-1] != shape:
            statements = runs_view if view == "runs" else history_view
            run_together(connection, statements(project, schema, columns))
    connection.execute(
        "UPDATE _wbsync.schemas SET runs_shape = ?, history_shape = ?"
        " WHERE entity = ? AND project = ?",
        [*shapes, *project],
    )


def _shape(columns: Iterable[KeyColumn]) -> str:
    """Returns a short hash of a view's columns, whatever their order."""
    text = repr(sorted((c.part, c.key, c.kind, c.name) for c in columns))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _columns(connection: Connection, project: Project, parts: tuple[str, ...]) -> list[KeyColumn]:
    """Returns the columns for a project's most frequent keys, giving names to those without."""
    rows = connection.execute(
        "SELECT part, key, kind, column_name FROM _wbsync.columns"
        " WHERE entity = ? AND project = ? AND part IN (SELECT unnest(?::VARCHAR[]))",
        [*project, list(parts)],
    ).fetchall()
    names = {(part, key, kind): name for part, key, kind, name in rows}
    taken = {name.casefold() for name in (*names.values(), *HISTORY_COLUMNS)}
    found, new = [], []
    for part in parts:
        keys = connection.execute(
            "SELECT key, numbers, booleans, texts FROM _wbsync.keys"
            " WHERE entity = ? AND project = ? AND part = ?"
            " AND numbers + booleans + texts > 0 AND NOT contains(key, chr(0))"
            " ORDER BY runs DESC, key LIMIT ?",
            [*project, part, MAX_KEYS[part]],
        ).fetchall()
        for key, numbers, booleans, texts in keys:
            kinds = ["number"] if numbers else ["boolean"] if booleans else []
            kinds += ["text"] if texts else []
            for kind in kinds:
                # A key that is first boolean and then number keeps its column.
                given = (part, key, "text" if kind == "text" else "value")
                if given not in names:
                    plain = (key or "_") if part == "history" else f"{part}.{key}"
                    is_second = any((part, key, other) in names for other in ("text", "value"))
                    names[given] = _unique(f"{plain}_{kind}" if is_second else plain, taken)
                    taken.add(names[given].casefold())
                    new.append((*given, names[given]))
                found.append(KeyColumn(part, key, kind, names[given]))
    if new:
        connection.execute(
            "INSERT INTO _wbsync.columns SELECT ?, ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]),"
            " unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
            [*project, *map(list, zip(*new, strict=True))],
        )
    return found
