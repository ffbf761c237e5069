"""Large replies, many of them, and both: whole, in order, on every proxy, whatever room it has for an answer.

`GRIP_TESTS_LONG=1` repeats what stalls only now and then some thirty times, with both kinds of consumers everywhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from .site.swarm.frames import Spec, wanted
from .swarm import (
    CHANNELS,
    OWN,
    PATIENCE,
    REFERENCE,
    Client,
    Plan,
    Site,
    Sites,
    crowd,
    either,
    fresh,
    named,
    sites,
    welcomed,
)

#: How often six hundred frames are asked for: they stalled in one of ten to twenty bursts when they did.
REPEATED = either(3, 30)


def texts(*sizes: int) -> list[Spec]:
    return [["text", number, size] for number, size in enumerate(sizes)]


def binaries(*sizes: int) -> list[Spec]:
    return [["binary", number, size] for number, size in enumerate(sizes)]


REPLIES: dict[str, list[Spec]] = {
    "10 kB": texts(10_000),
    "30 kB": texts(30_000),
    "60 kB": texts(60_000),
    "199 kB": texts(199_000),
    "just within a buffer's room": texts(8_000, 8_000, 8_000),
    "twenty of 9 kB": texts(*[9_000] * 20),
    "ten of 60 kB": texts(*[60_000] * 10),
    "a large one between small ones": texts(*[20] * 5, 120_000, *[20] * 5),
    "small and large in turn": texts(*[20, 40_000] * 5),
    "large ones around a small one": texts(60_000, 20, 60_000),
    "binary": binaries(199_000),
    "binary between text": [["text", 0, 20], ["binary", 1, 50_000], ["text", 2, 50_000], ["binary", 3, 20]],
}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with sites(tmp_path_factory.mktemp("large_replies")) as running:
        yield running


#: What is served, and the consumers that answer there. In the short form both kinds answer on workers of gunicorn, and
#: one on each of the two ways by uvicorn, which differ in what the proxy lets through at once.
SERVED: dict[Plan, tuple[str, ...]] = {
    Plan("pushpin", workers=2): OWN,
    Plan("pushpin", "uvicorn", message_rate=0): either(OWN[1:], OWN),
    Plan("embedded", "uvicorn"): either(OWN[:1], OWN),
    **either({}, {Plan("embedded", workers=2): OWN}),
    **({CHANNELS: OWN} if REFERENCE else {}),
}
everywhere = pytest.mark.parametrize(
    ("site", "kind"),
    [pytest.param(plan, kind, id=f"{plan.name}-{kind}") for plan, kinds in SERVED.items() for kind in kinds],
    indirect=["site"],
)


@pytest.fixture(params=SERVED, ids=lambda plan: plan.name)
def site(request: pytest.FixtureRequest, started: Sites) -> Iterator[Site]:
    found = started[request.param]
    found.backend.mark()
    yield found
    print(found.log())


def told(frames: list[Any]) -> list[str]:
    """Frames in short, so that a failure can be read."""
    return [f"{type(frame).__name__} {len(frame)}: {frame[:12]!r}" for frame in frames if not isinstance(frame, list)]


async def gets(client: Client, specs: list[Spec], start: int) -> None:
    """Wait until it has these frames from position `start` on, and check that they are those, in that order."""
    await client.wait(lambda: len(client.frames) >= start + len(specs))
    frames = [wanted(spec) for spec in specs]
    assert told(client.frames[start:]) == told(frames)
    assert client.frames[start:] == frames
    assert client.code is None


@everywhere
@pytest.mark.parametrize("reply", REPLIES.values(), ids=[name.replace(" ", "-") for name in REPLIES])
async def test_a_reply_to_one_message_arrives_whole(site: Site, kind: str, reply: list[Spec]) -> None:
    async with crowd() as clients:
        client = await welcomed(await clients.open(site, kind, "one"))
        for _ in range(2):
            start = len(client.frames)
            await client.say("frames", reply)
            await gets(client, reply, start)
            assert await client.echoes()
            assert len(client.frames) == start + len(reply) + 1


@everywhere
async def test_six_hundred_small_frames_answer_one_message(site: Site, kind: str) -> None:
    reply = texts(*[20] * 600)
    async with crowd() as clients:
        client = await welcomed(await clients.open(site, kind, "one"))
        for _ in range(REPEATED):
            start = len(client.frames)
            await client.say("frames", reply)
            await gets(client, reply, start)
        assert await client.echoes()


@everywhere
@pytest.mark.parametrize("history", ["6x25000", "150x1000", "1x150000"])
async def test_a_history_is_sent_right_after_the_accept(site: Site, kind: str, history: str) -> None:
    number, size = map(int, history.split("x"))
    group = fresh("history")
    async with crowd() as clients:
        for position in range(3):
            client = await clients.open(site, kind, named(position), [group], history=history)
            await client.hear("welcome")
            await gets(client, texts(*[size] * number), 1)
            assert await client.echoes()
        # What is sent to the group afterwards comes after it.
        await site.note(group, "after", 1)
        for client in clients:
            await client.hear("note", group, "after", 1)


@everywhere
@pytest.mark.parametrize("sizes", [[60_000], [20, 199_000, 20], [20] * 600], ids=["large", "mixed", "many"])
async def test_a_close_comes_after_the_frames_before_it(site: Site, kind: str, sizes: list[int]) -> None:
    async with crowd() as clients:
        client = await welcomed(await clients.open(site, kind, "one"))
        await client.say("frames", texts(*sizes), [4123, "enough"])
        await client.wait(lambda: False, PATIENCE)
        assert told(client.frames) == told([wanted(spec) for spec in texts(*sizes)])
        assert client.closed is not None
        assert client.closed.rcvd is not None
        assert (client.closed.rcvd.code, client.closed.rcvd.reason) == (4123, "enough")


@everywhere
async def test_replies_to_messages_in_quick_succession_keep_their_order(site: Site, kind: str) -> None:
    group = fresh("shouted")
    sizes = [60_000, 20, 33_000, 9_000, 199_000, 20, 28_000, 20]
    async with crowd() as clients:
        client = await welcomed(await clients.open(site, kind, "one", [group]))
        for number, size in enumerate(sizes):
            # Several of these come in one batch. The shout is its own group's event: its copy comes in order too.
            await client.say("frames", [["text", number, size]])
            await client.say("shout", group, number)
        await client.wait(lambda: len(client.frames) >= 1 + 2 * len(sizes))
        seen = [frame[3] if isinstance(frame, list) else int(frame.split()[0]) for frame in client.frames[1:]]
        assert seen == [number for number in range(len(sizes)) for _ in range(2)]
        lengths = [len(frame) for frame in client.frames[1:] if not isinstance(frame, list)]
        assert lengths == sizes


@everywhere
async def test_a_group_handler_of_each_members_own_sends_large_frames(site: Site, kind: str) -> None:
    group = fresh("bursting")
    specs = [["text", 0, 20], ["text", 1, 60_000], ["binary", 2, 30_000], ["text", 3, 20]]
    async with crowd() as clients:
        for number in range(4):
            await welcomed(await clients.open(site, kind, named(number), [group]))
        for times in range(1, 4):
            await site.act(["group_send", group, {"type": "burst", "frames": specs}])
            await asyncio.gather(*(client.hear("end of burst", client.name, times) for client in clients))
        frames = [wanted(spec) for spec in specs]
        for client in clients:
            ends = [["end of burst", client.name, times] for times in range(1, 4)]
            assert told(client.frames) == told(frames * 3)
            assert client.frames[1:] == [*frames, ends[0], *frames, ends[1], *frames, ends[2]]
            assert client.code is None


async def test_large_replies_to_many_clients_at_once_stay_apart(site: Site) -> None:
    async with crowd() as clients:
        for number in range(12):
            await welcomed(await clients.open(site, OWN[number % 2], named(number)))

        async def talk(client: Client) -> None:
            size = 20_000 + 3_000 * int(client.name[1:])
            for _ in range(3):
                start = len(client.frames)
                specs = texts(20, size, 20)
                await client.connection.send(json.dumps(["frames", specs]))
                await gets(client, specs, start)

        await asyncio.gather(*map(talk, clients))
