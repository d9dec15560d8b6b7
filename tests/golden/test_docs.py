"""The documents say what the code does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from wbsync.cli import cli

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


def command_lines(pattern: str = r"^\$ (.*(?:\n {9,}\S.*)*)") -> list[str]:
    """Returns what follows `wbsync` in each command line of the README, lines joined."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(pattern, text, re.MULTILINE)
    return [
        shlex.join(words[words.index("wbsync") + 1 :])
        for line in shown
        for part in re.split(r" (?:&&|\|) ", line)
        if "wbsync" in (words := shlex.split(part, comments=True))
    ]


MENTIONED = r"`(wbsync [^`]+)`"
"""A command in running text, which may leave out what it must be given."""


def test_the_readme_is_looked_through() -> None:
    """Its command lines are found, those with options and those in running text, too."""
    assert "sync my-team/my-project --dry-run" in command_lines()
    assert "sync sandbox/my-project" in command_lines()
    assert "config validate" in command_lines(MENTIONED)
    assert len(command_lines()) > 30


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_readme_names_commands_and_options_that_exist(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command line of the README is one that the command takes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").touch()
    parse(shlex.split(line))


@pytest.mark.parametrize("line", sorted(set(command_lines(MENTIONED))))
def test_what_the_readme_mentions_exists(line: str) -> None:
    """Each command that the README's text names is one, and has the options it is named with."""
    with suppress(click.MissingParameter, click.BadOptionUsage):
        parse(shlex.split(line.replace("query NAME", "query leaderboard")))


def parse(args: list[str]) -> None:
    """Parses a command line as the command does, and runs nothing."""
    command: click.Command = cli
    context = None
    name: str | None = "wbsync"
    try:
        while True:
            context = command.make_context(name, args, parent=context)
            if not isinstance(command, click.Group):
                return
            args = [*context._protected_args, *context.args]
            if not args:
                assert command.invoke_without_command, f"{name} needs a command"
                return
            name, found, args = command.resolve_command(context, args)
            assert found is not None
            command = found
    except click.exceptions.Exit:  # --help
        return


@pytest.mark.parametrize(
    "line",
    ["sink", "sync a/b --dry", "sync a/b --max-requests many", "config shout", "artifact get",
     "sandbox serve --prot 1"],
)  # fmt: skip
def test_what_the_command_does_not_take_is_found(line: str) -> None:
    """The check of the README fails for words, options and values that there are none of."""
    with pytest.raises(click.UsageError):
        parse(shlex.split(line))


def test_decisions_bear_numbers_of_their_own() -> None:
    """No two decision records have the same number, and each page bears its own."""
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        assert page.read_text(encoding="utf-8").startswith(f"# {int(page.name[:4])}. ")


def test_the_list_of_decisions_is_whole() -> None:
    """docs/decisions/README.md has one line for each record, by its title."""
    folder = ROOT / "docs" / "decisions"
    text = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\* \[(.*)\]\((.*)\)$", text, re.MULTILINE)
    wanted = [
        (page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "), page.name)
        for page in sorted(folder.glob("0*.md"))
    ]
    assert listed == wanted
