"""Registries: what the SDK made and reads of them is what SQL gives, at the cost of one request."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.lake import Lake
from wbsync.sandbox.process import Sandbox
from wbsync.settings import resolve_credentials
from wbsync.sync import entity_state
from wbsync.sync.repair import repair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wbsync.progress import SyncReport

VIEWER_KEY = "viewer" * 8
ORGANIZATIONS = [
    "--add-user", f"viewer:{VIEWER_KEY}", "--add-user", "outsider:" + "outsider" * 6,
    "--add-organization", "acme:sandbox,viewer", "--add-organization", "beta:sandbox",
    "--add-team", "acme/crew:sandbox,viewer",
]  # fmt: skip
STEPS = (["alias"], ["unlink"], ["relink", "describe"], ["delete", "rename"])


def pull(sandbox: Sandbox, root: Path, *sources: str, key: str | None = None) -> SyncReport:
    """Syncs the team's project, or others."""
    with wbsync.open(root) as warehouse:
        return warehouse.sync(
            *(sources or ["crew/train"]), api_key=key or sandbox.api_key,
            base_url=sandbox.base_url,
        )  # fmt: skip


def operations(sandbox: Sandbox, since: int) -> Counter[str]:
    """Returns how often each operation was asked after the first requests."""
    return Counter(r["operation"] for r in sandbox.requests()[since:] if r.get("operation"))


def held(root: Path) -> dict[str, list[Any]]:
    """Returns what the warehouse holds, in the form in which the SDK's script prints it."""

    def time(at: Any) -> str | None:
        return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"

    with wbsync.open(root) as warehouse:
        found = {
            "registries": [
                [name, entity, description, visibility, allow, json.loads(types), time(made),
                 time(changed)]
                for name, entity, description, visibility, allow, types, made, changed
                in warehouse.sql(
                    "SELECT registry, entity, description, visibility, allow_all_artifact_types,"
                    " artifact_types, created_at, updated_at FROM registries"
                ).fetchall()
            ],
            "collections": [
                [f"wandb-registry-{registry}", name, kind, description, json.loads(tags),
                 time(made), time(changed)]
                for registry, name, kind, description, tags, made, changed in warehouse.sql(
                    "SELECT registry, collection, type_name, description, tags, created_at,"
                    " updated_at FROM registry_collections"
                ).fetchall()
            ],
            "versions": [
                [f"wandb-registry-{registry}", f"{name}:{version}", json.loads(aliases), artifact,
                 time(linked), source]
                for registry, name, version, aliases, artifact, linked, source in warehouse.sql(
                    "SELECT registry, collection, version, aliases, artifact_id, linked_at,"
                    " format('{}/{}/{}:{}', source_entity, source_project, source_collection,"
                    " source_version) FROM registry_versions"
                ).fetchall()
            ],
        }  # fmt: skip
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def wanted(said: dict[str, Any]) -> dict[str, list[Any]]:
    """Returns what the SDK's script printed, in the same form."""
    return {
        name: sorted(said[name], key=repr) for name in ("registries", "collections", "versions")
    }


def fill(data: Path, *entities: str) -> None:
    """Gives some entities a small project each, while the server runs."""
    from wbsync.sandbox.seed import Plan, seed_project
    from wbsync.sandbox.store import Store

    store = Store(data)
    for entity in entities:
        seed_project(store, Plan(entity=entity, project="seeded", runs=2, steps=5, sweeps=0))
    store.close()


