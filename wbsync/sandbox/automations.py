"""Automations, and the webhooks and channels that they tell."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError

from wbsync.sandbox.nodes import Node, Scope, by_key, connection, marks
from wbsync.sandbox.store import global_id, instant, parse_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from wbsync.sandbox.store import Store

RUN_EVENTS = frozenset({"RUN_METRIC", "RUN_METRIC_CHANGE", "RUN_METRIC_ZSCORE", "RUN_STATE"})
"""Events whose filter is saved as it is sent; others wrap it once more."""

INTEGRATIONS = {
    "slack": "SlackIntegration",
    "webhook": "GenericWebhookIntegration",
    "github": "GitHubOAuthIntegration",
}
"""Kind to type."""

ACTIONS = {
    "QUEUE_JOB": ("QueueJobTriggeredAction", "queueJobActionInput"),
    "NOTIFICATION": ("NotificationTriggeredAction", "notificationActionInput"),
    "GENERIC_WEBHOOK": ("GenericWebhookTriggeredAction", "genericWebhookActionInput"),
    "NO_OP": ("NoOpTriggeredAction", "noOpActionInput"),
    "ARIA": ("ARIATriggeredAction", "ariaActionInput"),
    "PUSH_NOTIFICATION": ("PushNotificationTriggeredAction", "pushNotificationActionInput"),
}
"""Action type to its object type, and to where its input stands."""


class IntegrationNode(Node):
    """`Integration`, of any type."""

    __slots__ = ()

    @property
    def typename(self) -> str:  # type: ignore[override]
        """Which type of integration it is."""
        return INTEGRATIONS[self.row["kind"]]

    def id(self) -> str:
        return global_id("Integration", self.row["pk"])


def load_integrations(scope: Scope, keys: Sequence[int]) -> list[IntegrationNode]:
    """Returns integrations by their keys."""
    rows = scope.store.rows(
        f"SELECT * FROM integrations WHERE pk IN ({marks(len(keys))})",  # noqa: S608
        *keys,
    )
    return [IntegrationNode(scope, row) for row in by_key(rows, list(keys))]


def integration_connection(scope: Scope, entity_pk: int, **page: Any) -> dict[str, Any]:
    """Returns a page of an entity's integrations."""
    rows = scope.store.rows("SELECT pk FROM integrations WHERE entity_pk = ? ORDER BY 1", entity_pk)
    return connection(scope, [r[0] for r in rows], partial(load_integrations, scope), **page)


def edit_integration(
    store: Store,
    entity: str,
    kind: str = "webhook",
    id: str | None = None,  # noqa: A002
    **values: str,
) -> dict[str, Any]:
    """Makes an integration; with an id, changes it, or deletes it where no value is given.

    Args:
        store: Where.
        entity: Whose.
        kind: slack, webhook or github.
        id: Of an existing one.
        values: name and urlEndpoint of a webhook, teamName and channelName of a channel.

    Raises:
        LookupError: There is no such entity.
        ValueError: The kind or a value is unknown.
    """
    pk = store.value("SELECT pk FROM entities WHERE name = ?", entity)
    if pk is None:
        raise LookupError(f"entity {entity} not found")
    if kind not in INTEGRATIONS:
        raise ValueError(f"unknown kind; there are {', '.join(INTEGRATIONS)}")
    unknown = values.keys() - {"name", "urlEndpoint", "teamName", "channelName"}
    if unknown:
        raise ValueError(f"unknown: {min(unknown)}")
    if id is None:
        columns = ["entity_pk", "kind", *values]
        made = store.write(
            f"INSERT INTO integrations({', '.join(columns)}) VALUES ({marks(len(columns))})",  # noqa: S608
            pk, kind, *values.values(),
        )  # fmt: skip
        return {"id": global_id("Integration", made)}
    key = int(parse_id(id)[1])
    if not values:
        store.write("DELETE FROM integrations WHERE pk = ?", key)
    for name, value in values.items():
        store.write(f"UPDATE integrations SET {name} = ? WHERE pk = ?", value, key)  # noqa: S608
    return {"id": id}


