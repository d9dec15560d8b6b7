"""What may be filtered, ordered by and shown: a table of fields for each kind of thing.

The keys are W&B's spellings; beside them stand the warehouse's own column names, so that both may
be written. What lies in a JSON document is named by its path: `config.optimizer.lr`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from wbsync.errors import ConfigError, FilterSyntaxError, UnknownFieldError
from wbsync.model import REGISTRY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Column:
    """A column; NULL is a missing field."""

    column: str
    type: str = "text"
    """text, number, time, or list: a JSON array of texts."""
    via: str | None = None
    """Table to join by `artifact_id`, where the column is not in the kind's own."""
    prefix: str = ""
    """What W&B's value has in front of the column's; operands may leave it out."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version: `v3` as a text, 3 as a number."""

    text: str = "version"
    number: str = "version_index"


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON document in a column."""

    column: str
    via: str | None = None


@dataclass(frozen=True, slots=True)
class Leaves:
    """A JSON document whose leaves stand in a table of their own, one row each."""

    column: str
    table: str
    raw: str | None = None
    """Column of the document as W&B holds it, in which the order of keys is kept."""
    is_wrapped: bool = False
    """Whether W&B wraps each value of the first level: `{"value": …, "desc": …}`."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A list of texts whose elements stand in a table of their own, one row each."""

    table: str
    column: str
    on: tuple[str, ...]
    """Columns that both tables have."""
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Keys:
    """What was logged under a key; only its existence can be asked for."""

    table: str = "history_keys"


@dataclass(frozen=True, slots=True)
class Flag:
    """Whether a list column holds a text."""

    column: str


@dataclass(frozen=True, slots=True)
class Duration:
    """Active seconds, or where W&B does not say, the run time that the run itself logged."""


Source: TypeAlias = "Column | Version | Json | Leaves | Bridge | Keys | Flag | Duration"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that can be asked for."""

    name: str
    table: str
    key: tuple[str, ...]
    """Columns that tell rows apart; the last breaks ties of an order."""
    scope: tuple[str, ...]
    """Columns that a path names, in its order."""
    fields: Mapping[str, Source]
    """W&B's spelling to where it is."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings to that one."""
    columns: tuple[str, ...] = ()
    """Columns that are shown where none are named."""
    created: str | None = "created_at"
    """Column by which rows are ordered where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that was named: where it is, and the path inside it."""

    source: Source
    name: str
    """W&B's spelling of the field, without the path."""
    parts: tuple[str, ...] = ()
    """Keys inside a document; the metric for `Keys`, the text for `Flag`."""


_TIMES = {
    "createdAt": Column("created_at", "time"),
    "updatedAt": Column("updated_at", "time"),
}
_TIME_ALIASES = {"created_at": "createdAt", "updated_at": "updatedAt"}
_RUN_KEY = ("entity", "project", "run_id")

RUNS = Kind(
    name="runs",
    table="runs",
    key=_RUN_KEY,
    scope=("entity", "project"),
    fields={
        "name": Column("run_id"),
        "displayName": Column("display_name"),
        "state": Column("state"),
        "tags": Column("tags", "list"),
        "username": Column("username"),
        "group": Column("group_name"),
        "jobType": Column("job_type"),
        "sweep": Column("sweep_id"),
        "host": Column("host"),
        "notes": Column("notes"),
        "commit": Column("git_commit"),
        "entity": Column("entity"),
        "project": Column("project"),
        **_TIMES,
        "heartbeatAt": Column("heartbeat_at", "time"),
        "duration": Duration(),
        "historyLineCount": Column("history_line_count", "number"),
        "lastStep": Column("last_step", "number"),
        "program": Column("program"),
        "os": Column("os"),
        "gpu": Column("gpu"),
        "gpuCount": Column("gpu_count", "number"),
        "config": Leaves("config", "run_config", raw="config_raw", is_wrapped=True),
        "summary_metrics": Leaves("summary", "run_summary"),
        "systemMetrics": Json("system_summary"),
        "keys_info": Keys(),
        "inputArtifacts": Bridge(
            "run_artifacts", "artifact_name", _RUN_KEY, (("direction", "used"),)
        ),
        "outputArtifacts": Bridge(
            "run_artifacts", "artifact_name", _RUN_KEY, (("direction", "logged"),)
        ),
    },
    aliases={
        **_TIME_ALIASES,
        "run_id": "name",
        "display_name": "displayName",
        "user": "username",
        "group_name": "group",
        "groupName": "group",
        "job_type": "jobType",
        "sweepName": "sweep",
        "sweep_name": "sweep",
        "sweep_id": "sweep",
        "hostname": "host",
        "git_commit": "commit",
        "heartbeat_at": "heartbeatAt",
        "runtime": "duration",
        "computeSeconds": "duration",
        "compute_seconds": "duration",
        "history_line_count": "historyLineCount",
        "last_step": "lastStep",
        "gpu_count": "gpuCount",
        "summary": "summary_metrics",
        "summaryMetrics": "summary_metrics",
        "system_metrics": "systemMetrics",
        "system_summary": "systemMetrics",
    },
    columns=("run_id", "display_name", "state", "username", "group_name", "created_at", "tags"),
)

