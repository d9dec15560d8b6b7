"""Files of runs. Source: queries/wandb/run_files.graphql; wandb/apis/public/files.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbsync.extract.rows import build_table
from wbsync.extract.values import as_int, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    import pyarrow as pa

    from wbsync.model import RunPath


def build_file_rows(
    listings: Mapping[RunPath, Iterable[dict[str, Any]]], synced_at: datetime
) -> pa.Table:
    """Returns rows of the table run_files.

    Args:
        listings: Run to its files; of several with one name the last one counts.
        synced_at: When they were read.
    """
    rows = {}
    for run, nodes in listings.items():
        for node in nodes:
            rows[run, node["name"]] = {
                "entity": run.entity,
                "project": run.project,
                "run_id": run.run_id,
                "name": node["name"],
                "file_id": node.get("id"),
                "size_bytes": as_int(node.get("sizeBytes")),
                "mimetype": node.get("mimetype"),
                "md5": node.get("md5"),
                "updated_at": parse_time(node.get("updatedAt")),
                "synced_at": synced_at,
            }
    return build_table("run_files", list(rows.values()))
