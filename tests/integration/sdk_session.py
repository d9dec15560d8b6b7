"""Runs Python given line by line with the real wandb SDK, in one process: JSON in, JSON out.

A line is `{"do": "..."}`; what the code leaves in `result` comes back, or its `error`.
"""

from __future__ import annotations

import json
import sys
import traceback

import wandb

answers, sys.stdout = sys.stdout, sys.stderr
names = {"wandb": wandb, "api": wandb.Api()}
for line in sys.stdin:
    names["result"] = None
    try:
        exec(json.loads(line)["do"], names)
        answer = {"result": names["result"]}
    except Exception:  # noqa: BLE001
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), file=answers, flush=True)
