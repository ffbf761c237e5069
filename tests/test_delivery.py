"""Deliveries: which group handlers are run once for all members, which for each, and what is said of it."""

from __future__ import annotations

import asyncio
import copy
import datetime
import enum
import functools
import gc
import json
import logging
import random
import sys
import threading
import types
import uuid
import weakref
from unittest.mock import Mock

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from grip_consumers.consumer import AsyncConsumer, SyncConsumer
from grip_consumers.db import database_sync_to_async
from grip_consumers.delivery import delivery, group_handlers, learn, may_have_mail, per_connection, shared
from grip_consumers.exceptions import StopConsumer
from grip_consumers.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from grip_consumers.layers import get_channel_layer
from grip_consumers.standin import Attempt

from .test_standin import run

SAME = "reads nothing that differs between connections"
COMPARES = "compares channel_name: the named connection is served on its own"
EVENT = {"type": "note", "text": "x", "sender": "a!1", "skip": ["a!1", "a!2"], "kind": "k", "rows": [1, 2]}

logger = logging.getLogger(__name__)
ROOMS: dict = {}
COUNTS = [0]
counter = 0


class Base(AsyncJsonWebsocketConsumer):
    """A consumer with something of each kind."""

    language = "en"
    TITLE = "title"
    LEVELS = (1, 2)
    rooms: dict = {}
    seen: list = []

    class Meta:
        fields: dict = {}
        model = "m"

    async def connect(self):
        self.user = self.scope["user"]
        await self.accept()

    def set_language(self, language):
        self.language = language

    def get_user(self):
        return self.scope["user"]

    def render(self, text):
        return f"<{text}>"

    async def render_all(self, rows):
        for row in rows:
            yield self.render(row)

    @property
    def label(self):
        return self.TITLE.upper()

    @property
    def name(self):
        return self.user.username

    @functools.cached_property
    def cached(self):
        return self.TITLE

    async def other(self, event):
        await self.send_json(event)

    async def greet(self, event):
        await self.send(text_data=self.user.username)

    @staticmethod
    def static(text):
        return text

    @classmethod
    def of_class(cls, text):
        return cls.TITLE + text


# Handlers by what they come to. Each is tried as `note` of a subclass of Base ---------------------------------

CASES: dict = {}


def decides(reason):
    """The decorated handler is decided on for this reason; None is for one that all members share."""

    def add(function):
        CASES[function.__name__] = (function, reason)
        return function

    return add


# As real consumers have them.


@decides(SAME)
async def sends_the_event(self, event):
    await self.send_json(event)


@decides(SAME)
async def sends_a_part_of_it(self, event):
    message = event["text"]
    await self.send(text_data=json.dumps({"type": "chat", "message": message}))


@decides(SAME)
async def logs_what_fails(self, event):
    try:
        await self.send(text_data=json.dumps(event))
    except Exception as error:
        logger.error("Could not send: %s", error)


@decides(SAME)
async def changes_the_event_first(self, event):
    event["text"] = event["text"].upper()
    event.pop("type")
    event.setdefault("at", timezone.now().isoformat())
    payload = dict(event)
    payload["debug"] = settings.DEBUG
    await self.send_json(payload)


@decides(SAME)
async def sends_several(self, event):
    for row in event["rows"]:
        await self.send_json({"row": row})
    await self.send(bytes_data=b"end")


@decides(SAME)
async def calls_a_handler(self, event):
    await self.other(event)


@decides(COMPARES)
async def skips_the_sender(self, event):
    if event["sender"] != self.channel_name:
        await self.send_json(event)


@decides("reads self.user")
async def skips_the_users_own(self, event):
    if event["sender"] != str(self.user.id):
        await self.send_json(event)


@decides("reads self.game_id")
async def logs_an_attribute(self, event):
    logger.info("game %s", self.game_id)
    await self.send_json(event)


@decides("reads self.scope")
async def reads_the_session(self, event):
    await self.send_json({"theme": self.scope["session"]["theme"], **event})


# What is shared.


@decides(SAME)
async def uses_constants_helpers_and_properties(self, event):
    await self.send_json([self.render(self.TITLE), self.label, self.static("s"), self.of_class("c"), self.LEVELS[0]])


@decides(SAME)
async def uses_an_async_generator(self, event):
    await self.send_json([row async for row in self.render_all(event["rows"])])


@decides(SAME)
async def uses_comprehensions_and_lambdas(self, event):
    shout = lambda text: self.render(text)  # noqa: E731
    await self.send_json([self.render(shout(row)) for row in event["rows"]])


@decides(SAME)
async def uses_a_nested_function(self, event):
    async def send(text):
        await self.send(text_data=text)

    await send(self.TITLE)


