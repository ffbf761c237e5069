from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

import channels.layers
import channels.worker
import pytest
from grip_consumers.routing import ChannelNameRouter

from grip_consumers.consumer import AsyncConsumer, SyncConsumer
from grip_consumers.exceptions import StopConsumer
from grip_consumers.layers import InMemoryChannelLayer
from grip_consumers.worker import Worker

LIMIT = 10.0


class Recording:
    """Consumers that note what they handle."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.release = asyncio.Event()
        seen, release = self.seen, self.release

        class Slow(AsyncConsumer):
            async def job(self, message: Any) -> None:
                seen.append(message["number"])
                if message.get("wait"):
                    await release.wait()
                seen.append(f"{message['number']} done")

            async def fail(self, message: Any) -> None:
                raise ValueError("on purpose")

            async def end(self, message: Any) -> None:
                raise StopConsumer

        class Plain(SyncConsumer):
            def job(self, message: Any) -> None:
                seen.append((self.scope["type"], self.scope["channel"], message["number"]))

        self.application = ChannelNameRouter({"slow": Slow.as_asgi(), "plain": Plain.as_asgi()})


@pytest.fixture
async def recording() -> Recording:
    return Recording()


async def soon(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, LIMIT)


async def until(condition: Any) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.005)

    await soon(poll())


def started(recording: Recording, *names: str) -> tuple[Worker, Any, asyncio.Task[None]]:
    layer = InMemoryChannelLayer()
    worker = Worker(recording.application, list(names), layer)
    return worker, layer, asyncio.ensure_future(worker.handle())


async def test_each_channel_has_an_instance_that_handles_its_messages_in_order(recording: Recording) -> None:
    worker, layer, running = started(recording, "slow", "plain")
    for number in range(3):
        await layer.send("slow", {"type": "job", "number": number})
    await layer.send("plain", {"type": "job", "number": 7})
    await until(lambda: len(recording.seen) == 7)
    assert [seen for seen in recording.seen if not isinstance(seen, tuple)] == [0, "0 done", 1, "1 done", 2, "2 done"]
    assert ("channel", "plain", 7) in recording.seen
    worker.stop()
    await soon(running)


async def test_a_worker_that_is_stopped_finishes_what_it_has_and_takes_no_more(recording: Recording) -> None:
    worker, layer, running = started(recording, "slow")
    await layer.send("slow", {"type": "job", "number": 1, "wait": True})
    await layer.send("slow", {"type": "job", "number": 2})
    await until(lambda: recording.seen == [1])
    worker.stop()
    recording.release.set()
    await soon(running)
    assert recording.seen == [1, "1 done"]
    assert (await soon(layer.receive("slow")))["number"] == 2


async def test_an_instance_that_fails_or_ends_gives_way_to_another(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    worker, layer, running = started(recording, "slow")
    for number, kind in enumerate(["job", "fail", "job", "end", "job"]):
        await layer.send("slow", {"type": kind, "number": number})
    await until(lambda: len(recording.seen) == 6)
    assert recording.seen == [0, "0 done", 2, "2 done", 4, "4 done"]
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == [
        "Exception inside application: on purpose"
    ]
    worker.stop()
    await soon(running)


@pytest.mark.parametrize("cls", [channels.worker.Worker, Worker], ids=["channels", "grip"])
async def test_a_message_without_a_type_ends_the_worker(cls: Any, recording: Recording) -> None:
    layer = channels.layers.InMemoryChannelLayer()
    await layer.send("slow", {"number": 1})
    with pytest.raises(ValueError, match=r"^Worker received message with no type\.$"):
        await soon(cls(recording.application, ["slow"], layer).handle())


@pytest.mark.parametrize("cls", [channels.worker.Worker, Worker], ids=["channels", "grip"])
def test_there_must_be_a_layer(cls: Any) -> None:
    with pytest.raises(ValueError, match=r"^Channel layer is not valid$"):
        cls(None, ["slow"], None)


def test_the_workers_are_made_alike() -> None:
    assert list(inspect.signature(Worker).parameters) == list(inspect.signature(channels.worker.Worker).parameters)
