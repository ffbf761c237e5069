"""The embedded proxy in front of something, served by uvicorn's `--factory`; the environment says what.

`around_application` wraps an ASGI application in the same process. `before_backend` stands before an HTTP server, a
WSGI one for instance, to which every request goes on by HTTP.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import httpx

from grip_consumers.embedded import EmbeddedProxy

#: Headers that belong to one hop, or that the HTTP library writes itself.
_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"content-length"}


def around_application() -> EmbeddedProxy:
    """FRONT_APPLICATION is `module:name` of the ASGI application, FRONT_KEY signs."""
    module, _, name = os.environ["FRONT_APPLICATION"].partition(":")
    application = getattr(importlib.import_module(module), name)
    return EmbeddedProxy(application, signing_key=os.environ["FRONT_KEY"].encode())


def before_backend() -> EmbeddedProxy:
    """FRONT_BACKEND is the base URL of the HTTP server, FRONT_KEY signs."""
    forwarder = Forwarder(os.environ["FRONT_BACKEND"])
    return EmbeddedProxy(forwarder, signing_key=os.environ["FRONT_KEY"].encode())


class Forwarder:
    """An ASGI application that passes HTTP requests on to a server, whole, and answers with its response.

    So many `idle` connections are kept for the next requests, within the event loop that they were opened in.
    """

    def __init__(self, backend: str, *, idle: int = 20) -> None:
        self.backend = backend
        self._limits = httpx.Limits(max_connections=100, max_keepalive_connections=idle)
        # The transport alone: a client would keep cookies and add headers, which a proxy does not.
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        response = await self._forward(scope, body)
        content = await response.aread()
        headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _HOP]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _forward(self, scope: Any, body: bytes) -> httpx.Response:
        query = scope["query_string"].decode()
        path = scope.get("raw_path", scope["path"].encode()).decode()
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP]
        if body:
            headers.append((b"content-length", b"%d" % len(body)))
        url = self.backend + path + (f"?{query}" if query else "")
        request = httpx.Request(scope["method"], url, content=body, headers=headers)
        request.extensions["timeout"] = {"connect": 60, "read": 60, "write": 60, "pool": 60}
        return await self._connected().handle_async_request(request)

    def _connected(self) -> httpx.AsyncHTTPTransport:
        # Made on the first request: its connections belong to the event loop that it first runs on.
        if self._transport is None:
            # Certificates, which take longer to read than most requests, are of no use without encryption.
            self._transport = httpx.AsyncHTTPTransport(verify=False, limits=self._limits)
        return self._transport
