"""The client against a real HTTP server that answers whatever a test wants."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import inspect
import json
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from wbsync.api import Budget, Client, Document, iter_pages, load_document
from wbsync.api.jsontext import from_json
from wbsync.api.transport import describe, retry_after_s
from wbsync.errors import (
    ApiError,
    AuthenticationError,
    BudgetSpentError,
    GraphQLError,
    NotFoundError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    SignedUrlExpiredError,
    TransportError,
    WbsyncError,
)
from wbsync.model import ProjectPath
from wbsync.settings import Credentials, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Self

KEY = "k3y" + "s" * 40
BASIC = base64.b64encode(f"api:{KEY}".encode()).decode()
VIEWER = Document("Viewer", "query Viewer { viewer { id } }")
GOOD = {"data": {"viewer": {"id": "1"}}}


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


@dataclasses.dataclass
class Reply:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    promised: int | None = None
    """Content-Length, where it is not the body's."""

    def raw(self) -> bytes:
        """Returns what goes over the wire."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        length = len(body) if self.promised is None else self.promised
        lines = [
            f"HTTP/1.1 {self.status} Whatever",
            f"Content-Length: {length}",
            "Connection: close",
            *(f"{k}: {v}" for k, v in self.headers.items()),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """One request a connection, on a free port; answers in turn, the last one for ever."""

    def __init__(self, *replies: Reply | Callable[[Request], Reply] | None) -> None:
        self._replies = list(replies)
        self.requests: list[Request] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {k.lower(): v for k, v in (h.split(": ", 1) for h in head[1:] if h)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Request(method, path, headers, body)
            self.requests.append(request)
            reply = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
            if callable(reply):
                reply = reply(request)
            if reply is not None:
                writer.write(reply.raw())
                await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Returns the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Moves the time on."""
        self.now += seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def opened(
    url: str, *, max_attempts: int = 8, clock: Clock | None = None
) -> AsyncIterator[Client]:
    """Opens a client that waits by a clock of its own."""
    clock = clock or Clock()
    credentials = Credentials(url, Secret(KEY), "argument")
    async with Client.open(
        credentials, max_attempts=max_attempts, clock=clock, sleep=clock.sleep
    ) as client:
        yield client


def ask(
    *replies: Reply | Callable[[Request], Reply] | None,
    document: Document = VIEWER,
    variables: dict[str, Any] | None = None,
    max_attempts: int = 8,
    clock: Clock | None = None,
) -> tuple[dict[str, Any], Server, Client]:
    """Executes a document against a server that gives these replies."""

    async def run() -> tuple[dict[str, Any], Server, Client]:
        async with (
            Server(*replies) as server,
            opened(server.url, max_attempts=max_attempts, clock=clock) as client,
        ):
            return await client.execute(document, variables or {}), server, client

    return asyncio.run(run())


def failing(*replies: Reply | Callable[[Request], Reply] | None, attempts: int = 2) -> ApiError:
    """Returns the error that a server's replies end in."""
    with pytest.raises(ApiError) as caught:
        ask(*replies, max_attempts=attempts)
    return caught.value


def errors(*messages: str, data: Any = None) -> dict[str, Any]:
    """Returns an answer that reports errors."""
    return {"data": data, "errors": [{"message": m} for m in messages]}


def test_a_request_is_what_wandb_expects() -> None:
    """A POST of JSON to /graphql with Basic auth, our own agent, gzip, and declared variables."""
    document = load_document("projects")
    data, server, client = ask(
        Reply(body={"data": {"models": None}}),
        document=document,
        variables={"entity": "e", "perPage": 2, "stray": 1},
    )
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/graphql")
    assert request.headers["authorization"] == f"Basic {BASIC}"
    assert request.headers["user-agent"].startswith("wbsync/")
    assert "gzip" in request.headers["accept-encoding"]
    assert request.json["operationName"] == "Projects"
    assert request.json["variables"] == {"entity": "e", "perPage": 2}
    assert data == {"models": None}
    assert client.meter.requests == 1
    assert client.meter.bytes_out == len(request.body)
    assert client.meter.bytes_in > 0


