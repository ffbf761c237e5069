"""One connection during one batch: what its consumer receives, sends and joins.

A batch takes the place of the server that would have held the socket: `receive` gives this batch's messages, `send`
writes this batch's response. When there are no more messages the consumer returns, and what it holds is captured
for the next batch (see `running`).
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from contextvars import Context, ContextVar, Token
from time import monotonic
from typing import Any

from grip_consumers.compatibility import advise
from grip_consumers.complaints import left_running, warn_once
from grip_consumers.conf import Settings
from grip_consumers.exceptions import HandlerFailed, StopConsumer, SubscriptionLimitExceeded
from grip_consumers.handshake import BatchRequest
from grip_consumers.mail import Discard, Entry, Event, Frames, Join, Outcome, Shut
from grip_consumers.messages import VANISHED, closing, disconnect, payload, to_asgi
from grip_consumers.naming import group_channel, private_channel, user_of
from grip_consumers.protocol import Close, Disconnect, Exchange, LocalProtocolError, State
from grip_consumers.protocol.control import keep_alive
from grip_consumers.state import ConnectionState, Inbox
from grip_consumers.state.table import register
from grip_consumers.types import Message, Scope

__all__ = ["EXTENSION", "Batch", "EndOfBatch", "batch_of", "current_batch", "milliseconds"]

logger = logging.getLogger("grip_consumers.batch")

#: The key of the scope's `extensions` under which a consumer finds its batch.
EXTENSION = "grip_consumers"

#: The subscription filter that lets a publish leave out named connections.
SKIP_USERS = "skip-users"

#: The close code for a session that has ended; codes from 4000 on are an application's own (RFC 6455 §7.4.2).
_SESSION_GONE = 4401

#: How many events to itself one batch of a connection handles, each sent by the handler of the one before; and for how
#: many seconds it begins with another.
_CHAIN_MAX, _CHAIN_SECONDS = 100, 0.5

#: Subscriptions that a connection has beside those of its groups: its private channel.
_BESIDE_GROUPS = 1

_current: ContextVar[Batch | None] = ContextVar("grip_consumers.batch", default=None)


def milliseconds() -> int:
    """The time in the unit of an Inbox: milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def current_batch() -> Batch | None:
    """The batch whose handler is running here; None outside of one, and in what a handler has left running."""
    batch = _current.get()
    return batch if batch is not None and batch.active else None


def batch_of(context: Context) -> Batch | None:
    """The batch that is or was current in a context."""
    return context.get(_current)


class EndOfBatch(BaseException):
    """There are no more messages in this batch. Not an Exception: middleware must not take it for a failure."""


