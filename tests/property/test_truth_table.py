"""Each labelled filter of truth_table.txt, executed in DuckDB, in both meanings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from reference import matches, normal
from warehouses import Documents, prefixed

from wbsync.errors import FilterError
from wbsync.sandbox import filters as sandbox

TABLE = Path(__file__).resolve().parent / "truth_table.txt"


@dataclass(frozen=True)
class Section:
    """Documents, and what filters say of them."""

    kind: str
    documents: list[dict[str, Any]]
    rows: list[tuple[str, str, str]]

    def filter(self, text: str) -> Any:
        """Returns a filter of runs: those of configs name what is in a config."""
        query = json.loads(text)
        return prefixed(query, "config") if self.kind == "config" else query


@cache
def sections() -> list[Section]:
    """Returns the table."""
    found: list[Section] = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found.append(Section(line.removeprefix("## "), [], []))
        elif line in {"", "--"} or line.startswith("#"):
            continue
        elif " | " not in line:
            found[-1].documents.append(json.loads(line))
        else:
            text, mongo, wandb = line.rsplit(" | ", 2)
            found[-1].rows.append((text, mongo, wandb))
    return found


def label(numbers: set[int]) -> str:
    """Returns numbers as the table writes them."""
    return " ".join(map(str, sorted(numbers))) or "-"


def test_table_is_whole() -> None:
    """The table holds what it promises: more than 200 labelled filters."""
    assert sum(len(s.rows) for s in sections()) >= 300


@pytest.mark.parametrize("from_leaves", [True, False], ids=["leaves", "json"])
@pytest.mark.parametrize("number", range(5))
def test_filters_mean_what_the_table_says(number: int, *, from_leaves: bool) -> None:
    """Each filter passes the labelled runs, read leaf by leaf or from JSON, in both meanings."""
    section = sections()[number]
    documents = (
        Documents.of_configs(section.documents)
        if section.kind == "config"
        else Documents(section.documents)
    )
    wrong = []
    for text, *labels in section.rows:
        for meaning, wanted in zip(("mongo", "wandb"), labels, strict=True):
            try:
                found = label(
                    documents.matching(section.filter(text), meaning, from_leaves=from_leaves)
                )
            except FilterError:
                found = "error"
            if found != wanted:
                wrong.append((text, meaning, wanted, found))
    assert not wrong


def test_reference_agrees_with_the_table() -> None:
    """The reference evaluator, by which random filters are judged, gives the labels itself."""
    wrong = []
    for section in sections()[:3]:
        documents = [normal(d) for d in section.documents]
        for text, wanted, _ in section.rows:
            if wanted == "error" or "$numberLong" in text or '": 10}' in text:
                continue  # it knows neither errors nor MongoDB's extended JSON
            found = label({i for i, d in enumerate(documents) if matches(json.loads(text), d)})
            if found != wanted:
                wrong.append((text, wanted, found))
    assert not wrong


def test_sandbox_answers_as_labelled_for_the_server() -> None:
    """The stand-in for W&B's server, which shares no code with the translation, agrees with it."""
    wrong = []
    for section in sections()[:3]:
        for text, _, wanted in section.rows:
            query = section.filter(text)
            if wanted == "error" or "$numberLong" in text:
                continue  # it is more lenient than wbsync
            sandbox.check_run_filter(query)
            found = label({
                i
                for i, document in enumerate(section.documents)
                if sandbox.matches(
                    query, lambda path, d=document: sandbox.nested(d, path.split(".")[1:])
                )
            })  # fmt: skip
            if found != wanted:
                wrong.append((text, wanted, found))
    assert not wrong
