"""A run's summary: the last values, as a mapping that also takes its keys as attributes.

Source: wandb/apis/public/summary.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wbsync.offline.records import refuse


class Summary(Mapping[str, Any]):
    """The summary of a run, or a dictionary inside it."""

    def __init__(self, values: dict[str, Any]) -> None:
        """Takes plain values."""
        object.__setattr__(self, "_json_dict", values)

    def __getitem__(self, key: str) -> Any:
        values: dict[str, Any] = self.__dict__["_json_dict"]
        value = values[key.strip() if isinstance(key, str) else key]
        return Summary(value) if isinstance(value, dict) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_json_dict"])

    def __len__(self) -> int:
        return len(self.__dict__["_json_dict"])

    def __eq__(self, other: object) -> bool:
        mine = self.__dict__["_json_dict"]
        return bool(mine == (other._json_dict if isinstance(other, Summary) else other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.__dict__["_json_dict"])

    def update(self, *_: Any, **__: Any) -> None:
        """Refuses, as every change."""
        refuse("changing run.summary")

    __setitem__ = __setattr__ = __delitem__ = update
