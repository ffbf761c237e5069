"""One WebSocket for tests without coroutines: every handler runs in the test's own thread, within its transaction.

Like GripCommunicator behind the parts of the embedded proxy, with a hub that all of these share. Nothing goes on by
itself: each call does what there is to do for all connections, and what was published since.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Any
from unittest import mock
from weakref import WeakSet

from grip_consumers import discovery, ticking
from grip_consumers.embedded import control
from grip_consumers.embedded.connection import Connection, Limits, Request, Response, Stage
from grip_consumers.embedded.effects import (
    Accept,
    CloseClient,
    Drop,
    Effect,
    PingClient,
    Refresh,
    Reject,
    Subscribe,
    Unsubscribe,
)
from grip_consumers.embedded.effects import Send as Frame
from grip_consumers.embedded.handshake import Signer
from grip_consumers.embedded.hub import Hub, Item
from grip_consumers.handshake import from_asgi
from grip_consumers.in_process import Place
from grip_consumers.types import ASGIApplication, Message

from .application import _CLOSE, no_op
from .backend import TestedDispatcher, split_scope
from .websocket import frame_of, handshake_scope, require_input, text_of_json, to_frame

__all__ = ["SyncCommunicator"]

_ABNORMAL, _NO_CODE = 1006, 1005


class SyncCommunicator:
    """A WebSocket with the methods of WebsocketCommunicator, without a coroutine among them.

    What the consumer does happens in the calls of this class, in the thread of the test; what it keeps is captured,
    sealed and restored between its batches. An exception of the application is raised by the call in which it happens,
    and by those after what was sent before has been received.

    Close it with `disconnect`, or use it in a `with` block.

    Args:
        application, path, headers, subprotocols, spec_version: as for WebsocketCommunicator.
        batch_size: frames that may come in one batch.

    Attributes:
        scope, response_headers: as for WebsocketCommunicator.
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
        self.application = application
        self.scope = handshake_scope(path, headers, subprotocols, spec_version)
        self.response_headers: list[tuple[bytes, bytes]] | None = None
        self._batch_size = batch_size
        self._line: _Line | None = None

    def __enter__(self) -> SyncCommunicator:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def __del__(self) -> None:
        self.stop()

    def connect(self) -> tuple[bool, Any]:
        """Open the connection: (True, the chosen subprotocol or None), or (False, the close code) if it is refused."""
        _not_on_a_loop()
        self.stop()
        self._line = _Line(self.application, self.scope, self._batch_size)
        self._work()
        response = self.receive_output()
        if response["type"] == "websocket.close":
            return (False, response.get("code", 1000))
        self.response_headers = response.get("headers", [])
        return (True, response.get("subprotocol"))

    def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one frame, and return when it is handled. Raises AssertionError unless one of the two has content."""
        self.send_input(to_frame(text_data, bytes_data))

    def send_json_to(self, data: Any) -> None:
        """Send one text frame with `data` as JSON."""
        self.send_to(text_data=json.dumps(data))

    def receive_from(self, timeout: float = 1) -> str | bytes:
        """Return the content of the next frame. Raises AssertionError if the connection is closed instead."""
        return frame_of(self.receive_output(timeout))

    def receive_json_from(self, timeout: float = 1) -> Any:
        """Return what the next frame, a text frame, holds as JSON."""
        return text_of_json(self.receive_from(timeout))

    def send_input(self, message: Message) -> None:
        """Do what the client does: `websocket.receive` or `websocket.disconnect`. ValueError otherwise."""
        line = self._open()
        require_input(message, "websocket.receive", "websocket.disconnect")
        self._raise()
        if message["type"] == "websocket.disconnect":
            line.leave(message.get("code", _NO_CODE))
        else:
            line.say(message["bytes"] if message.get("text") is None else message["text"])
        self._work()
        self._raise()

    def receive_output(self, timeout: float = 1) -> Message:
        """Return the next message for the client. Raises TimeoutError if there is none within `timeout` seconds."""
        line = self._open()
        if self._wait(line, timeout):
            return line.output.popleft()
        self._raise()
        raise TimeoutError(f"Expected a message for the client within {timeout} seconds, got none.")

    def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether no message comes for `timeout` seconds. `interval` is of no use here."""
        line = self._open()
        self._work()
        self._raise_unless(line.output)
        return not self._wait(line, timeout)

    def tick(self) -> None:
        """Let the time pass until the consumer's next `tick`: an empty batch, as a proxy's keep-alive sends it.

        Raises RuntimeError for a connection that is not open.
        """
        line = self._open()
        self._raise()
        if line.connection.stage is not Stage.OPEN:
            raise RuntimeError("Expected an open connection to tick, got one that was refused or has been closed.")
        ticking.hurried.add(line.id)
        try:
            line.connection.tick()
            self._work()
        finally:
            ticking.hurried.discard(line.id)
        self._raise()

    def disconnect(self, code: int = 1000) -> None:
        """Close the connection as its client. 1006: the client vanishes. Doing so again does nothing.

        What was sent before can still be received.
        """
        line = self._open()
        try:
            self.send_input({"type": "websocket.disconnect", "code": code})
        finally:
            line.end()

    def stop(self) -> None:
        """Forget the connection, without a word to the application; nothing happens if there is none."""
        line, self._line = getattr(self, "_line", None), None
        if line is not None:
            line.end()

    def _open(self) -> _Line:
        if self._line is None:
            raise RuntimeError("Expected an open connection: call connect() first.")
        return self._line

    def _work(self) -> None:
        _floor.work()

    def _wait(self, line: _Line, timeout: float) -> bool:
        """Work until there is something to receive: whether there is."""
        deadline = time.monotonic() + timeout
        while True:
            self._work()
            if line.output:
                return True
            if line.dispatcher.errors or not _floor.wait(deadline - time.monotonic()):
                return False

    def _raise(self) -> None:
        line = self._open()
        if line.dispatcher.errors:
            raise line.dispatcher.errors[0]

    def _raise_unless(self, output: object) -> None:
        if not output:
            self._raise()


