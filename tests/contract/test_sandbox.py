"""The sandbox is what the official SDK takes it for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from wbsync.sandbox.process import Sandbox

HERE = Path(__file__).resolve().parent


def test_the_sdk_does_its_work_against_it(tmp_path: Path) -> None:
    """Logging, resuming, artifacts, a sweep, an offline run, reading and editing all work."""
    with Sandbox(tmp_path / "data") as sandbox:
        done = subprocess.run(
            [sys.executable, str(HERE / "use_sdk.py")], check=False, cwd=tmp_path, timeout=280,
            env=sandbox.env(WANDB_DIR=str(tmp_path), WANDB_CACHE_DIR=str(tmp_path / "cache"),
                            WANDB_DATA_DIR=str(tmp_path)),
            capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "resumed_at": 21,
        "files": ["folder/a.txt", "folder/b.bin"],
        "filtered": [0.1, 0.2],
        "projects": ["sdk"],
        "edited": [["a", "edited"], "changed", {"lr": 5, "extra": {"deep": [1, 2]}}],
        "summary": [0.0, "kept", 19],
        "scan": 22,
        "history": 5,
        "logged": ["data:v0"],
        "used": ["data:v0"],
        "has_files": True,
        "sweep_runs": 3,
        "best": 0.1,
        "offline": ["finished", {"lr": 9}],
        "aliases": ["best", "latest"],
        "tags": ["gold", "two words"],
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A running sandbox with a user and a team made on its command line."""
    options = ["--add-user", "bob:bobs-key", "--add-team", "org/crew:bob"]
    with Sandbox(tmp_path_factory.mktemp("data"), options=options) as sandbox:
        yield sandbox


def ask(sandbox: Sandbox, key: str, query: str, **variables: Any) -> Any:
    """Returns the data of a GraphQL answer, or the status where it is none."""
    answer = httpx.post(
        f"{sandbox.base_url}/graphql", auth=("api", key),
        json={"query": query, "variables": variables},
    )  # fmt: skip
    return answer.json()["data"] if answer.status_code == 200 else answer.status_code


def admin(sandbox: Sandbox, kind: str, body: Any, key: str | None = None) -> httpx.Response:
    """Asks a running server to make something."""
    return httpx.post(
        f"{sandbox.base_url}/sandbox/{kind}", auth=("api", key or sandbox.api_key), json=body
    )


def test_accounts_are_made_on_the_running_server(server: Sandbox) -> None:
    """Users with keys of any form, organisations and teams; each call answers what it made."""
    carol = admin(server, "users", {"username": "carol"}).json()
    assert len(carol["api_key"]) >= 40
    assert ask(server, carol["api_key"], "{viewer{username}}") == {"viewer": {"username": "carol"}}
    again = admin(server, "users", {"username": "carol"}).json()
    assert again["api_key"] == carol["api_key"]
    named = admin(server, "users", {"username": "dan", "api_key": "-any form-"}).json()
    assert ask(server, "-any form-", "{viewer{username}}")["viewer"]["username"] == "dan"
    assert named["api_key"] == "-any form-"
    made = admin(server, "organizations", {"name": "lab", "members": ["carol", "dan"]}).json()
    assert made["members"] == ["carol", "dan"]
    team = {"name": "vision", "organization": "lab", "members": ["carol"]}
    assert admin(server, "teams", team).json() == team
    entity = "query($n: String!){entity(name: $n){isTeam members{username}}}"
    assert ask(server, carol["api_key"], entity, n="vision")["entity"] == {
        "isTeam": True, "members": [{"username": "carol"}],
    }  # fmt: skip
    assert ask(server, "-any form-", entity, n="vision")["entity"] is None
    assert ask(server, "bobs-key", entity, n="crew")["entity"]["isTeam"] is True


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("users", {"username": "eve", "api_key": "bobs-key"}, 400),
        ("users", {"username": "../x"}, 400),
        ("users", {"username": 5}, 400),
        ("users", {}, 400),
        ("users", [], 400),
        ("teams", {"name": "t", "members": "bob"}, 400),
        ("teams", {"name": "t", "members": ["nobody"]}, 400),
        ("teams", {"name": "bob"}, 400),
        ("planets", {}, 404),
    ],
)
def test_what_cannot_be_made_is_refused(
    server: Sandbox, kind: str, body: Any, status: int
) -> None:
    """Bad requests get a status and a reason, and change nothing."""
    answer = admin(server, kind, body)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["message"]
    assert ask(server, "bobs-key", "{viewer{username}}")["viewer"]["username"] == "bob"


def test_keys_open_what_they_may(server: Sandbox) -> None:
    """A wrong key gets 401, one that is no administrator's makes no accounts."""
    assert ask(server, "wrong", "{viewer{username}}") == 401
    assert admin(server, "users", {"username": "x"}, key="bobs-key").status_code == 403
    assert admin(server, "users", {"username": "x"}, key="wrong").status_code == 401


def test_answers_do_not_wait_for_an_acknowledgement(server: Sandbox) -> None:
    """On a connection that is kept, answers come at once: 40 ms each would rule every test."""
    seconds = []
    with httpx.Client(auth=("api", server.api_key)) as client:
        for _ in range(41):
            begun = time.perf_counter()
            client.post(f"{server.base_url}/graphql", json={"query": "{viewer{id}}"})
            seconds.append(time.perf_counter() - begun)
    assert sorted(seconds)[20] < 0.035


def test_what_the_schema_lacks_is_an_error(server: Sandbox) -> None:
    """An unknown field, argument or type is refused as W&B refuses it."""
    for query, reason in (
        ("{viewer{nonsense}}", 'Cannot query field "nonsense" on type "User"'),
        ("{viewer(x: 1){id}}", 'Unknown argument "x" on field "Query.viewer"'),
        ("query($a: Nonsense){entity(name: $a){id}}", 'Unknown type "Nonsense"'),
    ):
        answer = httpx.post(
            f"{server.base_url}/graphql", auth=("api", server.api_key), json={"query": query}
        )
        assert answer.status_code == 400
        said = " ".join(error["message"] for error in answer.json()["errors"]).replace("'", '"')
        assert reason in said


def test_what_serve_prints_is_enough_to_use_it(tmp_path: Path) -> None:
    """`serve --json` tells the key that it made, as its text does: nobody else knows it."""
    command = [sys.executable, "-m", "wbsync", "sandbox", "serve", "--data", str(tmp_path / "data"),
               "--port", "0", "--json", "--until-stdin-closes"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        answer = httpx.post(
            f"{facts['base_url']}/graphql", auth=("api", facts["api_key"]),
            json={"query": "{ viewer { username } }"},
        )  # fmt: skip
        process.stdin.close()
    assert answer.json()["data"]["viewer"]["username"] == facts["entity"]
