"""WebSocket-over-HTTP events: values, bytes to values, values to bytes.

A body is a series of events, each `TYPE[ SP LENGTH]CRLF[CONTENT CRLF]` with LENGTH in hexadecimal:
`OPEN\\r\\n`, `TEXT 5\\r\\nhello\\r\\n`, `CLOSE 2\\r\\n\\x03\\xe8\\r\\n`. The same form goes both ways.
(Source: Pushpin's "WebSocket-over-HTTP" protocol page; the meaning of contents: RFC 6455.)

Decoding is strict, because a lenient reader turns a truncated body into a shorter but believable message. A
length is made of hexadecimal digits and nothing else, both line ends must be there, and content must be valid
for its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .checks import CONTROL_CONTENT_MAX, check_bytes, check_close, check_utf8
from .errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "MAX_EVENTS",
    "MAX_SIZE",
    "Binary",
    "Close",
    "Decoder",
    "Disconnect",
    "Event",
    "Open",
    "Ping",
    "Pong",
    "Text",
    "decode",
    "encode",
]

#: The most events that a body may hold, unless the caller says otherwise.
MAX_EVENTS = 10_000
#: The most bytes that a body may have, unless the caller says otherwise.
MAX_SIZE = 16 * 1024 * 1024

_LENGTH_DIGITS_MAX = 8
_TYPE_LINE_MAX = len("DISCONNECT ") + _LENGTH_DIGITS_MAX
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_EXCERPT_MAX = 40


class Event:
    """Base of all events. They are values: immutable, hashable, equal by content, valid once they exist."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Open(Event):
    """The client asks for a connection; in a response, it is granted."""


@dataclass(frozen=True, slots=True)
class Text(Event):
    """A text message. Raises LocalProtocolError for text that UTF-8 cannot encode (a lone surrogate)."""

    text: str

    def __post_init__(self) -> None:
        check_utf8(self.text, "text")


@dataclass(frozen=True, slots=True)
class Binary(Event):
    """A binary message."""

    data: bytes

    def __post_init__(self) -> None:
        check_bytes(self.data, "data for BINARY")


@dataclass(frozen=True, slots=True)
class Ping(Event):
    """A ping with up to 125 bytes of data, to be answered by a Pong with the same data."""

    data: bytes = b""

    def __post_init__(self) -> None:
        check_bytes(self.data, "data for PING", CONTROL_CONTENT_MAX)


@dataclass(frozen=True, slots=True)
class Pong(Event):
    """The answer to a ping, or an unsolicited sign of life, with up to 125 bytes of data."""

    data: bytes = b""

    def __post_init__(self) -> None:
        check_bytes(self.data, "data for PONG", CONTROL_CONTENT_MAX)


@dataclass(frozen=True, slots=True)
class Close(Event):
    """The closing handshake: a code and a reason, or neither (RFC 6455 §7.1.5 reads that as 1005)."""

    code: int | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.code is not None:
            check_close(self.code, self.reason)
        elif self.reason != "":
            msg = f"expected a close code with the reason {self.reason[:_EXCERPT_MAX]!r}, got None"
            raise LocalProtocolError(msg)


@dataclass(frozen=True, slots=True)
class Disconnect(Event):
    """The client vanished without a closing handshake."""


# Bytes to events

_new_text = Text.__new__
_set_text = Text.__dict__["text"].__set__


def _read_text(content: bytes) -> Event:
    # Text's own check would encode again what was decoded this moment.
    event = _new_text(Text)
    _set_text(event, str(content, "utf-8"))
    return event


def _read_close(content: bytes) -> Event:
    if not content:
        return Close()
    if len(content) == 1:
        msg = "expected no content or a code of 2 bytes for CLOSE, got 1 byte"
        raise LocalProtocolError(msg)
    return Close(int.from_bytes(content[:2], "big"), str(content[2:], "utf-8"))


def _read_bare(event: Event) -> Callable[[bytes], Event]:
    def read(content: bytes) -> Event:
        if content:
            msg = f"expected no content for {type(event).__name__.upper()}, got {len(content)} bytes"
            raise LocalProtocolError(msg)
        return event

    return read


def _excerpt(data: bytes) -> str:
    return repr(data) if len(data) <= _EXCERPT_MAX else f"{data[:_EXCERPT_MAX]!r}…"


