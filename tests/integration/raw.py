"""Speaks to a sandbox as the SDK does, where the SDK itself would not say what a test needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wbsync.sandbox.process import Sandbox


class Raw:
    """A bare client of a sandbox; `project` is one of the user sandbox."""

    def __init__(self, sandbox: Sandbox, project: str = "main") -> None:
        self._client = httpx.Client(
            base_url=sandbox.base_url, auth=("api", sandbox.api_key), timeout=30
        )
        self.project = project
        self._ahead_s = 0.0

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """Returns the data of a GraphQL answer without errors."""
        answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        body = answer.json()
        assert "errors" not in body, body
        return dict(body["data"])

    def mutate(self, field: str, selection: str, **values: Any) -> dict[str, Any]:
        """Calls a mutation, `field(input:)`; returns its payload."""
        kind = field[0].upper() + field[1:] + "Input"
        query = f"mutation ($input: {kind}!) {{ {field}(input: $input) {{ {selection} }} }}"
        return dict(self.ask(query, input=values)[field])

    def start_run(self, run: str, **values: Any) -> str:
        """Makes a run, or edits one; returns its storage id."""
        where = {"entityName": "sandbox", "modelName": self.project, "name": run}
        payload = self.mutate("upsertBucket", "bucket { id }", **where, **values)
        return str(payload["bucket"]["id"])

    def stream(self, run: str, offset: int = 0, lines: Sequence[str] = (), **more: Any) -> None:
        """Sends lines of console output, from a line number on, as the SDK's process does.

        A process speaks seconds after it spoke last, and W&B's times are whole seconds: the
        server's clock goes on with each call.
        """
        self._ahead_s += 1
        clock = {"ahead_s": self._ahead_s}
        self._client.post("/sandbox/clock", json=clock).raise_for_status()
        files = {"output.log": {"offset": offset, "content": [*lines]}} if lines else {}
        path = f"/files/sandbox/{self.project}/{run}/file_stream"
        self._client.post(path, json={"files": files, **more}).raise_for_status()

    def upload(self, run: str, *names: str) -> None:
        """Uploads files of a run, whatever their names are; each holds its name."""
        where = {"entityName": "sandbox", "projectName": self.project, "runName": run}
        made = self.mutate("createRunFiles", "files { name uploadUrl }", files=names, **where)
        for file in made["files"]:
            httpx.put(file["uploadUrl"], content=file["name"].encode()).raise_for_status()

    def files(self, run: str) -> dict[str, str]:
        """Returns name to id of a run's files."""
        query = """query ($project: String!, $run: String!) {
          project(name: $project, entityName: "sandbox") {
            run(name: $run) { files(first: 1000) { edges { node { id name } } } } } }"""
        found = self.ask(query, project=self.project, run=run)["project"]["run"]["files"]["edges"]
        return {edge["node"]["name"]: edge["node"]["id"] for edge in found}

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()
