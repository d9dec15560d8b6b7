"""What surrounds the runs: entity, members, reports, automations, integrations; and who may not."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest

import wbsync
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

USERS = ["--add-user", "bob:" + "b" * 40, "--add-user", "eve:" + "e" * 40]
TABLES = ("entities", "users", "team_members", "reports", "automations", "integrations")
PARTS = "allViews,triggers,integrations,members"


class Account:
    """A sandbox with a team that the SDK made, and what the SDK read of it."""

    def __init__(self, sandbox: Sandbox, run_script: Callable[..., Any], work: Path) -> None:
        self.sandbox = sandbox
        self._script = lambda what: run_script("account.py", sandbox, work, what)
        self.said: dict[str, Any] = self._script("make")
        self.made = self.said
        self.root = work / "warehouse"

    def edit(self) -> None:
        """Edits and deletes with the SDK."""
        self.said = self._script("edit")

    def sync(self, *sources: str, **options: Any) -> Any:
        """Syncs in this process; returns the report."""
        return sync(self.sandbox, self.root, *(sources or ("crew/main",)), **options)


def sync(sandbox: Sandbox, root: Path, *sources: str, **options: Any) -> Any:
    """Syncs a warehouse in this process; returns the report."""
    with wbsync.open(root) as warehouse:
        return warehouse.sync(
            *sources, api_key=sandbox.api_key, base_url=sandbox.base_url, **options
        )


def rows(root: Path, table: str, key: str = "", where: str = "true") -> Any:
    """Returns a table's rows as dictionaries; by a column where one is named."""
    with wbsync.open(root) as warehouse:
        found = warehouse.sql(f"SELECT * FROM {table} WHERE {where}").arrow().to_pylist()
    return {row[key]: row for row in found} if key else found


def moment(text: str) -> datetime:
    """Returns an instant that the SDK printed, as the published file writes it."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def account(
    tmp_path_factory: pytest.TempPathFactory, run_script: Callable[..., Any]
) -> Iterator[Account]:
    """A team with all that belongs to it, synced once."""
    with Sandbox(tmp_path_factory.mktemp("data"), options=USERS) as sandbox:
        account = Account(sandbox, run_script, tmp_path_factory.mktemp("work"))
        assert account.sync().outcome == "complete"
        yield account


@pytest.fixture(scope="module")
def made(account: Account, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Copies of the sandbox's folder and of the warehouse, as they were before any edit."""
    copies = tmp_path_factory.mktemp("copies")
    shutil.copytree(account.sandbox.data, copies / "data")
    shutil.copytree(account.root, copies / "warehouse")
    return copies / "data", copies / "warehouse"


