"""Control messages: what a backend says to the proxy inside the stream of messages to the client.

They travel as TEXT events whose content starts with `c:`, and work once the response that accepted the
connection said `Sec-WebSocket-Extensions: grip` (GRIP, "WebSockets"). Each function returns such content. One
message must fit into one frame, so the proxy drops what is longer than 16,384 bytes: here that is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from .checks import check_utf8, check_whole
from .errors import LocalProtocolError

__all__ = [
    "CONTROL_MESSAGE_MAX",
    "CONTROL_PREFIX",
    "MESSAGE_PREFIX",
    "check_channel",
    "detach",
    "keep_alive",
    "send_delayed",
    "set_meta",
    "subscribe",
    "unsubscribe",
]

#: What the content of a message to the client starts with; the proxy takes it off.
MESSAGE_PREFIX = b"m:"
#: What the content of a message to the proxy starts with.
CONTROL_PREFIX = b"c:"
#: Bytes of a control message, prefix included: Pushpin's FRAME_SIZE_MAX.
CONTROL_MESSAGE_MAX = 16_384

MessageType: TypeAlias = Literal["text", "ping", "pong"]

_has_control = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def check_channel(channel: str) -> str:
    """Return `channel` if it can name a channel: text of one or more characters, none of them a control.

    Raises:
        LocalProtocolError: it cannot.
    """
    return _plain(channel, "a channel name")


def subscribe(channel: str, filters: Sequence[str] = ()) -> bytes:
    """Add the connection to `channel`: what is published there reaches it, unless one of `filters` objects.

    Raises:
        LocalProtocolError: a name is empty or contains a control character, or the message is too long.
    """
    message: dict[str, object] = {"type": "subscribe", "channel": check_channel(channel)}
    if isinstance(filters, str):
        msg = f"expected a sequence of filter names, got the str {filters!r:.60}"
        raise LocalProtocolError(msg)
    if filters:
        message["filters"] = [_plain(name, "a filter name") for name in filters]
    return _message(message)


def unsubscribe(channel: str) -> bytes:
    """Take the connection out of `channel`. Raises as `subscribe`."""
    return _message({"type": "unsubscribe", "channel": check_channel(channel)})


def detach() -> bytes:
    """Keep the connection, but forward nothing from the client any more: only publishing reaches it then."""
    return _message({"type": "detach"})


def set_meta(name: str, value: str) -> bytes:
    """Set what the filters of a subscription compare: `user` for skip-self and skip-users.

    Not to be confused with the response header `Set-Meta-NAME`, which keeps a value for the backend.

    Raises:
        LocalProtocolError: the name is empty, a text holds a control character, or the message is too long.
    """
    return _message(
        {
            "type": "set-meta",
            "name": _plain(name, "a meta name"),
            "value": _plain(value, "a meta value") if value != "" else "",
        }
    )


def keep_alive(
    content: str = "",
    *,
    timeout: int,
    message_type: MessageType = "pong",
    mode: Literal["idle", "interval"] = "idle",
) -> bytes:
    """Have the proxy itself send `content` whenever nothing went to the client for `timeout` seconds.

    A `pong` needs no answer. A `ping` draws one, which becomes a request to the backend.

    Args:
        content: what the message carries.
        timeout: seconds; the proxy may send up to one second earlier.
        message_type: what kind of message it is.
        mode: "interval" sends it every `timeout` seconds, whatever else goes to the client.

    Raises:
        LocalProtocolError: the timeout is not positive, type or mode is unknown, or the message is too long.
    """
    message = _timed("keep-alive", content, timeout, message_type)
    if mode not in {"idle", "interval"}:
        msg = f"expected the mode idle or interval, got {mode!r}"
        raise LocalProtocolError(msg)
    return _message(message if mode == "idle" else {**message, "mode": mode})


def send_delayed(content: str = "", *, timeout: int, message_type: MessageType = "text") -> bytes:
    """Have the proxy itself send `content` once, after `timeout` seconds.

    A connection has one such message: what another one asks for sends the first at once.

    Raises:
        LocalProtocolError: as `keep_alive`.
    """
    return _message(_timed("send-delayed", content, timeout, message_type))


def _timed(kind: str, content: str, timeout: int, message_type: str) -> dict[str, object]:
    check_whole(timeout, "a timeout in seconds", 1)
    if message_type not in {"text", "ping", "pong"}:
        msg = f"expected the message type text, ping or pong, got {message_type!r}"
        raise LocalProtocolError(msg)
    return {"type": kind, "message-type": message_type, "content": content, "timeout": timeout}


def _plain(text: object, what: str) -> str:
    if not isinstance(text, str) or not text or _has_control(text):
        msg = f"expected {what} of one or more characters without controls, got {text!r:.60}"
        raise LocalProtocolError(msg)
    check_utf8(text, what)
    return text


def _message(message: dict[str, object]) -> bytes:
    what = f"a {message['type']} message"
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    content = CONTROL_PREFIX + check_utf8(text, what)
    if len(content) > CONTROL_MESSAGE_MAX:
        msg = f"expected {what} of at most {CONTROL_MESSAGE_MAX} bytes, got {len(content)}"
        raise LocalProtocolError(msg)
    return content
