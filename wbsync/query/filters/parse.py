"""Reads a filter: JSON text or a dictionary in MongoDB's form, checked as MongoDB checks it.

What W&B has besides is read by its own modules and becomes the same form first: Python-like texts
(`pythonic.py`), and the trees of report and workspace specs (`runsets.py`).
"""

from __future__ import annotations

import difflib
import json
import math
import re
from typing import TYPE_CHECKING, Any

from wbsync.errors import FilterSyntaxError, UnsupportedOperatorError
from wbsync.query.filters.operands import (
    MAX_DEPTH,
    checked_text,
    is_number,
    parse_operand,
    read_integer,
    shown_value,
)
from wbsync.query.filters.patterns import options_of, translate_pattern
from wbsync.query.filters.tree import (
    EVERYTHING,
    And,
    Compare,
    Contains,
    ElementMatches,
    Equal,
    Exists,
    In,
    Mod,
    Node,
    Not,
    Or,
    Regex,
    Size,
    TypeOf,
    Where,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPE_NUMBERS = {
    1: "double", 2: "string", 3: "object", 4: "array", 8: "bool", 9: "date", 10: "null",
    16: "int", 18: "long", 19: "decimal",
}  # fmt: skip
TYPE_NAMES = frozenset({*TYPE_NUMBERS.values(), "number"})

JOINS = ("$and", "$or", "$nor")
COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
FIELD_OPERATORS = (
    "$eq", "$ne", *COMPARISONS, "$in", "$nin", "$exists", "$regex", "$options", "$not", "$all",
    "$size", "$elemMatch", "$mod", "$type", "$contains",
)  # fmt: skip
REFUSED = frozenset({
    "$expr", "$where", "$jsonSchema", "$text", "$function", "$rand", "$sampleRate", "$geoWithin",
    "$geoIntersects", "$near", "$nearSphere", "$box", "$center", "$centerSphere", "$geometry",
    "$maxDistance", "$minDistance", "$polygon", "$bitsAllClear", "$bitsAllSet", "$bitsAnyClear",
    "$bitsAnySet",
})  # fmt: skip
"""Operators of MongoDB that have no place here; SQL says the same."""


def parse_tree(source: str | Mapping[str, Any] | None) -> Node:
    """Returns the tree of a filter, whichever way W&B lets it be written.

    Args:
        source: JSON text, a Python-like text, or a dictionary; None and {} let all pass.

    Raises:
        FilterSyntaxError: It is no filter; the message names the place.
        UnsupportedOperatorError: An operator is unknown, or not supported.

    >>> parse_tree('{"state": "finished"}')
    Where(path='state', test=Equal(value='finished'), operator='', at='state')
    """
    from wbsync.query.filters.pythonic import parse_pythonic
    from wbsync.query.filters.runsets import is_run_set, run_set_filter

    if isinstance(source, str):
        text = source.strip()
        source = parse_pythonic(text) if text and text[0] not in "{[" else load_filter(text)
    if source is None:
        return EVERYTHING
    if not isinstance(source, dict):
        raise FilterSyntaxError('a filter is a JSON object, such as {"state": "finished"}')
    if is_run_set(source):
        source = run_set_filter(source)
    return _clauses(source, "", 0)


def load_filter(text: str) -> Any:
    """Returns what JSON text holds; NaN and Infinity are read, a key given twice is refused.

    Raises:
        FilterSyntaxError: It is not JSON.
    """
    if not text:
        return None
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_int=read_integer)
    except json.JSONDecodeError as error:
        hint = "; JSON needs double quotes" if "'" in text and '"' not in text else ""
        where = f"line {error.lineno}, column {error.colno}"
        raise FilterSyntaxError(f"not JSON: {error.msg} ({where}){hint}", at="") from None
    except RecursionError:
        raise FilterSyntaxError(
            f"the filter is nested deeper than {MAX_DEPTH} levels", at=""
        ) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for n in names if names.count(n) > 1)
        raise FilterSyntaxError(
            f"the key {twice!r} is given twice in one object; join the two with $and", at=twice
        )
    return found


def _clauses(clauses: Mapping[Any, Any], at: str, depth: int) -> Node:
    """Returns the tree of an object of fields and joins, which all must hold."""
    if depth > MAX_DEPTH:
        raise FilterSyntaxError(f"the filter is nested deeper than {MAX_DEPTH} levels", at=at)
    return _all_of([_clause(k, v, _below(at, k), depth) for k, v in clauses.items()])


