"""Control messages: what a backend says to the proxy inside the stream of messages to the client.

They travel as TEXT events whose content starts with `c:`, and work once the response that accepted the
connection said `Sec-WebSocket-Extensions: grip` (GRIP, "WebSockets"). Each function returns such content. One
message must fit into one frame, so the proxy drops what is longer than 16,384 bytes: here that is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Literal

from .checks import check_utf8, check_whole
from .errors import LocalProtocolError

__all__ = [
    "CONTROL_MESSAGE_MAX",
    "CONTROL_PREFIX",
    "MESSAGE_PREFIX",
    "check_channel",
    "detach",
    "keep_alive",
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
    message_type: Literal["text", "ping", "pong"] = "pong",
) -> bytes:
    """Have the proxy itself send `content` whenever the connection was idle for `timeout` seconds.

    A `pong` needs no answer. A `ping` draws one, which becomes a request to the backend.

    Raises:
        LocalProtocolError: the timeout is not positive, the type is unknown, or the message is too long.
    """
    check_whole(timeout, "a timeout in seconds", 1)
    if message_type not in {"text", "ping", "pong"}:
        msg = f"expected the message type text, ping or pong, got {message_type!r}"
        raise LocalProtocolError(msg)
    return _message({"type": "keep-alive", "message-type": message_type, "content": content, "timeout": timeout})


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
