"""The base class of middleware around ASGI applications (`channels.middleware`).

Also the place at which a project's MIDDLEWARE names `WebSocketMiddleware`, which is one of Django's kind.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from grip_consumers.types import ASGIApplication, Receive, Scope, Send

__all__ = ["BaseMiddleware"]


class BaseMiddleware:
    """Passes each connection on to the application it wraps, with a copy of the scope.

    One instance serves all connections at the same time: keep what belongs to a connection in the scope,
    never on the instance.
    """

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the inner application on a copy of the scope, so that its changes do not reach outer ones."""
        return await self.inner(dict(scope), receive, send)


def __getattr__(name: str) -> Any:
    if name == "WebSocketMiddleware":
        # By name, when it is asked for: the views stand above this module.
        return import_module("grip_consumers.views.websocket").WebSocketMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
