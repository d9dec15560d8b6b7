"""The one door to W&B: executes documents, downloads files, retries, paces."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from wbsync.api.budget import USED_UP, Budget
from wbsync.api.capabilities import Capabilities, learn, used_variables, without
from wbsync.api.documents import load_document
from wbsync.api.jsontext import as_json, from_json
from wbsync.api.pacer import MAX_PAUSE_S, Pacer
from wbsync.api.parts import leave_out, refusals
from wbsync.api.pruning import pruned
from wbsync.api.transport import (
    RETRIED_STATUS,
    Answer,
    Meter,
    Transport,
    date_of,
    refuse,
    retry_after_s,
)
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    BudgetSpentError,
    GraphQLError,
    NotFoundError,
    RateLimitedError,
    ResponseShapeError,
    Retryable,
    ServerError,
    SignedUrlExpiredError,
    TransportError,
)
from wbsync.plain import plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
    from pathlib import Path

    from wbsync.api.documents import Document
    from wbsync.api.pruning import Part
    from wbsync.model import ProjectPath
    from wbsync.settings import Credentials

MAX_ATTEMPTS = 8
MAX_FIRST_ATTEMPTS = 3
"""Tries where nothing was ever heard of the host: it is more likely misspelt than ill."""
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 60.0
"""Longest wait before a next try where the server names none."""
TRANSIENT = re.compile(
    r"internal|timeout|timed out|temporar|unavailable|deadlock|try again", re.IGNORECASE
)

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Client:
    """A conversation with one W&B server; make it with `Client.open`."""

    def __init__(
        self,
        transport: Transport,
        meter: Meter,
        capabilities: Capabilities,
        pacer: Pacer,
        *,
        max_attempts: int,
        sleep: Callable[[float], Awaitable[None]],
        budget: Budget,
    ) -> None:
        self._transport = transport
        self.pacer = pacer
        self.budget = budget
        self._max_attempts = max_attempts
        self._sleep = sleep
        self.base_url = transport.base_url
        self.server_time: datetime | None = None
        """The server's clock at its last answer; None where it did not say."""
        self.meter = meter
        self.capabilities = capabilities

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        credentials: Credentials,
        *,
        capabilities: Capabilities | None = None,
        concurrency: int = 4,
        max_attempts: int = MAX_ATTEMPTS,
        budget: Budget | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> AsyncIterator[Client]:
        """Opens a client, and closes its connections in the end.

        Args:
            credentials: Whom to ask, and the key.
            capabilities: What is known of the host.
            concurrency: Requests in flight.
            max_attempts: Tries of one request before it fails.
            budget: What may be spent; None for no limit.
            clock: Seconds that only grow; a test brings its own, with a `sleep` that moves it.
            sleep: How to wait; a test may not want to.
        """
        meter = Meter()
        transport = Transport(credentials, meter)
        try:
            yield cls(
                transport,
                meter,
                capabilities or Capabilities(),
                Pacer(concurrency, clock=clock, sleep=sleep),
                max_attempts=max_attempts,
                sleep=sleep,
                budget=budget or Budget(),
            )
        finally:
            await transport.close()

    async def execute(
        self,
        document: Document,
        variables: Mapping[str, Any],
        *,
        max_attempts: int | None = None,
    ) -> dict[str, Any]:
        """Executes a document, less what the server is known to lack.

        Args:
            document: What to ask.
            variables: Its variables; those that it does not declare are left out.
            max_attempts: Tries before it fails, where a caller can do better than to try again;
                None for the client's own. A rate limit has the client's own in any case.

        Returns:
            The answer's `data`, whole: partial data counts as a failure.

        Raises:
            AuthenticationError: The server does not take the key.
            BudgetSpentError: The client may ask nothing more.
            GraphQLError: The server reports errors.
            RateLimitedError, ServerError, TransportError: Still so after all tries.
            ResponseShapeError: The answer is not GraphQL's.
        """
        data, _ = await self.execute_parts(document, variables, (), max_attempts=max_attempts)
        return data

    async def execute_parts(
        self,
        document: Document,
        variables: Mapping[str, Any],
        parts: Collection[Part],
        *,
        max_attempts: int | None = None,
    ) -> tuple[dict[str, Any], dict[Part, str]]:
        """Executes a document of which the server may refuse some parts.

        Args:
            document: What to ask.
            variables: Its variables.
            parts: Paths of response keys that the caller can do without.
            max_attempts: As for `execute`.

        Returns:
            The data, and each part that the server refused with its words. What an error touched
            is null in the data: an entry of the part's list, or the part.

        Raises:
            ApiError: As `execute`; for errors outside the parts, too.
        """
        while True:
            known = set(self.capabilities.missing_fields)
            fitting = without(document, known)
            declared = used_variables(fitting)
            body = as_json(
                {
                    "operationName": fitting.name,
                    "query": fitting.text,
                    "variables": {k: v for k, v in variables.items() if k in declared},
                }
            )
            try:
                return await self._retried(
                    partial(self._execute_parts, body, fitting.name, parts), max_attempts
                )
            except GraphQLError as error:
                self.capabilities.learn(messages(error))
                if without(document, self.capabilities.missing_fields).text != fitting.text:
                    continue
                if (refused := refusals(error, parts)) is not None:
                    return leave_out(error, refused), self._told(refused)
                rest = pruned(document, parts=frozenset(parts)) if parts else None
                if rest is None:
                    raise
                words = (messages(error) or [str(error)])[0]
                data = await self.execute(rest, variables, max_attempts=max_attempts)
                return data, self._told(dict.fromkeys(parts, words))

    async def _execute_parts(
        self, body: bytes, operation: str, parts: Collection[Part]
    ) -> tuple[dict[str, Any], dict[Part, str]]:
        """Takes a refusal of parts as an answer, unless its words say that it may pass."""
        try:
            return await self._execute(body, operation), {}
        except GraphQLError as error:
            refused = refusals(error, parts)
            if refused is None or any(TRANSIENT.search(text) for text in messages(error)):
                raise
            return leave_out(error, refused), self._told(refused)

    def _told(self, refused: dict[Part, str]) -> dict[Part, str]:
        """Returns a server's words fit to be shown."""
        return {part: clean(self._transport.masked(words)) for part, words in refused.items()}

    async def _execute(self, body: bytes, operation: str) -> dict[str, Any]:
        self.budget.allow_wait(self.pacer.wait_s())
        async with self.pacer:
            self.budget.claim()
            try:
                async with asyncio.timeout(self.budget.seconds_left):
                    answer = await self._transport.post_graphql(body, operation)
            except TimeoutError:
                raise BudgetSpentError(USED_UP) from None
            self.pacer.heed(answer.headers)
        self.server_time = date_of(answer.headers)
        if answer.status == 429:
            self.meter.throttled += 1
            wait_s = retry_after_s(answer.headers)
            self.pacer.pause(wait_s if wait_s is not None else 2.0)
            raise RateLimitedError(
                f"{self.base_url}: the rate limit is reached; sync again {_after(wait_s)}",
                operation=operation,
                retry_after_s=wait_s,
            )
        try:
            refuse(answer, self.base_url, operation)
            return read_answer(answer, self.base_url, operation)
        except ApiError as error:
            # A server's own words may repeat the key that it was sent.
            error.args = (self._transport.masked(str(error)),)
            raise

    async def download(
        self,
        url: str,
        path: Path,
        *,
        resume: bool = False,
        on_bytes: Callable[[int], None] | None = None,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
    ) -> int:
        """Writes what a signed URL holds to a file, and returns its size; sends no key.

        Args:
            url: Signed address.
            path: File to write.
            resume: Whether to go on from what the file holds already, also between tries.
            on_bytes: Called with the number of bytes that came, again and again.
            on_headers: Called with the headers of an answer that brings the file, before it comes.

        Raises:
            SignedUrlExpiredError: Ask W&B for a new URL.
            ServerError, TransportError: Still so after all tries.
        """
        call = partial(
            self._transport.download,
            url,
            path,
            resume=resume,
            on_bytes=on_bytes,
            on_headers=on_headers,
            patience_s=self.budget.seconds_left,
        )
        return await self._retried(call, requests=0)

    async def _retried(
        self,
        call: Callable[[], Awaitable[T]],
        max_attempts: int | None = None,
        *,
        requests: int = 1,
    ) -> T:
        """Returns what `call` does, trying again while its error may pass and the budget lasts."""
        for attempt in count(1):
            try:
                return await call()
            except SignedUrlExpiredError:
                raise
            except ApiError as error:
                most = self._max_attempts
                if max_attempts is not None and not isinstance(error, RateLimitedError):
                    most = max_attempts
                if isinstance(error, TransportError) and not self.meter.bytes_in:
                    most = min(most, MAX_FIRST_ATTEMPTS)
                if not may_pass(error, attempt) or attempt >= most:
                    raise
                asked_s = error.retry_after_s if isinstance(error, Retryable) else None
                if asked_s is not None and asked_s > MAX_PAUSE_S:
                    raise
                pause_s = wait_s(attempt, asked_s)
                self.budget.allow_wait(pause_s, requests=requests)
                self.meter.retries += 1
                if pause_s > MAX_WAIT_S:
                    _log.warning("%s asks to wait %.0f s: so it is done", self.base_url, pause_s)
                await self._sleep(pause_s)
        raise AssertionError("unreachable")

    async def can_filter_updated_at(self, project: ProjectPath) -> bool:
        """Says whether runs can be filtered by `updatedAt`; asks once per host.

        A server that filters gives some run for all times and none for the far future; one that
        does not fails, or gives the same for both. What a server says that fails, or of a project
        without runs, tells nothing and is not remembered.
        """
        if self.capabilities.filters_updated_at is None:
            variables = {
                "entity": project.entity,
                "project": project.project,
                "all": json.dumps({"updatedAt": {"$gte": "1970-01-01T00:00:00Z"}}),
                "none": json.dumps({"updatedAt": {"$gte": "2999-01-01T00:00:00Z"}}),
            }
            try:
                data = await self.execute(
                    load_document("updated_at_filter"), variables, max_attempts=2
                )
            except ServerError:
                return False
            except GraphQLError as error:
                if any(TRANSIENT.search(text) for text in messages(error)):
                    return False
                self.capabilities.filters_updated_at = False
            else:
                shown = data.get("project") or {}
                found = {name: (shown.get(name) or {}).get("edges") for name in _PROBES}
                if not found["any"] or None in found.values():
                    return False
                can = bool(found["all"]) and not found["none"]
                self.capabilities.filters_updated_at = can
        return self.capabilities.filters_updated_at


