"""`request.wscontext`: the batch under way, with the API of django-grip (gripcontrol's WebSocketContext).

    @websocket_only
    def echo(request):
        ws = request.wscontext
        if ws.is_opening():
            ws.accept()
        for message in ws:
            ws.send(message)

It exists for one batch. What the next one needs goes into `state`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Any

from grip_consumers.protocol import Binary, Close, Disconnect, Event, LocalProtocolError, State, Text, control

from .connection import ViewConnection

__all__ = ["ClientDisconnected", "WebSocketContext"]

#: RFC 6455 §7.1.5: what a CLOSE without a code is read as.
_NO_CODE = 1005


class ClientDisconnected(OSError):  # noqa: N818 - it names what happened
    """The client vanished without a closing handshake: nothing can be sent to it any more."""


class WebSocketContext:
    """The messages of one batch, and the answer to them.

    Attributes:
        id: the proxy's name of the connection.
        closed: whether `close` was called.
        disconnected: whether the client was found to have vanished.
        close_code: the code with which the client has closed, 1005 if it gave none; None before that was read.
        close_reason: the reason beside it.
        accepted: whether `accept` was called.
    """

    def __init__(self, connection: ViewConnection) -> None:
        self._connection = connection
        self._exchange = connection.exchange
        self.id = connection.id
        self.accepted = self.closed = self.disconnected = False
        self.close_code: int | None = None
        self.close_reason = ""
        self._left = [event for event in connection.events if isinstance(event, (Text, Binary, Close, Disconnect))]
        #: What was sent before `accept`, which the original permits.
        self._waiting: list[Callable[[], None]] = []
        self._closing = (1000, "")

    @property
    def meta(self) -> MutableMapping[str, str]:
        """Texts that the proxy keeps for the connection, names in lower case. Not sealed, as `state` is."""
        return self._connection.meta

    @property
    def state(self) -> dict[str, Any]:
        """What lives as long as the connection, under seal. Values as a consumer's attributes may have them."""
        return self._connection.state

    # The handshake

    def is_opening(self) -> bool:
        """Whether the client asks for the connection: `accept` it, or answer otherwise."""
        return self._connection.opening

    def accept(self, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Accept the connection; without effect on one that is. Raises as `Exchange.accept`."""
        self.accepted = True
        if self._exchange.state is State.CONNECTING:
            self._connection.accept(subprotocol, headers)
            waiting, self._waiting = self._waiting, []
            for send in waiting:
                send()

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection, behind all that is sent in this batch; a handshake that was not accepted is refused.

        Raises LocalProtocolError for a code that may not be sent.
        """
        self._closing = (1000 if code is None else code, reason or "")
        Close(*self._closing)
        self.closed = True

    # From the client

    def can_recv(self) -> bool:
        """Whether there is a message in the batch, or the client's end of the connection."""
        return bool(self._left)

    def recv(self) -> str | bytes | None:
        """The next message: text or bytes; None when the client has closed.

        Raises IndexError if there is none left (see `can_recv`), and ClientDisconnected, an OSError, for a client that
        vanished.
        """
        event = self._next()
        if isinstance(event, Text):
            return event.text
        return event.data if isinstance(event, Binary) else None

    def recv_raw(self) -> bytes | None:
        """As `recv`, with text in UTF-8."""
        found = self.recv()
        return found.encode() if isinstance(found, str) else found

    def __iter__(self) -> Iterator[str | bytes]:
        """The messages of the batch; it ends with them, or with the connection."""
        while self._left:
            try:
                message = self.recv()
            except ClientDisconnected:
                return
            if message is None:
                return
            yield message

    def _next(self) -> Event:
        if not self._left:
            raise IndexError("read from empty buffer")
        # Through the exchange, which answers pings in their place and the client's close.
        event = self._exchange.next_event()
        while event is not self._left[0]:
            if event is None:
                raise IndexError("read from empty buffer: something else has read the batch")
            event = self._exchange.next_event()
        del self._left[0]
        if isinstance(event, Close):
            self.close_code = _NO_CODE if event.code is None else event.code
            self.close_reason = event.reason
        elif isinstance(event, Disconnect):
            self.disconnected = True
            raise ClientDisconnected("client disconnected unexpectedly")
        return event

    # To the client and to the proxy

    def send(self, message: str | bytes) -> None:
        """Send a text message; bytes are UTF-8."""
        text = message if isinstance(message, str) else bytes(message).decode()
        self._send(lambda: self._exchange.send_text(text))

    def send_binary(self, message: str | bytes) -> None:
        """Send a binary message; a str goes out in UTF-8."""
        data = message.encode() if isinstance(message, str) else bytes(message)
        self._send(lambda: self._exchange.send_binary(data))

    def send_control(self, message: str | bytes) -> None:
        """Send a message to the proxy, as JSON. Raises LocalProtocolError for one of over 16,384 bytes."""
        data = message.encode() if isinstance(message, str) else bytes(message)
        self._exchange.send_control(control.CONTROL_PREFIX + data)

    def subscribe(self, channel: str, filters: Sequence[str] = ()) -> None:
        """Add the connection to a channel, with GRIP_PREFIX in front.

        The proxy ignores the 21st channel of a connection without a word. Raises LocalProtocolError for a name or
        filter that cannot be.
        """
        self._connection.subscribe(channel, filters)

    def unsubscribe(self, channel: str) -> None:
        """Take the connection out of a channel."""
        self._connection.unsubscribe(channel)

    def detach(self) -> None:
        """Keep the connection for publishing alone: no batch comes any more."""
        self._exchange.send_control(control.detach())

    def _send(self, send: Callable[[], None]) -> None:
        if self._exchange.state is State.CONNECTING:
            self._waiting.append(send)
        else:
            send()

    def conclude(self) -> None:
        """Carry out `close`. For the middleware, when the view has returned."""
        if self.closed:
            try:
                self._exchange.close(*self._closing)
            except LocalProtocolError:
                self._exchange.fail()
