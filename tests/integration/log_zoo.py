"""Logs a project of great variety with the real wandb SDK: what objects must show alike."""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import wandb
import wandb_workspaces.reports.v2 as wr

os.environ["WANDB_ENTITY"] = TEAM = "crew"
PROJECT = "zoo"


def ask(query: str, key: str, **variables: Any) -> Any:
    """Asks the sandbox with a key of its own."""
    mark = base64.b64encode(f"api:{key}".encode()).decode()
    request = urllib.request.Request(
        os.environ["WANDB_BASE_URL"] + "/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Authorization": f"Basic {mark}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def odd_runs() -> None:
    """Logs runs with keys, values and shapes that go wrong first."""
    config = {
        "lr": 0.1, "big": 2**60, "nested": {"model": {"depth": 3, "name": "a.b/c"}, "empty": {}},
        "list": [1, 2.5, "x", None], "flag": True, "none": None, "größe": "übergroß ☃", "a/b": 1,
        "a.b": 2, "a b": 3, "Loss": "upper", "loss": "lower", "quote'\"]": "[x]", "batch": 32,
        "nan": float("nan"), "inf": float("inf"), "text": "10", "wrap": {"value": 5},
    }  # fmt: skip
    with wandb.init(
        project=PROJECT, id="odd", name="odd keys", config=config, tags=["t1", "tag two", "prod"],
        notes="line\nbreak", group="g", job_type="train",
    ) as run:  # fmt: skip
        for step in range(30):
            row = {
                "loss": 1 / (step + 1), "Loss": step, "a/b": step * 2, "a b": -step,
                "nested": {"x": {"y": step}, "z": step / 3}, "big": 2**60 + step,
                "flag": step % 2 == 0, "größe": step / 7, "list": [step, step + 0.5],
                "mixed": step if step < 15 else f"text {step}",
            }  # fmt: skip
            if step % 5 == 0:
                row |= {"nan": float("nan"), "inf": float("inf"), "ninf": -float("inf")}
            run.log(row)
        run.log(
            {
                "image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8)),
                "hist": wandb.Histogram([1.0, 2.0, 3.0]),
                "table": wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]]),
            }
        )
        run.summary["best"] = {"acc": 0.9, "at": 2**60}
        run.summary["nan"] = float("nan")
    with wandb.init(project=PROJECT, id="long", config={"lr": 1, "batch": 64}) as run:
        print("said on the console")
        for step in range(1200):
            run.log({"loss": step / 3, **({"rare": step} if step % 100 == 0 else {})})
    with wandb.init(project=PROJECT, id="empty", tags=["empty"]):
        pass
    run = wandb.init(project=PROJECT, id="broken", config={"lr": 0.5}, group="g", tags=["prod"])
    run.log({"loss": float("nan"), "acc": 0.1})
    run.finish(exit_code=3)


def lineage() -> None:
    """Logs and uses artifacts."""
    with wandb.init(project=PROJECT, id="maker", job_type="data", config={"rows": 3}) as run:
        for version in range(3):
            data = wandb.Artifact("data", "dataset", "rows", {"rows": version, "s": {"x": [1]}})
            for name in ("plain.txt", "nested/deep/größe x.bin"):
                path = Path("src") / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{name} {version}", encoding="utf-8")
                data.add_file(str(path), name=name)
            aliases = ["best", "ok"] if version == 1 else []
            run.log_artifact(data, aliases=aliases).wait()
        empty = wandb.Artifact("empty", "dataset")
        run.log_artifact(empty).wait()
    found = wandb.Api().artifact(f"{PROJECT}/data:best")
    found.tags = ["gold", "a tag"]
    found.save()
    with wandb.init(project=PROJECT, id="user", job_type="train", group="h") as run:
        run.use_artifact("data:best")
        run.use_artifact("data:v0")
        model = wandb.Artifact("net", "model", metadata={"acc": 0.5, "nan": float("nan")})
        Path("model.txt").write_text("weights", encoding="utf-8")
        model.add_file("model.txt")
        run.log_artifact(model, aliases=["prod"]).wait()
        run.log({"loss": 0.5, "acc": 0.5})
    with wandb.init(project=PROJECT, id="second", job_type="eval", group="h") as run:
        run.use_artifact("data:best")
        run.use_artifact("net:prod")
        run.log({"loss": 0.4, "acc": 0.9})


