"""Files of artifacts and runs come to disk as the SDK brings them, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import wbsync
from wbsync.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Call = Callable[..., subprocess.CompletedProcess[str]]

BIG_BYTES = int(os.environ.get("WBSYNC_TEST_BIG_BYTES", "67108864"))
"""Size of the big artifact; `make test-long` takes a gigabyte."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, run_script: Any) -> Iterator[Any]:
    """A sandbox with artifacts that the SDK logged, and where the SDK downloaded them to."""
    cwd = tmp_path_factory.mktemp("sdk")
    far = tmp_path_factory.mktemp("far")
    (far / "far.txt").write_text("far away", encoding="utf-8")
    (far / "no-etag.txt").write_text("as it is", encoding="utf-8")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(far))

        def end_headers(self) -> None:
            etag = far / "etag"
            if not self.path.endswith("no-etag.txt"):
                self.send_header("ETag", etag.read_text("utf-8") if etag.exists() else '"first"')
            super().end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        with Sandbox(tmp_path_factory.mktemp("data")) as sandbox:
            address = f"http://127.0.0.1:{web.server_address[1]}"
            run_script("log_artifacts.py", sandbox, cwd, address, str(BIG_BYTES))
            yield sandbox, cwd / "sdk", far
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def tree(folder: Path) -> dict[str, str]:
    """Returns path to digest of all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def printed(done: subprocess.CompletedProcess[str]) -> Any:
    """Returns what `--json` printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def get(place: Any, wbsync_cli: Call) -> Callable[..., Any]:
    """Gets a version of the project, and returns the report."""

    def call(name: str, out: Path, *options: str) -> Any:
        name = name if "/" in name else f"sandbox/files/{name}"
        return printed(
            wbsync_cli(place[0], "artifact", "get", name, "-o", str(out), "--json", *options)
        )

    return call


@pytest.fixture
def look(place: Any, wbsync_cli: Call) -> Callable[..., Any]:
    """Calls another command, and returns the JSON that it prints."""

    def call(*args: str) -> Any:
        return printed(wbsync_cli(place[0], *args, "--json"))

    return call


@pytest.mark.parametrize("name", ["data:v0", "data:latest", "big:v0", "linked:v0", "unchecked:v0"])
def test_folders_are_what_the_sdk_makes(
    place: Any, get: Any, tmp_path: Path, name: str
) -> None:
    """Files, nested folders, references and links give byte-identical folders; twice is nothing."""
    out = tmp_path / "out"
    first = get(name, out)
    assert tree(out) == tree(place[1] / name.replace(":", "-"))
    assert first["downloaded"]
    assert not first["failed"]
    again = get(name, out)
    assert {*again["kept"]} >= {*first["downloaded"]} - {"far/away.txt"}


def test_lineage_longer_than_a_page_is_read_to_its_end(
    place: Any, tmp_path: Path, wbsync_env: Any
) -> None:
    """What a run logged is whole where W&B lists it in pages; read again, it is unchanged."""
    data = tmp_path / "data"
    shutil.copytree(place[0].data, data)
    with Sandbox(data, options=["--max-page-rows", "3"]) as sandbox:
        wbsync_env(sandbox)
        with wbsync.open(tmp_path / "w") as warehouse:
            assert warehouse.sync("sandbox/files").outcome == "complete"
            made = warehouse.sql(
                "SELECT artifact_name FROM run_artifacts WHERE run_id = 'maker'"
                " AND direction = 'logged' ORDER BY ALL"
            ).fetchall()
            assert [name for (name,) in made] == [
                "big:v0", "data:v0", "data:v1", "linked:v0", "unchecked:v0",
            ]  # fmt: skip
            again = warehouse.sync("sandbox/files", full=True)
            assert (again.outcome, again.runs_changed, again.drift) == ("complete", 0, ())


