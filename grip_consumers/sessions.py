"""Cookies and Django sessions in the scope (`channels.sessions`)."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from http.cookies import Morsel, SimpleCookie
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import SuspiciousOperation
from django.http import parse_cookie
from django.utils import timezone
from django.utils.encoding import force_str
from django.utils.functional import LazyObject
from django.utils.http import http_date

from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["CookieMiddleware", "InstanceSessionWrapper", "SessionMiddleware", "SessionMiddlewareStack"]


class CookieMiddleware:
    """Puts the request's cookies into ``scope["cookies"]``, a dict like Django's ``request.COOKIES``."""

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the inner application with the cookies of the first ``cookie`` header, or with none.

        Raises:
            ValueError: the scope has no headers, so it is neither HTTP nor WebSocket.
        """
        if "headers" not in scope:
            raise ValueError(
                "CookieMiddleware was passed a scope that did not have a headers key "
                "(make sure it is only passed HTTP or WebSocket connections)"
            )
        cookies = _cookies(scope["headers"])
        return await self.inner(dict(scope, cookies=cookies), receive, send)

    @classmethod
    def set_cookie(
        cls,
        message: Message,
        key: str,
        value: Any = "",
        max_age: float | None = None,
        expires: str | datetime.datetime | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = False,
        httponly: bool | None = False,
        samesite: str | None = "lax",
    ) -> None:
        """Append a ``Set-Cookie`` header to an outgoing message that carries headers.

        Args:
            message: the event that starts a response; its ``headers`` list is made if it has none.
            key: the cookie's name.
            value: the cookie's value, turned into text.
            max_age: how many seconds the cookie lives; without it, as long as the browser runs.
            expires: when it ends: a date in HTTP's format, or a datetime (naive ones are in UTC), which then
                sets `max_age`.
            path: the path it is sent to.
            domain: the domain it is sent to; without it, this host alone.
            secure: whether it is sent over TLS only.
            httponly: whether it is hidden from scripts.
            samesite: ``"strict"``, ``"lax"``, ``"none"``, or None to leave the choice to the browser.

        Raises:
            AssertionError: `samesite` is something else.
        """
        if samesite is not None and samesite.lower() not in ("strict", "lax", "none"):
            raise AssertionError("samesite must be either 'strict', 'lax' or 'none'")
        cookies: SimpleCookie = SimpleCookie()
        cookies[key] = force_str(value)
        _set_lifetime(cookies[key], max_age, expires)
        flags = {"secure": secure or None, "httponly": httponly or None}
        attributes = {"path": path, "domain": domain, **flags, "samesite": samesite}
        set_ones: dict[str, Any] = {name: text for name, text in attributes.items() if text is not None}
        cookies[key].update(set_ones)
        header = cookies[key].OutputString().encode()
        message.setdefault("headers", []).append((b"Set-Cookie", header))

    @classmethod
    def delete_cookie(cls, message: Message, key: str, path: str | None = "/", domain: str | None = None) -> None:
        """Append a ``Set-Cookie`` header that makes the browser forget a cookie.

        `path` and `domain` must be those it was set with.
        """
        expires = "Thu, 01-Jan-1970 00:00:00 GMT"
        return cls.set_cookie(message, key, max_age=0, path=path, domain=domain, expires=expires)


