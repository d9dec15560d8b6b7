"""Automations and integrations. Source: wandb/automations, wandb/apis/public/automations.py.

What may hold a secret is in no warehouse: a webhook's address but for its host, its payload, a
job's template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.values import parse_json
from wbsync.offline.listing import Held
from wbsync.offline.records import Record

if TYPE_CHECKING:
    from wbsync.offline.reader import Reader

_AUTOMATIONS = """
SELECT * FROM automations WHERE ($entity IS NULL OR entity = $entity)
  AND ($name IS NULL OR name = $name) ORDER BY created_at, automation_id
"""
_INTEGRATIONS = """
SELECT * FROM integrations WHERE entity = $entity AND ($kind IS NULL OR kind = $kind)
ORDER BY integration_id
"""


class Integration(Record):
    """A Slack channel or a webhook that automations can tell."""

    _unheld = frozenset({"url_endpoint"})

    def __init__(self, row: dict[str, Any]) -> None:
        """Takes a row of the table integrations."""
        attrs = {"id": row["integration_id"], "kind": row["kind"]}
        if row["kind"] == "webhook":
            attrs |= {"name": row["name"], "urlHost": row["url_host"]}
        else:
            attrs |= {"teamName": row["team_name"], "channelName": row["channel_name"]}
        super().__init__(attrs)

    def __repr__(self) -> str:
        return f"<Integration {self._attrs['kind']} {self._attrs['id']}>"


class Part(Record):
    """What an automation waits for, where, or what it does."""

    _unheld = frozenset({"request_payload", "template"})

    def __repr__(self) -> str:
        return f"<{self._attrs}>"


class Automation(Record):
    """An automation, with `event`, `scope` and `action`; its filter is a dictionary."""

    def __init__(self, row: dict[str, Any]) -> None:
        """Takes a row of the table automations."""
        scope = {"id": row["scope_id"], "name": row["scope_name"], "scopeType": row["scope_type"]}
        event = {"eventType": row["event_type"], "filter": parse_json(row["filter"]) or {}}
        action = {**(parse_json(row["action"]) or {}), "actionType": row["action_type"]}
        if row["integration_id"] is not None:
            action["integration"] = Part({"id": row["integration_id"]})
        super().__init__(
            {
                "id": row["automation_id"],
                "name": row["name"],
                "description": row["description"],
                "enabled": row["is_enabled"],
                "scope": Part(scope),
                "event": Part(event),
                "action": Part(action),
                "createdAt": _aware(row["created_at"]),
                "updatedAt": _aware(row["updated_at"]),
                "entity": row["entity"],
            }
        )

    def __repr__(self) -> str:
        return f"<Automation {self._attrs['name']}>"


def _aware(value: Any) -> Any:
    from datetime import UTC

    return None if value is None else value.replace(tzinfo=UTC)


class Automations(Held[Automation]):
    """The automations of an entity, or of all that were synced."""

    def __init__(self, reader: Reader, entity: str | None, name: str | None) -> None:
        """Takes what is asked for."""
        self._reader = reader
        self.entity = entity
        self.name = name

    def _load(self) -> list[Automation]:
        rows = self._reader.rows(_AUTOMATIONS, entity=self.entity, name=self.name)
        if not rows:
            self._reader.check_entity("automations", self.entity)
        return [Automation(row) for row in rows]

    def only(self) -> Automation:
        """Returns the only one.

        Raises:
            ValueError: There is none, or there are several.
        """
        if len(self) != 1:
            raise ValueError(f"{'Multiple' if len(self) else 'No'} automations found")
        return self[0]

    def __repr__(self) -> str:
        return f"<Automations {self.entity or 'of all'}>"


class Integrations(Held[Integration]):
    """The integrations of an entity, or those of one kind."""

    def __init__(self, reader: Reader, entity: str, kind: str | None = None) -> None:
        """Takes what is asked for; kinds are `slack` and `webhook`."""
        self._reader = reader
        self.entity = entity
        self._kind = kind

    def _load(self) -> list[Integration]:
        rows = self._reader.rows(_INTEGRATIONS, entity=self.entity, kind=self._kind)
        if not rows:
            self._reader.check_entity("integrations", self.entity)
        return [Integration(row) for row in rows]

    def __repr__(self) -> str:
        return f"<Integrations {self.entity}>"
