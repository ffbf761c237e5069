"""The served sample site: the same for every proxy, every kind of server, both styles of consumer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.clients import http_client
from tests.fleet import Target

from .talking import PATIENCE, SILENCE, hear, members, messages, nothing, say, socket


@pytest.fixture(params=["", "async-"], ids=["sync", "async"])
def style(request: pytest.FixtureRequest) -> str:
    """What the paths of the consumers written in one style begin with."""
    return str(request.param)


async def test_a_room_relays_to_all_members_in_order(target: Target, style: str, room: str) -> None:
    async with members([target.url] * 3, f"/ws/{style}chat/{room}/") as (first, second, third):
        for number in range(6):
            await say(first if number % 2 else third, f"message {number}")
            for member in (first, second, third):
                assert await hear(member) == [f"message {number}"]
        for number in range(10):
            await say(second, f"burst {number}")
        for member in (first, second, third):
            assert await hear(member, 10) == [f"burst {number}" for number in range(10)]
        assert await nothing(first, second, third)


async def test_nobody_in_another_room_hears_it(target: Target, style: str, room: str) -> None:
    async with (
        members([target.url], f"/ws/{style}chat/{room}/") as (member,),
        members([target.url], f"/ws/{style}chat/{room}-2/") as (stranger,),
    ):
        await say(member, "between us")
        assert await hear(member) == ["between us"]
        await say(stranger, "anybody?")
        assert await hear(stranger) == ["anybody?"]
        assert await nothing(member, stranger)


async def test_what_was_said_is_kept(target: Target, style: str, room: str) -> None:
    async with members([target.url], f"/ws/{style}chat/{room}/") as (member,):
        await say(member, "<b>for the record</b>")
        await hear(member)
    assert await messages(target.url, room) == ["<b>for the record</b>"]
    async with http_client() as client:
        page = await client.get(f"{target.url}/{style}chat/{room}/")
    assert "&lt;b&gt;for the record&lt;/b&gt;" in page.text


async def test_a_subprotocol_is_negotiated(target: Target, style: str, room: str) -> None:
    path = f"/ws/{style}probe/{room}/"
    async with socket(target.url, path, ["first", "second"]) as connection:
        assert connection.subprotocol == "second"
    async with socket(target.url, path) as connection:
        assert connection.subprotocol is None


async def test_binary_frames_come_back(target: Target, style: str, room: str) -> None:
    async with socket(target.url, f"/ws/{style}probe/{room}/") as connection:
        for data in (bytes(range(256)), b"", b"\r\n"):
            await connection.send(data)
            assert await connection.recv() == data


async def test_a_handshake_is_rejected(target: Target, style: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with socket(target.url, f"/ws/{style}probe/refused/"):
            pass
    assert refusal.value.response.status_code == 403


async def test_the_server_closes_with_code_and_reason(target: Target, style: str, room: str) -> None:
    async with socket(target.url, f"/ws/{style}probe/{room}/") as connection:
        await connection.send('["close", 4123, "enough"]')
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4123, "enough")


async def test_attributes_survive_until_the_client_closes(target: Target, style: str, room: str) -> None:
    path = f"/ws/{style}probe/{room}/"
    async with socket(target.url, path) as connection:
        for text in ("one", "two"):
            await connection.send(text)
            assert await connection.recv() == text
        await connection.close(4567, "my own reasons")
    held = [json.loads(text) for text in await messages(target.url, room)]
    assert held == [[4567, ["one", "two"], {"path": path}]]


@asynccontextmanager
async def visitor(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has loaded a page and so may send forms."""
    async with http_client(base_url=target.url, timeout=PATIENCE) as client:
        await client.get("/tasks/")
        client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
        yield client


@asynccontextmanager
async def dashboard(client: httpx.AsyncClient) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """Name and data of each event that a dashboard hears."""

    async def heard(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    async with client.stream("GET", "/dashboard/events/") as response:
        yield heard(response)


async def ask(connection: Any, method: str, url: str, data: Any = None) -> tuple[int, Any]:
    """Status and body of the answer to one request; events that come before it are passed over."""
    await connection.send(json.dumps({"id": url, "method": method, "url": url, "data": data}))
    while True:
        answer = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))
        if answer.get("id") == url:
            return answer["status"], answer["body"]


async def changes(connection: Any, version: int) -> list[tuple[str, Any]]:
    """The changes that a socket is told of, up to that which makes this version."""
    told: list[tuple[str, Any]] = []
    while not told or told[-1][1]["version"] < version:
        event = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))["event"]
        told.append((event["change"], event["task"]))
    return told


async def test_the_dashboard_counts_what_happens_on_the_other_pages(target: Target, room: str) -> None:
    async with (
        visitor(target) as client,
        dashboard(client) as events,
        members([target.url], f"/ws/chat/{room}/") as (member,),
    ):
        name, before = await anext(events)
        await say(member, "hello")
        await hear(member)
        await client.post("/counter/step/", data={"by": "1"})
        await client.post("/api/tasks/", json={"title": f"tidy {room}"})
        happened = [await anext(events) for _ in range(3)]
        after = happened[-1][1]["totals"]
    assert name == "totals"
    assert [(name, data["kind"]) for name, data in happened] == [
        ("happened", "message"),
        ("happened", "counter"),
        ("happened", "task"),
    ]
    assert happened[0][1]["text"] == f"a test in {room}: hello"
    assert {key: after[key] - before[key] for key in ("messages", "counter", "open", "done")} == {
        "messages": 1,
        "counter": 1,
        "open": 1,
        "done": 0,
    }


async def test_a_poll_waits_for_the_next_step_and_misses_none(target: Target) -> None:
    async with visitor(target) as client:

        async def poll(since: str) -> tuple[str, list[int]]:
            answer = (await client.get("/counter/changes/", params={"since": since})).raise_for_status().json()
            return answer["id"], [event["data"]["value"] for event in answer["events"]]

        async def step(by: int) -> None:
            (await client.post("/counter/step/", data={"by": by})).raise_for_status()

        since, (start,) = await poll("")
        waiting = asyncio.ensure_future(poll(since))
        assert not (await asyncio.wait([waiting], timeout=SILENCE))[0]
        await step(1)
        since, heard = await waiting
        assert heard == [start + 1]
        await step(1)
        await step(-1)
        assert (await poll(since))[1] == [start + 2, start + 1]


async def test_tasks_answer_alike_over_a_socket_and_over_http_and_tell_of_changes(target: Target, room: str) -> None:
    async with visitor(target) as client, members([target.url] * 2, "/ws/requests/") as (asking, listening):
        await ask(listening, "GET", "/api/tasks/")
        status, task = await ask(asking, "POST", "/api/tasks/", {"title": room})
        assert (status, task) == (201, {"id": task["id"], "title": room, "done": False, "version": 1})
        path = f"/api/tasks/{task['id']}/"
        by_http = await client.patch(path, json={"done": True})
        done = {**task, "done": True, "version": 2}
        assert (by_http.status_code, by_http.json()) == (200, done)
        assert await changes(listening, 2) == [("saved", task), ("saved", done)]

        for method, url, data, expected in [
            ("GET", "/api/tasks/", None, 200),
            ("POST", "/api/tasks/", {"title": " "}, 400),
            ("POST", "/api/tasks/", ["no object"], 400),
            ("PATCH", path, {"done": "yes"}, 400),
        ]:
            over_http = await client.request(method, url, json=data)
            assert await ask(asking, method, url, data) == (expected, over_http.json())
        assert (await client.delete(path)).status_code == 204
        assert (await ask(asking, "DELETE", path))[0] == 404