def check(root: Path, said: dict[str, Any]) -> None:
    """Compares a warehouse with what the SDK reads."""
    entity = rows(root, "entities", "entity")["crew"]
    team = said["team"]
    assert (entity["kind"], entity["entity_id"]) == ("team", team["id"])
    assert entity["storage_bytes"] == team["storageBytes"] > 0
    assert entity["default_access"] == team["defaultAccess"]
    assert entity["is_read_only"] is entity["is_paid"] is False

    members = rows(root, "team_members", "member_id", "team = 'crew'")
    assert members.keys() == {m["id"] for m in said["members"]}
    for member in said["members"]:
        row = members[member["id"]]
        names = (("username",) * 2, ("name",) * 2, ("email",) * 2, ("admin", "is_admin"),
                 ("pending", "is_pending"), ("accountType", "account_type"))  # fmt: skip
        assert [row[ours] for _, ours in names] == [member[theirs] for theirs, _ in names]
    assert sum(m["is_pending"] for m in members.values()) == 1

    users = rows(root, "users", "username")
    viewer, bob = said["users"]
    row = users[viewer["username"]]
    assert row["user_id"] == viewer["id"]
    assert (row["email"], row["is_admin"], row["entity"]) == (viewer["email"], True, "sandbox")
    assert users["bob"]["email"] == bob["email"]
    assert {m["username"] for m in said["members"] if m["username"]} <= users.keys()

    integrations = rows(root, "integrations", "integration_id")
    assert integrations.keys() == {i["id"] for i in said["integrations"]}
    for told in said["integrations"]:
        row = integrations[told["id"]]
        assert row["name"] == told.get("name")
        assert row["channel_name"] == told.get("channelName")
        if row["kind"] == "webhook":
            assert row["url_host"] in {"https://hooks.example.com:8443", "http://old.example.com"}

    automations = rows(root, "automations", "automation_id", "entity = 'crew'")
    assert automations.keys() == {a["id"] for a in said["automations"]}
    for told in said["automations"]:
        row = automations[told["id"]]
        assert (row["name"], row["description"]) == (told["name"], told["description"])
        assert row["is_enabled"] is told["enabled"]
        scope = told["scope"]
        found = (row["scope_type"], row["scope_id"], row["scope_name"])
        assert found == (scope["scopeType"], scope["id"], scope["name"])
        assert row["event_type"] == told["event"]["eventType"]
        condition = {k: v for k, v in json.loads(row["filter"]).items() if v is not None}
        assert condition == told["condition"]
        action = told["action"]
        assert row["action_type"] == action["actionType"]
        assert row["integration_id"] == (action.get("integration") or {}).get("id")
        details = {k: action[k] for k in ("title", "message", "severity", "prompt") if k in action}
        assert json.loads(row["action"]) == details
        assert row["updated_at"] == moment(told["updatedAt"])

    reports = rows(root, "reports", "report_id", "view_type = 'runs'")
    assert reports.keys() == {r["id"] for r in said["reports"]}
    for told in said["reports"]:
        row = reports[told["id"]]
        assert json.loads(row["spec"]) == told["spec"]
        assert (row["display_name"], row["username"]) == (told["displayName"], told["user"])
        assert (row["name"], row["description"]) == (told["name"], told["description"])
        assert row["created_at"] == moment(told["createdAt"])
        assert told["url"].endswith(f"/crew/main/reports/{row['url_slug']}")


def test_the_account_is_what_the_sdk_reads(account: Account, made: Any) -> None:
    """Every column of the account's tables is equal to wandb.Api()'s; drafts and views are held."""
    del made
    check(account.root, account.said)
    others = rows(account.root, "reports", "view_type", "view_type <> 'runs'")
    assert others["runs/draft"]["display_name"] == "Draft"
    assert others["project-view"]["display_name"] == "My view"
    assert json.loads(others["project-view"]["spec"])["section"]["runSets"]


def test_a_job_is_told_without_its_template(account: Account, made: Any) -> None:
    """An automation that starts a job is held, though the SDK itself cannot read it."""
    del made
    assert account.sync("launch/jobs").outcome == "complete"
    (job,) = rows(account.root, "automations", where="entity = 'launch'")
    assert (job["name"], job["action_type"]) == ("job", "QUEUE_JOB")
    assert json.loads(job["filter"])["run_filter"] == {}
    assert rows(account.root, "automations", where="entity = 'crew'")


def test_what_has_not_changed_costs_one_request_an_entity(account: Account, made: Any) -> None:
    """Three requests for a project, and one for the entity of several; nothing is committed."""
    del made
    account.sync("crew")
    commits = set(account.root.rglob("_delta_log/*.json"))
    report = account.sync()
    assert (report.outcome, report.rows) == ("complete", {})
    assert report.requests <= 3
    both = account.sync("crew/main", "crew/other")
    assert both.rows == {}
    assert both.requests <= 2 * 2 + 1
    assert set(account.root.rglob("_delta_log/*.json")) == commits


