"""The base class of middleware around ASGI applications (`channels.middleware`)."""

from __future__ import annotations

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
