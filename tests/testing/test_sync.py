from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.test import TestCase, override_settings

from grip_consumers import conf, ticking
from grip_consumers.exceptions import UnkeepableState
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.testing import SyncCommunicator

from . import site as project

pytestmark = pytest.mark.usefixtures("site")
ROOM = "/ws/rooms/r/"


def opened(path: str = ROOM, application: Any = project.routes, **options: Any) -> SyncCommunicator:
    communicator = SyncCommunicator(application, path, **options)
    assert communicator.connect()[0]
    return communicator


def test_what_one_says_reaches_all_in_order_and_each_keeps_its_own_state() -> None:
    with opened() as one, opened() as two:
        for word in "abc":
            one.send_to(word)
        for member in (one, two):
            assert [member.receive_from() for _ in range(3)] == ["a 1", "b 2", "c 3"]
        two.send_to("d")
        assert [one.receive_from(), two.receive_from()] == ["d 1", "d 1"]
        assert one.receive_nothing(0.01)


@pytest.mark.parametrize(
    ("kind", "expected"), [("said", ["from a view"] * 2), ("counted", ["a view at 1", "a view at 0"])]
)
def test_what_a_view_sends_reaches_members(kind: str, expected: list[str], client: Any) -> None:
    with opened() as one, opened() as two:
        one.send_to("a")
        assert [one.receive_from(), two.receive_from()] == ["a 1", "a 1"]
        client.get(f"/say/r/?type={kind}")
        assert not one.receive_nothing(1)
        assert [one.receive_from(), two.receive_from()] == expected


