"""The two ports of the sandbox: the API, which wants a key, and storage, which must not get one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import inspect
import json
import random
import secrets
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from wbsync.sandbox import artifacts
from wbsync.sandbox.automations import edit_integration
from wbsync.sandbox.graph import Graph, fields_of, is_mutation
from wbsync.sandbox.history import take_lines
from wbsync.sandbox.nodes import EXPORTS, Options, Scope, sign
from wbsync.sandbox.runs import move_run
from wbsync.sandbox.store import (
    Store,
    epoch_s,
    make_organization,
    make_team,
    make_user,
    now,
    set_clock,
)
from wbsync.sandbox.weather import Limiter, Weather

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

REQUEST_LOG = "requests.jsonl"

STREAMS = {"wandb-history.jsonl": "history", "wandb-events.jsonl": "events", "output.log": "log"}


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"errors": [{"message": message}]}, status_code=status)


def _turn_clock(ahead_s: float) -> dict[str, Any]:
    set_clock(float(ahead_s))
    return {"now": now()}


class Api:
    """The port that speaks GraphQL and takes what runs log."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self._graph = Graph(options)

    def app(self) -> Starlette:
        """Returns the ASGI application."""
        run = "/files/{entity}/{project}/{run}"
        return Starlette(
            routes=[
                Route("/graphql", self.graphql, methods=["POST"]),
                Route(f"{run}/file_stream", self.file_stream, methods=["POST"]),
                Route(f"{run}/{{path:path}}", self.run_file, methods=["GET"]),
                Route("/artifacts/{path:path}", self.artifact_file, methods=["GET"]),
                Route("/artifactsV2/{path:path}", self.artifact_file, methods=["GET"]),
                Route("/sandbox/{kind}", self.admin, methods=["POST"]),
                Route("/healthz", lambda _request: Response("ok"), methods=["GET"]),
            ]
        )

    def _user(self, request: Request) -> sqlite3.Row | None:
        """Returns who a request's key belongs to."""
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        if kind == "Bearer":
            key = text
        elif kind == "Basic":
            try:
                key = base64.b64decode(text).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return None
        else:
            return None
        return self._store.row("SELECT * FROM users WHERE api_key = ?", key) if key else None

    def _scope(self, request: Request) -> Scope | None:
        user = self._user(request)
        return None if user is None else Scope(self._store, self._options, user)

    async def graphql(self, request: Request) -> Response:
        """Answers a GraphQL request."""
        body = await request.body()
        scope = self._scope(request)
        if scope is None:
            return _error(401, "user is not logged in: the API key is missing or not valid")
        self._pass_time()
        try:
            asked = json.loads(body)
            text = asked["query"]
            assert isinstance(text, str)
        except (ValueError, KeyError, TypeError, AssertionError):
            return _error(400, "the request body must be JSON with a query")
        entry = request.state.log
        operation = asked.get("operationName") or None
        entry["operation"] = operation
        try:
            document = self._graph.parse(text)
        except GraphQLError as error:
            entry["errors"] = [error.message]
            return JSONResponse({"errors": [{"message": error.message}]}, status_code=400)
        entry["fields"] = fields_of(document)
        variables = asked.get("variables") or {}
        if self._options.read_lag_s:
            self._look_back(scope, writes=is_mutation(document))
        answer = self._graph.execute(document, variables, operation, scope)
        if "errors" in answer:
            entry["errors"] = [error["message"] for error in answer["errors"]]
            status = max(error["extensions"].get("status", 200) for error in answer["errors"])
            self._pass_time()
            return JSONResponse(answer, status_code=status)
        self._pass_time()
        return JSONResponse(answer)

    def _pass_time(self) -> None:
        """Does what has become due since the last request."""
        options = self._options
        if options.crash_after_s is not None:
            self._store.crash_silent_runs(options.crash_after_s)
        if options.lag_s:
            options.index.watch(self._store, epoch_s(), options.lag_s)

    def _look_back(self, scope: Scope, *, writes: bool) -> None:
        """Has a query show what there was, and keeps what there is before something is written."""
        options = self._options
        if writes:
            options.replica.keep(self._store, epoch_s())
        else:
            scope.store = options.replica.at(self._store, epoch_s() - options.read_lag_s)

    def _change_exports(self, offered: str) -> dict[str, Any]:
        if offered not in EXPORTS:
            raise ValueError(f"unknown; there are {', '.join(EXPORTS)}")
        self._options.exports = offered
        return {"exports": offered}

    def _restrict(self, denied: Sequence[str] = (), hidden: Sequence[str] = ()) -> dict[str, Any]:
        self._graph.restrict(denied, hidden)
        return {"denied": denied, "hidden": hidden}

    def _run_pk(self, request: Request, scope: Scope) -> int | None:
        params = request.path_params
        entity_pk = self._store.value("SELECT pk FROM entities WHERE name = ?", params["entity"])
        if entity_pk is None or not scope.may_see(entity_pk):
            return None
        return self._store.run_pk(params["entity"], params["project"], params["run"])

    async def file_stream(self, request: Request) -> Response:
        """Takes what a run logs."""
        body = await request.body()
        scope = self._scope(request)
        if scope is None:
            return _error(401, "user is not logged in")
        pk = self._run_pk(request, scope)
        if pk is None:
            return _error(404, "run not found")
        sent = json.loads(body)
        store = self._store
        with store.transaction():
            for name, part in (sent.get("files") or {}).items():
                content = part.get("content") or []
                if name == "wandb-summary.json" and content:
                    store.write("UPDATE bodies SET summary = ? WHERE run_pk = ?", content[-1], pk)
                elif name in STREAMS:
                    take_lines(store, pk, STREAMS[name], part.get("offset") or 0, content)
            store.write("UPDATE runs SET heartbeatAt = ?, updatedAt = ? WHERE pk = ?",
                        now(), now(), pk)  # fmt: skip
            if sent.get("preempting"):
                store.write("UPDATE runs SET state = 'preempting' WHERE pk = ?", pk)
            if sent.get("complete"):
                code = sent.get("exitcode") or 0
                store.write(
                    "UPDATE runs SET state = ?, exitcode = ? WHERE pk = ?",
                    "failed" if code else "finished", code, pk,
                )  # fmt: skip
        self._pass_time()
        stopped = store.value("SELECT stopped FROM runs WHERE pk = ?", pk)
        return JSONResponse({"stopped": True} if stopped else {})

    async def run_file(self, request: Request) -> Response:
        """Redirects to a run's file in storage."""
        scope = self._scope(request)
        if scope is None:
            return _error(401, "user is not logged in")
        blob = self._store.value(
            "SELECT blob FROM files WHERE run_pk = ? AND name = ?",
            self._run_pk(request, scope), request.path_params["path"],
        )  # fmt: skip
        if blob is None:
            return _error(404, "file not found")
        return RedirectResponse(scope.signed_url(blob, "get"), status_code=302)

    async def artifact_file(self, request: Request) -> Response:
        """Redirects to an artifact's file in storage."""
        scope = self._scope(request)
        if scope is None:
            return _error(401, "user is not logged in")
        blob = artifacts.find_download(scope, request.path_params["path"].split("/"))
        if blob is None:
            return _error(404, "file not found")
        return RedirectResponse(scope.signed_url(blob, "get"), status_code=302)

    async def admin(self, request: Request) -> Response:
        """Makes accounts and integrations, does what W&B does by other ways; for administrators."""
        user = self._user(request)
        if user is None or not user["admin"]:
            return _error(401 if user is None else 403, "an administrator's key is needed")
        makers: dict[str, Callable[..., dict[str, Any]]] = {
            "users": lambda username, api_key=None, admin=False: make_user(
                self._store, username, api_key=api_key, admin=admin
            ),
            "teams": lambda name, organization=None, members=(): make_team(
                self._store, name, organization, members
            ),
            "organizations": lambda name, members=(): make_organization(self._store, name, members),
            "integrations": partial(edit_integration, self._store),
            "clock": _turn_clock,
            "exports": self._change_exports,
            "restrictions": self._restrict,
            "moves": lambda **names: move_run(self._store, **names),
        }
        make = makers.get(request.path_params["kind"])
        if make is None:
            return _error(404, f"unknown; there are {', '.join(makers)}")
        try:
            values = await request.json()
        except ValueError as error:
            return _error(400, f"the body is not JSON: {error}")
        if not isinstance(values, dict) or isinstance(values.get("members"), str):
            return _error(400, "the body must be an object, and members a list of names")
        try:
            inspect.signature(make).bind(**values)
            return JSONResponse(make(**values))
        except (TypeError, ValueError, LookupError) as error:
            return _error(400, str(error))


