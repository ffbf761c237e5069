"""How a test reaches the channel layer: in a process that serves no connection of its own at that moment."""

from __future__ import annotations

import json
import os
import time

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, JsonResponse

from grip_consumers.layers import get_channel_layer

from .sender import send_numbers

#: What a client may ask for.
OPERATIONS = {"group_add", "group_discard", "group_send", "send"}


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ready", content_type="text/plain")


def act(request: HttpRequest) -> JsonResponse:
    """Do what the body lists, [[name of a layer's method, argument, ...], ...], one after the other.

    The answer tells the process, and when each call began and returned (time.monotonic(), the same for all processes
    of a machine).
    """
    times = []
    layer = get_channel_layer()
    for operation, *arguments in json.loads(request.body):
        if operation not in OPERATIONS:
            raise ValueError(f"Expected one of {sorted(OPERATIONS)}, got {operation!r}.")
        began = time.monotonic()
        async_to_sync(getattr(layer, operation))(*arguments)
        times.append([began, time.monotonic()])
    return JsonResponse({"pid": os.getpid(), "times": times})


async def stream(request: HttpRequest) -> JsonResponse:
    """Send numbered events for a while, as the processes of `sender` do."""
    return JsonResponse({"sent": await send_numbers(**json.loads(request.body))})
