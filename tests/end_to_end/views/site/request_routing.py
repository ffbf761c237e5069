"""The sockets that messages come by."""

from __future__ import annotations

from django.urls import path

from grip_consumers.views.bridge import AsyncViewConsumer, ViewConsumer

websocket_urlpatterns = [
    path("requests/ws/", ViewConsumer.as_asgi()),
    path("requests/async-ws/", AsyncViewConsumer.as_asgi()),
]
