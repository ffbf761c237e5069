"""WebSockets in plain Django views, with the API of django-websocket.

    @require_websocket
    def shout(request):
        for message in request.websocket:
            request.websocket.send(message.upper())

The view runs once for each batch of messages. `wait()` and the end of an iteration leave it until the next one, and
returning closes the connection; `turn` has how. Works with GripMiddleware or WebSocketMiddleware, with both, and with
neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache, partial, wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import ResolverMatch
from django.utils.decorators import decorator_from_middleware
from django.utils.module_loading import import_string

from grip_consumers.advice import DIRECT_WEBSOCKET
from grip_consumers.handshake import is_handshake_environ
from grip_consumers.protocol import RemoteProtocolError

from .connection import begin, connection_of, is_batch_request, refusal
from .origins import origin_refusal
from .turn import Turn

__all__ = ["AsyncWebSocket", "WebSocket", "WebSocketMiddleware", "accept_websocket", "require_websocket"]

View = Callable[..., Any]


class _Socket:
    """What `request.websocket` has in views of either kind."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    @property
    def state(self) -> dict[str, Any]:
        """What lives as long as the connection: put in here what the next messages need.

        Kept under seal by the proxy, or in a cache when it is large. The values may be of the types that a consumer's
        attributes may have.
        """
        return self._turn.connection.state

    @property
    def closed(self) -> bool:
        """Whether either side has closed, as far as the messages have been read."""
        return self._turn.closed()

    def count_messages(self) -> int:
        """How many messages are there that have not been read."""
        return self._turn.left("count_messages()")

    def has_messages(self) -> bool:
        """Whether there are messages that have not been read."""
        return self._turn.left("has_messages()") > 0


class WebSocket(_Socket):
    """`request.websocket` in a view that is a plain function. Nothing here blocks.

    Text messages are str, binary ones bytes.
    """

    def accept(self, subprotocol: str | None = None) -> None:
        """Accept the connection, as its first use does, choosing a subprotocol other than the first offered."""
        self._turn.accept(subprotocol)

    def wait(self) -> str | bytes | None:
        """The next message; None when the client has closed.

        Without one in the batch the view is left here, and runs anew for the next batch.
        """
        return self._turn.wait()

    def read(self, fallback: Any = None) -> Any:
        """The next message if there is one, else `fallback`."""
        return self._turn.read(fallback)

    def send(self, message: Any) -> None:
        """Send text, or bytes as a binary message, or what `str()` makes of anything else.

        What the view sends before it asks for the first message is sent when the connection opens, and not again.
        """
        self._turn.send(message)

    def subscribe(self, channel: str) -> None:
        """Let what is published to `channel` (grip_consumers.publish) reach the client, too.

        Raises LocalProtocolError for a name that cannot be one.
        """
        self._turn.subscribe(channel)

    def unsubscribe(self, channel: str) -> None:
        """End that."""
        self._turn.unsubscribe(channel)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection. Raises LocalProtocolError for a code that may not be sent, or too long a reason."""
        self._turn.close(code, reason)

    def __iter__(self) -> Iterator[str | bytes]:
        """Every message; the end is that of the connection."""
        while (message := self._turn.wait()) is not None:
            yield message


class AsyncWebSocket(_Socket):
    """`request.websocket` in an asynchronous view: the same, to be awaited, and iterated over with `async for`."""

    async def accept(self, subprotocol: str | None = None) -> None:
        """See WebSocket."""
        self._turn.accept(subprotocol)

    async def wait(self) -> str | bytes | None:
        """See WebSocket."""
        return self._turn.wait()

    async def read(self, fallback: Any = None) -> Any:
        """See WebSocket."""
        return self._turn.read(fallback)

    async def send(self, message: Any) -> None:
        """See WebSocket."""
        self._turn.send(message)

    async def subscribe(self, channel: str) -> None:
        """See WebSocket."""
        self._turn.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See WebSocket."""
        self._turn.unsubscribe(channel)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See WebSocket."""
        self._turn.close(code, reason)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Every message; the end is that of the connection."""
        while (message := self._turn.wait()) is not None:
            yield message


