"""A WSGI application that answers batches before Django's request handling begins.

In wsgi.py, `from grip_consumers.wsgi import get_wsgi_application` in place of `django.core.wsgi` is all it takes. It is
what `ProtocolTypeRouter` is under ASGI; GripMiddleware does the same from within Django, which costs each batch what
Django spends on any request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from io import BytesIO
from typing import Any

from django.core.wsgi import get_wsgi_application as get_django_application

from grip_consumers import conf
from grip_consumers.advice import DIRECT_WEBSOCKET
from grip_consumers.db import close_old_connections_here
from grip_consumers.dispatcher import Dispatcher
from grip_consumers.handshake import UNROUTED, from_wsgi, is_batch_environ, is_handshake_environ
from grip_consumers.protocol import Response
from grip_consumers.routing import websocket_application

__all__ = ["GripWSGI", "get_wsgi_application"]

StartResponse = Callable[..., Any]
WSGIApplication = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def get_wsgi_application() -> GripWSGI:
    """Django's WSGI application, with batches answered in front of it (django.core.wsgi.get_wsgi_application)."""
    return GripWSGI(get_django_application())


class GripWSGI:
    """Answers batches with the consumers of ASGI_APPLICATION and hands every other request to `application`."""

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application
        self._dispatcher = Dispatcher(websocket_application)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if is_batch_environ(environ):
            body = _read_body(environ)
            # Django's request signals, which do this for its own requests, are not sent here.
            close_old_connections_here()
            response = self._dispatcher.handle_sync(from_wsgi(environ, body))
            close_old_connections_here()
            if response is not None:
                return _write(response, start_response)
            environ.update({UNROUTED: True, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        elif is_handshake_environ(environ):
            plain = [("Content-Type", "text/plain; charset=utf-8")]
            return _write(Response(501, plain, DIRECT_WEBSOCKET.encode()), start_response)
        return self.application(environ, start_response)


def _read_body(environ: dict[str, Any]) -> bytes:
    """The request's body; reading stops beyond the limit, which decoding refuses."""
    limit = conf.get().batch_max_size + 1
    length = environ.get("CONTENT_LENGTH", "")
    if length.isdecimal():
        size = min(int(length), limit)
    else:
        # A server that marks the end itself (chunked requests) says so; otherwise there is no body, as for Django.
        size = limit if not length and environ.get("wsgi.input_terminated") else 0
    body: bytes = environ["wsgi.input"].read(size)
    return body


def _write(response: Response, start_response: StartResponse) -> list[bytes]:
    status = response.status
    phrase = HTTPStatus(status).phrase if status in _STATUSES else "Rejected"
    start_response(f"{status} {phrase}", [*response.headers, ("Content-Length", str(len(response.body)))])
    return [response.body]


_STATUSES = frozenset(HTTPStatus)
