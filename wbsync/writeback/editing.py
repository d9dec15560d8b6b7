"""The ways in, each from what people write to a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.errors import EditError
from wbsync.model import REGISTRY_PREFIX, ProjectPath
from wbsync.query.nearness import check_project
from wbsync.writeback.assignments import KIND_OF
from wbsync.writeback.plan import collector_at_rest, plan_alike
from wbsync.writeback.things import Needs, find_filtered, find_named, read_things

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wbsync.query import Engine
    from wbsync.writeback.assignments import Assignment
    from wbsync.writeback.plan import Plan
    from wbsync.writeback.things import Things


def plan_edit(
    engine: Engine,
    kind: str,
    path: str,
    assignments: Sequence[Assignment],
    *,
    filters: str | Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    meaning: str = "mongo",
) -> Plan:
    """Works out what the same assignments do to each of some things of a project.

    Args:
        engine: The warehouse.
        kind: runs, artifacts or collections.
        path: `ENTITY/PROJECT`.
        assignments: What is to be changed.
        filters: Only things that pass this filter, in W&B's language.
        names: Run ids, `collection:v3` or `collection:alias`, or collections; None for all that
            pass.
        meaning: `mongo` or `wandb`, of the filter.

    Raises:
        EditError: W&B would not take it, something that is named is unknown, or may only be read.
        FilterError: The filter cannot be used.
        ConfigError: The path is none, or nothing that is held is called so.
    """
    if kind not in KIND_OF:
        raise EditError(f"{kind!r} cannot be edited: {', '.join(KIND_OF)} can")
    project = ProjectPath.parse(path)
    if project.project.startswith(REGISTRY_PREFIX):
        raise EditError(
            f"{path} is a registry: what is in registries cannot be edited here; do it in W&B, and"
            " edit the versions that are linked into it in the projects they come from"
        )
    parameters: Any = None
    if names is None:
        source = find_filtered(kind, path, filters, meaning)
    elif filters is not None:
        raise EditError("name things, or filter them, not both")
    elif isinstance(names, str):
        raise EditError("names are a list of texts, also of one")
    else:
        places = [(project.entity, project.project, name) for name in dict.fromkeys(names)]
        source, parameters = find_named(engine, kind, places)
    needs = Needs.of(assignments)
    with collector_at_rest():
        things = read_things(engine, kind, source, needs, parameters=parameters)
        if not len(things):
            check_project(engine, f"{project.entity}/{project.project}")
        if kind == "artifacts" and names is not None and "aliases" in needs.fields:
            _check_homes(names, things)
        return plan_alike(things, assignments)


def _check_homes(names: Sequence[str], things: Things) -> None:
    """Refuses aliases of versions that are named by a collection into which they are linked.

    Raises:
        EditError: One is; the alias would be given in the collection that it comes from.
    """
    homes = {name.partition(":")[0] for name in things.names}
    for name in names:
        collection = name.partition(":")[0]
        if collection not in homes:
            raise EditError(
                f"{name}: {collection} is a collection of links, in which aliases cannot be edited"
                " here; do it in W&B, or name the version by the collection that it comes from"
            )
