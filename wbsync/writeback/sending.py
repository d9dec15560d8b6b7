"""Writes what a merge found to be written: mutations, many of one kind in a request.

A mutation is never repeated blindly: after any answer that does not say what was done, the caller
reads what W&B holds, and merges again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wbsync.api import batch_document
from wbsync.api.client import TRANSIENT
from wbsync.errors import ApiError, BudgetSpentError, GraphQLError, RateLimitedError, Retryable
from wbsync.writeback.present import named_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wbsync.api import Client
    from wbsync.writeback.merge import Key, Merged, Verdict
    from wbsync.writeback.operations import Operation
    from wbsync.writeback.present import Present

MAX_CALLS = 100
"""Mutations in a request; fewer where the server is slow or refuses."""
MAX_BATCH_CHARS = 4_000_000
MAX_TAGS_PER_CALL = 20
"""As the SDK's input type says of collections' tags."""

_RUN_VARIABLES = {
    "tags": "tags", "notes": "notes", "display_name": "displayName", "group": "groupName",
    "job_type": "jobType", "config": "config", "summary": "summaryMetrics",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A mutation, and the operations that it writes."""

    template: str
    variables: Mapping[str, Any]
    """By their names in the template, without the number."""
    op_ids: tuple[int, ...]

    @property
    def chars(self) -> int:
        """About how much it adds to a request."""
        return sum(len(v) for v in self.variables.values() if isinstance(v, str)) + 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """What went wrong with a mutation."""

    reason: str
    is_final: bool
    """Whether the server has refused it, and would again; else nobody knows whether it was done."""
    is_trouble: bool = False
    """Whether the server seems ill: it is better to wait a moment."""
    op_ids: frozenset[int] = frozenset()
    """Operations of the mutation."""
    is_partial: bool = False
    """Whether the operation has other mutations, of which some may have been done."""
    is_astray: bool = False
    """Whether W&B wrote it elsewhere than was meant: nothing more may be sent."""

    @property
    def is_shared(self) -> bool:
        """Whether the mutation was several operations' together."""
        return len(self.op_ids) > 1