class Batch:
    """The server's side of ASGI for one batch of one connection."""

    __slots__ = (
        *("request", "exchange", "settings", "state", "channel_name", "groups", "consumer", "consumer_name"),
        *("stack_runs", "active", "_base_scope", "_own_events", "_client_messages"),
        *("ended", "send_wrapped", "_context", "_denial", "_released", "slow_after"),
        *("inbox", "joins", "copied", "revoked", "held_up", "way_is_clear", "ticked", "refused_with"),
        *("mailed", "_generation", "_chain_began"),
    )

    def __init__(self, request: BatchRequest, exchange: Exchange, settings: Settings) -> None:
        self.request = request
        self.exchange = exchange
        self.settings = settings
        #: What the last batch left, set before the consumer runs; None in the first.
        self.state: ConnectionState | None = None
        self.channel_name = ""
        #: The groups that this connection is a member of, in the order it joined them → how far their logs are read.
        self.groups: dict[str, int] = {}
        self.inbox = Inbox()
        #: The groups that it has joined in this batch, and those of which it got copies by mail.
        self.joins: set[str] = set()
        self.copied: set[str] = set()
        self.consumer: Any = None
        #: `module:qualified.name` of the consumer's class, as soon as it is known.
        self.consumer_name = ""
        #: Some middleware passed on a receive or send of its own: it must see every message.
        self.stack_runs = False
        #: It passed on a send of its own, which does not see what is published.
        self.send_wrapped = False
        #: The consumer is done, though the proxy may still report the connection's end.
        self.ended = False
        #: The session that it was opened with is gone: nothing but its end reaches the consumer any more.
        self.revoked = False
        #: The client has yet to take what it was sent before: nothing else is sent until then.
        self.held_up = False
        #: The client has taken all that it was sent before, as far as can be known.
        self.way_is_clear = False
        #: The consumer's tick is called in this batch.
        self.ticked = False
        #: The time by time.monotonic() from which on its handlers take long.
        self.slow_after = math.inf
        #: The code of a close before the accept. No client can see it; tests can.
        self.refused_with: int | None = None
        self.active = False
        self._base_scope: Scope | None = None
        #: What it sends to itself has to go by mail, until the batch ends: nothing may overtake what has gone so.
        self.mailed = False
        #: Events for this connection, each with how many of their kind led to it, one by the handler of the other.
        self._own_events: deque[tuple[Message | Entry, int]] = deque()
        #: That number of the event that is being handled, and since when such events are: 0.0 if none has been yet.
        self._generation, self._chain_began = 0, 0.0
        self._client_messages = self._read()
        self._released = False
        self._context: Token[Batch | None]
        self._denial: dict[str, Any] = {}

    @property
    def base_scope(self) -> Scope:
        """The scope that the request alone makes."""
        if self._base_scope is None:
            self._base_scope = self.request.make_scope()
            self._base_scope["extensions"][EXTENSION] = self
        return self._base_scope

    @property
    def user(self) -> str:
        """What the proxy's filters know the connection by: it says nothing about the connection id."""
        return user_of(self.channel_name)

    def __enter__(self) -> None:
        """Make this the current batch."""
        self._context = _current.set(self)
        self.active = True

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            # Whatever a middleware makes of it, the consumer has failed and hears of nothing any more.
            self.ended = True
        # A task that a handler started has a copy of the context: it must not find the batch active.
        self.active = False
        _current.reset(self._context)

    def __deepcopy__(self, memo: dict[int, Any]) -> Batch:
        # Middleware that copies its scope does not mean the connection.
        return self

    def release(self) -> None:
        """Let go of the consumer when the batch is over: what refers to each other waits for the collector."""
        self._released = True
        self.consumer = None
        self._base_scope = None

    # To the application -------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next message (the ASGI callable). Raises EndOfBatch."""
        message = next(self._client_messages, None)
        if message is None:
            raise EndOfBatch
        return message

    def messages(self) -> Iterator[Message]:
        """All messages in the order of handling: mail, then those of the client, after each the events it led to."""
        yield from self.own_events()
        for message in self._client_messages:
            yield message
            if self._own_events:
                yield from self.own_events()

    def own_events(self) -> Iterator[Message]:
        """The events that were sent to this very connection, as they come.

        Instructions of its mail are carried out on the way. Raises StopConsumer or HandlerFailed where a handler that
        ran once for all members has ended so.
        """
        # Once it has closed, a server would have nothing but the end to report.
        while self._own_events and self.exchange.state is not State.CLOSING:
            found, self._generation = self._own_events.popleft()
            if self._generation and not self._chain_began:
                self._chain_began = monotonic()
            message = self._carry_out(found) if isinstance(found, Entry) else found
            if message is not None:
                yield message

    def takes_own(self) -> bool:
        """Whether this batch handles another event that the connection sends to itself; if not, it has to go by mail.

        A handler that always sends the next one would never let it be answered: the client would get nothing, and would
        not be heard. Mail comes with another batch, but none comes before the connection is accepted.
        """
        if self.exchange.state is State.CONNECTING:
            return True
        if self._generation >= _CHAIN_MAX or (self._generation and monotonic() - self._chain_began >= _CHAIN_SECONDS):
            self.mailed = True
        return not self.mailed

    def deliver(self, message: Message, *, follows: bool = True) -> None:
        """Queue an event for this very connection; it is handled when the current handler has returned.

        `follows`: that handler has sent it.
        """
        self._own_events.append((message, self._generation + 1 if follows else 0))

    def post(self, entry: Entry) -> None:
        """Queue an entry of this connection's mail."""
        self._own_events.append((entry, 0))

    def _carry_out(self, entry: Entry) -> Message | None:
        if isinstance(entry, (Event, Frames)) and entry.group is not None and entry.group not in self.groups:
            return None
        if isinstance(entry, Event):
            if entry.copy_of is not None:
                self.copied.add(entry.copy_of)
                if entry.copy_of not in self.groups:
                    # It was to join from elsewhere, but could not.
                    return None
            return entry.message
        if isinstance(entry, Frames):
            self._send_frames(entry)
        elif isinstance(entry, Join):
            self._join_for_somebody(entry)
        elif isinstance(entry, Discard):
            self.leave(entry.group)
        elif isinstance(entry, Shut):
            self.emit({"type": "websocket.close", "code": entry.code, "reason": entry.reason})
        return None

    def _send_frames(self, entry: Frames) -> None:
        for content in entry.frames:
            self.emit({"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content})
        if entry.shut is not None:
            self.emit({"type": "websocket.close", "code": entry.shut[0], "reason": entry.shut[1]})
        if entry.outcome == Outcome.FAILED:
            raise HandlerFailed(self.consumer_name)
        if entry.outcome == Outcome.STOPPED:
            raise StopConsumer

    def _join_for_somebody(self, entry: Join) -> None:
        try:
            self.join(entry.group, entry.cursor)
        except SubscriptionLimitExceeded as error:
            # Whoever asked for it is far away, and this connection has done nothing wrong.
            logger.error("%s was to be added to a group from elsewhere: %s", self.consumer_name, error)

    def _read(self) -> Iterator[Message]:
        event = None
        while (following := self.exchange.next_event()) is not None:
            event = following
            if self.revoked and not isinstance(event, (Close, Disconnect)):
                continue
            self._generation, self._chain_began = 0, 0.0
            yield to_asgi(event)
        if self.revoked:
            self.exchange.close(_SESSION_GONE)
        if self.exchange.state is State.CONNECTING:
            self._refuse_undecided()
        if self.exchange.state is State.REJECTED and not isinstance(event, (Close, Disconnect)):
            # Nobody is going to report this end; that of an accepted connection comes with another batch.
            yield disconnect(VANISHED)

    def _refuse_undecided(self) -> None:
        logger.warning(
            "%s neither accepted nor closed the connection to %s before connect() returned. It is refused: no "
            "process is left that could accept it later. %s",
            self.consumer_name or "The application",
            self.request.path,
            advise("late-accept"),
        )
        self.emit({"type": "websocket.close"})

    # From the application -----------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take one message (the ASGI callable). Raises as `emit`."""
        self.emit(message)

    def emit(self, message: Message) -> None:
        """Take one ASGI message from the application.

        Raises ValueError for one of an unknown type, LocalProtocolError for one that is not allowed now, RuntimeError
        when the batch has been answered.
        """
        if self._released:
            runner, rule = left_running()
            raise RuntimeError(
                f"{self.consumer_name} has sent {message['type']!r} after its batch was answered, from {runner} that a "
                f"handler left running. {advise(rule)}"
            )
        self.note_slowness()
        kind = message["type"]
        if kind == "websocket.send":
            self._send_frame(message)
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._close(message)
        elif kind == "websocket.http.response.start":
            self._denial = {"status": message["status"], "headers": message.get("headers") or (), "body": b""}
        elif kind == "websocket.http.response.body":
            self._deny(message)
        else:
            raise ValueError(f"Expected a message that a WebSocket application can send; got the type {kind!r}.")

    def note_slowness(self, place: str = "") -> None:
        """Warn, once, if the handlers take long: what they have sent is waiting for them to return."""
        if monotonic() >= self.slow_after:
            self.slow_after = math.inf
            what = f"has been handling messages for seconds{place}, while nothing that it sends reaches its client"
            warn_once("sleeping-loop", self.consumer_name, what)

    def _send_frame(self, message: Message) -> None:
        text, data = payload(message)
        if text is None:
            self.exchange.send_binary(data)
        else:
            self.exchange.send_text(text)

    def _accept(self, message: Message) -> None:
        if self.exchange.state is not State.CONNECTING:
            name = self.exchange.state.name
            raise LocalProtocolError(f"cannot accept in state {name}: connect() has returned. {advise('late-accept')}")
        self.exchange.accept(subprotocol=message.get("subprotocol"), headers=message.get("headers") or ())
        self.exchange.set_user(self.user)
        for group in self.groups:
            self._subscribe(group)
        if self.channel_name and self.settings.subscription_limit:
            # Last: what comes by it shows that the others are there.
            self.exchange.subscribe(private_channel(self.settings.prefix, self.channel_name))
            self.inbox.unproven = milliseconds()
        if self.settings.heartbeat:
            # By the proxy itself, to the client alone.
            self.exchange.send_control(keep_alive(timeout=self.settings.heartbeat))

    def _close(self, message: Message) -> None:
        code, reason = closing(message)
        if self.exchange.state is State.CONNECTING:
            self.refused_with = code
        self.exchange.close(code, reason)

    def _deny(self, message: Message) -> None:
        if not self._denial:
            raise ValueError("A 'websocket.http.response.body' must follow a 'websocket.http.response.start'.")
        self._denial["body"] += message.get("body", b"")
        if not message.get("more_body"):
            self.exchange.reject(**self._denial)

    # Groups -------------------------------------------------------------------------------------------------

    def can_join(self, group: str) -> None:
        """Raises SubscriptionLimitExceeded if it is one group too many. Joining again is no joining."""
        limit = self.settings.subscription_limit
        if group not in self.groups and len(self.groups) + 1 + _BESIDE_GROUPS > limit:
            raise SubscriptionLimitExceeded(group, limit)

    def join(self, group: str, cursor: int) -> None:
        """Make this connection a member of `group`, whose log it reads behind `cursor`. Raises as `can_join`."""
        self.can_join(group)
        self.joins.add(group)
        self.inbox.joined[group] = milliseconds()
        if group in self.groups:
            return
        self.groups[group] = cursor
        self.inbox.left.pop(group, None)
        self._make_room()
        if self.exchange.state is State.OPEN:
            self._subscribe(group)

    def leave(self, group: str) -> None:
        """End the membership, if there is one. Senders leave the connection out as soon as it is listed as leaving."""
        if group not in self.groups:
            return
        del self.groups[group]
        self.joins.discard(group)
        self.inbox.joined.pop(group, None)
        if self.exchange.state is State.OPEN:
            # Pushpin looks at a subscription's filter when it sends, which can be a while after it took the publish:
            # were the subscription gone by then, the message would pass.
            self.inbox.left[group] = milliseconds()

    def unsubscribe(self, group: str) -> None:
        """End the subscription to the channel of a group that was left."""
        del self.inbox.left[group]
        self.exchange.unsubscribe(self._grip_channel(group))

    def _make_room(self) -> None:
        """The proxy counts the groups that were left, too."""
        left = self.inbox.left
        while left and len(self.groups) + len(left) + _BESIDE_GROUPS > self.settings.subscription_limit:
            self.unsubscribe(next(iter(left)))

    @property
    def can_skip(self) -> bool:
        """Whether the proxy can leave out named connections from a publish."""
        return f"filter:{SKIP_USERS}" in self.request.features

    def _subscribe(self, group: str) -> None:
        self.exchange.subscribe(self._grip_channel(group), (SKIP_USERS,) if self.can_skip else ())

    def _grip_channel(self, group: str) -> str:
        return group_channel(self.settings.prefix, group, self.consumer_name)


# A consumer that keeps a copy of its scope keeps it without the batch that it came with.
register(Batch, 48, lambda batch: None, lambda _: None)
