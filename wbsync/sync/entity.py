"""Keeps what belongs to an entity as a whole in step with W&B: one request where it fits a page.

Entity, members, integrations and automations come in full, as they are small; each is a part that
the key may be refused. A part that is refused or null is left as it is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbsync.extract.accounts import build_entity_rows, build_member_rows, build_user_rows
from wbsync.extract.automations import build_automation_rows, build_integration_rows
from wbsync.sync.entity_state import SCALARS, entity_state
from wbsync.sync.inventory import read_held, write_changes

if TYPE_CHECKING:
    from wbsync.sync.context import EntityContext
    from wbsync.sync.entity_state import EntityState

TABLES = ("entities", "users", "team_members", "integrations", "automations")

PART_OF = {"team_members": "members", "integrations": "integrations", "automations": "triggers"}
"""Table to the part that it is made of."""


async def sync_entity(context: EntityContext) -> None:
    """Brings an entity, its members, integrations and automations up to date."""
    state = await entity_state(context)
    if state.entity is None:
        context.skip(context.entity, state.refused.get("entity", "this key may not see the entity"))
        return
    for table, part in PART_OF.items():
        if context.options.wants((table,)) and part in state.refused:
            context.skip(f"{context.entity} {table}", f"{state.refused[part]} (--skip {table})")
    for table in TABLES:
        if context.options.wants((table,)):
            await _write(context, table, state)


async def _write(context: EntityContext, table: str, state: EntityState) -> None:
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
