"""Resumes a run with the real SDK and logs some more: `grow_run.py PROJECT RUN ROWS`."""

from __future__ import annotations

import json
import sys

import wandb

with wandb.init(project=sys.argv[1], id=sys.argv[2], resume="must") as run:
    for row in range(int(sys.argv[3])):
        run.log({"loss": row / 7, "grown": f"text {row}"})
print(json.dumps("done"))