def test_objects_show_automations_and_integrations(
    account: Account, made: tuple[Path, Path]
) -> None:
    """As the SDK's do, but for what may hold a secret: that is no attribute."""
    api = wbsync.Api({"entity": "crew"}, warehouse=made[1])
    said = account.made
    told = {a["id"]: a for a in said["automations"]}
    for found in api.automations("crew"):
        one = told.pop(found.id)
        for name in ("name", "description", "enabled"):
            assert getattr(found, name) == one[name]
        assert found.created_at == datetime.fromisoformat(one["createdAt"])
        assert (found.scope.id, found.scope.scope_type) == (
            one["scope"]["id"], one["scope"]["scopeType"]
        )  # fmt: skip
        assert found.event.event_type == one["event"]["eventType"]
        assert found.action.action_type == one["action"]["actionType"]
        integration = one["action"].get("integration")
        assert not integration or found.action.integration.id == integration["id"]
        assert getattr(found.action, "request_payload", "not held") == "not held"
    assert told == {}
    assert len(api.automations()) >= len(said["automations"])
    assert api.automation("metric").action.severity == "WARN"
    assert api.automation("metric", entity="crew").event.filter["run_metric_filter"]
    with pytest.raises(ValueError, match="No automations found"):
        api.automation("nope")
    by_id = {i["id"]: i for i in said["integrations"]}
    assert {i.id for i in api.integrations()} == by_id.keys()
    for hook in api.webhook_integrations("crew"):
        assert hook.name == by_id[hook.id]["name"]
        assert hook.url_host in {"https://hooks.example.com:8443", "http://old.example.com"}
        assert not hasattr(hook, "url_endpoint")
    (slack,) = api.slack_integrations(entity="crew")
    assert (slack.team_name, slack.channel_name) == ("Acme", "#alerts ☃")
    assert {m.name for m in api.team("crew").members} == {m["name"] for m in said["members"]}


@pytest.mark.parametrize(
    ("without", "empty"),
    [
        (f"{PARTS},storageBytes,organization,type", {"reports", "automations", "integrations",
                                                     "team_members"}),
        ("view", {"reports"}),
        ("Entity.triggers,QueueJobTriggeredAction,View.updatedAt", set()),
    ],
)  # fmt: skip
def test_an_older_server_fills_what_it_can(
    made: tuple[Path, Path], tmp_path: Path, without: str, empty: set[str]
) -> None:
    """What a server lacks stays empty, and nothing fails; automations are found by project."""
    shutil.copytree(made[0], tmp_path / "data")
    with Sandbox(tmp_path / "data", options=["--without", without]) as sandbox:
        assert sync(sandbox, tmp_path / "w", "crew/main").outcome == "complete"
        again = sync(sandbox, tmp_path / "w", "crew/main")
    assert (again.outcome, again.rows, again.requests <= 4) == ("complete", {}, True)
    held = {table: rows(tmp_path / "w", table) for table in TABLES}
    assert {table for table, found in held.items() if not found} == empty
    assert len(rows(tmp_path / "w", "runs")) == 1
    if not empty:
        names = {row["name"] for row in held["automations"]}
        assert names == {"metric", "linked", "alias", "aria"}


def test_small_pages_are_walked_to_their_end(made: tuple[Path, Path], tmp_path: Path) -> None:
    """A server that caps its pages at one row gives the same tables, again and again."""
    shutil.copytree(made[0], tmp_path / "data")
    with Sandbox(tmp_path / "data", options=["--max-page-rows", "1"]) as sandbox:
        sync(sandbox, tmp_path / "w", "crew/main")
        assert sync(sandbox, tmp_path / "w", "crew/main").rows == {}
    for table in TABLES:
        where = "entity <> 'launch'" if table in {"automations", "entities"} else "true"
        wanted = rows(made[1], table, where=where)
        found = rows(tmp_path / "w", table)
        for row in (*wanted, *found):
            row.pop("synced_at")
        assert sorted(map(repr, found)) == sorted(map(repr, wanted)), table


@pytest.mark.parametrize("refusal", ["--deny", "--hide"])
def test_what_a_key_may_not_see_stays_as_it_is_held(
    made: tuple[Path, Path], tmp_path: Path, refusal: str
) -> None:
    """Refused parts are reported, hidden ones are not; neither is taken for deleted."""
    shutil.copytree(made[0], tmp_path / "data")
    shutil.copytree(made[1], tmp_path / "w")
    before = {table: rows(tmp_path / "w", table) for table in TABLES}
    fields = f"{PARTS},storageBytes,organization,Entity.user,view"
    with Sandbox(tmp_path / "data", options=[refusal, fields]) as sandbox:
        report = sync(sandbox, tmp_path / "w", "crew/main")
        chosen = sync(sandbox, tmp_path / "w", "crew/main", only=["runs", "entities"])
    assert chosen.outcome == "complete"
    if refusal == "--deny":
        assert report.outcome == "partial"
        assert {s.what for s in report.skipped} == {
            *(f"crew {t}" for t in ("team_members", "automations", "integrations")),
            *(f"crew/main {t}" for t in ("reports", "drafts", "workspaces")),
        }
        assert all("permission denied" in s.reason for s in report.skipped)
    else:
        assert report.outcome == "complete"
    after = {table: rows(tmp_path / "w", table) for table in TABLES}
    if refusal == "--hide":
        for found in (before, after):
            found["entities"] = [{**row, "storage_bytes": 0} for row in found["entities"]]
            for row in found["entities"]:
                row.pop("synced_at")
    assert after == before


