"""What a server can do, learnt from what it refuses.

Servers differ. A field, argument or type that one does not know comes back as `Cannot query field`,
`Unknown argument` or `Unknown type`; it is then taken out of every document sent to that host.
Source: core/internal/featurechecker of the wandb SDK takes the same error for "too old".
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbsync.api.pruning import pruned

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wbsync.api.documents import Document

_FIELD = re.compile(r"Cannot query field ['\"](?P<field>\w+)['\"] on type ['\"](?P<type>\w+)['\"]")
_ARGUMENT = re.compile(
    r"Unknown argument ['\"](?P<argument>\w+)['\"] on field ['\"](?P<type>\w+)\.(?P<field>\w+)['\"]"
)

_TYPE = re.compile(
    r"Unknown type ['\"](?P<type>\w+)['\"]|can never be of type ['\"](?P<member>\w+)['\"]"
)

LIFETIME_S = 7 * 86400.0
KEPT_FIELDS = frozenset({"Run.updatedAt"})
"""Fields whose lack a sync must know before its first request: it decides how changes are found."""


@dataclass(slots=True)
class Capabilities:
    """What is known of one host."""

    missing_fields: set[str] = field(default_factory=set)
    """`Type.field`, `Type.field(argument:)` and `... on Type` that the server does not know."""
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
    """Returns the fields, arguments and types that messages say a server lacks.

    >>> sorted(learn(['Cannot query field "updatedAt" on type "Run". Did you mean "createdAt"?']))
    ['Run.updatedAt']
    """
    found = set()
    for message in messages:
        if match := _FIELD.search(message):
            found.add(f"{match['type']}.{match['field']}")
        elif match := _ARGUMENT.search(message):
            found.add(f"{match['type']}.{match['field']}({match['argument']}:)")
        elif match := _TYPE.search(message):
            found.add(f"... on {match['type'] or match['member']}")
    return found


def without(document: Document, missing: Iterable[str]) -> Document:
    """Returns the document less the fields, arguments and types that a server lacks.

    A field is taken out only where it is selected of its own type, which schemas/wandb.graphql
    tells. Selections, fragments and variables left empty go too.
    """
    names = frozenset(missing)
    if not any(_name(n) in document.text for n in names):
        return document
    return pruned(document, missing=names) or document


def used_variables(document: Document) -> set[str]:
    """Returns the names of the variables that a document declares."""
    return set(re.findall(r"\$(\w+):", document.text))


def _name(missing: str) -> str:
    if missing.startswith("... on "):
        return missing.removeprefix("...")
    return re.split(r"[.(]", missing)[1]
