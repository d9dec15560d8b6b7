"""Edits reach W&B as they were meant, beside whatever others do: the real SDK is the other side."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import math
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.errors import EditError, LockedError, TransportError
from wbsync.lake import open_warehouse
from wbsync.sandbox.process import Sandbox
from wbsync.settings import resolve_credentials
from wbsync.writeback import MISSING, Edit, Operation, Queue, Target, settling
from wbsync.writeback.merge import Policy
from wbsync.writeback.push import _alone, push
from wbsync.writeback.undo import undo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wbsync.writeback.push import PushReport

HERE = Path(__file__).resolve().parent
ENTITY = "sandbox"


class Sdk:
    """The wandb SDK in a process of its own: a colleague."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "sdk_session.py")], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=sandbox.env(WANDB_DIR=str(folder), WANDB_CACHE_DIR=str(folder / "cache")),
        )  # fmt: skip

    def do(self, code: str) -> Any:
        """Runs code with `api` and `wandb`; returns what it leaves in `result`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": code}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


class Place:
    """A sandbox, a hand on it, a colleague, and a warehouse with a queue."""

    def __init__(self, sandbox: Sandbox, account: Any, sdk: Sdk, root: Path) -> None:
        self.sandbox, self.account, self.sdk, self.root = sandbox, account, sdk, root
        open_warehouse(root)
        self.queue = Queue(root)

    def run(self, project: str, run_id: str, raw: str | None = None, **values: Any) -> Target:
        """Makes a finished run; returns it as a target."""
        made = self.account.upsert(project, run_id, **{"state": "finished", **values})
        if raw is not None:
            self.account.change(
                "upsertBucket", "UpsertBucketInput", "inserted", id=made["id"], config=raw
            )
        created = self.account.run(project, run_id, "createdAt")["createdAt"]
        return Target("run", ENTITY, project, run_id, made["id"], created)

    def edit(self, *operations: Operation, **facts: Any) -> Edit:
        """Queues an edit."""
        edit = Edit("me", **facts)
        self.queue.add(edit, operations)
        return edit

    def push(self, on_conflict: str = "fail", *, force: bool = False, **how: Any) -> PushReport:
        """Pushes what is queued."""
        credentials = resolve_credentials(self.sandbox.api_key, self.sandbox.base_url)
        return asyncio.run(
            push(self.root, credentials, policy=Policy(on_conflict, force=force), **how)
        )

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Calls the command."""
        return subprocess.run(
            [sys.executable, "-m", "wbsync", "-w", str(self.root), *args], check=False,
            env=self.sandbox.env(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip

    def states(self) -> list[str]:
        """Returns the states of the operations in the queue."""
        return [entry.state for entry in self.queue.entries()]

    def requests(self) -> int:
        """Returns the number of GraphQL requests so far."""
        return sum(r["path"] == "/graphql" for r in self.sandbox.requests())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Sdk]]:
    """A sandbox and a colleague."""
    options = ["--add-user", "bob:" + "b" * 40]
    with Sandbox(tmp_path_factory.mktemp("data"), options=options) as sandbox:
        sdk = Sdk(sandbox, tmp_path_factory.mktemp("sdk"))
        yield sandbox, sdk
        sdk.close()


@pytest.fixture
def place(
    server: tuple[Sandbox, Sdk], tmp_path: Path, account_of: Callable[..., Any]
) -> Iterator[Place]:
    """A queue of its own."""
    made = Place(server[0], account_of(server[0]), server[1], tmp_path / "w")
    yield made
    made.queue.close()


def leaf(run: Target, field: str, path: str, value: Any, base: Any = MISSING) -> Operation:
    """Returns a change of a leaf; a value that is MISSING takes it away."""
    action = "unset" if value is MISSING else "set"
    return Operation(run, field, action, value, base, tuple(path.split("/")))


RAW = (
    '{"_wandb":{"value":{"t":{"1":[1,2 ,3]},"e":1e-3}} , "lr":{"desc":"rate","value":1E-4},'
    ' "big": {"value": 1152921504606846977}, "nan": {"value": NaN}, "inf": {"value": -Infinity},'
    ' "a.b": {"value": {"c d.[0]": 1.0}, "desc": null}, "bare": 0.10, "gone": {"value": 1},'
    ' "odd": {"value": 1, "extra": "kept"}, "\\u2603": {"value": "\\ud83e\\udd8a"}, "Loss":'
    ' {"value": 1}, "loss": {"value": 2}}'
)


