"""What W&B says of an entity: one request where all of it fits a page, asked once a sync.

Each kind of thing in it is a part that the key may be refused. Registries are asked for with the
rest; should a server fail on so much at once, the rest is asked for without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api import Pager, load_document
from wbsync.errors import ServerError, TransportError

if TYPE_CHECKING:
    from wbsync.sync.context import EntityContext

CONNECTIONS = ("integrations", "triggers", "projects")
"""Parts that come in pages; `projects` only for the automations of servers that list them there."""

SCALARS = {"organization": "organization", "user": "username", "storageBytes": "storage_bytes"}
"""Parts that are a column of the entity's own row."""

REGISTRIES = (("entity", "organization", "orgEntity"), ("entity", "user", "organizations"))
PARTS = (
    *REGISTRIES,
    ("viewer",),
    *(("entity", name) for name in (*CONNECTIONS, "members", *SCALARS)),
)

REGISTRY_TABLES = ("registries", "registry_collections", "registry_versions")
PAGE_ROWS = 100
FEW_VERSIONS = 100
"""So many versions in registries come with the rest, and need no sign of having changed."""
ATTEMPTS_WITH_REGISTRIES = 3


@dataclass(slots=True)
class EntityState:
    """What W&B says of an entity."""

    viewer: dict[str, Any] | None = None
    entity: dict[str, Any] | None = None
    organizations: list[dict[str, Any]] = field(default_factory=list)
    """A team's one, or those of the person behind it, with the first page of their registries."""
    nodes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Part to what it lists; a part that was not given is not in it."""
    refused: dict[str, str] = field(default_factory=dict)
    """Part to the server's words; `registries` for those of an organisation."""
    incomplete: set[str] = field(default_factory=set)
    """Parts of which something is hidden: what is not listed may still exist."""


async def entity_state(context: EntityContext) -> EntityState:
    """Returns what W&B says of the context's entity; asks when it is called first."""
    if context.entity_state is None:
        context.entity_state = await _fetch(context)
    return context.entity_state


async def _fetch(context: EntityContext) -> EntityState:
    """Asks for an entity, and for further pages until each part is at its end."""
    state, capabilities = EntityState(), context.client.capabilities
    pagers = {name: Pager("EntityState", PAGE_ROWS) for name in CONNECTIONS}
    with_registries = context.options.wants(REGISTRY_TABLES)
    while True:
        by_project = "Entity.triggers" in capabilities.missing_fields
        variables = {
            "entity": context.entity,
            "perPage": PAGE_ROWS,
            "byProject": by_project,
            **{name: pager.cursor for name, pager in pagers.items()},
        }
        data, refused = await _ask(context, variables, with_registries=with_registries)
        missing = capabilities.missing_fields
        if not by_project and "Entity.triggers" in missing and "Project.triggers" not in missing:
            continue
        for part, words in refused.items():
            state.refused["registries" if part in REGISTRIES else part[-1]] = words
        state.viewer, state.entity = data.get("viewer"), data.get("entity")
        if with_registries and state.entity is not None:
            state.organizations = _organizations(state.entity)
            with_registries = False
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


async def _ask(
    context: EntityContext, variables: dict[str, Any], *, with_registries: bool
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Asks for a page of everything; without registries, where it fails with them."""
    document = load_document("entity_state")
    if not with_registries:
        return await context.client.execute_parts(document, variables, PARTS)
    few = context.lake.row_count("registry_versions") <= FEW_VERSIONS
    wanted = {"registries": True, "collections": True, "versions": few}
    try:
        data, refused = await context.client.execute_parts(
            document, {**variables, **wanted}, PARTS, max_attempts=ATTEMPTS_WITH_REGISTRIES
        )
    except (ServerError, TransportError) as error:
        words = str(error)
    else:
        if not refused.keys() >= set(PARTS):
            return data, refused
        words = refused[REGISTRIES[0]]
    data, refused = await context.client.execute_parts(document, variables, PARTS)
    return data, {**dict.fromkeys(REGISTRIES, words), **refused}


def _organizations(entity: dict[str, Any]) -> list[dict[str, Any]]:
    found = [entity.get("organization"), *((entity.get("user") or {}).get("organizations") or [])]
    return list({o["name"]: o for o in found if o and o.get("name")}.values())


def _take_page(state: EntityState, pagers: dict[str, Pager]) -> bool:
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