@decides(SAME)
async def hands_bound_methods_on(self, event):
    send = self.send_json
    texts = list(map(self.render, event["rows"]))
    await asyncio.gather(send(texts), self.send_json(event))


@decides(SAME)
async def goes_through_a_thread(self, event):
    await self.send_json(await database_sync_to_async(self.render)(event["text"]))
    await self.send_json(await sync_to_async(self.render)(event["text"]))


@decides(SAME)
async def calls_super(self, event):
    await super(Base, self).send_json(event)


@decides(SAME)
async def has_an_alias(self, event):
    me = self
    await me.send_json(me.TITLE)


@decides(SAME)
async def reads_the_class(self, event):
    await self.send_json([type(self).TITLE, self.__class__.TITLE, self.Meta.model, type(self).language])


@decides(SAME)
async def asks_for_what_all_have(self, event):
    if hasattr(self, "render") and isinstance(self, Base):
        await self.send_json(getattr(self, "TITLE"))  # noqa: B009


@decides(SAME)
async def matches(self, event):
    match event:
        case {"kind": "k", **rest} if size := len(rest):
            await self.send_json(size)
        case _:
            await self.send(text_data=self.TITLE)


@decides(SAME)
async def says_that_it_stays_open(self, event):
    await self.send(text_data="x", close=False)
    await self.send_json(event, False)


@decides(SAME)
async def reads_a_dictionary_of_the_module(self, event):
    await self.send_json(ROOMS.get("x", 0))


@decides(SAME)
async def tells_the_time(self, event):
    await self.send_json(str(datetime.datetime.now(datetime.timezone.utc)))


# channel_name.


@decides(COMPARES)
async def returns_for_the_sender(self, event):
    if self.channel_name == event["sender"]:
        return
    await self.send_json(event)


@decides(COMPARES)
async def looks_for_itself(self, event):
    if self.channel_name in event["skip"]:
        return
    await self.send_json(event)


@decides(COMPARES)
async def looks_for_itself_by_not_in(self, event):
    if self.channel_name not in event["skip"]:
        await self.send_json(event)


@decides(COMPARES)
async def compares_by_a_variable(self, event):
    me = self.channel_name
    if me == event["sender"]:
        return
    await self.send_json(event)


@decides(COMPARES)
async def compares_in_an_expression(self, event):
    await self.send_json({"mine": self.channel_name == event["sender"], "not": not self.channel_name != "x"})  # noqa: SIM202


@decides(COMPARES)
async def compares_in_a_comprehension(self, event):
    await self.send_json([name for name in event["skip"] if name != self.channel_name])


@decides(COMPARES)
async def matches_itself(self, event):
    match self.channel_name:
        case "a!1":
            pass
        case _:
            await self.send_json(event)


@decides("does more with self.channel_name than comparing it")
async def formats_it(self, event):
    await self.send(text_data=f"{self.channel_name}")


@decides("passes self.channel_name to str()")
async def passes_it(self, event):
    await self.send(text_data=str(self.channel_name))


@decides("passes self.channel_name to self.send()")
async def sends_it(self, event):
    await self.send(text_data=self.channel_name)


@decides("does more with self.channel_name than comparing it")
async def stores_it(self, event):
    event["me"] = self.channel_name
    await self.send_json(event)


@decides("does more with self.channel_name than comparing it")
async def stores_by_it(self, event):
    event[self.channel_name] = True
    await self.send_json(event)


@decides("does more with self.channel_name than comparing it")
async def sends_it_in_a_dictionary(self, event):
    await self.send_json({"me": self.channel_name})


@decides("does more with self.channel_name than comparing it")
async def returns_it(self, event):
    return self.channel_name


@decides("does more with self.channel_name than comparing it")
async def takes_it_for_a_condition(self, event):
    if self.channel_name:
        await self.send_json(event)


@decides("looks into self.channel_name")
async def looks_into_it(self, event):
    if "!" in self.channel_name:
        await self.send_json(event)


@decides("looks into self.channel_name")
async def sorts_by_it(self, event):
    if self.channel_name < event["sender"]:
        await self.send_json(event)


@decides("uses self.channel_name.split")
async def splits_it(self, event):
    await self.send_json(self.channel_name.split("!")[0])


@decides("does more with self.channel_name than comparing it")
async def formats_a_variable(self, event):
    me = self.channel_name
    if me != event["sender"]:
        await self.send(text_data=f"{me}")


# What differs.


@decides("reads self.language, which set_language() assigns")
async def reads_a_default_that_is_assigned(self, event):
    await self.send(text_data=self.language)


