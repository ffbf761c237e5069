"""Requests that come as JSON messages: from a message to Django's request, and through the project to a response.

    {"id": 7, "method": "POST", "url": "/api/notes/", "data": {"title": "tea"}, "headers": {"Accept-Language": "de"}}

Names and shapes are those of django-websocket-request (`wsrequest`). There a message went to the view and past all
middleware; here it goes the way of an HTTP request, unless `bare` says otherwise.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from contextvars import copy_context
from http import HTTPStatus
from io import BytesIO
from typing import Any, ClassVar, Protocol
from urllib.parse import unquote_to_bytes, urlencode

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest, get_path_info, get_script_name
from django.core.signals import request_started
from django.http import HttpRequest
from django.urls import Resolver404, ResolverMatch, resolve, set_script_prefix

from .bridge_answer import is_error_page, read_json

__all__ = ["METHODS", "Origin", "WebSocketRequest"]

#: The methods that a message can name, in lower case as `WebSocketRequest.method` has them.
METHODS = frozenset({"get", "post", "put", "delete", "patch", "head", "options"})
#: Those whose data is the query string.
_WITHOUT_BODY = frozenset({"get", "head"})
#: How many characters a text has at most that comes back in the answer; and one that becomes a header.
_ID_LIMIT, _HEADER_LIMIT = 200, 8192
_A_HEADER_VALUE = f"a text of up to {_HEADER_LIMIT} printable ASCII characters"
_NOWHERE = "Resource not found."


class Origin(Protocol):
    """What a request takes from the connection that its message came by."""

    @property
    def root_path(self) -> str:
        """Where the project is mounted, as ASGI's `root_path`; URLs begin with it."""

    def environ(self, *, anonymous: bool) -> Mapping[str, Any]:
        """What the handshake says about the client; `anonymous`: without whatever says who it is."""

    def attach(self, request: HttpRequest, *, anonymous: bool, bare: bool) -> None:
        """Make `request` one of this connection's."""


