"""Where a WebSocket that a view answers was opened from, in place of CsrfViewMiddleware's tokens.

A browser sends cookies along with every WebSocket, whichever site opened it, but no token can be in a handshake. It
tells that site in the Origin header, though (RFC 6455 §10.2), which is held against what CsrfViewMiddleware accepts:
the request's own host, and CSRF_TRUSTED_ORIGINS.
"""

from __future__ import annotations

import logging
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string

__all__ = ["origin_refusal"]

logger = logging.getLogger("grip_consumers.security")


def origin_refusal(request: HttpRequest) -> HttpResponse | None:
    """A 403 if a handshake comes from a foreign site, else None.

    None also for a project without CsrfViewMiddleware, and for a request without an Origin, which no browser makes.
    Whoever asks minds that later batches have passed already, and that a view may be `csrf_exempt`.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or not _is_protected(tuple(settings.MIDDLEWARE)) or _Check(_nothing)._origin_verified(request):
        return None
    logger.warning(
        "Refused a WebSocket to %s with Origin %.200r: expected the host of the request (its scheme too: see "
        "SECURE_PROXY_SSL_HEADER) or one of CSRF_TRUSTED_ORIGINS.",
        request.path,
        origin,
    )
    return HttpResponse("Forbidden: this origin may not connect.\n", status=403, content_type="text/plain")


class _Check(CsrfViewMiddleware):
    """For its reading of the settings: it remembers them as long as it lives."""

    def _origin_verified(self, request: HttpRequest) -> bool:
        return bool(super()._origin_verified(request))  # type: ignore[misc]  # not in the stubs


def _nothing(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


@lru_cache(maxsize=4)
def _is_protected(middleware: tuple[str, ...]) -> bool:
    return any(_is_csrf(import_string(path)) for path in middleware)


def _is_csrf(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, CsrfViewMiddleware)
