"""wbsync.Api says what wandb.Api says, without the server."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import rlcompleter
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.errors import NotHeldError, QueryError, ReadOnlyError
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
ACCOUNTS = [
    "--add-user", "bob:" + "b" * 40, "--add-organization", "acme:sandbox",
    "--add-team", "acme/crew:sandbox,bob",
]  # fmt: skip


def load(name: str) -> Any:
    """Returns a module beside this file, which wandb's side imports as well."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


object_facts, filter_pairs, guide_scripts = map(
    load, ("object_facts", "filter_pairs", "guide_scripts")
)


@dataclass
class Zoo:
    """A warehouse of a project of great variety, and what wandb.Api() says of that."""

    sandbox: Sandbox
    root: Path
    said: dict[str, Any]

    def api(self, **options: Any) -> Any:
        """Returns an Api on the warehouse."""
        overrides = {"entity": "crew", "base_url": self.sandbox.base_url}
        return wbsync.Api(overrides, warehouse=self.root, **options)


def set_times_apart(data: Path) -> None:
    """Gives all things creation times a minute apart: what W&B does with ties is not known."""
    with sqlite3.connect(data / "sandbox.sqlite", timeout=30) as store:
        for table in ("runs", "artifacts", "collections", "sweeps", "views"):
            store.execute(
                f"UPDATE {table} SET createdAt ="
                " strftime('%Y-%m-%dT%H:%M:%SZ', '2026-01-01', '+' || pk || ' minutes')"
            )
    store.close()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, run_script: Callable[..., Any]) -> Iterator[Zoo]:
    """A project that the SDK logged, synced once and read back by the SDK."""
    data, work = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("work")
    root = tmp_path_factory.mktemp("warehouse") / "w"
    with Sandbox(data, options=ACCOUNTS) as sandbox:
        run_script("log_zoo.py", sandbox, work)
        set_times_apart(data)
        with wbsync.open(root) as warehouse:
            report = warehouse.sync("crew/zoo", api_key=sandbox.api_key, base_url=sandbox.base_url)
        assert report.outcome == "complete"
        logs = [
            sys.executable, "-m", "wbsync", "-w", str(root),
            "sync", "crew/zoo", "--only", "console_logs",
        ]  # fmt: skip
        subprocess.run(logs, check=True, env=sandbox.env(), timeout=240, capture_output=True)
        yield Zoo(sandbox, root, run_script("read_zoo.py", sandbox, work))


KINDS = ("run", "runs", "sweep", "project", "artifact", "artifacts", "collection", "report",
         "registry", "")  # fmt: skip
"""Beginnings of names of facts; the last takes the rest."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_and_method_says_what_wandb_says(zoo: Zoo, kind: str) -> None:
    """Value by value, of runs, sweeps, projects, artifacts, collections, reports and users."""
    api = zoo.api()
    sweep = object_facts.sweep_path(api)
    differing = {}
    count = 0
    for name, expression in object_facts.FACTS.items():
        head = name.split(".")[0].split(" ")[0]
        if head != kind if kind else head in KINDS:
            continue
        count += 1
        ours = object_facts.say(api, expression, sweep)
        if json.loads(json.dumps(ours)) != zoo.said["facts"][name]:
            differing[name] = {"wandb": zoo.said["facts"][name], "wbsync": ours}
    assert differing == {}
    assert count >= 3


PAGING = "QUERY convert_objects last_response update_variables variables snake_to_camel"
NOT_OFFERED = {
    "": f"{PAGING} server_provides_internal_id_field query_generator",
    "Summary": "load open_h5 read_h5 write_h5",
    "HistoryScan": "page_offset page_size rows run scan_offset",
    "Manifest": """add_entry remove_entry digest digest_algorithm from_manifest_json
        to_manifest_json hash_contents_with_md5 manifest_version version storage_policy""",
    "Entry": "name local_path skip_cache digest_algorithm to_json",
    "Collections": "collection_filter registry_filter",
    "LinkedVersions": "artifact_filter collection_filter registry_filter organization",
}
"""Kind to what the page on objects says is not offered; empty for all kinds."""


def test_every_public_name_is_there_or_said_not_to_be(zoo: Zoo) -> None:
    """No name of the SDK's objects is unknown: it is offered, refused in words, or documented."""
    from wandb._pydantic import GQLBase

    api = zoo.api()
    sweep = object_facts.sweep_path(api)
    page = (HERE.parents[1] / "docs/offline.md").read_text(encoding="utf-8")
    listed = page.partition("## What is not offered")[2].partition("\n## ")[0]
    missing = set()
    for kind, names in zoo.said["names"].items():
        thing = eval(object_facts.OBJECTS[kind], {"api": api, "SWEEP": sweep})
        assert len(names) >= 5, kind
        for name in names:
            try:
                getattr(thing, name)
            except (NotHeldError, ReadOnlyError):
                continue
            except (AttributeError, KeyError):
                if name == "sections" or (kind in {"Manifest", "Entry"} and hasattr(GQLBase, name)):
                    continue
                documented = f"{NOT_OFFERED['']} {NOT_OFFERED.get(kind, '')}".split()
                if name not in documented or f"`{name}`" not in listed:
                    missing.add(f"{kind}.{name}")
    assert missing == set()


