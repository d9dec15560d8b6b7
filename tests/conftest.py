"""What tests of several kinds share: a hand on a sandbox, with no code of wbsync's own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wbsync.sandbox.process import Sandbox

RUN_FIELDS = """
    id name displayName state tags notes group jobType sweepName config summaryMetrics createdAt
    heartbeatAt historyLineCount eventsLineCount history(samples: 1000000)
    events(samples: 1000000)
"""


@dataclass
class Account:
    """Acts on a server as the web page and the SDK do, and reads back what it holds."""

    sandbox: Sandbox
    entity: str
    ahead_s: float = 0.0
    """How far the server's clock is ahead."""
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(
            base_url=self.sandbox.base_url, auth=("api", self.sandbox.api_key), timeout=60
        )

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def ask(self, query: str, **variables: Any) -> Any:
        """Returns the data of a GraphQL request."""
        answer = self._http.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def change(self, mutation: str, kind: str, selection: str, **values: Any) -> Any:
        """Returns what a mutation with an input of some type answers."""
        return self.ask(
            f"mutation M($input: {kind}!) {{ {mutation}(input: $input) {{ {selection} }} }}",
            input=values,
        )[mutation]

    def admin(self, kind: str, **values: Any) -> Any:
        """Makes happen what W&B does by itself."""
        answer = self._http.post(f"/sandbox/{kind}", json=values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def pass_time(self, seconds: float) -> None:
        """Turns the server's clock on."""
        self.ahead_s += seconds
        self.admin("clock", ahead_s=self.ahead_s)

    # Runs

    def upsert(self, project: str, run: str, **values: Any) -> dict[str, Any]:
        """Makes a run, or lets its process speak again."""
        values = {
            "modelName": project, "entityName": self.entity, "name": run, **_encoded(values)
        }  # fmt: skip
        made = self.change(
            "upsertBucket", "UpsertBucketInput",
            "inserted bucket { id historyLineCount eventsLineCount }", **values,
        )  # fmt: skip
        return made["bucket"] | {"inserted": made["inserted"]}

    def edit(self, project: str, run: str, **values: Any) -> None:
        """Edits a run, as the web page does: by its storage id, no process speaking."""
        run_id = self.run(project, run, "id")["id"]
        self.change("upsertBucket", "UpsertBucketInput", "inserted", id=run_id, **_encoded(values))

    def run(self, project: str, run: str, selection: str = RUN_FIELDS) -> Any:
        """Returns fields of a run."""
        data = self.ask(
            "query R($e: String!, $p: String!, $r: String!) { project(name: $p, entityName: $e) {"
            f" run(name: $r) {{ {selection} }} }} }}",
            e=self.entity, p=project, r=run,
        )  # fmt: skip
        return data["project"]["run"]

    def log(
        self,
        project: str,
        run: str,
        rows: list[dict[str, Any]],
        *,
        stream: str = "history",
        done: bool = False,
        exitcode: int = 0,
    ) -> None:
        """Sends rows as a run's process does, and its end where it is done."""
        column = {"history": "historyLineCount", "events": "eventsLineCount"}[stream]
        offset = self.run(project, run, column)[column] or 0
        body: dict[str, Any] = {"files": {}}
        if rows:
            body["files"][f"wandb-{stream}.jsonl"] = {
                "offset": offset, "content": [json.dumps(row) for row in rows],
            }  # fmt: skip
        if rows and stream == "history":
            merged: dict[str, Any] = json.loads(
                self.run(project, run, "summaryMetrics")["summaryMetrics"] or "{}"
            )
            for row in rows:
                merged |= row
            body["files"]["wandb-summary.json"] = {"offset": 0, "content": [json.dumps(merged)]}
        if done:
            body |= {"complete": True, "exitcode": exitcode}
        answer = self._http.post(f"/files/{self.entity}/{project}/{run}/file_stream", json=body)
        assert answer.status_code == 200, answer.text

    def rewind(self, project: str, run: str, step: int) -> None:
        """Cuts a run's history after a step."""
        self.change(
            "rewindRun", "RewindRunInput", "rewoundRun { id }", runName=run,
            entityName=self.entity, projectName=project, metricName="_step",
            metricValue=float(step),
        )  # fmt: skip

    def delete_run(self, project: str, run: str) -> None:
        """Deletes a run."""
        self.change(
            "deleteRun", "DeleteRunInput", "clientMutationId",
            id=self.run(project, run, "id")["id"],
        )  # fmt: skip

    def move_run(self, project: str, run: str, to: str) -> None:
        """Moves a run to another project."""
        self.admin("moves", entity=self.entity, project=project, run=run, to=to)

    # Projects and sweeps

    def projects(self) -> dict[str, str]:
        """Returns the entity's projects: name to id."""
        data = self.ask(
            "query P($e: String!) { models(entityName: $e, first: 1000) {"
            " edges { node { id name } } } }",
            e=self.entity,
        )
        return {e["node"]["name"]: e["node"]["id"] for e in data["models"]["edges"]}

    def rename_project(self, old: str, new: str) -> None:
        """Renames a project."""
        self.change(
            "renameProject", "RenameProjectInput", "inserted", entityName=self.entity,
            oldProjectName=old, newProjectName=new,
        )  # fmt: skip

    def delete_project(self, project: str) -> None:
        """Deletes a project."""
        self.change("deleteModel", "DeleteModelInput", "success", id=self.projects()[project])

    def make_sweep(self, project: str) -> str:
        """Makes a sweep that minimises loss; returns its name."""
        config = "method: random\nmetric: {name: loss, goal: minimize}\nparameters: {lr: {min: 0}}"
        made = self.change(
            "upsertSweep", "UpsertSweepInput", "sweep { name }", entityName=self.entity,
            projectName=project, config=config,
        )  # fmt: skip
        return str(made["sweep"]["name"])

    def edit_sweep(self, project: str, sweep: str, **values: Any) -> None:
        """Edits a sweep, for example its state."""
        data = self.ask(
            "query S($e: String!, $p: String!, $s: String!) { project(name: $p, entityName: $e) {"
            " sweep(sweepName: $s) { id } } }",
            e=self.entity, p=project, s=sweep,
        )  # fmt: skip
        self.change(
            "upsertSweep", "UpsertSweepInput", "sweep { name }",
            id=data["project"]["sweep"]["id"], **values,
        )  # fmt: skip

    # Artifacts

    def make_version(self, project: str, collection: str, digest: str, **values: Any) -> str:
        """Logs a version of a dataset without files; returns its id."""
        made = self.change(
            "createArtifact", "CreateArtifactInput", "artifact { id }", entityName=self.entity,
            projectName=project, artifactTypeName="dataset", artifactCollectionName=collection,
            digest=digest, **values,
        )  # fmt: skip
        artifact_id = made["artifact"]["id"]
        manifest = self.change(
            "createArtifactManifest", "CreateArtifactManifestInput",
            "artifactManifest { file { uploadUrl uploadHeaders } }", artifactID=artifact_id,
            name="wandb_manifest.json", digest=digest, entityName=self.entity,
            projectName=project,
        )["artifactManifest"]["file"]  # fmt: skip
        headers = dict(line.split(":", 1) for line in manifest["uploadHeaders"] or ())
        content = {"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": {}}
        httpx.put(manifest["uploadUrl"], json=content, headers=headers).raise_for_status()
        self.change("commitArtifact", "CommitArtifactInput", "artifact { id }",
                    artifactID=artifact_id)  # fmt: skip
        return str(artifact_id)

    def alias(self, project: str, collection: str, artifact_id: str, alias: str) -> None:
        """Gives a version an alias, which may be another one's."""
        place = {
            "entityName": self.entity, "projectName": project,
            "artifactCollectionName": collection, "alias": alias,
        }  # fmt: skip
        self.change("addAliases", "AddAliasesInput", "success", artifactID=artifact_id,
                    aliases=[place])  # fmt: skip

    def edit_version(self, artifact_id: str, **values: Any) -> None:
        """Edits a version's description, metadata or tags."""
        self.change("updateArtifact", "UpdateArtifactInput", "artifact { id }",
                    artifactID=artifact_id, **values)  # fmt: skip

    def delete_version(self, artifact_id: str) -> None:
        """Deletes a version with its aliases."""
        self.change("deleteArtifact", "DeleteArtifactInput", "artifact { id }",
                    artifactID=artifact_id, deleteAliases=True)  # fmt: skip

    def edit_collection(self, project: str, collection: str, **values: Any) -> None:
        """Edits a collection's name or description."""
        self.change(
            "updateArtifactSequence", "UpdateArtifactSequenceInput", "artifactCollection { id }",
            artifactSequenceID=self.collections(project)[collection]["id"], **values,
        )  # fmt: skip

    def tag_collection(self, project: str, collection: str, tag: str) -> None:
        """Tags a collection."""
        self.change(
            "createArtifactCollectionTagAssignments",
            "CreateArtifactCollectionTagAssignmentsInput", "tags { name }",
            entityName=self.entity, projectName=project, artifactCollectionName=collection,
            tags=[{"tagName": tag}],
        )  # fmt: skip

    def delete_collection(self, project: str, collection: str) -> None:
        """Deletes a collection with its versions."""
        self.change(
            "deleteArtifactSequence", "DeleteArtifactSequenceInput", "artifactCollection { id }",
            artifactSequenceID=self.collections(project)[collection]["id"],
        )  # fmt: skip

    def collections(self, project: str) -> dict[str, dict[str, Any]]:
        """Returns the collections of a project with all their versions."""
        collections = self._nodes(
            project, "artifactCollections", "id name description tags { edges { node { name } } }"
        )
        for node in collections:
            node["artifacts"] = self._nodes(
                project,
                "artifacts",
                "id versionIndex description metadata tags { name } aliases { alias }",
                within=("artifactType", "dataset", "artifactCollection", node["name"]),
            )
        return {node["name"]: node for node in collections}

    def _nodes(
        self, project: str, connection: str, selection: str, within: tuple[str, ...] = ()
    ) -> list[dict[str, Any]]:
        """Returns all nodes of a connection of a project, or of what is named within it."""
        names = dict(zip(within[::2], within[1::2], strict=True))
        opening = " ".join(f"{field}(name: $n{i}) {{" for i, field in enumerate(names))
        declared = "".join(f", $n{i}: String!" for i in range(len(names)))
        query = (
            f"query N($e: String!, $p: String!, $c: String{declared}) {{"
            f" project(name: $p, entityName: $e) {{ {opening} {connection}(first: 20, after: $c) {{"
            f" edges {{ cursor node {{ {selection} }} }} pageInfo {{ hasNextPage }} }} }} }}"
            f"{' }' * len(names)}"
        )
        nodes: list[dict[str, Any]] = []
        cursor = None
        while True:
            place = self.ask(
                query, e=self.entity, p=project, c=cursor,
                **{f"n{i}": name for i, name in enumerate(names.values())},
            )["project"]  # fmt: skip
            for name in names:
                place = place[name]
            page = place[connection]
            nodes += [edge["node"] for edge in page["edges"]]
            if not page["pageInfo"]["hasNextPage"]:
                return nodes
            cursor = page["edges"][-1]["cursor"]

    # What the server holds, in the form in which a warehouse is compared with it

    def content(self) -> dict[str, Any]:
        """Returns all that the entity's projects hold."""
        found: dict[str, Any] = {
            name: {} for name in ("projects", "runs", "history", "events", "sweeps", "versions")
        }
        found |= {"collections": {}, "aliases": {}}
        for project in self.projects():
            found["projects"][project] = True
            for run in self._nodes(project, "runs", RUN_FIELDS):
                key = (project, run["name"])
                found["runs"][key] = run_facts(run)
                found["history"][key] = history_cells(run["history"])
                found["events"][key] = event_cells(run["events"])
            for sweep in self._nodes(project, "sweeps", "name state bestLoss"):
                found["sweeps"][project, sweep["name"]] = (sweep["state"], sweep["bestLoss"])
            for name, node in self.collections(project).items():
                tags = sorted(edge["node"]["name"] for edge in node["tags"]["edges"])
                found["collections"][project, name] = (node["description"], tags)
                for version in node["artifacts"]:
                    found["versions"][version["id"]] = (
                        project, name, version["versionIndex"], version["description"],
                        version["metadata"], sorted(tag["name"] for tag in version["tags"]),
                    )  # fmt: skip
                    for alias in version["aliases"]:
                        found["aliases"][project, name, alias["alias"]] = version["id"]
        return found


def _encoded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: json.dumps(value) if key in {"config", "summaryMetrics"} else value
        for key, value in values.items()
    }


