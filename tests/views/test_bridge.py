"""Consumers that let views answer: over whole batches, and on Channels' own terms."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.utils import translation

from grip_consumers.auth import AuthMiddlewareStack
from grip_consumers.delivery import delivery
from grip_consumers.layers import get_channel_layer
from grip_consumers.protocol import Binary, Open, Text
from grip_consumers.security.websocket import AllowedHostsOriginValidator
from grip_consumers.views.bridge import AsyncViewConsumer, Connection, ViewConsumer, WebSocketRequest
from tests import batches
from tests.batches import HANDSHAKE, Site

site = batches.site
wsgi_site = batches.wsgi_site

MIDDLEWARE = [
    "grip_consumers.GripMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tests.views.bridge_site.Passing",
]

KINDS = {"sync": ViewConsumer, "async": AsyncViewConsumer}


@pytest.fixture(params=KINDS)
def consumer(request: pytest.FixtureRequest) -> type[Any]:
    """A consumer of each kind, as a project has it."""
    return batches.importable(type("Api", (KINDS[request.param],), {}))


@pytest.fixture(autouse=True)
def _project(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.views.bridge_site"
    settings.MIDDLEWARE = MIDDLEWARE


def at_views(found: Site) -> Site:
    found.settings.ROOT_URLCONF = "tests.views.bridge_site"
    found.settings.MIDDLEWARE = MIDDLEWARE
    return found


def text(**message: Any) -> Text:
    return Text(json.dumps(message))


def answers(client: Any, *events: Any) -> list[dict[str, Any]]:
    return [json.loads(frame[1]) for frame in client.post(*events).sent]


def ask(client: Any, **message: Any) -> dict[str, Any]:
    (found,) = answers(client, text(**message))
    return found


def handshake(**headers: str) -> list[tuple[str, str]]:
    replaced = {name.lower() for name in headers}
    kept = [(name, value) for name, value in HANDSHAKE if name.lower() not in replaced]
    return [*kept, *((name.title(), value) for name, value in headers.items() if value)]


# Messages and answers -------------------------------------------------------------------------------------------


def test_messages_are_answered_one_by_one_and_what_is_wrong_ends_nothing(site: Site, consumer: type[Any]):
    at_views(site).serve(consumer)
    client = site.opened()
    found = answers(
        client,
        text(id=1, url="/things/tea/"),
        Text("no json"),
        text(id="2", url="/nothing/"),
        text(id=3, url="/echo/", method="BREW"),
        text(id=4, url="/fail/value/"),
        text(id=5, url="/fail/denied/"),
        text(id=6, url="/afail/none/"),
        text(id=7, url="/fail/none/"),
        text(id=8, url="/echo/", headers={"Host": "evil"}),
        Text(""),
        Binary(b'{"id": 9, "url": "/async-things/tea/"}'),
    )
    assert [(answer["id"], answer["status"]) for answer in found] == [
        (1, 200),
        (None, 400),
        ("2", 404),
        (3, 405),
        (4, 500),
        (5, 403),
        (6, 404),
        (7, 404),
        (8, 400),
        (None, 400),
        (9, 200),
    ]
    assert (found[0]["body"], found[-1]["body"]) == ({"name": "tea"}, {"async": "tea"})
    assert found[0]["headers"] == {"Content-Type": "application/json", "Content-Length": "15", "X-Passed": "yes"}
    assert [answer["body"] for answer in found[1:8]] == [
        {"error": "Invalid formatted message.", "status_code": 400},
        {"error": "Resource not found.", "status_code": 404},
        {"error": "Unknown method. Known are DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT.", "status_code": 405},
        {"error": "Internal Server Error", "status_code": 500},
        {"error": "Forbidden", "status_code": 403},
        {"error": "Not Found", "status_code": 404},
        {"error": "Not Found", "status_code": 404},
    ]
    assert ask(client, url="/rest/", method="POST", data=[1])["body"] == {"data": [1], "user": "AnonymousUser"}


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
def test_no_kind_of_failure_ends_the_connection(wsgi_site: Site, consumer: type[Any], bare: bool, settings: Any):
    consumer.bare = bare
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    kinds = [("value", 500), ("none", 404), ("denied", 403)]
    for kind, status in kinds:
        assert ask(client, url=f"/fail/{kind}/")["body"]["status_code"] == status
        assert ask(client, url=f"/afail/{kind}/")["body"]["status_code"] == status
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    assert ask(client, url="/fail/value/")["body"] == {"error": "Internal Server Error", "status_code": 500}
    assert ask(client, url="/echo/")["body"]["passed"] is not bare


def test_an_answer_has_a_limit(wsgi_site: Site, consumer: type[Any]):
    consumer.answer_limit = 5000
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    assert ask(client, url="/stream/?count=4")["body"] == "x" * 4000
    error = {"error": "The response has more than 5000 bytes: ask for less, or ask by HTTP.", "status_code": 500}
    assert ask(client, url="/stream/?count=1000000000", id=1)["body"] == error
    grows = "é" * 900
    assert (
        ask(client, url="/body/", data={"type": "text/plain; charset=latin-1", "content": grows}, id=2)["body"] == error
    )
    assert ask(client, url="/body/?type=text/plain&content=small")["body"] == "small"


@pytest.mark.parametrize("url", ["/dripping/", "/adripping/"])
def test_a_response_that_does_not_end_is_an_error_in_time(wsgi_site: Site, consumer: type[Any], url: str):
    consumer.answer_timeout = 0.05
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    error = {"error": "The response has not ended within 0.05 seconds: ask by HTTP.", "status_code": 500}
    assert ask(client, url=url)["body"] == error
    assert ask(client, url="/holding/")["headers"] == {
        "Content-Type": "text/plain",
        "X-Own": "kept",
        "X-Passed": "yes",
        "Content-Length": "4",
    }


HOSTILE = {
    "half-pair-as-name": ('{"id": 1, "url": "/echo/", "data": {"\\ud800": 1}}', 200),
    "half-pair-as-id": ('{"id": "\\ud800", "url": "/echo/"}', 200),
    "half-pair-as-body": ('{"id": 1, "url": "/echo/", "method": "POST", "data": "\\ud800"}', 200),
    "too-large-number-as-id": ('{"id": 1e999, "url": "/echo/"}', 400),
    "too-large-number-as-body": ('{"id": 1, "url": "/echo/", "method": "POST", "data": 1e999}', 400),
    "too-large-number-in-answer": ('{"url": "/body/?type=application/json&content=1e999"}', 200),
    "long-id": (json.dumps({"id": "x" * 900_000, "url": "/echo/"}), 400),
    "long-url": (json.dumps({"url": "/" + "%FF" * 300_000}), 414),
}


@pytest.mark.parametrize(("message", "status"), HOSTILE.values(), ids=HOSTILE)
def test_no_message_ends_the_connection(wsgi_site: Site, consumer: type[Any], message: str, status: int):
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    (found,) = client.post(Text(message)).sent

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(found[1], parse_constant=refuse)["status"] == status
    assert ask(client, url="/echo/")["status"] == 200


def test_an_event_with_what_json_cannot_say_is_an_error(consumer: type[Any]):
    with pytest.raises(ValueError, match="not JSON compliant"):
        consumer.encode_json({"event": float("nan")})


def test_each_message_has_its_own_language_and_leaves_none(wsgi_site: Site, consumer: type[Any], settings: Any):
    left: list[str] = []

    def make_request(self: Any, message: str) -> WebSocketRequest:
        translation.activate("fr")
        return WebSocketRequest(message, origin=Connection(self))

    def encode_json(content: Any) -> str:
        left.append(translation.get_language())
        return json.dumps(content)

    consumer.make_request, consumer.encode_json = make_request, staticmethod(encode_json)
    settings.LANGUAGES = [("en", "English"), ("de", "German")]
    at_views(wsgi_site).serve(consumer)
    wsgi_site.settings.MIDDLEWARE = [*MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    client = wsgi_site.opened()
    found = answers(client, *(text(url=url) for url in ("/de/tongue/", "/en/tongue/", "/de/tongue/", "/de/none/")))
    # The body is made while its view's language holds.
    assert [(answer["status"], answer["body"]) for answer in found[:3]] == [(200, "de"), (200, "en"), (200, "de")]
    assert found[3]["body"] == {"error": "Resource not found.", "status_code": 404}
    assert left == ["fr"] * 4


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def test_what_is_nested_too_deeply_is_an_error(wsgi_site: Site, consumer: type[Any]):
    class Deep(WebSocketRequest):
        def get_data(self) -> Any:
            return nested(100_000) if "deep" in self.json_message else {}

    consumer.request_class = Deep
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    error = {"error": "The data is nested too deeply.", "status_code": 400}
    assert ask(client, url="/echo/", method="POST", deep=True)["body"] == error

    def encode_json(content: Any) -> str:
        return json.dumps({**content, "body": nested(100_000)} if content["status"] == 200 else content)

    consumer.encode_json = staticmethod(encode_json)
    error = {"error": "The response is nested too deeply.", "status_code": 500}
    assert ask(client, url="/echo/")["body"] == error


# The client, its session and its user ---------------------------------------------------------------------------


def test_a_request_is_the_clients_own_but_not_the_handshake_again(wsgi_site: Site, consumer: type[Any]):
    at_views(wsgi_site).serve(consumer)
    dropped = {"Accept-Encoding": "gzip", "Upgrade": "websocket", "Connection": "Upgrade", "If-None-Match": "x"}
    client = wsgi_site.client(headers=[*HANDSHAKE, *dropped.items(), ("X-Forwarded-For", "10.0.0.9")])
    # Under GripMiddleware a handshake does not come here; a header of one may.
    client.handshake = [pair for pair in client.handshake if pair[0] != "Upgrade"]
    client.post(Open())
    assert ask(client, url="/echo/", headers={"accept": "text/plain"})["body"]["headers"] == {
        "HTTP_ACCEPT": "text/plain",
        "HTTP_COOKIE": "a=b; c=d",
        "HTTP_HOST": "testserver",
        "HTTP_ORIGIN": "http://testserver",
        "HTTP_USER_AGENT": "Mozilla/5.0",
        "HTTP_X_FORWARDED_FOR": "10.0.0.9",
    }


def signed_in(name: str = "ann") -> str:
    """The key of a session that a user of this name is logged in by."""
    user, _ = get_user_model().objects.get_or_create(username=name)
    user.set_password("secret")
    user.save()
    session = SessionStore()
    session["_auth_user_id"], session["_auth_user_backend"] = (
        str(user.pk),
        "django.contrib.auth.backends.ModelBackend",
    )
    session["_auth_user_hash"] = user.get_session_auth_hash()
    session.save()
    assert session.session_key
    return session.session_key


STACKS = {"with-auth": AuthMiddlewareStack, "without": lambda application: application}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_the_session_and_the_user_are_those_of_the_handshake(wsgi_site: Site, consumer: type[Any], stack: Any):
    from grip_consumers.routing import URLRouter

    from tests.batches import route

    at_views(wsgi_site).serve_application(stack(URLRouter([route("ws/", consumer.as_asgi())])))
    key = signed_in()
    client = wsgi_site.opened(headers=handshake(Cookie=f"a=b; sessionid={key}"))
    assert ask(client, url="/who/")["body"] == {"user": "ann", "visits": 1}
    assert ask(client, url="/who/")["body"] == {"user": "ann", "visits": 2}
    # A message that says itself whom it is from is not from the connection's user.
    assert ask(client, url="/who/", token="x")["body"]["user"] == "AnonymousUser"
    assert ask(client, url="/who/", headers={"Authorization": "Bearer x"})["body"]["user"] == "AnonymousUser"
    # As by HTTP: who is logged out elsewhere is nobody here.
    SessionStore(key).delete()
    assert ask(client, url="/echo/")["status"] == 200
    assert ask(client, url="/rest/")["body"]["user"] == "AnonymousUser"


class Token:
    """Middleware that takes the user from elsewhere than a session."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await self.inner({**scope, "user": get_user_model()(pk=4711, username="tom")}, receive, send)


