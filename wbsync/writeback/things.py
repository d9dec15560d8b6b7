"""The things that an edit is about, with what the warehouse shows of the fields that it changes.

They are read as columns, and of JSON only the keys that are named: an edit may be about every run
there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from wbsync.errors import EditError, QueryError
from wbsync.extract.values import parse_json
from wbsync.writeback.assignments import KIND_OF
from wbsync.writeback.operations import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wbsync.query import Engine
    from wbsync.writeback.assignments import Assignment

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Spec:
    """Where the fields of a kind of thing stand."""

    table: str
    storage_id: str
    columns: Mapping[str, str]
    """Field to column."""
    documents: tuple[str, ...] = ()
    """Fields that are JSON, in columns of the same names."""


SPECS = {
    "runs": Spec(
        "runs", "storage_id",
        {"tags": "tags", "notes": "notes", "display_name": "display_name", "group": "group_name",
         "job_type": "job_type", "state": "state", "stop": "state"},
        ("config", "summary"),
    ),
    "artifacts": Spec(
        "artifacts", "artifact_id", {"tags": "tags", "description": "description"}, ("metadata",)
    ),
    "collections": Spec(
        "artifact_collections", "collection_id", {"tags": "tags", "description": "description"}
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Needs:
    """What is to be read of things."""

    fields: tuple[str, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """JSON field to the keys of its first level that are read."""

    @classmethod
    def of(cls, assignments: Iterable[Assignment]) -> Needs:
        """Returns what assignments need: of JSON the keys that their names may begin with."""
        fields: dict[str, None] = {}
        keys: dict[str, dict[str, None]] = {}
        for assignment in assignments:
            if assignment.name is None:
                fields[assignment.field] = None
                continue
            parts = assignment.name.split(".")
            heads = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
            keys.setdefault(assignment.field, {}).update(dict.fromkeys(heads))
        return cls(tuple(fields), {name: tuple(found) for name, found in keys.items()})


@dataclass(slots=True)
class Things:
    """Things of one kind, column by column."""

    kind: str
    """runs, artifacts or collections."""
    entities: list[str]
    projects: list[str]
    names: list[str]
    storage_ids: list[str | None]
    created_us: list[int | None]
    held: dict[str, list[Any]]
    """Field to what each thing holds: a text, or of JSON the texts of `keys`."""
    keys: Mapping[str, tuple[str, ...]]
    aliases: dict[tuple[str, str, str, str], str] = field(default_factory=dict)
    """Entity, project, collection and alias to the id of the version that has it."""
    extra: dict[str, list[Any]] = field(default_factory=dict)
    """Further columns that were asked for."""

    def __len__(self) -> int:
        return len(self.names)

    def target(self, index: int) -> Target:
        """Returns a thing as what an operation changes."""
        micros = self.created_us[index]
        created = None if micros is None else (_EPOCH + timedelta(microseconds=micros)).isoformat()
        return Target(
            KIND_OF[self.kind], self.entities[index], self.projects[index], self.names[index],
            self.storage_ids[index], created,
        )  # fmt: skip

    def value(self, name: str, raw: Any) -> Any:
        """Returns the value of a field from what `held` has of it."""
        if name in self.keys:
            found = zip(self.keys[name], raw or (), strict=False)
            return {key: parse_json(text) for key, text in found if text is not None}
        return parse_json(raw) or [] if name == "tags" else raw


def read_things(
    engine: Engine,
    kind: str,
    source: exp.Select,
    needs: Needs,
    *,
    extra: Sequence[exp.Expr] = (),
    parameters: Any = None,
    is_trusted: bool = True,
) -> Things:
    """Returns things, with what is needed of them.

    Args:
        engine: The warehouse.
        kind: runs, artifacts or collections.
        source: Query for the rows of the kind's table that are meant, all columns.
        needs: What to read.
        extra: Further columns, with aliases.
        parameters: Of the source.
        is_trusted: Whether the query is wbsync's own; SQL of others is admitted as all is.

    Raises:
        EditError: Some of them may only be read.
    """
    spec = SPECS[kind]
    column = exp.column
    if kind == "runs":
        name: exp.Expr = column("run_id")
    elif kind == "artifacts":
        colon = exp.DPipe(this=column("collection"), expression=exp.Literal.string(":"))
        name = exp.DPipe(this=colon, expression=column("version"))
    else:
        name = column("collection")
    columns = [
        column("entity"), column("project"), name, column(spec.storage_id),
        exp.Anonymous(this="epoch_us", expressions=[column("created_at")]),
        *(column(spec.columns[f]) for f in needs.fields if f in spec.columns),
        *(_keys_of(document, needs.keys[document]) for document in needs.keys),
    ]  # fmt: skip
    named = [exp.alias_(c, f"_{i}", quoted=True) for i, c in enumerate(columns)]
    query = exp.select(*named, *extra).from_(source.subquery(spec.table, copy=False))
    text = query.sql("duckdb")
    result = engine.run_trusted(text, parameters) if is_trusted else engine.sql(text)
    read = [c.to_pylist() for c in result.arrow().columns]
    fields = [f for f in needs.fields if f in spec.columns] + list(needs.keys)
    held = dict(zip(fields, read[5 : 5 + len(fields)], strict=True))
    more = dict(zip((e.alias for e in extra), read[5 + len(fields) :], strict=True))
    entities, projects, names, storage_ids, created_us = read[:5]
    things = Things(
        kind, entities, projects, names, storage_ids, created_us, held, needs.keys, extra=more
    )
    check_writable(engine, zip(things.entities, things.projects, strict=True))
    if "aliases" in needs.fields:
        things.aliases = _aliases(engine)
    return things


def _keys_of(document: str, keys: Sequence[str]) -> exp.Expr:
    """Returns the expression for some keys of a JSON column, as a list of texts."""
    pointers = ["/" + key.replace("~", "~0").replace("/", "~1") for key in keys]
    paths = exp.Array(expressions=[exp.Literal.string(p) for p in pointers])
    found = exp.Anonymous(this="json_extract", expressions=[exp.column(document), paths])
    return exp.cast(found, "VARCHAR[]")


def check_writable(engine: Engine, places: Iterable[tuple[str, str]]) -> None:
    """Checks that the key may write where things are, by what W&B said at the last sync.

    Args:
        engine: The warehouse.
        places: Entities and projects.

    Raises:
        EditError: It may not.
    """
    columns = [list(column) for column in zip(*sorted(set(places)), strict=True)] or [[], []]
    try:
        rows = engine.run_trusted(
            "WITH wanted AS"
            " (SELECT unnest(?::VARCHAR[]) AS entity, unnest(?::VARCHAR[]) AS project)"
            " SELECT entity FROM entities SEMI JOIN wanted USING (entity) WHERE is_read_only"
            " UNION ALL SELECT entity || '/' || project"
            " FROM projects SEMI JOIN wanted USING (entity, project) WHERE is_read_only ORDER BY 1",
            columns,
        ).fetchall()
    except QueryError:
        return  # a file that an older wbsync published does not tell; the push will
    if rows:
        raise EditError(f"{rows[0][0]}: this key may only read there, as W&B said at the last sync")


def _aliases(engine: Engine) -> dict[tuple[str, str, str, str], str]:
    rows = engine.run_trusted(
        "SELECT entity, project, collection, alias, artifact_id FROM artifact_aliases"
    ).fetchall()
    return {row[:4]: row[4] for row in rows}


def find_filtered(
    kind: str, path: str, filters: str | Mapping[str, Any] | None, meaning: Any = "mongo"
) -> exp.Select:
    """Returns the query for the things of a project that pass a filter.

    Raises:
        FilterError: The filter cannot be used.
        ConfigError: The path is none.
    """
    from wbsync.model import ProjectPath
    from wbsync.query.asking import build_question
    from wbsync.query.filters import build_select

    ProjectPath.parse(path)
    return build_select(build_question(kind, path, filters, None, None, None, meaning))


def find_named(
    engine: Engine, kind: str, places: Sequence[tuple[str, str, str]]
) -> tuple[exp.Select, list[list[str]]]:
    """Returns the query for named things, and its parameters.

    Args:
        engine: The warehouse.
        kind: runs, artifacts or collections.
        places: Entity, project and run id, `collection:v3` (or `collection:alias`), or collection.

    Raises:
        EditError: The warehouse does not hold one of them, or it is named twice.
    """
    seen: set[tuple[str, str, str]] = set()
    for place in places:
        if place in seen:
            raise EditError(f"{'/'.join(place)} is named twice")
        seen.add(place)
    parameters = [list(column) for column in zip(*places, strict=True)]
    wanted = (
        "SELECT unnest(?::VARCHAR[]) AS entity, unnest(?::VARCHAR[]) AS project,"
        " unnest(?::VARCHAR[]) AS name"
    )
    found = engine.run_trusted(_NAMED[kind].replace("$WANTED", wanted), parameters).fetchall()
    known = {row[:3]: row[3] for row in found}
    unknown = [place for place in places if place not in known]
    if unknown:
        shown = ", ".join("/".join(place) for place in unknown[:MAX_NAMED])
        more = f" and {len(unknown) - MAX_NAMED:,} more" if len(unknown) > MAX_NAMED else ""
        raise EditError(
            f"the warehouse holds no {shown}{more}; `wbsync sync {unknown[0][0]}/{unknown[0][1]}`"
            " brings what is new"
        )
    if kind == "runs":
        key = ("entity", "project", "run_id")
        rows = exp.select(*(exp.alias_(_unnested(), n) for n in key)).subquery("wanted")
        held = exp.select(exp.column(exp.Star(), "held")).from_("runs AS held")
        return held.join(rows, using=[*key], join_type="semi"), parameters
    ids = sorted(known.values())
    if len(set(ids)) < len(ids):
        raise EditError("two of the names mean the same version; name it once")
    spec = SPECS[kind]
    chosen = exp.column(spec.storage_id).isin(query=exp.select(_unnested()))
    return exp.select("*").from_(spec.table).where(chosen), [ids]


def _unnested() -> exp.Expr:
    """Returns the rows of a parameter that is a list of texts."""
    listed = exp.cast(exp.Placeholder(), "VARCHAR[]")
    return exp.Anonymous(this="unnest", expressions=[listed])


_NAMED = {
    "runs": "SELECT w.entity, w.project, w.name, r.run_id FROM ($WANTED) w JOIN runs r"
    " ON r.entity = w.entity AND r.project = w.project AND r.run_id = w.name",
    "artifacts": "WITH w AS ($WANTED) SELECT w.entity, w.project, w.name, a.artifact_id FROM w"
    " JOIN artifacts a ON a.entity = w.entity AND a.project = w.project"
    " AND a.collection || ':' || a.version = w.name"
    " UNION SELECT w.entity, w.project, w.name, a.artifact_id FROM w JOIN artifact_aliases a"
    " ON a.entity = w.entity AND a.project = w.project AND a.collection || ':' || a.alias = w.name",
    "collections": "SELECT w.entity, w.project, w.name, c.collection_id FROM ($WANTED) w"
    " JOIN artifact_collections c ON c.entity = w.entity AND c.project = w.project"
    " AND c.collection = w.name",
}
