"""Adds a tag to a run with the real SDK: `edit_run.py ENTITY/PROJECT/RUN TAG`."""

from __future__ import annotations

import json
import sys

import wandb

run = wandb.Api().run(sys.argv[1])
run.tags = [*run.tags, sys.argv[2]]
run.update()
print(json.dumps({"tags": run.tags}))
