"""One WebSocket as behind a proxy: each batch finds its consumer by the sealed state, and leaves it there again.

The parts are those of the embedded proxy, without its sockets. All communicators of one event loop share a hub, to
which this process publishes as long as one of them is open: a `group_send` from a view, a signal or the test itself
reaches them, and no other proxy hears of it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

from grip_consumers import discovery, ticking
from grip_consumers.batch import Batch
from grip_consumers.embedded import control
from grip_consumers.embedded.backend import Backend
from grip_consumers.embedded.connection import Connection, Limits
from grip_consumers.embedded.effects import Refresh
from grip_consumers.embedded.handshake import Signer
from grip_consumers.embedded.hub import Hub
from grip_consumers.embedded.session import Session
from grip_consumers.in_process import Place
from grip_consumers.routing.edge import answer_batch
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send

from .backend import TestedDispatcher, split_scope
from .websocket import WebsocketCommunicator

__all__ = ["GripCommunicator"]

_FAILED, _ABNORMAL = 1011, 1006


class GripCommunicator(WebsocketCommunicator):
    """A WebsocketCommunicator whose application is reached in batches, as behind a proxy.

    What the consumer keeps is captured, sealed and restored between them, so a test fails on what could not be kept.
    An exception of the application is raised by the next call, once what was sent before it has been received.

    Args:
        application: the ASGI application for websocket scopes: a consumer's `as_asgi()`, a router, the project's own.
        path, headers, subprotocols, spec_version: as for WebsocketCommunicator.
        batch_size: frames that may come in one batch. Behind a proxy they come together when they are sent together.
    """

    def __init__(
        self,
        application: ASGIApplication,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
        subprotocols: list[str] | None = None,
        spec_version: Any = None,
        *,
        batch_size: int = 1,
    ) -> None:
        super().__init__(self._serve, path, headers, subprotocols, spec_version)
        self._inner = application
        self._limits = Limits(batch_events=batch_size)
        self._id = str(uuid.uuid4())
        self._begun = self._answered = 0
        self._over = asyncio.Event()
        self._session: Session | None = None

    async def __aenter__(self) -> GripCommunicator:
        return self

    async def __aexit__(self, *details: object) -> None:
        """End the application, if it still runs, without a word to it: as a client that is never heard of again."""
        self.stop(exceptions=False)  # type: ignore[no-untyped-call]
        if self._future is not None:
            with suppress(BaseException):
                await self._future

    async def receive_output(self, timeout: float = 1) -> Message:
        """Return the next message for the client; what the application raises is raised at once."""
        if self.output_queue.empty() and not self.future.done():
            getting = asyncio.ensure_future(self.output_queue.get())
            await asyncio.wait({getting, self.future}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()  # type: ignore[no-any-return]
            getting.cancel()
            timeout = 0
        if not self.output_queue.empty():
            return self.output_queue.get_nowait()  # type: ignore[no-any-return]
        return await super().receive_output(timeout)

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        """Close the connection as its client, and wait for the application to end. 1006: the client vanishes."""
        # Without a reason, servers do not know whether a client has closed or is gone.
        reason = {} if code == _ABNORMAL else {"reason": ""}
        await self.send_input({"type": "websocket.disconnect", "code": code, **reason})
        await self.wait(timeout)  # type: ignore[no-untyped-call]

    async def tick(self, timeout: float = 1) -> None:
        """Let the time pass until the consumer's next `tick`, and return when the batch that brings it is answered.

        Also without a tick it sends an empty batch, as a proxy's keep-alive does. Raises RuntimeError for a
        connection that is not open.
        """
        if self._session is None or self.future.done():
            raise RuntimeError("Expected an open connection to tick: call connect() first.")
        number = self._begun + 1

        def is_due(batch: Batch) -> bool:
            if batch.request.connection_id != self._id:
                return as_it_is(batch)
            return bool(batch.inbox.tick) and not batch.exchange.parting

        as_it_is = ticking.is_due
        with mock.patch.object(ticking, "is_due", is_due):
            self._session.deliver(Refresh())
            await asyncio.wait_for(self._answer_to(number), timeout)

    async def _answer_to(self, number: int) -> None:
        while self._answered < number and not self.future.done():
            self._over.clear()
            await self._over.wait()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the base class runs as the application: a proxy's side of one connection, and all behind it."""
        handshake, added = split_scope(scope)
        dispatcher = TestedDispatcher(self._inner, added)
        client = _Client(dispatcher, send)
        connection = Connection(handshake["headers"], self._id, self._limits)
        backend = Backend(self._edge(dispatcher), handshake, self._limits.response_bytes)
        hub = _hub_of(asyncio.get_running_loop())
        signer = Signer(discovery.signing_key(), discovery.ISSUER)
        self._session = Session(connection, backend, hub.hub, signer)
        hub.enter()
        try:
            running = asyncio.ensure_future(self._session.run(handshake, receive, client.send))
            failed = asyncio.ensure_future(client.failed.wait())
            try:
                await asyncio.wait({running, failed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (running, failed):
                    task.cancel()
                await asyncio.gather(running, failed, return_exceptions=True)
        finally:
            hub.leave()
            self._over.set()
        if dispatcher.errors:
            raise dispatcher.errors[0]
        await client.dropped()

    def _edge(self, dispatcher: TestedDispatcher) -> Any:
        async def edge(scope: Scope, receive: Receive, send: Send) -> None:
            self._begun += 1
            number = self._begun
            try:
                await answer_batch(dispatcher, scope, receive, send, None)
            finally:
                self._answered = number
                self._over.set()

        return edge


class _Client:
    """What reaches the client, in the words of a Channels application."""

    def __init__(self, dispatcher: TestedDispatcher, send: Send) -> None:
        self.failed = asyncio.Event()
        self._dispatcher = dispatcher
        self._send = send
        self._ended = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in {"websocket.close", "websocket.http.response.start"}:
            self._ended = True
            if self._dispatcher.errors:
                # The close is what becomes of the error, which the test is to see itself.
                self.failed.set()
                return
        if kind == "websocket.close" and "code" not in message and self._dispatcher.refused_with is not None:
            message = {**message, "code": self._dispatcher.refused_with}
        # As applications write them, who leave out what they have nothing to say of.
        await self._send({key: value for key, value in message.items() if key not in _OPTIONAL or value})

    async def dropped(self) -> None:
        """Show a connection that the proxy has cut without a close frame."""
        if not self._ended:
            await self._send({"type": "websocket.close", "code": _ABNORMAL})


_OPTIONAL = frozenset({"headers", "reason"})


class _LoopHub:
    """The hub of one event loop, open while there are communicators."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.hub = Hub()
        self._loop = loop
        self._place = Place(self._take)
        self._open = 0

    def enter(self) -> None:
        self._open += 1
        if self._open == 1:
            self._place.open()

    def leave(self) -> None:
        self._open -= 1
        if not self._open:
            self._place.close()

    def _take(self, body: bytes) -> None:
        """Called in any thread; returns when the items are sure to come before what the caller does next."""
        items = control.read_items(body)

        def deliver() -> None:
            for item in items:
                self.hub.publish(item)

        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            deliver()
        else:
            # It may have been closed with communicators left open.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(deliver)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopHub] = WeakKeyDictionary()


def _hub_of(loop: asyncio.AbstractEventLoop) -> _LoopHub:
    for other, hub in list(_hubs.items()):
        if other.is_closed():
            hub._place.close()
            del _hubs[other]
    return _hubs.setdefault(loop, _LoopHub(loop))
