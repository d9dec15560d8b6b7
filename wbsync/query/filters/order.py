"""Order strings: `+created_at`, `-summary_metrics.acc`, `config.lr.value`, or several of them.

Values of different types stand in MongoDB's order: missing and null first, then NaN, numbers,
texts, objects, lists, false and true; `-` turns all of it round. Rows that are alike stand in the
order in which they were created, then by their id, whatever the sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import ConfigError, FilterSyntaxError
from wbsync.query.filters.names import split_names
from wbsync.query.filters.operands import checked_text

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of an order."""

    path: str
    is_descending: bool


def parse_order(order: str | Sequence[str] | None) -> tuple[OrderKey, ...]:
    """Returns the keys of an order, the most important first; none for no order.

    Args:
        order: An order string, several with commas between, or a list of them. A key that holds a
            comma stands in quotes, `-config."a,b"`; in a list it is written as it is. No sign is
            `+`.

    Raises:
        FilterSyntaxError: A key is empty.
        ConfigError: It is neither a text nor a list of texts.

    >>> parse_order("-summary_metrics.acc,created_at")[0]
    OrderKey(path='summary_metrics.acc', is_descending=True)
    """
    if order is None or order == "":
        return ()
    if not isinstance(order, (str, list, tuple)):
        raise ConfigError(f"an order is a text or a list of texts, not {order!r}")
    texts = split_names(order) if isinstance(order, str) else order
    keys = []
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"a key of an order is a text, not {text!r}")
        stripped = checked_text(text, "order key").strip()
        path = stripped[1:] if stripped[:1] in {"+", "-"} else stripped
        if not path:
            raise FilterSyntaxError(
                'an order key is a sign and a field, for example "-created_at"',
                at=f"order {text!r}",
            )
        keys.append(OrderKey(path, stripped[0] == "-"))
    return tuple(keys)
