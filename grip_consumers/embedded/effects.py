"""What the embedded proxy does to a client: plain values, made without I/O and carried out by the glue."""

from __future__ import annotations

from dataclasses import dataclass

from .handshake import Header

__all__ = [
    "Accept",
    "CloseClient",
    "Delay",
    "Drop",
    "Effect",
    "End",
    "FlushDelayed",
    "KeepAliveMessage",
    "PingClient",
    "Refresh",
    "Reject",
    "Send",
    "Subscribe",
    "Unsubscribe",
]


class Effect:
    """Base of all effects."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Accept(Effect):
    """Complete the handshake."""

    subprotocol: str | None
    headers: list[Header]


@dataclass(frozen=True, slots=True)
class Reject(Effect):
    """Answer the handshake with an ordinary response."""

    status: int
    headers: list[Header]
    body: bytes


@dataclass(frozen=True, slots=True)
class Send(Effect):
    """Send one message to the client: text (str) or binary (bytes)."""

    content: str | bytes


@dataclass(frozen=True, slots=True)
class CloseClient(Effect):
    """Start the closing handshake; nothing is sent afterwards."""

    code: int = 1000
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drop(Effect):
    """End the connection without a close frame; the client sees 1006. `reason` is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refresh(Effect):
    """Make the next request even if the client says nothing."""


@dataclass(frozen=True, slots=True)
class PingClient(Effect):
    """Ping the client. An ASGI server offers no way to, so its answer is made up."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Subscribe(Effect):
    """Deliver what is published on `channel`, unless a filter objects."""

    channel: str
    filters: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unsubscribe(Effect):
    """Deliver nothing more from `channel`."""

    channel: str


@dataclass(frozen=True, slots=True)
class Delay(Effect):
    """Send `message` after `seconds` unless it is flushed before; one that waits already goes out now."""

    message: Send | PingClient
    seconds: float


@dataclass(frozen=True, slots=True)
class FlushDelayed(Effect):
    """Send the delayed message now, if there is one."""


@dataclass(frozen=True, slots=True)
class KeepAliveMessage(Effect):
    """Send `message` whenever nothing was sent for `seconds`, or as `interval` whatever was sent; None ends that."""

    message: Send | PingClient | None
    seconds: float
    interval: bool = False


@dataclass(frozen=True, slots=True)
class End(Effect):
    """Nothing more will follow: what was queued before is to be sent still."""