def test_wandb_itself_answered(zoo: Zoo) -> None:
    """What is compared with is an answer of the SDK, not one of its errors."""
    errors = {
        name: said
        for name, said in zoo.said["facts"].items()
        if isinstance(said, str) and "Error: " in said
    }
    assert errors == {}


def test_filters_and_orders_find_the_same_runs_in_the_same_order(zoo: Zoo) -> None:
    """Pairs of filter and order give the runs that the server gives, and as many."""
    api = zoo.api()
    differing = {}
    for (filters, order), theirs in zip(filter_pairs.PAIRS, zoo.said["found"], strict=True):
        ours = filter_pairs.found(api, filters, order)
        if ours != theirs:
            differing[f"{filters} {order}"] = {"wandb": theirs, "wbsync": ours}
    assert differing == {}
    assert len(filter_pairs.PAIRS) >= 60
    assert sum(bool(count) for count, _ in zoo.said["found"]) >= 60


def test_columns_show_what_is_a_dictionary(zoo: Zoo) -> None:
    """As JSON, be it one in all runs or a number in others; a key that begins alike is none."""
    names = ["run_id", "summary.val/loss", "summary.val/loss.min", "summary.best", "config.a"]
    with wbsync.open(zoo.root) as warehouse:
        chosen = {"name": {"$in": ["bob2", "odd", "long"]}}
        rows = warehouse.runs("crew/zoo", chosen, "-name", names)
        shown = {row[0]: row[1:] for row in rows.fetchall()}
    best = {"acc": 0.9, "at": 2**60}
    assert shown["long"] == (None, None, None, None)
    assert shown["bob2"][1:3] == (2.0, "1.0")
    assert json.loads(shown["bob2"][0]) == {"min": 2}
    assert shown["odd"][:2] == (None, None)
    assert json.loads(shown["odd"][2]) == best


def test_wide_history_drops_no_kind_of_value(zoo: Zoo) -> None:
    """Media and lists come as JSON, numbers as such; a key that no run has is an error."""
    with wbsync.open(zoo.root) as warehouse:
        keys = ["loss", "list", "image", "nested.x.y"]
        result = warehouse.history("crew/zoo", keys, runs=["odd"]).arrow()
        rows = {row["step"]: row for row in result.to_pylist()}
        assert json.loads(rows[3]["list"]) == [3, 3.5]
        assert (rows[3]["loss"], rows[3]["nested.x.y"], rows[3]["image"]) == (0.25, 3.0, None)
        assert json.loads(rows[30]["image"])["_type"] == "image-file"
        for key, near in (("los", "'loss'"), ("nested", "'nested.x.y'"), ("§", "history_keys")):
            with pytest.raises(QueryError, match=near):
                warehouse.history("crew/zoo", ["loss", key])


