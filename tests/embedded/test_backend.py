from __future__ import annotations

import asyncio
from typing import Any

import pytest

from grip_consumers.embedded.backend import Backend, BackendError
from grip_consumers.embedded.connection import Request

from .rig import PATIENCE, eventually

HANDSHAKE: dict[str, Any] = {
    "type": "websocket",
    "asgi": {"version": "3.0"},
    "scheme": "wss",
    "path": "/é",
    "raw_path": b"/%C3%A9",
    "query_string": b"q",
    "root_path": "/root",
    "client": ("1.2.3.4", 5),
    "server": ("here", 443),
    "headers": [(b"host", b"here")],
    "subprotocols": ["one"],
}
REQUEST = Request([(b"a", b"b")], b"body")
START = {"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]}


def backend(app: Any, limit: int = 1000) -> Backend:
    return Backend(app, HANDSHAKE, limit)


async def test_the_application_gets_an_http_scope_with_the_handshakes_place() -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, message=await receive())
        await send(START)
        await send({"type": "http.response.body", "body": b"ok"})

    response = await backend(app).request(REQUEST)
    assert (response.status, response.headers, response.body) == (200, [(b"x", b"y")], b"ok")
    assert (seen["type"], seen["method"], seen["scheme"]) == ("http", "POST", "https")
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/é", b"/%C3%A9", b"q")
    assert (seen["root_path"], seen["client"], seen["headers"]) == ("/root", ("1.2.3.4", 5), [(b"a", b"b")])
    assert seen["message"] == {"type": "http.request", "body": b"body", "more_body": False}
    assert "subprotocols" not in seen


async def test_a_second_receive_waits_until_the_response_is_complete() -> None:
    order: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            await receive()
            order.append((await receive())["type"])

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0.01)
        order.append("answer")
        await send(START)
        await send({"type": "http.response.body"})
        await listening

    await backend(app).request(REQUEST)
    await eventually(lambda: order == ["answer", "http.disconnect"])


async def test_a_streamed_response_is_put_together() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for chunk in (b"a", b"b"):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"c", "more_body": False})
        await send({"type": "http.response.body", "body": b"late"})

    assert (await backend(app).request(REQUEST)).body == b"abc"


async def test_what_the_application_does_after_its_response_holds_nothing_up() -> None:
    gate = asyncio.Event()
    finished = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"ok"})
        await gate.wait()
        finished.set()

    assert (await asyncio.wait_for(backend(app).request(REQUEST), PATIENCE)).body == b"ok"
    gate.set()
    await asyncio.wait_for(finished.wait(), PATIENCE)


async def test_an_exception_is_logged_and_named(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise KeyError("lost")

    with pytest.raises(BackendError, match="the application raised KeyError"):
        await backend(app).request(REQUEST)
    assert "KeyError: 'lost'" in caplog.text


async def test_returning_without_a_response_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)

    with pytest.raises(BackendError, match="returned without a complete response"):
        await backend(app).request(REQUEST)


async def test_a_body_without_a_start_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"x"})

    with pytest.raises(BackendError, match=r"expected http\.response\.start"):
        await backend(app).request(REQUEST)


async def test_a_response_over_the_limit_ends_the_call() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(START)
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
                await asyncio.sleep(0)
        finally:
            ended.set()

    with pytest.raises(BackendError, match="at most 1000 bytes"):
        await backend(app).request(REQUEST)
    await asyncio.wait_for(ended.wait(), PATIENCE)


async def test_a_cancelled_request_cancels_the_application() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    request = asyncio.ensure_future(backend(app).request(REQUEST))
    await asyncio.sleep(0.01)
    request.cancel()
    await asyncio.wait_for(ended.wait(), PATIENCE)
    with pytest.raises(asyncio.CancelledError):
        await request
