from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from typing import Any

import pytest

from grip_consumers import discovery
from grip_consumers.embedded.server import DevelopmentServer, log_requests, thread_count
from tests.clients import http_client

from .rig import PATIENCE, eventually


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("only http")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.mark.parametrize(
    ("host", "ipv6", "expected"),
    [
        ("127.0.0.1", False, "127.0.0.1"),
        ("0.0.0.0", False, "127.0.0.1"),
        ("::1", True, "[::1]"),
        ("::", True, "[::1]"),
    ],
)
def test_publishers_are_sent_to_an_address_that_they_can_reach(host: str, ipv6: bool, expected: str) -> None:
    try:
        server = DevelopmentServer((host, 0), ipv6=ipv6)
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")
    with server.socket:
        assert server.server_port > 0
        assert server.control_uri == f"http://{expected}:{server.server_port}/.grip"


def test_a_port_in_use_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        DevelopmentServer(taken.getsockname())


@pytest.mark.parametrize(("text", "threads"), [("", None), ("1", 1), ("40", 40)])
def test_the_variable_of_daphne_says_how_many_threads_there_are(text: str, threads: int | None) -> None:
    assert thread_count({"ASGI_THREADS": text}) == threads
    assert thread_count({}) is None


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"ASGI_THREADS must be a positive number, got '{text}'"):
        thread_count({"ASGI_THREADS": text})


async def test_synchronous_code_gets_no_more_threads_than_the_variable_says(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("ASGI_THREADS", "1")
    seen: list[set[int]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("only http")
        started = threading.Barrier(2)

        def wait() -> int:
            with contextlib.suppress(threading.BrokenBarrierError):
                started.wait(0.2)
            return threading.get_ident()

        seen.append({*await asyncio.gather(asyncio.to_thread(wait), asyncio.to_thread(wait))})
        await hello(scope, receive, send)

    server = DevelopmentServer(("127.0.0.1", 0))
    server.set_app(application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        async with http_client(timeout=PATIENCE) as client:
            assert (await client.get(f"http://127.0.0.1:{server.server_port}/")).text == "hello"
    finally:
        DevelopmentServer.stop_all()
        thread.join(PATIENCE)
    assert [len(threads) for threads in seen] == [1]


def test_serving_needs_an_application() -> None:
    server = DevelopmentServer(("127.0.0.1", 0))
    with server.socket, pytest.raises(RuntimeError, match="set_app"):
        server.serve_forever()


async def test_a_server_in_a_thread_serves_is_announced_and_stops_when_told(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = DevelopmentServer(("127.0.0.1", 0))
    server.set_app(hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        await eventually(lambda: discovery.announced() == [server.control_uri])
        async with http_client() as client:
            assert (await client.get(f"http://127.0.0.1:{server.server_port}/")).text == "hello"
    finally:
        DevelopmentServer.stop_all()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert discovery.announced() == []


def test_a_server_that_cannot_be_announced_serves_all_the_same(monkeypatch: Any, caplog: Any) -> None:
    def refuse(uri: str) -> Any:
        raise PermissionError("not yours")

    monkeypatch.setattr(discovery, "announce", refuse)
    server = DevelopmentServer(("127.0.0.1", 0))
    with server.socket, server._announced():
        assert "Other processes cannot publish to this server: not yours" in caplog.text


SCOPE = {"path": "/a", "raw_path": b"/%61", "query_string": b"q=1", "http_version": "1.1"}


@pytest.mark.parametrize(
    ("scope", "messages", "line"),
    [
        (
            {"type": "http", "method": "GET"},
            [{"type": "http.response.start", "status": 204}],
            '"GET /%61?q=1 HTTP/1.1" 204',
        ),
        (
            {"type": "websocket"},
            [{"type": "websocket.accept"}, {"type": "websocket.close"}],
            '"WEBSOCKET /%61?q=1 HTTP/1.1" 101',
        ),
        ({"type": "websocket"}, [{"type": "websocket.close"}], '"WEBSOCKET /%61?q=1 HTTP/1.1" 403'),
        (
            {"type": "websocket"},
            [{"type": "websocket.http.response.start", "status": 401}],
            '"WEBSOCKET /%61?q=1 HTTP/1.1" 401',
        ),
    ],
)
async def test_each_request_is_logged_once_in_runservers_form(
    scope: dict[str, Any], messages: list[dict[str, Any]], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(
        logging.getLogger("django.server"),
        "log",
        lambda level, text, *values, **_: logged.append(text % values),
    )
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await log_requests(app)({**SCOPE, **scope}, None, send)  # type: ignore[arg-type]
    assert sent == messages
    assert logged == [line]