def test_the_test_itself_sends_to_a_connection_and_closes_it() -> None:
    names = []

    class Named(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            names.append(self.channel_name)
            await self.accept()

        async def whisper(self, event: dict[str, Any]) -> None:
            await self.send(bytes_data=event["data"])

    with opened("/", Named.as_asgi()) as communicator:
        layer = get_channel_layer()
        async_to_sync(layer.send)(names[0], {"type": "whisper", "data": b"x"})
        assert communicator.receive_from() == b"x"
        async_to_sync(layer.close_connection)(names[0], 4005, "bye")
        assert communicator.receive_output() == {"type": "websocket.close", "code": 4005, "reason": "bye"}


@pytest.mark.parametrize(
    ("path", "frame", "error", "text"),
    [
        ("/ws/clerk/", "fail", LookupError, "as it was told"),
        ("/ws/clerk/", "lock", UnkeepableState, "lock"),
        ("/nowhere/", "", ValueError, "No route found for path 'nowhere/'"),
    ],
    ids=["handler", "state", "route"],
)
def test_what_the_application_raises_is_raised_at_once_and_after_what_was_sent_before(
    path: str, frame: str, error: type[Exception], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    def begin(communicator: SyncCommunicator) -> None:
        communicator.connect()
        communicator.send_to(frame)

    def receive_all(communicator: SyncCommunicator) -> None:
        while True:
            assert communicator.receive_from() == "before"

    with SyncCommunicator(project.routes, path) as communicator:
        with pytest.raises(error, match=text):
            begin(communicator)
        with pytest.raises(error, match=text):
            receive_all(communicator)
        with pytest.raises(error, match=text):
            communicator.receive_nothing()


@pytest.mark.parametrize("code", [1000, 1005, 1006, 4000])
def test_the_consumer_hears_with_which_code_the_client_leaves(code: int) -> None:
    heard = []

    class Leaving(WebsocketConsumer):
        def disconnect(self, code: int) -> None:
            heard.append(code)

    opened("/", Leaving.as_asgi()).disconnect(code)
    assert heard == [code]


def test_the_scope_subprotocols_and_headers_reach_both_sides() -> None:
    class Both(WebsocketConsumer):
        def connect(self) -> None:
            self.accept(self.scope["subprotocols"][1], headers=[(b"x-a", b"b")])
            self.send_it()

        def send_it(self) -> None:
            self.send(f"{self.scope['user'].username} {dict(self.scope['headers'])[b'origin'].decode()}")

        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.send_it()

    communicator = SyncCommunicator(Both.as_asgi(), "/", [(b"Origin", b"http://a")], ["p", "q"])
    communicator.scope["user"] = User(username="somebody")
    with communicator:
        assert communicator.connect() == (True, "q")
        assert communicator.response_headers == [(b"x-a", b"b")]
        communicator.send_to(bytes_data=b"?")
        assert [communicator.receive_from() for _ in range(2)] == ["somebody http://a"] * 2


def test_a_refusal_tells_the_code_of_the_consumer() -> None:
    communicator = SyncCommunicator(project.application, "/ws/whose/")
    communicator.scope["user"] = AnonymousUser()
    with communicator:
        assert communicator.connect() == (False, 4003)


def test_a_tick_comes_when_the_test_says_so() -> None:
    with opened("/ws/clerk/") as communicator:
        for number in (1, 2):
            communicator.tick()
            assert communicator.receive_from() == f"tick {number}"


class Ticking(WebsocketConsumer):
    tick_interval = 20

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data)

    def tick(self) -> None:
        if self.scope["path"] == "/fail":
            raise LookupError("at the tick")
        if self.scope["path"] == "/close":
            self.close(4000)
            return
        self.send("tick")


def test_a_tick_is_that_of_one_connection_and_leaves_nothing_behind() -> None:
    with opened("/", Ticking.as_asgi()) as one, opened("/", Ticking.as_asgi()) as two:
        one.tick()
        assert ticking.hurried == set()
        assert one.receive_from() == "tick"
        for communicator in (one, two):
            communicator.send_to("no tick with it")
            assert communicator.receive_from() == "no tick with it"


def test_what_a_tick_raises_is_raised_by_that_call_and_the_next(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with opened("/fail", Ticking.as_asgi()) as communicator:
        for _ in range(2):
            with pytest.raises(LookupError, match="at the tick"):
                communicator.tick()


def test_a_connection_that_is_closed_ticks_no_more() -> None:
    with opened("/close", Ticking.as_asgi()) as communicator:
        communicator.tick()
        with pytest.raises(RuntimeError, match="Expected an open connection to tick"):
            communicator.tick()
        assert communicator.receive_output() == {"type": "websocket.close", "code": 4000}


@pytest.mark.parametrize("code", [1000, 1006])
def test_who_has_disconnected_receives_what_is_left_and_may_do_so_again(code: int) -> None:
    with opened("/", Ticking.as_asgi()) as communicator:
        communicator.send_to("not received yet")
        for _ in range(2):
            communicator.disconnect(code)
        assert communicator.receive_from() == "not received yet"
        communicator.send_to("to nobody")
        assert communicator.receive_nothing(0.01)
        with pytest.raises(TimeoutError, match="got none"):
            communicator.receive_output(0.01)
        with pytest.raises(RuntimeError, match="Expected an open connection to tick"):
            communicator.tick()
        assert communicator.connect() == (True, None)
        communicator.send_to("again")
        assert communicator.receive_from() == "again"


@pytest.mark.parametrize(
    "message",
    [{"type": "no.such"}, {"type": "websocket.receive"}, {"type": "websocket.connect"}],
    ids=["type", "no content", "connect"],
)
def test_what_no_client_does_is_refused_and_leaves_the_connection_alone(message: dict[str, Any]) -> None:
    with opened("/", Ticking.as_asgi()) as communicator:
        with pytest.raises(ValueError, match=r"websocket\.receive or websocket\.disconnect, with text or bytes"):
            communicator.send_input(message)
        communicator.send_to("a")
        assert communicator.receive_from() == "a"


def test_who_waits_gets_what_another_thread_sends_at_once() -> None:
    with opened() as communicator:
        event = {"type": "said", "text": "from a thread"}
        later = threading.Timer(0.02, lambda: async_to_sync(get_channel_layer().group_send)("r", event))
        later.start()
        began = time.monotonic()
        assert communicator.receive_from(timeout=30) == "from a thread"
        assert time.monotonic() - began < 15
        later.join()


def test_nothing_to_receive_is_a_timeout_and_frames_are_checked() -> None:
    with opened() as communicator:
        with pytest.raises(TimeoutError, match=r"within 0\.01 seconds"):
            communicator.receive_from(0.01)
        with pytest.raises(AssertionError, match="exactly one of text_data or bytes_data"):
            communicator.send_to()
        communicator.send_json_to({"a": 1})
        assert communicator.receive_from() == '{"a": 1} 1'


@pytest.mark.parametrize("call", [lambda c: c.send_to("a"), lambda c: c.receive_output(), lambda c: c.tick()])
def test_whoever_has_not_connected_is_told_so(call: Callable[[SyncCommunicator], Any]) -> None:
    with pytest.raises(RuntimeError, match=r"call connect\(\) first"):
        call(SyncCommunicator(project.routes, ROOM))


async def test_it_is_not_for_coroutines() -> None:
    with pytest.raises(RuntimeError, match="use GripCommunicator"):
        SyncCommunicator(project.routes, ROOM).connect()


def test_the_projects_own_settings_are_back_though_nobody_has_closed_it() -> None:
    before = conf.get()
    one, two = opened(), opened()
    assert conf.get().mailbox == "memory"
    one.disconnect()
    assert conf.get() != before
    del two
    gc.collect()
    assert conf.get() == before


@override_settings(ASGI_APPLICATION="tests.testing.site.application")
class InDjangosTestCaseTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        User.objects.create(username="of-the-class")

    def test_handlers_see_and_leave_what_is_in_the_tests_transaction(self) -> None:
        User.objects.create(username="of-the-test")
        communicator = SyncCommunicator(project.routes, "/ws/clerk/")
        communicator.connect()
        with transaction.atomic():
            communicator.send_to("of-the-consumer")
        assert communicator.receive_json_from() == ["of-the-class", "of-the-consumer", "of-the-test"]
        communicator.disconnect()
        assert User.objects.count() == 3

    def test_an_asynchronous_consumer_sees_it_too(self) -> None:
        class Counting(AsyncWebsocketConsumer):
            async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
                await self.send(str(await User.objects.acount()))

        communicator = SyncCommunicator(Counting.as_asgi(), "/")
        communicator.connect()
        communicator.send_to("?")
        assert communicator.receive_from() == "1"
        communicator.disconnect()
