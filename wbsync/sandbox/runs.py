"""Runs: the list with filters and order, the object, and what writes it."""

from __future__ import annotations

import json
import re
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.console import log_lines
from wbsync.sandbox.filters import (
    MISSING,
    FilterError,
    canonical_field,
    check_run_filter,
    matches,
    nested,
    parse_order,
    sort_key,
)
from wbsync.sandbox.history import History, history_keys, rewind, sample, take_lines
from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.registries import may_edit_project
from wbsync.sandbox.store import global_id, load_json, now, parse_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from wbsync.sandbox.store import Store

INTERNAL_CONFIG = frozenset({"_wandb", "wandb_version"})
MAX_TAG_CHARS = 64
EDITABLE = (
    "displayName", "notes", "description", "group", "jobType", "commit", "host", "state", "tags",
    "sweepName", "config", "summary",
)  # fmt: skip

_orders: dict[Any, list[int]] = {}
"""(generation, project, filter, order) to keys of runs: walks ask for the same list page by page."""  # noqa: E501


def list_runs(scope: Scope, project_pk: int, filters: str | None, order: str | None) -> list[int]:
    """Returns the keys of a project's runs that pass a filter, in order.

    Raises:
        GraphQLError: The filter is none.
    """
    store = scope.store
    ignore = scope.options.ignore
    filters = None if "filters" in ignore else filters
    order = "-created_at" if "order" in ignore else order
    key = (id(store), store.generation(), project_pk, filters, order)
    if key in _orders and not (filters and scope.options.lag_s):
        return _orders[key]
    parsed = parse_filters(scope, filters)
    # Rows that an order finds alike stand as they were created, then by their names.
    rows = store.rows(
        "SELECT * FROM runs WHERE project_pk = ? ORDER BY createdAt, name", project_pk
    )
    if parsed and scope.options.lag_s:
        rows = scope.options.index.rows(rows)
    documents = [RunDocument(store, row) for row in rows]
    field, is_descending = parse_order(order)
    try:
        if parsed:
            check_run_filter(parsed)
            documents = [d for d in documents if matches(parsed, d.lookup)]
        documents.sort(key=lambda d: sort_key(d.lookup(field)), reverse=is_descending)
    except FilterError as error:
        raise GraphQLError(f"invalid filter or order: {error}") from error
    keys = [d.row["pk"] for d in documents]
    if len(_orders) > 16:
        _orders.clear()
    _orders[key] = keys
    return keys


def parse_filters(scope: Scope, filters: str | None) -> Any:
    """Returns a decoded filter, {} for none.

    Raises:
        GraphQLError: It is no JSON, or names a field that an older server cannot filter.
    """

    def refuse(token: str) -> None:
        raise GraphQLError(f"invalid filter: {token} is not JSON")

    try:
        parsed = json.loads(filters, parse_constant=refuse) if filters else {}
    except ValueError as error:
        raise GraphQLError(f"invalid filter: {error}") from error
    if "updatedAtFilter" in scope.options.without and re.search(r'"updated_?[aA]t"', filters or ""):
        raise GraphQLError("invalid filter: unknown field updatedAt")
    return parsed or {}


