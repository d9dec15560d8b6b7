"""The one place that speaks HTTP.

Two clients that share nothing: one carries the key and talks to the API's origin alone; the other
carries none and downloads from storage hosts. Redirects are followed by the second only.
"""

from __future__ import annotations

import base64
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from wbsync import __version__
from wbsync.errors import (
    AuthenticationError,
    ServerError,
    SignedUrlExpiredError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from wbsync.settings import Credentials

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds without a byte: W&B itself ends a query after about as long."""
STORAGE_TIMEOUT = httpx.Timeout(20.0, connect=10.0)
"""Object stores answer at once or not at all."""
USER_AGENT = f"wbsync/{__version__}"
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class Meter:
    """What went over the wire."""

    requests: int = 0
    """GraphQL requests sent, retries included."""
    downloads: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    throttled: int = 0
    """429 answers."""
    retries: int = 0
    seconds: float = 0.0
    """Time that requests took, one added to the other."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def describe(error: httpx.HTTPError | httpx.InvalidURL | httpx.StreamError) -> str:
    """Returns what went wrong, in words that hold nothing of the request."""
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    if isinstance(error, httpx.ConnectError):
        return "no connection could be made"
    if isinstance(error, httpx.DecodingError):
        return "its answer could not be decoded"
    return f"the connection broke ({type(error).__name__})"


class Transport:
    """Sends one request at a time for whoever asks; knows nothing of GraphQL."""

    def __init__(self, credentials: Credentials, meter: Meter) -> None:
        self.base_url = credentials.base_url
        self._meter = meter
        token = base64.b64encode(f"api:{credentials.api_key.reveal()}".encode()).decode()
        self._words = (credentials.api_key.reveal(), token)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"}
        verify = httpx.create_ssl_context()  # once: it reads the certificates
        self._api = httpx.AsyncClient(
            timeout=TIMEOUT,
            verify=verify,
            headers={**headers, "Authorization": f"Basic {token}"},
            follow_redirects=False,
        )
        self._storage = httpx.AsyncClient(
            timeout=STORAGE_TIMEOUT, headers=headers, follow_redirects=True, verify=verify
        )

    async def close(self) -> None:
        """Closes both clients."""
        await self._api.aclose()
        await self._storage.aclose()

    def masked(self, text: str) -> str:
        """Returns a text without the key, should a server have repeated it."""
        for word in self._words:
            text = text.replace(word, "***")
        return text

    async def post_graphql(self, body: bytes, operation: str) -> Answer:
        """Sends a GraphQL request.

        Raises:
            TransportError: No whole answer came.
        """
        self._meter.requests += 1
        self._meter.bytes_out += len(body)
        started = time.monotonic()
        try:
            async with self._api.stream(
                "POST",
                f"{self.base_url}/graphql",
                content=body,
                headers={"Content-Type": "application/json"},
            ) as response:
                content = await response.aread()
                self._meter.bytes_in += response.num_bytes_downloaded
                return Answer(response.status_code, response.headers, content)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise TransportError(
                f"{self.base_url}: {describe(error)}; check the network and the server's address",
                operation=operation,
            ) from error
        finally:
            self._meter.seconds += time.monotonic() - started

    async def download(
        self,
        url: str,
        path: Path,
        *,
        resume: bool = False,
        on_bytes: Callable[[int], None] | None = None,
        on_headers: Callable[[Mapping[str, str]], None] | None = None,
        patience_s: float | None = None,
    ) -> int:
        """Writes what a signed URL holds to a file, and returns the file's size in bytes.

        Args:
            url: Signed address.
            path: File to write.
            resume: Whether what the file holds already is the beginning, and only the rest is
                asked for; a host that sends all again is taken at its word.
            on_bytes: Called with the number of bytes that came, again and again.
            on_headers: Called with the headers of an answer that brings the file, before it comes.
            patience_s: Seconds to wait for something to come, if less than usual.

        Raises:
            SignedUrlExpiredError: The storage host does not take the URL.
            ServerError: It answered otherwise than with the file.
            TransportError: The file did not come whole.
        """
        self._meter.downloads += 1
        held = size_of(path) if resume else 0
        headers = {"Range": f"bytes={held}-", "Accept-Encoding": "identity"} if held else {}
        try:
            async with self._storage.stream(
                "GET", url, headers=headers, timeout=storage_timeout(patience_s)
            ) as response:
                if response.status_code in {401, 403}:
                    raise SignedUrlExpiredError("a storage host refused a signed URL")
                if held and response.status_code == 416:
                    return held
                if response.status_code not in {200, 206}:
                    raise ServerError(
                        f"a storage host answered {response.status_code}",
                        status=response.status_code,
                    )
                if on_headers is not None:
                    on_headers(response.headers)
                goes_on = response.status_code == 206
                size = held if goes_on else 0
                with path.open("ab" if goes_on else "wb") as file:
                    async for chunk in response.aiter_bytes():
                        size += len(chunk)
                        file.write(chunk)
                        if on_bytes is not None:
                            on_bytes(len(chunk))
                self._meter.bytes_in += response.num_bytes_downloaded
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise TransportError(f"a storage host: {describe(error)}") from error
        return size


def storage_timeout(patience_s: float | None) -> httpx.Timeout:
    """Returns how long to wait for a storage host: no longer than someone has patience."""
    if patience_s is None:
        return STORAGE_TIMEOUT
    read_s, connect_s = (min(s, max(patience_s, 1.0)) for s in (20.0, 10.0))
    return httpx.Timeout(read_s, connect=connect_s)


def size_of(path: Path) -> int:
    """Returns the bytes that a file holds, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that `Retry-After`, or else `RateLimit-Reset`, asks to wait."""
    text = headers.get("retry-after")
    if text:
        with suppress(ValueError):
            return _seconds(text)
        moment = _instant(text)
        return None if moment is None else max(0.0, (moment - datetime.now(UTC)).total_seconds())
    try:
        return _seconds(headers["ratelimit-reset"])
    except (KeyError, ValueError):
        return None


def _seconds(text: str) -> float | None:
    seconds = float(text)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """Returns the server's clock, as the headers of an answer tell it."""
    text = headers.get("date")
    return _instant(text) if text else None


def _instant(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def refuse(answer: Answer, base_url: str, operation: str) -> None:
    """Raises what an answer's status means, if it is not one to read or to retry."""
    if answer.status == 401:
        raise AuthenticationError(
            f"{base_url} does not take the API key; check WANDB_API_KEY or run"
            f" `wandb login --relogin --host={base_url}`",
            operation=operation,
        )
