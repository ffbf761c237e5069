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

from grip_consumers.complaints import say_once

__all__ = [
    "ROUTE_IT",
    "is_loaded",
    "known",
    "load_routing",
    "note_arrival",
    "note_unheard",
    "register",
    "register_stream",
    "routed_application",
    "routed_consumers",
    "stream_classes",
]

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


def known() -> frozenset[type]:
    """The routed classes that any process knows which imports the routing. Raises as `load_routing`."""
    load_routing()
    with _lock:
        return frozenset(_classes)


def note_arrival(cls: type, before: frozenset[type]) -> None:
    """Take note of a class that a connection led to, and warn if it was not among those `known` before it came."""
    if cls in before:
        return
    register(cls)
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        # Other processes know of none, as in tests.
        return
    say_once(
        ("unrouted", f"{cls.__module__}.{cls.__qualname__}", ""),
        "%s.%s came to light only when a connection came: importing ASGI_APPLICATION (%r) does not lead to it. Other "
        "processes do not know it, and what they send to groups does not reach its connections. %s",
        *(cls.__module__, cls.__qualname__, path, ROUTE_IT),
    )


def note_unheard(group: str) -> None:
    """Warn that an event was sent to a group by a process that knows nobody who could be in one, if it was."""
    if _classes or _streams:
        return
    path = getattr(settings, "ASGI_APPLICATION", None)
    say_once(
        ("nothing routed", "", ""),
        "An event was sent to the group %r, but nobody gets it, as this process knows no consumer: importing "
        "ASGI_APPLICATION (%r) leads to none. %s",
        *(group, path, ROUTE_IT),
    )


#: What to do about consumers that are made when a connection comes.
ROUTE_IT = (
    "Call as_asgi() where the routing is imported, such as in the list of a URLRouter "
    '(path("ws/", ChatConsumer.as_asgi())), not in a function that is called with a connection.'
)


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
            application = _application(path)
            if _USES_CHANNELS in sys.modules:
                _genuine().find_routed(application)
        _loaded = path
    if _USES_CHANNELS in sys.modules:
        _genuine().fit()


def routed_application() -> Any:
    """What ASGI_APPLICATION names; None without it. Raises as `load_routing`."""
    load_routing()
    path = getattr(settings, "ASGI_APPLICATION", None)
    return _application(path) if path else None


def _application(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name, None)


_USES_CHANNELS = "channels.consumer"


def _genuine() -> Any:
    # By name, as it stands above this module.
    return import_module("grip_consumers.genuine")


_PATH = "the dotted path of the application in your asgi.py, e.g. 'mysite.asgi.application'"
