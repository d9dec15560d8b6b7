"""GraphQL: the schema as this server knows it, its roots, and how a request is executed."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    execute,
    parse,
    validate,
)
from graphql import (
    build_schema as build_schema_of,
)
from graphql.language import ast

from wbsync.resources import read_resource
from wbsync.sandbox import artifacts, files, projects, runs, sweeps
from wbsync.sandbox.accounts import EntityNode, OrganizationNode, UserNode
from wbsync.sandbox.nodes import Scope, resolve_field, resolve_type
from wbsync.sandbox.store import global_id, now, parse_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

FEATURES = (
    "LARGE_FILENAMES", "ARTIFACT_TAGS", "CLIENT_IDS", "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES", "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION", "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",  # noqa: E501
)  # fmt: skip

NOT_FIELDS = frozenset({"updatedAtFilter"})
"""Entries of `--without` that are no fields of the schema."""

MAX_DOCUMENTS = 256


def build_schema(without: Sequence[str]) -> GraphQLSchema:
    """Returns the schema, less the fields that an older server lacks.

    Args:
        without: `Type.field`; or `field`, which leaves it out of `Run` where that has it, else out
            of every type.

    Raises:
        ValueError: A name is in no type.
    """
    schema = build_schema_of(read_resource("schemas/wandb.graphql"))
    types = {
        name: kind.fields
        for name, kind in schema.type_map.items()
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType)
    }
    for name in without:
        if name in NOT_FIELDS:
            continue
        owner, _, field = name.rpartition(".")
        having = [t for t, fields in types.items() if field in fields]
        chosen = [owner] if owner else ["Run"] if "Run" in having else having
        if not set(chosen) & set(having):
            raise ValueError(f"no type has a field {name}")
        for type_name in chosen:
            del types[type_name][field]
    return schema


class Query:
    """`Query`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def viewer(self) -> UserNode:
        return UserNode(self.scope, self.scope.viewer)

    def serverInfo(self) -> dict[str, Any]:
        return {
            "features": [{"name": name, "isEnabled": True} for name in FEATURES],
            "cliVersionInfo": {"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"},
            "latestLocalVersionInfo": None,
        }

    def users(self, query: str | None = None) -> dict[str, Any]:
        rows = self.scope.store.rows("SELECT * FROM users WHERE username = ?1 OR email = ?1", query)
        return {"edges": [{"node": UserNode(self.scope, row)} for row in rows]}

    def entity(self, name: str | None = None) -> EntityNode | None:
        return EntityNode.named(self.scope, name)

    def organization(self, name: str | None = None) -> OrganizationNode | None:
        row = self.scope.store.row("SELECT * FROM organizations WHERE name = ?", name)
        return None if row is None else OrganizationNode(self.scope, row)

    def models(self, entityName: str | None = None, **page: Any) -> Any:
        entity = EntityNode.named(self.scope, entityName)
        if entity is None:
            return None
        return projects.project_connection(self.scope, entity.row["pk"], **page)

    def project(self, name: str | None = None, entityName: str | None = None) -> Any:
        return projects.find_project(self.scope, entityName, name)

    model = project

    def artifact(self, id: str) -> Any:  # noqa: A002
        try:
            pk = artifacts.artifact_pk_of(self.scope, id)
        except GraphQLError:
            return None
        return artifacts.load_artifacts(self.scope, [pk])[0]

    def artifactCollection(self, id: str) -> Any:  # noqa: A002
        parts = parse_id(id)
        if parts[:1] != ["ArtifactCollection"]:
            return None
        return artifacts.CollectionNode.load(self.scope, int(parts[1]))

    def clientIDMapping(self, clientID: str) -> Any:
        pk = self.scope.store.value(
            "SELECT artifact_pk FROM client_ids WHERE client_id = ?", clientID
        )
        return None if pk is None else {"serverID": global_id("Artifact", pk)}

    def sweep(self, id: str) -> Any:  # noqa: A002
        parts = parse_id(id)
        return sweeps.SweepNode.load(self.scope, int(parts[2])) if len(parts) == 3 else None