@pytest.mark.parametrize("script", guide_scripts.SCRIPTS)
def test_scripts_of_the_guide_print_the_same(
    zoo: Zoo, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that reads needs another import, and nothing else."""
    monkeypatch.setenv("WBSYNC_WAREHOUSE", str(zoo.root))
    monkeypatch.setenv("WANDB_BASE_URL", zoo.sandbox.base_url)
    printed = guide_scripts.printed(script, wbsync.Api)
    assert printed == zoo.said["printed"][script]
    assert len(printed) > 100


NOT_HELD = {
    "api.runs('crew/nope')": "wbsync sync crew/nope",
    "api.run('crew/zoo/nope')": "wbsync sync crew/zoo",
    "api.sweep('crew/zoo/nope')": "wbsync sync crew/zoo",
    "api.project('nope')": "wbsync sync crew/nope",
    "list(api.projects('nobody'))": "wbsync sync nobody",
    "api.artifact('crew/zoo/data:nope')": "wbsync sync crew/zoo",
    "api.artifact('crew/nope/data:v0')": "wbsync sync crew/nope",
    "api.artifact_type('nope', 'crew/zoo')": "wbsync sync crew/zoo",
    "api.artifact_collection('dataset', 'crew/zoo/nope')": "wbsync sync crew/zoo",
    "list(api.artifacts('dataset', 'crew/zoo/nope'))": "wbsync sync crew/zoo",
    "api.reports('crew/nope')": "wbsync sync crew/nope",
    "api.from_path('crew/zoo/reports/x--nope')": "wbsync sync crew/zoo",
    "api.team('nope')": "wbsync sync nope",
    "list(api.registries('nope'))": "wbsync sync ENTITY",
    "api.run('crew/zoo/odd').file('nope')": "wbsync sync crew/zoo",
    "api.run('crew/zoo/odd').file('config.yaml').download('x')": "wbsync files get crew/zoo/odd",
    "api.artifact('crew/zoo/data:v2').download('x')": "wbsync artifact get crew/zoo/data:v2",
    "api.run('crew/zoo/odd').description": "wandb.Api()",
    "api.project('zoo').owner": "wandb.Api()",
    "api.viewer.api_keys": "wandb.Api()",
    "api.sweep(SWEEP).agents": "wandb.Api()",
    "api.organization": "wandb.Api()",
    "api.team('crew').photo_url": "wandb.Api()",
    "list(api.integrations('nobody'))": "wbsync sync nobody --only integrations",
    "list(api.automations('nobody'))": "wbsync sync nobody --only automations",
    "api.artifact_exists('crew/nope/data:v0')": "wbsync sync crew/nope",
}


@pytest.mark.parametrize("expression", NOT_HELD)
def test_what_is_not_held_names_the_command_that_brings_it(
    zoo: Zoo, expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is guessed or left out in silence; it is a ValueError as the SDK's own."""
    monkeypatch.chdir(tmp_path)
    api = zoo.api()
    with pytest.raises(NotHeldError) as caught:
        eval(expression, {"api": api, "SWEEP": object_facts.sweep_path(api)})
    assert NOT_HELD[expression] in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, wbsync.CommError)
    is_attribute = "wandb.Api()" in NOT_HELD[expression]
    assert isinstance(caught.value, AttributeError) == is_attribute
    assert wbsync.errors.CommError is wbsync.CommError


def test_columns_of_a_history_stand_in_one_order(zoo: Zoo) -> None:
    """`_step`, then what the first rows hold by name, then what comes later; W&B's is chance."""
    run = zoo.api().run("zoo/odd")
    early = ["Loss", "_runtime", "_timestamp", "flag", "inf", "list", "loss", "mixed", "nan"]
    early += ["nested", "ninf"]
    found = [c for c in run.history().columns if c in {*early, "_step", "image", "hist"}]
    assert found == ["_step", *early, "hist", "image"]
    assert list(run.history(samples=2, pandas=False)[0])[:3] == ["_step", "Loss", "_runtime"]
    system = list(zoo.api().run("zoo/long").history(stream="system").columns)
    assert system == ["_wandb", "_timestamp", "_runtime", *sorted(system[3:])]


