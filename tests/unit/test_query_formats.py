"""What a result looks like in each format: on a screen, and exactly."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from wbsync.errors import WarehouseError
from wbsync.query.formats import MAX_CELL_CHARS, TABLE_ROWS, write_result
from wbsync.query.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = "\x1b[31m\x9b2J\x7f\r\u202e"
EVERY_TYPE = r"""
SELECT true AS b, {'a': 1, 'b': [1, NULL]} AS s, '\xDE\xADz"'::BLOB AS bl, sum(x) AS h,
       1.50::DECIMAL(10, 2) AS d, INTERVAL 25 HOUR AS i, TIMESTAMP '2024-01-01 10:00:00.5' AS ts,
       'nan'::DOUBLE AS n, '-inf'::DOUBLE AS inf, NULL AS nul, '' AS e, 'a"b,c' || chr(10) AS q,
       9007199254740993 AS big
FROM range(3) r(x)
"""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database without anything in it."""
    with duckdb.connect() as opened:
        yield opened


def written(
    connection: duckdb.DuckDBPyConnection, query: str, kind: str, screen: int | None = None
) -> tuple[str, str]:
    """Returns what is written of a query, and what is said to be shown alone."""
    out = io.BytesIO()
    result = Result(connection.sql(query).to_arrow_reader(1000))
    shown = write_result(result, kind, out, screen=screen)
    return out.getvalue().decode(), shown


