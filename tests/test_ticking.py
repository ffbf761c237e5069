"""Ticks, by batches and a clock in hand; and what keeps quiet connections open."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import re
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from grip_consumers import conf, genuine, identity, ticking
from grip_consumers.db import database_sync_to_async
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.protocol import Close, Disconnect, Open, Ping, Pong, Text
from grip_consumers.state import open_token

from . import batches
from .batches import importable

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site


class Clock:
    """The time by which ticks are due, in seconds."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> int:
        return int(self.now * 1_000)


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(ticking, "milliseconds", found)
    return found


@importable
class Counting(WebsocketConsumer):
    """Says how often it has ticked."""

    tick_interval = 30

    def connect(self):
        self.ticks = 0
        self.accept()

    def tick(self):
        self.ticks += 1
        self.send(f"tick {self.ticks}")

    def receive(self, text_data=None, bytes_data=None):
        command, _, argument = text_data.partition(" ")
        self.send(f"got {text_data}")
        if command == "interval":
            self.tick_interval = eval(argument)
        elif command == "close":
            self.close(4000)
        elif command == "join":
            async_to_sync(self.channel_layer.group_add)("a", self.channel_name)
        elif command == "leave":
            async_to_sync(self.channel_layer.group_discard)("a", self.channel_name)

    def told(self, event):
        self.send("told")


@importable
class AsyncCounting(AsyncWebsocketConsumer):
    tick_interval = 30
    ticks = 0

    async def tick(self):
        self.ticks += 1
        await self.send(f"tick {self.ticks}")

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(f"got {text_data}")


def texts(answer):
    return [frame[1] for frame in answer.sent if frame[0] == "text"]


def pace(answer):
    return answer.header("keep-alive-interval")


def prompts(answer):
    """After how many seconds the proxy is asked to ping the client."""
    return [control["timeout"] for control in answer.controls if control["type"] == "send-delayed"]


# The class ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [19, 0, -30, 30.0, True, "30"])
def test_an_interval_that_no_proxy_keeps_is_refused_when_it_is_routed(interval):
    consumer = type("Fast", (Counting,), {"tick_interval": interval})
    with pytest.raises(ValueError, match=r"Fast\.tick_interval must be a whole number of seconds, 20 or more") as found:
        consumer.as_asgi()
    assert f"not {interval!r}: a proxy asks no more often" in str(found.value)


@pytest.mark.parametrize(
    ("base", "tick", "expected"),
    [
        (
            WebsocketConsumer,
            AsyncCounting.tick,
            "tick must be an ordinary function, as Mixed is a synchronous",
        ),
        (AsyncWebsocketConsumer, Counting.tick, "tick must be a coroutine function, as Mixed is an asynchronous"),
    ],
)
def test_a_tick_of_the_other_kind_is_refused_when_it_is_routed(base, tick, expected):
    with pytest.raises(TypeError, match=expected):
        type("Mixed", (base,), {"tick_interval": 20, "tick": tick}).as_asgi()


def with_event(self, event):
    pass


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"tick": Counting.tick, "tick_interval": 20}, True),
        ({"tick": lambda self, quietly=False: None}, True),
        ({"tick": with_event, "tick_interval": 0.1}, False),
        ({"tick": 5}, False),
        ({"tick": None, "tick_interval": 0.1}, False),
        ({"tick_interval": 0.1}, False),
        ({}, False),
    ],
    ids=["tick", "with a default", "group handler", "value alone", "None", "interval alone", "nothing"],
)
def test_only_a_method_without_an_argument_is_a_tick(attributes, expected):
    consumer = type("Some", (WebsocketConsumer,), attributes)
    assert ticking.applies(consumer) is expected
    consumer.as_asgi()


def wrapped(function: Any) -> Any:
    """A decorator that hands on whatever it gets."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Bound:
    """A decorator that is an object, and binds itself."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __get__(self, consumer: Any, cls: Any = None) -> Any:
        return self if consumer is None else functools.partial(self.function, consumer)

    def __call__(self, consumer: Any) -> Any:
        return self.function(consumer)


