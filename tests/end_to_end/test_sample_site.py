"""The served sample site: the same for every proxy, every kind of server, both styles of consumer."""

from __future__ import annotations

import json

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fleet import Target

from .talking import hear, members, messages, nothing, say, socket


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
    page = httpx.get(f"{target.url}/{style}chat/{room}/", trust_env=False)
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