def test_every_kind_of_edit_reaches_the_sdk_and_nothing_else_changes(place: Place) -> None:
    """Of runs, versions and collections, with hostile values; what is not edited stays as it is."""
    summary = {"acc": 0.5, "n": 2**60 + 1, "old": 1, "deep": {"x": 1}}
    run = place.run(
        "every", "r1", RAW, tags=["a", "b"], notes="n", displayName="d", summaryMetrics=summary
    )
    other = place.run("every", "r2", RAW, tags=["a"], notes="n", summaryMetrics=summary)
    live = place.run("every", "r3", state="running")
    failed = place.run("every", "r4", state="failed")
    account = place.account
    first = account.make_version("every", "data", "1", metadata='{"n": 1e-3, "m": 2, "o" :[1 ]}')
    second = account.make_version("every", "data", "2")
    account.alias("every", "data", first, "best")
    account.alias("every", "data", first, "gone")
    account.edit_version(first, tagsToAdd=[{"tagName": "old"}])
    account.edit_version(second, tagsToAdd=[{"tagName": "x"}, {"tagName": "y"}])
    account.tag_collection("every", "data", "t1")
    v0 = Target("artifact", ENTITY, "every", "data:v0", first)
    v1 = Target("artifact", ENTITY, "every", "data:v1", second)
    data = Target("artifact_collection", ENTITY, "every", "data")
    whole = place.run("every", "r5", tags=["a", "b"], notes="n")
    tag = 'it\'s "quoted"\n🦊 --; DROP'
    long_tag = "🦊" * 64
    untouched = account.run("every", "r2")
    place.edit(
        Operation(run, "tags", "add", tag, ["a", "b"]),
        Operation(run, "tags", "add", long_tag, ["a", "b", tag]),
        Operation(run, "tags", "remove", "a", ["a", "b", tag, long_tag]),
        Operation(run, "notes", "append", " checked\n☃", "n"),
        Operation(run, "display_name", "set", "größer", "d"),
        Operation(run, "group", "set", "g", None),
        Operation(run, "job_type", "set", "train", None),
        leaf(run, "config", "lr", 2**60 + 1, 1e-4),
        leaf(run, "config", "a.b/c d.[0]", math.nan, 1.0),
        leaf(run, "config", "new/deep", {"x": [True, None, "é"]}),
        leaf(run, "config", "gone", MISSING, 1),
        leaf(run, "config", "Loss", "one", 1),
        leaf(run, "summary", "acc", 0.75, 0.5),
        leaf(run, "summary", "old", MISSING, 1),
        leaf(run, "summary", "deep/y", -math.inf),
        Operation(live, "stop", "set", True, False),
        Operation(failed, "state", "set", "pending", "failed"),
        Operation(v1, "aliases", "add", "best", first, ("best",)),
        Operation(v1, "aliases", "add", "new one", None, ("new one",)),
        Operation(v0, "tags", "add", "good", ["old"]),
        Operation(v0, "tags", "remove", "old", ["old", "good"]),
        Operation(v0, "description", "set", "desc ☃", None),
        leaf(v0, "metadata", "m", {"k": 1}, 2),
        leaf(v0, "metadata", "o", MISSING, [1]),
        Operation(v0, "aliases", "remove", "gone", first, ("gone",)),
        Operation(v1, "tags", "set", ["y", "z"], ["x", "y"]),
        Operation(whole, "tags", "set", ["b", "c"], ["a", "b"]),
        Operation(whole, "notes", "set", "over\r\n", "n"),
        Operation(data, "tags", "set", ["t2"], ["t1"]),
        Operation(data, "tags", "add", "t3", ["t2"]),
        Operation(data, "tags", "remove", "t2", ["t2", "t3"]),
        Operation(data, "description", "set", "all data", None),
    )
    dry = place.cli("push", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["to_send"] == 32
    assert account.run("every", "r1", "notes")["notes"] == "n"
    done = place.cli("push", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["outcome"], report["applied"]) == ("complete", 32)
    assert set(place.states()) == {"applied"}

    raw = account.run("every", "r1", "config summaryMetrics")
    wanted = RAW.replace("1E-4", str(2**60 + 1)).replace("1.0}", '"NaN"}')
    wanted = wanted.replace(', "gone": {"value": 1}', "").replace('{"value": 1}, "loss"', "{}")
    wanted = wanted.replace("{}", '{"value": "one"}, "loss"')
    new = ', "new": {"value": {"deep": {"x": [true, null, "é"]}}, "desc": null}}'
    assert raw["config"] == wanted[:-1] + new
    assert raw["summaryMetrics"] == (
        '{"acc": 0.75, "n": 1152921504606846977, "deep": {"x": 1, "y": "-Infinity"}}'
    )
    assert account.run("every", "r2") == untouched | {"id": other.storage_id}
    nodes = account.collections("every")["data"]["artifacts"]
    assert [n["metadata"] for n in nodes if n["id"] == first] == ['{"n": 1e-3, "m": {"k": 1}}']

    seen = place.sdk.do(
        "r = api.run('sandbox/every/r1'); v0 = api.artifact('sandbox/every/data:v0');"
        " v1 = api.artifact('sandbox/every/data:best'); c = v0.collection\n"
        "result = [r.tags, r.notes, r.name, r.group, r.job_type, r.config['lr'], r.config['new'],"
        " 'gone' in r.config, r.summary['acc'], v0.tags, v0.description, v0.metadata, v0.aliases,"
        " v1.version, sorted(v1.aliases), c.tags, c.description,"
        " api.run('sandbox/every/r4').state, sorted(v1.tags), api.run('sandbox/every/r5').tags,"
        " api.run('sandbox/every/r5').notes]"
    )
    assert seen == [
        ["b", tag, long_tag], "n checked\n☃", "größer", "g", "train", 2**60 + 1,
        {"deep": {"x": [True, None, "é"]}}, False, 0.75, ["good"], "desc ☃",
        {"n": 0.001, "m": {"k": 1}}, [], "v1", ["best", "latest", "new one"], ["t3"], "all data",
        "pending", ["y", "z"], ["b", "c"], "over\r\n",
    ]  # fmt: skip
    assert account.run("every", "r3", "stopped")["stopped"] is True
    # Undone, all is as it was, but for what W&B has no way back from.
    undone = undo(place.queue, None, "me")
    assert len(undone.cannot) == 2
    assert place.push().outcome == "complete"
    back = account.run("every", "r1")
    assert json.loads(back["config"], parse_float=str) == json.loads(RAW, parse_float=str)
    assert back["config"].replace(', "gone": {"value": 1}', "") == RAW.replace(
        ', "gone": {"value": 1}', ""
    )
    assert json.loads(back["summaryMetrics"]) == summary
    assert (sorted(back["tags"]), back["notes"], back["displayName"]) == (["a", "b"], "n", "d")
    assert place.sdk.do(
        "a = api.artifact('sandbox/every/data:best'); c = a.collection\n"
        "result = [a.version, a.tags, a.description or '', a.metadata, c.tags, c.description or '',"
        " sorted(a.aliases), sorted(api.artifact('sandbox/every/data:v1').tags)]"
    ) == [
        "v0", ["old"], "", {"n": 0.001, "m": 2, "o": [1]}, ["t1"], "", ["best", "gone"], ["x", "y"],
    ]  # fmt: skip


START: dict[str, Any] = {
    "tags": ["a", "b"], "notes": "n", "display_name": "d", "group": "g", "job_type": "j",
    "config": {"lr": 0.1, "opt": {"name": "adam", "m": 1}}, "summary": {"acc": 0.5, "loss": 1},
}  # fmt: skip
RUN = Target("run", ENTITY, "both", "-")
MINE: dict[str, Operation] = {
    "add tag": Operation(RUN, "tags", "add", "mine", ["a", "b"]),
    "remove tag": Operation(RUN, "tags", "remove", "a", ["a", "b"]),
    "set tags": Operation(RUN, "tags", "set", ["b", "z"], ["a", "b"]),
    "set notes": Operation(RUN, "notes", "set", "same", "n"),
    "append notes": Operation(RUN, "notes", "append", " mine", "n"),
    "name": Operation(RUN, "display_name", "set", "same", "d"),
    "group": Operation(RUN, "group", "set", "same", "g"),
    "job type": Operation(RUN, "job_type", "set", "same", "j"),
    "set config": leaf(RUN, "config", "lr", "same", 0.1),
    "new config": leaf(RUN, "config", "new", "same"),
    "unset config": leaf(RUN, "config", "opt/m", MISSING, 1),
    "set summary": leaf(RUN, "summary", "acc", "same", 0.5),
    "unset summary": leaf(RUN, "summary", "loss", MISSING, 1),
}
THEIRS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "other tag": ("r.tags = [*r.tags, 'x']", lambda s: s["tags"].append("x")),
    "same tag": ("r.tags = ['b', 'mine', 'z']",
                 lambda s: s.update(tags=["b", "mine", "z"])),
    "notes": ("r.notes = 'theirs'", lambda s: s.update(notes="theirs")),
    "same notes": ("r.notes = 'same'", lambda s: s.update(notes="same")),
    "name": ("r.name = 'theirs'", lambda s: s.update(display_name="theirs")),
    "same name": ("r.name = 'same'", lambda s: s.update(display_name="same")),
    "group": ("r.group = 'theirs'", lambda s: s.update(group="theirs")),
    "job type": ("r.job_type = 'theirs'", lambda s: s.update(job_type="theirs")),
    "config": ("r.config['lr'] = 7", lambda s: s["config"].update(lr=7)),
    "same config": ("r.config['lr'] = 'same'", lambda s: s["config"].update(lr="same")),
    "new config": ("r.config['new'] = 7", lambda s: s["config"].update(new=7)),
    "less config": ("del r.config['lr']", lambda s: s["config"].pop("lr")),
    "neighbour": ("r.config['opt']['name'] = 'sgd'",
                  lambda s: s["config"]["opt"].update(name="sgd")),
    "group gone": ("del r.config['opt']", lambda s: s["config"].pop("opt")),
    "summary": ("r.summary['acc'] = 7", lambda s: s["summary"].update(acc=7)),
    "same summary": ("r.summary['acc'] = 'same'", lambda s: s["summary"].update(acc="same")),
    "other summary": ("r.summary['more'] = 1", lambda s: s["summary"].update(more=1)),
    "summary gone": ("del r.summary['loss']", lambda s: s["summary"].pop("loss")),
}  # fmt: skip


TOGETHER = (
    ("add tag", "set notes", "name", "set config", "set summary"),
    ("remove tag", "append notes", "group", "new config", "unset summary"),
    ("set tags", "job type", "unset config"),
)
"""Kinds of edits that are made of one run: none of them touches what another does."""


def value_in(state: dict[str, Any], operation: Operation) -> Any:
    """Returns the value of an operation's place in a run."""
    held = state[operation.field]
    for key in operation.path:
        held = held.get(key, MISSING) if isinstance(held, dict) else MISSING
    return held


