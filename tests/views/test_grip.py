"""request.grip, holds and websocket_only, in Django's own request handling."""

from __future__ import annotations

import asyncio
import time

import gripcontrol
import jwt
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse, HttpResponseNotModified
from django.middleware.cache import FetchFromCacheMiddleware, UpdateCacheMiddleware
from django.middleware.gzip import GZipMiddleware
from django.test import RequestFactory

from grip_consumers import conf
from grip_consumers.protocol import Close, Open, Text, encode
from grip_consumers.views.grip import (
    Channel,
    GripData,
    GripInstruct,
    carry_out,
    read_grip,
    set_hold_longpoll,
    set_hold_stream,
    websocket_only,
)
from grip_consumers.views.middleware import GripMiddleware

KEY = "a key for tests, of thirty-two bytes or more"
PROXY = {"control_uri": "http://127.0.0.1:1", "verify_key": KEY, "verify_iss": "pushpin"}
KEYLESS = {"control_uri": "http://127.0.0.1:2"}


@pytest.fixture(autouse=True)
def _no_proxies(settings):
    settings.GRIP_PROXIES = []
    settings.ASGI_APPLICATION = None


def signature(key=KEY, issuer="pushpin", lifetime=60):
    return jwt.encode({"iss": issuer, "exp": int(time.time()) + lifetime}, key)


def read(**headers):
    return read_grip(RequestFactory().get("/", headers={name.replace("_", "-"): v for name, v in headers.items()}))


