"""Hostile keys, values and regexes: no SQL error, no injection, no crash, linear time."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_filters import IS_LONG, SETTINGS, TIMEOUT_S
from warehouses import SCOPE, Documents, prefixed

from wbsync.errors import FilterError
from wbsync.query.filters import MEANINGS, Question, build_select, parse_filter

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.timeout(TIMEOUT_S)
MORE = 20 if IS_LONG else 1

HOSTILE = [
    "'", "''", '"', "\\", "\\'", "`", ";", "--", "/*", "*/", "'; DROP TABLE runs; --",
    "' OR '1'='1", '"; DROP TABLE runs; --', "$1", "?", ":x", "{}", "{0}", "%s", "%", "_", "\0",
    "a\0b", "\n", "\r\n", "\t", "\x1b[31m", "\x7f", "\u2028", "\ufeff", "é", "☃", "😀", "👩‍👩‍👧",
    "\u202e", "e1", "LAMBDA x : x", "j1.json", "NULL", "true", "NaN", "$.a", "$[*]", "/a", "~0",
    "~1", "a/b", "a b", "a[0]", "[*]", "#", "(", ")", ",", "=", "CHR(0)", "'||chr(0)||'",
    "x" * 5000,
]  # fmt: skip
KEYS = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8"), min_size=1)
).filter(lambda key: "." not in key and not key.startswith("$"))
VALUES = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec="utf-8")))


@settings(max_examples=8 * MORE, **SETTINGS)
@given(pairs=st.lists(st.tuples(KEYS, VALUES), min_size=6, max_size=6))
@example(pairs=[(h, h) for h in HOSTILE if "." not in h and not h.startswith("$")])
def test_keys_and_values_are_data(pairs: list[tuple[str, str]]) -> None:
    """Whatever a key or a value holds, a filter finds just the runs that have it."""
    configs: list[dict[str, Any]] = [{key: value} for key, value in pairs]
    configs += [{key: [value]} for key, value in pairs]
    documents = Documents.of_configs(configs)
    for turn, (key, value) in enumerate(pairs):
        wanted = {i for i, c in enumerate(configs) if c.get(key) in (value, [value])}
        for query in (
            {key: value},
            {key: {"$in": [value, "another"]}},
            {key: {"$gte": value, "$lte": value}},
            {"$nor": [{key: {"$ne": value}}]},
        ):
            found = documents.matching(
                prefixed(query, "config"), MEANINGS[turn % 2], from_leaves=turn % 3 != 0
            )
            assert found == wanted, query
    count = documents.connection.execute("SELECT count(*) FROM runs").fetchall()
    assert count == [(len(configs),)]


@settings(max_examples=40 * MORE, **SETTINGS)
@given(pattern=VALUES, text=VALUES)
@example(pattern="a'b", text="xa'b")
@example(pattern="^'; DROP TABLE runs; --", text="'; DROP TABLE runs; --")
@example(pattern="\\Q*/\\E", text="/* */")
@example(pattern="a{1001}", text="a")
@example(pattern="(a+)+$", text="a" * 5000 + "b")
def test_regexes_are_data(pattern: str, text: str) -> None:
    """A regex is refused when it is read, or runs; it never fails in DuckDB."""
    documents = Documents.of_configs([{"x": text}, {"x": [text, 1]}])
    for query in ({"$regex": pattern}, {"$regex": re.escape(text), "$options": "ims"}):
        try:
            parse_filter({"config.x": query})
        except FilterError:
            continue
        found = documents.matching({"config.x": query})
        assert found in (set(), {0, 1})
    escaped = "".join(f"\\x{{{ord(c):x}}}" for c in text)
    if text not in {"NaN", "Infinity", "-Infinity"}:
        assert documents.matching({"config.x": {"$regex": f"^{escaped}$"}}) == {0, 1}


WORDS = st.sampled_from([
    "$and", "$or", "$nor", "$not", "$eq", "$ne", "$in", "$gt", "$regex", "$options", "$elemMatch",
    "$size", "$mod", "$type", "$all", "$exists", "$contains",
])  # fmt: skip
FIELDS = st.one_of(
    st.sampled_from([
        "config.a", "state", "tags", "createdAt", "summary_metrics.x.y", "keys_info.keys.k",
        "tags.x", "duration", "inputArtifacts", "systemMetrics.g", "config.a.value", "lastStep",
    ]),
    KEYS.map("config.{}".format),
)  # fmt: skip
SCRAPS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), VALUES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(WORDS, inner, max_size=2),
        st.dictionaries(st.one_of(VALUES, FIELDS), inner, max_size=2),
    ),
    max_leaves=8,
)
ANYTHING = st.dictionaries(
    FIELDS, st.one_of(SCRAPS, st.dictionaries(WORDS, SCRAPS, max_size=2)), max_size=2
)


@settings(max_examples=80 * MORE, **SETTINGS)
@given(query=st.one_of(ANYTHING, st.lists(ANYTHING, max_size=2).map(lambda q: {"$or": q})))
def test_anything_is_answered_or_refused(query: Any) -> None:
    """Scraps of filters, as values or as text, are filters that run, or errors of ours."""
    for source in (query, json.dumps(query)):
        for meaning in MEANINGS:
            try:
                found = parse_filter(source, meaning=meaning)
            except FilterError:
                continue
            select = build_select(Question(found, SCOPE, columns=("run_id",)))
            ONE_RUN.connection.execute(select.sql("duckdb", copy=False)).fetchall()
            RAN.append(query)


ONE_RUN = Documents.of_configs([{"a": 1}])
RAN: list[Any] = []


def test_some_scraps_were_answered() -> None:
    """The test before this one does not pass for want of anything to run."""
    assert len(RAN) > 20


@pytest.mark.parametrize("nested", [
    '{"$and": [' * 5000 + "{}" + "]}" * 5000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    "[" * 100_000,
    "not " * 5000 + "(a == 1)",
    "(" * 5000 + "a == 1" + ")" * 5000,
])  # fmt: skip
def test_deep_nesting_is_refused(nested: str) -> None:
    """A filter that is nested too deep is an error of ours, never the end of the stack."""
    with pytest.raises(FilterError):
        parse_filter(nested)
    with pytest.raises(FilterError):
        parse_filter({"config.a": json.loads("[" * 500 + "]" * 500)})


WIDE: dict[str, tuple[int, Callable[[int], Any]]] = {
    "ranges": (10_000, lambda n: {"$or": [{"config.lr": {"$gt": i}} for i in range(n)]}),
    "texts": (10_000, lambda n: {"$or": [{"config.lr": f"x'{i}"} for i in range(n)]}),
    "list": (10_000, lambda n: {"config.lr": {"$in": [*range(n), *map(str, range(n))]}}),
    "words": (10_000, lambda n: " or ".join(f"config.lr == {i}" for i in range(n))),
    "patterns": (2_000, lambda n: {"$or": [{"config.lr": {"$regex": f"^'{i}"}} for i in range(n)]}),
    "keys": (2_000, lambda n: {"$or": [{f"config.k'{i}": i} for i in range(n)]}),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_filters_take_linear_time(name: str) -> None:
    """A filter of 10,000 terms runs, and takes about ten times as long as one of 1,000."""
    documents = Documents.of_configs([{"lr": 0.5}, {"lr": 3, "k'5": 5}])
    terms, make = WIDE[name]
    seconds = {}
    for count in (terms // 10, terms):
        started = time.process_time()
        documents.matching(make(count))
        seconds[count] = time.process_time() - started
    assert seconds[terms] < 30 * seconds[terms // 10] + 2, seconds


@pytest.mark.parametrize("meaning", MEANINGS)
@pytest.mark.parametrize("from_leaves", [True, False])
def test_deep_paths_are_answered(meaning: Any, from_leaves: bool) -> None:
    """Forty keys, through objects and lists, take no more than a moment, and find what is there."""
    keys = [f"k{i}" for i in range(40)]
    plain: Any = 1
    listed: Any = 1
    for index, key in enumerate(reversed(keys)):
        plain = {key: plain}
        listed = {key: [listed] if index % 5 == 4 else listed}
    documents = Documents.of_configs([plain, listed, {"k0": {"k1": 1}}, {".".join(keys): 1}])
    path = "config." + ".".join(keys)
    wanted = {0, 1, 3} if meaning == "mongo" else {0, 3}
    started = time.process_time()
    assert documents.matching({path: 1}, meaning, from_leaves=from_leaves) == wanted
    assert documents.matching({path: None}, meaning, from_leaves=from_leaves) == {0, 1, 2, 3} - (
        wanted
    )
    assert documents.matching({path: {"$ne": 1}}, meaning, from_leaves=from_leaves) == (
        {2} if meaning == "mongo" else set()
    )
    assert time.process_time() - started < 20
