"""One scripted backend behind two proxies: what a test sees through one it must see through the other."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import uvicorn
from websockets.asyncio.client import ClientConnection

from grip_consumers.discovery import ISSUER
from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.testing.pushpin import Pushpin
from tests.clients import http_client

KEY = b"the key of the proxies under test"
#: Seconds to wait for something that should happen at once.
PATIENCE = 5.0
#: Seconds in which something that should not happen would have happened.
SILENCE = 0.15


@dataclass
class Seen:
    """One request as the backend saw it."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.headers if key == name.encode()]

    def names(self) -> list[str]:
        return [key.decode() for key, _ in self.headers]


@dataclass
class Reply:
    """What the backend answers: a batch that switches GRIP on, unless told otherwise."""

    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    plain: bool = False

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        own = [] if self.plain else [("Content-Type", "application/websocket-events")]
        grip = [] if self.plain else [("Sec-WebSocket-Extensions", "grip")]
        length = [("Content-Length", str(len(self.body)))]
        return [(name.encode(), value.encode()) for name, value in (*own, *grip, *self.headers, *length)]


Script = Callable[[Seen], Any]


def event(name: str, data: str | bytes | None = None) -> bytes:
    if data is None:
        return name.encode() + b"\r\n"
    content = data.encode() if isinstance(data, str) else data
    return b"%s %x\r\n%s\r\n" % (name.encode(), len(content), content)


def text(message: str) -> bytes:
    return event("TEXT", f"m:{message}")


def control(kind: str, **fields: Any) -> bytes:
    message = {"type": kind} | {name.replace("_", "-"): value for name, value in fields.items()}
    return event("TEXT", "c:" + json.dumps(message))


def close(code: int, reason: str = "") -> bytes:
    return event("CLOSE", code.to_bytes(2, "big") + reason.encode())


OPEN = event("OPEN")


class Backend:
    """An ASGI application whose answers the tests write; `seen` holds what came, by path."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._seen: dict[str, list[Seen]] = {}

    def script(self, path: str, script: Script) -> None:
        """Have `script` (a function or coroutine function from Seen to Reply) answer requests to `path`."""
        self._scripts[path] = script
        self._seen[path] = []

    def accept(self, path: str, *first: bytes, then: Script | None = None, **reply: Any) -> None:
        """Accept connections to `path`, with these events behind OPEN; `then` answers the later batches."""

        def script(seen: Seen) -> Any:
            if seen.body == OPEN:
                return Reply(OPEN + b"".join(first), **reply)
            return then(seen) if then else Reply()

        self.script(path, script)

    def seen(self, path: str) -> list[Seen]:
        return list(self._seen[path])

    def bodies(self, path: str) -> list[bytes]:
        return [seen.body for seen in self._seen[path]]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        seen = Seen(scope["method"], scope["path"], scope["query_string"], list(scope["headers"]), body)
        self._seen.setdefault(scope["path"], []).append(seen)
        reply = self._scripts[scope["path"]](seen)
        if inspect.isawaitable(reply):
            reply = await reply
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.all_headers()})
        await send({"type": "http.response.body", "body": reply.body})


@contextmanager
def serve(app: Any) -> Iterator[int]:
    """Serve an ASGI application on a free port from a thread; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="websockets-sansio", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@dataclass
class Proxy:
    """A proxy in front of a scripted backend."""

    name: str
    port: int
    publish_url: str
    backend: Backend

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        async with http_client() as client:
            return await client.post(self.publish_url, content=body, headers=headers or bearer())

    async def publish(self, *items: dict[str, Any]) -> None:
        response = await self.post(json.dumps({"items": items}).encode())
        assert response.status_code == 200, response.text


def bearer(key: bytes = KEY, issuer: str = ISSUER, expires_in: float = 60) -> dict[str, str]:
    token = jwt.encode({"iss": issuer, "exp": int(time.time() + expires_in)}, key, algorithm="HS256")
    return {"Authorization": f"Bearer {token}"}


def item(channel: str, content: str | None = None, *, meta: Any = None, id: str | None = None, **fields: Any) -> Any:
    message = fields if content is None else {"content": content, **fields}
    entry: dict[str, Any] = {"channel": channel, "formats": {"ws-message": message}}
    return entry | ({"meta": meta} if meta else {}) | ({"id": id} if id else {})


@contextmanager
def embedded(**options: Any) -> Iterator[Proxy]:
    backend = Backend()
    with serve(EmbeddedProxy(backend, signing_key=KEY, **options)) as port:
        yield Proxy("embedded", port, f"http://127.0.0.1:{port}/.grip/publish/", backend)


@contextmanager
def pushpin() -> Iterator[Proxy]:
    backend = Backend()
    with serve(backend) as port, Pushpin(port, sig_key=KEY.decode()) as instance:
        yield Proxy("pushpin", instance.port, f"{instance.control_uri}/publish/", backend)


async def eventually(condition: Callable[[], Any], what: str = "") -> Any:
    """Return what `condition` returns as soon as it is true; fail after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"In vain: {what or inspect.getsource(condition)}")
        await asyncio.sleep(0.01)
    return result


async def receive(client: ClientConnection, count: int) -> list[str | bytes]:
    """Return the next `count` messages."""
    return [await asyncio.wait_for(client.recv(), PATIENCE) for _ in range(count)]


async def nothing_more(client: ClientConnection) -> bool:
    """Whether no message arrives for SILENCE seconds."""
    try:
        await asyncio.wait_for(client.recv(), SILENCE)
    except asyncio.TimeoutError:
        return True
    return False
