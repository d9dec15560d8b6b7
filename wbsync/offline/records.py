"""What every object shares: attributes in W&B's spellings, and what may be set of them.

Source: wandb/apis/attrs.py.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from wbsync.errors import NotHeldAttributeError, ReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Record:
    """An object whose attributes are W&B's fields, in snake case or as the server spells them."""

    _refused: ClassVar[frozenset[str]] = frozenset()
    """Methods that change W&B, or need its server at hand."""
    _unheld: ClassVar[frozenset[str]] = frozenset()
    """Attributes and methods whose content no sync brings."""

    _editable: ClassVar[Mapping[str, str]] = {}
    """Attributes that may be set, to the field that holds them; a method queues what was set."""

    def __init__(self, attrs: dict[str, Any]) -> None:
        """Takes the fields, under the server's names."""
        object.__setattr__(self, "_attrs", attrs)

    def __getattr__(self, name: str) -> Any:
        attrs: dict[str, Any] = self.__dict__.get("_attrs", {})
        for key in (_camel(name), name):
            if key in attrs:
                return attrs[key]
        if name in self._refused:
            return partial(refuse, f"{type(self).__name__}.{name}()")
        if name in self._unheld:
            raise NotHeldAttributeError(f"{type(self).__name__}.{name}")
        raise AttributeError(f"{self!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._editable:
            self._attrs[self._editable[name]] = value
            return
        if not name.startswith("_") and (
            hasattr(type(self), name) or {name, _camel(name)} & self._attrs.keys()
        ):
            refuse(f"setting {type(self).__name__}.{name}")
        object.__setattr__(self, name, value)


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def refuse(what: str, *_: Any, **__: Any) -> None:
    """Raises ReadOnlyError: a change was asked for."""
    raise ReadOnlyError(f"{what}: objects of wbsync.Api cannot do this; do it with wandb.Api()")


def instant(value: datetime | None) -> str | None:
    """Returns an instant of the warehouse as W&B writes it.

    >>> from datetime import datetime
    >>> instant(datetime(2026, 1, 2, 3, 4, 5))
    '2026-01-02T03:04:05Z'
    """
    return None if value is None else value.isoformat() + "Z"


def frame(url: str, height: int, hidden: bool) -> str:
    """Returns a frame that shows a page of W&B; it needs the network to fill."""
    style = f"border:none;width:100%;height:{height}px;" + ("display:none;" if hidden else "")
    return f"<iframe src={url + '?jupyter=true'!r} style={style!r}></iframe>"
