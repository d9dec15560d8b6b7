"""Warehouses made of documents: the same rows that a sync writes, in a DuckDB in memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb

from wbsync.extract.rows import build_table
from wbsync.extract.runs import build_run_rows
from wbsync.model import ProjectPath
from wbsync.query.filters import Question, build_select, parse_filter
from wbsync.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

PROJECT = ProjectPath("team", "project")
SCOPE = {"entity": "team", "project": "project"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Documents:
    """Runs whose config, or whatever else, is given as W&B would answer it."""

    def __init__(self, nodes: Iterable[Mapping[str, Any]]) -> None:
        self.connection = duckdb.connect(config={"threads": 1})
        named = [{"name": f"{i}", **node} for i, node in enumerate(nodes)]
        rows = build_run_rows(named, PROJECT, NOW)
        for name in ("runs", "run_config", "run_summary", "run_tags", "run_artifacts"):
            self._create(name, getattr(rows, name))
        self._create("history_keys", _history_keys(named))

    @classmethod
    def of_configs(cls, configs: Sequence[Mapping[str, Any]]) -> Documents:
        """Returns runs with these configs, as W&B wraps them, and the same as summaries."""
        return cls(
            {
                "config": json.dumps({k: {"value": v, "desc": None} for k, v in c.items()}),
                "summaryMetrics": json.dumps(c),
            }
            for c in configs
        )

    def _create(self, name: str, rows: Any) -> None:
        self.connection.register("incoming", rows)
        columns = ", ".join(
            f'make_timestamp(epoch_us("{c.name}")) AS "{c.name}"'
            if c.type == "TIMESTAMP"
            else f'"{c.name}"'
            for c in load_table(name).columns
        )
        self.connection.execute(f'CREATE TABLE "{name}" AS SELECT {columns} FROM incoming')
        self.connection.unregister("incoming")

    def matching(self, query: Any, meaning: Any = "mongo", *, from_leaves: bool = True) -> set[int]:
        """Returns the numbers of the runs that pass a filter."""
        question = Question(parse_filter(query, meaning=meaning), SCOPE, columns=("run_id",))
        select = build_select(question, from_leaves=from_leaves)
        return {
            int(run)
            for (run,) in self.connection.execute(select.sql("duckdb", copy=False)).fetchall()
        }


def _history_keys(nodes: list[dict[str, Any]]) -> pa.Table:
    """Returns the rows of history_keys that a sync makes of what the server says was logged."""
    rows = [
        {
            "entity": PROJECT.entity, "project": PROJECT.project, "run_id": node["name"],
            "key": key, "held_count": 0, "synced_at": NOW,
        }
        for node in nodes
        for key in (node.get("historyKeys") or {}).get("keys", ())
    ]  # fmt: skip
    return build_table("history_keys", rows)


def prefixed(query: Any, prefix: str) -> Any:
    """Returns a filter with its fields inside a document of a run."""
    if isinstance(query, list):
        return [prefixed(q, prefix) for q in query]
    return {
        key if key.startswith("$") else f"{prefix}.{key}": (
            prefixed(wanted, prefix) if key in {"$and", "$or", "$nor", "$not"} else wanted
        )
        for key, wanted in query.items()
    }
