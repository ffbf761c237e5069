"""Stand-ins: what may be rendered once for all members, and what must not."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import enum
import json

import pytest
from asgiref.sync import async_to_sync

from grip_consumers.consumer import AsyncConsumer, SyncConsumer
from grip_consumers.db import database_sync_to_async
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import get_channel_layer
from grip_consumers.running import plain_dispatch
from grip_consumers.standin import (
    Abandoned,
    Attempt,
    current_attempt,
    make_stand_in,
    note_failure,
    note_hidden_writes,
)

from . import batches
from .batches import importable

wsgi_site = batches.wsgi_site


def run(cls, attempt, event, *, forced=False):
    """Handle an event on a stand-in; the messages that it sent."""
    sent = []

    async def asend(message):
        sent.append(message)

    stand_in = make_stand_in(cls, sent.append if cls._sync else asend, attempt, forced=forced)
    token = current_attempt.set(attempt)
    try:
        plain = plain_dispatch(cls)
        if plain is not None:
            plain(stand_in, event)
        else:
            async_to_sync(stand_in.dispatch)(event)
    except Abandoned as error:
        attempt.abandon(error.attribute)
    except Exception:
        note_failure(attempt)
        if attempt.abandoned is None:
            raise
    finally:
        current_attempt.reset(token)
    note_hidden_writes(stand_in, attempt)
    return sent


@pytest.fixture
def outcome(wsgi_site):
    """Handle `note` on a stand-in of a class; the texts, or the name of the attribute that stopped it."""

    def send(cls, *, forced=False, **event):
        importable(cls)
        attempt = Attempt()
        sent = run(cls, attempt, {"type": "note", "text": "x", **event}, forced=forced)
        if attempt.abandoned is not None:
            return f"per connection: {attempt.abandoned}"
        return [message["text"] for message in sent]

    return send


class Base(WebsocketConsumer):
    """A consumer whose members differ in `role`, which has a default."""

    role = "guest"

    def connect(self):
        self.role = "admin"
        self.accept()

    def note(self, event):
        self.send(text_data=self.role)


# What is shared ------------------------------------------------------------------------------------------


class Level(enum.Enum):
    HIGH = "high"


def test_constants_methods_helpers_and_properties_are_shared(outcome):
    class Chat(WebsocketConsumer):
        TEMPLATE = "<{}:{}>"
        LEVELS = (1, ("a", None))
        level = Level.HIGH
        kind = dict

        def note(self, event):
            self.send(text_data=self.render(event["text"]))

        def render(self, text):
            return self.TEMPLATE.format(self.shout(text), self.level.value) + self.static() + self.of_class()

        @property
        def mark(self):
            return "!" * len(self.LEVELS)

        def shout(self, text):
            return text.upper() + self.mark

        @staticmethod
        def static():
            return "s"

        @classmethod
        def of_class(cls):
            return cls.kind.__name__

    assert outcome(Chat) == ["<X!!:high>sdict"]


def test_super_and_mixins_are_shared(outcome):
    class Mixin:
        def note(self, event):
            self.send(text_data=f"mixin {event['text']}")
            super().note(event)

    class Plain(WebsocketConsumer):
        def note(self, event):
            self.send(text_data="base")

    class Chat(Mixin, Plain):
        def note(self, event):
            super().note(event)

    assert outcome(Chat) == ["mixin x", "base"]


def test_a_handler_calling_another_handler_is_shared(outcome):
    class Chat(WebsocketConsumer):
        def note(self, event):
            self.other({"text": "o"})

        def other(self, event):
            self.send(text_data=event["text"])

    assert outcome(Chat) == ["o"]


def test_dispatch_overrides_are_rendered_through(outcome):
    class Chat(WebsocketConsumer):
        @database_sync_to_async
        def dispatch(self, message):
            getattr(self, message["type"])({**message, "text": "by dispatch"})

        def note(self, event):
            self.send(text_data=event["text"])

    assert outcome(Chat) == ["by dispatch"]


def test_an_async_dispatch_on_a_sync_consumer_is_rendered_through(outcome):
    class Chat(WebsocketConsumer):
        async def dispatch(self, message):
            await super().dispatch({**message, "text": "async"})

        def note(self, event):
            self.send(text_data=event["text"])

    assert outcome(Chat) == ["async"]


def test_a_method_in_a_thread_is_shared(outcome):
    class Chat(AsyncWebsocketConsumer):
        async def note(self, event):
            await self.send(text_data=await self.load())

        @database_sync_to_async
        def load(self):
            return "loaded"

    assert outcome(Chat) == ["loaded"]


def test_overridden_send_is_used(outcome):
    class Chat(WebsocketConsumer):
        def send(self, text_data=None, bytes_data=None, close=False):
            super().send(text_data=f"[{text_data}]")

        def note(self, event):
            self.send(text_data="x")

    assert outcome(Chat) == ["[x]"]


@pytest.mark.parametrize("base", [SyncConsumer, AsyncConsumer])
def test_consumers_of_the_lowest_level_are_shared(outcome, base):
    message = {"type": "websocket.send", "text": "low"}

    class Sync(SyncConsumer):
        def note(self, event):
            self.send(message)

    class Async(AsyncConsumer):
        async def note(self, event):
            await self.send(message)

    assert outcome(Sync if base is SyncConsumer else Async) == ["low"]


# What differs between members ----------------------------------------------------------------------------


def _reads(expression):
    def note(self, event):
        self.send(text_data=str(expression(self)))

    return note


@pytest.mark.parametrize(
    "read",
    [
        lambda self: self.role,
        lambda self: self.scope["user"],
        lambda self: self.groups,
        lambda self: self.unknown,
        lambda self: getattr(self, "ro" + "le"),
        lambda self: getattr(self, "unknown", "default"),
        lambda self: hasattr(self, "role"),
        lambda self: vars(self),
        lambda self: self.__dict__,
        lambda self: dir(self),
        lambda self: f"{self}",
        lambda self: repr(self),
        lambda self: "%r" % (self,),  # noqa: UP031
        lambda self: hash(self),
        lambda self: {self},
        lambda self: self == 1,
        lambda self: self in [1],
        lambda self: copy.copy(self),
        lambda self: self.channel_layer,
        lambda self: format(self, ""),
    ],
)
def test_reading_what_can_differ_abandons(outcome, read):
    class Chat(Base):
        note = _reads(read)

    assert str(outcome(Chat)).startswith("per connection: ")


def _set(self):
    self.seen = True


def _del(self):
    del self.seen


def _setattr(self):
    setattr(self, "se" + "en", 1)


def _object_setattr(self):
    object.__setattr__(self, "seen", 1)


def _update(self):
    self.__dict__.update(seen=1)


def _augment_class_state(self):
    type(self).counter += 1


def _group_send(self):
    async_to_sync(get_channel_layer().group_send)("h", {"type": "note"})


def _group_add(self):
    async_to_sync(get_channel_layer().group_add)("h", "specific.grip!x")


def _send_to_channel(self):
    async_to_sync(get_channel_layer().send)("specific.grip!x", {"type": "note"})


WRITES = [
    _set,
    _del,
    _setattr,
    _object_setattr,
    _update,
    _augment_class_state,
    _group_send,
    _group_add,
    _send_to_channel,
]


@pytest.mark.parametrize("write", WRITES)
def test_writing_abandons(outcome, write):
    class Chat(WebsocketConsumer):
        counter = 0

        def note(self, event):
            self.send(text_data="first")
            write(self)
            self.send(text_data="second")

    assert str(outcome(Chat)).startswith("per connection: ")


@pytest.mark.parametrize("write", WRITES)
def test_a_handler_that_catches_everything_cannot_hide_it(outcome, write):
    class Chat(WebsocketConsumer):
        counter = 0

        def note(self, event):
            try:  # noqa: SIM105
                write(self)
            except BaseException:
                pass
            self.send(text_data="hidden")

    assert str(outcome(Chat)).startswith("per connection: ")


def test_a_finally_that_returns_cannot_hide_it(outcome):
    class Chat(Base):
        def note(self, event):
            with contextlib.suppress(BaseException):
                self.send(text_data=self.role)

    assert outcome(Chat) == "per connection: role"


def test_a_handler_in_a_task_cannot_hide_it(outcome):
    class Chat(AsyncWebsocketConsumer):
        role = "guest"

        async def connect(self):
            self.role = "admin"

        async def note(self, event):
            await asyncio.gather(self.part(), return_exceptions=True)

        async def part(self):
            await self.send(text_data=self.role)

    assert outcome(Chat) == "per connection: role"


# What a class shows of its attributes ---------------------------------------------------------------------


def test_a_mutable_attribute_of_the_class_is_not_shared(outcome):
    class Chat(WebsocketConsumer):
        seen: list = []

        def note(self, event):
            self.seen.append(1)
            self.send(text_data=str(len(self.seen)))

    assert outcome(Chat) == "per connection: seen"


def test_a_replaced_method_is_not_shared(outcome):
    class Chat(WebsocketConsumer):
        def connect(self):
            self.render = lambda text: "special"
            self.accept()

        def render(self, text):
            return text

        def note(self, event):
            self.send(text_data=self.render("x"))

    assert outcome(Chat) == "per connection: render"


def test_a_custom_getattr_is_not_asked(outcome):
    class Chat(WebsocketConsumer):
        def __getattr__(self, name):
            return f"made-up {name}"

        def note(self, event):
            self.send(text_data=self.nickname)

    assert outcome(Chat) == "per connection: nickname"


def test_a_custom_getattribute_does_not_open_a_way_around(outcome):
    class Chat(Base):
        def __getattribute__(self, name):
            return object.__getattribute__(self, "role" if name == "alias" else name)

        alias = "x"

        def note(self, event):
            self.send(text_data=self.alias)

    assert str(outcome(Chat)).startswith("per connection: ")


def test_object_getattribute_does_not_open_a_way_around(outcome):
    class Chat(Base):
        def note(self, event):
            self.send(text_data=object.__getattribute__(self, "role"))

    assert str(outcome(Chat)).startswith("per connection: ")


def test_a_class_method_does_not_open_a_way_to_instance_state(outcome):
    """What the class itself holds is the same for all members."""

    class Chat(Base):
        @classmethod
        def of_class(cls):
            return cls.role

        def note(self, event):
            self.send(text_data=self.of_class())

    assert outcome(Chat) == ["guest"]


def test_a_stand_in_does_not_run_the_consumers_init(outcome):
    class Chat(WebsocketConsumer):
        def __init__(self, *args, **kwargs):
            raise AssertionError

        def note(self, event):
            self.send(text_data="x")

    assert outcome(Chat) == ["x"]


def test_a_class_with_a_metaclass_can_be_rendered(outcome):
    class Registry(type):
        made: list = []

        def __new__(mcs, name, bases, names, **kwargs):
            mcs.made.append(name)
            return super().__new__(mcs, name, bases, names, **kwargs)

    class Chat(WebsocketConsumer, metaclass=Registry):
        def note(self, event):
            self.send(text_data="x")

    assert outcome(Chat) == ["x"]


def test_init_subclass_does_not_see_the_stand_in(outcome):
    """Projects register their consumers in __init_subclass__: a stand-in is none of them."""
    made = []

    class Chat(WebsocketConsumer):
        def __init_subclass__(cls, **kwargs):
            made.append(cls)
            super().__init_subclass__(**kwargs)

        def note(self, event):
            self.send(text_data="x")

    assert outcome(Chat) == ["x"]
    assert made == []


def test_an_init_subclass_that_asks_for_arguments_does_not_prevent_rendering(outcome):
    class Parent(WebsocketConsumer):
        def __init_subclass__(cls, *, channel, **kwargs):
            super().__init_subclass__(**kwargs)

    class Chat(Parent, channel="c"):
        def note(self, event):
            self.send(text_data="x")

    assert outcome(Chat) == ["x"]


def test_a_registry_in_a_metaclass_does_not_hear_of_the_stand_in():
    heard = []

    class Registering(type):
        def __init__(cls, name, bases, namespace):
            super().__init__(name, bases, namespace)
            heard.append(cls)

    class Chat(WebsocketConsumer, metaclass=Registering):
        pass

    make_stand_in(Chat, None, Attempt())
    assert heard == [Chat]


# What @shared permits -------------------------------------------------------------------------------------


def test_a_forced_stand_in_has_what_the_class_has_as_it_stands_there(outcome):
    class Chat(Base):
        seen: list = [1]

        def note(self, event):
            self.send(text_data=f"{self.role} {self.seen}")

    assert outcome(Chat, forced=True) == ["guest [1]"]
    assert outcome(Chat) == "per connection: role"


@pytest.mark.parametrize(
    "read", [lambda self: self.scope, lambda self: self.unknown, lambda self: self.groups, lambda self: vars(self)]
)
def test_a_forced_stand_in_has_nothing_that_only_an_instance_has(outcome, read):
    class Chat(Base):
        note = _reads(read)

    assert str(outcome(Chat, forced=True)).startswith("per connection: ")


def test_a_forced_stand_in_takes_no_writes(outcome):
    class Chat(Base):
        def note(self, event):
            self.role = "admin"

    assert outcome(Chat, forced=True) == "per connection: role"


# The class, closing, and the channel name ------------------------------------------------------------------


def test_the_class_is_the_same_for_all(outcome):
    class Chat(WebsocketConsumer):
        title = "t"

        def note(self, event):
            self.send(text_data=type(self).title + self.__class__.title)

    assert outcome(Chat) == ["tt"]


def test_closing_abandons(outcome):
    class Chat(WebsocketConsumer):
        def note(self, event):
            self.send(text_data="bye", close=event["last"])

    assert outcome(Chat, last=4000) == "per connection: close"
    assert outcome(Chat, last=False) == ["bye"]


class Compares(WebsocketConsumer):
    """Consumers whose `note` sends what a comparison comes to."""

    def note(self, event):
        self.send(text_data=str(self.compare(event)))


@pytest.mark.parametrize(
    ("compare", "result", "names"),
    [
        (lambda self, event: self.channel_name == event["a"], "False", {"a!1"}),
        (lambda self, event: event["a"] == self.channel_name, "False", {"a!1"}),
        (lambda self, event: self.channel_name != event["a"], "True", {"a!1"}),
        (lambda self, event: event["a"] != self.channel_name, "True", {"a!1"}),
        (lambda self, event: self.channel_name in event["many"], "False", {"b!1", "b!2"}),
        (lambda self, event: self.channel_name not in tuple(event["many"]), "True", {"b!1", "b!2"}),
        (lambda self, event: self.channel_name == event["none"], "False", set()),
        (lambda self, event: self.channel_name == self.channel_name, "True", set()),
        (lambda self, event: self.channel_name is None, "False", set()),
        (lambda self, event: event["many"].count(self.channel_name), "0", {"b!1", "b!2"}),
    ],
)
def test_a_channel_name_can_be_compared_and_the_compared_names_are_noted(compare, result, names):
    class Chat(Compares):
        pass

    Chat.compare = compare
    attempt = Attempt()
    sent = run(Chat, attempt, {"type": "note", "a": "a!1", "many": ["b!1", "b!2"], "none": None})
    assert attempt.abandoned is None
    assert [message["text"] for message in sent] == [result]
    assert attempt.compared == names


def test_an_exception_is_not_put_down_to_a_channel_name_that_was_not_read():
    class Chat(WebsocketConsumer):
        def note(self, event):
            raise TypeError("its own")

    with pytest.raises(TypeError, match="its own"):
        run(Chat, Attempt(), {"type": "note"})


@pytest.mark.parametrize(
    "use",
    [
        str,
        repr,
        hash,
        len,
        bool,
        list,
        json.dumps,
        copy.copy,
        copy.deepcopy,
        "{}".format,
        "-".join,
        lambda name: f"{name}",
        lambda name: "%s" % name,  # noqa: UP031
        lambda name: name + "x",
        lambda name: "x" + name,
        lambda name: name < "x",
        lambda name: name >= "x",
        lambda name: "x" in name,
        lambda name: name in "text",
        lambda name: name in {"x": 1},
        lambda name: name in {"x"},
        lambda name: {name: 1},
        lambda name: name.split("!"),
        lambda name: name[0],
        lambda name: "x".startswith(name),
        lambda name: isinstance(name, str),
        lambda name: "yes" if name else "no",
        lambda name: sorted([name, "x"]),
    ],
)
def test_anything_else_with_a_channel_name_abandons(use):
    class Chat(WebsocketConsumer):
        def note(self, event):
            event["use"](self.channel_name)

    attempt = Attempt()
    run(Chat, attempt, {"type": "note", "use": use})
    assert attempt.abandoned == "channel_name"
