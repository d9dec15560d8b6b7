"""Random documents and filters, made so that filters often pass some documents and not others."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "c"])
STEPS = st.sampled_from(["a", "b", "c", "0", "1"])
PATHS = st.one_of(
    KEYS,
    KEYS,
    KEYS,
    st.tuples(KEYS, STEPS).map(".".join),
    st.tuples(KEYS, STEPS).map(".".join),
    st.tuples(KEYS, STEPS, STEPS).map(".".join),
)

SCALARS = st.sampled_from([
    None, True, False, 0, 1, 2, -3, 0.5, 1.0, 2.5, -0.5, 2**53, 2**53 + 1, float(2**53), -(2**60),
    2**64 + 1, "NaN", "Infinity", "-Infinity", "a", "ab", "A", "", "0.1", "1", "é😀", "\"q'",
    "x\ny", "null", "true", "[", "{",
])  # fmt: skip
"""Values of few enough kinds that they meet, and of every kind that is told apart."""

VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(STEPS, inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=3)
OPERANDS = st.one_of(SCALARS, SCALARS, SCALARS, st.just(math.nan), st.just(math.inf), VALUES)
BOUNDS = st.one_of(SCALARS, st.sampled_from([math.nan, math.inf, -math.inf]))


def _either(options: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Returns objects of one or two operators."""
    one = st.sampled_from(sorted(options)).flatmap(
        lambda name: st.fixed_dictionaries({name: options[name]})
    )
    return st.one_of(one, one, one, st.tuples(one, one).map(lambda both: both[0] | both[1]))


PLAIN_OPERATORS: dict[str, st.SearchStrategy[Any]] = {
    "$ne": OPERANDS,
    "$eq": OPERANDS,
    "$gt": BOUNDS,
    "$gte": BOUNDS,
    "$lt": BOUNDS,
    "$lte": BOUNDS,
    "$in": st.lists(OPERANDS, max_size=3),
    "$nin": st.lists(OPERANDS, max_size=3),
    "$exists": st.booleans(),
    "$size": st.integers(0, 3),
    "$all": st.lists(OPERANDS, max_size=2),
    "$mod": st.tuples(st.sampled_from([2, 3, -2]), st.sampled_from([0, 1, -1])).map(list),
    "$contains": st.sampled_from(["a", "", "b", '"']),
    "$regex": st.sampled_from(["^a", "b$", "A", "^$", "a.b", "[0-9]", "x\\ny"]),
    "$type": st.sampled_from([
        "string", "number", "int", "long", "double", "bool", "null", "array", "object",
        ["int", "null"],
    ]),
}  # fmt: skip
SERVER_OPERATORS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"), SCALARS),
    "$in": st.lists(SCALARS, max_size=3),
    "$nin": st.lists(SCALARS, max_size=3),
    **{name: PLAIN_OPERATORS[name] for name in ("$exists", "$size", "$contains", "$regex")},
}  # fmt: skip
"""What W&B's server is believed to filter runs by."""


def _joined(
    tests: st.SearchStrategy[dict[str, Any]], joins: list[str]
) -> st.SearchStrategy[dict[str, Any]]:
    return st.recursive(
        tests,
        lambda inner: st.tuples(
            st.sampled_from(joins), st.lists(inner, min_size=1, max_size=3)
        ).map(lambda pair: {pair[0]: pair[1]}),
        max_leaves=3,
    )  # fmt: skip


def _fields(conditions: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    one = st.dictionaries(PATHS, conditions, min_size=1, max_size=1)
    return st.one_of(one, one, one, st.dictionaries(PATHS, conditions, min_size=2, max_size=2))


_PLAIN = _either(PLAIN_OPERATORS)
_ELEMENTS = st.one_of(_PLAIN, _joined(_fields(st.one_of(OPERANDS, _PLAIN)), ["$and", "$or"]))
_CONDITIONS = _either({
    **PLAIN_OPERATORS,
    "$elemMatch": _ELEMENTS,
    "$not": st.one_of(_PLAIN, st.fixed_dictionaries({"$elemMatch": _ELEMENTS})),
})  # fmt: skip

FILTERS = _joined(_fields(st.one_of(OPERANDS, _CONDITIONS, _CONDITIONS)), ["$and", "$or", "$nor"])
"""Filters in MongoDB's language."""

_SERVER = _either(SERVER_OPERATORS)
_SERVER_CONDITIONS = st.one_of(SCALARS, _SERVER, st.fixed_dictionaries({"$not": _SERVER}))
SERVER_FILTERS = _joined(_fields(_SERVER_CONDITIONS), ["$and", "$or", "$nor"])
"""Filters that W&B's server takes, as far as is believed."""
