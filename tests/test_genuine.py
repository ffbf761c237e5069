"""Consumers, routers and middleware of Channels itself, behind the dispatcher and beside it."""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import subprocess
import sys
import types
import weakref

import channels.consumer
import channels.db
import channels.exceptions
import channels.generic.websocket as theirs
import pytest
from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.sessions import InstanceSessionWrapper, SessionMiddlewareStack
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIHandler
from django.db import transaction
from django.urls import path
from grip_consumers.routing import behind_proxy

from grip_consumers import exceptions, genuine, registry, ticking
from grip_consumers.consumer import AsyncConsumer
from grip_consumers.delivery import delivery, group_handlers, may_have_mail
from grip_consumers.generic import websocket as ours
from grip_consumers.protocol import Close, Open, Text
from grip_consumers.running import RestoredScope

from . import batches
from .batches import call_asgi, importable

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site

GRIP = {"default": {"BACKEND": "grip_consumers.layers.GripChannelLayer"}}
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(autouse=True)
def _fit(settings):
    settings.CHANNEL_LAYERS = GRIP
    genuine.fit()


class Counter(theirs.WebsocketConsumer):
    groups = ["everybody"]
    said = 0

    def receive(self, text_data):
        self.said += 1
        self.send(f"{text_data} {self.said} {self.scope['path']}")

    def news(self, event):
        self.send(event["text"])

    def count(self, event):
        self.send(str(self.said))


class AsyncCounter(theirs.AsyncWebsocketConsumer):
    groups = ["everybody"]
    said = 0

    async def receive(self, text_data):
        self.said += 1
        await self.send(f"{text_data} {self.said} {self.scope['path']}")

    async def news(self, event):
        await self.send(event["text"])

    async def count(self, event):
        await self.send(str(self.said))


COUNTERS = pytest.mark.parametrize("counter", [Counter, AsyncCounter])


def serve_theirs(site, websocket):
    """Serve an application of Channels alone, as its documentation has it."""
    site.serve()
    site.application = ProtocolTypeRouter({"http": ASGIHandler(), "websocket": websocket})
    batches._served[:] = [site.application]


# Behind a proxy -------------------------------------------------------------------------------------------------


@COUNTERS
def test_what_a_consumer_keeps_is_there_in_the_next_batch(site, counter):
    serve_theirs(site, URLRouter([path("ws/", counter.as_asgi())]))
    client = site.opened()
    assert client.post(Text("a"), Text("b")).sent == [("text", "a 1 /ws/"), ("text", "b 2 /ws/")]
    assert client.post(Text("c")).sent == [("text", "c 3 /ws/")]
    assert client.post(Close(1000)).sent == [("close", 1000, "")]


@COUNTERS
def test_an_event_that_is_the_same_for_all_is_published(wsgi_site, counter):
    wsgi_site.serve(counter)
    wsgi_site.opened()
    async_to_sync(get_channel_layer().group_send)("everybody", {"type": "news", "text": "hello"})
    assert [text for _, text in wsgi_site.texts] == ["hello"]


@COUNTERS
def test_an_event_that_is_not_is_handled_by_each_member(wsgi_site, counter):
    wsgi_site.serve(counter)
    client = wsgi_site.opened()
    client.post(Text("a"))
    async_to_sync(get_channel_layer().group_send)("everybody", {"type": "count"})
    assert len(wsgi_site.refreshed) == 1
    assert not wsgi_site.published
    assert client.post().sent == [("text", "1")]


