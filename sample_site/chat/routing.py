"""Which consumer answers which socket."""

from __future__ import annotations

from django.urls import re_path

from sample_site.chat import consumers

ROOM = r"(?P<room_name>[-a-zA-Z0-9_]{1,60})"

websocket_urlpatterns = [
    re_path(rf"^ws/chat/{ROOM}/$", consumers.ChatConsumer.as_asgi()),
    re_path(rf"^ws/async-chat/{ROOM}/$", consumers.AsyncChatConsumer.as_asgi()),
]
