"""More than one process: several proxies and backends at once, restarts, and messages from elsewhere."""

from __future__ import annotations

import pytest

from tests.fleet import TARGETS, Fleet
from tests.servers import IMPATIENCE

from .conftest import manage
from .talking import hear, members, nothing, say

#: How long Pushpin may take to bring a message to a backend that was down: it tries again after 1, 2, 4, 8 … s.
RETRY = 45.0


async def test_one_room_spans_all_proxies_and_backends(fleet: Fleet, room: str) -> None:
    urls = [fleet.targets[name].url for name in TARGETS]
    async with members(urls, f"/ws/chat/{room}/") as everybody:
        for number, member in enumerate(everybody):
            await say(member, f"message {number}")
            for other in everybody:
                assert await hear(other) == [f"message {number}"]
        assert await nothing(*everybody)


async def test_both_consumer_classes_share_a_room(fleet: Fleet, room: str) -> None:
    first, second = fleet.targets["pushpin-uvicorn"].url, fleet.targets["pushpin-gunicorn"].url
    async with (
        members([first, second], f"/ws/chat/{room}/") as sync,
        members([first, second], f"/ws/async-chat/{room}/") as others,
    ):
        await say(sync[0], "from a sync consumer")
        await say(others[1], "from an async consumer")
        for member in (*sync, *others):
            assert set(await hear(member, 2)) == {"from a sync consumer", "from an async consumer"}
        assert await nothing(*sync, *others)


@pytest.mark.parametrize("name", ["pushpin-uvicorn", "pushpin-gunicorn"])
@pytest.mark.parametrize("style", ["", "async-"], ids=["sync", "async"])
async def test_clients_go_on_talking_when_the_backend_is_restarted(
    fleet: Fleet, room: str, name: str, style: str
) -> None:
    target = fleet.targets[name]
    async with members([target.url] * 2, f"/ws/{style}chat/{room}/") as (first, second):
        await say(first, "before")
        assert await hear(first) + await hear(second) == ["before"] * 2
        target.backend.restart()
        await say(second, "after")
        assert await hear(first, patience=RETRY) + await hear(second) == ["after"] * 2


async def test_what_is_said_while_the_backend_is_down_arrives_later(fleet: Fleet, room: str) -> None:
    target = fleet.targets["pushpin-gunicorn"]
    async with members([target.url] * 2, f"/ws/chat/{room}/") as (first, second):
        target.backend.stop(grace=IMPATIENCE)
        try:
            await say(first, "into the void")
        finally:
            target.backend.start()
        assert await hear(second, patience=RETRY) + await hear(first) == ["into the void"] * 2


async def test_a_management_command_reaches_every_proxy(fleet: Fleet, room: str) -> None:
    urls = [fleet.targets[name].url for name in TARGETS]
    async with members(urls, f"/ws/async-chat/{room}/") as everybody:
        manage(fleet.targets["pushpin-uvicorn"].backend.env, "say", room, "from a command")
        for member in everybody:
            assert await hear(member) == ["from a command"]
