"""Pages that use the applications as their documentations say."""

from __future__ import annotations

from channels_broadcast.api import send_to_all, send_to_user
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from .models import Comment
from .streams import News


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ready")


def sign_in(request: HttpRequest, name: str) -> JsonResponse:
    user, _ = get_user_model().objects.get_or_create(username=name)
    login(request, user)
    return JsonResponse({"pk": user.pk})


def comment(request: HttpRequest, text: str) -> JsonResponse:
    return JsonResponse({"pk": Comment.objects.create(text=text).pk})


def announce(request: HttpRequest, text: str) -> JsonResponse:
    return JsonResponse({"sent": send_to_all(text), "to_user": send_to_user(request.user, f"you: {text}")})


def news(request: HttpRequest, text: str) -> HttpResponse:
    News().append(text=text, id="news")
    return HttpResponse("sent")


def stream(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"signed": News().signed_stream_name})


urlpatterns = [
    path("", ready),
    path("sign-in/<str:name>/", sign_in),
    path("comment/<str:text>/", comment),
    path("announce/<str:text>/", announce),
    path("news/<str:text>/", news),
    path("stream/", stream),
    path("chat/", include("django_private_chat2.urls")),
]
