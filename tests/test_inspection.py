"""What is found in the classes of routed consumers."""

from __future__ import annotations

import abc
import threading
from typing import Generic, TypeVar

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter as GenuineProtocolTypeRouter
from channels.routing import URLRouter as GenuineURLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.handlers.asgi import ASGIHandler
from django.urls import path
from grip_consumers.routing import ProtocolTypeRouter, URLRouter, behind_proxy

from grip_consumers.consumer import SyncConsumer
from grip_consumers.generic.websocket import WebsocketConsumer
from grip_consumers.inspection import findings, library_of, takes_websockets

from . import broken_consumers
from .batches import importable
from .broken_state import lobby
from .parity.site import middleware


class Enters(WebsocketConsumer):
    def connect(self):
        lobby.enter(self.channel_name)


class Many(WebsocketConsumer):
    groups = ["a", "b", "c"]


class Base(WebsocketConsumer):
    visits: list[str] = []

    def note(self):
        self.visits.append("x")


class Derived(Base):
    pass


class Works(SyncConsumer):
    def resize(self, message):
        threading.Timer(1, print)


class Seats:
    def __init__(self):
        self.taken = set()

    def take(self, number):
        self.taken.add(number)


seats = Seats()


class Sits(WebsocketConsumer):
    def connect(self):
        seats.take(1)


@pytest.fixture(autouse=True)
def layers(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
    return settings.CHANNEL_LAYERS


def found(*classes, limit=20):
    return [(finding.rule.name, finding.where, finding.detail) for finding in findings(classes, limit)]


def test_a_class_without_faults_has_no_findings():
    assert found(Many, broken_consumers.OrdinaryLayer) == []


def test_an_object_of_another_module_that_keeps_things_is_found():
    (finding,) = found(Enters)
    assert finding == (
        "process-state",
        "Enters",
        f"uses {__name__}.lobby, an object that fills Lobby.players",
    )


def test_an_object_of_its_own_module_that_keeps_things_is_found_once():
    detail = "uses seats, an object of its module that fills Seats.taken"
    assert found(Sits) == [("process-state", "Sits.connect", detail)]


def test_what_a_base_does_is_found_once_for_all_that_inherit_it():
    class Other(Derived):
        pass

    places = [where for rule, where, _ in found(Derived, Base, importable(Other)) if rule == "process-state"]
    assert places == ["Base.note"]


def test_groups_are_counted_by_the_limit_of_the_proxy():
    assert found(Many, limit=4) == []
    assert found(Many, limit=3) == [("too-many-groups", "Many", "joins 3 groups; its proxy serves it 2")]


def test_consumers_of_something_else_than_websockets_are_left_alone():
    assert found(Works) == []


def test_a_layer_that_cannot_be_made_is_not_this_checks_to_say(layers):
    layers["ordinary"] = {"BACKEND": "nowhere.Layer"}
    assert found(broken_consumers.OrdinaryLayer) == []


def test_an_alias_without_a_layer_is_in_order():
    assert found(broken_consumers.OrdinaryLayer) == []


def test_an_ordinary_layer_that_nobody_uses_groups_of_is_in_order(layers):
    layers["ordinary"] = {"BACKEND": "channels.layers.InMemoryChannelLayer"}

    @importable
    class Quiet(WebsocketConsumer):
        channel_layer_alias = "ordinary"

    assert found(Quiet) == []
    (finding,) = found(broken_consumers.OrdinaryLayer)
    assert finding[0] == "ordinary-layer"


def test_classes_without_source_are_looked_at_as_far_as_they_can_be():
    made = importable(type("Made", (WebsocketConsumer,), {"groups": [str(number) for number in range(30)]}))
    (finding,) = findings([made], 20)
    assert (finding.rule.name, finding.file, finding.line) == ("too-many-groups", made.__module__, 1)


T = TypeVar("T")


class Typed(WebsocketConsumer, Generic[T], abc.ABC):
    pass


class TypedFurther(Typed[int]):
    pass


def test_code_of_the_standard_library_is_not_looked_at():
    assert found(Typed, TypedFurther) == []


# What is around consumers --------------------------------------------------------------------------------------------


class Ends:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        await self.inner(scope, receive, send)
        scope.clear()


class EndsToo(Ends):
    pass


def ends(inner):
    async def application(scope, receive, send):
        await inner(scope, receive, send)
        scope.clear()

    return application


def around(application):
    return [(finding.rule.name, finding.where) for finding in findings([], 20, application)]


CHAT = Many.as_asgi()
STACKS = {
    "a class": (Ends(CHAT), ["Ends.__call__"]),
    "a class that inherits its call": (EndsToo(CHAT), ["Ends.__call__"]),
    "a function": (ends(CHAT), ["ends.application"]),
    "one around the other": (Ends(ends(CHAT)), ["Ends.__call__", "ends.application"]),
    "the same twice": (Ends(Ends(CHAT)), ["Ends.__call__"]),
    "for WebSockets": (ProtocolTypeRouter({"http": CHAT, "websocket": Ends(CHAT)}), ["Ends.__call__"]),
    "for HTTP": (ProtocolTypeRouter({"http": Ends(CHAT), "websocket": CHAT}), []),
    "around all protocols": (Ends(ProtocolTypeRouter({"websocket": CHAT})), ["Ends.__call__"]),
    "around one route": (URLRouter([path("a/", Ends(CHAT)), path("b/", CHAT)]), ["Ends.__call__"]),
    "of Channels": (
        GenuineProtocolTypeRouter({"http": Ends(CHAT), "websocket": GenuineURLRouter([path("a/", Ends(CHAT))])}),
        ["Ends.__call__"],
    ),
    "behind the proxy": (behind_proxy(GenuineProtocolTypeRouter({"websocket": Ends(CHAT)})), ["Ends.__call__"]),
    "Channels' own": (AllowedHostsOriginValidator(AuthMiddlewareStack(GenuineURLRouter([path("a/", CHAT)]))), []),
    "well behaved": (
        middleware.TenantMiddleware(middleware.UpperMiddleware(middleware.strip_middleware(CHAT))),
        [],
    ),
    "a caught exception with a name": (middleware.CatchErrorsMiddleware(middleware.TokenMiddleware(CHAT)), []),
    "no application": (None, []),
}


@pytest.mark.parametrize(("application", "places"), STACKS.values(), ids=list(STACKS))
def test_what_stands_around_consumers_is_looked_at(application, places):
    assert around(application) == [("lasting-call", place) for place in places]


async def nowhere(scope, receive, send):
    raise AssertionError("nothing is called")


@pytest.mark.parametrize(
    ("application", "expected"),
    [
        (ASGIHandler(), False),
        (ends(ASGIHandler()), False),
        (ProtocolTypeRouter({"http": ASGIHandler()}), False),
        (ProtocolTypeRouter({"http": ASGIHandler(), "websocket": nowhere}), True),
        (GenuineProtocolTypeRouter({"http": ASGIHandler(), "websocket": URLRouter([])}), True),
        (behind_proxy(ProtocolTypeRouter({"http": ASGIHandler()})), False),
        (nowhere, True),
    ],
)
def test_an_application_takes_websockets_unless_it_is_django_s_own(application, expected):
    assert takes_websockets(application) is expected


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("/srv/env/lib/python3.12/site-packages/strawberry/channels/handlers.py", "strawberry"),
        ("/usr/lib/python3/dist-packages/six.py", "six"),
        ("/srv/site/chat/consumers.py", ""),
        ("/srv/site-packages", ""),
        ("chat.consumers", ""),
    ],
)
def test_a_library_is_known_by_where_it_is_installed(file, library):
    assert library_of(file) == library
