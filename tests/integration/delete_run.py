"""Deletes a run with the real SDK: `delete_run.py ENTITY/PROJECT/RUN`."""

from __future__ import annotations

import json
import sys

import wandb

run = wandb.Api().run(sys.argv[1])
run.delete()
print(json.dumps({"deleted": run.id}))