@pytest.mark.parametrize(
    "bad",
    [
        Reply(500, b"oops"),
        Reply(502, b"<html>bad gateway</html>"),
        Reply(503, {"error": "busy"}),
        Reply(408, b""),
        Reply(200, json.dumps(GOOD).encode(), promised=1000),
        None,
        Reply(200, errors("internal server error")),
        Reply(200, errors("context deadline: timed out")),
        Reply(200, errors("something", data={"viewer": {"id": "half"}})),
        Reply(429, {"error": "rate limit exceeded"}, {"Retry-After": "1"}),
        Reply(200, b"not gzip", {"Content-Encoding": "gzip"}),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(bad: Reply | None) -> None:
    """A failure that is not for good costs a retry, not the sync."""
    data, server, client = ask(bad, bad, Reply(body=GOOD))
    assert data == GOOD["data"]
    assert len(server.requests) == 3
    assert client.meter.retries == 2


@pytest.mark.parametrize(
    ("reply", "kind", "tries"),
    [
        (Reply(401, {"errors": ["no"]}), AuthenticationError, 1),
        (Reply(403, {"error": {"message": "permission denied"}}), AuthenticationError, 1),
        (Reply(404, {"errors": [{"message": "project not found"}]}), NotFoundError, 1),
        (Reply(404, b"<html>nothing</html>"), ResponseShapeError, 1),
        (Reply(200, b"<html>hello</html>"), ResponseShapeError, 1),
        (Reply(200, b"[1]"), ResponseShapeError, 1),
        (Reply(200, {"hello": "world"}), ResponseShapeError, 1),
        (Reply(302, b"", {"Location": "http://127.0.0.1:1/"}), ResponseShapeError, 1),
        (Reply(200, b"\xff\xfe"), ResponseShapeError, 1),
        (Reply(400, errors("Syntax Error")), GraphQLError, 1),
        (Reply(200, errors("permission denied")), GraphQLError, 1),
        (Reply(200, {"data": None}), GraphQLError, 1),
        (Reply(501, b""), ResponseShapeError, 1),
        (Reply(500, b""), ServerError, 3),
        (Reply(429, b""), RateLimitedError, 3),
        (None, TransportError, 3),
    ],
    ids=str,
)
def test_every_failure_has_its_type(reply: Reply | None, kind: type[ApiError], tries: int) -> None:
    """Callers branch on the type; what cannot pass is asked once, the rest a bounded number."""
    seen: list[Request] = []

    def count(request: Request) -> Reply:
        seen.append(request)
        return reply  # type: ignore[return-value]

    error = failing(count, attempts=3)
    assert type(error) is kind
    assert error.operation == "Viewer"
    assert len(seen) == tries
    assert len(str(error)) < 400


def test_partial_data_that_stays_partial_is_an_error_with_the_data() -> None:
    """Half an answer is never taken for a whole one."""
    error = failing(Reply(200, errors("hm", data={"viewer": {"id": "half"}})), attempts=3)
    assert isinstance(error, GraphQLError)
    assert error.data == {"viewer": {"id": "half"}}
    assert error.errors == [{"message": "hm"}]


PARTS = [("entity", "members"), ("entity", "triggers")]
STATE = load_document("entity_state")


def refused(
    data: Any, *entries: tuple[str, list[Any]], then: Reply | None = None
) -> tuple[dict[str, Any], dict[tuple[str, ...], str], Server]:
    """Asks for an entity of which a server refuses parts; returns what is left, and its words."""
    said = {"data": data, "errors": [{"message": m, "path": path} for m, path in entries]}

    async def run() -> Any:
        async with (
            Server(Reply(200, said), *([then] if then else [])) as server,
            opened(server.url) as client,
        ):
            return *await client.execute_parts(STATE, {}, PARTS), server

    left, words, server = asyncio.run(run())
    return left, words, server


def test_a_refused_part_is_null_and_the_rest_stands() -> None:
    """A refusal is taken at once, with the server's words on one line and without the key."""
    data = {"entity": {"name": "crew", "members": None, "triggers": {"edges": [{}, {"node": 1}]}}}
    left, words, server = refused(
        data,
        (f"permission\n denied for {KEY}", ["entity", "members"]),
        ("no such integration", ["entity", "triggers", "edges", 1, "node", "triggeredAction"]),
        ("again", ["entity", "members", 3, "email"]),
    )
    assert left["entity"]["name"] == "crew"
    assert left["entity"]["members"] is None
    assert left["entity"]["triggers"] == {"edges": [{}, None]}
    assert words == {PARTS[0]: "permission denied for ***", PARTS[1]: "no such integration"}
    assert len(server.requests) == 1


def test_an_error_that_takes_more_than_its_part_is_asked_around() -> None:
    """Where null rises above the part, or no path is told, the document is asked without parts."""
    whole = {"data": {"entity": {"name": "crew"}}}
    for path in (["entity", "members"], []):
        left, words, server = refused({"entity": None}, ("denied", path), then=Reply(200, whole))
        assert left == whole["data"]
        assert words == dict.fromkeys(PARTS, "denied")
        assert len(server.requests) == 2
        query = server.requests[1].json["query"]
        assert "members" not in query
        assert "TriggerFields" in query  # of the projects, which are no part here
        assert "integrations" in query


def test_a_refusal_that_may_pass_is_tried_again() -> None:
    """Words of a passing failure are no refusal until they stay."""
    data = {"entity": {"name": "crew", "members": None}}
    whole = {"data": {"entity": {"name": "crew", "members": []}}}
    entry = ("an internal error occurred", ["entity", "members"])
    left, words, server = refused(data, entry, then=Reply(200, whole))
    assert (left, words, len(server.requests)) == (whole["data"], {}, 2)
    left, words, server = refused(data, entry)
    assert (left["entity"]["members"], set(words)) == (None, {PARTS[0]})
    assert len(server.requests) > 2


def test_an_error_outside_the_parts_is_an_error() -> None:
    """What a caller cannot do without is never taken for refused."""
    data = {"viewer": None, "entity": {"name": "crew", "members": None}}
    with pytest.raises(GraphQLError, match="no viewer"):
        refused(data, ("no viewer", ["viewer"]), ("denied", ["entity", "members"]))


def test_an_unreachable_server_is_said_to_be_one() -> None:
    """A closed port is a TransportError that names the address."""

    async def run() -> None:
        async with Server(Reply()) as server:
            url = server.url
        async with opened(url, max_attempts=2) as client:
            with pytest.raises(TransportError, match=url):
                await client.execute(VIEWER, {})

    asyncio.run(run())


def test_a_final_error_is_not_retried_for_the_words_around_it() -> None:
    """A field named `internalId` or an address with `internal` in it is no passing failure."""
    seen: list[Request] = []

    def old(request: Request) -> Reply:
        seen.append(request)
        if "internalId" in request.json["query"]:
            return Reply(400, errors('Cannot query field "internalId" on type "Project".'))
        return Reply(200, {"data": {"project": None}})

    ask(old, document=load_document("project_state"))
    assert len(seen) == 2


def test_a_missing_field_is_left_out_from_then_on() -> None:
    """A server that lacks a field is asked once for it; the next request leaves it out at once."""

    def old(request: Request) -> Reply:
        if "updatedAt" in request.json["query"]:
            return Reply(200, errors('Cannot query field "updatedAt" on type "Run".'))
        return Reply(200, {"data": {"project": {"runs": None}}})

    async def run() -> None:
        async with Server(old) as server, opened(server.url) as client:
            for _ in range(2):
                await client.execute(load_document("project_runs_light"), {"entity": "e"})
            assert client.capabilities.missing_fields == {"Run.updatedAt"}
            assert client.meter.retries == 0
            assert len(server.requests) == 3

    asyncio.run(run())


def test_what_cannot_be_left_out_is_an_error() -> None:
    """A complaint about what a document does not hold does not loop."""
    error = failing(Reply(200, errors('Cannot query field "nothing" on type "Nobody".')))
    assert isinstance(error, GraphQLError)


def test_the_wait_is_the_servers_where_it_says_one() -> None:
    """Retry-After, else RateLimit-Reset, is waited for before the next try."""
    for headers in ({"Retry-After": "7"}, {"RateLimit-Reset": "7"}):
        clock = Clock()
        _, _, client = ask(Reply(429, b"", headers), Reply(body=GOOD), clock=clock)
        assert 7.0 <= clock.now < 8.0
        assert client.meter.throttled == 1


def test_long_waits_are_waited_for_or_named(caplog: pytest.LogCaptureFixture) -> None:
    """A quarter of an hour is waited for at once; a longer wait is an error that says when."""
    clock = Clock()
    limited = Reply(429, b"", {"Retry-After": "840"})
    _, _, client = ask(limited, Reply(body=GOOD), clock=clock)
    assert 840.0 <= clock.now < 842.0
    assert client.meter.requests == 2
    assert "840 s" in caplog.text
    for seconds in ("3600", "1e300"):
        clock = Clock()
        with pytest.raises(RateLimitedError) as caught:
            ask(Reply(429, b"", {"Retry-After": seconds}), clock=clock)
        error = caught.value
        assert error.retry_after_s == float(seconds)
        assert clock.now < 1.0
        if seconds == "3600":
            told = re.search(r"after (\S+ \S+) UTC", str(error))
            assert told is not None
            instant = datetime.fromisoformat(told[1] + "+00:00")
            assert 3500 < (instant - datetime.now(UTC)).total_seconds() < 3700


def test_all_tasks_wait_after_a_429() -> None:
    """One 429 holds back every task, not just the one that met it."""
    clock = Clock()
    times: list[float] = []
    met = asyncio.Event()

    def limited(_: Request) -> Reply:
        times.append(clock.now)
        if len(times) == 1:
            met.set()
            return Reply(429, b"", {"Retry-After": "5"})
        return Reply(body=GOOD)

    async def run() -> None:
        async with Server(limited) as server, opened(server.url, clock=clock) as client:
            with contextlib.suppress(RateLimitedError):
                await asyncio.gather(
                    client.execute(VIEWER, {}),
                    *(later(client, turn) for turn in range(20)),
                )

    async def later(client: Client, turn: int) -> None:
        await met.wait()
        await asyncio.sleep(0.02 + turn / 1000)
        await client.execute(VIEWER, {})

    asyncio.run(run())
    assert len(times) == 22
    assert all(t >= 5.0 for t in times[1:])


def test_the_key_goes_to_the_api_alone(tmp_path: Path) -> None:
    """A storage host, on another port or reached by a redirect, sees no credential."""

    async def run() -> None:
        async with (
            Server(Reply(200, b"PAR1")) as far,
            Server(Reply(302, b"", {"Location": f"{far.url}/final"})) as storage,
            Server(Reply(307, b"", {"Location": f"{far.url}/graphql"})) as api,
            opened(api.url) as client,
        ):
            assert await client.download(f"{storage.url}/x?sig=1", tmp_path / "x") == 4
            assert (tmp_path / "x").read_bytes() == b"PAR1"
            with pytest.raises(ResponseShapeError):
                await client.execute(VIEWER, {})
            assert len(far.requests) == 1
            for request in (*far.requests, *storage.requests):
                text = repr(request)
                assert "authorization" not in request.headers
                assert KEY not in text
                assert BASIC not in text
            assert client.meter.downloads == 1

    asyncio.run(run())


def test_a_download_is_whole_or_fails(tmp_path: Path) -> None:
    """A body that is cut off is fetched again; a refused signature is for the caller to renew."""

    async def run() -> None:
        body = b"x" * 1000
        async with (
            Server(Reply(200, body, promised=2000), Reply(503), Reply(200, body)) as storage,
            Server(Reply(403, b"<Error>expired</Error>")) as expired,
            Server(Reply(404)) as gone,
            opened(expired.url) as client,
        ):
            assert await client.download(storage.url, tmp_path / "a") == 1000
            assert (tmp_path / "a").read_bytes() == body
            with pytest.raises(SignedUrlExpiredError):
                await client.download(expired.url, tmp_path / "b")
            with pytest.raises(ServerError):
                await client.download(gone.url, tmp_path / "b")
            assert (len(expired.requests), len(gone.requests)) == (1, 1)
            for url in ("ftp://x/y", "nonsense", "http://[::1", "http://127.0.0.1:1/x"):
                with pytest.raises(TransportError):
                    await client.download(url, tmp_path / "b")

    asyncio.run(run())


def test_the_key_is_in_no_message_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a server says, even the key itself, no error or log line of ours repeats it."""
    caplog.set_level(logging.DEBUG)
    words = f"bad key {KEY} {BASIC} " + "x" * 5000 + "\x1b[31m\n\u202e"
    for reply in (
        Reply(401, {"error": words}),
        Reply(403, {"error": words}),
        Reply(404, {"errors": [words]}),
        Reply(400, errors(words)),
        Reply(200, errors(words)),
        Reply(500, {"error": {"message": words}}),
        Reply(200, words.encode()),
        Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
        None,
    ):
        error = failing(reply)
        for text in (str(error), repr(error), str(error.args)):
            assert KEY not in text
            assert BASIC not in text
            assert len(text) < 500
        assert str(error).isprintable()
    assert KEY not in caplog.text
    assert BASIC not in caplog.text


def test_a_client_shows_no_key() -> None:
    """A credential in a repr or in a traceback's locals is masked."""
    credentials = Credentials("https://x", Secret(KEY), "argument")
    assert KEY not in repr(credentials)
    assert KEY not in f"{credentials.api_key} {credentials.api_key!r}"


def found(runs: int | None, matched: int, far: int) -> Reply:
    """Returns the answer to the probe for filters: how many runs each of its lists shows."""
    lists = {"any": runs, "all": matched, "none": far}
    shown = {k: None if n is None else {"edges": [{"node": {}}] * n} for k, n in lists.items()}
    return Reply(body={"data": {"project": shown}})


@pytest.mark.parametrize(
    ("reply", "can"),
    [
        (found(1, 1, 0), True),
        (found(1, 1, 1), False),
        (found(1, 0, 0), False),
        (Reply(200, errors("unknown column")), False),
        (Reply(400, errors("unknown column")), False),
    ],
    ids=["filters", "ignores filters", "finds nothing by unknown fields", "fails", "refuses"],
)
def test_whether_updated_at_filters_is_found_out_once(reply: Reply, *, can: bool) -> None:
    """A server that ignores or refuses the filter, or finds nothing by it, is not trusted."""

    async def run() -> None:
        async with Server(reply) as server, opened(server.url, max_attempts=2) as client:
            assert await client.can_filter_updated_at(ProjectPath("e", "p")) is can
            asked = len(server.requests)
            assert await client.can_filter_updated_at(ProjectPath("e", "p")) is can
            assert asked == len(server.requests) == 1
            variables = server.requests[0].json["variables"]
            assert {"updatedAt"} == {k for n in ("all", "none") for k in json.loads(variables[n])}

    asyncio.run(run())


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body={"data": {"project": None}}),
        found(0, 0, 0),
        found(None, 1, 0),
        Reply(500),
        Reply(200, errors("internal error")),
    ],
    ids=["no project", "no runs", "hidden runs", "failed", "failed with words"],
)
def test_what_says_nothing_of_the_server_is_not_remembered(reply: Reply) -> None:
    """A probe that met no run, or a server that is ill, is made again."""

    async def run() -> None:
        async with Server(reply) as server, opened(server.url, max_attempts=2) as client:
            assert not await client.can_filter_updated_at(ProjectPath("e", "p"))
            assert client.capabilities.filters_updated_at is None

    asyncio.run(run())


