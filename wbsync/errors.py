"""Every error that wbsync raises on purpose, as one tree by subsystem.

    WbsyncError
      ConfigError         BudgetSpentError
      ApiError            TransportError* RateLimitedError* ServerError* AuthenticationError
                          NotFoundError GraphQLError ResponseShapeError SignedUrlExpiredError*
      ExtractError
      WarehouseError      SchemaMismatchError CommitConflictError* MigrationError LockedError
                          CommError: NotHeldError (NotHeldAttributeError); ReadOnlyError
      QueryError          StatementRefusedError EngineError
      DownloadError       DigestError UnsafePathError
      FilterError         FilterSyntaxError UnknownFieldError UnsupportedOperatorError
      WritebackError      EditError SpliceError

    * also Retryable: the same call may succeed later; `retry_after_s` says when, if the server did.

What a caller does about an error is a mixin, so callers branch on intent rather than on type.
A message says what happened, where, and what to do next. It never holds a key or a body.
"""

from __future__ import annotations

import errno
from typing import Any

_PLACE_CHARS = 160
"""Characters of a place in a filter that a message shows."""

_NO_ROOM = ("No space left", "os error 28", "disk is full")
"""How the libraries that write for us say that they could not: not all keep the number."""


def write_problem(error: BaseException) -> str:
    """Returns why something could not be written, and what to do where the disk is full.

    >>> write_problem(OSError(errno.ENOSPC, "No space left on device"))
    'the disk is full: free some room and sync again'
    """
    number = getattr(error, "errno", None)
    if number in {errno.ENOSPC, errno.EDQUOT} or any(words in str(error) for words in _NO_ROOM):
        return "the disk is full: free some room and sync again"
    return str(error)


class WbsyncError(Exception):
    """The root of every error that wbsync raises on purpose."""


class Retryable:
    """Marks an error after which the same call may succeed."""

    retry_after_s: float | None = None
    """Seconds the server asked to wait, None where it did not say."""


class ConfigError(WbsyncError):
    """A setting, file or argument cannot be used as it is."""


class BudgetSpentError(WbsyncError):
    """The requests or the minutes that were allowed are used up; what was done is kept."""


class ApiError(WbsyncError):
    """A conversation with the W&B server failed."""

    def __init__(self, message: str, *, operation: str | None = None) -> None:
        super().__init__(message)
        self.operation = operation
        """GraphQL operation that failed, None outside GraphQL."""


class TransportError(ApiError, Retryable):
    """The server could not be reached, or the connection broke."""


class RateLimitedError(ApiError, Retryable):
    """The server answered 429 more often than the retry budget allows."""

    def __init__(
        self, message: str, *, operation: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, operation=operation)
        self.retry_after_s = retry_after_s


class ServerError(ApiError, Retryable):
    """The server answered with a status that says the fault is its own."""

    def __init__(
        self, message: str, *, operation: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, operation=operation)
        self.status = status
        """HTTP status of the last answer."""


class AuthenticationError(ApiError):
    """There is no API key, or the server does not take it."""


class NotFoundError(ApiError):
    """The object does not exist, or the key may not see it: W&B does not tell which."""


class GraphQLError(ApiError):
    """The server executed the document and reported errors."""

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, operation=operation)
        self.errors = errors or []
        """The `errors` of the answer, as the server gave them."""
        self.data = data
        """The partial `data` of the answer, None where there was none."""


class ResponseShapeError(ApiError):
    """The answer is not what W&B answers: another server, or a broken page walk."""


class SignedUrlExpiredError(ApiError, Retryable):
    """A storage host refused a signed URL; ask W&B for a new one."""


class ExtractError(WbsyncError):
    """What the server sent cannot be turned into rows."""


class HistoryRewrittenError(ExtractError):
    """W&B holds another timeline of a run than the warehouse; read the run anew."""


class WarehouseError(WbsyncError):
    """The local warehouse cannot be read or written."""


