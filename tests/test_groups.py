"""Groups: who is subscribed, what is published, and what the sender itself gets."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import logging
import threading
import types

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone, translation

from grip_consumers import groups, joining, mail, mailbox, naming, publisher, refresher
from grip_consumers.conf import Proxy
from grip_consumers.db import database_sync_to_async
from grip_consumers.delivery import Delivery, per_connection, shared
from grip_consumers.exceptions import (
    ChannelFull,
    MessageTooLarge,
    PerConnectionHandler,
    PublishError,
    StopConsumer,
    SubscriptionLimitExceeded,
)
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.naming import group_channel
from grip_consumers.protocol import (
    BinaryMessage,
    Close,
    CloseAction,
    LocalProtocolError,
    Open,
    Ping,
    Text,
    TextMessage,
)
from grip_consumers.state.extensions import dotted
from grip_consumers.testing import GripCommunicator

from . import batches
from .batches import importable
from .members import Clock, Crowd

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


#: Seconds for which somebody who joins or leaves is listed.
LISTED = joining.EXPIRY
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
        ("control", {"type": "subscribe", "channel": f"specific.grip!{answer.user}"}),
    ]


def test_the_prefix_of_the_project_stands_before_its_channels(site, settings):
    settings.GRIP_PREFIX = "mine-"
    site.serve(Room)
    answer = site.client().post(Open())
    assert answer.channels == [group_channel("mine-", "lobby", dotted(Room)), f"mine-specific.grip!{answer.user}"]
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


def test_joining_later_is_told_to_the_proxy_once(site):
    site.serve(Members)
    client = site.client()
    name = dotted(Members)
    assert client.post(Open()).channels[:-1] == [group_channel("", "base", name)]
    answer = client.post(Text("add x"), Text("add x"), Text("add base"), Text("discard y"))
    assert answer.channels == [group_channel("", "x", name)]
    assert client.post(Text("add x"), Text("discard x"), Text("discard x")).controls == []


def unsubscribed(answer):
    return [control["channel"] for control in answer.controls if control["type"] == "unsubscribe"]


def test_a_group_that_was_left_stays_subscribed_until_what_was_published_before_is_through(site, clock):
    site.serve(Members)
    client = site.opened()
    answer = client.post(Text("discard base"))
    assert (unsubscribed(answer), answer.header("Keep-Alive-Interval")) == ([], "20")
    clock.sleep(4)
    answer = client.post(Ping(b"so that the proxy counts anew"))
    assert (unsubscribed(answer), answer.header("Keep-Alive-Interval")) == ([], "20")
    clock.sleep(20)
    answer = client.post()
    assert unsubscribed(answer) == [group_channel("", "base", dotted(Members))]
    assert answer.header("Keep-Alive-Interval") == "0"
    answer = client.post(Text("discard base"))
    assert (answer.controls, answer.header("Keep-Alive-Interval")) == ([], None)


def test_pings_alone_end_the_subscription_to_a_group_that_was_left(site, clock):
    site.serve(Members)
    client = site.opened()
    client.post(Text("discard base"))
    clock.sleep(6)
    assert unsubscribed(client.post(Ping(b""))) == [group_channel("", "base", dotted(Members))]


def test_who_comes_back_to_a_group_stays_subscribed(site, clock):
    site.serve(Members)
    client = site.opened()
    client.post(Text("discard base"))
    client.post(Text("add base"))
    clock.sleep(6)
    assert unsubscribed(client.post(Text("discard y"))) == []


def test_groups_that_were_left_make_room_for_others_within_the_limit(site, settings):
    settings.GRIP_SUBSCRIPTION_LIMIT = 4
    site.serve(Members)
    client = site.opened()
    client.post(Text("add a"))
    answer = client.post(Text("discard base"), Text("discard a"), Text("add b"), Text("add c"))
    name = dotted(Members)
    assert [(control["type"], control["channel"]) for control in answer.controls] == [
        ("subscribe", group_channel("", "b", name)),
        ("unsubscribe", group_channel("", "base", name)),
        ("subscribe", group_channel("", "c", name)),
    ]


def test_the_20th_group_is_refused_by_name_and_19_stay_beside_the_private_channel(site, caplog):
    found = []

    @importable
    class Greedy(WebsocketConsumer):
        def connect(self):
            self.accept()
            for number in range(19):
                async_to_sync(self.channel_layer.group_add)(f"g{number}", self.channel_name)
            try:
                async_to_sync(self.channel_layer.group_add)("g19", self.channel_name)
            except SubscriptionLimitExceeded as error:
                found.append((error.group, error.limit))

    site.serve(Greedy)
    answer = site.client().post(Open())
    assert len(answer.channels) == 20
    assert found == [("g19", 20)]
    assert joining.look("g19", []).joiners == []


def test_the_limit_of_groups_can_be_set_and_counts_across_batches(site, settings, caplog):
    settings.GRIP_SUBSCRIPTION_LIMIT = 3
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
    assert len(site.client().post(Open()).channels) == 1
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
    assert len(client.post(Open()).channels) == 3
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


@pytest.mark.parametrize("replaced", ["send", "receive"])
def test_a_group_can_be_joined_behind_a_middleware_that_wraps(site, replaced):
    site.serve(_wrapping(replaced))
    assert site.client().post(Open()).channels[:-1] == [group_channel("", "lobby", dotted(Room))]


@pytest.mark.parametrize("name", ["background-work", "grip"])
def test_a_queue_cannot_be_closed(wsgi_site, name):
    with pytest.raises(NotImplementedError, match=f"expected the channel name of a connection.*{name}"):
        asyncio.run(get_channel_layer().close_connection(name))


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


def told(site, handler, base=WebsocketConsumer, **names):
    """A member of a class with this handler, after an event."""
    site.serve(importable(type("Member", (base,), {"groups": ["g"], "note": handler, **names})))
    crowd = Crowd(site)
    member = crowd.opened()
    send("g", {"type": "note", "text": "x"})
    crowd.work()
    return member


# What handlers do ----------------------------------------------------------------------------------------


def rendered(site, handler, base=WebsocketConsumer, **names):
    """The messages published for an event, for a class with this handler."""
    cls = importable(type("Member", (base,), {"note": handler, **names}))
    site.serve(cls)
    send("g", {"type": "note", "text": "x"})
    return [item.message for item in site.published]


async def _empty_send(self, event):
    await self.base_send({"type": "websocket.send"})


async def _bad_code(self, event):
    await self.close(code=99_999)


async def _lone_surrogate(self, event):
    await self.send(text_data="\ud800")


async def _accepts(self, event):
    await self.accept()


@pytest.mark.parametrize("note", [_empty_send, _lone_surrogate])
def test_what_a_handler_may_not_send_fails_the_members_not_the_sender(wsgi_site, note, caplog):
    """Each member's own run would have failed: on Channels the sender never learns of it."""
    member = told(wsgi_site, note, AsyncWebsocketConsumer)
    assert member.got == [("close", 1011, "")]
    assert [record.name for record in errors(caplog)] == ["grip_consumers.groups", "grip_consumers.dispatcher"]


@pytest.mark.parametrize("note", [_bad_code, _accepts])
def test_closing_and_accepting_fail_in_each_members_own_run(wsgi_site, note, caplog):
    member = told(wsgi_site, note, AsyncWebsocketConsumer)
    assert member.got == [("close", 1011, "")]
    assert [record.name for record in errors(caplog)] == ["grip_consumers.dispatcher"]


