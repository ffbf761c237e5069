"""GripMiddleware in Django's own request handling."""

from __future__ import annotations

import asyncio
import io

import pytest
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse

from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.protocol import Open, Ping, Text
from grip_consumers.views import GripMiddleware
from grip_consumers.wsgi import GripWSGI

from .. import batches
from ..batches import Answer, call_asgi

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site


class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data)


def test_other_requests_pass_untouched(site):
    site.serve(Echo)
    client = site.client("/view/")
    client.content_types = ["text/plain"]
    answer = client.post(body=b"hello")
    assert (answer.status, answer.body) == (200, b"view:hello")
    client.method, client.content_types = "GET", []
    assert client.post(body=b"").body == b"view:"


@pytest.mark.parametrize("events", [(Open(),), (Open(), Text("x"))])
def test_an_unrouted_opening_batch_goes_on_to_a_view_that_can_read_its_body(site, events):
    site.serve(Echo)
    answer = site.client("/view/").post(*events)
    assert answer.status == 200
    assert answer.body.startswith(b"view:OPEN\r\n")
    assert answer.header("content-type") == "text/plain"


def test_reading_stops_one_byte_beyond_the_limit(wsgi_site, settings):
    settings.GRIP_BATCH_MAX_SIZE = 1_000
    environ = wsgi_site.client("/view/").environ(b"x" * 1_000_000)
    stream = environ["wsgi.input"] = io.BytesIO(b"x" * 1_000_000)
    response = GripMiddleware(lambda request: HttpResponse("not reached"))(WSGIRequest(environ))
    assert response.status_code in {400, 413}
    assert stream.tell() == 1_001


def test_a_path_that_nobody_knows_is_djangos_404(site):
    site.serve(Echo)
    assert site.client("/nowhere/").post(Open()).status == 404


def test_an_unsigned_batch_does_not_reach_the_views(site, settings):
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": "k" * 32}]
    site.serve(Echo)
    assert site.client("/view/").post(Open()).status == 403


def test_a_view_may_read_the_request_as_a_stream(site, monkeypatch):
    def streaming(request):
        return HttpResponse(request.read(), content_type="text/plain")

    monkeypatch.setattr(batches.urlpatterns[0], "callback", streaming)
    from django.urls import clear_url_caches

    clear_url_caches()
    site.serve(Echo)
    assert site.client("/view/").post(Open()).body == b"OPEN\r\n"


def test_djangos_own_application_has_no_websocket_routes(wsgi_site, settings):
    """ASGI_APPLICATION is a plain get_asgi_application(): the views answer batches themselves."""
    batches._served[:] = [None]
    settings.ASGI_APPLICATION = "tests.views.test_middleware.plain_application"
    answer = wsgi_site.client("/view/").post(Open())
    assert (answer.status, answer.body) == (200, b"view:OPEN\r\n")


def __getattr__(name):
    if name == "plain_application":
        return ASGIHandler()
    raise AttributeError(name)


def _upgrade(client):
    client.method, client.content_types = "GET", []
    client.extra = [("Upgrade", "WebSocket"), ("Connection", "Upgrade")]
    return client


@pytest.mark.parametrize("way", batches.WAYS)
def test_a_websocket_handshake_without_a_proxy_is_501_with_advice(settings, monkeypatch, way):
    site = batches.make_site(way, settings, monkeypatch)
    site.serve(Echo)
    answer = _upgrade(site.client()).post(body=b"")
    assert (answer.status, answer.headers) == (501, [("content-type", "text/plain; charset=utf-8")])
    assert b"GRIP proxy" in answer.body
    assert b"over_http" in answer.body


@pytest.mark.parametrize("debug", [True, False])
def test_other_middleware_does_not_touch_a_batch(site, settings, debug):
    settings.DEBUG = debug
    settings.MIDDLEWARE = [
        "grip_consumers.GripMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    settings.SECURE_SSL_REDIRECT = True
    settings.ALLOWED_HOSTS = []
    site.serve(Echo)
    answer = site.opened().post(Text("x"))
    assert answer == Answer(200, [("content-type", "application/websocket-events")], b"TEXT 3\r\nm:x\r\n")


def test_behind_common_middleware_the_content_type_stays_exact(site, settings):
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "grip_consumers.GripMiddleware"]
    site.serve(Echo)
    answer = site.opened().post(Ping(b"x"))
    assert answer == Answer(200, [("content-type", "application/websocket-events")], b"PONG 1\r\nx\r\n")


class SyncOnly:
    """A middleware that makes Django run what is behind it in a thread."""

    sync_capable = True
    async_capable = False

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)


@pytest.mark.parametrize("echo", [Echo, AsyncEcho])
def test_behind_a_sync_middleware_under_asgi(asgi_site, settings, echo):
    settings.MIDDLEWARE = ["tests.views.test_middleware.SyncOnly", "grip_consumers.GripMiddleware"]
    asgi_site.way = "django-asgi"
    asgi_site.serve(echo)
    assert asgi_site.opened().post(Text("x")).sent == [("text", "x")]


def test_the_middleware_is_async_where_django_is():
    async def aresponse(request):
        return HttpResponse("async")

    def response(request):
        return HttpResponse("sync")

    environ = {"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(b"")}
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    assert GripMiddleware(response)(WSGIRequest(environ)).content == b"sync"
    found = GripMiddleware(aresponse)(ASGIRequest(scope, io.BytesIO(b"")))
    assert asyncio.run(found).content == b"async"


def test_making_the_middleware_needs_no_application(settings):
    """At start a project's asgi.py may not have been imported, and a project may have none."""
    settings.ASGI_APPLICATION = "tests.nowhere.application"
    assert GripMiddleware(lambda request: None) is not None


def test_a_request_that_is_no_batch_does_not_import_the_application(wsgi_site, settings):
    settings.ASGI_APPLICATION = "tests.nowhere.application"
    client = wsgi_site.client("/view/")
    client.content_types = ["text/plain"]
    assert client.post(body=b"x").status == 200


async def test_a_body_of_several_chunks_comes_through_djangos_asgi_handler(asgi_site):
    asgi_site.way = "django-asgi"
    asgi_site.serve(AsyncEcho)
    client = asgi_site.client()
    await client.apost(Open())
    messages = await call_asgi(ASGIHandler(), client.scope(), b"TEXT 2\r\nab", b"\r\n")
    assert b"".join(message.get("body", b"") for message in messages[1:]) == b"TEXT 4\r\nm:ab\r\n"


def test_a_wsgi_server_that_gives_no_length_is_no_crash(wsgi_site):
    wsgi_site.serve(Echo)
    environ = wsgi_site.client().environ(b"OPEN\r\n")
    del environ["CONTENT_LENGTH"]
    status = []
    result = WSGIHandler()(environ, lambda line, headers, exc_info=None: status.append(line))
    result.close()
    assert status[0][:3] in {"200", "400", "411"}


@pytest.mark.parametrize("length", ["", "abc", "-1"])
@pytest.mark.parametrize("way", batches.WSGI_WAYS)
def test_an_odd_content_length_is_no_crash(settings, monkeypatch, way, length):
    site = batches.make_site(way, settings, monkeypatch)
    site.serve(Echo)
    environ = site.client().environ(b"OPEN\r\n")
    environ["CONTENT_LENGTH"] = length
    status = []
    target = WSGIHandler() if way == "wsgi" else GripWSGI(WSGIHandler())
    result = target(environ, lambda line, headers, exc_info=None: status.append(line))
    if hasattr(result, "close"):
        result.close()
    assert status[0][:3] in {"200", "400", "411"}
