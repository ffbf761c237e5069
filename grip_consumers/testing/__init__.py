"""Tests of consumers and of whole sites, with the names of `channels.testing` and more.

    application, http, websocket   Channels' communicators, which drive an ASGI application themselves
    grip                           GripCommunicator: the same interface, one batch after the other, as behind a proxy
    sync                           SyncCommunicator: the same without a coroutine, for a plain Django TestCase
    live                           test cases that serve the project for browsers and WebSocket clients
    pytest_plugin                  fixtures for all of it
    pushpin, processes             a private Pushpin, and servers as child processes

Only `live` needs more than this package: `pip install 'grip-consumers[server]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .application import ApplicationCommunicator as ApplicationCommunicator
    from .grip import GripCommunicator as GripCommunicator
    from .http import HttpCommunicator as HttpCommunicator
    from .live import ChannelsLiveServerTestCase as ChannelsLiveServerTestCase
    from .live import GripLiveServerTestCase as GripLiveServerTestCase
    from .sync import SyncCommunicator as SyncCommunicator
    from .websocket import WebsocketCommunicator as WebsocketCommunicator

#: By the module that has each: pytest imports this package for its plugin, long before there are settings.
_NAMES = {
    "ApplicationCommunicator": "application",
    "ChannelsLiveServerTestCase": "live",
    "GripCommunicator": "grip",
    "GripLiveServerTestCase": "live",
    "HttpCommunicator": "http",
    "SyncCommunicator": "sync",
    "WebsocketCommunicator": "websocket",
}

__all__ = [*_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