def test_what_was_sent_before_a_bad_frame_still_arrives(wsgi_site, caplog):
    async def note(self, event):
        await self.send(text_data="good")
        await self.send(text_data="\ud800")

    assert told(wsgi_site, note, AsyncWebsocketConsumer).got == [("text", "good"), ("close", 1011, "")]


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
    crowd = Crowd(site)
    sender, other = crowd.opened(), crowd.opened()
    assert sender.post(Text("x")).sent == [("text", "sent"), ("close", 1011, "")]
    crowd.work()
    assert other.got == [("close", 1011, "")]
    assert site.published == []


def test_a_task_that_a_handler_starts_is_not_lost(wsgi_site):
    """On Channels the task runs on the member's event loop and its frame is sent."""

    async def with_task(self, event):
        asyncio.create_task(self.send(text_data="soon"))  # noqa: RUF006

    assert rendered(wsgi_site, with_task, AsyncWebsocketConsumer) == [TextMessage("soon")]


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
    crowd = Crowd(wsgi_site)
    members = [crowd.opened(), crowd.opened("/other/")]
    send("lobby", event)
    crowd.work()
    assert [member.got for member in members] == [[("close", 1011, "")]] * 2
    assert [record.name for record in errors(caplog)].count("grip_consumers.groups") == 1


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
    answer = site.opened().post(Text("x"), Text("y"))
    assert answer.sent == [("text", "before"), ("text", "after"), ("close", 1011, "")]


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
    names = {naming.new_channel_name() for _ in range(100)}
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

    member = told(wsgi_site, note)
    assert member.got == [("text", "stranger")]
    assert wsgi_site.published == []


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


# Per connection ----------------------------------------------------------------------------------------------


@importable
class Counting(WebsocketConsumer):
    """Each member has a name of its own, and counts what it has seen."""

    groups = ["g"]

    def connect(self):
        self.name, self.seen = self.scope["query_string"].decode(), 0
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=f"{self.name} heard {text_data}")
        kind, _, text = text_data.partition(" ")
        if kind in {"note", "plain"}:
            send("g", {"type": kind, "text": text})
            self.send(text_data="sent")

    def disconnect(self, code):
        GOODBYES.append((self.name, code))

    def note(self, event):
        self.seen += 1
        self.send(text_data=f"{self.name} {self.seen} {event['text']}")

    def plain(self, event):
        self.send(text_data=event["text"])


@importable
class AsyncCounting(AsyncWebsocketConsumer):
    groups = ["g"]

    async def connect(self):
        self.name, self.seen = self.scope["query_string"].decode(), 0
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=f"{self.name} heard {text_data}")
        kind, _, text = text_data.partition(" ")
        if kind in {"note", "plain"}:
            await self.channel_layer.group_send("g", {"type": kind, "text": text})
            await self.send(text_data="sent")

    async def disconnect(self, code):
        GOODBYES.append((self.name, code))

    async def note(self, event):
        self.seen += 1
        await self.send(text_data=f"{self.name} {self.seen} {event['text']}")

    async def plain(self, event):
        await self.send(text_data=event["text"])


GOODBYES: list = []
COUNTING = pytest.mark.parametrize("counting", [Counting, AsyncCounting])


@pytest.fixture
def clock(monkeypatch, settings):
    settings.GRIP_MAILBOX = "memory"
    return Clock(monkeypatch)


def crowd_of(site, consumer, *names, **options):
    """A crowd, and a member of each name whose joining is long over."""
    site.serve(consumer)
    crowd = Crowd(site)
    return crowd, [crowd.opened(query=name, **options) for name in names]


@COUNTING
def test_a_handler_that_reads_its_own_connection_runs_for_each_with_its_state(site, counting):
    crowd, members = crowd_of(site, counting, "ann", "bob")
    send("g", {"type": "note", "text": "x"})
    assert (site.published, site.refreshed) == ([], [group_channel("", "g", dotted(counting))])
    crowd.work()
    members[0].post(Text("hello"))
    send("g", {"type": "note", "text": "y"})
    crowd.work()
    assert [member.texts for member in members] == [
        ["ann 1 x", "ann heard hello", "ann 2 y"],
        ["bob 1 x", "bob 2 y"],
    ]
    assert site.published == []


@COUNTING
def test_the_sender_handles_its_own_copy_once_and_in_order(site, counting):
    crowd, (ann, bob) = crowd_of(site, counting, "ann", "bob")
    answer = ann.post(Text("note x"), Text("note y"))
    texts = ["ann heard note x", "sent", "ann 1 x", "ann heard note y", "sent", "ann 2 y"]
    assert [text for _, text in answer.sent] == texts
    crowd.work()
    ann.post()
    assert ann.texts == texts
    assert bob.texts == ["bob 1 x", "bob 2 y"]


def test_nothing_is_handled_twice_and_nothing_from_before_the_join(site):
    site.serve(Counting)
    crowd = Crowd(site)
    send("g", {"type": "note", "text": "too early"})
    ann = crowd.opened(query="ann")
    send("g", {"type": "note", "text": "x"})
    crowd.work()
    for _ in range(3):
        ann.post()
        ann.post(Ping())
    ann.post(Text("hello"))
    assert ann.texts == ["ann 1 x", "ann heard hello"]


def test_who_joins_again_gets_nothing_of_the_time_in_between(site):
    site.serve(Members)
    crowd = Crowd(site)
    member = crowd.opened()
    member.post(Text("add x"))
    member.post(Text("discard x"))
    mailbox.get().append("group:x", mail.pack(mail.Frames(["between"])), expiry=60)
    member.post(Text("add x"))
    crowd.work()
    assert member.texts == []


@COUNTING
def test_events_are_handled_before_frames_that_come_in_the_same_batch(site, counting):
    _, (ann,) = crowd_of(site, counting, "ann")
    send("g", {"type": "note", "text": "x"})
    ann.post(Text("one"), Text("two"))
    ann.post()
    assert ann.texts == ["ann 1 x", "ann heard one", "ann heard two"]


def test_events_are_handled_in_a_batch_of_pings(site):
    _, (ann,) = crowd_of(site, Counting, "ann")
    send("g", {"type": "note", "text": "x"})
    answer = ann.post(Ping(b"p"))
    assert sorted(answer.sent) == [("pong", b"p"), ("text", "ann 1 x")]


def test_an_event_does_not_hold_up_the_farewell(site):
    GOODBYES.clear()
    _, (ann,) = crowd_of(site, Counting, "ann")
    send("g", {"type": "note", "text": "x"})
    assert ann.post(Close(4000)).sent == [("close", 4000, "")]
    assert GOODBYES == [("ann", 4000)]


def test_events_of_several_senders_and_groups_come_in_the_order_of_sending(site):
    @importable
    class Both(Counting):
        groups = ["g", "h"]

    crowd, (ann, bob) = crowd_of(site, Both, "ann", "bob")
    for number in range(6):
        send("gh"[number % 2], {"type": "note", "text": str(number)})
    async_to_sync(get_channel_layer().send)(ann.name, {"type": "note", "text": "private"})
    send("h", {"type": "note", "text": "last"})
    crowd.work()
    assert ann.texts == [*(f"ann {number + 1} {number}" for number in range(6)), "ann 7 private", "ann 8 last"]
    assert bob.texts == [*(f"bob {number + 1} {number}" for number in range(6)), "bob 7 last"]


