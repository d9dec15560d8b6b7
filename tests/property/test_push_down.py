"""What a server is asked finds every run that passes: a superset is fetched, never a subset."""

from __future__ import annotations

import json
from typing import Any

import pytest
from filter_strategies import FILTERS, KEYS, SCALARS, SERVER_FILTERS, VALUES
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import matches, normal
from test_filters import CASES, SETTINGS, TIMEOUT_S
from warehouses import Documents, prefixed

from wbsync.query.filters import parse_filter, push_down
from wbsync.sandbox import filters as sandbox

FLAT = st.dictionaries(KEYS, st.one_of(SCALARS, VALUES), max_size=3)


def server_finds(query: dict[str, Any], node: dict[str, Any], config: dict[str, Any]) -> bool:
    """Says whether the stand-in server finds a run."""

    def lookup(path: str) -> Any:
        head, _, rest = path.partition(".")
        if head == "config":
            parts = rest.split(".")
            assert parts[1] == "value", "a config path is sent as W&B stores it"
            return sandbox.nested(config, [parts[0], *parts[2:]])
        return node.get(head, sandbox.MISSING)

    sandbox.check_run_filter(query)
    return sandbox.matches(query, lookup)


@pytest.mark.timeout(TIMEOUT_S)
@settings(max_examples=max(1, CASES // 20), **SETTINGS)
@given(configs=st.lists(FLAT, min_size=4, max_size=4), query=st.one_of(FILTERS, SERVER_FILTERS))
def test_a_server_finds_all_that_passes(configs: list[dict[str, Any]], query: Any) -> None:
    """Whatever passes locally in meaning mongo is found by what is pushed down."""
    prefixed_query = prefixed(query, "config")
    pushed = push_down(parse_filter(prefixed_query))
    json.dumps(pushed.filter, allow_nan=False)
    for config in configs:
        if matches(query, normal(config)):
            assert server_finds(pushed.filter, {}, config), (pushed, config)


RUNS = [
    {"displayName": "a", "state": "finished", "tags": ["x"], "group": "g",
     "createdAt": "2026-01-01T00:00:00Z"},
    {"displayName": "b", "state": "running", "tags": [], "createdAt": "2026-01-02T00:00:00.900Z"},
    {"displayName": "B", "state": "crashed", "tags": ["x", "y"], "group": "h",
     "createdAt": "2026-01-03T00:00:00Z", "heartbeatAt": "2026-01-03T00:00:00Z"},
]  # fmt: skip


@pytest.mark.parametrize(("query", "pushed"), [
    ({"state": "finished"}, {"state": "finished"}),
    ({"state": {"$ne": "finished"}}, {"state": {"$ne": "finished"}}),
    ({"group": {"$ne": "g"}}, {"$or": [{"group": None}, {"group": {"$ne": "g"}}]}),
    ({"tags": {"$nin": ["x"]}}, {"$or": [{"tags": None}, {"tags": {"$nin": ["x"]}}]}),
    ({"$nor": [{"tags": "x"}, {"state": "running"}]},
     {"$and": [{"$or": [{"tags": None}, {"tags": {"$ne": "x"}}]}, {"state": {"$ne": "running"}}]}),
    ({"group": None}, {}),
    ({"tags": {"$exists": True}}, {}),
    ({"group": {"$exists": False}}, {"group": {"$exists": False}}),
    ({"createdAt": {"$lte": "2026-01-02"}}, {"createdAt": {"$lte": "2026-01-02T00:00:01Z"}}),
    ({"createdAt": {"$gt": "2026-01-02"}}, {"createdAt": {"$gt": "2026-01-01T23:59:59Z"}}),
    ({"$or": [{"state": "finished"}, {"config.a.b": 1}]}, {}),
    ({"$and": [{"state": "finished"}, {"config.a.b": 1}]}, {"state": "finished"}),
    ({"tags": {"$all": ["x", "y"]}}, {}),
    ({"displayName": {"$regex": "^a"}}, {"displayName": {"$regex": "^a"}}),
    ({"displayName": {"$regex": "^(a|b)"}}, {}),
    ({"displayName": {"$not": {"$regex": "^a"}}}, {}),
    ({"updatedAt": {"$gt": "2026-01-01"}}, {}),
    ({"duration": {"$gt": 1}}, {}),
    ({"notes": "x"}, {}),
    ({}, {}),
])  # fmt: skip
def test_columns_are_pushed_down(query: dict[str, Any], pushed: dict[str, Any]) -> None:
    """What is asked of columns finds every run that passes, and is as narrow as is safe."""
    found = parse_filter(query)
    assert push_down(found).filter == pushed
    nodes = [{**run, "user": None} for run in RUNS]
    for number in Documents(nodes).matching(query):
        assert server_finds(pushed, RUNS[number], {})


def test_wandb_meaning_is_sent_as_it_is() -> None:
    """In meaning wandb the server is asked the filter itself, as far as it takes it."""
    query = {"$nor": [{"group": "g"}, {"config.a.b": {"$gt": 1}}], "tags": None}
    pushed = push_down(parse_filter(query, meaning="wandb"))
    assert pushed.filter == {
        "$and": [
            {"$nor": [{"$or": [{"group": "g"}, {"config.a.value.b": {"$gt": 1}}]}]},
            {"tags": None},
        ]
    }
    assert pushed.kept == ()
