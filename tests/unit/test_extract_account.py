"""What becomes of values around the runs: addresses, filters, people, specs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from wbsync.extract.accounts import build_member_rows, build_user_rows
from wbsync.extract.automations import (
    build_automation_rows,
    build_integration_rows,
    origin,
    unfolded,
)
from wbsync.extract.reports import build_report_rows, slug
from wbsync.extract.runs import build_run_rows
from wbsync.extract.values import json_text
from wbsync.model import ProjectPath

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROJECT = ProjectPath("crew", "main")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com"),
        ("https://user:secret@Example.com:8443/secret?secret#secret", "https://example.com:8443"),
        ("https://secret@[::1]:80/x", "https://[::1]:80"),
        ("http://example.com:secret/x", None),
        ("https:///secret", None),
        ("//example.com/secret", None),
        ("secret", None),
        ("https://[secret", None),
        ("", None),
        (None, None),
    ],
)
def test_of_an_address_only_the_host_is_kept(url: str | None, kept: str | None) -> None:
    """User, password, path, query and fragment are cut off; what is no address is not kept."""
    assert origin(url) == kept


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"filter": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"filter": {"a": 1}}', {"a": 1}),
        ('{"run_filter": "{}", "run_state_filter": {"states": []}}',
         {"run_filter": {}, "run_state_filter": {"states": []}}),
        ('{"run_filter": "no json", "metric_filter": null}',
         {"run_filter": "no json", "metric_filter": None}),
        ('{"filter": "{}", "other": "{}"}', {"filter": "{}", "other": "{}"}),
        ("no json", "no json"),
        ("[1]", [1]),
    ],
)  # fmt: skip
def test_filters_are_unfolded(text: str, value: object) -> None:
    """JSON inside JSON is unfolded where W&B puts it, and nowhere else; nothing is lost."""
    assert json.loads(unfolded(text) or "") == value


def test_unknown_kinds_are_told_by_the_servers_names() -> None:
    """A kind of integration, scope or action that is new is kept as W&B names it."""
    integrations = [{"__typename": "GitHubOAuthIntegration"}, {"__typename": "NewIntegration",
                                                               "id": "1"}]  # fmt: skip
    rows = build_integration_rows(integrations, "crew", NOW).to_pylist()
    assert [(r["integration_id"], r["kind"]) for r in rows] == [
        ("GitHubOAuthIntegration", "GitHubOAuthIntegration"),
        ("1", "NewIntegration"),
    ]
    trigger = {
        "id": "t", "scope": {"__typename": "Planet"}, "triggeredAction": {"__typename": "Launch"},
        "triggeringCondition": None,
    }  # fmt: skip
    (row,) = build_automation_rows([trigger, trigger], "crew", NOW).to_pylist()
    assert (row["scope_type"], row["action_type"], row["filter"]) == ("Planet", "Launch", None)


def test_people_are_told_once_with_all_that_is_known() -> None:
    """A field that one place leaves out keeps what another said, in this sync or an earlier one."""
    held = [
        {"username": "ann", "user_id": "1", "email": "ann@example.com", "is_admin": True},
        {"username": "gone", "name": "Gone"},
    ]
    members = [
        {"username": "ann", "name": "Ann", "email": None},
        {"username": None, "email": "invited@example.com"},
        {"username": "bob", "name": "Bob", "email": "bob@example.com"},
    ]
    viewer = {"username": "bob", "id": "2", "email": None, "deletedAt": "2026-01-01T00:00:00"}
    rows = build_user_rows([None, viewer], members, held, NOW).to_pylist()
    found = {r["username"]: r for r in rows}
    assert found.keys() == {"ann", "bob"}
    ann, bob = found["ann"], found["bob"]
    assert (ann["name"], ann["email"], ann["user_id"]) == ("Ann", "ann@example.com", "1")
    assert ann["is_admin"] is True
    assert (bob["email"], bob["user_id"]) == ("bob@example.com", "2")
    assert bob["deleted_at"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_invitation_has_a_key_of_its_own() -> None:
    """Who is invited by mail has no username; two such are two rows."""
    nodes = [{"id": "i1", "email": "a@x"}, {"id": "i2", "email": "b@x"}, {"username": "ann"}]
    rows = build_member_rows(nodes, "crew", NOW).to_pylist()
    assert [r["member_id"] for r in rows] == ["i1", "i2", "ann"]


def test_a_report_survives_what_its_fields_hold() -> None:
    """Titles without a letter, a spec that is no JSON, NaN and half surrogates do no harm."""
    nodes = [
        ("runs", {"id": "a==", "displayName": "☃ / 50 %", "spec": '{"x": NaN, "y": "\\ud800"}'}),
        ("runs", {"id": "b", "displayName": None, "spec": "no json"}),
        ("project-view", {"id": "c", "displayName": "view", "spec": None, "user": None}),
        ("runs", {"id": "d", "type": "runs/draft"}),
    ]
    rows = build_report_rows(nodes, PROJECT, NOW).to_pylist()
    assert [r["url_slug"] for r in rows] == ["50--a", "--b", None, "--d"]
    assert [r["view_type"] for r in rows] == ["runs", "runs", "project-view", "runs/draft"]
    assert json.loads(rows[0]["spec"]) == {"x": "NaN", "y": "\ufffd"}
    assert (json.loads(rows[1]["spec"]), rows[2]["spec"]) == ("no json", None)
    assert slug("a--b__c", "x=") == "a-b__c--x"


def test_half_a_surrogate_pair_ends_no_sync() -> None:
    """Config and summary may escape what no text column can hold."""
    half = json.dumps({"k\ud800": {"value": "\udfff"}})
    rows = build_run_rows([{"name": "x", "config": half, "summaryMetrics": half}], PROJECT, NOW)
    assert rows.run_config.column("key").to_pylist() == ["k\ufffd"]
    assert json_text('"\\ud83d\\ude00"') == '"\U0001f600"'
