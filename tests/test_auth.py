from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import channels.auth
import pytest
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    user_logged_in,
    user_logged_out,
)
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import grip_consumers.auth

both = pytest.mark.parametrize("module", [channels.auth, grip_consumers.auth], ids=["channels", "grip"])

NO_SESSION = "Cannot find session in scope. You should wrap your consumer in SessionMiddleware."
BACKEND = "django.contrib.auth.backends.ModelBackend"
OTHER_BACKEND = "django.contrib.auth.backends.AllowAllUsersModelBackend"


@pytest.fixture
async def user(transactional_db: None) -> Any:
    return await User.objects.acreate_user("bob", "bob@example.com", "secret")


@pytest.fixture
def session(transactional_db: None) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore()
    store.create()
    return store


@pytest.fixture
def signals() -> Iterator[list[tuple[str, Any, Any, Any]]]:
    heard: list[tuple[str, Any, Any, Any]] = []

    def logged_in(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        heard.append(("in", sender, request, user))

    def logged_out(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        heard.append(("out", sender, request, user))

    user_logged_in.connect(logged_in)
    user_logged_out.connect(logged_out)
    yield heard
    user_logged_in.disconnect(logged_in)
    user_logged_out.disconnect(logged_out)


# login


@both
async def test_login_puts_the_user_into_the_scope_and_the_session(
    module: Any, user: Any, session: SessionBase, signals: list[Any]
) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    assert scope["user"] is user
    assert session[SESSION_KEY] == str(user.pk)
    assert session[BACKEND_SESSION_KEY] == BACKEND
    assert session[HASH_SESSION_KEY] == user.get_session_auth_hash()
    assert signals == [("in", type(user), None, user)]
    assert (await module.get_user(scope)).pk == user.pk


@both
async def test_login_keeps_what_an_anonymous_session_holds_under_a_new_key(
    module: Any, user: Any, session: SessionBase
) -> None:
    await session.aset("colour", "blue")
    key = session.session_key
    await module.login({"session": session}, user)
    assert await session.aget("colour") == "blue"
    assert session.session_key != key


@both
async def test_login_empties_the_session_of_another_user(module: Any, user: Any, session: SessionBase) -> None:
    other = await User.objects.acreate_user("eve", "eve@example.com", "secret")
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, other)
    await session.aset("colour", "blue")
    await module.login(scope, user)
    assert await session.aget("colour") is None
    assert session[SESSION_KEY] == str(user.pk)


@both
async def test_login_tells_users_apart_by_their_key(
    module: Any, user: Any, session: SessionBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "get_session_auth_hash", lambda self: "the same for all")
    other = await User.objects.acreate_user("eve", "eve@example.com", "secret")
    await module.login({"session": session}, other)
    await session.aset("colour", "blue")
    await module.login({"session": session}, user)
    assert await session.aget("colour") is None


@both
async def test_login_empties_a_session_of_an_old_password(module: Any, user: Any, session: SessionBase) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    await session.aset("colour", "blue")
    user.set_password("another")
    await module.login(scope, user)
    assert await session.aget("colour") is None


@both
async def test_a_second_login_of_the_same_user_keeps_the_session(module: Any, user: Any, session: SessionBase) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    await session.aset("colour", "blue")
    key = session.session_key
    await module.login(scope, user)
    assert (await session.aget("colour"), session.session_key) == ("blue", key)


@both
async def test_login_without_a_user_takes_the_scopes(module: Any, user: Any, session: SessionBase) -> None:
    scope = {"session": session, "user": user}
    await module.login(scope, None)
    assert session[SESSION_KEY] == str(user.pk)


@both
async def test_login_does_not_save_the_session(module: Any, user: Any, session: SessionBase) -> None:
    await module.login({"session": session}, user)
    stored = import_module(settings.SESSION_ENGINE).SessionStore(session.session_key)
    assert await stored.aget(SESSION_KEY) is None


@both
@override_settings(AUTHENTICATION_BACKENDS=[BACKEND, OTHER_BACKEND])
async def test_login_with_several_backends_needs_to_be_told_which(module: Any, user: Any, session: SessionBase) -> None:
    with pytest.raises(ValueError, match="multiple") as caught:
        await module.login({"session": session}, user)
    assert str(caught.value) == (
        "You have multiple authentication backends configured and therefore must provide the `backend` "
        "argument or set the `backend` attribute on the user."
    )
    await module.login({"session": session}, user, backend=OTHER_BACKEND)
    assert session[BACKEND_SESSION_KEY] == OTHER_BACKEND
    user.backend = BACKEND
    await module.login({"session": session}, user)
    assert session[BACKEND_SESSION_KEY] == BACKEND


@both
@override_settings(AUTHENTICATION_BACKENDS=[])
async def test_login_without_any_backend_is_a_fault_of_the_settings(
    module: Any, user: Any, session: SessionBase
) -> None:
    with pytest.raises(ImproperlyConfigured):
        await module.login({"session": session}, user)


@both
@pytest.mark.parametrize("scope", [{"session": {}}, {"session": {}, "user": None}])
async def test_login_needs_a_user(module: Any, scope: dict[str, Any], transactional_db: None) -> None:
    with pytest.raises(ValueError, match="User must") as caught:
        await module.login(scope, None)
    assert str(caught.value) == "User must be passed as an argument or must be present in the scope."


# get_user


@both
async def test_an_empty_session_is_anonymous(module: Any, session: SessionBase) -> None:
    assert await module.get_user({"session": session}) == AnonymousUser()


@both
async def test_a_session_of_an_old_password_is_anonymous_and_flushed(
    module: Any, user: Any, session: SessionBase
) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    user.set_password("another")
    await user.asave()
    assert await module.get_user(scope) == AnonymousUser()
    assert session.is_empty()


@both
async def test_a_session_without_a_hash_is_anonymous(module: Any, user: Any, session: SessionBase) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    del session[HASH_SESSION_KEY]
    assert await module.get_user(scope) == AnonymousUser()


@both
async def test_an_empty_hash_verifies_nothing(
    module: Any, user: Any, session: SessionBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "get_session_auth_hash", lambda self: "")
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    assert await module.get_user(scope) == AnonymousUser()


@both
async def test_a_session_of_a_deleted_user_is_anonymous(module: Any, user: Any, session: SessionBase) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    await user.adelete()
    assert await module.get_user(scope) == AnonymousUser()


@both
async def test_a_session_of_a_backend_that_was_removed_is_anonymous(
    module: Any, user: Any, session: SessionBase
) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user, backend=OTHER_BACKEND)
    assert await module.get_user(scope) == AnonymousUser()
    with override_settings(AUTHENTICATION_BACKENDS=[OTHER_BACKEND]):
        assert (await module.get_user(scope)).pk == user.pk