class Storage:
    """The port that serves and takes blobs by signed addresses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def app(self) -> Starlette:
        """Returns the ASGI application."""
        path = "/blob/{blob}"
        return Starlette(
            routes=[
                Route(path, self.get, methods=["GET"]),
                Route(path, self.put, methods=["PUT"]),
            ]
        )

    def _is_signed(self, request: Request, action: str) -> bool:
        query = request.query_params
        expires = query.get("expires", "")
        if not expires.isdigit() or int(expires) < time.time():
            return False
        wanted = sign(self._store, request.path_params["blob"], action, int(expires))
        return secrets.compare_digest(wanted, query.get("signature", ""))

    async def get(self, request: Request) -> Response:
        """Serves a blob, or ranges of it."""
        if not self._is_signed(request, "get"):
            return Response("the signature is not valid or has expired", status_code=403)
        path = self._store.blob_path(request.path_params["blob"])
        if not path.is_file():
            return Response("no such blob", status_code=404)
        return FileResponse(path)

    async def put(self, request: Request) -> Response:
        """Takes a blob."""
        if not self._is_signed(request, "put"):
            return Response("the signature is not valid or has expired", status_code=403)
        blob = request.path_params["blob"]
        path = self._store.blob_path(blob)
        path.parent.mkdir(exist_ok=True)
        scratch = path.with_name(f"{blob}.{secrets.token_hex(4)}")
        try:
            with scratch.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            scratch.replace(path)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            scratch.unlink(missing_ok=True)
        self._store.finish_blob(blob)
        return Response(status_code=200)


class _Server(uvicorn.Server):  # type: ignore[misc]
    """A uvicorn server that leaves signals to us."""

    def install_signal_handlers(self) -> None:
        return

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


def bind(host: str, port: int) -> socket.socket:
    """Returns a listening socket, on a free port for port 0."""
    # asyncio sets TCP_NODELAY on sockets that name TCP alone: without it, each answer on a
    # connection that is kept waits 40 ms for the client's acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(512)
    listener.setblocking(False)
    return listener


async def serve(
    folder: Path,
    options: Options,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    storage_port: int = 0,
    announce: Callable[[dict[str, str]], None],
    until_stdin_closes: bool = False,
) -> None:
    """Serves a folder until it is told to stop by a signal.

    Args:
        folder: What to serve; made where it is missing.
        options: How to behave.
        host: Address to bind.
        port: Port of the API; 0 takes a free one.
        storage_port: Port of storage; 0 takes a free one.
        announce: Called with both addresses once they answer.
        until_stdin_closes: Whether to stop, too, when standard input ends: the server then dies
            with the process that started it.
    """
    store = Store(folder)
    if options.seed is not None:
        options.rng = random.Random(options.seed)  # noqa: S311
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        log = stack.enter_context((folder / REQUEST_LOG).open("a", encoding="utf-8"))
        sockets = [bind(host, port), bind(host, storage_port)]
        for listener in sockets:
            stack.enter_context(listener)
        urls = [f"http://{host}:{s.getsockname()[1]}" for s in sockets]
        options.storage_url = urls[1]
        limiter = Limiter(options.rate_limit)
        apps = [
            Weather(Api(store, options).app(), "api", options, log, limiter),
            Weather(Storage(store).app(), "storage", options, log),
        ]
        servers = [
            _Server(
                uvicorn.Config(
                    app, log_level="critical", access_log=False, lifespan="off",
                    timeout_graceful_shutdown=2, timeout_keep_alive=60, date_header=False,
                )
            )
            for app in apps
        ]  # fmt: skip
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):
                loop.add_signal_handler(name, stop.set)
        if until_stdin_closes:
            loop.add_reader(sys.stdin.fileno(), stop.set)
        tasks = [
            asyncio.create_task(server.serve(sockets=[listener]))
            for server, listener in zip(servers, sockets, strict=True)
        ]
        while not all(server.started for server in servers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        announce({"base_url": urls[0], "storage_url": urls[1], "data": str(folder)})
        await stop.wait()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