def test_what_no_sync_brings_is_no_attribute(zoo: Zoo) -> None:
    """`hasattr` and `getattr` with a default do not raise, `dir` names what there is."""
    run = zoo.api().run("zoo/odd")
    assert not hasattr(run, "description")
    assert getattr(run, "dir", "none") == "none"
    assert hasattr(run, "state")
    assert hasattr(zoo.api().project("zoo"), "sweeps")
    assert not hasattr(run.summary, "nope")
    assert {"created_at", "job_type", "state", "history"} <= {*dir(run)}
    assert "files" in dir(zoo.api().artifact("zoo/data:best"))
    with pytest.raises(ValueError, match="cursor"):
        zoo.api().artifact_types("crew/zoo", start="abc")


def test_histories_that_were_not_synced_are_not_taken_for_empty(zoo: Zoo, tmp_path: Path) -> None:
    """Metadata alone was synced: reading a history says so, and an empty one is still empty."""
    with wbsync.open(tmp_path / "w") as warehouse:
        warehouse.sync(
            "crew/zoo", api_key=zoo.sandbox.api_key, base_url=zoo.sandbox.base_url,
            skip=["history", "system_metrics", "run_files"],
        )  # fmt: skip
    api = wbsync.Api({"entity": "crew"}, warehouse=tmp_path / "w")
    run = api.run("zoo/long")
    assert run.config["batch"] == 64
    for read in (
        run.history,
        lambda: run.history(keys=["loss"], pandas=False),
        lambda: run.history(stream="system"),
        run.scan_history,
        lambda: api.runs("zoo").histories(),
        lambda: list(run.files()),
    ):
        with pytest.raises(NotHeldError, match="wbsync sync crew/zoo"):
            read()
    with pytest.raises(NotHeldError, match="wbsync sync crew/zoo --only console_logs"):
        list(run.console_logs())
    assert api.run("zoo/empty").history(pandas=False) == []
    assert list(api.run("zoo/bob1").scan_history()) == []


OTHERWISE = {"default_entity", "report.user"}
"""Facts that are told in part where users are not held: the page on objects says so."""

STEPS = (
    {"only": ["registries"]},
    {"only": ["runs", "users"]},
    {"skip": ["registries", "team_members", "history", "system_metrics"]},
    {},
)


def test_whatever_was_synced_no_fact_is_another(zoo: Zoo, tmp_path: Path) -> None:
    """After any part of a sync, each fact is as it is or an error that names a sync."""
    account = {"api_key": zoo.sandbox.api_key, "base_url": zoo.sandbox.base_url}
    whole = zoo.api()
    sweep = object_facts.sweep_path(whole)
    facts = {n: f for n, f in object_facts.FACTS.items() if n not in OTHERWISE}
    told = {n: object_facts.say(whole, f, sweep) for n, f in facts.items()}
    api = wbsync.Api({"entity": "crew", "base_url": zoo.sandbox.base_url}, warehouse=tmp_path / "w")
    unheld: list[set[str]] = []
    commands = set()
    with wbsync.open(tmp_path / "w") as warehouse:
        for step in STEPS:
            assert warehouse.sync("crew/zoo", **step, **account).outcome == "complete"
            unheld.append(set())
            for name, fact in facts.items():
                try:
                    assert object_facts.say(api, fact, sweep) == told[name], (name, step)
                except NotHeldError as error:
                    commands.add(str(error.command))
                    unheld[-1].add(name)
        assert all(command.startswith("wbsync sync ") for command in commands)
        links = {"artifact.linked_artifacts", "linked_artifacts", "team"}
        assert {"user", "runs len", "artifact_exists", "integrations", *links} <= unheld[0]
        assert "user" not in unheld[1]
        assert unheld[2] & {*links, "run.history", "sweep", "report"} == {"team", "run.history"}
        assert unheld[3] == {"run.console_logs", "run.console_logs last"}


