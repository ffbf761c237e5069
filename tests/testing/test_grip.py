from __future__ import annotations

import asyncio
import gc
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.test import AsyncClient, Client, TestCase, override_settings

from grip_consumers import conf, ticking
from grip_consumers.exceptions import UnkeepableState
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.testing import GripCommunicator

from . import site as project

pytestmark = pytest.mark.usefixtures("site")
ROOM = "/ws/rooms/r/"


def member(path: str = ROOM, **options: Any) -> GripCommunicator:
    return GripCommunicator(project.routes, path, **options)


async def opened(*communicators: GripCommunicator) -> tuple[GripCommunicator, ...]:
    for communicator in communicators:
        assert (await communicator.connect())[0]
    return communicators


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def texts(communicator: GripCommunicator, count: int) -> list[Any]:
    return [await communicator.receive_from() for _ in range(count)]


async def test_what_one_says_reaches_all_in_order_and_each_keeps_its_own_state() -> None:
    one, two = await opened(member(), member())
    for word in "abc":
        await one.send_to(word)
    assert await texts(one, 3) == await texts(two, 3) == ["a 1", "b 2", "c 3"]
    await two.send_to("d")
    assert await one.receive_from() == "d 1"
    assert not await two.receive_nothing(1)
    await one.disconnect()
    await two.disconnect()


@pytest.mark.parametrize(
    ("kind", "expected"), [("said", ["from a view"] * 2), ("counted", ["a view at 1", "a view at 0"])]
)
@pytest.mark.parametrize("asynchronous", [True, False], ids=["async", "sync"])
async def test_what_a_view_sends_reaches_members(kind: str, expected: list[str], asynchronous: bool) -> None:
    one, two = await opened(member(), member())
    await one.send_to("a")
    assert await texts(one, 1) == await texts(two, 1) == ["a 1"]
    url = f"/say/r/?type={kind}"
    await (AsyncClient().get(url) if asynchronous else sync_to_async(Client().get)(url))
    assert [*await texts(one, 1), *await texts(two, 1)] == expected
    await one.disconnect()
    await two.disconnect()


async def test_the_test_itself_sends_to_groups_and_to_a_connection() -> None:
    names = []

    class Named(AsyncWebsocketConsumer):
        groups = ["named"]

        async def connect(self) -> None:
            self.number = len(names)
            names.append(self.channel_name)
            await self.accept()

        async def whisper(self, event: dict[str, Any]) -> None:
            await self.send(f"{self.number} {event['text']}")

    one, two = await opened(*(GripCommunicator(Named.as_asgi(), "/") for _ in range(2)))
    layer = get_channel_layer()
    await layer.group_send("named", {"type": "whisper", "text": "all"})
    await layer.send(names[1], {"type": "whisper", "text": "you"})
    assert await texts(two, 2) == ["1 all", "1 you"]
    assert await texts(one, 1) == ["0 all"]
    assert await one.receive_nothing(0.05)
    await layer.close_connection(names[0], 4005)
    assert await one.receive_output() == {"type": "websocket.close", "code": 4005}
    await one.disconnect()
    await two.disconnect()


