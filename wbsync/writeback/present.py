"""What W&B holds of the things that edits change, read in batches just before they are merged."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api import batch_document
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    GraphQLError,
    RateLimitedError,
    Retryable,
    TransportError,
)
from wbsync.extract.rows import nodes_of
from wbsync.extract.values import parse_json, parse_time, unwrap_config
from wbsync.writeback.leaves import leaf_at
from wbsync.writeback.operations import ENDED_STATES, Operation, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wbsync.api import Client

ATTEMPTS_BEFORE_SPLITTING = 3


_NOUN = {"run": "run", "artifact": "version", "artifact_collection": "collection"}


@dataclass(slots=True)
class Present:
    """What W&B holds of one thing."""

    target: Target
    problem: str | None = None
    """Why it cannot be edited; None where it can. See problem_of."""
    storage_id: str = ""
    created_at: str | None = None
    version: tuple[str | None, ...] | None = None
    """Entity, project, collection and version in which a version has its home."""
    state: str | None = None
    is_of_sweep: bool = False
    typename: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    """Field to value: tags, texts and flags."""
    texts: dict[str, str] = field(default_factory=dict)
    """Field to JSON text: config, summary, metadata."""
    holders: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """Collection and alias to the id of the version that has it."""
    broken: frozenset[str] = frozenset()
    """JSON fields that hold no JSON object."""
    is_ill: bool = False
    """Whether the server could not say what it holds: the problem may pass."""

    @property
    def is_live(self) -> bool:
        """Whether a run's process may be at work."""
        return self.state not in ENDED_STATES

    def value_of(self, operation: Operation) -> Any:
        """Returns the value of an operation's field."""
        if operation.form == "leaf":
            return leaf_at(self.leaves(operation.field), operation.path)
        if operation.form == "holder":
            return self.holders.get((operation.target.collection, operation.path[0]))
        return self.values.get(operation.field)

    def problem_of(self, target: Target) -> str | None:
        """Says why this cannot be edited as what a target means, None where it can.

        Edits of one name may mean different things: a run that was deleted and made anew is another
        one, also where its id is the same.
        """
        if self.problem is not None:
            return self.problem
        noun = _NOUN[target.kind]
        if target.storage_id and self.storage_id != target.storage_id:
            how = "that one was renamed or deleted"
            if target.kind == "run":
                how = "it was moved, or its project renamed"
            return f"{target} is another {noun} now: {how}"
        made_at, held_at = parse_time(target.created_at), parse_time(self.created_at)
        is_of_time = made_at is None or held_at == made_at
        if target.kind == "artifact":
            if is_of_time and self._is_version(target):
                return None
            return (
                f"{target} is another version now: it was deleted and made anew, or its collection"
                " or project renamed"
            )
        if is_of_time:
            return None
        return (
            f"{target} is another {noun} now: it was deleted and made anew, or its project renamed"
        )

    def _is_version(self, target: Target) -> bool:
        """Says whether this is the version that a target names.

        Where only a collection is named, it may be one that the version is linked into.
        """
        version = target.name.partition(":")[2]
        place = (target.entity, target.project, target.collection, version)
        return not version or self.version in {None, place}

    def leaves(self, name: str) -> dict[str, Any]:
        """Returns what a JSON field holds; config without W&B's wrapping."""
        raw = parse_json(self.texts.get(name) or "{}")
        raw = raw if isinstance(raw, dict) else {}
        return unwrap_config(raw) if name == "config" else raw


async def read_present(
    client: Client, operations: Iterable[Operation]
) -> dict[tuple[str, ...], Present]:
    """Returns what W&B holds of the things that operations change, by the key of the target.

    Raises:
        ApiError: The server answers nothing, or does not take the key.
    """
    wanted: dict[tuple[str, ...], list[Operation]] = {}
    for operation in operations:
        wanted.setdefault(operation.target.key, []).append(operation)
    found: dict[tuple[str, ...], Present] = {}
    places: dict[tuple[str, str, str], list[list[Operation]]] = {}
    for same_target in wanted.values():
        target = same_target[0].target
        places.setdefault((target.kind, target.entity, target.project), []).append(same_target)
    for (kind, entity, project), groups in places.items():
        reader = {"run": _read_runs, "artifact": _read_artifacts}.get(kind, _read_collections)
        for present in await reader(client, entity, project, groups):
            found[present.target.key] = present
    return found


async def _read_runs(
    client: Client, entity: str, project: str, groups: Sequence[Sequence[Operation]]
) -> list[Present]:
    fields = {operation.field for group in groups for operation in group}
    shared = {
        "entity": entity, "project": project, "withConfig": "config" in fields,
        "withSummary": "summary" in fields,
    }  # fmt: skip
    targets = [group[0].target for group in groups]
    answers = await ask_each(client, "runs_to_edit", [{"n": t.name} for t in targets], shared)
    return [_run(target, answer) for target, answer in zip(targets, answers, strict=True)]


def _run(target: Target, node: Any) -> Present:
    if not isinstance(node, dict):
        return _missing(target, node)
    problem = f"{target} is read-only to this key" if node.get("readOnly") else None
    texts = {"config": node.get("config") or "", "summary": node.get("summaryMetrics") or ""}
    values = {
        "tags": node.get("tags") or [],
        "notes": node.get("notes"),
        "display_name": node.get("displayName"),
        "group": node.get("group"),
        "job_type": node.get("jobType"),
        "state": node.get("state"),
        "stop": bool(node.get("stopped")),
    }
    return Present(
        target, problem, node["id"], node.get("createdAt"), state=node.get("state"),
        is_of_sweep=bool(node.get("sweepName")), typename="Run", values=values, texts=texts,
        broken=_broken(texts),
    )  # fmt: skip


