"""The project's ASGI application."""

from __future__ import annotations

import importlib
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler

from grip_consumers.dispatcher import NoRoute
from grip_consumers.types import ASGIApplication, Receive, Scope, Send

__all__ = ["get_default_application", "websocket_application"]


def get_default_application() -> Any:
    """The application that the setting ASGI_APPLICATION names (channels.routing.get_default_application).

    Raises ImproperlyConfigured when there is no such setting, module or name.
    """
    try:
        path, name = settings.ASGI_APPLICATION.rsplit(".", 1)
    except (ValueError, AttributeError):
        raise ImproperlyConfigured("Cannot find ASGI_APPLICATION setting.") from None
    try:
        module = importlib.import_module(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"Cannot import ASGI_APPLICATION module {path!r}") from error
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImproperlyConfigured(f"Cannot find {name!r} in ASGI_APPLICATION module {path}") from None


def websocket_application() -> ASGIApplication:
    """The default application, for websocket scopes.

    Django's own ASGI application has no routes for them, nor has a project without ASGI_APPLICATION: its views answer.
    """
    if getattr(settings, "ASGI_APPLICATION", None) is None:
        return _no_routes
    application: ASGIApplication = get_default_application()
    return _no_routes if isinstance(application, ASGIHandler) else application


async def _no_routes(scope: Scope, receive: Receive, send: Send) -> None:
    raise NoRoute(f"No route found for path {scope['path']!r}.")
