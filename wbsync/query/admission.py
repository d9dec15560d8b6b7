"""Decides which statements may run: those that only read the warehouse.

The type that DuckDB's parser gives a statement is not enough. Measured with DuckDB 2.0: `WITH x AS
(COPY t TO 'file') FROM x` is a SELECT by type and writes the file, as does EXPLAIN ANALYZE of a
COPY, both into the folder that views must be able to read. So a SELECT is serialized by DuckDB's
own parser and its tree is searched: every query node and every table function must be on a list
of harmless ones. What cannot be serialized is refused. The text that was checked is the text that
runs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbsync.errors import QueryError, StatementRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Query nodes that read; INSERT, UPDATE, DELETE and COPY have nodes of their own."""

TABLE_FUNCTIONS = frozenset(
    """
    duckdb_columns duckdb_constraints duckdb_databases duckdb_extensions duckdb_functions
    duckdb_indexes duckdb_keywords duckdb_memory duckdb_schemas duckdb_settings duckdb_tables
    duckdb_types duckdb_views duckdb_dependencies duckdb_sequences duckdb_temporary_files
    pragma_collations pragma_database_size pragma_platform pragma_show pragma_storage_info
    pragma_table_info pragma_version pg_timezone_names icu_calendar_names
    generate_series range repeat repeat_row unnest json_each json_tree query_table
    history_wide
    glob read_blob read_csv read_csv_auto read_json read_json_auto read_json_objects
    read_json_objects_auto read_ndjson read_ndjson_auto read_ndjson_objects read_parquet read_text
    parquet_scan parquet_bloom_probe parquet_file_metadata parquet_full_metadata
    parquet_kv_metadata parquet_metadata parquet_schema test_all_types
    """.split()  # noqa: SIM905
)
"""Table functions that neither write, nor run text as SQL, nor take pointers.

Those that read files can reach the lake's folder only: the connection sees to that.
"""

REFUSED_SCALARS = frozenset({"write_log", "nextval", "setval", "getenv"})
"""Scalar functions with an effect, or that look outside."""

_SPACE = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_SPACE}EXPLAIN\b{_SPACE}"
    rf"(?P<analyze>ANALYZE\b{_SPACE})?(?P<options>\([\w\s,']*\){_SPACE})?(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_OPTION = re.compile(
    r"\s*(?:(?P<analyze>ANALYZE)|FORMAT\s+'?(?P<format>JSON|TEXT)'?)\s*", re.IGNORECASE
)
_PRAGMA = re.compile(
    rf"{_SPACE}PRAGMA\s+(?:show_tables|show_tables_expanded|show_databases|database_list"
    r"|database_size|version|platform|collations|functions"
    rf"|(?:table_info|storage_info|show)\s*\(\s*(?:'[^']*'|\w+)\s*\)){_SPACE};?{_SPACE}",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A statement that may run."""

    text: str
    """Exactly what was checked, and what must be executed."""
    parameters: frozenset[str]
    """Names of its parameters; positional ones are named 1, 2, ..."""


def admit(connection: duckdb.DuckDBPyConnection, text: str) -> list[Admitted]:
    """Returns the statements of a text, each checked by itself.

    Args:
        connection: The connection that will execute them: the same parser checks and runs.
        text: One or more statements.

    Raises:
        StatementRefusedError: One of them would write, or could.
        QueryError: The text holds no statement.
        duckdb.Error: The text does not parse.
    """
    statements = connection.extract_statements(text)
    if not statements:
        raise QueryError('there is no statement; write for example "FROM runs LIMIT 5"')
    return [
        Admitted(_checked(connection, s.type.name, s.query), frozenset(s.named_parameters))
        for s in statements
    ]


def _checked(connection: duckdb.DuckDBPyConnection, kind: str, text: str) -> str:
    if kind == "SELECT":
        _check_select(connection, text)
        return text
    if kind == "EXPLAIN":
        return _checked_explain(connection, text)
    if kind == "PRAGMA" and _PRAGMA.fullmatch(text):
        return text
    if kind == "MULTI":
        raise StatementRefusedError(
            "PIVOT must name its values here: write PIVOT … ON column IN (value, …)"
        )
    raise StatementRefusedError(
        f"{kind.replace('_', ' ')} is refused: queries only read (SELECT, EXPLAIN, DESCRIBE, SHOW,"
        " SUMMARIZE)"
    )


def _checked_explain(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Returns an EXPLAIN that is put together anew from its options and a checked SELECT."""
    match = _EXPLAIN.fullmatch(text)
    refusal = StatementRefusedError("EXPLAIN is for a SELECT here, with ANALYZE and FORMAT JSON")
    if match is None:
        raise refusal
    options = {"analyze"} if match["analyze"] else set()
    rest = match["rest"]
    if match["options"]:
        inside = match["options"].strip()
        inside = inside[1 : inside.rindex(")")]
        found = [_OPTION.fullmatch(part) for part in inside.split(",")]
        if all(found):
            for option in found:
                assert option is not None
                options.add("analyze" if option["analyze"] else f"format {option['format']}")
        else:
            # Not options: the statement itself stands in parentheses.
            rest = match["options"] + rest
    parsed = connection.extract_statements(rest)
    if len(parsed) != 1 or parsed[0].type.name != "SELECT":
        raise refusal
    _check_select(connection, rest)
    head = f"EXPLAIN ({', '.join(sorted(options))})" if options else "EXPLAIN"
    return f"{head} {rest}"


def _check_select(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    rows = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchall()
    tree = json.loads(rows[0][0])
    if tree.get("error") or len(tree.get("statements", ())) != 1:
        raise StatementRefusedError("this statement is refused: it cannot be shown to only read")
    for node in _nodes(tree):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in QUERY_NODES:
            verb = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise StatementRefusedError(f"{verb} inside a query is refused: queries only read")
        name = str(node.get("function_name", "")).lower()
        if kind == "TABLE_FUNCTION":
            function = node.get("function")
            called = str(function.get("function_name", "") if function else "").lower()
            if called not in TABLE_FUNCTIONS:
                raise StatementRefusedError(
                    f"the table function {called or '?'} is refused: queries only read the"
                    " warehouse"
                )
        elif name in REFUSED_SCALARS:
            raise StatementRefusedError(
                f"the function {name} is refused: queries only read the warehouse"
            )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a JSON tree; a loop, so that deep queries do not end the stack."""
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
