"""Whose session it is: what `auth` asks when a connection opens, and what may be asked again while it is open.

A connection keeps the session and the user of its handshake, as on Channels: a logout in another tab, a changed
password or a locked account does not reach it. :func:`session_is_gone` asks the stores again, as an HTTP request
with the same session would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import constant_time_compare

__all__ = ["is_current", "session_is_gone", "session_user_id", "stored_user"]


def session_is_gone(scope: Mapping[str, Any]) -> bool:
    """Whether the login that the scope's session holds is over, though the connection is still open.

    It is when the stored session was flushed, has expired or is another user's by now, when its user was deleted,
    is no longer accepted by the authentication backend (is inactive, say) or has changed the password. A login
    that somebody made on this connection and never saved is known to no store: of that the user alone is asked.

    A scope without a session and one in which nobody is logged in have nothing to lose: False, without a query.
    With signed cookies there is nothing to flush, so the session ends with its cookie's age, or with its user.

    Asks the session's store and the database, so it belongs into a thread. Raises what they raise.
    """
    session = scope.get("session")
    if not isinstance(session, SessionBase):
        return False
    # What the connection has seen of its session, if anything; never loaded here, as that would make it seen.
    seen: Mapping[str, Any] | None = getattr(session, "_session_cache", None)
    if not _holds_login(seen, session):
        return False
    stored = _stored(session)
    if seen is None:
        return stored is not None and SESSION_KEY in stored and not _is_valid(stored)
    if _is_unsaved(scope, session, stored):
        return not _is_valid(seen)
    return stored is None or stored.get(SESSION_KEY) != seen[SESSION_KEY] or not _is_valid(stored)


def _holds_login(seen: Mapping[str, Any] | None, session: Any) -> bool:
    """Whether somebody is logged in, or may be: the store alone knows what is in a session that nobody has read."""
    return bool(session.session_key) if seen is None else SESSION_KEY in seen


def _stored(session: Any) -> Mapping[str, Any] | None:
    """What the store has under the session's key by now; None if nothing."""
    if not session.session_key:
        return None
    # The class behind a lazy object, too.
    store = session.__class__(session.session_key)
    content: Mapping[str, Any] = store.load()
    # Every engine answers {} for what it does not find, and makes ready to be saved as another session.
    return None if store.modified or store.session_key != session.session_key else content


def _is_unsaved(scope: Mapping[str, Any], session: Any, stored: Mapping[str, Any] | None) -> bool:
    """Whether the login was made on this connection and never saved: login() gives a session another key at once."""
    if not session.session_key:
        return True
    if stored is None or SESSION_KEY in stored:
        return False
    cookie = scope.get("cookies", {}).get(settings.SESSION_COOKIE_NAME)
    # What no server keeps (signed cookies) cannot have been emptied, whatever its key.
    return bool(session.session_key != cookie or not session.exists(session.session_key))


def _is_valid(session: Any) -> bool:
    """Whether a session's content names a user whom the backend still accepts, with the password of today."""
    user = stored_user(session)
    if user is None:
        return False
    if not hasattr(user, "get_session_auth_hash") or is_current(session, user):
        return True
    # Rotating SECRET_KEY ends no session, as Django holds it.
    fallbacks = getattr(user, "get_session_auth_fallback_hash", tuple)
    held = session.get(HASH_SESSION_KEY) or ""
    return any(constant_time_compare(held, fallback) for fallback in fallbacks())


def stored_user(session: Any) -> Any:
    """The user whom the session's backend finds for it; None if nobody is logged in or the backend finds none.

    `session` is a session or the dict that it holds. Whether its hash fits is not asked: see `is_current`.
    """
    try:
        user_id = session_user_id(session)
        backend_path = session[BACKEND_SESSION_KEY]
    except KeyError:
        return None
    if backend_path not in settings.AUTHENTICATION_BACKENDS:
        return None
    return load_backend(backend_path).get_user(user_id)


def is_current(session: Any, user: Any) -> bool:
    """Whether the session was made with the password that `user` has now."""
    session_hash = session.get(HASH_SESSION_KEY)
    return bool(session_hash) and constant_time_compare(session_hash, user.get_session_auth_hash())


def session_user_id(session: Any) -> Any:
    """The session's user id as the primary key it is. Raises KeyError if nobody is logged in."""
    return get_user_model()._meta.pk.to_python(session[SESSION_KEY])