@decides("reads self.scope, in get_user()")
async def reads_by_a_helper(self, event):
    await self.send_json(self.get_user())


@decides("reads self.scope, in get_user()")
async def reads_by_a_helper_in_a_thread(self, event):
    await self.send_json(await database_sync_to_async(self.get_user)())


@decides("reads self.user, in name()")
async def reads_by_a_property(self, event):
    await self.send_json(self.name)


@decides("reads self.cached, a cached_property, which may keep a value on the instance")
async def reads_a_cached_property(self, event):
    await self.send_json(self.cached)


@decides("reads self.user, in greet()")
async def calls_a_handler_that_reads(self, event):
    await self.greet(event)


@decides("reads self.user")
async def reads_behind_a_condition(self, event):
    if event["kind"] == "never":
        await self.send_json(self.user)


@decides("reads self.user")
async def reads_in_a_lambda(self, event):
    await self.send_json((lambda: self.user)())


@decides("reads self.user")
async def reads_in_an_except(self, event):
    try:
        await self.send_json(event)
    except Exception:
        await self.send_json(self.user)


@decides("reads self.user")
async def catches_everything(self, event):
    try:  # noqa: SIM105
        await self.send_json(self.user)
    except:  # noqa: E722
        pass


@decides("reads self.nickname")
async def asks_whether_it_has(self, event):
    if hasattr(self, "nickname"):
        await self.send_json(event)


@decides("reads self.user")
async def reads_by_an_alias(self, event):
    me = self
    await self.send_json(me.user)


@decides("reads self.channel_layer")
async def sends_to_a_group(self, event):
    await self.channel_layer.group_send("g", event)


@decides("sends through get_channel_layer(), which each connection does once")
async def sends_through_the_layer(self, event):
    await get_channel_layer().group_send("g", event)


def _notify(event):
    async_to_sync(get_channel_layer().group_send)("g", event)


@decides("sends through get_channel_layer(), which each connection does once")
async def sends_through_a_function(self, event):
    await sync_to_async(_notify)(event)


@decides("reads self.groups")
async def reads_its_groups(self, event):
    await self.send_json(self.groups)


@decides("reads self.rooms, a dict, which may change")
async def reads_a_dictionary_of_the_class(self, event):
    await self.send_json(self.rooms.get("x"))


@decides("reads type(self).rooms, a dict, which may change")
async def reads_a_dictionary_by_the_class(self, event):
    await self.send_json(type(self).rooms)


# What is written.


@decides("writes self.count")
async def counts(self, event):
    self.count += 1


@decides("writes self.count")
async def counts_by_setattr(self, event):
    setattr(self, "count", 1)  # noqa: B010


@decides("writes self.count")
async def forgets(self, event):
    del self.count


@decides("writes type(self).count")
async def counts_on_the_class(self, event):
    type(self).count = 1


@decides("writes type(self).count")
async def counts_on_the_class_attribute(self, event):
    self.__class__.count += 1


@decides("writes Base.count")
async def counts_on_a_named_class(self, event):
    Base.count = 1


@decides("writes the global counter")
async def counts_globally(self, event):
    global counter
    counter += 1


@decides("writes COUNTS[…]")
async def counts_in_a_list(self, event):
    COUNTS[0] += 1


@decides("changes ROOMS, which is kept in the process")
async def changes_a_dictionary(self, event):
    ROOMS.setdefault("x", []).append(1)


@decides("writes self.rooms[…]")
async def changes_a_dictionary_of_the_class(self, event):
    self.rooms["x"] = 1


@decides("writes self.Meta.fields[…]")
async def changes_a_nested_class(self, event):
    self.Meta.fields["x"] = 1


@decides("writes to the database, by User.…create(), which each connection does")
async def writes_to_the_database(self, event):
    await database_sync_to_async(User.objects.create)(username="x")
    await self.send_json(event)


@decides("writes to the database, by User.…save(), which each connection does")
async def saves_what_it_has_read(self, event):
    user = await User.objects.aget(pk=1)
    await sync_to_async(user.save)()


@decides("writes to the database, by User.…create(), which each connection does")
async def writes_before_it_reads(self, event):
    User.objects.create(username="x")
    await self.send_json({"user": self.user.pk})


@decides("uses uuid.uuid4, which gives each connection something else")
async def draws_an_id(self, event):
    await self.send_json({"id": str(uuid.uuid4())})


@decides("uses random.choice, which gives each connection something else")
async def draws_lots(self, event):
    await self.send_json(random.choice(event["rows"]))


# Ends.


@decides("closes its connection")
async def closes(self, event):
    await self.close(4001)


@decides("closes its connection")
async def closes_behind_a_frame(self, event):
    await self.send(text_data="bye", close=True)


