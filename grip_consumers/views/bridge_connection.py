"""The WebSocket behind a request that came as a message: what the request takes from it, and what a view can do."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, parse_cookie
from django.middleware.csrf import CsrfViewMiddleware

from grip_consumers.exceptions import InvalidChannelLayerError
from grip_consumers.generic.websocket import _group_function
from grip_consumers.types import Scope

__all__ = ["Connection", "origin_is_trusted"]

logger = logging.getLogger("grip_consumers.views")

#: Headers of the handshake that are about the handshake, and prefixes of such; and those that a proxy adds to it.
_OF_THE_HANDSHAKE = frozenset(
    {"accept", "accept-encoding", "connection", "connection-id", "expect", "keep-alive", "proxy-connection", "range"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
_PREFIXES_OF_THE_HANDSHAKE = ("content-", "grip-", "if-", "meta-", "sec-websocket-", "set-meta-")
_SCHEMES = {"wss": "https", "https": "https"}


class Connection:
    """The WebSocket that a request came by: ``request.connection`` in a view.

    Attributes:
        scope: the connection's ASGI scope.
        channel_name: by which ``channel_layer.send`` reaches it.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    @property
    def scope(self) -> Scope:
        scope: Scope = self._consumer.scope
        return scope

    @property
    def channel_name(self) -> str:
        self._layer()
        name: str = self._consumer.channel_name
        return name

    def group_add(self, group: str) -> None:
        """Add the connection to a group. Raises as the channel layer does."""
        _group_function(self._layer(), "group_add")(group, self.channel_name)

    def group_discard(self, group: str) -> None:
        """Take the connection out of a group. Raises as the channel layer does."""
        _group_function(self._layer(), "group_discard")(group, self.channel_name)

    async def agroup_add(self, group: str) -> None:
        """As :meth:`group_add`, for asynchronous views."""
        await self._layer().group_add(group, self.channel_name)

    async def agroup_discard(self, group: str) -> None:
        """As :meth:`group_discard`, for asynchronous views."""
        await self._layer().group_discard(group, self.channel_name)

    def _layer(self) -> Any:
        layer = self._consumer.channel_layer
        if layer is None:
            alias = self._consumer.channel_layer_alias
            raise InvalidChannelLayerError(f"Groups need a channel layer, and CHANNEL_LAYERS has none named {alias!r}.")
        return layer

    # For WebSocketRequest -------------------------------------------------------------------------------------

    @property
    def root_path(self) -> str:
        return self.scope.get("root_path") or ""

    def environ(self, *, anonymous: bool) -> dict[str, Any]:
        """What the handshake says about the client, as items of a WSGI environ (PEP 3333).

        The session is the one in the scope; `anonymous` leaves it out. An Authorization stays: a message that has one
        of its own overrides it.
        """
        scope = self.scope
        environ: dict[str, Any] = {
            "SCRIPT_NAME": self.root_path.encode("utf-8").decode("latin-1"),
            "wsgi.url_scheme": _SCHEMES.get(scope.get("scheme", ""), "http"),
        }
        environ.update(_addresses(scope))
        environ.update(_header_items(scope.get("headers", ())))
        if anonymous:
            _exchange_session(environ, None)
        elif "session" in scope:
            _exchange_session(environ, scope["session"].session_key)
        return environ

    def attach(self, request: HttpRequest, *, anonymous: bool, bare: bool) -> None:
        """Give a request its connection and, unless it is `anonymous`, the connection's user."""
        own: Any = request
        own.connection = self
        # The page that opened the socket was looked at: see `origin_is_trusted`.
        own._dont_enforce_csrf_checks = True
        if anonymous:
            return
        if bare:
            # What the middleware would have set.
            for name in ("session", "user"):
                if name in self.scope:
                    setattr(own, name, self.scope[name])
        elif (user := _user_of_no_session(self.scope)) is not None:
            # Where AuthenticationMiddleware keeps what it has found in the session. `user` for projects without it.
            own.user = own._cached_user = own._acached_user = user

    def take_over(self, request: Any) -> None:
        """Let the connection have the session that a view has given its request, by logging in or out."""
        session, scope = getattr(request, "session", None), self.scope
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if session is None or session.session_key == key:
            return
        from django.contrib.auth.models import AnonymousUser

        user_id = _login_in(session)
        if user_id != _login_in(scope.get("session")):
            if user_id is not None and key is not None and key == self._session_of_the_browser():
                logger.warning(
                    "A message to %s has logged in: the browser's session cookie is of no use now. It names the "
                    "session before, which a login replaces, and a message cannot change it. Log in by HTTP, and open "
                    "the socket afterwards.",
                    request.path,
                )
            scope["user"] = AnonymousUser() if user_id is None else request.user
        scope["session"] = session

    def _session_of_the_browser(self) -> str | None:
        cookies = parse_cookie(_header_items(self.scope.get("headers", ())).get("HTTP_COOKIE", ""))
        return cookies.get(settings.SESSION_COOKIE_NAME)


