"""From nothing to answers: train on the embedded sandbox, sync, ask.

Starts a W&B-compatible server, trains 24 small networks as a sweep with the official SDK, syncs
them into demo/warehouse, and shows what can be asked. The warehouse stays.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import wbsync
from wbsync.sandbox.process import DEFAULT_USER, Sandbox

HERE = Path(__file__).resolve().parent
WAREHOUSE = HERE / "warehouse"
PROJECT = "spirals"
AGENTS = 4
LEVELS = "▁▂▃▄▅▆▇█"

LEADERBOARD = """
SELECT r.display_name AS run, w.value::INT AS width, l.value AS lr, s.value AS loss
FROM runs r
JOIN run_config w ON w.run_id = r.run_id AND w.key = 'width'
JOIN run_config l ON l.run_id = r.run_id AND l.key = 'lr'
JOIN run_summary s ON s.run_id = r.run_id AND s.key = 'loss'
ORDER BY loss LIMIT 5
"""

EFFECT = """
SELECT l.value AS lr, count(*) AS runs, avg(s.value) AS mean_loss, min(s.value) AS best_loss
FROM run_config l JOIN run_summary s ON s.run_id = l.run_id AND s.key = 'loss'
WHERE l.key = 'lr' GROUP BY 1 ORDER BY 1
"""

BEST_CURVE = """
SELECT h.value FROM history h
WHERE h.key = 'loss' AND h.run_id = (
  SELECT run_id FROM run_summary WHERE key = 'loss' ORDER BY value LIMIT 1)
ORDER BY step
"""


def say(text: str = "") -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_step(command: list[str], env: dict[str, str]) -> None:
    """Runs a command and shows it."""
    say(f"\n$ {' '.join(command)}")
    subprocess.run([sys.executable, "-m", *command], check=True, env=env, cwd=HERE.parent)


def draw(values: list[float]) -> str:
    """Returns a curve as one line of blocks."""
    low, high = min(values), max(values)
    scale = (len(LEVELS) - 1) / (high - low or 1)
    return "".join(LEVELS[round((v - low) * scale)] for v in values)


def main() -> None:
    """Runs the demo."""
    started = time.monotonic()
    shutil.rmtree(WAREHOUSE, ignore_errors=True)
    with Sandbox() as sandbox:
        env = sandbox.env(WANDB_DIR=str(sandbox.data))
        say(f"A W&B-compatible server runs at {sandbox.base_url}; 24 networks are trained on it …")
        made = subprocess.run(
            [sys.executable, "sweep.py", PROJECT], check=True, env=env, cwd=HERE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        command = [sys.executable, "agent.py", PROJECT, made.stdout.split()[-1]]
        agents = [
            subprocess.Popen(command, env=env, cwd=HERE, stdout=subprocess.DEVNULL)
            for _ in range(AGENTS)
        ]
        if any(agent.wait() for agent in agents):
            sys.exit("an agent failed")
        say(f"trained in {time.monotonic() - started:.0f} s")
        sync = ["wbsync", "-w", "demo/warehouse", "sync", f"{DEFAULT_USER}/{PROJECT}"]
        run_step(sync, env)
        with wbsync.open(WAREHOUSE) as warehouse:
            say("\nLeaderboard:")
            say(str(warehouse.sql(LEADERBOARD)))
            say("\nWhat the learning rate does:")
            say(str(warehouse.sql(EFFECT)))
            curve: list[Any] = [row[0] for row in warehouse.sql(BEST_CURVE).fetchall()]
            say(f"\nLoss of the best run, {curve[0]:.3f} to {curve[-1]:.3f}:\n{draw(curve)}")
        before = len(sandbox.requests())
        say("\nOnce more; nothing has changed, so no history is asked for:")
        run_step(sync, env)
        asked = [r.get("operation") for r in sandbox.requests()[before:]]
        say(f"requests: {', '.join(map(str, asked))}")
    say(f"\nDone in {time.monotonic() - started:.0f} s. The warehouse stays; try:")
    say("  .venv/bin/wbsync -w demo/warehouse tables")
    say('  .venv/bin/wbsync -w demo/warehouse sql "FROM runs SELECT display_name, state, summary"')
    say("  or open demo/warehouse/warehouse.duckdb in any DuckDB tool")


if __name__ == "__main__":
    main()
