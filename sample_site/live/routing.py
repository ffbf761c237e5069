"""Which consumer answers which socket."""

from __future__ import annotations

from django.urls import path

from grip_consumers import ViewConsumer

websocket_urlpatterns = [
    path("ws/requests/", ViewConsumer.as_asgi()),
]