class Sender:
    """Sends mutations, as many in a request as goes well."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._size = MAX_CALLS

    async def send(self, calls: Sequence[Call]) -> dict[int, Refusal | None]:
        """Sends mutations; returns what became of their operations, None where all is well.

        Raises:
            BudgetSpentError, RateLimitedError: What follows was not sent.
        """
        outcome: dict[int, Refusal | None] = {}
        by_template: dict[str, list[Call]] = {}
        for call in calls:
            by_template.setdefault(call.template, []).append(call)
        for template, alike in by_template.items():
            for batch in self._batches(alike):
                told = await self._send_batch(template, batch)
                for call, answer in zip(batch, told, strict=True):
                    refusal = answer and replace(answer, op_ids=frozenset(call.op_ids))
                    for op_id in call.op_ids:
                        outcome[op_id] = (
                            _joined(outcome[op_id], refusal) if op_id in outcome else refusal
                        )
                if any(answer is not None and answer.is_astray for answer in told):
                    return outcome
        return outcome

    def _batches(self, calls: Sequence[Call]) -> Iterator[list[Call]]:
        rest = list(calls)
        while rest:
            batch = [rest.pop(0)]
            chars = batch[0].chars
            while rest and len(batch) < self._size and chars + rest[0].chars <= MAX_BATCH_CHARS:
                chars += rest[0].chars
                batch.append(rest.pop(0))
            yield batch

    async def _send_batch(self, template: str, batch: Sequence[Call]) -> list[Refusal | None]:
        variables = {
            f"{name}{i}": value
            for i, call in enumerate(batch)
            for name, value in call.variables.items()
        }
        try:
            data = await self._client.execute(
                batch_document(template, len(batch)), variables, max_attempts=1
            )
        except (BudgetSpentError, RateLimitedError):
            raise
        except ApiError as error:
            self._size = max(1, len(batch) // 2)
            named = named_in(error, len(batch))
            if named and len(named) < len(batch):
                # The others were done, or were not: the next reading tells.
                return [
                    Refusal(named.get(i, str(error)), i in named and not TRANSIENT.search(named[i]))
                    for i in range(len(batch))
                ]
            is_final = _is_final(error)
            return [Refusal(str(error), is_final and len(batch) == 1, not is_final)] * len(batch)
        self._size = min(MAX_CALLS, max(self._size, 2 * len(batch)))
        return [_problem(call, data.get(f"r{i}")) for i, call in enumerate(batch)]


def _joined(one: Refusal | None, other: Refusal | None) -> Refusal | None:
    """Returns what became of an operation that needs several mutations: one that failed counts."""
    counts = one or other
    if counts is None:
        return None
    both_refused = one is not None and other is not None and one.is_final and other.is_final
    return replace(
        counts,
        is_partial=not both_refused,
        op_ids=counts.op_ids | (other.op_ids if other else set()),
    )


def _is_final(error: ApiError) -> bool:
    """Says whether the server has understood and refused."""
    if isinstance(error, Retryable):
        return False
    words = (
        [str(e.get("message", "")) for e in error.errors] if isinstance(error, GraphQLError) else []
    )
    return not any(TRANSIENT.search(text) for text in words)


def _problem(call: Call, payload: Any) -> Refusal | None:
    """Returns what the answer to one mutation says against it."""
    if not isinstance(payload, dict):
        return Refusal("W&B did not say what it did", is_final=False)
    if payload.get("success") is False:
        return Refusal("W&B did not do it, and does not say why", is_final=True)
    if call.template == "edit_runs":
        bucket = payload.get("bucket") or {}
        if payload.get("inserted") or bucket.get("id") != call.variables["id"]:
            return Refusal(
                "W&B wrote it to another run than was meant, or made a new one: look at the project"
                " in W&B before you push again",
                is_final=True,
                is_astray=True,
            )
    return None


def build_calls(merged: Merged, presents: Mapping[Key, Present]) -> list[Call]:
    """Returns the mutations that write what a merge found to be written."""
    sent: dict[tuple[Key, str], list[Verdict]] = {}
    movers: dict[Any, list[int]] = {}
    for verdict in merged.verdicts:
        operation = verdict.entry.operation
        if verdict.outcome != "send":
            continue
        if operation.form == "holder":
            movers.setdefault(_alias_of(operation), []).append(verdict.entry.op_id)
        else:
            place = (operation.target.key, operation.field)
            sent.setdefault(place, []).append(verdict)

    calls: list[Call] = []
    for key in dict.fromkeys([*merged.values, *merged.texts]):
        present = presents[key]
        fields = {**merged.values.get(key, {}), **merged.texts.get(key, {})}
        verdicts = {name: sent.get((key, name), []) for name in fields}
        if key[0] == "artifact_collection":
            calls += _collection_calls(present, fields, verdicts)
            continue
        op_ids = {name: [v.entry.op_id for v in found] for name, found in verdicts.items()}
        calls += (_run_calls if key[0] == "run" else _artifact_calls)(present, fields, op_ids)
    for operation, held in merged.holders.values():
        calls.append(_alias_call(operation, held, tuple(movers[_alias_of(operation)])))
    return calls


def _run_calls(
    present: Present, fields: dict[str, Any], op_ids: Mapping[str, list[int]]
) -> Iterator[Call]:
    if "state" in fields:
        values = {"id": present.storage_id, "state": fields.pop("state")}
        yield Call("set_run_states", {"input": values}, tuple(op_ids["state"]))
    if fields.pop("stop", None):
        yield Call("stop_runs", {"id": present.storage_id}, tuple(op_ids["stop"]))
    if fields:
        variables = {_RUN_VARIABLES[name]: value for name, value in fields.items()}
        ids = tuple(i for name in fields for i in op_ids[name])
        yield Call("edit_runs", {"id": present.storage_id, **variables}, ids)


def _tag_changes(present: Present, tags: Sequence[str]) -> tuple[list[Any], list[Any]]:
    held = present.values["tags"]
    add = [{"tagName": tag} for tag in tags if tag not in held]
    return add, [{"tagName": tag} for tag in held if tag not in tags]


def _artifact_calls(
    present: Present, fields: dict[str, Any], op_ids: Mapping[str, list[int]]
) -> Iterator[Call]:
    values: dict[str, Any] = {"artifactID": present.storage_id}
    for name, value in fields.items():
        if name == "tags":
            values["tagsToAdd"], values["tagsToDelete"] = _tag_changes(present, value)
        else:
            values[name] = value
    yield Call(
        "edit_artifacts", {"input": values}, tuple(i for ids in op_ids.values() for i in ids)
    )


def _collection_calls(
    present: Present, fields: dict[str, Any], verdicts: Mapping[str, Sequence[Verdict]]
) -> Iterator[Call]:
    if "description" in fields:
        kind = "Portfolio" if present.typename == "ArtifactPortfolio" else "Sequence"
        values = {
            f"artifact{kind}ID": present.storage_id, "description": fields["description"] or "",
        }  # fmt: skip
        op_ids = tuple(v.entry.op_id for v in verdicts["description"])
        yield Call(f"edit_{kind.lower()}s", {"input": values}, op_ids)
    if "tags" in fields:
        target = present.target
        place = {
            "entityName": target.entity, "projectName": target.project,
            "artifactCollectionName": target.name,
        }  # fmt: skip
        templates = ("add_collection_tags", "delete_collection_tags")
        for template, tags in zip(templates, _tag_changes(present, fields["tags"]), strict=True):
            for start in range(0, len(tags), MAX_TAGS_PER_CALL):
                part = tags[start : start + MAX_TAGS_PER_CALL]
                op_ids = tuple(
                    v.entry.op_id
                    for v in verdicts["tags"]
                    if any(tag["tagName"] in set(v.before) ^ set(v.after) for tag in part)
                )
                yield Call(template, {"input": {**place, "tags": part}}, op_ids)


def _alias_of(operation: Operation) -> tuple[str, ...]:
    target = operation.target
    return (target.entity, target.project, target.collection, operation.path[0])


def _alias_call(operation: Operation, held: str | None, op_ids: tuple[int, ...]) -> Call:
    entity, project, collection, alias = _alias_of(operation)
    place = {
        "entityName": entity, "projectName": project, "artifactCollectionName": collection,
        "alias": alias,
    }  # fmt: skip
    adds = operation.action == "add"
    artifact = operation.target.storage_id if adds else held
    return Call(
        "add_aliases" if adds else "delete_aliases",
        {"input": {"artifactID": artifact, "aliases": [place]}},
        op_ids,
    )