def send_tick(self: Any, word: str = "tick") -> None:
    self.send(word)


async def send_tick_async(self: Any, word: str = "tick") -> None:
    await self.send(word)


def send_tick_from_a_thread(self: Any) -> None:
    async_to_sync(self.send)("tick")


async def send_what_it_gets(self: Any, *args: Any) -> None:
    await self.send(f"tick{''.join(args)}")


@pytest.mark.parametrize(
    ("base", "tick"),
    [
        (AsyncWebsocketConsumer, database_sync_to_async(send_tick_from_a_thread)),
        (AsyncWebsocketConsumer, sync_to_async(send_tick_from_a_thread)),
        (AsyncWebsocketConsumer, wrapped(sync_to_async(send_tick_from_a_thread))),
        (AsyncWebsocketConsumer, wrapped(send_tick_async)),
        (AsyncWebsocketConsumer, wrapped(wrapped(send_tick_async))),
        (AsyncWebsocketConsumer, Bound(send_tick_async)),
        (AsyncWebsocketConsumer, send_what_it_gets),
        (AsyncWebsocketConsumer, functools.partialmethod(send_tick_async, "tick")),
        (WebsocketConsumer, wrapped(send_tick)),
        (WebsocketConsumer, Bound(send_tick)),
        (WebsocketConsumer, async_to_sync(sync_to_async(send_tick))),
    ],
    ids=[
        "database_sync_to_async",
        "sync_to_async",
        "wrapped sync_to_async",
        "wrapped coroutine",
        "wrapped twice",
        "object",
        "any arguments",
        "partialmethod",
        "wrapped function",
        "object in a synchronous consumer",
        "async_to_sync",
    ],
)
def test_whatever_can_be_called_without_an_argument_is_a_tick(site, clock, base, tick):
    consumer = importable(type("Decorated", (base,), {"tick_interval": 30, "tick": tick}))
    site.serve(consumer)
    client = site.opened()
    clock.now += 30
    assert texts(client.post()) == ["tick"]


def test_a_class_method_and_a_static_one_are_ticks(wsgi_site, clock):
    called: list[Any] = []

    @importable
    class OfTheClass(WebsocketConsumer):
        tick_interval = 30

        @classmethod
        def tick(cls):
            called.append(cls)

    @importable
    class OfNobody(WebsocketConsumer):
        tick_interval = 30

        @staticmethod
        def tick():
            called.append(None)

    for consumer in (OfTheClass, OfNobody):
        wsgi_site.serve(consumer)
        client = wsgi_site.opened()
        clock.now += 30
        client.post()
    assert called == [OfTheClass, None]


@pytest.mark.parametrize(
    "tick",
    [wrapped(with_event), database_sync_to_async(with_event), staticmethod(lambda event: None)],
    ids=["wrapped", "database_sync_to_async", "static"],
)
def test_a_group_handler_is_none_however_it_is_decorated(tick):
    consumer = type("Some", (AsyncWebsocketConsumer,), {"tick_interval": 0.1, "tick": tick})
    assert not ticking.applies(consumer)
    consumer.as_asgi()


def with_two(self, event, more):
    pass


@pytest.mark.parametrize("tick", [5, "tick", property(lambda self: None)], ids=["number", "text", "property"])
def test_what_a_project_calls_tick_and_nobody_can_call_is_left_alone(tick):
    ticking.check(type("Own", (AsyncWebsocketConsumer,), {"tick_interval": 0.05, "tick": tick}))


@pytest.mark.parametrize(
    "tick",
    [type("Inner", (), {}), with_two, wrapped(with_two)],
    ids=["class", "too many arguments", "wrapped, with too many"],
)
def test_what_cannot_be_a_tick_is_refused_where_there_is_an_interval(tick):
    consumer = type("Odd", (AsyncWebsocketConsumer,), {"tick_interval": 30, "tick": tick})
    with pytest.raises(TypeError, match=r"Odd\.tick must be a method that takes nothing but self, .* not ") as found:
        consumer.as_asgi()
    assert repr(tick) in str(found.value)
    type("Odd", (AsyncWebsocketConsumer,), {"tick": tick}).as_asgi()


