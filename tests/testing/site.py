"""A project for the tests of the test tools: consumers, an application, and views that send to their groups."""

from __future__ import annotations

import json
import threading
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from grip_consumers.routing import ProtocolTypeRouter, URLRouter

from grip_consumers.auth import AuthMiddlewareStack
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer


class Member(AsyncWebsocketConsumer):
    """A member of the group of its path, who counts."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        self.count = 0
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept(self.scope["subprotocols"][-1] if self.scope["subprotocols"] else None)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.count += 1
        await self.channel_layer.group_send(self.room, {"type": "said", "text": f"{text_data} {self.count}"})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send(event["text"])

    async def counted(self, event: dict[str, Any]) -> None:
        await self.send(f"{event['what']} {self.count}")


class Clerk(WebsocketConsumer):
    """Writes down the users that it is told, and says who is there."""

    tick_interval = 20

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "fail":
            self.send("before")
            raise LookupError("as it was told")
        if text_data == "lock":
            self.lock = threading.Lock()
            return
        if text_data == "close":
            self.close(4001, "as it was told")
            return
        User.objects.create(username=text_data or "")
        self.send(json.dumps(sorted(User.objects.values_list("username", flat=True))))

    def tick(self) -> None:
        self.ticks = getattr(self, "ticks", 0) + 1
        self.send(f"tick {self.ticks}")


class Whose(WebsocketConsumer):
    """Tells whose connection it is."""

    def connect(self) -> None:
        if self.scope["user"].is_anonymous:
            self.close(4003)
            return
        self.accept()
        self.send(self.scope["user"].username)


def say(request: HttpRequest, room: str) -> HttpResponse:
    """Sends to the group of a room, as a view does."""
    event = {"type": request.GET.get("type", "said"), "text": "from a view", "what": "a view at"}
    async_to_sync(get_channel_layer().group_send)(room, event)
    return HttpResponse("sent")


urlpatterns = [path("say/<str:room>/", say)]
routes = URLRouter(
    [
        path("ws/rooms/<str:room>/", Member.as_asgi()),
        path("ws/clerk/", Clerk.as_asgi()),
        path("ws/whose/", Whose.as_asgi()),
    ]
)
application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": AuthMiddlewareStack(routes)})