# logout


@both
async def test_logout_flushes_the_session(module: Any, user: Any, session: SessionBase, signals: list[Any]) -> None:
    scope: dict[str, Any] = {"session": session}
    await module.login(scope, user)
    signals.clear()
    await module.logout(scope)
    assert scope["user"] == AnonymousUser()
    assert session.is_empty()
    assert signals == [("out", type(user), None, user)]


@both
@pytest.mark.parametrize("before", [{}, {"user": AnonymousUser()}], ids=["nobody", "anonymous"])
async def test_logout_of_nobody_is_silent(
    module: Any, session: SessionBase, signals: list[Any], before: dict[str, Any]
) -> None:
    scope: dict[str, Any] = {"session": session, **before}
    await module.logout(scope)
    assert signals == []
    assert ("user" in scope) == ("user" in before)


@both
@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("get_user", (), NO_SESSION),
        ("login", (None,), NO_SESSION),
        (
            "logout",
            (),
            "Login cannot find session in scope. You should wrap your consumer in SessionMiddleware.",
        ),
    ],
)
async def test_each_function_needs_a_session(
    module: Any, name: str, arguments: tuple[Any, ...], text: str, transactional_db: None
) -> None:
    with pytest.raises(ValueError, match="session in scope") as caught:
        await getattr(module, name)({}, *arguments)
    assert str(caught.value) == text


# AuthMiddleware


@both
def test_a_user_read_too_early_says_so(module: Any) -> None:
    with pytest.raises(ValueError, match="ready") as caught:
        _ = module.UserLazyObject().username
    assert str(caught.value) == "Accessing scope user before it is ready."


@both
def test_the_middleware_needs_a_session(module: Any) -> None:
    with pytest.raises(ValueError, match="AuthMiddleware") as caught:
        module.AuthMiddleware(None).populate_scope({})
    assert str(caught.value) == "AuthMiddleware cannot find session in scope. SessionMiddleware must be above it."


@both
def test_a_user_in_the_scope_stays_there_until_resolved(module: Any) -> None:
    scope = {"session": {}, "user": "somebody"}
    module.AuthMiddleware(None).populate_scope(scope)
    assert scope["user"] == "somebody"


@both
async def test_the_stack_finds_the_user_of_the_cookie(module: Any, user: Any, session: SessionBase) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> str:
        assert receive == "receive"
        return f"{type(scope['user']).__name__} {scope['user'].username} {scope['user'].is_authenticated}"

    await module.login({"session": session}, user)
    await session.asave()
    scope = {"type": "websocket", "headers": [(b"cookie", f"sessionid={session.session_key}".encode())]}
    answer = await module.AuthMiddlewareStack(application)(scope, "receive", None)
    assert answer == "UserLazyObject bob True"
    assert set(scope) == {"type", "headers"}


@both
async def test_the_stack_finds_nobody_without_a_cookie(module: Any, transactional_db: None) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> Any:
        return scope["user"]

    found = await module.AuthMiddlewareStack(application)({"type": "websocket", "headers": []}, None, None)
    assert found == AnonymousUser()
    assert found.is_authenticated is False


async def test_the_stack_leaves_the_send_of_a_websocket_alone(transactional_db: None) -> None:
    async def send(message: Any) -> None: ...

    async def application(scope: Any, receive: Any, send_inside: Any) -> bool:
        return send_inside is send

    stack = grip_consumers.auth.AuthMiddlewareStack(application)
    assert await stack({"type": "websocket", "headers": []}, None, send) is True  # type: ignore[arg-type]


@both
def test_the_stack_is_cookies_around_sessions_around_users(module: Any) -> None:
    stack = module.AuthMiddlewareStack("application")
    assert isinstance(stack, module.CookieMiddleware)
    assert isinstance(stack.inner, module.SessionMiddleware)
    assert isinstance(stack.inner.inner, module.AuthMiddleware)
    assert stack.inner.inner.inner == "application"