class _Line:
    """One connection to the proxy: a `hub.Subscriber`."""

    def __init__(self, application: ASGIApplication, scope: dict[str, Any], batch_size: int) -> None:
        self.id = str(uuid.uuid4())
        self._handshake, added = split_scope(scope)
        self.dispatcher = TestedDispatcher(application, added)
        self.connection = Connection(self._handshake["headers"], self.id, Limits(batch_events=batch_size))
        #: What the client gets, in order.
        self.output: deque[Message] = deque()
        self._incoming: deque[Item] = deque()
        self._signer = Signer(discovery.signing_key(), discovery.ISSUER)
        _floor.add(self)

    @property
    def user(self) -> str | None:
        """What the filters compare."""
        return self.connection.grip.meta.get("user")

    @property
    def is_waiting(self) -> bool:
        """Whether something was published to it that it has not looked at."""
        return bool(self._incoming)

    def receive(self, item: Item) -> None:
        """Take a published item, in any thread."""
        self._incoming.append(item)

    def say(self, content: str | bytes) -> None:
        self._carry_out(self.connection.message_received(content))

    def leave(self, code: int) -> None:
        if code == _ABNORMAL:
            self.connection.peer_vanished()
        else:
            self.connection.peer_closed(None if code == _NO_CODE else code, "")

    def end(self) -> None:
        self.connection.stage = Stage.DONE
        _floor.remove(self)

    def step(self) -> bool:
        """Do one thing, if there is one: whether there was."""
        if self._incoming:
            self._take(self._incoming.popleft())
            return True
        request = None if self.dispatcher.errors else self.connection.next_request(self._signer.token())
        if request is None:
            return False
        failures = len(self.dispatcher.errors)
        effects = self.connection.response_received(self._answer(request))
        if len(self.dispatcher.errors) > failures:
            # The close is what becomes of the error, which the test is to see itself.
            effects = [effect for effect in effects if not isinstance(effect, (CloseClient, Reject))]
        self._carry_out(effects)
        return True

    def _answer(self, request: Request) -> Response:
        scope = {**self._handshake, "type": "http", "method": "POST", "headers": request.headers, "scheme": "http"}
        with mock.patch(_CLOSE, no_op):
            response = self.dispatcher.handle_sync(from_asgi(scope, request.body))
        if response is None:
            return Response(404, [], b"No route found.\n")
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        return Response(response.status, headers, response.body)

    def _take(self, item: Item) -> None:
        message = item.message
        if isinstance(message, Refresh):
            self.connection.tick()
        elif isinstance(message, PingClient):
            self.connection.pinged(message.data)
        elif isinstance(message, CloseClient):
            self._carry_out([message])
            self.connection.closed_by_publish()
        elif message is not None:
            self._carry_out([message])

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Subscribe):
                _floor.subscribe(effect, self)
            elif isinstance(effect, Unsubscribe):
                _floor.unsubscribe(effect, self)
            else:
                self.output.extend(self._messages(effect))

    def _messages(self, effect: Effect) -> list[Message]:
        """What it tells the client; nothing for what a proxy does by the clock."""
        if isinstance(effect, Frame):
            return [{"type": "websocket.send", "text" if isinstance(effect.content, str) else "bytes": effect.content}]
        if isinstance(effect, Accept):
            headers = {"headers": effect.headers} if effect.headers else {}
            return [{"type": "websocket.accept", "subprotocol": effect.subprotocol, **headers}]
        if isinstance(effect, CloseClient):
            reason = {"reason": effect.reason} if effect.reason else {}
            return [{"type": "websocket.close", "code": effect.code, **reason}]
        if isinstance(effect, Reject):
            code = self.dispatcher.refused_with
            return [{"type": "websocket.close", **({} if code is None else {"code": code})}]
        return [{"type": "websocket.close", "code": _ABNORMAL}] if isinstance(effect, Drop) else []


class _Floor:
    """The hub of all synchronous communicators, open while there is one."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        # Streams alone have items that wait for others.
        self._hub = Hub(later=lambda seconds, callback: None)
        self._lines: WeakSet[_Line] = WeakSet()
        self._place = Place(self._take)

    def add(self, line: _Line) -> None:
        with self._changed:
            self._lines.add(line)
            self._place.open()

    def remove(self, line: _Line) -> None:
        with self._changed:
            self._hub.remove(line, line.connection.grip.channels)
            self._lines.discard(line)
            if not self._lines:
                self._place.close()

    def subscribe(self, effect: Subscribe, line: _Line) -> None:
        with self._changed:
            self._hub.subscribe(effect.channel, line, effect.filters)

    def unsubscribe(self, effect: Unsubscribe, line: _Line) -> None:
        with self._changed:
            self._hub.unsubscribe(effect.channel, line)

    def work(self) -> None:
        """Do what there is to do for all connections, until there is nothing left."""
        steps = 1
        while steps:
            steps = sum(line.step() for line in list(self._lines))

    def wait(self, seconds: float) -> bool:
        """Wait until something is published to any connection: whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: any(line.is_waiting for line in self._lines), max(seconds, 0.0))

    def _take(self, body: bytes) -> None:
        items = control.read_items(body)
        with self._changed:
            for item in items:
                self._hub.publish(item)
            self._changed.notify_all()


_floor = _Floor()


def _not_on_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("SyncCommunicator is for tests without an event loop: in a coroutine, use GripCommunicator.")
