"""What every object shares: attributes in W&B's spellings, and what may be set of them.

Source: wandb/apis/attrs.py.
"""

from __future__ import annotations

import re
import sys
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
        if name in self._unheld or name in map(_camel, self._unheld):
            raise NotHeldAttributeError(f"{type(self).__name__}.{name}")
        raise AttributeError(f"{self!r} object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *map(_snake, self.__dict__.get("_attrs", ()))})

    def to_html(self, *_: Any, **__: Any) -> str | None:
        """Returns a frame that shows its page in W&B; None for what has no page of its own."""
        return None

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Shows its page in a Jupyter notebook, from the network; returns whether it did."""
        ipython: Any = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        html = self.to_html(height, hidden)
        if html is None or type(shell).__name__ != "ZMQInteractiveShell":
            return False
        ipython.display.display(ipython.display.HTML(html))
        return True

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


def _snake(name: str) -> str:
    """Returns a name of the server's in snake case.

    >>> _snake("historyLineCount"), _snake("full_name")
    ('history_line_count', 'full_name')
    """
    return re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", name)


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
