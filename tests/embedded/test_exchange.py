from __future__ import annotations

import asyncio
from typing import Any

import pytest

from grip_consumers.embedded.connection import Response
from grip_consumers.embedded.exchange import Answering, ClientSide

HOLD = {"type": "http.response.start", "status": 200, "headers": [(b"Grip-Hold", b"stream")]}
PLAIN = {"type": "http.response.start", "status": 201, "headers": [(b"x-a", b"1"), (b"Grip-Foo", b"x")]}
DISCONNECT = {"type": "http.disconnect"}


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def piece(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Server:
    """The receive and send that an ASGI server gives."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in messages:
            self.incoming.put_nowait(message)
        self.sent: list[Any] = []

    async def receive(self) -> Any:
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def answering(self, limit: int = 100, body: bytes | None = None) -> Answering:
        return Answering(ClientSide(self.receive, limit), self.send, limit, body)


async def test_a_body_is_kept_as_it_passes() -> None:
    client = ClientSide(Server(piece(b"ab", True), piece(b"c"), DISCONNECT).receive, 3)
    assert await client.next() == piece(b"ab", True)
    assert (client.body, client.complete) == (b"ab", False)
    await client.gone()
    assert (client.body, client.complete) == (b"abc", True)
    assert await client.next() == DISCONNECT


async def test_a_long_body_passes_and_is_not_kept() -> None:
    client = ClientSide(Server(piece(b"ab", True), piece(b"cd")).receive, 3)
    assert [(await client.next())["body"] for _ in range(2)] == [b"ab", b"cd"]
    assert (client.body, client.complete) == (None, True)


async def test_one_who_no_longer_waits_takes_nothing_from_others() -> None:
    server = Server()
    client = ClientSide(server.receive, 100)
    first, second = (asyncio.ensure_future(client.next()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    server.incoming.put_nowait(DISCONNECT)
    assert await second == DISCONNECT


async def test_a_plain_response_passes_piece_by_piece_without_what_is_for_the_proxy() -> None:
    server = Server()
    answering = server.answering()
    await answering.send(PLAIN)
    await answering.send(part(b"x", True))
    assert server.sent == [{**PLAIN, "headers": [(b"x-a", b"1")]}, part(b"x", True)]
    await answering.send(part(b""))
    assert server.sent[2:] == [part(b"")]
    assert not answering.over.done()


async def test_messages_that_are_no_part_of_http_one_pass_too() -> None:
    server = Server()
    await server.answering().send({"type": "http.response.early_hint", "links": []})
    assert server.sent == [{"type": "http.response.early_hint", "links": []}]


async def test_a_response_that_instructs_is_kept_back_until_it_is_complete() -> None:
    server = Server()
    answering = server.answering()
    for message in (HOLD, part(b"a", True), part(b"b"), part(b"too late")):
        assert not answering.over.done() or message == part(b"too late")
        await answering.send(message)
    assert answering.response() == Response(200, [(b"Grip-Hold", b"stream")], b"ab")
    assert server.sent == []


async def test_a_response_kept_back_has_a_limit() -> None:
    answering = Server().answering(limit=3)
    await answering.send(HOLD)
    await answering.send(part(b"abcd", True))
    assert answering.over.done()
    with pytest.raises(ValueError, match="at most 3 bytes"):
        answering.response()


async def test_after_its_response_the_application_hears_that_it_is_over() -> None:
    answering = Server().answering()
    waiting = asyncio.ensure_future(answering.receive())
    await asyncio.sleep(0)
    await answering.send(HOLD)
    await answering.send(part(b""))
    assert await asyncio.wait_for(waiting, 1) == DISCONNECT
    assert await answering.receive() == DISCONNECT


async def test_a_repeated_request_has_its_body_again() -> None:
    answering = Server(DISCONNECT).answering(body=b"again")
    assert await answering.receive() == piece(b"again")
    assert await answering.receive() == DISCONNECT


async def test_a_server_that_fails_to_receive_is_a_client_that_left() -> None:
    async def broken() -> Any:
        raise OSError

    client = ClientSide(broken, 100)
    await asyncio.wait_for(client.gone(), 1)
