"""One request with a batch of WebSocket events, and the response to it.

The rules, and the theory behind them, stand in `states`; the methods here check, emit bytes, and do as the
table says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import control, headers
from .checks import check_bytes, check_close, check_whole
from .errors import LocalProtocolError, RemoteProtocolError
from .events import Binary, Close, Disconnect, Event, Open, Ping, Pong, Text, decode, encode
from .states import Action, State, after

__all__ = ["REJECTION_BODY_MAX", "RESPONSE_BODY_MAX", "Exchange", "Response", "State"]

#: Bytes of a rejection's body; the proxy cuts off the rest.
REJECTION_BODY_MAX = 100_000
#: Bytes of a response with events; above it the proxy drops the connection.
RESPONSE_BODY_MAX = 1_000_000


# Looking a member up on its class costs more than the comparison.
_CONNECTING, _OPEN = State.CONNECTING, State.OPEN
_OPEN_EVENT = encode([Open()])
_HEARTBEATS = frozenset({Ping, Pong})
_PARTINGS = frozenset({Close, Disconnect})
#: RFC 9110 §15.3.5, §15.3.6, §15.4.5: responses with these statuses have no content.
_BODILESS = frozenset({204, 205, 304})


@dataclass
class Response:
    """An HTTP response for the proxy. Header names may repeat; Content-Length is left to the server."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Exchange:
    """One batch and its answer.

    Call `next_event` until it returns None; in between, after the Open event, `accept` or `reject`; after
    acceptance, or at any time in a batch that does not open, the sending methods; at last `response`.

    Args:
        events: the request's events.

    Attributes:
        opening: whether the batch begins with OPEN, so that the connection is to be accepted or rejected.
        empty: whether it holds no event: the proxy asks on somebody's behalf (a refresh or a keep-alive tick).
        heartbeat: whether it holds nothing but PING and PONG. The proxy may ask on somebody's behalf then, too.
        parting: whether it reports the end of the connection and nothing else.
        state: the present State.

    Raises:
        RemoteProtocolError: OPEN stands anywhere but first, or something follows a CLOSE or DISCONNECT.
    """

    __slots__ = (
        *("_chunks", "_events", "_headers", "_meta", "_pending", "_rejection"),
        *("empty", "heartbeat", "opening", "parting", "state"),
    )

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self.opening = bool(events) and type(events[0]) is Open
        self.state = _CONNECTING if self.opening else _OPEN
        last = len(events) - 1
        self.empty = not events
        self.parting = last == 0 and type(events[0]) in _PARTINGS
        self.heartbeat = last >= 0 and type(events[0]) in _HEARTBEATS and all(type(e) in _HEARTBEATS for e in events)
        for index, event in enumerate(events):
            kind = type(event)
            if kind is Open and index:
                msg = f"expected OPEN as the first event or none, got it as event {index}"
                raise RemoteProtocolError(msg)
            if kind in _PARTINGS and index != last:
                msg = f"expected nothing after {kind.__name__.upper()}, got event {index + 1}"
                raise RemoteProtocolError(msg)
        self._pending = iter(events)
        self._chunks: list[bytes] = []
        self._headers: list[tuple[str, str]] = []
        self._meta: dict[str, tuple[str, str]] = {}
        self._rejection: Response | None = None

    # What came

    def has_pong(self, data: bytes) -> bool:
        """Whether the client answers a ping of that content."""
        return any(isinstance(event, Pong) and event.data == data for event in self._events)

    def next_event(self) -> Event | None:
        """Return the next event, or None when there is no other.

        A PING is answered in its place and not returned, since nobody else answers it; a PONG asks for
        nothing. The peer's CLOSE is answered too, unless we closed first.
        """
        for event in self._pending:
            kind = type(event)
            if kind is Ping:
                self._answer(event)
            elif kind in _PARTINGS:
                self._take_leave(event)
                return event
            elif kind is not Pong:
                return event
        return None

    # The handshake

    def accept(self, *, subprotocol: str | None = None, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Grant the connection. Must precede every send of an opening batch.

        Args:
            subprotocol: the one chosen among those that the client offered.
            headers: further headers of the handshake's response, such as Set-Cookie.

        Raises:
            LocalProtocolError: the state is not CONNECTING; the subprotocol is no token; a header is
                malformed or belongs to the protocol.
        """
        outcome = after(self.state, Action.ACCEPT)
        self._headers = _acceptance(subprotocol, headers)
        self._chunks.insert(0, _OPEN_EVENT)
        self.state = outcome

    def reject(
        self,
        status: int = 403,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> None:
        """Refuse the connection with an HTTP response.

        Raises:
            LocalProtocolError: the state is not CONNECTING; the status is not 201 to 599; a header is
                malformed or belongs to the protocol; the body has more than 100,000 bytes.
        """
        outcome = after(self.state, Action.REJECT)
        self._rejection = _refusal(status, headers, body)
        self.state = outcome

    # To the client

    def send_text(self, text: str) -> None:
        """Send a text message; dropped silently once either side has closed.

        Raises:
            LocalProtocolError: before acceptance, or for text that UTF-8 cannot encode.
        """
        try:
            data = text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            msg = f"expected text that UTF-8 can encode, got {type(text).__name__}: {error!s:.120}"
            raise LocalProtocolError(msg) from None
        # In OPEN the table sends one back to OPEN; not asking it is for speed.
        if self.state is _OPEN:
            self._chunks.append(b"TEXT %x\r\nm:%b\r\n" % (len(data) + 2, data))
        else:
            after(self.state, Action.SEND)

    def send_binary(self, data: bytes) -> None:
        """Send a binary message; dropped silently once either side has closed.

        Raises:
            LocalProtocolError: before acceptance, or for anything but bytes.
        """
        check_bytes(data, "a binary message")
        if self.state is _OPEN:
            self._chunks.append(b"BINARY %x\r\nm:%b\r\n" % (len(data) + 2, data))
        else:
            after(self.state, Action.SEND)

    def ping(self, data: bytes) -> None:
        """Ping the client, behind what the response holds by now; its pong makes a batch.

        Also in CLOSING, for a sender that has taken the CLOSE out again. Dropped where nobody could answer.

        Raises:
            LocalProtocolError: before acceptance.
        """
        if after(self.state, Action.SEND) in (_OPEN, State.CLOSING):
            self._chunks.append(encode([Ping(data)]))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection.

        Before acceptance that is `reject(403)`; after either side closed, nothing.

        Raises:
            LocalProtocolError: the code may not be sent (RFC 6455 §7.4), or the reason exceeds 123 bytes.
        """
        content = check_close(code, reason)
        if self.state is _CONNECTING:
            self.reject()
            return
        if self.state is _OPEN:
            self._chunks.append(b"CLOSE %x\r\n%b\r\n" % (len(content), content))
        self.state = after(self.state, Action.CLOSE)

    def fail(self, code: int = 1011) -> None:
        """End it after an error: a handshake is refused with 500, an open connection closed with `code`."""
        if self.state is _CONNECTING:
            self.reject(500, body=b"Internal Server Error")
        else:
            self.close(code)

    # To the proxy

    def subscribe(self, channel: str, filters: Sequence[str] = ()) -> None:
        """Add the connection to a channel, from this point on. Raises as `control.subscribe`."""
        self.send_control(control.subscribe(channel, filters))

    def unsubscribe(self, channel: str) -> None:
        """Take the connection out of a channel. Raises as `control.unsubscribe`."""
        self.send_control(control.unsubscribe(channel))

    def set_user(self, value: str) -> None:
        """Set the name by which the filters skip-self and skip-users know this connection.

        Raises:
            LocalProtocolError: it contains a comma, which separates the users of a list, or as
                `control.set_meta`.
        """
        if "," in value:
            msg = f"expected a user without a comma, got {value!r:.60}"
            raise LocalProtocolError(msg)
        self.send_control(control.set_meta("user", value))

    def send_control(self, message: bytes) -> None:
        """Send a message of the `control` module to the proxy, in order with the sends.

        Before acceptance it waits for that, and is forgotten on rejection; once either side has closed it is
        dropped.
        """
        if not message.startswith(control.CONTROL_PREFIX) or len(message) > control.CONTROL_MESSAGE_MAX:
            msg = f"expected a message of the control module, got {message[:40]!r}"
            raise LocalProtocolError(msg)
        if after(self.state, Action.CONTROL) in (_CONNECTING, _OPEN):
            self._chunks.append(b"TEXT %x\r\n%b\r\n" % (len(message), message))

    def set_meta(self, name: str, value: str) -> None:
        """Have the proxy send `Meta-<name>: value` with later batches; an empty value ends that.

        Of several calls for a name the last counts.

        Raises:
            LocalProtocolError: the name is no token, or the value would not come back equal: only visible
                ASCII does, and spaces within.
        """
        header = headers.SET_META_PREFIX + headers.check_token(name, "a meta name")
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            msg = f"expected a meta value of visible ASCII, got {value!r:.60}"
            raise LocalProtocolError(msg)
        self._meta[header.lower()] = (header, value)

    def keep_alive_interval(self, seconds: int) -> None:
        """Have the proxy send an empty batch after that many idle seconds (20 at least; 0 turns it off).

        Raises:
            LocalProtocolError: it is no whole number, or negative.
        """
        check_whole(seconds, "seconds", 0)
        header = headers.KEEP_ALIVE_INTERVAL
        self._meta[header.lower()] = (header, str(seconds))

    # The outcome

    @property
    def body_size(self) -> int:
        """Bytes of events so far, for senders that mind the limits of the proxy."""
        return sum(map(len, self._chunks))

    def exceeds(self, size: int, count: int) -> bool:
        """Whether the response holds more than `size` bytes, or more than `count` messages for the client."""
        return self.body_size > size or (len(self._chunks) > count and self.message_count > count)

    def fitting(self, size: int, count: int) -> int:
        """How many of the messages for the client, from the first, stay within `size` bytes and `count` in number."""
        number = 0
        for chunk in filter(_is_message, self._chunks):
            size -= len(chunk)
            if size < 0 or number == count:
                break
            number += 1
        return number

    @property
    def message_count(self) -> int:
        """How many messages for the client the response holds so far."""
        return sum(map(_is_message, self._chunks))

    def take_messages(self, after: int = 0, *, with_close: bool = True) -> list[Text | Binary | Close]:
        """Take what is for the client out of the response, for senders that deliver it another way.

        Args:
            after: how many messages to leave in it.
            with_close: whether a CLOSE of this side goes with them.

        Returns:
            The messages, in order, and last that CLOSE if there is one.
        """
        kept: list[bytes] = []
        taken: list[bytes] = []
        for chunk in self._chunks:
            leaving = False
            if _is_message(chunk):
                after -= 1
                leaving = after < 0
            elif chunk.startswith(b"CLOSE"):
                leaving = with_close and self.state is State.CLOSING
            (taken if leaving else kept).append(chunk)
        self._chunks = kept
        body = b"".join(taken)
        return [_without_prefix(event) for event in decode(body, max_events=len(taken), max_size=len(body))]

    def response(self) -> Response:
        """Return the answer to the request. What a rejected connection was to be given is not in it.

        Raises:
            LocalProtocolError: nothing was decided about the handshake, or there are more than 1,000,000
                bytes.
        """
        if self.state is not _OPEN:
            after(self.state, Action.RESPOND)
            if self._rejection is not None:
                return self._rejection
        body = b"".join(self._chunks)
        if len(body) > RESPONSE_BODY_MAX:
            msg = f"expected at most {RESPONSE_BODY_MAX} bytes of answer, got {len(body)}: publish instead"
            raise LocalProtocolError(msg)
        return Response(200, [_EVENTS_TYPE, *self._headers, *self._meta.values()], body)

    # The machine

    def _answer(self, ping: Event) -> None:
        if isinstance(ping, Ping) and self.state in (_CONNECTING, _OPEN):
            self._chunks.append(encode([Pong(ping.data)]))

    def _take_leave(self, event: Event) -> None:
        if self.state is _CONNECTING:
            # Without an OPEN event in front there is nobody whom the waiting messages could concern.
            self._chunks.clear()
        elif self.state is _OPEN and isinstance(event, Close):
            self._chunks.append(encode([Close(event.code, event.reason)]))
        self.state = after(self.state, Action.PEER_LEAVES)


def _is_message(chunk: bytes) -> bool:
    content = chunk.find(b"\r\n") + 2
    return chunk.startswith((b"TEXT", b"BINARY")) and chunk.startswith(_MESSAGE_PREFIX, content)


def _without_prefix(event: Event) -> Text | Binary | Close:
    if isinstance(event, Text):
        return Text(event.text[len(_MESSAGE_PREFIX) :])
    if isinstance(event, Binary):
        return Binary(event.data[len(_MESSAGE_PREFIX) :])
    assert isinstance(event, Close)
    return event


#: What marks a message for the client, as opposed to one for the proxy.
_MESSAGE_PREFIX = b"m:"
_EVENTS_TYPE = (headers.CONTENT_TYPE_HEADER, headers.CONTENT_TYPE)


def _acceptance(subprotocol: str | None, extra: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    accepted = [(headers.SEC_WEBSOCKET_EXTENSIONS, headers.WEBSOCKET_EXTENSION)]
    if subprotocol is not None:
        accepted.append((headers.SEC_WEBSOCKET_PROTOCOL, headers.check_token(subprotocol, "a subprotocol")))
    return accepted + headers.accept_headers(extra)


def _refusal(status: int, extra: Iterable[tuple[bytes, bytes]], body: bytes) -> Response:
    check_whole(status, "a status to reject with", 201, 599)
    check_bytes(body, "a body to reject with", REJECTION_BODY_MAX)
    return Response(status, headers.reject_headers(extra), b"" if status in _BODILESS else body)
