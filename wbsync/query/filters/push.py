"""What of a filter a W&B server may be asked, so that it never leaves out a run.

A server that answers with too many runs costs a little time; one that answers with too few loses
runs, and nobody would notice. So only tests are pushed down of which the server is known, or safely
believed, to find at least what wbsync finds; every answer is filtered again locally.

Left out are: keys whose dots may be part of a name, which W&B cannot address; what it fails on
(`$all`, lists, objects, NaN); what it may compare otherwise (text order, big integers, regexes but
for plain ones); and in meaning mongo whatever would have to find missing fields, but for what can
be said in another way. Instants are given a second's room: a server may know them more exactly than
it tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from wbsync.model import MAX_EXACT, NON_FINITE
from wbsync.query.filters.check import adapted
from wbsync.query.filters.fields import RUNS, Column, Field, Leaves, resolve_field
from wbsync.query.filters.operands import is_number
from wbsync.query.filters.tree import And, Compare, Equal, Exists, In, Node, Not, Or, Regex, Where

if TYPE_CHECKING:
    from wbsync.query.filters.select import Filter
    from wbsync.query.filters.tree import Operand, Test

SERVER_COLUMNS = frozenset(
    {"name", "displayName", "state", "username", "group", "jobType", "sweep", "tags", "createdAt",
     "heartbeatAt"}
)  # fmt: skip
"""Columns that every server of W&B is known to filter runs by.

`updatedAt` is not among them: only some do. Nor is the host: wbsync also finds it where the
server's own column has none.
"""

NEVER_NULL = frozenset({"name", "state", "createdAt"})

SIGNS = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}

ROOM = timedelta(seconds=1)

_PLAIN_REGEX = re.compile(r"\^?(?:[A-Za-z0-9_ -]|\.\*)+\$?")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is asked of a server, and what is not, and why."""

    filter: dict[str, Any]
    """The filter to send; empty for none."""
    kept: tuple[tuple[str, str], ...]
    """Places in the filter that are tested here only, each with the reason."""


@dataclass(frozen=True, slots=True)
class _Part:
    filter: dict[str, Any] | None
    """None asks for everything."""
    is_exact: bool
    """Whether the server finds just what is meant, so that the opposite can be asked, too."""


_ALL = _Part(None, is_exact=False)


def push_down(found: Filter) -> Pushed:
    """Returns what a server may be asked for runs, which is a superset of what passes.

    In meaning wandb dots in a path are taken to be nesting, as the server does.

    >>> from wbsync.query.filters.select import parse_filter
    >>> push_down(parse_filter({"state": "finished", "config.a.b": 1})).filter
    {'state': 'finished'}
    """
    if found.kind != "runs":
        return Pushed({}, (("", f"{found.kind} are filtered here"),))
    pusher = _Pusher(found.meaning == "mongo")
    part = pusher.part(found.root)
    return Pushed(part.filter or {}, tuple(pusher.kept))