def test_a_walk_over_a_bad_connection_is_complete() -> None:
    """Every fifth answer fails in its own way; each row comes exactly once, in order."""
    bad = [Reply(500), Reply(200, b"{", promised=99), Reply(200, errors("timeout")), None]
    state = {"count": 0}

    def page(request: Request) -> Reply:
        state["count"] += 1
        if state["count"] % 5 == 0:
            return bad[state["count"] // 5 % 4]  # type: ignore[return-value]
        variables = request.json["variables"]
        start = int(variables.get("cursor") or 0)
        end = min(300, start + min(10, variables["perPage"]))
        edges = [
            {"node": {"id": i, "name": str(i)}, "cursor": str(i + 1)} for i in range(start, end)
        ]
        info = {"endCursor": str(end), "hasNextPage": end < 300}
        return Reply(body={"data": {"models": {"edges": edges, "pageInfo": info}}})

    async def run(prefetch: bool) -> list[int]:
        async with Server(page) as server, opened(server.url) as client:
            return [
                node["id"]
                async for found in iter_pages(
                    client,
                    load_document("projects"),
                    {"entity": "e"},
                    connection=lambda data: data["models"],
                    page_rows=50,
                    prefetch=prefetch,
                )
                for node in found.nodes
            ]

    for prefetch in (False, True):
        assert asyncio.run(run(prefetch)) == list(range(300))


def test_every_httpx_exception_has_a_place_in_the_tree() -> None:
    """An error that httpx adds must be mapped before it can escape."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(kind, Exception)
    ]
    covered = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
    assert {k.__name__ for k in kinds if not issubclass(k, covered)} <= {"CookieConflict"}
    for kind in kinds:
        error: Any = kind.__new__(kind)
        assert describe(error)


def test_every_error_of_a_client_is_of_the_tree() -> None:
    """A caller that catches WbsyncError catches every failure of a conversation."""
    assert issubclass(ApiError, WbsyncError)
    for kind in (TransportError, RateLimitedError, ServerError, GraphQLError, ResponseShapeError):
        assert issubclass(kind, ApiError)
        assert kind.__doc__


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({"ratelimit-reset": "12"}, 12.0),
        ({"ratelimit-reset": "soon"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds, dates with and without a zone, and nonsense."""
    assert retry_after_s(headers) == seconds


def test_json_beyond_the_standard_is_read() -> None:
    """NaN tokens and half a surrogate pair do not make an answer unreadable."""
    value = from_json(b'{"a": [NaN, -Infinity], "b\\ud800": "x\\ud800y"}')
    assert str(value["a"]) == "[nan, -inf]"
    assert value["b\ufffd"] == "x\ufffdy"
    assert from_json(b"{") is None
    assert from_json(b"[" * 100_000) is None


def test_the_backoff_is_bounded() -> None:
    """The tries of a request are counted, and no wait is longer than a minute."""
    clock = Clock()
    with pytest.raises(ServerError):
        ask(Reply(500), max_attempts=8, clock=clock)
    assert len(clock.slept) == 7
    assert max(clock.slept) <= 60.0


@pytest.mark.parametrize("allowed", [1, 3, 7])
def test_a_budget_of_requests_is_never_exceeded(allowed: int) -> None:
    """Retries count, and so do requests side by side; what is refused is refused at once."""

    async def run() -> None:
        clock = Clock()
        async with Server(Reply(503), Reply(200, GOOD)) as server:
            budget = Budget(allowed, clock=clock)
            credentials = Credentials(server.url, Secret(KEY), "test")
            async with Client.open(
                credentials, budget=budget, clock=clock, sleep=clock.sleep
            ) as client:
                answers = await asyncio.gather(
                    *(client.execute(VIEWER, {}) for _ in range(10)), return_exceptions=True
                )
                assert len(server.requests) == client.meter.requests == allowed
                assert sum(a == GOOD["data"] for a in answers) == allowed - 1
                refused = [a for a in answers if isinstance(a, BudgetSpentError)]
                assert len(refused) == 10 - (allowed - 1)
                assert budget.is_spent

    asyncio.run(run())


def test_a_budget_of_minutes_waits_for_nothing_beyond_it(tmp_path: Path) -> None:
    """A pause that would outlast the time is not begun; a download that is begun may be retried."""

    async def run() -> None:
        clock = Clock()
        limited = Reply(429, b"", {"Retry-After": "50"})
        async with Server(limited, Reply(200, GOOD)) as server:
            budget = Budget(max_minutes=0.5, clock=clock)
            credentials = Credentials(server.url, Secret(KEY), "test")
            async with Client.open(
                credentials, budget=budget, clock=clock, sleep=clock.sleep
            ) as client:
                with pytest.raises(BudgetSpentError):
                    await client.execute(VIEWER, {})
                assert clock.now < 30
                assert not budget.is_spent
                with pytest.raises(BudgetSpentError):
                    await client.execute(VIEWER, {})
                assert len(server.requests) == 1
                clock.now = 31.0
                assert budget.is_spent

        async with Server(Reply(500), Reply(200, b"data")) as server:
            budget = Budget(1, clock=clock)
            async with Client.open(
                credentials, budget=budget, clock=clock, sleep=clock.sleep
            ) as client:
                budget.claim()
                assert await client.download(server.url, tmp_path / "file") == 4
                with pytest.raises(BudgetSpentError):
                    await client.execute(VIEWER, {})

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["request", "download"])
def test_a_budget_of_minutes_bounds_the_wait_for_an_answer(tmp_path: Path, kind: str) -> None:
    """Where a server never answers, the wait ends with the budget, and not a minute later."""

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(50)
        writer.close()

    async def run() -> None:
        listener = await asyncio.start_server(hang, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        credentials = Credentials(url, Secret(KEY), "test")
        begun = asyncio.get_running_loop().time()
        async with Client.open(credentials, budget=Budget(max_minutes=1 / 60)) as client:
            is_request = kind == "request"
            with pytest.raises(BudgetSpentError):
                await (
                    client.execute(VIEWER, {})
                    if is_request
                    else client.download(url, tmp_path / "file")
                )
        assert 0.9 < asyncio.get_running_loop().time() - begun < 8
        listener.close()

    asyncio.run(run())


def test_no_budget_is_no_limit() -> None:
    """Without limits nothing ends."""
    budget = Budget()
    for _ in range(1000):
        budget.claim()
    assert not budget.is_limited
    assert not budget.is_spent
