"""Django Channels consumers with no connection in Python.

A GRIP proxy holds the sockets; each burst of frames reaches the consumer as one HTTP request. Importing this
package imports nothing else: the names of the public modules are those of `channels`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

#: The alias of the channel layer that consumers use unless they name another (channels.DEFAULT_CHANNEL_LAYER).
DEFAULT_CHANNEL_LAYER = "default"


#: The names of the view-style APIs, by the module that has each.
_VIEW_NAMES = {
    "GripMiddleware": "views.middleware",
    "websocket_only": "views.grip",
    "set_hold_stream": "views.grip",
    "set_hold_longpoll": "views.grip",
    "publish": "views.grip",
    "get_pubcontrol": "views.grip",
    "accept_websocket": "views.websocket",
    "require_websocket": "views.websocket",
    "WebSocketRequest": "views.bridge",
    "ViewConsumer": "views.bridge",
    "AsyncViewConsumer": "views.bridge",
    "EventStream": "views.streams",
    "LongPoll": "views.streams",
}


def __getattr__(name: str) -> Any:
    """The view-style names, imported when they are asked for."""
    if name in _VIEW_NAMES:
        return getattr(import_module(f"{__name__}.{_VIEW_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_VIEW_NAMES})