class Answering(theirs.AsyncWebsocketConsumer):
    """Has an answer for whatever it is asked for."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return f"no {name}"

    async def receive(self, text_data):
        await self.send(self.anything)


def test_a_consumer_that_makes_up_attributes_is_not_asked_for_those_of_this_package(site):
    serve_theirs(site, URLRouter([path("ws/", Answering.as_asgi())]))
    client = site.opened()
    assert [client.post(Text("a")).sent for _ in range(2)] == [[("text", "no anything")]] * 2


@pytest.mark.django_db
def test_the_stack_of_channels_runs_once_for_a_connection(site, settings):
    runs = []

    def counted(inner):
        async def application(scope, receive, send):
            runs.append(scope["user"].is_anonymous)
            await inner(scope, receive, send)

        return application

    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    serve_theirs(site, AuthMiddlewareStack(counted(URLRouter([path("ws/", Counter.as_asgi())]))))
    client = site.opened()
    assert client.post(Text("a")).sent == [("text", "a 1 /ws/")]
    assert runs == [True]


def test_what_no_router_of_channels_knows_goes_to_the_views(site):
    serve_theirs(site, URLRouter([path("ws/", Counter.as_asgi())]))
    answer = site.client("/view/").post(Open())
    assert (answer.status, answer.body) == (200, b"view:OPEN\r\n")


def test_nor_does_one_without_websockets(asgi_site):
    asgi_site.serve()
    asgi_site.application = ProtocolTypeRouter({"http": ASGIHandler()})
    batches._served[:] = [asgi_site.application]
    assert asgi_site.client("/view/").post(Open()).body == b"view:OPEN\r\n"


def test_a_consumer_s_own_value_error_is_its_failure(site, caplog):
    class Failing(theirs.WebsocketConsumer):
        def connect(self):
            raise ValueError("No route found for path 'ws/'.")

    serve_theirs(site, URLRouter([path("ws/", importable(Failing).as_asgi())]))
    assert site.client().post(Open()).status == 500
    assert "Exception in" in caplog.text


def test_a_class_with_slots_is_refused_behind_a_proxy_alone(wsgi_site, caplog):
    class Slotted(theirs.WebsocketConsumer):
        __slots__ = ("seat",)

    wsgi_site.serve(importable(Slotted))
    assert wsgi_site.client().post(Open()).status == 500
    assert "has __slots__" in caplog.text


def test_arguments_of_as_asgi_make_transient_attributes_anew(wsgi_site):
    class Greeter(theirs.WebsocketConsumer):
        transient = ("made",)

        def __init__(self, greeting):
            super().__init__()
            self.made = greeting

        def receive(self, text_data):
            self.send(self.made)

    wsgi_site.serve_application(URLRouter([path("ws/", importable(Greeter).as_asgi(greeting="hello"))]))
    assert wsgi_site.opened().post(Text("a")).sent == [("text", "hello")]


@pytest.mark.django_db(transaction=True)
@COUNTERS
def test_a_transaction_outlives_an_event_sent_within_it(wsgi_site, counter):
    wsgi_site.serve(counter)
    with transaction.atomic():
        get_user_model().objects.create(username="kept")
        async_to_sync(get_channel_layer().group_send)("everybody", {"type": "news", "text": "hello"})
    assert get_user_model().objects.filter(username="kept").exists()
    assert [text for _, text in wsgi_site.texts] == ["hello"]


# Exceptions of either package -----------------------------------------------------------------------------------

MIXED = [(theirs, exceptions), (theirs, channels.exceptions), (ours, channels.exceptions), (ours, exceptions)]
mixed = pytest.mark.parametrize(("base", "raised"), MIXED, ids=["gc-grip", "gc-channels", "grip-channels", "grip-grip"])
both = pytest.mark.parametrize("kind", ["WebsocketConsumer", "AsyncWebsocketConsumer"])


def raising(base, kind, connect, receive=None):
    """A consumer whose handlers raise."""

    def raise_it(error):
        if error is not None:
            raise error

    if kind.startswith("Async"):

        async def on_connect(self):
            raise_it(connect)

        async def on_receive(self, text_data):
            raise_it(receive)
    else:

        def on_connect(self):
            raise_it(connect)

        def on_receive(self, text_data):
            raise_it(receive)

    made = type("Raising", (getattr(base, kind),), {"connect": on_connect, "receive": on_receive})
    return importable(made)


@mixed
@both
def test_a_consumer_decides_and_ends_by_exceptions_of_either_package(wsgi_site, base, raised, kind):
    denying = raising(base, kind, raised.DenyConnection)
    stopping = raising(base, kind, raised.AcceptConnection, raised.StopConsumer)
    wsgi_site.serve(denying, stopping=stopping)
    assert wsgi_site.client().post(Open()).status == 403
    assert wsgi_site.opened("/stopping/").post(Text("a")).sent == [("close", 1000, "")]


@mixed
@both
async def test_so_it_does_under_a_server(base, raised, kind, settings):
    settings.CHANNEL_LAYERS = IN_MEMORY
    denied = WebsocketCommunicator(raising(base, kind, raised.DenyConnection).as_asgi(), "/")
    assert (await denied.connect())[0] is False
    stopped = WebsocketCommunicator(raising(base, kind, raised.AcceptConnection, raised.StopConsumer).as_asgi(), "/")
    assert (await stopped.connect())[0] is True
    await stopped.send_to("a")
    await stopped.wait()


@pytest.mark.parametrize("name", [n for n, v in vars(channels.exceptions).items() if isinstance(v, type)])
def test_code_for_channels_catches_what_is_raised_here(name):
    raised = getattr(exceptions, name)
    with pytest.raises(getattr(channels.exceptions, name), match="full") as caught:
        raise raised("full")
    assert isinstance(caught.value, raised)
    assert f"{type(caught.value).__module__}.{type(caught.value).__qualname__}" == f"grip_consumers.exceptions.{name}"


def test_an_exception_of_a_project_s_own_is_of_both_kinds():
    class Busy(exceptions.ChannelFull):
        pass

    with pytest.raises(channels.exceptions.ChannelFull) as caught:
        raise Busy
    assert isinstance(caught.value, Busy)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_exception_of_both_kinds_survives_copying(duplicate):
    error = exceptions.RequestTimeout("late", 5)
    error.at = "noon"
    again = duplicate(error)
    assert type(again) is type(error)
    assert (again.args, again.at) == (("late", 5), "noon")


# Under a server -------------------------------------------------------------------------------------------------


@COUNTERS
async def test_a_connection_without_a_proxy_is_what_it_was(counter, settings):
    settings.CHANNEL_LAYERS = IN_MEMORY
    first, second = (WebsocketCommunicator(URLRouter([path("ws/", counter.as_asgi())]), "/ws/") for _ in range(2))
    for communicator in (first, second):
        assert (await communicator.connect())[0] is True
    await first.send_to("a")
    assert await first.receive_from() == "a 1 /ws/"
    await get_channel_layer().group_send("everybody", {"type": "count"})
    assert [await first.receive_from(), await second.receive_from()] == ["1", "0"]
    for communicator in (first, second):
        await communicator.disconnect()


class Ticker(theirs.WebsocketConsumer):
    tick_interval = 20

    def receive(self, text_data):
        self.send(text_data)

    def tick(self):
        self.send("tick")


class AsyncTicker(theirs.AsyncWebsocketConsumer):
    tick_interval = 20

    async def receive(self, text_data):
        await self.send(text_data)

    async def tick(self):
        await self.send("tick")


TICKERS = pytest.mark.parametrize("ticker", [Ticker, AsyncTicker])


@TICKERS
async def test_ticks_come_between_frames(ticker, settings, monkeypatch):
    settings.CHANNEL_LAYERS = IN_MEMORY
    monkeypatch.setattr(ticking, "interval_of", lambda consumer: 0.1)
    communicator = WebsocketCommunicator(ticker.as_asgi(), "/")
    await communicator.connect()
    await communicator.send_to("a")
    assert [await communicator.receive_from(), await communicator.receive_from(5)] == ["a", "tick"]
    await communicator.disconnect()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if "wait" in repr(task.get_coro())] == []


@TICKERS
def test_a_tick_is_called_behind_a_proxy(wsgi_site, ticker, monkeypatch):
    wsgi_site.serve(ticker)
    client = wsgi_site.opened()
    monkeypatch.setattr(ticking, "is_due", lambda batch: True)
    assert client.post().sent == [("text", "tick")]


def test_a_tick_of_the_wrong_kind_is_refused_where_it_is_routed():
    class Wrong(theirs.WebsocketConsumer):
        tick_interval = 20

        async def tick(self):
            pass

    with pytest.raises(TypeError, match="must be an ordinary function"):
        Wrong.as_asgi()


# What is made to fit --------------------------------------------------------------------------------------------


def test_fitting_again_changes_nothing():
    before = dict(vars(channels.consumer.AsyncConsumer))
    genuine.fit(now=True)
    assert dict(vars(channels.consumer.AsyncConsumer)) == before


def test_names_and_signatures_of_channels_stay():
    for function in (Counter.as_asgi, Counter.__call__):
        assert function.__module__.startswith("channels.")
        assert function.__wrapped__


def test_modules_of_ours_under_the_names_of_channels_are_left_alone(monkeypatch):
    module = sys.modules["grip_consumers.consumer"]
    monkeypatch.setitem(sys.modules, "channels.consumer", module)
    before = dict(vars(AsyncConsumer))
    genuine.fit()
    assert dict(vars(AsyncConsumer)) == before


def test_a_project_without_channels_imports_nothing_of_it():
    code = (
        "import django, sys, io; from django.conf import settings\n"
        "settings.configure(SECRET_KEY='x', INSTALLED_APPS=['grip_consumers'], ASGI_APPLICATION='asgi_of_test.app')\n"
        "import types; module = sys.modules['asgi_of_test'] = types.ModuleType('asgi_of_test')\n"
        "django.setup()\n"
        "from grip_consumers.generic.websocket import WebsocketConsumer\n"
        "from grip_consumers.registry import routed_consumers\n"
        "module.app = WebsocketConsumer.as_asgi()\n"
        "print(routed_consumers(), [name for name in sys.modules if name.split('.')[0] == 'channels'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "[<class 'grip_consumers.generic.websocket.WebsocketConsumer'>] []\n", run.stderr


# Group handlers -------------------------------------------------------------------------------------------------


class Handlers:
    """Handlers of all sorts, to be mixed into a consumer of either package."""

    def connect(self):
        self.name = "x"
        self.accept()

    def plain(self, event):
        self.send(text_data=event["text"])

    def compares(self, event):
        if event["sender"] != self.channel_name:
            self.send(text_data=event["text"])

    def reads(self, event):
        self.send(text_data=self.name)

    def closes(self, event):
        self.close()

    def sends_and_closes(self, event):
        self.send(text_data="x", close=True)

    def scoped(self, event):
        self.send(text_data=self.scope["path"])

    def layered(self, event):
        async_to_sync(self.channel_layer.group_send)("x", event)

    def json(self, event):
        self.send_json(event["content"])


class AsyncHandlers:
    """The same."""

    async def connect(self):
        self.name = "x"
        await self.accept()

    async def plain(self, event):
        await self.send(text_data=event["text"])

    async def compares(self, event):
        if event["sender"] != self.channel_name:
            await self.send(text_data=event["text"])

    async def reads(self, event):
        await self.send(text_data=self.name)

    async def closes(self, event):
        await self.close()

    async def sends_and_closes(self, event):
        await self.send(text_data="x", close=True)

    async def scoped(self, event):
        await self.send(text_data=self.scope["path"])

    async def layered(self, event):
        await self.channel_layer.group_send("x", event)

    async def json(self, event):
        await self.send_json(event["content"])


@pytest.mark.parametrize(
    ("handlers", "kind"), [(Handlers, "JsonWebsocketConsumer"), (AsyncHandlers, "AsyncJsonWebsocketConsumer")]
)
def test_deliveries_are_decided_as_for_consumers_of_ours(handlers, kind):
    here, there = (type(kind, (handlers, getattr(base, kind)), {}) for base in (ours, theirs))
    assert group_handlers(there) == group_handlers(here)
    assert {name: delivery(there, name) for name in group_handlers(there)} == {
        name: delivery(here, name) for name in group_handlers(here)
    }
    assert [name for name in group_handlers(there) if delivery(there, name).shared] == ["compares", "json", "plain"]


@COUNTERS
def test_nobody_looks_for_mail_that_cannot_be(counter):
    plain = type("Plain", (counter,), {"count": None})
    assert may_have_mail(counter) is True
    assert may_have_mail(type("Quiet", plain.__bases__[0].__bases__, {"news": counter.news})) is False


# Routes that were made too early ----------------------------------------------------------------------------------


def early(cls):
    """What `as_asgi` of Channels makes."""
    return theirs.WebsocketConsumer.as_asgi.__func__.__wrapped__(cls)


class Slots:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        await self.inner(scope, receive, send)


def function_middleware(inner):
    async def application(scope, receive, send):
        await inner(scope, receive, send)

    return application


APPLICATIONS = {
    "routed": lambda app: ProtocolTypeRouter({"websocket": URLRouter([path("a/", app)])}),
    "nested": lambda app: URLRouter([path("a/", URLRouter([path("b/", app)]))]),
    "in Channels' own middleware": lambda app: AuthMiddlewareStack(URLRouter([path("a/", app)])),
    "in a class": Slots,
    "in a function": function_middleware,
    "in a partial": lambda app: functools.partial(function_middleware(app)),
    "in a bound method": lambda app: Slots(app).__call__,
    "for a proxy": lambda app: behind_proxy(ProtocolTypeRouter({"http": ASGIHandler(), "websocket": app})),
}


@pytest.mark.parametrize("wrap", APPLICATIONS.values(), ids=APPLICATIONS)
def test_a_consumer_routed_before_it_could_be_noted_is_found(wrap, monkeypatch, settings):
    monkeypatch.setattr(registry, "_classes", weakref.WeakSet())
    monkeypatch.setattr(registry, "_loaded", None)
    module = types.ModuleType("genuine_test_asgi")
    module.application = wrap(early(Counter))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings.ASGI_APPLICATION = "genuine_test_asgi.application"
    assert registry.routed_consumers() == [Counter]


def test_a_consumer_that_was_routed_out_of_sight_is_noted_when_it_is_met(wsgi_site):
    class Hidden:
        __slots__ = ("app",)

        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    serve_theirs(wsgi_site, Hidden(early(Counter)))
    assert registry.routed_consumers() == []
    wsgi_site.opened()
    assert registry.routed_consumers() == [Counter]


def test_looking_for_consumers_evaluates_nothing_lazy():
    from django.utils.functional import SimpleLazyObject

    def evaluated():
        raise AssertionError("somebody looked")

    genuine.find_routed(Slots([SimpleLazyObject(evaluated), None]))


# Around them ------------------------------------------------------------------------------------------------------


async def unwrap_through(middleware_class, scope):
    """What a consumer is given as `send`, unwrapped, and whether that is the server's."""
    found = []

    async def inner(scope, receive, send):
        found.append(genuine.unwrapped(send))

    async def send(message):
        pass

    await middleware_class(inner)(scope, None, send)
    return found[0] is send


