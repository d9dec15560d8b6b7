"""What every list shares: it is read when first looked at, has a length, slices and iterates.

Source: wandb/apis/paginator.py, which is its own iterator; here each loop has one of its own, and
`next(listing)` goes through the list once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar, overload

from wbsync.errors import NotHeldError

T = TypeVar("T")


class Listing(Sequence[T], Generic[T]):
    """Objects in order; subclasses say how many there are and make one by its place."""

    per_page: int = 50
    """Taken for wandb's sake: nothing is paged here."""
    more = False
    cursor = None
    _place = 0

    def _count(self) -> int:
        raise NotImplementedError

    def _make(self, index: int) -> T:
        raise NotImplementedError

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self)

    @property
    def objects(self) -> list[T]:
        """All of them."""
        return list(self)

    def __len__(self) -> int:
        return self._count()

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        count = self._count()
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(count))]
        place = index + count if index < 0 else index
        if not 0 <= place < count:
            raise IndexError("list index out of range")
        return self._make(place)

    def __iter__(self) -> Iterator[T]:
        for index in range(self._count()):
            yield self._make(index)

    def __next__(self) -> T:
        if self._place >= self._count():
            raise StopIteration
        self._place += 1
        return self._make(self._place - 1)

    next = __next__


class Held(Listing[T]):
    """A list that is read whole, when first looked at."""

    @property
    def _size(self) -> str:
        """How many there are, for `repr`, which says so even where they are not held."""
        try:
            return str(len(self))
        except NotHeldError:
            return "not held"

    _items: list[T] | None = None

    def _load(self) -> list[T]:
        raise NotImplementedError

    def _all(self) -> list[T]:
        if self._items is None:
            self._items = self._load()
        return self._items

    def _count(self) -> int:
        return len(self._all())

    def _make(self, index: int) -> T:
        return self._all()[index]


def refuse_cursor(start: str | None) -> None:
    """Refuses to go on from where a list of wandb.Api() stood; lists here have no such places.

    Raises:
        ValueError: A place is given.
    """
    if start is not None:
        raise ValueError("start: a cursor of wandb.Api() leads nowhere here; begin from the first")
