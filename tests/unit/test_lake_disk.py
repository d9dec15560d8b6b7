"""What a commit says it holds is on the disk before it says so."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from wbsync.errors import WarehouseError
from wbsync.lake import Lake, check_warehouse, open_warehouse
from wbsync.lake.delta import CONFIGURATION
from wbsync.tables import load_table

NOW = pa.scalar(0, pa.timestamp("us", tz="UTC"))


def tags(*names: str) -> pa.Table:
    """Returns rows of run_tags."""
    row = {"entity": "e", "project": "p", "run_id": "r", "synced_at": NOW.as_py()}
    return pa.Table.from_pylist(
        [{**row, "tag": name} for name in names], schema=load_table("run_tags").arrow()
    )


@pytest.fixture
def persisted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What is flushed to the disk, in order, and whether the log had a commit at that time."""
    flushed: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        table = path.parent.parent if path.parent.name == "_delta_log" else path.parent
        flushed.append((path.name, any((table / "_delta_log").glob("*.json"))))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return flushed


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at Linux's /proc")
def test_files_reach_the_disk_before_their_commit_and_the_commit_before_it_returns(
    tmp_path: Path, persisted: list[tuple[str, bool]]
) -> None:
    """A power cut keeps no commit whose Parquet file it lost, and loses none that was reported."""
    root = tmp_path / "w"
    open_warehouse(root)
    assert [name for name, _ in persisted] == ["wbsync-warehouse.json.new", "w"]
    persisted.clear()
    lake = Lake(root)
    lake.append("run_tags", tags("a"), {})
    (data,) = lake.files("run_tags")
    names = [name for name, _ in persisted]
    assert persisted[0] == (data.name, False)
    assert names.index("run_tags") < names.index(f"{0:020}.json") < names.index("_delta_log")
    assert {"lake", "w"} <= set(names)
    persisted.clear()
    lake.append("run_tags", tags("b"), {})
    names = [name for name, _ in persisted]
    assert names[0].endswith(".parquet")
    assert names[1:] == ["run_tags", f"{1:020}.json", "_delta_log"]


def test_checkpoints_reach_the_disk_too(
    tmp_path: Path, persisted: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is read from its newest checkpoint, so a lost one would lose the table."""
    monkeypatch.setitem(CONFIGURATION, "delta.checkpointInterval", "3")
    open_warehouse(tmp_path / "w")
    lake = Lake(tmp_path / "w")
    for number in range(4):
        lake.append("run_tags", tags(str(number)), {})
    made = {p.name for p in (lake.root / "run_tags" / "_delta_log").glob("*checkpoint*")}
    assert made
    assert made <= {name for name, _ in persisted}


def test_a_folder_of_which_only_the_first_file_was_begun_is_no_obstacle(tmp_path: Path) -> None:
    """A kill while the marker is written leaves a folder that the next sync takes."""
    root = tmp_path / "w"
    root.mkdir()
    (root / "wbsync-warehouse.json.new").write_text('{"form')
    open_warehouse(root)
    check_warehouse(root)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(WarehouseError, match="not empty"):
        open_warehouse(other)
