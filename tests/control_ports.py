"""What a proxy listens on for the project, scripted: the HTTP control port and the ZeroMQ command socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import tnetstring
import zmq


class Proxy:
    """A control port that remembers what was posted to it; `answer` may do something else than accept it."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[Handler], None] = lambda handler: handler.reply(200)
        self.connections = 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def items(self) -> list[dict[str, Any]]:
        return [item for _, _, body in self.posts for item in json.loads(body)["items"]]

    @property
    def texts(self) -> list[str]:
        return [item["formats"]["ws-message"]["content"] for item in self.items]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    proxy: Proxy


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.proxy.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.proxy.posts.append((self.path, dict(self.headers), body))
        self.server.proxy.answer(self)

    def reply(self, status: int, body: bytes = b"Published\n", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class Responder:
    """A command socket whose requests are answered as a test says; None is no answer."""

    def __init__(self, uri: str = "") -> None:
        self.requests: list[dict[bytes, Any]] = []
        self.answer: Callable[[dict[bytes, Any]], bytes | None] = success
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(uri or "tcp://127.0.0.1:*")
        self.uri = self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def channels(self) -> list[str]:
        """What was refreshed, in order."""
        asked = [request for request in self.requests if request[b"method"] == b"refresh"]
        return [request[b"args"][b"channel"].decode() for request in asked]

    @property
    def probes(self) -> int:
        return sum(request[b"method"] == b"get-zmq-uris" for request in self.requests)

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close(0)
        self._context.term()

    def _serve(self) -> None:
        with ThreadPoolExecutor(8) as threads:
            answers: list[tuple[list[bytes], Any]] = []
            while not self._ended.is_set():
                if self._socket.poll(5):
                    *route, body = self._socket.recv_multipart()
                    self.requests.append(request := tnetstring.loads(body))
                    answers.append((route, threads.submit(self.answer, request)))
                for entry in [entry for entry in answers if entry[1].done()]:
                    answers.remove(entry)
                    if (reply := entry[1].result()) is not None:
                        self._socket.send_multipart([*entry[0], reply])


def success(request: dict[bytes, Any]) -> bytes:
    return tnetstring.dumps({b"id": request[b"id"], b"success": True, b"value": None})


def silence(request: dict[bytes, Any]) -> None:
    return None


@contextmanager
def responding(uri: str = "") -> Iterator[Responder]:
    responder = Responder(uri)
    try:
        yield responder
    finally:
        responder.stop()
