"""Trains one small network as a run of a sweep, and logs it with the real wandb SDK."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import wandb

EPOCHS = 40


def make_data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (n x 2, float64) of two spirals and the spiral of each (0 or 1)."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0.3, 3 * np.pi, 200)
    arms = [np.c_[turn * np.cos(turn + a), turn * np.sin(turn + a)] / 10 for a in (0.0, np.pi)]
    points = np.concatenate(arms) + rng.normal(0, 0.02, (400, 2))
    return points, np.repeat([0, 1], 200)


def train() -> None:
    """Trains a network with one hidden layer; its settings are the sweep's."""
    points, labels = make_data()
    with wandb.init(tags=["demo"]) as run:
        width, rate = int(run.config["width"]), float(run.config["lr"])
        rng = np.random.default_rng(width)
        first = rng.normal(0, 2, (2, width))
        shift = rng.normal(0, 1, width)
        second = rng.normal(0, 1 / np.sqrt(width), width)
        bias = 0.0
        for _ in range(EPOCHS):
            for _ in range(10):
                hidden = np.tanh(points @ first + shift)
                guess = 1 / (1 + np.exp(-np.clip(hidden @ second + bias, -30, 30)))
                error = guess - labels
                back = error[:, None] * second * (1 - hidden**2)
                second -= rate * hidden.T @ error / len(labels) * 10
                bias -= rate * float(error.mean()) * 10
                first -= rate * points.T @ back / len(labels) * 10
                shift -= rate * back.mean(axis=0) * 10
            safe = np.clip(guess, 1e-9, 1 - 1e-9)
            loss = -np.mean(labels * np.log(safe) + (1 - labels) * np.log(1 - safe))
            run.log({"loss": float(loss), "accuracy": float(((guess > 0.5) == labels).mean())})
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            np.savez(path, first=first, shift=shift, second=second)
            model = wandb.Artifact("spiral-net", type="model", metadata={"width": width})
            model.add_file(str(path))
            run.log_artifact(model)
            model.wait()
