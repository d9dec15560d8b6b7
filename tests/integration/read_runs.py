"""Reads everything back with wandb.Api(), as the measure of what wbsync must hold."""

from __future__ import annotations

import json
import sys

import wandb

api = wandb.Api()
project = sys.argv[1] if len(sys.argv) > 1 else "sandbox/main"
runs = {}
for run in api.runs(project):
    whole = api.run(f"{project}/{run.id}")
    runs[run.id] = {
        "name": whole.name,
        "state": whole.state,
        "tags": whole.tags,
        "notes": whole.notes,
        "group": whole.group,
        "job_type": whole.job_type,
        "config": whole.config,
        "summary": whole.summary._json_dict,
        "history": list(whole.scan_history(use_cache=False)),
        "logged": [a.name for a in whole.logged_artifacts()],
        "used": [a.name for a in whole.used_artifacts()],
    }
print(json.dumps(runs))