def test_what_is_not_held_does_not_break_a_notebook(zoo: Zoo, tmp_path: Path) -> None:
    """`repr`, `dir` and completion say what they can; a property raises, `hasattr` with it.

    Its answer would be yes or no, and neither is known.
    """
    with wbsync.open(tmp_path / "w") as warehouse:
        warehouse.sync(
            "crew/zoo", only=["runs"], api_key=zoo.sandbox.api_key, base_url=zoo.sandbox.base_url
        )
    api = wbsync.Api({"entity": "crew"}, warehouse=tmp_path / "w")
    run, project = api.run("zoo/user"), api.project("zoo")
    for listing in (run.files(), run.used_artifacts(), project.collections(), project.sweeps()):
        assert repr(listing).startswith("<")
        assert "__len__" in dir(listing)
    assert "not held" in repr(run.files())
    for thing in (api, run, project, api.runs("zoo")):
        names = rlcompleter.Completer({"thing": thing}).attr_matches("thing.")
        assert len(names) >= 5
    swept = api.runs("zoo", {"sweep": {"$exists": True}})[0]
    with pytest.raises(NotHeldError, match="wbsync sync crew/zoo"):
        hasattr(swept, "sweep")
    assert inspect.getattr_static(swept, "sweep") is not None


def test_what_a_partial_sync_left_out_is_not_taken_for_empty(zoo: Zoo, tmp_path: Path) -> None:
    """A list is empty only where W&B's was: stream by stream, and run by run."""
    account = {"api_key": zoo.sandbox.api_key, "base_url": zoo.sandbox.base_url}
    api = wbsync.Api({"entity": "crew"}, warehouse=tmp_path / "w")
    lists = {
        "sweeps": lambda: api.project("zoo").sweeps(),
        "reports": lambda: api.reports("zoo"),
        "artifact types": lambda: api.artifact_types("zoo"),
        "collections": lambda: api.project("zoo").collections(),
        "files": lambda: api.run("zoo/odd").files(),
        "no files": lambda: api.run("zoo/bob1").files(),
        "keys": lambda: api.run("zoo/odd").history_keys or (),
        "logged": lambda: api.run("zoo/maker").logged_artifacts(),
        "used": lambda: api.run("zoo/user").used_artifacts(),
    }

    commands = set()

    def unheld() -> set[str]:
        found = set()
        for name, read in lists.items():
            try:
                list(read())
            except NotHeldError as error:
                commands.add(str(error.command))
                found.add(name)
        return found

    with wbsync.open(tmp_path / "w") as warehouse:
        warehouse.sync("crew/zoo", only=["runs", "run_config", "run_summary"], **account)
        assert unheld() == set(lists)
        warehouse.sync("crew/zoo", only=["run_files"], runs=["long"], **account)
        assert list(api.run("zoo/long").files())
        assert unheld() == set(lists)
        warehouse.sync("crew/zoo", only=["sweeps", "artifacts"], **account)
        assert unheld() == {"reports", "files", "no files", "keys"}
        assert commands == {"wbsync sync crew/zoo"}
        assert len(api.project("zoo").sweeps()) == 2
        version = api.artifact("zoo/net:prod")
        with pytest.raises(NotHeldError, match="`wbsync sync crew --only registries`"):
            _ = version.linked_artifacts
        warehouse.sync("crew/zoo", **account)
        assert unheld() == set()
        assert len(version.linked_artifacts) == 2
        assert list(api.run("zoo/bob1").files()) == []
        assert list(api.project("zoo").sweeps(filters={"state": "nope"})) == []
        files = warehouse.sql(
            "SELECT (SELECT sum(held_rows) FROM ledger WHERE table_name = 'run_files')"
            " - (SELECT count(*) FROM run_files)"
        )
        assert files.fetchall() == [(0,)]
        before = warehouse.sql("SELECT bookmark, synced_at FROM projects").fetchall()
        assert "sweeps" in json.loads(before[0][0])["held"]
        report = warehouse.sync("crew/zoo", **account)
        assert report.rows == {}
        assert warehouse.sql("SELECT bookmark, synced_at FROM projects").fetchall() == before