@decides("closes its connection")
async def closes_with_a_code(self, event):
    await self.send_json(event, close=4000)


@decides("closes its connection")
async def closes_by_place(self, event):
    await self.send_json(event, True)


@decides("closes its connection")
async def closes_perhaps(self, event):
    await self.send(text_data="x", close=event["kind"] == "last")


@decides("closes its connection")
async def closes_by_partial(self, event):
    await functools.partial(self.send, close=True)(text_data="x")


@decides("closes its connection")
async def closes_by_an_event(self, event):
    await self.base_send({"type": "websocket.close", "code": 4000})


@decides("accepts its connection")
async def accepts(self, event):
    await self.accept()


@decides("ends its connection, by StopConsumer")
async def stops(self, event):
    raise StopConsumer


# Doubts.


def _helper(consumer, *names):
    consumer.seen = names


@decides("hands self to _helper()")
async def hands_itself_on(self, event):
    _helper(self, "x")


@decides("hands self on")
async def keeps_itself_in_a_class(self, event):
    class Kept:
        me = self

    await self.send_json(Kept.me.user)


@decides("hands self on")
async def keeps_itself(self, event):
    return [self]


@decides("hands self on")
async def sends_itself(self, event):
    await self.send_json({"me": self})


@decides("hands self on")
async def formats_itself(self, event):
    logger.info(f"{self}")


@decides("hands self to logger.info()")
async def logs_itself(self, event):
    logger.info("in %s", self)


@decides("compares self")
async def compares_itself(self, event):
    if self == event:
        pass


@decides("reads self by a computed name, through getattr()")
async def reads_by_a_computed_name(self, event):
    await self.send_json(getattr(self, event["kind"]))


@decides("writes to self by a computed name, through setattr()")
async def writes_by_a_computed_name(self, event):
    setattr(self, event["kind"], 1)


@decides("reads all of self, through vars()")
async def reads_everything(self, event):
    await self.send_json(vars(self))


@decides("reads self.__dict__")
async def reads_its_dictionary(self, event):
    await self.send_json(self.__dict__)


@decides("uses locals()")
async def reads_its_variables(self, event):
    await self.send_json(locals()["self"].user)


@decides("uses __self__")
async def goes_by_a_method(self, event):
    await self.send_json(self.send.__self__.user)


@decides("hands type(self) to ROOMS.get()")
async def looks_its_class_up(self, event):
    await self.send_json(ROOMS.get(type(self)))


@decides("calls self.dispatch()")
async def dispatches(self, event):
    await self.dispatch({**event, "type": "other"})


def _consumer(function, base=Base, **names):
    return types.new_class("Chat", (base,), {}, lambda namespace: namespace.update(note=function, **names))


def _verdict(cls, handler="note"):
    """The reason; what is shared and certain has to stand a run."""
    found = delivery(cls, handler)
    if found.shared:
        attempt = Attempt()
        run(cls, attempt, copy.deepcopy({**EVENT, "type": handler}))
        assert attempt.abandoned is None
        assert bool(attempt.compared) == (found.reason == COMPARES)
    return found.reason


