"""One client connection without I/O: which request comes next, and what its response means.

The glue feeds in what the client does (`message_received`, `peer_closed`, `peer_vanished`) and what time
brings (`tick`), asks `next_request` until it returns None, and hands every response to `response_received`,
which says what to do. There is never more than one request at a time; what arrives meanwhile waits for the
next one.

Behaviour follows Pushpin 1.36 as measured, with one exception: a response is decoded strictly, and one that
is malformed drops the connection, where Pushpin carries out what it could read.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

from grip_consumers.protocol import (
    Binary,
    Close,
    Disconnect,
    Event,
    Open,
    Ping,
    Pong,
    RemoteProtocolError,
    Text,
    decode,
    encode,
)
from grip_consumers.protocol.headers import CONTENT_TYPE

from .effects import Accept, CloseClient, Drop, Effect, Reject, Send
from .grip import Grip
from .handshake import (
    Header,
    client_headers,
    extension_prefix,
    first_value,
    passed_on,
    request_headers,
    set_meta,
)

__all__ = ["Connection", "Limits", "Request", "Response", "Stage"]

logger = logging.getLogger("grip_consumers.embedded")

_BAD_GATEWAY = Reject(502, [(b"content-type", b"text/plain")], b"Error while proxying to origin.\n")
_CONTENT_TYPE = CONTENT_TYPE.encode()


@dataclass(frozen=True)
class Limits:
    """What one connection may use; the defaults are Pushpin's where Pushpin has such a limit.

    Args:
        batch_events: events in one request; what is more waits for the next.
        message_bytes: size of a client's message; a larger one drops the connection.
        response_bytes: size of a response body; a larger one drops the connection.
        subscriptions: channels of one connection; what is more is ignored (and logged).
        keep_alive_minimum: seconds; a shorter Keep-Alive-Interval is raised to it.
        outgoing_messages: messages waiting for a slow client; published ones beyond are dropped (and logged).
        queued_items: the same for a held response.
        request_bytes: body of a request up to which it can be repeated when it is held.
    """

    batch_events: int = 1_000
    message_bytes: int = 200_000
    response_bytes: int = 1_000_000
    subscriptions: int = 20
    keep_alive_minimum: float = 20.0
    outgoing_messages: int = 1_000
    queued_items: int = 100
    request_bytes: int = 1_000_000


@dataclass(frozen=True)
class Request:
    """What to POST to the backend."""

    headers: list[Header]
    body: bytes


@dataclass(frozen=True)
class Response:
    """What the backend answered."""

    status: int
    headers: list[Header]
    body: bytes


class Stage(enum.Enum):
    """Where a connection is."""

    CONNECTING = enum.auto()
    OPEN = enum.auto()
    #: The closing handshake is under way, started by either side; the backend is still to hear of it.
    CLOSING = enum.auto()
    #: Nothing more will be requested or sent.
    DONE = enum.auto()


class Connection:
    """The state of one client connection (see the module's text for the order of calls).

    Args:
        handshake: headers of the client's handshake, names in lower case.
        connection_id: what Connection-Id says.
        limits: what it may use.
    """

    def __init__(self, handshake: list[Header], connection_id: str, limits: Limits) -> None:
        self.id = connection_id
        self.limits = limits
        self.stage = Stage.CONNECTING
        self.grip = Grip(limits.subscriptions)
        self.keep_alive_interval: float | None = None
        self._repeated = passed_on(handshake)
        self._meta: dict[bytes, bytes] = {}
        self._pending: deque[Event] = deque([Open()])
        self._farewell: Event | None = None
        self._farewell_sent = False
        self._outstanding = False
        self._tick_due = False
        self._prefix: str | None = None

    # --- what the client does, and what time brings ---

    @property
    def congested(self) -> bool:
        """Whether enough waits for the next request that the client should not be read for now."""
        return len(self._pending) >= self.limits.batch_events

    def message_received(self, content: str | bytes) -> list[Effect]:
        """Take in a message of the client; it goes into the next request."""
        size = len(content.encode()) if isinstance(content, str) else len(content)
        if size > self.limits.message_bytes:
            return self._drop(f"expected messages of at most {self.limits.message_bytes} bytes, got {size}")
        if not self.grip.detached and self._farewell is None:
            self._pending.append(Text(content) if isinstance(content, str) else Binary(content))
        return []

    def peer_closed(self, code: int | None, reason: str) -> None:
        """The client sent a close frame, its own or in answer to ours."""
        self._leave(Close(code, reason if code is not None else ""))

    def peer_vanished(self) -> None:
        """The connection is gone without a close frame; what waited for the next request is gone with it."""
        if self.stage is not Stage.CONNECTING:
            self._pending.clear()
        self._leave(Disconnect())

    def closed_by_publish(self) -> None:
        """A published item closes the client; Pushpin then tells the backend so without a code."""
        self.peer_closed(None, "")

    def pinged(self, data: bytes) -> None:
        """The client is to be pinged. An ASGI server offers no way to, so it is taken to have answered."""
        if not self.grip.detached and self._farewell is None:
            self._pending.append(Pong(data))

    def tick(self) -> None:
        """The interval passed or a refresh was published: make a request, if only an empty one."""
        self._tick_due = self.stage is Stage.OPEN and self._farewell is None

    # --- requests and responses ---

    def next_request(self, signature: bytes) -> Request | None:
        """Return the next request, or None while one is outstanding or there is nothing to say."""
        if self._outstanding or self._farewell_sent or self.stage is Stage.DONE:
            return None
        events = self._next_events()
        if not events and not self._tick_due:
            return None
        self._outstanding = True
        self._tick_due = False
        body = encode(events)
        headers = request_headers(
            self._repeated, connection_id=self.id, meta=self._meta, signature=signature, length=len(body)
        )
        return Request(headers, body)

    def response_received(self, response: Response) -> list[Effect]:
        """Return what to do, in order, now that the outstanding request is answered."""
        self._outstanding = False
        if self._farewell_sent:
            self._finish()
            return []
        opening = self.stage is Stage.CONNECTING
        if not _is_batch(response):
            return self._refused(response) if opening else self._drop(_describe(response))
        try:
            if len(response.body) > self.limits.response_bytes:
                expected = f"expected a response of at most {self.limits.response_bytes} bytes"
                raise RemoteProtocolError(f"{expected}, got {len(response.body)}")
            events = decode(response.body)
        except RemoteProtocolError as error:
            return self._bad_gateway(str(error)) if opening else self._drop(str(error))
        return self._opened(response, events) if opening else self._continued(response, events)

    def request_failed(self, reason: str) -> list[Effect]:
        """Return what to do when the backend gave no response at all."""
        self._outstanding = False
        return self._bad_gateway(reason) if self.stage is Stage.CONNECTING else self._drop(reason)

    # --- inside ---

    def _next_events(self) -> list[Event]:
        if self.stage is Stage.CONNECTING:
            return [self._pending.popleft()] if self._pending else []
        count = min(len(self._pending), self.limits.batch_events)
        events = [self._pending.popleft() for _ in range(count)]
        if self._farewell is not None and not self._pending:
            events.append(self._farewell)
            self._farewell_sent = True
        return events

    def _leave(self, farewell: Event) -> None:
        if self._farewell is None:
            self._farewell = farewell
        if self.stage is Stage.OPEN:
            self.stage = Stage.CLOSING
        self._finish()

    def _finish(self) -> None:
        # A detached client stays although the backend has heard its farewell.
        if self.stage is Stage.CLOSING and self._farewell_sent and not self._outstanding:
            self.stage = Stage.DONE

    def _refused(self, response: Response) -> list[Effect]:
        self.stage = Stage.DONE
        headers = client_headers(response.headers, accepted=False)
        return [Reject(response.status, headers, response.body)]

    def _bad_gateway(self, reason: str) -> list[Effect]:
        logger.warning("Connection %s: the handshake is answered 502: %s.", self.id, reason)
        self.stage = Stage.DONE
        return [_BAD_GATEWAY]

    def _drop(self, reason: str) -> list[Effect]:
        self.stage = Stage.DONE
        return [Drop(reason)]

    def _opened(self, response: Response, events: list[Event]) -> list[Effect]:
        if not events or not isinstance(events[0], Open):
            return self._bad_gateway("expected OPEN as the first event of the first response")
        self.stage = Stage.OPEN if self._farewell is None else Stage.CLOSING
        self._prefix = extension_prefix(response.headers)
        subprotocol = first_value(response.headers, b"sec-websocket-protocol")
        accept = Accept(
            subprotocol.decode("latin-1") if subprotocol else None,
            client_headers(response.headers, accepted=True),
        )
        return [accept, *self._continued(response, events[1:])]

    def _continued(self, response: Response, events: list[Event]) -> list[Effect]:
        self._remember(response.headers)
        effects: list[Effect] = []
        for event in events:
            effects += self._effects_of(event)
            if effects and isinstance(effects[-1], (CloseClient, Drop)):
                break
        return effects

    def _remember(self, headers: list[Header]) -> None:
        for name, value in set_meta(headers):
            if value:
                self._meta[name] = value
            else:
                self._meta.pop(name, None)
        interval = first_value(headers, b"keep-alive-interval")
        if interval is not None and interval.isdigit():
            seconds = int(interval)
            self.keep_alive_interval = max(seconds, self.limits.keep_alive_minimum) if seconds else None

    def _effects_of(self, event: Event) -> list[Effect]:
        if isinstance(event, (Text, Binary)):
            return self._message(event.text if isinstance(event, Text) else event.data)
        if isinstance(event, Close):
            self.stage = Stage.CLOSING
            return [CloseClient(event.code or 1000, event.reason)]
        if isinstance(event, (Open, Disconnect)):
            name = type(event).__name__.upper()
            return self._drop(f"expected messages, PING, PONG or CLOSE in a later response, got {name}")
        if isinstance(event, Ping):
            self.pinged(event.data)
        return []

    def _message(self, content: Any) -> list[Effect]:
        if self._prefix is None:
            return [Send(content)]
        if isinstance(content, str) and content.startswith("c:"):
            effects = self.grip.control(content[2:])
            if self.grip.detached and self._farewell is None:
                # Pushpin says goodbye to the backend at once, though the client stays.
                self._farewell = Close()
            return effects
        prefix = self._prefix if isinstance(content, str) else self._prefix.encode()
        if content.startswith(prefix):
            return [Send(content[len(prefix) :])]
        logger.warning(
            "Connection %s: a message without the prefix %r is dropped: %.60r", self.id, self._prefix, content
        )
        return []


def _is_batch(response: Response) -> bool:
    return response.status == 200 and first_value(response.headers, b"content-type") == _CONTENT_TYPE


def _describe(response: Response) -> str:
    content_type = first_value(response.headers, b"content-type")
    got = "none" if content_type is None else content_type.decode("latin-1")
    return f"expected 200 and {CONTENT_TYPE}, got {response.status} and {got}"
