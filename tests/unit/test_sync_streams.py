"""Which tables a sync takes, by name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from wbsync.cli.options import complete_tables
from wbsync.errors import ConfigError
from wbsync.sync.streams import ENTITY_STREAMS, PROJECT_STREAMS, choose_tables
from wbsync.tables import table_names

STREAMS = (*PROJECT_STREAMS, *ENTITY_STREAMS)


def test_every_table_of_a_stream_exists_and_has_one_stream() -> None:
    """No stream fills a table that has no schema, and no two fill the same."""
    tables = [table for stream in STREAMS for table in stream.tables]
    assert len(tables) == len(set(tables))
    assert set(tables) <= set(table_names())
    for stream in STREAMS:
        assert stream.head is None or stream.head in stream.tables
        assert stream.follows is None or stream.follows in tables


def test_names_come_in_lists_and_one_by_one() -> None:
    """Commas, repetition, spaces and a bare text all do."""
    for only in (["reports,users"], ["reports", " users "], "reports,,users", ("users,reports,",)):
        assert choose_tables(only).only == {"reports", "users"}
    assert choose_tables() == choose_tables([], [])
    with pytest.raises(ConfigError, match="--only names no table"):
        choose_tables([" , "])


def test_tables_that_are_read_together_are_skipped_together() -> None:
    """The head of a group stands for it; another of the group alone is refused by name."""
    chosen = choose_tables(skip=["history"])
    assert chosen.skip == {"history", "history_keys"}
    assert not chosen.wants(("history", "history_keys"))
    assert choose_tables(skip=["runs", "run_tags"]).skip > {"runs", "run_config", "run_tags"}
    assert choose_tables(skip=["users"]).skip == {"users"}
    with pytest.raises(ConfigError, match=r"run_tags.*--skip runs leaves all"):
        choose_tables(skip=["run_tags"])


def test_only_brings_what_must_be_up_to_date_first() -> None:
    """History follows runs, unless these are left out by name."""
    assert choose_tables(["history"]).wants(("runs",))
    assert not choose_tables(["history"], ["runs"]).wants(("runs",))
    assert not choose_tables(["users"]).wants(("runs",))


@pytest.mark.parametrize(
    ("only", "skip", "words"),
    [
        (["report"], [], "did you mean reports"),
        (["runs,artefacts"], [], "did you mean artifacts"),
        ([], ["zzz"], "wbsync tables"),
        (["projects"], [], "comes with every sync"),
        (["users"], ["users"], "leaves nothing"),
    ],
)
def test_names_that_are_none_are_refused(only: list[str], skip: list[str], words: str) -> None:
    """The message names what was given, and the nearest name."""
    with pytest.raises(ConfigError, match=words):
        choose_tables(only, skip)


def test_the_last_name_of_a_list_is_completed() -> None:
    """What stands before the last comma is kept."""
    nothing = SimpleNamespace()
    complete = lambda text: complete_tables(nothing, nothing, text)  # type: ignore[arg-type]  # noqa: E731
    assert complete("rep") == ["reports"]
    assert complete("runs,us") == ["runs,users"]
    assert set(complete("")) == set(table_names())