class WebSocketRequest:
    """One message as a request of the project.

    Args:
        message: the JSON text, or its bytes.
        factory_defaults: items of the WSGI environ that override all others. They are not checked: nothing that a
            client sends belongs here.
        bare: call the view and nothing else, as the original did: no middleware, no handling of exceptions.
        origin: the connection that the message came by.

    Attributes:
        error: None, or ``{"error": text, "status_code": number}`` for a message that makes no request. That a URL leads
            nowhere is known at once for a message without a connection (`origin`) and with `bare`; otherwise the
            middleware has a say in it, and it is an error once the response has been asked for.
        id: what the message has as its ``id``, for the answer.
        method: in lower case.
        url, data, token, headers: what the message says.
    """

    #: The headers that a message may set. All others are refused: what a front proxy takes out of its clients' requests
    #: or puts in (X-Forwarded-For, a user's name) would pass here. A subclass may name more.
    allowed_headers: ClassVar[Collection[str]] = (
        "Accept",
        "Accept-Language",
        "Authorization",
        "Cache-Control",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Unmodified-Since",
        "Prefer",
        "X-Requested-With",
    )
    #: How many characters the URL and its query have at most, as many as servers commonly read of a request line. What
    #: is to be decoded must not be long: Django's work on a path that is no UTF-8 grows with the square of its length.
    url_limit: ClassVar[int] = 8192

    def __init__(
        self,
        message: str | bytes,
        factory_defaults: Mapping[str, Any] | None = None,
        *,
        bare: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self.message = message
        self.factory_defaults = factory_defaults
        self.bare = bare
        self.origin = origin
        self.error: dict[str, Any] | None = None
        self.json_message: dict[str, Any] = {}
        self.id: Any = None
        self.url: Any = None
        self.method: Any = "get"
        self.data: Any = {}
        self.token: Any = None
        self.headers: Any = {}
        self.validate()

    # The message ----------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Read the message; the first thing that is wrong with it becomes the error."""
        if not self.is_valid_message():
            return
        self.id = self.json_message.get("id")
        self.url, self.method, self.data = self.get_url(), self.get_method(), self.get_data()
        self.token, self.headers = self.get_token(), self.get_headers()
        try:
            self._check()
        except _Refused as refusal:
            self.set_error(refusal.error, refusal.status_code)
            return
        if self.bare or self.origin is None:
            self.get_url_resolver_match()
        elif self._path is None:
            self.set_error(_NOWHERE, 404)

    def is_valid_message(self) -> bool:
        """Whether the message is a JSON object (RFC 8259: without NaN and the infinite); else that is the error."""
        try:
            found = read_json(self.message)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            self.json_message = found
            return True
        self.set_error("Invalid formatted message.")
        return False

    def is_valid(self) -> bool:
        """Whether there is no error."""
        return not self.error

    def set_error(self, error_message: str, status_code: int = 400) -> None:
        """Make this the error."""
        self.error = {"error": error_message, "status_code": status_code}

    def get_url(self) -> Any:
        """What the message has as its URL: a path from the root, and maybe a query."""
        return self.json_message.get("url")

    def get_method(self) -> Any:
        """The method in lower case; GET unless the message names one."""
        method = self.json_message.get("method", "GET")
        return method.lower() if isinstance(method, str) else method

    def get_data(self) -> Any:
        """The data: the query's parameters for GET and HEAD, else the content of the JSON body."""
        return self.json_message.get("data", {})

    def get_token(self) -> Any:
        """The token for ``Authorization: JWT …``, if there is one."""
        return self.json_message.get("token")

    def get_headers(self) -> Any:
        """The headers that the message sets."""
        return self.json_message.get("headers") or {}

    def get_url_resolver_match(self) -> ResolverMatch | None:
        """The view that the URL leads to, as far as no middleware decides it; without one, a 404 is the error."""
        path = self._path
        if path is not None:
            with suppress(Resolver404):
                return resolve(get_path_info({"PATH_INFO": path}))
        self.set_error(_NOWHERE, 404)
        return None

    def _check(self) -> None:
        if self.id is not None and not (isinstance(self.id, (str, int, float)) and len(str(self.id)) <= _ID_LIMIT):
            self.id = None
            raise _Refused(f"The id must be a number or a text of up to {_ID_LIMIT} characters.")
        if not self.url:
            raise _Refused("Missing URL")
        if not isinstance(self.url, str) or not _is_clean(self.url):
            raise _Refused("The URL must be a text without control characters.")
        self._check_length(len(self.url))
        if not isinstance(self.method, str):
            raise _Refused("The method must be a text.")
        if self.method not in METHODS:
            raise _Refused(f"Unknown method. Known are {', '.join(sorted(METHODS)).upper()}.", 405)
        if self.token and not (isinstance(self.token, str) and _is_header_value(self.token)):
            raise _Refused(f"The token must be {_A_HEADER_VALUE}.")
        self._check_headers()
        self._check_data()

    def _check_headers(self) -> None:
        if not isinstance(self.headers, dict):
            raise _Refused("The headers must be an object.")
        allowed = {name.lower() for name in self.allowed_headers}
        for name, value in self.headers.items():
            if name.lower() not in allowed:
                raise _Refused(f"A message cannot set the header {name[:40]!r}. It can set {_listed(allowed)}.")
            if not isinstance(value, str) or not _is_header_value(value):
                raise _Refused(f"The header {name!r} must be {_A_HEADER_VALUE}.")

    def _check_data(self) -> None:
        if self.method not in _WITHOUT_BODY:
            return
        if self.data is not None and not isinstance(self.data, dict):
            raise _Refused("The data of a GET or HEAD must be an object: its members become the query.")
        for name, value in (self.data or {}).items():
            if not all(isinstance(part, (str, int, float)) for part in (value if isinstance(value, list) else [value])):
                raise _Refused(f"{name[:40]!r} cannot be put in a query: it is no text, number or list of them.")
        self._check_length(len(self.url.partition("?")[0]) + len(self._query) + 1)

    def _check_length(self, length: int) -> None:
        if length > self.url_limit:
            what = f"The URL and its query may have {self.url_limit} characters."
            raise _Refused(f"{what} Larger data belongs into the body of another method.", 414)

    # The request ----------------------------------------------------------------------------------------------

    def get_defaults(self) -> dict[str, Any]:
        """What the environ has beside the request line and the body: client, headers, `factory_defaults`."""
        defaults: dict[str, Any] = {}
        if self.origin is not None:
            defaults.update(self.origin.environ(anonymous=self.authorizes))
        for name, value in self.headers.items():
            defaults[f"HTTP_{name.upper().replace('-', '_')}"] = value
        if self.token:
            defaults["HTTP_AUTHORIZATION"] = f"JWT {self.token}"
        return {**defaults, **(self.factory_defaults or {})}

    def get_factory(self) -> Any:
        """A ``RequestFactory`` with these defaults, for code that was written for the original."""
        # Of no use to a server, which need not import what it comes with.
        from django.test.client import RequestFactory

        return RequestFactory(**self.get_defaults())

    def get_request(self, factory: Any = None) -> WSGIRequest:
        """Make the request.

        Args:
            factory: a ``RequestFactory`` whose defaults are to be used.

        Raises ValueError if the message makes none: see `error`.
        """
        if self.error:
            raise ValueError(f"This message makes no request: {self.error['error']}")
        environ = self._environ(self.get_defaults() if factory is None else factory.defaults)
        request = WSGIRequest(environ)
        # A forged request is one to which a browser adds cookies. Without any there is nothing to forge; those of a
        # connection were sent by a page whose origin was looked at.
        request._dont_enforce_csrf_checks = "HTTP_COOKIE" not in environ  # type: ignore[attr-defined]
        if self.origin is not None:
            self.origin.attach(request, anonymous=self.authorizes, bare=self.bare)
        return request

    @property
    def authorizes(self) -> bool:
        """Whether the message says itself who it is from: then it is not from the connection's user."""
        return bool(self.token) or any(name.lower() == "authorization" for name in self.headers)

    @property
    def _path(self) -> str | None:
        """The path as a WSGI server gives it (PEP 3333), below the application's root; None if it is not there."""
        path = unquote_to_bytes(self.url.partition("#")[0].partition("?")[0]).decode("latin-1")
        root = "" if self.origin is None else self.origin.root_path.encode("utf-8").decode("latin-1")
        return path.removeprefix(root) if path.startswith(f"{root}/") else None

    @property
    def _query(self) -> str:
        query: str = self.url.partition("#")[0].partition("?")[2]
        if self.method not in _WITHOUT_BODY or not self.data:
            return query
        more = urlencode({_query_values(name): _query_values(value) for name, value in self.data.items()}, doseq=True)
        return f"{query}&{more}" if query else more

    def _environ(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        body = b"" if self.method in _WITHOUT_BODY else json.dumps(self.data).encode("ascii")
        return {
            "SCRIPT_NAME": "",
            "SERVER_NAME": _own_host(),
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_ACCEPT": "application/json",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **defaults,
            "REQUEST_METHOD": self.method.upper(),
            "PATH_INFO": self._path,
            "QUERY_STRING": self._query,
            "CONTENT_TYPE": "application/json" if body else "",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
        }

    # The response ---------------------------------------------------------------------------------------------

    def get_response(self) -> Any:
        """The response of the project, or the error. One that streams is the caller's to close.

        With `bare`, raises what the view raises.
        """
        if self.error:
            return self.error
        # Whatever the project activates for its request (language, time zone, URLconf) ends with it.
        return copy_context().run(self._respond, self.get_request())

    async def aget_response(self) -> Any:
        """As :meth:`get_response`, for asynchronous code: an asynchronous view runs on the running loop."""
        if self.error:
            return self.error
        # A task has a context of its own.
        return await asyncio.ensure_future(self._arespond(self.get_request()))

    def _respond(self, request: WSGIRequest) -> Any:
        response = self.respond(request)
        return self.error or response

    async def _arespond(self, request: WSGIRequest) -> Any:
        response = await self.arespond(request)
        return self.error or response

    def respond(self, request: WSGIRequest) -> Any:
        """The response to a request that :meth:`get_request` has made; there is an `error` if the URL leads nowhere.

        To be called in a context of its own, in which a response that streams is read, too: the language that the
        middleware has activated stays, as do the time zone, the URLconf and the script prefix.
        """
        if self.bare:
            return self.get_view(self._match(), request)
        set_script_prefix(get_script_name(request.environ))
        request_started.send(sender=_Handler, environ=request.environ)
        response = _handler(False, tuple(settings.MIDDLEWARE), settings.DEBUG).get_response(request)
        self._take(request, response)
        if not response.streaming:
            response.close()
        return response

    async def arespond(self, request: WSGIRequest) -> Any:
        """As :meth:`respond`, for asynchronous code."""
        if self.bare:
            return await self._aget_view(self._match(), request)
        set_script_prefix(get_script_name(request.environ))
        await request_started.asend(sender=_Handler, environ=request.environ)
        response = await _handler(True, tuple(settings.MIDDLEWARE), settings.DEBUG).get_response_async(request)
        self._take(request, response)
        if not response.streaming:
            await sync_to_async(response.close)()
        return response

    def _take(self, request: WSGIRequest, response: Any) -> None:
        response._handler_class = _Handler
        # An API that reports it in its own form is left to do so.
        nowhere = response.status_code == HTTPStatus.NOT_FOUND and request.resolver_match is None
        if nowhere and is_error_page(response) and not response.streaming:
            self.set_error(_NOWHERE, 404)

    def get_view(self, resolver_match: ResolverMatch, request: HttpRequest) -> Any:
        """What the view answers, called on its own."""
        view: Any = resolver_match.func
        if iscoroutinefunction(view):
            view = async_to_sync(view)
        request.resolver_match = resolver_match
        return _rendered(view(request, *resolver_match.args, **resolver_match.kwargs))

    async def _aget_view(self, resolver_match: ResolverMatch, request: HttpRequest) -> Any:
        view: Any = resolver_match.func
        if not iscoroutinefunction(view):
            return await sync_to_async(self.get_view)(resolver_match, request)
        request.resolver_match = resolver_match
        response = await view(request, *resolver_match.args, **resolver_match.kwargs)
        return await sync_to_async(_rendered)(response)

    def _match(self) -> ResolverMatch:
        match = self.get_url_resolver_match()
        if match is None:
            raise Resolver404({"path": self.url})
        return match


class _Refused(ValueError):  # noqa: N818 - it names what happened
    def __init__(self, error: str, status_code: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.status_code = status_code


class _Handler(BaseHandler):
    """Django's own, for requests that no server has brought."""


@functools.lru_cache(maxsize=8)
def _handler(asynchronous: bool, middleware: tuple[str, ...], debug: bool) -> Any:
    """The project's middleware around its views; made once for what it is made from."""
    handler: Any = _Handler()
    handler.load_middleware(is_async=asynchronous)
    return handler


def _rendered(response: Any) -> Any:
    return response.render() if hasattr(response, "render") else response


def _is_clean(text: str) -> bool:
    try:
        return all(byte > 32 and byte != 127 for byte in text.encode("utf-8"))
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON can spell.
        return False


def _is_header_value(text: str) -> bool:
    return len(text) <= _HEADER_LIMIT and text.isascii() and text.isprintable()


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(name.title() for name in names))


def _query_values(value: Any) -> Any:
    if isinstance(value, list):
        return [_query_values(part) for part in value]
    if isinstance(value, bool):
        # As JSON and JavaScript write it.
        return "true" if value else "false"
    # What is half of a surrogate pair cannot be written as anything but a mark.
    return value.encode("utf-8", "replace") if isinstance(value, str) else value


def _own_host() -> str:
    """A host that ALLOWED_HOSTS permits, for requests that nobody else says one for."""
    named = (host.lstrip(".") for host in settings.ALLOWED_HOSTS if "*" not in host)
    return next(named, "localhost")
