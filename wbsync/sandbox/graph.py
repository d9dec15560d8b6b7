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
    GraphQLUnionType,
    execute,
    parse,
    validate,
)
from graphql import (
    build_schema as build_schema_of,
)
from graphql.language import ast

from wbsync.resources import read_resource
from wbsync.sandbox import (
    accounts,
    artifacts,
    automations,
    collection_edits,
    files,
    projects,
    runs,
    sweeps,
    views,
)
from wbsync.sandbox.accounts import EntityNode, OrganizationNode, UserNode
from wbsync.sandbox.nodes import Options, Scope, resolve_field, resolve_type
from wbsync.sandbox.store import global_id, now, parse_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

FEATURES = (
    "LARGE_FILENAMES", "ARTIFACT_TAGS", "CLIENT_IDS", "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_REGISTRY_SEARCH", "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING", "STRUCTURED_CONSOLE_LOGS",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES", "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION", "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",  # noqa: E501
    "QUERY_AUTOMATIONS_ON_ENTITY", "AUTOMATION_SCOPE_ENTITY", "AUTOMATION_EVENT_RUN_METRIC_ZSCORE",
    "AUTOMATION_EVENT_ADD_ARTIFACT_TAG", "AUTOMATION_EVENT_REMOVE_ARTIFACT_TAG",
    "AUTOMATION_EVENT_ADD_COLLECTION_TAG", "AUTOMATION_EVENT_REMOVE_COLLECTION_TAG",
    "AUTOMATION_EVENT_UNLINK_ARTIFACT", "AUTOMATION_ACTION_ARIA",
)  # fmt: skip

FEATURE_NEEDS = {
    "QUERY_AUTOMATIONS_ON_ENTITY": {"triggers", "Entity.triggers"},
    "AUTOMATION_ACTION_ARIA": {"ARIATriggeredAction"},
}
"""Feature to the entries of `--without` of which any takes it away."""

NOT_FIELDS = frozenset({"updatedAtFilter"})
"""Entries of `--without` that are no fields of the schema."""

MAX_DOCUMENTS = 256


def build_schema(
    without: Sequence[str], denied: Sequence[str] = (), hidden: Sequence[str] = ()
) -> GraphQLSchema:
    """Returns the schema, less what an older server lacks and what the key may not see.

    A name is `Type.field`; or `field`, which means that of `Run` where that has it, else those of
    every type; or, to take a type away, `Type`.

    Args:
        without: Fields and types to take away, and arguments, as `Type.field(argument)`.
        denied: Fields that fail with an error.
        hidden: Fields that are null.

    Raises:
        ValueError: A name is in no type.
    """
    schema = build_schema_of(read_resource("schemas/wandb.graphql"))
    for name in without:
        if name in NOT_FIELDS:
            continue
        if name[0].isupper() and name in schema.type_map:
            _take_away(schema, name)
            continue
        whole, _, argument = name.rstrip(")").partition("(")
        for fields, field in _places(schema, whole):
            holder, entry = (fields[field].args, argument) if argument else (fields, field)
            if entry not in holder:
                raise ValueError(f"{whole} has no argument {argument}")
            del holder[entry]
    for name in denied:
        for fields, field in _places(schema, name):
            fields[field].resolve = _denied
    for name in hidden:
        for fields, field in _places(schema, name):
            fields[field].resolve = _hidden
    return schema


def _places(schema: GraphQLSchema, name: str) -> list[tuple[dict[str, Any], str]]:
    """Returns where a name of a field stands: fields of a type, and the name in them."""
    owner, _, field = name.rpartition(".")
    types: dict[str, dict[str, Any]] = {
        type_name: kind.fields
        for type_name, kind in schema.type_map.items()
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType)
    }
    having = [t for t, fields in types.items() if field in fields]
    chosen = [owner] if owner else ["Run"] if "Run" in having else having
    if not set(chosen) & set(having):
        raise ValueError(f"no type has a field {name}")
    return [(types[type_name], field) for type_name in chosen]


def _take_away(schema: GraphQLSchema, name: str) -> None:
    """Takes a type out of the schema, and out of the unions that it is in."""
    del schema.type_map[name]
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLUnionType):
            kind.types = tuple(t for t in kind.types if t.name != name)


def _denied(*_: Any, **__: Any) -> None:
    raise GraphQLError("permission denied")


def _hidden(*_: Any, **__: Any) -> None:
    return None


