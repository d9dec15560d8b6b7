"""Asks wandb.Api() for runs, filter by filter and order by order."""

from __future__ import annotations

import json
import sys

import wandb

api = wandb.Api()
with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
    pairs = json.load(file)
answers = []
for filters, order in pairs:
    runs = api.runs("sandbox/asked", filters=filters, order=order, per_page=50)
    answers.append([run.id for run in runs])
print(json.dumps(answers))
