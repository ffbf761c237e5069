"""The chat's pages: choose a room, talk in it, and read what was said."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from sample_site.chat.models import Message

HISTORY = 50


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Ask for a room, and name those in which something was said lately."""
    latest = Message.objects.order_by("-id").values_list("room", flat=True)[:200]
    return render(request, "chat/index.html", {"rooms": list(dict.fromkeys(latest))[:10]})


@require_GET
def room(request: HttpRequest, room_name: str, socket: str) -> HttpResponse:
    """The room with its latest messages; `socket` is the path segment of the consumer to talk to."""
    latest = list(Message.objects.filter(room=room_name).order_by("-id")[:HISTORY])[::-1]
    context = {"room_name": room_name, "socket": socket, "history": latest}
    return render(request, "chat/room.html", context)


@require_GET
def messages(request: HttpRequest, room_name: str) -> JsonResponse:
    """What was said in the room after message `?after=<id>`: pages ask for it whenever their socket opens."""
    after = request.GET.get("after", "0")
    if not after.isascii() or not after.isdigit():
        return JsonResponse({"error": f"Expected ?after= to be a message id, got {after!r}."}, status=400)
    missed = Message.objects.filter(room=room_name, id__gt=int(after)).order_by("id")[: 10 * HISTORY]
    return JsonResponse({"messages": [message.as_dict() for message in missed]})