SWEEPS = Kind(
    name="sweeps",
    table="sweeps",
    key=("entity", "project", "sweep_id"),
    scope=("entity", "project"),
    fields={
        "name": Column("sweep_id"),
        "displayName": Column("display_name"),
        "description": Column("description"),
        "state": Column("state"),
        "method": Column("method"),
        "metric": Column("metric"),
        "goal": Column("goal"),
        "entity": Column("entity"),
        "project": Column("project"),
        "config": Json("config"),
        "bestLoss": Column("best_loss", "number"),
        "bestRun": Column("best_run_id"),
        "runCount": Column("run_count", "number"),
        "runCountExpected": Column("run_count_expected", "number"),
        **_TIMES,
    },
    aliases={
        **_TIME_ALIASES,
        "sweep_id": "name",
        "display_name": "displayName",
        "best_loss": "bestLoss",
        "best_run_id": "bestRun",
        "run_count": "runCount",
        "run_count_expected": "runCountExpected",
    },
    columns=(
        "sweep_id", "display_name", "state", "method", "metric", "goal", "best_run_id", "run_count",
        "created_at",
    ),
)  # fmt: skip

ARTIFACTS = Kind(
    name="artifacts",
    table="artifacts",
    key=("artifact_id",),
    scope=("entity", "project"),
    fields={
        "id": Column("artifact_id"),
        "type": Column("type_name"),
        "collection": Column("collection"),
        "version": Version(),
        "versionIndex": Column("version_index", "number"),
        "state": Column("state"),
        "description": Column("description"),
        "tags": Column("tags", "list"),
        "aliases": Bridge("artifact_aliases", "alias", ("artifact_id",)),
        "metadata": Json("metadata"),
        "digest": Column("digest"),
        "size": Column("size_bytes", "number"),
        "fileCount": Column("file_count", "number"),
        "commitHash": Column("commit_hash"),
        "historyStep": Column("history_step", "number"),
        "ttlDurationSeconds": Column("ttl_seconds", "number"),
        "entity": Column("entity"),
        "project": Column("project"),
        **_TIMES,
    },
    aliases={
        **_TIME_ALIASES,
        "artifact_id": "id",
        "type_name": "type",
        "name": "collection",
        "sequence": "collection",
        "version_index": "versionIndex",
        "tag": "tags",
        "alias": "aliases",
        "artifact_metadata": "metadata",
        "artifact_size": "size",
        "size_bytes": "size",
        "file_count": "fileCount",
        "commit_hash": "commitHash",
        "history_step": "historyStep",
        "ttl_seconds": "ttlDurationSeconds",
        "artifact_created_at": "createdAt",
    },
    columns=(
        "collection", "version", "type_name", "state", "size_bytes", "file_count", "created_at",
        "tags",
    ),
)  # fmt: skip

