"""Views with the API of django-grip, behind each proxy on each kind of server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import jwt
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clients import http_client
from tests.end_to_end.talking import PATIENCE, SILENCE, socket
from tests.fleet import Fleet, Target


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(timeout=PATIENCE) as made:
        yield made


@contextlib.asynccontextmanager
async def saying(client: httpx.AsyncClient, url: str, text: str) -> AsyncIterator[None]:
    """Say it again and again: the proxy listens to a channel a little after its client hears of it."""

    async def say() -> None:
        while True:
            assert (await client.post(url, data={"data": text})).text == "Ok\n"
            await asyncio.sleep(0.1)

    task = asyncio.create_task(say())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_streaming_example(way: Target, client: httpx.AsyncClient) -> None:
    url = f"{way.url}/grip/stream/"
    async with client.stream("GET", url) as response:
        assert response.headers["content-type"] == "text/plain"
        assert not any(name.startswith("grip-") for name in response.headers)
        lines = response.aiter_lines()
        assert await asyncio.wait_for(anext(lines), PATIENCE) == "[stream open]"
        async with saying(client, url, "hello é"):
            assert await asyncio.wait_for(anext(lines), PATIENCE) == "hello é"


async def test_the_long_polling_example(way: Target, client: httpx.AsyncClient) -> None:
    url = f"{way.url}/grip/poll/"
    await client.post(url, data={"data": "one"})
    first = await client.get(url)
    unchanged = {"If-None-Match": first.headers["etag"]}
    held = asyncio.create_task(client.get(url, headers=unchanged))
    await asyncio.sleep(SILENCE)
    assert (first.text, held.done()) == ("one", False)
    async with saying(client, url, "two"):
        answer = await held
    assert (answer.status_code, answer.text) == (200, "two")
    assert answer.headers["etag"] != first.headers["etag"]


async def test_a_held_304_is_one_after_the_timeout(views_fleet: Fleet, client: httpx.AsyncClient) -> None:
    urls = [f"{target.url}/grip/unchanged/" for target in views_fleet.targets.values()]
    for answer in await asyncio.gather(*map(client.get, urls)):
        assert (answer.status_code, answer.text, answer.headers["etag"]) == (304, "", '"1"')


async def test_the_echo_example(way: Target, client: httpx.AsyncClient) -> None:
    async with socket(way.url, "/grip/echo/") as connection:
        for message in ("hello", "c:{}", ""):
            await connection.send(message)
            assert await asyncio.wait_for(connection.recv(), PATIENCE) == message
        async with saying(client, f"{way.url}/grip/broadcast/", "to all"):
            assert await asyncio.wait_for(connection.recv(), PATIENCE) == "to all"
        await connection.close(4000, "enough")
        assert (connection.close_code, connection.close_reason) == (4000, "enough")
    assert (await client.get(f"{way.url}/grip/echo/")).status_code == 400


async def drained(connection: ClientConnection) -> None:
    while True:
        await connection.recv()


@pytest.mark.parametrize(("last", "code"), [("leave", (4001, "as told")), ("fail", (1011, ""))])
async def test_an_asynchronous_view_keeps_its_state_and_ends_readably(
    way: Target, last: str, code: tuple[int, str]
) -> None:
    async with socket(way.url, "/grip/counted/") as connection:
        for number in (1, 2):
            await connection.send("x")
            assert await asyncio.wait_for(connection.recv(), PATIENCE) == f"{number} x"
        await connection.send(last)
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(drained(connection), PATIENCE)
        assert caught.value.rcvd is not None, "the connection was dropped"
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == code


async def test_a_foreign_site_is_refused(way: Target) -> None:
    url = f"{way.url.replace('http', 'ws', 1)}/grip/echo/"
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, origin="https://elsewhere.example", proxy=None, open_timeout=PATIENCE):
            pass
    assert caught.value.response.status_code == 403


async def test_who_comes_by_no_proxy_gets_501(way: Target, client: httpx.AsyncClient) -> None:
    url = f"{way.backend.url}/grip/stream/"
    forged = jwt.encode({"iss": "pushpin", "exp": 4_000_000_000}, "another key, which is long enough" * 2)
    if way.name == "embedded-uvicorn":
        # There the proxy is in front of the backend, and takes off what clients claim.
        return
    for headers in ({}, {"Grip-Sig": forged}, {"Grip-Sig": "x"}):
        assert (await client.get(url, headers=headers)).status_code == 501


async def test_nothing_a_client_names_becomes_a_header(way: Target, client: httpx.AsyncClient) -> None:
    url = f"{way.url}/grip/held/"
    for bad in ({"channel": "a\r\nGrip-Hold: response"}, {"channel": "a, b"}, {"channel": "a", "link": "/>; rel=x"}):
        answer = await client.get(url, params=bad)
        assert (answer.status_code, answer.text) == (400, "refused\n")
    data = 'a;b, "c"\\\r\nX-Injected: 1\r\n'
    async with client.stream("GET", url, params={"channel": "a", "data": data, "link": "/l?a=1,2;3"}) as response:
        found = ""
        assert "x-injected" not in response.headers
        async for text in response.aiter_text():
            found += text
            if len(found) >= len("held\n" + data):
                break
    assert found.startswith("held\n" + data)
