"""WebSockets in plain Django views, entered by each of the ways and with each set of middleware."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from inspect import iscoroutinefunction
from types import SimpleNamespace

import pytest
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseForbidden
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from grip_consumers.protocol import Binary, Close, Disconnect, Open, Ping, Text
from grip_consumers.views import turn
from grip_consumers.views.websocket import WebSocketMiddleware, accept_websocket, require_websocket

from .. import batches

GRIP = "grip_consumers.GripMiddleware"
WEBSOCKET = "grip_consumers.middleware.WebSocketMiddleware"
#: Those that mind batches: for form posts, for answers that are long.
OTHERS = ["django.middleware.gzip.GZipMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
SETUPS = {
    "neither": OTHERS,
    "grip": [GRIP, *OTHERS],
    "websocket": [WEBSOCKET, *OTHERS],
    "both": [GRIP, WEBSOCKET, *OTHERS],
}

#: What views have done, for tests to look at.
journal: list[object] = []


@pytest.fixture(autouse=True)
def _clean_journal():
    journal.clear()


# The views -----------------------------------------------------------------------------------------------------


@require_websocket
def echo_once(request):
    message = request.websocket.wait()
    request.websocket.send(message)


@accept_websocket
def lower_case(request):
    if not request.is_websocket():
        return HttpResponse(request.GET["message"].lower())
    for message in request.websocket:
        request.websocket.send(message.lower())
    return journal.append("over")


@accept_websocket
async def alower_case(request):
    if not request.is_websocket():
        return HttpResponse(request.GET["message"].lower())
    async for message in request.websocket:
        await request.websocket.send(message.lower())
    return journal.append("over")


class Loud(View):
    def get(self, request):
        if not request.is_websocket():
            return HttpResponse("LOUD")
        for message in request.websocket:
            request.websocket.send(message.upper())
        return None

    def post(self, request):
        return HttpResponse("posted")


@method_decorator(accept_websocket, name="dispatch")
class DecoratedLoud(Loud):
    pass


@method_decorator(accept_websocket, name="dispatch")
class AsyncLoud(View):
    async def get(self, request):
        if not request.is_websocket():
            return HttpResponse("LOUD")
        async for message in request.websocket:
            await request.websocket.send(message.upper())
        return None

    async def post(self, request):
        return HttpResponse("posted")


@accept_websocket
def counting(request):
    state = request.websocket.state
    request.websocket.send(f"welcome back after {state.get('count', 0)}")
    for message in request.websocket:
        state["count"] = state.get("count", 0) + 1
        request.websocket.send(f"{state['count']}: {message}")


def plain(request):
    return HttpResponse(b"plain")


def undecorated(request):
    for message in request.websocket:
        request.websocket.send(message * 2)
    journal.append("over")


def marked(request):
    return undecorated(request)


marked.accept_websocket = True


def demanding(request):
    return undecorated(request)


demanding.accept_websocket = demanding.require_websocket = True


@accept_websocket
def scripted(request):
    """As the test under way says."""
    return script[-1](request)


@accept_websocket
async def ascripted(request):
    return await script[-1](request)


script: list[object] = []

urlpatterns = [
    path("once/", echo_once),
    path("lower/", lower_case),
    path("alower/", alower_case),
    path("loud/", accept_websocket(Loud.as_view())),
    path("decorated-loud/", DecoratedLoud.as_view()),
    path("async-loud/", AsyncLoud.as_view()),
    path("counting/", counting),
    path("plain/", plain),
    path("undecorated/", undecorated),
    path("marked/", marked),
    path("demanding/", demanding),
    path("scripted/", scripted),
    path("ascripted/", ascripted),
    path("twice/", accept_websocket(require_websocket(undecorated))),
    path("exempt/", accept_websocket(csrf_exempt(lower_case.__wrapped__))),
    path("members/", login_required(accept_websocket(undecorated))),
    path("protected/", csrf_protect(accept_websocket(lower_case.__wrapped__))),
]


#: Each way in and each set of middleware, with one or two of the other.
GROUNDS = [
    *zip(batches.WAYS, SETUPS, strict=True),
    *(("wsgi", "both"), ("grip-wsgi", "neither"), ("asgi", "grip"), ("django-asgi", "websocket")),
]


def grounds(setups):
    chosen = [ground for ground in GROUNDS if ground[1] in setups]
    return pytest.mark.parametrize(("way", "setup"), chosen, ids=["+".join(ground) for ground in chosen])


on_each_ground, with_its_middleware = grounds(set(SETUPS)), grounds({"websocket", "both"})
with_each_middleware = pytest.mark.parametrize("setup", SETUPS)


@pytest.fixture
def project(settings, monkeypatch):
    """Make a site: by which way, with which middleware."""

    def make(way="wsgi", setup="neither"):
        site = batches.make_site(way, settings, monkeypatch)
        settings.ROOT_URLCONF = __name__
        settings.MIDDLEWARE = SETUPS[setup]
        site.serve()
        return site

    return make


@pytest.fixture
def talk(project):
    """A client of the view that does what the given function does."""

    def make(function, way="wsgi", setup="neither", **options):
        script[:] = [function]
        url = "/ascripted/" if iscoroutinefunction(function) else "/scripted/"
        return project(way, setup).client(url, **options)

    return make


# The examples, by each way -------------------------------------------------------------------------------------


@on_each_ground
def test_a_view_that_returns_after_one_message_echoes_and_closes(project, way, setup):
    client = project(way, setup).client("/once/")
    assert client.post(Open()).sent == [("open",)]
    assert client.post(Text("Hello")).sent == [("text", "Hello"), ("close", 1000, "")]


@on_each_ground
@pytest.mark.parametrize("name", ["lower", "alower"])
def test_a_view_that_iterates_answers_every_message_until_the_client_closes(project, way, setup, name):
    client = project(way, setup).client(f"/{name}/")
    assert client.post(Open()).sent == [("open",)]
    assert client.post(Text("ONE"), Text("Two")).sent == [("text", "one"), ("text", "two")]
    assert client.post(Ping(b"!")).sent == [("pong", b"!")]
    assert client.post().sent == []
    assert journal == []
    assert client.post(Text("Three"), Close(1001, "bye")).sent == [("text", "three"), ("close", 1001, "bye")]
    assert journal == ["over"]


@on_each_ground
@pytest.mark.parametrize("name", ["lower", "alower"])
def test_the_same_view_answers_plain_http(project, way, setup, name):
    answer = get(project(way, setup), f"/{name}/", query="message=HELLO")
    assert (answer.status, answer.body) == (200, b"hello")


@on_each_ground
@pytest.mark.parametrize("name", ["loud", "decorated-loud", "async-loud"])
def test_class_based_views_find_the_handshake_a_get(project, way, setup, name):
    client = project(way, setup).client(f"/{name}/")
    assert client.post(Open()).sent == [("open",)]
    assert client.post(Text("hey")).sent == [("text", "HEY")]


@on_each_ground
def test_state_lives_as_long_as_the_connection_and_a_beginning_sends_once(project, way, setup):
    client = project(way, setup).client("/counting/")
    assert client.post(Open()).sent == [("open",), ("text", "welcome back after 0")]
    assert client.post(Text("a"), Text("b")).sent == [("text", "1: a"), ("text", "2: b")]
    assert client.post(Text("c")).sent == [("text", "3: c")]


@pytest.mark.parametrize("way", batches.WAYS)
def test_a_state_too_large_for_a_header_lies_in_the_cache(talk, way):
    client = talk(keep, way)
    client.post(Open())
    client.post(Text("x" * 5000))
    assert len(client.meta[next(iter(client.meta))]) < 1000
    assert client.post(Text("")).sent == [("text", "5000")]


def keep(request):
    for message in request.websocket:
        kept = request.websocket.state.setdefault("kept", message)
        if not message:
            request.websocket.send(len(kept))


# What the socket does ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("text", ("text", "text")),
        (b"bytes", ("binary", b"bytes")),
        (bytearray(b"ba"), ("binary", b"ba")),
        (memoryview(b"mv"), ("binary", b"mv")),
        (17, ("text", "17")),
        (None, ("text", "None")),
    ],
    ids=["text", "bytes", "bytearray", "memoryview", "number", "none"],
)
def test_send_takes_text_bytes_and_what_has_a_str(talk, sent, expected):
    def view(request):
        request.websocket.send(sent)
        request.websocket.wait()

    assert talk(view).post(Open()).sent == [("open",), expected]


def test_binary_messages_are_bytes(talk):
    client = talk(lambda request: request.websocket.send(repr(request.websocket.wait())))
    client.post(Open())
    assert client.post(Binary(b"\x00")).sent[0] == ("text", "b'\\x00'")


def test_reading_does_not_wait(talk):
    def view(request):
        ws = request.websocket
        found = [ws.count_messages(), ws.has_messages()]
        found += [ws.read(), ws.count_messages(), ws.read("none"), ws.read(), ws.has_messages(), ws.closed]
        journal.append(found)
        ws.wait()

    client = talk(view)
    client.post(Open())
    client.post(Text("one"))
    client.post(Text("one"), Text("two"), Close(1000))
    assert journal == [
        [0, False, None, 0, "none", None, False, False],
        [1, True, "one", 0, "none", None, False, False],
        [2, True, "one", 1, "two", None, False, True],
    ]


def test_wait_gives_none_when_the_connection_has_ended(talk):
    def view(request):
        journal.extend(iter(request.websocket.wait, None))
        journal.append(request.websocket.wait())
        journal.append(request.websocket.closed)

    client = talk(view)
    client.post(Open())
    assert client.post(Text("last"), Disconnect()).sent == []
    assert journal == ["last", None, True]


@on_each_ground
def test_after_this_side_has_closed_no_view_hears_of_the_clients_answer(talk, way, setup):
    def view(request):
        journal.append(request.websocket.wait())

    client = talk(view, way, setup)
    client.post(Open())
    assert client.post(Text("x")).sent == [("close", 1000, "")]
    client.post(Close(1000))
    assert journal == ["x"]


def test_a_batch_in_which_the_proxy_asks_by_itself_runs_no_view(talk):
    client = talk(lambda request: journal.append("ran") or request.websocket.wait())
    client.post(Open())
    client.post(Ping(b""))
    client.post()
    assert journal == ["ran"]


def test_closing_names_code_and_reason_and_ends_the_waiting(talk):
    def view(request):
        request.websocket.wait()
        request.websocket.close(4000, "enough")
        journal.extend(request.websocket)
        journal.append(request.websocket.closed)

    client = talk(view)
    client.post(Open())
    assert client.post(Text("one"), Text("two")).sent == [("close", 4000, "enough")]
    assert journal == ["two", True]


def test_a_view_that_returns_at_once_accepts_and_closes(talk):
    assert talk(lambda request: request.websocket.send("bye")).post(Open()).sent == [
        ("open",),
        ("text", "bye"),
        ("close", 1000, ""),
    ]


def test_the_first_subprotocol_that_the_client_offers_is_accepted(talk):
    offers = (*batches.HANDSHAKE, ("Sec-WebSocket-Protocol", "chat, superchat"))
    client = talk(lambda request: request.websocket.wait(), headers=offers)
    assert client.post(Open()).header("sec-websocket-protocol") == "chat"
    client = talk(lambda request: request.websocket.accept("superchat"), headers=offers)
    assert client.post(Open()).header("sec-websocket-protocol") == "superchat"
    client = talk(lambda request: None, headers=(*batches.HANDSHAKE, ("Sec-WebSocket-Protocol", "a b(")))
    answer = client.post(Open())
    assert (answer.sent[0], answer.header("sec-websocket-protocol")) == (("open",), None)


@pytest.mark.parametrize("way", batches.WAYS)
def test_an_asynchronous_view_awaits_the_same(talk, way):
    async def view(request):
        ws = request.websocket
        await ws.accept("chat")
        await ws.subscribe("news")
        await ws.send("welcome")
        message = await ws.wait()
        journal.append((message, await ws.read("none"), ws.count_messages(), ws.has_messages(), ws.state))
        await ws.unsubscribe("news")
        await ws.send(b"bye")
        await ws.close(4001)

    client = talk(view, way)
    answer = client.post(Open())
    assert [frame[0] for frame in answer.frames] == ["open", "control", "text"]
    assert answer.header("sec-websocket-protocol") == "chat"
    assert [frame[0] for frame in client.post(Text("hi")).frames] == ["control", "binary", "close"]
    assert journal == [("hi", "none", 0, False, {})]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no task groups")
def test_a_task_group_that_waits_is_suspended(talk):
    async def view(request):
        async with asyncio.TaskGroup() as group:
            group.create_task(request.websocket.wait())

    assert talk(view).post(Open()).sent == [("open",)]


def test_a_view_subscribes_once(talk, settings):
    def view(request):
        request.websocket.subscribe("news")
        for message in request.websocket:
            request.websocket.unsubscribe(message)

    client = talk(view)
    settings.GRIP_PREFIX = "site-"
    assert client.post(Open()).controls == [{"type": "subscribe", "channel": "site-news"}]
    assert client.post(Text("news")).controls == [{"type": "unsubscribe", "channel": "site-news"}]


# Suspending ----------------------------------------------------------------------------------------------------


def test_suspending_passes_handlers_of_exceptions_and_closes_nothing(talk):
    def view(request):
        try:
            request.websocket.wait()
        except Exception:
            journal.append("caught")
        finally:
            journal.append("finally")

    assert talk(view).post(Open()).sent == [("open",)]
    assert journal == ["finally"]


def test_a_view_that_swallows_it_with_everything_still_waits(talk):
    def view(request):
        try:
            request.websocket.wait()
        except:  # noqa: E722
            journal.append("caught")

    assert talk(view).post(Open()).sent == [("open",)]
    assert journal == ["caught"]


def turns(limit=50_000):
    """A loop that would go on for ever, but not in a test."""
    yield from range(limit)
    raise AssertionError("the view has not been left")


def polls_read(ws):
    while not ws.closed:
        message = ws.read()
        if message is not None:
            ws.send(message)


def polls_has_messages(ws):
    for _ in turns():
        if ws.has_messages():
            ws.send(ws.read())


def polls_count_messages(ws):
    for _ in turns():
        while ws.count_messages() > 0:
            ws.send(ws.read())


def polls_closed(ws):
    if ws.has_messages():
        ws.send(ws.read())
    for _ in turns():
        if ws.closed:
            return


def never_minds_the_end(ws):
    for _ in turns():
        message = ws.wait()
        if message is not None:
            ws.send(message)


@pytest.mark.parametrize(
    "polls", [polls_read, polls_has_messages, polls_count_messages, polls_closed, never_minds_the_end]
)
def test_asking_for_ever_counts_as_waiting(talk, caplog, polls):
    client = talk(lambda request: polls(request.websocket))
    assert client.post(Open()).sent == [("open",)]
    assert client.post(Text("x")).sent == [("text", "x")]
    assert client.post(Text("y"), Close(1000)).sent == [("text", "y"), ("close", 1000, "")]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "counts as wait()" in caplog.text


def test_a_loop_that_polls_for_the_end_finds_it(talk):
    def view(request):
        while not request.websocket.closed:
            if request.websocket.has_messages():
                request.websocket.send(request.websocket.read())
        journal.append("over")

    client = talk(view)
    client.post(Open())
    assert journal == []
    client.post(Text("x"), Close(1000))
    assert journal == ["over"]


def test_work_that_looks_whether_the_client_is_there_is_not_polling(talk, caplog):
    def view(request):
        for message in request.websocket:
            for _ in range(3000):
                if request.websocket.closed:
                    return
            for _ in range(300):
                if request.websocket.has_messages():
                    continue
                request.websocket.send(message)

    client = talk(view)
    client.post(Open())
    assert client.post(Text("x")).sent == [("text", "x")] * 300
    assert client.post(Text("a"), Text("b")).sent == [("text", "b")] * 300
    assert caplog.text == ""


def test_a_socket_that_is_kept_may_be_looked_at(talk):
    def view(request):
        journal.append(request.websocket)
        request.websocket.wait()

    talk(view).post(Open())
    for _ in turns(500):
        if (journal[0].has_messages(), journal[0].closed) == (False, False) and len(journal) > 200:
            break
        journal.append("looked")


def swallows(request):
    for _ in turns():
        try:
            message = request.websocket.wait()
        except:  # noqa: E722
            continue
        if message is None:
            return
        request.websocket.send(message)


def swallows_the_end_too(request):
    for _ in turns():
        try:
            request.websocket.send(request.websocket.wait() or "?")
        except BaseException as error:
            if str(error):
                raise


@pytest.mark.parametrize("view", [swallows, swallows_the_end_too])
def test_a_loop_that_swallows_it_ends_with_1011_and_says_why(talk, caplog, view):
    client = talk(view)
    assert client.post(Open()).sent == [("open",), ("close", 1011, "")]
    assert "bare `except:`" in caplog.text


def test_several_tasks_may_wait(talk, caplog):
    async def view(request):
        async def pump():
            async for message in request.websocket:
                await request.websocket.send(message)

        async def reply():
            await asyncio.sleep(0)
            await request.websocket.send("meanwhile")

        await asyncio.gather(*(pump() for _ in range(5)), reply(), return_exceptions=True)

    client = talk(view)
    assert client.post(Open()).sent == [("open",), ("text", "meanwhile")]
    assert client.post(Text("x")).sent == [("text", "x"), ("text", "meanwhile")]
    assert caplog.text == ""


# What stands in `finally` ------------------------------------------------------------------------------------------


def closes_at_last(request):
    try:
        for message in request.websocket:
            request.websocket.send(message)
    finally:
        request.websocket.send("bye")
        request.websocket.subscribe("left")
        request.websocket.unsubscribe("here")
        request.websocket.close()


def closing(request):
    with contextlib.closing(request.websocket) as ws:
        for message in ws:
            ws.send(message)


def swallows_and_sends(request):
    try:
        request.websocket.send(request.websocket.wait())
        request.websocket.wait()
    except:  # noqa: E722
        request.websocket.close(4000)


async def acloses_at_last(request):
    ws = request.websocket

    async def pump():
        async for message in ws:
            await ws.send(message)

    try:
        await asyncio.gather(pump())
    finally:
        await ws.send("bye")
        await ws.close()


@pytest.mark.parametrize("view", [closes_at_last, closing, swallows_and_sends, acloses_at_last])
def test_what_a_view_does_to_its_socket_as_it_is_left_is_not_done(talk, caplog, view):
    client = talk(view)
    opened = client.post(Open())
    assert (opened.sent, opened.controls) == ([("open",)], [])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    answer = client.post(Text("x"))
    assert (answer.sent, answer.controls) == ([("text", "x")], [])


def test_at_the_end_of_a_connection_it_is(talk, caplog):
    client = talk(closes_at_last)
    client.post(Open())
    caplog.clear()
    client.post(Text("x"), Disconnect())
    assert caplog.text == ""

    def fails(request):
        try:
            raise ValueError
        finally:
            request.websocket.send("bye")

    assert talk(fails).post(Open()).sent == [("open",), ("text", "bye"), ("close", 1011, "")]


# Transactions --------------------------------------------------------------------------------------------------


def in_one_transaction(request):
    with transaction.atomic():
        for message in request.websocket:
            request.websocket.send(message)


def in_a_swallowed_transaction(request):
    for _ in turns():
        with contextlib.suppress(Exception), transaction.atomic():
            request.websocket.wait()


def in_transactions(request):
    for message in request.websocket:
        with transaction.atomic():
            request.websocket.send(message)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("view", [in_one_transaction, in_a_swallowed_transaction])
def test_waiting_inside_a_transaction_that_this_would_roll_back_is_an_error(talk, caplog, view):
    assert talk(view).post(Open()).sent == [("open",), ("close", 1011, "")]
    assert "atomic()" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("outer", [contextlib.nullcontext, transaction.atomic])
def test_a_transaction_for_each_message_or_around_the_view_is_fine(talk, outer):
    client = talk(in_transactions)
    with outer():
        client.post(Open())
        assert client.post(Text("x")).sent == [("text", "x")]


def test_a_socket_kept_beyond_its_batch_says_so(talk):
    def view(request):
        journal.append(request.websocket)
        request.websocket.wait()

    talk(view).post(Open())
    with pytest.raises(RuntimeError, match="after its batch was answered"):
        journal[0].send("late")


def test_an_answer_that_a_proxy_may_hold_back_is_warned_of(talk, caplog):
    def view(request):
        for message in request.websocket:
            request.websocket.send(message * 1000)

    client = talk(view)
    client.post(Open())
    client.post(Text("x" * 27))
    assert caplog.text == ""
    client.post(Text("x" * 29))
    assert "29015 bytes in 1 messages" in caplog.text
    caplog.clear()
    client.post(*[Text("")] * 401)
    assert "in 401 messages" in caplog.text


# Refusals and failures -----------------------------------------------------------------------------------------


def raises(error):
    def view(request):
        raise error

    return view


@on_each_ground
@pytest.mark.parametrize(
    ("error", "status"),
    [(Http404(), 404), (PermissionDenied(), 403), (ValueError("oops"), 500)],
    ids=["404", "403", "500"],
)
def test_an_exception_before_the_socket_is_used_refuses_the_handshake(talk, way, setup, error, status):
    answer = talk(raises(error), way, setup).post(Open())
    assert answer.status == status
    assert not answer.header("content-type").startswith("application/websocket")


@with_each_middleware
def test_an_answer_of_its_own_refuses_the_handshake(talk, setup):
    assert talk(lambda request: HttpResponseForbidden("no"), setup=setup).post(Open()).body == b"no"


@with_each_middleware
def test_a_decorator_in_front_refuses_the_handshake(project, setup):
    client = project(setup=setup)
    client.settings.MIDDLEWARE = [*client.settings.MIDDLEWARE, f"{__name__}.nobody"]
    answer = client.client("/members/").post(Open())
    assert (answer.status, answer.header("location")) == (302, "/accounts/login/?next=/members/")


def nobody(get_response):
    from django.contrib.auth.models import AnonymousUser

    def middleware(request):
        request.user = AnonymousUser()
        return get_response(request)

    return middleware


def fails_at_bad(request):
    for message in request.websocket:
        request.websocket.send(message)
        if message == "bad":
            raise ValueError("oops")
        if message == "403":
            return HttpResponseForbidden()
    return None


@on_each_ground
@pytest.mark.parametrize("bad", ["bad", "403"])
def test_a_failure_later_closes_with_1011_behind_what_was_sent(talk, way, setup, caplog, bad):
    client = talk(fails_at_bad, way, setup)
    client.post(Open())
    answer = client.post(Text("good"), Text(bad), Text("never"))
    assert answer.sent == [("text", "good"), ("text", bad), ("close", 1011, "")]
    assert [record.levelname for record in caplog.records if record.name == "grip_consumers.views"] == ["ERROR"]


def test_a_middleware_that_answers_for_the_view_closes_a_connection_with_1011(talk, settings, caplog):
    client = talk(lambda request: request.websocket.wait(), setup="websocket")
    client.post(Open())
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.maintenance"]
    assert client.post(Text("x")).sent == [("close", 1011, "")]


def maintenance(get_response):
    return lambda request: HttpResponse("later", status=503)


def test_a_view_that_fails_rolls_back_and_is_counted_as_an_error(talk, monkeypatch):
    class Atomic:
        alias, savepoint_ids = "default", ()
        settings_dict = {"ATOMIC_REQUESTS": True}
        in_atomic_block = True

        def set_rollback(self, rollback):
            journal.append(("rollback", rollback))

    def count(**kwargs):
        journal.append(type(kwargs["request"]).__name__)

    client = talk(fails_at_bad)
    client.post(Open())
    got_request_exception.connect(count)
    monkeypatch.setattr(turn, "connections", SimpleNamespace(all=lambda initialized_only: [Atomic()]))
    try:
        client.post(Text("bad"))
    finally:
        got_request_exception.disconnect(count)
    assert journal == ["WSGIRequest", ("rollback", True)]


def coroutine(request):
    return alower_case.__wrapped__(request)


def generator(request):
    yield "chunk"


def string(request):
    return "done"


@pytest.mark.parametrize(("view", "told"), [(coroutine, "a coroutine"), (generator, "a generator"), (string, "a str")])
def test_what_is_no_response_is_an_error_that_names_the_view(talk, caplog, view, told):
    answer = talk(view).post(Open())
    assert answer.status == 500
    assert f"{__name__}.scripted returned {told}, expected" in caplog.text

    def later(request):
        request.websocket.wait()
        return view(request)

    client = talk(later)
    client.post(Open())
    assert client.post(Text("x")).sent == [("close", 1011, "")]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no task groups")
def test_an_error_beside_a_suspension_is_a_failure(talk, caplog):
    async def view(request):
        async def worker():
            try:
                await asyncio.sleep(10)
            finally:
                raise ValueError("cleanup failed")

        async with asyncio.TaskGroup() as group:
            group.create_task(worker())
            await asyncio.sleep(0)
            group.create_task(request.websocket.wait())

    assert talk(view).post(Open()).sent == [("open",), ("close", 1011, "")]
    assert "cleanup failed" in caplog.text


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no groups of exceptions")
def test_what_ends_a_process_passes_also_beside_a_suspension(talk):
    def view(request):
        try:
            request.websocket.wait()
        except BaseException as error:
            raise BaseExceptionGroup("two", [error, KeyboardInterrupt()])  # noqa: B904, F821

    client = talk(view)
    with pytest.raises(BaseExceptionGroup) as raised:  # noqa: F821
        client.post(Open())
    assert [type(error) for error in raised.value.exceptions] == [KeyboardInterrupt]


def test_an_unkeepable_state_closes_with_1011(talk, caplog):
    def view(request):
        for _ in request.websocket:
            request.websocket.state["lock"] = threading.Lock()

    client = talk(view)
    client.post(Open())
    assert client.post(Text("x")).sent == [("close", 1011, "")]


# 400 -----------------------------------------------------------------------------------------------------------


@with_its_middleware
def test_with_the_middleware_a_view_that_does_not_accept_is_400(project, way, setup):
    assert project(way, setup).client("/undecorated/").post(Open()).status == 400


def get(site, url, **options):
    client = site.client(url, **options)
    client.method, client.content_types = "GET", []
    return client.post(body=b"")


@on_each_ground
def test_a_required_websocket_that_is_none_is_400(project, way, setup):
    assert get(project(way, setup), "/once/").status == 400


@with_its_middleware
def test_so_it_is_where_only_an_attribute_says_so(project, way, setup):
    assert get(project(way, setup), "/demanding/").status == 400


@with_each_middleware
def test_a_malformed_batch_is_400(project, setup):
    assert project(setup=setup).client("/lower/").post(body=b"TEXT 5\r\n").status == 400


@on_each_ground
def test_an_unsigned_batch_is_403(project, way, setup):
    site = project(way, setup)
    site.settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": "k" * 32}]
    assert site.client("/lower/").post(Open()).status == 403


@with_each_middleware
def test_a_websocket_without_a_proxy_is_501_with_advice(project, setup):
    site = project(setup=setup)
    client = site.client("/lower/")
    client.method, client.content_types = "GET", []
    client.extra = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    assert client.post(body=b"").status == 501


@with_each_middleware
def test_a_batch_that_brings_no_state_finds_no_view(talk, setup):
    client = talk(lambda request: journal.append("ran"), setup=setup)
    assert client.post(Text("forged")).sent == [("close", 1012, "")]
    assert journal == []


# The middleware ------------------------------------------------------------------------------------------------


@with_its_middleware
@pytest.mark.parametrize(
    ("url", "accept_all"), [("/marked/", False), ("/demanding/", False), ("/undecorated/", True), ("/twice/", False)]
)
def test_a_view_without_decorator_is_suspended_behind_all_middleware(project, way, setup, url, accept_all):
    site = project(way, setup)
    site.settings.WEBSOCKET_ACCEPT_ALL = accept_all
    site.settings.MIDDLEWARE = [*site.settings.MIDDLEWARE, f"{__name__}.Watching"]
    site.serve()
    client = site.client(url)
    assert client.post(Open()).sent == [("open",)]
    assert client.post(Text("ab")).sent == [("text", "abab")]
    assert client.post(Close(1000)).sent == [("close", 1000, "")]
    assert journal == ["in", "view", "out", "in", "view", "out", "in", "view", "over", "out"]


class Watching:
    """Sees every request come, reach its view, and go."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        journal.append("in")
        response = self.get_response(request)
        journal.append("out")
        return response

    def process_view(self, request, view, args, kwargs):
        journal.append("view")


