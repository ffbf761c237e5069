"""Control messages of one connection (GRIP, "WebSockets"): what they ask for, and what they change."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable
from typing import Any

from .effects import Delay, Effect, FlushDelayed, KeepAliveMessage, PingClient, Send, Subscribe, Unsubscribe

__all__ = ["Grip"]

logger = logging.getLogger("grip_consumers.embedded")

_FILTERS = frozenset({"skip-self", "skip-users"})


class _MalformedError(ValueError):
    """A control message is not what GRIP describes."""


class Grip:
    """What a backend's control messages have set up for one connection.

    Attributes:
        channels: names of the subscribed channels.
        meta: values of `set-meta`; `user` is what the filters compare.
        detached: whether the client's messages are no longer passed on.
    """

    def __init__(self, subscription_limit: int) -> None:
        self.channels: set[str] = set()
        self.meta: dict[str, str] = {}
        self.detached = False
        self._limit = subscription_limit

    def control(self, text: str) -> list[Effect]:
        """Carry out one control message (JSON, without the `c:`); a malformed one is logged and ignored."""
        try:
            message = json.loads(text)
            kind = _text(message, "type") if isinstance(message, dict) else ""
            handler = self._handlers().get(kind)
            if handler is None:
                raise _MalformedError("expected an object whose type is a control message of GRIP")
            return handler(message)
        except ValueError as error:
            logger.warning("A control message is ignored: %s. It was %.200r.", error, text)
            return []

    def _handlers(self) -> dict[str, Callable[[dict[str, Any]], list[Effect]]]:
        return {
            "detach": self._detach,
            "flush-delayed": lambda message: [FlushDelayed()],
            "keep-alive": _keep_alive,
            "send-delayed": _send_delayed,
            "set-meta": self._set_meta,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
        }

    def _subscribe(self, message: dict[str, Any]) -> list[Effect]:
        channel = _text(message, "channel")
        filters = message.get("filters", [])
        if not isinstance(filters, list) or not all(isinstance(name, str) for name in filters):
            raise _MalformedError("expected filters to be a list of names")
        if channel not in self.channels and len(self.channels) >= self._limit:
            logger.warning("The subscription to %r is ignored: a connection has at most %d.", channel, self._limit)
            return []
        unknown = set(filters) - _FILTERS
        if unknown:
            logger.warning("Filters of %r that the embedded proxy lacks: %s.", channel, ", ".join(sorted(unknown)))
        self.channels.add(channel)
        return [Subscribe(channel, frozenset(filters))]

    def _unsubscribe(self, message: dict[str, Any]) -> list[Effect]:
        channel = _text(message, "channel")
        if channel not in self.channels:
            return []
        self.channels.discard(channel)
        return [Unsubscribe(channel)]

    def _set_meta(self, message: dict[str, Any]) -> list[Effect]:
        name = _text(message, "name")
        if message.get("value"):
            self.meta[name] = _text(message, "value")
        else:
            self.meta.pop(name, None)
        return []

    def _detach(self, message: dict[str, Any]) -> list[Effect]:
        self.detached = True
        return []


def _text(message: dict[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise _MalformedError(f"expected {name} to be a text, got {value!r:.60}")
    return value


def _seconds(message: dict[str, Any]) -> float:
    value = message.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise _MalformedError(f"expected timeout to be a number of seconds, got {value!r:.60}")
    return float(value)


def _sendable(message: dict[str, Any]) -> Send | PingClient | None:
    """Return the message that a control message describes; None for a PONG, which ASGI lacks and no client shows."""
    kind = message.get("message-type", "text")
    content = _content(message)
    if kind == "text":
        return Send(content.decode("utf-8", "replace"))
    if kind == "binary":
        return Send(content)
    if kind == "ping":
        return PingClient(content)
    if kind != "pong":
        raise _MalformedError(f"expected message-type text, binary, ping or pong, got {kind!r:.60}")
    return None


def _content(message: dict[str, Any]) -> bytes:
    name = "content-bin" if "content-bin" in message else "content"
    content = message.get(name, "")
    if not isinstance(content, str):
        raise _MalformedError(f"expected {name} to be a text, got {content!r:.60}")
    if name == "content":
        return content.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(content)
    except binascii.Error:
        raise _MalformedError(f"expected {name} to be base64, got {content!r:.60}") from None


def _send_delayed(message: dict[str, Any]) -> list[Effect]:
    seconds = _seconds(message)
    sendable = _sendable(message)
    return [Delay(sendable, seconds)] if sendable is not None else [FlushDelayed()]


def _keep_alive(message: dict[str, Any]) -> list[Effect]:
    seconds = _seconds(message)
    mode = message.get("mode", "")
    if not isinstance(mode, str):
        raise _MalformedError(f"expected mode to be a text, got {mode!r:.60}")
    # Without content there is no time-out for Pushpin either; a mode that it does not know is idle.
    asked = seconds and not message.keys().isdisjoint({"content", "content-bin"})
    return [KeepAliveMessage(_sendable(message) if asked else None, seconds, mode == "interval")]
