"""Libraries that are written for Channels: what becomes of them when a project moves over."""

from __future__ import annotations

import libcst as cst

from .names import NEW, OLD
from .source import Source

__all__ = ["plan"]

#: Packages of layers: importing them says nothing of consumers.
_LAYERS = {"channels_postgres", "channels_rabbitmq", "channels_redis", "channels_valkey"}
#: Libraries of consumers for Channels whose names do not say so.
_LIBRARIES = {"strawberry.channels", "turbo", "django_private_chat2", "notifs"}
_SUBSCRIPTIONS = "use subscriptions over SSE or multipart responses"
#: Libraries whose consumers need a process for each connection: what they do there, and what to do instead.
_CONNECTED = {
    "strawberry.channels": ("accepts and answers from tasks that outlive a message", _SUBSCRIPTIONS),
    "channels_graphql_ws": ("keeps tasks and locks for each connection", _SUBSCRIPTIONS),
    "channelsmultiplexer": (
        "runs an application for each stream, as long as the connection lives",
        "give each stream a connection of its own",
    ),
}


def plan(source: Source, node: cst.CSTNode, module: str, *, local: frozenset[str], as_channels: bool) -> None:
    """Note an import of something that is written for Channels.

    Args:
        source: the file.
        node: the import.
        module: what is imported, absolutely.
        local: top-level packages of the project's own, which are nobody's library.
        as_channels: whether the project gives this package to libraries that import `channels`.
    """
    root = module.split(".")[0]
    connected = next((name for name in _CONNECTED if f"{module}.".startswith(f"{name}.")), "")
    if root == "daphne":
        text = "This is Daphne's own. Any WSGI or ASGI server behind the proxy will do; see the deployment page."
        source.note(node, "daphne", text)
    elif root == OLD or root in local | _LAYERS:
        return
    elif connected:
        source.note(node, "third-party", _needs_connections(connected))
    elif not as_channels and (OLD in root or root in _LIBRARIES):
        text = (
            f"`{root}` is written for Channels and imports it. Begin your settings with "
            f"`import {NEW}.as_channels`, which gives it this package instead."
        )
        source.note(node, "third-party", text)


def _needs_connections(library: str) -> str:
    reason, instead = _CONNECTED[library]
    return (
        f"`{library}` {reason}: its WebSockets need a server that holds connections. Leave these routes on an ASGI "
        f'server with Channels ("Both ways at once" in the migration page), or {instead}.'
    )
