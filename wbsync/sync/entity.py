"""Keeps what belongs to an entity as a whole in step with W&B: one request where it fits a page.

Entity, members, integrations and automations come in full, as they are small; each is a part that
the key may be refused. A part that is refused or null is left as it is held.
"""

from __future__ import annotations

import json
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
    for table in TABLES[1:]:
        if context.options.wants((table,)):
            await _write(context, table, state)


async def keep_entity(context: EntityContext) -> None:
    """Writes the entity's own row, which says what was read of it; the last of its sync.

    It comes along whatever of the entity is chosen: by it an empty table is known to be empty.
    """
    state = await entity_state(context)
    if state.entity is None:
        return
    held = (await read_held(context, "entities")).to_pylist()
    if not held and "entities" in context.options.skip:
        return
    refused = [column for part, column in SCALARS.items() if part in state.refused]
    kept = {column: row[column] for row in held for column in refused}
    before = {name for row in held for name in json.loads(row["held"] or "[]")}
    kept["held"] = json.dumps(sorted(before | context.whole))
    rows = build_entity_rows(state.entity, context.entity, kept, context.synced_at)
    await write_changes(context, "entities", rows, key=["entity"], gone=False)


async def _write(context: EntityContext, table: str, state: EntityState) -> None:
    assert state.entity is not None
    entity, synced_at = context.entity, context.synced_at
    part = PART_OF.get(table, "members")
    if part in state.nodes and part not in state.incomplete:
        context.whole.add(table)
    if table == "users":
        held = (await read_held(context, table, ())).to_pylist()
        users = [state.entity.get("user"), state.viewer]
        rows = build_user_rows(users, state.nodes.get("members", []), held, synced_at)
        await write_changes(context, table, rows, key=["username"], gone=False, where=())
        return
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
