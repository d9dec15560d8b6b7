"""What makes the server behave badly on request, and what writes down every request.

One ASGI wrapper around each port: it waits, limits, breaks answers, and logs.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, TextIO

from wbsync.sandbox.store import epoch_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from wbsync.sandbox.nodes import Options

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

FAULT_KINDS = ("500", "502", "timeout", "cut", "graphql", "partial")

_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def parse_rate(text: str) -> tuple[int, float]:
    """Returns (requests, seconds of a window).

    Raises:
        ValueError: It is not of the form 300/min, 20/s or 50/10s.
    """
    match = re.fullmatch(r"(\d+)/(\d*)(s|min|h)", text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no rate: write 300/min, 20/s or 50/10s")
    return int(match[1]), int(match[2] or 1) * _PERIODS[match[3]]


class Limiter:
    """Counts requests of each user in fixed windows, as W&B does."""

    def __init__(self, rate: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._window_s = parse_rate(rate) if rate else (0, 0.0)
        self._clock = clock
        self._used: dict[str, tuple[int, int]] = {}

    def take(self, user: str) -> tuple[bool, list[tuple[bytes, bytes]]]:
        """Counts a request; returns whether it may pass, and the headers that say how it stands."""
        if not self._limit:
            return True, []
        now = self._clock()
        window = int(now // self._window_s)
        started, used = self._used.get(user, (window, 0))
        if started != window:
            used = 0
        is_allowed = used < self._limit
        used += is_allowed
        self._used[user] = (window, used)
        reset_s = (window + 1) * self._window_s - now
        headers = [
            (b"ratelimit-limit", str(self._limit).encode()),
            (b"ratelimit-remaining", str(self._limit - used).encode()),
            (b"ratelimit-reset", str(max(1, round(reset_s))).encode()),
        ]
        return is_allowed, headers


class Weather:
    """Wraps one port's application."""

    def __init__(
        self, app: App, port: str, options: Options, log: TextIO, limiter: Limiter | None = None
    ) -> None:
        """Takes an application.

        Args:
            app: What answers in good weather.
            port: Name for the log: api or storage.
            options: Latency and faults.
            log: Where the request log goes.
            limiter: Limits GraphQL requests; None does not.
        """
        self._app = app
        self._port = port
        self._options = options
        self._log = log
        self._limiter = limiter

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        entry: dict[str, Any] = {
            "time": time.time(),
            "port": self._port,
            "method": scope["method"],
            "path": scope["path"],
            "has_authorization": b"authorization" in headers,
            "status": None,
            "bytes_in": 0,
            "bytes_out": 0,
        }
        scope.setdefault("state", {})["log"] = entry
        started = time.perf_counter()

        async def counted_receive() -> Message:
            message = await receive()
            entry["bytes_in"] += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
                date = formatdate(epoch_s(), usegmt=True).encode()
                message = {**message, "headers": [*message["headers"], (b"date", date)]}
            entry["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._answer(scope, headers, counted_receive, counted_send)
        finally:
            entry["seconds"] = round(time.perf_counter() - started, 4)
            self._log.write(json.dumps(entry) + "\n")
            self._log.flush()

    async def _answer(
        self, scope: Any, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        options = self._options
        entry = scope["state"]["log"]
        if options.latency_ms:
            await asyncio.sleep(options.latency_ms / 1000)
        is_graphql = scope["path"] == "/graphql"
        if is_graphql and self._limiter is not None:
            user = headers.get(b"authorization", b"").decode("latin-1")
            is_allowed, rate_headers = self._limiter.take(user)
            if not is_allowed:
                await _drain(receive)
                await _respond(send, 429, {"error": "Rate limit exceeded"}, rate_headers)
                return
            plain_send = send

            async def send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], *rate_headers]}
                await plain_send(message)

        kind = self._fault(is_graphql=is_graphql)
        if kind is None:
            await self._app(scope, receive, send)
            return
        entry["fault"] = kind
        if kind in {"500", "502"}:
            await _drain(receive)
            body = {"errors": [{"message": "internal error"}]} if kind == "500" else None
            await _respond(send, int(kind), body)
        elif kind == "graphql":
            await _drain(receive)
            error = {"message": "an internal error occurred", "path": []}
            await _respond(send, 200, {"data": None, "errors": [error]})
        else:
            start, body_bytes = await self._applied(scope, receive)
            if kind == "timeout":
                await _hang(receive, options.hang_s)
            elif kind == "cut":
                size = str(max(len(body_bytes), 2)).encode()
                kept = [h for h in start["headers"] if h[0] != b"content-length"]
                await send({**start, "headers": [*kept, (b"content-length", size)]})
                half = body_bytes[: len(body_bytes) // 2]
                await send({"type": "http.response.body", "body": half, "more_body": True})
            else:
                await _respond(send, start["status"], _partial(body_bytes))

    async def _applied(self, scope: Any, receive: Receive) -> tuple[Message, bytes]:
        """Returns what the application answers, kept back."""
        start: Message = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, keep)
        return start, bytes(body)

    def _fault(self, *, is_graphql: bool) -> str | None:
        options = self._options
        if not options.fault_rate or options.rng.random() >= options.fault_rate:
            return None
        kinds = [k for k in options.fault_kinds if is_graphql or k not in {"graphql", "partial"}]
        return options.rng.choice(kinds) if kinds else None


async def _drain(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


async def _hang(receive: Receive, seconds: float) -> None:
    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    try:
        await asyncio.wait_for(gone(), seconds)
    except TimeoutError:
        return


async def _respond(
    send: Send, status: int, body: Any, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    content = b"<html>bad gateway</html>" if body is None else json.dumps(body).encode()
    kind = b"text/html" if body is None else b"application/json"
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", kind),
                (b"content-length", str(len(content)).encode()),
                *(headers or []),
            ],
        }
    )
    await send({"type": "http.response.body", "body": content})


def _partial(body: bytes) -> Any:
    """Returns a response of which a part is lost, and an error says so."""
    response = json.loads(body)
    data, path = response.get("data"), []
    while isinstance(data, dict) and data:
        name = next(reversed(data))
        path.append(name)
        if not isinstance(data[name], dict) or len(path) == 2:
            data[name] = None
            break
        data = data[name]
    error = {"message": "an internal error occurred", "path": path}
    return {**response, "errors": [error]}