_PROBES = ("any", "all", "none")
"""Lists of the document `updated_at_filter`."""


def may_pass(error: ApiError, attempt: int) -> bool:
    """Says whether the same call may succeed when it is made again."""
    if isinstance(error, Retryable):
        return not (
            isinstance(error, ServerError)
            and error.status is not None
            and error.status not in RETRIED_STATUS
        )
    if isinstance(error, GraphQLError):
        is_partial = error.data is not None and any(v is not None for v in error.data.values())
        is_transient = is_partial or any(TRANSIENT.search(text) for text in messages(error))
        return is_transient and attempt < 5 and not learn(messages(error))
    return False


def wait_s(attempt: int, asked_s: float | None) -> float:
    """Returns the seconds before the next try: what the server asked, or a random backoff."""
    if asked_s is not None:
        return asked_s + random.uniform(0, 0.25)  # noqa: S311
    return random.uniform(0, min(MAX_WAIT_S, FIRST_WAIT_S * 2**attempt))  # noqa: S311


def _after(seconds: float | None) -> str:
    """Returns when to come back, in words."""
    if seconds is None:
        return "later"
    try:
        instant = datetime.now(UTC) + timedelta(seconds=seconds + 1)
    except OverflowError:
        return "later"
    return f"after {instant:%Y-%m-%d %H:%M:%S} UTC"


