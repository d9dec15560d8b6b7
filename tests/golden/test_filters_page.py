"""docs/filters.md holds filters that can be used, and tells of all operators and kinds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wbsync.query.filters import KINDS, parse_filter
from wbsync.query.filters.fields import RUNS
from wbsync.query.filters.parse import FIELD_OPERATORS, JOINS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(?:json|text)\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^\$ wbsync (\w+) .*?(?:--filter )?'(.+?)'(?: |$)", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_filters(example: str) -> None:
    """Each filter of the page can be read."""
    assert parse_filter(example)


def test_commands_hold_filters() -> None:
    """Each filter in a command of the page can be read for what the command lists."""
    kinds = {"registry": "registry_versions", "sync": "runs", "translate": "runs"}
    assert len(COMMANDS) >= 6
    for command, text in COMMANDS:
        assert parse_filter(text, kinds.get(command, command))


def test_page_tells_of_all_there_is() -> None:
    """No operator, field of runs, or kind is left out."""
    for operator in (*FIELD_OPERATORS, *JOINS):
        assert operator in PAGE, operator
    for name in RUNS.fields:
        assert name in PAGE, name
    for kind in KINDS:
        assert kind.partition("_")[0].rstrip("s") in PAGE.lower(), kind
