"""A client that writes down everything it can observe, for comparison between servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clients import http_client

#: Seconds to wait for what must come.
PATIENCE = 5.0
#: Seconds in which nothing must come. Where a script can, it waits for a later message instead.
SILENCE = 0.3
ORIGIN = "http://localhost"

Record = tuple[Any, ...]


class ScriptStoppedError(Exception):
    """What the script waited for did not come; the transcript says where."""


class Client:
    """One run of a script against one server; `transcript` is what was seen, free of names that differ by run."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.run = uuid.uuid4().hex[:12]
        self.transcript: list[Record] = []
        self.http = http_client(base_url=url, timeout=PATIENCE)

    def record(self, *entry: Any) -> None:
        self.transcript.append(tuple(self._anonymous(value) for value in entry))

    def room(self, name: str) -> str:
        """A room or group name that no other run uses."""
        return f"{name}-{self.run}"

    async def close(self) -> None:
        await self.http.aclose()

    @contextlib.asynccontextmanager
    async def socket(
        self,
        path: str,
        name: str = "client",
        *,
        headers: Mapping[str, str] | None = None,
        origin: str | None = ORIGIN,
        subprotocols: Sequence[str] | None = None,
    ) -> AsyncIterator[Peer]:
        """Open a socket and record how the handshake ended; it must be accepted."""
        peer = await self.handshake(path, name, headers=headers, origin=origin, subprotocols=subprotocols)
        if peer is None:
            raise ScriptStoppedError(f"{path} was refused")
        try:
            yield peer
        finally:
            await peer.connection.close()

    async def handshake(
        self,
        path: str,
        name: str = "client",
        *,
        headers: Mapping[str, str] | None = None,
        origin: str | None = ORIGIN,
        subprotocols: Sequence[str] | None = None,
    ) -> Peer | None:
        """Open a socket, record status, subprotocol and headers, or the refusal (then None is returned)."""
        separator = "&" if "?" in path else "?"
        address = f"{self.url.replace('http', 'ws', 1)}{path}{separator}journal={self.run}-{name}"
        cookies = "; ".join(f"{key}={value}" for key, value in self.http.cookies.items())
        try:
            connection = await connect(
                address,
                origin=origin,
                subprotocols=subprotocols,
                additional_headers={**({"Cookie": cookies} if cookies else {}), **(headers or {})},
                compression=None,
                proxy=None,
                ping_interval=None,
                open_timeout=PATIENCE,
                close_timeout=PATIENCE,
            )
        except InvalidStatus as refusal:
            response = refusal.response
            body = bytes(response.body or b"").decode(errors="replace")
            self.record("refused", name, response.status_code, _x_headers(response.headers), body)
            return None
        accepted = connection.response
        self.record("accepted", name, accepted.status_code, connection.subprotocol, _x_headers(accepted.headers))
        return Peer(self, name, connection, path)

    async def silence(self, *peers: Peer) -> None:
        """Record of each peer that nothing comes for a moment, the same moment for all."""
        heard = await asyncio.gather(*(peer.heard() for peer in peers))
        for peer, message in zip(peers, heard, strict=True):
            self.record("silence" if message is None else "unexpected", peer.name, message)

    @contextlib.asynccontextmanager
    async def sockets(self, path: str, *names: str) -> AsyncIterator[list[Peer]]:
        """Open a socket for each name, one after the other; the consumers find it first in the query string."""
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.socket(f"{path}?{name}", name)) for name in names]

    async def log_in(self, username: str) -> None:
        """From here on the client's cookie is that of a new session of this user."""
        self.http.cookies.clear()
        await self.get(f"/login/{username}/")

    async def get(self, path: str) -> None:
        await self._request("GET", path)

    async def post(self, path: str, content: Any) -> None:
        await self._request("POST", path, json=content)

    async def _request(self, method: str, path: str, **content: Any) -> None:
        try:
            self._record_answer(await self.http.request(method, path, **content))
        except httpx.TimeoutException:
            self.record("http", "no answer")
            raise ScriptStoppedError(f"{path} was not answered") from None

    async def journal(self, name: str = "client", *, until: str | None = None, fence: bool = False) -> None:
        """Record what the consumer of `name` noted, once it noted an entry that begins with `until`.

        With `fence`, another connection comes and goes first, so that what would be noted has been noted.
        """
        if fence:
            await self._come_and_go()
        deadline = time.monotonic() + PATIENCE
        while True:
            entries = (await self.http.get(f"/journal/{self.run}-{name}/")).json()["journal"]
            if until is None or any(entry[0] == until for entry in entries):
                break
            if time.monotonic() > deadline:
                self.record("journal incomplete", name, entries)
                raise ScriptStoppedError(f"{name} never noted {until!r}")
            await asyncio.sleep(0.02)
        self.record("journal", name, entries)

    async def _come_and_go(self) -> None:
        silent = Client(self.url)
        silent.http.cookies = self.http.cookies
        try:
            async with silent.socket("/ws/echo/", "fence") as peer:
                await peer.send("there")
                await peer.receive()
            await silent.journal("fence", until="disconnect")
        finally:
            await silent.close()

    def _record_answer(self, answer: httpx.Response) -> None:
        kind = answer.headers.get("content-type", "").partition(";")[0]
        content = answer.json() if kind == "application/json" else answer.text
        self.record("http", answer.status_code, content)

    def _anonymous(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(self.run, "RUN")
        if isinstance(value, (list, tuple)):
            return [self._anonymous(item) for item in value]
        if isinstance(value, dict):
            return {self._anonymous(key): self._anonymous(item) for key, item in value.items()}
        return value


class Peer:
    """One open socket of a client."""

    def __init__(self, client: Client, name: str, connection: ClientConnection, path: str) -> None:
        self.client = client
        self.name = name
        self.connection = connection
        self.path = path

    async def send(self, *messages: str | bytes) -> None:
        for message in messages:
            await self.connection.send(message)

    async def send_json(self, content: Any) -> None:
        await self.send(json.dumps(content))

    async def receive(self, count: int = 1) -> str | bytes:
        """Record the next frames, text or bytes; a close that comes instead is recorded and ends the script."""
        message: str | bytes = ""
        for _ in range(count):
            message = await self._next()
            self.client.record("text" if isinstance(message, str) else "bytes", self.name, message)
        return message

    async def ask(self, content: Any) -> None:
        """Send JSON and record the next frame, which has to be the answer: nothing else may have come before."""
        await self.send_json(content)
        await self.receive()

    async def ask_name(self) -> str:
        """The channel name of this connection, as its consumer says."""
        await self.send_json({"name": True} if "member" in self.path else ["name"])
        return str(await self.unrecorded())

    async def receive_large(self) -> None:
        """Record of the next frame how long it is and, if one letter fills it, which."""
        message = await self._next()
        self.client.record("large", self.name, len(message), "".join(sorted(set(str(message)))))

    async def unrecorded(self) -> Any:
        """The next frame as JSON, for what no two servers have in common, such as a channel name."""
        return json.loads(await self._next())

    async def heard(self) -> str | bytes | None:
        """What comes within a moment: a frame, how the connection was closed, or None."""
        try:
            return await asyncio.wait_for(self.connection.recv(), SILENCE)
        except asyncio.TimeoutError:
            return None
        except ConnectionClosed as closed:
            return str(closed)

    async def ping(self, data: bytes) -> None:
        """Record that a pong with the same payload comes back."""
        waiter = await self.connection.ping(data)
        try:
            await asyncio.wait_for(waiter, PATIENCE)
        except (asyncio.TimeoutError, ConnectionClosed):
            self.client.record("no pong", self.name)
        else:
            self.client.record("pong", self.name, data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close from this side and record with what the closing ended."""
        await self.connection.close(code, reason)
        self._record_close()

    async def close_without_code(self) -> None:
        """Send a close frame with an empty body, which no method of the library offers."""
        self.connection.protocol.send_close()
        self.connection.send_data()
        await self.closed()

    async def closed(self) -> None:
        """Record every frame until the other side closes, and how it closes."""
        try:
            while True:
                message = await asyncio.wait_for(self.connection.recv(), PATIENCE)
                self.client.record("text" if isinstance(message, str) else "bytes", self.name, message)
        except asyncio.TimeoutError:
            self.client.record("still open", self.name)
            raise ScriptStoppedError(f"{self.name} was not closed") from None
        except ConnectionClosed:
            await self.connection.wait_closed()
            self._record_close()

    def vanish(self) -> None:
        """Cut the TCP connection without a close frame."""
        self.connection.transport.abort()

    async def _next(self) -> str | bytes:
        try:
            return await asyncio.wait_for(self.connection.recv(), PATIENCE)
        except asyncio.TimeoutError:
            self.client.record("nothing came", self.name)
            raise ScriptStoppedError(f"{self.name} waited in vain") from None
        except ConnectionClosed:
            self._record_close()
            raise ScriptStoppedError(f"{self.name} was closed") from None

    def _record_close(self) -> None:
        received = self.connection.protocol.close_rcvd
        if received is None:
            self.client.record("dropped", self.name, 1006)
        else:
            self.client.record("closed", self.name, int(received.code), received.reason)


def _x_headers(headers: Any) -> list[list[str]]:
    """The headers that an application set, as the site's consumers name them."""
    return sorted([name.lower(), value] for name, value in headers.raw_items() if name.lower().startswith("x-"))
