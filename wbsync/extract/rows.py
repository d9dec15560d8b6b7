"""Turns rows as dictionaries into Arrow tables of a warehouse table's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from wbsync.errors import SchemaMismatchError
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def build_table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns rows in the schema of a table; what a row lacks is NULL.

    Raises:
        SchemaMismatchError: A value does not fit its column.
    """
    names = load_table(name).arrow().names
    return build_columns(name, {column: [row.get(column) for row in rows] for column in names})


def build_columns(name: str, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Returns columns in the schema of a table.

    Args:
        name: The table.
        columns: Each of its columns to its values.

    Raises:
        SchemaMismatchError: A value does not fit its column.
    """
    schema = load_table(name).arrow()
    try:
        arrays = [pa.array(columns[field.name], field.type) for field in schema]
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise SchemaMismatchError(f"rows do not fit the table {name}: {error}") from error
    return pa.Table.from_arrays(arrays, schema=schema)


def nodes_of(connection: Any) -> list[dict[str, Any]]:
    """Returns the nodes of a connection, leaving out what the server hid."""
    edges = (connection or {}).get("edges") or []
    return [edge["node"] for edge in edges if edge and edge.get("node")]


def lists_all(connection: Any) -> bool:
    """Says whether the server hides no entry of what it lists of a connection."""
    edges = (connection or {}).get("edges")
    return edges is not None and all(edge and edge.get("node") for edge in edges)