class RunDocument:
    """A run as filters see it; the heavy part is read when it is asked for."""

    __slots__ = ("_config", "_store", "_summary", "row")

    def __init__(self, store: Store, row: sqlite3.Row) -> None:
        self._store = store
        self._config: Any = None
        self._summary: Any = None
        self.row = row

    def lookup(self, path: str) -> Any:
        """Returns the value of a field, MISSING where there is none."""
        row = self.row
        head, _, rest = canonical_field(path).partition(".")
        if head == "tags":
            tags = json.loads(row["tags"] or "[]")
            return (rest in tags) if rest else tags
        if head in {
            "createdAt", "heartbeatAt", "updatedAt", "name", "displayName", "state", "group",
            "jobType", "sweepName", "notes", "host", "commit", "historyLineCount",
        }:  # fmt: skip
            return MISSING if row[head] is None else row[head]
        if head == "config":
            if self._config is None:
                text = self._body("config")
                self._config = {
                    k: v["value"] if isinstance(v, dict) and "value" in v else v
                    for k, v in load_json(text, {}).items()
                }
            parts = rest.split(".")
            found = nested(self._config, parts)
            # W&B wraps each value in an object, which a path may name or leave out.
            if found is MISSING and parts[1:2] == ["value"]:
                found = nested(self._config, [parts[0], *parts[2:]])
            if found is MISSING and parts[-1] == "value":
                found = nested(self._config, parts[:-1])
            return found
        if head == "summary_metrics":
            if self._summary is None:
                self._summary = load_json(self._body("summary"), {})
            return nested(self._summary, rest.split("."))
        if head == "keys_info":
            keys = load_json(self._body("keys"), {})
            name = rest.removeprefix("keys.")
            return keys.get(name, MISSING)
        if head == "username":
            return self._store.value("SELECT username FROM users WHERE pk = ?", row["user_pk"])
        if head == "duration":
            runtime = load_json(self._body("summary"), {}).get("_runtime", 0)
            return int(runtime) if isinstance(runtime, (int, float)) else 0
        raise FilterError(f"unknown field {path}")

    def _body(self, column: str) -> str | None:
        text: str | None = self._store.value(
            f"SELECT {column} FROM bodies WHERE run_pk = ?",  # noqa: S608
            self.row["pk"],
        )
        return text


