"""One process of a project whose code is that of Channels: Daphne holds some of its WebSockets, a proxy others."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.fleet import Target

from .client import PATIENCE, Client, Peer

WAYS = ("daphne", "embedded-daphne")


async def heard(peer: Peer) -> Any:
    return json.loads(await asyncio.wait_for(peer.connection.recv(), PATIENCE))


@pytest.mark.parametrize(("speaker", "listener"), [WAYS, WAYS[::-1]], ids=WAYS)
@pytest.mark.parametrize("room", ["room", "async-room"])
async def test_members_of_a_room_hear_each_other_whoever_holds_their_sockets(
    both_ways: dict[str, Target], room: str, speaker: str, listener: str
) -> None:
    first, second = Client(both_ways[speaker].url), Client(both_ways[listener].url)
    path = f"/ws/{room}/{first.room('both')}/"
    async with first.socket(path) as one, second.socket(path) as other:
        for number in range(3):
            await one.connection.send(json.dumps({"message": number}))
            for peer in (one, other):
                assert await heard(peer) == {"message": number}
        await first.http.post(f"/announce/chat_{first.room('both')}/", json={"type": "chat.message", "message": "view"})
        for peer in (one, other):
            assert await heard(peer) == {"message": "view"}
    for client in (first, second):
        await client.close()