def test_a_class_that_shares_its_handler_is_not_called_back_for_another_that_does_not(site, clock):
    @importable
    class Plain(WebsocketConsumer):
        groups = ["g"]

        def note(self, event):
            self.send(text_data=event["text"])

    @importable
    class Deaf(WebsocketConsumer):
        groups = ["g"]

    site.serve(Counting, plain=Plain, deaf=Deaf)
    crowd = Crowd(site)
    ann, plain, deaf = (crowd.opened(path) for path in ("/ws/", "/plain/", "/deaf/"))
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "x"})
    assert site.texts == [(group_channel("", "g", dotted(Plain)), "x")]
    assert site.refreshed == [group_channel("", "g", dotted(Counting))]
    crowd.work()
    for member in crowd.members:
        # Whoever looks into the group's log finds nothing that is for it.
        member.post()
    assert [member.texts for member in (ann, plain, deaf)] == [[" 1 x"], ["x"], []]


def test_a_member_that_sends_on_receiving_an_event_reaches_the_others(site):
    @importable
    class Relay(Counting):
        def note(self, event):
            super().note(event)
            if self.name == "bob" and event["text"] == "x":
                send("g", {"type": "note", "text": "relayed"})

    crowd, (ann, bob) = crowd_of(site, Relay, "ann", "bob")
    send("g", {"type": "note", "text": "x"})
    crowd.work()
    assert ann.texts == ["ann 1 x", "ann 2 relayed"]
    assert bob.texts == ["bob 1 x", "bob 2 relayed"]


def test_an_event_that_no_other_process_could_be_given_is_refused_to_the_sender(site):
    crowd, (ann,) = crowd_of(site, Counting, "ann")
    with pytest.raises(
        TypeError, match=r"An event of type 'note' has to reach its handlers in other processes, but .*lock"
    ):
        send("g", {"type": "note", "text": threading.Lock()})
    crowd.work()
    assert (ann.texts, site.refreshed) == ([], [])


def test_what_lies_in_the_mailbox_and_cannot_be_read_is_logged_and_passed_over(site, caplog):
    crowd, (ann,) = crowd_of(site, Counting, "ann")
    send("g", {"type": "note", "text": "x"})
    for garbage in (b"", b"\xc1", mail.pack(mail.Discard("h"))[:-1]):
        mailbox.get().append("group:g", garbage, expiry=60)
    send("g", {"type": "note", "text": "y"})
    crowd.work()
    assert ann.texts == ["ann 1 x", "ann 2 y"]
    assert [f"{dotted(Counting)} cannot be given" in record.getMessage() for record in errors(caplog)] == [True] * 3


def test_events_expire_as_the_layer_is_configured(wsgi_site, clock, settings):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "grip_consumers.layers.GripChannelLayer", "CONFIG": {"expiry": 5}}
    }
    _, (ann,) = crowd_of(wsgi_site, Counting, "ann")
    send("g", {"type": "note", "text": "x"})
    async_to_sync(get_channel_layer().send)(ann.name, {"type": "note", "text": "y"})
    clock.sleep(4)
    send("g", {"type": "note", "text": "z"})
    clock.sleep(2)
    ann.post()
    assert ann.texts == ["ann 1 z"]


async def test_events_reach_their_members_from_a_coroutine(asgi_site):
    asgi_site.serve(Counting)
    client = asgi_site.client(query="ann")
    await client.apost(Open())
    await get_channel_layer().group_send("g", {"type": "note", "text": "x"})
    assert (await client.apost()).sent == [("text", "ann 1 x")]


def test_a_handler_that_closes_runs_for_each_and_disconnect_gets_its_code(site):
    GOODBYES.clear()

    @importable
    class Ends(Counting):
        def note(self, event):
            self.send(text_data="bye")
            self.close(code=4005, reason=self.name)
            self.send(text_data="never")

    crowd, members = crowd_of(site, Ends, "ann", "bob")
    send("g", {"type": "note", "text": "x"})
    crowd.work()
    assert site.published == []
    assert [member.got for member in members] == [
        [("text", "bye"), ("close", 4005, "ann")],
        [("text", "bye"), ("close", 4005, "bob")],
    ]
    for member in members:
        member.post(Close(4005))
    assert GOODBYES == [("ann", 4005), ("bob", 4005)]


def test_a_connection_that_was_closed_handles_no_event_in_callbacks_that_were_under_way(site):
    GOODBYES.clear()

    @importable
    class Ends(Counting):
        def note(self, event):
            self.name += event["text"]
            self.close(code=4005)

    _, (ann,) = crowd_of(site, Ends, "ann")
    for text in ("", " again", " and again"):
        send("g", {"type": "note", "text": text})
        # With what the client had sent before it heard of the close, and without.
        ann.post()
        ann.post(Ping(b""))
    ann.post(Close(4005))
    closed = ("close", 4005, "")
    assert (ann.got, GOODBYES) == ([closed, *[("pong", b"")] * 3, closed], [("ann", 4005)])


def _ending(error):
    def note(self, event):
        self.send(text_data="before")
        raise error

    return note


@pytest.mark.parametrize(("error", "code"), [(KeyError("oops"), 1011), (StopConsumer(), 1000)])
def test_a_shared_handler_that_ends_ends_each_member_behind_what_it_sent(site, error, code, caplog):
    GOODBYES.clear()

    @importable
    class Ends(Counting):
        note = _ending(error)

    crowd, members = crowd_of(site, Ends, "ann", "bob")
    send("g", {"type": "note", "text": "x"})
    crowd.work()
    assert site.published == []
    assert [member.got for member in members] == [[("text", "before"), ("close", code, "")]] * 2
    for member in members:
        member.post(Close(code))
    assert GOODBYES == []
    # The sender's log has the exception itself, once; each member's that it ended.
    found = [record for record in errors(caplog) if record.name.startswith("grip_consumers")]
    assert len(found) == (3 if code == 1011 else 0)
    assert sum("oops" in record.exc_text for record in found) == bool(found)


# Decorated ---------------------------------------------------------------------------------------------------


def test_a_handler_that_is_declared_shared_may_close_all_members_at_once(wsgi_site):
    @shared
    def note(self, event):
        self.send(text_data="bye")
        self.close(code=4005, reason="over")
        self.send(text_data="never")

    assert rendered(wsgi_site, note) == [TextMessage("bye"), CloseAction(4005, "over")]
    assert wsgi_site.refreshed == []


def test_a_handler_that_is_declared_shared_and_is_not_is_named_and_nothing_goes_out(site):
    @importable
    class First(Room):
        pass

    @importable
    class Second(Room):
        @shared
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
    assert (site.published, site.refreshed) == ([], [])
    assert mailbox.get().look(["group:lobby"])[0] == {"group:lobby": 0}


def test_a_handler_that_is_declared_per_connection_runs_for_each(wsgi_site):
    @per_connection
    def note(self, event):
        self.send(text_data=event["text"])

    member = told(wsgi_site, note)
    assert member.got == [("text", "x")]
    assert wsgi_site.published == []


