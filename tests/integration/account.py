"""Makes or edits a team with all that belongs to it, with the real SDK; prints what the SDK reads.

Run with `make` or `edit`. Secrets are spelt SECRET-…, so that a test can look for them.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.request
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb.automations import (
    ArtifactEvent,
    DoNothing,
    OnAddArtifactAlias,
    OnLinkArtifact,
    OnRunMetric,
    OnRunState,
    RunEvent,
    SendNotification,
    SendPromptToAria,
    SendWebhook,
)

TEAM, PROJECT = "crew", "main"
HOOK = "https://user:SECRET-user@hooks.example.com:8443/SECRET-path?token=SECRET-query"


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Posts JSON to the sandbox, with the key."""
    key = base64.b64encode(f"api:{os.environ['WANDB_API_KEY']}".encode()).decode()
    request = urllib.request.Request(
        os.environ["WANDB_BASE_URL"] + path, json.dumps(body).encode(),
        {"Authorization": f"Basic {key}", "Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request) as answer:
        return dict(json.load(answer))


def integration(**values: str) -> str:
    """Makes, edits or deletes an integration, which no call of the SDK does; returns its id."""
    return str(post("/sandbox/integrations", {"entity": TEAM, **values})["id"])


def queue_job(api: wandb.Api) -> None:
    """Makes an automation that starts a job, in a team of its own: the SDK cannot read it back."""
    api.create_team("launch")
    api.create_project("jobs", "launch")
    project_id = api.project("jobs", entity="launch").id
    mutation = (
        "mutation M($input: CreateFilterTriggerInput!) { createFilterTrigger(input: $input)"
        " { trigger { id } } }"
    )
    template = json.dumps({"env": {"TOKEN": "SECRET-template"}})
    values = {
        "name": "job", "enabled": True, "scopeType": "PROJECT", "scopeID": project_id,
        "triggeringEventType": "RUN_STATE", "triggeredActionType": "QUEUE_JOB",
        "eventFilter": '{"run_filter": "{}", "run_state_filter": {"states": ["FINISHED"]}}',
        "triggeredActionConfig": {"queueJobActionInput": {"queueID": "q", "template": template}},
    }  # fmt: skip
    answer = post("/graphql", {"query": mutation, "variables": {"input": values}})
    assert "errors" not in answer, answer


def report(**values: Any) -> wr.Report:
    """Returns a report that is not saved yet."""
    return wr.Report(entity=TEAM, project=PROJECT, **values)


def make(api: wandb.Api) -> None:
    """Makes everything."""
    team = api.create_team(TEAM)
    assert team.invite("bob", admin=True)
    assert team.invite("eve")
    assert team.invite("invited@example.com")
    assert team.create_service_account("robot") is not None
    with wandb.init(entity=TEAM, project=PROJECT, id="one") as run:
        run.log({"loss": 1.0})
        artifact = wandb.Artifact("weights", "model")
        run.log_artifact(artifact).wait()
    api.create_project("other", TEAM)
    integration(kind="slack", teamName="Acme", channelName="#alerts ☃")
    integration(kind="webhook", name="hook", urlEndpoint=HOOK)
    integration(kind="webhook", name="old hook", urlEndpoint="http://old.example.com")
    slack = next(api.slack_integrations(entity=TEAM))
    hook = next(api.webhook_integrations(entity=TEAM))
    project = api.project(PROJECT, entity=TEAM)
    collection = api.artifact_collection("model", f"{TEAM}/{PROJECT}/weights")
    finished = RunEvent.state.in_(["finished"])
    for name, automation in {
        "metric": OnRunMetric(scope=project, filter=RunEvent.metric("loss").avg(5).gt(1.5))
        >> SendNotification.from_integration(slack, title="hi", text="über <b>", level="WARN"),
        "linked": OnLinkArtifact(scope=project, filter=ArtifactEvent.alias.eq('"prod"'))
        >> SendWebhook.from_integration(hook, payload={"token": "SECRET-payload"}),
        "alias": OnAddArtifactAlias(scope=collection) >> DoNothing(),
        "state": OnRunState(scope=team, filter=finished) >> DoNothing(),
        "aria": OnRunState(scope=project, filter=finished) >> SendPromptToAria(prompt="why?"),
    }.items():
        api.create_automation(automation, name=name, description=f"the {name}")
    queue_job(api)
    blocks = [wr.H1("Überschrift"), wr.PanelGrid(runsets=[wr.Runset(TEAM, PROJECT)])]
    report(title="First / report: 50 %", description="about", blocks=blocks).save()
    report(title="Second", blocks=[wr.P("text")]).save()
    report(title="Draft").save(draft=True)
    ws.Workspace(entity=TEAM, project=PROJECT, name="My view").save()


def edit(api: wandb.Api) -> None:
    """Edits one of each kind, and deletes one of each."""
    members = {m.name: m for m in api.team(TEAM).members}
    assert members["Eve"].delete()
    assert members["invited@example.com"].delete()
    assert api.team(TEAM).invite("again@example.com")
    hooks = {h.name: h for h in api.webhook_integrations(entity=TEAM)}
    integration(id=hooks["old hook"].id)
    integration(id=hooks["hook"].id, name="new name")
    found = {a.name: a for a in api.automations(entity=TEAM)}
    api.delete_automation(found["state"])
    api.update_automation(found["metric"], enabled=False, description="off")
    reports = {r.display_name: r for r in api.reports(f"{TEAM}/{PROJECT}")}
    url = f"{os.environ['WANDB_BASE_URL']}/{TEAM}/{PROJECT}/reports/x--"
    assert wr.Report.from_url(url + reports["Second"].id).delete()
    first = wr.Report.from_url(url + reports["First / report: 50 %"].id)
    first.title = "Renamed"
    first.blocks = [wr.P("all new")]
    first.save()


def condition(found: Any) -> dict[str, Any]:
    """Returns an event's filter as the SDK understands it, each part under W&B's name."""
    if hasattr(found, "filter"):
        return dict(found.filter.model_dump(mode="json"))
    rest = "run_state_filter" if hasattr(found, "state") else "run_metric_filter"
    inner = found.state if hasattr(found, "state") else found.metric
    return {
        "run_filter": found.run.model_dump(mode="json"),
        rest: inner.model_dump(mode="json"),
    }


def read(api: wandb.Api) -> dict[str, Any]:
    """Returns what the SDK reads."""
    team = api.team(TEAM)
    viewer = api.viewer
    user_facts = ("id", "username", "name", "email", "admin", "entity")
    return {
        "team": {k: v for k, v in team._attrs.items() if k != "members"},
        "members": [dict(m._attrs) for m in team.members],
        "users": [
            {k: u._attrs[k] for k in user_facts} for u in [viewer, *api.users("bob")]
        ],
        "integrations": [i.model_dump() for i in api.integrations(entity=TEAM)],
        "automations": [
            {**a.model_dump(mode="json"), "condition": condition(a.event.filter)}
            for a in api.automations(entity=TEAM)
        ],
        "projects": [p.name for p in api.projects(TEAM)],
        "reports": [
            {**r._attrs, "url": r.url, "user": r.user["username"]}
            for r in api.reports(f"{TEAM}/{PROJECT}")
        ],
    }  # fmt: skip


{"make": make, "edit": edit}[sys.argv[1]](wandb.Api())
print(json.dumps(read(wandb.Api()), default=str))
