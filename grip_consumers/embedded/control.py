"""The publish endpoint: `POST {control_path}/publish/` with `{"items": […]}`, as Pushpin's control port has
it.

Unlike that port it stands in the open, beside the project's pages, so every request must carry a token: HS256
with the signing key, `iss` the embedded proxy's, and an `exp` that has not passed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import jwt

from grip_consumers.protocol import PUBLISH_MAX

from .effects import CloseClient, PingClient, Refresh, Send
from .handshake import Header
from .hub import Hub, Item, Published

__all__ = ["ControlError", "answer", "authenticate", "read_items"]

#: Close codes that a close frame may carry (RFC 6455 §7.4).
_WIRE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
#: RFC 6455 §5.5: a control frame carries 125 bytes, two of which are the code.
_REASON_BYTES = 123


class ControlError(Exception):
    """The request is answered with `status` and this text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def answer(hub: Hub, body: bytes) -> tuple[int, str]:
    """Publish the items of an authenticated request and return status and text. Raises ControlError."""
    if len(body) > PUBLISH_MAX:
        raise ControlError(413, f"Body too large: expected at most {PUBLISH_MAX} bytes, got {len(body)}.")
    for item in read_items(body):
        hub.publish(item)
    return 200, "Published"


def authenticate(headers: list[Header], key: bytes, issuer: str) -> None:
    """Raise ControlError(401) unless the request carries a valid Bearer token."""
    values = [value for name, value in headers if name == b"authorization"]
    scheme, _, token = (values[0] if len(values) == 1 else b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise ControlError(401, "Expected one Authorization header with a Bearer token.")
    try:
        # PyJWT compares signatures in constant time.
        jwt.decode(token, key, algorithms=["HS256"], issuer=issuer, options={"require": ["exp", "iss"]})
    except jwt.InvalidTokenError as error:
        raise ControlError(
            401,
            f"Expected a Bearer token of this project ({error}). Do both processes have the same SECRET_KEY?",
        ) from None


def read_items(body: bytes) -> list[Item]:
    """Return the items of a publish request; if one of them is malformed, ControlError(400) says why.

    Items without the format `ws-message` are for other transports and left out.
    """
    try:
        document = json.loads(body)
    except ValueError:
        raise ControlError(400, "Body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("expected an object", document)
    entries = _typed(document, "items", list)
    return [item for item in map(_read_item, entries) if item is not None]


def _invalid(expected: str, got: object) -> ControlError:
    return ControlError(400, f"Invalid format: {expected}, got {got!r:.80}.")


def _typed(holder: Mapping[str, Any], name: str, kind: type) -> Any:
    if name not in holder:
        raise ControlError(400, f"Invalid format: object does not contain {name!r}.")
    if not isinstance(holder[name], kind):
        raise _invalid(f"expected {name!r} of type {kind.__name__}", holder[name])
    return holder[name]


def _optional(holder: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    return default if holder.get(name) is None else _typed(holder, name, kind)


def _read_item(entry: object) -> Item | None:
    if not isinstance(entry, dict):
        raise _invalid("expected items to be objects", entry)
    channel = _typed(entry, "channel", str)
    meta = _optional(entry, "meta", dict, {})
    for name in meta:
        _typed(meta, name, str)
    identifier = _optional(entry, "id", str, None)
    formats = _typed(entry, "formats", dict)
    if not formats:
        raise ControlError(400, "Invalid format: no formats specified.")
    if "ws-message" not in formats:
        return None
    return Item(channel, _read_message(_typed(formats, "ws-message", dict)), identifier, meta)


def _read_message(message: Mapping[str, Any]) -> Published:
    action = _optional(message, "action", str, "send")
    if action == "refresh":
        return Refresh()
    if action == "close":
        return _read_close(message)
    if action != "send":
        raise _invalid("expected the action send, close or refresh", action)
    if "content-bin" in message:
        return Send(_from_base64(_typed(message, "content-bin", str)))
    if "content" not in message:
        raise ControlError(400, "Invalid format: 'ws-message' does not contain 'content' or 'content-bin'.")
    content = _typed(message, "content", str)
    return PingClient(content.encode()) if message.get("type") == "ping" else Send(content)


def _read_close(message: Mapping[str, Any]) -> CloseClient:
    code = _optional(message, "code", int, 1000)
    reason = _optional(message, "reason", str, "")
    if code not in _WIRE_CODES:
        raise _invalid("expected a close code that a frame may carry", code)
    if len(reason.encode("utf-8", "replace")) > _REASON_BYTES:
        raise _invalid(f"expected a reason of at most {_REASON_BYTES} bytes", reason)
    return CloseClient(code, reason)


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _invalid("expected 'content-bin' in base64", text) from None