@with_each_middleware
def test_an_answer_is_not_compressed(project, setup):
    client = project(setup=setup).client("/lower/", headers=(*batches.HANDSHAKE, ("Accept-Encoding", "gzip")))
    client.post(Open())
    assert client.post(Text("A" * 1000)).sent == [("text", "a" * 1000)]


@with_each_middleware
def test_a_cache_of_pages_neither_answers_a_batch_nor_keeps_one(project, settings, setup):
    site = project(setup=setup)
    caching = "django.middleware.cache."
    settings.MIDDLEWARE = [
        f"{caching}UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        f"{caching}FetchFromCacheMiddleware",
    ]
    assert get(site, "/lower/", query="message=A").body == b"a"
    for _ in range(2):
        assert site.client("/lower/", query="message=A").post(Open()).sent == [("open",)]
    assert get(site, "/lower/", query="message=A").body == b"a"


@with_its_middleware
def test_the_middleware_gives_every_request_its_attributes(project, way, setup, monkeypatch):
    def view(request):
        return HttpResponse(json.dumps([request.is_websocket(), request.websocket]))

    monkeypatch.setattr(urlpatterns[7], "callback", view)
    assert json.loads(get(project(way, setup), "/plain/").body) == [False, None]


def test_what_a_middleware_reads_is_read(talk, settings):
    def view(request):
        journal.append((request.websocket.count_messages(), request.websocket.wait()))

    client = talk(view, setup="websocket")
    client.post(Open())
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.reading"]
    client.post(Text("one"), Text("two"))
    assert journal == [(1, "two")]


