"""WebSockets to an ASGI application (`channels.testing.websocket`)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlparse

from grip_consumers.types import ASGIApplication, Message

from .application import ApplicationCommunicator, require

__all__ = ["WebsocketCommunicator", "frame_of", "handshake_scope", "require_input", "text_of_json", "to_frame"]


def handshake_scope(
    path: str, headers: Iterable[tuple[bytes, bytes]] | None, subprotocols: list[str] | None, spec_version: Any
) -> dict[str, Any]:
    """The scope of a communicator, which a test may add to. Raises TypeError for a path that is no text."""
    if not isinstance(path, str):
        raise TypeError(f"Expected str, got {type(path)}")
    parsed = urlparse(path)
    scope = {
        "type": "websocket",
        "path": unquote(parsed.path),
        "query_string": parsed.query.encode("utf-8"),
        "headers": headers or [],
        "subprotocols": subprotocols or [],
    }
    return {**scope, "spec_version": spec_version} if spec_version else scope


def to_frame(text_data: str | None, bytes_data: bytes | None) -> Message:
    """The message that brings a frame. Raises AssertionError unless exactly one of the two has content."""
    require(bool(text_data) != bool(bytes_data), "You must supply exactly one of text_data or bytes_data")
    if text_data:
        require(isinstance(text_data, str), "The text_data argument must be a str")
        return {"type": "websocket.receive", "text": text_data}
    require(isinstance(bytes_data, bytes), "The bytes_data argument must be bytes")
    return {"type": "websocket.receive", "bytes": bytes_data}


def require_input(message: Message, *kinds: str) -> None:
    """Raise ValueError for what no client does, as `kinds` list it; for a frame without content, too."""
    kind = message.get("type")
    content = message.get("bytes") if message.get("text") is None else message["text"]
    if kind not in kinds or (kind == "websocket.receive" and not isinstance(content, (str, bytes))):
        raise ValueError(
            f"Expected what a client does now, {' or '.join(kinds)}, with text or bytes in a frame; got {message!r}. "
            "A handler of another type is called when something is sent by the channel layer."
        )


def frame_of(message: Message) -> str | bytes:
    """The content of a frame. Raises AssertionError for any other message."""
    require(message["type"] == "websocket.send", f"Expected type 'websocket.send', but was '{message['type']}'")
    require(("text" in message) != ("bytes" in message), "The response needs exactly one of 'text' or 'bytes'")
    if "text" in message:
        text: str = message["text"]
        require(isinstance(text, str), f"Text frame payload is not str, it is {type(text)}")
        return text
    data: bytes = message["bytes"]
    require(isinstance(data, bytes), f"Binary frame payload is not bytes, it is {type(data)}")
    return data


def text_of_json(payload: str | bytes) -> Any:
    """What a text frame holds as JSON. Raises AssertionError for a binary one."""
    require(isinstance(payload, str), f"JSON data is not a text frame, it is {type(payload)}")
    return json.loads(payload)


class WebsocketCommunicator(ApplicationCommunicator):
    """One WebSocket, whose application lives as long as it does.

    Args:
        application: the ASGI application: a consumer's `as_asgi()`, a router, middleware around them.
        path: with the query string, if there is one.
        headers: of the handshake: pairs of bytes, names in lower case.
        subprotocols: that the client offers.
        spec_version: a `spec_version` for the scope.

    Attributes:
        scope: may be added to before `connect`: `communicator.scope["user"] = …`.
        response_headers: the headers that came with the accept; None before.
    """

    def __init__(
        self,
        application: ASGIApplication,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
        subprotocols: list[str] | None = None,
        spec_version: Any = None,
    ) -> None:
        self.scope = handshake_scope(path, headers, subprotocols, spec_version)
        super().__init__(application, self.scope)  # type: ignore[no-untyped-call]
        self.response_headers: list[tuple[bytes, bytes]] | None = None

    async def connect(self, timeout: float = 1) -> tuple[bool, Any]:
        """Open the connection: (True, the chosen subprotocol or None), or (False, the close code) if it is refused."""
        await self.send_input({"type": "websocket.connect"})
        response = await self.receive_output(timeout)
        if response["type"] == "websocket.close":
            return (False, response.get("code", 1000))
        require(response["type"] == "websocket.accept", f"Expected an accept or a close, got {response!r}")
        self.response_headers = response.get("headers", [])
        return (True, response.get("subprotocol", None))

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one frame. Raises AssertionError unless exactly one of the two has content."""
        await self.send_input(to_frame(text_data, bytes_data))

    async def send_json_to(self, data: Any) -> None:
        """Send one text frame with `data` as JSON."""
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """Return the content of the next frame. Raises AssertionError if the connection is closed instead."""
        return frame_of(await self.receive_output(timeout))

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """Return what the next frame, a text frame, holds as JSON."""
        return text_of_json(await self.receive_from(timeout))

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        """Close the connection as its client, and wait for the application to end."""
        await self.send_input({"type": "websocket.disconnect", "code": code})
        await self.wait(timeout)  # type: ignore[no-untyped-call]