async def test_what_the_test_puts_into_the_scope_is_the_consumers_in_every_batch() -> None:
    class Scoped(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await self.send(json.dumps([self.scope["user"].username, self.scope["url_route"], self.scope["path"]]))

    communicator = GripCommunicator(Scoped.as_asgi(), "/a%20b/?c")
    communicator.scope["user"] = User(username="somebody")
    communicator.scope["url_route"] = {"kwargs": {"room": "r"}}
    await opened(communicator)
    for _ in range(2):
        await communicator.send_to("?")
        assert await communicator.receive_json_from() == ["somebody", {"kwargs": {"room": "r"}}, "/a b/"]
    await communicator.disconnect()


async def test_the_projects_whole_application_can_be_tested() -> None:
    communicator = GripCommunicator(project.application, "/ws/whose/")
    communicator.scope["user"] = User(username="somebody")
    assert await communicator.connect() == (True, None)
    assert await communicator.receive_from() == "somebody"
    await communicator.disconnect()


async def test_subprotocols_and_headers_reach_both_sides() -> None:
    class Headers(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.accept(self.scope["subprotocols"][1], headers=[(b"x-a", b"b")])
            await self.send(repr(dict(self.scope["headers"])[b"origin"]))

    communicator = GripCommunicator(Headers.as_asgi(), "/", [(b"Origin", b"http://a")], ["p", "q"])
    assert await communicator.connect() == (True, "q")
    assert communicator.response_headers == [(b"x-a", b"b")]
    assert await communicator.receive_from() == "b'http://a'"
    await communicator.disconnect()


async def test_a_refusal_tells_the_code_of_the_consumer() -> None:
    communicator = member("/ws/whose/")
    communicator.scope["user"] = AnonymousUser()
    assert await communicator.connect() == (False, 4003)
    await communicator.disconnect()


@pytest.mark.parametrize(
    ("path", "frame", "error"),
    [
        ("/ws/clerk/", "fail", LookupError("as it was told")),
        ("/ws/clerk/", "lock", UnkeepableState),
        ("/nowhere/", "", ValueError("No route found for path 'nowhere/'.")),
    ],
    ids=["handler", "state", "route"],
)
async def test_what_the_application_raises_is_raised_after_what_was_sent_before(
    path: str, frame: str, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    communicator = member(path)
    kind, text = (error, "lock") if isinstance(error, type) else (type(error), str(error))

    async def script() -> None:
        await communicator.connect()
        await communicator.send_to(frame)
        while True:
            assert await communicator.receive_from() == "before"

    with pytest.raises(kind, match=text):
        await script()
    with pytest.raises(kind, match=text):
        await communicator.receive_nothing()


@pytest.mark.parametrize("code", [1000, 1005, 1006, 4000])
async def test_the_consumer_hears_with_which_code_the_client_leaves(code: int) -> None:
    heard = []

    class Leaving(WebsocketConsumer):
        def disconnect(self, code: int) -> None:
            heard.append(code)

    (communicator,) = await opened(GripCommunicator(Leaving.as_asgi(), "/"))
    await communicator.disconnect(code)
    assert heard == [code]


@pytest.mark.django_db(transaction=True)
async def test_a_close_of_the_consumer_is_seen_with_code_and_reason() -> None:
    (communicator,) = await opened(member("/ws/clerk/"))
    await communicator.send_to("close")
    expected = {"type": "websocket.close", "code": 4001, "reason": "as it was told"}
    assert await communicator.receive_output() == expected
    await communicator.disconnect()


async def test_a_tick_comes_when_the_test_says_so() -> None:
    (communicator,) = await opened(member("/ws/clerk/"))
    for number in (1, 2):
        await communicator.tick()
        assert await communicator.receive_from() == f"tick {number}"
    await communicator.disconnect()
    with pytest.raises(RuntimeError, match=r"call connect\(\) first"):
        await communicator.tick()


class Pacing(AsyncWebsocketConsumer):
    """Ticks, after as many rounds of the event loop as its path says."""

    tick_interval = 20

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data)

    async def tick(self) -> None:
        for _ in range(int(self.scope["path"][1:])):
            await asyncio.sleep(0)
        await self.send("tick")


async def test_ticks_of_several_at_once_are_one_for_each_and_leave_nothing_behind() -> None:
    one, two = await opened(*(GripCommunicator(Pacing.as_asgi(), path) for path in ("/5", "/200")))
    await asyncio.gather(one.tick(), two.tick())
    assert ticking.hurried == set()
    for communicator in (one, two):
        assert await communicator.receive_from() == "tick"
        await communicator.send_to("no tick with it")
        assert await communicator.receive_from() == "no tick with it"
        await communicator.disconnect()


async def test_two_ticks_of_one_connection_at_once_are_two() -> None:
    (communicator,) = await opened(GripCommunicator(Pacing.as_asgi(), "/5"))
    await asyncio.gather(communicator.tick(), communicator.tick())
    assert await texts(communicator, 2) == ["tick", "tick"]
    await communicator.disconnect()


async def test_a_tick_without_one_brings_nothing_and_is_not_made_up_for_later() -> None:
    class Later(Pacing):
        tick_interval = None

        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.tick_interval = 20
            await self.send(text_data)

    (communicator,) = await opened(GripCommunicator(Later.as_asgi(), "/0"))
    await communicator.tick()
    for word in "ab":
        await communicator.send_to(word)
        assert await communicator.receive_from() == word
    await communicator.disconnect()


async def test_a_tick_that_takes_too_long_is_a_timeout() -> None:
    class Endless(Pacing):
        async def tick(self) -> None:
            await asyncio.Event().wait()

    async with GripCommunicator(Endless.as_asgi(), "/0") as communicator:
        await communicator.connect()
        with pytest.raises(asyncio.TimeoutError, match=r"within 0\.01 seconds"):
            await communicator.tick(0.01)


async def test_what_a_tick_raises_is_raised_by_that_call_and_the_next(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    class Failing(Pacing):
        async def tick(self) -> None:
            await self.send("before")
            raise LookupError("at the tick")

    (communicator,) = await opened(GripCommunicator(Failing.as_asgi(), "/0"))
    for _ in range(2):
        with pytest.raises(LookupError, match="at the tick"):
            await communicator.tick()
    assert await communicator.receive_from() == "before"
    with pytest.raises(LookupError, match="at the tick"):
        await communicator.receive_from()


async def test_a_connection_that_its_tick_has_closed_ticks_no_more() -> None:
    class Closing(Pacing):
        async def tick(self) -> None:
            await self.close(4000)

    (communicator,) = await opened(GripCommunicator(Closing.as_asgi(), "/0"))
    await communicator.tick()
    with pytest.raises(RuntimeError, match="not after either side has closed"):
        await communicator.tick()
    assert await communicator.receive_output() == {"type": "websocket.close", "code": 4000}
    await communicator.disconnect()


@pytest.mark.parametrize("calls", [1, 3])
async def test_who_stops_waiting_for_a_message_takes_none(calls: int) -> None:
    (communicator,) = await opened(GripCommunicator(Pacing.as_asgi(), "/0"))
    waiting = [asyncio.ensure_future(communicator.receive_from(timeout=20)) for _ in range(calls)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for word in ("one", "two"):
        await communicator.send_to(word)
    assert await texts(communicator, 2) == ["one", "two"]
    await communicator.disconnect()


async def test_who_stops_waiting_when_the_message_is_there_leaves_it_to_the_next() -> None:
    (communicator,) = await opened(GripCommunicator(Pacing.as_asgi(), "/0"))
    waiting = asyncio.ensure_future(communicator.receive_from(timeout=20))
    await communicator.send_to("one")
    await until(lambda: not communicator.output_queue.empty() or waiting.done())
    waiting.cancel()
    found = (await asyncio.gather(waiting, return_exceptions=True))[0]
    await communicator.send_to("two")
    expected = ["two"] if found == "one" else ["one", "two"]
    assert await texts(communicator, len(expected)) == expected
    await communicator.disconnect()


@pytest.mark.parametrize("code", [1000, 1006])
async def test_who_has_disconnected_receives_nothing_and_may_do_so_again(code: int) -> None:
    (communicator,) = await opened(GripCommunicator(Pacing.as_asgi(), "/0"))
    await communicator.disconnect(code)
    assert await communicator.receive_nothing(0.01)
    await communicator.send_to("to nobody")
    await communicator.disconnect(code)
    assert await communicator.receive_nothing(0.01)


FRAME, CONNECT = {"type": "websocket.receive", "text": "a"}, {"type": "websocket.connect"}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "no.such"},
        {},
        {"type": "websocket.receive"},
        {"type": "websocket.receive", "text": None, "bytes": None},
        {"type": "websocket.receive", "text": 5},
        CONNECT,
    ],
    ids=["type", "no type", "no content", "None", "int", "second connect"],
)
async def test_what_no_client_does_is_refused_and_leaves_the_connection_alone(message: dict[str, Any]) -> None:
    (communicator,) = await opened(GripCommunicator(Pacing.as_asgi(), "/0"))
    with pytest.raises(ValueError, match=r"websocket\.receive or websocket\.disconnect, with text or bytes") as found:
        await communicator.send_input(message)
    assert f"got {message!r}" in str(found.value)
    for content in ({"text": "a"}, {"text": "b", "bytes": None}):
        await communicator.send_input({"type": "websocket.receive", **content})
    assert await texts(communicator, 2) == ["a", "b"]
    await communicator.disconnect()


async def test_a_frame_before_the_handshake_is_refused() -> None:
    communicator = GripCommunicator(Pacing.as_asgi(), "/0")
    with pytest.raises(ValueError, match=r"websocket\.connect or websocket\.disconnect"):
        await communicator.send_input(FRAME)
    assert await communicator.connect() == (True, None)
    await communicator.disconnect()


async def test_frames_come_one_by_one_or_together() -> None:
    batches: list[list[str]] = []

    class Counting(AsyncWebsocketConsumer):
        transient = ("seen",)

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []
            batches.append(self.seen)

        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.seen.append(text_data or "")
            await self.send("done")

    for size in (1, 10):
        (communicator,) = await opened(GripCommunicator(Counting.as_asgi(), "/", batch_size=size))
        batches.clear()
        for word in "abc":
            await communicator.send_to(word)
        await texts(communicator, 3)
        assert [seen for seen in batches if seen] == ([["a"], ["b"], ["c"]] if size == 1 else [["a", "b", "c"]])
        await communicator.disconnect()


async def test_the_projects_own_settings_are_back_when_the_last_one_is_closed() -> None:
    before = conf.get()
    one, two = await opened(member(), member())
    assert (conf.get().mailbox, [proxy.control_uri for proxy in conf.get().proxies or ()]) == (
        "memory",
        ["in-process://tests/"],
    )
    await one.disconnect()
    assert conf.get() != before
    async with two:
        pass
    assert conf.get() == before


def test_what_a_test_has_left_open_ends_with_its_loop() -> None:
    before = conf.get()

    async def careless() -> None:
        await opened(member())

    asyncio.run(careless())
    assert conf.get() == before


async def test_one_that_is_stopped_leaves_at_once_and_once_only() -> None:
    before = conf.get()
    one, two, three = await opened(member(), member(), member())
    for _ in range(2):
        one.stop()
    assert conf.get() != before
    await two.send_to("a")
    assert [await two.receive_from(), await three.receive_from()] == ["a 1", "a 1"]
    assert one.output_queue.empty()
    two.stop()
    three.stop()
    assert conf.get() == before
    (after,) = await opened(member())
    await after.send_to("b")
    assert await after.receive_from() == "b 1"
    after.stop()
    assert conf.get() == before


async def test_one_that_is_dropped_is_ended() -> None:
    before = conf.get(), asyncio.all_tasks()
    (communicator,) = await opened(member())
    await communicator.send_to("a")
    assert await communicator.receive_from() == "a 1"
    del communicator
    gc.collect()
    assert conf.get() == before[0]
    await until(lambda: asyncio.all_tasks() == before[1])


async def test_one_that_could_not_be_made_is_collected_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(TypeError, match="Expected str"):
        GripCommunicator(project.routes, 5)  # type: ignore[arg-type]
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


@override_settings(ASGI_APPLICATION="tests.testing.site.application")
class InDjangosTestCaseTests(TestCase):
    async def test_handlers_see_what_the_test_has_written_in_its_transaction(self) -> None:
        await User.objects.acreate(username="of-the-test")
        communicator = GripCommunicator(project.routes, "/ws/clerk/")
        await communicator.connect()
        await communicator.send_to("of-the-consumer")
        assert await communicator.receive_json_from() == ["of-the-consumer", "of-the-test"]
        await communicator.disconnect()

    def test_a_synchronous_test_can_drive_one_too(self) -> None:
        User.objects.create(username="of-the-test")

        async def script() -> Any:
            communicator = GripCommunicator(project.routes, "/ws/clerk/")
            await communicator.connect()
            await communicator.send_to("of-the-consumer")
            found = await communicator.receive_json_from()
            await communicator.disconnect()
            return found

        assert async_to_sync(script)() == ["of-the-consumer", "of-the-test"]
