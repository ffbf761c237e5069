"""Warnings at run time: worded by the rule, and once for each place."""

from __future__ import annotations

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer as GenuineConsumer
from channels.middleware import BaseMiddleware

from grip_consumers import complaints
from grip_consumers.compatibility import RULES
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.protocol import Text

from . import batches
from .parity.site import middleware

site = batches.site
wsgi_site = batches.wsgi_site


@pytest.fixture(autouse=True)
def _nothing_has_been_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "_said", set())
    monkeypatch.setattr(complaints, "_looked_at", set())


def test_a_warning_says_who_does_what_and_why_that_fails_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    complaints.warn_once("timer", "chat.consumers:Chat", "sets a timer")
    rule = RULES["timer"]
    assert caplog.messages == [f"chat.consumers.Chat sets a timer. {rule.why} {rule.advice}"]
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("grip_consumers.compatibility", "WARNING")
    ]


def test_the_same_is_said_once_and_another_thing_again(caplog: pytest.LogCaptureFixture) -> None:
    for about in ("a", "b", "a"):
        complaints.warn_once("timer", "chat:Chat", f"does {about}", about)
    complaints.warn_once("timer", "chat:Other", "does a", "a")
    complaints.warn_once("late-accept", "chat:Chat", "does a", "a")
    assert [message.partition(".")[2].partition(".")[0] for message in caplog.messages] == [
        "Chat does a",
        "Chat does b",
        "Other does a",
        "Chat does a",
    ]


# What is around a consumer -------------------------------------------------------------------------------------------


class Limit:
    """Counts in a variable, and in a list."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        seen = []

        async def limited():
            message = await receive()
            seen.append(message)
            return message

        return await self.inner(scope, limited, send)


def present(inner):
    """Does something at the end."""

    async def application(scope, receive, send):
        await inner(scope, receive, send)
        scope["present"] = False

    return application


class Genuine(BaseMiddleware):
    """Of Channels."""

    async def __call__(self, scope, receive, send):
        try:
            return await super().__call__(scope, receive, send)
        finally:
            scope.clear()


class OnlyHttp:
    """Does something at the end of what is no WebSocket."""

    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] == "websocket":
            return await self.inner(scope, receive, send)
        try:
            return await self.inner(scope, receive, send)
        finally:
            scope.clear()


@batches.importable
class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


@batches.importable
class PlainEcho(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


@batches.importable
class GenuineEcho(GenuineConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.name == "grip_consumers.compatibility"]


def test_a_middleware_that_counts_on_lasting_is_warned_of_once(site, caplog) -> None:
    site.serve(Limit(Echo.as_asgi()))
    for _ in range(2):
        site.opened().post(Text("x"))
    (text,) = said(caplog)
    what = f"{__name__}.Limit.__call__ counts on a variable to last as long as the connection: seen ({__file__}:"
    assert text.startswith(what)
    assert text.endswith(RULES["lasting-call"].advice)


@pytest.mark.parametrize("consumer", [Echo, PlainEcho, GenuineEcho])
@pytest.mark.parametrize(("wrap", "name"), [(present, "present.application"), (Genuine, "Genuine.__call__")])
def test_it_is_found_around_any_consumer(consumer, wrap, name, wsgi_site, caplog) -> None:
    wsgi_site.serve(wrap(consumer.as_asgi()))
    wsgi_site.opened()
    (text,) = said(caplog)
    assert text.startswith(f"{__name__}.{name} does ")


def test_all_that_stand_around_a_consumer_are_named(wsgi_site, caplog) -> None:
    wsgi_site.serve(present(Limit(Echo.as_asgi())))
    wsgi_site.opened()
    names = {text.removeprefix(f"{__name__}.").partition(" ")[0] for text in said(caplog)}
    assert names == {"Limit.__call__", "present.application"}


@pytest.mark.parametrize(
    "wrap",
    [
        middleware.TenantMiddleware,
        middleware.UpperMiddleware,
        middleware.strip_middleware,
        middleware.CatchErrorsMiddleware,
        OnlyHttp,
    ],
)
def test_well_behaved_middleware_is_passed_over(wrap, wsgi_site, caplog) -> None:
    wsgi_site.serve(wrap(Echo.as_asgi()))
    client = wsgi_site.opened()
    assert [kind for kind, *_ in client.post(Text("x")).sent] == ["text"]
    assert said(caplog) == []


def test_code_without_source_is_passed_over(wsgi_site, caplog) -> None:
    made: dict[str, object] = {"inner": Echo.as_asgi(), "__name__": None}
    exec("async def application(scope, receive, send):\n    await inner(scope, receive, send)\n    dict()\n", made)
    wsgi_site.serve(made["application"])
    wsgi_site.opened()
    assert said(caplog) == []


@batches.importable
class LimitedEcho(AsyncWebsocketConsumer):
    """What the rule advises: counts and catches in dispatch(), and reads what a middleware put into the scope."""

    seen = 0

    async def dispatch(self, message):
        self.seen += message["type"] == "websocket.receive"
        if self.seen > self.scope["most"]:
            await self.close(4029)
            return
        try:
            await super().dispatch(message)
        except LookupError:
            await self.close(4404)

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data={"a": "A", "b": "B"}[text_data])


def limits(inner):
    async def application(scope, receive, send):
        return await inner(dict(scope, most=2), receive, send)

    return application


def test_what_is_advised_works(site, caplog) -> None:
    site.serve(limits(LimitedEcho.as_asgi()))
    client = site.opened()
    answers = [client.post(Text(text)).sent for text in "aba"]
    assert answers == [[("text", "A")], [("text", "B")], [("close", 4029, "")]]
    assert site.opened().post(Text("nothing")).sent == [("close", 4404, "")]
    assert said(caplog) == []
