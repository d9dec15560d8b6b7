"""What the queue makes of what the warehouse holds: the rows that lie over the published tables.

Waiting operations are merged with what the warehouse holds exactly as a push would merge them with
what W&B holds: a tag that is to be added stands beside those that others have added meanwhile, and
an edit of what a sync has found changed since is not shown, as it would be a conflict.

What a push has applied is shown until a sync has read the thing again: it is what W&B was last seen
to hold.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from wbsync.catalog import publish_edits
from wbsync.catalog.overlay import OVERLAID, Pending, pending_schema
from wbsync.errors import EditError
from wbsync.extract.values import canonical_json, flatten, parse_json
from wbsync.tables import load_table
from wbsync.writeback.leaves import json_text, with_leaf
from wbsync.writeback.merge import Policy, merge
from wbsync.writeback.present import Present
from wbsync.writeback.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from wbsync.catalog.overlay import Read
    from wbsync.writeback.entries import Entry
    from wbsync.writeback.operations import Operation, Slot

Key = tuple[str, ...]

_log = logging.getLogger(__name__)
_NEVER = datetime.max.replace(tzinfo=UTC)

_RUNS = """
SELECT r.entity, r.project, r.run_id, r.storage_id, r.created_at, r.synced_at, r.state, r.sweep_id,
    r.tags, r.notes, r.display_name, r.group_name, r.job_type,
    CASE WHEN w.config THEN r.config END, CASE WHEN w.summary THEN r.summary END
FROM main.runs_all r JOIN (
    SELECT unnest(?::VARCHAR[]) AS entity, unnest(?::VARCHAR[]) AS project,
        unnest(?::VARCHAR[]) AS run_id, unnest(?::BOOLEAN[]) AS config,
        unnest(?::BOOLEAN[]) AS summary
) w USING (entity, project, run_id)
WHERE r.deleted_at IS NULL
"""
_ARTIFACTS = """
SELECT artifact_id, entity, project, collection, version_index, synced_at, description, metadata,
    tags, created_at
FROM main.artifacts_all
WHERE artifact_id IN (SELECT unnest(?::VARCHAR[])) AND deleted_at IS NULL
"""
_ALIASES = """
SELECT entity, project, collection, alias, artifact_id, synced_at FROM main.artifact_aliases_all
WHERE collection IN (SELECT unnest(?::VARCHAR[]))
"""
_COLLECTIONS = """
SELECT c.entity, c.project, c.type_name, c.collection, c.collection_id, c.synced_at, c.description,
    c.tags, c.created_at