class SchemaMismatchError(WarehouseError):
    """Rows or a stored table do not fit the schema of the table."""


class CommitConflictError(WarehouseError, Retryable):
    """Another process committed to the same table first."""


class MigrationError(WarehouseError):
    """The warehouse was written by a newer wbsync, or its format cannot be migrated."""


class LockedError(WarehouseError):
    """Another sync holds the warehouse."""


class CommError(WarehouseError):
    """What scripts that were written for the wandb SDK catch where a thing is not to be found.

    The SDK raises its class of this name there; `except wandb.CommError` goes on working with
    `import wbsync as wandb`.
    """


class NotHeldError(CommError, ValueError):
    """What is asked for is not in the warehouse; a ValueError as the wandb SDK raises there."""

    def __init__(self, what: str, command: str | None = None) -> None:
        hint = f"`{command}` brings it" if command else "wbsync does not sync it: ask wandb.Api()"
        super().__init__(f"{what} is not in this warehouse; {hint}")
        self.command = command
        """Command that would bring it, None where none does."""


class NotHeldAttributeError(NotHeldError, AttributeError):
    """An attribute whose content no sync brings: `hasattr` and `getattr` take it for missing."""


class ReadOnlyError(WarehouseError):
    """An object of `wbsync.Api` was asked to change W&B, or to do what only its server can."""


class QueryError(WbsyncError):
    """A query failed: its text does not parse, or it names what is not there."""


class StatementRefusedError(QueryError):
    """A statement would write, or reach outside the warehouse."""


class EngineError(QueryError):
    """Another engine could not be reached, or is gone."""


class DownloadError(WbsyncError):
    """A file could not be brought to disk."""


class DigestError(DownloadError):
    """A file's content is not what was logged."""


class UnsafePathError(DownloadError):
    """A file's name leads out of the folder that it is to be put in."""


class FilterError(WbsyncError):
    """A filter or an order cannot be used; `at` is the place in it."""

    def __init__(self, message: str, *, at: str = "") -> None:
        is_elsewhere = at.startswith(("column ", "order "))
        place = "filter" if not at else at if is_elsewhere else f"filter, at {at}"
        if len(place) > _PLACE_CHARS:
            # Hundreds of `$and[0].` say no more than the first and the last of them.
            place = f"{place[: _PLACE_CHARS // 2]}…{place[-_PLACE_CHARS // 2 :]}"
        super().__init__(f"{place}: {message}")
        self.at = at
        """Where in the filter, for example `$or[1].config.lr.$gt`; empty for all of it.

        A column that is asked for is `column NAME`, a key of an order `order NAME`.
        """


class FilterSyntaxError(FilterError):
    """A filter is not of the form that W&B and MongoDB take."""


class UnknownFieldError(FilterError):
    """A filter, an order or a column names a field that there is none of."""

    def __init__(
        self, message: str, *, field: str, suggestions: tuple[str, ...] = (), at: str = ""
    ) -> None:
        super().__init__(message, at=at)
        self.field = field
        """The field as it was written."""
        self.suggestions = suggestions
        """Fields that may be meant, the nearest first."""


class UnsupportedOperatorError(FilterError):
    """A filter uses an operator that is unknown, or has no meaning where it stands."""

    def __init__(self, message: str, *, operator: str, at: str = "") -> None:
        super().__init__(message, at=at)
        self.operator = operator
        """The operator as it was written."""


class WritebackError(WbsyncError):
    """An edit cannot be queued, pushed or undone."""


class EditError(WritebackError):
    """An edit that W&B would not take, or that makes no sense; it is not queued."""


class SpliceError(WritebackError):
    """JSON text cannot be changed at a path: it is no object there."""


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Returns the error of a group that says most: an authentication error before others."""
    leaves: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((e for e in leaves if isinstance(e, AuthenticationError)), leaves[0])