def load_runs(scope: Scope, keys: list[int]) -> list[RunNode]:
    """Returns runs by their keys."""
    rows = scope.store.rows(f"SELECT * FROM runs WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [RunNode(scope, row) for row in by_key(rows, keys)]


def run_connection(scope: Scope, keys: Sequence[int], **page: Any) -> dict[str, Any]:
    """Returns a page of runs."""
    return connection(scope, keys, partial(load_runs, scope), **page)


class RunNode(Node):
    """`Run`."""

    typename = "Run"
    __slots__ = ("_body", "_project")

    def __init__(self, scope: Scope, row: sqlite3.Row) -> None:
        super().__init__(scope, row)
        self._body: sqlite3.Row | None = None
        self._project: sqlite3.Row | None = None

    def body(self) -> sqlite3.Row:
        """Returns the heavy part."""
        if self._body is None:
            self._body = self.store.row("SELECT * FROM bodies WHERE run_pk = ?", self.row["pk"])
            assert self._body is not None
        return self._body

    def id(self) -> str:
        home = project_names(self.scope, self.row["project_pk"])
        return global_id("Run", "v1", self.row["name"], home[1], home[0])

    def projectId(self) -> int:
        return int(self.row["project_pk"])

    def project(self) -> Any:
        from wbsync.sandbox.projects import ProjectNode

        return ProjectNode.load(self.scope, self.row["project_pk"])

    def user(self) -> Any:
        from wbsync.sandbox.accounts import UserNode

        return UserNode.load(self.scope, self.row["user_pk"])

    def tags(self) -> list[str]:
        return load_json(self.row["tags"], [])  # type: ignore[no-any-return]

    def config(self, keys: list[str] | None = None) -> str | None:
        return _projected(self.body()["config"], keys)

    def summaryMetrics(self, keys: list[str] | None = None) -> str | None:
        return _projected(self.body()["summary"], keys)

    def systemMetrics(self) -> str | None:
        return self.body()["system"] or "{}"

    def wandbConfig(self, keys: list[str] | None = None) -> str | None:
        inner = load_json(self.body()["config"], {}).get("_wandb", {})
        return _projected(json.dumps(inner.get("value", inner)), keys)

    def historyKeys(self) -> Any:
        return history_keys(load_json(self.body()["keys"], {}), self.row["lastStep"])

    def historyTail(self) -> str:
        return self._history().last_row()

    def eventsTail(self) -> str:
        rows = self._lines("events")[-1:]
        return json.dumps(rows)

    def computeSeconds(self) -> int:
        runtime = load_json(self.body()["summary"], {}).get("_runtime", 0)
        return int(runtime) if isinstance(runtime, (int, float)) else 0

    def readOnly(self) -> bool:
        from wbsync.sandbox.projects import load_projects

        return load_projects(self.scope, [self.row["project_pk"]])[0].readOnly()

    def shouldStop(self) -> bool:
        return bool(self.row["stopped"])

    def stopped(self) -> bool:
        return bool(self.row["stopped"])

    def sweep(self) -> Any:
        from wbsync.sandbox.sweeps import SweepNode

        return SweepNode.load(self.scope, self.row["sweep_pk"])

    def _history(self) -> History:
        return History(self.store, self.row, self.scope.options.exports)

    def history(
        self,
        samples: int | None = None,
        minStep: int | None = None,
        maxStep: int | None = None,
        maxKeyLimit: int | None = None,
    ) -> list[str]:
        del maxKeyLimit
        rows = self._history().rows(
            float("-inf") if minStep is None else minStep,
            float("inf") if maxStep is None else maxStep,
        )
        return sample(rows, samples)

    def sampledHistory(self, specs: list[str], packVersion: int | None = None) -> list[Any]:
        del packVersion
        history = self._history()
        return [history.sampled(json.loads(spec)) for spec in specs]

    def events(self, samples: int | None = None) -> list[str]:
        return sample(self._lines("events"), samples)

    def parquetHistory(self, liveKeys: list[str]) -> dict[str, Any]:
        history = self._history()
        urls = [self.scope.signed_url(blob, "get") for blob in history.export_blobs()]
        self.scope.options.rng.shuffle(urls)
        return {"parquetUrls": urls, "liveData": history.live_data(liveKeys)}

    def _lines(self, stream: str) -> list[str]:
        rows = self.store.rows(
            "SELECT text FROM lines WHERE run_pk = ? AND stream = ? ORDER BY line",
            self.row["pk"], stream,
        )  # fmt: skip
        return [row["text"] for row in rows]

    def logLines(
        self,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        useImprovedPagination: bool | None = None,
    ) -> dict[str, Any]:
        return log_lines(
            self.scope,
            self.row["pk"],
            first=first,
            after=after,
            last=last,
            is_improved=bool(useImprovedPagination),
        )

    def fileCount(self) -> int:
        return len(self._files())

    def _files(self) -> list[sqlite3.Row]:
        return self.store.rows(
            "SELECT f.*, b.size, b.md5 FROM files f JOIN blobs b ON b.id = f.blob"
            " WHERE f.run_pk = ? ORDER BY f.name",
            self.row["pk"],
        )

    def files(
        self,
        names: list[str] | None = None,
        after: str | None = None,
        first: int | None = None,
        pattern: str | None = None,
        upload: bool | None = None,
    ) -> dict[str, Any]:
        del upload
        from wbsync.sandbox.files import RunFileNode

        found = self._files()
        if names:
            found = [f for f in found if f["name"] in names]
        if pattern:
            like = re.compile(
                "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern),
                re.DOTALL,
            )
            found = [f for f in found if like.fullmatch(f["name"])]

        def load(keys: list[int]) -> list[Any]:
            return [RunFileNode(self.scope, row) for row in by_key(found, keys)]

        return connection(self.scope, [f["pk"] for f in found], load, first=first, after=after)

    def outputArtifacts(self, after: str | None = None, first: int | None = None) -> Any:
        return self._artifacts("output", after, first)

    def inputArtifacts(self, after: str | None = None, first: int | None = None) -> Any:
        return self._artifacts("input", after, first)

    def _artifacts(self, direction: str, after: str | None, first: int | None) -> Any:
        from wbsync.sandbox.artifacts import artifact_connection

        keys = [
            row[0]
            for row in self.store.rows(
                "SELECT u.artifact_pk FROM usage u JOIN artifacts a ON a.pk = u.artifact_pk"
                " WHERE u.run_pk = ? AND u.direction = ? AND a.state = 'COMMITTED'"
                " ORDER BY u.artifact_pk",
                self.row["pk"], direction,
            )
        ]  # fmt: skip
        return artifact_connection(self.scope, keys, first=first, after=after)


def _projected(text: str | None, keys: list[str] | None) -> str | None:
    if keys is None or text is None:
        return text
    whole = json.loads(text)
    return json.dumps({k: v for k, v in whole.items() if k in keys})


_names: dict[Any, tuple[str, str]] = {}


def project_names(scope: Scope, project_pk: int) -> tuple[str, str]:
    """Returns (entity, project) of a project."""
    store = scope.store
    key = (id(store), store.generation(), project_pk)
    if key not in _names:
        row = store.row(
            "SELECT e.name, p.name FROM projects p JOIN entities e ON e.pk = p.entity_pk"
            " WHERE p.pk = ?",
            project_pk,
        )
        assert row is not None
        if len(_names) > 64:
            _names.clear()
        _names[key] = (row[0], row[1])
    return _names[key]


def run_by_id(scope: Scope, storage_id: str) -> int:
    """Returns the key of a run by its storage id.

    Raises:
        GraphQLError: There is none, or the viewer may not see it.
    """
    parts = parse_id(storage_id)
    pk = None
    if len(parts) >= 5 and parts[:2] == ["Run", "v1"]:
        pk = scope.store.run_pk(parts[-1], parts[-2], ":".join(parts[2:-2]))
    if pk is None:
        raise GraphQLError(f"run {storage_id} not found")
    project = scope.store.row(
        "SELECT p.* FROM runs r JOIN projects p ON p.pk = r.project_pk WHERE r.pk = ?", pk
    )
    if project is None or not may_edit_project(scope, project):
        raise GraphQLError("permission denied")
    return pk


def upsert_bucket(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes or edits a run; null leaves a field as it is.

    Raises:
        GraphQLError: A value is refused, or the run or entity is not there.
    """
    store = scope.store
    for tag in values.get("tags") or []:
        if not 1 <= len(tag) <= MAX_TAG_CHARS:
            raise GraphQLError(f"invalid tag {tag!r}: must have 1 to {MAX_TAG_CHARS} characters")
    for field in ("config", "summaryMetrics"):
        _check_object(field, values.get(field))
    with store.transaction():
        inserted = False
        if values.get("id"):
            pk = run_by_id(scope, values["id"])
        else:
            entity = values.get("entityName") or scope.viewer["username"]
            entity_pk = store.value("SELECT pk FROM entities WHERE name = ?", entity)
            if entity_pk is None or not scope.may_see(entity_pk):
                raise GraphQLError(f"entity {entity} not found or permission denied")
            project_pk = store.ensure_project(
                entity, values.get("modelName") or "uncategorized", scope.viewer["pk"]
            )
            name = values.get("name") or secrets.token_hex(4)
            known = store.value(
                "SELECT pk FROM runs WHERE project_pk = ? AND name = ?", project_pk, name
            )
            inserted = known is None
            pk = known if known is not None else _insert(scope, project_pk, name)
        _edit(scope, pk, values, starts=not values.get("id"))
        if inserted:
            _fork(scope, pk)
    return {"bucket": load_runs(scope, [pk])[0], "inserted": inserted}


def _check_object(field: str, text: str | None) -> None:
    """Refuses what is no JSON object; NaN and infinities, which the SDK writes, are let through."""
    try:
        is_object = text is None or isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise GraphQLError(f"invalid {field}: it is no JSON object")


def _insert(scope: Scope, project_pk: int, name: str) -> int:
    store = scope.store
    pk = store.write(
        "INSERT INTO runs(project_pk, name, displayName, state, tags, user_pk, createdAt,"
        " heartbeatAt, updatedAt) VALUES (?, ?, ?, 'running', '[]', ?, ?, ?, ?)",
        project_pk, name, name, scope.viewer["pk"], now(), now(), now(),
    )  # fmt: skip
    store.write(
        "INSERT INTO bodies(run_pk, config, summary, keys) VALUES (?, '{}', '{}', '{}')", pk
    )
    return pk


def _edit(scope: Scope, pk: int, values: dict[str, Any], *, starts: bool) -> None:
    store = scope.store
    columns = {
        "displayName": values.get("displayName"),
        "notes": values.get("notes"),
        "description": values.get("description"),
        '"group"': values.get("groupName"),
        "jobType": values.get("jobType"),
        '"commit"': values.get("commit"),
        "host": values.get("host"),
        "state": values.get("state"),
        "tags": None if values.get("tags") is None else json.dumps(values["tags"]),
    }
    if values.get("sweep"):
        project_pk = store.value("SELECT project_pk FROM runs WHERE pk = ?", pk)
        sweep_pk = store.value(
            "SELECT pk FROM sweeps WHERE project_pk = ? AND name = ?", project_pk, values["sweep"]
        )
        columns |= {"sweep_pk": sweep_pk, "sweepName": values["sweep"]}
    if starts and columns["state"] is None:
        # The process that owns the run speaks: whatever it was, it runs now.
        columns["state"] = "running"
    bodies = {"config": values.get("config"), "summary": values.get("summaryMetrics")}
    if starts or not _edits_only(scope, pk, columns | bodies, scope.options.unstamped):
        columns["updatedAt"] = now()
    chosen = {name: value for name, value in columns.items() if value is not None}
    if chosen:
        assignments = ", ".join(f"{name} = ?" for name in chosen)
        store.write(f"UPDATE runs SET {assignments} WHERE pk = ?", *chosen.values(), pk)  # noqa: S608
    for column, value in bodies.items():
        if value is not None:
            store.write(f"UPDATE bodies SET {column} = ? WHERE run_pk = ?", value, pk)  # noqa: S608


def _fork(scope: Scope, pk: int) -> None:
    """Gives a new run that says so in its config another one's history up to a step."""
    store = scope.store
    inner = load_json(store.value("SELECT config FROM bodies WHERE run_pk = ?", pk), {})
    inner = inner.get("_wandb") or {}
    origin = inner.get("value", inner).get("branch_point")
    if not origin:
        return
    parent = store.row(
        "SELECT * FROM runs WHERE name = ? AND pk <> ?"
        " AND project_pk = (SELECT project_pk FROM runs WHERE pk = ?)",
        origin["run_id"], pk, pk,
    )  # fmt: skip
    if parent is None:
        raise GraphQLError(f"run {origin['run_id']} to fork from not found")
    rows = History(store, parent, "none").rows(max_step=int(origin["step"]) + 1)
    take_lines(store, pk, "history", 0, rows)
    summary: dict[str, Any] = {}
    for text in rows:
        summary.update(json.loads(text))
    store.write("UPDATE bodies SET summary = ? WHERE run_pk = ?", json.dumps(summary), pk)


def _edits_only(scope: Scope, pk: int, values: dict[str, Any], fields: Sequence[str]) -> bool:
    """Says whether new values of a run change none of its fields but some."""
    if not fields:
        return False
    held = scope.store.row(
        "SELECT r.*, b.config, b.summary FROM runs r JOIN bodies b ON b.run_pk = r.pk"
        " WHERE r.pk = ?",
        pk,
    )
    assert held is not None
    changed = {
        name.strip('"')
        for name, value in values.items()
        if value is not None and held[name.strip('"')] != value
    }
    return changed <= set(fields)


def move_run(store: Store, *, entity: str, project: str, run: str, to: str) -> dict[str, Any]:
    """Moves a run to another project of its entity, which is made where it is missing.

    Raises:
        LookupError: There is no such run.
    """
    pk = store.run_pk(entity, project, run)
    if pk is None:
        raise LookupError(f"run {entity}/{project}/{run} not found")
    project_pk = store.ensure_project(entity, to, None)
    store.write("UPDATE runs SET project_pk = ?, updatedAt = ? WHERE pk = ?", project_pk, now(), pk)
    return {"entity": entity, "project": to, "run": run}


def rewind_run(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Cuts a run's history after a step, and lets it run again.

    Raises:
        GraphQLError: There is no such run.
    """
    store = scope.store
    pk = store.run_pk(values["entityName"], values["projectName"], values["runName"])
    if pk is None:
        raise GraphQLError(f"run {values['runName']} not found")
    step = int(values["metricValue"])
    with store.transaction():
        rewind(store, pk, step)
        config = load_json(store.value("SELECT config FROM bodies WHERE run_pk = ?", pk), {})
        inner = config.setdefault("_wandb", {"value": {}}).setdefault("value", {})
        inner["branch_point"] = {"run_id": values["runName"], "step": step}
        row = store.row("SELECT * FROM runs WHERE pk = ?", pk)
        assert row is not None
        rows = History(store, row, "none").rows()
        summary: dict[str, Any] = {}
        for text in rows:
            summary.update(json.loads(text))
        store.write(
            "UPDATE bodies SET config = ?, summary = ? WHERE run_pk = ?",
            json.dumps(config), json.dumps(summary), pk,
        )  # fmt: skip
        store.write(
            "UPDATE runs SET state = 'running', updatedAt = ?, heartbeatAt = ? WHERE pk = ?",
            now(), now(), pk,
        )  # fmt: skip
    return {"rewoundRun": load_runs(scope, [pk])[0]}
