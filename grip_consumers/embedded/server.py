"""uvicorn in the shape that Django's `runserver` expects of a server class."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from grip_consumers import discovery

from .backend import Application, Message, Receive, Scope, Send

if TYPE_CHECKING:
    import uvicorn

__all__ = ["CONTROL_PATH", "DevelopmentServer", "log_requests", "thread_count"]

logger = logging.getLogger("grip_consumers.embedded")
request_logger = logging.getLogger("django.server")

#: Where the embedded proxy of a development server takes items.
CONTROL_PATH = "/.grip"
#: Seconds that open requests and connections get when the server stops; a reload should not be felt.
_GRACE = 1
#: Seconds that `stop_all` waits for a server.
_JOIN = _GRACE + 1.0
_BACKLOG = 128


class DevelopmentServer:
    """Serves an ASGI application with uvicorn, in the main thread or beside Django's autoreloader.

    Called as `django.core.servers.basehttp.run` calls a WSGIServer: constructed with the address, given the
    application by `set_app`, run by `serve_forever`. While it runs, the project's other processes find it
    through `discovery`.

    Args:
        address: host and port; port 0 takes a free one.
        handler_class: ignored.
        ipv6: whether the host is an IPv6 address.

    Raises OSError if the address cannot be bound.
    """

    daemon_threads = True
    _running: ClassVar[set[DevelopmentServer]] = set()

    def __init__(self, address: tuple[str, int], handler_class: object = None, *, ipv6: bool = False) -> None:
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self.socket = socket.create_server(address, family=family, backlog=_BACKLOG)
        self._app: Application | None = None
        self._server: uvicorn.Server | None = None
        self._ended = threading.Event()

    @property
    def server_port(self) -> int:
        """The port that is really bound."""
        return int(self.socket.getsockname()[1])

    @property
    def control_uri(self) -> str:
        """Where this machine's processes publish: on the loopback interface if every interface is served."""
        host = ipaddress.ip_address(self.socket.getsockname()[0].partition("%")[0])
        if host.is_unspecified:
            host = ipaddress.ip_address("::1" if host.version == 6 else "127.0.0.1")
        shown = f"[{host}]" if host.version == 6 else str(host)
        return f"http://{shown}:{self.server_port}{CONTROL_PATH}"

    def set_app(self, app: Application) -> None:
        """Take the ASGI application to serve."""
        self._app = app

    def serve_forever(self) -> None:
        """Serve until a signal comes (in the main thread), or `stop_all` is called (in any other)."""
        if self._app is None:
            raise RuntimeError("Expected set_app() before serve_forever().")
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal again when it has stopped, and the default would skip the way out.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        self._server = _uvicorn_server(self._app)
        self._running.add(self)
        try:
            with self._announced():
                self._server.run(sockets=[self.socket])
        finally:
            self._running.discard(self)
            self._ended.set()

    @classmethod
    def stop_all(cls) -> None:
        """Stop every server of this process and wait a moment for their connections to end.

        The autoreloader ends the process from the main thread, and its server's thread, a daemon, with it.
        Whoever called the autoreloader calls this on the way out, while threads can still be started.
        """
        servers = list(cls._running)
        for server in servers:
            if server._server is not None:
                server._server.should_exit = True
        for server in servers:
            server._ended.wait(_JOIN)

    def _announced(self) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(discovery.announce(self.control_uri))
        except OSError as error:
            logger.warning("Other processes cannot publish to this server: %s", error)
        return stack


def _uvicorn_server(app: Application) -> uvicorn.Server:
    import uvicorn
    from uvicorn.config import WS_PROTOCOLS

    class Server(uvicorn.Server):
        async def serve(self, sockets: list[socket.socket] | None = None) -> None:
            if (threads := thread_count(os.environ)) is not None:
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, "asgi"))
            await super().serve(sockets)

    # The older one rests on a part of websockets that is deprecated and warns so.
    websockets = "websockets-sansio" if "websockets-sansio" in WS_PROTOCOLS else "wsproto"
    options: dict[str, Any] = {
        "access_log": False,
        "log_config": None,
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": _GRACE,
        "ws": websockets,
    }
    return Server(uvicorn.Config(app, **options))


def thread_count(environment: Mapping[str, str]) -> int | None:
    """Return how many threads synchronous code gets that need not run in one; None leaves that to asyncio.

    `ASGI_THREADS` is the variable that daphne reads. Raises ValueError for what is no positive number.
    """
    text = environment.get("ASGI_THREADS", "")
    if not text:
        return None
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"The environment variable ASGI_THREADS must be a positive number, got {text!r}.")
    return int(text)


def log_requests(app: Application) -> Application:
    """Wrap an application so that its requests are logged to `django.server`, in the form `runserver` has."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await app(scope, receive, send)
            return

        async def observed(message: Message) -> None:
            status = _status(message, scope)
            await send(message)
            if status is not None:
                _log(scope, status)

        await app(scope, receive, observed)

    return logged


def _status(message: Message, scope: Scope) -> int | None:
    """Return the status that a message gives to the request, if it does."""
    kind = message["type"]
    if kind in {"http.response.start", "websocket.http.response.start"}:
        return int(message["status"])
    if kind == "websocket.accept":
        scope["grip_consumers.accepted"] = True
        return 101
    if kind == "websocket.close" and "grip_consumers.accepted" not in scope:
        return 403
    return None


def _log(scope: Scope, status: int) -> None:
    target = scope.get("raw_path") or scope["path"].encode()
    query = b"?" + scope["query_string"] if scope.get("query_string") else b""
    method = scope.get("method", "WEBSOCKET")
    line = f"{method} {(target + query).decode('latin-1')} HTTP/{scope.get('http_version', '1.1')}"
    level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
    request_logger.log(level, '"%s" %d', line, status, extra={"status_code": status})
