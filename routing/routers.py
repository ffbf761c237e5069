"""Routers: ASGI applications that hand a connection on to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.urls.exceptions import Resolver404
from django.urls.resolvers import RegexPattern, RoutePattern, URLPattern, URLResolver

from grip_consumers.batch import EXTENSION
from grip_consumers.dispatcher import Dispatcher, NoRoute
from grip_consumers.handshake import is_batch_scope
from grip_consumers.types import ASGIApplication, Receive, Scope, Send

from .edge import answer_batch, refuse_direct_websocket

__all__ = ["ChannelNameRouter", "ProtocolTypeRouter", "URLRouter"]


class ProtocolTypeRouter:
    """Hands a scope on by its type: `ProtocolTypeRouter({"http": …, "websocket": …})`.

    A batch of WebSocket events comes as an HTTP request and is recognised here; the application for "websocket"
    gets the scope of the connection that it belongs to. A client's own WebSocket, which no process here could
    hold, is refused with status 501. Raises ValueError for a type without an application.
    """

    def __init__(self, application_mapping: Mapping[str, ASGIApplication]) -> None:
        self.application_mapping = application_mapping
        self._dispatcher = Dispatcher(lambda: self.application_mapping["websocket"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope["type"]
        if kind == "http" and "websocket" in self.application_mapping and is_batch_scope(scope):
            return await answer_batch(self._dispatcher, scope, receive, send, self.application_mapping.get("http"))
        if kind == "websocket" and _is_from_server(scope):
            return await refuse_direct_websocket(scope, receive, send)
        if kind in self.application_mapping:
            return await self.application_mapping[kind](scope, receive, send)
        error = NoRoute if EXTENSION in scope.get("extensions", {}) else ValueError
        raise error(f"No application configured for scope type {kind!r}")


def _is_from_server(scope: Scope) -> bool:
    # Every ASGI server sets "asgi". A test's communicator, which drives the consumer itself, does not.
    return "asgi" in scope and EXTENSION not in scope.get("extensions", {})


class URLRouter:
    """Hands a connection on by its path, with Django's `path()` and `re_path()`; routers may be nested.

    Adds `url_route` ({"args": tuple, "kwargs": dict}) and `path_remaining` to the scope. Raises ValueError if no
    route matches; a nested router raises Resolver404, so that the outer one tries its next route.
    """

    #: Tells an outer router that a route to this one must match only the beginning of the path.
    _path_routing: ClassVar[bool] = True

    def __init__(self, routes: Sequence[Any]) -> None:
        self.routes = routes
        for route in routes:
            if getattr(route.callback, "_path_routing", False) is True:
                _match_beginning(route)
            if not route.callback and isinstance(route, URLResolver):
                raise ImproperlyConfigured(
                    f"{route}: include() is not supported in URLRouter. Use nested URLRouter instances instead."
                )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        path = self._path(scope)
        for route in self.routes:
            try:
                match = route.pattern.match(path)
                if match:
                    return await route.callback(_routed(scope, route, *match), receive, send)
            except Resolver404:
                # Also one that comes from a nested router: the next route may match.
                continue
        if "path_remaining" in scope:
            raise Resolver404(f"No route found for path {path!r}.")
        raise NoRoute(f"No route found for path {path!r}.")

    def _path(self, scope: Scope) -> str:
        path = scope.get("path_remaining", scope.get("path"))
        if path is None:
            raise ValueError("No 'path' key in connection scope, cannot route URLs")
        if "path_remaining" not in scope:
            root_path = scope.get("root_path", "")
            if root_path and not path.startswith(root_path):
                raise NoRoute(f"No route found for path {path!r}.")
            path = path[len(root_path) :]
        return str(path.lstrip("/"))


def _match_beginning(route: Any) -> None:
    pattern = route.pattern
    if isinstance(pattern, RegexPattern):
        argument: Any = pattern._regex  # type: ignore[attr-defined]
    elif isinstance(pattern, RoutePattern):
        argument = pattern._route  # type: ignore[attr-defined]
    else:
        raise ValueError(f"Unsupported pattern type: {type(pattern)}")
    route.pattern = pattern.__class__(argument, pattern.name, is_endpoint=False)


def _routed(
    scope: Scope, route: URLPattern, remaining: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    outer = scope.get("url_route", {})
    return {
        **scope,
        "path_remaining": remaining,
        "url_route": {
            "args": outer.get("args", ()) + args,
            "kwargs": {**outer.get("kwargs", {}), **kwargs, **route.default_args},
        },
    }


class ChannelNameRouter:
    """Hands a scope on by its `channel`, for workers. Raises ValueError for a name without an application."""

    def __init__(self, application_mapping: Mapping[str, ASGIApplication]) -> None:
        self.application_mapping = application_mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if "channel" not in scope:
            raise ValueError(
                "ChannelNameRouter got a scope without a 'channel' key. "
                "Did you make sure it's only being used for 'channel' type messages?"
            )
        if scope["channel"] in self.application_mapping:
            return await self.application_mapping[scope["channel"]](scope, receive, send)
        raise ValueError(f"No application configured for channel name {scope['channel']!r}")
