"""An unchanged sync looks at no run by itself; whatever makes one due makes it look again."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.errors import WarehouseError
from wbsync.sandbox.process import Sandbox
from wbsync.settings import resolve_credentials
from wbsync.state import State
from wbsync.sync import cursors
from wbsync.sync.repair import repair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wbsync.progress import SyncReport
    from wbsync.sync.repair import Repair

ROWS = [{"_step": step, "_timestamp": 1e9 + step, "loss": 1 / (step + 1)} for step in range(5)]
EVENTS = [{"_timestamp": 1e9 + n, "system.cpu": float(n)} for n in range(3)]


class Mirror:
    """A warehouse, and how many cursors its syncs decode."""

    def __init__(self, sandbox: Sandbox, account: Any, root: Path) -> None:
        self._sandbox = sandbox
        self.account = account
        self.root = root
        self.decoded = 0

    def sync(self, *sources: str, **options: Any) -> SyncReport:
        """Syncs the project p, unless others are named."""
        self.decoded = 0
        with wbsync.open(self.root) as warehouse:
            return warehouse.sync(
                *(sources or ("sandbox/p",)), base_url=self._sandbox.base_url,
                api_key=self._sandbox.api_key, **options,
            )  # fmt: skip

    def settle(self) -> None:
        """Syncs twice: the second one looks at no run by itself."""
        self.sync()
        self.sync()
        assert not self.decoded

    def repair(self) -> Repair:
        """Mends the warehouse."""
        credentials = resolve_credentials(self._sandbox.api_key, self._sandbox.base_url)
        return asyncio.run(repair(self.root, (), lambda: credentials, lambda _: None))

    def compare(self, held_content_of: Any) -> None:
        """Compares all that is held with the server."""
        with wbsync.open(self.root) as warehouse:
            assert held_content_of(warehouse, "sandbox") == self.account.content()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A server of the module's own."""
    with Sandbox(tmp_path_factory.mktemp("data")) as sandbox:
        yield sandbox


@pytest.fixture
def mirror(
    sandbox: Sandbox,
    account_of: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Mirror]:
    """A settled warehouse of a project with a finished run, a live one and an empty one."""
    account = account_of(sandbox)
    for run in ("done", "live"):
        account.upsert("p", run, config={"lr": 0.1})
        account.log("p", run, ROWS)
        account.log("p", run, EVENTS, stream="events")
    account.upsert("p", "empty", config={})
    account.log("p", "done", [], done=True)
    account.log("p", "empty", [], done=True)
    account.pass_time(3600)
    mirror = Mirror(sandbox, account, tmp_path / "w")
    decode = cursors.decode

    def counted(kind: Any, text: str) -> Any:
        mirror.decoded += 1
        return decode(kind, text)

    monkeypatch.setattr(cursors, "decode", counted)
    mirror.settle()
    yield mirror
    account.delete_project("p")


def log_more(account: Any) -> None:
    """Logs a row and a row of system metrics."""
    account.log("p", "live", [{"_step": 5, "_timestamp": 1e9 + 5, "loss": 0.5}])
    account.log("p", "live", [{"_timestamp": 1e9 + 9, "system.cpu": 9.0}], stream="events")


def log_events(account: Any) -> None:
    """Logs system metrics alone."""
    account.log("p", "live", [{"_timestamp": 1e9 + 9, "system.cpu": 9.0}], stream="events")


def make_anew(account: Any) -> None:
    """Deletes a run, and makes another one of its name that claims as much."""
    account.delete_run("p", "done")
    account.upsert("p", "done", config={"lr": 0.1})
    account.log("p", "done", [row | {"loss": 7.0} for row in ROWS])
    account.log("p", "done", EVENTS, stream="events", done=True)


def log_again(account: Any) -> None:
    """Rewinds a run, which then logs other values up to the same step."""
    account.rewind("p", "live", 2)
    account.log("p", "live", [row | {"_timestamp": 2e9, "loss": 8.0} for row in ROWS[3:]])