def run_facts(run: dict[str, Any]) -> dict[str, Any]:
    """Returns what is compared of a run."""
    config = {
        key: value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in json.loads(run["config"] or "{}").items()
        if key != "_wandb"
    }
    facts = {
        "display_name": run["displayName"], "state": run["state"], "tags": run["tags"],
        "notes": run["notes"], "group_name": run["group"], "job_type": run["jobType"],
        "sweep_id": run["sweepName"], "storage_id": run["id"],
        "history_line_count": run["historyLineCount"],
    }  # fmt: skip
    return facts | {
        "config": leaves(config), "summary": leaves(json.loads(run["summaryMetrics"] or "{}"))
    }  # fmt: skip


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Returns dotted key to leaf, in the form in which both sides are compared."""
    if isinstance(value, dict) and value and "_type" not in value:
        out: dict[str, Any] = {}
        for key, inner in value.items():
            out |= leaves(inner, f"{prefix}.{key}" if prefix else key)
        return out
    return {prefix: settled(value)} if prefix else {}


def settled(value: Any) -> Any:
    """Returns a leaf in the form in which both sides are compared."""
    if isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}:
        value = float(value.lower().replace("infinity", "inf"))
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    return value


def history_cells(rows: list[str]) -> dict[tuple[Any, ...], Any]:
    """Returns (key, step, row) to value of logged rows."""
    parsed = [json.loads(row) for row in rows]
    parsed.sort(key=lambda row: (row.get("_step", -1), row["_timestamp"]))
    cells = {}
    counts: dict[int | None, int] = {}
    for row in parsed:
        step = row.pop("_step", None)
        ordinal = counts.get(step, 0)
        counts[step] = ordinal + 1
        for key, value in leaves(row).items():
            cells[key, step, ordinal] = value
    return cells


def event_cells(rows: list[str]) -> dict[tuple[Any, ...], Any]:
    """Returns (key, ordinal) to value of rows of system metrics."""
    return {
        (key, ordinal): settled(value)
        for ordinal, row in enumerate(map(json.loads, rows))
        for key, value in row.items()
        if not key.startswith("_")
    }


def held_content(warehouse: Any, entity: str) -> dict[str, Any]:
    """Returns what a warehouse's plain tables hold of an entity, in the form of Account.content."""

    def rows(table: str, columns: str = "*") -> list[dict[str, Any]]:
        found = warehouse.sql(f"SELECT {columns} FROM {table} WHERE entity = ?", [entity])
        return found.arrow().to_pylist()

    def leaf(row: dict[str, Any]) -> Any:
        return settled(row["value"] if row["json"] is None else json.loads(row["json"]))

    found: dict[str, Any] = {
        "projects": {r["project"]: True for r in rows("projects")},
        "runs": {}, "history": {}, "events": {},
        "sweeps": {
            (r["project"], r["sweep_id"]): (r["state"], r["best_loss"]) for r in rows("sweeps")
        },
        "collections": {
            (r["project"], r["collection"]): (r["description"], json.loads(r["tags"]))
            for r in rows("artifact_collections")
        },
        "versions": {
            r["artifact_id"]: (
                r["project"], r["collection"], r["version_index"], r["description"],
                r["metadata"], json.loads(r["tags"]),
            )
            for r in rows("artifacts")
        },
        "aliases": {
            (r["project"], r["collection"], r["alias"]): r["artifact_id"]
            for r in rows("artifact_aliases")
        },
    }  # fmt: skip
    for row in rows("runs"):
        key = (row["project"], row["run_id"])
        found["runs"][key] = {
            name: row[name]
            for name in (
                "display_name", "state", "notes", "group_name", "job_type", "sweep_id",
                "storage_id", "history_line_count",
            )
        } | {"tags": json.loads(row["tags"]), "config": {}, "summary": {}}  # fmt: skip
        found["history"][key], found["events"][key] = {}, {}
    for table, name in (("run_config", "config"), ("run_summary", "summary")):
        for row in rows(table):
            found["runs"][row["project"], row["run_id"]][name][row["key"]] = leaf(row)
    for table, name in (("history", "history"), ("system_metrics", "events")):
        for row in rows(table):
            place = (row["key"], row["step"], row["row"])[: 3 if name == "history" else 2]
            cells = found[name][row["project"], row["run_id"]]
            assert place not in cells, f"{row} is held twice"
            cells[place] = leaf(row)
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the long tests first, so that the workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(scope="session")
def held_content_of() -> Callable[[Any, str], dict[str, Any]]:
    """Returns what a warehouse's plain tables hold of an entity."""
    return held_content


@pytest.fixture(scope="session")
def account_of() -> Iterator[Callable[[Sandbox, str], Account]]:
    """Makes hands on sandboxes, which are closed in the end."""
    made = []

    def make(sandbox: Sandbox, entity: str = "sandbox") -> Account:
        made.append(Account(sandbox, entity))
        return made[-1]

    yield make
    for account in made:
        account.close()
