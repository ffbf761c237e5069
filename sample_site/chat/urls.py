"""The chat's pages."""

from __future__ import annotations

from django.urls import path, re_path

from sample_site.chat import views
from sample_site.chat.routing import ROOM

app_name = "chat"

urlpatterns = [
    path("", views.index, name="index"),
    re_path(rf"^chat/{ROOM}/$", views.room, {"socket": "chat"}, name="room"),
    re_path(rf"^async-chat/{ROOM}/$", views.room, {"socket": "async-chat"}, name="async-room"),
    re_path(rf"^messages/{ROOM}/$", views.messages, name="messages"),
]
