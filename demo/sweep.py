"""Makes the sweep, and prints its id: sweep.py PROJECT."""

from __future__ import annotations

import sys

import wandb

SWEEP = {
    "method": "grid",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {
        "width": {"values": [4, 8, 16, 32]},
        "lr": {"values": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0]},
    },
}

if __name__ == "__main__":
    sys.stdout.write(f"{wandb.sweep(SWEEP, project=sys.argv[1])}\n")
