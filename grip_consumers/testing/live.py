"""Test cases that serve the project, for Selenium and WebSocket clients (`channels.testing.live`)."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.creation import TEST_DATABASE_PREFIX
from django.test.testcases import TransactionTestCase
from django.test.utils import modify_settings

from grip_consumers.routing import get_default_application

from .servers import EmbeddedServer, PushpinServer

__all__ = ["ChannelsLiveServerTestCase", "GripLiveServerTestCase"]


def make_application(*, static_wrapper: Any) -> Any:
    """The project's ASGI application, in the wrapper if there is one."""
    application = get_default_application()
    return application if static_wrapper is None else static_wrapper(application)


def set_database_connection() -> None:
    """Have the default database be that of the tests, in a process of its own."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    database["NAME"] = database["TEST"]["NAME"] or TEST_DATABASE_PREFIX + database["NAME"]


class ChannelsLiveServerTestCase(TransactionTestCase):
    """A TransactionTestCase with the project on a port, WebSockets and all.

    The server runs in a thread of this process, so what a test publishes, and what it overrides, reaches it. Its
    database is that of the tests, which must not be one in memory.

    Attributes:
        host: the interface that it listens on.
        serve_static: whether static files are served, too, by `static_wrapper`.
        ProtocolServerProcess: the server's class.
    """

    host = "localhost"
    ProtocolServerProcess: ClassVar[Any] = EmbeddedServer
    static_wrapper: ClassVar[Any] = ASGIStaticFilesHandler
    serve_static = True

    _server_process: ClassVar[Any]
    _port: ClassVar[int]
    _live_server_modified_settings: ClassVar[Any]

    @property
    def live_server_url(self) -> str:
        """Where the project's pages are: `http://HOST:PORT`."""
        return f"http://{self.host}:{self._port}"

    @property
    def live_server_ws_url(self) -> str:
        """Where its WebSockets are: `ws://HOST:PORT`."""
        return f"ws://{self.host}:{self._port}"

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server. Raises ImproperlyConfigured for a database in memory, and what the start has raised."""
        for connection in connections.all():
            if cls._is_in_memory_db(connection):
                raise ImproperlyConfigured("ChannelLiveServerTestCase can not be used with in memory databases")
        super().setUpClass()
        cls._live_server_modified_settings = modify_settings(ALLOWED_HOSTS={"append": cls.host})
        cls._live_server_modified_settings.enable()
        cls.addClassCleanup(cls._live_server_modified_settings.disable)
        static_wrapper = cls.static_wrapper if cls.serve_static else None
        cls._server_process = cls._server_class()(cls.host, partial(make_application, static_wrapper=static_wrapper))
        cls.addClassCleanup(cls._stop_server)
        cls._port = _started(cls._server_process)

    @classmethod
    def _server_class(cls) -> Any:
        return cls.ProtocolServerProcess

    @classmethod
    def _stop_server(cls) -> None:
        cls._server_process.terminate()
        cls._server_process.join()

    @classmethod
    def _is_in_memory_db(cls, connection: Any) -> bool:
        return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


class GripLiveServerTestCase(ChannelsLiveServerTestCase):
    """The same with a choice of the proxy.

    Attributes:
        proxy: `"embedded"`, or `"pushpin"` for a private Pushpin, which has to be installed.
    """

    proxy: ClassVar[str] = "embedded"

    @classmethod
    def _server_class(cls) -> Any:
        if cls.proxy not in _SERVERS:
            raise ImproperlyConfigured(f"{cls.__name__}.proxy must be 'embedded' or 'pushpin', not {cls.proxy!r}.")
        return PushpinServer if cls.proxy == "pushpin" else cls.ProtocolServerProcess


_SERVERS = ("embedded", "pushpin")


def _started(server: Any) -> int:
    """Start a server and return its port. Raises what it has raised, or RuntimeError."""
    server.start()
    while not server.ready.wait(timeout=1):
        if not server.is_alive():
            break
    if not server.errors.empty():
        raise server.errors.get()
    if not server.is_alive():
        raise RuntimeError("Server stopped")
    return int(server.port.value)
