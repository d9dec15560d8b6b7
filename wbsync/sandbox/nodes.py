"""What GraphQL objects have in common: a row behind them, and connections between them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from graphql import GraphQLError

from wbsync.sandbox.lag import LaggingIndex, Replica

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from graphql import GraphQLResolveInfo

    from wbsync.sandbox.store import Store

SIGNED_FOR_S = 3600
DEFAULT_PAGE_ROWS = 50
EXPORTS = ("all", "half", "none")
IGNORABLE = ("filters", "order", "cursors")


@dataclass(slots=True)
class Options:
    """How the server behaves."""

    exports: str = "all"
    """What of a history counts as exported: all, half or none."""
    max_page_rows: int | None = None
    without: tuple[str, ...] = ()
    """Fields and types of the schema that this server is too old to know, and `updatedAtFilter`."""
    denied: tuple[str, ...] = ()
    """Fields that the key may not see: the server answers with an error at their place."""
    hidden: tuple[str, ...] = ()
    """Fields that the key may not see: the server answers null."""
    latency_ms: float = 0
    rate_limit: str | None = None
    """Requests in a time, such as 300/min or 20/s."""
    crash_after_s: float | None = None
    """Silence after which a running run counts as crashed; None waits for ever."""
    lag_s: float = 0
    """How much later than the rest filtered lists of runs show what was written."""
    read_lag_s: float = 0
    """How late all queries show what mutations wrote, as a read replica does."""
    ignore: tuple[str, ...] = ()
    """What this server takes and does not heed: filters, order or cursors."""
    has_offset_cursors: bool = False
    """Whether a cursor is a mere place in a list: rows shift when others come or go."""
    unstamped: tuple[str, ...] = ()
    """Fields of a run whose edits do not move its `updatedAt`."""
    fault_rate: float = 0
    fault_kinds: tuple[str, ...] = ()
    hang_s: float = 120.0
    """How long an answer that never comes keeps its connection open."""
    seed: int | None = None
    storage_url: str = ""
    """Base URL of the storage port, known once it is bound."""
    rng: random.Random = field(default_factory=random.Random)
    index: LaggingIndex = field(default_factory=LaggingIndex)
    replica: Replica = field(default_factory=Replica)


@dataclass(slots=True)
class Scope:
    """What resolvers of one request share."""

    store: Store
    options: Options
    viewer: sqlite3.Row
    """The user whose key the request carries."""

    def signed_url(self, blob: str, action: str) -> str:
        """Returns an address on the storage port that works for a while, without a key.

        Args:
            blob: Which file.
            action: get or put.
        """
        expires = int(time.time()) + SIGNED_FOR_S
        query = urlencode(
            {"expires": expires, "signature": sign(self.store, blob, action, expires)}
        )
        return f"{self.options.storage_url}/blob/{blob}?{query}"

    def may_see(self, entity_pk: int) -> bool:
        """Says whether the viewer belongs to an entity."""
        if self.viewer["admin"]:
            return True
        return bool(
            self.store.value(
                "SELECT 1 FROM entities e WHERE e.pk = ?1 AND (e.user_pk = ?2"
                " OR EXISTS (SELECT 1 FROM members m WHERE m.entity_pk = ?1 AND m.user_pk = ?2)"
                " OR (e.kind = 'organization' AND EXISTS (SELECT 1 FROM organization_members o"
                " WHERE o.organization_pk = e.organization_pk AND o.user_pk = ?2)))",
                entity_pk, self.viewer["pk"],
            )
        )  # fmt: skip


def sign(store: Store, blob: str, action: str, expires: int) -> str:
    """Returns the signature of an address on the storage port."""
    text = f"{action}:{blob}:{expires}".encode()
    return hmac.new(store.secret.encode(), text, hashlib.sha256).hexdigest()


class Node:
    """A GraphQL object: fields that are no method here are columns of its row."""

    typename: ClassVar[str]
    __slots__ = ("row", "scope")

    def __init__(self, scope: Scope, row: sqlite3.Row) -> None:
        self.scope = scope
        self.row = row

    @property
    def store(self) -> Store:
        """Where everything is."""
        return self.scope.store


def resolve_field(source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
    """Returns a field's value: an entry of a dict, a method's result, or a column of the row."""
    name = info.field_name
    if isinstance(source, dict):
        value = source.get(name)
        return value(**args) if callable(value) else value
    method = getattr(type(source), name, None)
    if method is not None:
        return method(source, **args)
    try:
        return source.row[name]
    except (IndexError, AttributeError):
        return None


def resolve_type(source: Any, _info: GraphQLResolveInfo[Any], _abstract: Any) -> str:
    """Returns which type of an interface or union an object is."""
    return str(source["__typename"] if isinstance(source, dict) else source.typename)


def to_cursor(key: object, position: int) -> str:
    """Returns an opaque cursor."""
    return base64.b64encode(f"{key}@{position}".encode()).decode()


def connection(
    scope: Scope,
    keys: Sequence[Any],
    load: Callable[[list[Any]], list[Any]],
    *,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
    extra: Callable[[Any], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Returns a page of a list.

    A cursor names the row it follows and its place: when the row is gone, the place counts.

    Args:
        scope: The request's.
        keys: Keys of the whole list, in order.
        load: Returns the nodes of some keys.
        first: Rows of the page.
        after: Cursor of the row before the page.
        last: Rows of a page that is counted from the end.
        before: Cursor of the row after such a page.
        extra: Further entries of a node's edge.

    Raises:
        GraphQLError: A cursor is not one of this server's.
    """
    options = scope.options
    cap = options.max_page_rows
    start, end = 0, len(keys)
    if after and "cursors" not in options.ignore:
        start = _place(after, keys, is_offset=options.has_offset_cursors) + 1
    if before:
        end = _place(before, keys, is_offset=options.has_offset_cursors)
    rows = DEFAULT_PAGE_ROWS if first is None and last is None else (first or 0)
    if last is not None and first is None:
        rows = last
        start = max(start, end - last)
    rows = min(rows, cap) if cap else rows
    if rows < 0:
        raise GraphQLError("first must not be negative")
    chosen = list(keys[start : min(end, start + rows)])
    nodes = load(chosen) if chosen else []
    edges = [
        {"node": node, "cursor": to_cursor(key, start + i), **(extra(node) if extra else {})}
        for i, (key, node) in enumerate(zip(chosen, nodes, strict=True))
    ]
    return {
        "edges": edges,
        "totalCount": len(keys),
        "pageInfo": {
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
            "hasNextPage": start + len(chosen) < end and rows > 0,
            "hasPreviousPage": start > 0,
        },
    }


def _place(cursor: str, keys: Sequence[Any], *, is_offset: bool) -> int:
    try:
        key, _, place = base64.b64decode(cursor).decode().rpartition("@")
        position = int(place)
    except ValueError as error:
        raise GraphQLError(f"invalid cursor {cursor}") from error
    if is_offset:
        return position
    if position < len(keys) and str(keys[position]) == key:
        return position
    for index, other in enumerate(keys):
        if str(other) == key:
            return index
    return position - 1


def by_key(rows: list[sqlite3.Row], keys: list[Any]) -> list[sqlite3.Row]:
    """Returns rows in the order of their keys."""
    found = {row["pk"]: row for row in rows}
    return [found[key] for key in keys]


def marks(count: int) -> str:
    """Returns placeholders for a list of values."""
    return ",".join("?" * count)