@pytest.mark.parametrize("bare", [False, True], ids=["full", "bare"])
@pytest.mark.django_db(transaction=True)
def test_a_user_whom_no_session_names_is_the_scopes(site: Site, consumer: type[Any], bare: bool):
    from grip_consumers.routing import URLRouter

    from tests.batches import route

    consumer.bare = bare
    at_views(site).serve_application(Token(URLRouter([route("ws/", consumer.as_asgi())])))
    client = site.opened()
    assert ask(client, url="/rest/")["body"]["user"] == "tom"
    assert ask(client, url="/rest/", token="x")["body"]["user"] == "AnonymousUser"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", ["/enter/", "/aenter/"])
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_who_logs_in_by_a_message_is_logged_in_until_logging_out(
    wsgi_site: Site, consumer: type[Any], stack: Any, url: str
):
    from grip_consumers.routing import URLRouter

    from tests.batches import route

    at_views(wsgi_site).serve_application(stack(URLRouter([route("ws/", consumer.as_asgi())])))
    signed_in()
    client = wsgi_site.opened()
    assert ask(client, url="/who/")["body"] == {"user": "AnonymousUser", "visits": 1}
    assert ask(client, url="/who/")["body"] == {"user": "AnonymousUser", "visits": 2}
    entered = ask(client, url=url, method="POST", data={"username": "ann", "password": "secret"})
    assert (entered["status"], entered["body"]) == (200, {"user": "ann"})
    assert ask(client, url="/who/")["body"] == {"user": "ann", "visits": 3}
    assert ask(client, url="/scope/")["body"] == {"user": "ann"}
    assert ask(client, url="/leave/", method="POST")["body"] == {"user": "AnonymousUser"}
    assert ask(client, url="/scope/")["body"] == {"user": "AnonymousUser"}
    assert ask(client, url="/who/")["body"] == {"user": "AnonymousUser", "visits": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_login_that_the_browser_does_not_hear_of_is_warned_of(
    wsgi_site: Site, consumer: type[Any], stack: Any, caplog: pytest.LogCaptureFixture
):
    from grip_consumers.routing import URLRouter

    from tests.batches import route

    at_views(wsgi_site).serve_application(stack(URLRouter([route("ws/", consumer.as_asgi())])))
    signed_in()
    cart = SessionStore()
    cart["cart"] = 1
    cart.save()
    client = wsgi_site.opened(headers=handshake(Cookie=f"sessionid={cart.session_key}"))
    assert ask(client, url="/who/")["status"] == 200
    assert "logged in" not in caplog.text
    for _ in range(2):
        ask(client, url="/enter/", method="POST", data={"username": "ann", "password": "secret"})
    assert caplog.text.count("A message to /enter/ has logged in: the browser's session cookie is of no use now") == 1
    # Whoever has none loses none.
    caplog.clear()
    client = wsgi_site.opened()
    ask(client, url="/enter/", method="POST", data={"username": "ann", "password": "secret"})
    assert "logged in" not in caplog.text


@pytest.mark.django_db(transaction=True)
def test_a_session_that_no_server_keeps_lasts_as_long_as_the_connection(wsgi_site: Site, consumer: type[Any]):
    wsgi_site.settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    assert [ask(client, url="/who/")["body"]["visits"] for _ in range(3)] == [1, 2, 3]


# The origin -----------------------------------------------------------------------------------------------------

ORIGINS = {
    "own": ("http://testserver", True),
    "own-behind-tls": ("https://testserver", True),
    "trusted": ("https://friend.example", True),
    "foreign": ("https://evil.example", False),
    "other-port": ("http://testserver:8000", False),
    "none": ("", True),
    "null": ("null", False),
    "broken": ("http://[", False),
}


@pytest.mark.parametrize(("origin", "passes"), ORIGINS.values(), ids=ORIGINS)
def test_a_foreign_page_cannot_act_for_the_user(
    wsgi_site: Site, consumer: type[Any], origin: str, passes: bool, caplog: pytest.LogCaptureFixture
):
    wsgi_site.settings.CSRF_TRUSTED_ORIGINS = ["https://friend.example"]
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.client(headers=handshake(Origin=origin))
    with caplog.at_level(logging.WARNING, "grip_consumers.views"):
        opened = client.post(Open())
    assert opened.status == (200 if passes else 403)
    assert ("add it to CSRF_TRUSTED_ORIGINS" in caplog.text) is not passes
    if passes:
        # The cookies a=b and c=d come along, and no token.
        assert ask(client, url="/echo/", method="POST")["status"] == 200


def test_a_refused_consumer_hears_of_nothing(wsgi_site: Site):
    heard: list[str] = []

    class Api(ViewConsumer):
        def connect(self) -> None:
            heard.append("connect")

        def disconnect(self, code: int) -> None:
            heard.append("disconnect")

    at_views(wsgi_site).serve(batches.importable(Api))
    assert wsgi_site.client(headers=handshake(Origin="https://evil.example")).post(Open()).status == 403
    assert heard == []


def test_an_origin_that_a_validator_refuses_does_not_get_here(wsgi_site: Site, consumer: type[Any]):
    from grip_consumers.routing import URLRouter

    from tests.batches import route

    wsgi_site.settings.CSRF_TRUSTED_ORIGINS = ["https://friend.example"]
    routed = URLRouter([route("ws/", consumer.as_asgi())])
    at_views(wsgi_site).serve_application(AllowedHostsOriginValidator(routed))
    assert wsgi_site.client(headers=handshake(Origin="https://friend.example")).post(Open()).status == 403
    client = wsgi_site.opened()
    assert ask(client, url="/echo/", method="POST")["status"] == 200


# Groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/join/", "/ajoin/"])
def test_a_view_joins_the_connection_to_a_group(wsgi_site: Site, consumer: type[Any], url: str):
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    joined = client.post(text(url=url, method="POST"))
    assert json.loads(joined.sent[0][1])["status"] == 200
    assert len(joined.channels) == 1
    send = async_to_sync(get_channel_layer().group_send)
    send("things", {"type": "view.event", "name": "new", "thing": {"id": 1}})
    # Who has just joined is left out of what is published, and served by mail.
    assert [json.loads(frame) for _, frame in wsgi_site.texts] == [{"event": {"name": "new", "thing": {"id": 1}}}]
    assert [json.loads(frame[1]) for frame in client.post().sent] == [{"event": {"name": "new", "thing": {"id": 1}}}]
    ask(client, url=url, method="DELETE")
    send("things", {"type": "view.event", "name": "newer"})
    assert client.post().sent == []


def test_an_event_runs_once_for_all(consumer: type[Any]):
    found = delivery(consumer, "view_event")
    assert found.shared, found.reason


def test_events_of_other_names_are_the_projects(wsgi_site: Site):
    class Api(ViewConsumer):
        def thing_gone(self, event: dict[str, Any]) -> None:
            self.send_event({"gone": event["id"]})

    at_views(wsgi_site).serve(batches.importable(Api))
    client = wsgi_site.opened()
    ask(client, url="/join/")
    async_to_sync(get_channel_layer().group_send)("things", {"type": "thing.gone", "id": 5})
    assert json.loads(client.post().sent[0][1]) == {"event": {"gone": 5}}


def test_without_a_channel_layer_a_group_is_an_error_that_says_so(
    wsgi_site: Site, settings: Any, consumer: type[Any], caplog: pytest.LogCaptureFixture
):
    consumer.channel_layer_alias = "missing"
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    assert ask(client, url="/join/")["status"] == 500
    assert "CHANNEL_LAYERS has none named 'missing'" in caplog.text


def test_the_state_of_a_connection_holds_nothing_of_its_requests(wsgi_site: Site, consumer: type[Any]):
    at_views(wsgi_site).serve(consumer)
    client = wsgi_site.opened()
    before = client.meta["Meta-State"]
    ask(client, url="/echo/")
    assert client.meta["Meta-State"] == before


async def test_it_serves_a_socket_that_a_server_holds_itself(settings: Any, consumer: type[Any]):
    settings.MIDDLEWARE = []
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    client = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
    assert (await client.connect())[0]
    for url in ("/join/", "/ajoin/"):
        await client.send_json_to({"id": url, "url": url})
        assert (await client.receive_json_from())["status"] == 200
    await get_channel_layer().group_send("things", {"type": "view.event", "name": "new"})
    assert await client.receive_json_from() == {"event": {"name": "new"}}
    await client.disconnect()
