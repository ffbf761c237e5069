from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.test import AsyncClient, Client, TestCase, override_settings

from grip_consumers import conf
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