@pytest.mark.parametrize("case", CASES)
def test_a_handler_is_decided_on(case):
    handler, reason = CASES[case]
    cls = _consumer(handler)
    assert _verdict(cls) == reason
    assert delivery(cls, "note").shared == (reason in (SAME, COMPARES))
    # What it is looked for in may be a set or a text.
    assert delivery(cls, "note").certain == (not case.startswith("looks_for_itself"))


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_a_handler_runs_to_decide(case, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOMS", {})
    cls = _consumer(CASES[case][0])
    sys.setprofile(lambda frame, what, found: calls.append(frame.f_code))
    calls: list = []
    try:
        delivery(cls, "note")
    finally:
        sys.setprofile(None)
    assert calls
    assert CASES[case][0].__code__ not in calls


# Forms of handlers --------------------------------------------------------------------------------------------


def test_mixins_and_super_are_followed():
    class Loud:
        async def note(self, event):
            await super().note({**event, "text": event["text"].upper()})

    class Plain(AsyncWebsocketConsumer):
        async def note(self, event):
            await self.send(text_data=event["text"])

    class Personal(AsyncWebsocketConsumer):
        async def note(self, event):
            await self.send(text_data=self.nick)

    assert _verdict(type("Chat", (Loud, Plain), {})) == SAME
    assert _verdict(type("Chat", (Loud, Personal), {})) == "reads self.nick"


def test_an_override_is_what_counts():
    class Parent(Base):
        async def note(self, event):
            await self.send_json(self.user)

    class Child(Parent):
        async def note(self, event):
            await self.send_json(event)

    assert _verdict(Parent) == "reads self.user"
    assert _verdict(Child) == SAME


def test_a_helper_of_a_subclass_is_what_counts():
    class Parent(Base):
        async def note(self, event):
            await self.send_json(self.shown(event))

        def shown(self, event):
            return event

    class Child(Parent):
        def shown(self, event):
            return self.user

    assert _verdict(Parent) == SAME
    assert _verdict(Child) == "reads self.user, in shown()"


def test_an_encoder_of_the_consumer_is_followed():
    class Same(JsonWebsocketConsumer):
        def note(self, event):
            self.send_json(event)

        @classmethod
        def encode_json(cls, content):
            return json.dumps(content, default=str)

    class Personal(Same):
        def encode_json(self, content):
            return json.dumps({**content, "user": self.user})

    assert _verdict(Same) == SAME
    assert _verdict(Personal) == "reads self.user, in encode_json()"


def test_an_overridden_send_that_hands_its_arguments_through_closes_for_those_who_ask():
    class Chat(WebsocketConsumer):
        def send(self, text_data=None, bytes_data=None, close=False):
            super().send(text_data=f"[{text_data}]", bytes_data=bytes_data, close=close)

        def note(self, event):
            self.send("x")

        def last(self, event):
            self.send("x", close=True)

    assert _verdict(Chat) == SAME
    assert _verdict(Chat, "last") == "closes its connection"


def test_a_send_that_closes_by_default_closes():
    class Chat(WebsocketConsumer):
        def send(self, text_data=None, bytes_data=None, close=True):
            super().send(text_data=text_data, bytes_data=bytes_data, close=close)

        def note(self, event):
            self.send("x")

    assert _verdict(Chat) == "closes its connection, in send()"


def test_what_may_close_by_double_star_is_left_to_the_run():
    class Chat(WebsocketConsumer):
        def note(self, event):
            self.send(**event["frame"])

    assert delivery(Chat, "note").shared
    assert not delivery(Chat, "note").certain


def _wrapping(function):
    @functools.wraps(function)
    async def wrapper(self, *args, **kwargs):
        return await function(self, *args, **kwargs)

    return wrapper


def _wrapping_arguments(function):
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def _checking(function):
    @functools.wraps(function)
    async def wrapper(self, event):
        if self.scope["user"].is_staff:
            await function(self, event)

    return wrapper


def _only_if(check):
    def decorate(function):
        @functools.wraps(function)
        async def wrapper(self, event):
            if check(event):
                await function(self, event)

        return wrapper

    return decorate


async def _plain(self, event):
    await self.send_json(event)


async def _personal(self, event):
    await self.send_json(self.user)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (_wrapping(_plain), SAME),
        (_wrapping(_wrapping(_plain)), SAME),
        (_wrapping_arguments(_plain), SAME),
        (_only_if(lambda event: event.get("text"))(_plain), SAME),
        (_wrapping(_personal), "reads self.user"),
        (_wrapping_arguments(_personal), "reads self.user"),
        (_checking(_plain), "reads self.scope"),
        (functools.partialmethod(_plain), SAME),
        (functools.partialmethod(_personal), "reads self.user"),
        (lambda self, event: self.send_json(event), SAME),
        (lambda self, event: self.send_json(self.user), "reads self.user"),
        (database_sync_to_async(lambda self, event: self.render("x")), SAME),
        (database_sync_to_async(lambda self, event: self.user), "reads self.user"),
        (functools.partial(_plain), "is a partial, not a method"),
        (3, "is an int, not a method"),
    ],
)
def test_wrapped_handlers_are_seen_through(handler, reason):
    assert _verdict(_consumer(handler)) == reason


def test_a_mock_in_the_place_of_a_method_is_no_method():
    class Chat(Base):
        render = Mock()

        async def note(self, event):
            await self.send_json(self.render("x"))

    assert _verdict(Chat) == "reads self.render, a Mock, which may change"
    assert _verdict(Chat, "render") == "is a Mock, not a method"


def test_a_static_handler_is_shared():
    async def note(event):
        logger.info("%s", event)

    assert _verdict(_consumer(staticmethod(note))) == SAME


def test_a_handler_by_another_name_is_the_other_one():
    class Chat(Base):
        note = Base.other
        greeting = Base.greet

    assert _verdict(Chat) == SAME
    assert _verdict(Chat, "greeting") == "reads self.user"


def test_a_class_handler_reads_and_writes_the_class():
    class Chat(Base):
        count = 0

        @classmethod
        async def note(cls, event):
            logger.info(cls.TITLE)

        @classmethod
        async def add(cls, event):
            cls.count += 1

    assert _verdict(Chat) == SAME
    assert _verdict(Chat, "add") == "writes type(self).count"


