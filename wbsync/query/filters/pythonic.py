"""Reads Python-like filters, as reports and workspaces take them.

    Metric("loss") < 0.1 and Tags == "prod"
    State in ["finished", "crashed"] and config.optimizer.lr >= 0.01
    Metric("CreatedTimestamp") within_last 5 days

The text is parsed with Python's own grammar, and nothing of it is ever evaluated. `<` means `<`:
the workspace editor of W&B, whose specs have no strict form, makes `<=` of it.

Source: wandb/apis/public/reports.py; wandb-workspaces, wandb_workspaces/expr.py.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import TYPE_CHECKING, Any

from wbsync.errors import FilterSyntaxError, UnsupportedOperatorError
from wbsync.query.filters.frontend import clause, server_name, within

if TYPE_CHECKING:
    from datetime import datetime

PREFIXES = {
    "Config": "config.",
    "SummaryMetric": "summary_metrics.",
    "Summary": "summary_metrics.",
    "KeysInfo": "keys_info.keys.",
    "Tags": "tags.",
}
"""Function that names a field to the prefix of its path."""

ROOTS = {
    "config": "config", "summary": "summary_metrics", "summary_metrics": "summary_metrics",
    "tags": "tags", "keys_info": "keys_info",
}  # fmt: skip

OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "", ast.Is: "", ast.NotEq: "$ne", ast.IsNot: "$ne", ast.Lt: "$lt", ast.LtE: "$lte",
    ast.Gt: "$gt", ast.GtE: "$gte", ast.In: "$in", ast.NotIn: "$nin",
}  # fmt: skip
FLIPPED = {"$lt": "$gt", "$lte": "$gte", "$gt": "$lt", "$gte": "$lte", "": "", "$ne": "$ne"}
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604_800}
MAX_CHARS = 5_000_000
TOO_DEEP = ("too many nested", "too complex", "s_push", "nested too deep")
"""How Python's own parser says that brackets lie in brackets for too long."""


def parse_pythonic(text: str, *, now: datetime | None = None) -> dict[str, Any]:
    """Returns a Python-like filter in MongoDB's form; bare names are summary metrics.

    Args:
        text: The filter.
        now: Instant from which `within_last` counts; None takes the clock.

    Raises:
        FilterSyntaxError: It is none; the message says where.
        UnsupportedOperatorError: It is Python, but nothing that a filter can say.

    >>> parse_pythonic('Metric("loss") < 0.1 and Tags == "prod"')
    {'$and': [{'summary_metrics.loss': {'$lt': 0.1}}, {'tags': 'prod'}]}
    """
    if len(text) > MAX_CHARS:
        raise FilterSyntaxError(f"a Python-like filter has at most {MAX_CHARS:,} characters")
    try:
        tree = ast.parse(_as_python(text), mode="eval")
        return _Reader(now).node(tree.body)
    except (RecursionError, MemoryError):
        raise FilterSyntaxError("the filter is nested too deep") from None
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        if any(words in str(error) for words in TOO_DEEP):
            raise FilterSyntaxError("the filter is nested too deep") from None
        if "Exceeds the limit" in str(error):
            raise FilterSyntaxError(
                "an integer has more than 4,300 digits, which only JSON takes"
            ) from None
        offset = getattr(error, "offset", None)
        where = f" near column {offset}" if offset else ""
        raise FilterSyntaxError(
            f'neither JSON nor a comparison such as State == "finished"{where}'
        ) from None


def _as_python(text: str) -> str:
    """Returns the text with `=` as `==` and `within_last 5 days` as an operator of Python's."""
    tokens = [
        (t.type, t.string)
        for t in tokenize.generate_tokens(io.StringIO(" ".join(text.splitlines())).readline)
    ]
    out: list[tuple[int, str]] = []
    position = 0
    while position < len(tokens):
        kind, string = tokens[position]
        if kind == tokenize.OP and string == "=":
            out.append((tokenize.OP, "=="))
        elif string == "within_last" and len(tokens) > position + 2:
            amount, unit = tokens[position + 1][1], tokens[position + 2][1].strip("\"'")
            out += [(tokenize.OP, "@"), (tokenize.OP, "("), (tokenize.NUMBER, amount)]
            out += [(tokenize.OP, ","), (tokenize.STRING, repr(unit)), (tokenize.OP, ")")]
            position += 2
        else:
            out.append((kind, string))
        position += 1
    return tokenize.untokenize(out)


