"""A file as an edit: one run a row, from a spreadsheet or a data frame.

Columns say which run (run_id, with entity and project; or path, `entity/project/run_id`) and what
it is to hold. An empty cell leaves things as they are, as do NULL and a key that is not there. In
CSV, a cell of a leaf is JSON where it is JSON, else text; a text that is held already is left, so
that "007" does not become 7 by passing through a spreadsheet.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

from wbsync.errors import EditError
from wbsync.model import ProjectPath
from wbsync.writeback.assignments import SPELLINGS, Assignment, editable, parse_place, parse_value
from wbsync.writeback.leaves import leaf_at, resolve_path
from wbsync.writeback.plan import plan_each
from wbsync.writeback.things import Needs, find_named, read_things

if TYPE_CHECKING:
    from pathlib import Path

    from wbsync.query import Engine
    from wbsync.writeback.plan import Plan
    from wbsync.writeback.things import Things

KEYS = ("entity", "project", "run_id", "path")
TAG_COLUMNS = {"add_tags": ("tags", "add"), "remove_tags": ("tags", "remove")}
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
           ".parquet": "parquet"}  # fmt: skip


def plan_import(engine: Engine, file: Path, project: str | None = None) -> Plan:
    """Works out what a file does.

    Args:
        engine: The warehouse.
        file: CSV, TSV, JSON lines or Parquet, told by its ending.
        project: `ENTITY/PROJECT` of runs whose row does not name it.

    Raises:
        EditError: The file cannot be read, has a column that means nothing, names a run that the
            warehouse does not hold, or sets what W&B would not take.
        ConfigError: The project is none.
    """
    names, rows, is_text = _read(file)
    if not rows and not names:
        raise EditError(f"{file} is empty")
    places = {name: _place(name) for name in names if name not in KEYS}
    if not places:
        raise EditError(f"{file}: no column sets anything; there may be {_columns()}")
    default = None if project is None else ProjectPath.parse(project)
    keys = [_key(row, default, f"{file}, row {number}") for number, row in enumerate(rows, 1)]
    if not keys:
        raise EditError(f"{file} holds no rows")
    source, parameters = find_named(engine, "runs", keys)
    needs = Needs.of([Assignment(field, action, name=leaf) for field, action, leaf in
                      places.values()])  # fmt: skip
    things = read_things(engine, "runs", source, needs, parameters=parameters)
    row_of = dict(zip(keys, rows, strict=True))
    made = []
    for index in range(len(things)):
        key = (things.entities[index], things.projects[index], things.names[index])
        row = row_of[key]
        own: list[Assignment] = []
        for name, (field, action, leaf) in places.items():
            cell = row.get(name)
            if cell is None or cell == "":
                continue
            if leaf is not None:
                value = _leaf_value(things, index, field, leaf, cell) if is_text else cell
                own.append(Assignment(field, action, value, leaf))
            elif field == "tags":
                tags = _tags(cell, f"{'/'.join(key)}, column {name}")
                own += (
                    [Assignment("tags", "set", tags)]
                    if action == "set"
                    else [Assignment("tags", action, tag) for tag in tags]
                )
            else:
                own.append(Assignment(field, action, cell if is_text else _text(cell)))
        made.append(own)
    return plan_each(things, made)


def _read(file: Path) -> tuple[list[str], list[dict[str, Any]], bool]:
    """Returns the columns, the rows, and whether all cells are texts."""
    form = ENDINGS.get(file.suffix.lower())
    if form is None:
        raise EditError(f"{file}: its ending says no form; there are {', '.join(ENDINGS)}")
    try:
        if form == "parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(file)
            return list(table.column_names), table.to_pylist(), False
        with file.open(encoding="utf-8-sig", newline="") as lines:
            if form == "jsonl":
                return *_json_rows(lines.read()), False
            reader = csv.DictReader(lines, delimiter="\t" if form == "tsv" else ",", strict=True)
            rows = list(reader)
            names = [name.strip() for name in reader.fieldnames or ()]
    except (OSError, ValueError, csv.Error) as error:
        raise EditError(f"{file} cannot be read: {error}") from error
    if len(set(names)) < len(names):
        raise EditError(f"{file}: a column stands there twice")
    for number, row in enumerate(rows, 1):
        if None in row:
            raise EditError(f"{file}, row {number}: there are more cells than columns")
    return names, [dict(zip(names, row.values(), strict=True)) for row in rows], True


def _json_rows(text: str) -> tuple[list[str], list[dict[str, Any]]]:
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), 1):
            try:
                rows += [json.loads(line)] if line.strip() else []
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("each line must be an object")
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _place(name: str) -> tuple[str, str, str | None]:
    """Returns what a column sets: the field, how, and the leaf."""
    if name in TAG_COLUMNS:
        return (*TAG_COLUMNS[name], None)
    if name == "append_notes":
        return "notes", "append", None
    try:
        field, leaf = parse_place("runs", name)
    except EditError as error:
        near = _near(name)
        raise EditError(f"column {name}: {near or error}; there may be {_columns()}") from None
    if field in {"state", "stop"}:
        raise EditError(f"column {name}: a file does not set it; take the column out")
    return field, "set", leaf


def _near(name: str) -> str:
    import difflib

    known = [*KEYS, *TAG_COLUMNS, "append_notes", *SPELLINGS, *editable("runs")]
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"it sets nothing; did you mean {near[0]}?" if near else ""


def _columns() -> str:
    fields = [name for name in editable("runs") if name not in {"state", "stop"}]
    return ", ".join((*KEYS, *fields, *TAG_COLUMNS, "append_notes"))


def _key(
    row: dict[str, Any], default: ProjectPath | None, where: str
) -> tuple[str, str, str]:  # fmt: skip
    path = row.get("path")
    if path:
        parts = str(path).strip("/").split("/")
        if len(parts) == 4 and parts[2] == "runs":
            del parts[2]
        if len(parts) != 3 or not all(parts):
            raise EditError(f"{where}: {path} is not entity/project/run_id")
        return parts[0], parts[1], parts[2]
    run_id = row.get("run_id")
    entity = row.get("entity") or (default.entity if default else None)
    project = row.get("project") or (default.project if default else None)
    if not run_id:
        raise EditError(f"{where}: it names no run; give run_id, or path")
    if not entity or not project:
        raise EditError(f"{where}: it names no project; give entity and project, or --project")
    return str(entity), str(project), str(run_id)


def _leaf_value(things: Things, index: int, field: str, name: str, cell: str) -> Any:
    """Returns what a cell of text means for a leaf: what is held, where it says the same."""
    held = things.value(field, things.held[field][index])
    base = leaf_at(held, resolve_path(held, name))
    return base if base == cell else parse_value(cell)


def _tags(cell: Any, where: str) -> list[str]:
    """Returns tags: a list, a JSON array, or texts with commas between."""
    if isinstance(cell, str):
        if cell.lstrip().startswith("["):
            try:
                cell = json.loads(cell)
            except ValueError as error:
                raise EditError(f"{where}: {cell} is no list of tags") from error
        else:
            cell = [tag.strip() for tag in cell.split(",") if tag.strip()]
    if not isinstance(cell, list):
        raise EditError(f"{where}: tags are a list of texts")
    return cell


def _text(cell: Any) -> Any:
    return cell if isinstance(cell, str) else str(cell)
