"""Views with the API of django-websocket, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clients import http_client
from tests.end_to_end.talking import PATIENCE, socket
from tests.fleet import Target


async def hear(connection: object, count: int = 1) -> list[str]:
    return [await asyncio.wait_for(connection.recv(), PATIENCE) for _ in range(count)]  # type: ignore[attr-defined]


async def end_of(connection: object) -> tuple[int, str]:
    """Code and reason with which a connection ends, behind nothing else."""
    with pytest.raises(ConnectionClosed) as caught:
        await hear(connection)
    assert caught.value.rcvd is not None, "the connection was dropped"
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def test_the_readmes_examples_run_as_printed(way: Target) -> None:
    async with socket(way.url, "/websocket/once/") as once:
        await once.send("Hello")
        assert await hear(once) == ["Hello"]
        assert await end_of(once) == (1000, "")
    async with socket(way.url, "/websocket/lower/") as lower:
        for message in ("ONE", "Two", "three"):
            await lower.send(message)
        assert await hear(lower, 3) == ["one", "two", "three"]
    async with http_client(timeout=PATIENCE) as client:
        assert (await client.get(f"{way.url}/websocket/lower/?message=HELLO")).text == "hello"
        assert (await client.get(f"{way.url}/websocket/once/")).status_code == 400
        assert (await client.post(f"{way.url}/websocket/loud/")).status_code == 403


async def test_an_asynchronous_view_keeps_its_state(way: Target) -> None:
    async with socket(way.url, "/websocket/numbered/") as connection:
        assert await hear(connection) == ["welcome"]
        for number in range(1, 4):
            await connection.send("x")
            assert await hear(connection) == [f"{number}: x"]


async def test_a_class_based_view_that_fails_closes_with_1011(way: Target) -> None:
    async with socket(way.url, "/websocket/loud/", subprotocols=["chat"]) as connection:
        assert connection.subprotocol == "chat"
        await connection.send("hey")
        await connection.send("fail")
        assert await hear(connection, 2) == ["HEY", "FAIL"]
        assert await end_of(connection) == (1011, "")


async def test_a_foreign_site_is_refused(way: Target) -> None:
    from websockets.asyncio.client import connect

    url = way.url.replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{url}/websocket/lower/", origin="http://elsewhere.example", proxy=None)  # type: ignore[arg-type]
    assert caught.value.response.status_code == 403