def test_sync_consumers_that_send_through_async_to_sync_are_followed():
    class Chat(AsyncJsonWebsocketConsumer):
        @sync_to_async
        def note(self, event):
            async_to_sync(self.send_json)(event)

        @sync_to_async
        def last(self, event):
            async_to_sync(self.send_json)(event, close=True)

    assert delivery(Chat, "note").reason == SAME
    assert delivery(Chat, "last").reason == "closes its connection"


def test_a_dispatch_of_the_project_is_part_of_every_handler():
    class Timed(Base):
        async def dispatch(self, message):
            logger.info("%s", message["type"])
            await super().dispatch(message)

        async def note(self, event):
            await self.send_json(event)

    class Named(Timed):
        async def dispatch(self, message):
            logger.info("%s", self.user)
            await super().dispatch(message)

    assert _verdict(Timed) == SAME
    assert _verdict(Named) == "reads self.user"


def test_a_replaced_method_differs():
    class Chat(Base):
        def loud(self):
            self.render = str.upper

        async def note(self, event):
            await self.send_json(self.render("x"))

    assert _verdict(Chat) == "reads self.render, which loud() assigns"


def test_a_constant_is_in_doubt_when_the_instance_is_handed_on_elsewhere():
    class Chat(Base):
        def enter(self):
            _helper(self)

        async def note(self, event):
            await self.send_json(self.TITLE)

    doubt = "which enter() may have changed, for it hands self to _helper()"
    assert _verdict(Chat) == f"reads self.TITLE, {doubt}"


def test_getattribute_leaves_nothing_certain():
    class Chat(Base):
        def __getattribute__(self, name):
            return super().__getattribute__(name)

        async def note(self, event):
            await self.send_json(event)

    assert _verdict(Chat) == "its class has its own __getattribute__()"


@pytest.mark.parametrize("base", [SyncConsumer, AsyncConsumer])
def test_consumers_of_the_lowest_level_are_decided_on(base):
    def note(self, event):
        return self.send({"type": "websocket.send", "text": "x"})

    def last(self, event):
        return self.send({"type": "websocket.close"})

    cls = type("Chat", (base,), {"note": note, "last": last})
    assert _verdict(cls) == SAME
    assert _verdict(cls, "last") == "closes its connection"


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("websocket_receive", "reads self.user, in receive()"),
        ("receive", "reads self.user"),
        ("websocket_connect", "passes self.channel_name to other code, in _for_each_group()"),
        ("close", "closes its connection"),
        ("accept", "accepts its connection"),
        ("send", SAME),
        ("scope", "is a RestoredScope, not a method"),
        ("unknown", "is no method"),
    ],
)
def test_an_event_may_name_any_method(handler, reason):
    class Chat(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=self.user)

    assert delivery(Chat, handler).reason == reason


@pytest.mark.parametrize("name", ["StopConsumer", "os.urandom", "get_channel_layer"])
def test_imports_inside_of_a_handler_are_seen(name):
    module, _, last = name.rpartition(".")
    source = (
        f"from {module or 'grip_consumers.exceptions'} import {last}"
        if name != "get_channel_layer"
        else ("from grip_consumers.layers import get_channel_layer")
    )
    namespace: dict = {}
    exec(f"async def note(self, event):\n    {source}\n    await self.send_json({last})", namespace)
    assert not delivery(_consumer(namespace["note"]), "note").shared


# Certainty -----------------------------------------------------------------------------------------------------


class Level(enum.Enum):
    HIGH = 1


def _pure(text):
    return text.upper()


class Unknown:
    def __call__(self, event):
        return event


unknown = Unknown()


def _uses(value):
    async def note(self, event):
        await self.send_json(str(value))

    return note


@pytest.mark.parametrize(
    ("expression", "certain"),
    [
        ("json.dumps(event)", True),
        ("_pure(event['text'])", True),
        ("Level.HIGH.value", True),
        ("timezone.now().isoformat()", True),
        ("settings.DEBUG", True),
        ("len(ROOMS)", True),
        ("logger.info('x') or 'x'", True),
        ("ValueError('x').args", True),
        ("unknown(event)", False),
        ("Unknown()(event)", False),
        ("User.objects.count()", False),
        ("not_there", False),
        ("eval('1')", None),
        ("open('x')", False),
    ],
)
def test_what_code_cannot_be_seen_through_is_not_certain(expression, certain):
    namespace = dict(globals())
    exec(f"async def note(self, event):\n    await self.send_json({expression})", namespace)
    found = delivery(_consumer(namespace["note"]), "note")
    assert found.certain is (certain if certain is not None else True)
    assert found.shared is (certain is not None)