# Decorators -----------------------------------------------------------------------------------------------------


def accept_websocket(view: View) -> View:
    """Let a view have WebSockets beside plain HTTP: `request.is_websocket()` tells which it is.

    For functions and what `as_view()` returns, sync and async; for a class by `method_decorator(…, name="dispatch")`.
    To a view a WebSocket is a GET, as its handshake is. `csrf_exempt`, where it is wanted, stands below.
    """
    return _decorated(view, required=bool(getattr(view, "require_websocket", False)))


def require_websocket(view: View) -> View:
    """Let a view have WebSockets only: plain HTTP gets 400. Otherwise as `accept_websocket`."""
    return _decorated(view, required=True)


class _ChecksItself:
    """The value of `csrf_exempt` on decorated views: CsrfViewMiddleware passes them, and they check on their own.

    A batch is no form post, but a form post to the same view must still bring its token. Where that middleware is not
    installed, `csrf_protect` in front of the view is heard.
    """

    def __bool__(self) -> bool:
        return _csrf_middleware(tuple(settings.MIDDLEWARE)) is not None


_CHECKS_ITSELF = _ChecksItself()


def _decorated(view: View, *, required: bool) -> View:
    answer = _asynchronous(view, required) if _is_async(view) else _synchronous(view, required)
    answer.accept_websocket = True  # type: ignore[attr-defined]
    answer.require_websocket = required  # type: ignore[attr-defined]
    answer.csrf_exempt = _CHECKS_ITSELF  # type: ignore[attr-defined]
    return answer


def _synchronous(view: View, required: bool) -> View:
    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        found = _prepare(request, view, required)
        if isinstance(found, HttpResponseBase):
            return found
        if found is None:
            return _guarded(view)(request, *args, **kwargs)
        connection = found.connection
        if (response := connection.prepare()) is not None:
            return response
        if not found.has_occasion:
            return connection.finish(HttpResponse())
        request.websocket = WebSocket(found)  # type: ignore[attr-defined]
        result = None
        with found:
            result = found.checked(view, view(request, *args, **kwargs))
        return connection.finish(found.conclude(result))

    return answer


def _asynchronous(view: View, required: bool) -> View:
    async def awaited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return await view(request, *args, **kwargs)

    @wraps(view)
    async def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        found = _prepare(request, view, required)
        if isinstance(found, HttpResponseBase):
            return found
        if found is None:
            return await _guarded(wraps(view)(awaited))(request, *args, **kwargs)
        connection = found.connection
        if (response := await connection.aprepare()) is not None:
            return response
        if not found.has_occasion:
            return await connection.afinish(HttpResponse())
        request.websocket = AsyncWebSocket(found)  # type: ignore[attr-defined]
        result = None
        with found:
            result = found.checked(view, await view(request, *args, **kwargs))
        return await connection.afinish(found.conclude(result))

    return answer


def _is_async(view: View) -> bool:
    if iscoroutinefunction(view):
        return True
    # What method_decorator makes of a class's dispatch(): that returns a coroutine, without saying so.
    method = view.func if isinstance(view, partial) else view
    return bool(getattr(getattr(method, "__self__", None), "view_is_async", False))


def _prepare(request: HttpRequest, view: View, required: bool) -> Turn | HttpResponseBase | None:
    """What the view is to do; None for plain HTTP; a response for what must not reach it."""
    found = _open(request)
    if isinstance(found, HttpResponseBase):
        return found
    if found is None:
        return HttpResponseBadRequest("This view answers WebSockets only.") if required else None
    # What the client has sent is its handshake (RFC 6455 §4.1). Middleware must not be told so: it caches what is got.
    request.method = "GET"
    if getattr(view, "csrf_exempt", False) or not found.connection.opening:
        return found
    return origin_refusal(request) or found


def _guarded(view: View) -> View:
    """A view behind the CsrfViewMiddleware that has let its wrapper pass."""
    middleware = _csrf_middleware(tuple(settings.MIDDLEWARE))
    guarded: View = decorator_from_middleware(middleware)(view) if middleware else view
    return guarded


