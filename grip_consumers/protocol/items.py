"""Publish items: what a backend posts to a proxy's control port to reach the connections of a channel.

An item names a channel and what its WebSocket subscribers get: a message, a ping, a close, or a refresh, which
makes the proxy ask the backend once for every member (Pushpin 1.38 and later; 1.36 refuses it).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .checks import check_bytes, check_close, check_utf8
from .control import check_channel
from .errors import LocalProtocolError

__all__ = [
    "PUBLISH_MAX",
    "BinaryMessage",
    "CloseAction",
    "Item",
    "PingMessage",
    "RefreshAction",
    "TextMessage",
    "encode_publish",
]

#: Bytes that the body of one publish request may have.
PUBLISH_MAX = 1_000_000
#: RFC 6455 §5.5: bytes that a control frame carries.
_PING_MAX = 125


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A text message to every subscriber. Raises LocalProtocolError for text that UTF-8 cannot encode."""

    content: str

    def __post_init__(self) -> None:
        check_utf8(self.content, "text")

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"content": …}`."""
        return {"content": self.content}


@dataclass(frozen=True, slots=True)
class BinaryMessage:
    """A binary message to every subscriber."""

    content: bytes

    def __post_init__(self) -> None:
        check_bytes(self.content, "content")

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"content-bin": …}` in base64."""
        return {"content-bin": b64encode(self.content).decode("ascii")}


@dataclass(frozen=True, slots=True)
class CloseAction:
    """Close every subscriber's connection. Raises LocalProtocolError as `events.Close` does."""

    code: int = 1000
    reason: str = ""

    def __post_init__(self) -> None:
        check_close(self.code, self.reason)

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"action": "close", "code": …}` and a reason if there is one."""
        action: dict[str, Any] = {"action": "close", "code": int(self.code)}
        if self.reason:
            action["reason"] = self.reason
        return action


@dataclass(frozen=True, slots=True)
class PingMessage:
    """Ping the subscribers (RFC 6455 §5.5.2), who answer by themselves: each answer makes a batch.

    Args:
        data: at most 125 bytes, ASCII.

    Raises:
        LocalProtocolError: it is something else.
    """

    data: bytes = b""

    def __post_init__(self) -> None:
        check_bytes(self.data, "the data of a ping", _PING_MAX)
        if not self.data.isascii():
            msg = f"expected ASCII as the data of a ping, got {self.data!r:.60}"
            raise LocalProtocolError(msg)

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"type": "ping", "content": …}`. Pushpin sends none without content."""
        return {"type": "ping", "content": self.data.decode("ascii")}


@dataclass(frozen=True, slots=True)
class RefreshAction:
    """Have the proxy send the backend a batch for every subscriber."""

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"action": "refresh"}`."""
        return {"action": "refresh"}


def _check_message(message: object) -> None:
    if not isinstance(message, (TextMessage, BinaryMessage, CloseAction, PingMessage, RefreshAction)):
        msg = f"expected a message or an action, got {type(message).__name__}"
        raise LocalProtocolError(msg)


@dataclass(frozen=True, slots=True)
class Item:
    """One message to one channel.

    Args:
        channel: the channel's name, without control characters.
        message: what subscribers get.
        id: an identifier, by which a proxy delivers a repeated item once (for 60 s).
        prev_id: the identifier of the item before, for subscribers that must not miss one.
        meta: what filters compare, such as `{"skip_users": "a,b"}`.

    Raises:
        LocalProtocolError: a value is of another type or cannot be sent.
    """

    channel: str
    message: TextMessage | BinaryMessage | CloseAction | PingMessage | RefreshAction
    id: str | None = None
    prev_id: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_channel(self.channel)
        _check_message(self.message)
        for what, value in (("an id", self.id), ("a previous id", self.prev_id)):
            if value is not None:
                check_utf8(value, what)
        for name, value in self.meta.items():
            check_utf8(name, "a meta name")
            check_utf8(value, f"the meta value of {name}")

    def as_dict(self) -> dict[str, Any]:
        """The item as the control port's JSON has it."""
        item: dict[str, Any] = {"channel": self.channel, "formats": {"ws-message": self.message.as_dict()}}
        if self.id is not None:
            item["id"] = self.id
        if self.prev_id is not None:
            item["prev-id"] = self.prev_id
        if self.meta:
            item["meta"] = dict(self.meta)
        return item


def encode_publish(items: Iterable[Item]) -> bytes:
    """Return the body of `POST …/publish/` with `items`, in order. The sender minds PUBLISH_MAX."""
    body = {"items": [item.as_dict() for item in items]}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
