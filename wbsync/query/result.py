"""What a query gives back: rows that are read once, or kept once asked for whole."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from wbsync.errors import ConfigError, QueryError, WbsyncError
from wbsync.query.interruptible import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    import polars as pl
    import pyarrow as pa

PREVIEW_ROWS = 20


class Result:
    """The rows of a query.

    They stream: `batches()` and iteration read them once. `arrow()`, `df()`, `pl()` and
    `fetchall()` read them whole and keep them, so they may be called again and mixed.
    """

    def __init__(
        self,
        reader: pa.RecordBatchReader,
        translate: Callable[[Exception], Exception] | None = None,
        names: list[str] | None = None,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes a reader of record batches.

        Args:
            reader: Where the rows come from.
            translate: Turns an error of the reader into one of ours.
            names: Names of the columns, None for the reader's own; equal ones are numbered.
            stop: Ends what the reader does, from another thread: Ctrl-C calls it.
        """
        import pyarrow as pa

        self._reader = reader
        self._translate = translate
        self._stop = stop
        unique = unique_names(names or list(reader.schema.names))
        self._schema = pa.schema(
            [f.with_name(n) for f, n in zip(reader.schema, unique, strict=True)]
        )
        self._ahead: list[pa.RecordBatch] = []
        self._table: pa.Table | None = None
        self._is_spent = False

    @property
    def columns(self) -> list[str]:
        """Names of the columns, each once."""
        return list(self._schema.names)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the rows."""
        return self._schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields the rows as record batches; rows not kept by arrow() can be read once only."""
        if self._table is not None:
            yield from self._table.to_batches()
            return
        if self._is_spent:
            raise RuntimeError("these rows were read already: call arrow() first to keep them")
        self._is_spent = True
        ahead, self._ahead = self._ahead, []
        yield from ahead
        while (batch := self._next()) is not None:
            yield batch

    def fitted(self, columns: Sequence[tuple[str, str]]) -> Result:
        """Returns the rows in columns of given names and SQL types; nothing is read yet.

        Raises:
            QueryError: The rows have other columns, or values that do not fit.
        """
        import pyarrow as pa

        names = [name for name, _ in columns]
        if self.columns != names:
            raise QueryError(
                f"the query gives the columns {', '.join(self.columns)}; its header promises"
                f" {', '.join(names)}"
            )
        types = {
            "VARCHAR": pa.string(), "BIGINT": pa.int64(), "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(), "TIMESTAMP": pa.timestamp("us"),
        }  # fmt: skip
        schema = pa.schema([(name, types[kind]) for name, kind in columns])

        def cast() -> Iterator[pa.RecordBatch]:
            for batch in self.batches():
                try:
                    yield batch.cast(schema)
                except pa.ArrowInvalid as error:
                    raise QueryError(f"the rows do not fit the query's header: {error}") from error

        reader = pa.RecordBatchReader.from_batches(schema, cast())
        return Result(reader, self._translate, stop=self._stop)

    def arrow(self) -> pa.Table:
        """Returns all rows as an Arrow table."""
        import pyarrow as pa

        if self._table is None:
            self._table = pa.Table.from_batches(list(self.batches()), schema=self._schema)
        return self._table

    def df(self) -> pd.DataFrame:
        """Returns all rows as a pandas data frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: F401
        except ImportError:
            raise ConfigError("pandas is missing: pip install 'wbsync[df]'") from None
        return self.arrow().to_pandas()

    def pl(self) -> pl.DataFrame:
        """Returns all rows as a polars data frame.

        Raises:
            ConfigError: polars is not installed.
        """
        try:
            import polars as pl
        except ImportError:
            raise ConfigError("polars is missing: pip install 'wbsync[df]'") from None
        frame = pl.from_arrow(self.arrow())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Returns all rows as tuples of Python values."""
        return list(_tuples(self.arrow()))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for batch in self.batches():
            yield from _tuples(batch)

    def _next(self) -> pa.RecordBatch | None:
        import pyarrow as pa

        try:
            batch = interruptible(self._reader.read_next_batch, self._stop)
        except StopIteration:
            return None
        except Exception as error:
            if self._translate is None or isinstance(error, WbsyncError):
                raise
            raise self._translate(error) from error
        return pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)

    def preview(self, rows: int = PREVIEW_ROWS) -> tuple[list[tuple[Any, ...]], bool]:
        """Returns the first rows, and whether there are more; nothing is lost to later readers."""
        if self._table is None and self._is_spent:
            return [], True
        if self._table is not None:
            return list(_tuples(self._table.slice(0, rows))), self._table.num_rows > rows
        while sum(b.num_rows for b in self._ahead) <= rows:
            batch = self._next()
            if batch is None:
                break
            self._ahead.append(batch)
        first = [row for batch in self._ahead for row in _tuples(batch.slice(0, rows + 1))]
        return first[:rows], len(first) > rows

    def __repr__(self) -> str:
        from wbsync.query.formats import render_table

        rows, has_more = self.preview()
        if not rows and has_more:
            return f"<Result of {len(self.columns)} columns, rows already read>"
        return render_table(self.columns, rows, is_cut=True) + (
            "\n(more rows follow)" if has_more else ""
        )

    def _repr_html_(self) -> str:
        from wbsync.query.formats import cell_text

        rows, has_more = self.preview()
        head = "".join(f"<th>{html.escape(cell_text(c))}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell_text(v))}</td>" for v in row) + "</tr>"
            for row in rows
        )
        more = "<p>more rows follow</p>" if has_more else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _tuples(rows: pa.Table | pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    if not rows.num_columns:
        return iter(())
    return iter(list(zip(*map(_values, rows.columns), strict=True)))


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Returns a column as Python values; as texts where a time is too far away for Python."""
    try:
        found: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        found = column.cast("string").to_pylist()
    return found


def unique_names(names: list[str]) -> list[str]:
    """Returns the names with equal ones numbered.

    >>> unique_names(["a", "b", "a", "a_1"])
    ['a', 'b', 'a_1', 'a_1_1']
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 0
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        unique.append(candidate)
    return unique
