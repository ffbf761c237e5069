"""Clients of Server-Sent Events, long-polling and held consumers, in groups together with WebSockets."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.clients import http_client
from tests.end_to_end.swarm import either
from tests.end_to_end.talking import PATIENCE, socket
from tests.fleet import Target

#: Seconds for which a client is cut off.
CUT = either(0.3, 5.0)


@dataclass
class Event:
    """One event, as a browser makes it of a stream."""

    data: str
    name: str
    id: str


class Source:
    """An EventSource that has connected."""

    def __init__(self, lines: AsyncIterator[str], last_id: str) -> None:
        self._lines = lines
        self.last_id = last_id

    async def next(self) -> Event:
        """HTML standard §9.2.6."""
        name, data = "message", []
        while True:
            line = await asyncio.wait_for(anext(self._lines), PATIENCE)
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if data:
                    return Event("\n".join(data), name, self.last_id)
                name = "message"
            elif field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id":
                self.last_id = value

    async def said(self, count: int) -> list[str]:
        return [json.loads((await self.next()).data)["said"] for _ in range(count)]


@asynccontextmanager
async def events(way: Target, names: str, last_id: str = "") -> AsyncIterator[Source]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with client() as session, session.stream("GET", f"{way.url}/streams/events/{names}/", headers=headers) as got:
        assert (got.status_code, got.headers["content-type"]) == (200, "text/event-stream")
        yield Source(aiter(got.aiter_lines()), last_id)


def client() -> httpx.AsyncClient:
    return http_client(timeout=PATIENCE)


async def say(way: Target, name: str, *texts: str) -> None:
    async with client() as session:
        answer = await session.post(f"{way.url}/streams/say/{name}/", content="\n".join(texts))
        assert answer.text == "said"


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:10]}"


async def test_a_client_that_was_cut_off_gets_each_event_once(way: Target, group: str) -> None:
    async with events(way, group) as source:
        assert (await source.next()).name == "hello"
        await say(way, group, "1", "2")
        assert await source.said(2) == ["1", "2"]
    await say(way, group, "3", "4 %I 100 %")
    async with events(way, group, source.last_id) as source:
        await say(way, group, "5")
        assert await source.said(3) == ["3", "4 %I 100 %", "5"]
        await say(way, group, "6")
        assert await source.said(1) == ["6"]


async def test_a_client_that_is_away_while_events_go_on_misses_none(way: Target, group: str) -> None:
    sent: list[str] = []
    ended = asyncio.Event()

    async def speak() -> None:
        while not ended.is_set():
            await say(way, group, str(len(sent)))
            sent.append(str(len(sent)))

    async with events(way, group) as source:
        assert (await source.next()).name == "hello"
    speaking = asyncio.ensure_future(speak())
    got: list[str] = []
    for _ in range(2):
        await asyncio.sleep(CUT)
        async with events(way, group, source.last_id) as source:
            got += await source.said(5)
    ended.set()
    await speaking
    async with events(way, group, source.last_id) as source:
        got += await source.said(len(sent) - len(got))
    assert got == sent


async def test_nothing_is_lost_or_doubled_while_a_stream_begins(way: Target, group: str) -> None:
    async def speak() -> None:
        for number in range(12):
            await say(way, group, str(number))

    async with events(way, group) as source:
        assert (await source.next()).id
    speaking = asyncio.ensure_future(speak())
    got: list[str] = []
    while len(got) < 12:
        async with events(way, group, source.last_id) as source:
            got += await source.said(min(2, 12 - len(got)))
    await speaking
    assert got == [str(number) for number in range(12)]


async def test_the_position_of_a_client_covers_all_its_groups(way: Target, group: str) -> None:
    other = f"{group}-b"
    async with events(way, f"{group},{other}") as source:
        assert (await source.next()).name == "hello"
        await say(way, group, "a1")
        await say(way, other, "b1")
        assert sorted(await source.said(2)) == ["a1", "b1"]
    await say(way, other, "b2")
    await say(way, group, "a2")
    async with events(way, f"{group},{other}", source.last_id) as source:
        assert await source.said(2) == ["b2", "a2"]


async def test_each_kind_of_client_gets_an_event_in_its_own_form(way: Target, group: str) -> None:
    async with (
        events(way, group) as source,
        socket(way.url, f"/ws/streams/{group}/") as connection,
        client() as session,
        session.stream("GET", f"{way.url}/streams/lines/{group}/") as lines,
    ):
        body = aiter(lines.aiter_text())
        assert await anext(body) == "begin\n"
        assert (await source.next()).name == "hello"
        await say(way, group, "this")
        assert await source.said(1) == ["this"]
        assert await asyncio.wait_for(connection.recv(), PATIENCE) == "heard this"
        assert await asyncio.wait_for(anext(body), PATIENCE) == "this\n"
        await say(way, group, "end")
        assert await source.said(1) == ["end"]
        assert [piece async for piece in body] == ["end\n"]


async def test_polling_misses_nothing_between_two_polls(way: Target, group: str) -> None:
    url = f"{way.url}/streams/poll/{group}/"

    async def speak() -> None:
        for number in range(10):
            await say(way, group, str(number))

    async with client() as session:
        answer = (await session.get(url)).json()
        assert answer["events"] == []
        speaking = asyncio.ensure_future(speak())
        got: list[str] = []
        while len(got) < 10:
            answer = (await session.get(url, params={"since": answer["id"]})).json()
            got += [event["data"] for event in answer["events"]]
        await speaking
        assert got == [str(number) for number in range(10)]