CHANGES: dict[str, Callable[[Any], None]] = {
    "more rows": log_more,
    "more system metrics": log_events,
    "a run made anew": make_anew,
    "a rewind": lambda account: account.rewind("p", "live", 2),
    "a rewind, and as many rows": log_again,
    "a new run": lambda account: account.upsert("p", "new", config={"a": 1}),
    "an edit": lambda account: account.edit("p", "done", notes="x"),
    "a deleted run": lambda account: account.delete_run("p", "done"),
}


def test_every_change_makes_the_mark_void(mirror: Mirror, held_content_of: Any) -> None:
    """What changes after a sync that looked at no run is held by the next, whatever it is."""
    for what, change in CHANGES.items():
        change(mirror.account)
        mirror.sync()
        assert mirror.decoded, what
        mirror.compare(held_content_of)
        mirror.sync()
        assert not mirror.decoded, f"the sync after {what}"


def test_options_do_not_hide_what_is_due(mirror: Mirror, held_content_of: Any) -> None:
    """Streams left out, other runs chosen, a full sync, another project: none vouches for all."""
    account = mirror.account
    log_more(account)
    mirror.sync(skip=["history"])
    mirror.sync(skip=["history"])
    mirror.sync(skip=["system_metrics"])
    mirror.sync(runs=["done"])
    mirror.sync()
    mirror.compare(held_content_of)

    mirror.settle()
    account.log("p", "live", [{"_step": 7, "_timestamp": 1e9 + 7, "loss": 0.1}])
    mirror.sync(runs=["done"])
    mirror.sync(runs=["done"])
    mirror.sync(filters={"state": "finished"})
    mirror.sync()
    mirror.compare(held_content_of)

    mirror.settle()
    mirror.sync(full=True)
    assert mirror.decoded, "a full sync believes no mark"

    mirror.settle()
    account.upsert("q", "other", config={})
    account.log("q", "other", ROWS, done=True)
    mirror.sync("sandbox")
    mirror.compare(held_content_of)
    account.delete_project("q")


def test_a_sync_that_ends_between_two_steps_leaves_no_false_mark(
    mirror: Mirror, held_content_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before any mark is left, or before the rows are committed: the next one ends it."""

    class Gone(BaseException):
        """The process is no more."""

    def die(*_: Any, **__: Any) -> None:
        raise Gone

    log_more(mirror.account)
    with monkeypatch.context() as patch:
        patch.setattr(State, "settle", die)
        with pytest.raises(Gone):
            mirror.sync()
    mirror.sync()
    mirror.compare(held_content_of)

    mirror.settle()
    mirror.account.log("p", "live", [{"_step": 8, "_timestamp": 1e9 + 8, "loss": 0.2}])
    with monkeypatch.context() as patch:
        patch.setattr("wbsync.sync.history.HistorySync.run", die)
        with pytest.raises(Gone):
            mirror.sync()
    mirror.sync()
    mirror.compare(held_content_of)


def test_a_lake_that_was_brought_back_is_looked_at(
    mirror: Mirror, held_content_of: Any, tmp_path: Path
) -> None:
    """A lake from an older copy, below a state that has gone on, comes to what W&B holds.

    Beside a published file that has more, it is refused until a repair has read that again.
    """

    def bring_back(*parts: str) -> None:
        for part in parts:
            shutil.rmtree(mirror.root / part)
            shutil.copytree(tmp_path / part, mirror.root / part)

    for part in ("lake", "catalog"):
        shutil.copytree(mirror.root / part, tmp_path / part)
    log_more(mirror.account)
    mirror.settle()
    bring_back("lake", "catalog")
    mirror.sync(skip=["history", "system_metrics"])
    mirror.sync()
    mirror.compare(held_content_of)

    bring_back("lake")
    with pytest.raises(WarehouseError, match="verify --repair"):
        mirror.sync()
    repaired = mirror.repair()
    assert repaired.after.problems == []
    mirror.compare(held_content_of)
