"""The way in through Django's middleware, under WSGI and ASGI."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from grip_consumers.advice import DIRECT_WEBSOCKET
from grip_consumers.dispatcher import Dispatcher
from grip_consumers.handshake import UNROUTED, is_handshake_environ
from grip_consumers.protocol import RemoteProtocolError
from grip_consumers.routing import websocket_application
from grip_consumers.streams import LINK

from .connection import (
    ViewConnection,
    batch_request,
    begin,
    connection_of,
    http_response,
    is_batch_request,
    origin_refusal,
    read_body,
    refusal,
)
from .grip import carry_out, read_grip
from .streams import answer_next_link
from .wscontext import ClientDisconnected, WebSocketContext

__all__ = ["GripMiddleware"]

logger = logging.getLogger("grip_consumers.views")


class GripMiddleware:
    """Answers batches of WebSocket events with the consumers of ASGI_APPLICATION. Put it first in MIDDLEWARE.

    Every other request passes, with `request.grip`; so does a batch on a path that no websocket route matches, with
    `request.wscontext` for a view to answer it. A WebSocket handshake that comes here without a proxy gets a 501 that
    says what to do.

    Without `get_response`, as in Django's settings MIDDLEWARE_CLASSES, there are the methods `process_request`,
    `process_view` and `process_response` to call.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any] | None = None) -> None:
        self.get_response = get_response
        self._dispatcher = Dispatcher(websocket_application)
        self._is_async = get_response is not None and iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
            # So that Django needs no thread to ask for it.
            self.process_view = self._aprocess_view  # type: ignore[method-assign]

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.get_response is None:
            raise MiddlewareNotUsed("GripMiddleware was made without get_response.")
        if self._is_async:
            return self._acall(request)
        response = self.process_request(request)
        return self.process_response(request, self.get_response(request)) if response is None else response

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        """Give the request its attributes. A response if no view is needed."""
        batch = is_batch_request(request)
        if batch and not _is_unrouted(request):
            found = self._dispatcher.handle_sync(batch_request(request, read_body(request)))
            if found is not None:
                return http_response(found)
        # Here, before any middleware or decorator that asks who the client is.
        if (answer := answer_next_link(request)) is not None:
            return answer
        begun = _begin(request, batch)
        return begun.prepare() if isinstance(begun, ViewConnection) else begun

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Carry out what the view has told the connection or the proxy."""
        connection = _concluded(request)
        return _carry_out(request, response) if connection is None else connection.finish(response)

    def process_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Refuse a handshake from a foreign site: CsrfViewMiddleware's work, which a batch passes."""
        return _view_refusal(request, view)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A view that reads on after the client has vanished need not be reported."""
        context = getattr(request, "wscontext", None)
        vanished = isinstance(exception, ClientDisconnected) and context is not None and context.disconnected
        return HttpResponse() if vanished else None

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response = await self._aprocess_request(request)
        if response is not None:
            return response
        assert self.get_response is not None
        response = await self.get_response(request)
        connection = _concluded(request)
        if connection is None:
            return _carry_out(request, response)
        return await connection.afinish(response)

    async def _aprocess_request(self, request: HttpRequest) -> HttpResponseBase | None:
        batch = is_batch_request(request)
        if batch and not _is_unrouted(request):
            body = await sync_to_async(read_body)(request)
            found = await self._dispatcher.handle(batch_request(request, body))
            if found is not None:
                return http_response(found)
        if LINK in request.META.get("QUERY_STRING", ""):
            answer = await sync_to_async(answer_next_link)(request)
            if answer is not None:
                return answer
        begun = _begin(request, batch)
        return await begun.aprepare() if isinstance(begun, ViewConnection) else begun

    async def _aprocess_view(self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return _view_refusal(request, view)


def _is_unrouted(request: HttpRequest) -> bool:
    return UNROUTED in (request.scope if isinstance(request, ASGIRequest) else request.META)


def _begin(request: HttpRequest, batch: bool) -> ViewConnection | HttpResponse | None:
    """Give the request its attributes. The connection of a batch; a response to refuse it with."""
    request.wscontext = None  # type: ignore[attr-defined]
    connection = None
    try:
        request.grip = grip = read_grip(request)  # type: ignore[attr-defined]
        if batch:
            connection = begin(request)
            request.wscontext = WebSocketContext(connection)  # type: ignore[attr-defined]
    except RemoteProtocolError as error:
        return refusal(error)
    request.grip_proxied, request.grip_signed = grip.proxied, grip.signed  # type: ignore[attr-defined]
    if connection is None and is_handshake_environ(request.META):
        return HttpResponse(DIRECT_WEBSOCKET, status=501, content_type="text/plain; charset=utf-8")
    return connection


def _view_refusal(request: HttpRequest, view: Callable[..., Any]) -> HttpResponse | None:
    connection = connection_of(request)
    if connection is None or not connection.opening or getattr(view, "csrf_exempt", False):
        return None
    return origin_refusal(request)


def _carry_out(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    data = getattr(request, "grip", None)
    # Without, a consumer has answered: MIDDLEWARE_CLASSES hands such a response to `process_response` too.
    return response if data is None else carry_out(data, response)


def _concluded(request: HttpRequest) -> ViewConnection | None:
    connection = connection_of(request)
    if connection is None:
        return None
    request.wscontext.conclude()  # type: ignore[attr-defined]
    if connection.opening and request.resolver_match is None and getattr(settings, "ASGI_APPLICATION", None) is None:
        logger.warning(
            "No view answers WebSockets to %s. If a consumer should: consumers are found by the setting "
            "ASGI_APPLICATION, which is missing.",
            request.path,
        )
    return connection
