"""A consumer's run on a batch: in which thread and loop, made how often, with which attributes and scope."""

from __future__ import annotations

import asyncio
import contextvars
import enum
import logging
import threading

import msgpack
import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.utils import translation
from grip_consumers.routing import URLRouter

from grip_consumers import conf
from grip_consumers.db import database_sync_to_async
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.middleware import BaseMiddleware
from grip_consumers.protocol import Close, Disconnect, Open, Text
from grip_consumers.running import plain_dispatch
from grip_consumers.state import ConnectionState, open_token, seal_state
from grip_consumers.state.extensions import dotted

from . import batches
from .batches import importable

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site


def errors(caplog):
    ours = [record for record in caplog.records if record.name.startswith("grip_consumers")]
    return [record for record in ours if record.levelno >= logging.ERROR]


def state_of(client):
    state, _ = open_token(client.meta["Meta-State"], client.identity, conf.get())
    return state


def running_loop():
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


# Threads and loops ---------------------------------------------------------------------------------------


def test_a_sync_consumer_under_wsgi_runs_in_the_requests_thread_without_a_loop(wsgi_site):
    seen = []

    def note():
        seen.append((threading.get_ident(), running_loop()))

    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            note()
            self.accept()

        def receive(self, **kwargs):
            note()

        def disconnect(self, code):
            note()

    wsgi_site.serve(Chat)
    wsgi_site.opened().post(Text("a"), Text("b"), Close(1000))
    assert seen == [(threading.get_ident(), None)] * 4


async def test_an_async_consumer_under_asgi_runs_on_the_servers_loop(asgi_site):
    seen = []

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def connect(self):
            seen.append(asyncio.get_running_loop())
            await self.accept()

        async def receive(self, **kwargs):
            seen.append(asyncio.get_running_loop())

    for way in ("asgi", "django-asgi"):
        asgi_site.way = way
        asgi_site.serve(Chat)
        client = asgi_site.client()
        await client.apost(Open())
        await client.apost(Text("x"))
    assert all(loop is asyncio.get_running_loop() for loop in seen)
    assert len(seen) == 4


def test_a_sync_consumer_under_asgi_runs_outside_of_the_loop(asgi_site):
    seen = []

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            seen.append(running_loop())
            seen.append(async_to_sync(asyncio.sleep)(0, "done"))

    asgi_site.serve(Chat)
    asgi_site.opened().post(Text("x"))
    assert seen == [None, "done"]


def test_an_async_consumer_under_wsgi_runs_on_a_loop_and_its_sync_parts_in_the_requests_thread(wsgi_site):
    seen = []

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            seen.append(running_loop() is not None)
            seen.append(await database_sync_to_async(threading.get_ident)())

    wsgi_site.serve(Chat)
    wsgi_site.opened().post(Text("x"))
    assert seen == [True, threading.get_ident()]


@pytest.mark.parametrize("kind", ["database_sync_to_async", "async"])
def test_overridden_dispatch_is_used_for_each_message(site, kind):
    seen = []

    @importable
    class Wrapped(WebsocketConsumer):
        @database_sync_to_async
        def dispatch(self, message):
            seen.append(message["type"])
            getattr(self, message["type"].replace(".", "_"))(message)

        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=text_data)

    @importable
    class Async(WebsocketConsumer):
        async def dispatch(self, message):
            seen.append(message["type"])
            await super().dispatch(message)

        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=text_data)

    cls = Async if kind == "async" else Wrapped
    assert (plain_dispatch(cls) is None) == (kind == "async")
    site.serve(cls)
    client = site.opened()
    assert client.post(Text("a"), Text("b")).sent == [("text", "a"), ("text", "b")]
    client.post(Close(1000))
    assert seen == ["websocket.connect", "websocket.receive", "websocket.receive", "websocket.disconnect"]


