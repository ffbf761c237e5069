"""Views for messages: each tells what reached it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth import alogin, authenticate, login, logout
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template.response import SimpleTemplateResponse
from django.urls import path, reverse
from django.utils import timezone, translation
from django.views import View
from rest_framework.decorators import api_view
from rest_framework.response import Response


def echo(request: HttpRequest) -> JsonResponse:
    """What the request says, and whether middleware has seen it."""
    names = [name for name in request.META if name.startswith("HTTP_")]
    return JsonResponse(
        {
            "method": request.method,
            "path": request.path,
            "query": request.META["QUERY_STRING"],
            "body": request.body.decode(),
            "kind": request.content_type,
            "headers": {name: request.META[name] for name in sorted(names)},
            "passed": getattr(request, "passed", False),
            "reversed": reverse("echo"),
        }
    )


async def aecho(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"async": request.method})


class Thing(View):
    def get(self, request: HttpRequest, name: str) -> JsonResponse:
        return JsonResponse({"name": name})


class AsyncThing(View):
    async def get(self, request: HttpRequest, name: str) -> JsonResponse:
        return JsonResponse({"async": name})


@api_view(["GET", "POST"])
def rest(request: Any) -> Response:
    return Response({"data": request.data, "user": str(request.user)}, status=201 if request.method == "POST" else 200)


ERRORS = {"value": ValueError("broken"), "none": Http404("not there"), "denied": PermissionDenied("no")}


def fail(request: HttpRequest, kind: str) -> HttpResponse:
    raise ERRORS[kind]


async def afail(request: HttpRequest, kind: str) -> HttpResponse:
    raise ERRORS[kind]


def body(request: HttpRequest) -> HttpResponse:
    """A response of the type, status and content that the query asks for."""
    content = request.GET.get("content", "").encode("latin-1")
    response = HttpResponse(content, content_type=request.GET.get("type"), status=int(request.GET.get("status", 200)))
    response.set_cookie("secret", "1")
    return response


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse((b"x" * 1000 for _ in range(int(request.GET["count"]))), content_type="text/plain")


def dripping(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[bytes]:
        while True:
            time.sleep(0.001)
            yield b"."

    return StreamingHttpResponse(chunks(), content_type="text/plain")


async def adripping(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"."
        await asyncio.Event().wait()

    return StreamingHttpResponse(chunks(), content_type="text/plain")


def holding(request: HttpRequest) -> HttpResponse:
    headers = {"Grip-Hold": "stream", "grip-channel": "secret", "Set-Meta-User": "1", "X-Own": "kept"}
    return HttpResponse("held", content_type="text/plain", headers=headers)


def tongue(request: HttpRequest) -> StreamingHttpResponse:
    """In which language it answers, while it does."""
    return StreamingHttpResponse(
        (translation.get_language().encode() for _ in range(1)), content_type="text/plain; charset=utf-8"
    )


def template(request: HttpRequest) -> SimpleTemplateResponse:
    class Rendered(SimpleTemplateResponse):
        @property
        def rendered_content(self) -> str:  # type: ignore[override]
            return "rendered"

    return Rendered("unused", content_type="text/plain")


def who(request: HttpRequest) -> JsonResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"user": str(request.user), "visits": request.session["visits"]})


def enter(request: HttpRequest) -> JsonResponse:
    login(request, authenticate(request, **json.loads(request.body)))
    return JsonResponse({"user": str(request.user)})


async def aenter(request: HttpRequest) -> JsonResponse:
    from django.contrib.auth import aauthenticate

    await alogin(request, await aauthenticate(request, **json.loads(request.body)))
    return JsonResponse({"user": str(request.user)})


def leave(request: HttpRequest) -> JsonResponse:
    logout(request)
    return JsonResponse({"user": str(request.user)})


def of_scope(request: Any) -> JsonResponse:
    return JsonResponse({"user": str(request.connection.scope["user"])})


def join(request: Any) -> JsonResponse:
    act = request.connection.group_discard if request.method == "DELETE" else request.connection.group_add
    act("things")
    return JsonResponse({"channel": request.connection.channel_name})


async def ajoin(request: Any) -> JsonResponse:
    act = request.connection.agroup_discard if request.method == "DELETE" else request.connection.agroup_add
    await act("things")
    return JsonResponse({"channel": request.connection.channel_name})


urlpatterns = [
    path("echo/", echo, name="echo"),
    path("café/", echo),
    path("async/", aecho),
    path("things/<name>/", Thing.as_view()),
    path("async-things/<name>/", AsyncThing.as_view()),
    path("rest/", rest),
    path("fail/<kind>/", fail),
    path("afail/<kind>/", afail),
    path("body/", body),
    path("stream/", stream),
    path("dripping/", dripping),
    path("adripping/", adripping),
    path("holding/", holding),
    path("template/", template),
    path("who/", who),
    path("enter/", enter),
    path("aenter/", aenter),
    path("leave/", leave),
    path("scope/", of_scope),
    path("join/", join),
    path("ajoin/", ajoin),
    *i18n_patterns(path("tongue/", tongue)),
]


class Passing:
    """Middleware that leaves its mark on request and response."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self.get_response = get_response
        self.asynchronous = iscoroutinefunction(get_response)
        if self.asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        request.passed = True
        if self.asynchronous:
            return self.acall(request)
        return self.marked(self.get_response(request))

    async def acall(self, request: Any) -> Any:
        return self.marked(await self.get_response(request))

    def marked(self, response: HttpResponse) -> HttpResponse:
        response["X-Passed"] = "yes"
        return response


#: The URLconf of a tenant: `tenant` sets it.
TENANT = (path("mine/", aecho), path("mine/echo/", echo, name="echo"))


def tenant(get_response: Any) -> Any:
    """Middleware that has another URLconf for the requests of a tenant."""

    def middleware(request: Any) -> Any:
        if request.path.startswith("/mine/"):
            request.urlconf = TENANT
        return get_response(request)

    return middleware


def health(get_response: Any) -> Any:
    """Middleware that answers a path which no URLconf has."""

    def middleware(request: Any) -> Any:
        return JsonResponse({"healthy": True}) if request.path == "/health" else get_response(request)

    return middleware


def abroad(get_response: Any) -> Any:
    """Middleware that activates a time zone, as Django's documentation has it."""

    def middleware(request: Any) -> Any:
        timezone.activate("Asia/Tokyo")
        return get_response(request)

    return middleware