def test_what_only_a_run_shows_sends_nothing_and_is_tried_once(wsgi_site, clock):
    tried = []

    def note(self, event):
        tried.append(type(self).__name__)
        self.send(text_data="first")
        self.send(text_data=getattr(self, event["what"])["path"])

    wsgi_site.serve(importable(type("Member", (WebsocketConsumer,), {"groups": ["g"], "note": note})))
    crowd = Crowd(wsgi_site)
    member = crowd.opened()
    for _ in range(2):
        send("g", {"type": "note", "what": "scope"})
    assert len(tried) <= 1
    crowd.work()
    assert member.texts == ["first", "/ws/"] * 2
    assert wsgi_site.published == []


@pytest.mark.parametrize("touches", ["close", "base_send", "scope"])
def test_what_only_a_run_shows_is_learnt_and_nothing_of_that_run_goes_out(site, monkeypatch, touches):
    """Not everything can be read from a handler's code."""
    GOODBYES.clear()
    learnt = []
    monkeypatch.setattr(groups, "delivery", lambda cls, handler: Delivery(not learnt, "in doubt", certain=False))
    monkeypatch.setattr(groups, "learn", lambda *found: learnt.append(found))

    @importable
    class Doubtful(WebsocketConsumer):
        groups = ["g"]

        def note(self, event):
            self.send(text_data="first")
            if touches == "close":
                self.close(code=4005)
            elif touches == "base_send":
                self.base_send({"type": "websocket.close", "code": 4005})
            else:
                self.send(text_data=self.scope["path"])

        def disconnect(self, code):
            GOODBYES.append(code)

    crowd, (ann,) = crowd_of(site, Doubtful, "ann")
    send("g", {"type": "note"})
    assert site.published == []
    ((cls, handler, reason),) = learnt
    assert (cls, handler) == (Doubtful, "note")
    assert ("self.scope" if touches == "scope" else "self.close") in reason
    crowd.work()
    assert ann.got == [("text", "first"), ("text", "/ws/") if touches == "scope" else ("close", 4005, "")]
    if touches != "scope":
        ann.post(Close(4005))
        assert GOODBYES == [4005]


def test_an_exception_after_a_look_at_the_name_is_each_members_own(site, caplog):
    """It may be due to the name's being that of nobody."""

    @importable
    class Picky(WebsocketConsumer):
        groups = ["g"]

        def note(self, event):
            if self.channel_name != event["name"]:
                raise KeyError("oops")
            self.send(text_data="you")

    crowd, (ann, bob) = crowd_of(site, Picky, "ann", "bob")
    send("g", {"type": "note", "name": ann.name})
    crowd.work()
    assert (ann.got, bob.got) == ([("text", "you")], [("close", 1011, "")])
    assert [record.name for record in errors(caplog) if "grip" in record.name] == ["grip_consumers.dispatcher"]


# Named connections -------------------------------------------------------------------------------------------


@importable
class Except(WebsocketConsumer):
    """The usual ways to leave out, or to address, one connection."""

    groups = ["g"]

    def receive(self, text_data=None, bytes_data=None):
        send("g", {"type": text_data, "name": self.channel_name})

    def others(self, event):
        if self.channel_name != event["name"]:
            self.send(text_data="for the others")

    def one(self, event):
        if self.channel_name == event["name"]:
            self.send(text_data="for one")

    def both(self, event):
        self.send(text_data="you" if self.channel_name == event["name"] else "somebody")


NAMED = {"others": ([], ["for the others"]), "one": (["for one"], []), "both": (["you"], ["somebody"])}


@pytest.mark.parametrize("kind", list(NAMED))
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "joining"])
def test_a_named_connection_handles_the_event_itself_and_the_others_share_it(site, clock, kind, settled):
    crowd, (ann, bob, eve) = crowd_of(site, Except, "ann", "bob", "eve")
    if settled:
        clock.sleep(LISTED + 1)
    send("g", {"type": kind, "name": ann.name})
    crowd.work()
    named, others = NAMED[kind]
    assert [member.texts for member in (ann, bob, eve)] == [named, others, others]
    if settled:
        assert [item.meta.get("skip_users") for item in site.published] == [ann.user] * len(others)


@pytest.mark.parametrize("kind", list(NAMED))
def test_a_sender_that_names_itself_handles_its_own_copy_alone(site, clock, kind):
    crowd, (ann, bob) = crowd_of(site, Except, "ann", "bob")
    clock.sleep(LISTED + 1)
    answer = ann.post(Text(kind))
    crowd.work()
    ann.post()
    named, others = NAMED[kind]
    assert [text for _, text in answer.sent] == ann.texts == named
    assert bob.texts == others
    assert mailbox.get().look([f"private:{ann.name}"])[0] == {f"private:{ann.name}": 0}


def test_a_named_connection_that_has_left_gets_nothing(site, clock):
    crowd, (ann, bob) = crowd_of(site, Except, "ann", "bob")
    clock.sleep(LISTED + 1)
    name = ann.name
    groups.discard("g", name)
    send("g", {"type": "both", "name": name})
    crowd.work()
    assert (ann.texts, bob.texts) == ([], ["somebody"])


@pytest.mark.parametrize("kind", list(NAMED))
def test_a_named_connection_keeps_the_order_of_events(site, clock, kind):
    """What is published right after must not overtake what it has to fetch."""
    crowd, (ann, bob) = crowd_of(site, Except, "ann", "bob")
    clock.sleep(LISTED + 1)
    send("g", {"type": kind, "name": ann.name})
    send("g", {"type": "both", "name": "specific.grip!nobody"})
    crowd.work()
    named, others = NAMED[kind]
    assert ann.texts == [*named, "somebody"]
    assert bob.texts == [*others, "somebody"]


@pytest.mark.parametrize("kind", list(NAMED))
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "joining"])
def test_a_named_connection_is_served_on_the_way_through_the_log_too(site, clock, kind, settled):
    @importable
    class Warm(Except):
        def note(self, event):
            self.send(text_data=self.scope["path"])

    crowd, (ann, bob) = crowd_of(site, Warm, "ann", "bob")
    if settled:
        clock.sleep(LISTED + 1)
    send("g", {"type": "note"})
    send("g", {"type": kind, "name": ann.name})
    crowd.work()
    named, others = NAMED[kind]
    assert site.published == []
    assert ann.texts == ["/ws/", *named]
    assert bob.texts == ["/ws/", *others]


# One connection ----------------------------------------------------------------------------------------------


def direct(name, message):
    async_to_sync(get_channel_layer().send)(name, message)


@COUNTING
def test_an_event_to_one_connection_is_handled_there_alone(site, counting):
    crowd, (ann, bob) = crowd_of(site, counting, "ann", "bob")
    direct(ann.name, {"type": "note", "text": "x"})
    direct(ann.name, {"type": "plain", "text": "y"})
    assert site.refreshed == [ann.name, ann.name]
    crowd.work()
    ann.post()
    assert (ann.texts, bob.texts) == (["ann 1 x", "y"], [])
    assert site.published == []


