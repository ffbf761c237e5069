"""Groups: who is subscribed, what is published, and what the sender itself gets."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import logging
import threading

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone, translation

from grip_consumers import groups, publisher
from grip_consumers.conf import Proxy
from grip_consumers.db import database_sync_to_async
from grip_consumers.exceptions import (
    PerConnectionHandler,
    PublishError,
    StopConsumer,
    SubscriptionLimitExceeded,
)
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.naming import group_channel
from grip_consumers.protocol import BinaryMessage, Close, CloseAction, Open, Text, TextMessage
from grip_consumers.state.extensions import dotted

from . import batches
from .batches import importable

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site

FILTERS = ["skip-users"]
PUBLISH = publisher.apublish


def send(group, message):
    async_to_sync(get_channel_layer().group_send)(group, message)


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@importable
class Room(WebsocketConsumer):
    """The tutorial's chat."""

    def connect(self):
        self.room = "lobby"
        async_to_sync(self.channel_layer.group_add)(self.room, self.channel_name)
        self.accept()

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)(self.room, self.channel_name)

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data="first")
        async_to_sync(self.channel_layer.group_send)(self.room, {"type": "chat.message", "text": text_data})
        self.send(text_data="second")

    def chat_message(self, event):
        self.send(text_data=event["text"])


@importable
class AsyncRoom(AsyncWebsocketConsumer):
    async def connect(self):
        self.room = "lobby"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data="first")
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": text_data})
        await self.send(text_data="second")

    async def chat_message(self, event):
        await self.send(text_data=event["text"])


ROOMS = pytest.mark.parametrize("room", [Room, AsyncRoom])


# Membership ----------------------------------------------------------------------------------------------


@ROOMS
def test_a_group_added_before_accept_is_subscribed_after_it(site, room):
    site.serve(room)
    answer = site.client().post(Open())
    assert answer.frames == [
        ("open",),
        ("control", {"type": "set-meta", "name": "user", "value": answer.user}),
        (
            "control",
            {"type": "subscribe", "channel": group_channel("", "lobby", dotted(room)), "filters": FILTERS},
        ),
    ]


def test_the_prefix_of_the_project_stands_before_its_channels(site, settings):
    settings.GRIP_PREFIX = "mine-"
    site.serve(Room)
    assert site.client().post(Open()).channels == [group_channel("mine-", "lobby", dotted(Room))]
    send("lobby", {"type": "chat.message", "text": "x"})
    assert site.texts == [(group_channel("mine-", "lobby", dotted(Room)), "x")]
    assert site.texts[0][0].startswith("mine-lobby!")


def test_a_rejected_connection_is_in_no_group(site):
    @importable
    class Chat(WebsocketConsumer):
        groups = ["lobby"]

        def connect(self):
            self.close()

    site.serve(Chat)
    answer = site.client().post(Open())
    assert (answer.status, answer.body) == (403, b"")


@importable
class Members(WebsocketConsumer):
    groups = ["base"]

    def receive(self, text_data=None, bytes_data=None):
        what, group = text_data.split()
        function = getattr(self.channel_layer, f"group_{what}")
        async_to_sync(function)(group, self.channel_name)


def test_joining_and_leaving_later_is_told_to_the_proxy_once(site):
    site.serve(Members)
    client = site.client()
    name = dotted(Members)
    assert client.post(Open()).channels == [group_channel("", "base", name)]
    answer = client.post(Text("add x"), Text("add x"), Text("add base"), Text("discard y"))
    assert answer.channels == [group_channel("", "x", name)]
    answer = client.post(Text("add x"), Text("discard x"), Text("discard x"))
    assert answer.controls == [{"type": "unsubscribe", "channel": group_channel("", "x", name)}]


