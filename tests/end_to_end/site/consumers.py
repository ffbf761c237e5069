"""Two probes, sync and async: they do what their client says and leave a message in the chat when they end."""

from __future__ import annotations

import json
from typing import Any

from grip_consumers.exceptions import DenyConnection
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from sample_site.chat.models import Message


def epitaph(consumer: Any, code: int) -> Message:
    """What a probe held when it was disconnected, as a message in the room that it was named after."""
    held = [code, consumer.seen, consumer.by_connect]
    return Message(room=consumer.room_name, text=json.dumps(held))


def chosen(offered: list[str]) -> str | None:
    return offered[-1] if offered else None


class Probe(WebsocketConsumer):
    """Echoes; `["close", code, reason]` closes; a room named `refused…` is refused."""

    def connect(self) -> None:
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.seen: list[str] = []
        self.by_connect = {"path": self.scope["path"]}
        if self.room_name.startswith("refused"):
            raise DenyConnection
        self.accept(subprotocol=chosen(self.scope["subprotocols"]))

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None:
            self.send(bytes_data=bytes_data)
            return
        self.seen.append(text_data)
        if text_data.startswith('["close"'):
            _, code, reason = json.loads(text_data)
            self.close(code=code, reason=reason)
        else:
            self.send(text_data)

    def disconnect(self, code: int) -> None:
        epitaph(self, code).save()


class AsyncProbe(AsyncWebsocketConsumer):
    """The same in async style."""

    async def connect(self) -> None:
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.seen: list[str] = []
        self.by_connect = {"path": self.scope["path"]}
        if self.room_name.startswith("refused"):
            raise DenyConnection
        await self.accept(subprotocol=chosen(self.scope["subprotocols"]))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None:
            await self.send(bytes_data=bytes_data)
            return
        self.seen.append(text_data)
        if text_data.startswith('["close"'):
            _, code, reason = json.loads(text_data)
            await self.close(code=code, reason=reason)
        else:
            await self.send(text_data)

    async def disconnect(self, code: int) -> None:
        await epitaph(self, code).asave()
