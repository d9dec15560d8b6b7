"""Automations and integrations.

Source: queries/wandb/entity_state.graphql; wandb/automations/{events,actions,scopes}.py. What may
hold a secret is not asked for (a webhook's payload, a job's template), or cut to what cannot (the
address that a webhook calls).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from wbsync.extract.rows import build_table
from wbsync.extract.values import canonical_json, parse_json, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    import pyarrow as pa

SCOPES = {
    "Project": "PROJECT",
    "ArtifactSequence": "ARTIFACT_COLLECTION",
    "ArtifactPortfolio": "ARTIFACT_COLLECTION",
    "Entity": "ENTITY",
}
ACTIONS = {
    "QueueJobTriggeredAction": "QUEUE_JOB",
    "NotificationTriggeredAction": "NOTIFICATION",
    "GenericWebhookTriggeredAction": "GENERIC_WEBHOOK",
    "NoOpTriggeredAction": "NO_OP",
    "ARIATriggeredAction": "ARIA",
    "PushNotificationTriggeredAction": "PUSH_NOTIFICATION",
}
INTEGRATIONS = {"SlackIntegration": "slack", "GenericWebhookIntegration": "webhook"}
"""W&B's type names to the names that its SDK uses."""

ENCODED = ("run_filter", "metric_filter")
"""Parts of a run event's filter that are JSON inside a JSON string."""


def build_automation_rows(
    nodes: Iterable[dict[str, Any]], entity: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table automations."""
    rows = {}
    for node in nodes:
        scope = node.get("scope") or {}
        event = node.get("triggeringCondition") or {}
        action = dict(node.get("triggeredAction") or {})
        action_type = action.pop("__typename", None)
        integration = action.pop("integration", None) or {}
        rows[node["id"]] = {
            "entity": entity,
            "automation_id": node["id"],
            "name": node.get("name"),
            "description": node.get("description"),
            "is_enabled": node.get("enabled"),
            "scope_type": SCOPES.get(scope.get("__typename", ""), scope.get("__typename")),
            "scope_id": scope.get("id"),
            "scope_name": scope.get("name"),
            "event_type": event.get("eventType"),
            "filter": unfolded(event.get("filter")),
            "action_type": ACTIONS.get(action_type or "", action_type),
            "action": canonical_json(action),
            "integration_id": integration.get("id"),
            "created_at": parse_time(node.get("createdAt")),
            "updated_at": parse_time(node.get("updatedAt")),
            "synced_at": synced_at,
        }
    return build_table("automations", list(rows.values()))


def build_integration_rows(
    nodes: Iterable[dict[str, Any]], entity: str, synced_at: datetime
) -> pa.Table:
    """Returns rows of the table integrations."""
    rows = {}
    for node in nodes:
        type_name = node.get("__typename") or ""
        integration_id = node.get("id") or type_name
        rows[integration_id] = {
            "entity": entity,
            "integration_id": integration_id,
            "kind": INTEGRATIONS.get(type_name, type_name),
            "name": node.get("name"),
            "team_name": node.get("teamName"),
            "channel_name": node.get("channelName"),
            "url_host": origin(node.get("urlEndpoint")),
            "synced_at": synced_at,
        }
    return build_table("integrations", list(rows.values()))


def unfolded(text: str | None) -> str | None:
    r"""Returns an event's filter as canonical JSON, what is encoded inside as well.

    W&B wraps the filter of an artifact event once more, as text; and writes parts of a run event's
    as text.

    >>> unfolded('{"filter": "{\\"$or\\": []}"}')
    '{"$or":[]}'
    """
    if text is None:
        return None
    value = _decoded(text)
    if isinstance(value, dict):
        if value.keys() == {"filter"}:
            value = _decoded(value["filter"])
        else:
            value = {k: _decoded(v) if k in ENCODED else v for k, v in value.items()}
    return canonical_json(value)


def _decoded(value: Any) -> Any:
    """Returns what a text encodes; what encodes nothing stays."""
    try:
        return parse_json(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def origin(url: str | None) -> str | None:
    """Returns scheme, host and port of an address; None where it has no host.

    >>> origin("https://user:secret@Hooks.example.com:8443/T0/secret?token=secret#x")
    'https://hooks.example.com:8443'
    """
    try:
        parts = urlsplit(url or "")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or not parts.scheme:
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
