"""The project served from a thread of the test's process, with a proxy that holds the sockets.

In the interface of the server processes that `ChannelsLiveServerTestCase` names: `start`, `ready`, `port`, `is_alive`,
`terminate`, `join`. While one runs, this process publishes to its proxy, and its mailbox is memory.
"""

from __future__ import annotations

import importlib.util
import queue
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from asgiref.sync import SyncToAsync
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from grip_consumers import discovery
from grip_consumers.conf import Proxy
from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.embedded.server import CONTROL_PATH, _uvicorn_server
from grip_consumers.in_process import Place
from grip_consumers.types import ASGIApplication

from .pushpin import Pushpin

__all__ = ["EmbeddedServer", "PushpinServer"]

#: Seconds that a server has for letting go of its clients.
_PATIENCE = 10.0


class EmbeddedServer:
    """uvicorn in a thread, with the embedded proxy around the application. Needs the extra `server`.

    Args:
        host: the interface to listen on.
        get_application: makes the ASGI application, in the server's thread.
        kwargs, setup, teardown: as daphne.testing.DaphneProcess has them; `kwargs` is ignored.
        port: None for a free one.

    Attributes:
        ready: an event, set when the server answers or has failed.
        port: its `value` is the port.
        errors: a queue of what was raised at the start.
    """

    def __init__(
        self,
        host: str,
        get_application: Callable[[], ASGIApplication],
        kwargs: object = None,
        setup: Callable[[], None] | None = None,
        teardown: Callable[[], None] | None = None,
        port: int | None = None,
    ) -> None:
        if importlib.util.find_spec("uvicorn") is None:
            raise ImproperlyConfigured(
                'A live server needs uvicorn and did not find it. Install it with: pip install "grip-consumers[server]"'
            )
        self.host = host
        self.ready = threading.Event()
        self.port = SimpleNamespace(value=0)
        self.errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._get_application = get_application
        self._setup, self._teardown = setup, teardown
        self._wanted_port = port or 0
        self._server: Any = None
        self._place: Place | None = None
        self._thread = threading.Thread(target=self._run, name="grip-live-server", daemon=True)

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def terminate(self) -> None:
        """Have the server stop; returns at once."""
        if self._place is not None:
            self._place.close()
        if self._server is not None:
            self._server.should_exit = True

    def join(self, timeout: float | None = None) -> None:
        """Wait until the server has stopped, at most so many seconds."""
        self._thread.join(_PATIENCE if timeout is None else timeout)

    def publish_here(self, on: bool) -> None:
        """Whether this process publishes to this server's proxy, as it does from the start."""
        if self._place is not None:
            (self._place.open if on else self._place.close)()

    def _run(self) -> None:
        try:
            if self._setup is not None:
                self._setup()
            self._serve()
        except BaseException as error:
            self.errors.put(error)
        finally:
            self.ready.set()
            if self._teardown is not None:
                self._teardown()

    def _serve(self) -> None:
        with socket.create_server((self.host, self._wanted_port)) as listener:
            self._server = _uvicorn_server(self._around(self._get_application()))
            self._server.config.lifespan = "off"
            port = int(listener.getsockname()[1])
            self._place = Place(proxies=[self._before(port)]).open()
            try:
                # uvicorn listens before it says so, and what connects until then waits in the backlog.
                self.ready.set()
                self._server.run(sockets=[listener])
            finally:
                self._place.close()
                self._finish()
                # The thread in which synchronous code of this server ran is one of asgiref's, and stays.
                SyncToAsync.single_thread_executor.submit(connections.close_all).result(_PATIENCE)

    def _around(self, application: Any) -> Any:
        return EmbeddedProxy(application, signing_key=discovery.signing_key(), control_path=CONTROL_PATH)

    def _before(self, port: int) -> Proxy:
        """The proxy in front of `port`, which is `self.port` if it is the same."""
        self.port.value = port
        key = discovery.signing_key()
        return Proxy(
            f"http://{self.host}:{port}{CONTROL_PATH}",
            control_iss=discovery.ISSUER,
            key=key,
            verify_key=key,
            verify_iss=discovery.ISSUER,
        )

    def _finish(self) -> None:
        """End what `_before` has started."""


class PushpinServer(EmbeddedServer):
    """The same behind a private Pushpin, which has to be installed.

    Raises PushpinMissingError, in `errors`. With the extra `zmq` Pushpin is asked for callbacks by its command socket.
    """

    def _around(self, application: Any) -> Any:
        return application

    def _before(self, port: int) -> Proxy:
        self._pushpin = Pushpin(port).start()
        self.port.value = self._pushpin.port
        return Proxy(
            self._pushpin.control_uri,
            verify_key=self._pushpin.sig_key,
            verify_iss="pushpin",
            control_zmq_uri=self._pushpin.command_uri,
        )

    def _finish(self) -> None:
        self._pushpin.stop()
