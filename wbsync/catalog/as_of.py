"""A warehouse as it was: a file like the published one, over an older version of each table.

Nothing is copied: every table is a view over the Parquet files of its newest version that is not
later than the instant asked for. That works as far back as those files exist, which a vacuum
deletes in the end.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import duckdb

from wbsync.catalog.build import build
from wbsync.catalog.shape import lake_tables
from wbsync.catalog.writing import Form
from wbsync.errors import ConfigError, WarehouseError
from wbsync.lake.log import iter_times, version_at, whole_since

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from wbsync.lake import Lake


def build_as_of(
    path: Path, lake: Lake, instant: datetime, sync_log: pa.Table, *, has_projects: bool = True
) -> None:
    """Writes a DuckDB file that shows the tables as they were.

    Args:
        path: The file to make.
        lake: The lake.
        instant: As of when; aware.
        sync_log: Rows of the table sync_log, which is not in the lake; later ones are left out.
        has_projects: Whether each project has its schema; its keys must be counted for that.

    Raises:
        ConfigError: Nothing was held yet.
        WarehouseError: Files of that time were deleted, or something cannot be read.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    versions = {name: version_at(lake.path(name), instant) for name in lake_tables()}
    _check(lake, instant, versions)
    parts = {
        name: lake.parts(name, version=version)
        for name, version in versions.items()
        if version is not None
    }
    started = sync_log["started_at"]
    known = sync_log.filter(pc.less_equal(started, pa.scalar(instant, started.type)))
    try:
        build(path, parts, form=Form(is_passing=True, has_projects=has_projects), sync_log=known)
    except duckdb.Error as error:
        raise WarehouseError(f"cannot build {path}: {error}") from error


def _check(lake: Lake, instant: datetime, versions: Mapping[str, int | None]) -> None:
    """Raises an error that says how far back one can go, where that is not far enough."""
    if not any(version is not None for version in versions.values()):
        firsts = [at for name in versions for at, _ in islice(iter_times(lake.path(name)), 1)]
        since = f"; the first sync was at {_text(min(firsts))}" if firsts else ""
        raise ConfigError(f"nothing was held yet at {_text(instant)}{since}")
    incomplete = [
        name
        for name, version in versions.items()
        if version is not None and not all(f.exists() for f in lake.files(name, version))
    ]
    if incomplete:
        times = [t for name in incomplete if (t := whole_since(lake.path(name))) is not None]
        raise WarehouseError(
            f"the files of {_text(instant)} were deleted by a vacuum: the earliest time that can be"
            f" had is {_text(max(times))}"
        )


def _text(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
