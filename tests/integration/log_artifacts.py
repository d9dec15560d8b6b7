"""Logs artifacts of every kind with the official SDK: log_artifacts.py URL SIZE."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import wandb

address, size = sys.argv[1], int(sys.argv[2])

with wandb.init(project="files", id="maker") as run:
    data = wandb.Artifact("data", "dataset")
    for name in ("plain.txt", "nested/deep/größe x.bin", "nested/twin.txt", "empty"):
        path = Path("src") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else name.encode() * 1000)
        data.add_file(str(path), name=name)
    data.add_reference(f"{address}/far.txt", name="far/away.txt")
    run.log_artifact(data, aliases=["best"]).wait()

    Path("src/plain.txt").write_text("changed", encoding="utf-8")
    second = wandb.Artifact("data", "dataset")
    second.add_dir("src")
    run.log_artifact(second).wait()

    big = wandb.Artifact("big", "dataset")
    with Path("big.bin").open("wb") as file:
        file.write(b"head")
        file.truncate(size)
    big.add_file("big.bin")
    run.log_artifact(big).wait()

    linked = wandb.Artifact("linked", "dataset")
    linked.add_reference(second.get_entry("nested/twin.txt").ref_url(), name="other/twin.txt")
    run.log_artifact(linked).wait()

    unchecked = wandb.Artifact("unchecked", "dataset")
    unchecked.add_reference(f"{address}/no-etag.txt", name="far/away.txt", checksum=False)
    run.log_artifact(unchecked).wait()

with wandb.init(project="files", id="user") as run:
    run.use_artifact("data:best")
    model = wandb.Artifact("model", "model")
    Path("model.txt").write_text("weights", encoding="utf-8")
    model.add_file("model.txt")
    run.log_artifact(model).wait()

api = wandb.Api()
for name in ("data:v0", "data:latest", "big:v0", "linked:v0", "unchecked:v0"):
    api.artifact(f"sandbox/files/{name}").download(root=f"sdk/{name.replace(':', '-')}")
print(json.dumps("done"))
