"""What only the embedded proxy promises: that neither its application nor its clients take it down."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.embedded.connection import Limits
from tests.clients import http_client

from .rig import (
    KEY,
    OPEN,
    PATIENCE,
    Backend,
    Proxy,
    Reply,
    bearer,
    close,
    control,
    embedded,
    event,
    eventually,
    item,
    receive,
    text,
)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    limits = Limits(batch_events=3, keep_alive_minimum=0, outgoing_messages=5)
    with embedded(limits=limits) as running:
        yield running


async def test_an_application_that_raises_at_the_handshake_is_a_bad_gateway(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(seen: object) -> Reply:
        raise RuntimeError("at the handshake")

    proxy.backend.script("/crash", crash)
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{proxy.ws_url}/crash")
    assert caught.value.response.status_code == 502
    assert "at the handshake" in caplog.text


async def test_an_application_that_raises_later_drops_that_client_and_no_other(proxy: Proxy) -> None:
    def crash(seen: object) -> Reply:
        raise RuntimeError("later")

    proxy.backend.accept("/crash-later", then=crash)
    proxy.backend.accept("/well", then=lambda seen: Reply(text("well")))
    async with connect(f"{proxy.ws_url}/well") as other, connect(f"{proxy.ws_url}/crash-later") as client:
        await client.send("go")
        await asyncio.wait_for(client.wait_closed(), PATIENCE)
        assert client.protocol.close_rcvd is None
        await other.send("go")
        assert await receive(other, 1) == ["well"]


@pytest.mark.parametrize("garbage", [b"TEXT 5\r\nm:x", b"TEXT 3\r\nm:xFOO\r\n", b"\xff" * 50, b"TEXT zz\r\nm:\r\n"])
async def test_a_malformed_later_response_drops_the_client_and_delivers_none_of_it(
    proxy: Proxy, garbage: bytes
) -> None:
    proxy.backend.accept("/garbage", then=lambda seen: Reply(text("before") + garbage))
    async with connect(f"{proxy.ws_url}/garbage") as client:
        await client.send("go")
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(client.recv(), PATIENCE)
        assert client.protocol.close_rcvd is None


async def test_a_published_refresh_makes_an_empty_request(proxy: Proxy) -> None:
    proxy.backend.accept("/refresh", control("subscribe", channel="refresh"), text("in"), then=lambda seen: Reply())
    async with connect(f"{proxy.ws_url}/refresh") as client:
        await receive(client, 1)
        await proxy.publish(item("refresh", action="refresh"))
        await eventually(lambda: proxy.backend.bodies("/refresh") == [OPEN, b""])


async def test_the_keep_alive_interval_brings_empty_requests_until_it_is_set_to_zero(proxy: Proxy) -> None:
    def then(seen: Any) -> Reply:
        off = seen.body == event("TEXT", "off")
        return Reply(text("ok"), headers=[("Keep-Alive-Interval", "0")] if off else [])

    proxy.backend.accept("/interval", then=then, headers=[("Keep-Alive-Interval", "1")])
    async with connect(f"{proxy.ws_url}/interval") as client:
        assert await receive(client, 1) == ["ok"]
        assert proxy.backend.bodies("/interval") == [OPEN, b""]
        await client.send("off")
        await receive(client, 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.recv(), 1.3)


async def test_more_messages_than_fit_a_request_are_spread_over_several_in_order(proxy: Proxy) -> None:
    first = threading.Event()

    async def hold(seen: Any) -> Reply:
        await asyncio.to_thread(first.wait, PATIENCE)
        return Reply()

    proxy.backend.accept("/spread", then=hold)
    async with connect(f"{proxy.ws_url}/spread") as client:
        for number in range(10):
            await client.send(str(number))
        await eventually(lambda: len(proxy.backend.bodies("/spread")) == 2)
        first.set()
        numbers = b"".join(event("TEXT", str(number)) for number in range(10))
        await eventually(lambda: b"".join(proxy.backend.bodies("/spread")[1:]) == numbers)
    assert max(body.count(b"TEXT") for body in proxy.backend.bodies("/spread")) == 3


@pytest.mark.parametrize("headers", [{"X": "no token"}, bearer(key=b"a key that this project does not have, ever")])
async def test_publishing_without_a_valid_token_is_refused_and_publishes_nothing(
    proxy: Proxy, headers: dict[str, str]
) -> None:
    proxy.backend.accept("/secret", control("subscribe", channel="secret"), text("in"))
    async with connect(f"{proxy.ws_url}/secret") as client:
        await receive(client, 1)
        response = await proxy.post(json.dumps({"items": [item("secret", "forged")]}).encode(), headers)
        assert response.status_code == 401
        await proxy.publish(item("secret", "genuine"))
        assert await receive(client, 1) == ["genuine"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/.grip/publish/", 405),
        ("POST", "/.grip/publish", 200),
        ("POST", "/.grip", 404),
        ("POST", "/.grip/other/", 404),
        ("POST", "/.gripped", 201),
    ],
)
async def test_the_control_path_is_answered_by_the_proxy_and_its_neighbours_by_the_application(
    proxy: Proxy, method: str, path: str, status: int
) -> None:
    proxy.backend.script(path, lambda seen: Reply(status=201, plain=True))
    async with http_client() as client:
        response = await client.request(method, proxy.url + path, content=b'{"items": []}', headers=bearer())
    assert response.status_code == status


async def test_a_publish_over_the_limit_is_refused(proxy: Proxy) -> None:
    assert (await proxy.post(b" " * 1_100_000)).status_code == 413


async def test_an_application_that_answers_without_end_drops_the_client() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = [(b"content-type", b"application/websocket-events")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": OPEN, "more_body": body != OPEN})
        while body != OPEN:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0)

    client = FakeClient()
    running = client.connect(EmbeddedProxy(endless, signing_key=KEY))
    assert (await client.sent())["type"] == "websocket.accept"
    client.does({"type": "websocket.receive", "text": "go"})
    await asyncio.wait_for(running, PATIENCE)
    assert client.messages.empty()


class FakeClient:
    """An ASGI server with one WebSocket, whose sends the test can hold up."""

    def __init__(self, *extensions: str) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "scheme": "ws",
            "path": "/fake",
            "query_string": b"",
            "headers": [],
            "extensions": {name: {} for name in extensions},
        }
        self.does({"type": "websocket.connect"})

    def does(self, event: dict[str, Any]) -> None:
        self.events.put_nowait(event)

    def connect(self, app: Any) -> asyncio.Task[None]:
        async def send(message: dict[str, Any]) -> None:
            await self.reading.wait()
            await self.messages.put(message)

        return asyncio.ensure_future(app(self.scope, self.events.get, send))

    async def sent(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.messages.get(), PATIENCE)


async def test_a_slow_client_loses_published_messages_and_nobody_waits_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Backend()
    backend.accept("/fake", control("subscribe", channel="slow"))
    app = EmbeddedProxy(backend, signing_key=KEY, limits=Limits(outgoing_messages=5))
    client = FakeClient()
    running = client.connect(app)
    assert (await client.sent())["type"] == "websocket.accept"
    client.reading.clear()
    await eventually(lambda: app.hub.subscribers("slow") == 1)
    for number in range(20):
        await publish(app, item("slow", str(number)))
    assert "is slow: a message published to it is dropped" in caplog.text
    client.reading.set()
    assert [(await client.sent())["text"] for _ in range(5)] == ["0", "1", "2", "3", "4"]
    client.does({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(running, PATIENCE)
    assert backend.bodies("/fake") == [OPEN, event("DISCONNECT")]
    assert app.hub.subscribers("slow") == 0


async def publish(app: EmbeddedProxy, entry: Any) -> None:
    replies: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps({"items": [entry]}).encode()}

    async def send(message: dict[str, Any]) -> None:
        replies.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in bearer().items()]
    scope = {"type": "http", "method": "POST", "path": "/.grip/publish/", "headers": headers}
    await app(scope, receive, send)
    assert replies[0]["status"] == 200


async def test_a_server_without_the_response_extension_shows_a_rejection_as_403() -> None:
    backend = Backend()
    backend.script("/fake", lambda seen: Reply(b"no", status=401, plain=True))
    client = FakeClient()
    running = client.connect(EmbeddedProxy(backend, signing_key=KEY))
    assert await client.sent() == {"type": "websocket.close"}
    await asyncio.wait_for(running, PATIENCE)


async def test_a_server_with_the_response_extension_shows_the_rejection_itself() -> None:
    backend = Backend()
    backend.script("/fake", lambda seen: Reply(b"no", [("X-Own", "1")], status=401, plain=True))
    client = FakeClient("websocket.http.response")
    running = client.connect(EmbeddedProxy(backend, signing_key=KEY))
    start, body = await client.sent(), await client.sent()
    assert (start["status"], (b"x-own", b"1") in start["headers"], body["body"]) == (401, True, b"no")
    await asyncio.wait_for(running, PATIENCE)


@pytest.mark.parametrize(
    ("reported", "told"),
    [
        ({"code": 1006}, event("DISCONNECT")),
        ({"code": 1005}, event("DISCONNECT")),
        ({"code": 1012, "reason": ""}, event("DISCONNECT")),
        ({"code": 1005, "reason": ""}, event("CLOSE")),
        ({"code": 1001, "reason": ""}, close(1001)),
        ({"code": 4000, "reason": "why"}, close(4000, "why")),
    ],
)
async def test_what_an_asgi_server_reports_of_the_end_is_told_as_pushpin_tells_it(
    reported: dict[str, Any], told: bytes
) -> None:
    backend = Backend()
    backend.accept("/fake")
    client = FakeClient()
    running = client.connect(EmbeddedProxy(backend, signing_key=KEY))
    await client.sent()
    client.does({"type": "websocket.disconnect", **reported})
    await asyncio.wait_for(running, PATIENCE)
    assert backend.bodies("/fake") == [OPEN, told]


async def test_a_client_that_leaves_during_the_handshake_is_told_to_the_backend_afterwards() -> None:
    backend = Backend()
    gate = asyncio.Event()

    async def slow(seen: Any) -> Reply:
        if seen.body == OPEN:
            await gate.wait()
            return Reply(OPEN)
        return Reply()

    backend.script("/fake", slow)
    client = FakeClient()
    running = client.connect(EmbeddedProxy(backend, signing_key=KEY))
    await eventually(lambda: backend.bodies("/fake"))
    client.does({"type": "websocket.disconnect", "code": 1006})
    gate.set()
    await asyncio.wait_for(running, PATIENCE)
    assert backend.bodies("/fake") == [OPEN, event("DISCONNECT")]


async def test_a_send_that_fails_because_the_client_is_gone_is_a_disconnect() -> None:
    backend = Backend()
    backend.accept("/fake", text("hi"))
    client = FakeClient()

    async def broken(message: dict[str, Any]) -> None:
        raise ConnectionResetError("gone")

    proxy = EmbeddedProxy(backend, signing_key=KEY)
    await asyncio.wait_for(proxy(client.scope, client.events.get, broken), PATIENCE)
    assert backend.bodies("/fake") == [OPEN, event("DISCONNECT")]


async def test_the_proxy_says_once_that_it_is_for_development(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    proxy = EmbeddedProxy(app, signing_key=KEY)
    with caplog.at_level(logging.INFO, "grip_consumers.embedded"):
        for _ in range(2):
            await proxy({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert caplog.text.count("for development and tests only") == 1