async def test_the_session_middleware_of_channels_is_looked_through():
    assert await unwrap_through(SessionMiddlewareStack, {"type": "websocket", "headers": []})


async def test_a_wrapper_that_acts_on_websockets_is_not(monkeypatch):
    monkeypatch.setattr(InstanceSessionWrapper, "save_message_types", ["http.response.start", "websocket.accept"])
    assert not await unwrap_through(SessionMiddlewareStack, {"type": "websocket", "headers": []})


async def test_it_is_known_which_error_a_router_raised():
    async def error_of(router, scope):
        with pytest.raises(ValueError, match="No ") as caught:
            await router(scope, None, None)
        return caught.value

    no_path = await error_of(URLRouter([]), {"path": "/ws/"})
    no_type = await error_of(ProtocolTypeRouter({}), {"type": "websocket"})
    assert genuine.is_no_route(no_path)
    assert genuine.is_no_route(no_type)
    assert not genuine.is_no_route(ValueError(str(no_path)))
    assert not genuine.is_no_route(KeyError("x"))


# An edge for both ways --------------------------------------------------------------------------------------------


def test_the_edge_answers_batches_before_django(asgi_site, settings):
    settings.MIDDLEWARE = []
    serve_theirs(asgi_site, URLRouter([path("ws/", Counter.as_asgi())]))
    asgi_site.application = behind_proxy(asgi_site.application)
    client = asgi_site.opened()
    assert client.post(Text("a")).sent == [("text", "a 1 /ws/")]