def _update_run_state(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    pk = runs.run_by_id(scope, values["id"])
    scope.store.write(
        "UPDATE runs SET state = ?, updatedAt = ? WHERE pk = ?", values["state"], now(), pk
    )
    return {"success": True}


def _stop_run(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    pk = runs.run_by_id(scope, values["id"])
    scope.store.write("UPDATE runs SET stopped = 1, updatedAt = ? WHERE pk = ?", now(), pk)
    return {"success": True}


def _delete_run(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    scope.store.delete_run(runs.run_by_id(scope, values["id"]))
    return {}


def _mark_uploaded(_scope: Scope, _values: dict[str, Any]) -> dict[str, Any]:
    return {"success": True}


MUTATIONS = {
    "upsertModel": projects.upsert_model,
    "upsertBucket": runs.upsert_bucket,
    "updateRunState": _update_run_state,
    "stopRun": _stop_run,
    "deleteRun": _delete_run,
    "rewindRun": runs.rewind_run,
    "createRunFiles": files.create_run_files,
    "markRunFilesUploaded": _mark_uploaded,
    "upsertSweep": sweeps.upsert_sweep,
    "createAgent": sweeps.create_agent,
    "agentHeartbeat": sweeps.agent_heartbeat,
    "createArtifact": artifacts.create_artifact,
    "createArtifactManifest": artifacts.create_manifest,
    "updateArtifactManifest": artifacts.update_manifest,
    "createArtifactFiles": artifacts.create_files,
    "commitArtifact": artifacts.commit_artifact,
    "updateArtifact": artifacts.update_artifact,
    "useArtifact": artifacts.use_artifact,
    "addAliases": partial(artifacts.edit_aliases, adds=True),
    "deleteAliases": partial(artifacts.edit_aliases, adds=False),
    "deleteArtifact": artifacts.delete_artifact,
    "linkArtifact": artifacts.link_artifact,
}
"""Field of `Mutation` to what it does; each takes the request's scope and the input."""


def _mutation_root(scope: Scope) -> dict[str, Any]:
    def bound(mutation: Any) -> Any:
        return lambda input: mutation(scope, input)  # noqa: A006

    return {name: bound(mutation) for name, mutation in MUTATIONS.items()}


def _never(_value: Any) -> TypeGuard[Awaitable[Any]]:
    return False


class Graph:
    """Executes GraphQL over the schema; a document that was valid once is not checked again."""

    def __init__(self, without: Sequence[str]) -> None:
        self.schema = build_schema(without)
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def parse(self, text: str) -> DocumentNode:
        """Returns a checked document.

        Raises:
            GraphQLError: It does not parse, or asks for what the schema does not have.
        """
        document = self._documents.get(text)
        if document is None:
            document = parse(text, no_location=True)
            errors = validate(self.schema, document)
            if errors:
                raise errors[0]
            self._documents[text] = document
            if len(self._documents) > MAX_DOCUMENTS:
                self._documents.popitem(last=False)
        return document

    def execute(
        self,
        document: DocumentNode,
        variables: dict[str, Any] | None,
        operation: str | None,
        scope: Scope,
    ) -> dict[str, Any]:
        """Returns the response of a request."""
        is_mutation = any(
            isinstance(d, ast.OperationDefinitionNode) and d.operation is ast.OperationType.MUTATION
            for d in document.definitions
        )
        result = execute(
            self.schema,
            document,
            root_value=_mutation_root(scope) if is_mutation else Query(scope),
            variable_values=variables,
            operation_name=operation,
            field_resolver=resolve_field,
            type_resolver=resolve_type,
            is_awaitable=_never,
        )
        response: dict[str, Any] = {"data": result.data}  # type: ignore[union-attr]
        if result.errors:  # type: ignore[union-attr]
            response["errors"] = [
                {"message": e.message, "path": e.path}
                for e in result.errors  # type: ignore[union-attr]
            ]
        return response


def fields_of(document: DocumentNode) -> list[str]:
    """Returns the names of all fields that a document asks for, for the request log."""
    found: set[str] = set()
    pending: list[Any] = list(document.definitions)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FieldNode):
            found.add(node.name.value)
        selection = getattr(node, "selection_set", None)
        if selection is not None:
            pending += selection.selections
    return sorted(found)