FROM main.artifact_collections_all c
WHERE c.collection_id IN (SELECT unnest(?::VARCHAR[])) AND c.deleted_at IS NULL
"""
_COLUMN_OF = {"group": "group_name"}
"""Field to the column that holds it, where the names differ."""


def show(root: Path) -> None:
    """Has the published tables show the queue as it is now.

    The queue is safe whatever happens here: where the file cannot be made, the next publication
    shows it.
    """
    try:
        publish_edits(root, QueueOverlay(root))
    except Exception as error:  # noqa: BLE001
        # Whoever saw it would take what is in the queue for lost, and make it once more.
        _log.warning("the published tables do not show all edits yet: %s", error)


class QueueOverlay:
    """The queue of a warehouse, as what lies over its published tables."""

    def __init__(self, root: Path) -> None:
        """Takes the folder of the warehouse; nothing is opened."""
        self._root = root

    def version(self) -> str:
        """Returns what changes whenever the queue does; empty while nothing was ever queued."""
        queue = Queue.held_by(self._root)
        if queue is None:
            return ""
        with queue:
            return queue.version()

    def since(self, version: str) -> str:
        """Returns a version after which alone one need look; empty where all must be looked at."""
        mine, theirs = self.version().partition(":"), version.partition(":")
        is_earlier = mine[0] == theirs[0] and 0 < _line(version) <= _line(self.version())
        return version if is_earlier else ""

    def log(self, since: str) -> pa.Table:
        """Returns the rows of the table edits, those that have changed since a version."""
        return self._rows("edits", lambda queue: queue.rows(_line(since)))

    def trail(self, since: str) -> pa.Table:
        """Returns the rows of the table edit_log, those that have come since a version."""
        return self._rows("edit_log", lambda queue: queue.trail(_line(since)))

    def _rows(self, name: str, ask: Callable[[Queue], list[tuple[Any, ...]]]) -> pa.Table:
        """Returns rows of a table that the queue has, where there is one."""
        import pyarrow as pa

        schema = load_table(name).arrow()
        queue = Queue.held_by(self._root)
        if queue is None:
            return schema.empty_table()
        with queue:
            rows = ask(queue)
        columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
        arrays = []
        for column, values in zip(schema, columns, strict=True):
            is_instant = pa.types.is_timestamp(column.type)
            read = [datetime.fromisoformat(v) for v in values] if is_instant else list(values)
            arrays.append(pa.array(read, column.type))
        return pa.Table.from_arrays(arrays, schema=schema)

    def pending(self, read: Read, since: str) -> Pending:
        """Returns the pending rows, of what has changed since a version; see the module."""
        scopes: dict[str, pa.Table | None] = dict.fromkeys(OVERLAID)
        queue = Queue.held_by(self._root)
        if queue is None:
            return Pending({}, scopes)
        with queue:
            line = _line(since)
            applied, waiting = queue.in_force(line)
            if line:
                scopes = _scopes(queue.changed_since(line))
        rows = _Rows()
        by_kind: dict[str, tuple[list[Entry], list[Entry]]] = {}
        for index, entries in enumerate((applied, waiting)):
            for entry in entries:
                by_kind.setdefault(entry.target.kind, ([], []))[index].append(entry)
        for kind, (done, open_) in by_kind.items():
            lay = {"run": _lay_runs, "artifact": _lay_artifacts}.get(kind, _lay_collections)
            lay(read, done, open_, rows)
        if rows.read:
            with Queue(self._root) as queue:
                queue.note_read(rows.read)
        return Pending(rows.tables(), scopes)


def _line(version: str) -> int:
    return int(version.rpartition(":")[2] or 0)


def _scopes(changed: Sequence[tuple[str, str, str, str]]) -> dict[str, pa.Table | None]:
    """Returns the tables whose pending rows are worked out anew, and for which things."""
    import pyarrow as pa

    scopes: dict[str, pa.Table | None] = {}
    kinds = {kind for kind, *_ in changed}
    if "artifact" in kinds:
        scopes |= {"artifacts": None, "artifact_aliases": None}
    for kind, name, tables in (
        ("run", "run_id", ("runs", "run_config", "run_summary", "run_tags")),
        ("artifact_collection", "collection", ("artifact_collections",)),
    ):
        if kind in kinds:
            keys = [place for of, *place in changed if of == kind]
            columns = [pa.array(list(column)) for column in zip(*keys, strict=True)]
            scope = pa.table(dict(zip(("entity", "project", name), columns, strict=True)))
            scopes |= dict.fromkeys(tables, scope)
    return scopes


class _Rows:
    """Pending rows, table by table."""

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self.read: set[int] = set()
        """Applied operations that rows are later than, which say what became of them."""

    def add(self, table: str, **row: Any) -> None:
        self._rows.setdefault(table, []).append(row)

    def tables(self) -> dict[str, pa.Table]:
        import pyarrow as pa

        return {
            name: pa.Table.from_pylist(rows, schema=pending_schema(name))
            for name, rows in self._rows.items()
        }


def _lay_runs(read: Read, applied: Sequence[Entry], waiting: Sequence[Entry], rows: _Rows) -> None:
    wanted: dict[Key, set[str]] = {}
    for entry in (*applied, *waiting):
        wanted.setdefault(entry.target.key, set()).add(entry.operation.field)
    if not wanted:
        return
    targets = {entry.target.key: entry.target for entry in (*applied, *waiting)}
    columns: Sequence[Sequence[Any]] = list(zip(*(key[1:] for key in wanted), strict=True))
    asked = [*map(list, columns), ["config" in f for f in wanted.values()],
             ["summary" in f for f in wanted.values()]]  # fmt: skip
    held: dict[Key, _Held] = {}
    for row in read(_RUNS, asked):
        key = ("run", *row[:3])
        held[key] = _Held(
            targets[key], None, row[3] or "", _written(row[4]), None, row[6], row[7] is not None,
            "Run",
            {"tags": parse_json(row[8]) or [], "notes": row[9], "display_name": row[10],
             "group": row[11], "job_type": row[12], "state": row[6], "stop": False},
            synced_at=row[5].replace(tzinfo=UTC),
            documents={"config": _parsed(row[13]), "summary": _parsed(row[14])},
        )  # fmt: skip
    tags = {key: thing.values["tags"] for key, thing in held.items()}
    documents = {key: dict(thing.documents) for key, thing in held.items()}
    for key, (values, leaves) in _after(held, applied, waiting, rows).items():
        place = dict(zip(("entity", "project", "run_id"), key[1:], strict=True))
        at = {**place, "synced_at": held[key].synced_at}
        row_of: dict[str, Any] = {}
        for name, value in values.items():
            if name == "tags":
                row_of["tags"] = canonical_json(value)
                _replace_rows(rows, "run_tags", at, "tag", tags[key], value)
            elif name != "stop":
                row_of[_COLUMN_OF.get(name, name)] = value or ""
        for name, now in leaves.items():
            row_of[name] = canonical_json(now)
            _replace_leaves(rows, f"run_{name}", at, documents[key][name], now)
        if row_of:
            rows.add("runs", **place, **row_of)


def _written(at: datetime | None) -> str | None:
    """Returns an instant as W&B writes it."""
    return None if at is None else at.replace(tzinfo=UTC).isoformat()


@dataclass(slots=True)
class _Held(Present):
    """What the warehouse holds of a thing, in the place of what W&B does."""

    synced_at: datetime = _NEVER
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """JSON field to what it holds."""

    def leaves(self, name: str) -> dict[str, Any]:
        return self.documents.get(name, {})


Changes = tuple[dict[str, Any], dict[str, dict[str, Any]]]
"""Fields, and JSON fields, to what they will hold."""


def _after(
    held: dict[Key, _Held], applied: Iterable[Entry], waiting: Iterable[Entry], rows: _Rows
) -> dict[Key, Changes]:
    """Returns what things will hold, where edits change it.

    What was applied is written into `held`; it is what the waiting operations meet.
    """
    changed: dict[Key, Changes] = {}
    for entry in applied:
        operation = entry.operation
        thing = held.get(entry.target.key)
        if thing is None or thing.problem_of(entry.target):
            continue
        if thing.synced_at >= entry.changed_at:
            rows.read.add(entry.op_id)
            continue
        values, documents = changed.setdefault(entry.target.key, ({}, {}))
        name = operation.field
        if operation.form != "leaf":
            thing.values[name] = values[name] = entry.after
            continue
        try:
            now = with_leaf(thing.documents[name], operation.path, entry.after)
        except EditError:
            continue  # what is held has other groups, and is not what W&B held
        thing.documents[name] = documents[name] = now
    open_ = [entry for entry in waiting if entry.target.key in held]
    merged = merge(open_, cast("dict[Any, Present]", held), Policy(force=True), writes=False)
    for key, new_values in merged.values.items():
        changed.setdefault(key, ({}, {}))[0].update(new_values)
    for (key, name), leaves in merged.leaves.items():
        changed.setdefault(key, ({}, {}))[1][name] = leaves
    return changed


def _parsed(text: str | None) -> dict[str, Any]:
    value = parse_json(text or "{}")
    return value if isinstance(value, dict) else {}


def _replace_rows(
    rows: _Rows, table: str, at: Mapping[str, Any], column: str, was: Sequence[str],
    now: Sequence[str],
) -> None:  # fmt: skip
    """Puts rows of texts in the place of others."""
    for value in dict.fromkeys(was):
        if value not in now:
            rows.add(table, **at, **{column: value}, is_gone=True)
    for value in dict.fromkeys(now):
        if value not in was:
            rows.add(table, **at, **{column: value}, is_gone=False)


def _replace_leaves(
    rows: _Rows, table: str, at: Mapping[str, Any], was: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Puts leaves in the place of others.

    Only keys of the first level that differ are taken apart, with those that begin alike up to the
    first dot: literal keys with dots meet nested ones there.
    """
    changed = {key for key, value in now.items() if was.get(key, rows) is not value}
    heads = {key.partition(".")[0] for key in changed | (was.keys() - now.keys())}

    def concerned(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: value
            for key, value in values.items()
            if key in heads or ("." in key and key.partition(".")[0] in heads)
        }

    old, new = flatten(concerned(was)), flatten(concerned(now))
    for key in old.keys() - new.keys():
        rows.add(table, **at, key=key, is_gone=True)
    for key, (value, text) in new.items():
        if key not in old or repr(old[key]) != repr((value, text)):
            rows.add(table, **at, key=key, value=value, json=text, is_gone=False)


