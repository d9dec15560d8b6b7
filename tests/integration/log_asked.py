"""Logs runs that differ in all that filters can ask for, with the real wandb SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import wandb

NAN = float("nan")
INF = float("inf")

RUNS: list[dict[str, Any]] = [
    {"id": "r0", "name": "Alpha", "tags": ["prod", "v1"], "group": "g1", "job_type": "train",
     "config": {"lr": 0.1, "opt": "adam", "nested": {"depth": 3, "name": "it's"}, "flag": True},
     "summary": {"acc": 0.9, "loss": 0.1}},
    {"id": "r1", "name": "beta", "tags": ["prod"], "group": "g2", "job_type": "eval",
     "config": {"lr": 0.01, "opt": "sgd", "nested": {"depth": 5}, "flag": False},
     "summary": {"acc": 0.7, "loss": NAN}},
    {"id": "r2", "name": "Gamma 'x'", "tags": [], "group": "g1", "job_type": None,
     "config": {"lr": "0.1", "opt": None, "layers": [1, 2, 3]},
     "summary": {"acc": 0.8}},
    {"id": "r3", "name": "delta", "tags": ["tag two", "v1"], "group": None, "job_type": "train",
     "config": {"opt": "adamw", "big": 2**60 + 1, "layers": [4]},
     "summary": {"acc": INF, "loss": -1.5, "best": {"acc": 0.95, "at": 3}}},
    {"id": "r4", "name": "Alpha", "tags": ["größe"], "group": "g2", "job_type": "train",
     "config": {"lr": 1, "opt": "Adam", "big": 2**60, "a/b": 1, "a b": "x"},
     "summary": {"acc": 0.7, "loss": 2, "Loss": 5}},
    {"id": "r5", "name": "zeta", "tags": [], "group": None, "job_type": None, "config": {},
     "summary": {}},
    {"id": "r6", "name": "eta", "tags": ["prod", "bad"], "group": "g3", "job_type": "train",
     "config": {"lr": 0, "opt": "", "flag": "true", "quote'\"]": "[x]"},
     "summary": {"acc": 0.75, "loss": 0.1, "text": "done"}},
    {"id": "r7", "name": "theta", "tags": ["v2"], "group": "g3", "job_type": "eval",
     "config": {"lr": 0.01, "opt": "sgd", "nested": {"depth": 3}, "layers": []},
     "summary": {"acc": 0.9, "loss": 0.3, "text": "Done"}},
]  # fmt: skip

for number, plan in enumerate(RUNS):
    with wandb.init(
        project="asked", id=plan["id"], name=plan["name"], tags=plan["tags"], config=plan["config"],
        group=plan["group"], job_type=plan["job_type"], settings=wandb.Settings(console="off"),
    ) as run:  # fmt: skip
        run.summary.update(plan["summary"])
        if number % 2 == 0:
            run.log({"step_metric": number})
        if number == 3:
            artifact = wandb.Artifact("data", "dataset", metadata={"rows": 3, "kind": {"of": "x"}})
            path = Path("data.txt")
            path.write_text("hello", encoding="utf-8")
            artifact.add_file(str(path))
            run.log_artifact(artifact, aliases=["best"]).wait()

api = wandb.Api()
notes = api.run("sandbox/asked/r0")
notes.notes = "first\nof all"
notes.update()
print(json.dumps("done"))
