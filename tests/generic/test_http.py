"""The HTTP consumer: as Channels' where nothing is held, and what a proxy is told where something is."""

from __future__ import annotations

import asyncio
from typing import Any

import channels.generic.http
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.handlers.wsgi import WSGIRequest
from django.middleware.cache import FetchFromCacheMiddleware, UpdateCacheMiddleware
from django.middleware.gzip import GZipMiddleware
from django.test import RequestFactory
from django.utils.asyncio import async_unsafe
from django.utils.functional import SimpleLazyObject
from grip_consumers.routing import ProtocolTypeRouter

from grip_consumers import streams
from grip_consumers.generic.http import AsyncHttpConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.naming import stream_channel
from grip_consumers.protocol import LocalProtocolError, Response, StreamChunk, StreamClose
from grip_consumers.registry import routed_consumers, stream_classes
from tests import batches
from tests.batches import call_asgi

wsgi_site = batches.wsgi_site

SIGNED = (b"grip-sig", b"signed")


@pytest.fixture
def site(wsgi_site: batches.Site) -> batches.Site:
    return wsgi_site


def scope(*headers: tuple[bytes, bytes], query: bytes = b"") -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": "/lines/", "query_string": query, "headers": list(headers)}


def call(cls: Any, *chunks: bytes, headers: Any = (SIGNED,), query: bytes = b"", **initkwargs: Any) -> Any:
    return asyncio.run(call_asgi(cls.as_asgi(**initkwargs), scope(*headers, query=query), *(chunks or (b"",))))


# As on Channels -----------------------------------------------------------------------------------------------------


async def respond(self: Any, body: bytes) -> None:
    await self.send_response(201, b"got " + body, headers=[(b"X-A", b"1")])


async def in_pieces(self: Any, body: bytes) -> None:
    await self.send_headers(headers={b"Content-Type": b"text/plain"})
    await self.send_body(b"a", more_body=True)
    await self.send_body(b"b", more_body=True)
    await self.send_body(b"")


async def unfinished(self: Any, body: bytes) -> None:
    await self.send_headers()
    await self.send_body(b"a", more_body=True)


async def text(self: Any, body: bytes) -> None:
    await self.send_headers()
    await self.send_body("no bytes")


async def failing(self: Any, body: bytes) -> None:
    raise ValueError("from handle")


BEHAVIOURS = [respond, in_pieces, unfinished, text, failing, None]


@pytest.mark.parametrize("handle", BEHAVIOURS, ids=lambda handle: getattr(handle, "__name__", "none"))
@pytest.mark.parametrize("chunks", [(b"one",), (b"o", b"n", b"e")], ids=["whole", "chunks"])
def test_what_is_not_held_is_served_as_on_channels(site: batches.Site, handle: Any, chunks: tuple[bytes, ...]) -> None:
    outcomes = []
    for base in (channels.generic.http.AsyncHttpConsumer, AsyncHttpConsumer):
        ended: list[str] = []

        async def disconnect(self: Any, ended: list[str] = ended) -> None:
            ended.append("disconnect")

        members = {"disconnect": disconnect, **({"handle": handle} if handle else {})}
        try:
            outcome: Any = call(type("Consumer", (base,), members), *chunks)
        except Exception as error:
            outcome = (type(error), str(error))
        outcomes.append((outcome, ended))
    assert outcomes[0] == outcomes[1]


def test_a_client_that_goes_ends_the_consumer_as_on_channels(site: batches.Site) -> None:
    seen = []
    for base in (channels.generic.http.AsyncHttpConsumer, AsyncHttpConsumer):

        class Consumer(base):  # type: ignore[misc, valid-type]
            async def disconnect(self) -> None:
                seen.append("disconnect")

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            seen.append(message)

        asyncio.run(Consumer.as_asgi()(scope(), receive, send))
    assert seen == ["disconnect", "disconnect"]


