"""The routers, side by side with Channels'."""

from __future__ import annotations

import asyncio

import channels.routing
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import include, path, re_path, register_converter
from django.urls.converters import IntConverter
from django.urls.exceptions import Resolver404
from grip_consumers.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter

from grip_consumers import routing
from grip_consumers.batch import EXTENSION
from grip_consumers.dispatcher import NoRoute
from grip_consumers.protocol import Open

from .. import batches
from ..batches import importable

site = batches.site

SIDES = (routing, channels.routing)


class Probe:
    """An application that tells what it was given."""

    def __init__(self, name="probe", raises=None):
        self.name, self.raises = name, raises

    async def __call__(self, scope, receive, send):
        if self.raises:
            raise self.raises
        return self.name, {key: value for key, value in scope.items() if key != "type"}


class Doubled(IntConverter):
    def to_python(self, value):
        if value == "13":
            raise ValueError
        return int(value) * 2


register_converter(Doubled, "doubled")


def outcome(build, scope):
    """What both sides do: the result, or the error's kind and text."""
    found = []
    for side in SIDES:
        try:
            found.append(asyncio.run(build(side)({"type": "websocket", **scope}, None, None)))
        except Exception as error:
            kinds = [
                kind for kind in (ImproperlyConfigured, Resolver404, ValueError, TypeError) if isinstance(error, kind)
            ]
            found.append((kinds[0] if kinds else type(error), str(error)))
    return found


def flat(side):
    return side.URLRouter(
        [
            path("", Probe("root")),
            path("room/<slug:name>/", Probe("room"), {"extra": 1}),
            path("double/<doubled:n>/", Probe("double")),
            re_path(r"^re/(\d+)/(?P<named>\w+)/$", Probe("both")),
            re_path(r"^pos/(\d+)/$", Probe("pos")),
            path("default/<name>/", Probe("default"), {"name": "fixed"}),
            path("ä/<str:name>/", Probe("umlaut")),
            path("missing/", Probe(raises=Resolver404("own"))),
            path("missing/", Probe("second")),
            path("fails/", Probe(raises=LookupError("inside"))),
            path("nobody/", Probe(raises=Resolver404("own"))),
        ]
    )


def nested(side):
    inner = side.URLRouter([path("<int:b>/", Probe("inner")), re_path(r"^(\d+)x/$", Probe("positional"))])
    deeper = side.URLRouter([path("deep/", side.URLRouter([path("end/<c>/", Probe("end"))]))])
    return side.URLRouter(
        [
            path("a/<int:a>/", inner),
            re_path(r"^a/(\d+)/", side.URLRouter([path("late/", Probe("late"))])),
            path("", deeper),
            path("a/<rest>/deep/", Probe("after")),
        ]
    )


PATHS = [
    {"path": "/"},
    {"path": ""},
    {"path": "//"},
    {"path": "/room/abc/"},
    {"path": "/room/abc"},
    {"path": "room/abc/"},
    {"path": "//room/abc/"},
    {"path": "/double/4/"},
    {"path": "/double/13/"},
    {"path": "/re/12/word/"},
    {"path": "/pos/12/"},
    {"path": "/default/x/"},
    {"path": "/ä/ö/"},
    {"path": "/missing/"},
    {"path": "/fails/"},
    {"path": "/nobody/"},
    {"path": "/none/"},
    {"path": "/app/room/abc/", "root_path": "/app"},
    {"path": "/other/room/abc/", "root_path": "/app"},
    {"path": "/room/abc/", "root_path": ""},
    {"path": "/appendix/", "root_path": "/app"},
    {"path": "/x/", "path_remaining": "room/abc/"},
    {"path": "/x/", "path_remaining": "nothing/"},
    {"path": "/app/", "path_remaining": "room/abc/", "root_path": "/app"},
    {"path": "/room/abc/", "url_route": {"args": (1,), "kwargs": {"outer": 2}}},
    {"path": "/room/abc/", "url_route": {"args": (1,), "kwargs": {"name": "outer"}}},
    {"path": "/a/1/2/"},
    {"path": "/a/1/2x/"},
    {"path": "/a/1/late/"},
    {"path": "/a/1/nothing/"},
    {"path": "/a/z/deep/"},
    {"path": "/deep/end/q/"},
    {"path": "/deep/end/"},
    {},
]


@pytest.mark.parametrize("scope", PATHS, ids=str)
@pytest.mark.parametrize("build", [flat, nested])
def test_url_router_does_as_channels(build, scope):
    ours, theirs = outcome(build, scope)
    assert ours == theirs