@pytest.fixture(scope="module")
def made(run_script: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sandbox's folder with registries that the SDK made, and what the SDK reads of them."""
    data = tmp_path_factory.mktemp("made")
    with Sandbox(data, options=ORGANIZATIONS) as sandbox:
        said = run_script("edit_registries.py", sandbox, tmp_path_factory.mktemp("work"), "make")
    return data, said


def test_a_repair_reads_registries_again(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their files name the organisation's entity, not that whose sync reads them."""
    shutil.copytree(made[0], tmp_path / "data")
    root = tmp_path / "w"
    with Sandbox(tmp_path / "data", options=ORGANIZATIONS) as sandbox:
        pull(sandbox, root)
        monkeypatch.setenv("WANDB_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("WANDB_API_KEY", sandbox.api_key)
        for table in ("registries", "registry_versions"):
            for file in Lake(root).files(table):
                file.unlink()
        done = asyncio.run(repair(root, (), resolve_credentials, lambda event: None))
        assert done.after.problems == []
        assert held(root) == wanted(made[1])


def test_registries_follow_what_the_sdk_does(made: Any, tmp_path: Path, run_script: Any) -> None:
    """Whatever is linked, moved, deleted or renamed: all is as the SDK says, at no further request.

    What is gone keeps its row.
    """
    shutil.copytree(made[0], tmp_path / "data")
    root = tmp_path / "w"
    with Sandbox(tmp_path / "data", options=ORGANIZATIONS) as sandbox:
        assert pull(sandbox, root).outcome == "complete"
        assert held(root) == wanted(made[1])
        assert len(held(root)["versions"]) == 5
        for steps in ([], *STEPS):
            said = made[1]
            if steps:
                said = run_script("edit_registries.py", sandbox, tmp_path, *steps)
            before = len(sandbox.requests())
            report = pull(sandbox, root)
            assert report.outcome == "complete"
            assert held(root) == wanted(said), steps
            assert not operations(sandbox, before)["OrganizationRegistries"]
            assert bool(report.rows) == bool(steps)
            assert steps or report.requests <= 3
    assert said["found"] == {
        "regex": ["models two"],
        "tagged": ["classifier"],
        "aliased": ["classifier:v0"],
        "accurate": ["classifier:v3", "classifier:v1"],
    }
    with wbsync.open(root) as warehouse:
        gone = "SELECT registry FROM registries_all WHERE deleted_at IS NOT NULL ORDER BY 1"
        assert warehouse.sql(gone).fetchall() == [("any thing",), ("models",)]
        gone = "SELECT collection FROM registry_collections_all WHERE deleted_at IS NOT NULL"
        assert sorted(warehouse.sql(gone).fetchall()) == [("data set",), ("other",)]
        gone = "SELECT collection, version FROM registry_versions_all WHERE deleted_at IS NOT NULL"
        assert sorted(warehouse.sql(gone).fetchall()) == [
            ("classifier", "v2"), ("data set", "v0"), ("other", "v0"),
        ]  # fmt: skip


@pytest.fixture(scope="module")
def paged(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server on it whose pages hold one row."""
    data = tmp_path_factory.mktemp("paged") / "data"
    shutil.copytree(made[0], data)
    with Sandbox(data, options=[*ORGANIZATIONS, "--max-page-rows", "1"]) as sandbox:
        yield sandbox


def test_what_is_hidden_is_not_gone(paged: Sandbox, tmp_path: Path) -> None:
    """What a key may not see keeps what is held of it: nothing is marked as deleted."""
    root = tmp_path / "w"
    # The restricted registry leaves a page empty in between, and the walk goes on.
    pull(paged, tmp_path / "other", key=VIEWER_KEY)
    seen = held(tmp_path / "other")
    assert [r[0] for r in seen["registries"]] == ["models"]
    assert [c[1] for c in seen["collections"]] == ["classifier", "other"]
    assert len(seen["versions"]) == 4
    pull(paged, root)
    before = held(root)
    assert len(before["versions"]) == 5
    pull(paged, root, key=VIEWER_KEY)
    after = held(root)
    assert after["collections"] == before["collections"]
    assert after["versions"] == before["versions"]


def test_organisations_of_people_and_of_nobody(paged: Sandbox, made: Any, tmp_path: Path) -> None:
    """A person may have several organisations; an entity without any costs nothing."""
    root = tmp_path / "w"
    fill(paged.data, "sandbox", "outsider")
    assert pull(paged, root, "sandbox/seeded").outcome == "complete"
    assert held(root) == wanted(made[1])
    before = len(paged.requests())
    assert pull(paged, root, "outsider/seeded").outcome == "complete"
    assert not operations(paged, before)["OrganizationRegistries"]


SERVERS = {
    "as it is": ([], ""),
    "no registries": (["--without", "Entity.organization,User.organizations"], ""),
    "no versions": (["--without", "Entity.artifactMemberships"], ""),
    "refuses": (["--deny", "Entity.artifactCollections"], "permission denied"),
    "shows nothing": (["--hide", "Organization.orgEntity"], ""),
}


def test_other_servers_and_refusals(made: Any, tmp_path: Path) -> None:
    """What a server lacks, hides or refuses keeps what is held of it; a refusal is said."""
    shutil.copytree(made[0], tmp_path / "data")
    root = tmp_path / "w"
    for name, (options, words) in SERVERS.items():
        with Sandbox(tmp_path / "data", options=[*ORGANIZATIONS, *options]) as sandbox:
            report = pull(sandbox, root)
        assert [words in skipped.reason for skipped in report.skipped] == [True] * bool(words)
        assert held(root) == wanted(made[1]), name


def test_many_versions_are_read_where_their_collection_differs(
    paged: Sandbox, made: Any, tmp_path: Path, run_script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where versions do not fit into one request, unchanged ones are not read, page by page."""
    monkeypatch.setattr(entity_state, "FEW_VERSIONS", 0)
    root = tmp_path / "w"
    assert pull(paged, root).outcome == "complete"
    assert held(root) == wanted(made[1])
    pages = []
    for steps in ([], ["unlink", "describe"]):
        said = run_script("edit_registries.py", paged, tmp_path, *steps) if steps else made[1]
        before = len(paged.requests())
        assert pull(paged, root).outcome == "complete"
        assert held(root) == wanted(said), steps
        pages.append(operations(paged, before)["OrganizationRegistries"])
    # After the first page, one registry and two collections; a changed collection's two versions.
    assert pages == [1 + 2, 1 + 2 + 2]
