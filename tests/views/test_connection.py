"""The life of a connection that views answer, batch by batch, by each way in."""

from __future__ import annotations

import pytest
from django.core.cache import caches
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import path

from grip_consumers.handshake import ENDED
from grip_consumers.protocol import Close, Disconnect, Open, Ping, RemoteProtocolError, Text
from grip_consumers.state.record import ConnectionState
from grip_consumers.state.store import seal_state
from grip_consumers.views import connection
from grip_consumers.views.connection import begin, connection_of

from .. import batches

site = batches.site
wsgi_site = batches.wsgi_site

#: The view under test, and how often it was run.
_views: list = []
_runs: list = []


def run(request):
    _runs.append(request)
    return _views[-1](request)


urlpatterns = [path("view/", run)]


def serve(site, view):
    site.settings.ROOT_URLCONF = "tests.views.test_connection"
    _views[:] = [view]
    _runs.clear()
    site.serve()
    return site.client("/view/")


def echo(request):
    """Accept, count and echo; do as told."""
    ws = request.wscontext
    if ws.is_opening():
        ws.accept()
    for message in ws:
        count = ws.state["count"] = ws.state.get("count", 0) + 1
        ws.send(f"{count} {message[:20]}")
        if message == "fail":
            raise RuntimeError("as told")
        if message == "redirect":
            return HttpResponseRedirect("/login/")
        if message == "talk":
            return HttpResponse("talk")
        if message == "close":
            ws.close(4000, "as told")
        if message.startswith("keep"):
            ws.state["kept"] = message
        if message == "unkeepable":
            ws.state["kept"] = object()
    return HttpResponse()


def opened(site, view=echo):
    client = serve(site, view)
    assert client.post(Open()).sent == [("open",)]
    return client


def test_a_state_lives_as_long_as_its_connection(site):
    client = opened(site)
    assert client.post(Text("a"), Text("b")).sent == [("text", "1 a"), ("text", "2 b")]
    assert client.post(Text("c")).sent == [("text", "3 c")]
    assert set(client.meta) == {"Meta-View-State"}


def test_a_state_that_does_not_change_is_not_sent_again(site):
    def view(request):
        if request.wscontext.is_opening():
            request.wscontext.accept()
        return HttpResponse()

    client = opened(site, view)
    assert client.post(Text("a")).header("set-meta-view-state") is None


@pytest.mark.parametrize("told", ["fail", "redirect", "talk", "unkeepable"])
def test_a_failing_view_ends_its_connection_readably_behind_what_it_has_sent(site, told, settings):
    client = opened(site)
    answer = client.post(Text(told))
    assert answer.sent == [("text", f"1 {told}"), ("close", 1011, "")]
    assert answer.header("set-meta-view-state") == ENDED


def test_after_the_end_no_view_is_run(site):
    client = opened(site)
    assert client.post(Text("close")).sent == [("text", "1 close"), ("close", 4000, "as told")]
    runs = len(_runs)
    assert client.post(Close(4000, "as told")).sent == [("close", 4000, "as told")]
    assert len(_runs) == runs


def test_pings_are_answered_without_the_view(site):
    client = opened(site)
    runs = len(_runs)
    assert client.post(Ping(b"x")).sent == [("pong", b"x")]
    assert len(_runs) == runs


def test_a_clients_close_is_answered_with_its_code(site):
    assert opened(site).post(Close(4001, "bye")).sent == [("close", 4001, "bye")]


def test_a_client_that_vanishes_is_no_error(site, caplog):
    def view(request):
        if request.wscontext.is_opening():
            request.wscontext.accept()
        while request.wscontext.can_recv():
            request.wscontext.recv()
        return HttpResponse()

    client = opened(site, view)
    assert client.post(Disconnect()).sent == []
    assert caplog.messages == []


def test_the_answer_to_the_first_batch_refuses_by_itself(site):
    client = serve(site, lambda request: HttpResponse("no such room", status=404, content_type="text/plain"))
    answer = client.post(Open())
    assert (answer.status, answer.body) == (404, b"no such room")


def test_a_view_that_does_not_decide_is_a_500(site, caplog):
    assert serve(site, lambda request: HttpResponse()).post(Open()).status == 500
    assert "neither accepted nor refused" in caplog.text


def test_cookies_of_the_first_answer_reach_the_client(site):
    def view(request):
        request.wscontext.accept()
        response = HttpResponse()
        response.set_cookie("seen", "1")
        return response

    answer = serve(site, view).post(Open())
    assert ("set-cookie", "seen=1; Path=/") in answer.headers
    assert answer.sent == [("open",)]