COLLECTIONS = Kind(
    name="collections",
    table="artifact_collections",
    key=("entity", "project", "type_name", "collection"),
    scope=("entity", "project"),
    fields={
        "id": Column("collection_id"),
        "name": Column("collection"),
        "type": Column("type_name"),
        "kind": Column("kind"),
        "description": Column("description"),
        "tags": Column("tags", "list"),
        "versionCount": Column("version_count", "number"),
        "entity": Column("entity"),
        "project": Column("project"),
        **_TIMES,
    },
    aliases={
        **_TIME_ALIASES,
        "artifact_collection_id": "id",
        "collection_id": "id",
        "collection": "name",
        "type_name": "type",
        "tag": "tags",
        "version_count": "versionCount",
    },
    columns=("collection", "type_name", "kind", "version_count", "created_at", "tags"),
)

REGISTRIES = Kind(
    name="registries",
    table="registries",
    key=("organization", "registry"),
    scope=("organization", "registry"),
    fields={
        "id": Column("registry_id"),
        "name": Column("registry", prefix=REGISTRY_PREFIX),
        "entity": Column("entity"),
        "organization": Column("organization"),
        "description": Column("description"),
        "visibility": Column("visibility"),
        "access": Column("access"),
        "artifactTypes": Column("artifact_types", "list"),
        **_TIMES,
    },
    aliases={
        **_TIME_ALIASES,
        "registry_id": "id",
        "project_id": "id",
        "registry": "name",
        "artifact_types": "artifactTypes",
    },
    columns=("registry", "visibility", "artifact_types", "created_at", "description"),
)

REGISTRY_COLLECTIONS = Kind(
    name="registry_collections",
    table="registry_collections",
    key=("collection_id",),
    scope=("organization", "registry"),
    fields={
        "id": Column("collection_id"),
        "name": Column("collection"),
        "registry": Column("registry", prefix=REGISTRY_PREFIX),
        "organization": Column("organization"),
        "type": Column("type_name"),
        "description": Column("description"),
        "tags": Column("tags", "list"),
        "versionCount": Column("version_count", "number"),
        **_TIMES,
    },
    aliases={
        **_TIME_ALIASES,
        "artifact_collection_id": "id",
        "collection_id": "id",
        "collection_name": "name",
        "artifact_collection_name": "name",
        "collection": "name",
        "type_name": "type",
        "tag": "tags",
        "version_count": "versionCount",
    },
    columns=("registry", "collection", "type_name", "version_count", "created_at", "tags"),
)

REGISTRY_VERSIONS = Kind(
    name="registry_versions",
    table="registry_versions",
    key=("membership_id",),
    scope=("organization", "registry"),
    fields={
        "id": Column("artifact_id"),
        "version": Version(),
        "versionIndex": Column("version_index", "number"),
        "collection": Column("collection"),
        "registry": Column("registry", prefix=REGISTRY_PREFIX),
        "organization": Column("organization"),
        "aliases": Column("aliases", "list"),
        "tags": Column("tags", "list", via="artifacts"),
        "metadata": Json("metadata", via="artifacts"),
        "size": Column("size_bytes", "number", via="artifacts"),
        "createdAt": Column("created_at", "time", via="artifacts"),
        "updatedAt": Column("updated_at", "time", via="artifacts"),
        "linkedAt": Column("linked_at", "time"),
        "sourceProject": Column("source_project"),
        "sourceCollection": Column("source_collection"),
    },
    aliases={
        **_TIME_ALIASES,
        "artifact_id": "id",
        "version_index": "versionIndex",
        "alias": "aliases",
        "tag": "tags",
        "artifact_metadata": "metadata",
        "artifact_size": "size",
        "artifact_created_at": "createdAt",
        "acm_created_at": "linkedAt",
        "linked_at": "linkedAt",
        "source_project": "sourceProject",
        "source_collection": "sourceCollection",
    },
    columns=("registry", "collection", "version", "aliases", "linked_at", "source_collection",
             "source_version"),
    created="linked_at",
)  # fmt: skip