_READERS: dict[bytes, Callable[[bytes], Event]] = {
    b"OPEN": _read_bare(Open()),
    b"TEXT": _read_text,
    b"BINARY": Binary,
    b"PING": Ping,
    b"PONG": Pong,
    b"CLOSE": _read_close,
    b"DISCONNECT": _read_bare(Disconnect()),
}


@lru_cache(maxsize=1024)
def _type_line(line: bytes) -> tuple[Callable[[bytes], Event], int]:
    """Return the reader for the event that `line` begins, and its content's length: -1 if none was given.

    Pushpin leaves the length out where its content is null, which that of an empty message may be. (Lines are
    short and mostly the same few, and looking one up costs a fifth of reading it.)
    """
    kind, space, digits = line.partition(b" ")
    reader = _READERS.get(kind)
    if reader is None:
        msg = f"expected one of {b', '.join(_READERS).decode()}, got {_excerpt(kind)}"
        raise LocalProtocolError(msg)
    if not space:
        return reader, -1
    # int() alone would take "0x5", "+5", "5_0" and " 5" too.
    if not digits or len(digits) > _LENGTH_DIGITS_MAX or digits.translate(None, _HEX_DIGITS):
        msg = f"expected a length of 1 to {_LENGTH_DIGITS_MAX} hexadecimal digits, got {_excerpt(digits)}"
        raise LocalProtocolError(msg)
    return reader, int(digits, 16)


def _read_event(data: bytes, start: int) -> tuple[Event | None, int]:
    """Return the event at `start` and where it ends; of an incomplete one, None and where it would end.

    That is 0 as long as its length is not known either.
    """
    line_end = data.find(b"\r\n", start, start + _TYPE_LINE_MAX + 2)
    if line_end < 0:
        if len(data) - start >= _TYPE_LINE_MAX + 2:
            rest = data[start : start + _EXCERPT_MAX + 1]
            msg = f"expected a type and CRLF within {_TYPE_LINE_MAX + 2} bytes, got {_excerpt(rest)}"
            raise LocalProtocolError(msg)
        return None, 0
    reader, length = _type_line(data[start:line_end])
    begin = line_end + 2
    if length < 0:
        return reader(b""), begin
    end = begin + length
    if len(data) < end + 2:
        return None, end + 2
    if data[end : end + 2] != b"\r\n":
        msg = f"expected CRLF after {length} bytes of content, got {_excerpt(data[end : end + 2])}"
        raise LocalProtocolError(msg)
    return reader(data[begin:end]), end + 2


def _parse(
    data: bytes, max_events: int, max_size: int, count: int = 0, offset: int = 0
) -> tuple[list[Event], int, int]:
    """Read all complete events of `data`, before which came `count` events in `offset` bytes.

    The one reader behind `decode` and `Decoder`. Returns the events, how far they reach, and how many bytes
    the incomplete event behind them needs in all (0 if that is not known yet).
    """
    events: list[Event] = []
    start, end = 0, 0
    size = len(data)
    try:
        _check_size(offset + size, max_size)
        while start < size:
            if count + len(events) >= max_events:
                raise _LimitError(f"expected at most {max_events} events, got more")
            event, end = _read_event(data, start)
            if event is None:
                break
            events.append(event)
            start = end
        if end > size:
            _check_size(offset + end, max_size)
    except (LocalProtocolError, UnicodeDecodeError) as error:
        raise _blamed(error, count + len(events), offset + start) from None
    return events, start, end - start if end > start else 0


def _check_size(size: int, max_size: int) -> None:
    if size > max_size:
        msg = f"expected at most {max_size} bytes, got {size}"
        raise _LimitError(msg)


class _LimitError(LocalProtocolError):
    """A limit is exceeded."""


def _blamed(error: LocalProtocolError | UnicodeDecodeError, index: int, offset: int) -> RemoteProtocolError:
    """Return `error` as the sender's, with the place where it made it."""
    problem = str(error)
    if isinstance(error, UnicodeDecodeError):
        bad = _excerpt(error.object[error.start : error.end])
        problem = f"expected UTF-8, got {bad} at byte {error.start} of what should be"
    status = 413 if isinstance(error, _LimitError) else 400
    return RemoteProtocolError(f"{problem} (event {index}, byte {offset})", status_hint=status)


def _truncated(rest: bytes, needed: int, index: int, offset: int) -> RemoteProtocolError:
    """The error for a body that ends inside an event, of which `rest` is there."""
    expected = f"{needed} bytes" if needed else "a type and CRLF"
    problem = f"expected {expected} for this event, got {len(rest)} bytes: {_excerpt(rest)}"
    return RemoteProtocolError(f"{problem} (event {index}, byte {offset})")