def test_the_21st_group_is_refused_by_name_and_the_20_others_stay(site, caplog):
    found = []

    @importable
    class Greedy(WebsocketConsumer):
        def connect(self):
            self.accept()
            for number in range(20):
                async_to_sync(self.channel_layer.group_add)(f"g{number}", self.channel_name)
            try:
                async_to_sync(self.channel_layer.group_add)("g20", self.channel_name)
            except SubscriptionLimitExceeded as error:
                found.append((error.group, error.limit))

    site.serve(Greedy)
    answer = site.client().post(Open())
    assert len(answer.channels) == 20
    assert found == [("g20", 20)]


def test_the_limit_of_groups_can_be_set_and_counts_across_batches(site, settings, caplog):
    settings.GRIP_SUBSCRIPTION_LIMIT = 2
    site.serve(Members)
    client = site.opened()
    client.post(Text("add a"))
    client.post(Text("discard a"), Text("add b"))
    assert client.post(Text("add c")).sent == [("close", 1011, "")]
    assert "GRIP_SUBSCRIPTION_LIMIT" in errors(caplog)[0].exc_text


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 100, "a!b", 5, None])
def test_names_of_groups_are_checked_as_on_channels(site, name):
    found = []

    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.accept()
            for call in (
                lambda: async_to_sync(self.channel_layer.group_add)(name, self.channel_name),
                lambda: async_to_sync(self.channel_layer.group_discard)(name, self.channel_name),
                lambda: async_to_sync(self.channel_layer.group_send)(name, {"type": "x"}),
            ):
                try:
                    call()
                except TypeError as error:
                    found.append(str(error)[:18])

    site.serve(Chat)
    assert site.client().post(Open()).channels == []
    assert found == ["Group name must be"] * 3


def test_groups_of_a_class_attribute_are_joined_before_connect_and_left_before_disconnect(site):
    found = []

    @importable
    class Chat(WebsocketConsumer):
        groups = ["a", "b"]

        def connect(self):
            found.append(list(vars(self)["_grip_batch"].groups))
            self.accept()

        def disconnect(self, code):
            found.append(list(vars(self)["_grip_batch"].groups))

    site.serve(Chat)
    client = site.client()
    assert len(client.post(Open()).channels) == 2
    client.post(Close(1000))
    assert found == [["a", "b"], []]


def _wrapping(replaced):
    """A middleware that passes on a `receive` or `send` of its own."""
    inner = Room.as_asgi()

    async def middleware(scope, receive, send):
        async def own_receive():
            return await receive()

        async def own_send(message):
            await send(message)

        if replaced == "send":
            await inner(scope, receive, own_send)
        else:
            await inner(scope, own_receive, send)

    return middleware


def test_a_group_cannot_be_joined_behind_a_middleware_that_wraps_send(site, caplog):
    """What is published would pass it by."""
    site.serve(_wrapping("send"))
    assert site.client().post(Open()).status == 500
    text = next(record.exc_text for record in errors(caplog) if record.name.startswith("grip_consumers"))
    assert f"{dotted(Room)} cannot join the group 'lobby'" in text


def test_a_group_can_be_joined_behind_a_middleware_that_wraps_receive_alone(site):
    site.serve(_wrapping("receive"))
    assert site.client().post(Open()).channels == [group_channel("", "lobby", dotted(Room))]


def test_another_connections_channel_name_is_refused_by_name(site):
    layer = get_channel_layer()
    for call in (
        layer.group_add("g", "specific.grip!other"),
        layer.group_discard("g", "specific.grip!other"),
        layer.send("specific.grip!other", {"type": "x"}),
    ):
        with pytest.raises(NotImplementedError, match=r"specific\.grip!other"):
            asyncio.run(call)


# Sending -------------------------------------------------------------------------------------------------


@ROOMS
def test_the_sender_gets_its_copy_after_its_handler_and_is_left_out_of_the_publish(site, room):
    site.serve(room)
    client = site.client()
    user = client.post(Open()).user
    answer = client.post(Text("a"), Text("b"))
    assert answer.sent == [("text", text) for text in ("first", "second", "a", "first", "second", "b")]
    assert site.texts == [(group_channel("", "lobby", dotted(room)), text) for text in ("a", "b")]
    assert [dict(item.meta) for item in site.published] == [{"skip_users": user}] * 2
    assert len({item.id for item in site.published}) == 2