def test_one_connection_can_answer_another(site):
    @importable
    class Calls(Counting):
        def receive(self, text_data=None, bytes_data=None):
            direct(text_data, {"type": "call", "name": self.channel_name})
            self.send(text_data="called")

        def call(self, event):
            direct(event["name"], {"type": "note", "text": f"from {self.name}"})

    crowd, (ann, bob) = crowd_of(site, Calls, "ann", "bob")
    ann.post(Text(bob.name))
    crowd.work()
    assert (ann.texts, bob.texts) == (["called", "ann 1 from bob"], [])


def test_an_event_to_one_connection_that_it_has_no_handler_for_ends_it(site, caplog):
    crowd, (ann,) = crowd_of(site, Counting, "ann")
    direct(ann.name, {"type": "unknown"})
    crowd.work()
    assert ann.got == [("close", 1011, "")]
    assert "No handler for message type unknown" in errors(caplog)[0].exc_text


def test_a_full_channel_refuses_and_takes_again_what_is_sent_after_it_was_read(wsgi_site, settings):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "grip_consumers.layers.GripChannelLayer", "CONFIG": {"capacity": 2}}
    }
    crowd, (ann, bob) = crowd_of(wsgi_site, Counting, "ann", "bob")
    for _ in range(3):
        for text in "xy":
            direct(ann.name, {"type": "plain", "text": text})
        with pytest.raises(ChannelFull):
            direct(ann.name, {"type": "plain", "text": "z"})
        direct(bob.name, {"type": "plain", "text": "x"})
        crowd.work()
    assert ann.texts == ["x", "y"] * 3


def test_a_group_has_no_capacity(wsgi_site):
    crowd, (ann,) = crowd_of(wsgi_site, Counting, "ann")
    for number in range(150):
        send("g", {"type": "note", "text": str(number)})
    crowd.work()
    assert len(ann.texts) == 150


def test_an_event_to_one_connection_must_be_of_values_that_can_be_kept(wsgi_site):
    _, (ann,) = crowd_of(wsgi_site, Counting, "ann")
    with pytest.raises(TypeError, match="has to reach its handlers in other processes"):
        direct(ann.name, {"type": "note", "text": object()})
    assert wsgi_site.refreshed == []


