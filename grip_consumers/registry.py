"""The classes that are routed in this process: those that `as_asgi` was called on, and HTTP views in groups.

A sender must know them all, whichever process it runs in, because each class renders an event its own way.
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

__all__ = ["is_loaded", "load_routing", "register", "register_stream", "routed_consumers", "stream_classes"]

logger = logging.getLogger("grip_consumers.streams")

_classes: weakref.WeakSet[type] = weakref.WeakSet()
#: Those whose responses a proxy holds: see `streams`.
_streams: weakref.WeakSet[type] = weakref.WeakSet()
#: A set must not grow while somebody goes through it.
_lock = threading.Lock()
#: Held while the routing is imported, which may itself ask for what is routed.
_loading = threading.RLock()
#: The ASGI_APPLICATION that was imported last.
_loaded: str | None = None
#: The ROOT_URLCONF that was imported last.
_loaded_urls: object = None


def register(cls: type) -> None:
    """Remember that `cls` is routed."""
    with _lock:
        _classes.add(cls)


def routed_consumers() -> list[type[Any]]:
    """All routed classes, by name. Imports ASGI_APPLICATION first, so that its routing has run.

    Raises ImproperlyConfigured for an ASGI_APPLICATION that is no dotted path, and without any when nothing
    has been routed yet.
    """
    load_routing()
    with _lock:
        classes = list(_classes)
    if not classes and not _streams and not getattr(settings, "ASGI_APPLICATION", None):
        raise ImproperlyConfigured(
            "Cannot find ASGI_APPLICATION setting. A message can only be sent to a group by a process that "
            f"knows the consumers: set ASGI_APPLICATION to {_PATH}."
        )
    return sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__))


def register_stream(cls: type) -> None:
    """Remember that the responses of `cls` can be in groups."""
    with _lock:
        _streams.add(cls)


def stream_classes() -> list[type[Any]]:
    """All such classes, by name. Imports ROOT_URLCONF and ASGI_APPLICATION first; raises as `load_routing`."""
    _load_urls()
    load_routing()
    if not _streams:
        return []
    with _lock:
        classes = list(_streams)
    return sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__))


def is_loaded() -> bool:
    """Whether `stream_classes` has nothing to import any more, which may take a while."""
    urls, path = getattr(settings, "ROOT_URLCONF", None), getattr(settings, "ASGI_APPLICATION", None)
    return urls == _loaded_urls and (not path or path == _loaded)


def _load_urls() -> None:
    """Import the URLconf and all that it includes. One that fails is logged: there may be no streams in it at all."""
    global _loaded_urls
    urls = getattr(settings, "ROOT_URLCONF", None)
    if urls == _loaded_urls:
        return
    with _loading:
        try:
            if isinstance(urls, str) and urls:
                import_module(urls)
        except Exception:
            logger.exception("ROOT_URLCONF %r cannot be imported: group events do not reach the streams in it", urls)
        _loaded_urls = urls


def load_routing() -> None:
    """Import ASGI_APPLICATION, if there is one; an import that fails is the project's own error to see.

    Under a lock: two threads that import what imports each other, from two sides, may be given half-made modules.

    Raises ImproperlyConfigured for what is no dotted path.
    """
    global _loaded
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path and path != _loaded:
        module = path.rpartition(".")[0] if isinstance(path, str) else ""
        if not module:
            raise ImproperlyConfigured(f"ASGI_APPLICATION must be {_PATH}, got {path!r}.")
        with _loading:
            application = getattr(import_module(module), path.rpartition(".")[2], None)
            if _USES_CHANNELS in sys.modules:
                _genuine().find_routed(application)
        _loaded = path
    if _USES_CHANNELS in sys.modules:
        _genuine().fit()


_USES_CHANNELS = "channels.consumer"


def _genuine() -> Any:
    # By name, as it stands above this module.
    return import_module("grip_consumers.genuine")


_PATH = "the dotted path of the application in your asgi.py, e.g. 'mysite.asgi.application'"
