"""The base consumers: what Channels' have, and the classic mode without a proxy."""

from __future__ import annotations

import channels.consumer
import pytest
from channels.layers import InMemoryChannelLayer
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from grip_consumers.routing import ProtocolTypeRouter, URLRouter

from grip_consumers import registry
from grip_consumers.consumer import AsyncConsumer, SyncConsumer, get_handler_name
from grip_consumers.exceptions import StopConsumer
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.layers import channel_layers
from grip_consumers.protocol import Open

from . import batches
from .batches import importable

site = batches.site


@pytest.fixture
def layer(monkeypatch):
    """Another backend in the place of the default, as a project's tests have."""
    monkeypatch.setattr(channel_layers, "backends", {})
    found = InMemoryChannelLayer()
    channel_layers.set("default", found)
    return found


class Chat(WebsocketConsumer):
    groups = ["lobby"]

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)

    def note(self, event):
        self.send(text_data=event["text"])


class AsyncChat(AsyncWebsocketConsumer):
    groups = ["lobby"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def note(self, event):
        await self.send(text_data=event["text"])


BOTH = pytest.mark.parametrize("chat", [Chat, AsyncChat])


@pytest.mark.parametrize(
    "message", [{}, {"type": "_x"}, {"type": ".x"}, {"type": "a.b"}, {"type": "websocket.receive"}]
)
def test_names_of_handlers_are_those_of_channels(message):
    def outcome(function):
        try:
            return function(message)
        except ValueError as error:
            return str(error)

    assert outcome(get_handler_name) == outcome(channels.consumer.get_handler_name)


@pytest.mark.parametrize("base", [AsyncConsumer, SyncConsumer])
def test_as_asgi_gives_an_application_that_looks_as_channels(base):
    theirs_base = getattr(channels.consumer, base.__name__)
    ours = type("Mine", (base,), {"__doc__": "Words.", "__init__": lambda self, **kwargs: None})
    theirs = type("Mine", (theirs_base,), {"__doc__": "Words.", "__init__": lambda self, **kwargs: None})
    app, reference = ours.as_asgi(x=1), theirs.as_asgi(x=1)
    assert (app.consumer_class, app.consumer_initkwargs) == (ours, {"x": 1})
    assert (app.__name__, app.__doc__, app.__qualname__) == (
        reference.__name__,
        reference.__doc__,
        reference.__qualname__,
    )
    assert (ours._sync, ours.channel_layer_alias) == (theirs._sync, theirs.channel_layer_alias)
    assert ours in registry._classes


def test_wrong_arguments_of_as_asgi_fail_as_on_channels():
    """`cls(**initkwargs)` with nobody to take them."""

    class Theirs(channels.consumer.AsyncConsumer):
        pass

    class Ours(AsyncConsumer):
        pass

    with pytest.raises(TypeError):
        Theirs(nobody=1)
    with pytest.raises(TypeError):
        Ours(nobody=1)


@BOTH
async def test_without_a_proxy_a_consumer_serves_a_connection_as_on_channels(layer, chat):
    communicator = WebsocketCommunicator(chat.as_asgi(), "/ws/?a=b", subprotocols=["x"])
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="one")
    assert await communicator.receive_from() == "one"
    await communicator.send_to(bytes_data=b"two")
    assert await communicator.receive_from() == b"two"
    await layer.group_send("lobby", {"type": "note", "text": "three"})
    assert await communicator.receive_from() == "three"
    assert await communicator.receive_nothing()
    await communicator.disconnect(4000)
    assert layer.groups == {}


@BOTH
async def test_without_a_proxy_routers_pass_the_connection_on(layer, chat):
    from django.urls import path

    application = ProtocolTypeRouter({"websocket": URLRouter([path("room/<name>/", chat.as_asgi())])})
    communicator = WebsocketCommunicator(application, "/room/x/")
    assert await communicator.connect() == (True, None)
    await communicator.disconnect()


async def test_without_a_proxy_the_scope_and_the_layer_are_there(layer):
    found = {}

    class Looks(AsyncWebsocketConsumer):
        async def connect(self):
            found.update(vars(self))
            await self.accept()

    communicator = WebsocketCommunicator(Looks.as_asgi(), "/ws/")
    communicator.scope["user"] = "me"
    await communicator.connect()
    await communicator.disconnect()
    assert found["scope"]["user"] == "me"
    assert found["channel_layer"] is layer
    assert found["channel_name"].startswith("specific.")
    assert {"channel_receive", "base_send"} <= set(found)


async def test_without_a_proxy_it_works_with_the_layer_that_is_configured_by_default(monkeypatch):
    """A project's unit tests of its consumers, with no CHANNEL_LAYERS set."""
    monkeypatch.setattr(channel_layers, "backends", {})

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=text_data)

    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws/")
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="x")
    assert await communicator.receive_from() == "x"
    await communicator.disconnect()


async def test_without_a_proxy_and_a_layer_it_works_as_well(settings):
    settings.CHANNEL_LAYERS = {}

    class Echo(AsyncWebsocketConsumer):
        async def connect(self):
            await self.accept(subprotocol=str(hasattr(self, "channel_name")))

    communicator = WebsocketCommunicator(Echo.as_asgi(), "/ws/")
    assert await communicator.connect() == (True, "False")
    await communicator.disconnect()


@pytest.mark.parametrize("base", [AsyncConsumer, SyncConsumer])
async def test_without_a_proxy_a_missing_handler_is_channels_error(layer, base):
    theirs = getattr(channels.consumer, base.__name__)
    outcomes = []
    for cls in (base, theirs):
        communicator = ApplicationCommunicator(cls.as_asgi(), {"type": "websocket", "path": "/"})
        await communicator.send_input({"type": "a.b"})
        with pytest.raises(ValueError, match="No handler") as error:
            await communicator.wait()
        outcomes.append(str(error.value))
    assert outcomes[0] == outcomes[1]


async def test_without_a_proxy_stop_consumer_ends_it_silently(layer):
    class Stops(AsyncConsumer):
        async def a(self, message):
            raise StopConsumer

    communicator = ApplicationCommunicator(Stops.as_asgi(), {"type": "test"})
    await communicator.send_input({"type": "a"})
    assert await communicator.wait() is None


def test_a_handler_missing_under_a_proxy_is_channels_error_in_the_log(site, caplog):
    @importable
    class Bare(AsyncConsumer):
        pass

    site.serve(Bare)
    assert site.client().post(Open()).status == 500
    assert "ValueError: No handler for message type websocket.connect" in caplog.text


@pytest.mark.parametrize("base", [AsyncConsumer, SyncConsumer])
def test_the_bases_have_no_init_of_their_own_as_on_channels(base):
    """So a consumer of several bases reaches the next one's."""

    class Next:
        def __init__(self, name):
            self.name = name

    theirs = type("Mine", (getattr(channels.consumer, base.__name__), Next), {})
    ours = type("Mine", (base, Next), {})
    assert ours("x").name == theirs("x").name == "x"


def test_an_instance_without_a_connection_has_no_scope():
    consumer = AsyncChat()
    assert not hasattr(consumer, "scope")
    assert hasattr(AsyncConsumer, "scope")


def test_a_class_with_slots_is_refused_when_it_is_routed():
    class Slotted(WebsocketConsumer):
        __slots__ = ("room",)

    with pytest.raises(TypeError, match="Slotted has __slots__"):
        Slotted.as_asgi()