def test_the_outer_scope_is_not_changed():
    scope = {"type": "websocket", "path": "/room/abc/"}
    asyncio.run(flat(routing)(scope, None, None))
    assert scope == {"type": "websocket", "path": "/room/abc/"}


def test_include_is_refused_in_channels_words():
    texts = []
    for side in SIDES:
        with pytest.raises(ImproperlyConfigured) as error:
            side.URLRouter([path("x/", include([]))])
        texts.append(str(error.value))
    assert texts[0] == texts[1]


def test_a_pattern_of_another_kind_is_refused_in_channels_words():
    class Pattern:
        pass

    class Route:
        pattern = Pattern()

        def __init__(self, callback):
            self.callback = callback

    texts = []
    for side in SIDES:
        with pytest.raises(ValueError, match="Unsupported pattern type") as error:
            side.URLRouter([Route(side.URLRouter([]))])
        texts.append(str(error.value))
    assert texts[0] == texts[1]


def test_a_middleware_around_a_nested_router_is_no_router_as_on_channels():
    def build(side):
        inner = side.URLRouter([path("in/", Probe("in"))])

        async def middleware(scope, receive, send):
            return await inner(scope, receive, send)

        return side.URLRouter([path("out/", middleware), re_path(r"^out2/", middleware)])

    for scope in ({"path": "/out/in/"}, {"path": "/out2/in/"}):
        ours, theirs = outcome(build, scope)
        assert ours == theirs


@pytest.mark.parametrize("scope", [{"channel": "a"}, {"channel": "b"}, {}])
def test_channel_name_router_does_as_channels(scope):
    ours, theirs = outcome(lambda side: side.ChannelNameRouter({"a": Probe("a")}), scope)
    assert ours == theirs


@pytest.mark.parametrize("kind", ["http", "websocket", "channel", "lifespan", "odd'type"])
def test_protocol_type_router_does_as_channels(kind):
    scope = {"type": kind, "path": "/", "method": "GET", "headers": []}
    ours, theirs = outcome(
        lambda side: side.ProtocolTypeRouter({"http": Probe("http"), "websocket": Probe("websocket")}), scope
    )
    assert ours == theirs


def test_protocol_type_router_without_a_mapping_for_websocket_does_as_channels():
    ours, theirs = outcome(lambda side: side.ProtocolTypeRouter({"http": Probe("http")}), {"type": "websocket"})
    assert ours == theirs


async def test_a_lifespan_scope_of_a_server_reaches_its_application():
    router = ProtocolTypeRouter({"lifespan": Probe("life")})
    assert (await router({"type": "lifespan", "asgi": {"version": "3.0"}}, None, None))[0] == "life"


def test_the_mapping_and_the_routes_can_be_read():
    mapping = {"http": Probe()}
    assert ProtocolTypeRouter(mapping).application_mapping is mapping
    assert ChannelNameRouter(mapping).application_mapping is mapping
    assert URLRouter([]).routes == []


# In front of batches -------------------------------------------------------------------------------------


def test_a_consumer_that_raises_resolver404_is_passed_over_by_the_router_as_on_channels(site):
    from grip_consumers.generic.websocket import WebsocketConsumer

    @importable
    class First(WebsocketConsumer):
        def connect(self):
            raise Resolver404

    @importable
    class Second(WebsocketConsumer):
        pass

    site.serve_application(URLRouter([path("ws/", First.as_asgi())]))
    answer = site.client().post(Open())
    assert answer.status == 404
    assert Second is not None


def test_a_missing_websocket_application_is_no_route_for_a_batch_and_a_value_error_for_the_rest():
    """In Channels' words for both: whoever catches the one gets the other."""
    router = ProtocolTypeRouter({"http": Probe("http")})
    kinds = []
    for extensions in ({}, {EXTENSION: object()}):
        with pytest.raises(ValueError, match=r"^No application configured for scope type 'websocket'$") as error:
            asyncio.run(router({"type": "websocket", "extensions": extensions}, None, None))
        kinds.append(error.type)
    assert kinds == [ValueError, NoRoute]


def test_a_batch_without_a_websocket_application_goes_on_to_the_views(site):
    """A project with http alone in its router, whose views answer batches themselves."""
    site.serve_application(None)
    del site.application.application_mapping["websocket"]
    answer = site.client("/view/").post(Open())
    assert (answer.status, answer.body) == (200, b"view:OPEN\r\n")