def test_an_event_to_ones_own_name_is_a_copy(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            event = {"type": "note", "list": [1]}
            direct(self.channel_name, event)
            event["list"].append(2)

        def note(self, event):
            self.send(text_data=str(event["list"]))

    site.serve(Chat)
    assert site.opened().post(Text("x")).sent == [("text", "[1]")]
    assert site.refreshed == []


@pytest.mark.parametrize(("arguments", "code"), [({}, 1000), ({"code": 4000, "reason": "why"}, 4000)])
def test_a_connection_can_be_closed_from_anywhere(site, arguments, code):
    GOODBYES.clear()
    crowd, (ann, bob) = crowd_of(site, Counting, "ann", "bob")
    async_to_sync(get_channel_layer().close_connection)(ann.name, **arguments)
    assert site.refreshed == [ann.name]
    crowd.work()
    assert (ann.got, bob.got) == ([("close", code, arguments.get("reason", ""))], [])
    ann.post(Close(code))
    assert [("ann", code)] == GOODBYES


def test_a_connection_that_closes_itself_by_name_goes_on_to_the_end_of_its_handler(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            async_to_sync(self.channel_layer.close_connection)(self.channel_name, 4000)
            self.send(text_data="last")

    site.serve(Chat)
    assert site.opened().post(Text("x")).sent == [("text", "last"), ("close", 4000, "")]
    assert site.refreshed == []


@pytest.mark.parametrize(("code", "reason"), [(99, ""), (1005, ""), (1000, "x" * 124)])
def test_a_close_that_cannot_be_sent_is_refused_where_it_is_asked_for(wsgi_site, code, reason):
    _, (ann,) = crowd_of(wsgi_site, Counting, "ann")
    with pytest.raises(LocalProtocolError):
        async_to_sync(get_channel_layer().close_connection)(ann.name, code, reason)
    assert wsgi_site.refreshed == []


@pytest.mark.parametrize(
    "call",
    [
        ("send", "specific.grip!other", {"type": "plain"}),
        ("group_add", "h", "specific.grip!other"),
        ("group_discard", "h", "specific.grip!other"),
        ("group_send", "h", {"type": "plain"}),
        ("close_connection", "specific.grip!other"),
    ],
    ids=lambda call: call[0],
)
def test_a_handler_that_runs_once_for_all_cannot_reach_for_the_layer(wsgi_site, call):
    """Every member would do it once more: so each does it itself."""

    @importable
    class Chat(WebsocketConsumer):
        groups = ["g"]

        def note(self, event):
            method, *arguments = event["call"]
            async_to_sync(getattr(get_channel_layer(), method))(*arguments)
            self.send(text_data="done")

        def plain(self, event):
            self.send(text_data="plain")

    wsgi_site.serve(Chat)
    crowd = Crowd(wsgi_site)
    member = crowd.opened()
    send("g", {"type": "note", "call": call})
    assert mailbox.get().look(["private:specific.grip!other"])[0] == {"private:specific.grip!other": 0}
    crowd.work()
    assert member.texts == ["done"]


# Membership from elsewhere -----------------------------------------------------------------------------------


@importable
class Guest(WebsocketConsumer):
    """In no group by itself."""

    def connect(self):
        self.name = self.scope["query_string"].decode()
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=f"heard {text_data}")

    def plain(self, event):
        self.send(text_data=event["text"])

    def note(self, event):
        self.send(text_data=f"{self.name} {event['text']}")


KINDS = pytest.mark.parametrize("kind", ["plain", "note"])


@KINDS
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_a_connection_can_be_added_and_removed_from_anywhere(site, kind, sync):
    add = groups.add if sync else async_to_sync(get_channel_layer().group_add)
    discard = groups.discard if sync else async_to_sync(get_channel_layer().group_discard)
    crowd, (ann, bob) = crowd_of(site, Guest, "ann", "bob")
    add("g", ann.name)
    # From here on it gets what is sent to the group, though nothing has told it yet.
    send("g", {"type": kind, "text": "1"})
    crowd.work()
    assert group_channel("", "g", dotted(Guest)) in ann.channels
    send("g", {"type": kind, "text": "2"})
    crowd.work()
    discard("g", ann.name)
    send("g", {"type": kind, "text": "3"})
    crowd.work()
    prefix = "ann " if kind == "note" else ""
    assert (ann.texts, bob.texts) == ([f"{prefix}1", f"{prefix}2"], [])


@KINDS
def test_what_was_sent_before_a_connection_was_added_from_elsewhere_does_not_reach_it(site, kind):
    crowd, (ann,) = crowd_of(site, Guest, "ann")
    send("g", {"type": kind, "text": "before"})
    groups.add("g", ann.name)
    crowd.work()
    assert ann.texts == []


def test_adding_a_member_once_more_changes_nothing(site, clock):
    crowd, (ann,) = crowd_of(site, Guest, "ann")
    for _ in range(2):
        groups.add("g", ann.name)
        crowd.work()
    subscribed = dict(ann.channels)
    clock.sleep(3)
    for number in range(3):
        send("g", {"type": "plain", "text": str(number)})
        crowd.work()
    assert ann.texts == ["0", "1", "2"]
    assert ann.channels == subscribed


@KINDS
def test_who_is_added_once_more_after_leaving_misses_nothing(site, clock, kind):
    """That it had settled before says nothing about its new subscription."""
    crowd, (ann,) = crowd_of(site, Guest, "ann")
    groups.add("g", ann.name)
    crowd.work()
    clock.sleep(3)
    ann.post()
    groups.discard("g", ann.name)
    crowd.work()
    groups.add("g", ann.name)
    send("g", {"type": kind, "text": "x"})
    crowd.work()
    assert ann.texts == ["ann x" if kind == "note" else "x"]


def test_removing_who_is_no_member_changes_nothing(site):
    crowd, (ann,) = crowd_of(site, Guest, "ann")
    groups.discard("g", ann.name)
    crowd.work()
    assert ann.got == []
    assert not ann.closed


def test_a_connection_that_is_added_from_elsewhere_fetches_what_was_sent_meanwhile(site):
    """The event is in the group's log before the connection reads the instruction, and nobody calls back again."""
    crowd, (ann,) = crowd_of(site, Guest, "ann")
    groups.add("g", ann.name)
    crowd.forget()
    send("g", {"type": "note", "text": "x"})
    crowd.forget()
    ann.post()
    crowd.work()
    assert ann.texts == ["ann x"]


def test_a_group_too_many_from_elsewhere_leaves_the_connection_alone(site, settings, caplog):
    settings.GRIP_SUBSCRIPTION_LIMIT = 1
    crowd, (ann,) = crowd_of(site, Guest, "ann")
    groups.add("g", ann.name)
    send("g", {"type": "note", "text": "not for it"})
    crowd.work()
    ann.post(Text("x"))
    assert ann.texts == ["heard x"]
    assert "was to be added to a group from elsewhere" in errors(caplog)[0].getMessage()


def test_adding_oneself_by_a_thread_is_adding_from_elsewhere(wsgi_site):
    @importable
    class Threads(Guest):
        def receive(self, text_data=None, bytes_data=None):
            thread = threading.Thread(target=groups.add, args=("g", self.channel_name))
            thread.start()
            thread.join(10)

    crowd, (ann,) = crowd_of(wsgi_site, Threads, "ann")
    ann.post(Text("x"))
    crowd.work()
    send("g", {"type": "plain", "text": "y"})
    crowd.work()
    assert ann.texts == ["y"]


# Joining and leaving -----------------------------------------------------------------------------------------


@importable
class Joins(Guest):
    """Joins and leaves when its client says so."""

    def receive(self, text_data=None, bytes_data=None):
        what, _, text = text_data.partition(" ")
        if what in {"add", "discard"}:
            async_to_sync(getattr(self.channel_layer, f"group_{what}"))("g", self.channel_name)
        else:
            send("g", {"type": what, "text": text})


@KINDS
def test_who_has_just_joined_gets_a_copy_and_is_left_out_of_the_publish(site, kind):
    crowd, (ann, bob) = crowd_of(site, Joins, "ann", "bob")
    ann.post(Text("add"))
    send("g", {"type": kind, "text": "x"})
    if kind == "plain":
        assert [item.meta for item in site.published] == [{"skip_users": ann.user}]
        assert site.refreshed == [ann.name]
    crowd.work()
    assert [member.texts for member in (ann, bob)] == [["ann x" if kind == "note" else "x"], []]


@KINDS
def test_nothing_is_lost_or_doubled_or_reordered_while_somebody_joins(site, clock, kind):
    crowd, (ann, bob) = crowd_of(site, Joins, "ann", "bob")
    bob.post(Text("add"))
    clock.sleep(LISTED + 1)
    ann.post(Text("add"))
    for number in range(30):
        send("g", {"type": kind, "text": f"{number}"})
        if number % 3:
            crowd.work()
        clock.sleep(0.5)
    crowd.work()
    for member, name in ((ann, "ann "), (bob, "bob ")):
        assert member.texts == [(name if kind == "note" else "") + str(number) for number in range(30)]


def test_who_has_settled_is_served_by_what_is_published(site, clock):
    crowd, (ann,) = crowd_of(site, Joins, "ann")
    ann.post(Text("add"))
    send("g", {"type": "plain", "text": "copy"})
    crowd.work()
    assert ann.texts == ["copy"]
    clock.sleep(3)
    ann.post()
    crowd.work()
    site.published.clear()
    crowd.forget()
    send("g", {"type": "plain", "text": "published"})
    assert [dict(item.meta) for item in site.published] == [{}]
    assert site.refreshed[crowd._refreshed :] == []
    crowd.work()
    assert ann.texts == ["copy", "published"]


def test_the_sender_leaves_itself_no_copy(site):
    crowd, (ann, bob) = crowd_of(site, Joins, "ann", "bob")
    assert ann.post(Text("add"), Text("plain x")).sent == [("text", "x")]
    crowd.work()
    assert (ann.texts, bob.texts) == (["x"], [])


@KINDS
def test_who_leaves_gets_nothing_more_though_it_is_still_subscribed(site, clock, kind):
    crowd, (ann, bob) = crowd_of(site, Joins, "ann", "bob")
    for member in (ann, bob):
        member.post(Text("add"))
    crowd.work()
    clock.sleep(LISTED + 1)
    channels = dict(ann.channels)
    ann.post(Text("discard"))
    ann.channels = channels
    send("g", {"type": kind, "text": "x"})
    crowd.work()
    assert ann.texts == []
    assert bob.texts == ["bob x" if kind == "note" else "x"]


def test_who_leaves_and_says_so_to_the_group_does_not_hear_it(site, clock):
    crowd, (ann, bob) = crowd_of(site, Joins, "ann", "bob")
    for member in (ann, bob):
        member.post(Text("add"))
    clock.sleep(LISTED + 1)
    ann.post(Text("discard"), Text("plain bye"))
    crowd.work()
    assert (ann.texts, bob.texts) == ([], ["bye"])


@KINDS
def test_who_joins_and_leaves_before_the_accept_is_no_member(site, kind):
    @importable
    class Fickle(Guest):
        def connect(self):
            for what in ("add", "discard"):
                async_to_sync(getattr(self.channel_layer, f"group_{what}"))("g", self.channel_name)
            super().connect()

    crowd, (ann,) = crowd_of(site, Fickle, "ann")
    send("g", {"type": kind, "text": "x"})
    crowd.work()
    assert ann.texts == []


def test_a_copy_that_cannot_be_read_does_not_trouble_the_sender(site, caplog):
    crowd, (ann,) = crowd_of(site, Joins, "ann")
    ann.post(Text("add"))
    mailbox.get().append(f"private:{ann.name}", b"\xc1", expiry=60)
    send("g", {"type": "plain", "text": "x"})
    crowd.work()
    assert ann.texts == ["x"]


# By way of the log -------------------------------------------------------------------------------------------


def test_what_is_shared_follows_what_is_not_through_the_log(site, clock):
    crowd, (ann, bob) = crowd_of(site, Counting, "ann", "bob")
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "1"})
    send("g", {"type": "plain", "text": "2"})
    send("g", {"type": "note", "text": "3"})
    assert site.published == []
    crowd.work()
    assert [member.texts for member in (ann, bob)] == [["ann 1 1", "2", "ann 2 3"], ["bob 1 1", "2", "bob 2 3"]]


