"""Checks on where a WebSocket was opened from (`channels.security.websocket`).

A browser sends cookies along with every WebSocket, whichever site opened it, and tells that site only in the
``Origin`` header (RFC 6455 §10.2); a project that trusts cookies has to look at it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import ParseResult, urlparse

from django.conf import settings
from django.http.request import is_same_domain  # type: ignore[attr-defined]  # missing in the stubs

from grip_consumers.generic.websocket import AsyncWebsocketConsumer
from grip_consumers.types import ASGIApplication, Receive, Scope, Send

__all__ = ["AllowedHostsOriginValidator", "OriginValidator", "WebsocketDenier"]

logger = logging.getLogger("grip_consumers.security")

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class OriginValidator:
    """Lets WebSockets through to the application only if their ``Origin`` is in a list.

    What it refuses is logged as a warning by ``grip_consumers.security``, an origin at most once a minute.

    Args:
        application: the application to protect.
        allowed_origins: patterns, see :meth:`match_allowed_origin`; ``"*"`` allows everything, even no
            origin.
    """

    def __init__(self, application: ASGIApplication, allowed_origins: Sequence[str]) -> None:
        self.application = application
        self.allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application, or refuse the connection.

        Raises:
            ValueError: the connection is not a WebSocket.
        """
        if scope["type"] != "websocket":
            raise ValueError("You cannot use OriginValidator on a non-WebSocket connection")
        origin = _origin(scope.get("headers", []))
        if self.valid_origin(_parse(origin)):
            return await self.application(scope, receive, send)
        _log_refusal(origin, self.allowed_origins)
        return await WebsocketDenier()(scope, receive, send)

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether a connection from this origin may pass; None stands for a missing or unreadable header."""
        if parsed_origin is None and "*" not in self.allowed_origins:
            return False
        return self.validate_origin(parsed_origin)

    def validate_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether any of the allowed patterns matches the origin; override it to decide otherwise."""
        return any(
            pattern == "*" or self.match_allowed_origin(parsed_origin, pattern) for pattern in self.allowed_origins
        )

    def match_allowed_origin(self, parsed_origin: ParseResult | None, pattern: str) -> bool:
        """Whether an origin matches one pattern.

        A pattern is a host (``example.com``), which leaves scheme and port free, or a scheme, a host and
        optionally a port (``https://example.com:8443``), all of which have to match; without a port, the
        scheme's default is meant. A host that begins with a period includes its subdomains (``.example.com``,
        ``https://.example.com``).
        """
        if parsed_origin is None or parsed_origin.hostname is None:
            return False
        parsed_pattern = urlparse(pattern)
        if not parsed_pattern.scheme:
            pattern_hostname = urlparse("//" + pattern).hostname or pattern
            return bool(is_same_domain(parsed_origin.hostname, pattern_hostname))
        try:
            origin_port = self.get_origin_port(parsed_origin)
        except ValueError:  # an impossible port: the client's fault, so it is refused like any other origin
            return False
        return (
            parsed_pattern.scheme == parsed_origin.scheme
            and origin_port == self.get_origin_port(parsed_pattern)
            and is_same_domain(parsed_origin.hostname, parsed_pattern.hostname or "")
        )

    def get_origin_port(self, origin: ParseResult) -> int | None:
        """Return the origin's port, else the default one of its scheme, else None.

        Raises:
            ValueError: the port is not a number below 65,536.
        """
        return _DEFAULT_PORTS.get(origin.scheme) if origin.port is None else origin.port


def AllowedHostsOriginValidator(application: ASGIApplication) -> OriginValidator:  # noqa: N802 - Channels' name
    """Wrap an application in an :class:`OriginValidator` for the hosts in ``ALLOWED_HOSTS``, as they are now.

    With ``DEBUG`` and an empty list those are the local ones, as for Django's requests.
    """
    allowed_hosts: Sequence[str] = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed_hosts:
        allowed_hosts = ["localhost", "127.0.0.1", "[::1]"]
    return OriginValidator(application, allowed_hosts)


class WebsocketDenier(AsyncWebsocketConsumer):
    """A consumer that refuses every connection."""

    async def connect(self) -> None:
        """Refuse the connection."""
        await self.close()


def _origin(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The value of the last ``origin`` header."""
    values = [value for name, value in headers if name == b"origin"]
    return values[-1].decode("latin1") if values else None


def _parse(origin: str | None) -> ParseResult | None:
    if origin is None:
        return None
    try:
        return urlparse(origin)
    except ValueError:
        return None


class _Throttle:
    """Says which of many texts were not seen within the last minute, in bounded memory.

    Once as many different texts as it remembers have come within a minute, it lets no further one through: a
    client may invent a new origin for each request, and is not to fill the log.
    """

    def __init__(self, seconds: float = 60, size: int = 256) -> None:
        self.seconds = seconds
        self.size = size
        self._until: dict[str, float] = {}

    def permits(self, text: str, now: float) -> bool:
        """Whether `text` may be logged at `now`, a number of seconds on any one clock."""
        if self._until.get(text, now) > now:
            return False
        self._until = {known: until for known, until in self._until.copy().items() if until > now}
        if len(self._until) >= self.size:
            return False
        self._until[text] = now + self.seconds
        return True


_refusals = _Throttle()


def _log_refusal(origin: str | None, allowed_origins: Sequence[str]) -> None:
    shown = "no Origin header" if origin is None else f"Origin {origin[:200]!r}"
    if _refusals.permits(shown, time.monotonic()):
        logger.warning(
            "Refused a WebSocket with %s: allowed are %s. If it comes from a site of yours, add its host to "
            "ALLOWED_HOSTS or to the list given to OriginValidator.",
            shown,
            list(allowed_origins),
        )