def _clause(key: Any, operand: Any, at: str, depth: int) -> Node:
    if not isinstance(key, str):
        raise FilterSyntaxError(f"the key {key!r} is no text", at=at)
    if not key.startswith("$"):
        return _field(checked_text(key, at), operand, at, depth)
    if key == "$comment":
        return EVERYTHING
    if key in JOINS:
        if not isinstance(operand, (list, tuple)) or not operand:
            raise FilterSyntaxError(f"{key} takes a list of at least one filter", at=at)
        children = []
        for index, child in enumerate(operand):
            if not isinstance(child, dict):
                raise FilterSyntaxError(f"{key} takes a list of objects", at=f"{at}[{index}]")
            children.append(_clauses(child, f"{at}[{index}]", depth + 1))
        if key == "$and":
            return _all_of(children)
        either = _any_of(children)
        return either if key == "$or" else Not(either)
    if key == "$not":
        if not isinstance(operand, dict):
            raise FilterSyntaxError("$not takes an object", at=at)
        return Not(_clauses(operand, at, depth + 1), is_root=True)
    if key in FIELD_OPERATORS:
        raise FilterSyntaxError(
            f'{key} belongs below a field, for example {{"state": {{"{key}": …}}}}', at=at
        )
    raise _unknown(key, at, JOINS)


def _field(path: str, operand: Any, at: str, depth: int) -> Node:
    """Returns what a field must be: an operator document, a regex, or a value to equal."""
    if isinstance(operand, re.Pattern):
        return Where(path, _pattern(operand, at), "$regex", at)
    if isinstance(operand, dict) and _is_operators(operand, at):
        return _operators(path, operand, at, depth)
    return Where(path, Equal(parse_operand(operand, at, depth)), "", at)


def _is_operators(operand: dict[Any, Any], at: str) -> bool:
    """Says whether an object holds operators rather than being a value itself."""
    marked = [k for k in operand if isinstance(k, str) and k.startswith("$")]
    if not marked or (len(operand) == 1 and _is_extended(marked[0])):
        return False
    for key in operand:
        if key not in marked:
            raise FilterSyntaxError(
                f"{key!r} stands beside the operator {marked[0]}; an object holds either operators"
                " or the keys of a value",
                at=_below(at, key),
            )
    return True


def _is_extended(key: str) -> bool:
    return key in {"$date", "$oid"} or key.startswith("$number")


def _operators(path: str, operators: dict[str, Any], at: str, depth: int) -> Node:
    found: list[Node] = []
    for key, operand in operators.items():
        here = f"{at}.{key}"
        if key == "$options":
            if "$regex" not in operators:
                raise FilterSyntaxError("$options needs a $regex beside it", at=here)
        elif key == "$regex":
            test = _regex(operand, operators.get("$options", ""), here)
            found.append(Where(path, test, key, here))
        else:
            found.append(_operator(path, key, operand, here, depth + 1))
    return _all_of(found)