class _Reader:
    """Walks Python's tree."""

    def __init__(self, now: datetime | None) -> None:
        self._now = now

    def node(self, node: ast.expr) -> dict[str, Any]:
        """Returns a condition in MongoDB's form."""
        if isinstance(node, ast.BoolOp):
            join = "$and" if isinstance(node.op, ast.And) else "$or"
            return {join: [self.node(v) for v in node.values]}
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return {"$nor": [self.node(node.operand)]}
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            return self._within(node.left, self._value(node.right))
        if isinstance(node, ast.Call) and _called(node) == "WithinLast" and len(node.args) == 3:
            return self._within(node.args[0], [self._value(a) for a in node.args[1:]])
        raise UnsupportedOperatorError(
            f"{_shown(node)} is no comparison", operator=type(node).__name__, at=_shown(node)
        )

    def _compare(self, node: ast.Compare) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            operator = OPERATORS[type(op)]
            path = self._path(left)
            if path is not None:
                parts.append(clause(path, operator, self._value(right)))
            elif (path := self._path(right)) is None:
                raise FilterSyntaxError("a field belongs on one side", at=_shown(node))
            elif operator in {"$in", "$nin"}:
                parts.append(clause(path, "" if operator == "$in" else "$ne", self._value(left)))
            else:
                parts.append(clause(path, FLIPPED[operator], self._value(left)))
            left = right
        return parts[0] if len(parts) == 1 else {"$and": parts}

    def _within(self, field: ast.expr, amount: Any) -> dict[str, Any]:
        path = self._path(field)
        number, unit = amount if isinstance(amount, list) and len(amount) == 2 else (None, "")
        seconds = UNITS.get(str(unit).lower().removesuffix("s"))
        if path is None or seconds is None or not isinstance(number, (int, float)):
            raise FilterSyntaxError(
                "within_last takes a field, a number and minutes, hours or days", at=_shown(field)
            )
        return within(path, number * seconds, self._now)

    def _path(self, node: ast.expr) -> str | None:
        """Returns the server's path of a field, None where the node names none."""
        if isinstance(node, ast.Call):
            return self._path_of_call(node)
        name = _dotted(node)
        if name is None:
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
                raise FilterSyntaxError(_instead_of(node), at=_shown(node))
            return None
        head, dot, rest = name.partition(".")
        if head in ROOTS and (dot or head == "tags"):
            return ROOTS[head] + dot + rest
        if (known := server_name(head)) is not None:
            return known + dot + rest
        return f"summary_metrics.{name}"

    def _path_of_call(self, node: ast.Call) -> str:
        function = _called(node)
        if function == "Tags" and not node.args:
            return "tags"
        if len(node.args) != 1 or node.keywords or function not in {*PREFIXES, "Metric"}:
            names = ", ".join(["Metric", *PREFIXES])
            raise UnsupportedOperatorError(
                f"{_shown(node)} is no field: there are {names}, each of one name",
                operator=function or "call",
                at=_shown(node),
            )
        name = self._value(node.args[0])
        if not isinstance(name, str):
            raise FilterSyntaxError("a field's name is a text", at=_shown(node))
        if function == "Metric":
            return server_name(name) or f"summary_metrics.{name}"
        return PREFIXES[str(function)] + name

    def _value(self, node: ast.expr) -> Any:
        """Returns what a literal stands for; only literals and arithmetic on numbers are read."""
        if isinstance(node, ast.Constant) and not isinstance(node.value, (bytes, complex)):
            if node.value is ...:
                raise FilterSyntaxError("… is no value")
            return node.value
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self._value(e) for e in node.elts]
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._value(node.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        raise FilterSyntaxError(f"{_shown(node)} is no value", at=_shown(node))


def _instead_of(node: ast.Subscript) -> str:
    """Returns what to write in the place of `config["lr"]`."""
    root = node.value.id.lower() if isinstance(node.value, ast.Name) else ""
    name = node.slice.value if isinstance(node.slice, ast.Constant) else "lr"
    functions = {"config": "Config", "summary": "Summary", "summary_metrics": "SummaryMetric",
                 "tags": "Tags"}  # fmt: skip
    return f"a field in a document is {functions.get(root, 'Metric')}({json.dumps(name)})"


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _called(node: ast.Call) -> str | None:
    return node.func.id if isinstance(node.func, ast.Name) else None


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:59] + "…"