REPORTS = Kind(
    name="reports",
    table="reports",
    key=("entity", "project", "report_id"),
    scope=("entity", "project"),
    fields={
        "id": Column("report_id"),
        "name": Column("name"),
        "displayName": Column("display_name"),
        "description": Column("description"),
        "type": Column("view_type"),
        "username": Column("username"),
        "spec": Json("spec"),
        "entity": Column("entity"),
        "project": Column("project"),
        **_TIMES,
    },
    aliases={
        **_TIME_ALIASES,
        "report_id": "id",
        "display_name": "displayName",
        "title": "displayName",
        "view_type": "type",
        "user": "username",
    },
    columns=("report_id", "display_name", "username", "created_at", "updated_at"),
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        RUNS, SWEEPS, ARTIFACTS, COLLECTIONS, REGISTRIES, REGISTRY_COLLECTIONS, REGISTRY_VERSIONS,
        REPORTS,
    )
}  # fmt: skip

MAX_KEYS = 40
"""Keys that a path into a document may have; configs are rarely deeper than 10.

Each is a step into arrays and objects inside the one before, and whoever reads the SQL walks them
as deep.
"""

LOGGED_TIMES = {"_step", "_runtime", "_timestamp"}
"""Names that the web page gives to values of the summary."""


def kind_of(name: str) -> Kind:
    """Returns a kind.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in KINDS:
        raise ConfigError(f"there is no kind {name!r}: there are {', '.join(KINDS)}")
    return KINDS[name]


def resolve_field(kind: Kind, path: str, at: str = "") -> Field:
    """Returns the field that a path names.

    Args:
        kind: Kind of thing it is a field of.
        path: Any spelling of W&B or of the warehouse.
        at: Place in the filter, for messages.

    Raises:
        UnknownFieldError: There is none; the message proposes the nearest.
        FilterSyntaxError: It goes too deep.

    >>> resolve_field(RUNS, "config.optimizer.lr").parts
    ('optimizer', 'lr')
    """
    head, dot, rest = path.partition(".")
    name = kind.aliases.get(head, head)
    source = kind.fields.get(name)
    if kind is RUNS and head in LOGGED_TIMES and not dot:
        return Field(RUNS.fields["summary_metrics"], "summary_metrics", (head,))
    if isinstance(source, (Json, Leaves)) and dot:
        check_depth(rest, at)
        return Field(source, name, tuple(rest.split(".")))
    if isinstance(source, Keys) and rest.startswith("keys.") and rest != "keys.":
        return Field(source, name, (rest.removeprefix("keys."),))
    if isinstance(source, Column) and source.type == "list" and rest and kind is RUNS:
        return Field(Flag(source.column), name, (rest,))
    if source is not None and not isinstance(source, (Json, Leaves, Keys)) and not dot:
        return Field(source, name)
    raise _unknown(kind, path, head, source, at)


def check_depth(path: str, at: str) -> None:
    """Checks that a path does not go too deep.

    Raises:
        FilterSyntaxError: It has more than MAX_KEYS keys.
    """
    count = path.count(".") + 1
    if count > MAX_KEYS:
        raise FilterSyntaxError(
            f"a path into a document has at most {MAX_KEYS} keys, not {count:,}", at=at
        )


def _unknown(kind: Kind, path: str, head: str, source: Source | None, at: str) -> UnknownFieldError:
    known = [*kind.fields, *kind.aliases]
    if isinstance(source, (Json, Leaves, Keys)):
        example = f"{head}.keys.loss" if isinstance(source, Keys) else f"{head}.lr"
        return UnknownFieldError(
            f"{path} is a whole document; name a key in it, for example {example}",
            field=path, suggestions=(example,), at=at,
        )  # fmt: skip
    near = difflib.get_close_matches(head, known, 2, 0.75)
    documents = [n for n, s in kind.fields.items() if isinstance(s, (Json, Leaves)) and n != "spec"]
    inside = [f"{name}.{path}" for name in documents[:2]]
    suggestions = (*near, *inside)
    meant = " or ".join(suggestions) if suggestions else ", ".join(kind.fields)
    return UnknownFieldError(
        f"{kind.name} have no field {path}; did you mean {meant}?",
        field=path, suggestions=suggestions, at=at,
    )  # fmt: skip
