"""Makes a sweep and runs its agent, in a process of its own: agent.py PROJECT."""

from __future__ import annotations

import sys

import wandb
from train import train

SWEEP = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {
        "width": {"values": [4, 8, 16, 32]},
        "lr": {"values": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]},
    },
}

if __name__ == "__main__":
    project = sys.argv[1]
    wandb.agent(wandb.sweep(SWEEP, project=project), function=train, project=project)