def context_consumer(kind):
    """Its frames tell what the one before has put into a context variable."""
    variable = contextvars.ContextVar("variable", default="unset")

    @importable
    class Async(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=variable.get())
            variable.set(text_data)

    @importable
    class Sync(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=variable.get())
            variable.set(text_data)

    return Async if kind == "async" else Sync


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@KINDS
def test_context_variables_reach_the_next_handler_of_the_batch(site, kind):
    site.serve(context_consumer(kind))
    assert site.opened().post(Text("a"), Text("b")).sent == [("text", "unset"), ("text", "a")]


@KINDS
def test_context_variables_reach_no_other_connection(site, kind):
    """As on Channels, where each connection is a task."""
    site.serve(context_consumer(kind))
    site.opened().post(Text("a"), Text("b"))
    assert site.opened().post(Text("c")).sent == [("text", "unset")]


@KINDS
def test_a_language_that_a_handler_activates_reaches_no_other_connection(site, kind):
    class Base:
        def speak(self, text):
            translation.activate(text)

    if kind == "sync":

        @importable
        class Speaker(Base, WebsocketConsumer):
            def receive(self, text_data=None, bytes_data=None):
                self.send(text_data=translation.get_language())
                self.speak(text_data)
    else:

        @importable
        class Speaker(Base, AsyncWebsocketConsumer):
            async def receive(self, text_data=None, bytes_data=None):
                await self.send(text_data=translation.get_language())
                self.speak(text_data)

    site.serve(Speaker)
    before = translation.get_language()
    site.opened().post(Text("de"))
    assert site.opened().post(Text("fr")).sent == [("text", before)]


def test_a_cache_is_made_once_for_a_thread_and_not_for_each_batch(wsgi_site):
    seen = []

    @importable
    class Cached(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            seen.append(caches["default"])

    wsgi_site.serve(Cached)
    client = wsgi_site.opened()
    client.post(Text("a"))
    client.post(Text("b"))
    assert seen[0] is seen[1]


def test_a_frame_from_a_task_started_by_the_last_handler_is_delivered(site):
    """On Channels the task's next turn comes while the connection waits for its next frame."""

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            self.send_soon(text_data)

        def send_soon(self, text):
            asyncio.ensure_future(self.send(text_data=text))  # noqa: RUF006

    site.serve(Chat)
    assert site.opened().post(Text("a")).sent == [("text", "a")]


@pytest.mark.parametrize("way", ["asgi", "django-asgi"])
async def test_a_frame_from_a_task_that_outlives_its_batch_is_an_error_in_that_task(asgi_site, way):
    tasks = []
    answered = asyncio.Event()

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            tasks.append(asyncio.ensure_future(self.send_late()))

        async def send_late(self):
            await answered.wait()
            await self.send(text_data="late")

    asgi_site.way = way
    asgi_site.serve(Chat)
    client = asgi_site.client()
    await client.apost(Open())
    assert (await client.apost(Text("a"))).sent == []
    answered.set()
    with pytest.raises(RuntimeError, match="after its batch was answered"):
        await asyncio.wait_for(tasks[0], 10)


# How often __init__ runs ---------------------------------------------------------------------------------


@importable
class Counted(WebsocketConsumer):
    made: list = []

    def __init__(self, label="none", **kwargs):
        super().__init__(**kwargs)
        self.made.append(label)
        self.label = label

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=self.label)


@importable
class Transient(Counted):
    transient = ("client", "scope.db")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.client = threading.Lock()
        self.fresh = True

    def connect(self):
        self.fresh = False
        self.scope["db"] = threading.Lock()
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=f"{self.label} {self.fresh} {type(self.client).__name__} {'db' in self.scope}")


def test_init_runs_once_for_a_connection_and_its_arguments_are_kept(site):
    Counted.made.clear()
    site.serve(Counted.as_asgi(label="x"))
    client = site.opened()
    assert client.post(Text("1")).sent == [("text", "x")]
    assert client.post(Text("2")).sent == [("text", "x")]
    assert Counted.made == ["x"]


def test_init_runs_for_each_batch_when_something_is_transient(site):
    Counted.made.clear()
    site.serve(Transient.as_asgi(label="y"))
    client = site.opened()
    assert client.post(Text("1"), Text("2")).sent == [("text", "y False lock False")] * 2
    assert Counted.made == ["y", "y"]