@ROOMS
def test_what_is_sent_to_the_group_on_leaving_reaches_the_others_only(site, room):
    base = WebsocketConsumer if room is Room else AsyncWebsocketConsumer

    @importable
    class Bye(room):
        if base is WebsocketConsumer:

            def disconnect(self, code):
                send("lobby", {"type": "chat.message", "text": "bye"})
        else:

            async def disconnect(self, code):
                await self.channel_layer.group_send("lobby", {"type": "chat.message", "text": "bye"})

    site.serve(Bye)
    answer = site.opened().post(Close(1000))
    assert answer.sent == [("close", 1000, "")]
    assert [text for _, text in site.texts] == ["bye"]


def test_a_join_message_sent_in_connect_reaches_the_joiner_behind_the_accept(site):
    @importable
    class Joins(Room):
        def connect(self):
            super().connect()
            send("lobby", {"type": "chat.message", "text": "joined"})

    site.serve(Joins)
    answer = site.client().post(Open())
    assert answer.sent == [("open",), ("text", "joined")]
    assert site.texts == [(group_channel("", "lobby", dotted(Joins)), "joined")]


def test_no_copy_for_a_sender_that_is_no_member(site):
    @importable
    class Outside(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            send("lobby", {"type": "chat.message", "text": text_data})

    site.serve(Outside, room=Room)
    assert site.opened().post(Text("x")).sent == []
    assert site.texts == [(group_channel("", "lobby", dotted(Room)), "x")]
    assert dict(site.published[0].meta) == {}


def test_an_event_to_ones_own_channel_name_is_handled_after_the_handler(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "note", "text": text_data})
            self.send(text_data="receive")

        def note(self, event):
            self.send(text_data=f"note {event['text']}")

    site.serve(Chat)
    answer = site.opened().post(Text("a"), Text("b"))
    assert [frame[1] for frame in answer.sent] == ["receive", "note a", "receive", "note b"]
    assert site.published == []


def test_an_event_that_a_group_handler_of_ones_own_sends_on_is_handled_too(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "one"})

        def one(self, event):
            async_to_sync(self.channel_layer.send)(self.channel_name, {"type": "two"})
            self.send(text_data="one")

        def two(self, event):
            self.send(text_data="two")

    site.serve(Chat)
    assert site.opened().post(Text("a")).sent == [("text", "one"), ("text", "two")]


def test_two_classes_in_a_group_render_each_its_own_way(site):
    @importable
    class Plain(AsyncWebsocketConsumer):
        async def note(self, event):
            await self.send(text_data=event["text"])

    @importable
    class Shouting(WebsocketConsumer):
        def note(self, event):
            self.send(text_data=event["text"].upper())
            self.send(bytes_data=b"!")

    @importable
    class Deaf(WebsocketConsumer):
        pass

    site.serve(plain=Plain, shouting=Shouting, deaf=Deaf)
    send("g", {"type": "note", "text": "hey"})
    found = sorted((item.channel, item.message) for item in site.published if item.message != BinaryMessage(b"!"))
    assert found == sorted(
        [
            (group_channel("", "g", dotted(Plain)), TextMessage("hey")),
            (group_channel("", "g", dotted(Shouting)), TextMessage("HEY")),
        ]
    )
    shouted = [item.message for item in site.published if "Shouting" in item.channel]
    assert shouted == [TextMessage("HEY"), BinaryMessage(b"!")]


def test_the_sender_is_left_out_of_its_own_classs_publish_only(site):
    @importable
    class Other(Room):
        pass

    site.serve(Room, other=Other)
    client = site.client()
    user = client.post(Open()).user
    client.post(Text("x"))
    metas = {item.channel: dict(item.meta) for item in site.published}
    assert metas == {
        group_channel("", "lobby", dotted(Room)): {"skip_users": user},
        group_channel("", "lobby", dotted(Other)): {},
    }