def reading(get_response):
    def middleware(request):
        request.websocket.read()
        return get_response(request)

    return middleware


def test_names_are_where_django_websocket_has_them():
    import grip_consumers.decorators
    import grip_consumers.middleware

    assert grip_consumers.middleware.WebSocketMiddleware is WebSocketMiddleware
    assert grip_consumers.accept_websocket is grip_consumers.decorators.accept_websocket is accept_websocket
    assert grip_consumers.require_websocket is grip_consumers.decorators.require_websocket is require_websocket
    with pytest.raises(AttributeError, match="nothing"):
        _ = grip_consumers.middleware.nothing


# Cross-site requests -------------------------------------------------------------------------------------------


def foreign():
    return tuple((name, "http://elsewhere.example" if name == "Origin" else value) for name, value in batches.HANDSHAKE)


@on_each_ground
@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/lower/", 403),
        ("/alower/", 403),
        ("/decorated-loud/", 403),
        ("/exempt/", 200),
    ],
)
def test_a_websocket_from_a_foreign_site_is_refused(project, way, setup, url, status):
    site = project(way, setup)
    assert site.client(url, headers=foreign()).post(Open()).status == status


@pytest.mark.parametrize(
    ("setup", "url"), [("websocket", "/marked/"), ("both", "/marked/"), ("neither", "/twice/"), ("grip", "/twice/")]
)
def test_so_it_is_where_the_view_is_decorated_late_or_twice(project, setup, url):
    assert project(setup=setup).client(url, headers=foreign()).post(Open()).status == 403


