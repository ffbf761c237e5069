from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import override_settings

from grip_consumers import local_channels, mailbox, publisher
from grip_consumers.exceptions import ChannelFull
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.inbox import off_loop
from grip_consumers.layers import GripChannelLayer
from grip_consumers.naming import queue_log
from tests import services

LIMIT = 10.0


@pytest.fixture(params=["memory", "redis"])
def layer(request: pytest.FixtureRequest) -> Iterator[GripChannelLayer]:
    """With a mailbox of this process, and with one that others share."""
    redis = request.param == "redis"
    backend = "redis.RedisCache" if redis else "locmem.LocMemCache"
    entry = {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": services.redis() if redis else ""}
    with override_settings(CACHES={"default": entry}, GRIP_PREFIX=uuid4().hex):
        yield GripChannelLayer(capacity=2)


@pytest.fixture
def other_process() -> Any:
    """What calls a function as another process would."""

    async def call(function: Any, *arguments: Any) -> Any:
        process = local_channels._Process()
        with patch.object(local_channels, "_process", lambda: process):
            return await function(*arguments)

    return call


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, LIMIT)


@pytest.fixture
async def reading() -> AsyncIterator[Any]:
    """What starts to receive, until the test ends."""
    tasks: list[asyncio.Task[Any]] = []

    async def start(layer: Any, channel: str) -> asyncio.Task[Any]:
        tasks.append(asyncio.ensure_future(layer.receive(channel)))
        await asyncio.sleep(0)
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_queue_gives_its_messages_in_order(layer: GripChannelLayer) -> None:
    for name in ("a", "b"):
        await layer.send("queue", {"type": name, "value": (1, b"2")})
    assert [await soon(layer.receive("queue")) for _ in range(2)] == [
        {"type": "a", "value": (1, b"2")},
        {"type": "b", "value": (1, b"2")},
    ]


async def test_each_message_goes_to_one_of_those_who_wait(layer: GripChannelLayer, reading: Any) -> None:
    readers = [await reading(layer, "queue") for _ in range(3)]
    for name in ("a", "b"):
        await layer.send("queue", {"type": name})
    done: set[Any] = set()
    while len(done) < 2:
        done |= (await soon(asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)))[0]
        readers = [reader for reader in readers if reader not in done]
    assert sorted(task.result()["type"] for task in done) == ["a", "b"]
    assert len(readers) == 1


async def test_a_queue_and_a_channel_hold_what_their_capacity_permits(layer: GripChannelLayer) -> None:
    for channel in ("queue", await layer.new_channel()):
        for _ in range(2):
            await layer.send(channel, {"type": "x"})
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"type": "x"})
        await soon(layer.receive(channel))
        await layer.send(channel, {"type": "x"})


async def test_a_message_is_a_copy(layer: GripChannelLayer) -> None:
    channel, message = await layer.new_channel(), {"type": "x", "list": [1]}
    await layer.send(channel, message)
    message["list"].append(2)  # type: ignore[attr-defined]
    assert await soon(layer.receive(channel)) == {"type": "x", "list": [1]}


async def test_an_expired_message_is_gone_and_its_channel_out_of_its_groups() -> None:
    layer = GripChannelLayer(expiry=0)
    channel = await layer.new_channel()
    group = uuid4().hex
    await layer.group_add(group, channel)
    await layer.send(channel, {"type": "old"})
    layer.expiry = 60
    await layer.send(channel, {"type": "new"})
    assert await soon(layer.receive(channel)) == {"type": "new"}
    assert local_channels._process().members(group) == []


async def test_a_thread_wakes_whoever_waits(layer: GripChannelLayer, reading: Any) -> None:
    for channel in ("queue", await layer.new_channel()):
        reader = await reading(layer, channel)
        thread = threading.Thread(target=async_to_sync(layer.send), args=(channel, {"type": "x"}))
        thread.start()
        assert await soon(reader) == {"type": "x"}
        thread.join()


