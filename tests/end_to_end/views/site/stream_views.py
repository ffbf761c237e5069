"""Views and consumers whose clients are in groups, each rendering an event in a form of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from grip_consumers.generic.http import AsyncHttpConsumer
from grip_consumers.generic.websocket import AsyncWebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.views.streams import EventStream, LongPoll


class Events(EventStream):
    """What is said in a group, or in several."""

    retry = 1_000

    def get_groups(self) -> Iterable[str]:
        names: str = self.kwargs["names"]
        return names.split(",")

    def initial(self) -> None:
        self.send("welcome, 100 %", event="hello")

    def group_said(self, event: dict[str, Any]) -> None:
        self.send({"said": event["text"]})


class Poll(LongPoll):
    """The same by long-polling."""

    timeout = 5

    def get_groups(self) -> Iterable[str]:
        names: str = self.kwargs["names"]
        return names.split(",")

    async def group_said(self, event: dict[str, Any]) -> None:
        self.send(event["text"], event="said")


class Lines(AsyncHttpConsumer):
    """The same in lines of text, until somebody says "end"."""

    async def handle(self, body: bytes) -> None:
        await self.channel_layer.group_add(self.scope["url_route"]["kwargs"]["name"], self.channel_name)
        await self.send_headers(headers=[(b"Content-Type", b"text/plain")])
        await self.send_body(b"begin\n", more_body=True)

    async def group_said(self, event: dict[str, Any]) -> None:
        await self.send_body(f"{event['text']}\n".encode(), more_body=event["text"] != "end")


class Socket(AsyncWebsocketConsumer):
    """The same by WebSocket."""

    async def connect(self) -> None:
        await self.channel_layer.group_add(self.scope["url_route"]["kwargs"]["name"], self.channel_name)
        await self.accept()

    async def group_said(self, event: dict[str, Any]) -> None:
        await self.send(text_data=f"heard {event['text']}")


@csrf_exempt
def say(request: HttpRequest, name: str) -> HttpResponse:
    """Say each line of the body in a group."""
    for text in request.body.decode().splitlines():
        async_to_sync(get_channel_layer().group_send)(name, {"type": "group.said", "text": text})
    return HttpResponse("said")
