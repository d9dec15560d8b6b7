"""Asking the warehouse: SQL that only reads, and the ways to write its rows."""

from wbsync.query.engine import ColumnInfo, Engine, TableInfo, published_path
from wbsync.query.result import Result

__all__ = ["ColumnInfo", "Engine", "Result", "TableInfo", "published_path"]
