"""Checks a filter against what there is: fields, and tests that mean something for them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from wbsync.errors import FilterSyntaxError, UnsupportedOperatorError
from wbsync.query.filters.fields import Column, Field, Kind, check_depth, resolve_field
from wbsync.query.filters.operands import parse_instant, shown_value
from wbsync.query.filters.tree import (
    Compare,
    Document,
    ElementMatches,
    Equal,
    Exists,
    In,
    Node,
    Not,
    TypeOf,
    Where,
    iter_tests,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from wbsync.query.filters.tree import Operand, Test

Meaning = Literal["mongo", "wandb"]
MEANINGS: tuple[Meaning, ...] = ("mongo", "wandb")

WANDB_OPERATORS = frozenset(
    {"", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$regex",
     "$contains", "$size"}
)  # fmt: skip
"""Operators by which W&B's server is known, or believed, to filter runs."""


def check(kind: Kind, root: Node, meaning: Meaning) -> None:
    """Checks that each field is known, and each test has a meaning.

    Raises:
        UnknownFieldError: A field is not one of the kind.
        UnsupportedOperatorError: An operator has no meaning here.
        FilterSyntaxError: An operand can never be met.
    """
    _check_joins(root, meaning, at_top=True)
    for where in iter_tests(root):
        field = resolve_field(kind, where.path, where.at)
        adapted(where, field)
        if meaning == "wandb":
            _check_wandb(where)


def _check_joins(root: Node, meaning: Meaning, *, at_top: bool) -> None:
    pending: list[Node] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Not):
            if node.is_root and (meaning == "mongo" or not at_top):
                raise FilterSyntaxError(
                    "$not needs a field above it; for a whole filter there is $nor: [{…}]",
                    at="$not",
                )
            pending.append(node.child)
        elif isinstance(node, Where):
            if not at_top:
                check_depth(node.path, node.at)
            if isinstance(node.test, ElementMatches):
                _check_joins(node.test.query, meaning, at_top=False)
        else:
            pending.extend(node.children)


def _check_wandb(where: Where) -> None:
    if where.operator not in WANDB_OPERATORS:
        raise UnsupportedOperatorError(
            f"W&B's server does not filter by {where.operator}; meaning mongo does",
            operator=where.operator,
            at=where.at,
        )
    test = where.test
    operands: tuple[Operand, ...] = ()
    if isinstance(test, (Equal, Compare)):
        operands = (test.value,)
    elif isinstance(test, In):
        operands = test.values
    for operand in operands:
        if isinstance(operand, (tuple, Document)):
            raise FilterSyntaxError(
                "W&B's server fails on comparisons with lists and objects; meaning mongo has them",
                at=where.at,
            )
        if isinstance(operand, float) and not math.isfinite(operand):
            raise FilterSyntaxError(
                "W&B's server refuses NaN and Infinity in filters; meaning mongo has them",
                at=where.at,
            )


def adapted(where: Where, field: Field) -> Test:
    """Returns a test with its operands as the field has them: instants, names with their prefix.

    Raises:
        FilterSyntaxError: The field can never be equal to an operand, or pass the test.
    """
    source = field.source
    if isinstance(source, Column) and source.type == "time":
        if not isinstance(where.test, (Equal, In, Compare, Exists, TypeOf)):
            raise FilterSyntaxError(
                f"{where.path} is an instant: compare it with $gt, $gte, $lt or $lte", at=where.at
            )
        return _mapped(where.test, lambda v: _instant(v, where))
    if isinstance(source, Column) and source.prefix:
        prefix = source.prefix
        return _mapped(
            where.test,
            lambda v: prefix + v if isinstance(v, str) and not v.startswith(prefix) else v,
        )
    if field.parts == ("_timestamp",):
        return _mapped(where.test, lambda v: v.timestamp() if isinstance(v, datetime) else v)
    return _mapped(where.test, lambda v: _no_instant(v, where))


def _mapped(test: Test, change: Callable[[Operand], Operand]) -> Test:
    if isinstance(test, (Equal, Compare)):
        return replace(test, value=change(test.value))
    if isinstance(test, In):
        return In(tuple(change(v) for v in test.values))
    return test


def _instant(value: Operand, where: Where) -> Operand:
    if value is None:
        return None
    found = parse_instant(value)
    if found is None:
        raise FilterSyntaxError(
            f"{where.path} is an instant, and {shown_value(value)} is none:"
            " write 2026-01-31T12:00:00Z",
            at=where.at,
        )
    return found


def _no_instant(value: Operand, where: Where) -> Operand:
    if isinstance(value, datetime):
        raise FilterSyntaxError(
            f"{where.path} holds no instants: compare it with a text or a number", at=where.at
        )
    return value