def _lay_artifacts(
    read: Read, applied: Sequence[Entry], waiting: Sequence[Entry], rows: _Rows
) -> None:
    entries = (*applied, *waiting)
    ids = [entry.target.storage_id for entry in entries]
    ids += [e.after for e in applied if e.operation.form == "holder" and e.after]
    found = {row[0]: row for row in read(_ARTIFACTS, [ids])}
    holders: dict[tuple[str, str], dict[tuple[str, str], str | None]] = {}
    seen: dict[Slot, datetime] = {}
    for entity, project, collection, alias, holder, at in read(
        _ALIASES, [[entry.target.collection for entry in entries]]
    ):
        holders.setdefault((entity, project), {})[collection, alias] = holder
        seen[entity, project, collection, alias] = at.replace(tzinfo=UTC)
    held: dict[Key, _Held] = {}
    for entry in entries:
        key, row = entry.target.key, found.get(entry.target.storage_id)
        if row is None or key in held:
            continue
        held[key] = _Held(
            entry.target, None, row[0], _written(row[9]),
            (row[1], row[2], row[3], f"v{row[4]}"),
            values={"tags": parse_json(row[8]) or [], "description": row[6]},
            holders=holders.setdefault((entry.target.entity, entry.target.project), {}),
            synced_at=row[5].replace(tzinfo=UTC), documents={"metadata": _parsed(row[7])},
        )  # fmt: skip
    moved: dict[Slot, str | None] = {}
    for entry in applied:
        if entry.operation.form != "holder" or entry.target.key not in held:
            continue
        thing, place = held[entry.target.key], _place_of(entry.operation)
        seen_at = max(thing.synced_at, seen.get(place, thing.synced_at))
        if seen_at >= entry.changed_at:
            rows.read.add(entry.op_id)
        elif thing.value_of(entry.operation) != entry.after:
            moved[place] = thing.holders[place[2], place[3]] = entry.after
    applied = [entry for entry in applied if entry.operation.form != "holder"]
    for key, (values, documents) in _after(held, applied, waiting, rows).items():
        changes = _described(values)
        if "metadata" in documents:
            changes["metadata"] = json_text(documents["metadata"])
        if changes:
            rows.add("artifacts", artifact_id=held[key].storage_id, **changes)
    open_ = [e for e in waiting if e.operation.form == "holder" and e.target.key in held]
    merged = merge(open_, cast("dict[Any, Present]", held), Policy(force=True), writes=False)
    for operation, _ in merged.holders.values():
        is_added = operation.action == "add"
        moved[_place_of(operation)] = operation.target.storage_id if is_added else None
    for (entity, project, collection, alias), holder in moved.items():
        at = {"entity": entity, "project": project, "collection": collection, "alias": alias}
        if holder is None:
            rows.add("artifact_aliases", **at, is_gone=True)
        elif holder in found:
            row = found[holder]
            rows.add(
                "artifact_aliases", **at, artifact_id=holder, version_index=row[4],
                synced_at=row[5].replace(tzinfo=UTC), is_gone=False,
            )  # fmt: skip


