from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import channels.layers
import channels.worker
import pytest
from django.test import override_settings
from grip_consumers.routing import ChannelNameRouter

from grip_consumers import local_channels, mailbox
from grip_consumers.consumer import AsyncConsumer, SyncConsumer
from grip_consumers.exceptions import StopConsumer
from grip_consumers.layers import GripChannelLayer, InMemoryChannelLayer
from grip_consumers.testing.processes import ServerProcess
from grip_consumers.worker import Worker
from tests import services
from tests.servers import ROOT

LIMIT, PATIENCE = 10.0, 60.0


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


def started(recording: Recording, *names: str, **options: Any) -> tuple[Worker, Any, asyncio.Task[None]]:
    layer = InMemoryChannelLayer()
    worker = Worker(recording.application, list(names), layer, **options)
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


async def test_a_channel_that_fails_lets_the_others_finish_what_they_have(recording: Recording) -> None:
    worker, layer, running = started(recording, "slow", "plain")
    await layer.send("slow", {"type": "job", "number": 1, "wait": True})
    await until(lambda: recording.seen == [1])
    await layer.send("slow", {"type": "job", "number": 2})
    await layer.send("plain", {"number": 7})
    await until(lambda: not layer.channels.get("plain") and worker._stopping and worker._stopping.is_set())
    assert not running.done()
    recording.release.set()
    with pytest.raises(ValueError, match=r"^Worker received message with no type\.$"):
        await soon(running)
    assert recording.seen == [1, "1 done"]
    assert (await soon(layer.receive("slow")))["number"] == 2
    assert worker.application_instances == {}


async def test_the_first_error_ends_the_worker_and_others_are_logged(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    _, layer, running = started(recording, "slow", "plain")

    async def fail(channel: str) -> None:
        raise ConnectionError(channel)

    layer.receive = fail
    with pytest.raises(ConnectionError, match=r"^slow$"):
        await soon(running)
    assert [record.getMessage() for record in caplog.records] == ["The channel plain has failed, too"]


async def test_a_worker_that_is_cancelled_ends_its_instances(recording: Recording) -> None:
    worker, layer, running = started(recording, "slow")
    await layer.send("slow", {"type": "job", "number": 1, "wait": True})
    await until(lambda: recording.seen == [1])
    running.cancel()
    await soon(asyncio.wait([running]))
    assert running.cancelled()
    assert worker.application_instances == {}


async def test_a_channel_that_is_named_twice_is_served_once(recording: Recording) -> None:
    worker, layer, running = started(recording, "slow", "slow")
    for number, kind in enumerate(["fail", "job", "job"]):
        await layer.send("slow", {"type": kind, "number": number})
    await until(lambda: len(recording.seen) == 4)
    assert recording.seen == [1, "1 done", 2, "2 done"]
    worker.stop()
    await soon(running)


async def test_an_instance_that_makes_room_for_another_channels_gives_way_without_an_error(
    recording: Recording,
) -> None:
    worker, layer, running = started(recording, "slow", "plain", max_applications=0)
    await layer.send("slow", {"type": "job", "number": 1, "wait": True})
    await until(lambda: recording.seen == [1])
    await layer.send("plain", {"type": "job", "number": 7})
    await until(lambda: ("channel", "plain", 7) in recording.seen)
    recording.release.set()
    await layer.send("slow", {"type": "job", "number": 2})
    await until(lambda: "2 done" in recording.seen)
    worker.stop()
    await soon(running)


async def test_a_worker_that_is_stopped_while_it_takes_a_message_handles_it(recording: Recording) -> None:
    redis = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": services.redis()}
    with override_settings(CACHES={"default": redis}, GRIP_PREFIX=uuid4().hex):
        layer, original = GripChannelLayer(), mailbox.get().take
        taken, go_on = threading.Event(), threading.Event()

        def slow(log: str) -> bytes | None:
            found = original(log)
            if found is not None:
                taken.set()
                go_on.wait(LIMIT)
            return found

        for number in range(2):
            await layer.send("slow", {"type": "job", "number": number})
        worker = Worker(recording.application, ["slow"], layer)
        with patch.object(mailbox.get(), "take", slow):
            running = asyncio.ensure_future(worker.handle())
            assert await asyncio.to_thread(taken.wait, LIMIT)
            worker.stop()
            # Until it has stopped to wait for a message.
            await until(lambda: "slow" not in local_channels._process()._waiters)
            go_on.set()
            await soon(running)
        assert recording.seen == [0, "0 done"]
        assert (await soon(layer.receive("slow")))["number"] == 1


SCRIPT = """
import asyncio, logging, sys, threading
from grip_consumers.consumer import AsyncConsumer, SyncConsumer
from grip_consumers.layers import InMemoryChannelLayer
from grip_consumers.worker import Worker

class Sync(SyncConsumer):
    def job(self, message):
        print("begun", flush=True)
        threading.Event().wait(600)

class Async(AsyncConsumer):
    async def job(self, message):
        print("begun", flush=True)
        await asyncio.sleep(600)

class Sent(Worker):
    async def handle(self):
        await self.channel_layer.send("jobs", {"type": "job"})
        await super().handle()

logging.basicConfig(level=logging.INFO)
Sent(globals()[sys.argv[1]].as_asgi(), ["jobs"], InMemoryChannelLayer()).run()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("consumer", ["Sync", "Async"])
def test_a_second_signal_ends_a_worker_whatever_it_is_at(consumer: str, number: signal.Signals, tmp_path: Path) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", f"import django; django.setup()\n{SCRIPT}", consumer]
    process = ServerProcess(command, log_file=tmp_path / "log", cwd=ROOT, env=env)
    try:
        process.wait_until(lambda: "begun" in process.log(), timeout=PATIENCE)
        os.kill(process.pid, number)
        process.wait_until(lambda: "another signal stops at once" in process.log(), timeout=PATIENCE)
        os.kill(process.pid, number)
        assert process.wait(timeout=PATIENCE) == -number
    finally:
        process.stop(grace=0)


def test_the_signals_are_as_before_when_a_worker_has_ended() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    async def run() -> None:
        worker = Worker(ChannelNameRouter({}), ["slow"], InMemoryChannelLayer())
        running = asyncio.ensure_future(worker.handle())
        await until(lambda: signal.getsignal(signal.SIGTERM) != before[0])
        os.kill(os.getpid(), signal.SIGTERM)
        await soon(running)

    asyncio.run(run())
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


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
