"""Every query on what a sync of a seeded project leaves, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import wbsync
from wbsync.query.named import shipped_queries
from wbsync.sandbox.process import Sandbox
from wbsync.sandbox.seed import Plan, seed_project
from wbsync.sandbox.store import Store

P = {"project": "sandbox/main"}
LOSS = {**P, "metric": "loss"}

GIVEN: dict[str, tuple[int, dict[str, Any]]] = {
    "activity": (1, P), "artifact_runs": (3, {"artifact": "seeded", "direction": "any"}),
    "artifact_storage": (1, P), "best_runs": (8, LOSS), "compare_configs": (150, P),
    "compare_runs": (5, P), "config_drift": (
        2, {**P, "first": datetime.now(UTC) - timedelta(11), "second": datetime.now(UTC)},
    ),
    "curves": (50, {**LOSS, "points": 20}), "divergence": (0, {**P, "metric": "val/loss"}),
    "duplicate_configs": (0, P), "failures": (2, P), "gpu_hours": (1, {**P, "by": "project"}),
    "idle_gpus": (0, P), "leaderboard": (20, LOSS),
    "lineage": (2, {"artifact": "seeded:latest"}), "non_finite": (40, P),
    "overfit_gap": (40, {**P, "train": "loss", "validation": "train acc"}),
    "parameter_effect": (5, {**LOSS, "parameter": "model.name"}),
    "parameter_importance": (3, LOSS), "plateaus": (0, {**LOSS, "share": 0.01}),
    "seed_spread": (0, LOSS), "stale_artifacts": (1, {"now": "2126-01-01"}),
    "throughput": (1, P), "time_to_target": (40, {**LOSS, "target": 0.5}),
    "zombies": (2, {"now": "2126-01-01"}),
}  # fmt: skip
"""Query to the fewest rows it must give, and what it is told."""


@pytest.fixture(scope="module")
def seeded(asking: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Asks about a seeded project that was synced."""
    folder = tmp_path_factory.mktemp("seeded")
    with Sandbox(folder / "data") as sandbox, pytest.MonkeyPatch.context() as patch:
        store = Store(folder / "data")
        seed_project(store, Plan("sandbox", "main", runs=50, steps=120, keys=5, artifacts=3))
        store.close()
        patch.setenv("WANDB_BASE_URL", sandbox.base_url)
        patch.setenv("WANDB_API_KEY", sandbox.api_key)
        with wbsync.open(folder / "w") as warehouse:
            warehouse.sync("sandbox/main")
            rows = warehouse.sql("SELECT run_id FROM runs ORDER BY created_at LIMIT 2").fetchall()
    with asking(folder / "w") as ask:
        yield ask, [run_id for (run_id,) in rows]


def test_all_are_asked() -> None:
    """No query ships that is not run on seeded data."""
    assert set(GIVEN) == set(shipped_queries())


@pytest.mark.parametrize("name", sorted(GIVEN))
def test_a_query_on_seeded_data(seeded: Any, name: str) -> None:
    """Both engines give the same rows, and enough of them."""
    ask, runs = seeded
    least, values = GIVEN[name]
    if name == "compare_runs":
        values = {**values, "a": runs[0], "b": runs[1]}
    found = ask(name, **values)
    assert len(found) >= least
