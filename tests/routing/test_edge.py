"""What ProtocolTypeRouter does with an ASGI server."""

from __future__ import annotations

import asyncio

import pytest
from grip_consumers.routing import ProtocolTypeRouter, URLRouter

from grip_consumers.generic.websocket import WebsocketConsumer
from grip_consumers.protocol import Open, Text, encode

from .. import batches
from ..batches import call_asgi, importable

asgi_site = batches.asgi_site


class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


async def test_the_answer_is_one_start_and_one_body_with_its_length(asgi_site):
    asgi_site.serve(Echo)
    client = asgi_site.client()
    await client.apost(Open())
    messages = await call_asgi(asgi_site.application, client.scope(), encode([Text("x")]))
    assert messages == [
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/websocket-events"), (b"content-length", b"11")],
        },
        {"type": "http.response.body", "body": b"TEXT 3\r\nm:x\r\n"},
    ] or messages[0]["headers"][-1] == (b"content-length", b"%d" % len(messages[1]["body"]))


async def test_a_body_in_chunks_is_put_together(asgi_site):
    asgi_site.serve(Echo)
    client = asgi_site.client()
    await client.apost(Open())
    messages = await call_asgi(asgi_site.application, client.scope(), b"TEXT 2\r", b"", b"\nab\r\nTE", b"XT 1\r\nc\r\n")
    assert messages[1]["body"] == b"TEXT 4\r\nm:ab\r\nTEXT 3\r\nm:c\r\n"


async def test_a_client_that_goes_away_in_the_middle_of_the_body_gets_no_answer(asgi_site):
    asgi_site.serve(Echo)
    sent = []
    incoming = [
        {"type": "http.request", "body": b"OPEN", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return incoming.pop(0)

    async def send(message):
        sent.append(message)

    await asgi_site.application(asgi_site.client().scope(), receive, send)
    assert sent == []


async def test_reading_stops_beyond_the_limit(asgi_site, settings):
    settings.GRIP_BATCH_MAX_SIZE = 1_000
    asgi_site.serve(Echo)
    read = []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": b"x" * 400, "more_body": len(read) < 1_000}

    sent = []

    async def send(message):
        sent.append(message)

    await asgi_site.application(asgi_site.client().scope(), receive, send)
    assert sent[0]["status"] in {400, 413}
    assert len(read) <= 4


async def test_an_unrouted_batch_goes_on_to_the_http_application_with_its_body(asgi_site):
    asgi_site.serve(Echo)
    answer = await asgi_site.client("/view/").apost(Open())
    assert (answer.status, answer.body) == (200, b"view:OPEN\r\n")


async def test_an_unrouted_batch_is_404_without_an_http_application(asgi_site):
    application = ProtocolTypeRouter({"websocket": URLRouter([])})
    messages = await call_asgi(application, asgi_site.client().scope(), b"OPEN\r\n")
    assert messages[0]["status"] == 404


async def test_the_http_application_can_wait_for_the_disconnect_after_the_body(asgi_site):
    seen = []

    async def http(scope, receive, send):
        seen.append(await receive())
        waiter = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        seen.append(waiter.done())
        waiter.cancel()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    asgi_site.serve_application(URLRouter([]), http=http)
    await call_asgi(asgi_site.application, asgi_site.client().scope(), b"OPEN\r\n")
    assert seen == [{"type": "http.request", "body": b"OPEN\r\n", "more_body": False}, False]


async def websocket(application, extensions):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "asgi": {"version": "3.0"}, "path": "/ws/", "headers": []}
    await application({**scope, **extensions}, receive, send)
    return sent


async def test_a_direct_websocket_gets_501_with_advice(asgi_site):
    asgi_site.serve(Echo)
    start, body = await websocket(asgi_site.application, {"extensions": {"websocket.http.response": {}}})
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 501)
    assert start["headers"] == [(b"content-type", b"text/plain; charset=utf-8")]
    assert body["type"] == "websocket.http.response.body"
    assert b"GRIP proxy" in body["body"]
    assert b"over_http" in body["body"]


@pytest.mark.parametrize("extensions", [{}, {"extensions": {}}, {"extensions": {"tls": {}}}])
async def test_a_direct_websocket_is_closed_where_the_server_has_no_denial_response(asgi_site, extensions):
    asgi_site.serve(Echo)
    (message,) = await websocket(asgi_site.application, extensions)
    assert message["type"] == "websocket.close"
    assert "proxy" in message["reason"]


async def test_two_servers_batches_do_not_share_a_scope(asgi_site):
    seen = []

    @importable
    class Keeps(WebsocketConsumer):
        def connect(self):
            seen.append(self.scope)
            self.accept()

    asgi_site.serve(Keeps)
    await asgi_site.client().apost(Open())
    await asgi_site.client().apost(Open())
    assert seen[0] is not seen[1]
