"""Keeps what belongs to an entity as a whole in step with W&B: one request where it fits a page.

Entity, members, integrations and automations come in full, as they are small; each is a part that
the key may be refused. A part that is refused or null is left as it is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api import Pager, load_document
from wbsync.extract.accounts import build_entity_rows, build_member_rows, build_user_rows
from wbsync.extract.automations import build_automation_rows, build_integration_rows
from wbsync.sync.inventory import read_held, write_changes

if TYPE_CHECKING:
    from wbsync.sync.context import EntityContext

TABLES = ("entities", "users", "team_members", "integrations", "automations")

CONNECTIONS = ("integrations", "triggers", "projects")
"""Parts that come in pages; `projects` only for the automations of servers that list them there."""

PART_OF = {"team_members": "members", "integrations": "integrations", "automations": "triggers"}
"""Table to the part that it is made of."""

SCALARS = {"organization": "organization", "user": "username", "storageBytes": "storage_bytes"}
"""Parts that are a column of the entity's own row."""

PARTS = (("viewer",), *(("entity", name) for name in (*CONNECTIONS, "members", *SCALARS)))

PAGE_ROWS = 100


@dataclass(slots=True)
class _State:
    """What W&B says of an entity."""

    viewer: dict[str, Any] | None = None
    entity: dict[str, Any] | None = None
    nodes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Part to what it lists; a part that was not given is not in it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Part to the server's words."""
    incomplete: set[str] = field(default_factory=set)
    """Parts of which something is hidden: what is not listed may still exist."""


async def sync_entity(context: EntityContext) -> None:
    """Brings an entity, its members, integrations and automations up to date."""
    state = await _fetch(context)
    if state.entity is None:
        context.skip(context.entity, state.refused.get("entity", "this key may not see the entity"))
        return
    for table, part in PART_OF.items():
        if context.options.wants((table,)) and part in state.refused:
            context.skip(f"{context.entity} {table}", f"{state.refused[part]} (--skip {table})")
    for table in TABLES:
        if context.options.wants((table,)):
            await _write(context, table, state)


async def _fetch(context: EntityContext) -> _State:
    """Asks for an entity, and for further pages until each part is at its end."""
    state, capabilities = _State(), context.client.capabilities
    pagers = {name: Pager("EntityState", PAGE_ROWS) for name in CONNECTIONS}
    while True:
        by_project = "Entity.triggers" in capabilities.missing_fields
        data, refused = await context.client.execute_parts(
            load_document("entity_state"),
            {
                "entity": context.entity,
                "perPage": PAGE_ROWS,
                "byProject": by_project,
                **{name: pager.cursor for name, pager in pagers.items()},
            },
            PARTS,
        )
        missing = capabilities.missing_fields
        if not by_project and "Entity.triggers" in missing and "Project.triggers" not in missing:
            continue
        state.refused |= {part[-1]: words for part, words in refused.items()}
        state.viewer, state.entity = data.get("viewer"), data.get("entity")
        if state.entity is None or not _take_page(state, pagers):
            break
    if "projects" in state.nodes:
        listed = [project.get("triggers") for project in state.nodes["projects"]]
        state.nodes["triggers"] = [t for triggers in listed for t in triggers or [] if t]
        if "projects" in state.refused:
            state.refused["triggers"] = state.refused["projects"]
        if "projects" in state.incomplete or None in listed:
            state.incomplete.add("triggers")
    state.incomplete |= state.refused.keys()
    return state


def _take_page(state: _State, pagers: dict[str, Pager]) -> bool:
    """Takes what an answer lists; returns whether some part goes on."""
    assert state.entity is not None
    members = state.entity.get("members")
    if members is not None:
        state.nodes["members"] = [m for m in members if m] if state.entity.get("isTeam") else []
        if None in members:
            state.incomplete.add("members")
    goes_on = False
    for name, pager in pagers.items():
        connection = state.entity.get(name)
        if connection is None:
            if name in state.nodes:
                state.incomplete.add(name)
            continue
        page = pager.take(connection)
        state.nodes.setdefault(name, []).extend(page.nodes)
        if len(page.nodes) < len(connection["edges"]):
            state.incomplete.add(name)
        goes_on = goes_on or page.has_next
    return goes_on


async def _write(context: EntityContext, table: str, state: _State) -> None:
    assert state.entity is not None
    entity, synced_at = context.entity, context.synced_at
    if table == "entities":
        held = (await read_held(context, table)).to_pylist()
        refused = [column for part, column in SCALARS.items() if part in state.refused]
        kept = {column: row[column] for row in held for column in refused}
        rows = build_entity_rows(state.entity, entity, kept, synced_at)
        await write_changes(context, table, rows, key=["entity"], gone=False)
        return
    if table == "users":
        held = (await read_held(context, table, ())).to_pylist()
        users = [state.entity.get("user"), state.viewer]
        rows = build_user_rows(users, state.nodes.get("members", []), held, synced_at)
        await write_changes(context, table, rows, key=["username"], gone=False, where=())
        return
    part = PART_OF[table]
    if part not in state.nodes:
        return
    nodes, gone = state.nodes[part], part not in state.incomplete
    if table == "team_members":
        rows = build_member_rows(nodes, entity, synced_at)
        where = [("team", "=", entity)]
        await write_changes(context, table, rows, key=["team", "member_id"], gone=gone, where=where)
    elif table == "integrations":
        rows = build_integration_rows(nodes, entity, synced_at)
        await write_changes(context, table, rows, key=["entity", "integration_id"], gone=gone)
    else:
        rows = build_automation_rows(nodes, entity, synced_at)
        await write_changes(context, table, rows, key=["entity", "automation_id"], gone=gone)