def test_tables_are_chosen_by_name(
    made: tuple[Path, Path], tmp_path: Path, wbsync_cli: Any
) -> None:
    """--only and --skip sync what they say, and name the table that was meant."""
    names = (*TABLES, "history", "history_keys", "runs", "projects")

    def held(root: Path) -> set[str]:
        with wbsync.open(root) as warehouse:
            return {t for t in names if warehouse.sql(f"SELECT 1 FROM {t} LIMIT 1").fetchall()}

    shutil.copytree(made[0], tmp_path / "data")
    with Sandbox(tmp_path / "data") as sandbox:
        done = wbsync_cli(sandbox, "sync", "crew/main", "--only", "reports, users,")
        assert done.returncode == 0, done.stderr
        assert held(tmp_path / "warehouse") == {"reports", "users", "projects", "entities"}
        root = tmp_path / "w"
        sync(sandbox, root, "crew/main", skip=["history,reports", "entities"])
        assert held(root) == {*TABLES, "runs", "projects"} - {"reports", "entities"}
        assert sync(sandbox, root, "crew/main", only="history").history_rows == 3
        done = wbsync_cli(sandbox, "sync", "crew/main", "--only", "report")
    assert done.returncode == 2
    assert "did you mean reports?" in done.stderr


def test_edits_and_deletions_are_found(account: Account, made: Any) -> None:
    """The sync after edits holds what the SDK reads; what is gone keeps its row, marked."""
    del made
    before = {table: rows(account.root, table) for table in TABLES}
    account.edit()
    report = account.sync()
    assert report.outcome == "complete"
    assert report.rows.keys() == {"team_members", "reports", "automations", "integrations"}
    assert report.requests <= 4
    check(account.root, account.said)
    for table, key in {
        "team_members": "name", "reports": "display_name", "automations": "name",
        "integrations": "name",
    }.items():  # fmt: skip
        gone = rows(account.root, f"{table}_all", key, "deleted_at IS NOT NULL")
        assert gone.keys() == {
            "team_members": {"Eve", "invited@example.com"},
            "reports": {"Second"},
            "automations": {"state"},
            "integrations": {"old hook"},
        }[table]
        was = {row[key]: row for row in before[table]}
        for name, row in gone.items():
            assert {**row, "deleted_at": None} == {**was[name], "deleted_at": None}
    assert account.sync().rows == {}
    assert "eve" in rows(account.root, "users", "username")


def test_no_secret_is_in_any_file(account: Account, made: Any) -> None:
    """Keys, payloads, templates, and all but the host of an address are in no file, old or new."""
    secrets = [account.sandbox.api_key, "SECRET-"]
    secrets += [m["apiKey"] for m in account.said["members"] if m["apiKey"]]
    assert len(secrets) == 3
    files = [p for root in (account.root, made[1]) for p in root.rglob("*") if p.is_file()]
    kinds = {p.suffix for p in files}
    assert {".parquet", ".duckdb", ".json", ".sqlite"} <= kinds
    for path in files:
        content = [path.read_bytes().decode("latin-1")]
        if path.suffix == ".parquet":
            content += [str(c.to_pylist()) for c in pq.read_table(path).columns]
        elif path.suffix == ".sqlite":
            with sqlite3.connect(path) as connection:
                content += connection.iterdump()
        elif path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as database:
                names = database.execute(
                    "SELECT schema_name, table_name FROM duckdb_tables()"
                ).fetchall()
                content += [
                    str(database.sql(f'FROM "{schema}"."{name}"').fetchall())
                    for schema, name in names
                ]
        for text in content:
            assert not [s for s in secrets if s in text], path
