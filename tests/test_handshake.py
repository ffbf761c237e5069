"""The scope that a handshake makes: the same by WSGI and ASGI, without what the proxy added."""

from __future__ import annotations

import pytest
from grip_consumers.routing import URLRouter

from grip_consumers.handshake import from_asgi, from_wsgi, is_batch_scope
from grip_consumers.protocol import Open

from . import batches
from .batches import HANDSHAKE, Client, importable

site = batches.site


def both(path="/ws/", **options):
    """The scopes of one handshake by WSGI and by ASGI."""
    client = Client(None, path, **options)
    client.meta["Meta-State"] = "sealed"
    client.extra.append(("Grip-Sig", "signed"))
    return from_wsgi(client.environ(b""), b"").make_scope(), from_asgi(client.scope(), b"").make_scope()


def comparable(scope):
    return {**scope, "headers": sorted(scope["headers"]), "asgi": None}


HANDSHAKES = {
    "plain": {},
    "query": {"query": "a=1&b=%20%C3%A4&c"},
    "percent": {"path": "/ws/a%20b/"},
    "space": {"path": "/ws/a b/"},
    "non-ascii": {"path": "/ws/ä/€/日本/"},
    "script name": {"root_path": "/app"},
    "non-ascii script name": {"root_path": "/äpp", "path": "/ß/"},
    "wss": {"scheme": "https"},
    "subprotocols": {"headers": [*HANDSHAKE, ("Sec-WebSocket-Protocol", "chat.v1,  chat.v2 ,")]},
    "latin-1 header": {"headers": [*HANDSHAKE, ("X-Name", "Jürgen")]},
    "no cookie": {"headers": [("Host", "testserver")]},
}


@pytest.mark.parametrize("options", HANDSHAKES.values(), ids=HANDSHAKES)
def test_wsgi_and_asgi_make_the_same_scope(options):
    wsgi, asgi = both(**options)
    assert comparable(wsgi) == comparable(asgi)


def test_the_scope_is_that_of_the_asgi_specification():
    for scope in both("/ws/a b/", query="x=1", headers=[*HANDSHAKE, ("Sec-WebSocket-Protocol", "a, b")]):
        headers = scope.pop("headers")
        assert scope.pop("asgi")["version"] == "3.0"
        assert scope == {
            "type": "websocket",
            "http_version": "1.1",
            "scheme": "ws",
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 4711),
            "root_path": "",
            "path": "/ws/a b/",
            "raw_path": b"/ws/a%20b/",
            "query_string": b"x=1",
            "subprotocols": ["a", "b"],
            "extensions": {"websocket.http.response": {}},
        }
        assert dict(headers) == {
            b"host": b"testserver",
            b"user-agent": b"Mozilla/5.0",
            b"origin": b"http://testserver",
            b"cookie": b"a=b; c=d",
            b"sec-websocket-version": b"13",
            b"sec-websocket-protocol": b"a, b",
        }


def test_the_accept_header_of_the_proxy_is_not_the_clients():
    """The proxy adds `Accept: application/websocket-events`; a browser's handshake has none."""
    client = Client(None)
    client.extra.append(("Accept", "application/websocket-events"))
    for request in (from_wsgi(client.environ(b""), b""), from_asgi(client.scope(), b"")):
        assert b"accept" not in dict(request.make_scope()["headers"])


def test_an_accept_header_of_the_clients_own_stays():
    client = Client(None, headers=[*HANDSHAKE, ("Accept", "*/*")])
    for request in (from_wsgi(client.environ(b""), b""), from_asgi(client.scope(), b"")):
        assert (b"accept", b"*/*") in request.make_scope()["headers"]


def test_each_scope_is_a_new_one():
    request = from_asgi(Client(None).scope(), b"")
    one, two = request.make_scope(), request.make_scope()
    assert one == two
    assert one is not two
    assert one["headers"] is not two["headers"]


def test_what_the_dispatcher_needs_is_found_by_both_ways():
    client = Client(None, connection_id="the-id")
    client.meta["Meta-State"] = "sealed"
    client.extra.append(("Grip-Sig", "signed"))
    for request in (from_wsgi(client.environ(b"x"), b"x"), from_asgi(client.scope(), b"x")):
        found = (request.connection_id, request.signature, request.state, request.body)
        assert found == ("the-id", "signed", "sealed", b"x")


def test_what_is_missing_is_none():
    client = Client(None, connection_id="")
    for request in (from_wsgi(client.environ(b""), b""), from_asgi(client.scope(), b"")):
        assert (request.connection_id, request.signature, request.state) == ("", None, None)