def messages(error: GraphQLError) -> list[str]:
    """Returns the server's own words of an error, without ours around them."""
    return [str(e.get("message", "")) for e in error.errors]


def clean(text: str) -> str:
    """Returns a server's text as one short line without control characters."""
    return plain(text)[:200]


def read_answer(answer: Answer, base_url: str, operation: str) -> dict[str, Any]:
    """Returns the data of a GraphQL answer.

    Raises:
        ServerError: The status says that the server failed.
        NotFoundError, AuthenticationError, GraphQLError, ResponseShapeError: As they say.
    """
    payload = from_json(answer.body)
    if answer.status == 501:
        raise ResponseShapeError(
            f"{base_url}/graphql does not take requests: this is no W&B server; check its address",
            operation=operation,
        )
    if answer.status >= 500 or answer.status in RETRIED_STATUS:
        raise ServerError(
            f"{base_url} answered {answer.status}{_reason(payload)}",
            operation=operation,
            status=answer.status,
        )
    if not isinstance(payload, dict) or not ({"data", "errors", "error"} & payload.keys()):
        if answer.status == 200:
            raise ResponseShapeError(
                f"{base_url}/graphql does not answer as W&B does; check the server's address",
                operation=operation,
            )
        payload = None
    if answer.status == 403:
        raise AuthenticationError(
            f"{base_url}: this key may not do that{_reason(payload)}", operation=operation
        )
    if answer.status == 404:
        if payload is None:
            raise ResponseShapeError(
                f"{base_url}/graphql does not exist: this is not W&B's API address",
                operation=operation,
            )
        raise NotFoundError(f"{base_url}: not found{_reason(payload)}", operation=operation)
    if payload is None:
        raise ResponseShapeError(
            f"{base_url}/graphql answered {answer.status}, not as W&B does; check the address",
            operation=operation,
        )
    errors = payload.get("errors")
    data = payload.get("data")
    if errors or not isinstance(data, dict):
        raise GraphQLError(
            f"{base_url}: {operation} failed{_reason(payload)}",
            operation=operation,
            errors=[e if isinstance(e, dict) else {"message": str(e)} for e in errors or []],
            data=data if isinstance(data, dict) else None,
        )
    return data


def _reason(payload: Any) -> str:
    if not isinstance(payload, dict):
        return ""
    found = payload.get("errors") or payload.get("error")
    first = found[0] if isinstance(found, list) and found else found
    text = first.get("message") if isinstance(first, dict) else first
    return f": {clean(str(text))}" if text else ""
