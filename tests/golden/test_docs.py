"""The documents say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_tables_page_is_up_to_date() -> None:
    """docs/tables.md is what `make docs` writes."""
    held = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "import generate; print(generate.render(), end='')"],
        check=True, cwd=ROOT / "docs", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert held == done.stdout, "run `make docs`"


def test_queries_page_is_up_to_date() -> None:
    """docs/queries.md is what `make docs` writes from the queries' headers."""
    held = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "import generate; print(generate.render_queries(), end='')"],
        check=True, cwd=ROOT / "docs", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert held == done.stdout, "run `make docs`"


def commands() -> list[str]:
    """Returns each wbsync command line of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^\$ .*?wbsync ([a-z]+(?: serve| seed)?)", text, re.MULTILINE)


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_readme_names_commands_that_exist(command: str) -> None:
    """Each command of the README has a help page."""
    done = subprocess.run(
        [sys.executable, "-m", "wbsync", *command.split(), "--help"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_decisions_bear_numbers_of_their_own() -> None:
    """No two decision records have the same number, and each page bears its own."""
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. ")
