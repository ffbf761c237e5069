"""Where the WebSocket views are."""

from __future__ import annotations

from django.urls import path

from . import websocket_views as views

urlpatterns = [
    path("websocket/once/", views.echo_once),
    path("websocket/lower/", views.lower_case),
    path("websocket/numbered/", views.numbered),
    path("websocket/loud/", views.Loud.as_view()),
]