def decode(body: bytes, *, max_events: int = MAX_EVENTS, max_size: int = MAX_SIZE) -> list[Event]:
    """Return the events of a complete body; an empty body has none.

    Args:
        body: what the request or response carried.
        max_events: the most events to accept.
        max_size: the most bytes to accept.

    Raises:
        RemoteProtocolError: the body is malformed, truncated or over a limit (status hint 413). The message
            names the event's index and the byte at which it starts. A body is taken as a whole or not at all.
    """
    events, consumed, needed = _parse(body, max_events, max_size)
    if consumed != len(body):
        raise _truncated(body[consumed:], needed, len(events), consumed)
    return events


class Decoder:
    """`decode` for a body that arrives in pieces, cut anywhere.

    Call `feed` for every piece and `end` once after the last. After an error every further call raises it
    again.

    Args:
        max_events: the most events to accept in all.
        max_size: the most bytes to accept in all.
    """

    __slots__ = ("_chunks", "_count", "_error", "_held", "_limits", "_needed", "_offset")

    def __init__(self, max_events: int = MAX_EVENTS, max_size: int = MAX_SIZE) -> None:
        self._limits = (max_events, max_size)
        self._chunks: list[bytes] = []
        self._held = 0  # bytes in _chunks
        self._needed = 0  # bytes that _chunks must have before another event can be complete
        self._count = 0  # events before _chunks
        self._offset = 0  # bytes before _chunks
        self._error: RemoteProtocolError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take in `data` and return the events that it completes.

        Raises:
            RemoteProtocolError: as `decode`; events completed by the same call are lost with it.
        """
        self._raise_again()
        self._chunks.append(data)
        self._held += len(data)
        # Joining only when enough is there keeps a long message in small pieces linear.
        return self._advance() if self._held >= self._needed else []

    def end(self) -> None:
        """Declare the body complete.

        Raises:
            RemoteProtocolError: it ends inside an event.
        """
        self._raise_again()
        if self._held:
            rest = b"".join(self._chunks)
            self._error = _truncated(rest, self._needed, self._count, self._offset)
            raise self._error

    def _advance(self) -> list[Event]:
        data = b"".join(self._chunks)
        try:
            events, consumed, self._needed = _parse(data, *self._limits, self._count, self._offset)
        except RemoteProtocolError as error:
            self._error = error
            raise
        self._chunks = [data[consumed:]]
        self._held = len(data) - consumed
        self._count += len(events)
        self._offset += consumed
        return events

    def _raise_again(self) -> None:
        if self._error is not None:
            raise RemoteProtocolError(str(self._error), status_hint=self._error.status_hint)


# Events to bytes


def _write_text(event: Any) -> bytes:
    data = event.text.encode()
    return b"TEXT %x\r\n%b\r\n" % (len(data), data)


def _write_binary(event: Any) -> bytes:
    return b"BINARY %x\r\n%b\r\n" % (len(event.data), event.data)


def _write_ping(event: Any) -> bytes:
    return b"PING %x\r\n%b\r\n" % (len(event.data), event.data) if event.data else b"PING\r\n"


def _write_pong(event: Any) -> bytes:
    return b"PONG %x\r\n%b\r\n" % (len(event.data), event.data) if event.data else b"PONG\r\n"


def _write_close(event: Any) -> bytes:
    if event.code is None:
        return b"CLOSE\r\n"
    content = check_close(event.code, event.reason)
    return b"CLOSE %x\r\n%b\r\n" % (len(content), content)


_WRITERS: dict[type[Event], Callable[[Any], bytes]] = {
    Open: lambda event: b"OPEN\r\n",
    Text: _write_text,
    Binary: _write_binary,
    Ping: _write_ping,
    Pong: _write_pong,
    Close: _write_close,
    Disconnect: lambda event: b"DISCONNECT\r\n",
}


def encode(events: Iterable[Event]) -> bytes:
    """Return the body that carries `events`, in order.

    Raises:
        LocalProtocolError: something in `events` is not one of this module's events.
    """
    writers = _WRITERS
    try:
        return b"".join([writers[type(event)](event) for event in events])
    except KeyError as error:
        msg = f"expected events of {__name__}, got {error.args[0].__name__}"
        raise LocalProtocolError(msg) from None
