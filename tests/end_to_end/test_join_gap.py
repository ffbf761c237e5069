"""A message that is sent to a group after group_add has returned reaches the joiner, once and in order.

The senders are other processes than the one whose batch joins. Each test asks for the same of consumers of four
kinds: sync and async, with handlers that are the same for all members and ones that are the member's own.

`GRIP_TESTS_LONG=1 pytest tests/end_to_end/test_join_gap.py` is the long form: 500 connections in place of 32.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from .swarm import (
    KINDS,
    Client,
    Crowd,
    Note,
    Plan,
    Site,
    Sites,
    Stream,
    account,
    crowd,
    due,
    either,
    fresh,
    named,
    noted,
    open_client,
    plans,
    settle,
    sites,
    summary,
    welcomed,
)

#: How many connect, how many join later, and how many join the same group.
CONNECTING, JOINING, ROOM = either(32, 500), either(16, 250), 8
#: Seconds that events come at a steady rate after the last has joined, and between two of them. A switch from a joining
#: phase to plain delivery lies well within.
STREAM, INTERVAL = either(4.0, 20.0), 0.01
#: How many of each kind join in each of the ways while it lasts.
STAGGERED = either(1, 4)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with sites(tmp_path_factory.mktemp("join_gap")) as running:
        yield running


@pytest.fixture(params=plans(Plan("pushpin", workers=3), Plan("embedded", workers=3)))
def site(request: pytest.FixtureRequest, started: Sites) -> Iterator[Site]:
    """One proxy before several worker processes; what they printed is shown when a test fails."""
    found = started[request.param]
    found.backend.mark()
    yield found
    print(found.log())


async def publish(site: Site, client: Client, groups: Sequence[str], *before: Sequence[Any]) -> list[Note]:
    """Have the backend do `before`, then send two events to each of the groups; what was sent."""
    events = [(group, client.name, number + 1) for number, group in enumerate([*groups, *groups])]
    answer = await site.act(*before, *(noted(*event) for event in events))
    times = answer["times"][len(before) :]
    return [Note(*event, began, ended) for event, (began, ended) in zip(events, times, strict=True)]


def groups_of(number: int, suffix: str) -> list[str]:
    """Its own group and one that some others are in."""
    return [f"own.{number}.{suffix}", f"room.{number // ROOM}.{suffix}"]


def flat(lists: Sequence[Sequence[Note]]) -> list[Note]:
    return [note for notes in lists for note in notes]


async def must_be_right(site: Site, clients: Crowd, sent: Sequence[Note]) -> None:
    await settle(site, clients, sent)
    problems = account(clients, sent)
    assert not problems, summary(problems, len(clients))


async def test_what_is_sent_the_instant_a_handshake_completes_arrives_once(site: Site) -> None:
    suffix = fresh("at-connect")

    async def arrive(number: int) -> list[Note]:
        groups = groups_of(number, suffix)
        client = await clients.open(site, KINDS[number % 4], named(number), groups)
        return await publish(site, client, groups)

    async with crowd(at_once=20) as clients:
        sent = flat(await clients.ramp(arrive, range(CONNECTING)))
        await clients.each(welcomed)
        own = {note.identity for note in sent if note.group.startswith("own")}
        # What it sends to its own group after its handshake is due, by the clocks as well.
        assert own == {note for client in clients for note in due(client, sent) if note[0].startswith("own")}
        await must_be_right(site, clients, sent)


async def test_what_is_sent_the_instant_a_join_is_answered_arrives_once(site: Site) -> None:
    suffix = fresh("in-receive")

    async def join(client: Client) -> list[Note]:
        groups = groups_of(int(client.name[1:]), suffix)
        for group in groups:
            await client.join(group)
        return await publish(site, client, groups)

    async with crowd(at_once=20) as clients:
        await clients.ramp(lambda number: clients.open(site, KINDS[number % 4], named(number)), range(JOINING))
        await clients.each(welcomed)
        sent = flat(await clients.each(join))
        await must_be_right(site, clients, sent)


@pytest.mark.parametrize("requests", [1, 2], ids=["in-one-request", "in-two-requests"])
async def test_what_is_sent_right_after_a_remote_group_add_arrives_once(site: Site, requests: int) -> None:
    suffix = fresh("remote")

    async def add(client: Client) -> list[Note]:
        groups = groups_of(int(client.name[1:]), suffix)
        adding = [["group_add", group, client.channel_name] for group in groups]
        client.joined = dict.fromkeys(groups, float("inf"))
        before = adding if requests == 1 else []
        if requests == 2:
            await site.act(*adding)
        sent = await publish(site, client, groups, *before)
        # The calls follow one another: by the first of these it was a member.
        client.joined = dict.fromkeys(groups, sent[0].began)
        return sent

    async with crowd(at_once=20) as clients:
        await clients.ramp(lambda number: clients.open(site, KINDS[number % 4], named(number)), range(JOINING))
        await clients.each(welcomed)
        sent = flat(await clients.each(add))
        await must_be_right(site, clients, sent)


async def test_who_joins_a_steady_stream_finds_no_gap_in_it(site: Site) -> None:
    group = fresh("steady")
    ways = (joined_by_connecting, joined_by_a_message, joined_from_elsewhere)
    joiners = [(way, kind) for _ in range(STAGGERED) for way in ways for kind in KINDS]

    async with (
        crowd(at_once=20) as clients,
        Stream(site, group, "stream", count=100_000, interval=INTERVAL) as stream,
    ):
        stream.begin()
        begun = time.monotonic()
        for number, (way, kind) in enumerate(joiners):
            clients.append(await way(site, kind, named(number), group))
            await asyncio.sleep(max(0.0, begun + (number + 1) * 2.0 / len(joiners) - time.monotonic()))
        await asyncio.sleep(STREAM)
        stream.end()
        sent = await stream.sent()
        await must_be_right(site, clients, sent)
        gaps = [client.name for client in clients if not gapless(client)]
        assert not gaps


def gapless(client: Client) -> bool:
    numbers = [number for _, sender, number in client.notes if sender == "stream"]
    return numbers == list(range(numbers[0], numbers[-1] + 1))


async def joined_by_connecting(site: Site, kind: str, name: str, group: str) -> Client:
    return await welcomed(await open_client(site, kind, name, [group]))


async def joined_by_a_message(site: Site, kind: str, name: str, group: str) -> Client:
    client = await welcomed(await open_client(site, kind, name))
    await client.join(group)
    return client


async def joined_from_elsewhere(site: Site, kind: str, name: str, group: str) -> Client:
    client = await welcomed(await open_client(site, kind, name))
    ((_, returned),) = (await site.act(["group_add", group, client.channel_name]))["times"]
    client.joined[group] = returned
    return client