def test_arguments_of_as_asgi_that_cannot_be_kept_are_named(site, caplog):
    @importable
    class Chat(WebsocketConsumer):
        def __init__(self, label):
            super().__init__()

    site.serve(Chat.as_asgi(label=threading.Lock()))
    assert site.client().post(Open()).sent == [("open",), ("close", 1011, "")]
    assert "as_asgi(label=…)" in errors(caplog)[0].exc_text


def test_attributes_live_as_long_as_the_connection(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.names = {"a"}
            self.nested = {"list": [1]}
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            self.names.add(text_data)
            self.nested["list"].append(len(self.names))
            if text_data == "d":
                del self.nested["list"]
            self.send(text_data=f"{sorted(self.names)} {self.nested}")

    site.serve(Chat)
    client = site.opened()
    assert client.post(Text("b"), Text("c")).sent[1] == ("text", "['a', 'b', 'c'] {'list': [1, 2, 3]}")
    assert client.post(Text("d")).sent == [("text", "['a', 'b', 'c', 'd'] {}")]
    assert client.post(Text("a")).sent == [("close", 1011, "")]


def test_a_deleted_attribute_stays_deleted(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.once = 1
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=str(hasattr(self, "once")))
            if hasattr(self, "once"):
                del self.once

    site.serve(Chat)
    client = site.opened()
    assert client.post(Text("1")).sent == [("text", "True")]
    assert client.post(Text("2")).sent == [("text", "False")]


def test_a_class_without_a_channel_layer_has_no_channel_name(site):
    @importable
    class Chat(WebsocketConsumer):
        channel_layer_alias = "nothing"

        def receive(self, **kwargs):
            self.send(text_data=f"{self.channel_layer} {hasattr(self, 'channel_name')}")

    site.serve(Chat)
    assert site.opened().post(Text("x")).sent == [("text", "None False")]


def test_the_channel_name_stays(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            self.send(text_data=self.channel_name)

    site.serve(Chat)
    client = site.opened()
    assert client.post(Text("1")).sent == client.post(Text("2")).sent


# The scope -----------------------------------------------------------------------------------------------


class AddsUser(BaseMiddleware):
    runs: list = []

    async def __call__(self, scope, receive, send):
        self.runs.append(scope["path"])
        user = {"name": f"user{len(self.runs)}"}
        return await super().__call__(dict(scope, user=user), receive, send)


@importable
class TellsUser(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        if text_data == "rename":
            self.scope["user"]["name"] = "renamed"
        if text_data == "drop":
            self.scope["more"] = [1]
        self.send(text_data=f"{self.scope['user']['name']} {self.scope.get('more')}")


def test_an_unwrapped_stack_runs_at_connect_only_and_its_additions_stay(site):
    AddsUser.runs.clear()
    site.serve(AddsUser(TellsUser.as_asgi()))
    client = site.opened()
    assert client.post(Text("a")).sent == [("text", "user1 None")]
    assert client.post(Text("rename")).sent == [("text", "renamed None")]
    assert client.post(Text("drop")).sent == [("text", "renamed [1]")]
    assert client.post(Text("a")).sent == [("text", "renamed [1]")]
    assert AddsUser.runs == ["/ws/"]


def test_a_scope_that_nobody_reads_is_kept_byte_for_byte(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.count = text_data

    site.serve(AddsUser(Chat.as_asgi()))
    client = site.opened()
    before = state_of(client).scope
    assert client.post(Text("1")).header("set-meta-state")
    assert state_of(client).scope == before
    assert before


def test_the_route_is_there_in_later_batches(site):
    from django.urls import path

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            self.send(text_data=str(self.scope["url_route"]))

    site.serve_application(URLRouter([path("room/<int:number>/", Chat.as_asgi(), {"x": 1})]))
    client = site.opened("/room/7/")
    assert client.post(Text("?")).sent == [("text", "{'args': (), 'kwargs': {'number': 7, 'x': 1}}")]


class Wrapping:
    """A middleware that wants to see every message."""

    def __init__(self, inner, **replaced):
        self.inner = inner
        self.log = []
        self.replaced = replaced or {"receive": True, "send": True}

    async def __call__(self, scope, receive, send):
        self.log.append("run")

        async def seen_receive():
            message = await receive()
            self.log.append(message["type"])
            return message

        async def seen_send(message):
            self.log.append(message["type"])
            await send(message)

        await self.inner(
            dict(scope, token=f"token{self.log.count('run')}"),
            seen_receive if self.replaced.get("receive") else receive,
            seen_send if self.replaced.get("send") else send,
        )


@importable
class Tells(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.count = getattr(self, "count", 0) + 1
        self.send(text_data=f"{self.scope['token']} {self.count}")


@importable
class AsyncTells(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        self.count = getattr(self, "count", 0) + 1
        await self.send(text_data=f"{self.scope['token']} {self.count}")


@pytest.mark.parametrize("consumer", [Tells, AsyncTells])
def test_a_wrapping_middleware_sees_every_message_of_every_batch(site, consumer):
    stack = Wrapping(consumer.as_asgi())
    site.serve(stack)
    client = site.opened()
    assert client.post(Text("a"), Text("b")).sent == [("text", "token1 1"), ("text", "token1 2")]
    assert client.post(Text("c")).sent == [("text", "token1 3")]
    client.post(Close(1000))
    connect = ["run", "websocket.connect", "websocket.accept"]
    exchange = ["websocket.receive", "websocket.send"]
    assert stack.log == [*connect, "run", *exchange, *exchange, "run", *exchange, "run", "websocket.disconnect"]


@pytest.mark.parametrize("replaced", ["receive", "send"])
def test_wrapping_one_of_both_is_enough(site, replaced):
    stack = Wrapping(Tells.as_asgi(), **{replaced: True})
    site.serve(stack)
    client = site.opened()
    assert client.post(Text("a")).sent == [("text", "token1 1")]
    assert stack.log.count("run") == 2
    assert ("websocket.receive" in stack.log) == (replaced == "receive")
    assert ("websocket.send" in stack.log) == (replaced == "send")


def test_what_a_wrapping_middleware_changes_counts(site):
    async def shouting(scope, receive, send):
        async def changed_receive():
            message = await receive()
            if message.get("text"):
                message = {**message, "text": message["text"].upper()}
            return message

        async def changed_send(message):
            if message.get("text"):
                message = {**message, "text": message["text"] + "!"}
            await send(message)

        await echo(scope, changed_receive, changed_send)

    @importable
    class Echo(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=text_data)

    echo = Echo.as_asgi()
    site.serve(shouting)
    assert site.opened().post(Text("a")).sent == [("text", "A!")]


def test_group_events_are_handled_under_a_wrapping_middleware(site):
    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.channel_layer.send(self.channel_name, {"type": "note", "text": text_data})
            await self.send(text_data="receive")

        async def note(self, event):
            await self.send(text_data=event["text"])

    stack = Wrapping(Chat.as_asgi())
    site.serve(stack)
    answer = site.opened().post(Text("a"), Text("b"))
    assert [frame[1] for frame in answer.sent] == ["receive", "a", "receive", "b"]
    assert "note" not in stack.log


def test_a_stack_that_leads_elsewhere_after_a_deploy_closes_with_1012(site, caplog):
    stack = Wrapping(Tells.as_asgi())
    site.serve(stack)
    client = site.opened()
    stack.inner = AsyncTells.as_asgi()
    assert client.post(Text("x")).sent == [("close", 1012, "")]
    assert errors(caplog) == []


def test_a_route_that_is_gone_for_a_wrapping_stack_closes_with_1012(site, caplog):
    stack = Wrapping(Tells.as_asgi())
    site.serve(stack)
    client = site.opened()
    stack.inner = URLRouter([])
    assert client.post(Text("x")).sent == [("close", 1012, "")]
    assert errors(caplog) == []


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_kept_value_whose_class_is_gone_closes_with_1012(site, caplog, wrapped):
    @importable
    class Mood(enum.Enum):
        GOOD = 1

    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.mood = Mood.GOOD
            self.accept()

    site.serve(Wrapping(Chat.as_asgi()) if wrapped else Chat)
    client = site.opened()
    batches.forget(Mood)
    assert client.post(Text("x")).sent == [("close", 1012, "")]
    assert errors(caplog) == []


def test_a_kept_value_written_by_a_newer_release_closes_with_1012(site, caplog):
    site.serve(TellsUser)
    client = site.opened()
    attributes = msgpack.packb({"x": msgpack.ExtType(120, b"?")})
    state = ConnectionState(dotted(TellsUser), b"", "specific.grip!x", attributes=attributes)
    client.meta["Meta-State"] = seal_state(state, client.identity, conf.get())[0]
    assert client.post(Text("x")).sent == [("close", 1012, "")]
    assert errors(caplog) == []


def test_the_scope_of_connect_is_restored_over_what_the_stack_sets_again(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.scope["mine"] = "consumer's"
            self.accept()

        def receive(self, **kwargs):
            self.send(text_data=f"{self.scope['token']} {self.scope['mine']} {self.scope['path']}")

    site.serve(Wrapping(Chat.as_asgi()))
    assert site.opened().post(Text("x")).sent == [("text", "token1 consumer's /ws/")]


def test_a_middleware_that_copies_the_scope_deeply_works(site):
    import copy

    async def copying(scope, receive, send):
        await echo(copy.deepcopy(scope), receive, send)

    @importable
    class Echo(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=text_data)

    echo = Echo.as_asgi()
    site.serve(copying)
    assert site.opened().post(Text("a")).sent == [("text", "a")]


def test_what_a_middleware_does_around_the_consumer_ends_with_each_batch(site):
    log = []

    async def around(scope, receive, send):
        async def passed(message):
            await send(message)

        log.append("enter")
        try:
            await tells(dict(scope, token="t"), receive, passed)
        except Exception:
            log.append("failed")
            raise
        finally:
            log.append("leave")

    tells = Tells.as_asgi()
    site.serve(around)
    site.opened().post(Text("a"))
    assert log == ["enter", "leave"] * 2


def test_a_middleware_sees_the_consumers_exception(site, caplog):
    log = []

    async def catching(scope, receive, send):
        try:
            await failing(scope, receive, send)
        except LookupError as error:
            log.append(str(error))
            raise

    @importable
    class Fails(WebsocketConsumer):
        def connect(self):
            raise LookupError("inside")

    failing = Fails.as_asgi()
    site.serve(catching)
    assert site.client().post(Open()).status == 500
    assert log == ["inside"]


def test_disconnect_reaches_the_right_attributes(site):
    found = []

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.last = text_data

        def disconnect(self, code):
            found.append((self.last, code))

    site.serve(Chat)
    client = site.opened()
    client.post(Text("a"))
    client.post(Text("b"))
    client.post(Disconnect())
    assert found == [("b", 1006)]


# What is kept beside the consumer ----------------------------------------------------------------------------


def test_how_far_mail_was_read_is_kept_though_the_consumer_has_not_changed(site):
    @importable
    class Reader(WebsocketConsumer):
        groups = ["g"]

        def note(self, event):
            self.send(text_data=self.scope["path"])

    site.serve(Reader)
    client = site.opened()
    client.post()
    before = client.meta["Meta-State"]
    assert client.post().header("set-meta-state") is None
    async_to_sync(get_channel_layer().group_send)("g", {"type": "note"})
    assert client.post().header("set-meta-state") not in {None, before}
    async_to_sync(get_channel_layer().send)(_name(site), {"type": "note"})
    assert client.post().header("set-meta-state") is not None
    assert client.post().header("set-meta-state") is None


def _name(site):
    (name,) = {channel for channel, _ in site.watched if "!" in channel}
    return name
