"""Builds conditions: constants fold away, and wide joins become balanced trees.

A chain of 10,000 ORs is a tree 10,000 deep, which ends the stack of whoever walks it; a balanced
one is 14 deep. Nodes are made directly: sqlglot's own builders copy what they are given, each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Sequence

    Expression: TypeAlias = exp.Expr


def true() -> exp.Boolean:
    """Returns TRUE."""
    return exp.Boolean(this=True)


def false() -> exp.Boolean:
    """Returns FALSE."""
    return exp.Boolean(this=False)


def is_true(node: Expression) -> bool:
    """Says whether a condition is the constant TRUE."""
    return isinstance(node, exp.Boolean) and bool(node.this)


def is_false(node: Expression) -> bool:
    """Says whether a condition is the constant FALSE."""
    return isinstance(node, exp.Boolean) and not node.this


def all_of(conditions: Sequence[Expression]) -> Expression:
    """Returns "all of them".

    >>> all_of([true(), exp.column("a"), exp.column("b")]).sql()
    'a AND b'
    """
    if any(is_false(c) for c in conditions):
        return false()
    kept = [c for c in conditions if not is_true(c)]
    return _balanced(exp.And, kept) if kept else true()


def any_of(conditions: Sequence[Expression]) -> Expression:
    """Returns "one of them".

    >>> any_of([exp.column(c) for c in "abc"]).sql()
    '(a OR b) OR c'
    """
    if any(is_true(c) for c in conditions):
        return true()
    kept = [c for c in conditions if not is_false(c)]
    return _balanced(exp.Or, kept) if kept else false()


def _balanced(join: type[exp.Connector], conditions: Sequence[Expression]) -> Expression:
    level = list(conditions)
    while len(level) > 1:
        level = [
            join(this=_wrapped(level[i]), expression=_wrapped(level[i + 1]))
            if i + 1 < len(level)
            else level[i]
            for i in range(0, len(level), 2)
        ]
    return level[0]


def _wrapped(node: Expression) -> Expression:
    return exp.Paren(this=node) if isinstance(node, (exp.Connector, exp.Not)) else node


def negated(condition: Expression) -> Expression:
    """Returns NOT, which is NULL where the condition is."""
    if isinstance(condition, exp.Boolean):
        return exp.Boolean(this=not condition.this)
    return exp.Not(this=exp.Paren(this=condition))


def is_not_true(condition: Expression) -> Expression:
    """Returns that a condition is FALSE or NULL.

    >>> is_not_true(exp.column("a")).sql()
    'NOT COALESCE(a, FALSE)'
    """
    if isinstance(condition, exp.Boolean):
        return exp.Boolean(this=not condition.this)
    return exp.Not(this=exp.Coalesce(this=condition, expressions=[false()]))


def case(*branches: tuple[Expression, Expression], otherwise: Expression | None) -> Expression:
    """Returns the value of the first branch whose condition holds; None is NULL.

    Branches that can never be reached are left out.
    """
    ifs: list[exp.If] = []
    default = otherwise
    for condition, value in branches:
        if is_false(condition):
            continue
        if is_true(condition):
            default = value
            break
        ifs.append(exp.If(this=condition, true=value))
    if not ifs:
        return exp.null() if default is None else default
    if all(_is_same(i.args["true"], default) for i in ifs) and default is not None:
        return default
    return exp.Case(ifs=ifs, default=default)


def _is_same(one: Expression, other: Expression | None) -> bool:
    return (
        isinstance(one, exp.Boolean) and isinstance(other, exp.Boolean) and one.this == other.this
    )


def equals(one: Expression, other: Expression) -> Expression:
    """Returns `one = other`."""
    return exp.EQ(this=one, expression=other)


def is_null(value: Expression) -> Expression:
    """Returns `value IS NULL`."""
    return exp.Is(this=value, expression=exp.null())


def is_not_null(value: Expression) -> Expression:
    """Returns `NOT value IS NULL`."""
    return exp.Not(this=is_null(value))


def among(value: Expression, values: Sequence[Expression]) -> Expression:
    """Returns `value IN (…)`, `=` for one, FALSE for none."""
    if not values:
        return false()
    if len(values) == 1:
        return equals(value, values[0])
    return exp.In(this=value, expressions=list(values))