def _place_of(operation: Operation) -> Slot:
    """Returns the key of an alias in its table."""
    target = operation.target
    return (target.entity, target.project, target.collection, operation.path[0])


def _described(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns tags and description as the tables hold them."""
    changes: dict[str, Any] = {}
    if "tags" in values:
        changes["tags"] = canonical_json(sorted(values["tags"]))
    if "description" in values:
        changes["description"] = values["description"] or ""
    return changes


def _lay_collections(
    read: Read, applied: Sequence[Entry], waiting: Sequence[Entry], rows: _Rows
) -> None:
    entries = (*applied, *waiting)
    found = {row[4]: row for row in read(_COLLECTIONS, [[e.target.storage_id for e in entries]])}
    held: dict[Key, _Held] = {}
    for entry in entries:
        row = found.get(entry.target.storage_id)
        if row is not None:
            held[entry.target.key] = _Held(
                entry.target, None, row[4], _written(row[8]),
                values={"tags": parse_json(row[7]) or [], "description": row[6]},
                synced_at=row[5].replace(tzinfo=UTC),
            )  # fmt: skip
    names = ("entity", "project", "type_name", "collection")
    for key, (values, _) in _after(held, applied, waiting, rows).items():
        changes = _described(values)
        if changes:
            row = found[held[key].storage_id]
            rows.add("artifact_collections", **dict(zip(names, row[:4], strict=True)), **changes)