def test_the_cache_is_shared_between_versions_and_works_without_a_network(
    place: Any, wbsync_cli: Call, get: Any, tmp_path: Path
) -> None:
    """What one version brought, another does not ask for; synced names are found offline."""
    sandbox, sdk, _ = place
    assert wbsync_cli(sandbox, "sync", "sandbox/files").returncode == 0
    first, second = (get(f"data:v{i}", tmp_path / str(i)) for i in (0, 1))
    assert len(first["downloaded"]) == 5
    assert second["downloaded"] == ["plain.txt"]
    assert len(second["cached"]) == 3
    asked = len(sandbox.requests())
    for name in ("sandbox/files/data:best", "sandbox/files/data:v0"):
        out = tmp_path / name.replace("/", "-")
        off = get(name, out, "--offline")
        assert len(off["cached"]) == 4
        assert off["references"].keys() == {"far/away.txt"}
        found = tree(out)
        assert found == {k: v for k, v in tree(sdk / "data-v0").items() if k in found}
        assert off["note"].startswith("W&B not asked; ")
    assert len(sandbox.requests()) == asked

    # Where W&B cannot be reached, the past answers, and says so.
    away = wbsync_cli(
        sandbox, "artifact", "get", "sandbox/files/data:latest", "-o", str(tmp_path / "away"),
        "--no-references", "--base-url", "http://127.0.0.1:9", "--json",
    )  # fmt: skip
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    note = f"W&B not reached; sandbox/files/data:latest is data:v1 as of the sync at {day}"
    assert printed(away)["note"].startswith(note)
    assert note in away.stderr
    lost = wbsync_cli(sandbox, "artifact", "get", "sandbox/files/big:v0", "-o", str(tmp_path / "b"),
                      "--offline")  # fmt: skip
    assert lost.returncode == 1
    assert "not in the cache" in lost.stderr


def test_a_reference_that_changed_is_not_taken(
    place: Any, wbsync_cli: Call, get: Any, tmp_path: Path
) -> None:
    """A file on the web comes while its ETag is the one that was logged, and fails afterwards."""
    sandbox, _, far = place
    assert "far/away.txt" in get("data:v0", tmp_path / "before")["downloaded"]
    (far / "etag").write_text('"second"', encoding="utf-8")
    try:
        name = "sandbox/files/data:v0"
        after = wbsync_cli(
            sandbox, "artifact", "get", name, "-o", str(tmp_path / "after"), "--json"
        )
    finally:
        (far / "etag").unlink()
    assert after.returncode == 5
    assert "ETag" in json.loads(after.stdout.splitlines()[-1])["failed"]["far/away.txt"]
    assert not (tmp_path / "after" / "far" / "away.txt").exists()


