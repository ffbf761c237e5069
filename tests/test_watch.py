"""What is noticed while a consumer handles a batch, and what is not taken for it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import string
import threading
import time

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings

from grip_consumers import complaints, watch
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.protocol import Open, Text

from . import batches, broken_consumers
from .batches import importable
from .broken_state import lobby

site = batches.site
asgi_site = batches.asgi_site
wsgi_site = batches.wsgi_site

counts: dict[str, int] = {}
logger = logging.getLogger(__name__)
string_formatter = string.Formatter()


@pytest.fixture(autouse=True)
def _nothing_has_been_said(monkeypatch):
    monkeypatch.setattr(complaints, "_said", set())
    monkeypatch.setattr(watch, "_next_look", 0.0)
    monkeypatch.setattr(watch, "_REST", 0)
    yield
    counts.clear()


@pytest.fixture
def said(caplog):
    """What has been warned of."""
    caplog.set_level(logging.WARNING, logger="grip_consumers.compatibility")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "grip_consumers.compatibility"]


async def forever():
    await asyncio.Event().wait()


class Keeper:
    """Starts tasks, and ends them after the test."""

    def __init__(self):
        self.tasks = []

    def start(self, coroutine):
        self.tasks.append(asyncio.ensure_future(coroutine))

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def keeper():
    found = Keeper()
    yield found
    await found.end()


# Tasks -------------------------------------------------------------------------------------------------------------


def leaving_a_task(keeper):
    """A consumer whose handler starts a task that does not end."""

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            keeper.start(self.run())

        async def run(self):
            await forever()

    return Chat


async def test_a_task_is_told_of_once_however_many_connections_leave_one(asgi_site, said, keeper):
    asgi_site.serve(leaving_a_task(keeper))
    client = asgi_site.client()
    await client.apost(Open())
    await client.apost(Text("a"))
    await client.apost(Text("b"))
    assert len(said()) == 1
    assert "Chat.run()" in said()[0]


def test_a_task_that_gives_its_context_away_is_known_by_it(wsgi_site):
    contexts = []

    class Task:
        def get_context(self):
            return contexts[0]

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            contexts.append(contextvars.copy_context())

    wsgi_site.serve(Chat)
    wsgi_site.opened().post(Text("a"))
    left_by = watch._left_by(Task())
    assert left_by.consumer_name == f"{Chat.__module__}:{Chat.__qualname__}"
    assert not left_by.active


async def test_a_task_that_ends_at_once_is_in_order(asgi_site, said, keeper):
    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            keeper.start(self.run())

        async def run(self):
            pass

    asgi_site.serve(Chat)
    client = asgi_site.client()
    await client.apost(Open())
    await client.apost(Text("a"))
    assert said() == []


async def test_tasks_of_connections_that_are_being_served_are_in_order(asgi_site, said):
    started, go_on = asyncio.Event(), asyncio.Event()

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            if text_data == "wait":
                await asyncio.gather(self.wait(), sync_to_async(int)())

        async def wait(self):
            started.set()
            await go_on.wait()

    asgi_site.serve(Chat)
    one, other = asgi_site.client(), asgi_site.client()
    await one.apost(Open())
    await other.apost(Open())
    waiting = asyncio.ensure_future(one.apost(Text("wait")))
    await started.wait()
    await other.apost(Text("x"))
    go_on.set()
    await waiting
    assert said() == []


async def test_tasks_of_the_servers_own_are_in_order(asgi_site, said, keeper):
    from grip_consumers.utils import await_many_dispatch

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            keeper.start(await_many_dispatch([asyncio.Event().wait], None))

    asgi_site.serve(Chat)
    client = asgi_site.client()
    await client.apost(Open())
    await client.apost(Text("a"))
    assert said() == []


async def test_looking_for_tasks_rests_for_as_long_as_it_may_take(asgi_site, said, monkeypatch, keeper):
    asgi_site.serve(leaving_a_task(keeper))
    client = asgi_site.client()
    await client.apost(Open())
    monkeypatch.setattr(watch, "_next_look", time.perf_counter() + 3600)
    await client.apost(Text("a"))
    assert said() == []
    monkeypatch.setattr(watch, "_next_look", 0.0)
    await client.apost(Text(""))
    assert len(said()) == 1


# Time --------------------------------------------------------------------------------------------------------------


async def test_a_handler_that_does_not_return_is_told_of_with_the_line(asgi_site, said, monkeypatch):
    monkeypatch.setattr(watch, "SLOW", 0.02)

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            deadline = time.monotonic() + 10
            while not said() and time.monotonic() < deadline:
                await asyncio.sleep(0.005)

    asgi_site.serve(Chat)
    client = asgi_site.client()
    await client.apost(Open())
    await client.apost(Text("a"))
    assert len(said()) == 1
    assert "has been handling messages for seconds, while" in said()[0]


def test_a_handler_that_goes_on_sending_is_told_of_while_it_does(wsgi_site, said, monkeypatch):
    heard = []

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            self.send(text_data="a")
            heard.extend(said())

    wsgi_site.serve(Chat)
    client = wsgi_site.opened()
    monkeypatch.setattr(watch, "SLOW", 0.0)
    client.post(Text("a"))
    assert len(heard) == 1


def test_the_line_is_that_in_the_consumers_module():
    class Chat(AsyncWebsocketConsumer):
        async def run(self):
            await forever()

    async def main():
        task = asyncio.ensure_future(Chat().run())
        await asyncio.sleep(0)
        found = watch._place(task, Chat)
        task.cancel()
        return found

    assert asyncio.run(main()) == f" at line {forever.__code__.co_firstlineno + 1} of {__file__}"


def test_quick_handlers_are_in_order(site, said):
    class_ = importable(type("Chat", (WebsocketConsumer,), {}))
    site.serve(class_)
    site.opened().post(Text("a"))
    assert said() == []


# What a process has for itself ----------------------------------------------------------------------------------------


def test_containers_that_methods_only_read_are_in_order(wsgi_site, said):
    counts["a"] = 1

    @importable
    class Chat(WebsocketConsumer):
        commands = {"a": 1}

        def receive(self, **kwargs):
            self.found = counts["a"] + self.commands["a"]

    wsgi_site.serve(Chat)
    wsgi_site.opened().post(Text("a"))
    assert [name for name, _ in watch.shared_containers(Chat)] == [
        f"{Chat.__qualname__}.commands",
        f"{__name__}.counts",
    ]
    assert said() == []


def test_a_list_of_a_class_that_grows_is_told_of_once(wsgi_site, said):
    @importable
    class Chat(WebsocketConsumer):
        members: list[str] = []

        def receive(self, **kwargs):
            self.members.append(self.channel_name)

    wsgi_site.serve(Chat)
    client = wsgi_site.opened()
    client.post(Text("a"))
    client.post(Text("a"))
    (text,) = said()
    assert f"changes {Chat.__qualname__}.members, which only this process has" in text


def test_an_object_of_the_projects_that_keeps_things_is_told_of(wsgi_site, said):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            lobby.enter(self.channel_name)

    wsgi_site.serve(Chat)
    wsgi_site.opened().post(Text("a"))
    lobby.players.clear()
    (text,) = said()
    assert f"changes {__name__}.lobby.players, which only this process has" in text


def test_objects_of_installed_packages_are_none_of_a_consumers(wsgi_site):
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            return (settings, logger, string_formatter)

    assert list(watch.named_objects(Chat)) == []


def test_containers_of_the_framework_are_none_of_a_consumers():
    assert watch.shared_containers(WebsocketConsumer) == ()
    assert watch.shared_containers(broken_consumers.TooManyGroups) == ()


# Groups ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, False),
        ({"groups": ["a"]}, True),
        ({"connect": lambda self: self.channel_layer.group_add("a", "b")}, True),
        ({"connect": lambda self: save(self.channel_name)}, True),  # noqa: F821
        ({"connect": lambda self: self.channel_layer.group_send("a", {})}, False),
    ],
)
def test_a_class_uses_groups_if_it_joins_one_or_gives_its_name(members, expected):
    assert watch.uses_groups(type("Chat", (WebsocketConsumer,), members)) is expected


# Who runs what was left ------------------------------------------------------------------------------------------


def test_a_thread_a_timer_and_a_task_are_told_apart():
    found = []

    def note():
        found.append(complaints.left_running())

    async def main():
        asyncio.get_running_loop().call_soon(note)
        await asyncio.sleep(0)
        note()

    for thread in (threading.Thread(target=note), threading.Timer(0, note)):
        thread.start()
        thread.join()
    async_to_sync(main)()
    assert found == [
        ("a thread", "background-task"),
        ("a threading.Timer", "timer"),
        ("a timer of the event loop", "timer"),
        ("a task", "background-task"),
    ]
