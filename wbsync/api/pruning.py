"""Takes out of a document what is not to be asked: what a server lacks, or what it refuses.

Works on the parsed document, so that a selection, fragment or variable that nothing is left of
goes, too. Which type a field belongs to is told by schemas/wandb.graphql.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from wbsync.api.documents import Document
from wbsync.resources import read_resource

Part = tuple[str, ...]
"""Path of response keys in an answer."""


@lru_cache(maxsize=256)
def pruned(
    document: Document,
    *,
    missing: frozenset[str] = frozenset(),
    parts: frozenset[Part] = frozenset(),
) -> Document | None:
    """Returns a document less some of it; None where nothing is left.

    Args:
        document: What would be asked.
        missing: `Type.field`, `Type.field(argument:)` and `... on Type` to take out everywhere.
        parts: Paths of response keys to take out; none of them may lie in a fragment.
    """
    import graphql

    field_types = _field_types()
    types = {n.removeprefix("... on ") for n in missing if n.startswith("... on ")}
    tree = graphql.parse(document.text)
    fragments = {
        d.name.value: d for d in tree.definitions if isinstance(d, graphql.FragmentDefinitionNode)
    }
    kept_fragments: dict[str, graphql.SelectionSetNode | None] = {}

    def is_kept(fragment: str) -> bool:
        """Says whether anything of a fragment is left."""
        if fragment not in kept_fragments:
            definition = fragments[fragment]
            parent = definition.type_condition.name.value
            kept_fragments[fragment] = (
                None if parent in types else prune(definition.selection_set, parent, ())
            )
        return kept_fragments[fragment] is not None

    def prune_field(node: graphql.FieldNode, parent: str, above: Part) -> graphql.FieldNode | None:
        name = node.name.value
        path = (*above, node.alias.value if node.alias else name)
        if f"{parent}.{name}" in missing or path in parts:
            return None
        inner = node.selection_set
        if inner is not None:
            inner = prune(inner, field_types.get((parent, name), ""), path)
            if inner is None:
                return None
        return graphql.FieldNode(
            alias=node.alias,
            name=node.name,
            arguments=tuple(
                a
                for a in node.arguments or ()
                if f"{parent}.{name}({a.name.value}:)" not in missing
            ),
            directives=node.directives,
            selection_set=inner,
        )

    def prune(
        selections: graphql.SelectionSetNode, parent: str, above: Part
    ) -> graphql.SelectionSetNode | None:
        kept: list[graphql.SelectionNode] = []
        for node in selections.selections:
            if isinstance(node, graphql.FieldNode):
                field = prune_field(node, parent, above)
                if field is not None:
                    kept.append(field)
            elif isinstance(node, graphql.FragmentSpreadNode):
                if is_kept(node.name.value):
                    kept.append(node)
            elif isinstance(node, graphql.InlineFragmentNode):
                narrowed = node.type_condition.name.value if node.type_condition else parent
                inner = None if narrowed in types else prune(node.selection_set, narrowed, above)
                if inner is not None:
                    kept.append(
                        graphql.InlineFragmentNode(
                            type_condition=node.type_condition,
                            directives=node.directives,
                            selection_set=inner,
                        )
                    )
        return graphql.SelectionSetNode(selections=tuple(kept)) if kept else None

    operation = next(d for d in tree.definitions if isinstance(d, graphql.OperationDefinitionNode))
    kind = operation.operation.value
    selections = prune(operation.selection_set, kind.title(), ())
    if selections is None:
        return None
    body = graphql.print_ast(selections)
    for fragment, left in kept_fragments.items():
        if left is not None:
            condition = fragments[fragment].type_condition.name.value
            body += f"\n\nfragment {fragment} on {condition} {graphql.print_ast(left)}"
    used = set(re.findall(r"\$(\w+)", body))
    variables = [
        graphql.print_ast(v)
        for v in operation.variable_definitions or ()
        if v.variable.name.value in used
    ]
    head = f"({', '.join(variables)})" if variables else ""
    return Document(document.name, f"{kind} {document.name}{head} {body}")


@cache
def _field_types() -> dict[tuple[str, str], str]:
    """Returns (type, field) to the field's type, from the schema that wbsync relies on."""
    import graphql

    types = {}
    for node in graphql.parse(read_resource("schemas/wandb.graphql")).definitions:
        if isinstance(
            node, (graphql.ObjectTypeDefinitionNode, graphql.InterfaceTypeDefinitionNode)
        ):
            for f in node.fields or ():
                kind: Any = f.type
                while not isinstance(kind, graphql.NamedTypeNode):
                    kind = kind.type
                types[node.name.value, f.name.value] = kind.name.value
    return types
