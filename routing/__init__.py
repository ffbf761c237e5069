"""Routing of connections to consumers (channels.routing). The folder is imported as `grip_consumers.routing`."""

from .application import get_default_application, websocket_application
from .edge import behind_proxy
from .routers import ChannelNameRouter, ProtocolTypeRouter, URLRouter

__all__ = [
    "ChannelNameRouter",
    "ProtocolTypeRouter",
    "URLRouter",
    "behind_proxy",
    "get_default_application",
    "websocket_application",
]
