"""Keeps a command from importing pandas where it is installed and nothing needs it."""

from __future__ import annotations

import sys
from typing import Any


class _Hidden:
    """A finder of modules to which there is no pandas."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        """Finds nothing, and ends the search where it is for pandas."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def leave_out_pandas() -> None:
    """Lets pyarrow look for pandas, once, while there is none.

    It would import pandas, in a fifth of a second, with the first list that it is given, to see
    whether the list is a Series. What asks for a data frame later gets one.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _Hidden)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_Hidden)
