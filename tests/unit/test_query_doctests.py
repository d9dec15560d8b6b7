"""The examples in the docstrings of wbsync.query are what the functions return."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import wbsync.query

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(wbsync.query.__path__, "wbsync.query.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name: str) -> None:
    """Each example of a module gives what stands below it."""
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
