from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.test import override_settings

from grip_consumers import local_channels, mailbox, publisher
from grip_consumers.exceptions import ChannelFull
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
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


@pytest.mark.parametrize("layer", ["redis"], indirect=True)
async def test_who_is_cancelled_while_it_takes_a_message_puts_it_back(layer: GripChannelLayer) -> None:
    taking, go_on = threading.Event(), threading.Event()
    original = mailbox.get().take

    def slow(log: str) -> bytes | None:
        found = original(log)
        taking.set()
        go_on.wait(LIMIT)
        return found

    await layer.send("queue", {"type": "x"})
    with patch.object(mailbox.get(), "take", slow):
        reader = asyncio.ensure_future(layer.receive("queue"))
        await asyncio.to_thread(taking.wait, LIMIT)
        reader.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(reader, return_exceptions=True)
    assert reader.cancelled()
    assert await soon(layer.receive("queue")) == {"type": "x"}


@pytest.mark.parametrize("layer", ["redis"], indirect=True)
async def test_another_process_reaches_a_channel_and_puts_it_into_a_group(
    layer: GripChannelLayer, other_process: Any
) -> None:
    channel, group = await layer.new_channel(), uuid4().hex
    await other_process(layer.send, channel, {"type": "x"})
    await other_process(layer.group_add, group, channel)
    assert await soon(layer.receive(channel)) == {"type": "x"}
    assert local_channels._process().members(group) == [channel]
    with pytest.raises(ValueError, match="which is another's"):
        await other_process(layer.receive, channel)
    await other_process(layer.group_discard, group, channel)
    await other_process(layer.send, channel, {"type": "y"})
    await soon(layer.receive(channel))
    assert local_channels._process().members(group) == []


@pytest.mark.parametrize("layer", ["redis"], indirect=True)
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