def _operator(path: str, key: str, operand: Any, at: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise FilterSyntaxError(f"the filter is nested deeper than {MAX_DEPTH} levels", at=at)
    if key == "$eq":
        return Where(path, Equal(parse_operand(operand, at, depth)), key, at)
    if key == "$ne":
        return Not(Where(path, Equal(parse_operand(operand, at, depth)), key, at))
    if key in COMPARISONS:
        return Where(path, Compare(COMPARISONS[key], _comparable(operand, at)), key, at)
    if key == "$in":
        return _among(path, key, operand, at)
    if key == "$nin":
        return Not(_among(path, key, operand, at))
    if key == "$not":
        if isinstance(operand, re.Pattern):
            return Not(Where(path, _pattern(operand, at), "$regex", at))
        if not isinstance(operand, dict) or not operand or not _is_operators(operand, at):
            raise FilterSyntaxError(
                "$not takes operators or a regex, not a value; for a value there is $ne", at=at
            )
        return Not(_operators(path, operand, at, depth))
    if key == "$all":
        return _every(path, operand, at, depth)
    if key == "$elemMatch":
        return Where(path, _element(operand, at, depth), key, at)
    if key == "$exists":
        if not isinstance(operand, (bool, int)) or operand not in (0, 1):
            raise FilterSyntaxError("$exists takes true or false", at=at)
        found = Where(path, Exists(), key, at)
        return found if operand else Not(found)
    if key == "$contains":
        if not isinstance(operand, str):
            raise FilterSyntaxError("$contains takes a text", at=at)
        return Where(path, Contains(checked_text(operand, at)), key, at)
    if key == "$size":
        return Where(path, Size(_length(operand, at)), key, at)
    if key == "$mod":
        return Where(path, _mod(operand, at), key, at)
    if key == "$type":
        return Where(path, _type_of(operand, at), key, at)
    raise _unknown(key, at, FIELD_OPERATORS)


def _unknown(key: str, at: str, known: tuple[str, ...]) -> UnsupportedOperatorError:
    if key in REFUSED:
        return UnsupportedOperatorError(
            f"{key} is not supported in filters: say it in SQL, with `wbsync sql`",
            operator=key,
            at=at,
        )
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return UnsupportedOperatorError(f"{key} is unknown: {hint}", operator=key, at=at)


def _comparable(operand: Any, at: str) -> Any:
    value = parse_operand(operand, at)
    if isinstance(value, tuple) or type(value).__name__ == "Document":
        raise FilterSyntaxError("lists and objects have no order here; compare numbers, texts,"
                                " booleans or dates", at=at)  # fmt: skip
    return value


def _among(path: str, key: str, operand: Any, at: str) -> Node:
    if not isinstance(operand, (list, tuple, set, frozenset)):
        raise FilterSyntaxError("a list belongs here, for example [1, 2]", at=at)
    values, patterns = [], []
    for index, value in enumerate(operand):
        here = f"{at}[{index}]"
        if isinstance(value, re.Pattern):
            patterns.append(Where(path, _pattern(value, here), "$regex", here))
        else:
            values.append(parse_operand(value, here))
    among = Where(path, In(tuple(values)), key, at)
    return _any_of([among, *patterns]) if patterns else among


def _every(path: str, operand: Any, at: str, depth: int) -> Node:
    """Returns `$all`: each of the values, or of the `$elemMatch`es, must be met."""
    if not isinstance(operand, (list, tuple)):
        raise FilterSyntaxError("$all takes a list", at=at)
    found: list[Node] = []
    for index, value in enumerate(operand):
        here = f"{at}[{index}]"
        if isinstance(value, dict) and list(value) == ["$elemMatch"]:
            element = _element(value["$elemMatch"], f"{here}.$elemMatch", depth)
            found.append(Where(path, element, "$all", here))
        elif isinstance(value, re.Pattern):
            found.append(Where(path, _pattern(value, here), "$all", here))
        else:
            test = Equal(parse_operand(value, here, depth))
            found.append(Where(path, test, "$all", here))
    return _all_of(found) if found else Where(path, In(()), "$all", at)


def _element(operand: Any, at: str, depth: int) -> ElementMatches:
    if not isinstance(operand, dict):
        raise FilterSyntaxError("$elemMatch takes an object", at=at)
    first = next(iter(operand), "")
    if isinstance(first, str) and first.startswith("$") and first not in {*JOINS, *REFUSED}:
        if not _is_operators(operand, at):
            raise FilterSyntaxError("$elemMatch takes operators or fields, not a value", at=at)
        return ElementMatches(_operators("", operand, at, depth), asks_fields=False)
    return ElementMatches(_clauses(operand, at, depth + 1), asks_fields=True)


def _pattern(pattern: re.Pattern[Any], at: str) -> Regex:
    if not isinstance(pattern.pattern, str):
        raise FilterSyntaxError("a regex over bytes matches no text", at=at)
    return Regex(translate_pattern(checked_text(pattern.pattern, at), options_of(pattern), at))


def _regex(operand: Any, options: Any, at: str) -> Regex:
    if isinstance(operand, re.Pattern):
        return _pattern(operand, at)
    if not isinstance(operand, str) or not isinstance(options, str):
        raise FilterSyntaxError("$regex and $options take texts", at=at)
    return Regex(translate_pattern(checked_text(operand, at), options, at))


def _mod(operand: Any, at: str) -> Mod:
    usage = "$mod takes [divisor, remainder], the divisor not 0"
    if not isinstance(operand, (list, tuple)) or len(operand) != 2:
        raise FilterSyntaxError(usage, at=at)
    parts = []
    for value in operand:
        if not is_number(value) or not -(2**63) <= value < 2**63:
            raise FilterSyntaxError(usage, at=at)
        parts.append(math.trunc(value))
    if parts[0] == 0:
        raise FilterSyntaxError(usage, at=at)
    return Mod(*parts)


def _type_of(operand: Any, at: str) -> TypeOf:
    names = set()
    for value in operand if isinstance(operand, (list, tuple)) else [operand]:
        name = TYPE_NUMBERS.get(value) if is_number(value) else value
        if not isinstance(name, str) or name not in TYPE_NAMES:
            near = difflib.get_close_matches(shown_value(value), TYPE_NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else ", ".join(sorted(TYPE_NAMES))
            raise FilterSyntaxError(f"the type {shown_value(value)} is unknown: {hint}", at=at)
        names.add(name)
    if not names:
        raise FilterSyntaxError("$type takes at least one type", at=at)
    return TypeOf(frozenset(names))


def _length(operand: Any, at: str) -> int:
    if not is_number(operand) or operand != operand // 1 or not 0 <= operand < 2**31:
        raise FilterSyntaxError("$size takes a whole number, 0 or more", at=at)
    return int(operand)


def _below(at: str, key: Any) -> str:
    return f"{at}.{key}" if at else str(key)


def _all_of(nodes: list[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else And(tuple(nodes))


def _any_of(nodes: list[Node]) -> Node:
    return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))
