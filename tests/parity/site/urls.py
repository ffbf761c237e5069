"""Ordinary views: log in, send to groups and channels, read what a consumer noted."""

import json
from pathlib import Path

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user_model, login, logout
from django.contrib.sessions.models import Session
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


def log_out(request):
    logout(request)
    return JsonResponse({"user": None})


def user(request, username):
    """What the row of a user holds; a POST changes fields of it first."""
    rows = get_user_model().objects.filter(username=username)
    if request.method == "POST":
        rows.update(**json.loads(request.body))
    return JsonResponse({"rows": list(rows.values("username", "first_name", "is_staff"))})


def users(request, prefix):
    names = get_user_model().objects.filter(username__startswith=prefix).order_by("username")
    return JsonResponse({"users": list(names.values_list("username", flat=True))})


def session_of(request, key):
    """Who is logged in by a session."""
    found = Session.objects.filter(pk=key).first()
    names = get_user_model().objects.filter(pk=found.get_decoded().get(SESSION_KEY)) if found else ()
    return JsonResponse({"exists": found is not None, "user": [user.username for user in names]})


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


CALLS = ("send", "group_add", "group_discard", "group_send")


@csrf_exempt
def layer(request):
    """Call the channel layer, one call behind the other: `[[method, argument, argument], …]`."""
    for method, *arguments in json.loads(request.body):
        if method in CALLS:
            async_to_sync(getattr(get_channel_layer(), method))(*arguments)
    return JsonResponse({"done": True})


@csrf_exempt
async def layer_async(request):
    for method, *arguments in json.loads(request.body):
        if method in CALLS:
            await getattr(get_channel_layer(), method)(*arguments)
    return JsonResponse({"done": True})


def journal(request, name):
    file = Path(settings.JOURNAL) / name
    lines = file.read_text().splitlines() if file.exists() else []
    return JsonResponse({"journal": [json.loads(line) for line in lines]})


urlpatterns = [
    path("ready/", ready),
    path("login/<username>/", log_in),
    path("logout/", log_out),
    path("user/<username>/", csrf_exempt(user)),
    path("users/<prefix>/", users),
    path("session/", session),
    path("session-of/<key>/", session_of),
    path("layer/", layer),
    path("layer-async/", layer_async),
    path("announce/<group>/", announce),
    path("announce-async/<group>/", announce_async),
    path("journal/<slug:name>/", journal),
]
