"""Sweeps and their agents: the object, and the search that hands out parameters."""

from __future__ import annotations

import itertools
import json
import math
import secrets
from typing import TYPE_CHECKING, Any

import yaml
from graphql import GraphQLError

from wbsync.sandbox.nodes import Node, Scope, by_key, marks
from wbsync.sandbox.runs import list_runs, run_connection
from wbsync.sandbox.store import global_id, load_json, now, parse_id

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

OVER = frozenset({"FINISHED", "CANCELED"})


def load_sweeps(scope: Scope, keys: Sequence[int]) -> list[SweepNode]:
    """Returns sweeps by their keys."""
    rows = scope.store.rows(f"SELECT * FROM sweeps WHERE pk IN ({marks(len(keys))})", *keys)  # noqa: S608
    return [SweepNode(scope, row) for row in by_key(rows, list(keys))]


class SweepNode(Node):
    """`Sweep`."""

    typename = "Sweep"
    __slots__ = ()

    @classmethod
    def load(cls, scope: Scope, pk: int | None) -> SweepNode | None:
        return None if pk is None else load_sweeps(scope, [pk])[0]

    def _config(self) -> dict[str, Any]:
        return yaml.safe_load(self.row["config"]) or {}

    def id(self) -> str:
        return global_id("Sweep", "v1", self.row["pk"])

    def method(self) -> str:
        return str(self._config().get("method", "random"))

    def bestLoss(self) -> float | None:
        metric = self._config().get("metric") or {}
        name, goal = metric.get("name"), metric.get("goal", "minimize")
        values = []
        for row in self.store.rows(
            "SELECT b.summary FROM runs r JOIN bodies b ON b.run_pk = r.pk WHERE r.sweep_pk = ?",
            self.row["pk"],
        ):
            value = load_json(row["summary"], {}).get(name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if is_number and math.isfinite(value):
                values.append(float(value))
        if not values:
            return None
        return max(values) if goal == "maximize" else min(values)

    def runCount(self) -> int:
        return int(self.store.value("SELECT count(*) FROM runs WHERE sweep_pk = ?", self.row["pk"]))

    def runCountExpected(self) -> int | None:
        config = self._config()
        if config.get("method") == "grid":
            total = len(grid(config.get("parameters") or {}))
            return min(total, config["run_cap"]) if config.get("run_cap") else total
        cap: int | None = config.get("run_cap")
        return cap

    def user(self) -> Any:
        from wbsync.sandbox.accounts import UserNode

        return UserNode.load(self.scope, self.row["user_pk"])

    def project(self) -> Any:
        from wbsync.sandbox.projects import ProjectNode

        return ProjectNode.load(self.scope, self.row["project_pk"])

    def runs(
        self, filters: str | None = None, order: str | None = None, **page: Any
    ) -> dict[str, Any]:
        both = json.dumps(
            {"$and": [{"sweep": self.row["name"]}, json.loads(filters) if filters else {}]}
        )
        keys = list_runs(self.scope, self.row["project_pk"], both, order)
        return run_connection(self.scope, keys, **page)

    def agents(self, **_page: Any) -> dict[str, Any]:
        rows = self.store.rows("SELECT * FROM agents WHERE sweep_pk = ?", self.row["pk"])
        return {"edges": [{"node": AgentNode(self.scope, row)} for row in rows]}

    def agent(self, agentName: str) -> AgentNode | None:
        row = self.store.row(
            "SELECT * FROM agents WHERE sweep_pk = ? AND name = ?", self.row["pk"], agentName
        )
        return None if row is None else AgentNode(self.scope, row)


class AgentNode(Node):
    """`Agent`."""

    typename = "Agent"
    __slots__ = ()

    def id(self) -> str:
        return global_id("Agent", self.row["pk"])

    def totalRuns(self) -> int:
        return 0 if self.row["run_name"] is None else 1

    def runs(self, **page: Any) -> dict[str, Any]:
        keys = [
            row[0]
            for row in self.store.rows(
                "SELECT pk FROM runs WHERE sweep_pk = ? AND name = ?",
                self.row["sweep_pk"], self.row["run_name"],
            )
        ]  # fmt: skip
        return run_connection(self.scope, keys, **page)


def upsert_sweep(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes or edits a sweep.

    Raises:
        GraphQLError: The config is no sweep's, or entity or sweep are not there.
    """
    store = scope.store
    if values.get("config") is not None:
        config = yaml.safe_load(values["config"])
        if not isinstance(config, dict) or not isinstance(config.get("parameters"), dict):
            raise GraphQLError("invalid sweep config: parameters are missing")
    with store.transaction():
        if values.get("id"):
            parts = parse_id(values["id"])
            pk = int(parts[-1]) if parts[:1] == ["Sweep"] else None
        else:
            entity = values.get("entityName") or scope.viewer["username"]
            entity_pk = store.value("SELECT pk FROM entities WHERE name = ?", entity)
            if entity_pk is None or not scope.may_see(entity_pk):
                raise GraphQLError(f"entity {entity} not found or permission denied")
            project_pk = store.ensure_project(
                entity, values.get("projectName") or "uncategorized", scope.viewer["pk"]
            )
            name = secrets.token_hex(4)
            pk = store.write(
                "INSERT INTO sweeps(project_pk, name, config, state, createdAt, updatedAt,"
                " heartbeatAt, user_pk) VALUES (?, ?, '{}', 'PENDING', ?, ?, ?, ?)",
                project_pk, name, now(), now(), now(), scope.viewer["pk"],
            )  # fmt: skip
        if pk is None or store.value("SELECT 1 FROM sweeps WHERE pk = ?", pk) is None:
            raise GraphQLError("sweep not found")
        for column in ("config", "description", "displayName", "state", "controller", "scheduler"):
            if values.get(column) is not None:
                store.write(
                    f"UPDATE sweeps SET {column} = ?, updatedAt = ? WHERE pk = ?",  # noqa: S608
                    values[column], now(), pk,
                )  # fmt: skip
    return {"sweep": load_sweeps(scope, [pk])[0], "configValidationWarnings": []}


def create_agent(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Makes an agent of a sweep.

    Raises:
        GraphQLError: There is no such sweep.
    """
    store = scope.store
    project_pk = store.project_pk(
        values.get("entityName") or scope.viewer["username"],
        values.get("projectName") or "uncategorized",
    )
    sweep_pk = store.value(
        "SELECT pk FROM sweeps WHERE project_pk = ? AND name = ?", project_pk, values["sweep"]
    )
    if sweep_pk is None:
        raise GraphQLError(f"sweep {values['sweep']} not found")
    pk = store.write(
        "INSERT INTO agents(sweep_pk, name, host, state, createdAt, heartbeatAt)"
        " VALUES (?, ?, ?, 'RUNNING', ?, ?)",
        sweep_pk, secrets.token_hex(4), values["host"], now(), now(),
    )  # fmt: skip
    row = store.row("SELECT * FROM agents WHERE pk = ?", pk)
    assert row is not None
    return {"agent": AgentNode(scope, row)}


def agent_heartbeat(scope: Scope, values: dict[str, Any]) -> dict[str, Any]:
    """Tells an agent what to do: run the next parameters, wait, or exit.

    Raises:
        GraphQLError: There is no such agent.
    """
    store = scope.store
    parts = parse_id(values["id"])
    agent = store.row(
        "SELECT * FROM agents WHERE pk = ?", parts[-1] if parts[:1] == ["Agent"] else None
    )
    if agent is None:
        raise GraphQLError("agent not found")
    with store.transaction():
        store.write("UPDATE agents SET heartbeatAt = ? WHERE pk = ?", now(), agent["pk"])
        sweep = store.row("SELECT * FROM sweeps WHERE pk = ?", agent["sweep_pk"])
        assert sweep is not None
        states = json.loads(values.get("runState") or "{}")
        commands = _commands(scope, sweep, agent["pk"], busy=bool(states))
    return {"agent": AgentNode(scope, agent), "commands": json.dumps(commands)}


def _commands(scope: Scope, sweep: Any, agent_pk: int, *, busy: bool) -> list[dict[str, Any]]:
    store = scope.store
    if sweep["state"] in OVER:
        return [] if busy else [{"type": "exit"}]
    if busy or sweep["state"] == "PAUSED":
        return []
    config = yaml.safe_load(sweep["config"]) or {}
    parameters = config.get("parameters") or {}
    started = sweep["started"]
    choices = grid(parameters) if config.get("method") == "grid" else None
    total = len(choices) if choices is not None else math.inf
    if started >= min(total, config.get("run_cap") or math.inf):
        store.write(
            "UPDATE sweeps SET state = 'FINISHED', updatedAt = ? WHERE pk = ?", now(), sweep["pk"]
        )
        return [{"type": "exit"}]
    args = choices[started] if choices is not None else draw(parameters, scope.options.rng)
    run_id = secrets.token_hex(4)
    store.write(
        "UPDATE sweeps SET state = 'RUNNING', started = started + 1, heartbeatAt = ?,"
        " updatedAt = ? WHERE pk = ?",
        now(), now(), sweep["pk"],
    )  # fmt: skip
    store.write("UPDATE agents SET run_name = ? WHERE pk = ?", run_id, agent_pk)
    return [
        {
            "type": "run",
            "run_id": run_id,
            "args": {name: {"value": value} for name, value in args.items()},
            "program": config.get("program"),
        }
    ]


def grid(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns every combination of a grid's values."""
    names = list(parameters)
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(_values(parameters[name]) for name in names))
    ]


def _values(spec: dict[str, Any]) -> list[Any]:
    if "parameters" in spec:
        return list(grid(spec["parameters"]))
    if "values" in spec:
        return list(spec["values"])
    if "value" in spec:
        return [spec["value"]]
    if isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int):
        return list(range(spec["min"], spec["max"] + 1))
    raise GraphQLError("a grid needs values, a value, or integer min and max")


def draw(parameters: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Returns parameters drawn at random from their distributions."""
    return {name: _drawn(spec, rng) for name, spec in parameters.items()}


def _drawn(spec: dict[str, Any], rng: random.Random) -> Any:
    if "parameters" in spec:
        return draw(spec["parameters"], rng)
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return rng.choices(spec["values"], spec.get("probabilities"))[0]
    kind = spec.get("distribution") or (
        "int_uniform" if isinstance(spec.get("min"), int) and isinstance(spec.get("max"), int)
        else "uniform"
    )  # fmt: skip
    low, high = spec.get("min", 0), spec.get("max", 1)
    base = kind.removeprefix("q_")
    if base == "int_uniform":
        return rng.randint(int(low), int(high))
    if base == "log_uniform_values":
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
    elif base == "log_uniform":
        value = math.exp(rng.uniform(low, high))
    elif base == "normal":
        value = rng.gauss(spec.get("mu", 0), spec.get("sigma", 1))
    else:
        value = rng.uniform(low, high)
    if kind.startswith("q_"):
        quantum = spec.get("q", 1)
        value = round(value / quantum) * quantum
    return value
