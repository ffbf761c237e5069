"""The four WebSocket consumers (`channels.generic.websocket`).

Override ``connect``, ``receive`` (or ``receive_json``) and ``disconnect``; call ``accept``, ``send`` (or
``send_json``) and ``close``. In the async variants all of them are coroutines.

A batch of events arrives as one request, and one instance handles it; what is set on ``self`` is there again
for the next batch. ``accept`` has to be called before ``connect`` returns, since no process waits for a later
decision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from asgiref.sync import async_to_sync

from grip_consumers.consumer import AsyncConsumer, SyncConsumer
from grip_consumers.db import close_old_connections_if_used
from grip_consumers.exceptions import AcceptConnection, DenyConnection, InvalidChannelLayerError, StopConsumer, either

__all__ = [
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "JsonWebsocketConsumer",
    "WebsocketConsumer",
]

Headers = Iterable[tuple[bytes, bytes]]

_NO_GROUPS = "BACKEND is unconfigured or doesn't support groups"
_NO_TEXT = "No text section for incoming WebSocket frame!"


def _accept_message(subprotocol: str | None, headers: Headers | None) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol}
    return {**message, "headers": list(headers)} if headers else message


def _send_message(text_data: str | None, bytes_data: bytes | None) -> dict[str, Any]:
    if text_data is not None:
        return {"type": "websocket.send", "text": text_data}
    if bytes_data is not None:
        return {"type": "websocket.send", "bytes": bytes_data}
    raise ValueError("You must pass one of bytes_data or text_data")


def _close_message(code: int | bool | None, reason: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"type": "websocket.close"}
    # `send(…, close=True)` hands its flag on.
    if code is not None and code is not True:
        message["code"] = code
    return {**message, "reason": reason} if reason else message


def _frame(message: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``receive`` for one frame."""
    text = message.get("text")
    return {"bytes_data": message["bytes"]} if text is None else {"text_data": text}


def _group_function(layer: Any, name: str) -> Callable[[str, str], Any]:
    # A layer that has nothing to wait for says so by a plain method of this name, which saves an event loop
    # per call. Its class is asked: a mock has every attribute, but not as a plain method.
    if hasattr(type(layer), f"{name}_now"):
        return getattr(layer, f"{name}_now")  # type: ignore[no-any-return]
    return async_to_sync(getattr(layer, name))