async def test_who_stops_waiting_takes_nothing_along(layer: GripChannelLayer) -> None:
    for _ in range(10):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(layer.receive("queue"), 0.001)
    reader = asyncio.ensure_future(layer.receive("queue"))
    await layer.send("queue", {"type": "x"})
    reader.cancel()
    ended = (await asyncio.gather(reader, return_exceptions=True))[0]
    if isinstance(ended, asyncio.CancelledError):
        ended = await soon(layer.receive("queue"))
    assert ended == {"type": "x"}


class Stopped:
    """A method of the mailbox that has done its work in the store, and does not return before it is let go."""

    def __init__(self, name: str) -> None:
        self.called, self.go_on = threading.Event(), threading.Event()
        self.calls = 0
        original = getattr(mailbox.get(), name)

        def slow(*arguments: Any) -> Any:
            found = original(*arguments)
            self.calls += 1
            self.called.set()
            self.go_on.wait(LIMIT)
            return found

        self.patch = patch.object(mailbox.get(), name, slow)

    async def cancelled(self, layer: GripChannelLayer, channel: str) -> None:
        """One who begins to receive, and gives up while the mailbox is at it."""
        reader = asyncio.ensure_future(layer.receive(channel))
        assert await asyncio.to_thread(self.called.wait, LIMIT)
        reader.cancel()
        # At once: the mailbox has not answered.
        await soon(asyncio.wait([reader]))
        assert reader.cancelled()
        assert not self.go_on.is_set()