def test_a_handler_that_changes_the_event_changes_nobody_elses(site):
    @importable
    class One(WebsocketConsumer):
        groups = ["g"]

        def receive(self, **kwargs):
            event = {"type": "note", "list": []}
            send("g", event)
            self.send(text_data=str(event))

        def note(self, event):
            event["list"].append(1)
            event["type"] = "spoiled"
            self.send(text_data=str(event["list"]))

    @importable
    class Two(One):
        pass

    site.serve(One, two=Two)
    answer = site.opened().post(Text("x"))
    assert answer.sent == [("text", "{'type': 'note', 'list': []}"), ("text", "[1]")]
    assert [text for _, text in site.texts] == ["[1]", "[1]"]


def test_the_event_is_copied_when_it_is_sent(site):
    @importable
    class Chat(WebsocketConsumer):
        groups = ["g"]

        def receive(self, **kwargs):
            event = {"type": "note", "list": [1]}
            send("g", event)
            event["list"].append(2)

        def note(self, event):
            self.send(text_data=str(event["list"]))

    site.serve(Chat)
    assert site.opened().post(Text("x")).sent == [("text", "[1]")]


#: Events that name no method.
UNUSABLE = [{"text": "x"}, {"type": ".x"}, {"type": "_x"}, {"type": None}, {"type": 5}]


# What handlers do ----------------------------------------------------------------------------------------


def rendered(site, handler, base=WebsocketConsumer, **names):
    """The messages published for an event, for a class with this handler."""
    cls = importable(type("Member", (base,), {"note": handler, **names}))
    site.serve(cls)
    send("g", {"type": "note", "text": "x"})
    return [item.message for item in site.published]


def test_a_handler_that_closes_closes_every_member_and_nothing_follows(wsgi_site):
    def note(self, event):
        self.send(text_data="bye")
        self.close(code=4005, reason="over")
        self.send(text_data="never")

    assert rendered(wsgi_site, note) == [TextMessage("bye"), CloseAction(4005, "over")]


def test_a_handler_that_fails_closes_every_member_with_1011(wsgi_site, caplog):
    def note(self, event):
        self.send(text_data="before")
        raise KeyError("oops")

    assert rendered(wsgi_site, note) == [TextMessage("before"), CloseAction(1011)]
    assert "oops" in errors(caplog)[0].exc_text


def test_stop_consumer_in_a_handler_closes_with_1000_and_is_no_error(wsgi_site, caplog):
    def note(self, event):
        raise StopConsumer

    assert rendered(wsgi_site, note) == [CloseAction(1000)]
    assert errors(caplog) == []


async def _empty_send(self, event):
    await self.base_send({"type": "websocket.send"})


async def _bad_code(self, event):
    await self.close(code=99_999)


async def _lone_surrogate(self, event):
    await self.send(text_data="\ud800")


async def _accepts(self, event):
    await self.accept()


@pytest.mark.parametrize("note", [_empty_send, _bad_code, _lone_surrogate, _accepts])
def test_what_a_handler_may_not_send_fails_the_members_not_the_sender(wsgi_site, note, caplog):
    """Each member's own run would have failed: on Channels the sender never learns of it."""
    assert rendered(wsgi_site, note, AsyncWebsocketConsumer) == [CloseAction(1011)]
    assert len(errors(caplog)) == 1


def test_what_was_sent_before_a_bad_frame_still_arrives(wsgi_site, caplog):
    async def note(self, event):
        await self.send(text_data="good")
        await self.send(text_data="\ud800")

    assert rendered(wsgi_site, note, AsyncWebsocketConsumer) == [TextMessage("good"), CloseAction(1011)]


def test_the_senders_own_copy_of_a_failing_handler_closes_it_too(site, caplog):
    @importable
    class Chat(WebsocketConsumer):
        groups = ["g"]

        def receive(self, **kwargs):
            send("g", {"type": "note"})
            self.send(text_data="sent")

        def note(self, event):
            raise KeyError("oops")

    site.serve(Chat)
    assert site.opened().post(Text("x")).sent == [("text", "sent"), ("close", 1011, "")]
    assert [item.message for item in site.published] == [CloseAction(1011)]


