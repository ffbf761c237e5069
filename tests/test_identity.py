"""Each standard engine that needs no server: what ends a login, and what does not."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.functional import LazyObject

from grip_consumers import auth, identity
from grip_consumers.auth import login, logout
from grip_consumers.generic.websocket import AsyncWebsocketConsumer
from grip_consumers.identity import session_is_gone
from grip_consumers.protocol import Text
from grip_consumers.state import decode, encode
from tests import batches
from tests.batches import Site

ENGINES = ("db", "cache", "cached_db", "file", "signed_cookies")
#: Those that keep something on the server, which can be taken away.
SERVER_SIDE = tuple(engine for engine in ENGINES if engine != "signed_cookies")
ALLOW_ALL = "django.contrib.auth.backends.AllowAllUsersModelBackend"

site = batches.site


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, settings: Any, tmp_path: Any, transactional_db: None) -> Iterator[str]:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    _forget_file_path()
    yield request.param
    _forget_file_path()
    cache.clear()


def _forget_file_path() -> None:
    from django.contrib.sessions.backends.file import SessionStore

    if hasattr(SessionStore, "_storage_path"):
        del SessionStore._storage_path


server_side = pytest.mark.parametrize("engine", SERVER_SIDE, indirect=True)


@pytest.fixture
def user(engine: str) -> User:
    return User.objects.create_user("ada", "ada@example.com", "secret")


def new_session(key: str | None = None) -> SessionBase:
    store: SessionBase = import_module(configured.SESSION_ENGINE).SessionStore(key)
    return store


def logged_in(user: Any, **more: Any) -> dict[str, Any]:
    """The scope of a connection whose handshake brought the cookie of a session of `user`."""
    session = new_session()
    asyncio.run(login({"session": session}, user))
    session.save()
    return connected(session.session_key, user, **more)


def connected(key: str | None, user: Any, **more: Any) -> dict[str, Any]:
    session = LazyObject()
    session._wrapped = new_session(key)
    session.get(SESSION_KEY)  # as AuthMiddleware does
    cookies = {configured.SESSION_COOKIE_NAME: key} if key else {}
    return {"type": "websocket", "cookies": cookies, "session": session, "user": user, **more}


def kept(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope as the next batch finds it."""
    return {**scope, "session": decode(encode(scope["session"]))}


# Nothing to lose.


@pytest.mark.parametrize("scope", [{}, {"user": AnonymousUser()}, {"session": None}, {"session": {SESSION_KEY: "1"}}])
def test_a_scope_without_a_session_of_djangos_loses_nothing(scope: dict[str, Any]) -> None:
    assert session_is_gone(scope) is False


def test_an_anonymous_session_loses_nothing_and_is_not_asked(engine: str) -> None:
    session = new_session()
    session["colour"] = "green"
    session.save()
    for key in (None, session.session_key):
        scope = kept(connected(key, AnonymousUser()))
        with CaptureQueriesContext(connection) as queries:
            assert session_is_gone(scope) is False
        assert len(queries) == 0


def test_a_cookie_of_a_session_that_never_was_loses_nothing(engine: str) -> None:
    assert session_is_gone(connected("0123456789abcdef0123456789abcdef", AnonymousUser())) is False


def test_a_login_holds_and_its_scope_stays_as_it_is(user: User) -> None:
    scope = logged_in(user)
    for again in (scope, kept(scope)):
        before = encode(again["session"])
        assert session_is_gone(again) is False
        assert encode(again["session"]) == before


# What ends a login.


@server_side
def test_a_flushed_session_is_gone(user: User) -> None:
    scope = logged_in(user)
    new_session(scope["session"].session_key).flush()
    assert session_is_gone(scope) is True
    assert session_is_gone(kept(scope)) is True


@server_side
def test_a_session_that_was_emptied_under_its_key_is_gone(user: User) -> None:
    scope = logged_in(user)
    emptied = new_session(scope["session"].session_key)
    emptied.clear()
    emptied.save()
    assert session_is_gone(scope) is True


@server_side
def test_a_session_that_is_another_users_by_now_is_gone(user: User) -> None:
    scope = logged_in(user)
    other = User.objects.create_user("eve", "eve@example.com", "secret")
    theirs = new_session(scope["session"].session_key)
    theirs[SESSION_KEY], theirs[HASH_SESSION_KEY] = str(other.pk), other.get_session_auth_hash()
    theirs.save()
    assert session_is_gone(scope) is True