def test_a_doubled_header_of_the_proxy_is_joined_so_that_it_cannot_verify():
    scope = Client(None).scope()
    scope["headers"] += [(b"grip-sig", b"a"), (b"grip-sig", b"b"), (b"meta-state", b""), (b"meta-state", b"s")]
    assert from_asgi(scope, b"").signature == "a,b"


def test_an_environ_that_django_has_decoded_gives_the_same_scope():
    environ = Client(None, "/ä/€/", root_path="/ß").environ(b"")
    raw = from_wsgi(environ, b"").make_scope()
    decoded = {**environ, "PATH_INFO": "/ä/€/", "SCRIPT_NAME": "/ß"}
    assert from_wsgi(decoded, b"", decoded=True).make_scope() == raw
    assert raw["path"] == "/ß/ä/€/"


def test_a_state_is_sealed_for_the_connection_and_its_url_by_whichever_way_a_batch_comes():
    client = Client(None, "/ä/€/", root_path="/ß", query="a=1&b=%20", connection_id="the-id")
    environ = client.environ(b"")
    decoded = {**environ, "PATH_INFO": "/ä/€/", "SCRIPT_NAME": "/ß"}
    found = [from_wsgi(environ, b""), from_wsgi(decoded, b"", decoded=True), from_asgi(client.scope(), b"")]
    assert {request.identity for request in found} == {"the-id /ß/ä/€/?a=1&b=%20"}


def test_the_path_for_the_log_is_that_of_the_request():
    client = Client(None, "/ws/a b/")
    found = [from_wsgi(client.environ(b""), b"").path, from_asgi(client.scope(), b"").path]
    assert found == ["/ws/a b/"] * 2


def test_no_address_of_the_client_is_none():
    environ = Client(None).environ(b"")
    del environ["REMOTE_ADDR"], environ["REMOTE_PORT"]
    assert from_wsgi(environ, b"").make_scope()["client"] is None


@pytest.mark.parametrize(
    ("method", "content_types", "expected"),
    [
        ("POST", ["application/websocket-events"], True),
        ("GET", ["application/websocket-events"], False),
        ("PUT", ["application/websocket-events"], False),
        ("POST", ["Application/WebSocket-Events"], False),
        ("POST", ["application/websocket-events; charset=utf-8"], False),
        ("POST", ["application/websocket-events "], False),
        ("POST", ["application/websocket-events", "application/websocket-events"], False),
        ("POST", ["text/plain", "application/websocket-events"], False),
        ("POST", ["application/websocket-events", ""], False),
        ("POST", [], False),
    ],
)
def test_only_the_exact_content_type_of_a_post_is_a_batch(method, content_types, expected):
    client = Client(None)
    client.method, client.content_types = method, content_types
    assert is_batch_scope(client.scope()) is expected


def test_what_is_no_batch_goes_on_to_django(site):
    site.serve_application(URLRouter([]))
    for content_types in (["text/plain"], ["application/websocket-events", "text/plain"], []):
        client = site.client("/view/")
        client.content_types = content_types
        answer = client.post(body=b"OPEN\r\n")
        assert (answer.status, answer.body) == (200, b"view:OPEN\r\n")


@pytest.mark.parametrize("options", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_consumer_sees_the_path_and_the_route(site, options):
    from django.urls import re_path

    from grip_consumers.generic.websocket import WebsocketConsumer

    seen = []

    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            seen.append((self.scope["path"], self.scope["url_route"]["kwargs"]["rest"], self.scope["root_path"]))
            self.accept()

    site.serve_application(URLRouter([re_path("^(?P<rest>.*)$", Chat.as_asgi())]))
    client = site.client(**options)
    assert client.post(Open()).status == 200
    root, path = client.root_path, client.path
    assert seen == [(root + path, path.lstrip("/"), root)]


@pytest.mark.parametrize(("port", "number"), [("8000", 8000), ("", 0), ("abc", 0), ("-1", 0)])
def test_a_port_that_is_no_number_is_zero(port, number):
    environ = {"SERVER_NAME": "x", "SERVER_PORT": port, "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": port}
    scope = from_wsgi(environ, b"").make_scope()
    assert (scope["server"], scope["client"]) == (("x", number), ("127.0.0.1", number))


def test_the_state_of_a_view_is_found_both_ways():
    scope = {"method": "POST", "path": "/", "headers": [(b"meta-view-state", b"abc"), (b"meta-view-state", b"d")]}
    assert from_asgi(scope, b"").view_state == "abc,d"
    assert from_wsgi({"HTTP_META_VIEW_STATE": "abc"}, b"").view_state == "abc"
    assert from_wsgi({}, b"").view_state is None
