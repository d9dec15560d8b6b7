"""Logs files and console output with the real wandb SDK, then prints what it reads back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import wandb


def write(name: str, content: str) -> str:
    """Writes a file in the working folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return name


NAMES = ["plain.txt", "über ☃ file.txt", "deep/er folder/a b.json", "deep/..twodots", "x" * 120]

with wandb.init(project="main", id="filed", settings={"console": "wrap"}) as run:
    for name in NAMES:
        run.save(write(name, f"content of {name}"), base_path=".", policy="now")
    artifact = wandb.Artifact("data", "dataset")
    write("tree/a.txt", "a")
    write("tree/below/ü b.txt", "b" * 1000)
    artifact.add_dir("tree", name="nested")
    artifact.add_file(write("top.bin", ""), name="top level.bin")
    artifact.add_reference("https://example.com/a%20b?x=1#y", name="far/away", checksum=False)
    artifact.add_reference(Path("plain.txt").resolve().as_uri(), name="local.dat")
    run.log_artifact(artifact).wait()
    again = wandb.Artifact("data", "dataset")
    again.add_file("tree/a.txt")
    run.log_artifact(again).wait()
    print("first line")
    print("über ☃ \x1b[31mred\x1b[0m\ttab")
    print("to standard error", file=sys.stderr)
    print('\n{"looks": "like JSON"}')
    print("ERROR 2026-01-01T00:00:00.000000 looks like the other form")

with wandb.init(project="main", id="quiet", settings={"console": "off"}) as run:
    pass

api = wandb.Api()
said = {"files": {}, "lines": {}, "manifests": {}}
for run in api.runs("sandbox/main"):
    said["files"][run.id] = {
        f.name: [f.id, f.size, f.mimetype, f.md5, f.updated_at] for f in run.files()
    }
    said["lines"][run.id] = [
        [x.number, x.timestamp.isoformat() if x.timestamp else None, x.level, x.label, x.content]
        for x in run.console_logs()
    ]
for version in api.artifacts("dataset", "sandbox/main/data"):
    said["manifests"][version.id] = {
        path: [e.digest, e.size, e.ref, e.birth_artifact_id, e.extra]
        for path, e in version.manifest.entries.items()
    }
print(json.dumps(said))