# Decorators and runs -------------------------------------------------------------------------------------------


def test_decorators_decide():
    class Chat(Base):
        @shared
        async def note(self, event):
            await self.send_json(self.language)

        @per_connection
        async def other(self, event):
            await self.send_json(event)

    class Child(Chat):
        pass

    class Overriding(Chat):
        async def note(self, event):
            await self.send_json(self.language)

    for cls in (Chat, Child):
        assert (delivery(cls, "note").shared, delivery(cls, "note").reason) == (True, "marked @shared")
        assert (delivery(cls, "other").shared, delivery(cls, "other").reason) == (False, "marked @per_connection")
    assert not delivery(Overriding, "note").shared


def test_decorators_decide_for_sync_handlers_and_under_others():
    class Chat(WebsocketConsumer):
        @shared
        def note(self, event):
            self.send(text_data=self.user)

        @_wrapping
        @shared
        def wrapped(self, event):
            self.send(text_data=self.user)

        @shared
        @database_sync_to_async
        def threaded(self, event):
            self.send(text_data=self.user)

        @database_sync_to_async
        @per_connection
        def in_thread(self, event):
            self.send(text_data="x")

        @staticmethod
        @per_connection
        def static(event):
            pass

    assert [delivery(Chat, name).shared for name in ("note", "wrapped", "threaded")] == [True] * 3
    assert [delivery(Chat, name).shared for name in ("in_thread", "static")] == [False] * 2


def test_decorators_give_the_function_back():
    def note(self, event):
        """Notes."""

    assert shared(note) is note
    assert per_connection(note) is note


@pytest.mark.parametrize("decorator", [shared, per_connection])
def test_a_decorator_on_what_cannot_be_marked_says_what_to_do(decorator):
    with pytest.raises(TypeError, match=rf"@{decorator.__name__} needs a function or method"):
        decorator(len)


def test_a_marked_helper_is_taken_at_its_word():
    class Chat(Base):
        @shared
        def shown(self):
            return self.language

        @per_connection
        def hidden(self):
            return 1

        async def note(self, event):
            await self.send_json(self.shown())

        async def last(self, event):
            await self.send_json(self.hidden())

    assert delivery(Chat, "note").reason == SAME
    assert delivery(Chat, "last").reason == "calls hidden(), which is marked @per_connection"


def test_a_run_teaches_but_for_what_is_marked():
    class Chat(Base):
        async def note(self, event):
            await self.send_json(unknown(event))

        @shared
        async def other(self, event):
            await self.send_json(event)

    class Child(Chat):
        pass

    assert delivery(Chat, "note").shared
    learn(Chat, "note", "uses self.role, as a run has shown")
    learn(Chat, "note", "later")
    learn(Chat, "other", "x")
    assert delivery(Chat, "note") == delivery(Chat, "note")
    assert delivery(Chat, "note").reason == "uses self.role, as a run has shown"
    assert not delivery(Chat, "note").shared
    assert delivery(Chat, "other").shared
    assert delivery(Child, "note").shared


def test_deciding_does_not_keep_a_class_alive():
    cls = _consumer(_plain)
    delivery(cls, "note")
    learn(cls, "note", "x")
    may_have_mail(cls)
    reference = weakref.ref(cls)
    del cls
    gc.collect()
    assert reference() is None


def test_threads_decide_alike():
    classes = [_consumer(_plain) for _ in range(20)]
    found = []

    def decide():
        found.append([delivery(cls, "note").reason for cls in classes])

    threads = [threading.Thread(target=decide) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[SAME] * 20] * 4


# Mail ----------------------------------------------------------------------------------------------------------


class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


class Tutorial(WebsocketConsumer):
    """The chat of Channels' tutorial."""

    def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"
        async_to_sync(self.channel_layer.group_add)(self.room_group_name, self.channel_name)
        self.accept()

    def disconnect(self, close_code):
        async_to_sync(self.channel_layer.group_discard)(self.room_group_name, self.channel_name)

    def receive(self, text_data):
        message = json.loads(text_data)["message"]
        event = {"type": "chat.message", "message": message}
        async_to_sync(self.channel_layer.group_send)(self.room_group_name, event)

    def chat_message(self, event):
        message = event["message"]
        self.send(text_data=json.dumps({"message": message}))


class AsyncTutorial(AsyncWebsocketConsumer):
    async def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{self.room_name}"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(self.room_group_name, {"type": "chat.message", "message": message})

    async def chat_message(self, event):
        message = event["message"]
        await self.send(text_data=json.dumps({"message": message}))


