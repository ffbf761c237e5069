from __future__ import annotations

import datetime
from http.cookies import SimpleCookie
from importlib import import_module
from typing import Any

import channels.sessions
import pytest
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SuspiciousOperation
from django.test import override_settings

import grip_consumers.sessions

both = pytest.mark.parametrize("module", [channels.sessions, grip_consumers.sessions], ids=["channels", "grip"])


Sent = list[dict[str, Any]]


class Application:
    """Remembers what it was called with, and sends what it is told to."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = messages
        self.scope: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> str:
        self.scope, self.receive, self.send = scope, receive, send
        for message in self.messages:
            await send(message)
        return "answer"


async def run(middleware: Any, scope: dict[str, Any]) -> Sent:
    sent: Sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    assert await middleware(scope, None, send) == "answer"
    return sent


def cookies_of(message: dict[str, Any]) -> SimpleCookie:
    cookies: SimpleCookie = SimpleCookie()
    for name, value in message.get("headers", []):
        assert name == b"Set-Cookie"
        cookies.load(value.decode())
    return cookies


# CookieMiddleware


@both
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], {}),
        ([(b"host", b"a.example")], {}),
        ([(b"cookie", b"a=1; b=2")], {"a": "1", "b": "2"}),
        ([(b"cookie", b"a=1"), (b"cookie", b"b=2")], {"a": "1"}),
        ([(b"cookie", b"name=\xe9")], {"name": "é"}),
        ([(b"Cookie", b"a=1")], {}),
    ],
)
async def test_cookies_come_from_the_first_cookie_header(
    module: Any, headers: list[tuple[bytes, bytes]], expected: dict[str, str]
) -> None:
    application = Application()
    scope = {"type": "websocket", "headers": headers}
    await run(module.CookieMiddleware(application), scope)
    assert application.scope == {**scope, "cookies": expected}
    assert "cookies" not in scope


@both
async def test_a_scope_without_headers_is_refused(module: Any) -> None:
    with pytest.raises(ValueError, match="headers key") as caught:
        await module.CookieMiddleware(Application())({"type": "channel"}, None, None)
    assert str(caught.value) == (
        "CookieMiddleware was passed a scope that did not have a headers key (make sure it is only passed "
        "HTTP or WebSocket connections)"
    )


def written(module: Any, *arguments: Any, **options: Any) -> bytes:
    message: dict[str, Any] = {}
    module.CookieMiddleware.set_cookie(message, *arguments, **options)
    ((name, value),) = message["headers"]
    assert name == b"Set-Cookie"
    return bytes(value)


COOKIES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("name",), {}),
    (("name", "value"), {}),
    (("name", 'a value; with, marks"é'), {}),
    (("name", b"bytes"), {}),
    (("name", 5), {}),
    (("name", "v"), {"max_age": 3600}),
    (("name", "v"), {"max_age": 0}),
    (("name", "v"), {"max_age": 1.5}),
    (("name", "v"), {"expires": "Thu, 01 Jan 2099 00:00:00 GMT"}),
    (("name", "v"), {"expires": "Thu, 01 Jan 2099 00:00:00 GMT", "max_age": 60}),
    (("name", "v"), {"expires": ""}),
    (("name", "v"), {"path": None}),
    (("name", "v"), {"path": "/chat", "domain": "a.example"}),
    (("name", "v"), {"secure": True, "httponly": True}),
    (("name", "v"), {"secure": None, "httponly": None}),
    (("name", "v"), {"samesite": "Strict"}),
    (("name", "v"), {"samesite": "none"}),
    (("name", "v"), {"samesite": None}),
]


@pytest.mark.parametrize(("arguments", "options"), COOKIES, ids=repr)
def test_a_cookie_is_written_byte_for_byte_as_channels_does(
    arguments: tuple[Any, ...], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (channels.sessions, grip_consumers.sessions):
        monkeypatch.setattr(f"{module.__name__}.time.time", lambda: 1_700_000_000.0)
    assert written(grip_consumers.sessions, *arguments, **options) == written(channels.sessions, *arguments, **options)


def test_a_cookie_looks_as_expected() -> None:
    header = written(grip_consumers.sessions, "name", "v", path="/chat", secure=True, httponly=True)
    assert header == b"name=v; HttpOnly; Path=/chat; SameSite=lax; Secure"


@both
def test_further_cookies_are_appended(module: Any) -> None:
    message: dict[str, Any] = {"headers": [(b"Set-Cookie", b"first=1")]}
    module.CookieMiddleware.set_cookie(message, "second", "2")
    module.CookieMiddleware.delete_cookie(message, "third", path="/chat", domain="a.example")
    assert [header for header, _ in message["headers"]] == [b"Set-Cookie"] * 3
    assert sorted(cookies_of(message)) == ["first", "second", "third"]
    third = cookies_of(message)["third"]
    assert (third["expires"], third["max-age"]) == ("Thu, 01-Jan-1970 00:00:00 GMT", "0")
    assert (third["path"], third["domain"]) == ("/chat", "a.example")


# Channels reads naive moments with a function that newer Pythons warn about, and fails on aware ones.
@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize(("hours", "expected"), [(1, 3600), (-1, 0)])
def test_an_expiry_given_as_a_moment_becomes_a_maximum_age(aware: bool, hours: int, expected: int) -> None:
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    if not aware:
        moment = moment.replace(tzinfo=None)
    message: dict[str, Any] = {}
    grip_consumers.sessions.CookieMiddleware.set_cookie(message, "name", "v", expires=moment)
    cookie = cookies_of(message)["name"]
    assert expected - 5 <= int(cookie["max-age"]) <= expected
    assert cookie["expires"].endswith(" GMT")


def test_an_aware_expiry_of_another_zone_is_the_same_moment() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=5))
    moment = (datetime.datetime.now(zone) + datetime.timedelta(hours=1)).astimezone(zone)
    message: dict[str, Any] = {}
    grip_consumers.sessions.CookieMiddleware.set_cookie(message, "name", "v", expires=moment)
    assert 3595 <= int(cookies_of(message)["name"]["max-age"]) <= 3600


@both
def test_an_unknown_samesite_is_refused(module: Any) -> None:
    with pytest.raises(AssertionError) as caught:
        module.CookieMiddleware.set_cookie({}, "name", samesite="sometimes")
    assert str(caught.value).splitlines()[0] == "samesite must be either 'strict', 'lax' or 'none'"


# SessionMiddleware


def http_scope(cookie: bytes | None = None) -> dict[str, Any]:
    headers = [(b"cookie", cookie)] if cookie else []
    return {"type": "http", "headers": headers}


def new_session(**data: Any) -> SessionBase:
    session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore()
    session.update(data)
    session.save()
    return session


START = {"type": "http.response.start", "status": 200}


@both
async def test_the_session_needs_cookies(module: Any) -> None:
    with pytest.raises(ValueError, match="No cookies") as caught:
        await module.SessionMiddleware(Application())({"type": "http", "headers": []}, None, None)
    assert str(caught.value) == ("No cookies in scope - SessionMiddleware needs to run inside of CookieMiddleware.")


@both
@pytest.mark.parametrize("scope_type", ["http", "websocket"])
async def test_the_session_is_lazy_and_has_the_key_of_the_cookie(module: Any, scope_type: str) -> None:
    """No database is at hand here: looking it up would fail."""
    application = Application()
    scope = {"type": scope_type, "headers": [(b"cookie", b"sessionid=abcdefgh")]}
    await run(module.SessionMiddlewareStack(application), scope)
    session = application.scope["session"]
    assert session.session_key == "abcdefgh"
    assert isinstance(session, import_module(settings.SESSION_ENGINE).SessionStore)
    assert session.modified is session.accessed is False
    assert "session" not in scope


@pytest.mark.parametrize("scope_type", ["http", "websocket", None])
async def test_a_websocket_keeps_the_send_of_its_server(scope_type: str | None) -> None:
    async def send(message: Any) -> None: ...

    application = Application()
    scope = {"cookies": {}} if scope_type is None else {"type": scope_type, "cookies": {}}
    await grip_consumers.sessions.SessionMiddleware(application)(scope, None, send)  # type: ignore[arg-type]
    assert (application.send is send) == (scope_type == "websocket")


async def test_a_session_that_is_to_be_saved_on_a_websockets_events_is_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[Any] = []

    async def save(self: Any) -> None:
        saved.append(self.scope["session"]["seen"])

    wrapper = grip_consumers.sessions.InstanceSessionWrapper
    monkeypatch.setattr(wrapper, "save_message_types", ["http.response.start", "websocket.accept"])
    monkeypatch.setattr(wrapper, "save_session", save)

    async def application(scope: Any, receive: Any, send: Any) -> str:
        scope["session"]["seen"] = True
        await send({"type": "websocket.accept"})
        return "answer"

    stack = grip_consumers.sessions.SessionMiddlewareStack(application)
    await run(stack, {"type": "websocket", "headers": []})
    assert saved == [True]


@both
async def test_a_session_made_further_out_is_left_alone(module: Any) -> None:
    class Outer:
        modified = True

    outer = Outer()
    application = Application(START)
    scope = {"type": "http", "cookies": {"sessionid": "abcdefgh"}, "session": outer}
    sent = await run(module.SessionMiddleware(application), scope)
    assert application.scope["session"] is outer
    assert sent == [START]


@both
@pytest.mark.django_db(transaction=True)
async def test_a_modified_session_is_saved_and_its_cookie_set_when_the_response_starts(module: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> str:
        scope["session"]["colour"] = "blue"
        await send(dict(START))
        await send({"type": "http.response.body", "body": b""})
        return "answer"

    start, body = await run(module.SessionMiddlewareStack(application), http_scope())
    cookie = cookies_of(start)["sessionid"]
    stored = import_module(settings.SESSION_ENGINE).SessionStore(cookie.value)
    assert await stored.aget("colour") == "blue"
    assert (cookie["path"], cookie["httponly"], cookie["samesite"]) == ("/", True, "Lax")
    assert int(cookie["max-age"]) == settings.SESSION_COOKIE_AGE
    assert body == {"type": "http.response.body", "body": b""}


@both
@pytest.mark.django_db(transaction=True)
async def test_a_session_that_ends_with_the_browser_has_a_cookie_without_age(module: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> str:
        scope["session"]["colour"] = "blue"
        scope["session"].set_expiry(0)
        await send(dict(START))
        return "answer"

    (start,) = await run(module.SessionMiddlewareStack(application), http_scope())
    cookie = cookies_of(start)["sessionid"]
    assert (cookie["max-age"], cookie["expires"]) == ("", "")


@both
@pytest.mark.parametrize("message", [{**START, "status": 500}, {"type": "http.response.body"}])
async def test_an_error_or_another_event_does_not_save(module: Any, message: dict[str, Any]) -> None:
    """No database is at hand here: saving would fail."""

    async def application(scope: Any, receive: Any, send: Any) -> str:
        scope["session"].modified = True
        await send(dict(message))
        return "answer"

    assert await run(module.SessionMiddlewareStack(application), http_scope()) == [message]


@both
async def test_an_untouched_session_is_not_saved(module: Any) -> None:
    sent = await run(module.SessionMiddlewareStack(Application(dict(START))), http_scope(b"sessionid=abcdefgh"))
    assert sent == [START]


@both
@pytest.mark.django_db(transaction=True)
async def test_every_request_saves_if_the_setting_says_so(module: Any) -> None:
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        (start,) = await run(module.SessionMiddlewareStack(Application(dict(START))), http_scope(b"sessionid=none"))
    assert sorted(cookies_of(start)) == ["sessionid"]


@both
@pytest.mark.django_db(transaction=True)
async def test_an_emptied_session_deletes_its_cookie(module: Any) -> None:
    from channels.db import database_sync_to_async

    session = await database_sync_to_async(new_session)(colour="blue")

    async def application(scope: Any, receive: Any, send: Any) -> str:
        await scope["session"].aflush()
        await send(dict(START))
        return "answer"

    cookie = f"sessionid={session.session_key}".encode()
    (start,) = await run(module.SessionMiddlewareStack(application), http_scope(cookie))
    assert cookies_of(start)["sessionid"]["max-age"] == "0"


@both
@pytest.mark.django_db(transaction=True)
async def test_a_session_deleted_meanwhile_is_a_suspicious_operation(module: Any) -> None:
    from channels.db import database_sync_to_async

    session = await database_sync_to_async(new_session)(colour="blue")

    async def application(scope: Any, receive: Any, send: Any) -> str:
        await scope["session"].aset("colour", "green")
        await database_sync_to_async(session.delete)()
        await send(dict(START))
        return "answer"

    cookie = f"sessionid={session.session_key}".encode()
    with pytest.raises(SuspiciousOperation) as caught:
        await run(module.SessionMiddlewareStack(application), http_scope(cookie))
    assert str(caught.value) == (
        "The request's session was deleted before the request completed. The user may have logged out in a "
        "concurrent request, for example."
    )


@both
def test_the_wrapper_offers_what_subclasses_use(module: Any) -> None:
    wrapper = module.InstanceSessionWrapper({"cookies": {}}, "send")
    assert wrapper.save_message_types == wrapper.cookie_response_message_types == ["http.response.start"]
    assert wrapper.cookie_name == "sessionid"
    assert wrapper.activated is True
    assert wrapper.real_send == "send"


@both
def test_the_stack_puts_cookies_outside_the_session(module: Any) -> None:
    application = Application()
    stack = module.SessionMiddlewareStack(application)
    assert isinstance(stack, module.CookieMiddleware)
    assert isinstance(stack.inner, module.SessionMiddleware)
    assert stack.inner.inner is application
