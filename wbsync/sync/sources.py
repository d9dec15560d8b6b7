"""Which projects the sources of a sync name, and with which options each is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbsync.errors import NotFoundError
from wbsync.model import ProjectPath
from wbsync.sync.moves import list_projects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from wbsync.api import Client
    from wbsync.model import Source, SyncOptions

    Follow = Callable[[str, dict[str, str | None], bool], Awaitable[None]]

Chosen = dict[ProjectPath, "SyncOptions"]


def choose(sources: Sequence[Source], projects: Iterable[ProjectPath]) -> Chosen:
    """Returns the projects that sources name, each once, in the order of the sources.

    A project that several sources name is read as the most exact of them says: one that names it,
    before a glob, before its entity; among equals the first.

    Args:
        sources: The sources.
        projects: Projects of the entities that are not named one by one.
    """
    listed = list(projects)
    found: dict[ProjectPath, Source] = {}
    for source in sources:
        pattern = source.pattern
        if pattern.is_exact:
            fitting = [ProjectPath(pattern.entity, pattern.project)]
        else:
            fitting = [p for p in listed if p.entity == pattern.entity and pattern.fits(p.project)]
        for project in fitting:
            if project not in found or _exactness(source) > _exactness(found[project]):
                found[project] = source
    return {project: source.options for project, source in found.items()}


def _exactness(source: Source) -> int:
    return 2 if source.pattern.is_exact else 1 if source.pattern.project else 0


async def resolve_sources(
    client: Client, sources: Sequence[Source], follow: Follow | None = None
) -> Chosen:
    """Returns the projects that sources name; asks the server for those of globs and entities.

    Args:
        client: Whom to ask.
        sources: The sources.
        follow: Told of each entity's projects, by name and internal id, and whether the list is
            whole; None for nobody.

    Raises:
        NotFoundError: An entity or a glob leads to no project.
    """
    listed: list[ProjectPath] = []
    for entity in dict.fromkeys(s.pattern.entity for s in sources if not s.pattern.is_exact):
        names, is_whole = await list_projects(client, entity)
        if follow is not None:
            await follow(entity, names, is_whole)
        listed += [ProjectPath(entity, name) for name in names]
    for source in sources:
        if not source.pattern.is_exact and not choose([source], listed):
            entity, glob = source.pattern.entity, source.pattern.project
            what = f"no project of {entity} fits {glob!r}" if glob else "no such entity"
            raise NotFoundError(
                f"{source.pattern}: {what} on {client.base_url}, or it has no project that this"
                " key may see"
            )
    return choose(sources, listed)