class ByLayer(Tutorial):
    def connect(self):
        layer = get_channel_layer()
        async_to_sync(layer.group_add)("g", self.channel_name)
        self.accept()


@pytest.mark.parametrize("cls", [Echo, Tutorial, AsyncTutorial, ByLayer], ids=lambda cls: cls.__name__)
def test_plain_consumers_have_no_mail(cls):
    assert not may_have_mail(cls)


def _tells_its_name(self, text_data=None, bytes_data=None):
    self.send(text_data=self.channel_name)


def _sends_its_name(self, text_data=None, bytes_data=None):
    async_to_sync(self.channel_layer.group_send)("g", {"type": "note", "from": self.channel_name})


def _stores_its_name(self, text_data=None, bytes_data=None):
    User.objects.filter(pk=1).update(username=self.channel_name)


def _names_a_group_so(self, text_data=None, bytes_data=None):
    async_to_sync(self.channel_layer.group_add)(self.channel_name, "x")


def _adds_to_something_else(self, text_data=None, bytes_data=None):
    ROOMS["x"].group_add("x", self.channel_name)


def _hands_itself_on(self, text_data=None, bytes_data=None):
    _helper(self)


def _tells_by_a_variable(self, text_data=None, bytes_data=None):
    name = self.channel_name
    self.send(text_data=name)


GIVES = [_tells_its_name, _sends_its_name, _stores_its_name, _names_a_group_so, _adds_to_something_else]


@pytest.mark.parametrize("receive", [*GIVES, _hands_itself_on, _tells_by_a_variable], ids=lambda found: found.__name__)
def test_a_consumer_that_gives_its_name_away_may_have_mail(receive):
    assert may_have_mail(type("Chat", (Tutorial,), {"receive": receive}))


@pytest.mark.parametrize("case", ["skips_the_sender", "reads_a_default_that_is_assigned", "closes", "counts"])
def test_a_consumer_with_a_handler_for_each_connection_may_have_mail(case):
    assert not may_have_mail(_consumer(CASES["sends_the_event"][0], base=AsyncJsonWebsocketConsumer))
    names = {"language": "en", "set_language": Base.set_language} if "default" in case else {}
    assert may_have_mail(_consumer(CASES[case][0], base=AsyncJsonWebsocketConsumer, **names))


def test_a_consumer_may_have_mail_after_a_run_has_taught_so():
    cls = type("Chat", (Tutorial,), {})
    assert not may_have_mail(cls)
    learn(cls, "chat_message", "x")
    assert may_have_mail(cls)


# Listing -------------------------------------------------------------------------------------------------------


class FromMixin:
    async def from_mixin(self, event):
        pass


class Listed(FromMixin, AsyncTutorial):
    constant = 1

    async def with_default(self, event, extra=None):
        pass

    async def with_two(self, one, two):
        pass

    async def with_none(self):
        pass

    async def with_keyword(self, event, *, key):
        pass

    async def _private(self, event):
        pass

    @property
    def label(self):
        return 1

    @classmethod
    def of_class(cls, text):
        pass

    @staticmethod
    def static(event):
        pass

    @database_sync_to_async
    def threaded(self, event):
        pass

    async def receive_json(self, content):
        pass

    async def websocket_receive(self, message):
        pass

    async def dispatch(self, message):
        pass

    partial = functools.partialmethod(with_two, 1)
    wrapped = _wrapping(_plain)


def test_group_handlers_are_the_projects_methods_that_take_an_event():
    expected = ["chat_message", "from_mixin", "partial", "static", "threaded", "with_default", "wrapped"]
    assert group_handlers(Listed) == expected
    assert group_handlers(WebsocketConsumer) == []


@pytest.mark.parametrize(("version", "is_shared"), [((3, 13), True), ((3, 14), False), ((4, 0), False)])
def test_on_a_python_whose_code_cannot_be_read_only_marked_handlers_are_shared(version, is_shared, monkeypatch):
    class Members(WebsocketConsumer):
        def plain(self, event):
            self.send(event["text"])

        @shared
        def marked(self, event):
            self.send(event["text"])

    class Nameless(WebsocketConsumer):
        pass

    info = types.SimpleNamespace(major=version[0], minor=version[1])
    monkeypatch.setattr("grip_consumers.bytecode.is_known", lambda: version < (3, 14))
    monkeypatch.setattr("grip_consumers.delivery.sys", types.SimpleNamespace(version_info=info))
    assert delivery(Members, "marked").shared
    found = delivery(Members, "plain")
    assert found.shared is is_shared
    assert is_shared or f"the code of Python {version[0]}.{version[1]} cannot be read" in found.reason
    assert may_have_mail(Nameless) is not is_shared