def test_an_expired_session_is_gone(engine: str, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = logged_in(user)
    _let_time_pass(monkeypatch, datetime.timedelta(seconds=configured.SESSION_COOKIE_AGE + 5))
    assert session_is_gone(scope) is True


def _let_time_pass(monkeypatch: pytest.MonkeyPatch, span: datetime.timedelta) -> None:
    import time

    really, now = time.time, timezone.now
    monkeypatch.setattr(time, "time", lambda: really() + span.total_seconds())
    monkeypatch.setattr(timezone, "now", lambda: now() + span)


def test_a_changed_password_ends_the_login(user: User) -> None:
    scope = logged_in(user)
    user.set_password("another")
    user.save()
    assert session_is_gone(scope) is True


def test_a_deleted_user_ends_the_login(user: User) -> None:
    scope = kept(logged_in(user))
    User.objects.filter(pk=user.pk).delete()
    assert session_is_gone(scope) is True


def test_an_inactive_user_ends_the_login_if_the_backend_says_so(user: User, settings: Any) -> None:
    scope = logged_in(user)
    settings.AUTHENTICATION_BACKENDS = [ALLOW_ALL]
    lenient = logged_in(user)
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", ALLOW_ALL]
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert session_is_gone(scope) is True
    assert session_is_gone(lenient) is False


def test_a_backend_that_was_taken_away_ends_the_login(user: User, settings: Any) -> None:
    scope = logged_in(user)
    settings.AUTHENTICATION_BACKENDS = [ALLOW_ALL]
    assert session_is_gone(scope) is True


@server_side
def test_a_new_secret_key_ends_no_login(user: User, settings: Any) -> None:
    scope = logged_in(user)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one"
    assert session_is_gone(scope) is False
    settings.SECRET_KEY_FALLBACKS = []
    assert session_is_gone(scope) is True


def test_a_user_model_without_a_hash_is_asked_for_the_user_alone(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = logged_in(user)
    monkeypatch.delattr("django.contrib.auth.base_user.AbstractBaseUser.get_session_auth_hash")
    assert session_is_gone(scope) is False
    User.objects.filter(pk=user.pk).delete()
    assert session_is_gone(scope) is True


# A session that nobody has read on this connection.


@server_side
def test_a_session_that_nobody_has_read_says_what_is_stored(user: User) -> None:
    key = logged_in(user)["session"].session_key
    scope = {"session": new_session(key), "cookies": {}}
    assert session_is_gone(scope) is False
    assert "_session_cache" not in vars(scope["session"])
    user.set_password("another")
    user.save()
    assert session_is_gone(scope) is True
    assert session_is_gone({"session": new_session("0123456789abcdef0123456789abcdef")}) is False


# Logins and logouts over the socket.


def test_a_saved_login_over_the_socket_is_looked_at(engine: str, user: User) -> None:
    scope = connected(None, AnonymousUser())
    asyncio.run(login(scope, user))
    scope["session"].save()
    scope = kept(scope)
    assert session_is_gone(scope) is False
    if engine in SERVER_SIDE:
        new_session(scope["session"].session_key).flush()
    else:
        User.objects.filter(pk=user.pk).delete()
    assert session_is_gone(scope) is True


@pytest.mark.parametrize("before", ["nobody", "anonymous", "another user"])
def test_an_unsaved_login_over_the_socket_holds_as_long_as_its_user(user: User, before: str) -> None:
    if before == "another user":
        scope = logged_in(User.objects.create_user("eve", "eve@example.com", "secret"))
    else:
        anonymous = new_session()
        anonymous["colour"] = "green"
        anonymous.save()
        scope = connected(anonymous.session_key if before == "anonymous" else None, AnonymousUser())
    asyncio.run(login(scope, user))
    scope = kept(scope)
    assert session_is_gone(scope) is False
    user.set_password("another")
    user.save()
    assert session_is_gone(scope) is True


def test_after_a_logout_over_the_socket_nothing_is_left_to_lose(user: User) -> None:
    scope = logged_in(user)
    asyncio.run(logout(scope))
    assert session_is_gone(scope) is False
    assert session_is_gone(kept(scope)) is False


@server_side
def test_the_session_that_a_login_has_replaced_does_not_count(user: User) -> None:
    scope = logged_in(User.objects.create_user("eve", "eve@example.com", "secret"))
    first = scope["session"].session_key
    asyncio.run(login(scope, user))
    scope["session"].save()
    new_session(first).delete(first)
    assert session_is_gone(kept(scope)) is False


# One place.


def test_auth_and_identity_share_their_code() -> None:
    for name in ("stored_user", "is_current", "session_user_id"):
        assert getattr(auth, name) is getattr(identity, name)


# Logins and logouts hold for the batches that follow, though the proxy repeats the old cookie.


class Guest(AsyncWebsocketConsumer):
    """Logs in and out as its client says, and answers whom the scope, the session and the key name."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "out":
            await logout(self.scope)
        elif text_data != "who":
            await login(self.scope, await User.objects.aget(username=text_data))
            await self.scope["session"].asave()
        found = await auth.get_user(self.scope)
        await self.send(f"{self.scope['user'].username} {found.username} {self.scope['session'].session_key}")


def _who(client: batches.Client, text: str) -> tuple[str, str, str]:
    ((_, answer),) = client.post(Text(text)).sent
    user, found, key = answer.split(" ")
    return user, found, key


@pytest.mark.parametrize("engine", ["db", "signed_cookies"], indirect=True)
def test_a_login_over_the_socket_holds_though_the_proxy_repeats_the_old_cookie(
    site: Site, user: User, settings: Any
) -> None:
    User.objects.create_user("eve", "eve@example.com", "secret")
    old = logged_in(user)["session"].session_key
    site.serve_application(auth.AuthMiddlewareStack(Guest.as_asgi()))
    client = site.opened(headers=[("Host", "testserver"), ("Cookie", f"{settings.SESSION_COOKIE_NAME}={old}")])
    assert _who(client, "who") == ("ada", "ada", old)
    *names, key = _who(client, "eve")
    assert (names, key != old) == (["eve", "eve"], True)
    for _ in range(2):
        assert _who(client, "who") == ("eve", "eve", key)


@pytest.mark.parametrize("engine", ["db", "signed_cookies"], indirect=True)
def test_a_logout_over_the_socket_holds_though_the_proxy_repeats_the_old_cookie(
    site: Site, user: User, settings: Any
) -> None:
    old = logged_in(user)["session"].session_key
    site.serve_application(auth.AuthMiddlewareStack(Guest.as_asgi()))
    client = site.opened(headers=[("Host", "testserver"), ("Cookie", f"{settings.SESSION_COOKIE_NAME}={old}")])
    assert _who(client, "out")[:2] == ("", "")
    for _ in range(2):
        user_name, found, key = _who(client, "who")
        assert (user_name, found, key == old) == ("", "", False)