def _addresses(scope: Scope) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    for key, names in (("server", ("SERVER_NAME", "SERVER_PORT")), ("client", ("REMOTE_ADDR", "REMOTE_PORT"))):
        address = scope.get(key)
        if address and address[0]:
            # As a path, a UNIX socket has no port.
            environ.update(zip(names, (address[0], str(address[1] or 0)), strict=True))
    return environ


def _header_items(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The client's own headers, repeated ones joined (RFC 9110 §5.3; cookies: RFC 6265bis §5.8.2)."""
    items: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # An underscore would make two names one (Django leaves those out, too).
        if "_" in name or name in _OF_THE_HANDSHAKE or name.startswith(_PREFIXES_OF_THE_HANDSHAKE):
            continue
        key = f"HTTP_{name.upper().replace('-', '_')}"
        items[key] = f"{items[key]}{'; ' if name == 'cookie' else ','}{value}" if key in items else value
    return items


def _exchange_session(environ: dict[str, Any], key: str | None) -> None:
    """Put a session's key into the Cookie header, or none; the other cookies stay as the client wrote them."""
    name = settings.SESSION_COOKIE_NAME
    pairs = [pair.strip() for pair in environ.pop("HTTP_COOKIE", "").split(";")]
    pairs = [pair for pair in pairs if pair and pair.partition("=")[0].strip() != name]
    if key:
        pairs.append(f"{name}={key}")
    if pairs:
        environ["HTTP_COOKIE"] = "; ".join(pairs)


def _login_in(session: Any) -> Any:
    """Who is logged in by a session, as far as it has been read: nobody asks its store here."""
    return (getattr(session, "_session_cache", None) or {}).get(SESSION_KEY)


def _user_of_no_session(scope: Scope) -> Any:
    """The scope's user, if something else than its session says who it is.

    A user whom the session names is left to Django's middleware, which asks the session and the database: as by HTTP,
    whoever was logged out elsewhere, or locked out, is nobody from the next message on.
    """
    user = scope.get("user")
    known = user is not None and user.is_authenticated and _login_in(scope.get("session")) is None
    return user if known else None


def origin_is_trusted(connection: Connection) -> bool:
    """Whether the handshake's Origin is of its own host or in CSRF_TRUSTED_ORIGINS; none is fine, as no browser's."""
    environ = {**connection.environ(anonymous=True), "REQUEST_METHOD": "GET", "wsgi.input": BytesIO()}
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return True
    request, rules = WSGIRequest(environ), CsrfViewMiddleware(_nothing)
    if rules._origin_verified(request):  # type: ignore[attr-defined]
        return True
    try:
        # Behind a proxy that ends TLS the scheme is often not known here.
        return bool(urlsplit(origin).netloc == request.get_host())
    except (ValueError, DisallowedHost):
        return False


def _nothing(request: HttpRequest) -> HttpResponse:
    raise AssertionError("only the rules of the middleware are asked")
