"""Between the events of WebSocket-over-HTTP and the messages of ASGI (asgiref.readthedocs.io, "WebSocket")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grip_consumers.protocol import Binary, Close, Disconnect, Event, Open, Text
from grip_consumers.types import Message

__all__ = ["NORMAL", "NO_CODE", "VANISHED", "closing", "disconnect", "get_handler_name", "payload", "to_asgi"]

#: RFC 6455 §7.4.1: what a close is sent with unless it names another code.
NORMAL = 1000
#: RFC 6455 §7.4.1: what a close without a code, and a connection that went without a close, are reported as.
NO_CODE = 1005
VANISHED = 1006


def to_asgi(event: Event) -> Message:
    """The message that an ASGI server would have sent for `event`.

    Pings and pongs are answered before they get here: for them there is none, and KeyError says so.
    """
    return _MESSAGES[type(event)](event)


def disconnect(code: int, reason: str = "") -> Message:
    """The message that ends a connection, with the close code and reason that the application sees."""
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


#: By type: asking for one after the other would cost more than the message.
_MESSAGES: dict[type[Event], Callable[[Any], Message]] = {
    Text: lambda event: {"type": "websocket.receive", "text": event.text},
    Binary: lambda event: {"type": "websocket.receive", "bytes": event.data},
    Open: lambda event: {"type": "websocket.connect"},
    Close: lambda event: disconnect(NO_CODE if event.code is None else event.code, event.reason),
    Disconnect: lambda event: disconnect(VANISHED),
}


def payload(message: Message) -> tuple[Any, Any]:
    """The text and the bytes of a `websocket.send`, one of them None or to be ignored: if there is text, it counts.

    Raises ValueError if both are None; their types are for the protocol to check.
    """
    text, data = message.get("text"), message.get("bytes")
    if text is None and data is None:
        raise ValueError("A message of type 'websocket.send' needs 'text' or 'bytes'; got neither.")
    return text, data


def closing(message: Message) -> tuple[int, str]:
    """The code and the reason of a `websocket.close`, which may leave out either."""
    code = message.get("code")
    return NORMAL if code is None else code, message.get("reason") or ""


def get_handler_name(message: Any) -> str:
    """The method that handles `message`: its type with dots turned into underscores.

    Raises ValueError, worded as channels.consumer.get_handler_name, without a type or for one that names a
    private method.
    """
    if "type" not in message:
        raise ValueError("Incoming message has no 'type' attribute")
    name: str = message["type"].replace(".", "_")
    if name.startswith("_"):
        raise ValueError("Malformed type in message (leading underscore)")
    return name
