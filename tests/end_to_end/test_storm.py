"""Many members at once: bursts from several processes, and one event that each of many members handles for itself.

`GRIP_TESTS_LONG=1 pytest -s tests/end_to_end/test_storm.py` is the long form: 200 members for a burst and 1,000 for
one event, which takes some 8,000 open files. What was measured is printed.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack

import pytest

from .swarm import (
    OWN,
    PATIENCE,
    Client,
    Note,
    Plan,
    Site,
    Sites,
    Stream,
    account,
    crowd,
    either,
    fresh,
    named,
    noted,
    plans,
    settle,
    sites,
    summary,
    welcomed,
)

#: Members of a burst, and how many events each of three processes sends.
STORMED, SHARES = either(20, 200), (17, 17, 16)
#: Callbacks without an event that a member may get while it is new.
SECOND_LOOKS = 5
#: How often the backend is restarted under its members.
RESTARTS = either(1, 10)
#: Members that one event reaches.
MANY = either(100, 1000)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with sites(tmp_path_factory.mktemp("storm")) as running:
        yield running


@pytest.fixture
def site(request: pytest.FixtureRequest, started: Sites) -> Iterator[Site]:
    found = started[request.param]
    found.backend.mark()
    yield found
    print(found.log())


PUSHPIN, UNLIMITED = Plan("pushpin", workers=3), Plan("pushpin", workers=3, message_rate=0)
EMBEDDED = Plan("embedded", workers=3)


@pytest.mark.parametrize("site", plans(PUSHPIN, *either([], [UNLIMITED]), EMBEDDED), indirect=True)
async def test_each_member_handles_each_event_of_a_burst_once_and_in_order(site: Site) -> None:
    group = fresh("burst")
    async with crowd(at_once=40) as clients, AsyncExitStack() as stack:
        await clients.ramp(lambda number: clients.open(site, OWN[number % 2], named(number), [group]), range(STORMED))
        await clients.each(welcomed)
        waiting = [Stream(site, group, f"process-{number}", count=count) for number, count in enumerate(SHARES)]
        streams = await asyncio.gather(*map(stack.enter_async_context, waiting))
        before = site.called_back()
        begun = time.monotonic()
        for stream in streams:
            stream.begin()
        sent = [note for notes in await asyncio.gather(*(stream.sent() for stream in streams)) for note in notes]
        await until_all_have(sent, clients)
        report(f"{site.plan.name}, {STORMED} members, {len(sent)} events", clients, sent, begun)
        called = site.called_back() - before
        report_callbacks(called, clients)

        await settle(site, clients, sent)
        problems = account(clients, sent)
        assert not problems, summary(problems, len(clients))
        # A callback that finds several events handles them all. A few are asked for to make sure, after joining.
        assert max(called[client.name] for client in clients) <= len(sent) + SECOND_LOOKS


@pytest.mark.parametrize("site", plans(PUSHPIN, *either([], [UNLIMITED])), indirect=True)
async def test_one_event_reaches_all_of_many_members_and_costs_no_connection(site: Site) -> None:
    group = fresh("many")
    async with crowd(at_once=40) as clients:
        await clients.ramp(lambda number: clients.open(site, OWN[number % 2], named(number), [group]), range(MANY))
        await clients.each(welcomed)
        begun = time.monotonic()
        answer = await site.act(noted(group, "one", 1))
        sent = [Note(group, "one", 1, *answer["times"][0])]
        await until_all_have(sent, clients)
        report(f"{site.plan.name}, {MANY} members, one event", clients, sent, begun)

        await settle(site, clients, sent)
        problems = account(clients, sent)
        assert not problems, summary(problems, len(clients))
        answering = await clients.each(Client.echoes)
        assert answering.count(True) == MANY


@pytest.mark.parametrize("site", [pytest.param(plan, id=plan.name) for plan in (PUSHPIN, EMBEDDED)], indirect=True)
async def test_workers_that_have_just_started_take_a_storm_at_once(site: Site) -> None:
    group = fresh("cold")
    async with crowd(at_once=40) as clients:
        await clients.ramp(lambda number: clients.open(site, OWN[number % 2], named(number), [group]), range(STORMED))
        await clients.each(welcomed)
        sent = []
        for number in range(1, RESTARTS + 1):
            # All members call on processes of which none has looked at a batch, nor imported what answers it: by turns
            # with messages of their own, and because of an event.
            site.restart(site.secrets)
            if number % 2:
                assert (await clients.each(Client.echoes)).count(True) == STORMED
            answer = await site.act(noted(group, "restarted", number))
            sent.append(Note(group, "restarted", number, *answer["times"][0]))
            await until_all_have(sent, clients)
        await settle(site, clients, sent)
        problems = account(clients, sent)
        assert not problems, summary(problems, len(clients))


async def until_all_have(sent: Sequence[Note], clients: Sequence[Client]) -> None:
    """Returns at the deadline as well."""
    wanted = {note.identity for note in sent}
    await asyncio.gather(*(client.wait(lambda client=client: wanted <= client.counted.keys()) for client in clients))


def report(what: str, clients: Sequence[Client], sent: Sequence[Note], begun: float) -> None:
    took = max(note.ended for note in sent) - begun
    last = max(client.times[-1] for client in clients) - begun
    deliveries = sum(client.counted.total() for client in clients)
    lost = sum(client.closed is not None for client in clients)
    print(
        f"\n{what}: sending took {took:.2f} s, the last of {deliveries} deliveries came after {last:.2f} s of at most "
        f"{PATIENCE:g}; {lost} connections lost"
    )


def report_callbacks(called: dict[str, int], clients: Sequence[Client]) -> None:
    counts = [called.get(client.name, 0) for client in clients]
    print(f"callbacks per member: min {min(counts)}, median {statistics.median(counts):g}, max {max(counts)}")