class WebsocketConsumer(SyncConsumer):
    """A consumer of one WebSocket, with synchronous handlers.

    Attributes:
        groups: names of groups that the connection is in from before ``connect`` until it has ended; None on
            a class means none, and every instance has a list.
    """

    groups: list[str] = None  # type: ignore[assignment]  # never None on an instance

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.groups is None:
            self.groups = []  # type: ignore[unreachable]

    def websocket_connect(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.connect``: join the groups, then ``connect``.

        Raises:
            InvalidChannelLayerError: there are groups, but no channel layer that knows about groups.
        """
        self._for_each_group("group_add")
        try:
            self.connect()
        except either(AcceptConnection):
            self.accept()
        except either(DenyConnection):
            self.close()

    def connect(self) -> None:
        """Decide on a new connection: call ``accept`` or ``close``. Accepts unless overridden."""
        self.accept()

    def accept(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        """Accept the connection.

        Args:
            subprotocol: the one to use, out of ``self.scope["subprotocols"]``.
            headers: further headers of the handshake's response, as pairs of bytes.
        """
        super().send(_accept_message(subprotocol, headers))

    def websocket_receive(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.receive``: hand the frame's text or bytes to ``receive``."""
        self.receive(**_frame(message))

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle one frame; one of the two arguments is None."""

    def send(  # type: ignore[override]  # as in Channels, this one sends frames, not events
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send one frame: the text if there is one, else the bytes.

        Args:
            text_data: the text of a text frame.
            bytes_data: the content of a binary frame.
            close: True, or a close code, to close the connection behind it.

        Raises:
            ValueError: both are None.
        """
        super().send(_send_message(text_data, bytes_data))
        if close:
            self.close(close)

    def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the connection, or refuse it while it has not been accepted.

        Args:
            code: the close code (RFC 6455 §7.4); None and True leave it to the server: 1000.
            reason: a text for the client, of at most 123 bytes in UTF-8.
        """
        super().send(_close_message(code, reason))

    def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.disconnect``: leave the groups, ``disconnect``, and end the consumer.

        Raises:
            InvalidChannelLayerError: there are groups, but no channel layer that knows about groups.
            StopConsumer: always, otherwise.
        """
        self._for_each_group("group_discard")
        self.disconnect(message["code"])
        raise StopConsumer

    def disconnect(self, code: int) -> None:
        """Take note of the end of the connection, by whichever side; nothing can be sent any more."""

    def _for_each_group(self, name: str) -> None:
        try:
            for group in self.groups:
                _group_function(self.channel_layer, name)(group, self.channel_name)
        except AttributeError as error:
            raise InvalidChannelLayerError(_NO_GROUPS) from error


class JsonWebsocketConsumer(WebsocketConsumer):
    """A :class:`WebsocketConsumer` whose frames are JSON in text; others are an error."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode one frame and hand it to ``receive_json``, with further keyword arguments as they are.

        Raises:
            ValueError: the frame is empty or binary, or its text is not JSON.
        """
        if not text_data:
            raise ValueError(_NO_TEXT)
        self.receive_json(self.decode_json(text_data), **kwargs)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Handle the decoded content of one frame."""

    def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send a value as JSON; `close` is as in ``send``."""
        super().send(text_data=self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        """Turn the text of a frame into a value; override it for another encoding."""
        return json.loads(text_data)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        """Turn a value into the text of a frame; override it for another encoding."""
        return json.dumps(content)


class AsyncWebsocketConsumer(AsyncConsumer):
    """A consumer of one WebSocket, with asynchronous handlers.

    Attributes:
        groups: names of groups that the connection is in from before ``connect`` until it has ended; None on
            a class means none, and every instance has a list.
    """

    groups: list[str] = None  # type: ignore[assignment]  # never None on an instance

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.groups is None:
            self.groups = []  # type: ignore[unreachable]

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.connect``: join the groups, then ``connect``.

        Raises:
            InvalidChannelLayerError: there are groups, but no channel layer that knows about groups.
        """
        await self._for_each_group("group_add")
        try:
            await self.connect()
        except either(AcceptConnection):
            await self.accept()
        except either(DenyConnection):
            await self.close()

    async def connect(self) -> None:
        """Decide on a new connection: await ``accept`` or ``close``. Accepts unless overridden."""
        await self.accept()

    async def accept(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        """Accept the connection.

        Args:
            subprotocol: the one to use, out of ``self.scope["subprotocols"]``.
            headers: further headers of the handshake's response, as pairs of bytes.
        """
        await super().send(_accept_message(subprotocol, headers))

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.receive``: hand the frame's text or bytes to ``receive``."""
        await self.receive(**_frame(message))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle one frame; one of the two arguments is None."""

    async def send(  # type: ignore[override]  # as in Channels, this one sends frames, not events
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send one frame: the text if there is one, else the bytes.

        Args:
            text_data: the text of a text frame.
            bytes_data: the content of a binary frame.
            close: True, or a close code, to close the connection behind it.

        Raises:
            ValueError: both are None.
        """
        await super().send(_send_message(text_data, bytes_data))
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the connection, or refuse it while it has not been accepted.

        Args:
            code: the close code (RFC 6455 §7.4); None and True leave it to the server: 1000.
            reason: a text for the client, of at most 123 bytes in UTF-8.
        """
        await super().send(_close_message(code, reason))

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Handle ``websocket.disconnect``: leave the groups, ``disconnect``, and end the consumer.

        Raises:
            InvalidChannelLayerError: there are groups, but no channel layer that knows about groups.
            StopConsumer: always, otherwise.
        """
        await self._for_each_group("group_discard")
        await self.disconnect(message["code"])
        await close_old_connections_if_used()
        raise StopConsumer

    async def disconnect(self, code: int) -> None:
        """Take note of the end of the connection, by whichever side; nothing can be sent any more."""

    async def _for_each_group(self, name: str) -> None:
        try:
            for group in self.groups:
                await getattr(self.channel_layer, name)(group, self.channel_name)
        except AttributeError as error:
            raise InvalidChannelLayerError(_NO_GROUPS) from error


class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """An :class:`AsyncWebsocketConsumer` whose frames are JSON in text; others are an error."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode one frame and hand it to ``receive_json``, with further keyword arguments as they are.

        Raises:
            ValueError: the frame is empty or binary, or its text is not JSON.
        """
        if not text_data:
            raise ValueError(_NO_TEXT)
        await self.receive_json(await self.decode_json(text_data), **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Handle the decoded content of one frame."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        """Send a value as JSON; `close` is as in ``send``."""
        await super().send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """Turn the text of a frame into a value; override it for another encoding."""
        return json.loads(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """Turn a value into the text of a frame; override it for another encoding."""
        return json.dumps(content)
