"""Order strings: `+created_at`, `-summary_metrics.acc`, `config.lr.value`, or several of them.

Values of different types stand in MongoDB's order: missing and null first, then NaN, numbers,
texts, objects, lists, false and true; `-` turns all of it round. Rows that are alike stand in the
order in which they were created, then by their id, whatever the sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbsync.errors import FilterSyntaxError

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
            comma can be named in a list only. No sign is `+`.

    Raises:
        FilterSyntaxError: A key is empty.

    >>> parse_order("-summary_metrics.acc,created_at")[0]
    OrderKey(path='summary_metrics.acc', is_descending=True)
    """
    if order is None or order == "":
        return ()
    texts = order.split(",") if isinstance(order, str) else order
    keys = []
    for text in texts:
        stripped = text.strip()
        path = stripped[1:] if stripped[:1] in {"+", "-"} else stripped
        if not path:
            raise FilterSyntaxError(
                'an order key is a sign and a field, for example "-created_at"',
                at=f"order {text!r}",
            )
        keys.append(OrderKey(path, stripped[0] == "-"))
    return tuple(keys)
