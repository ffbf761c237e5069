"""What is kept of one connection between its batches, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

import msgpack

__all__ = ["ConnectionState", "Inbox"]

_FORMAT = 4


@dataclass
class Inbox:
    """How far a connection has read its mail, and which way the proxy can be trusted with what is for it.

    Times are in milliseconds since the epoch.
    """

    #: The last position that was read in the connection's own log.
    cursor: int = 0
    #: When it joined the groups whose publishes may still pass it by.
    joined: dict[str, int] = field(default_factory=dict)
    #: When it left the groups to whose channels it is still subscribed.
    left: dict[str, int] = field(default_factory=dict)
    #: When it was accepted; 0 as soon as something came by its private channel.
    unproven: int = 0
    #: When a message was published to it that no response had room for; and when it was pinged. What is sent next
    #: waits for its pong, which shows that it has taken the one before.
    published: int = 0
    pinged: int = 0
    #: It left frames for itself in its outgoing log, behind this position.
    expecting: bool = False
    outgoing: int = 0
    #: It was closed from here, and its client's answer is all that can come.
    closing: bool = False
    #: When the consumer's tick is due; 0 if it has none.
    tick: int = 0
    #: The proxy was asked to ping the client at that time.
    prompted: bool = False

    def copy(self) -> Inbox:
        """One of its own."""
        # Written out: this is done for each batch, and copy.copy takes four times as long.
        rest = self.unproven, self.published, self.pinged, self.expecting, self.outgoing, self.closing
        return Inbox(self.cursor, dict(self.joined), dict(self.left), *rest, self.tick, self.prompted)

    def as_list(self) -> list[Any]:
        """The values in their order; none if it is a new one."""
        return [] if self == Inbox() else [getattr(self, value.name) for value in fields(self)]


@dataclass
class ConnectionState:
    """The parts stay encoded until somebody needs them: who never reads the scope never decodes it."""

    #: `module:qualified.name` of the consumer class.
    consumer: str
    #: The encoded keyword arguments of `as_asgi`; empty without any.
    initkwargs: bytes
    channel_name: str
    #: The groups it is a member of, in the order it joined them → the last position read in the group's log.
    groups: dict[str, int] = field(default_factory=dict)
    #: Some middleware wrapped receive or send: the application stack runs on each batch.
    stack_runs: bool = False
    #: The encoded attributes of the consumer; empty without any.
    attributes: bytes = b""
    #: The encoded additions to the scope; empty without any.
    scope: bytes = b""
    inbox: Inbox = field(default_factory=Inbox)

    def pack(self) -> bytes:
        """The state as bytes; equal states give equal bytes."""
        packed: bytes = msgpack.packb(
            [
                _FORMAT,
                self.consumer,
                self.initkwargs,
                self.channel_name,
                self.groups,
                self.stack_runs,
                self.attributes,
                self.scope,
                self.inbox.as_list(),
            ],
            # The names of groups are the project's own.
            unicode_errors="surrogatepass",
        )
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> ConnectionState:
        """Raises ValueError for a state of another format, as an older or newer release may have left it."""
        parts = msgpack.unpackb(data, unicode_errors="surrogatepass")
        if not isinstance(parts, list) or not parts:
            raise ValueError(f"expected a state of format {_FORMAT}, got a {type(parts).__name__}")
        found, *content = parts
        if found != _FORMAT:
            raise ValueError(f"expected a state of format {_FORMAT}, got one of format {found!r:.20}")
        inbox = content.pop() if content else None
        if [*map(type, content)] != _TYPES or not _is_inbox(inbox):
            raise ValueError(f"expected the {len(_TYPES) + 1} parts of a state of format {_FORMAT}, got other ones")
        state = cls(*content)
        state.inbox = Inbox(*inbox)
        return state


def _is_inbox(value: Any) -> TypeGuard[list[Any]]:
    return value == [] or (type(value) is list and [*map(type, value)] == _INBOX_TYPES)


_TYPES = [str, bytes, str, dict, bool, bytes, bytes]
_INBOX_TYPES = [int, dict, dict, int, int, int, bool, int, bool, int, bool]
