"""What each part serves."""

from __future__ import annotations

from importlib.util import find_spec

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

PARTS = [f"{__package__}.{part}_urls" for part in ("grip", "websocket", "request", "stream")]


def ready(request: HttpRequest) -> HttpResponse:
    """Answer as soon as there is somebody to answer."""
    return HttpResponse("ready")


urlpatterns = [path("", ready), *(path("", include(part)) for part in PARTS if find_spec(part))]