class Query:
    """`Query`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def viewer(self) -> UserNode:
        return UserNode(self.scope, self.scope.viewer)

    def serverInfo(self) -> dict[str, Any]:
        return {
            "features": [
                {"name": name, "isEnabled": True}
                for name in FEATURES
                if not FEATURE_NEEDS.get(name, set()) & set(self.scope.options.without)
            ],
            "cliVersionInfo": {"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"},
            "latestLocalVersionInfo": None,
        }

    def users(self, query: str | None = None) -> dict[str, Any]:
        rows = self.scope.store.rows("SELECT * FROM users WHERE username = ?1 OR email = ?1", query)
        return {"edges": [{"node": UserNode(self.scope, row)} for row in rows]}

    def entity(self, name: str | None = None) -> EntityNode | None:
        return EntityNode.named(self.scope, name)

    def organization(self, name: str | None = None) -> OrganizationNode | None:
        return OrganizationNode.named(self.scope, name)

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

    def view(self, id: str) -> Any:  # noqa: A002
        return views.find_view(self.scope, id)


STATES_FROM = {
    "pending": {"running", "failed", "crashed", "preempted"},
    "failed": {"pending", "running"},
}
"""State that a run may be set to, and from which: what the SDK's `Run.update_state` documents."""


def _update_run_state(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    pk = runs.run_by_id(scope, values["id"])
    row = scope.store.row("SELECT state, sweep_pk FROM runs WHERE pk = ?", pk)
    assert row is not None
    if row["sweep_pk"] is not None:
        raise GraphQLError("the state of a run of a sweep cannot be updated")
    if row["state"] not in STATES_FROM.get(values["state"], ()):
        raise GraphQLError(f"a run cannot go from {row['state']} to {values['state']}")
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
    "upsertView": views.upsert_view,
    "deleteView": views.delete_view,
    "createFilterTrigger": automations.create_trigger,
    "updateFilterTrigger": automations.update_trigger,
    "deleteTrigger": automations.delete_trigger,
    "createGenericWebhookIntegration": automations.create_webhook,
    "createTeam": accounts.create_team,
    "createInvite": accounts.create_invite,
    "deleteInvite": accounts.delete_invite,
    "createServiceAccount": accounts.create_service_account,
    "linkArtifact": collection_edits.link_artifact,
    "unlinkArtifact": collection_edits.unlink_artifact,
    "updateArtifactSequence": partial(collection_edits.update_collection, kind="sequence"),
    "updateArtifactPortfolio": partial(collection_edits.update_collection, kind="portfolio"),
    "moveArtifactSequence": collection_edits.move_sequence,
    "deleteArtifactSequence": partial(collection_edits.delete_collection, kind="sequence"),
    "deleteArtifactPortfolio": partial(collection_edits.delete_collection, kind="portfolio"),
    "createArtifactCollectionTagAssignments": partial(collection_edits.edit_tags, adds=True),
    "deleteArtifactCollectionTagAssignments": partial(collection_edits.edit_tags, adds=False),
    "renameProject": projects.rename_project,
    "deleteModel": projects.delete_project,
    "deleteFiles": files.delete_files,
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

    def __init__(self, options: Options) -> None:
        self._options = options
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()
        self.restrict(options.denied, options.hidden)

    def restrict(self, denied: Sequence[str], hidden: Sequence[str]) -> None:
        """Changes which fields fail with an error, and which are null.

        Raises:
            ValueError: A name is in no type.
        """
        self.schema = build_schema(self._options.without, denied, hidden)
        self._options.denied, self._options.hidden = tuple(denied), tuple(hidden)

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
        result = execute(
            self.schema,
            document,
            root_value=_mutation_root(scope) if is_mutation(document) else Query(scope),
            variable_values=variables,
            operation_name=operation,
            field_resolver=resolve_field,
            type_resolver=resolve_type,
            is_awaitable=_never,
        )
        response: dict[str, Any] = {"data": result.data}  # type: ignore[union-attr]
        if result.errors:  # type: ignore[union-attr]
            response["errors"] = [
                {"message": e.message, "path": e.path, "extensions": e.extensions or {}}
                for e in result.errors  # type: ignore[union-attr]
            ]
        return response


def is_mutation(document: DocumentNode) -> bool:
    """Says whether a document writes."""
    return any(
        isinstance(d, ast.OperationDefinitionNode) and d.operation is ast.OperationType.MUTATION
        for d in document.definitions
    )


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