def test_what_is_shared_is_published_again_when_the_log_has_cooled(site, clock):
    crowd, (ann,) = crowd_of(site, Counting, "ann")
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "1"})
    crowd.work()
    clock.sleep(2.9)
    send("g", {"type": "plain", "text": "2"})
    assert site.published == []
    crowd.work()
    clock.sleep(3.1)
    send("g", {"type": "plain", "text": "3"})
    assert [text for _, text in site.texts] == ["3"]
    crowd.work()
    assert ann.texts == ["ann 1 1", "2", "3"]


def test_the_log_cools_only_when_the_proxies_have_called_back(site, clock, monkeypatch):
    done = []
    monkeypatch.setattr(refresher, "request", lambda channels, when_done=None: done.append(when_done))
    crowd, _ = crowd_of(site, Counting, "ann", "bob")
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "1"})
    clock.sleep(20)
    send("g", {"type": "plain", "text": "2"})
    assert site.published == []
    for call in done:
        call()
    clock.sleep(2.9)
    send("g", {"type": "plain", "text": "3"})
    assert site.published == []
    done[-1]()
    clock.sleep(1.1)
    send("g", {"type": "plain", "text": "4"})
    assert [text for _, text in site.texts] == ["4"]
    for member in crowd.members:
        member.post()
    assert [member.texts[-2:] for member in crowd.members] == [["2", "3"]] * 2


def test_what_nobody_calls_back_for_any_more_is_forgotten(site, clock, monkeypatch):
    """The process that asked has died."""
    monkeypatch.setattr(refresher, "request", lambda channels, done=None: None)
    crowd_of(site, Counting, "ann")
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "1"})
    clock.sleep(34)
    send("g", {"type": "plain", "text": "2"})
    assert [text for _, text in site.texts] == ["2"]


@KINDS
def test_nobody_is_called_back_before_others_can_see_what_is_in_the_mailbox(site, clock, monkeypatch, kind):
    """A transaction may hold it back."""
    held = []
    _, (ann,) = crowd_of(site, Counting, "ann")
    monkeypatch.setattr(mailbox.get(), "when_visible", held.append)
    site.refreshed.clear()
    send("g", {"type": kind, "text": "x"})
    direct(ann.name, {"type": kind, "text": "x"})
    groups.add("h", ann.name)
    groups.discard("h", ann.name)
    async_to_sync(get_channel_layer().close_connection)(ann.name)
    assert site.refreshed == []
    for callback in held:
        callback()
    assert site.refreshed == [group_channel("", "g", dotted(Counting)) if kind == "note" else ann.name] + [ann.name] * 4


def test_a_connection_that_has_closed_handles_no_further_event(site):
    @importable
    class Ends(Counting):
        def note(self, event):
            super().note(event)
            GOODBYES.append(event["text"])
            self.close()

    crowd, (ann,) = crowd_of(site, Ends, "ann")
    GOODBYES.clear()
    send("g", {"type": "note", "text": "1"})
    send("g", {"type": "note", "text": "2"})
    crowd.work()
    assert GOODBYES == ["1"]
    assert ann.got == [("text", "ann 1 1"), ("close", 1000, "")]


def test_another_class_is_not_sent_through_the_log(site, clock):
    site.serve(Counting, room=AsyncCounting, plain=Guest)
    crowd = Crowd(site)
    crowd.opened()
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "1"})
    site.serve(Guest)
    send("h", {"type": "plain", "text": "2"})
    assert {channel for channel, _ in site.texts} >= {group_channel("", "h", dotted(Guest))}


