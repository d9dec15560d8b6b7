"""The schema knows what the official clients ask about accounts, reports, artifacts and more."""

from __future__ import annotations

import json
import subprocess
import sys

import graphql
import pytest

from wbsync.resources import read_resource

SCHEMA = graphql.build_schema(read_resource("schemas/wandb.graphql"))

LIST = """
import json, wandb.apis._generated.operations as api, wandb.automations._generated.operations as au
import wandb.sdk.artifacts._generated.operations as artifacts
from wandb.apis.public.reports import Reports
from wandb_workspaces.reports.v2 import gql
documents = {name: getattr(m, name) for m in (api, au, artifacts) for name in m.__all__}
documents |= {name: getattr(gql, name) for name in ("view_report", "upsert_view", "delete_view")}
print(json.dumps({**documents, "REPORTS": Reports.QUERY}))
"""

WRITES_KEYS = {"CREATE_USER_FROM_ADMIN_GQL", "DELETE_API_KEY_GQL", "GENERATE_API_KEY_GQL"}
"""Documents that handle accounts' keys, which a stand-in has no use for."""

MEMBERS = {
    "REGISTRY_USER_MEMBERS_GQL", "REGISTRY_TEAM_MEMBERS_GQL", "CREATE_REGISTRY_MEMBERS_GQL",
    "DELETE_REGISTRY_MEMBERS_GQL", "UPDATE_USER_REGISTRY_ROLE_GQL", "UPDATE_TEAM_REGISTRY_ROLE_GQL",
}  # fmt: skip
"""Documents about who may enter a restricted registry: in the stand-in, who made it."""


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    """Name to document, read where importing the SDK does no harm."""
    done = subprocess.run(
        [sys.executable, "-c", LIST], check=True, capture_output=True, text=True, timeout=120
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_every_document_of_the_sdk_is_valid(documents: dict[str, str]) -> None:
    """What the sandbox executes strictly is what the clients really send."""
    assert len(documents) >= 70
    for name, text in documents.items():
        problems = [e.message for e in graphql.validate(SCHEMA, graphql.parse(text))]
        assert not problems or name in WRITES_KEYS | MEMBERS, (name, problems)