@pytest.mark.parametrize(
    ("base", "tick", "expected"),
    [
        (AsyncWebsocketConsumer, wrapped(lambda self: None), "Wrong.*tick must return what can be awaited, not None"),
        (WebsocketConsumer, wrapped(send_tick_async), "Wrong.*tick must not return a coroutine"),
    ],
    ids=["async", "sync"],
)
def test_a_decorated_tick_of_the_other_kind_is_an_error_of_the_handler(wsgi_site, clock, caplog, base, tick, expected):
    wsgi_site.serve(importable(type("Wrong", (base,), {"tick_interval": 30, "tick": tick})))
    client = wsgi_site.opened()
    clock.now += 30
    assert client.post().sent == [("close", 1011, "")]
    assert re.search(expected, caplog.text)


# When it is called --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("consumer", [Counting, AsyncCounting], ids=["sync", "async"])
def test_the_proxys_keep_alive_calls_the_tick_again_and_again_with_the_connections_state(site, clock, consumer):
    site.serve(consumer)
    client = site.client()
    assert pace(client.post(Open())) == "30"
    for number in (1, 2, 3):
        clock.now += 30.01
        answer = client.post()
        assert (texts(answer), pace(answer), prompts(answer)) == ([f"tick {number}"], "30", [])


def test_a_consumer_without_an_interval_costs_nothing(site, clock):
    consumer = importable(type("Plain", (Counting,), {"tick_interval": None}))
    site.serve(consumer)
    client = site.client()
    assert pace(client.post(Open())) is None
    clock.now += 60
    answer = client.post(Text("x"))
    assert (texts(answer), pace(answer)) == (["got x"], None)