def test_what_it_finds_no_route_for_goes_on_to_the_views(asgi_site):
    serve_theirs(asgi_site, URLRouter([path("ws/", Counter.as_asgi())]))
    asgi_site.application = behind_proxy(asgi_site.application)
    assert asgi_site.client("/view/").post(Open()).body == b"view:OPEN\r\n"


async def test_other_requests_pass_it(asgi_site):
    serve_theirs(asgi_site, URLRouter([path("ws/", Counter.as_asgi())]))
    client = asgi_site.client("/view/")
    client.content_types = ["text/plain"]
    messages = await call_asgi(behind_proxy(asgi_site.application), client.scope(), b"hello")
    assert messages[1]["body"] == b"view:hello"


async def test_a_client_s_own_websocket_passes_it(settings):
    settings.CHANNEL_LAYERS = IN_MEMORY
    application = behind_proxy(ProtocolTypeRouter({"websocket": Counter.as_asgi()}))
    communicator = WebsocketCommunicator(application, "/ws/")
    assert (await communicator.connect())[0] is True
    await communicator.send_to("a")
    assert await communicator.receive_from() == "a 1 /ws/"
    await communicator.disconnect()


def test_a_scope_is_read_when_it_is_needed():
    assert isinstance(vars(channels.consumer.AsyncConsumer)["scope"], RestoredScope)
    with pytest.raises(AttributeError, match="has no attribute 'scope'"):
        Counter().scope  # noqa: B018