def _cookies(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    value = next((value for name, value in headers if name == b"cookie"), b"")
    return parse_cookie(value.decode("latin1"))


def _set_lifetime(cookie: Morsel[str], max_age: float | None, expires: str | datetime.datetime | None) -> None:
    if isinstance(expires, datetime.datetime):
        max_age = _seconds_until(expires)
        expires = None
    cookie["expires"] = expires or ""
    if max_age is not None:
        cookie["max-age"] = max_age
        # Old browsers know no Max-Age.
        cookie["expires"] = expires or http_date(time.time() + max_age)


def _seconds_until(moment: datetime.datetime) -> int:
    if timezone.is_naive(moment):
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    # A second more, for the fraction that is cut off when the date is written out in whole seconds.
    delta = moment - datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    return max(0, delta.days * 86400 + delta.seconds)


class InstanceSessionWrapper:
    """The session of one connection: puts it into a copy of the scope, and saves it when a response starts.

    Attributes:
        save_message_types: the events before which a modified session is saved.
        cookie_response_message_types: those of them that can carry the session's cookie.
        scope: the copy of the scope, with ``"session"``.
        activated: whether the session is this wrapper's own. If the scope has had one before, that one is
            left to whoever made it.
    """

    save_message_types = ["http.response.start"]
    cookie_response_message_types = ["http.response.start"]

    def __init__(self, scope: Scope, send: Send) -> None:
        """Raises ValueError if the scope has no cookies, and no session either."""
        self.cookie_name = settings.SESSION_COOKIE_NAME
        self.session_store = import_module(settings.SESSION_ENGINE).SessionStore
        self.scope = dict(scope)
        self.activated = "session" not in self.scope
        if self.activated:
            if "cookies" not in self.scope:
                raise ValueError("No cookies in scope - SessionMiddleware needs to run inside of CookieMiddleware.")
            self.scope["session"] = LazyObject()
        self.real_send = send

    async def resolve_session(self) -> None:
        """Give the lazy session its store; nothing is loaded before it is used."""
        session_key = self.scope["cookies"].get(self.cookie_name)
        self.scope["session"]._wrapped = self.session_store(session_key)

    def acts_on(self, scope_type: str | None) -> bool:
        """Whether a connection of this type can have an event before which the session is saved."""
        # A websocket has none, so wrapping `send` would change nothing but its identity; and whoever is given
        # the server's own `send` knows that nobody between wants to see the events, which is what lets the
        # dispatcher run a stack of applications once per connection.
        return scope_type != "websocket" or any(event.startswith("websocket.") for event in self.save_message_types)

    async def send(self, message: Message) -> Any:
        """Pass an event on, after saving the session if this is the time to."""
        if self.activated:
            # Before saving: a session that was emptied is given a new key by it.
            empty = self.scope["session"].is_empty()
            if self._is_due(message):
                await self.save_session()
                if message["type"] in self.cookie_response_message_types:
                    self._update_cookie(message, empty)
        return await self.real_send(message)

    def _is_due(self, message: Message) -> bool:
        modified = self.scope["session"].modified
        return (
            message["type"] in self.save_message_types
            and message.get("status", 200) != 500
            and (modified or settings.SESSION_SAVE_EVERY_REQUEST)
        )

    def _update_cookie(self, message: Message, empty: bool) -> None:
        if not empty:
            self._set_cookie(message)
        elif settings.SESSION_COOKIE_NAME in self.scope["cookies"]:
            CookieMiddleware.delete_cookie(
                message,
                settings.SESSION_COOKIE_NAME,
                path=settings.SESSION_COOKIE_PATH,
                domain=settings.SESSION_COOKIE_DOMAIN,
            )

    def _set_cookie(self, message: Message) -> None:
        session = self.scope["session"]
        at_browser_close = session.get_expire_at_browser_close()
        max_age = None if at_browser_close else session.get_expiry_age()
        CookieMiddleware.set_cookie(
            message,
            self.cookie_name,
            session.session_key,
            max_age=max_age,
            expires=None if max_age is None else http_date(time.time() + max_age),
            domain=settings.SESSION_COOKIE_DOMAIN,
            path=settings.SESSION_COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE or None,
            httponly=settings.SESSION_COOKIE_HTTPONLY or None,
            samesite=settings.SESSION_COOKIE_SAMESITE,
        )

    async def save_session(self) -> None:
        """Save the session.

        Raises:
            SuspiciousOperation: it was deleted meanwhile.
        """
        try:
            await self.scope["session"].asave()
        except UpdateError as error:
            raise SuspiciousOperation(
                "The request's session was deleted before the request completed. The user may have logged "
                "out in a concurrent request, for example."
            ) from error


class SessionMiddleware:
    """Puts the Django session that the request's cookie names into ``scope["session"]``.

    Has to run inside :class:`CookieMiddleware`. As on Channels, a consumer saves the session itself
    (``await self.scope["session"].asave()``); only an HTTP response saves it by itself.
    """

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the inner application with the session in its scope."""
        wrapper = InstanceSessionWrapper(scope, send)
        await wrapper.resolve_session()
        passed = wrapper.send if wrapper.acts_on(scope.get("type")) else send
        return await self.inner(wrapper.scope, receive, passed)


def SessionMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:  # noqa: N802 - Channels' name
    """Wrap an application in :class:`SessionMiddleware` and the :class:`CookieMiddleware` it needs."""
    return CookieMiddleware(SessionMiddleware(inner))
