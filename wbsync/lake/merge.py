"""Merges segments: files of history that each run key by key become one sequence that does.

Nothing is sorted: each file is read forward in small batches and cut where key or run change;
the cuts of all files are put one after another. Only where two files hold overlapping steps of
one key of one run, or a file is not in order, are rows sorted, and then those alone.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wbsync.lake.files import ROW_GROUP_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wbsync.lake.scan import Part

LABELS = ("entity", "project", "run_id", "key")
"""Columns that are the same in many neighbouring rows."""

PLACE = ("key", "entity", "project", "run_id")
BATCH_ROWS = 8 * 1024
"""Rows of a file that are held at once: many files are open."""

MAX_FILES = 16
"""Files to merge at once: what bounds the memory."""

Place = tuple[str, str, str, str]
"""Key, entity, project, run id."""

Piece = list[pa.Array]
"""Columns of neighbouring rows of one place, those of LABELS left out."""


class OutOfOrderError(Exception):
    """A file does not run key by key, run by run, step by step."""


@dataclass(order=True, slots=True)
class _Head:
    """Where the reading of a file stands."""

    place: Place
    first_step: int
    number: int
    last_step: int = field(compare=False)
    piece: Piece = field(compare=False)


def merge(parts: Sequence[Part], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yields the rows of at most MAX_FILES files key by key, then run by run, then step by step.

    Args:
        parts: The files, each of which is in that order.
        schema: The table's schema; what a file lacks is NULL.

    Raises:
        OutOfOrderError: One of them is not.
    """
    sources = [_read(path, schema, part.lacking) for part in parts for path in part.files]
    cuts = [
        (_Head(place, first, number, last, piece) for place, first, last, piece in source)
        for number, source in enumerate(sources)
    ]
    output = _Output(schema)
    cluster: list[_Head] = []
    last_step = 0
    for head in heapq.merge(*cuts):
        if cluster and (head.place != cluster[0].place or head.first_step > last_step):
            yield from output.add(cluster)
            cluster = []
        last_step = max(last_step, head.last_step) if cluster else head.last_step
        cluster.append(head)
    if cluster:
        yield from output.add(cluster)
    yield from output.rest()


def _read(
    path: Path, schema: pa.Schema, lacking: frozenset[str]
) -> Iterator[tuple[Place, int, int, Piece]]:
    """Yields a file cut by cut: place, first step, last step (-1 for none), columns."""
    held = [name for name in schema.names if name not in lacking]
    before: tuple[Place, int, int] | None = None
    with pq.ParquetFile(path, read_dictionary=list(LABELS), buffer_size=65536) as file:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=held):
            labels = {name: batch.column(name) for name in LABELS}
            values = [
                batch.column(f.name).cast(f.type)
                if f.name not in lacking
                else pa.nulls(batch.num_rows, f.type)
                for f in schema
                if f.name not in LABELS
            ]
            steps = batch.column("step").fill_null(-1).to_numpy(zero_copy_only=False)
            rows = batch.column("row").to_numpy(zero_copy_only=False)
            codes = {n: c.indices.to_numpy(zero_copy_only=False) for n, c in labels.items()}
            names = {n: c.dictionary.to_pylist() for n, c in labels.items()}
            is_same = np.ones(batch.num_rows - 1, bool)
            for column in codes.values():
                is_same &= column[1:] == column[:-1]
            falls = (steps[1:] < steps[:-1]) | ((steps[1:] == steps[:-1]) & (rows[1:] < rows[:-1]))
            if (falls & is_same).any():
                raise OutOfOrderError
            starts = [0, *(np.flatnonzero(~is_same) + 1).tolist()]
            for start, end in pairwise([*starts, batch.num_rows]):
                key, entity, project, run_id = (names[n][codes[n][start]] for n in PLACE)
                place: Place = (key, entity, project, run_id)
                first = (place, int(steps[start]), int(rows[start]))
                if before is not None and first < before:
                    raise OutOfOrderError
                before = (place, int(steps[end - 1]), int(rows[end - 1]))
                yield place, first[1], before[1], [c.slice(start, end - start) for c in values]


class _Output:
    """Gathers pieces until there are enough for a row group."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._values = [f.name for f in schema if f.name not in LABELS]
        self._places: list[Place] = []
        self._pieces: list[Piece] = []
        self._rows = 0

    def add(self, cluster: list[_Head]) -> Iterator[pa.Table]:
        """Takes pieces of one place whose steps overlap, or one piece."""
        pieces = [head.piece for head in cluster]
        if len(pieces) > 1:
            columns = [pa.concat_arrays(list(arrays)) for arrays in zip(*pieces, strict=True)]
            named = dict(zip(self._values, columns, strict=True))
            places = pa.table({"step": named["step"].fill_null(-1), "row": named["row"]})
            order = pc.sort_indices(places, [("step", "ascending"), ("row", "ascending")])
            pieces = [[column.take(order) for column in columns]]
        self._places.append(cluster[0].place)
        self._pieces.append(pieces[0])
        self._rows += len(pieces[0][0])
        if self._rows >= ROW_GROUP_ROWS:
            yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        """Yields what is gathered."""
        if not self._rows:
            return
        lengths = np.array([len(piece[0]) for piece in self._pieces], np.int64)
        columns = {
            name: pa.concat_arrays(list(arrays))
            for name, arrays in zip(self._values, zip(*self._pieces, strict=True), strict=True)
        }
        for name, texts in zip(PLACE, zip(*self._places, strict=True), strict=True):
            known = sorted(set(texts))
            place = {text: index for index, text in enumerate(known)}
            indices = np.repeat(np.array([place[t] for t in texts], np.int32), lengths)
            columns[name] = pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(known))
        self._places, self._pieces, self._rows = [], [], 0
        yield pa.Table.from_arrays([columns[n] for n in self._schema.names], self._schema.names)