def test_a_task_that_a_handler_starts_is_not_lost(wsgi_site):
    """On Channels the task runs on the member's event loop and its frame is sent."""

    async def with_task(self, event):
        asyncio.create_task(self.send(text_data="soon"))  # noqa: RUF006

    assert rendered(wsgi_site, with_task, AsyncWebsocketConsumer) == [TextMessage("soon")]


def test_a_handler_per_connection_is_named_and_nothing_is_published_or_delivered(site, caplog):
    @importable
    class First(Room):
        pass

    @importable
    class Second(Room):
        def chat_message(self, event):
            self.send(text_data=self.scope["path"])

    @importable
    class Sender(WebsocketConsumer):
        groups = ["lobby"]

        def receive(self, **kwargs):
            try:
                send("lobby", {"type": "chat.message", "text": "x"})
            except PerConnectionHandler as error:
                self.send(text_data=f"{error.handler} {error.attribute}")

        def chat_message(self, event):
            self.send(text_data="own copy")

    site.serve(Sender, first=First, second=Second)
    answer = site.opened().post(Text("x"))
    assert answer.sent == [("text", f"{Second.__module__}.{Second.__qualname__}.chat_message scope")]
    assert site.published == []


def test_per_connection_handler_is_a_not_implemented_error_that_reaches_the_sender_outside(wsgi_site):
    def note(self, event):
        self.send(text_data=self.name)

    with pytest.raises(NotImplementedError, match=r"self\.name"):
        rendered(wsgi_site, note)


# Where from ----------------------------------------------------------------------------------------------


def test_sending_from_a_plain_thread(wsgi_site):
    wsgi_site.serve(Room)
    thread = threading.Thread(target=send, args=("lobby", {"type": "chat.message", "text": "t"}))
    thread.start()
    thread.join(10)
    assert [text for _, text in wsgi_site.texts] == ["t"]


async def test_sending_from_a_coroutine(asgi_site):
    asgi_site.serve(Room, other=AsyncRoom)
    await get_channel_layer().group_send("lobby", {"type": "chat.message", "text": "c"})
    assert [text for _, text in asgi_site.texts] == ["c", "c"]


def test_sending_from_database_sync_to_async_in_a_handler(site):
    @importable
    class Chat(AsyncWebsocketConsumer):
        groups = ["g"]

        async def receive(self, **kwargs):
            await database_sync_to_async(send)("g", {"type": "note"})
            await self.send(text_data="after")

        async def note(self, event):
            await self.send(text_data="note")

    site.serve(Chat)
    assert site.opened().post(Text("x")).sent == [("text", "after"), ("text", "note")]
    assert [text for _, text in site.texts] == ["note"]


@pytest.mark.parametrize("event", UNUSABLE, ids=str)
def test_an_event_without_a_usable_type_fails_the_members_not_the_sender(wsgi_site, event, caplog):
    """On Channels each member's own dispatch raises: the sender never learns of it."""
    wsgi_site.serve(Room, other=AsyncRoom)
    send("lobby", event)
    channels = {group_channel("", "lobby", dotted(room)) for room in (Room, AsyncRoom)}
    assert {item.channel for item in wsgi_site.published} == channels
    assert [item.message for item in wsgi_site.published] == [CloseAction(1011)] * 2
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize("event", UNUSABLE, ids=str)
def test_an_event_without_a_usable_type_ends_its_sender_after_what_it_sent(site, event, caplog):
    @importable
    class Chat(WebsocketConsumer):
        groups = ["g"]

        def receive(self, **kwargs):
            self.send(text_data="before")
            send("g", event)
            self.send(text_data="after")

    site.serve(Chat)
    client = site.client()
    user = client.post(Open()).user
    answer = client.post(Text("x"), Text("y"))
    assert answer.sent == [("text", "before"), ("text", "after"), ("close", 1011, "")]
    assert [(item.message, dict(item.meta)) for item in site.published] == [(CloseAction(1011), {"skip_users": user})]