def create_webhook(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes a webhook; the names of its secrets are not kept."""
    try:
        made = edit_integration(
            scope.store, values["entityName"], name=values["name"],
            urlEndpoint=values["urlEndpoint"],
        )  # fmt: skip
    except LookupError as error:
        raise GraphQLError(str(error)) from error
    return {"integration": _integration(scope, made["id"])}


def _integration(scope: Scope, integration_id: str) -> IntegrationNode:
    parts = parse_id(integration_id)
    pk = parts[1] if len(parts) == 2 and parts[0] == "Integration" else None
    if scope.store.value("SELECT 1 FROM integrations WHERE pk = ?", pk) is None:
        raise GraphQLError("integration not found")
    return load_integrations(scope, [int(str(pk))])[0]


def load_triggers(scope: Scope, keys: Sequence[int]) -> list[dict[str, Any]]:
    """Returns automations by their keys."""
    rows = scope.store.rows(f"SELECT * FROM triggers WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [_trigger(scope, row) for row in by_key(rows, list(keys))]


def _trigger(scope: Scope, row: sqlite3.Row) -> dict[str, Any]:
    """Returns a `Trigger`; no Node, whose `scope` is the request's."""
    return {
        **dict(row),
        "id": global_id("Trigger", row["pk"]),
        "enabled": bool(row["enabled"]),
        "scope": lambda: _scope_node(scope, row["scope_type"], row["scope_pk"]),
        "triggeringCondition": {
            "__typename": "FilterEventTriggeringCondition",
            "eventType": row["event_type"],
            "filter": row["filter"],
        },
        "triggeredAction": lambda: _action_node(scope, row["action_type"], row["action"]),
    }


def _scope_node(scope: Scope, kind: str, pk: int) -> Any:
    from wbsync.sandbox.accounts import load_entities
    from wbsync.sandbox.artifacts import CollectionNode
    from wbsync.sandbox.projects import ProjectNode

    if kind == "PROJECT":
        return ProjectNode.load(scope, pk)
    if kind == "ENTITY":
        return load_entities(scope, [pk])[0]
    return CollectionNode.load(scope, pk)


def _action_node(scope: Scope, kind: str, text: str) -> dict[str, Any]:
    action = json.loads(text)
    node = {"__typename": ACTIONS[kind][0], **action}
    if "integrationID" in action:
        node["integration"] = lambda: _integration(scope, action["integrationID"])
    return node


def trigger_connection(
    scope: Scope, entity_pk: int, filters: str | None = None, **page: Any
) -> dict[str, Any]:
    """Returns a page of an entity's automations; filters by name alone."""
    name = json.loads(filters).get("name") if filters else None
    rows = scope.store.rows(
        "SELECT pk FROM triggers WHERE entity_pk = ?1 AND (?2 IS NULL OR name = ?2) ORDER BY pk",
        entity_pk, name,
    )  # fmt: skip
    return connection(scope, [r[0] for r in rows], partial(load_triggers, scope), **page)


def triggers_of_project(scope: Scope, project_pk: int) -> list[dict[str, Any]]:
    """Returns the automations of a project and of its artifact collections."""
    rows = scope.store.rows(
        "SELECT pk FROM triggers WHERE (scope_type = 'PROJECT' AND scope_pk = ?1)"
        " OR (scope_type = 'ARTIFACT_COLLECTION' AND scope_pk IN"
        " (SELECT pk FROM collections WHERE project_pk = ?1)) ORDER BY pk",
        project_pk,
    )
    return load_triggers(scope, [r[0] for r in rows])


def create_trigger(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes an automation.

    Raises:
        GraphQLError: What it is about does not exist, or its name is taken.
    """
    moment = instant()
    return _save(scope, None, {**_columns(scope, values), "createdAt": moment, "updatedAt": moment})


def update_trigger(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Edits an automation.

    Raises:
        GraphQLError: It does not exist, or its name is taken.
    """
    pk = _trigger_pk(scope, values["id"])
    return _save(scope, pk, {**_columns(scope, values), "updatedAt": instant()})


def delete_trigger(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Deletes an automation."""
    scope.store.write("DELETE FROM triggers WHERE pk = ?", _trigger_pk(scope, values["triggerID"]))
    return {"success": True}


def _trigger_pk(scope: Scope, trigger_id: str) -> int:
    parts = parse_id(trigger_id)
    row = scope.store.row(
        "SELECT * FROM triggers WHERE pk = ?",
        parts[1] if len(parts) == 2 and parts[0] == "Trigger" else None,
    )
    if row is None or not scope.may_see(row["entity_pk"]):
        raise GraphQLError("automation not found", extensions={"status": 404})
    return int(row["pk"])


def _columns(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Returns what an input says of an automation, as columns."""
    columns = {n: values[n] for n in ("name", "description") if values.get(n) is not None}
    if values.get("enabled") is not None:
        columns["enabled"] = int(values["enabled"])
    if values.get("scopeID"):
        kind = values["scopeType"]
        columns["scope_type"] = kind
        columns["scope_pk"], columns["entity_pk"] = _scope_pks(scope, kind, values["scopeID"])
    if values.get("eventFilter"):
        event, text = values["triggeringEventType"], values["eventFilter"]
        columns["event_type"] = event
        columns["filter"] = text if event in RUN_EVENTS else json.dumps({"filter": text})
    if values.get("triggeredActionConfig"):
        kind = values["triggeredActionType"]
        action = values["triggeredActionConfig"].get(ACTIONS[kind][1]) or {}
        if "integrationID" in action:
            _integration(scope, action["integrationID"])
        columns["action_type"], columns["action"] = kind, json.dumps(action)
    return columns


def _scope_pks(scope: Scope, kind: str, scope_id: str) -> tuple[int, int]:
    """Returns the keys of what an automation is about, and of the entity that it belongs to."""
    store, parts = scope.store, parse_id(scope_id)
    found = None
    if kind == "PROJECT" and parts[:1] == ["Project"]:
        pk = store.project_pk(parts[-1], ":".join(parts[2:-1]))
        found = store.row("SELECT pk, entity_pk FROM projects WHERE pk = ?", pk)
    elif kind == "ENTITY" and parts[:1] == ["Entity"]:
        found = store.row("SELECT pk, pk FROM entities WHERE pk = ?", parts[1])
    elif kind == "ARTIFACT_COLLECTION" and parts[:1] == ["ArtifactCollection"]:
        found = store.row(
            "SELECT c.pk, p.entity_pk FROM collections c JOIN projects p ON p.pk = c.project_pk"
            " WHERE c.pk = ?",
            parts[1],
        )
    if found is None or not scope.may_see(found[1]):
        raise GraphQLError("what the automation is about was not found")
    return found[0], found[1]


def _save(scope: Scope, pk: int | None, columns: dict[str, Any]) -> dict[str, Any]:
    import sqlite3

    names, values = list(columns), list(columns.values())
    try:
        if pk is None:
            pk = scope.store.write(
                f"INSERT INTO triggers({', '.join(names)}) VALUES ({marks(len(names))})",  # noqa: S608
                *values,
            )
        else:
            sets = ", ".join(f"{name} = ?" for name in names)
            scope.store.write(f"UPDATE triggers SET {sets} WHERE pk = ?", *values, pk)  # noqa: S608
    except sqlite3.IntegrityError as error:
        raise GraphQLError(
            "an automation of this name exists already", extensions={"status": 409}
        ) from error
    return {"trigger": load_triggers(scope, [pk])[0]}
