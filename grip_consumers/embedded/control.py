"""The publish endpoint: `POST {control_path}/publish/` with `{"items": […]}`, as Pushpin's control port has
it.

Unlike that port it stands in the open, beside the project's pages, so every request must carry a token: HS256
with the signing key, `iss` the embedded proxy's, and an `exp` that has not passed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt

from grip_consumers.protocol import PUBLISH_MAX

from .effects import CloseClient, PingClient, Refresh, Send
from .handshake import Header
from .hub import Answer, Chunk, Close, Hint, Hub, Item, Published

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

    Items without a format known here are for other transports and left out.
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
    read: dict[str, Any] = {
        name: reader(_typed(formats, name, dict)) for name, reader in _READERS.items() if name in formats
    }
    if not read:
        return None
    return Item(
        channel,
        read.get("ws-message"),
        identifier,
        meta,
        _optional(entry, "prev-id", str, None),
        read.get("http-stream"),
        read.get("http-response"),
        not _optional(entry, "no-seq", bool, False),
    )


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


def _read_chunk(message: Mapping[str, Any]) -> Chunk | Close | Hint:
    action = _optional(message, "action", str, "send")
    if action == "close":
        return Close()
    if action == "hint":
        return Hint()
    if action != "send":
        raise _invalid("expected the action send, close or hint", action)
    content = _read_content(message, "http-stream", "content")
    return Chunk(content, _read_filters(message))


def _read_answer(message: Mapping[str, Any]) -> Answer | Hint:
    action = _optional(message, "action", str, "send")
    if action == "hint":
        return Hint()
    if action != "send":
        raise _invalid("expected the action send or hint", action)
    status = _optional(message, "code", int, 200)
    if not 100 <= status <= 999:
        raise _invalid("expected a code of three digits", status)
    reason = _optional(message, "reason", str, "")
    body = _read_content(message, "http-response", "body")
    return Answer(status, reason, _read_headers(message.get("headers")), body, _read_filters(message))


def _read_content(message: Mapping[str, Any], form: str, name: str) -> bytes:
    if f"{name}-bin" in message:
        return _from_base64(_typed(message, f"{name}-bin", str))
    if name not in message:
        raise ControlError(400, f"Invalid format: {form!r} does not contain {name!r} or '{name}-bin'.")
    content: str = _typed(message, name, str)
    return content.encode("utf-8", "replace")


def _read_filters(message: Mapping[str, Any]) -> tuple[str, ...] | None:
    filters = _optional(message, "content-filters", list, None)
    return None if filters is None else tuple(map(str, filters))


def _read_headers(given: object) -> list[Header]:
    pairs = list(given.items()) if isinstance(given, dict) else given or []
    if not isinstance(pairs, list):
        raise _invalid("expected headers as an object or a list", given)
    found: list[Header] = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(_is_header_text, pair)):
            raise _invalid("expected headers as pairs of a name and a value on one line", pair)
        found.append((pair[0].encode(), pair[1].encode()))
    return found


def _is_header_text(part: object) -> bool:
    return isinstance(part, str) and not any(control in part for control in "\r\n\0")


_READERS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "ws-message": _read_message,
    "http-stream": _read_chunk,
    "http-response": _read_answer,
}


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _invalid("expected 'content-bin' in base64", text) from None
