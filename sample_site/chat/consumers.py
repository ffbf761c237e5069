"""The consumers of Channels' tutorial, sync and async, which also keep what is said.

Both use the same group for a room, so it does not matter by which of them its members came in.
"""

from __future__ import annotations

import json
from typing import Any

from asgiref.sync import async_to_sync

from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from sample_site.chat.models import Message


def new_message(room_name: str, text_data: str) -> Message:
    """The message that a client sent as JSON: `{"message": text, "author": name or nothing}`."""
    text_data_json = json.loads(text_data)
    author = str(text_data_json.get("author", ""))[:40]
    return Message(room=room_name, author=author, text=str(text_data_json["message"])[:2000])


class ChatConsumer(WebsocketConsumer):
    """A member of a room, in sync style."""

    def connect(self) -> None:
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"

        # Join room group
        async_to_sync(self.channel_layer.group_add)(self.room_group_name, self.channel_name)

        self.accept()

    def disconnect(self, close_code: int) -> None:
        # Leave room group
        async_to_sync(self.channel_layer.group_discard)(self.room_group_name, self.channel_name)

    # Receive message from WebSocket
    def receive(self, text_data: str) -> None:
        message = new_message(self.room_name, text_data)
        message.save()

        # Send message to room group
        async_to_sync(self.channel_layer.group_send)(
            self.room_group_name, {"type": "chat.message", "message": message.as_dict()}
        )

    # Receive message from room group
    def chat_message(self, event: dict[str, Any]) -> None:
        message = event["message"]

        # Send message to WebSocket
        self.send(text_data=json.dumps(message))


class AsyncChatConsumer(AsyncWebsocketConsumer):
    """A member of a room, in async style."""

    async def connect(self) -> None:
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"

        # Join room group
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)

        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        # Leave room group
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    # Receive message from WebSocket
    async def receive(self, text_data: str) -> None:
        message = new_message(self.room_name, text_data)
        await message.asave()

        # Send message to room group
        await self.channel_layer.group_send(
            self.room_group_name, {"type": "chat.message", "message": message.as_dict()}
        )

    # Receive message from room group
    async def chat_message(self, event: dict[str, Any]) -> None:
        message = event["message"]

        # Send message to WebSocket
        await self.send(text_data=json.dumps(message))
