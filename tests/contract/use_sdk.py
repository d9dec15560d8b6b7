"""Does with the official SDK what people do, and prints what it saw, as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import wandb

seen: dict[str, Any] = {}

# A run that is resumed, edits its config and summary, and logs and uses an artifact.
with wandb.init(project="sdk", id="one", tags=["a"], notes="n", group="g", config={"lr": 1}) as run:
    for step in range(20):
        run.log({"loss": 1 / (step + 1), "nested": {"x": step}})
    run.config.update({"extra": {"deep": [1, 2]}})
    run.summary["note"] = "kept"
    artifact = wandb.Artifact("data", "dataset", metadata={"rows": 2})
    for name in ("a.txt", "b.bin"):
        Path(name).write_bytes(name.encode() * 100)
        artifact.add_file(name, name=f"folder/{name}")
    run.log_artifact(artifact, aliases=["best"], tags=["gold", "two words"]).wait()
    run.log({"image": wandb.Image(np.zeros((2, 2, 3), dtype=np.uint8))})
with wandb.init(project="sdk", id="one", resume="must") as run:
    seen["resumed_at"] = run.starting_step
    run.log({"loss": 0.0})
    folder = run.use_artifact("data:best").download()
    seen["files"] = sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.*"))

# A sweep with an agent.
sweep = wandb.sweep(
    {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"lr": {"values": [0.3, 0.1, 0.2]}},
    },
    project="sdk",
)


def train() -> None:
    """Logs the loss that the sweep is about."""
    with wandb.init(project="sdk") as trial:
        trial.log({"loss": trial.config["lr"] ** 2})


wandb.agent(sweep, train, project="sdk", count=3)

# A run without a network, synced afterwards.
with wandb.init(project="sdk", id="offline", mode="offline", config={"lr": 9}) as run:
    run.log({"loss": 81.0})
offline = next(iter(Path(os.environ["WANDB_DIR"]).glob("wandb/offline-run-*")))
subprocess.run([sys.executable, "-m", "wandb", "sync", str(offline)], check=True, text=True,
               capture_output=True)  # fmt: skip

# What the public API reads, and edits.
api = wandb.Api()
runs = api.runs("sandbox/sdk", filters={"config.lr": {"$lt": 0.25}}, order="+summary_metrics.loss")
seen["filtered"] = [run.config["lr"] for run in runs]
one = api.run("sandbox/sdk/one")
one.tags.append("edited")
one.notes = "changed"
one.config["lr"] = 5
one.update()
again = wandb.Api().run("sandbox/sdk/one")
found = api.sweep(f"sandbox/sdk/{sweep}")
seen |= {
    "projects": [p.name for p in api.projects("sandbox")],
    "edited": [again.tags, again.notes, again.config],
    "summary": [again.summary["loss"], again.summary["note"], again.summary["nested"]["x"]],
    "scan": len(list(again.scan_history(use_cache=False))),
    "history": len(again.history(samples=5, pandas=False)),
    "logged": [a.name for a in again.logged_artifacts() if a.type == "dataset"],
    "used": [a.name for a in again.used_artifacts()],
    "has_files": {"config.yaml", "wandb-metadata.json"} <= {f.name for f in again.files()},
    "sweep_runs": len(found.runs),
    "best": found.best_run().config["lr"],
    "offline": [(late := wandb.Api().run("sandbox/sdk/offline")).state, late.config],
    "aliases": sorted(api.artifact("sandbox/sdk/data:v0").aliases),
    "tags": sorted(api.artifact("sandbox/sdk/data:v0").tags),
}
print(json.dumps(seen))