def test_csv_is_as_duckdb_writes_it(connection: duckdb.DuckDBPyConnection, tmp_path: Any) -> None:
    """No Python in CSV; NULL is nothing and '' is quoted; DuckDB reads the same values back."""
    text, _ = written(connection, EVERY_TYPE, "csv")
    _, row = csv.reader(io.StringIO(text))
    assert row[:5] == ["true", '{"a": 1, "b": [1, null]}', r"\xDE\xADz\x22", "3", "1.50"]
    assert row[5:10] == ["90000 seconds", "2024-01-01 10:00:00.500000", "nan", "-inf", ""]
    assert text.endswith(',,"","a""b,c\n",9007199254740993\n')
    path = tmp_path / "x.csv"
    path.write_text(text)
    names = "b, bl::BLOB, h, d, i::INTERVAL, ts, n, inf, nul, e, q, big"
    read = f"SELECT {names} FROM read_csv('{path}', all_varchar = true, allow_quoted_nulls = false)"
    [back] = connection.sql(read).fetchall()
    [was] = connection.sql(f"SELECT {names} FROM ({EVERY_TYPE})").fetchall()
    assert (back[1], back[4], back[8:11]) == (was[1], was[4], was[8:11])
    assert written(connection, "SELECT NULL UNION ALL SELECT ''", "csv")[0] == 'NULL\n\n""\n'


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_has_numbers_and_no_python(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    """Sums and decimals are numbers, bytes and intervals texts, NaN what W&B calls it."""
    found = json.loads(written(connection, EVERY_TYPE, kind)[0].strip())
    [row] = found if kind == "json" else [found]
    assert (row["h"], row["d"], row["big"], row["n"]) == (3, 1.5, 9007199254740993, "NaN")
    assert (row["s"], row["nul"], row["e"]) == ({"a": 1, "b": [1, None]}, None, "")
    assert (row["bl"], row["i"], row["inf"]) == (r"\xDE\xADz\x22", "90000 seconds", "-Infinity")


@pytest.mark.parametrize("kind", ["table", "csv", "json", "jsonl", "markdown"])
def test_no_text_is_a_terminal_escape(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    """On a screen nothing but printable text arrives; elsewhere data is exact."""
    query = f"""SELECT '{HOSTILE}' AS "{HOSTILE}", 'é😀' AS ok"""
    shown, _ = written(connection, query, kind, screen=80)
    assert not [c for c in shown if not c.isprintable() and c != "\n"]
    assert "é😀" in shown
    exact, _ = written(connection, query, kind)
    if kind == "csv":
        assert list(csv.reader(io.StringIO(exact, newline=""))) == [
            [HOSTILE, "ok"],
            [HOSTILE, "é😀"],
        ]
    if kind.startswith("json"):
        assert json.loads(shown) == json.loads(exact)
        [row] = [json.loads(exact)] if kind == "jsonl" else json.loads(exact)
        assert row == {HOSTILE: HOSTILE, "ok": "é😀"}


@pytest.mark.parametrize("kind", ["table", "markdown"])
def test_a_table_is_whole_where_there_is_no_screen(
    connection: duckdb.DuckDBPyConnection, kind: str
) -> None:
    """A file gets every row and all of every cell."""
    query = f"SELECT repeat('x', 500) || i AS t, i FROM range({TABLE_ROWS + 500}) r(i)"
    text, shown = written(connection, query, kind)
    assert len(text.splitlines()) == TABLE_ROWS + 502
    assert not shown
    assert f"{'x' * 500}{TABLE_ROWS + 499}" in text
    assert "…" not in text


def test_a_table_fits_the_screen(connection: duckdb.DuckDBPyConnection) -> None:
    """Long cells are cut first, then columns are left out, and what is left out is said."""
    query = (
        f"SELECT repeat('x', 100) AS a, i, repeat('y', 100) AS b FROM range({TABLE_ROWS + 1}) r(i)"
    )
    for screen, columns in ((200, 3), (60, 3), (30, 2), (5, 1)):
        text, shown = written(connection, query, "table", screen)
        lines = text.splitlines()
        assert len(lines) == TABLE_ROWS + 2
        assert len(lines[2].split()) == columns
        assert columns == 1 or max(map(len, lines)) <= min(screen, 2 * MAX_CELL_CHARS + 10)
        assert shown.startswith(f"the first {TABLE_ROWS:,} rows")
        assert (f"{columns} of 3 columns" in shown) == (columns < 3)


@pytest.mark.parametrize("kind", ["table", "markdown", "csv"])
@pytest.mark.parametrize("screen", [None, 50, 30])
def test_what_is_copied_from_a_table_is_exact(
    connection: duckdb.DuckDBPyConnection, kind: str, screen: int | None
) -> None:
    """Numbers of any size and times are whole on any screen, and so in rows far below."""
    for query, whole in {
        "SELECT 1/3::DOUBLE": "0.3333333333333333",
        "SELECT -1.2345678901234567e-300": "-1.2345678901234567e-300",
        "SELECT 9223372036854775807": "9223372036854775807",
        "SELECT (1::HUGEINT << 100)": "1267650600228229401496703205376",
        "SELECT TIMESTAMP '2026-01-02 03:04:05.678901'": "2026-01-02 03:04:05.678901",
        "SELECT CASE WHEN i = 900 THEN 0.1 + 0.2::DOUBLE ELSE i END FROM range(950) r(i)":
            "0.30000000000000004",
    }.items():  # fmt: skip
        text, _ = written(connection, query, kind, screen)
        assert whole in text


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
def test_times_too_far_away_for_python_are_texts(
    connection: duckdb.DuckDBPyConnection, kind: str
) -> None:
    """A date that Python does not know hurts neither its own row nor the others of its column."""
    query = "SELECT unnest([DATE 'infinity', DATE '290000-01-01', DATE '2020-02-03']) AS d"
    text, _ = written(connection, query, kind)
    assert "2020-02-03" in text
    assert text.count("out of range") == 2


def test_rows_that_are_fitted_fail_and_end_as_before() -> None:
    """Rows in other types keep what turns their errors into ours, and what Ctrl-C calls."""

    def rows() -> Any:
        yield pa.record_batch({"a": pa.array([1], pa.int32())})
        raise pa.ArrowInvalid("from deep below")

    stopped: list[str] = []
    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int32())]), rows())
    result = Result(
        reader, lambda error: WarehouseError(f"ours: {error}"), stop=lambda: stopped.append("a")
    )
    fitted = result.fitted([("a", "BIGINT")])
    fitted._stop()
    assert stopped == ["a"]
    with pytest.raises(WarehouseError, match=r"^ours: from deep below"):
        fitted.arrow()
