"""The views of the swarm site."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("ready/", views.ready),
    path("act/", views.act),
    path("stream/", views.stream),
]
