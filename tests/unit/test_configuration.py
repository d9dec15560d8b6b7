"""What options are in force, and what files may say."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wbsync.configuration import FileContent, SourceEntry, read_file, resolve, warehouse_dir
from wbsync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with room for files of every kind, and none of them yet."""
    for name in ("project/deep/down", "user"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def settle(
    home: Path,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    **more: Any,
) -> Any:
    """Returns the options in force in the deepest folder."""
    return resolve(
        flags or {}, environ=environ or {}, cwd=home / "project" / "deep" / "down",
        user_dir=home / "user", **more,
    )  # fmt: skip


def test_each_place_goes_before_the_next(home: Path) -> None:
    """Flag, environment, nearest wbsync.toml, the user's file, default: the first that has it."""
    found = settle(home)
    assert (found["concurrency"], found.settings["concurrency"].origin) == (4, "default")
    (home / "user" / "config.toml").write_text("concurrency = 5\nmax_requests = 9\n")
    found = settle(home)
    assert found["concurrency"] == 5
    assert found.settings["concurrency"].origin == str(home / "user" / "config.toml")
    (home / "project" / "wbsync.toml").write_text("concurrency = 6\n")
    found = settle(home)
    assert (found["concurrency"], found["max_requests"]) == (6, 9)
    (home / "project" / "deep" / "wbsync.toml").write_text("logs = true\n")
    found = settle(home)
    assert (found["concurrency"], found["logs"]) == (5, True)
    found = settle(home, environ={"WBSYNC_CONCURRENCY": "7", "WBSYNC_LOGS": "false"})
    assert (found["concurrency"], found["logs"]) == (7, False)
    assert found.settings["logs"].origin == "WBSYNC_LOGS"
    found = settle(home, {"concurrency": 8}, {"WBSYNC_CONCURRENCY": "7"})
    assert (found["concurrency"], found.settings["concurrency"].origin) == (8, "the command line")


def test_presence_decides_and_not_truth(home: Path) -> None:
    """A false, an empty list or a zero that is said is not passed over for what stands below."""
    (home / "user" / "config.toml").write_text('logs = true\nsources = ["a/b"]\n')
    (home / "project" / "wbsync.toml").write_text("logs = false\nsources = []\n")
    found = settle(home)
    assert (found["logs"], found["sources"]) == (False, ())
    assert settle(home, {"logs": False}, {"WBSYNC_LOGS": "1"})["logs"] is False
    assert settle(home, environ={"WBSYNC_LOGS": " "})["logs"] is False


def test_a_named_file_stands_for_all(home: Path) -> None:
    """--config reads that file alone, --no-config none."""
    (home / "user" / "config.toml").write_text("max_requests = 1\n")
    (home / "project" / "wbsync.toml").write_text("max_minutes = 2\n")
    other = home / "other.toml"
    other.write_text("concurrency = 3\nwarehouse = 'w'\n")
    found = settle(home, config=other)
    assert (found["concurrency"], found["max_requests"], found["max_minutes"]) == (3, None, None)
    assert found["warehouse"] == home / "w"
    found = settle(home, no_config=True)
    assert (found["concurrency"], found["max_requests"], found["max_minutes"]) == (4, None, None)


def test_the_server_has_two_variables(home: Path) -> None:
    """The one of wbsync goes before the SDK's, and both before a file."""
    (home / "project" / "wbsync.toml").write_text('base_url = "https://file"\n')
    both = {"WBSYNC_BASE_URL": "https://own", "WANDB_BASE_URL": "https://sdk"}
    assert settle(home, environ=both)["base_url"] == "https://own"
    assert settle(home, environ={"WANDB_BASE_URL": "https://sdk"})["base_url"] == "https://sdk"
    assert settle(home)["base_url"] == "https://file"


def test_the_warehouse_has_its_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Option, environment, nearest wbsync.toml, the user's data folder; paths by their file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "none"))
    cwd = home / "project" / "deep"
    environ = {"WBSYNC_WAREHOUSE": str(home / "env")}
    assert warehouse_dir(home / "option", environ, cwd) == home / "option"
    assert warehouse_dir(None, environ, cwd) == home / "env"
    assert warehouse_dir(None, {}, cwd).parts[-2:] == ("wbsync", "default")
    (home / "wbsync.toml").write_text("")
    assert warehouse_dir(None, {}, cwd) == home / ".wbsync"
    (home / "project" / "wbsync.toml").write_text('warehouse = "data/w"')
    assert warehouse_dir(None, {}, cwd) == home / "project" / "data" / "w"


WHOLE = """
sources = ["t/p", "u"]
warehouse = "w"
base_url = "https://x.example"
concurrency = 2
logs = true
max_requests = 100
max_minutes = 2.5
watch_interval = "5m"

[queries]
path = "q"

[[source]]
path = "team/exp-*"
filter = { state = "finished", "config.lr" = { "$gt" = 0.1 } }
since = 2026-01-31
only = ["runs", "history"]
skip = []
logs = false
"""


def test_a_file_is_read_whole(home: Path) -> None:
    """Every key there is, with sources as texts and as tables."""
    path = home / "wbsync.toml"
    path.write_text(WHOLE)
    content = read_file(path)
    assert content.problems == []
    assert content.values == {
        "warehouse": home / "w", "base_url": "https://x.example", "concurrency": 2, "logs": True,
        "max_requests": 100, "max_minutes": 2.5, "watch_interval": timedelta(minutes=5),
        "queries.path": home / "q",
        "sources": (
            SourceEntry("t/p"), SourceEntry("u"),
            SourceEntry(
                "team/exp-*", {"state": "finished", "config.lr": {"$gt": 0.1}}, "2026-01-31",
                ("runs", "history"), (), False,
            ),
        ),
    }  # fmt: skip


WRONG = [
    ('warehose = "x"', "", "did you mean 'warehouse'"),
    ("zzz = 1", "", "known are warehouse, sources, base_url"),
    ("api_key = 'hush'", "", "unknown key 'api_key'"),
    ("sources = 'x'", "sources", "must be a list"),
    ("sources = [1]", "sources", "must be a list"),
    ("source = 'x'", "sources", "must be a list"),
    ("sources = ['a/b/c']", "source[1].path", "is not ENTITY/PROJECT"),
    ("sources = ['a/b', '']", "source[2].path", "must be a text"),
    ("sources = ['*/b']", "source[1].path", "only the project"),
    ("[[source]]\nsince = '7d'", "source[1]", "must have a path"),
    ("[[source]]\npath = 'a/b'\nsinse = '7d'", "source[1]", "did you mean 'since'"),
    ("[[source]]\npath = 'a/b'\nsince = 'soon'", "source[1].since", "no time"),
    ("[[source]]\npath = 'a/b'\nsince = 7", "source[1].since", "must be a time"),
    ("[[source]]\npath = 'a/b'\nfilter = '{}'", "source[1].filter", "must be a table"),
    ("[[source]]\npath = 'a/b'\nonly = ['rums']", "source[1].only", "did you mean 'runs'"),
    ("[[source]]\npath = 'a/b'\nskip = 'runs'", "source[1].skip", "must be a list of tables"),
    ("[[source]]\npath = 'a/b'\nlogs = 1", "source[1].logs", "true or false"),
    ("warehouse = 1", "warehouse", "must be a text"),
    ("base_url = ''", "base_url", "must be a text"),
    ("concurrency = 0", "concurrency", "from 1 to 32"),
    ("concurrency = true", "concurrency", "from 1 to 32"),
    ("concurrency = '4'", "concurrency", "from 1 to 32"),
    ("logs = 'yes'", "logs", "true or false"),
    ("max_requests = 1.5", "max_requests", "whole number"),
    ("max_requests = 0", "max_requests", "at least 1"),
    ("max_minutes = inf", "max_minutes", "above 0"),
    ("max_minutes = nan", "max_minutes", "above 0"),
    ("max_minutes = false", "max_minutes", "above 0"),
    ("watch_interval = 'often'", "watch_interval", "must be a duration"),
    ("watch_interval = 0", "watch_interval", "must be a duration"),
    ("queries = 'x'", "", "unknown key 'queries'; did you mean 'queries.path'"),
    ("[queries]\npth = 'x'", "", "did you mean 'queries.path'"),
    ("= nonsense", "", "line 1"),
    ("a = 1\na = 2", "", "overwrite"),
]


@pytest.mark.parametrize(("text", "key", "says"), WRONG)
def test_what_is_wrong_is_named(home: Path, text: str, key: str, says: str) -> None:
    """File and key are named, with what is expected, or the nearest key; a value is not shown."""
    path = home / "project" / "wbsync.toml"
    path.write_text(text)
    (problem,) = read_file(path).problems
    assert (problem.file, problem.key) == (str(path), key)
    assert says in problem.text
    assert "hush" not in str(problem)
    with pytest.raises(ConfigError) as caught:
        settle(home)
    assert str(problem) in str(caught.value)


def test_all_problems_are_found_at_once(home: Path) -> None:
    """A file with several says them all, and the error says how many more there are."""
    path = home / "project" / "wbsync.toml"
    path.write_text("concurrency = 99\nlogs = 3\n[[source]]\npath='a/b'\nsince='x'\nonly=['y']\n")
    assert [p.key for p in read_file(path).problems] == [
        "concurrency", "logs", "source[1].since", "source[1].only",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="3 more: wbsync config validate"):
        settle(home)
    path.write_bytes(b"\xff\xfe")
    assert len(read_file(path).problems) == 1
    assert isinstance(read_file(home / "missing.toml"), FileContent)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("WBSYNC_CONCURRENCY", "many", "from 1 to 32"), ("WBSYNC_LOGS", "perhaps", "true or false"),
        ("WBSYNC_MAX_REQUESTS", "-1", "at least 1"), ("WBSYNC_MAX_MINUTES", "nan", "above 0"),
        ("WBSYNC_WATCH_INTERVAL", "x", "duration"), ("WBSYNC_SOURCES", "a/b/c", "ENTITY/PROJECT"),
    ],
)  # fmt: skip
def test_a_variable_that_is_wrong_is_named(home: Path, name: str, text: str, says: str) -> None:
    """The variable and what it holds are named."""
    with pytest.raises(ConfigError, match=says) as caught:
        settle(home, environ={name: text})
    assert name in str(caught.value)


