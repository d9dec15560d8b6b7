"""What is installed is what was written, and starts fast."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_wheel_holds_schemas_and_queries(tmp_path: Path) -> None:
    """The wheel carries what the code reads at run time, and nothing of the tests."""
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--disable-pip-version-check",
            "-w", str(tmp_path), str(ROOT),
        ],
        check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*(ROOT / "schemas").rglob("*"), *(ROOT / "queries").rglob("*")]:
        if path.is_file():
            assert f"wbsync/{path.relative_to(ROOT)}" in names
    assert not [n for n in names if n.split("/")[0] != "wbsync" and ".dist-info" not in n]
    # Unpacked elsewhere, it finds them.
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import wbsync.tables as t, wbsync.api.documents as d; print(len(t.table_names()),"
        " d.load_document('project_runs').name, t.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60,
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    count, name, place = done.stdout.split()
    assert int(count) > 10
    assert name == "ProjectRuns"
    assert place.startswith(str(tmp_path))


def test_heavy_imports_wait() -> None:
    """Neither `import wbsync` nor `wbsync --help` loads what only work needs."""
    heavy = "{'duckdb', 'pyarrow', 'deltalake', 'httpx', 'pandas', 'polars', 'numpy', 'rich'}"
    for code in (
        f"import wbsync, sys; print(sorted({heavy} & set(sys.modules)))",
        (
            "import sys\nfrom wbsync.cli import main\ntry:\n  main(['--help'])\nexcept SystemExit:"
            f"\n  print(sorted({heavy} & set(sys.modules)))"
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines()[-1] == "[]"
