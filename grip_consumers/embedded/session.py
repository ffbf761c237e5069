"""One client connection at work: carries out over ASGI what `connection.Connection` decides.

Three tasks share a connection. The reader takes in what the client does, the worker makes one request after
the other, the writer sends to the client. The worker sees the connection to its end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import Any

from .backend import Backend, BackendError, Message, Receive, Scope
from .backend import Send as AsgiSend
from .connection import Connection, Request, Stage
from .effects import (
    Accept,
    CloseClient,
    Delay,
    Drop,
    Effect,
    End,
    FlushDelayed,
    KeepAliveMessage,
    PingClient,
    Refresh,
    Reject,
    Send,
    Subscribe,
    Unsubscribe,
)
from .handshake import Signer
from .hub import Hub, Item, Published
from .outbox import Outbox
from .timers import Timers

__all__ = ["Session"]

logger = logging.getLogger("grip_consumers.embedded")

_ABNORMAL, _NO_CODE = 1006, 1005
#: What a server sends by itself when it stops, and no client (IANA's registry of close codes: Service
#: Restart).
_SERVICE_RESTART = 1012


class Session:
    """Runs one client connection from handshake to end; a `hub.Subscriber`.

    Args:
        connection: its state.
        backend: where requests go.
        hub: where its channels are.
        signer: makes Grip-Sig.
    """

    def __init__(self, connection: Connection, backend: Backend, hub: Hub, signer: Signer) -> None:
        self._connection = connection
        self._backend = backend
        self._hub = hub
        self._signer = signer
        self._outbox = Outbox(connection.limits.outgoing_messages)
        self._timers = Timers(self.deliver)
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._dropped = asyncio.Event()
        self._last_request = time.monotonic()

    @property
    def user(self) -> str | None:
        """What the filters compare."""
        return self._connection.grip.meta.get("user")

    def receive(self, item: Item) -> None:
        """Pass on what a published item says to WebSockets."""
        if item.message is not None:
            self.deliver(item.message)

    def deliver(self, message: Published) -> None:
        """Pass on a published message, or log that the client is too slow for it."""
        if isinstance(message, Refresh):
            self._connection.tick()
            self._wake.set()
        elif isinstance(message, PingClient):
            self._connection.pinged(message.data)
            self._timers.sent()
            self._wake.set()
        elif isinstance(message, CloseClient):
            self._outbox.finish(message)
            self._connection.closed_by_publish()
            self._wake.set()
        elif not self._outbox.offer(message):
            logger.warning("Connection %s is slow: a message published to it is dropped.", self._connection.id)

    async def run(self, scope: Scope, receive: Receive, send: AsgiSend) -> None:
        """Serve the connection to its end. Never raises for anything that client or backend do."""
        if (await receive())["type"] != "websocket.connect":
            return
        rejectable = "websocket.http.response" in (scope.get("extensions") or {})
        writer = asyncio.ensure_future(self._guarded(self._write(send, rejectable)))
        reader = asyncio.ensure_future(self._guarded(self._read(receive)))
        worker = asyncio.ensure_future(self._guarded(self._work(writer)))
        dropped = asyncio.ensure_future(self._dropped.wait())
        try:
            await asyncio.wait({worker, dropped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._timers.cancel()
            self._hub.remove(self, self._connection.grip.channels)
            await _end(worker, reader, writer, dropped)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except OSError:
            # So an ASGI server says that the client is gone (ASGI, "Disconnected Client").
            self._connection.peer_vanished()
            self._wake.set()
        except Exception:
            logger.exception("The embedded proxy failed on connection %s and drops it.", self._connection.id)
            self._dropped.set()

    # --- reader ---

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._disconnected(message)
                return
            text = message.get("text")
            await self._carry_out(self._connection.message_received(message["bytes"] if text is None else text))
            self._wake.set()
            while self._connection.congested:
                # Not reading on is what makes the client wait.
                self._taken.clear()
                await self._taken.wait()

    def _disconnected(self, message: Message) -> None:
        code = message.get("code", _NO_CODE)
        # uvicorn reports a lost connection as 1005 too, but without a reason.
        if code in {_ABNORMAL, _SERVICE_RESTART} or (code == _NO_CODE and "reason" not in message):
            self._connection.peer_vanished()
        else:
            self._connection.peer_closed(None if code == _NO_CODE else code, message.get("reason") or "")
        self._wake.set()

    # --- worker ---

    async def _work(self, writer: asyncio.Future[None]) -> None:
        while self._connection.stage is not Stage.DONE:
            self._wake.clear()
            request = self._connection.next_request(self._signer.token())
            if request is None:
                await self._wait_for_work()
            else:
                await self._exchange(request)
        self._outbox.finish(End())
        await writer

    async def _exchange(self, request: Request) -> None:
        self._taken.set()
        try:
            response = await self._backend.request(request)
        except BackendError as error:
            effects = self._connection.request_failed(str(error))
        else:
            effects = self._connection.response_received(response)
        self._last_request = time.monotonic()
        await self._carry_out(effects)

    async def _wait_for_work(self) -> None:
        interval = self._connection.keep_alive_interval
        timeout = None if interval is None else self._last_request + interval - time.monotonic()
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except asyncio.TimeoutError:
            self._connection.tick()

    async def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Subscribe):
                self._hub.subscribe(effect.channel, self, effect.filters)
            elif isinstance(effect, Unsubscribe):
                self._hub.unsubscribe(effect.channel, self)
            elif isinstance(effect, (Delay, FlushDelayed, KeepAliveMessage)):
                self._set_timer(effect)
            elif isinstance(effect, Drop):
                logger.error("Connection %s is dropped: %s.", self._connection.id, effect.reason)
                self._dropped.set()
            elif isinstance(effect, CloseClient):
                self._outbox.finish(effect)
            else:
                await self._outbox.put(effect)

    def _set_timer(self, effect: Delay | FlushDelayed | KeepAliveMessage) -> None:
        if isinstance(effect, Delay):
            self._timers.delay(effect)
        elif isinstance(effect, FlushDelayed):
            self._timers.flush()
        else:
            self._timers.keep_alive(effect)

    # --- writer ---

    async def _write(self, send: AsgiSend, rejectable: bool) -> None:
        while True:
            effect = await self._outbox.get()
            if isinstance(effect, End):
                return
            for message in _messages(effect, rejectable):
                await send(message)
            self._timers.sent()


def _messages(effect: Effect, rejectable: bool) -> list[Message]:
    """Return the ASGI messages that carry out one effect."""
    if isinstance(effect, Send):
        return [{"type": "websocket.send", _kind(effect.content): effect.content}]
    if isinstance(effect, Accept):
        return [{"type": "websocket.accept", "subprotocol": effect.subprotocol, "headers": _lower(effect.headers)}]
    if isinstance(effect, CloseClient):
        return [{"type": "websocket.close", "code": effect.code, "reason": effect.reason}]
    if isinstance(effect, Reject):
        return _rejection(effect) if rejectable else [{"type": "websocket.close"}]
    raise TypeError(f"Expected an effect for the client, got {effect!r}.")


def _kind(content: str | bytes) -> str:
    return "text" if isinstance(content, str) else "bytes"


def _rejection(effect: Reject) -> list[Message]:
    headers = [*_lower(effect.headers), (b"content-length", b"%d" % len(effect.body))]
    return [
        {"type": "websocket.http.response.start", "status": effect.status, "headers": headers},
        {"type": "websocket.http.response.body", "body": effect.body},
    ]


def _lower(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers]


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