@lru_cache(maxsize=4)
def _csrf_middleware(paths: tuple[str, ...]) -> type[CsrfViewMiddleware] | None:
    found = map(import_string, paths)
    return next((item for item in found if isinstance(item, type) and issubclass(item, CsrfViewMiddleware)), None)


# Requests -------------------------------------------------------------------------------------------------------


def _open(request: HttpRequest) -> Turn | HttpResponseBase | None:
    """Give the request its `websocket` and `is_websocket`, once. None for plain HTTP; a response to refuse it with."""
    known = getattr(request, "websocket", None)
    if isinstance(known, _Socket):
        return known._turn
    request.websocket = None  # type: ignore[attr-defined]
    request.is_websocket = lambda: request.websocket is not None  # type: ignore[attr-defined]
    try:
        connection = connection_of(request) or (begin(request) if is_batch_request(request) else None)
    except RemoteProtocolError as error:
        return refusal(error)
    if connection is None:
        return _advice() if is_handshake_environ(request.META) else None
    # A batch is answered in plain: middleware must not compress it.
    request.META.pop("HTTP_ACCEPT_ENCODING", None)
    turn = Turn(request, connection)
    request.websocket = WebSocket(turn)  # type: ignore[attr-defined]
    return turn


def _advice() -> HttpResponse:
    return HttpResponse(DIRECT_WEBSOCKET, status=501, content_type="text/plain; charset=utf-8")


# Middleware -----------------------------------------------------------------------------------------------------


class WebSocketMiddleware:
    """Gives every request `is_websocket()` and `websocket`, for views that say `accept_websocket = True` themselves.

    A WebSocket to any other view gets 400, unless WEBSOCKET_ACCEPT_ALL lets every view have them. Put it behind
    GripMiddleware, if that is installed, and in front of the rest.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._acall(request)
        turn = self._open(request)
        if isinstance(turn, HttpResponseBase):
            return turn
        response: HttpResponseBase = self.get_response(request)
        return turn.connection.finish(response) if turn else response

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        turn = self._open(request)
        if isinstance(turn, HttpResponseBase):
            return turn
        response: HttpResponseBase = await self.get_response(request)
        return await turn.connection.afinish(response) if turn else response

    def _open(self, request: HttpRequest) -> Turn | HttpResponseBase | None:
        found = _open(request)
        if isinstance(found, Turn):
            request.__class__ = _resolving(type(request))  # type: ignore[arg-type]
        return found

    def process_view(self, request: HttpRequest, view: View, args: Any, kwargs: Any) -> HttpResponse | None:
        """Answer 400 where view and request do not go together."""
        if isinstance(getattr(request, "websocket", None), _Socket):
            accepted = _accepts(view)
        else:
            accepted = not getattr(view, "require_websocket", False)
        return None if accepted else HttpResponseBadRequest("This view does not answer requests of this kind.")


def _accepts(view: View) -> bool:
    return bool(getattr(view, "accept_websocket", False) or getattr(settings, "WEBSOCKET_ACCEPT_ALL", False))


@lru_cache(maxsize=8)
def _resolving(cls: type[HttpRequest]) -> type[HttpRequest]:
    """A request class that decorates the view which it is told to have been resolved.

    So a view without decorator is run as one with it, at its own place behind all middleware: what it raises to be
    left must reach neither them nor a transaction around it.
    """

    def resolver_match(self: HttpRequest) -> ResolverMatch | None:
        found: ResolverMatch | None = vars(self).get("resolver_match")
        return found

    def resolved(self: HttpRequest, match: ResolverMatch | None) -> None:
        # Decorators of others copy our mark.
        decorated = getattr(match and match.func, "csrf_exempt", False) is _CHECKS_ITSELF
        if match is not None and _accepts(match.func) and not decorated:
            match.func = accept_websocket(match.func)
        vars(self)["resolver_match"] = match

    return type(cls.__name__, (cls,), {"resolver_match": property(resolver_match, resolved), "__module__": __name__})
