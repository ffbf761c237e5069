"""GripWSGI in front of Django: the request's body, what it answers itself, and what it hands through."""

from __future__ import annotations

import io

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path

import grip_consumers.wsgi
from grip_consumers.generic.websocket import WebsocketConsumer
from grip_consumers.handshake import UNROUTED, is_batch_environ
from grip_consumers.protocol import Open, Text, encode
from grip_consumers.wsgi import GripWSGI, get_wsgi_application

from . import batches
from .batches import importable

wsgi_site = batches.wsgi_site


@importable
class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data)


class Input(io.BytesIO):
    """A request's body that knows how it was read."""

    def __init__(self, data):
        super().__init__(data)
        self.sizes = []

    def read(self, size=-1):
        self.sizes.append(size)
        return super().read(size)


class Behind:
    """The application behind: keeps what it was called with."""

    def __init__(self):
        self.calls = []
        self.result = [b"from behind"]

    def __call__(self, environ, start_response):
        self.calls.append((environ, start_response))
        return self.result


class Start:
    """start_response, called once."""

    def __call__(self, line, headers, exc_info=None):
        if hasattr(self, "line"):
            raise AssertionError("called twice")
        self.line, self.headers = line, dict(headers)


@pytest.fixture
def opened(wsgi_site):
    """A client whose connection has been accepted, and the application to go on with."""
    wsgi_site.way = "grip-wsgi"
    wsgi_site.serve(Echo)
    return wsgi_site.opened()


def call(environ, behind=None):
    behind, start = behind or Behind(), Start()
    return start, GripWSGI(behind)(environ, start), behind


def test_the_application_in_wsgi_py_is_djangos_with_batches_answered_in_front_of_it():
    application = get_wsgi_application()
    assert type(application) is GripWSGI
    assert type(application.application) is WSGIHandler


def test_an_answer_is_one_part_with_its_length(opened):
    start, parts, behind = call(opened.environ(encode([Text("x")])))
    assert parts == [b"TEXT 3\r\nm:x\r\n"]
    assert start.line == "200 OK"
    assert start.headers == {"Content-Type": "application/websocket-events", "Content-Length": "13"}
    assert behind.calls == []


