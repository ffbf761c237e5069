"""Calls of the wrapped application: one request in, one complete response out, whatever it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from .connection import Request, Response

__all__ = ["Application", "Backend", "BackendError"]

logger = logging.getLogger("grip_consumers.embedded")

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What a request's scope takes over from the handshake's.
_INHERITED = (
    "asgi",
    "client",
    "http_version",
    "path",
    "query_string",
    "raw_path",
    "root_path",
    "server",
    "state",
)


class BackendError(Exception):
    """The application gave no usable response; the text says why."""


class Backend:
    """The wrapped application seen as an HTTP server for one connection's requests.

    Args:
        app: the application.
        handshake: the scope of the client's handshake or request.
        response_limit: bytes after which a response is not read on.
    """

    def __init__(self, app: Application, handshake: Scope, response_limit: int) -> None:
        self._app = app
        self._limit = response_limit
        # The loop itself keeps weak references only.
        self._calls: set[asyncio.Future[None]] = set()
        self._scope = {name: handshake[name] for name in _INHERITED if name in handshake}
        self._scope["type"] = "http"
        self._scope["method"] = "POST"
        self._scope["scheme"] = "https" if handshake.get("scheme") in {"https", "wss"} else "http"

    async def request(self, request: Request, target: Mapping[str, Any] | None = None) -> Response:
        """POST one batch, or what `target` changes in the scope, and return the complete response.

        As with any HTTP server, what the application still does after its response goes on beside later
        requests. Raises BackendError if the application raises, returns early, or answers without end.
        """
        exchange = _Exchange(request.body, self._limit)
        scope = {**self._scope, "headers": list(request.headers), "extensions": {}, **(target or {})}
        call = asyncio.ensure_future(self._call(scope, exchange))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            await exchange.over.wait()
        finally:
            if not exchange.complete:
                # Too long, or this session was cancelled: nobody waits for the rest.
                call.cancel()
        return exchange.response()

    async def _call(self, scope: Scope, exchange: _Exchange) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            logger.exception("The application raised an exception while it answered the proxy.")
            exchange.fail(f"the application raised {type(error).__name__}")
        else:
            exchange.fail("the application returned without a complete response")


class _Exchange:
    """The receive and send of one call."""

    def __init__(self, body: bytes, limit: int) -> None:
        self.over = asyncio.Event()
        self.complete = False
        self._body: bytes | None = body
        self._limit = limit
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._content = b""
        self._failure = ""

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.over.is_set():
            return
        if message["type"] == "http.response.start":
            self._status = int(message["status"])
            self._headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self._take(bytes(message.get("body", b"")), bool(message.get("more_body", False)))

    def fail(self, reason: str) -> None:
        """End the exchange without a response, unless it is over already."""
        if not self.over.is_set():
            self._failure = reason
            self.over.set()

    def response(self) -> Response:
        """Return the response, or raise BackendError if there is none."""
        if self._failure:
            raise BackendError(self._failure)
        return Response(self._status, self._headers, self._content)

    def _take(self, chunk: bytes, more: bool) -> None:
        self._content += chunk
        if len(self._content) > self._limit:
            self.fail(f"expected a response of at most {self._limit} bytes")
        elif not self._status:
            self.fail("expected http.response.start before http.response.body")
        elif not more:
            self.complete = True
            self.over.set()
