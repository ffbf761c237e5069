"""Ordinary views: log in, send to a group, read what a consumer noted."""

import json
from pathlib import Path

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt


def ready(request):
    return HttpResponse("ready")


def log_in(request, username):
    user, _ = get_user_model().objects.get_or_create(username=username)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session["colour"] = "green"
    return JsonResponse({"user": username})


def session(request):
    return JsonResponse(
        {"session": {key: request.session[key] for key in ("colour", "seat") if key in request.session}}
    )


@csrf_exempt
def announce(request, group):
    async_to_sync(get_channel_layer().group_send)(group, json.loads(request.body))
    return JsonResponse({"sent": True})


@csrf_exempt
async def announce_async(request, group):
    await get_channel_layer().group_send(group, json.loads(request.body))
    return JsonResponse({"sent": True})


def journal(request, name):
    file = Path(settings.JOURNAL) / name
    lines = file.read_text().splitlines() if file.exists() else []
    return JsonResponse({"journal": [json.loads(line) for line in lines]})


urlpatterns = [
    path("ready/", ready),
    path("login/<username>/", log_in),
    path("session/", session),
    path("announce/<group>/", announce),
    path("announce-async/<group>/", announce_async),
    path("journal/<slug:name>/", journal),
]
