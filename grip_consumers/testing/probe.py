"""Whether all the sockets between a Pushpin's processes are connected.

They connect one by one, and what is written to a missing one is lost. The first WebSocket handshake may get a 502
meanwhile, though requests are answered: the events of a batch follow its headers through another socket. The first
response with a GRIP instruction may get a 500 ("Accept service unavailable"), as it comes back through the handler. So
one request of either kind is asked for.
"""

from __future__ import annotations

import contextlib
import http.server
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from .processes import answers

__all__ = ["Probe", "probe"]

#: What the proxy passes on of a refused handshake.
_REFUSED = 403
_HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyEhIQ==",
}
#: A request that lost a part in a missing socket is never answered: seconds until the next one.
_PATIENCE = 0.3


class _Responder(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(200, "Grip-Channel", "probe")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(_REFUSED, "Sec-WebSocket-Extensions", "grip")

    def _answer(self, status: int, name: str, value: str) -> None:
        self.send_response(status)
        self.send_header(name, value)
        self.send_header("Content-Length", "0")
        # The proxy may have given the request up.
        with contextlib.suppress(OSError):
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Probe:
    """Requests to `path` must go to `port` on 127.0.0.1. Nobody else can know the path."""

    path: str
    port: int

    def comes_through(self, proxy_port: int) -> bool:
        """Whether a handshake and a request arrive through the proxy, and their answers come back."""
        refused = answers(proxy_port, path=self.path, headers=_HANDSHAKE, timeout=_PATIENCE)
        return refused == _REFUSED and answers(proxy_port, path=self.path, timeout=_PATIENCE) == 200


@contextlib.contextmanager
def probe() -> Iterator[Probe]:
    """Answer probes for the length of a with block."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Responder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="pushpin-probe")
    thread.start()
    try:
        yield Probe(f"/.grip-consumers-{secrets.token_hex(8)}", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