@pytest.mark.parametrize("state", [None, "rubbish", "other", "query"])
def test_a_batch_without_a_sealed_state_of_its_own_ends_with_1012(site, state):
    client = opened(site)
    if state is None:
        client.meta.clear()
    elif state == "rubbish":
        client.meta["Meta-View-State"] = "AAAA"
    elif state == "query":
        client.query = "another=1"
    else:
        client.connection_id = "another"
    runs = len(_runs)
    assert client.post(Text("a")).sent == [("close", 1012, "")]
    assert len(_runs) == runs


def test_a_consumers_state_is_no_views(wsgi_site, settings):
    client = opened(wsgi_site)
    from grip_consumers import conf

    token, _ = seal_state(ConnectionState("tests.nowhere:Consumer", b"", "c"), client.identity, conf.get())
    client.meta["Meta-View-State"] = token
    assert client.post(Text("a")).sent == [("close", 1012, "")]


def test_a_large_state_lies_in_the_cache(site, settings):
    settings.GRIP_STATE_INLINE_LIMIT = 400
    client = opened(site)
    client.post(Text("keep " + "x" * 1000))
    assert len(client.meta["Meta-View-State"]) < 400
    assert client.post(Text("a")).sent == [("text", "2 a")]
    client.post(Text("keep little"))
    assert client.post(Text("a")).sent == [("text", "4 a")]
    client.post(Text("keep " + "x" * 1000))
    caches["default"].clear()
    assert client.post(Text("a")).sent == [("close", 1012, "")]


def test_a_state_goes_back_to_nothing(site):
    def view(request):
        ws = request.wscontext
        if ws.is_opening():
            ws.accept()
            ws.state["a"] = 1
        for _ in ws:
            ws.send(str(ws.state))
            ws.state.clear()
        return HttpResponse()

    client = opened(site, view)
    assert [client.post(Text("x")).sent for _ in range(2)] == [[("text", "{'a': 1}")], [("text", "{}")]]


def test_unsigned_batches_reach_no_view(site, settings):
    client = opened(site)
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": "k" * 32}]
    runs = len(_runs)
    assert client.post(Text("a")).status == 403
    assert len(_runs) == runs


def test_malformed_batches_reach_no_view(site):
    client = opened(site)
    runs = len(_runs)
    assert client.post(body=b"TEXT 5\r\nab\r\n").status == 400
    assert len(_runs) == runs


def test_begin_is_done_once_and_only_for_batches(rf, settings):
    settings.GRIP_PROXIES = []
    request = rf.get("/")
    assert connection_of(request) is None
    with pytest.raises(RemoteProtocolError, match="expected a batch"):
        begin(request)
    batch = rf.post("/", b"OPEN\r\n", content_type="application/websocket-events", headers={"Connection-Id": "1"})
    assert begin(batch) is begin(batch) is connection_of(batch)


def test_an_answer_is_made_once(rf, settings):
    settings.GRIP_PROXIES = []
    batch = rf.post("/", b"OPEN\r\n", content_type="application/websocket-events", headers={"Connection-Id": "1"})
    found = begin(batch)
    found.exchange.accept()
    first, second = found.response(), found.response()
    assert (first.content, first.headers) == (second.content, second.headers)
    assert found.finish(first) is first


def test_an_answer_that_is_too_large_ends_the_connection_readably(wsgi_site):
    def view(request):
        if request.wscontext.is_opening():
            request.wscontext.accept()
        for _ in request.wscontext:
            request.wscontext.send("x" * 1_000_001)
        return HttpResponse()

    assert opened(wsgi_site, view).post(Text("a")).sent == [("close", 1011, "")]


def test_a_cache_that_fails_ends_the_connection_readably(wsgi_site, monkeypatch, settings):
    settings.GRIP_STATE_INLINE_LIMIT = 0
    client = opened(wsgi_site)

    def fail(entries, found):
        raise OSError("the cache is down")

    monkeypatch.setattr(connection, "save", fail)
    assert client.post(Text("a")).sent == [("close", 1011, "")]


@pytest.mark.parametrize(
    ("origin", "exempt", "middleware", "status"),
    [
        ("http://testserver", False, True, 200),
        (None, False, True, 200),
        ("https://trusted.example", False, True, 200),
        ("https://elsewhere.example", False, True, 403),
        ("null", False, True, 403),
        ("http://[", False, True, 403),
        ("https://elsewhere.example", True, True, 200),
        ("https://elsewhere.example", False, False, 200),
    ],
)
def test_origins_do_the_work_of_csrf_tokens(site, settings, monkeypatch, origin, exempt, middleware, status):
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    if middleware:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    monkeypatch.setattr(run, "csrf_exempt", exempt, raising=False)
    client = serve(site, echo)
    client.handshake = [pair for pair in client.handshake if pair[0] != "Origin"]
    if origin:
        client.handshake.append(("Origin", origin))
    answer = client.post(Open())
    assert (answer.status, len(_runs)) == (status, int(status == 200))
    if status == 200:
        assert client.post(Text("a")).sent == [("text", "1 a")]