def test_a_name_that_nothing_is_called_is_no_empty_answer(
    zoo: Zoo, wbsync_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """An unknown project is an error, an unknown metric a hint; both name the nearest."""

    def call(*command: str) -> tuple[int, str]:
        done = wbsync_cli(zoo.sandbox, *command, warehouse=zoo.root)
        return done.returncode, done.stderr

    for command in (
        ("runs", "crew/zo"), ("query", "leaderboard", "--project", "crew/zo", "--metric", "loss"),
    ):  # fmt: skip
        code, said = call(*command)
        assert (code, "did you mean 'crew/zoo'?" in said) == (2, True)
    code, said = call("query", "leaderboard", "--project", "crew/zoo", "--metric", "los")
    assert (code, "did you mean 'loss'?" in said) == (0, True)
    code, said = call("runs", "crew/zoo", "--filter", '{"name": "nope"}')
    assert (code, "nothing that is held of crew/zoo passes" in said) == (0, True)


READ_ONLY = (
    "run.delete(delete_artifacts=True)", "run.upload_file('x')", "run.use_artifact(None)",
    "run.log_artifact(None)", "setattr(run, 'state', 'failed')", "setattr(run, 'config', {})",
    "artifact.delete()", "artifact.link('x')", "setattr(artifact, 'ttl', None)",
    "artifact.add_file('x')", "collection.delete()",
    "setattr(collection, 'name', 'x')", "api.create_run()", "api.create_project('x', 'y')",
    "api.create_registry('x', 'organization')", "api.delete_automation('x')",
)  # fmt: skip


def test_changes_are_refused_in_words(zoo: Zoo) -> None:
    """No method that writes does so, or does nothing in silence; own attributes may be set."""
    api = zoo.api()
    names = {
        "api": api,
        "run": api.run("zoo/odd"),
        "artifact": api.artifact("zoo/data:best"),
        "collection": api.artifact_collection("dataset", "zoo/data"),
    }
    for expression in READ_ONLY:
        with pytest.raises(ReadOnlyError, match=r"wandb\.Api\(\)"):
            eval(expression, dict(names))
    names["run"].my_mark = 1
    assert names["run"].my_mark == 1


def test_artifacts_and_files_come_from_the_cache(
    zoo: Zoo, wbsync_cli: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """What a command once brought, objects give without the server, in a notebook's loop, too."""
    for command in (
        ("artifact", "get", "crew/zoo/data:best", "-o", str(tmp_path / "first")),
        ("files", "get", "crew/zoo/odd", "config.yaml", "-o", str(tmp_path / "files")),
    ):
        done = wbsync_cli(zoo.sandbox, *command, warehouse=zoo.root)
        assert done.returncode == 0, done.stderr
    api = zoo.api()
    asked = len(zoo.sandbox.requests())

    async def in_a_loop() -> str:
        return str(api.artifact("zoo/data:best").download(root=tmp_path / "second"))

    folder = Path(asyncio.run(in_a_loop()))
    for name in ("plain.txt", "nested/deep/größe x.bin"):
        assert (folder / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    artifact = api.artifact("zoo/data:best")
    assert artifact.verify(tmp_path / "first") is artifact.verify(folder) is None
    for harm, said in (
        (lambda: (folder / "plain.txt").write_text("plain.txt 2"), "Digest mismatch.*plain.txt"),
        ((folder / "plain.txt").unlink, "missing: plain.txt"),
        ((folder / "more.txt").touch, "more.txt which is not a member"),
    ):
        harm()
        with pytest.raises(ValueError, match=said):
            artifact.verify(folder)
    entry = artifact.get_entry("plain.txt")
    assert Path(entry.download(tmp_path / "third")).read_text() == "plain.txt 1"
    file = api.run("zoo/odd").file("config.yaml")
    with file.download(root=tmp_path / "fourth") as text:
        assert text.read() == (tmp_path / "files" / "config.yaml").read_text()
    with pytest.raises(ValueError, match="exists"):
        file.download(root=tmp_path / "fourth")
    file.download(root=tmp_path / "fourth", exist_ok=True).close()
    assert len(zoo.sandbox.requests()) == asked


def test_import_is_light() -> None:
    """`import wbsync` loads nothing that is heavy; `wbsync.Api` is there when asked for."""
    script = (
        "import sys, wbsync; heavy = {'duckdb', 'pyarrow', 'rich', 'pandas', 'sqlglot', 'httpx'};"
        " loaded = heavy & sys.modules.keys(); assert not loaded, loaded;"
        " assert wbsync.Api.__name__ == 'Api'; assert 'Api' in wbsync.__all__"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
