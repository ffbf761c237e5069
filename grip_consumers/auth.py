"""Django's users in the scope (`channels.auth`).

None of these functions saves the session: in a WebSocket consumer call ``await scope["session"].asave()``
after :func:`login` or :func:`logout`, as on Channels.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_backends,
    user_logged_in,
    user_logged_out,
)
from django.utils.crypto import constant_time_compare

from grip_consumers.db import database_sync_to_async
from grip_consumers.identity import is_current, session_user_id, stored_user
from grip_consumers.middleware import BaseMiddleware
from grip_consumers.sessions import CookieMiddleware, SessionMiddleware
from grip_consumers.state import StoredLazyObject
from grip_consumers.types import ASGIApplication, Receive, Scope, Send

__all__ = ["AuthMiddleware", "AuthMiddlewareStack", "UserLazyObject", "get_user", "login", "logout"]

_NO_SESSION = "Cannot find session in scope. You should wrap your consumer in SessionMiddleware."


@database_sync_to_async
def get_user(scope: Scope) -> Any:
    """Return the user whom the scope's session is logged in as, else an ``AnonymousUser``.

    A session whose hash no longer fits (the password was changed) is flushed.

    Raises:
        ValueError: the scope has no session.
    """
    # Models can be imported only once Django has been set up, which may be after this module is imported.
    from django.contrib.auth.models import AnonymousUser

    if "session" not in scope:
        raise ValueError(_NO_SESSION)
    session = scope["session"]
    user = stored_user(session)
    if hasattr(user, "get_session_auth_hash") and not is_current(session, user):
        session.flush()
        user = None
    return user or AnonymousUser()


@database_sync_to_async
def login(scope: Scope, user: Any, backend: str | None = None) -> None:
    """Log a user in: into the scope, and into its session.

    What an anonymous session holds is kept, under a new key; the session of another user is flushed first.
    Sends Django's ``user_logged_in`` with ``request=None``.

    Args:
        scope: a scope with a session.
        user: a user model's instance; None takes the scope's own.
        backend: dotted path of the authentication backend; needed if there are several and the user does not
            say by which it was authenticated.

    Raises:
        ValueError: there is no session, no user, or more than one backend to choose from.
    """
    if "session" not in scope:
        raise ValueError(_NO_SESSION)
    user = scope.get("user") if user is None else user
    if user is None:
        raise ValueError("User must be passed as an argument or must be present in the scope.")
    session = scope["session"]
    session_auth_hash = user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else ""
    _renew(session, user, session_auth_hash)
    backend = _backend_path(user, backend)
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = backend
    session[HASH_SESSION_KEY] = session_auth_hash
    scope["user"] = user
    user_logged_in.send(sender=user.__class__, request=None, user=user)


def _renew(session: Any, user: Any, session_auth_hash: str) -> None:
    if SESSION_KEY not in session:
        session.cycle_key()
    elif session_user_id(session) != user.pk or (
        session_auth_hash and not constant_time_compare(session.get(HASH_SESSION_KEY, ""), session_auth_hash)
    ):
        # What one user left in a session is not for the next.
        session.flush()


def _backend_path(user: Any, backend: str | None) -> Any:
    try:
        return backend or user.backend
    except AttributeError:
        if len(get_backends()) == 1:
            return settings.AUTHENTICATION_BACKENDS[0]
        raise ValueError(
            "You have multiple authentication backends configured and therefore must provide the `backend` "
            "argument or set the `backend` attribute on the user."
        ) from None


@database_sync_to_async
def logout(scope: Scope) -> None:
    """Log the scope's user out and flush the session; ``scope["user"]`` becomes an ``AnonymousUser``.

    Sends Django's ``user_logged_out`` before that, with ``request=None``, if somebody was logged in.

    Raises:
        ValueError: the scope has no session.
    """
    from django.contrib.auth.models import AnonymousUser

    if "session" not in scope:
        # It speaks of login: Channels' own words, which projects may look for.
        raise ValueError("Login cannot find session in scope. You should wrap your consumer in SessionMiddleware.")
    user = scope.get("user")
    # Receivers are to learn who leaves, so they hear of it before.
    if user is not None and getattr(user, "is_authenticated", True):
        user_logged_out.send(sender=user.__class__, request=None, user=user)
    scope["session"].flush()
    if "user" in scope:
        scope["user"] = AnonymousUser()


class UserLazyObject(StoredLazyObject):
    """Stands in ``scope["user"]`` until the user has been found.

    Raises:
        ValueError: it is used before that.
    """

    def _missing(self) -> Exception:
        return ValueError("Accessing scope user before it is ready.")


class AuthMiddleware(BaseMiddleware):
    """Puts the session's user into ``scope["user"]``; has to run inside ``SessionMiddleware``."""

    def populate_scope(self, scope: Scope) -> None:
        """Put a placeholder into the scope, unless somebody has put a user there.

        Raises:
            ValueError: the scope has no session.
        """
        if "session" not in scope:
            raise ValueError("AuthMiddleware cannot find session in scope. SessionMiddleware must be above it.")
        if "user" not in scope:
            scope["user"] = UserLazyObject()

    async def resolve_scope(self, scope: Scope) -> None:
        """Find the user, and let the placeholder stand for it."""
        scope["user"]._wrapped = await get_user(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the inner application with the user in its scope."""
        scope = dict(scope)
        self.populate_scope(scope)
        await self.resolve_scope(scope)
        return await super().__call__(scope, receive, send)


def AuthMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:  # noqa: N802 - Channels' name
    """Wrap an application in :class:`AuthMiddleware` and the session and cookie middleware it needs."""
    return CookieMiddleware(SessionMiddleware(AuthMiddleware(inner)))
