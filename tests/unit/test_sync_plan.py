"""Decisions of a sync that need no server: sources, selections, pauses, packing, forecasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbsync.errors import ConfigError
from wbsync.model import ProjectPath, ProjectPattern, Selection, Source, SyncOptions
from wbsync.query.fetching import select_runs
from wbsync.sync.outlook import Sample, build_sample, foretell
from wbsync.sync.plan import next_try_at, pack_events
from wbsync.sync.selection import server_filter, takes
from wbsync.sync.selection import taken as taken_of
from wbsync.sync.sources import choose

NOW = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["team", "team/p", "team/exp-*", "team/a[0-9]?", " team/p "])
def test_what_a_source_may_be(text: str) -> None:
    """An entity, a project, or a glob; it prints as it was written."""
    assert str(ProjectPattern.parse(text)) == text.strip()


@pytest.mark.parametrize("text", ["", "/", "a/", "/b", "a/b/c", "*", "*/b", "a?/b", "a/../b"])
def test_what_no_source_is(text: str) -> None:
    """The message shows how one looks."""
    with pytest.raises(ConfigError, match="ENTITY/PROJECT"):
        ProjectPattern.parse(text)


def test_the_most_exact_source_says_how_a_project_is_read() -> None:
    """Each project comes once; an exact source goes before a glob, a glob before an entity."""
    listed = [ProjectPath("t", name) for name in ("a", "exp-1", "exp-2", "Exp-3")]
    listed.append(ProjectPath("u", "exp-1"))
    options = {name: SyncOptions(only=frozenset({name})) for name in "wxyz"}
    chosen = choose(
        [
            Source.parse("t", options["w"]), Source.parse("t/exp-*", options["x"]),
            Source.parse("t/exp-2", options["y"]), Source.parse("t/exp-?", options["z"]),
            Source.parse("v/one", options["z"]),
        ],
        listed,
    )  # fmt: skip
    assert {str(p): next(iter(o.only)) for p, o in chosen.items()} == {
        "t/a": "w", "t/exp-1": "x", "t/exp-2": "y", "t/Exp-3": "w", "v/one": "z",
    }  # fmt: skip


def test_a_selection_is_asked_of_the_server_and_checked_here() -> None:
    """Ids and times are compared whatever the server answers; a filter where it can be."""
    since = NOW - timedelta(days=1)
    selection = Selection(frozenset({"a", "b"}), since, {"state": "finished"})
    asked = server_filter(selection, ["a", "b"])
    assert asked == {
        "$and": [
            {"name": {"$in": ["a", "b"]}},
            {
                "$or": [
                    {"createdAt": {"$gte": "2026-01-31T00:00:00Z"}},
                    {"heartbeatAt": {"$gte": "2026-01-31T00:00:00Z"}},
                ]
            },
            {"state": "finished"},
        ]
    }
    assert server_filter(Selection()) == {}
    assert server_filter(Selection(filters={"state": "x"})) == {"state": "x"}
    old, new = "2026-01-01T00:00:00", "2026-01-31T12:00:00Z"

    def taken(name: str, created: str, heartbeat: str | None, **more: Any) -> bool:
        node = {"name": name, "createdAt": created, "heartbeatAt": heartbeat, **more}
        return takes(selection, node)

    assert taken("a", old, new)
    assert taken("b", new, None)
    assert not taken("a", old, None)
    assert not taken("a", old, old)
    assert not taken("c", new, new)
    picky = Selection(
        runs=frozenset({"a", "b"}), test=select_runs({"displayName": {"$ne": "second"}}).test
    )
    nodes = [{"name": "a"}, {"name": "b", "displayName": "second"}, {"name": "c"}]
    assert list(taken_of(picky, nodes)) == ["a"]


def test_pauses_grow_from_minutes_to_a_day() -> None:
    """Each pause is longer than the one before, up to a day or so; runs do not come together."""
    pauses = [next_try_at("t/p/r", n, NOW) - NOW for n in range(1, 9)]
    assert timedelta(minutes=3) < pauses[0] < timedelta(minutes=7)
    assert pauses == sorted(pauses)
    for attempts in (9, 12, 10_000):
        pause = next_try_at("t/p/r", attempts, NOW) - NOW
        assert timedelta(hours=18) <= pause <= timedelta(hours=30)
    assert len({next_try_at(f"t/p/{i}", 3, NOW) for i in range(50)}) > 40


@given(st.lists(st.integers(0, 12_000), max_size=400))
def test_events_are_packed_in_order_and_within_bounds(claimed: list[int]) -> None:
    """Every job is asked for once, in order, and no answer holds too much."""
    groups = pack_events(claimed)
    assert [index for group in groups for index in group] == list(range(len(claimed)))
    for group in groups:
        assert 1 <= len(group) <= 100
        assert len(group) == 1 or sum(claimed[i] for i in group) <= 10_000


def test_a_sample_says_what_runs_are_like() -> None:
    """Means over a few runs, whatever the server leaves out."""
    keys = {"a": {"typeCounts": [{"type": "number", "count": 90}]}, "b": {}, "c": {}}
    nodes: list[dict[str, Any]] = [
        {
            "historyLineCount": 100, "eventsLineCount": "6",
            "historyKeys": {
                "keys": {**keys, "c": {"typeCounts": [{"count": 10}]}}, "lastStep": 199,
            },
        },
        {"historyLineCount": 0, "eventsLineCount": None, "historyKeys": None},
    ]  # fmt: skip
    exports: list[dict[str, Any]] = [
        {"historyLineCount": 100, "parquetHistory": {"parquetUrls": ["u"], "liveData": [{}] * 10}},
        {"historyLineCount": 100, "parquetHistory": {"parquetUrls": ["u"], "liveData": None}},
        {},
    ]
    sample = build_sample(nodes, exports, 10.0)
    assert (sample.values_per_row, sample.steps_per_row, sample.events_per_run) == (1.0, 2.0, 3.0)
    assert (round(sample.live_runs, 3), sample.live_rows) == (0.333, 0.1)
    without_exports = build_sample(nodes, [{"historyLineCount": 100}], 10.0)
    assert (without_exports.live_runs, without_exports.live_rows) == (1.0, 1.0)
    assert build_sample([], [], 0.0).values_per_row == 0.0


def test_what_a_run_will_hold_is_foretold() -> None:
    """A new run is like the sample; a held one grows by what its page claims more; edits do not."""
    sample = Sample(steps_per_row=2.0, events_per_run=8.0)
    node = {"name": "r", "id": "i", "historyLineCount": 100}
    new = foretell(node, None, sample)
    assert (new["last_step"], new["event_line_count"], new["deleted_at"]) == (199, 8, None)
    held = {**new, "history_line_count": 50, "last_step": 49, "event_line_count": 5}
    grown = foretell(node, held, sample)
    assert (grown["history_line_count"], grown["last_step"], grown["event_line_count"]) == (
        100, 149, 9,
    )  # fmt: skip
    edited = foretell({**node, "historyLineCount": 50}, held, sample)
    assert (edited["last_step"], edited["event_line_count"]) == (49, 5)
    rewound = foretell({**node, "historyLineCount": 10}, held, sample)
    assert rewound["last_step"] == 19
