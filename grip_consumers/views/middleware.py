"""The way in through Django's middleware, under WSGI and ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from io import BytesIO
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from grip_consumers.advice import DIRECT_WEBSOCKET
from grip_consumers.dispatcher import Dispatcher
from grip_consumers.handshake import (
    UNROUTED,
    BatchRequest,
    from_asgi,
    from_wsgi,
    is_batch_environ,
    is_batch_scope,
    is_handshake_environ,
)
from grip_consumers.protocol import Response
from grip_consumers.routing import websocket_application

__all__ = ["GripMiddleware"]


class GripMiddleware:
    """Answers batches of WebSocket events with the consumers of ASGI_APPLICATION. Put it first in MIDDLEWARE.

    Every other request passes; so does a batch on a path that no websocket route matches. A WebSocket handshake
    that comes here without a proxy gets a 501 that says what to do.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._dispatcher = Dispatcher(websocket_application)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        response = None
        if _is_batch(request):
            response = self._dispatcher.handle_sync(_batch_request(request, _read_body(request)))
        elif is_handshake_environ(request.META):
            return _refusal()
        return _http_response(response) if response else self.get_response(request)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response = None
        if _is_batch(request):
            body = await sync_to_async(_read_body)(request)
            response = await self._dispatcher.handle(_batch_request(request, body))
        elif is_handshake_environ(request.META):
            return _refusal()
        return _http_response(response) if response else await self.get_response(request)


def _is_batch(request: HttpRequest) -> bool:
    if isinstance(request, ASGIRequest):
        return is_batch_scope(request.scope) and UNROUTED not in request.scope
    return is_batch_environ(request.META)


def _batch_request(request: HttpRequest, body: bytes) -> BatchRequest:
    if isinstance(request, ASGIRequest):
        return from_asgi(request.scope, body)
    return from_wsgi(request.META, body, decoded=True)


def _read_body(request: HttpRequest) -> bytes:
    # Not `request.body`, which has a limit of its own (DATA_UPLOAD_MAX_MEMORY_SIZE) for forms; the decoder has ours.
    # Left where `request.body` finds it, for a view that may yet answer.
    body: bytes = request.read()
    request._body, request._stream = body, BytesIO(body)
    return body


def _refusal() -> HttpResponse:
    return HttpResponse(DIRECT_WEBSOCKET, status=501, content_type="text/plain; charset=utf-8")


def _http_response(response: Response) -> HttpResponse:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in response.headers:
        if name.lower() == "set-cookie":
            # HttpResponse keeps one value a name, but cookies apart.
            cookies.append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    answer = HttpResponse(response.body, status=response.status, headers=headers)
    for cookie in cookies:
        for morsel in SimpleCookie(cookie).values():
            # By number: two of one name, for different paths, are two cookies.
            dict.__setitem__(answer.cookies, str(len(answer.cookies)), morsel)
    return answer