async def until(condition: Callable[[], object]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await soon(poll())


def kept() -> list[Any]:
    return [taken.message for taken in local_channels._process().all_taken()]


async def numbers(layer: GripChannelLayer, channel: str, count: int) -> list[int]:
    return [(await soon(layer.receive(channel)))["number"] for _ in range(count)]


only_redis = pytest.mark.parametrize("layer", ["redis"], indirect=True)


@only_redis
async def test_what_a_cancelled_reader_has_taken_goes_to_the_next_one_in_its_turn(layer: GripChannelLayer) -> None:
    layer.capacity = 10
    for number in range(4):
        await layer.send("queue", {"type": "x", "number": number})
    stopped = Stopped("take")
    with stopped.patch:
        await stopped.cancelled(layer, "queue")
        stopped.go_on.set()
        assert await numbers(layer, "queue", 4) == [0, 1, 2, 3]
    assert kept() == []


@only_redis
async def test_one_that_waits_beside_a_cancelled_reader_gets_what_it_has_taken(
    layer: GripChannelLayer, reading: Any
) -> None:
    await layer.send("queue", {"type": "x", "number": 0})
    stopped = Stopped("take")
    with stopped.patch:
        await stopped.cancelled(layer, "queue")
        other = await reading(layer, "queue")
        stopped.go_on.set()
        assert (await soon(other))["number"] == 0


@only_redis
async def test_what_nobody_here_receives_any_more_goes_back_for_others_until_it_expires(
    layer: GripChannelLayer, other_process: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_channels, "_GRACE", 0.01)
    layer.expiry = 3600
    await layer.send("queue", {"type": "x", "number": 0})
    appended: list[float] = []
    append = mailbox.get().append
    monkeypatch.setattr(
        mailbox.get(), "append", lambda *a, expiry, **k: (appended.append(expiry), append(*a, expiry=expiry, **k))
    )
    stopped = Stopped("take")
    with stopped.patch:
        await stopped.cancelled(layer, "queue")
        stopped.go_on.set()
        await until(lambda: appended)
    assert await other_process(numbers, layer, "queue", 1) == [0]
    assert 3600 - LIMIT < appended[0] < 3600
    assert kept() == []


@only_redis
async def test_what_cannot_be_put_back_stays_here_and_is_put_back_later(
    layer: GripChannelLayer, other_process: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local_channels, "_GRACE", 0.01)
    await layer.send("queue", {"type": "x", "number": 0})
    stopped = Stopped("take")
    with (
        stopped.patch,
        patch.object(mailbox.get(), "append", side_effect=ConnectionError("the store is away")) as append,
    ):
        await stopped.cancelled(layer, "queue")
        stopped.go_on.set()
        await until(lambda: append.call_count > 1)
    assert await other_process(numbers, layer, "queue", 1) == [0]
    assert "cannot be put back yet" in caplog.text


@only_redis
async def test_a_process_that_ends_puts_back_what_nobody_has_received(
    layer: GripChannelLayer, other_process: Any
) -> None:
    await layer.send("queue", {"type": "x", "number": 0})
    stopped = Stopped("take")
    with stopped.patch, patch.object(local_channels, "_GRACE", LIMIT):
        await stopped.cancelled(layer, "queue")
        stopped.go_on.set()
        await until(kept)
        await asyncio.to_thread(local_channels._put_back_all)
    assert kept() == []
    assert await other_process(numbers, layer, "queue", 1) == [0]


SCRIPT = """
import asyncio, sys, threading
import django
from django.conf import settings
settings.configure(
    CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": sys.argv[1]}},
    GRIP_PREFIX=sys.argv[2],
    SECRET_KEY="protects nothing",
)
django.setup()
from grip_consumers import mailbox
from grip_consumers.layers import GripChannelLayer
taken, go_on = threading.Event(), threading.Event()
take = mailbox.get().take

def slow(log):
    found = take(log)
    taken.set()
    go_on.wait(60)
    return found

mailbox.get().take = slow

async def main():
    reader = asyncio.ensure_future(GripChannelLayer().receive("queue"))
    await asyncio.to_thread(taken.wait, 60)
    reader.cancel()
    await asyncio.wait([reader])
    print(reader.cancelled())

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
go_on.set()
"""


@only_redis
async def test_a_process_that_ends_while_it_takes_a_message_puts_it_back(layer: GripChannelLayer) -> None:
    await layer.send("queue", {"type": "x", "number": 0})
    command = [sys.executable, "-c", SCRIPT, services.redis(), settings.GRIP_PREFIX]
    run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("True\n", "")
    assert await numbers(layer, "queue", 1) == [0]


@only_redis
async def test_who_waits_is_told_when_nothing_can_be_read_at_all(layer: GripChannelLayer, reading: Any) -> None:
    channel = await layer.new_channel()
    with patch.object(local_channels, "off_loop", side_effect=RuntimeError("there are no threads")):
        for reader in [await reading(layer, channel) for _ in range(2)]:
            with pytest.raises(RuntimeError, match="there are no threads"):
                await soon(reader)
    await layer.send(channel, {"type": "x"})
    assert await soon(layer.receive(channel)) == {"type": "x"}


async def test_what_is_kept_for_somebody_who_is_gone_expires_when_it_would_have(layer: GripChannelLayer) -> None:
    queue = (mailbox.get(), "queue")
    with patch.object(local_channels, "_GRACE", LIMIT):
        local_channels._process().keep(local_channels._Taken(queue, {"type": "old"}, time.time() - 1, b""))
    await layer.send("queue", {"type": "new"})
    assert await soon(layer.receive("queue")) == {"type": "new"}


@only_redis
async def test_who_gives_up_while_a_channel_is_read_makes_nobody_get_its_messages_twice(
    layer: GripChannelLayer, other_process: Any
) -> None:
    layer.capacity = 10
    channel = await layer.new_channel()
    for number in range(3):
        await other_process(layer.send, channel, {"type": "x", "number": number})
    stopped = Stopped("read")
    with stopped.patch:
        await stopped.cancelled(layer, channel)
        # Another thread that would read leaves it to the one that is at it.
        await asyncio.to_thread(local_channels._read_letters, local_channels._process())
        assert stopped.calls == 1
        stopped.go_on.set()
        assert await numbers(layer, channel, 3) == [0, 1, 2]
        await other_process(layer.send, channel, {"type": "x", "number": 3})
        assert await numbers(layer, channel, 1) == [3]


@only_redis
async def test_those_who_wait_look_for_others_messages_together(layer: GripChannelLayer, reading: Any) -> None:
    for _ in range(50):
        await reading(layer, await layer.new_channel())
    reads = 0
    original = mailbox.get().read

    def counted(cursors: Any) -> Any:
        nonlocal reads
        reads += 1
        return original(cursors)

    begun = time.monotonic()
    with patch.object(mailbox.get(), "read", counted):
        await until(lambda: reads >= 8)
        taken = time.monotonic() - begun
    # Eight looks take one who is alone more than half a second; fifty who look for themselves come to them at once.
    assert taken > local_channels._LONGEST


@only_redis
async def test_a_mailbox_that_fails_is_reported_once_until_it_works_again(
    layer: GripChannelLayer, other_process: Any, reading: Any, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await layer.new_channel()
    with patch.object(mailbox.get(), "read", side_effect=ConnectionError("the store is away")) as read:
        readers = [await reading(layer, channel), await reading(layer, await layer.new_channel())]
        await until(lambda: read.call_count >= 4)
    await other_process(layer.send, channel, {"type": "x"})
    assert await soon(readers[0]) == {"type": "x"}
    await until(lambda: len(caplog.records) > 1)
    assert [record.getMessage() for record in caplog.records] == [
        "What other processes have left for this one cannot be read; this is tried again",
        "What other processes have left for this one can be read again",
    ]


@only_redis
async def test_a_message_is_fetched_later_when_the_mailbox_fails_behind_its_letter(
    layer: GripChannelLayer, other_process: Any, reading: Any
) -> None:
    channel = await layer.new_channel()
    await other_process(layer.send, channel, {"type": "x"})
    with patch.object(mailbox.get(), "take", side_effect=ConnectionError("the store is away")) as take:
        reader = await reading(layer, channel)
        await until(lambda: take.call_count)
    assert await soon(reader) == {"type": "x"}


async def test_a_message_that_cannot_be_copied_does_no_harm(layer: GripChannelLayer) -> None:
    channel, other, group = await layer.new_channel(), await layer.new_channel(), uuid4().hex
    await layer.group_add(group, channel)
    with pytest.raises(TypeError):
        await layer.group_send(group, {"type": "x", "lock": threading.Lock()})
    local_channels._process()._swept -= 2 * local_channels._SWEEP_INTERVAL
    await layer.send(other, {"type": "x"})
    await layer.group_send(group, {"type": "x"})
    assert [await soon(layer.receive(name)) for name in (channel, other)] == [{"type": "x"}] * 2


async def test_a_channel_without_capacity_is_full(layer: GripChannelLayer) -> None:
    layer.capacity = 0
    channel = await layer.new_channel()
    for _ in range(2):
        with pytest.raises(ChannelFull):
            await layer.send(channel, {"type": "x"})


async def test_each_channel_in_a_group_holds_what_its_own_capacity_permits(layer: GripChannelLayer) -> None:
    names = {limit: await layer.new_channel(f"holds-{limit}.") for limit in (1, 3)}
    layer.channel_capacity = layer.compile_capacities({"holds-1.*": 1, "holds-3.*": 3})
    group = uuid4().hex
    for name in names.values():
        await layer.group_add(group, name)
    for number in range(5):
        await layer.group_send(group, {"type": "x", "number": number})
    for limit, name in names.items():
        assert await numbers(layer, name, limit) == list(range(limit))
        assert local_channels._process().pop(name) is None


@only_redis
async def test_a_full_channel_of_another_process_leaves_room_in_its_others(
    layer: GripChannelLayer, other_process: Any
) -> None:
    full, other = await layer.new_channel(), await layer.new_channel()
    for _ in range(2):
        await other_process(layer.send, full, {"type": "x"})
    with pytest.raises(ChannelFull, match=f"^{full}$"):
        await other_process(layer.send, full, {"type": "x"})
    await other_process(layer.send, other, {"type": "y"})
    assert await soon(layer.receive(other)) == {"type": "y"}


async def test_a_full_queue_is_called_by_its_name(layer: GripChannelLayer) -> None:
    for _ in range(2):
        await layer.send("queue", {"type": "x"})
    with pytest.raises(ChannelFull, match=r"^queue$"):
        await layer.send("queue", {"type": "x"})


async def test_a_message_that_cannot_be_read_does_not_hide_those_behind_it(
    layer: GripChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    await off_loop(mailbox.get().append, queue_log("queue"), b"\x00", expiry=60)
    await layer.send("queue", {"type": "good"})
    assert await soon(layer.receive("queue")) == {"type": "good"}
    assert "A message for the channel queue is lost" in caplog.text


@only_redis
async def test_another_process_reaches_a_channel_and_puts_it_into_a_group(
    layer: GripChannelLayer, other_process: Any
) -> None:
    channel, group = await layer.new_channel(), uuid4().hex
    await other_process(layer.group_add, group, channel)
    await other_process(layer.send, channel, {"type": "x"})
    assert await soon(layer.receive(channel)) == {"type": "x"}
    assert local_channels._process().members(group) == [channel]
    with pytest.raises(ValueError, match="which is another's"):
        await other_process(layer.receive, channel)
    await other_process(layer.group_discard, group, channel)
    await other_process(layer.send, channel, {"type": "y"})
    await soon(layer.receive(channel))
    assert local_channels._process().members(group) == []


@only_redis
async def test_a_letter_that_cannot_be_read_is_logged_and_passed(
    layer: GripChannelLayer, other_process: Any, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await layer.new_channel()
    await asyncio.to_thread(mailbox.get().append, queue_log(local_channels._process().name), b"\x00", expiry=60)
    await asyncio.to_thread(mailbox.get().append, queue_log("queue"), b"\x00", expiry=60)
    await other_process(layer.send, channel, {"type": "x"})
    await layer.send("queue", {"type": "y"})
    assert await soon(layer.receive(channel)) == {"type": "x"}
    assert await soon(layer.receive("queue")) == {"type": "y"}
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "What another process has left for this one is lost",
        "A message for the channel queue is lost",
    ]


# Consumers that are driven without a proxy ------------------------------------------------------------------------


class Room(AsyncWebsocketConsumer):
    groups = ["local-room"]

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "name":
            await self.send(self.channel_name)
        else:
            await self.channel_layer.group_send("local-room", {"type": "say", "text": text_data})

    async def say(self, event: Any) -> None:
        await self.send(event["text"])


class SyncRoom(WebsocketConsumer):
    groups = ["local-room"]

    def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        async_to_sync(self.channel_layer.group_send)("local-room", {"type": "say", "text": text_data})

    def say(self, event: Any) -> None:
        self.send(event["text"])


async def test_consumers_that_communicators_drive_reach_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_publish(items: Any) -> None:
        raise AssertionError("there is no proxy")

    monkeypatch.setattr(publisher, "apublish", no_publish)
    found = [WebsocketCommunicator(room.as_asgi(), "/") for room in (Room, Room, SyncRoom)]
    for communicator in found:
        assert (await communicator.connect())[0]
    for number, sender in enumerate(found):
        await sender.send_to(f"from {number}")
        assert [await communicator.receive_from() for communicator in found] == [f"from {number}"] * 3
    await found[0].send_to("name")
    await GripChannelLayer().send(await found[0].receive_from(), {"type": "say", "text": "directly"})
    assert await found[0].receive_from() == "directly"
    await GripChannelLayer().group_send("local-room", {"type": "say", "text": "from the test"})
    assert [await communicator.receive_from() for communicator in found] == ["from the test"] * 3
    for communicator in found:
        await communicator.disconnect()
    assert local_channels._process().members("local-room") == []