def test_an_event_that_is_no_dict_is_refused_as_on_channels(wsgi_site):
    wsgi_site.serve(Room)
    with pytest.raises(AssertionError, match="Message is not a dict"):
        send("g", "x")


def test_a_publish_that_fails_raises_in_the_handler(site, settings, monkeypatch):
    monkeypatch.setattr(publisher, "apublish", PUBLISH)
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:9", "verify_key": ""}]

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            try:
                send("lobby", {"type": "chat.message", "text": "x"})
            except PublishError as error:
                self.send(text_data=", ".join(error.failures))

    site.serve(Chat, room=Room)
    assert site.opened().post(Text("x")).sent == [("text", "http://127.0.0.1:9")]


def test_nothing_is_published_for_a_group_that_nobody_renders(wsgi_site):
    wsgi_site.serve(Room)
    send("lobby", {"type": "unknown"})
    assert wsgi_site.published == []


def test_the_stand_in_leaves_no_trace_in_the_sender(site):
    """group_send inside a handler, then membership calls: the sender is not taken for a stand-in."""

    @importable
    class Chat(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            await self.channel_layer.group_send("g", {"type": "note"})
            await self.channel_layer.group_add("h", self.channel_name)
            await self.channel_layer.group_send("g", {"type": "note"})

        async def note(self, event):
            await self.send(text_data="n")

    site.serve(Chat)
    assert len(site.opened().post(Text("x")).channels) == 1
    assert len(site.published) == 2


def test_names_are_new_for_each_connection():
    names = {groups.new_channel_name() for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("specific.grip!") for name in names)
    assert copy.copy(names) == names


# What is the sender's and not the members' -------------------------------------------------------------------


@pytest.mark.parametrize("base", [WebsocketConsumer, AsyncWebsocketConsumer])
def test_a_group_event_is_rendered_in_the_default_language_and_time_zone(wsgi_site, base):
    def note(self, event):
        return self.send(text_data=f"{translation.get_language()} {timezone.get_current_timezone_name()}")

    async def anote(self, event):
        await self.send(text_data=f"{translation.get_language()} {timezone.get_current_timezone_name()}")

    default = f"{translation.get_language()} {timezone.get_default_timezone_name()}"
    with translation.override("de"), timezone.override("Asia/Tokyo"):
        sent = rendered(wsgi_site, anote if base is AsyncWebsocketConsumer else note, base)
        assert translation.get_language() == "de"
    assert sent == [TextMessage(default)]


TEXTS = {}


def test_a_handler_that_looks_its_class_up_is_not_shared(wsgi_site):
    """type(self) of a stand-in is not the consumer's class."""

    def note(self, event):
        self.send(text_data=TEXTS.get(type(self), "stranger"))

    with pytest.raises(PerConnectionHandler, match="note"):
        rendered(wsgi_site, note, WebsocketConsumer)


def test_a_handler_under_a_decorator_that_passes_it_on_is_shared(wsgi_site):
    def logged(function):
        @functools.wraps(function)
        def wrapper(self, *args, **kwargs):
            return function(self, *args, **kwargs)

        return wrapper

    @logged
    def note(self, event):
        self.send(text_data="shared")

    assert rendered(wsgi_site, note, WebsocketConsumer) == [TextMessage("shared")]


def test_a_sender_whose_publish_failed_gets_no_copy_either(site):
    @importable
    class Room(WebsocketConsumer):
        groups = ["lobby"]

        def receive(self, text_data=None, bytes_data=None):
            with contextlib.suppress(PublishError):
                send("lobby", {"type": "note", "text": text_data})
            self.send(text_data="went on")

        def note(self, event):
            self.send(text_data=event["text"])

    site.serve(Room)
    client = site.opened()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publisher, "apublish", PUBLISH)
        patch.setattr(publisher, "_targets", lambda settings: [Proxy("http://127.0.0.1:9")])
        assert client.post(Text("x")).sent == [("text", "went on")]