def test_variables_are_read_as_files_are(home: Path) -> None:
    """Numbers, flags, lists and durations; a relative path is the working folder's."""
    found = settle(
        home,
        environ={
            "WBSYNC_MAX_REQUESTS": "12", "WBSYNC_MAX_MINUTES": "0.5", "WBSYNC_LOGS": "Yes",
            "WBSYNC_SOURCES": "a/b, c", "WBSYNC_WATCH_INTERVAL": "90", "WBSYNC_WAREHOUSE": "w",
        },
    )  # fmt: skip
    assert (found["max_requests"], found["max_minutes"], found["logs"]) == (12, 0.5, True)
    assert [entry.path for entry in found["sources"]] == ["a/b", "c"]
    assert found["watch_interval"] == timedelta(seconds=90)
    assert found["warehouse"] == home / "project" / "deep" / "down" / "w"


def test_config_shows_and_validates(home: Path) -> None:
    """Values stand beside their origin, the key nowhere; all problems are listed, exit code 2.

    A key is for the server that the nearest file names once the user has said so, too.
    """
    env = {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home / "none"), "WANDB_API_KEY": "k" * 40,
        "WBSYNC_CONCURRENCY": "3", "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin",
    }  # fmt: skip

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wbsync", *args], check=False, capture_output=True, text=True,
            timeout=60, cwd=home / "project", env=env,
        )  # fmt: skip

    (home / "project" / "wbsync.toml").write_text(WHOLE)
    done = call("config", "show")
    assert done.returncode == 0, done.stderr
    lines = {line.partition("=")[0].strip(): line for line in done.stdout.splitlines()}
    assert lines["concurrency"].split("=")[1].strip() == "3  (WBSYNC_CONCURRENCY)"
    assert str(home / "project" / "wbsync.toml") in lines["max_requests"]
    assert "is not sent to https://x.example" in lines["api_key"]
    named = call("--config", "wbsync.toml", "config", "show").stdout
    assert "(set)  (WANDB_API_KEY)" in named
    own = home / "none" / "wbsync" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("base_url = 'https://x.example'\n")
    assert "(set)  (WANDB_API_KEY)" in call("config", "show").stdout
    own.unlink()
    assert "k" * 40 not in done.stdout + done.stderr
    facts = json.loads(call("-w", "x", "config", "show", "--json").stdout)["settings"]
    assert facts["warehouse"]["value"] == str(home / "project" / "x")
    assert facts["sources"]["value"][2]["since"] == "2026-01-31"
    assert call("config", "validate").returncode == 0

    (home / "project" / "wbsync.toml").write_text("base_url = 'ftp://x'\nlogs = 1\nzzz = 2\n")
    done = call("config", "validate")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 3
    assert len(json.loads(call("config", "validate", "--json").stdout)["problems"]) == 3
    assert call("--no-config", "config", "show").returncode == 0
    done = call("--config", "wbsync.toml", "--no-config", "config", "show")
    assert done.returncode == 2
    assert call("sync").returncode == 2
