"""Publish items: what a backend posts to a proxy's control port to reach the connections of a channel.

An item names a channel and what its subscribers get, by the kind of their connection (the *format*):

    ws-message      WebSockets: a message, a ping, a close, or a refresh, which makes the proxy ask the backend once
                    for every member (Pushpin 1.38 and later; 1.36 refuses it)
    http-stream     responses held with `Grip-Hold: stream`: a chunk of the body, its end, or a hint
    http-response   requests held with `Grip-Hold: response`: the answer, or a hint

One item may carry one message of each format. (Source: Pushpin's "GRIP protocol" page.)
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from .checks import check_bytes, check_close, check_utf8, check_whole
from .control import check_channel
from .errors import LocalProtocolError
from .headers import check_token, check_tokens, check_value

__all__ = [
    "PUBLISH_MAX",
    "BinaryMessage",
    "CloseAction",
    "HeldResponse",
    "Item",
    "Message",
    "OtherMessage",
    "PingMessage",
    "RefreshAction",
    "ResponseHint",
    "StreamChunk",
    "StreamClose",
    "StreamHint",
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

    format: ClassVar[str] = "ws-message"

    content: str

    def __post_init__(self) -> None:
        check_utf8(self.content, "text")

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"content": …}`."""
        return {"content": self.content}