@with_each_middleware
def test_a_trusted_site_may_connect(project, setup):
    site = project(setup=setup)
    site.settings.CSRF_TRUSTED_ORIGINS = ["http://elsewhere.example"]
    client = site.client("/lower/", headers=foreign())
    assert client.post(Open()).sent == [("open",)]
    # Who has connected stays connected.
    site.settings.CSRF_TRUSTED_ORIGINS = []
    assert client.post(Text("A")).sent == [("text", "a")]


@on_each_ground
@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/loud/", 403),
        ("/decorated-loud/", 403),
        ("/async-loud/", 403),
        ("/exempt/", 200),
    ],
)
def test_a_form_post_to_such_a_view_still_needs_its_token(project, way, setup, url, status):
    client = project(way, setup).client(url, query="message=X")
    client.content_types = ["application/x-www-form-urlencoded"]
    assert client.post(body=b"a=b").status == status


@pytest.mark.parametrize(
    "middleware", [[], [GRIP], SETUPS["neither"], SETUPS["both"]], ids=["none", "grip", "csrf", "all"]
)
def test_a_decorator_that_asks_for_the_token_is_heard_with_any_middleware(project, middleware):
    site = project()
    site.settings.MIDDLEWARE = middleware
    site.serve()
    client = site.client("/protected/", query="message=X")
    client.content_types = ["application/x-www-form-urlencoded"]
    assert client.post(body=b"a=b").status == 403
    if GRIP in middleware:
        client = site.client("/protected/")
        assert client.post(Open()).sent == [("open",)]
        assert client.post(Text("A")).sent == [("text", "a")]


def test_without_the_csrf_middleware_nothing_is_asked_for(project):
    site = project()
    site.settings.MIDDLEWARE = []
    assert site.client("/lower/", headers=foreign()).post(Open()).sent == [("open",)]
    client = site.client("/loud/")
    client.content_types = []
    assert client.post(body=b"").body == b"posted"