def test_a_killed_download_goes_on_and_shows_nothing_half(
    place: Any, get: Any, tmp_path: Path
) -> None:
    """SIGKILL in the middle leaves no file under its final name; the next call gets the rest."""
    sandbox, sdk, _ = place
    out, partial = tmp_path / "out", tmp_path / "warehouse" / "blobs" / "partial"
    process = subprocess.Popen(
        [sys.executable, "-m", "wbsync", "-w", str(tmp_path / "warehouse"), "artifact", "get",
         "sandbox/files/big:v0", "-o", str(out)],
        env=sandbox.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    held = 0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and held < BIG_BYTES // 50:
        held = max((p.stat().st_size for p in partial.glob("md5-*[0-9a-f]")), default=0)
    process.kill()
    process.wait()
    assert 0 < held < BIG_BYTES, "the process ended before it could be killed"
    assert not tree(out)
    rest = get("big:v0", out)
    assert rest["bytes"] <= BIG_BYTES - held
    assert tree(out) == tree(sdk / "big-v0")
    assert not list(partial.iterdir())


def test_a_damaged_cache_or_file_is_found_and_mended(
    place: Any, get: Any, tmp_path: Path
) -> None:
    """Neither the cache nor what lies in the folder is believed without a look at its content."""
    out = tmp_path / "out"
    get("data:v0", out, "--no-references")
    size = (out / "plain.txt").stat().st_size
    (out / "plain.txt").write_bytes(b"x" * size)
    for blob in (tmp_path / "warehouse" / "blobs" / "md5").rglob("*"):
        if blob.is_file() and blob.stat().st_size == size:
            blob.write_bytes(b"y" * size)
    assert get("data:v0", out, "--no-references")["downloaded"] == ["plain.txt"]
    wanted = {k: v for k, v in tree(place[1] / "data-v0").items() if not k.startswith("far/")}
    assert tree(out) == wanted


def test_lineage_and_versions_are_shown_from_the_warehouse(
    place: Any, wbsync_cli: Call, look: Any
) -> None:
    """ls, show and lineage say what made what, without asking W&B."""
    sandbox, _, _ = place
    assert wbsync_cli(sandbox, "sync", "sandbox/files").returncode == 0
    asked = len(sandbox.requests())
    versions = look("artifact", "ls", "sandbox/files/data")
    assert [v["version"] for v in versions] == ["v1", "v0"]
    shown = look("artifact", "show", "sandbox/files/data:v0")
    assert (shown["aliases"], shown["logged_by"], shown["used_by_runs"]) == (
        "best", "sandbox/files/maker", 1,
    )  # fmt: skip
    down = wbsync_cli(sandbox, "artifact", "lineage", "sandbox/files/data:best", "--down").stdout
    assert "(sandbox/files/user)" in down
    assert "   └─ model:v0 [model]" in down
    (made,) = look("artifact", "lineage", "sandbox/files/model:latest")["up"]["next"]
    assert made["id"] == "sandbox/files/user"
    assert [n["label"] for n in made["next"]] == ["data:v0 [dataset]"]
    assert made["next"][0]["next"][0]["id"] == "sandbox/files/maker"
    assert len(sandbox.requests()) == asked
    nothing = wbsync_cli(sandbox, "artifact", "show", "sandbox/files/none:v0")
    assert nothing.returncode == 1
    assert "not in this warehouse" in nothing.stderr


def test_files_of_runs(place: Any, wbsync_cli: Call, look: Any, tmp_path: Path) -> None:
    """A pattern chooses; what comes is what W&B holds."""
    sandbox, _, _ = place
    out = tmp_path / "files"
    done = look("files", "get", "sandbox/files/maker", "*.json", "-o", str(out))
    assert {"wandb-metadata.json", "wandb-summary.json"} <= tree(out).keys()
    assert all(name.endswith(".json") for name in tree(out))
    assert json.loads((out / "wandb-metadata.json").read_text(encoding="utf-8"))["program"]
    listed = look("files", "ls", "sandbox/files/maker", "*.json")
    assert {f["name"] for f in listed} == {*done["downloaded"], *done["cached"]}
    missing = wbsync_cli(sandbox, "files", "get", "sandbox/files/nobody", "-o", str(out))
    assert missing.returncode == 1
    assert "no such run" in missing.stderr
    for args in (
        ("files", "get", "sandbox/files/maker", "nope*"),
        ("artifact", "get", "sandbox/files/data:v0", "--prefix", "nope*"),
    ):
        none = wbsync_cli(sandbox, *args, "-o", str(tmp_path / "none"))
        assert none.returncode == 1
        assert "no file fits 'nope*'; there are " in none.stderr
        assert not (tmp_path / "none").exists()


def test_unknown_versions_and_names_are_refused(place: Any, wbsync_cli: Call) -> None:
    """Each gets one line that says what to write."""
    sandbox, _, _ = place
    for name, code, words in (
        ("sandbox/files/none:latest", 1, "no such version"),
        ("sandbox/files/data:v99", 1, "no such version"),
        ("a/b/c/d", 2, "no artifact's name"),
        ("data", 2, "names no project"),
    ):
        done = wbsync_cli(sandbox, "artifact", "get", name)
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr


def test_registries_give_their_versions(
    run_script: Any, wbsync_cli: Call, tmp_path: Path
) -> None:
    """A link is found by the organisation's name, its entity or, where there is one, by neither."""
    options = ["--add-organization", "acme:sandbox", "--add-team", "acme/crew:sandbox"]
    with Sandbox(tmp_path / "data", options=options) as sandbox:
        run_script("edit_registries.py", sandbox, tmp_path, "make")
        wanted = {"w.bin": hashlib.sha256(b"weights 1").hexdigest()}
        for name in (
            "wandb-registry-models/classifier:a1", "acme/wandb-registry-models/classifier:v1",
            "acme-org/wandb-registry-models/classifier:a1",
            "crew/wandb-registry-models/classifier:v1",
        ):  # fmt: skip
            out = tmp_path / name.replace("/", "-")
            done = printed(wbsync_cli(sandbox, "artifact", "get", name, "-o", str(out), "--json"))
            assert not done["failed"]
            assert tree(out) == wanted, name
        assert wbsync_cli(sandbox, "sync", "crew/train").returncode == 0
        asked = len(sandbox.requests())
        for front, alias in (("", "a1"), ("acme/", "v1")):
            name = f"{front}wandb-registry-models/classifier:{alias}"
            out = tmp_path / f"offline-{name.replace('/', '-')}"
            done = printed(
                wbsync_cli(sandbox, "artifact", "get", name, "-o", str(out), "--offline", "--json")
            )
            assert tree(out) == wanted
        assert len(sandbox.requests()) == asked
