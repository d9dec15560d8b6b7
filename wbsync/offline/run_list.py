"""Lists of runs. Source: wandb/apis/public/runs.py (`Runs`).

A list is one query for the columns that are small; config and summary come when first looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from wbsync.offline.documents import Documents
from wbsync.offline.listing import Listing
from wbsync.offline.runs import COLUMNS, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from wbsync.offline.reader import Reader
    from wbsync.offline.runs import Stream

ROWS_AT_ONCE = 1000
"""Runs whose small columns become objects at once."""


class Runs(Listing[Run]):
    """The runs of a project that pass a filter, in order."""

    def __init__(
        self,
        reader: Reader,
        entity: str,
        project: str,
        filters: Any = None,
        order: str | Sequence[str] | None = None,
        per_page: int = 50,
        limit: int | None = None,
    ) -> None:
        """Takes what is asked for; it is looked up when first looked at.

        Raises:
            NotHeldError: The project was not synced.
        """
        reader.project(entity, project)
        self._reader = reader
        self.entity = entity
        self.project = project
        self.filters = filters or {}
        self.order = order or "+created_at"
        self.per_page = per_page
        self._limit = limit
        self._found: pa.Table | None = None
        self._runs: list[Run | None] = []

    def histories(
        self,
        samples: int = 500,
        keys: list[str] | None = None,
        x_axis: str = "_step",
        format: Literal["default", "pandas", "polars"] = "default",
        stream: Stream = "default",
    ) -> list[dict[str, Any]] | pd.DataFrame | pl.DataFrame:
        """Returns sampled history of all runs, each row with its `run_id`.

        Args:
            samples: Most rows of a run.
            keys: Only rows that hold all of these, and only these; None takes all.
            x_axis: Key that stands first beside `keys`.
            format: `default` for a list, `pandas` or `polars` for a data frame.
            stream: `default`, or `system` for system metrics.

        Raises:
            NotHeldError: A run's history was not synced.
            ValueError: The format is unknown.
        """
        if format not in {"default", "pandas", "polars"}:
            raise ValueError(
                f"Invalid format: {format}. Must be one of 'default', 'pandas', 'polars'"
            )
        rows: list[dict[str, Any]] = []
        for run in self:
            found = run.history(samples, keys, x_axis, pandas=False, stream=stream)
            rows += [{**row, "run_id": run.id} for row in found]
        if format == "default":
            return rows
        columns = sorted({name for row in rows for name in row})
        if format == "pandas":
            import pandas as pd

            return pd.DataFrame.from_records(rows, columns=columns)
        import polars as pl

        whole = [{name: row.get(name) for name in columns} for row in rows]
        return pl.from_dicts(whole, infer_schema_length=None) if rows else pl.DataFrame()

    def keep_only(self, run_ids: Sequence[str]) -> None:
        """Leaves out all runs but these."""
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._table()
        chosen = pc.is_in(table.column("run_id"), pa.array(list(run_ids), pa.string()))
        self._take(table.filter(chosen))

    def upgrade_to_full(self) -> None:
        """Does nothing: config and summary come by themselves."""

    def __repr__(self) -> str:
        return f"<Runs {self.entity}/{self.project}>"

    def _table(self) -> pa.Table:
        if self._found is None:
            scope = {"entity": self.entity, "project": self.project}
            self._take(
                self._reader.select("runs", scope, self.filters, self.order, COLUMNS, self._limit)
            )
            if not self._runs:
                self._reader.check_runs(self.entity, self.project)
        return self._found

    def _take(self, found: pa.Table) -> None:
        """Takes the runs that were found."""
        self._found = found
        self._runs = [None] * found.num_rows
        ids = found.column("run_id").to_pylist()
        self._documents = Documents(self._reader, self.entity, self.project, ids)

    def _count(self) -> int:
        return int(self._table().num_rows)

    def _make(self, index: int) -> Run:
        table = self._table()
        run = self._runs[index]
        if run is None:
            first = index - index % ROWS_AT_ONCE
            for place, row in enumerate(table.slice(first, ROWS_AT_ONCE).to_pylist(), first):
                self._runs[place] = Run(
                    self._reader, self.entity, self.project, row, self._documents, place
                )
            run = self._runs[index]
        assert run is not None
        return run