def registries() -> None:
    """Links versions into registries."""
    api = wandb.Api(overrides={"entity": TEAM})
    api.create_registry(
        "models", visibility="organization", organization="acme", description="über ☃",
        artifact_types=["model"],
    )  # fmt: skip
    api.create_registry("any thing", visibility="restricted", organization="acme")
    net = api.artifact(f"{PROJECT}/net:prod")
    net.link("wandb-registry-models/classifier", aliases=["best", "in use"])
    net.link("wandb-registry-models/other")
    for version in range(2):
        api.artifact(f"{PROJECT}/data:v{version}").link("wandb-registry-any thing/rows")
    collection = api.artifact_collection("model", "acme-org/wandb-registry-models/classifier")
    collection.description = "sees cats"
    collection.tags = ["t1", "tag two"]
    collection.save()


def sweeps() -> None:
    """Runs a sweep, and leaves another without a run."""
    parameters = {"lr": {"values": [0.3, 0.1, 0.2]}, "batch": {"value": 8}}
    first = wandb.sweep(
        {"method": "grid", "name": "first sweep", "metric": {"name": "acc", "goal": "maximize"},
         "parameters": parameters},
        project=PROJECT,
    )  # fmt: skip

    def train() -> None:
        with wandb.init() as run:
            for step in range(3):
                row = {"acc": 1 - run.config.lr + step / 100, "loss": run.config.lr}
                run.log(row | ({"some": run.config.lr} if run.config.lr < 0.3 else {}))

    wandb.agent(first, train, project=PROJECT, count=3)
    wandb.sweep({"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}},
                project=PROJECT)  # fmt: skip
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        os.environ.pop(name, None)


def others() -> None:
    """Makes runs of another user, one that runs, and reports."""
    mutation = (
        "mutation M($name: String!, $config: JSONString, $tags: [String!], $state: String,"
        " $project: String, $entity: String, $summary: JSONString, $display: String)"
        " { upsertBucket(input: {modelName: $project, entityName: $entity, name: $name,"
        " config: $config, tags: $tags, state: $state, summaryMetrics: $summary,"
        " displayName: $display}) { bucket { id } } }"
    )
    for index in range(4):
        config = {"lr": {"value": index / 10}, "who": {"value": ["ann", "bob"][index % 2]}}
        answer = ask(
            mutation, "b" * 40, name=f"bob{index}", config=json.dumps(config),
            tags=["bob", f"t{index}"], state="running", project=PROJECT,
            entity=TEAM, display=f"Bob's {index}",
            summary=json.dumps(
                {
                    "loss": 3 - index, "acc": index / 4, "deep": {"x": index},
                    "nan": float("nan"), "best": index / 2, "val/loss": {"min": index},
                }
            ),
        )  # fmt: skip
        assert "errors" not in answer, answer
    blocks = [wr.H1("Title"), wr.PanelGrid(runsets=[wr.Runset(TEAM, PROJECT)])]
    wr.Report(entity=TEAM, project=PROJECT, title="First / report: 50 %", description="about",
              blocks=blocks).save()  # fmt: skip
    wr.Report(entity=TEAM, project=PROJECT, title="Second", blocks=[wr.P("text")]).save()
    run = wandb.Api().run(f"{TEAM}/{PROJECT}/bob1")
    run.notes = "edited"
    run.group = "bobs"
    run.update()


odd_runs()
lineage()
registries()
sweeps()
others()
print(json.dumps("done"))