def by_the_rules(mine: Operation, theirs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the state and the run that the written rules give; shares no code with the merge."""
    result = copy.deepcopy(theirs)
    if mine.field == "tags":
        add, remove = {"add": (["mine"], []), "remove": ([], ["a"]), "set": (["z"], ["a"])}[
            mine.action
        ]
        result["tags"] = [t for t in theirs["tags"] if t not in remove]
        result["tags"] += [t for t in add if t not in result["tags"]]
        return "applied", result
    if mine.action == "append":
        result["notes"] = theirs["notes"] + " mine"
        return "applied", result
    holder, key = result, mine.field
    for inner in mine.path:
        holder, key = holder.get(key, {}), inner
    held = holder.get(key, MISSING)
    wanted = mine.value
    if held == wanted:
        return "applied", result
    if held != mine.base:
        return "conflict", result
    if wanted is MISSING:
        del holder[key]
    else:
        holder[key] = wanted
    return "applied", result


def facts_of(run: dict[str, Any]) -> dict[str, Any]:
    """Returns what a run holds, in the form of START."""
    config = json.loads(run["config"])
    config.pop("_wandb", None)
    return {
        "tags": run["tags"], "notes": run["notes"], "display_name": run["displayName"],
        "group": run["group"], "job_type": run["jobType"],
        "config": {key: value["value"] for key, value in config.items()},
        "summary": json.loads(run["summaryMetrics"]),
    }  # fmt: skip


def test_every_edit_beside_every_edit_of_a_colleague(place: Place) -> None:
    """Merged, or a conflict that shows both values, exactly as the rules say; nothing is lost."""
    wrapped = {key: {"value": value, "desc": None} for key, value in START["config"].items()}
    operations, pairs, code = [], [], []
    for (number, group), theirs in itertools.product(enumerate(TOGETHER), THEIRS):
        run_id = f"{number} {theirs}"
        run = place.run(
            "both", run_id, tags=START["tags"], notes="n", displayName="d", groupName="g",
            jobType="j", config={"_wandb": {"value": {}}, **wrapped},
            summaryMetrics=START["summary"],
        )  # fmt: skip
        operations += [replace(MINE[mine], target=run) for mine in group]
        pairs += [(mine, theirs) for mine in group]
        code.append(f"r = api.run('sandbox/both/{run_id}'); {THEIRS[theirs][0]}; r.update()")
    assert sorted(pairs) == sorted(itertools.product(MINE, THEIRS))
    place.edit(*operations)
    place.sdk.do("\n".join(code))
    assert place.push().outcome == "partial"
    wrong = {}
    seen = {"applied": 0, "conflict": 0}
    entries = place.queue.entries()
    by_run = {e.target.name: [x for x in entries if x.target == e.target] for e in entries}
    for run_id, group in by_run.items():
        theirs = run_id.partition(" ")[2]
        state = copy.deepcopy(START)
        THEIRS[theirs][1](state)
        states = []
        for entry in group:
            outcome, state = by_the_rules(entry.operation, state)
            states.append(outcome)
            seen[outcome] += 1
            if outcome == "conflict":
                assert entry.theirs == value_in(state, entry.operation)
                assert entry.error
        found = facts_of(place.account.run("both", run_id))
        if ([e.state for e in group], found) != (states, state):
            wrong[run_id] = (group, found, states, state)
    assert wrong == {}
    assert seen["conflict"] >= 8

    # Resolved for mine, each is written over the value that was shown; for theirs, each is dropped.
    conflicts = [e for e in entries if e.state == "conflict"]
    place.queue.resolve([e.op_id for e in conflicts[::2]], "mine")
    place.queue.resolve([e.op_id for e in conflicts[1::2]], "theirs")
    assert place.push().outcome == "complete"
    for index, entry in enumerate(conflicts):
        held = value_in(facts_of(place.account.run("both", entry.target.name)), entry.operation)
        assert held == (entry.theirs if index % 2 else entry.mine)


VERSIONS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "nothing": ("", lambda s: None),
    "tag": ("a.tags.append('x'); a.save()", lambda s: s["tags"].add("x")),
    "same tag": ("a.tags.append('mine'); a.save()", lambda s: s["tags"].add("mine")),
    "tag gone": ("a.tags.remove('old'); a.save()", lambda s: s["tags"].remove("old")),
    "description": ("a.description = 'theirs'; a.save()", lambda s: s.update(text="theirs")),
    "same description": ("a.description = 'mine'; a.save()", lambda s: s.update(text="mine")),
    "metadata": ("a.metadata['a'] = 7; a.save()", lambda s: s["metadata"].update(a=7)),
    "same metadata": ("a.metadata['a'] = 5; a.save()", lambda s: s["metadata"].update(a=5)),
    "other of it": ("a.metadata['d'] = 7; a.save()", lambda s: s["metadata"].update(d=7)),
    "to go": ("a.metadata['b'] = 7; a.save()", lambda s: s["metadata"].update(b=7)),
    "gone": ("del a.metadata['b']; a.save()", lambda s: s["metadata"].pop("b")),
    "new": ("a.metadata['c'] = 7; a.save()", lambda s: s["metadata"].update(c=7)),
    "alias": ("w.aliases.append('best'); w.save()", lambda s: s.update(best="v2")),
    "same alias": ("v.aliases.append('best'); v.save()", lambda s: s.update(best="v1")),
    "alias gone": ("a.aliases.remove('best'); a.save()", lambda s: s.update(best=None)),
    "alias to go": ("v.aliases.append('away'); v.save()", lambda s: s.update(away="v1")),
    "alias went": ("a.aliases.remove('away'); a.save()", lambda s: s.update(away=None)),
    "its tag": ("c.tags.append('x'); c.save()", lambda s: s["its tags"].add("x")),
    "its same tag": ("c.tags.append('mine'); c.save()", lambda s: s["its tags"].add("mine")),
    "its text": ("c.description = 'theirs'; c.save()", lambda s: s.update({"its text": "theirs"})),
    "its same text": ("c.description = 'mine'; c.save()", lambda s: s.update({"its text": "mine"})),
}  # fmt: skip
"""What a colleague does to version a (v0; v and w are the next) or to its collection c."""


def test_every_edit_of_a_version_beside_every_edit_of_a_colleague(place: Place) -> None:
    """Of versions and of collections, too, exactly as the rules say; the SDK reads the result."""
    account, code, wanted, states = place.account, [], {}, {}
    for number, (name, (act, effect)) in enumerate(VERSIONS.items()):
        collection = f"c{number}"
        ids = [
            account.make_version("beside", collection, f"{number}-{n}", metadata='{"a": 1, "b": 2}')
            for n in range(3)
        ]
        account.alias("beside", collection, ids[0], "best")
        account.alias("beside", collection, ids[0], "away")
        account.edit_version(ids[0], tagsToAdd=[{"tagName": "old"}])
        v0, v1, _ = (
            Target("artifact", ENTITY, "beside", f"{collection}:v{n}", i) for n, i in enumerate(ids)
        )
        home = Target("artifact_collection", ENTITY, "beside", collection)
        place.edit(
            Operation(v0, "tags", "add", "mine", ["old"]),
            Operation(v0, "tags", "remove", "old", ["old", "mine"]),
            Operation(v0, "description", "set", "mine", None),
            leaf(v0, "metadata", "a", 5, 1), leaf(v0, "metadata", "b", MISSING, 2),
            leaf(v0, "metadata", "c", 5),
            Operation(v1, "aliases", "add", "best", ids[0], ("best",)),
            Operation(v0, "aliases", "remove", "away", ids[0], ("away",)),
            Operation(home, "tags", "add", "mine", []),
            Operation(home, "description", "set", "mine", None),
        )  # fmt: skip
        code.append(
            f"a, v, w = [api.artifact(f'sandbox/beside/{collection}:v{{n}}') for n in range(3)];"
            f" c = a.collection; {act}"
        )
        state: dict[str, Any] = {
            "tags": {"old"}, "text": None, "metadata": {"a": 1, "b": 2}, "best": "v0",
            "away": "v0", "its tags": set(), "its text": None,
        }  # fmt: skip
        effect(state)
        meta, told = state["metadata"], ["applied"] * 10

        def change(at: int, held: Any, base: Any, mine: Any, told: list[str] = told) -> bool:
            told[at] = "applied" if held in (base, mine) else "conflict"
            return bool(told[at] == "applied")

        state["tags"] = (state["tags"] | {"mine"}) - {"old"}
        state["its tags"].add("mine")
        if change(2, state["text"], None, "mine"):
            state["text"] = "mine"
        if change(3, meta["a"], 1, 5):
            meta["a"] = 5
        if change(4, meta.get("b"), 2, None):
            meta.pop("b", None)
        if change(5, meta.get("c"), None, 5):
            meta["c"] = 5
        if change(6, state["best"], "v0", "v1"):
            state["best"] = "v1"
        if change(7, state["away"], "v0", None):
            state["away"] = None
        if change(9, state["its text"], None, "mine"):
            state["its text"] = "mine"
        wanted[name] = {k: sorted(v) if isinstance(v, set) else v for k, v in state.items()}
        states[name] = told
    place.sdk.do("\n".join(code))
    place.push()
    entries = [entry.state for entry in place.queue.entries()]
    assert {n: entries[10 * i : 10 * i + 10] for i, n in enumerate(VERSIONS)} == states
    assert sum(told.count("conflict") for told in states.values()) == 8
    seen = place.sdk.do(
        "result = []\n"
        f"for n in range({len(VERSIONS)}):\n"
        "    a, v, w = [api.artifact(f'sandbox/beside/c{n}:v{i}') for i in range(3)]\n"
        "    at = {alias: x.version for x in (a, v, w) for alias in x.aliases}\n"
        "    result.append({'tags': sorted(a.tags), 'text': a.description or None,"
        " 'metadata': a.metadata, 'best': at.get('best'), 'away': at.get('away'),"
        " 'its tags': sorted(a.collection.tags), 'its text': a.collection.description or None})"
    )
    assert dict(zip(VERSIONS, seen, strict=True)) == wanted


LINKED: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "nothing": ("", lambda s: None, "applied"),
    "tag": ("c.tags.append('x')", lambda s: s["tags"].add("x"), "applied"),
    "same tag": ("c.tags.append('mine')", lambda s: s["tags"].add("mine"), "applied"),
    "tag gone": ("c.tags.remove('old')", lambda s: s["tags"].remove("old"), "applied"),
    "text": ("c.description = 'theirs'", lambda s: s.update(text="theirs"), "conflict"),
    "same text": ("c.description = 'mine'", lambda s: s.update(text="mine"), "applied"),
}  # fmt: skip
"""What a colleague does to a collection of links, and what becomes of an edit of its text."""


def test_collections_of_links_beside_a_colleague(place: Place) -> None:
    """They merge as others do; what is linked into them, and where it comes from, stays."""
    account, code, wanted, told = place.account, [], {}, {}
    version = account.make_version("links", "src", "1", metadata='{"n": 1e-3}')
    account.tag_collection("links", "src", "home")
    for number, (name, (act, effect, state)) in enumerate(LINKED.items()):
        place.sdk.do(f"api.artifact('sandbox/links/src:v0').link('links/c{number}', ['prod'])")
        account.tag_collection("links", f"c{number}", "old")
        home = Target("artifact_collection", ENTITY, "links", f"c{number}")
        place.edit(
            Operation(home, "tags", "add", "mine", ["old"]),
            Operation(home, "tags", "remove", "old", ["old", "mine"]),
            Operation(home, "description", "set", "mine", None),
        )
        if act:
            opened = f"c = api.artifact_collection('dataset', 'sandbox/links/c{number}')"
            code.append(f"{opened}; {act}; c.save()")
        held: dict[str, Any] = {"tags": {"old"}, "text": None}
        effect(held)
        text = "mine" if state == "applied" else held["text"]
        wanted[name] = [sorted((held["tags"] | {"mine"}) - {"old"}), text]
        told[name] = ["applied", "applied", state]
    place.sdk.do("\n".join(code))
    untouched = account.collections("links")["src"]
    place.push()
    states = place.states()
    assert {n: states[3 * i : 3 * i + 3] for i, n in enumerate(LINKED)} == told
    seen = place.sdk.do(
        "cs = [api.artifact_collection('dataset', f'sandbox/links/c{n}')"
        f" for n in range({len(LINKED)})]\n"
        "result = [[sorted(c.tags), c.description, c.is_sequence()] for c in cs]"
    )
    assert dict(zip(LINKED, seen, strict=True)) == {n: [*w, False] for n, w in wanted.items()}
    assert account.collections("links")["src"] == untouched
    # Aliases stand in the collection that is named: none is given elsewhere.
    with wbsync.open(place.root) as warehouse:
        warehouse.sync(
            "sandbox/links", api_key=place.sandbox.api_key, base_url=place.sandbox.base_url,
            only=["artifacts"],
        )  # fmt: skip
        for change in ({"add_aliases": ["new"]}, {"remove_aliases": ["prod"]}):
            with pytest.raises(EditError, match="c0 is a collection of links"):
                warehouse.edit("artifacts", "sandbox/links", names=["c0:prod"], **change)
        warehouse.edit("artifacts", "sandbox/links", names=["c0:prod"], add_tags=["seen"])
    assert place.queue.entries(["pending"])[0].target.storage_id == version


STATES: dict[str, tuple[str, str, str]] = {
    "running": ("applied", "failed", "asked"), "failed": ("applied", "failed", ""),
    "crashed": ("failed", "crashed", ""), "finished": ("failed", "finished", ""),
    "killed": ("failed", "killed", ""), "pending": ("conflict", "pending", "asked"),
}  # fmt: skip
"""State that a running run is in by the time of a push, to what becomes of setting it to failed,
the state that it is in then, and whether it is asked to stop."""


def test_states_and_stops_beside_a_colleague(place: Place) -> None:
    """A state that someone has changed is not written over; what has ended is not stopped."""
    for state in STATES:
        run = place.run("ended", f"set-{state}", state="running")
        stopped = place.run("ended", f"stop-{state}", state="running", notes="n")
        place.edit(Operation(run, "state", "set", "failed", "running"))
        place.edit(
            Operation(stopped, "stop", "set", True, False),
            Operation(stopped, "notes", "set", "mine", "n"),
        )
        for target in (run, stopped):
            if state != "running":
                place.account.upsert("ended", target.name, state=state)
    asked = place.run("ended", "asked", state="running")
    place.edit(Operation(asked, "stop", "set", True, False))
    place.sdk.do("api.run('sandbox/ended/asked').stop()")
    before = place.account.run("ended", "asked")
    place.push()
    states = place.states()
    assert states[-1] == "applied"
    assert place.account.run("ended", "asked") == before
    for number, (state, (told, held, stop)) in enumerate(STATES.items()):
        assert states[3 * number : 3 * number + 3] == [told, "applied", "applied"], state
        assert place.sdk.do(f"result = api.run('sandbox/ended/set-{state}').state") == held
        after = place.account.run("ended", f"stop-{state}", "stopped state notes")
        assert after == {"stopped": stop == "asked", "state": state, "notes": "mine"}, state


def test_aliases_and_metadata_beside_a_colleague(place: Place) -> None:
    """An alias that went elsewhere meanwhile stays there; other aliases, tags and keys merge."""
    account = place.account
    ids = [account.make_version("art", "m", str(n), metadata='{"a": 1, "b": 2}') for n in range(3)]
    versions = [Target("artifact", ENTITY, "art", f"m:v{n}", i) for n, i in enumerate(ids)]
    for alias in ("moved", "kept", "gone"):
        account.alias("art", "m", ids[0], alias)
    place.edit(
        Operation(versions[1], "aliases", "add", "moved", ids[0], ("moved",)),
        Operation(versions[1], "aliases", "add", "kept", ids[0], ("kept",)),
        Operation(versions[0], "aliases", "remove", "gone", ids[0], ("gone",)),
        leaf(versions[0], "metadata", "a", 5, 1),
        leaf(versions[0], "metadata", "b", 5, 2),
        Operation(versions[0], "tags", "add", "mine", []),
        Operation(versions[0], "description", "set", "mine", None),
    )
    # A chain over two versions: the alias is to go on from one to the other.
    place.edit(Operation(versions[2], "aliases", "add", "kept", ids[1], ("kept",)))
    place.sdk.do(
        "a = api.artifact('sandbox/art/m:v2'); a.aliases.append('moved'); a.save()\n"
        "a = api.artifact('sandbox/art/m:v0'); a.metadata['b'] = 7; a.tags.append('theirs');"
        " a.save()"
    )
    report = place.push()
    assert (report.applied, report.conflicts) == (6, 2)
    assert [e.operation.label for e in place.queue.entries(["conflict"])] == [
        "aliases.moved", "metadata.b",
    ]  # fmt: skip
    nodes = account.collections("art")["m"]["artifacts"]
    by_id = {n["id"]: n for n in nodes}
    assert [{a["alias"] for a in by_id[i]["aliases"]} for i in ids] == [
        set(), set(), {"latest", "moved", "kept"},
    ]  # fmt: skip
    assert json.loads(by_id[ids[0]]["metadata"]) == {"a": 5, "b": 7}
    assert {t["name"] for t in by_id[ids[0]]["tags"]} == {"mine", "theirs"}


def test_what_is_gone_moved_renamed_or_made_anew_is_said_and_never_written(place: Place) -> None:
    """Each edit is kept with the reason, and no other run is touched."""
    account = place.account
    gone = place.run("lost", "gone", tags=[])
    again = place.run("lost", "again", tags=[])
    moved = place.run("lost", "moved", tags=[])
    renamed = place.run("old-name", "r", tags=[])
    account.pass_time(5)
    account.delete_run("lost", "gone")
    account.delete_run("lost", "again")
    place.run("lost", "again", tags=[])
    account.move_run("lost", "moved", "elsewhere")
    account.rename_project("old-name", "new-name")
    place.run("old-name", "r", tags=[])
    version = account.make_version("lost", "c", "1")
    place.edit(
        *(Operation(t, "tags", "add", "x", []) for t in (gone, again, moved, renamed)),
        Operation(Target("artifact", ENTITY, "lost", "c:v0", version), "tags", "add", "x", []),
        Operation(Target("artifact_collection", ENTITY, "lost", "no"), "tags", "add", "x", []),
        Operation(Target("run", ENTITY, "no-project", "r"), "tags", "add", "x", []),
    )
    account.delete_version(version)
    report = place.push()
    assert (report.outcome, report.failed, report.applied) == ("partial", 7, 0)
    assert all(e.error for e in place.queue.entries(["failed"]))
    for project, run in [
        ("lost", "again"), ("elsewhere", "moved"), ("new-name", "r"), ("old-name", "r"),
    ]:  # fmt: skip
        assert account.run(project, run, "tags")["tags"] == []
    listed = place.cli("queue", "list", "--state", "failed", "--json")
    assert [e["state"] for e in json.loads(listed.stdout)] == ["failed"] * 7
    # Moved back, a retry reaches it.
    account.move_run("elsewhere", "moved", "lost")
    assert place.cli("queue", "retry", "3").returncode == 0
    assert place.push().applied == 1
    assert account.run("lost", "moved", "tags")["tags"] == ["x"]


def test_an_edit_stays_with_its_run_when_projects_take_each_others_names(place: Place) -> None:
    """Neither W&B nor the published tables ever show it on the run that has the name now."""
    account = place.account
    mine = place.run("swap-a", "r", tags=["mine"])
    account.pass_time(300)
    theirs = place.run("swap-b", "r", tags=["theirs"])
    assert mine.created_at != theirs.created_at, "ids of runs tell places: this tells them apart"

    def swap() -> dict[str, str]:
        """Swaps the names, syncs, and returns the tags that are published."""
        for old, new in (("swap-a", "swap-c"), ("swap-b", "swap-a"), ("swap-c", "swap-b")):
            account.rename_project(old, new)
        return shown()

    def shown() -> dict[str, str]:
        done = place.cli("sync", f"{ENTITY}/swap-*", "--only", "runs")
        assert done.returncode == 0, done.stderr
        asked = place.cli("sql", "--json", "SELECT project, tags FROM runs")
        return {row["project"]: row["tags"] for row in json.loads(asked.stdout)}

    assert shown() == {"swap-a": '["mine"]', "swap-b": '["theirs"]'}
    place.edit(Operation(mine, "tags", "add", "x", ["mine"]))
    assert shown() == {"swap-a": '["mine","x"]', "swap-b": '["theirs"]'}
    assert swap() == {"swap-a": '["theirs"]', "swap-b": '["mine"]'}
    assert place.push().outcome == "partial"
    (entry,) = place.queue.entries(["failed"])
    assert "is another run now" in (entry.error or "")
    assert "or its project renamed" in (entry.error or "")
    tags = {p: account.run(p, "r", "tags")["tags"] for p in ("swap-a", "swap-b")}
    assert tags == {"swap-a": ["theirs"], "swap-b": ["mine"]}
    swap()
    assert place.cli("queue", "retry", str(entry.op_id)).returncode == 0
    assert place.push().applied == 1
    assert shown() == {"swap-a": '["mine","x"]', "swap-b": '["theirs"]'}


def test_the_config_of_a_live_run_waits(place: Place) -> None:
    """Its process would undo it, or be undone; tags go at once, and --force writes all the same."""
    run = place.run("live", "r", state="running", config={"lr": {"value": 1}}, tags=[])
    place.edit(
        leaf(run, "config", "lr", 2, 1), leaf(run, "summary", "x", 1),
        Operation(run, "tags", "add", "x", []),
    )  # fmt: skip
    pushed = place.cli("push")
    assert pushed.returncode == 5
    assert "--force" in pushed.stdout
    assert place.states() == ["pending", "pending", "applied"]
    held = place.account.run("live", "r", "config tags")
    assert (json.loads(held["config"]), held["tags"]) == ({"lr": {"value": 1}}, ["x"])
    assert place.push(force=True).applied == 2
    assert json.loads(place.account.run("live", "r", "config")["config"]) == {"lr": {"value": 2}}


def test_states_and_stops_where_wandb_allows_them(place: Place) -> None:
    """What cannot be is said; what is so already is nothing to do."""
    sweep = place.account.make_sweep("states")
    of_sweep = place.run("states", "swept", state="failed", sweep=sweep)
    done, crashed, live = (
        place.run("states", s, state=s) for s in ("finished", "crashed", "running")
    )
    place.edit(
        Operation(of_sweep, "state", "set", "pending", "failed"),
        Operation(done, "state", "set", "pending", "running"),
        Operation(done, "stop", "set", True, False),
        Operation(crashed, "state", "set", "pending", "crashed"),
        Operation(live, "state", "set", "failed", "running"),
    )
    place.push()
    assert place.states() == ["failed", "failed", "applied", "applied", "applied"]
    reasons = [e.error for e in place.queue.entries(["failed"])]
    assert "sweep" in reasons[0]
    assert "finished" in reasons[1]
    assert place.account.run("states", "crashed", "state")["state"] == "pending"
    assert place.account.run("states", "running", "state")["state"] == "failed"


def test_what_wandb_refuses_fails_alone(place: Place) -> None:
    """A bad mutation among many, and a bad field among several of a run, take nothing along."""
    runs = [place.run("refuse", f"r{n}", tags=[], notes="") for n in range(8)]
    with sqlite3.connect(place.sandbox.data / "sandbox.sqlite", timeout=30) as store:
        (pk,) = store.execute(
            "SELECT r.pk FROM runs r JOIN projects p ON p.pk = r.project_pk"
            " WHERE p.name = 'refuse' AND r.name = 'r5'"
        ).fetchone()
        store.execute("UPDATE bodies SET config = '[' WHERE run_pk = ?", (pk,))
    store.close()
    ops = [
        op
        for run in runs
        for op in (Operation(run, "tags", "add", "t", []), Operation(run, "notes", "set", "x", ""))
    ]
    place.edit(*ops, *(leaf(run, "config", "x", 1) for run in runs[5:7]))
    # What the check would not let through: a server may refuse what nobody knows of.
    place.queue._connection.execute(
        "UPDATE operations SET value = ? WHERE name = 'r3' AND field = 'tags'",
        (json.dumps("x" * 65),),
    )
    place.queue._connection.commit()
    report = place.push()
    assert (report.applied, report.failed) == (16, 2)
    failed, broken = place.queue.entries(["failed"])
    assert (broken.target.name, "no JSON object" in (broken.error or "")) == ("r5", True)
    assert failed.target.name == "r3"
    assert "invalid tag" in (failed.error or "")
    held = place.account.run("refuse", "r3", "tags notes")
    assert (held["tags"], held["notes"]) == ([], "x")


def test_a_thousand_runs_take_few_requests_and_undo_brings_them_back(
    tmp_path: Path, account_of: Callable[..., Any]
) -> None:
    """At most 60 requests; the undo restores all but what others have changed since."""
    seeding = [
        sys.executable, "-m", "wbsync", "sandbox", "seed", "--data", str(tmp_path / "d"),
        "--project", "many", "--runs", "1000", "--steps", "0", "--keys", "1", "--artifacts", "0",
    ]  # fmt: skip
    subprocess.run(seeding, check=True, capture_output=True, timeout=120)
    with Sandbox(tmp_path / "d") as sandbox:
        account = account_of(sandbox)
        place = Place(sandbox, account, None, tmp_path / "w")  # type: ignore[arg-type]

        def read() -> dict[str, dict[str, Any]]:
            fields = "id name state tags notes config summaryMetrics displayName group"
            data = account.ask(
                'query R { project(name: "many", entityName: "sandbox") { runs(first: 1000)'
                f" {{ edges {{ node {{ {fields} }} }} }} }} }}"
            )
            return {e["node"]["name"]: e["node"] for e in data["project"]["runs"]["edges"]}

        before = read()
        place.edit(*(op for node in before.values() for op in thousand_edits(node)))
        live = [name for name, node in before.items() if node["state"] == "running"]
        report = place.push(force=True)
        assert live
        assert (report.outcome, report.applied) == ("complete", 4000)
        assert place.requests() - 1 == report.requests <= 60
        edited = read()
        assert all(n["notes"].endswith("checked") and "b" in n["tags"] for n in edited.values())
        assert all(json.loads(n["config"])["new"]["value"] == {"x": 1} for n in edited.values())
        others = list(before)[::100]
        for name in others:
            account.edit("many", name, notes="theirs", tags=["b", "theirs"])
        undone = undo(place.queue, report.push_id, "me")
        assert undone.queued == 4000
        with pytest.raises(EditError, match="already"):
            undo(place.queue, report.push_id, "me")
        back = place.push(force=True)
        assert (back.applied, back.conflicts) == (3990, 10)
        after = read()
        place.queue.close()
    for name, node in after.items():
        if name in others:
            assert (node["notes"], node["tags"]) == ("theirs", ["theirs"])
            node |= {"notes": before[name]["notes"], "tags": before[name]["tags"]}
        node["notes"] = node["notes"] or None
        assert node == before[name]


def thousand_edits(node: dict[str, Any]) -> Iterator[Operation]:
    """Yields four edits of a seeded run."""
    run = Target("run", ENTITY, "many", node["name"], node["id"])
    lr = json.loads(node["config"])["lr"]["value"]
    yield Operation(run, "tags", "add", "b", node["tags"])
    yield Operation(run, "notes", "append", "checked", node["notes"])
    yield leaf(run, "config", "lr", "new", lr)
    yield leaf(run, "config", "new/x", 1)


def test_the_queue_and_the_undo_on_the_command_line(place: Place) -> None:
    """What waits is listed, shown, compared, settled, logged; one push excludes another."""
    run = place.run("cli", "r", tags=[], notes="n", config={"lr": {"value": 1}})
    kept = place.edit(
        Operation(run, "notes", "set", "mine\x1b[2J", "n"), leaf(run, "config", "lr", 2, 1),
        why="tidy up",
    )  # fmt: skip
    place.edit(Operation(run, "tags", "add", "dropped", []))
    place.account.edit("cli", "r", notes="theirs")
    pushed = place.cli("push", "--max", "1", "--filter", '{"state": "finished"}')
    assert pushed.returncode == 1  # nothing was ever synced, so there is nothing to filter
    unknown = place.cli("queue", "drop", "99")
    assert (unknown.returncode, "no operation 99" in unknown.stderr) == (1, True)
    unasked = place.cli("queue", "drop", "3")
    assert (unasked.returncode, "no terminal to ask on" in unasked.stderr) == (2, True)
    assert place.cli("queue", "drop", "3", "--yes").returncode == 0
    with _alone(place.root), pytest.raises(LockedError):
        place.push()
    pushed = place.cli("push")
    assert pushed.returncode == 5
    assert "1 applied, 1 in conflict" in pushed.stdout
    for command in ("list", "diff"):
        shown = place.cli("queue", command)
        assert shown.returncode == 0
        assert "\x1b" not in shown.stdout
        assert "theirs" in shown.stdout or command == "list"
    facts = json.loads(place.cli("queue", "show", "1", "--json").stdout)
    assert (facts["theirs"], facts["operation"]["base"], facts["why"]) == ("theirs", "n", "tidy up")
    assert [line["to_state"] for line in facts["log"]] == ["pending", "conflict"]
    assert "tidy up" in place.cli("queue", "show", "1").stdout
    assert place.cli("queue", "resolve", "1").returncode == 2
    assert place.cli("queue", "resolve", "1", "--mine").returncode == 0
    assert place.cli("push").returncode == 0
    assert place.account.run("cli", "r", "notes")["notes"] == "mine\x1b[2J"
    asked = place.cli("undo", kept.edit_id)
    assert (asked.returncode, "no terminal" in asked.stderr) == (2, True)
    assert "to take back" in asked.stdout
    dry = json.loads(place.cli("undo", kept.edit_id, "--dry-run", "--json").stdout)
    assert (dry["operations"], dry["queued"], dry["edit_id"]) == (2, 0, None)
    assert len(dry["samples"]) == 2
    undone = place.cli("undo", kept.edit_id, "--yes", "--reason", "was wrong", "--json")
    assert json.loads(undone.stdout)["queued"] == 2
    assert place.cli("push", "--json").returncode == 0
    held = place.account.run("cli", "r", "notes config")
    assert (held["notes"], json.loads(held["config"])) == ("theirs", {"lr": {"value": 1}})
    log = json.loads(place.cli("queue", "log", "--json").stdout)
    assert {line["to_state"] for line in log} >= {"pending", "sending", "applied", "dropped"}
    assert all(line["who"] for line in log)
    assert len(json.loads(place.cli("queue", "log", "--pushes", "--json").stdout)) == 3
    assert place.sandbox.api_key.encode() not in (place.root / "queue.sqlite").read_bytes()


def test_sync_pushes_first_and_then_shows_what_wandb_holds(place: Place) -> None:
    """With --push; a filter takes the runs that pass by what the warehouse holds."""
    run, other = (place.run("synced", name, tags=[]) for name in ("r", "s"))
    place.account.edit("synced", "s", notes="skip")
    assert place.cli("sync", "sandbox/synced", "--push", "--skip", "history").returncode == 0
    place.edit(*(Operation(t, "tags", "add", "x", []) for t in (run, other)))
    only = place.cli("push", "--filter", '{"notes": {"$ne": "skip"}}')
    assert only.returncode == 0, only.stdout + only.stderr
    assert place.states() == ["applied", "pending"]
    synced = place.cli("sync", "sandbox/synced", "--push", "--json")
    assert synced.returncode == 0
    assert json.loads(synced.stdout)["push"]["applied"] == 1
    rows = place.cli("sql", "SELECT run_id, tag FROM run_tags ORDER BY 1", "--format", "csv")
    assert rows.stdout.split() == ["run_id,tag", "r,x", "s,x"]


def test_a_server_that_cannot_be_reached_loses_nothing(place: Place) -> None:
    """The edit waits as it was; so it does when the budget is spent half way."""
    run = place.run("away", "r", tags=[])
    place.edit(Operation(run, "tags", "add", "x", []))
    nowhere = resolve_credentials(place.sandbox.api_key, "http://127.0.0.1:9")
    with pytest.raises(TransportError):
        asyncio.run(push(place.root, nowhere))
    assert place.states() == ["pending"]
    stopped = place.cli("push", "--max-requests", "2", "--json")
    assert stopped.returncode == 5
    assert json.loads(stopped.stdout)["outcome"] == "stopped"
    assert place.states() == ["sending"]
    assert place.push().applied == 1
    assert place.account.run("away", "r", "tags")["tags"] == ["x"]


@pytest.mark.parametrize("is_arrived", [True, False])
def test_a_push_that_was_cut_short_is_found_out(place: Place, is_arrived: bool) -> None:
    """What arrived is not done twice, what did not is done; what nobody can know waits."""
    project = f"cut-{is_arrived}"
    names = ("plain", "changed", "told", "removed")
    runs = {n: place.run(project, n, tags=["a"], notes="n", displayName="d") for n in names}
    for run in runs.values():
        place.edit(
            Operation(run, "notes", "append", " x", "n"), Operation(run, "tags", "add", "t", ["a"])
        )
    place.edit(Operation(runs["told"], "display_name", "set", "new", "d"))
    # The push is stopped by its budget once it has written down what it is about to send.
    assert place.push(budget=_Requests(1)).outcome == "stopped"
    assert set(place.states()) == {"sending"}
    if is_arrived:
        for name in names:
            more = {"displayName": "new"} if name == "told" else {}
            place.account.edit(project, name, notes="n x", tags=["a", "t"], **more)
    place.account.edit(project, "changed", notes="theirs", tags=["a", "other"])
    place.account.edit(project, "told", notes="theirs", tags=["other"])
    place.account.edit(project, "removed", tags=["a"])
    place.push()
    held = {n: place.account.run(project, n, "notes tags") for n in names}
    assert (held["plain"]["notes"], held["plain"]["tags"]) == ("n x", ["a", "t"])
    assert (held["changed"]["notes"], held["changed"]["tags"]) == ("theirs", ["a", "other"])
    states = {
        (e.target.name, e.operation.field): e.state for e in place.queue.entries()
    }  # fmt: skip
    assert states["changed", "notes"] == states["changed", "tags"] == "conflict"
    assert states["told", "display_name"] == "applied"
    if is_arrived:
        assert states["told", "notes"] == states["told", "tags"] == "applied"
        assert (held["told"]["notes"], held["told"]["tags"]) == ("theirs", ["other"])
    place.queue.resolve([e.op_id for e in place.queue.entries(["conflict"])], "mine")
    assert place.push().outcome == "complete"
    assert place.account.run(project, "changed", "notes")["notes"] == "theirs x"


def _Requests(count: int) -> Any:
    """Returns a budget of so many requests."""
    from wbsync.api import Budget

    return Budget(count)


def test_an_old_and_busy_server_takes_edits_all_the_same(
    tmp_path: Path, account_of: Callable[..., Any]
) -> None:
    """Without fields that are only nice to have, and with a rate limit; nothing is sent twice."""
    options = ["--without", "stopped,readOnly", "--rate-limit", "4/s"]
    with Sandbox(tmp_path / "d") as sandbox:
        place = Place(sandbox, account_of(sandbox), None, tmp_path / "w")  # type: ignore[arg-type]
        runs = [place.run("old", f"r{n}", tags=[], notes="") for n in range(3)]
        live = place.run("old", "live", state="running")
    with Sandbox(tmp_path / "d", options=options) as sandbox:
        place.sandbox = sandbox
        for run in runs:
            place.edit(Operation(run, "notes", "append", "x", ""))
        place.edit(Operation(live, "stop", "set", True, False))
        for run in runs:
            # A push for each, so that the limit is met.
            assert place.push(limit=1).applied == 1
            assert run
        assert place.push().applied == 1
        assert place.states() == ["applied"] * 4
        statuses = [r["status"] for r in sandbox.requests() if r.get("operation") == "EditRuns"]
        assert statuses.count(200) == 3
    with Sandbox(tmp_path / "d") as sandbox:
        account = account_of(sandbox)
        assert [account.run("old", f"r{n}", "notes")["notes"] for n in range(3)] == ["x"] * 3
        assert account.run("old", "live", "stopped")["stopped"] is True
    place.queue.close()


def test_a_key_that_may_not_see_a_run_changes_nothing(place: Place) -> None:
    """The edit fails, and says so; with the right key, a retry brings it there."""
    run = place.run("theirs", "r", tags=[])
    place.edit(Operation(run, "tags", "add", "x", []))
    bob = resolve_credentials("b" * 40, place.sandbox.base_url)
    report = asyncio.run(push(place.root, bob))
    assert (report.outcome, report.failed) == ("partial", 1)
    assert "may not see" in (place.queue.entries()[0].error or "")
    assert place.account.run("theirs", "r", "tags")["tags"] == []
    place.queue.retry([1])
    assert place.push().applied == 1


def test_python_pushes_from_a_notebook(place: Place) -> None:
    """Inside a running event loop, too."""
    run = place.run("notebook", "r", tags=[])
    place.edit(Operation(run, "tags", "add", "x", []))
    keys = {"api_key": place.sandbox.api_key, "base_url": place.sandbox.base_url}

    async def cell() -> tuple[PushReport, PushReport]:
        with wbsync.open(place.root) as warehouse:
            first = warehouse.push(**keys)
            assert warehouse.undo().queued == 1
            return first, warehouse.push(dry_run=True, **keys)

    pushed, dry = asyncio.run(cell())
    assert (pushed.applied, dry.to_send) == (1, 1)


def after_reading(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Has something happen once between the reading and what is decided by it."""
    real, waiting = settling.read_present, [act]

    async def read(*args: Any) -> Any:
        presents = await real(*args)
        while waiting:
            waiting.pop()()
        return presents

    monkeypatch.setattr(settling, "read_present", read)


def test_an_edit_that_is_dropped_during_a_push_is_not_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what was built on it go out with its value; the rest is pushed."""
    run = place.run("dropped", "r", notes="n", config={"lr": {"value": 1}}, tags=["a"])
    place.edit(
        Operation(run, "notes", "set", "never", "n"),
        leaf(run, "config", "lr", 2, 1), leaf(run, "config", "lr", 3, 2),
        Operation(run, "tags", "add", "b", ["a"]),
    )  # fmt: skip
    ids = [entry.op_id for entry in place.queue.entries()]
    after_reading(monkeypatch, lambda: place.queue.drop(ids[:2]))
    assert place.push().applied == 2
    assert place.states() == ["dropped", "dropped", "applied", "applied"]
    held = place.account.run("dropped", "r", "notes config tags")
    assert held == {"notes": "n", "config": '{"lr": {"value": 3}}', "tags": ["a", "b"]}
    assert [e.attempts for e in place.queue.entries()] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (leaf(RUN, "config", "lr", MISSING, 1), leaf(RUN, "config", "lr", 7),
         {"value": 1, "desc": None}),
        (leaf(RUN, "config", "lr", 2, 1), leaf(RUN, "config", "lr", MISSING, 2),
         {"value": 1, "desc": None}),
        (leaf(RUN, "config", "lr", 2, 1), leaf(RUN, "config", "lr", {"value": 5}, 2),
         {"desc": "d", "value": 1}),
        (leaf(RUN, "config", "lr", MISSING, 1), None, {"desc": "d", "value": 1}),
    ],
)  # fmt: skip
def test_an_undo_over_a_later_edit_puts_the_value_back_where_it_belongs(
    place: Place, request: pytest.FixtureRequest, first: Operation, second: Operation | None,
    wanted: dict[str, Any],
) -> None:  # fmt: skip
    """Not the wrapping in the wrapping, nor a leaf without one, whatever waits in between."""
    name = f"r{request.node.callspec.indices['first']}"
    run = place.run("levels", name, '{"lr": {"desc": "d", "value": 1}, "x": {"value": NaN}}')
    edit = place.edit(replace(first, target=run))
    assert place.push().applied == 1
    if second is not None:
        place.edit(replace(second, target=run))
    undo(place.queue, edit.edit_id, "me")
    place.push()
    config = json.loads(place.account.run("levels", name, "config")["config"])
    assert config["lr"] == wanted
    assert math.isnan(config["x"]["value"])
    assert set(place.states()) == {"applied"}


def test_an_undo_does_not_write_over_what_others_wrote(place: Place) -> None:
    """Not even where an edit of one's own waits in conflict with it, which stays, too."""
    run = place.run("undone", "r", notes="n", config={"lr": {"value": 1}})
    first = place.edit(Operation(run, "notes", "set", "mine", "n"), leaf(run, "config", "lr", 2, 1))
    assert place.push().applied == 2
    place.sdk.do("r = api.run('sandbox/undone/r'); r.notes = 'theirs'; r.update(); result = 0")
    place.edit(Operation(run, "notes", "set", "more", "mine"))
    assert place.push().conflicts == 1
    assert undo(place.queue, first.edit_id, "me").queued == 2
    report = place.push()
    assert (report.applied, report.conflicts) == (1, 1)
    assert place.account.run("undone", "r", "notes")["notes"] == "theirs"
    assert sorted(place.states()) == ["applied", "applied", "applied", "conflict", "conflict"]


def test_an_id_that_means_another_version_or_collection_is_not_enough(place: Place) -> None:
    """Project, collection, version and time of creation are compared, too; else nothing changes."""
    account = place.account
    ids = [account.make_version("same-id", "c", str(n)) for n in range(2)]
    held = account.collections("same-id")["c"]["id"]
    long_ago = "2020-01-01T00:00:00Z"
    wrong = [
        Target("artifact", ENTITY, "same-id", "c:v0", ids[1]),
        Target("artifact", ENTITY, "same-id", "d:v0", ids[0]),
        Target("artifact", ENTITY, "other", "c:v0", ids[0]),
        Target("artifact", ENTITY, "same-id", "c:v1", ids[1], long_ago),
        Target("artifact_collection", ENTITY, "same-id", "c", held, long_ago),
    ]
    for target in wrong:
        place.edit(Operation(target, "description", "set", "wrong", None))
    report = place.push()
    assert (report.failed, report.applied) == (5, 0)
    assert all("is another" in str(e.error) for e in place.queue.entries(["failed"]))
    assert "wrong" not in json.dumps(account.collections("same-id"))


def test_an_edit_goes_to_the_server_that_it_was_made_for_and_to_no_other(
    place: Place, account_of: Callable[..., Any], tmp_path: Path
) -> None:
    """Ids of one server mean other things on the next; an undo is for the same server."""
    run = place.run("served", "r", notes="n")
    with Sandbox(tmp_path / "other") as other:
        account = account_of(other)
        account.upsert("served", "r", state="finished", notes="n")
        account.close()
        there = resolve_credentials(other.api_key, other.base_url)
        with wbsync.open(tmp_path / "synced") as synced:
            synced.sync("sandbox/served", api_key=other.api_key, base_url=other.base_url)
            made = synced.edit("runs", "sandbox/served", names=["r"], values={"notes": "x"})
            with Queue(tmp_path / "synced") as queue:
                assert queue.entries()[0].edit.base_url == other.base_url
            done = subprocess.run(
                [sys.executable, "-m", "wbsync", "-w", str(tmp_path / "synced"), "push"],
                check=False, env=place.sandbox.env(), capture_output=True, text=True, timeout=240,
            )  # fmt: skip
            assert done.returncode not in {0, 5}
            assert f"{made.edit_id} was made for {other.base_url}" in done.stderr
            assert place.account.run("served", "r", "notes")["notes"] == "n"
        # Of what nobody knows, the first push decides.
        place.edit(Operation(run, "notes", "set", "mine", "n"))
        place.push(dry_run=True)
        assert place.queue.entries()[0].edit.base_url is None
        assert place.push().applied == 1
        undo(place.queue, None, "me")
        with pytest.raises(EditError, match=f"made for {place.sandbox.base_url}"):
            asyncio.run(push(place.root, there))
        assert place.push().applied == 1


def test_one_refused_tag_among_several_takes_none_along(place: Place) -> None:
    """What was refused together is sent one by one as if it had never been sent."""
    run = place.run("tags", "r", tags=["a"], notes="n")
    place.edit(
        Operation(run, "tags", "add", "t", ["a"]), Operation(run, "tags", "add", "bad", ["a", "t"]),
        Operation(run, "tags", "add", "u", ["a", "t", "bad"]),
        Operation(run, "notes", "append", " x", "n"),
    )  # fmt: skip
    bad = place.queue.entries()[1].op_id
    place.queue._connection.execute(
        "UPDATE operations SET value = ? WHERE op_id = ?", (json.dumps("x" * 65), bad)
    )
    place.queue._connection.commit()
    report = place.push()
    assert (report.applied, report.failed, report.conflicts) == (3, 1, 0)
    held = place.account.run("tags", "r", "tags notes")
    assert (sorted(held["tags"]), held["notes"]) == (["a", "t", "u"], "n x")


def test_tags_of_a_collection_arrive_part_by_part(place: Place) -> None:
    """Given, but not yet taken away: the rest follows, and an undo takes all of it back."""
    account = place.account
    account.make_version("parts", "d", "1")
    for tag in ("a", "b"):
        account.tag_collection("parts", "d", tag)
    data = Target("artifact_collection", ENTITY, "parts", "d")
    edit = place.edit(
        Operation(data, "tags", "add", "t", ["a", "b"]),
        Operation(data, "tags", "remove", "a", ["a", "b", "t"]),
        Operation(data, "tags", "set", ["s", "t"], ["b", "t"]),
    )

    def tags() -> set[str]:
        held = account.collections("parts")["d"]["tags"]["edges"]
        return {edge["node"]["name"] for edge in held}

    # One request reads, one gives tags; what takes others away is not sent any more.
    assert place.push(budget=_Requests(2)).outcome == "stopped"
    assert tags() == {"a", "b", "s", "t"}
    account.tag_collection("parts", "d", "theirs")
    report = place.push()
    assert (report.outcome, report.applied, report.conflicts) == ("complete", 3, 0)
    assert tags() == {"s", "t", "theirs"}
    undo(place.queue, edit.edit_id, "me")
    assert place.push().outcome == "complete"
    assert tags() == {"a", "b", "theirs"}


def test_what_may_be_on_its_way_stays_so_until_wandb_has_told(place: Place) -> None:
    """Also where an edit beside it is refused, or its run lives again, or is away for a while."""
    account = place.account
    names = ("refused", "live", "away", "both")
    runs = {
        n: place.run("way", n, notes="n", tags=[], config={"lr": {"value": 1}}) for n in names
    }  # fmt: skip
    for name in ("refused", "away", "both"):
        place.edit(Operation(runs[name], "notes", "append", " x", "n"))
    place.edit(leaf(runs["live"], "config", "lr", 2, 1))
    refused, away, both, live = (e.op_id for e in place.queue.entries())
    assert place.push(budget=_Requests(1)).outcome == "stopped"
    assert set(place.states()) == {"sending"}
    place.edit(Operation(runs["refused"], "tags", "add", "bad", []))
    place.queue._connection.execute(
        "UPDATE operations SET value = ? WHERE field = 'tags'", (json.dumps("x" * 65),)
    )
    place.queue._connection.commit()
    account.edit("way", "live", state="running")
    account.edit("way", "away", notes="n x")  # it had arrived, and nobody knows
    account.edit("way", "both", notes="theirs x")
    account.move_run("way", "away", "elsewhere")
    place.push()
    assert place.states() == ["applied", "failed", "conflict", "sending", "failed"]
    steps = [line["to_state"] for line in place.queue.log(op_ids=[refused])]
    assert steps[:2] == ["pending", "sending"]
    assert "pending" not in steps[2:]
    waits = place.queue.entries(op_ids=[live])[0]
    assert (waits.before, waits.after) == (1, 2)
    assert "--force" in (waits.error or "")
    account.edit("way", "live", state="finished")
    account.move_run("elsewhere", "away", "way")
    assert place.queue.retry([away, both]) == 2
    place.push()
    assert place.states() == ["applied", "applied", "conflict", "applied", "failed"]
    assert account.run("way", "away", "notes")["notes"] == "n x"
    assert account.run("way", "both", "notes")["notes"] == "theirs x"
    place.queue.resolve([both], "mine")
    assert place.push().applied == 1
    assert account.run("way", "both", "notes")["notes"] == "theirs x x"


def test_reads_that_lag_behind_fail_nothing(
    tmp_path: Path, account_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push waits a while for what it wrote to show; then the next one looks again."""
    with Sandbox(tmp_path / "d") as sandbox:
        place = Place(sandbox, account_of(sandbox), None, tmp_path / "w")  # type: ignore[arg-type]
        runs = [
            place.run("lag", f"r{n}", notes="n", tags=["a"], config={"lr": {"value": 1}})
            for n in range(2)
        ]

    def edit(run: Target) -> None:
        place.edit(
            Operation(run, "notes", "append", " x", "n"), leaf(run, "config", "lr", 2, 1),
            Operation(run, "tags", "remove", "a", ["a"]),
        )  # fmt: skip

    def written() -> int:
        return sum(r.get("operation") == "EditRuns" for r in place.sandbox.requests())

    edit(runs[0])
    with Sandbox(tmp_path / "d", options=["--read-lag", "1.5"]) as place.sandbox:
        report = place.push()
        assert (report.outcome, report.applied) == ("complete", 3)
        assert written() == 1
    edit(runs[1])
    monkeypatch.setattr(settling, "PATIENCE_S", 0.2)
    with Sandbox(tmp_path / "d", options=["--read-lag", "3600"]) as place.sandbox:
        account = account_of(place.sandbox)
        assert place.push().outcome == "partial"
        assert place.states()[3:] == ["sending"] * 3
        assert all("does not show it yet" in (e.error or "") for e in place.queue.entries()[3:])
        account.pass_time(4000)
        report = place.push()
        assert (report.outcome, report.applied) == ("complete", 3)
        held = account.run("lag", "r1", "notes tags config")
    assert held == {"notes": "n x", "tags": [], "config": '{"lr": {"value": 2}}'}
    assert written() == 2
    place.queue.close()


def test_all_that_is_in_conflict_on_one_place_comes_through_in_order(place: Place) -> None:
    """Taken for mine, each is built on the one before it, also a group and the leaves in it."""
    account = place.account
    config = {"lr": {"value": 1}, "o": {"value": {"a": 1, "b": 1}}}
    run = place.run("order", "r", notes="n", displayName="d", config=config)
    ids = [account.make_version("order", "m", str(n)) for n in range(3)]
    v1, v2 = (Target("artifact", ENTITY, "order", f"m:v{n}", ids[n]) for n in (1, 2))
    account.alias("order", "m", ids[0], "best")
    place.edit(
        Operation(run, "notes", "set", "one", "n"),
        Operation(run, "notes", "append", " two", "one"),
        leaf(run, "config", "lr", 2, 1), leaf(run, "config", "lr", 3, 2),
        leaf(run, "config", "o/a", 2, 1), leaf(run, "config", "o", MISSING, {"a": 2, "b": 1}),
        leaf(run, "config", "o/a", 5),
        Operation(v1, "aliases", "add", "best", ids[0], ("best",)),
        Operation(v2, "aliases", "add", "best", ids[1], ("best",)),
        Operation(run, "display_name", "set", "first", "d"),
    )  # fmt: skip
    theirs = {"lr": {"value": 9}, "o": {"value": {"a": 9, "b": 9}}}
    account.edit("order", "r", notes="theirs", config=theirs, displayName="other")
    account.alias("order", "m", account.make_version("order", "m", "3"), "best")
    assert place.push().conflicts == 10
    # Someone has changed it once more when a second edit meets it: that is what was shown last.
    place.edit(Operation(run, "display_name", "set", "second", "first"))
    account.edit("order", "r", displayName="another")
    assert place.push().conflicts == 1
    assert place.cli("queue", "resolve", "--all", "--mine").returncode == 0
    report = place.push()
    assert (report.outcome, report.applied) == ("complete", 11)
    held = account.run("order", "r", "notes config displayName")
    assert (held["notes"], held["displayName"]) == ("one two", "second")
    assert json.loads(held["config"]) == {
        "lr": {"value": 3}, "o": {"value": {"a": 5}, "desc": None},
    }  # fmt: skip
    assert place.sdk.do("result = api.artifact('sandbox/order/m:best').version") == "v2"


def test_an_alias_is_one_place_whichever_version_has_it(place: Place) -> None:
    """An undo gives each alias back to its own version; what is dropped or replaced is told so."""
    account = place.account
    ids = [account.make_version("moves", "m", str(n)) for n in range(4)]
    v0, _, v2, v3 = (Target("artifact", ENTITY, "moves", f"m:v{n}", i) for n, i in enumerate(ids))
    account.alias("moves", "m", ids[0], "a")
    account.alias("moves", "m", ids[1], "b")
    moved = place.edit(
        Operation(v2, "aliases", "add", "a", ids[0], ("a",)),
        Operation(v2, "aliases", "add", "b", ids[1], ("b",)),
    )
    assert place.push().applied == 2
    account.delete_version(ids[1])
    undo(place.queue, moved.edit_id, "me")
    report = place.push()
    assert (report.applied, report.failed) == (1, 1)
    by_id = {n["id"]: n for n in account.collections("moves")["m"]["artifacts"]}
    assert "a" in {alias["alias"] for alias in by_id[ids[0]]["aliases"]}
    assert "b" in {alias["alias"] for alias in by_id[ids[2]]["aliases"]}
    place.queue.drop([e.op_id for e in place.queue.entries(["failed"])])

    # What is built on an alias that was to go elsewhere goes on from where it is.
    place.edit(Operation(v2, "aliases", "add", "a", ids[0], ("a",)))
    place.edit(Operation(v3, "aliases", "add", "a", ids[2], ("a",)))
    place.queue.drop([place.queue.entries(["pending"])[0].op_id])
    assert place.push().applied == 1
    # A conflict is replaced by an edit that gives it to another version.
    place.edit(Operation(v2, "aliases", "add", "a", ids[0], ("a",)))
    assert place.push().conflicts == 1
    place.edit(Operation(v0, "aliases", "add", "a", ids[3], ("a",)))
    report = place.push()
    assert (report.outcome, report.applied) == ("complete", 1)
    assert place.sdk.do("result = api.artifact('sandbox/moves/m:a').version") == "v0"


def test_edits_of_a_run_that_was_made_anew_do_not_meet_those_of_the_one_before(
    place: Place,
) -> None:
    """They bear the same name and even the same id; only the one that is there is edited."""
    old = place.run("anew", "r", tags=[], notes="")
    place.account.pass_time(600)
    place.account.delete_run("anew", "r")
    new = place.run("anew", "r", tags=[], notes="")
    assert (old.storage_id, old.created_at != new.created_at) == (new.storage_id, True)
    for first, second in ((old, new), (new, old)):
        place.edit(Operation(first, "tags", "add", first.created_at, []))
        place.edit(Operation(second, "tags", "add", second.created_at, []))
    place.push()
    assert place.states() == ["failed", "applied", "applied", "failed"]
    assert place.account.run("anew", "r", "tags")["tags"] == [new.created_at]


def test_a_dry_run_says_by_its_exit_code_what_a_push_would(place: Place) -> None:
    """5 where something would be left; nothing is changed by asking."""
    run = place.run("dry", "r", notes="n", tags=[])
    place.edit(Operation(run, "tags", "add", "x", []))
    assert place.cli("push", "--dry-run").returncode == 0
    place.edit(Operation(run, "notes", "set", "mine", "other"))
    dry = place.cli("push", "--dry-run", "--json")
    facts = json.loads(dry.stdout)
    assert (dry.returncode, facts["outcome"], facts["unsettled"]) == (5, "partial", 1)
    assert place.states() == ["pending", "pending"]
    assert place.cli("push", "--dry-run", "--on-conflict", "theirs").returncode == 0
    pushed = place.cli("push", "--json")
    assert (pushed.returncode, json.loads(pushed.stdout)["unsettled"]) == (5, 1)
    assert place.cli("push", "--dry-run").returncode == 5


def test_nothing_is_undone_twice(place: Place) -> None:
    """Not by its edit after its push; what an undo was undone of can be undone again."""
    run = place.run("twice", "r", notes="n", tags=[])
    notes = place.edit(Operation(run, "notes", "append", " x", "n"))
    tags = place.edit(Operation(run, "tags", "add", "t", []))

    def held() -> tuple[str, list[str]]:
        found = place.account.run("twice", "r", "notes tags")
        return found["notes"], found["tags"]

    pushed = place.push().push_id
    assert undo(place.queue, notes.edit_id, "me").queued == 1
    assert undo(place.queue, pushed, "me").queued == 1
    for which in (pushed, notes.edit_id, tags.edit_id):
        with pytest.raises(EditError, match="taken back already"):
            undo(place.queue, which, "me")
    back = place.push().push_id
    assert held() == ("n", [])
    assert undo(place.queue, back, "me").queued == 2
    place.push()
    assert held() == ("n x", ["t"])
    # Done again, it can be taken back again; of what was dropped, an undo is as if never asked for.
    assert undo(place.queue, pushed, "me").queued == 2
    place.queue.drop([e.op_id for e in place.queue.entries(["pending"])])
    assert undo(place.queue, tags.edit_id, "me").queued == 1
    place.push()
    assert held() == ("n x", [])
