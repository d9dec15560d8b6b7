"""Logs what real projects hold, with the real wandb SDK."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import wandb

CONFIG = {
    "lr": 0.1,
    "big": 2**60,
    "nested": {"model": {"depth": 3, "name": "a.b/c"}, "empty": {}},
    "list": [1, 2.5, "x", None],
    "flag": True,
    "none": None,
    "größe": "übergroß ☃",
    "a/b": 1,
    "a.b": 2,
    "a b": 3,
    "Loss": "upper",
    "loss": "lower",
    "quote'\"]": "[x]",
}

with wandb.init(
    project="main", id="odd", name="odd keys", config=CONFIG, tags=["t1", "tag two"],
    notes="line\nbreak", group="g", job_type="train",
) as run:  # fmt: skip
    for step in range(60):
        row = {
            "loss": 1 / (step + 1),
            "Loss": step,
            "a/b": step * 2,
            "a.b": step * 3,
            "a b": -step,
            "nested": {"x": {"y": step}, "z": float(step)},
            "mixed": step if step < 30 else f"text {step}",
            "big": 2**60 + step,
            "flag": step % 2 == 0,
            "größe": step / 7,
            "list": [step, step + 0.5],
        }
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

with wandb.init(project="main", id="long", config={"lr": 1}) as run:
    for step in range(5000):
        run.log({"loss": step / 3, **({"rare": step} if step % 100 == 0 else {})})

with wandb.init(project="main", id="empty"):
    pass

with wandb.init(project="main", id="late", config={"lr": 2}) as run:
    run.log({"loss": 1.0})
    artifact = wandb.Artifact("data", "dataset", metadata={"rows": 3})
    path = Path("data.txt")
    path.write_text("hello", encoding="utf-8")
    artifact.add_file(str(path))
    run.log_artifact(artifact, aliases=["best"]).wait()
with wandb.init(project="main", id="late", resume="must") as run:
    run.use_artifact("data:best")
    run.log({"loss": 0.5})

print(json.dumps("done"))
