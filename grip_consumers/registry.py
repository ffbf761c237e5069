"""The consumer classes that are routed in this process: those that `as_asgi` was called on.

A sender must know them all, whichever process it runs in, because each class renders an event its own way.
"""

from __future__ import annotations

import threading
import weakref
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

__all__ = ["register", "routed_consumers"]

_classes: weakref.WeakSet[type] = weakref.WeakSet()
#: A set must not grow while somebody goes through it.
_lock = threading.Lock()


def register(cls: type) -> None:
    """Remember that `cls` is routed."""
    with _lock:
        _classes.add(cls)


def routed_consumers() -> list[type[Any]]:
    """All routed classes, by name. Imports ASGI_APPLICATION first, so that its routing has run.

    Raises ImproperlyConfigured for an ASGI_APPLICATION that is no dotted path, and without any when nothing
    has been routed yet.
    """
    _load_routing()
    with _lock:
        classes = list(_classes)
    return sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__))


def _load_routing() -> None:
    path = getattr(settings, "ASGI_APPLICATION", None)
    if path:
        module = path.rpartition(".")[0] if isinstance(path, str) else ""
        if not module:
            raise ImproperlyConfigured(f"ASGI_APPLICATION must be {_PATH}, got {path!r}.")
        # Answered at once after the first time. An import that fails is the project's own error to see.
        import_module(module)
    elif not _classes:
        raise ImproperlyConfigured(
            "Cannot find ASGI_APPLICATION setting. A message can only be sent to a group by a process that "
            f"knows the consumers: set ASGI_APPLICATION to {_PATH}."
        )


_PATH = "the dotted path of the application in your asgi.py, e.g. 'mysite.asgi.application'"