def test_arguments_reach_the_consumer(site: batches.Site) -> None:
    class Named(AsyncHttpConsumer):
        def __init__(self, name: bytes, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.name = name

        async def handle(self, body: bytes) -> None:
            await self.send_response(200, self.name)

    assert call(Named, name=b"n")[1]["body"] == b"n"
    app: Any = Named.as_asgi(name=b"n")
    assert (app.consumer_class, app.consumer_initkwargs, app.__name__) == (Named, {"name": b"n"}, "Named")


# Held ---------------------------------------------------------------------------------------------------------------


class Lines(AsyncHttpConsumer):
    """Lines of text, until "end"."""

    ended = False

    async def handle(self, body: bytes) -> None:
        await self.channel_layer.group_add("lines", self.channel_name)
        await self.send_headers(status=203, headers=[(b"Content-Type", b"text/plain"), (b"Content-Length", b"99")])
        await self.send_body(b"begin\n", more_body=True)
        await self.send_body(b"go\n", more_body=True)

    async def disconnect(self) -> None:
        type(self).ended = True

    async def group_said(self, event: Any) -> None:
        for text in event["texts"]:
            await self.send_body(text.encode(), more_body=text != "end")

    async def group_broken(self, event: Any) -> None:
        await self.send_body(b"lost", more_body=True)
        raise ValueError("from a handler")

    async def group_personal(self, event: Any) -> None:
        await self.send_body(self.scope["path"].encode(), more_body=True)

    async def group_headers(self, event: Any) -> None:
        await self.send_headers()


def send(*texts: str, kind: str = "group.said") -> None:
    async_to_sync(get_channel_layer().group_send)("lines", {"type": kind, "texts": texts})


CHANNEL = stream_channel("", "lines", streams.name_of(Lines))


def test_a_response_left_open_in_a_group_is_held(site: batches.Site) -> None:
    start, body = call(Lines)
    headers = dict(start["headers"])
    assert (start["status"], body["body"], body.get("more_body", False)) == (203, b"begin\ngo\n", False)
    assert headers[b"grip-hold"] == b"stream"
    assert headers[b"grip-channel"].startswith(b"%s; prev-id=" % CHANNEL.encode())
    assert headers[b"grip-link"].endswith(b">; rel=next; timeout=1")
    assert headers[b"content-type"] == b"text/plain"
    assert [value for name, value in start["headers"] if name == b"content-length"] == [b"9"]
    assert not Lines.ended


def test_what_handlers_send_is_published(site: batches.Site) -> None:
    Lines.as_asgi()
    send("a", "b")
    send("c", "end", "never")
    assert [item.message for item in site.published] == [StreamChunk(b"ab"), StreamChunk(b"cend"), StreamClose()]
    assert [item.prev_id for item in site.published[1:]] == [item.id for item in site.published[:-1]]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("group.broken", "Exception in tests.generic.test_http.Lines.group_broken"),
        ("group.personal", "Lines.group_personal uses self.scope, which can differ between clients"),
        ("group.headers", "A group handler can send body; tests.generic.test_http.Lines.group_headers sent 'http.resp"),
    ],
)
def test_a_handler_that_cannot_serve_all_clients_at_once_is_told_of(
    site: batches.Site, kind: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    Lines.as_asgi()
    send(kind=kind)
    assert site.published == []
    assert told in caplog.text


def test_what_is_sent_after_group_add_is_in_the_response(site: batches.Site) -> None:
    class Sending(Lines):
        async def handle(self, body: bytes) -> None:
            await self.channel_layer.group_send("lines", {"type": "group.said", "texts": ["before "]})
            await super().handle(body)
            await self.channel_layer.group_send("lines", {"type": "group.said", "texts": ["after"]})

    start, body = call(Sending)
    assert body["body"] == b"begin\ngo\nafter"
    assert dict(start["headers"])[b"grip-channel"].endswith(site.published[-1].id.encode())


def test_what_has_ended_meanwhile_is_not_held(site: batches.Site) -> None:
    class Ending(Lines):
        async def handle(self, body: bytes) -> None:
            await super().handle(body)
            await self.channel_layer.group_send("lines", {"type": "group.said", "texts": ["x", "end", "y"]})

    start, body = call(Ending)
    assert body["body"] == b"begin\ngo\nxend"
    assert b"grip-hold" not in dict(start["headers"])


def test_a_group_that_was_left_or_a_response_that_was_ended_is_not_held(site: batches.Site) -> None:
    class Leaving(Lines):
        async def handle(self, body: bytes) -> None:
            await self.channel_layer.group_add("lines", self.channel_name)
            await self.channel_layer.group_discard("lines", self.channel_name)
            await self.send_headers()
            await self.send_body(b"a", more_body=True)
            await self.send_body(b"b")

    class Ended(Lines):
        async def handle(self, body: bytes) -> None:
            await super().handle(body)
            await self.send_body(b"end")

    assert [message.get("body") for message in call(Leaving)] == [None, b"a", b"b"]
    start, body = call(Ended)
    assert (body["body"], b"grip-hold" in dict(start["headers"])) == (b"begin\ngo\nend", False)


def test_without_a_proxy_a_client_is_told_what_to_do(site: batches.Site) -> None:
    start, body = call(Lines, headers=())
    assert start["status"] == 501
    assert b"Connect to the proxy's port" in body["body"]


def test_joining_once_the_response_has_begun_is_an_error(site: batches.Site) -> None:
    class Late(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.send_headers()
            await self.send_body(b"", more_body=True)
            await self.channel_layer.group_add("lines", self.channel_name)

    with pytest.raises(RuntimeError, match=r"Late joined the group 'lines' after it had begun to send"):
        call(Late)


def test_body_without_headers_is_an_error(site: batches.Site) -> None:
    class Headless(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.channel_layer.group_add("lines", self.channel_name)
            await self.send_body(b"", more_body=True)

    with pytest.raises(RuntimeError, match="Headless sent body without headers"):
        call(Headless)


def test_a_next_link_is_answered_with_what_was_missed(site: batches.Site) -> None:
    Lines.as_asgi()
    send("a")
    send("b")
    query = streams.next_link(Lines, [CHANNEL]).removeprefix("?").encode()
    last = (b"grip-last", f"{CHANNEL}; last-id={site.published[0].id}".encode())
    start, body = call(Lines, headers=(SIGNED, last), query=query)
    headers = dict(start["headers"])
    assert (body["body"], headers[b"grip-hold"]) == (b"b", b"stream")
    assert headers[b"grip-channel"].endswith(site.published[1].id.encode())
    send("end")
    start, body = call(Lines, headers=(SIGNED, last), query=query)
    assert (body["body"], b"grip-hold" in dict(start["headers"])) == (b"bend", False)


def test_what_is_too_much_for_a_first_response_comes_by_the_link(site: batches.Site) -> None:
    class Much(Lines):
        async def handle(self, body: bytes) -> None:
            await super().handle(body)
            for letter in "abc":
                await self.channel_layer.group_send("lines", {"type": "group.said", "texts": [letter * 25_000]})

    start, body = call(Much)
    assert body["body"] == b"begin\ngo\n" + b"a" * 25_000 + b"b" * 25_000
    assert dict(start["headers"])[b"grip-channel"].endswith(site.published[1].id.encode())


def test_a_response_ends_whose_client_may_have_missed_something() -> None:
    assert Lines.grip_next(streams.Backlog({CHANNEL: 1}, (), complete=False)) == Response(200, [], b"")


# Routing ------------------------------------------------------------------------------------------------------------


def test_it_is_no_websocket_consumer_to_whoever_sends(site: batches.Site) -> None:
    Lines.as_asgi()
    assert (routed_consumers(), stream_classes()) == ([], [Lines])


def test_it_serves_the_http_of_a_protocol_type_router(site: batches.Site) -> None:
    router = ProtocolTypeRouter({"http": Lines.as_asgi()})
    start, _ = asyncio.run(call_asgi(router, scope(SIGNED), b""))
    assert dict(start["headers"])[b"grip-hold"] == b"stream"


class Telling(AsyncHttpConsumer):
    """What it knows of the request."""

    async def handle(self, body: bytes) -> None:
        scope = self.scope
        route = scope["url_route"]["kwargs"]
        length = dict(scope["headers"])[b"content-length"]
        told = [scope["method"], scope["path"], scope["query_string"], scope["user"], route, length, body]
        await self.send_response(202, repr(told).encode(), headers=[(b"X-Told", b"yes")])


def test_as_view_serves_it_in_a_urlconf(site: batches.Site) -> None:
    request: WSGIRequest = RequestFactory().post("/tell/?a=1", b"data", "text/plain", headers={"Grip-Sig": "signed"})
    request.user = "somebody"  # type: ignore[assignment]
    response = Telling.as_view()(request, name="n")
    told = repr(["POST", "/tell/", b"a=1", "somebody", {"name": "n"}, b"4", b"data"])
    assert (response.status_code, response.content.decode(), response["X-Told"]) == (202, told, "yes")
    held = Lines.as_view()(RequestFactory().get("/", headers={"Grip-Sig": "signed"}))
    assert (held["Grip-Hold"], held.content) == ("stream", b"begin\ngo\n")
    view: Any = Lines.as_view()
    assert (view.view_class, view.__name__) == (Lines, "Lines")


class Headers(Lines):
    """Headers that a server and Django have their own ways with."""

    async def handle(self, body: bytes) -> None:
        if self.scope["path"] == "/held/":
            await self.channel_layer.group_add("lines", self.channel_name)
        cookies = [(b"Set-Cookie", b"a=1; Path=/x; Partitioned"), (b"set-cookie", b'b="2"'), (b"Set-Cookie", b"a=3")]
        own = [(b"Grip-Hold", b"response"), (b"grip-channel", b"other"), (b"Cache-Control", b"public")]
        await self.send_headers(headers=[*cookies, *own, (b"Link", b"<a>"), (b"link", b"<b>"), (b"Vary", b"A")])
        await self.send_body(b"x" * 1000, more_body=self.scope["path"] == "/held/")


@pytest.mark.parametrize("path", ["/held/", "/whole/"])
def test_as_view_keeps_headers_that_come_more_than_once(site: batches.Site, path: str) -> None:
    response = Headers.as_view()(RequestFactory().get(path, headers={"Grip-Sig": "signed"}))
    cookies = [cookie.output(header="").strip() for cookie in response.cookies.values()]
    assert cookies == ["a=1; Path=/x; Partitioned", 'b="2"', "a=3"]
    assert response["Link"] == "<a>, <b>"
    assert "Set-Cookie" not in response.headers
    assert response.cookies["b"].value == "2"


def test_a_hold_has_no_other_word_to_the_proxy_than_its_own(site: batches.Site) -> None:
    start, _ = asyncio.run(call_asgi(Headers.as_asgi(), {**scope(SIGNED), "path": "/held/"}, b""))
    (hold,) = (value for name, value in start["headers"] if name == b"grip-hold")
    (channel,) = (value for name, value in start["headers"] if name == b"grip-channel")
    assert (hold, b"other" in channel) == (b"stream", False)
    assert [value for name, value in start["headers"] if name == b"cache-control"] == [b"private, no-store"]


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("header", [(b"X", b"a\r\nSet-Cookie: evil=1"), (b"X: a\r\nY", b"b")])
def test_a_line_break_in_a_header_is_an_error(site: batches.Site, header: tuple[bytes, bytes], held: bool) -> None:
    class Injecting(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            if held:
                await self.channel_layer.group_add("lines", self.channel_name)
            await self.send_headers(headers=[header])
            await self.send_body(b"", more_body=held)

    with pytest.raises(LocalProtocolError, match="expected a header"):
        call(Injecting)


def test_no_middleware_packs_or_keeps_a_held_response(site: batches.Site) -> None:
    view = UpdateCacheMiddleware(FetchFromCacheMiddleware(GZipMiddleware(Headers.as_view())))
    headers = {"Grip-Sig": "signed", "Accept-Encoding": "gzip"}
    for _ in range(2):
        response: Any = view(RequestFactory().get("/held/", headers=headers))
        assert (response["Grip-Hold"], response.content) == ("stream", b"x" * 1000)
        assert not {"Content-Encoding", "Expires"} & set(response.headers)


def test_as_view_has_a_user_and_a_session_to_look_at(site: batches.Site) -> None:
    """Both are lazy, and what they wait for is a database, which does not answer on an event loop."""

    class Asking(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            scope = self.scope
            await self.send_response(200, repr([str(scope["user"]), scope["session"]["a"]]).encode())

    @async_unsafe("not on an event loop")
    def load(*args: Any) -> Any:
        return {"a": 1}

    request: Any = RequestFactory().get("/")
    request.user = SimpleLazyObject(lambda: load() and AnonymousUser())
    request.session = type("Store", (SessionBase,), {"load": load})("a" * 32)
    assert Asking.as_view()(request).content == b"['AnonymousUser', 1]"


def test_a_view_that_sends_nothing_is_an_error(site: batches.Site) -> None:
    class Silent(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            """Forget to answer."""

    with pytest.raises(RuntimeError, match="without having sent a response"):
        Silent.as_view()(RequestFactory().get("/"))
