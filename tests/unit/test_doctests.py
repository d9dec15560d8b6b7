"""The examples in wbsync's docstrings are what the functions return."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import wbsync

ROOT = Path(wbsync.__file__).parent
MODULES = sorted(
    ".".join(("wbsync", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples() -> None:
    """They are looked for where they are."""
    assert {"wbsync.query.formats", "wbsync.query.engine", "wbsync.offline.api"} <= {*MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    """Each example of a module gives what stands below it."""
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed
