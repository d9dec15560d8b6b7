"""Runs an agent of a sweep, in a process of its own: agent.py PROJECT SWEEP."""

from __future__ import annotations

import sys

import wandb
from train import train

if __name__ == "__main__":
    wandb.agent(sys.argv[2], function=train, project=sys.argv[1])
