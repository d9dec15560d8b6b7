"""What a server can do, learnt from what it refuses.

Servers differ. A field or argument that one does not know comes back as `Cannot query field` or
`Unknown argument`; it is then taken out of every document sent to that host.
Source: core/internal/featurechecker of the wandb SDK takes the same error for "too old".
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wbsync.api.documents import Document

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIELD = re.compile(r"Cannot query field ['\"](?P<field>\w+)['\"] on type ['\"](?P<type>\w+)['\"]")
_ARGUMENT = re.compile(
    r"Unknown argument ['\"](?P<argument>\w+)['\"] on field ['\"](?P<type>\w+)\.(?P<field>\w+)['\"]"
)

LIFETIME_S = 7 * 86400.0
KEPT_FIELDS = frozenset({"Run.updatedAt"})
"""Fields whose lack a sync must know before its first request: it decides how changes are found."""


@dataclass(slots=True)
class Capabilities:
    """What is known of one host."""

    missing_fields: set[str] = field(default_factory=set)
    """`Type.field` and `Type.field(argument:)` that the server does not know."""
    filters_updated_at: bool | None = None
    """Whether runs can be filtered by `updatedAt`; None before it was tried."""
    learnt_at: float = field(default_factory=time.time)
    """Seconds since the epoch when the first of it was learnt."""

    def learn(self, messages: Iterable[str]) -> set[str]:
        """Returns what the messages of an answer say is missing, and remembers it."""
        found = learn(messages)
        new = found - self.missing_fields
        self.missing_fields |= found
        return new

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return {
            "missing_fields": sorted(self.missing_fields),
            "filters_updated_at": self.filters_updated_at,
            "learnt_at": self.learnt_at,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Capabilities:
        """Returns what to_json wrote; unknown content counts for nothing.

        What is old is forgotten: servers are upgraded, and asking anew costs a request or two.
        Only KEPT_FIELDS stay.
        """
        learnt_at = values.get("learnt_at", 0.0)
        if not isinstance(learnt_at, float) or abs(time.time() - learnt_at) > LIFETIME_S:
            return cls(missing_fields=set(values.get("missing_fields", [])) & KEPT_FIELDS)
        return cls(
            learnt_at=learnt_at,
            missing_fields={str(f) for f in values.get("missing_fields", [])},
            filters_updated_at=values.get("filters_updated_at"),
        )


def learn(messages: Iterable[str]) -> set[str]:
    """Returns the fields and arguments that messages say a server lacks.

    >>> sorted(learn(['Cannot query field "updatedAt" on type "Run". Did you mean "createdAt"?']))
    ['Run.updatedAt']
    """
    found = set()
    for message in messages:
        if match := _FIELD.search(message):
            found.add(f"{match['type']}.{match['field']}")
        elif match := _ARGUMENT.search(message):
            found.add(f"{match['type']}.{match['field']}({match['argument']}:)")
    return found


def without(document: Document, missing: Iterable[str]) -> Document:
    """Returns the document less the fields and arguments that a server lacks.

    A field is taken out only where it is selected of its own type, which schemas/wandb.graphql
    tells. Selections and variables left empty go too.
    """
    names = frozenset(missing)
    if not any(_name(n) in document.text for n in names):
        return document
    return _without(document, names)


@lru_cache(maxsize=256)
def _without(document: Document, names: frozenset[str]) -> Document:
    import graphql

    schema_types = _parent_types()
    fields = {tuple(n.split(".", 1)) for n in names if "(" not in n}
    arguments = {
        (n.split(".", 1)[0], *n.split(".", 1)[1][:-2].split("(")) for n in names if "(" in n
    }

    def prune(selections: graphql.SelectionSetNode, parent: str) -> graphql.SelectionSetNode | None:
        kept: list[graphql.SelectionNode] = []
        for node in selections.selections:
            if not isinstance(node, graphql.FieldNode):
                kept.append(node)
                continue
            name = node.name.value
            if (parent, name) in fields:
                continue
            inner = node.selection_set
            if inner is not None:
                inner = prune(inner, schema_types.get((parent, name), ""))
                if inner is None:
                    continue
            kept.append(
                graphql.FieldNode(
                    alias=node.alias,
                    name=node.name,
                    arguments=tuple(
                        a
                        for a in node.arguments or ()
                        if (parent, name, a.name.value) not in arguments
                    ),
                    directives=node.directives,
                    selection_set=inner,
                )
            )
        return graphql.SelectionSetNode(selections=tuple(kept)) if kept else None

    tree = graphql.parse(document.text)
    operation = tree.definitions[0]
    assert isinstance(operation, graphql.OperationDefinitionNode)
    selections = prune(operation.selection_set, "Query")
    if selections is None:
        return document
    body = graphql.print_ast(selections)
    used = set(re.findall(r"\$(\w+)", body))
    variables = [
        graphql.print_ast(v)
        for v in operation.variable_definitions or ()
        if v.variable.name.value in used
    ]
    head = f"({', '.join(variables)})" if variables else ""
    return Document(document.name, f"query {document.name}{head} {body}")


def used_variables(document: Document) -> set[str]:
    """Returns the names of the variables that a document declares."""
    return set(re.findall(r"\$(\w+):", document.text))


def _name(missing: str) -> str:
    return re.split(r"[.(]", missing)[1]


_types: dict[tuple[str, str], str] = {}


def _parent_types() -> dict[tuple[str, str], str]:
    """Returns (type, field) to the field's type, from the schema that wbsync relies on."""
    if not _types:
        import graphql

        from wbsync.resources import read_resource

        for node in graphql.parse(read_resource("schemas/wandb.graphql")).definitions:
            if isinstance(
                node, (graphql.ObjectTypeDefinitionNode, graphql.InterfaceTypeDefinitionNode)
            ):
                for f in node.fields or ():
                    kind: Any = f.type
                    while not isinstance(kind, graphql.NamedTypeNode):
                        kind = kind.type
                    _types[node.name.value, f.name.value] = kind.name.value
    return _types