def answered(view, **headers):
    """What GripMiddleware makes of a view's answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return GripMiddleware(view)(RequestFactory().get("/", headers=headers))


def test_a_plain_request_has_grip_data_that_says_so():
    seen = []
    answered(lambda request: seen.append(request) or HttpResponse())
    (request,) = seen
    assert (request.grip.proxied, request.grip.signed, request.grip.features, request.grip.last) == (
        False,
        False,
        set(),
        {},
    )
    assert (request.grip_proxied, request.grip_signed, request.wscontext) == (False, False, None)


@pytest.mark.parametrize(
    ("proxies", "token", "expected"),
    [
        ([PROXY], "good", (True, True)),
        ([PROXY], "forged", (False, False)),
        ([PROXY], "other issuer", (False, False)),
        ([PROXY], "expired", (False, False)),
        ([PROXY], "rubbish", (False, False)),
        ([PROXY], None, (False, False)),
        ([PROXY, KEYLESS], "forged", (True, False)),
        ([PROXY, KEYLESS], "good", (True, True)),
        ([KEYLESS], "rubbish", (True, False)),
        ([KEYLESS], None, (False, False)),
        ([], "rubbish", (False, False)),
    ],
)
def test_signed_takes_a_key_and_proxied_a_key_or_a_proxy_without(settings, proxies, token, expected):
    settings.GRIP_PROXIES = proxies
    tokens = {
        "good": signature(),
        "forged": signature("another key for tests, as long as that"),
        "other issuer": signature(issuer="somebody"),
        "expired": signature(lifetime=-600),
        "rubbish": "rubbish",
    }
    found = read(**({"Grip_Sig": tokens[token]} if token else {}))
    assert (found.proxied, found.signed) == expected


def test_a_verify_key_alone_is_enough(settings):
    """Neither `key` nor a second copy of the setting is needed."""
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": KEY}]
    settings.GRIP_URL = "http://127.0.0.1:2?verify-key=x"
    before = list(settings.GRIP_PROXIES)
    assert [read(Grip_Sig=signature()).signed for _ in range(3)] == [True, True, True]
    assert before == settings.GRIP_PROXIES


def test_features_and_last_ids_are_read():
    found = read(Grip_Feature="status, link:next,filter:skip-self", Grip_Last="a; last-id=1, b; last-id=2")
    assert found.features == {"status", "link:next", "filter:skip-self"}
    assert found.last == {"a": "1", "b": "2"}


def test_a_malformed_last_id_is_a_400():
    assert answered(lambda request: HttpResponse("reached"), Grip_Last="a; b").status_code == 400


def stream(*channels, **options):
    def view(request):
        response = HttpResponse("open\n")
        set_hold_stream(request, list(channels) or "news", **options)
        return response

    return view


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (stream(), {"Grip-Hold": "stream", "Grip-Channel": "news"}),
        (
            stream(Channel("a", "7", ["skip-self"]), gripcontrol.Channel("b", "8")),
            {"Grip-Hold": "stream", "Grip-Channel": "a; prev-id=7; filter=skip-self, b; prev-id=8"},
        ),
        (
            stream(keep_alive_data="a\\b\n", keep_alive_timeout=20),
            {"Grip-Hold": "stream", "Grip-Channel": "news", "Grip-Keep-Alive": "YVxiCg==; format=base64; timeout=20"},
        ),
        (
            stream(keep_alive_data=b"\xff\x00", keep_alive_timeout=20),
            {"Grip-Hold": "stream", "Grip-Channel": "news", "Grip-Keep-Alive": "/wA=; format=base64; timeout=20"},
        ),
    ],
)
def test_a_stream_is_held_by_headers(view, expected):
    response = answered(view)
    assert {name: value for name, value in response.headers.items() if name.startswith("Grip")} == expected
    assert (response.status_code, response.content) == (200, b"open\n")


@pytest.mark.parametrize(
    "channels", [(name for name in "ab"), {"a": 1, "b": 2}.keys(), ("a", gripcontrol.Channel("b"))]
)
def test_channels_may_come_in_anything_that_yields_them(channels):
    response = answered(lambda request: set_hold_stream(request, channels) or HttpResponse())
    assert response.headers["Grip-Channel"] == "a, b"


def test_a_previous_id_may_be_a_number_and_none_may_be_empty():
    response = answered(stream(gripcontrol.Channel("a", 41), Channel("b", 0), Channel("c", "")))
    assert response.headers["Grip-Channel"] == "a; prev-id=41, b; prev-id=0, c"


@pytest.mark.parametrize("way", ["request", "response"])
@pytest.mark.parametrize("hold", [set_hold_stream, set_hold_longpoll])
def test_no_middleware_packs_or_keeps_a_response_that_is_to_be_held(way, hold):
    def view(request):
        response = HttpResponse("open" * 100)
        hold(request if way == "request" else response, "a")
        return response

    inside = UpdateCacheMiddleware(FetchFromCacheMiddleware(GZipMiddleware(view)))
    for _ in range(2):
        response = answered(inside, Accept_Encoding="gzip")
        assert response.headers["Grip-Channel"] == "a"
        assert not {"Content-Encoding", "Expires"} & set(response.headers)
        assert response.content == b"open" * 100


def test_everything_an_instruct_can_say_comes_out(settings):
    settings.GRIP_PREFIX = "my-"

    def view(request):
        instruct = request.grip.start_instruct()
        instruct.add_channels(["é", Channel("b")])
        instruct.set_hold_longpoll(timeout=30)
        instruct.set_next_link("/next", timeout=9)
        instruct.meta["user"] = 'a"b'
        instruct.status = 202
        return HttpResponse()

    response = answered(view)
    assert {name: value for name, value in response.headers.items() if name.startswith("Grip")} == {
        "Grip-Hold": "response",
        "Grip-Channel": "my-é, my-b".encode().decode("latin-1"),
        "Grip-Timeout": "30",
        "Grip-Link": "</next>; rel=next; timeout=9",
        "Grip-Set-Meta": 'user="a\\"b"',
        "Grip-Status": "202",
    }


def test_a_channel_that_is_used_twice_gets_the_prefix_once(settings):
    settings.GRIP_PREFIX = "my-"
    channel = gripcontrol.Channel("a")
    assert [answered(stream(channel)).headers["Grip-Channel"] for _ in range(2)] == ["my-a", "my-a"]


def test_a_304_travels_as_a_200_with_its_status():
    def view(request):
        response = HttpResponseNotModified()
        response["ETag"] = '"1"'
        set_hold_longpoll(request, "a", timeout=60)
        return response

    response = answered(view)
    assert (response.status_code, response.reason_phrase, response.headers["Grip-Status"]) == (200, "OK", "304")
    assert (response.headers["ETag"], response.headers["Grip-Timeout"]) == ('"1"', "60")
    assert answered(lambda request: HttpResponseNotModified()).status_code == 304


def test_the_response_may_stand_in_the_requests_place():
    def view(request):
        response = HttpResponse("open")
        set_hold_stream(response, ["a", "b"])
        return response

    def poll(request):
        response = HttpResponseNotModified()
        set_hold_longpoll(response, "a", 20)
        return response

    assert answered(view).headers["Grip-Channel"] == "a, b"
    polled = answered(poll)
    assert (polled.headers["Grip-Timeout"], polled.headers["Grip-Status"], polled.status_code) == ("20", "304", 200)


@pytest.mark.parametrize("way", ["request", "response"])
def test_a_hold_without_a_proxy_is_a_501_where_one_is_required(settings, way):
    settings.GRIP_PROXIES = [PROXY]
    settings.GRIP_PROXY_REQUIRED = True

    def view(request):
        response = HttpResponse("open")
        set_hold_stream(request if way == "request" else response, "a")
        return response

    for headers in ({}, {"Grip_Sig": "rubbish"}, {"Grip_Sig": signature("another key for tests, as long as that")}):
        refused = answered(view, **headers)
        assert (refused.status_code, refused.content) == (501, b"Not Implemented\n")
        assert not any(name.startswith("Grip") for name in refused.headers)
    assert answered(view, Grip_Sig=signature()).headers["Grip-Hold"] == "stream"
    assert answered(lambda request: HttpResponse("plain")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/grip-instruct"},
        {"Content-Type": "Application/Grip-Instruct; charset=utf-8"},
        {"Grip-Set-Meta": "user=a"},
        {"grip-keep-alive": "x"},
    ],
)
def test_whatever_else_speaks_to_a_proxy_needs_one_where_one_is_required(settings, headers):
    settings.GRIP_PROXIES = [PROXY]
    settings.GRIP_PROXY_REQUIRED = True

    def view(request):
        return HttpResponse("{}", headers=headers)

    assert answered(view).status_code == 501
    assert answered(view, Grip_Sig=signature()).status_code == 200


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda request: set_hold_stream(request, "a\r\nX: y"), "expected a channel name"),
        (lambda request: set_hold_stream(request, "a, b"), "expected a channel name"),
        (lambda request: set_hold_stream(request, []), "expected a channel to hold"),
        (lambda request: set_hold_stream(request, "a", keep_alive_data="x"), "expected keep_alive_timeout"),
        (lambda request: set_hold_stream(request, "a", "x", -1), "expected a timeout in seconds"),
        (lambda request: set_hold_stream(request, [str(n) for n in range(21)]), "at most 20 channels"),
        (lambda request: set_hold_longpoll(request, "a", timeout=-1), "expected a timeout in seconds"),
        (lambda request: set_hold_longpoll(request, Channel("a", "1;x")), "expected a previous id"),
    ],
)
def test_a_refused_hold_holds_nothing(call, words):
    def view(request):
        with pytest.raises(ValueError, match=words):
            call(request)
        return HttpResponse("plain")

    response = answered(view)
    assert (response.content, [name for name in response.headers if name.startswith("Grip")]) == (b"plain", [])


def test_a_request_has_one_hold():
    def view(request):
        set_hold_stream(request, "a")
        for again in (lambda: set_hold_longpoll(request, "b"), request.grip.start_instruct):
            with pytest.raises(ValueError, match="already started"):
                again()
        return HttpResponse()

    assert answered(view).headers["Grip-Channel"] == "a"


def test_an_instruct_without_a_hold_passes_on_what_it_has():
    data = GripData()
    data.start_instruct().set_next_link("/b")
    response = carry_out(data, HttpResponse("part one"))
    assert response.headers["Grip-Link"] == "</b>; rel=next"
    with pytest.raises(ValueError, match="characters of a URI"):
        GripInstruct().set_next_link("/a>\r\nX: y")
    with pytest.raises(TypeError, match="expected a channel as a str or an object"):
        GripInstruct().add_channel(5)
    with pytest.raises(TypeError, match="keep-alive data of type str or bytes, got int"):
        GripInstruct().set_keep_alive(5, 5)


def test_without_the_middleware_the_error_names_it():
    request = RequestFactory().get("/")
    with pytest.raises(ImproperlyConfigured, match="GripMiddleware"):
        set_hold_stream(request, "a")
    with pytest.raises(ImproperlyConfigured, match="GripMiddleware"):
        websocket_only(lambda request: None)(request)


class Views:
    """The kinds of view that the decorator takes."""

    @staticmethod
    @websocket_only
    def function(request):
        request.wscontext.accept()

    @staticmethod
    @websocket_only
    async def asynchronous(request):
        request.wscontext.accept()

    @websocket_only
    def method(self, request):
        request.wscontext.accept()


@pytest.mark.parametrize("name", ["function", "asynchronous", "method"])
def test_websocket_only_takes_batches_and_an_empty_hand(name):
    view = getattr(Views(), name)
    assert getattr(view, "websocket_only", False)
    body = {"data": encode([Open()]), "content_type": "application/websocket-events"}
    for request, expected in (
        (RequestFactory().get("/"), (400, b"Request must contain WebSocket events.\n")),
        (RequestFactory().post("/", headers={"Connection-Id": "1"}, **body), (200, b"OPEN\r\n")),
    ):
        middleware = GripMiddleware(view)
        found = middleware(request)
        response = asyncio.run(found) if asyncio.iscoroutine(found) else found
        assert (response.status_code, response.content) == expected


def test_the_middleware_works_method_by_method():
    """As Django's MIDDLEWARE_CLASSES called it."""
    middleware = GripMiddleware()
    request = RequestFactory().get("/")
    assert middleware.process_request(request) is None
    assert middleware.process_view(request, stream(), (), {}) is None
    assert middleware.process_response(request, stream()(request)).headers["Grip-Hold"] == "stream"


def test_settings_are_read_when_asked_for(settings):
    settings.GRIP_PREFIX = "x-"
    assert conf.get().prefix == "x-"
    assert answered(stream()).headers["Grip-Channel"] == "x-news"
    assert encode([Text("a"), Close()])
