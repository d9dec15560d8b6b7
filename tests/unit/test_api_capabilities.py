"""What a server lacks is learnt from its words, remembered, and left out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from wbsync.api import Capabilities, Document, load_document
from wbsync.api.capabilities import learn, without


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        ('Cannot query field "updatedAt" on type "Run".', {"Run.updatedAt"}),
        (
            "Cannot query field 'updatedAt' on type 'Run'. Did you mean 'createdAt'?",
            {"Run.updatedAt"},
        ),
        ('Unknown argument "filters" on field "Project.sweeps".', {"Project.sweeps(filters:)"}),
        ('Unknown type "ARIATriggeredAction".', {"... on ARIATriggeredAction"}),
        ('objects of type "TriggerScope" can never be of type "Entity".', {"... on Entity"}),
        ('Variable "$x" is never used', set()),
        ("internal server error", set()),
        ("", set()),
        ('Cannot query field "a-b" on type "Run"', set()),
    ],
)
def test_what_is_missing_is_read_from_the_message(message: str, missing: set[str]) -> None:
    """GraphQL's own two phrasings are understood, with either quote; the rest is no such claim."""
    assert learn([message]) == missing


def test_only_what_is_new_is_reported() -> None:
    """Learning the same twice says so, so that a repeated complaint does not loop."""
    capabilities = Capabilities()
    message = 'Cannot query field "host" on type "Run".'
    assert capabilities.learn([message]) == {"Run.host"}
    assert capabilities.learn([message]) == set()
    assert capabilities.missing_fields == {"Run.host"}


def test_capabilities_survive_being_stored() -> None:
    """What was learnt is the same after JSON; content of another version does no harm."""
    known = Capabilities({"Run.updatedAt", "Project.runs(filters:)"}, filters_updated_at=False)
    assert Capabilities.from_json(json.loads(json.dumps(known.to_json()))) == known
    for strange in ({}, {"later": 1}, {"learnt_at": "now", "missing_fields": ["Run.host"]}):
        assert not Capabilities.from_json(strange).missing_fields


def test_what_was_learnt_long_ago_is_asked_anew() -> None:
    """A server that is upgraded gets its new fields asked for within days."""
    missing = {"Run.updatedAt", "Run.parquetHistory"}
    known = Capabilities(missing, filters_updated_at=False, learnt_at=1.0)
    fresh = Capabilities.from_json(known.to_json())
    assert fresh.missing_fields == {"Run.updatedAt"}
    assert fresh.filters_updated_at is None


def test_a_document_without_the_field_is_the_same_document() -> None:
    """Nothing is rewritten where nothing is missing."""
    viewer = load_document("viewer")
    assert without(viewer, set()) is viewer
    assert without(viewer, {"Run.updatedAt"}) is viewer


def test_a_document_is_never_emptied() -> None:
    """A document of which nothing would be left stays, for the server to refuse."""
    viewer = load_document("viewer")
    assert without(viewer, {"Query.viewer"}) is viewer


def test_nested_fields_are_found_by_their_type() -> None:
    """The same name of another type stays."""
    document = Document(
        "Q",
        "query Q($e: String) { project(name: $e) { name updatedAt "
        "runs { edges { node { name updatedAt } } } } }",
    )
    fitting = without(document, {"Run.updatedAt", "Run.name"})
    assert fitting.text.count("updatedAt") == 1
    assert fitting.text.count("name") == 2
    assert "runs" not in fitting.text


def test_graphql_is_loaded_only_to_rewrite() -> None:
    """A sync with a current server does not pay for a GraphQL parser."""
    code = (
        "import sys\n"
        "from wbsync.api import load_document, run_batch_document\n"
        "from wbsync.api.capabilities import without\n"
        "without(run_batch_document('exports', 3), {'Sweep.runCount'})\n"
        "assert 'graphql' not in sys.modules and 'duckdb' not in sys.modules\n"
        "without(load_document('project_runs'), {'Run.updatedAt'})\n"
        "assert 'graphql' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