@pytest.mark.parametrize(("seconds", "waits"), [(0.1, [0.125]), (0.9, [0.125]), (1.1, [])])
def test_what_is_published_waits_for_those_who_read_the_log_meanwhile(site, clock, monkeypatch, seconds, waits):
    """The sender's own copy of it came by the log a moment ago, and that class's log is no longer warm."""
    slept = []

    async def sleep(delay, *args):
        if delay:
            slept.append(delay)
        await asyncio.sleep(0)

    # Its own name for it: servers of other tests may be at work in other threads.
    monkeypatch.setattr(groups, "asyncio", types.SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(groups, "_CATCH_UP", 0.125)
    crowd, (ann,) = crowd_of(site, Counting, "ann")
    clock.sleep(LISTED + 1)
    send("g", {"type": "note", "text": "1"})
    clock.sleep(2.9)
    send("g", {"type": "plain", "text": "2"})
    assert slept == []
    clock.sleep(seconds)
    # Warm until 3.0, recent until 3.9.
    send("g", {"type": "plain", "text": "3"})
    assert (site.published == []) is (seconds < 0.1)
    if site.published:
        assert slept == waits
    crowd.work()
    assert sorted(ann.texts) == ["2", "3", "ann 1 1"]


def test_behind_a_proxy_without_filters_who_is_to_be_left_out_sends_through_the_log(site, clock):
    crowd, (ann, bob) = crowd_of(site, Counting, "ann", "bob", filters=False)
    clock.sleep(LISTED + 1)
    send("g", {"type": "plain", "text": "from nobody"})
    assert [text for _, text in site.texts] == ["from nobody"]
    crowd.work()
    assert ann.post(Text("plain x")).sent == [("text", "ann heard plain x"), ("text", "sent"), ("text", "x")]
    crowd.work()
    assert [text for _, text in site.texts] == ["from nobody"]
    assert ann.texts == ["from nobody", "ann heard plain x", "sent", "x"]
    assert bob.texts == ["from nobody", "x"]


def test_a_proxy_with_filters_beside_one_without_sends_through_the_log_too(site, clock):
    site.serve(Counting)
    crowd = Crowd(site)
    ann, bob = crowd.opened(query="ann"), crowd.opened(query="bob", filters=False)
    clock.sleep(LISTED + 1)
    ann.post(Text("plain x"))
    crowd.work()
    assert site.published == []
    assert (ann.texts[-1], bob.texts) == ("x", ["x"])


def _recording(consumer, seen):
    """A middleware that wraps send."""
    inner = consumer.as_asgi()

    async def middleware(scope, receive, send):
        async def own_send(message):
            if message["type"] == "websocket.send":
                seen.append(message["text"])
                message = {**message, "text": f"<{message['text']}>"}
            await send(message)

        await inner(scope, receive, own_send)

    return middleware


@COUNTING
def test_behind_a_middleware_that_wraps_send_each_member_runs_the_handler_itself(site, counting, clock):
    seen = []
    site.serve(_recording(counting, seen))
    crowd = Crowd(site)
    ann, bob = crowd.opened(query="ann"), crowd.opened(query="bob")
    clock.sleep(LISTED + 1)
    send("g", {"type": "plain", "text": "x"})
    crowd.work()
    ann.post(Text("plain y"))
    crowd.work()
    assert site.published == []
    assert ann.texts == ["<x>", "<ann heard plain y>", "<sent>", "<y>"]
    assert bob.texts == ["<x>", "<y>"]
    assert sorted(seen) == sorted(text[1:-1] for text in ann.texts + bob.texts)


@pytest.mark.parametrize("what", ["wrapped", "without filters"])
def test_who_is_added_from_elsewhere_is_served_as_it_has_to_be(site, clock, what):
    site.serve(_recording(Guest, []) if what == "wrapped" else Guest)
    crowd = Crowd(site)
    ann = crowd.opened(query="ann", filters=what == "wrapped")
    bob = crowd.opened(query="bob", filters=what == "wrapped")
    for member in (ann, bob):
        groups.add("g", member.name)
        crowd.work()
    clock.sleep(LISTED + 1)
    if what == "wrapped":
        send("g", {"type": "plain", "text": "x"})
    else:
        send("g", {"type": "plain", "text": "before"})
        groups.discard("g", bob.name)
        channels = dict(bob.channels)
        send("g", {"type": "plain", "text": "x"})
        bob.channels = channels
    crowd.work()
    assert ann.texts == (["<x>"] if what == "wrapped" else ["before", "x"])
    assert bob.texts == (["<x>"] if what == "wrapped" else ["before"])


@pytest.mark.parametrize("what", ["wrapped", "without filters", "failing"])
def test_a_callback_that_falls_together_with_frames_finds_what_is_in_the_log(site, clock, what, caplog):
    """Of a class that has no mail otherwise."""

    @importable
    class Plain(WebsocketConsumer):
        groups = ["g"]

        def receive(self, text_data=None, bytes_data=None):
            if text_data == "send":
                send("g", {"type": "plain"})

        def plain(self, event):
            self.send(text_data="x")

        def failing(self, event):
            raise KeyError("oops")

    site.serve(_recording(Plain, []) if what == "wrapped" else Plain)
    crowd = Crowd(site)
    ann, bob = (crowd.opened(filters=what != "without filters") for _ in range(2))
    clock.sleep(LISTED + 1)
    ann.post()
    bob.post()
    crowd.forget()
    if what == "failing":
        send("g", {"type": "failing"})
    else:
        ann.post(Text("send"))
    bob.post(Text("at the same time"))
    if what == "failing":
        # Those are called back once more, as their class never looks for mail.
        crowd._refreshed = len(site.refreshed)
        crowd.work()
    wanted = {"wrapped": ("text", "<x>"), "without filters": ("text", "x"), "failing": ("close", 1011, "")}
    assert bob.got == [wanted[what]]


# Memberships that change from elsewhere -----------------------------------------------------------------------


@importable
class Moved(AsyncWebsocketConsumer):
    groups = ["room"]

    @per_connection
    async def moved_alone(self, event):
        await self.send(text_data=event["text"])

    async def moved_together(self, event):
        await self.send(text_data=event["text"])


@pytest.fixture
def moved(wsgi_site, monkeypatch, settings):
    """A member whose joining is long over, with the crowd that it is in."""
    clock = Clock(monkeypatch)
    wsgi_site.serve(Moved)
    crowd = Crowd(wsgi_site, clock)
    member = crowd.opened()
    clock.sleep(40)
    member.post(Text("-"))
    crowd.work()
    return crowd, member


def tell(kind, text, group):
    async_to_sync(get_channel_layer().group_send)(group, {"type": kind, "text": text})


@pytest.mark.parametrize("before", ["moved.alone", "moved.together"])
@pytest.mark.parametrize("after", ["moved.alone", "moved.together"])
def test_who_is_removed_and_added_again_in_one_batch_handles_each_event_once(moved, before, after):
    crowd, member = moved
    groups.discard("room", member.name)
    tell(before, "not for it", "room")
    groups.add("room", member.name)
    tell(after, "first", "room")
    crowd.work()
    tell(after, "second", "room")
    crowd.work()
    assert member.texts == ["first", "second"]


@pytest.mark.parametrize("kind", ["moved.alone", "moved.together"])
def test_who_is_added_twice_in_one_batch_misses_nothing_in_between(moved, kind):
    crowd, member = moved
    groups.add("other", member.name)
    tell(kind, "first", "other")
    groups.add("other", member.name)
    tell(kind, "second", "other")
    crowd.work()
    tell(kind, "third", "other")
    crowd.work()
    assert member.texts == ["first", "second", "third"]


def test_a_frame_that_no_proxy_takes_is_the_senders_error_also_on_the_way_through_the_log(moved):
    crowd, member = moved
    tell("moved.alone", "warm", "room")
    with pytest.raises(MessageTooLarge):
        tell("moved.together", "x" * 950_000, "room")
    crowd.work()
    assert (member.texts, member.closed) == (["warm"], False)


# A connection that sends to itself for longer than a batch may take ------------------------------------------


@importable
class ToItself(AsyncWebsocketConsumer):
    """Each frame is handled in two steps, by events to itself; the first may take longer than one batch waits."""

    async def connect(self):
        await self.channel_layer.group_add("to-itself", self.channel_name)
        await self.accept()

    async def receive(self, text_data):
        how, _, text = text_data.partition(" ")
        await self.channel_layer.send(self.channel_name, {"type": "first.step", "how": how, "text": text})

    async def first_step(self, event):
        how, text = event["how"], event["text"]
        if how != "quick":
            await asyncio.sleep(0.05)
        second = {"type": "second.step", "text": text}
        if how == "leave":
            await self.channel_layer.group_send("to-itself", second)
            await self.channel_layer.group_discard("to-itself", self.channel_name)
        else:
            second |= {"what": object()} if how == "object" else {}
            await self.channel_layer.send(self.channel_name, second)
        if how == "close":
            await self.channel_layer.close_connection(self.channel_name, 4000)

    async def second_step(self, event):
        await self.send(event["text"])


@importable
class Deliberate(AsyncWebsocketConsumer):
    """Accepts by and by, by events to itself."""

    tries = 0

    async def connect(self):
        await self.weigh({})

    async def weigh(self, event):
        self.tries += 1
        if self.tries == 5:
            await self.accept()
        else:
            await asyncio.sleep(0.02)
            await self.channel_layer.send(self.channel_name, {"type": "weigh"})


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (["slow a", "quick b"], ["a", "b"]),
        (["quick a", "slow b", "quick c"], ["a", "b", "c"]),
        (["leave bye"], ["bye"]),
        (["close the last word"], ["the last word"]),
        (["object x"], ["x"]),
    ],
    ids=["none overtakes", "one in the middle", "who has left since", "who is to be closed", "what cannot travel"],
)
async def test_who_sends_to_itself_for_long_gets_everything_in_order(frames, expected, monkeypatch):
    monkeypatch.setattr("grip_consumers.batch._CHAIN_SECONDS", 0.02)
    async with GripCommunicator(ToItself.as_asgi(), "/", batch_size=10) as client:
        await client.connect()
        for frame in frames:
            await client.send_to(text_data=frame)
        assert [await client.receive_from(5) for _ in expected] == expected
        assert frames[0][:5] != "close" or (await client.receive_output(5))["code"] == 4000


async def test_a_great_many_events_to_itself_are_all_handled():
    class Many(ToItself):
        async def receive(self, text_data):
            for number in range(250):
                await super().receive(f"quick {number}")

    async with GripCommunicator(importable(Many).as_asgi(), "/") as client:
        await client.connect()
        await client.send_to(text_data="go")
        assert [await client.receive_from(5) for _ in range(250)] == [str(number) for number in range(250)]


async def test_who_decides_about_a_connection_by_events_to_itself_may_take_its_time(monkeypatch):
    monkeypatch.setattr("grip_consumers.batch._CHAIN_SECONDS", 0.01)
    async with GripCommunicator(Deliberate.as_asgi(), "/") as client:
        assert await client.connect(5) == (True, None)