def _broken(texts: Mapping[str, str]) -> frozenset[str]:
    """Returns the fields that hold no JSON object: no leaf could be kept in them."""
    broken = set()
    for name, text in texts.items():
        try:
            is_object = isinstance(parse_json(text or "{}"), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            broken.add(name)
    return frozenset(broken)


def _missing(target: Target, answer: Any) -> Present:
    if isinstance(answer, ApiError):
        return Present(target, str(answer), is_ill=isinstance(answer, Retryable))
    return Present(
        target,
        f"W&B shows no {target} any more: it was deleted, moved or renamed, or this key may not"
        " see it",
    )


async def _read_artifacts(
    client: Client, entity: str, project: str, groups: Sequence[Sequence[Operation]]
) -> list[Present]:
    targets = [group[0].target for group in groups]
    answers = await ask_each(
        client, "artifacts_to_edit", [{"id": target.storage_id} for target in targets], {}
    )
    found = [_artifact(target, answer) for target, answer in zip(targets, answers, strict=True)]
    asked = {
        (operation.target.collection, operation.path[0]): None
        for group in groups
        for operation in group
        if operation.form == "holder"
    }
    if not asked:
        return found
    answers = await ask_each(
        client,
        "alias_holders",
        [{"n": collection, "a": alias} for collection, alias in asked],
        {"entity": entity, "project": project},
    )
    holders = dict(zip(asked, answers, strict=True))
    for present, group in zip(found, groups, strict=True):
        for operation in group:
            if operation.form != "holder":
                continue
            place = (operation.target.collection, operation.path[0])
            node = holders[place]
            if isinstance(node, dict):
                membership = node.get("artifactMembership") or {}
                present.holders[place] = (membership.get("artifact") or {}).get("id")
            elif present.problem is None:
                lost = _missing(operation.target, node)
                present.problem, present.is_ill = lost.problem, lost.is_ill
    return found


def _artifact(target: Target, node: Any) -> Present:
    if not isinstance(node, dict) or node.get("state") == "DELETED":
        return _missing(target, node)
    values = {
        "tags": [tag["name"] for tag in node.get("tags") or []],
        "description": node.get("description"),
    }
    texts = {"metadata": node.get("metadata") or ""}
    source = node["artifactSequence"]
    place = source.get("project") or {}
    version = (
        place.get("entityName"), place.get("name"), source["name"], f"v{node.get('versionIndex')}"
    )  # fmt: skip
    return Present(
        target, None, node["id"], node.get("createdAt"), version, values=values, texts=texts,
        broken=_broken(texts),
    )  # fmt: skip


async def _read_collections(
    client: Client, entity: str, project: str, groups: Sequence[Sequence[Operation]]
) -> list[Present]:
    targets = [group[0].target for group in groups]
    answers = await ask_each(
        client,
        "collections_to_edit",
        [{"n": target.name} for target in targets],
        {"entity": entity, "project": project},
    )
    return [_collection(target, answer) for target, answer in zip(targets, answers, strict=True)]


def _collection(target: Target, node: Any) -> Present:
    if not isinstance(node, dict):
        return _missing(target, node)
    values = {
        "tags": [tag["name"] for tag in nodes_of(node.get("tags"))],
        "description": node.get("description"),
    }
    return Present(
        target, None, node["id"], node.get("createdAt"), typename=node["__typename"], values=values
    )  # fmt: skip


async def ask_each(
    client: Client,
    template: str,
    items: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
) -> list[Any]:
    """Returns what the server says of each of some objects, in their order.

    An object for which alone the server has an error is that error; None is one that it does not
    show.

    Raises:
        ApiError: The server answers nothing, or does not take the key.
    """
    answers = await _ask_each(client, template, items, shared)
    if all(isinstance(answer, Retryable) for answer in answers):
        raise answers[0]
    return answers


async def _ask_each(
    client: Client,
    template: str,
    items: Sequence[Mapping[str, Any]],
    shared: Mapping[str, Any],
) -> list[Any]:
    variables = {
        **shared,
        **{f"{name}{i}": value for i, item in enumerate(items) for name, value in item.items()},
    }
    try:
        data = await client.execute(
            batch_document(template, len(items)),
            variables,
            max_attempts=ATTEMPTS_BEFORE_SPLITTING if len(items) > 1 else None,
        )
    except (AuthenticationError, RateLimitedError, TransportError):
        raise
    except ApiError as error:
        if len(items) == 1:
            return [error]
        chosen = set(blamed(error, len(items)))
        answers: list[Any] = [None] * len(items)
        for part in (sorted(chosen), [i for i in range(len(items)) if i not in chosen]):
            told = await _ask_each(client, template, [items[i] for i in part], shared)
            for index, answer in zip(part, told, strict=True):
                answers[index] = answer
        return answers
    holder = (data.get("project") or {}) if "project" in shared else data
    return [holder.get(f"r{i}") for i in range(len(items))]


def blamed(error: ApiError, count: int) -> list[int]:
    """Returns some of a batch's objects, never all: those an error names, else the first half."""
    named = sorted(named_in(error, count))
    return named if 0 < len(named) < count else list(range(count // 2))


def named_in(error: ApiError, count: int) -> dict[int, str]:
    """Returns the objects of a batch that an error's paths name, with its words."""
    if not isinstance(error, GraphQLError):
        return {}
    named: dict[int, str] = {}
    for entry in error.errors:
        for step in entry.get("path") or ():
            match = re.fullmatch(r"r(\d+)", str(step))
            if match is not None and int(match[1]) < count:
                named.setdefault(int(match[1]), str(entry.get("message", "")))
    return named
