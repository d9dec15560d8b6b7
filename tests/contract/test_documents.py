"""What wbsync sends is what W&B's schema knows."""

from __future__ import annotations

import re
from pathlib import Path

import graphql
import pytest

from wbsync.api import Document, batch_document, load_document, run_batch_document
from wbsync.api.capabilities import used_variables, without
from wbsync.resources import read_resource, resource_root

FOLDER = Path(resource_root()) / "queries" / "wandb"
NAMES = sorted(path.stem for path in FOLDER.glob("*.graphql"))
TEMPLATES = [name for name in NAMES if "n0" in (FOLDER / f"{name}.graphql").read_text()]
SCHEMA = graphql.build_schema(read_resource("schemas/wandb.graphql"))

GONE_ON_OLD_SERVERS = {
    "Project.internalId",
    "Project.updatedAt",
    "Run.computeSeconds",
    "Run.host",
    "Run.parquetHistory",
    "Run.updatedAt",
    "Sweep.runCount",
    "Run.outputArtifacts(first:)",
}


def problems(document: Document) -> list[str]:
    """Returns what the schema has against a document."""
    return [e.message for e in graphql.validate(SCHEMA, graphql.parse(document.text))]


@pytest.mark.parametrize("name", NAMES)
def test_every_document_is_valid(name: str) -> None:
    """No document asks for what the schema does not know."""
    assert problems(load_document(name)) == []


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_batch_is_valid(name: str, count: int) -> None:
    """A document for many objects is as valid as its template, with a key for each."""
    document = batch_document(name, count)
    assert problems(document) == []
    per_run = {v for v in used_variables(document) if v[-1].isdigit()}
    assert {f"n{index}" for index in range(count)} <= per_run
    assert len(per_run) % count == 0
    aliases = re.findall(r"^ +(r\d+): ", document.text, re.MULTILINE)
    assert aliases == [f"r{index}" for index in range(count)]


@pytest.mark.parametrize("count", [1, 2, 25])
def test_a_batch_of_views_is_valid(count: int) -> None:
    """A template without shared variables, at the top of the query, is one, too."""
    document = batch_document("views", count)
    assert problems(document) == []
    assert used_variables(document) == {f"id{index}" for index in range(count)}
    assert re.findall(r"^ +(r\d+): view", document.text, re.MULTILINE) == [
        f"r{index}" for index in range(count)
    ]


def test_there_are_templates() -> None:
    """The kinds that the sync engine batches exist."""
    kinds = ("exports", "rows", "events", "lineage", "files", "logs", "log_tail")
    assert {f"run_{kind}" for kind in kinds} <= set(TEMPLATES)
    assert "artifact_manifests" in TEMPLATES


@pytest.mark.parametrize("name", NAMES)
def test_a_document_is_one_named_operation_in_its_own_file(name: str) -> None:
    """A file holds one query, named as the file, with its purpose above it; else fragments."""
    text = (FOLDER / f"{name}.graphql").read_text()
    assert re.match(r"# \S.*\.\n", text)
    definitions = graphql.parse(text).definitions
    others = [d for d in definitions if not isinstance(d, graphql.FragmentDefinitionNode)]
    assert len(others) == 1
    assert load_document(name).name.lower() == name.replace("_", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_document_asks_for_no_secret(name: str) -> None:
    """Secrets of others that the schema offers are never asked for, and no schema is asked for."""
    text = load_document(name).text
    for secret in ("apiKey", "requestPayload", "template", "accessToken", "photoUrl"):
        assert secret not in text
    assert "__schema" not in text
    assert "__type(" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_document_for_an_old_server_is_valid(name: str) -> None:
    """Less the fields that a server lacks, a document is still valid and has no stray variable."""
    fitting = without(load_document(name), GONE_ON_OLD_SERVERS)
    assert problems(fitting) == []
    if name.startswith("project_runs"):
        assert "heartbeatAt" in fitting.text
        assert "updatedAt" not in fitting.text


def test_what_is_kept_of_a_document_is_what_is_not_missing() -> None:
    """A field is taken out of its own type alone."""
    state = load_document("project_state")
    fitting = without(state, {"Project.updatedAt"})
    tree = graphql.parse(state.text), graphql.parse(fitting.text)
    before, after = (graphql.print_ast(t).count("updatedAt") for t in tree)
    assert after == before - 1


def test_a_variable_whose_last_use_is_gone_is_gone() -> None:
    """An argument that a server does not know takes its variable with it."""
    fitting = without(load_document("project_runs_light"), {"Project.runs(filters:)"})
    assert "filters" not in fitting.text
    assert "$order" in fitting.text
    assert problems(fitting) == []


def test_fragments_are_fitted_too() -> None:
    """Fields and types that a server lacks go from fragments; an emptied fragment goes, too."""
    state = load_document("entity_state")
    missing = {"Trigger.updatedAt", "... on ARIATriggeredAction", "User.deletedAt"}
    missing |= {"Entity.members", "Integration.id", "Project.updatedAt"}
    missing |= {"ArtifactCollection.updatedAt"}
    fitting = without(state, missing)
    assert problems(fitting) == []
    for gone in ("updatedAt", "prompt", "deletedAt", "members"):
        assert gone not in fitting.text
    assert "... on Entity" in fitting.text
    bare = without(state, {"Entity.triggers", "Project.triggers"})
    assert problems(bare) == []
    assert "TriggerFields" not in bare.text
    assert "$triggers" not in bare.text


def test_a_field_whose_selection_is_emptied_is_gone() -> None:
    """No field is left with an empty selection."""
    missing = {"ParquetHistory.parquetUrls", "ParquetHistory.liveData"}
    fitting = without(run_batch_document("exports", 2), missing)
    assert "parquetHistory" not in fitting.text
    assert problems(fitting) == []
