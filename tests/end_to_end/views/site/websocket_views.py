# ruff: noqa: RET503, RET505 - the examples are as printed
"""The examples of django-websocket's README, and what they leave open."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from grip_consumers import accept_websocket, require_websocket


@require_websocket
def echo_once(request):  # type: ignore[no-untyped-def]
    message = request.websocket.wait()
    request.websocket.send(message)


def modify_message(message):  # type: ignore[no-untyped-def]
    return message.lower()


@accept_websocket
def lower_case(request):  # type: ignore[no-untyped-def]
    if not request.is_websocket():
        message = request.GET["message"]
        message = modify_message(message)
        return HttpResponse(message)
    else:
        for message in request.websocket:
            message = modify_message(message)
            request.websocket.send(message)


@accept_websocket
async def numbered(request: Any) -> None:
    """Numbers what it gets, whichever batch brings it."""
    state = request.websocket.state
    await request.websocket.send("welcome")
    async for message in request.websocket:
        state["count"] = state.get("count", 0) + 1
        await request.websocket.send(f"{state['count']}: {message}")


@method_decorator(accept_websocket, name="dispatch")
class Loud(View):
    """Ends with an error on `fail`."""

    def get(self, request: Any) -> HttpResponse | None:
        for message in request.websocket:
            request.websocket.send(message.upper())
            if message == "fail":
                raise ValueError("asked to fail")
        return None

    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("posted")