def test_a_batch_that_comes_earlier_does_not_call_it_and_does_not_put_it_off(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    clock.now += 4
    answer = client.post()
    assert (texts(answer), pace(answer)) == ([], "26")
    clock.now += 26.02
    assert texts(client.post()) == ["tick 1"]


def test_whichever_batch_comes_when_it_is_due_calls_it_once_and_before_its_frames(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    clock.now += 45
    answer = client.post(Text("x"))
    assert (texts(answer), pace(answer)) == (["tick 1", "got x"], "30")
    for seconds in (0, 1, 15, 12.9):
        clock.now += seconds
        assert texts(client.post(Text("y"))) == ["got y"]
    clock.now += 0.2
    assert texts(client.post(Text("y"))) == ["tick 2", "got y"]


def test_mail_comes_before_it(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    channel = _state_of(client).channel_name
    async_to_sync(get_channel_layer().send)(channel, {"type": "told"})
    clock.now += 30
    assert texts(client.post()) == ["told", "tick 1"]


def _state_of(client):
    return open_token(client.meta["Meta-State"], client.identity, conf.get())[0]


def test_where_the_keep_alive_would_be_late_the_proxy_is_asked_once_to_ping_the_client_in_time(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    clock.now += 10
    answer = client.post(Text("x"))
    assert (pace(answer), prompts(answer)) == ("20", [])
    clock.now += 1.4
    answer = client.post(Text("x"))
    assert (pace(answer), prompts(answer)) == ("20", [19])
    for seconds in (3, 11):
        clock.now += seconds
        answer = client.post(Text("x"))
        assert (texts(answer), pace(answer), prompts(answer)) == (["got x"], "20", [])
    clock.now += 5
    answer = client.post(Pong(b"tick"))
    assert (texts(answer), pace(answer), prompts(answer)) == (["tick 1"], "30", [])
    clock.now += 29.5
    assert texts(client.post(Text("x"))) == ["tick 2", "got x"]


def test_a_ping_that_was_early_is_asked_for_again_but_not_by_one_for_an_earlier_tick(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    clock.now += 20
    assert prompts(client.post(Text("x"))) == [10]
    early = Pong(str(_state_of(client).inbox.tick).encode())
    clock.now += 8
    answer = client.post(early)
    assert (texts(answer), prompts(answer)) == ([], [2])
    clock.now += 2
    assert texts(client.post(Text("x"))) == ["tick 1", "got x"]
    assert prompts(client.post(early)) == []
    clock.now += 12
    assert prompts(client.post(Text("x"))) == [18]
    assert prompts(client.post(early)) == []


def test_a_client_that_pings_all_the_time_does_not_put_it_off(site, clock):
    # It has no group handlers, so nothing else makes its pings more than pings.
    site.serve(AsyncCounting)
    client = site.opened()
    clock.now += 20
    answer = client.post(Ping(b"1"))
    assert (answer.sent, pace(answer), prompts(answer)) == ([("pong", b"1")], "20", [10])
    clock.now += 20
    answer = client.post(Ping(b"2"))
    assert (answer.sent, pace(answer)) == ([("text", "tick 1"), ("pong", b"2")], "30")


@pytest.mark.parametrize(("early", "called"), [(0.9, True), (1.1, False)])
def test_another_hosts_clock_may_be_a_second_behind(wsgi_site, clock, early, called):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    clock.now += 30 - early
    assert texts(client.post()) == (["tick 1"] if called else [])


def test_ticks_that_nobody_could_call_are_not_made_up_for(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    clock.now += 1_000
    assert texts(client.post()) == ["tick 1"]
    assert texts(client.post()) == []


def test_a_large_state_in_the_cache_has_its_tick_too(site, clock, settings):
    settings.GRIP_STATE_INLINE_LIMIT = 0
    site.serve(Counting)
    client = site.opened()
    for number in (1, 2):
        clock.now += 30
        assert texts(client.post()) == [f"tick {number}"]


# What it does -------------------------------------------------------------------------------------------------


@importable
class Failing(Counting):
    def tick(self):
        self.send("before")
        raise RuntimeError("at the tick")


def test_a_tick_that_raises_ends_the_connection_like_any_handler(site, clock, caplog):
    site.serve(Failing)
    client = site.opened()
    clock.now += 30
    answer = client.post(Text("x"))
    assert answer.sent == [("text", "before"), ("close", 1011, "")]
    assert "at the tick" in caplog.text
    clock.now += 30
    assert client.post().sent in ([], [("close", 1011, "")])


@pytest.mark.parametrize("event", [Close(1000), Disconnect()], ids=["close", "disconnect"])
def test_a_client_that_has_left_gets_no_tick(wsgi_site, clock, event, caplog):
    @importable
    class Leaving(Counting):
        def tick(self):
            logging.getLogger("test").error("ticked")

    wsgi_site.serve(Leaving)
    client = wsgi_site.opened()
    clock.now += 30
    client.post(event)
    assert "ticked" not in caplog.text


def test_a_connection_that_was_closed_from_here_gets_no_tick(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    assert client.post(Text("close")).sent == [("text", "got close"), ("close", 4000, "")]
    clock.now += 30
    assert texts(client.post()) == []
    assert texts(client.post(Close(4000))) == []


def test_a_tick_may_close_the_connection(wsgi_site, clock):
    @importable
    class Expiring(Counting):
        def tick(self):
            self.close(4001)

    wsgi_site.serve(Expiring)
    client = wsgi_site.opened()
    clock.now += 30
    answer = client.post(Text("x"))
    assert answer.sent == [("close", 4001, ""), *answer.sent[1:]]
    assert pace(answer) is None


def test_a_tick_is_not_for_a_session_that_is_gone(wsgi_site, clock, settings, monkeypatch):
    settings.GRIP_RECHECK_SESSION = True
    gone: list[bool] = []
    monkeypatch.setattr(identity, "session_is_gone", lambda scope: bool(gone))
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    gone.append(True)
    clock.now += 30
    assert client.post().sent == [("close", 4401, "")]


def test_a_middleware_that_sees_every_message_sees_no_tick_but_what_it_sends(asgi_site, clock):
    seen: list[str] = []

    def watching(application: Any) -> Any:
        async def watch(scope: Any, receive: Any, send: Any) -> None:
            async def watched() -> Any:
                message = await receive()
                seen.append(message["type"])
                return message

            async def watch_out(message: Any) -> None:
                seen.append(message["type"])
                await send(message)

            await application(scope, watched, watch_out)

        return watch

    asgi_site.serve(watching(AsyncCounting.as_asgi()), ws=watching(AsyncCounting.as_asgi()))
    client = asgi_site.opened()
    clock.now += 30
    del seen[:]
    assert texts(client.post(Text("x"))) == ["tick 1", "got x"]
    assert seen == ["websocket.send", "websocket.receive", "websocket.send"]


def test_an_interval_that_is_changed_on_the_consumer_counts_from_then_on(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client = wsgi_site.opened()
    assert pace(client.post(Text("interval None"))) == "0"
    clock.now += 60
    answer = client.post(Text("x"))
    assert (texts(answer), pace(answer)) == (["got x"], None)
    assert pace(client.post(Text("interval 60"))) == "60"
    assert pace(client.post(Text("interval 40"))) == "40"
    clock.now += 40
    assert texts(client.post()) == ["tick 1"]


@pytest.mark.parametrize("interval", ["0.5", "0", "0.0", "-5", "False", "''"])
@pytest.mark.parametrize("before", [30, None])
def test_an_interval_that_is_changed_to_one_that_no_proxy_keeps_is_an_error_of_the_handler(
    wsgi_site, clock, caplog, interval, before
):
    wsgi_site.serve(importable(type("Changing", (Counting,), {"tick_interval": before})))
    client = wsgi_site.opened()
    assert client.post(Text(f"interval {interval}")).sent == [("text", f"got interval {interval}"), ("close", 1011, "")]
    assert "Changing" in caplog.text
    expected = f"tick_interval must be a whole number of seconds, 20 or more, or None, not {eval(interval)!r}"
    assert expected in caplog.text


def test_a_tick_that_is_hurried_comes_once_whatever_the_clock_says_and_is_no_other_connections(wsgi_site, clock):
    wsgi_site.serve(Counting)
    client, other = wsgi_site.opened(), wsgi_site.opened()
    ticking.hurried.add(client.connection_id)
    assert texts(other.post(Text("x"))) == ["got x"]
    assert texts(client.post(Text("x"))) == ["tick 1", "got x"]
    assert texts(client.post(Text("y"))) == ["got y"]
    assert ticking.hurried == set()


def test_a_group_that_was_left_is_unsubscribed_from_in_time_and_then_the_tick_alone_sets_the_pace(
    wsgi_site, clock, monkeypatch
):
    from grip_consumers import inbox

    consumer = importable(type("Slow", (Counting,), {"tick_interval": 300}))
    wsgi_site.serve(consumer)
    client = wsgi_site.opened()
    assert pace(client.post(Text("join"))) == "300"
    assert pace(client.post(Text("leave"))) == "20"
    monkeypatch.setattr(inbox, "_LEFT_AFTER", -1)
    clock.now += 20
    answer = client.post()
    assert [control["type"] for control in answer.controls] == ["unsubscribe"]
    assert pace(answer) == "280"


def test_where_no_proxy_can_be_asked_for_callbacks_a_longer_tick_does_not_make_them_rarer(
    wsgi_site, clock, monkeypatch
):
    from grip_consumers import refresher

    consumer = importable(type("Slow", (Counting,), {"tick_interval": 300}))
    wsgi_site.serve(consumer)
    client = wsgi_site.opened()
    monkeypatch.setattr(refresher, "is_late", lambda: True)
    assert pace(client.post(Text("x"))) == "20"


# Without a proxy ----------------------------------------------------------------------------------------------


class Line:
    """An ASGI server's side of one WebSocket."""

    def __init__(self, consumer: type[Any], kind: str = "websocket") -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        scope = {"type": kind, "path": "/", "headers": []}
        application: Any = consumer.as_asgi()
        self.task = asyncio.ensure_future(application(scope, self.incoming.get, self.sent.put))

    async def receive(self) -> Any:
        return await asyncio.wait_for(self.sent.get(), 5)


@pytest.fixture
def quick(monkeypatch):
    """Intervals of hundredths of seconds."""
    monkeypatch.setattr(ticking, "interval_of", lambda consumer: 0.02)
    monkeypatch.setattr(ticking, "check", lambda cls: None)


@pytest.mark.parametrize("consumer", [Counting, AsyncCounting], ids=["sync", "async"])
async def test_an_ordinary_server_has_the_tick_called_by_a_timer_until_the_client_leaves(quick, consumer):
    line = Line(consumer)
    line.incoming.put_nowait({"type": "websocket.connect"})
    assert (await line.receive())["type"] == "websocket.accept"
    assert [(await line.receive())["text"] for _ in range(3)] == ["tick 1", "tick 2", "tick 3"]
    line.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await asyncio.wait_for(line.task, 5)


async def test_a_tick_that_raises_ends_the_consumer_behind_an_ordinary_server(quick):
    line = Line(Failing)
    line.incoming.put_nowait({"type": "websocket.connect"})
    with pytest.raises(RuntimeError, match="at the tick"):
        await asyncio.wait_for(line.task, 5)


async def test_nothing_but_a_websocket_ticks(quick):
    line = Line(AsyncCounting, kind="channel")
    line.incoming.put_nowait({"type": "websocket.receive", "text": "x"})
    assert (await line.receive())["text"] == "got x"
    await asyncio.sleep(0.1)
    assert line.sent.empty()
    line.task.cancel()


@pytest.fixture
def seconds(monkeypatch):
    """The time by which an ordinary server's connections tick, in hand."""
    found = Clock()
    monkeypatch.setattr(ticking, "_seconds", lambda: found.now)
    monkeypatch.setattr(ticking, "_LOOK", 0)
    return found


class Told:
    """Accepts and closes when it is told to."""

    tick_interval: ClassVar[Any] = 30
    at_work: ClassVar[list[Callable[[], None]]] = []
    handled: ClassVar[list[str]] = []

    async def connect(self):
        pass

    async def tick(self):
        await self.send("tick")

    async def receive(self, text_data=None, bytes_data=None):
        await self.handle(text_data)
        self.handled.append(text_data)

    async def handle(self, text_data):
        command, _, argument = text_data.partition(" ")
        if command == "accept":
            await self.accept()
        elif command == "close":
            await self.close(4000)
        elif command == "interval":
            self.tick_interval = eval(argument)
        elif command == "work":
            for function in self.at_work:
                function()
            for _ in range(20):
                await asyncio.sleep(0)
            await self.handle(argument)

    async def disconnect(self, code):
        await self.send("not over for this one")

    async def websocket_disconnect(self, message):
        await self.disconnect(message["code"])


def told_consumer(kind: str) -> type[Any]:
    if kind == "ours":
        return type("ToldHere", (Told, AsyncWebsocketConsumer), {})
    from channels.generic.websocket import AsyncWebsocketConsumer as TheirConsumer

    genuine.fit(now=True)
    return type("ToldThere", (Told, TheirConsumer), {})


@pytest.fixture(params=["ours", "Channels'"])
async def line(request, seconds, settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.InMemoryChannelLayer"}}
    found = Line(told_consumer(request.param))
    found.incoming.put_nowait({"type": "websocket.connect"})
    yield found
    found.task.cancel()
    await asyncio.gather(found.task, return_exceptions=True)


async def say(line: Line, *texts: str) -> list[Any]:
    """What is sent until all texts have been handled, and whatever is due has had its turn."""
    for text in (*texts, "done?", "done?", "done?"):
        before = len(Told.handled)
        line.incoming.put_nowait({"type": "websocket.receive", "text": text})
        deadline = time.monotonic() + 20
        while len(Told.handled) == before and not line.task.done() and time.monotonic() < deadline:
            await asyncio.sleep(0)
        # What is due comes between two messages.
        for _ in range(20):
            await asyncio.sleep(0)
    found = []
    while not line.sent.empty():
        message = line.sent.get_nowait()
        found.append(message.get("text", message["type"].partition(".")[2]))
    return found


async def test_a_timer_begins_with_the_accept_behind_an_ordinary_server(line, seconds):
    seconds.now += 100
    assert await say(line) == []
    assert await say(line, "accept") == ["accept"]
    seconds.now += 29
    assert await say(line) == []
    seconds.now += 1
    assert await say(line) == ["tick"]
    seconds.now += 29
    assert await say(line) == []
    seconds.now += 1
    assert await say(line) == ["tick"]


async def test_a_timer_ends_with_the_close_of_either_side(line, seconds):
    assert await say(line, "accept", "close") == ["accept", "close"]
    seconds.now += 100
    assert await say(line) == []


async def test_a_timer_ends_when_the_client_leaves(line, seconds):
    assert await say(line, "accept") == ["accept"]
    line.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
    assert await say(line) == ["not over for this one"]
    seconds.now += 100
    assert await say(line) == []


@pytest.mark.parametrize(("end", "expected"), [("close", ["close"]), ("interval None", [])])
async def test_a_tick_that_is_due_while_a_handler_ends_them_is_not_called(line, seconds, monkeypatch, end, expected):
    def pass_time() -> None:
        seconds.now += 30

    monkeypatch.setattr(Told, "at_work", [pass_time])
    assert await say(line, "accept") == ["accept"]
    assert await say(line, f"work {end}") == expected


async def test_a_tick_that_is_due_while_a_handler_is_at_work_comes_after_it(line, seconds, monkeypatch):
    def pass_time() -> None:
        seconds.now += 100

    monkeypatch.setattr(Told, "at_work", [pass_time])
    assert await say(line, "accept") == ["accept"]
    assert await say(line, "work") == ["tick"]


async def test_a_timer_follows_an_interval_that_is_changed(line, seconds):
    assert await say(line, "accept", "interval None") == ["accept"]
    seconds.now += 100
    assert await say(line) == []
    assert await say(line, "interval 200") == []
    seconds.now += 100
    assert await say(line) == ["tick"]


async def test_an_interval_of_nothing_ends_the_consumer_behind_an_ordinary_server_too(line):
    await say(line, "accept", "interval 0")
    with pytest.raises(ValueError, match="tick_interval must be a whole number"):
        await asyncio.wait_for(line.task, 5)


async def test_a_consumer_with_a_timer_is_freed_as_soon_as_it_ends(seconds):
    made: list[Any] = []

    class Seen(AsyncWebsocketConsumer):
        tick_interval = 30

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

        async def tick(self):
            await self.send("tick")

    gc.collect()
    gc.disable()
    try:
        line = Line(Seen)
        line.incoming.put_nowait({"type": "websocket.connect"})
        assert (await line.receive())["type"] == "websocket.accept"
        seconds.now += 30
        assert (await line.receive())["text"] == "tick"
        line.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(line.task, 5)
        del line
        assert made[0]() is None
    finally:
        gc.enable()


# Heartbeat ----------------------------------------------------------------------------------------------------


def heartbeats(answer):
    return [control for control in answer.controls if control["type"] == "keep-alive"]


@pytest.mark.parametrize("seconds", [25, 7, 0])
def test_an_accepted_connection_is_kept_open_by_frames_of_the_proxys_own(site, settings, seconds):
    settings.GRIP_HEARTBEAT = seconds
    site.serve(AsyncWebsocketConsumer)
    client = site.client()
    expected = [{"type": "keep-alive", "message-type": "pong", "content": "", "timeout": seconds}] if seconds else []
    assert heartbeats(client.post(Open())) == expected
    assert heartbeats(client.post(Text("x"))) == []


def test_it_does_so_unless_told_otherwise(wsgi_site, settings):
    del settings.GRIP_HEARTBEAT
    wsgi_site.serve(WebsocketConsumer)
    assert [found["timeout"] for found in heartbeats(wsgi_site.client().post(Open()))] == [25]


def test_a_refused_connection_is_not_kept_open(wsgi_site, settings):
    settings.GRIP_HEARTBEAT = 25

    @importable
    class Refusing(WebsocketConsumer):
        def connect(self):
            self.close()

    wsgi_site.serve(Refusing)
    assert wsgi_site.client().post(Open()).status == 403
