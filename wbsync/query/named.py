"""Named queries: questions with an answer in SQL, one file each.

Those that ship stand in `queries/analysis/`; a folder of the user's own joins in. A file is one
statement that reads, under a header of comment lines:

    -- Which runs are best by a summary value?
    --
    -- What else there is to know, in as many lines as it takes.
    --
    -- Parameters:
    --   metric VARCHAR -- Summary key.
    --   goal VARCHAR IN ('minimize', 'maximize') = 'minimize' -- Which way is better.
    --   run VARCHAR[] OF run = '' -- Ids of the runs.
    --   smoothing DOUBLE IN [0, 1) = 0.6 -- From none to nearly all.
    --
    -- Columns:
    --   run_id VARCHAR -- Run id.

`OF` says that a value names something that must be held: `project` is ENTITY/PROJECT, `projects`
that or ENTITY alone, and `run` and `sweep` are ids of the parameter `project`'s; `config`,
`summary` and `history` are keys, of which the nearest are named where an answer is empty. A range
leaves out the bound beside a round bracket, and has none where none is written. The first line is
the question. A parameter without a default must be given, and stands in the statement as `$metric`.
Values are bound, never made part of a text. The name is the file's.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from wbsync.errors import ConfigError, QueryError
from wbsync.query.values import TYPES, read_value
from wbsync.resources import resource_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from wbsync.query.result import Result

COLUMN_TYPES = ("VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP")
RESERVED = frozenset({"sql", "on", "lake", "format", "output", "help", "json", "limit"})
"""Names of options that every query has."""

SUBJECTS = ("projects", "project", "run", "sweep", "config", "summary", "history")
"""What a parameter may name."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LITERAL = r"'(?:[^']|'')*'|-?[\d.]+(?:e-?\d+)?|true|false|NULL"
_BOUND = r"-?\d+(?:\.\d+)?"
_PARAMETER = re.compile(
    r"  (?P<name>[a-z][a-z0-9_]*) (?P<type>[A-Z]+(?:\[\])?)"
    rf"(?: IN \((?P<choices>(?:{_LITERAL})(?:, (?:{_LITERAL}))*)\))?"
    rf"(?: IN (?P<range>[\[(](?:{_BOUND})?, (?:{_BOUND})?[\])]))?"
    rf"(?: OF (?P<subject>{'|'.join(SUBJECTS)}))?"
    rf"(?: = (?P<default>{_LITERAL}))? -- (?P<comment>.+)"
)
_COLUMN = re.compile(r"  (?P<name>[a-z][a-z0-9_]*) (?P<type>[A-Z]+) -- (?P<comment>.+)")
_MORE = re.compile(r"    +(?P<text>\S.*)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a query is told."""

    name: str
    type: str
    """VARCHAR, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP or VARCHAR[]."""
    comment: str
    is_required: bool = True
    default: Any = None
    """For a TIMESTAMP a text: an instant, `now`, or how long before it, for example 30d."""
    choices: tuple[str, ...] = ()
    range: str = ""
    """Interval that a number lies in, for example `[0, 1)`; empty for any."""
    subject: str = ""
    """What a value names that must be held, one of SUBJECTS; empty for nothing."""

    def read(self, value: Any, now: datetime) -> Any:
        """Returns a value as the engine is to be given it.

        Raises:
            QueryError: It is of another type, or not among what it may be.
        """
        found = read_value(value, self.type, self.name, now)
        if self.choices and found is not None and found not in self.choices:
            raise QueryError(f"{self.name} must be one of {', '.join(self.choices)}, not {found!r}")
        if self.range and found is not None and not is_within(found, self.range):
            raise QueryError(f"{self.name} must be {range_words(self.range)}, not {found!r}")
        return found


def is_within(number: float, interval: str) -> bool:
    """Says whether a number lies in an interval.

    >>> is_within(1, "[0, 1)"), is_within(0, "[0, 1)"), is_within(10**9, "[1, )")
    (False, True, True)
    """
    low, high = (part.strip() for part in interval[1:-1].split(","))
    if low and not (number >= float(low) if interval[0] == "[" else number > float(low)):
        return False
    return not high or (number <= float(high) if interval[-1] == "]" else number < float(high))


def range_words(interval: str) -> str:
    """Returns an interval in words.

    >>> range_words("[0, 1)"), range_words("(0, )")
    ('at least 0 and below 1', 'above 0')
    """
    low, high = (part.strip() for part in interval[1:-1].split(","))
    words = [f"{'at least' if interval[0] == '[' else 'above'} {low}"] if low else []
    words += [f"{'at most' if interval[-1] == ']' else 'below'} {high}"] if high else []
    return " and ".join(words)


@dataclass(frozen=True, slots=True)
class OutColumn:
    """A column that a query gives."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query, as its file describes it."""

    name: str
    question: str
    about: str
    parameters: tuple[Parameter, ...]
    columns: tuple[OutColumn, ...]
    """Empty where the header of a user's own query does not list them."""
    text: str = field(repr=False)
    """The statement."""
    path: Path
    is_own: bool
    """Whether it comes from the user's own folder."""

    def bind(
        self, values: Mapping[str, Any], now: datetime, *, is_partial: bool = False
    ) -> dict[str, Any]:
        """Returns every parameter's value, defaults filled in.

        Args:
            values: Name to value, or to its text; None stands for the default.
            now: What `now` and durations count from.
            is_partial: Leave out what must be given and is not, instead of raising.

        Raises:
            QueryError: A name is unknown, a value is missing or of the wrong type.
        """
        known = {p.name: p for p in self.parameters}
        for name in values:
            if name not in known:
                hint = nearest(name, known) or f"it takes {', '.join(known) or 'none'}"
                raise QueryError(f"the query {self.name} has no parameter {name!r}; {hint}")
        bound = {}
        for parameter in self.parameters:
            value = values.get(parameter.name)
            if value is None and parameter.is_required:
                if is_partial:
                    continue
                raise QueryError(
                    f"the query {self.name} must be told {parameter.name}: {parameter.comment}"
                )
            given = parameter.default if value is None else value
            bound[parameter.name] = parameter.read(given, now)
        return bound


class Asks(Protocol):
    """An engine that runs SQL."""

    def sql(self, text: str, params: Mapping[str, Any] | None = None) -> Result:
        """Runs a statement with values for its `$name`."""


def run_query(engine: Asks, query: NamedQuery, values: Mapping[str, Any], now: datetime) -> Result:
    """Returns a query's rows, in the columns that its header promises.

    Args:
        engine: Where to run it.
        query: What to run.
        values: Parameter to value.
        now: What `now` and durations count from.

    Raises:
        QueryError: A parameter is wrong, or the query failed.
    """
    bound = query.bind(values, now)
    _check(query)
    result = engine.sql(query.text, bound)
    return result.fitted([(c.name, c.type) for c in query.columns]) if query.columns else result


def _check(query: NamedQuery) -> None:
    """Checks that a file holds one statement, with the parameters of its header."""
    from wbsync.query.engine import admitted

    statements = admitted(query.text)
    if len(statements) != 1:
        raise QueryError(f"{query.path} must hold one statement, not {len(statements)}")
    for name in statements[0].parameters ^ {p.name for p in query.parameters}:
        raise QueryError(f"{query.path}: ${name} must stand in the header and in the statement")


def print_query(query: NamedQuery, values: Mapping[str, Any], now: datetime, dialect: str) -> str:
    """Returns a query's SQL with literals for its parameters; what has no value stays `$name`.

    Args:
        query: What to print.
        values: Parameter to value.
        now: What `now` and durations count from.
        dialect: duckdb or spark.

    Raises:
        QueryError: A parameter is wrong, or the query cannot be said in that dialect.
    """
    from wbsync.query.transpile import fill, parse, printed

    return printed(fill(parse(query.text), query.bind(values, now, is_partial=True)), dialect)


class Catalog:
    """The queries that there are: those that ship, and the user's own."""

    def __init__(self, own: Path | None = None) -> None:
        """Reads the headers.

        Args:
            own: Folder of the user's own queries, None for none.

        Raises:
            ConfigError: There is no such folder.
        """
        self.problems: dict[str, str] = {}
        """The user's files that cannot be used: name to what is wrong."""
        self.shadowed: dict[str, NamedQuery] = {}
        """Queries that ship, whose name one of the user's own has taken."""
        self._queries = dict(shipped_queries())
        if own is None:
            return
        if not own.is_dir():
            raise ConfigError(f"{own} is no folder: [queries] path in wbsync.toml names it")
        for path in sorted(own.glob("*.sql")):
            try:
                query = read_query(path, is_own=True)
            except (QueryError, OSError, UnicodeDecodeError) as error:
                self.problems[path.stem] = f"{path}: {error}"
                continue
            if query.name in self._queries:
                self.shadowed[query.name] = self._queries[query.name]
            self._queries[query.name] = query

    def names(self) -> list[str]:
        """Returns the names, in alphabetical order."""
        return sorted(self._queries)

    def queries(self) -> list[NamedQuery]:
        """Returns the queries, in the order of their names."""
        return [self._queries[name] for name in self.names()]

    def find(self, name: str) -> NamedQuery:
        """Returns the query of a name.

        Raises:
            QueryError: There is none; the message proposes the nearest.
        """
        if name in self._queries and name not in self.problems:
            return self._queries[name]
        if name in self.problems:
            raise QueryError(self.problems[name])
        hint = nearest(name, self._queries) or "`wbsync query` lists them"
        raise QueryError(f"there is no query {name!r}; {hint}")


@cache
def shipped_queries() -> dict[str, NamedQuery]:
    """Returns the queries that ship with wbsync, by name."""
    folder = resource_root() / "queries" / "analysis"
    return {p.stem: read_query(p, is_own=False) for p in sorted(folder.glob("*.sql"))}


def read_query(path: Path, *, is_own: bool) -> NamedQuery:
    """Returns the query of a file.

    Raises:
        QueryError: The header does not keep to the form that the module describes.
    """
    if not _NAME.fullmatch(path.stem):
        raise QueryError("the file's name must be of a-z, 0-9 and _, for it names the query")
    head: list[str] = []
    body: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not body and line.startswith("--"):
            head.append(line.removeprefix("--").removeprefix(" ").rstrip())
        elif body or line.strip():
            body.append(line)
    parts = _parts(head)
    parameters = tuple(_read_parameter(line) for line in parts["Parameters:"])
    for parameter in parameters:
        if parameter.name in RESERVED:
            raise QueryError(f"a parameter cannot be called {parameter.name}: an option is")
    about = parts[""]
    if not about:
        raise QueryError("the first line must be a comment: the question that is answered")
    columns = tuple(_read_column(line) for line in parts["Columns:"])
    text = "\n".join(body).strip().removesuffix(";").rstrip()
    return NamedQuery(
        name=path.stem, question=about[0].strip(),
        about="\n".join(line.strip() for line in about[1:]).strip(),
        parameters=parameters, columns=columns, text=text, path=path, is_own=is_own,
    )  # fmt: skip


def _parts(head: Sequence[str]) -> dict[str, list[str]]:
    """Returns the header's lines by the heading they stand under; continuations are joined."""
    parts: dict[str, list[str]] = {"": [], "Parameters:": [], "Columns:": []}
    heading = ""
    for line in head:
        if line.strip() in parts and line.strip():
            heading = line.strip()
        elif not heading:
            parts[heading].append(line)
        elif (more := _MORE.fullmatch(line)) and parts[heading]:
            parts[heading][-1] += f" {more['text']}"
        elif line.strip():
            parts[heading].append(line)
    return parts


def _read_parameter(line: str) -> Parameter:
    match = _PARAMETER.fullmatch(line)
    if match is None or match["type"] not in TYPES:
        raise QueryError(
            f"cannot read {line.strip()!r} in the header: a parameter looks like `top BIGINT = 20"
            f" -- How many.`, with a type of {', '.join(TYPES)}"
        )
    choices = tuple(map(_literal, re.findall(_LITERAL, match["choices"] or "")))
    default = _literal(match["default"]) if match["default"] else None
    if match["range"] and match["type"] not in {"BIGINT", "DOUBLE"}:
        raise QueryError(f"{match['name']} in the header: a range is for BIGINT and DOUBLE")
    return Parameter(
        match["name"], match["type"], match["comment"], match["default"] is None, default, choices,
        match["range"] or "", match["subject"] or "",
    )  # fmt: skip


def _read_column(line: str) -> OutColumn:
    match = _COLUMN.fullmatch(line)
    if match is None or match["type"] not in COLUMN_TYPES:
        raise QueryError(
            f"cannot read {line.strip()!r} in the header: a column looks like `run_id VARCHAR --"
            f" Run id.`, with a type of {', '.join(COLUMN_TYPES)}"
        )
    return OutColumn(match["name"], match["type"], match["comment"])


EXAMPLES = {
    "project": "my-team/my-project", "metric": "loss", "artifact": "dataset:v3", "target": "0.1",
    "parameter": "lr", "train": "train/loss", "validation": "val/loss", "first": "30d",
    "second": "now", "a": "1a2b3c4d", "b": "5e6f7g8h",
}  # fmt: skip
"""What stands for a parameter in an example."""


def example(query: NamedQuery) -> str:
    """Returns a command line that gives what must be given."""
    options = [
        f" --{p.name.replace('_', '-')} {EXAMPLES.get(p.name, p.name.upper())}"
        for p in query.parameters
        if p.is_required
    ]
    return f"wbsync query {query.name}{''.join(options)}"


def _literal(text: str) -> Any:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return None if text == "NULL" else text


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Returns a proposal of the nearest known name, empty where none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else ""
