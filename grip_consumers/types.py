"""Names for what passes between applications (the ASGI specification, version 3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["ASGIApplication", "Message", "Receive", "Scope", "Send"]

#: What is known about a connection: ``type``, ``path``, ``headers`` … and whatever middleware adds.
Scope: TypeAlias = MutableMapping[str, Any]

#: One event, in or out; its ``type`` says which.
Message: TypeAlias = MutableMapping[str, Any]

#: Waits for the next event of the connection.
Receive: TypeAlias = Callable[[], Awaitable[Message]]

#: Hands one event to the server.
Send: TypeAlias = Callable[[Message], Awaitable[None]]

#: An ASGI application, single callable style.
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[Any]]
