"""A command does not pay for pandas where nothing needs it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from wbsync.cli.no_pandas import leave_out_pandas
leave_out_pandas()
import pyarrow as pa
table = pa.table({"a": [1, None], "b": ["x", "y"]})
assert "pandas" not in sys.modules
assert not any(getattr(f, "__name__", "") == "_Hidden" for f in sys.meta_path)
leave_out_pandas()
try:
    import pandas
except ImportError:
    sys.exit()
assert table.to_pandas().shape == (2, 2)
assert pa.array(pandas.Series([1.5])).to_pylist() == [1.5]
"""


def test_lists_become_arrays_without_pandas_and_frames_still_come() -> None:
    """A list is looked at without importing pandas; who asks for a data frame gets one."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
