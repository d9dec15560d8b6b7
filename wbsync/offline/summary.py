"""A run's summary: the last values, as a mapping that also takes its keys as attributes.

Source: wandb/apis/public/summary.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class NoSuchKeyError(KeyError, AttributeError):
    """A summary has no such key: what the SDK raises, and what `hasattr` takes for missing."""


class Summary(MutableMapping[str, Any]):
    """The summary of a run, or a dictionary inside it."""

    def __init__(self, values: dict[str, Any], commit: Callable[[], None]) -> None:
        """Takes plain values, which it changes.

        Args:
            values: What it holds.
            commit: Queues what was changed.
        """
        object.__setattr__(self, "_json_dict", values)
        object.__setattr__(self, "_commit", commit)

    def __getitem__(self, key: str) -> Any:
        values: dict[str, Any] = self.__dict__["_json_dict"]
        value = values[_stripped(key)]
        return Summary(value, self.__dict__["_commit"]) if isinstance(value, dict) else value

    def __setitem__(self, key: str, value: Any) -> None:
        self.__dict__["_json_dict"][_stripped(key)] = _plain(value)

    def __delitem__(self, key: str) -> None:
        del self.__dict__["_json_dict"][_stripped(key)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise NoSuchKeyError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

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

    def update(self, key_vals: Any = None, overwrite: bool = True) -> None:  # type: ignore[override]
        """Sets values, and queues all that was changed in the summary.

        Args:
            key_vals: A mapping; None only queues.
            overwrite: Whether keys that are there are set, too.
        """
        for key, value in dict(key_vals or {}).items():
            if overwrite or _stripped(key) not in self:
                self[key] = value
        self.__dict__["_commit"]()


def _stripped(key: str) -> str:
    return key.strip() if isinstance(key, str) else key


def _plain(value: Any) -> Any:
    if isinstance(value, Summary):
        return value._json_dict  # noqa: SLF001
    return dict(value) if isinstance(value, Mapping) else value
