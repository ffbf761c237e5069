"""Clients of the sample site, and waiting for what must come."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.clients import http_client

#: Seconds to wait for what must come.
PATIENCE = 10.0
#: Seconds in which nothing must come.
SILENCE = 0.25


@asynccontextmanager
async def socket(url: str, path: str, subprotocols: Sequence[str] | None = None) -> AsyncIterator[ClientConnection]:
    """An open socket at `url`, which is the http URL of a way in, as a page of the same site opens it."""
    async with connect(
        f"{url.replace('http', 'ws', 1)}{path}",
        origin=url,
        subprotocols=subprotocols,
        compression=None,
        proxy=None,
        ping_interval=None,
        open_timeout=PATIENCE,
        close_timeout=PATIENCE,
    ) as connection:
        yield connection


@asynccontextmanager
async def members(urls: Sequence[str], path: str) -> AsyncIterator[list[ClientConnection]]:
    """Sockets on one path, one for each url, opened one after the other."""
    opened = [socket(url, path) for url in urls]
    connections = []
    try:
        for context in opened:
            connections.append(await context.__aenter__())
        yield connections
    finally:
        for context in opened[: len(connections)]:
            await context.__aexit__(None, None, None)


async def say(connection: ClientConnection, text: str) -> None:
    await connection.send(json.dumps({"message": text, "author": "a test"}))


async def hear(connection: ClientConnection, count: int = 1, patience: float = PATIENCE) -> list[str]:
    """The texts of the next chat messages."""
    return [json.loads(await asyncio.wait_for(connection.recv(), patience))["message"] for _ in range(count)]


async def nothing(*connections: ClientConnection) -> bool:
    """Whether none of the connections hears anything for a moment."""
    waiting = [asyncio.ensure_future(connection.recv()) for connection in connections]
    done, pending = await asyncio.wait(waiting, timeout=SILENCE)
    for future in pending:
        future.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return not done


async def messages(url: str, room: str, ready: Callable[[list[Any]], object] = bool) -> list[Any]:
    """The texts that the site keeps for a room, as soon as they are `ready`."""
    deadline = time.monotonic() + PATIENCE
    async with http_client(timeout=PATIENCE) as client:
        while True:
            kept = (await client.get(f"{url}/messages/{room}/")).json()["messages"]
            texts = [message["message"] for message in kept]
            if ready(texts):
                return texts
            if time.monotonic() > deadline:
                raise TimeoutError(f"The site keeps {texts!r} for {room}, which is not what was waited for.")
            await asyncio.sleep(0.02)
