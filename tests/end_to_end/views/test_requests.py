"""Requests over a WebSocket: the same as over HTTP, and a resource that becomes live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.clients import http_client
from tests.end_to_end.talking import PATIENCE
from tests.fleet import Target

NAME = "ann"
SOCKETS = {"sync": "/requests/ws/", "async": "/requests/async-ws/"}


@pytest.fixture(params=SOCKETS.values(), ids=SOCKETS)
def path(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@asynccontextmanager
async def socket(way: Target, path: str, cookies: httpx.Cookies | None = None) -> AsyncIterator[ClientConnection]:
    cookie = "; ".join(f"{name}={value}" for name, value in (cookies or {}).items())
    async with connect(
        f"{way.url.replace('http', 'ws', 1)}{path}",
        origin=way.url,  # type: ignore[arg-type]
        additional_headers={"Cookie": cookie} if cookie else {},
        compression=None,
        proxy=None,
        open_timeout=PATIENCE,
        close_timeout=PATIENCE,
    ) as connection:
        yield connection


async def hear(connection: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))
    return found


async def ask(connection: ClientConnection, method: str, url: str, **message: Any) -> tuple[int, Any]:
    await connection.send(json.dumps({"id": url, "method": method, "url": url, **message}))
    found = await hear(connection)
    assert found["id"] == url
    return found["status"], found["body"]


async def by_http(client: httpx.AsyncClient, method: str, url: str, data: Any = None) -> tuple[int, Any]:
    headers = {"X-CSRFToken": client.cookies.get("csrftoken", "")}
    response = await client.request(method, url, json=data, headers=headers)
    return response.status_code, response.json() if response.content else None


@asynccontextmanager
async def browser(way: Target) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is logged in."""
    async with http_client(base_url=way.url, timeout=PATIENCE) as client:
        response = await client.get(f"/requests/enter/{NAME}/")
        assert response.text == "entered"
        yield client


async def test_a_viewset_answers_a_message_as_it_answers_http(way: Target, path: str) -> None:
    mine = f"{way.name}-{path.split('/')[2]}"
    teams = f"/requests/{mine}/teams/"
    one = f"{teams}{mine}-red/"
    steps: list[tuple[str, str, Any, int]] = [
        ("GET", teams, None, 200),
        ("POST", teams, {"name": f"{mine}-red"}, 201),
        ("POST", teams, {"name": f"{mine}-red"}, 400),
        ("POST", teams, {"name": ""}, 400),
        ("POST", teams, {}, 400),
        ("GET", teams, None, 200),
        ("GET", one, None, 200),
        ("PATCH", teams, {"name": "x"}, 405),
        ("DELETE", one, None, 204),
        ("GET", one, None, 404),
    ]
    async with browser(way) as client:
        expected = [await by_http(client, method, url, data) for method, url, data, _ in steps]
        assert [status for status, _ in expected] == [status for *_, status in steps]
        assert expected[2][1] == {"name": ["group with this name already exists."]}
        async with socket(way, path, client.cookies) as connection:
            await connection.send(json.dumps({"method": "GET", "url": "/requests/who/"}))
            assert (await hear(connection))["body"] == {"user": NAME}
            found = []
            for method, url, data, _ in steps:
                found.append(await ask(connection, method, url, **({} if data is None else {"data": data})))
                if method == "POST" and found[-1][0] == 201:
                    # It has listed the teams by this connection, so it is told of its own, too.
                    assert await hear(connection) == {"event": {"created": f"{mine}-red"}}
        assert found == expected


async def test_nobody_is_denied_as_by_http_and_no_error_ends_the_connection(way: Target, path: str) -> None:
    teams = f"/requests/{way.name}/teams/"
    async with http_client(base_url=way.url, timeout=PATIENCE) as client:
        denied = await by_http(client, "POST", teams, {"name": "x"})
    assert denied == (403, {"detail": "Authentication credentials were not provided."})
    async with socket(way, path) as connection:
        assert await ask(connection, "POST", teams, data={"name": "x"}) == denied
        await connection.send("no json")
        assert (await hear(connection))["status"] == 400
        for method, url, status in (("GET", "/none/", 404), ("BREW", teams, 405), ("GET", "/requests/broken/", 500)):
            assert (await ask(connection, method, url))[0] == status
        assert await ask(connection, "GET", "/requests/who/") == (200, {"user": "AnonymousUser"})


async def test_who_has_listed_a_resource_hears_of_new_ones(way: Target) -> None:
    mine = f"{way.name}-live"
    teams = f"/requests/{mine}/teams/"
    async with browser(way) as client, socket(way, "/requests/ws/", client.cookies) as listener:
        assert await ask(listener, "GET", teams) == (200, [])
        created = await by_http(client, "POST", teams, {"name": f"{mine}-blue"})
        assert created == (201, {"name": f"{mine}-blue"})
        assert await hear(listener) == {"event": {"created": f"{mine}-blue"}}
        assert (await by_http(client, "DELETE", f"{teams}{mine}-blue/"))[0] == 204


async def test_a_large_answer_arrives_whole_and_in_order(way: Target) -> None:
    async with socket(way, "/requests/ws/") as connection:
        for url in ("/requests/large/?size=490000", "/requests/who/"):
            await connection.send(json.dumps({"url": url}))
        assert (await hear(connection))["body"] == "x" * 490_000
        assert (await hear(connection))["body"] == {"user": "AnonymousUser"}
        assert (await ask(connection, "GET", "/requests/large/?size=510000"))[0] == 500


async def test_a_foreign_page_is_refused(way: Target) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            f"{way.url.replace('http', 'ws', 1)}/requests/ws/",
            origin="http://evil.example",  # type: ignore[arg-type]
            proxy=None,
        ):
            pass
    assert refused.value.response.status_code == 403