@pytest.mark.parametrize(("status", "line"), [(403, "403 Forbidden"), (499, "499 Rejected")])
def test_every_status_has_a_phrase(wsgi_site, status, line):
    async def deny(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    wsgi_site.serve(deny)
    start, parts, _ = call(wsgi_site.client().environ(b"OPEN\r\n"))
    assert (start.line, parts) == (line, [b"no"])


# The body ------------------------------------------------------------------------------------------------


def test_no_more_than_the_content_length_is_read(opened):
    """What follows belongs to the connection's next request."""
    environ = opened.environ(b"TEXT 1\r\na\r\n")
    environ["wsgi.input"] = stream = Input(b"TEXT 1\r\na\r\nPOST /next")
    assert call(environ)[1] == [b"TEXT 3\r\nm:a\r\n"]
    assert stream.sizes == [11]


def test_a_body_without_a_length_is_read_to_its_end_where_the_server_marks_it(opened):
    environ = opened.environ(b"TEXT 1\r\na\r\n")
    del environ["CONTENT_LENGTH"]
    environ["wsgi.input_terminated"] = True
    assert call(environ)[1] == [b"TEXT 3\r\nm:a\r\n"]


@pytest.mark.parametrize("marked", [{}, {"wsgi.input_terminated": False}])
def test_nothing_is_read_without_a_length_where_the_server_does_not_mark_the_end(opened, marked):
    """Reading would wait for the client."""
    environ = {**opened.environ(b""), **marked}
    del environ["CONTENT_LENGTH"]
    environ["wsgi.input"] = stream = Input(b"TEXT 1\r\na\r\n")
    start, parts, _ = call(environ)
    assert (start.line, parts) == ("200 OK", [b""])
    assert stream.sizes in ([], [0])


@pytest.mark.parametrize("length", ["abc", "-1", "1.5"])
def test_a_length_that_is_none_is_no_reason_to_read(opened, length):
    environ = {**opened.environ(b""), "CONTENT_LENGTH": length, "wsgi.input_terminated": True}
    environ["wsgi.input"] = stream = Input(b"TEXT 1\r\na\r\n")
    assert call(environ)[1] == [b""]
    assert stream.sizes in ([], [0])


@pytest.mark.parametrize("length", ["1000000", None])
def test_reading_stops_one_byte_beyond_the_limit(opened, settings, length):
    settings.GRIP_BATCH_MAX_SIZE = 1_000
    environ = opened.environ(b"")
    environ["wsgi.input"] = stream = Input(b"x" * 1_000_000)
    environ["wsgi.input_terminated"] = True
    environ.pop("CONTENT_LENGTH")
    if length:
        environ["CONTENT_LENGTH"] = length
    start, _, behind = call(environ)
    assert start.line[:3] in {"400", "413"}
    assert stream.tell() == 1_001
    assert behind.calls == []


# What is not for a consumer ------------------------------------------------------------------------------


def test_an_unrouted_batch_goes_on_with_its_body_and_is_not_looked_at_again(wsgi_site):
    wsgi_site.serve(Echo)
    environ = wsgi_site.client("/view/").environ(b"OPEN\r\n")
    environ["wsgi.input"] = Input(b"OPEN\r\nmore")
    start, parts, behind = call(environ)
    ((found, passed),) = behind.calls
    assert parts is behind.result
    assert passed is start
    assert (found["wsgi.input"].read(), found["CONTENT_LENGTH"]) == (b"OPEN\r\n", "6")
    assert found[UNROUTED] is True
    assert not is_batch_environ(found)


def test_an_unrouted_batch_without_a_length_goes_on_with_one(wsgi_site):
    wsgi_site.serve(Echo)
    environ = {**wsgi_site.client("/view/").environ(b"OPEN\r\n"), "wsgi.input_terminated": True}
    del environ["CONTENT_LENGTH"]
    start, parts = Start(), None
    parts = GripWSGI(WSGIHandler())(environ, start)
    assert b"".join(parts) == b"view:OPEN\r\n"
    parts.close()


def test_an_unrouted_batch_is_searched_for_once_with_the_middleware_behind(wsgi_site):
    searches = []

    async def nowhere(scope, receive, send):
        searches.append(scope["path"])
        raise grip_consumers.dispatcher.NoRoute

    wsgi_site.way = "grip-wsgi"
    wsgi_site.serve_application(nowhere)
    assert wsgi_site.client("/view/").post(Open()).body == b"view:OPEN\r\n"
    assert searches == ["/view/"]


def _get(client):
    client.method, client.content_types = "GET", []


def _other_type(client):
    client.content_types = ["text/plain"]


def _put(client):
    client.method = "PUT"


@pytest.mark.parametrize("change", [_get, _other_type, _put])
def test_every_other_request_is_handed_through_untouched(opened, change):
    change(opened)
    environ = opened.environ(b"OPEN\r\n")
    environ["wsgi.input"] = stream = Input(b"OPEN\r\n")
    before = dict(environ)
    start, parts, behind = call(environ)
    ((found, passed),) = behind.calls
    assert found is environ
    assert found == before
    assert passed is start
    assert parts is behind.result
    assert stream.sizes == []


@pytest.mark.parametrize("value", ["websocket", "WebSocket"])
def test_a_websocket_handshake_of_a_client_is_501_with_advice(opened, value):
    _get(opened)
    start, (body,), behind = call({**opened.environ(b""), "HTTP_UPGRADE": value})
    assert start.line == "501 Not Implemented"
    assert start.headers == {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
    assert b"GRIP proxy" in body
    assert behind.calls == []


def test_an_upgrade_to_something_else_is_handed_through(opened):
    _get(opened)
    assert len(call({**opened.environ(b""), "HTTP_UPGRADE": "h2c"})[2].calls) == 1


# Database connections ------------------------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch):
    found = []
    monkeypatch.setattr(grip_consumers.wsgi, "close_old_connections_here", lambda: found.append("closed"))
    return found


def test_old_database_connections_are_closed_before_and_after_a_batch(wsgi_site, steps):
    @importable
    class Notes(WebsocketConsumer):
        def receive(self, **kwargs):
            steps.append("handler")

    wsgi_site.way = "grip-wsgi"
    wsgi_site.serve_application(batches.URLRouter([path("ws/", Notes.as_asgi())]))
    client = wsgi_site.opened()
    steps.clear()
    client.post(Text("x"))
    assert steps == ["closed", "handler", "closed"]


def test_they_are_closed_after_a_batch_that_fails(wsgi_site, steps, caplog):
    @importable
    class Fails(WebsocketConsumer):
        def connect(self):
            raise LookupError

    wsgi_site.serve(Fails)
    assert call(wsgi_site.client().environ(b"OPEN\r\n"))[0].line == "500 Internal Server Error"
    assert steps == ["closed", "closed"]


def test_they_are_left_to_django_for_every_other_request(opened, steps):
    _get(opened)
    call(opened.environ(b""))
    assert steps == []
