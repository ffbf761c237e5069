"""One WebSocket as behind a proxy: each batch finds its consumer by the sealed state, and leaves it there again.

The parts are those of the embedded proxy, without its sockets. All communicators of one event loop share a hub, to
which this process publishes as long as one of them is open: a `group_send` from a view, a signal or the test itself
reaches them, and no other proxy hears of it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from grip_consumers import discovery, ticking
from grip_consumers.embedded import control
from grip_consumers.embedded.backend import Backend
from grip_consumers.embedded.connection import Connection, Limits, Stage
from grip_consumers.embedded.effects import Refresh
from grip_consumers.embedded.handshake import Signer
from grip_consumers.embedded.hub import Hub
from grip_consumers.embedded.session import Session
from grip_consumers.in_process import Place
from grip_consumers.routing.edge import answer_batch
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send

from .backend import TestedDispatcher, split_scope
from .websocket import WebsocketCommunicator, require_input

__all__ = ["GripCommunicator"]

_ABNORMAL = 1006


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
        self._line = _Line(application, Limits(batch_events=batch_size))
        super().__init__(self._line.serve, path, headers, subprotocols, spec_version)
        self._greeted = False

    async def __aenter__(self) -> GripCommunicator:
        return self

    async def __aexit__(self, *details: object) -> None:
        """End the application, if it still runs, without a word to it: as a client that is never heard of again."""
        self.stop(exceptions=False)
        if self._future is not None:
            with suppress(BaseException):
                await self._future

    async def send_input(self, message: Message) -> None:
        """Do what the client does: first `websocket.connect`, then `websocket.receive` and `websocket.disconnect`.

        Raises ValueError for anything else.
        """
        require_input(message, "websocket.receive" if self._greeted else "websocket.connect", "websocket.disconnect")
        self._greeted = True
        await super().send_input(message)

    async def receive_output(self, timeout: float = 1) -> Message:
        """Return the next message for the client; what the application raises is raised at once."""
        if self.output_queue.empty() and not self.future.done():
            await self._until(lambda: not self.output_queue.empty(), timeout)
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

        Also without a tick it sends an empty batch, as a proxy's keep-alive does. Raises what the application raises,
        and RuntimeError for a connection that is not open.
        """
        line = self._line
        # Of two at once, each is a tick of its own.
        async with line.ticking:
            await self._raise(timeout)
            if not line.is_open or self.future.done():
                raise RuntimeError(
                    "Expected an open connection to tick: call connect() first, and not after either side has closed."
                )
            answered = line.hurry()
            try:
                await self._until(answered, timeout)
            finally:
                ticking.hurried.discard(line.id)
            await self._raise(timeout)
            if not answered() and not self.future.done():
                raise asyncio.TimeoutError(f"Expected the tick to be handled within {timeout} seconds.")

    def stop(self, exceptions: bool = True) -> None:
        """End the application without a word to it, and leave the groups at once; nothing happens if it has ended."""
        # One that could not be made is collected, too.
        if (line := getattr(self, "_line", None)) is not None:
            line.end()
        super().stop(exceptions)  # type: ignore[no-untyped-call]

    async def _raise(self, timeout: float) -> None:
        """Raise what the application has raised, if anything: it is about to end, or has ended, with that."""
        if self._line.errors:
            await self.wait(timeout)  # type: ignore[no-untyped-call]

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until it holds or the application has ended; at most `timeout` seconds."""
        waiting = asyncio.ensure_future(self._line.until(condition))
        try:
            await asyncio.wait({waiting, self.future}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()


class _Line:
    """A proxy's side of one connection, and all behind it: what runs as the application.

    It knows nothing of its communicator, so that one that a test has dropped is collected, and ends it.
    """

    def __init__(self, application: ASGIApplication, limits: Limits) -> None:
        self.id = str(uuid.uuid4())
        self.ticking = asyncio.Lock()
        self._inner = application
        self._limits = limits
        self._begun = self._answered = 0
        #: Set when a batch has been answered or something has come for the client.
        self._changed = asyncio.Event()
        self._left = False
        #: What the application has raised, in order.
        self.errors: list[Exception] = []
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._hub: _LoopHub | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and self._connection.stage is Stage.OPEN

    def hurry(self) -> Callable[[], bool]:
        """Have the next batch made at once, and its tick with it. Returns what tells whether it is answered."""
        number = self._begun + 1
        ticking.hurried.add(self.id)
        if self._session is not None:
            self._session.deliver(Refresh())
        return lambda: self._answered >= number

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds: it is asked whenever something has happened."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def end(self) -> None:
        """Hear nothing any more, and leave the hub; the task that serves it is for others to cancel."""
        if self._connection is not None:
            self._connection.stage = Stage.DONE
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.leave()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application that the communicator runs."""
        handshake, added = split_scope(scope)
        dispatcher = TestedDispatcher(self._inner, added)
        self.errors = dispatcher.errors
        client = _Client(dispatcher, self._telling(send))
        self._connection = Connection(handshake["headers"], self.id, self._limits)
        backend = Backend(self._edge(dispatcher), handshake, self._limits.response_bytes)
        self._hub = _hub_of(asyncio.get_running_loop())
        signer = Signer(discovery.signing_key(), discovery.ISSUER)
        self._session = Session(self._connection, backend, self._hub.hub, signer)
        self._hub.enter()
        try:
            await _first_of(self._session.run(handshake, self._hearing(receive), client.send), client.failed.wait())
        finally:
            self.end()
        if self.errors:
            raise self.errors[0]
        if not self._left:
            await client.dropped()

    def _hearing(self, receive: Receive) -> Receive:
        async def hear() -> Message:
            message = await receive()
            self._left = self._left or message["type"] == "websocket.disconnect"
            return message

        return hear

    def _telling(self, send: Send) -> Send:
        async def tell(message: Message) -> None:
            await send(message)
            self._changed.set()

        return tell

    def _edge(self, dispatcher: TestedDispatcher) -> Any:
        async def edge(scope: Scope, receive: Receive, send: Send) -> None:
            self._begun += 1
            number = self._begun
            try:
                await answer_batch(dispatcher, scope, receive, send, None)
            finally:
                self._answered = number
                self._changed.set()

        return edge


async def _first_of(*coroutines: Any) -> None:
    """Run all until the first of them has ended, and cancel the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
