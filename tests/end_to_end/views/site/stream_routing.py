"""The WebSockets in the same groups."""

from __future__ import annotations

from django.urls import path

from .stream_views import Socket

websocket_urlpatterns = [path("ws/streams/<name>/", Socket.as_asgi())]