class _Pusher:
    def __init__(self, is_mongo: bool) -> None:
        self._is_mongo = is_mongo
        self.kept: list[tuple[str, str]] = []

    def part(self, node: Node) -> _Part:
        """Returns what a server may be asked for a tree."""
        if isinstance(node, Where):
            return self._where(node)
        if isinstance(node, Not):
            return self._not(node)
        parts = [self.part(child) for child in node.children]
        filters = [p.filter for p in parts if p.filter is not None]
        is_exact = all(p.is_exact for p in parts)
        if isinstance(node, Or) and len(filters) < len(parts):
            return _ALL
        if not filters:
            return _Part(None, is_exact=is_exact)
        if len(filters) == 1:
            return _Part(filters[0], is_exact)
        return _Part({"$and" if isinstance(node, And) else "$or": filters}, is_exact)

    def _not(self, node: Not) -> _Part:
        child = node.child
        if not self._is_mongo:
            part = self.part(child)
            if part.filter is None or not part.is_exact:
                return _ALL
            return _Part({"$nor": [part.filter]}, is_exact=True)
        if isinstance(child, Or):
            # Nothing of several is each of their opposites.
            return self.part(And(tuple(Not(c) for c in child.children)))
        if isinstance(child, Not):
            return self.part(child.child)
        if isinstance(child, Where):
            return self._where(child, is_opposite=True)
        self.kept.append(("", "the opposite of several tests finds missing fields"))
        return _ALL

    def _where(self, where: Where, *, is_opposite: bool = False) -> _Part:
        field = resolve_field(RUNS, where.path, where.at)
        test = adapted(where, field)
        path, reason = self._path(field)
        reason = reason or self._risk(field, test, where.operator, is_opposite=is_opposite)
        if reason:
            self.kept.append((where.at, reason))
            return _ALL
        said = _opposite(path, test) if is_opposite else _said(path, test)
        is_exact = not self._is_mongo and not isinstance(test, Regex) and not _has_time(test)
        return _Part(said, is_exact)

    def _path(self, field: Field) -> tuple[str, str]:
        """Returns the server's path of a field, or why it is not sent."""
        if isinstance(field.source, Leaves):
            if len(field.parts) > 1 and self._is_mongo:
                return "", "a dot may be part of the key, which a server cannot address"
            first, *rest = field.parts
            wrapper = ["value"] if field.source.is_wrapped else []
            return ".".join([field.name, first, *wrapper, *rest]), ""
        if field.name not in SERVER_COLUMNS or not isinstance(field.source, Column):
            return "", "not every server filters by it"
        return field.name, ""

    def _risk(self, field: Field, test: Test, operator: str, *, is_opposite: bool) -> str:
        """Returns why a test is not sent; empty where it may be."""
        is_document = isinstance(field.source, Leaves)
        if operator == "$all":
            return "W&B fails on $all"
        if self._is_mongo:
            is_null = isinstance(test, Equal) and test.value is None
            if is_null or (isinstance(test, Exists) and not is_opposite):
                return "null, missing and empty may be one to a server"
            can_be_said = isinstance(test, (Equal, In)) and not is_document and not _has_time(test)
            if is_opposite and not can_be_said and not isinstance(test, Exists):
                return "its opposite finds missing fields, which a server may not"
        if isinstance(test, (Equal, Compare)):
            operands: tuple[Operand, ...] = (test.value,)
        elif isinstance(test, In):
            operands = test.values
        elif isinstance(test, Exists):
            return ""
        elif isinstance(test, Regex) and not is_document:
            is_plain = _PLAIN_REGEX.fullmatch(test.pattern) is not None
            return "" if is_plain else "a server may read this regex otherwise"
        else:
            return f"W&B does not filter by {operator}, or may do so otherwise"
        if isinstance(test, Compare) and not (is_number(test.value) or _has_time(test)):
            return "a server may order these otherwise"
        risks = (_operand_risk(v, test, is_document=is_document) for v in operands)
        return next(filter(None, risks), "")


def _opposite(path: str, test: Test) -> dict[str, Any]:
    """Returns how to ask for the opposite of a test, missing fields included."""
    if isinstance(test, Exists):
        return {path: {"$exists": False}}
    if isinstance(test, Equal):
        other: dict[str, Any] = {path: {"$ne": test.value}}
    else:
        assert isinstance(test, In)
        other = {path: {"$nin": list(test.values)}}
    return other if path in NEVER_NULL else {"$or": [{path: None}, other]}


def _said(path: str, test: Test) -> dict[str, Any]:
    if isinstance(test, Exists):
        return {path: {"$exists": True}}
    if isinstance(test, Regex):
        return {path: {"$regex": test.pattern}}
    if isinstance(test, In):
        return {path: {"$in": list(test.values)}}
    assert isinstance(test, (Equal, Compare))
    if isinstance(test.value, datetime):
        earliest, latest = _written(test.value - ROOM), _written(test.value + ROOM)
        if isinstance(test, Equal):
            return {path: {"$gte": earliest, "$lte": latest}}
        return {path: {SIGNS[test.op]: earliest if ">" in test.op else latest}}
    return {path: {SIGNS[test.op]: test.value} if isinstance(test, Compare) else test.value}


def _operand_risk(value: Operand, test: Test, *, is_document: bool) -> str:
    """Returns why an operand is not sent; empty where it may be."""
    if value is None:
        return "" if isinstance(test, Equal) else "a server may not find null in a list"
    if isinstance(value, bool):
        return ""
    if isinstance(value, (int, float)):
        is_safe = -MAX_EXACT < value < MAX_EXACT
        return "" if is_safe else "W&B may not hold this number exactly, or refuses it"
    if isinstance(value, str):
        return "W&B may hold this text as a number" if is_document and value in NON_FINITE else ""
    if isinstance(value, datetime) and not isinstance(test, In):
        return ""
    return "W&B fails on it, or may compare it otherwise"


def _has_time(test: Test) -> bool:
    return isinstance(test, (Equal, Compare)) and isinstance(test.value, datetime)


def _written(instant: datetime) -> str:
    """Returns an instant as servers want it: UTC, with a Z."""
    return instant.isoformat().replace("+00:00", "Z")