@dataclass(frozen=True, slots=True)
class BinaryMessage:
    """A binary message to every subscriber."""

    format: ClassVar[str] = "ws-message"

    content: bytes

    def __post_init__(self) -> None:
        check_bytes(self.content, "content")

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"content-bin": …}` in base64."""
        return {"content-bin": b64encode(self.content).decode("ascii")}


@dataclass(frozen=True, slots=True)
class CloseAction:
    """Close every subscriber's connection. Raises LocalProtocolError as `events.Close` does."""

    format: ClassVar[str] = "ws-message"

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

    format: ClassVar[str] = "ws-message"

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

    format: ClassVar[str] = "ws-message"

    def as_dict(self) -> dict[str, Any]:
        """The `ws-message` format: `{"action": "refresh"}`."""
        return {"action": "refresh"}


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of the body to every response held as a stream.

    Args:
        content: text, which goes out in UTF-8, or bytes.
        filters: names of content filters that the proxy applies to it for each subscriber, such as `build-id`.

    Raises:
        LocalProtocolError: the content is of another type or cannot be encoded, or a filter is no token.
    """

    format: ClassVar[str] = "http-stream"

    content: str | bytes
    filters: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_content(self.content)
        check_tokens(self.filters, "a filter name")

    def as_dict(self) -> dict[str, Any]:
        """The `http-stream` format: `{"content": …}`, or `{"content-bin": …}` in base64, and content filters."""
        return {**_text_or_base64("content", self.content), **_filtered(self.filters)}


@dataclass(frozen=True, slots=True)
class StreamClose:
    """End every response held as a stream."""

    format: ClassVar[str] = "http-stream"

    def as_dict(self) -> dict[str, Any]:
        """The `http-stream` format: `{"action": "close"}`."""
        return {"action": "close"}


@dataclass(frozen=True, slots=True)
class StreamHint:
    """Have the proxy ask the backend what is new, for every response held as a stream with a next link."""

    format: ClassVar[str] = "http-stream"

    def as_dict(self) -> dict[str, Any]:
        """The `http-stream` format: `{"action": "hint"}`."""
        return {"action": "hint"}


@dataclass(frozen=True, slots=True)
class ResponseHint:
    """Have the proxy ask the backend for the answer, for every request held for one."""

    format: ClassVar[str] = "http-response"

    def as_dict(self) -> dict[str, Any]:
        """The `http-response` format: `{"action": "hint"}`."""
        return {"action": "hint"}


@dataclass(frozen=True, slots=True)
class HeldResponse:
    """The answer to every request held for one.

    Args:
        code: the status, 200 to 599.
        reason: the reason phrase; empty for the usual one of the status.
        headers: pairs; without a Content-Length, which the proxy counts.
        body: text, which goes out in UTF-8, or bytes.
        filters: as with StreamChunk.

    Raises:
        LocalProtocolError: a value is of another type, out of range, or could not stand in a response.
    """

    format: ClassVar[str] = "http-response"

    code: int = 200
    reason: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: str | bytes = b""
    filters: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_whole(self.code, "a status", 200, 599)
        check_value(self.reason, "a reason phrase")
        for name, value in self.headers:
            check_token(name, "a header name")
            check_value(value, f"the value of {name}")
        _check_content(self.body)
        check_tokens(self.filters, "a filter name")

    def as_dict(self) -> dict[str, Any]:
        """The `http-response` format: code, reason, headers, `body` or `body-bin` in base64, and content filters."""
        response: dict[str, Any] = {"code": int(self.code)}
        if self.reason:
            response["reason"] = self.reason
        if self.headers:
            response["headers"] = [[name, value] for name, value in self.headers]
        return {**response, **_text_or_base64("body", self.body), **_filtered(self.filters)}


@dataclass(frozen=True)
class OtherMessage:
    """A message whose form somebody else has written, an instance of gripcontrol's formats for example.

    Args:
        format: the name of its format.
        content: what stands under that name, as JSON can say it.

    Raises:
        LocalProtocolError: the name is no token, or the content is no mapping that JSON can say.
    """

    format: str
    content: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_token(self.format, "the name of a format")
        try:
            json.dumps(dict(self.content), ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            msg = f"expected content of {self.format} that JSON can say, got {type(error).__name__}: {error!s:.120}"
            raise LocalProtocolError(msg) from None

    def as_dict(self) -> dict[str, Any]:
        """The content as it was given."""
        return dict(self.content)


def _check_content(content: object) -> None:
    if isinstance(content, str):
        check_utf8(content, "content")
    else:
        check_bytes(content, "content")


def _text_or_base64(key: str, content: str | bytes) -> dict[str, str]:
    if isinstance(content, str):
        return {key: content}
    return {f"{key}-bin": b64encode(content).decode("ascii")}


def _filtered(filters: Sequence[str]) -> dict[str, list[str]]:
    return {"content-filters": list(filters)} if filters else {}


#: What an item can carry.
Message: TypeAlias = (
    TextMessage
    | BinaryMessage
    | CloseAction
    | PingMessage
    | RefreshAction
    | StreamChunk
    | StreamClose
    | StreamHint
    | HeldResponse
    | ResponseHint
    | OtherMessage
)


def _check_messages(messages: Sequence[object]) -> None:
    formats: list[str] = []
    for message in messages:
        if not isinstance(message, Message):
            msg = f"expected a message or an action, got {type(message).__name__}"
            raise LocalProtocolError(msg)
        formats.append(message.format)
    if not formats or len(set(formats)) < len(formats):
        msg = f"expected one message, or several of different formats, got {', '.join(formats) or 'none'}"
        raise LocalProtocolError(msg)


@dataclass(frozen=True, slots=True)
class Item:
    """One message to one channel.

    Args:
        channel: the channel's name, without control characters.
        message: what subscribers get; a sequence for one message of each format.
        id: an identifier, by which a proxy delivers a repeated item once (for 60 s).
        prev_id: the identifier of the item before, for subscribers that must not miss one.
        meta: what filters compare, such as `{"skip_users": "a,b"}`.

    Raises:
        LocalProtocolError: a value is of another type or cannot be sent.
    """

    channel: str
    message: Message | Sequence[Message]
    id: str | None = None
    prev_id: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_channel(self.channel)
        _check_messages(self.messages)
        for what, value in (("an id", self.id), ("a previous id", self.prev_id)):
            if value is not None:
                check_utf8(value, what)
        for name, value in self.meta.items():
            check_utf8(name, "a meta name")
            check_utf8(value, f"the meta value of {name}")

    @property
    def messages(self) -> Sequence[Message]:
        """`message` as a sequence."""
        return self.message if isinstance(self.message, (list, tuple)) else (self.message,)

    def as_dict(self) -> dict[str, Any]:
        """The item as the control port's JSON has it."""
        formats = {message.format: message.as_dict() for message in self.messages}
        item: dict[str, Any] = {"channel": self.channel, "formats": formats}
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
