"""One batch through the dispatcher and back, by each way in."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import types

import jwt
import msgpack
import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches

from grip_consumers import conf, groups, identity
from grip_consumers.dispatcher import ENDED, NoRoute
from grip_consumers.exceptions import DenyConnection, StopConsumer
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.protocol import Binary, Close, Disconnect, Open, Ping, Pong, Text
from grip_consumers.state.seal import seal

from . import batches
from .batches import Answer, importable

site = batches.site
wsgi_site = batches.wsgi_site
asgi_site = batches.asgi_site

BOTH = pytest.mark.parametrize("base", [WebsocketConsumer, AsyncWebsocketConsumer], ids=["sync", "async"])


class Echo(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data, bytes_data=bytes_data)


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


ECHOES = pytest.mark.parametrize("echo", [Echo, AsyncEcho])


def errors(caplog):
    """Errors of ours: Django logs each 5xx itself."""
    ours = [record for record in caplog.records if record.name.startswith("grip_consumers")]
    return [record for record in ours if record.levelno >= logging.ERROR]


# Opening -------------------------------------------------------------------------------------------------


@ECHOES
def test_an_accepted_connection_gets_open_the_user_and_its_state(site, echo):
    site.serve(echo)
    client = site.client()
    answer = client.post(Open())
    state = answer.header("set-meta-state")
    assert state
    assert len(answer.user) == 16
    assert client.connection_id not in answer.user
    assert answer == Answer(
        200,
        [
            ("content-type", "application/websocket-events"),
            ("sec-websocket-extensions", "grip"),
            ("set-meta-state", state),
        ],
        b'OPEN\r\nTEXT 3e\r\nc:{"type":"set-meta","name":"user","value":"%s"}\r\n' % answer.user.encode()
        + b'TEXT 41\r\nc:{"type":"subscribe","channel":"specific.grip!%s"}\r\n' % answer.user.encode(),
    )


def test_accept_passes_subprotocol_headers_and_cookies(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.accept(
                subprotocol=self.scope["subprotocols"][1],
                headers=[
                    (b"x-one", b"1"),
                    (b"set-cookie", b"k=v; Path=/; HttpOnly; SameSite=Lax"),
                    (b"set-cookie", b"l=w; Max-Age=60"),
                ],
            )

    site.serve(Chat)
    client = site.client(headers=[*batches.HANDSHAKE, ("Sec-WebSocket-Protocol", "one, two")])
    answer = client.post(Open())
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert answer.status == 200
    assert answer.header("sec-websocket-protocol") == "two"
    assert answer.header("x-one") == "1"
    assert sorted(part.strip() for part in cookies[0].split(";")) == ["HttpOnly", "Path=/", "SameSite=Lax", "k=v"]
    assert sorted(part.strip() for part in cookies[1].split(";")) == ["Max-Age=60", "l=w"]
    assert len(cookies) == 2


def test_two_cookies_of_one_name_for_two_paths_both_arrive(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.accept(headers=[(b"set-cookie", b"k=1; Path=/a"), (b"set-cookie", b"k=2; Path=/b")])

    site.serve(Chat)
    answer = site.client().post(Open())
    assert [value for name, value in answer.headers if name == "set-cookie"] == ["k=1; Path=/a", "k=2; Path=/b"]


def _closes(self):
    self.close()


def _denies(self):
    raise DenyConnection


def _closes_with_code(self):
    self.close(code=4001, reason="no")


@pytest.mark.parametrize("connect", [_closes, _denies, _closes_with_code])
def test_closing_before_accept_is_403_and_disconnect_is_called(site, connect):
    codes = []

    @importable
    class Chat(WebsocketConsumer):
        def disconnect(self, code):
            codes.append(code)

    Chat.connect = connect
    site.serve(Chat)
    answer = site.client().post(Open())
    assert answer == Answer(403, [("content-type", "text/plain")], b"")
    assert codes == [1006]


@BOTH
def test_an_exception_in_connect_is_500_and_logged_and_disconnect_is_not_called(site, base, caplog):
    calls = []

    def fail():
        raise RuntimeError("no such luck")

    @importable
    class Chat(base):
        if base is WebsocketConsumer:

            def connect(self):
                fail()

            def disconnect(self, code):
                calls.append(code)
        else:

            async def connect(self):
                fail()

            async def disconnect(self, code):
                calls.append(code)

    site.serve(Chat)
    answer = site.client().post(Open())
    assert answer == Answer(500, [("content-type", "text/plain")], b"Internal Server Error")
    assert calls == []
    (record,) = errors(caplog)
    assert "no such luck" in record.exc_text
    assert Chat.__qualname__ in record.getMessage()


def test_neither_accept_nor_close_is_403_with_a_warning_that_names_the_consumer(site, caplog):
    @importable
    class Undecided(WebsocketConsumer):
        def connect(self):
            pass

    site.serve(Undecided)
    answer = site.client().post(Open())
    assert answer == Answer(403, [("content-type", "text/plain")], b"")
    (record,) = [record for record in caplog.records if record.name.startswith("grip_consumers")]
    assert record.levelno == logging.WARNING
    assert Undecided.__qualname__ in record.getMessage()
    assert "/ws/" in record.getMessage()


def test_a_denial_response_comes_through_whole(site):
    @importable
    class Deny(AsyncWebsocketConsumer):
        async def connect(self):
            assert "websocket.http.response" in self.scope["extensions"]
            start = {"type": "websocket.http.response.start", "status": 451}
            await self.base_send({**start, "headers": [(b"x-why", b"law"), (b"content-type", b"text/html")]})
            await self.base_send({"type": "websocket.http.response.body", "body": b"<p>", "more_body": True})
            await self.base_send({"type": "websocket.http.response.body", "body": b"no"})

    site.serve(Deny)
    answer = site.client().post(Open())
    assert (answer.status, sorted(answer.headers), answer.body) == (
        451,
        [("content-type", "text/html"), ("x-why", "law")],
        b"<p>no",
    )


def test_sending_before_accept_is_an_error_in_channels_words(site, caplog):
    @importable
    class Hasty(WebsocketConsumer):
        def connect(self):
            self.send(text_data="x")

    site.serve(Hasty)
    assert site.client().post(Open()).status == 500
    assert "Socket has not been accepted, so cannot send over it" in errors(caplog)[0].exc_text


def test_accept_then_frames_then_close_in_the_first_response(site):
    @importable
    class Brief(WebsocketConsumer):
        codes = []

        def connect(self):
            self.accept()
            self.send(text_data="hello")
            self.close(code=4003, reason="full")

        def disconnect(self, code):
            type(self).codes.append(code)

    site.serve(Brief)
    Brief.codes.clear()
    client = site.client()
    assert client.post(Open()).sent == [("open",), ("text", "hello"), ("close", 4003, "full")]
    assert Brief.codes == []
    assert client.post(Close(4003, "full")).sent == [("close", 4003, "full")]
    assert Brief.codes == [4003]


def test_an_exception_after_accept_delivers_what_was_sent_then_1011(site, caplog):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.accept()
            self.send(text_data="hello")
            raise RuntimeError("late")

    site.serve(Chat)
    answer = site.client().post(Open())
    assert answer.sent == [("open",), ("text", "hello"), ("close", 1011, "")]
    assert answer.header("set-meta-state") == ENDED
    (record,) = errors(caplog)
    assert "on /ws/" in record.getMessage()


# Frames --------------------------------------------------------------------------------------------------


@ECHOES
def test_frames_are_answered_in_order_with_pings_in_their_place(site, echo):
    site.serve(echo)
    client = site.opened()
    answer = client.post(Text("a"), Ping(b"p"), Binary(b"\x00b"), Pong(b"q"), Text(""), Ping())
    assert answer == Answer(
        200,
        [("content-type", "application/websocket-events")],
        b"TEXT 3\r\nm:a\r\nPONG 1\r\np\r\nBINARY 4\r\nm:\x00b\r\nTEXT 2\r\nm:\r\nPONG\r\n",
    )


def test_text_that_looks_like_a_control_message_stays_text(site):
    site.serve(Echo)
    answer = site.opened().post(Text('c:{"type":"detach"}'))
    assert answer.body == b'TEXT 15\r\nm:c:{"type":"detach"}\r\n'


def test_pings_alone_touch_neither_state_nor_consumer(site, monkeypatch):
    @importable
    class Chat(WebsocketConsumer):
        pass

    site.serve(Chat)
    client = site.opened()
    batches.forget(Chat)
    client.meta["Meta-State"] = "garbage"
    answer = client.post(Ping(b"1"), Pong(b"x"), Ping())
    assert answer == Answer(200, [("content-type", "application/websocket-events")], b"PONG 1\r\n1\r\nPONG\r\n")


def test_pings_alone_are_still_verified(site, settings):
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": "k" * 32}]
    site.serve(Echo)
    assert site.client().post(Ping()).status == 403


def test_an_empty_batch_calls_nothing_and_changes_nothing(site):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            raise AssertionError

    site.serve(Chat)
    client = site.opened()
    client.post()
    # The first showed that the proxy can call back.
    assert client.post() == Answer(200, [("content-type", "application/websocket-events")], b"")


@importable
class Leaves(WebsocketConsumer):
    log: list = []

    def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        self.send(text_data=text_data)

    def disconnect(self, code):
        self.log.append(code)
        self.send(text_data="too late")


@pytest.mark.parametrize(
    ("event", "code", "answer"),
    [
        (Close(4003, "bye"), 4003, b"CLOSE 5\r\n\x0f\xa3bye\r\n"),
        (Close(1000), 1000, b"CLOSE 2\r\n\x03\xe8\r\n"),
        (Close(), 1005, b"CLOSE\r\n"),
        (Disconnect(), 1006, b""),
    ],
)
def test_the_end_of_the_connection_calls_disconnect_with_its_code(site, event, code, answer):
    Leaves.log.clear()
    site.serve(Leaves)
    client = site.opened()
    found = client.post(Text("last"), event)
    assert found == Answer(
        200,
        [("content-type", "application/websocket-events"), ("set-meta-state", ENDED)],
        b"TEXT 6\r\nm:last\r\n" + answer,
    )
    assert Leaves.log == ["last", code]


def test_an_end_that_is_reported_twice_gives_one_disconnect(site, caplog):
    Leaves.log.clear()
    site.serve(Leaves)
    client = site.opened()
    client.post(Close(1000))
    assert client.post(Disconnect()).status == 200
    assert Leaves.log == [1000]
    assert caplog.records == []


@importable
class Closes(WebsocketConsumer):
    """Closes on "go"; what it is told, and how often it was told so before, goes to the log."""

    log: list = []
    count = 0

    def receive(self, text_data=None, bytes_data=None):
        self.count += 1
        self.log.append((text_data, self.count))
        self.send(text_data=text_data)
        if text_data == "go":
            self.close(code=4444, reason="why")

    def disconnect(self, code):
        self.log.append((code, self.count))


@importable
class AsyncCloses(AsyncWebsocketConsumer):
    log = Closes.log
    count = 0

    async def receive(self, text_data=None, bytes_data=None):
        self.count += 1
        self.log.append((text_data, self.count))
        await self.send(text_data=text_data)
        if text_data == "go":
            await self.close(code=4444, reason="why")

    async def disconnect(self, code):
        self.log.append((code, self.count))


@pytest.mark.parametrize("closes", [Closes, AsyncCloses])
def test_after_a_close_of_ours_the_clients_answer_brings_disconnect(site, closes):
    """The proxy passes on what the client sent before it answered, and its answer, with the state as it is by then."""
    Closes.log.clear()
    site.serve(closes)
    client = site.opened()
    answer = client.post(Text("go"), Text("on"), Ping())
    assert answer.sent == [("text", "go"), ("close", 4444, "why")]
    assert answer.header("set-meta-state") not in (None, ENDED)
    assert Closes.log == [("go", 1), ("on", 2)]
    client.post(Text("crossed"))
    answer = client.post(Text("last"), Close(4444, "why"))
    assert answer.sent[-1] == ("close", 4444, "why")
    assert answer.header("set-meta-state") == ENDED
    assert Closes.log == [("go", 1), ("on", 2), ("crossed", 3), ("last", 4), (4444, 4)]


def test_a_client_that_vanishes_after_a_close_of_ours_is_a_disconnect_with_1006(site):
    Closes.log.clear()
    site.serve(Closes)
    client = site.opened()
    client.post(Text("go"))
    assert client.post(Disconnect()).sent == []
    assert Closes.log == [("go", 1), (1006, 1)]


def test_a_consumer_that_closes_in_disconnect_is_not_called_again(site):
    codes = []

    @importable
    class Again(WebsocketConsumer):
        def receive(self, **kwargs):
            self.close(code=4001)

        def disconnect(self, code):
            codes.append(code)
            self.close(code=4002)

    site.serve(Again)
    client = site.opened()
    assert client.post(Text("x")).sent == [("close", 4001, "")]
    assert client.post(Close(4001)).sent == [("close", 4001, "")]
    assert codes == [4001]


@pytest.mark.parametrize("event", [Close(1001), Disconnect()])
def test_a_refused_client_that_has_left_gives_one_disconnect(site, event):
    codes = []

    @importable
    class Refuses(WebsocketConsumer):
        def connect(self):
            self.close()

        def disconnect(self, code):
            codes.append(code)

    site.serve(Refuses)
    assert site.client().post(Open(), event).status == 403
    assert len(codes) == 1


def test_our_close_and_the_clients_in_one_batch_give_one_disconnect(site):
    log = []

    @importable
    class Chat(WebsocketConsumer):
        def receive(self, **kwargs):
            self.close()

        def disconnect(self, code):
            log.append(code)

    site.serve(Chat)
    answer = site.opened().post(Text("x"), Close(4000))
    assert answer.sent == [("close", 1000, "")]
    assert log == [4000]


def test_a_close_code_of_none_is_the_default(site):
    @importable
    class Raw(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            await self.base_send({"type": "websocket.close", "code": None, "reason": None})

    site.serve(Raw)
    assert site.opened().post(Text("x")).sent == [("close", 1000, "")]


# Failures ------------------------------------------------------------------------------------------------


@BOTH
def test_an_exception_in_receive_delivers_what_was_sent_then_1011(site, base, caplog):
    log = []

    @importable
    class Sync(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            log.append(text_data)
            self.send(text_data=text_data)
            if text_data == "b":
                raise LookupError("gone")

        def disconnect(self, code):
            log.append(code)

    @importable
    class Async(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            log.append(text_data)
            await self.send(text_data=text_data)
            if text_data == "b":
                raise LookupError("gone")

        async def disconnect(self, code):
            log.append(code)

    chat = Sync if base is WebsocketConsumer else Async
    site.serve(chat)
    answer = site.opened().post(Text("a"), Text("b"), Text("c"), Close(1000))
    assert answer.sent == [("text", "a"), ("text", "b"), ("close", 1011, "")]
    assert log == ["a", "b"]
    (record,) = errors(caplog)
    assert "gone" in record.exc_text
    assert chat.__qualname__ in record.getMessage()


def test_an_exception_in_disconnect_is_logged_and_the_close_answered(site, caplog):
    @importable
    class Chat(WebsocketConsumer):
        def disconnect(self, code):
            raise RuntimeError("at the end")

    site.serve(Chat)
    assert site.opened().post(Close(4000)).sent == [("close", 4000, "")]
    assert "at the end" in errors(caplog)[0].exc_text


@BOTH
def test_stop_consumer_ends_the_connection_without_disconnect(site, base, caplog):
    log = []

    def stop(text):
        log.append(text)
        raise StopConsumer

    @importable
    class Sync(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data=text_data)
            stop(text_data)

        def disconnect(self, code):
            log.append(code)

    @importable
    class Async(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data=text_data)
            stop(text_data)

        async def disconnect(self, code):
            log.append(code)

    site.serve(Sync if base is WebsocketConsumer else Async)
    answer = site.opened().post(Text("a"), Text("b"))
    assert answer.sent == [("text", "a"), ("close", 1000, "")]
    assert log == ["a"]
    assert errors(caplog) == []


def test_an_unknown_message_type_is_an_error(site, caplog):
    @importable
    class Raw(AsyncWebsocketConsumer):
        async def receive(self, **kwargs):
            await self.base_send({"type": "websocket.sned", "text": "x"})

    site.serve(Raw)
    assert site.opened().post(Text("x")).sent == [("close", 1011, "")]
    assert "websocket.sned" in errors(caplog)[0].exc_text


def test_an_answer_over_the_proxys_limit_ends_the_connection_readably(site, caplog):
    @importable
    class Large(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data="x" * 1_100_000)

    site.serve(Large)
    assert site.opened().post(Text("x")).sent == [("close", 1011, "")]
    assert len(errors(caplog)) == 1


# The end of a consumer, before the client knows of it ----------------------------------------------------


@importable
class Ends(WebsocketConsumer):
    """Comes to its end in each of the ways that leave nobody to call disconnect on."""

    log: list = []

    def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        if text_data == "fail":
            raise LookupError("gone")
        if text_data == "stop":
            raise StopConsumer
        if text_data == "unkeepable":
            self.guard = threading.Lock()
        if text_data == "too much":
            self.send(text_data="x" * 1_100_000)

    def disconnect(self, code):
        self.log.append(code)


@importable
class AsyncEnds(AsyncWebsocketConsumer):
    log = Ends.log

    async def receive(self, text_data=None, bytes_data=None):
        Ends.receive(self, text_data)

    async def disconnect(self, code):
        self.log.append(code)


@pytest.mark.parametrize("ends", [Ends, AsyncEnds])
@pytest.mark.parametrize(("how", "code"), [("fail", 1011), ("stop", 1000), ("unkeepable", 1011)])
def test_the_clients_answer_to_the_end_of_a_consumer_finds_nobody_and_is_silent(site, ends, how, code, caplog):
    Ends.log.clear()
    site.serve(ends)
    client = site.opened()
    answer = client.post(Text(how))
    assert (answer.sent, answer.header("set-meta-state")) == ([("close", code, "")], ENDED)
    batches.forget(ends)
    caplog.clear()
    try:
        answer = client.post(Text("crossed"), Ping(b"p"), Close(code, "why"))
    finally:
        batches.restore(ends)
    assert answer == Answer(
        200,
        [("content-type", "application/websocket-events")],
        b"PONG 1\r\np\r\nCLOSE 5\r\n" + code.to_bytes(2, "big") + b"why\r\n",
    )
    assert Ends.log == [how]
    assert caplog.records == []


def test_an_answer_that_is_too_large_ends_the_consumer_too(site, caplog):
    Ends.log.clear()
    site.serve(Ends)
    client = site.opened()
    assert client.post(Text("too much")).header("set-meta-state") == ENDED
    client.post(Close(1011))
    assert Ends.log == ["too much"]


def test_the_clients_answer_to_1012_is_silent(site, caplog):
    Leaves.log.clear()
    site.serve(Leaves)
    client = site.opened()
    _tampered(client)
    client.post(Text("x"))
    caplog.clear()
    assert client.post(Close(1012)).sent == [("close", 1012, "")]
    assert (Leaves.log, caplog.records) == ([], [])


@pytest.mark.parametrize("event", [Disconnect(), Text("x")])
def test_what_else_comes_after_the_end_of_a_consumer_is_answered_with_nothing(site, event, caplog):
    site.serve(Ends)
    client = site.opened()
    client.post(Text("stop"))
    caplog.clear()
    assert client.post(event) == Answer(200, [("content-type", "application/websocket-events")], b"")
    assert caplog.records == []


def test_a_handshake_that_brings_the_mark_of_an_end_opens_as_any_other(site):
    site.serve(Echo)
    client = site.client()
    client.meta["Meta-State"] = ENDED
    assert ("open",) in client.post(Open()).sent
    assert client.post(Text("x")).sent == [("text", "x")]


def test_the_mark_of_an_end_does_not_spare_the_signature(site, settings):
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": "k" * 32}]
    site.serve(Echo)
    client = site.client()
    client.meta["Meta-State"] = ENDED
    assert client.post(Close(1000)).status == 403


# Large replies -------------------------------------------------------------------------------------------


@BOTH
def test_a_large_reply_comes_in_several_responses(site, base):
    """Above some 28 kB a proxy never delivers a response."""

    def receive(self, text_data=None, bytes_data=None):
        for number in range(10):
            self.send(text_data=f"{number}" * 4_000)

    async def areceive(self, text_data=None, bytes_data=None):
        for number in range(10):
            await self.send(text_data=f"{number}" * 4_000)

    Large = importable(type("Large", (base,), {"receive": receive if base is WebsocketConsumer else areceive}))
    site.serve(Large)
    client = site.opened()
    answers = [client.post(Text("x"))]
    kind, data = answers[0].sent[-1]
    assert kind == "ping"
    answers.append(client.post(Pong(data)))
    assert [frame[1][0] for answer in answers for frame in answer.sent if frame[0] == "text"] == list("0123456789")
    assert all(len(answer.body) <= 25_000 for answer in answers)
    assert client.post().sent == []


# Sessions that end ---------------------------------------------------------------------------------------


@importable
class Session(WebsocketConsumer):
    log: list = []
    groups = ["g"]

    def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        self.send(text_data=text_data)

    def disconnect(self, code):
        self.log.append(code)

    def note(self, event):
        self.log.append("note")
        self.send(text_data=self.scope["path"])


@importable
class AsyncSession(AsyncWebsocketConsumer):
    groups = ["g"]
    log = Session.log

    async def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)
        await self.send(text_data=text_data)

    async def disconnect(self, code):
        self.log.append(code)

    async def note(self, event):
        self.log.append("note")
        await self.send(text_data=self.scope["path"])


SESSIONS = pytest.mark.parametrize("session", [Session, AsyncSession], ids=["sync", "async"])


@pytest.fixture
def gone(monkeypatch):
    """Which paths have no session any more; and the scopes that were asked for."""
    found = types.SimpleNamespace(paths=set(), asked=[])

    def session_is_gone(scope):
        found.asked.append(scope["path"])
        return scope["path"] in found.paths

    monkeypatch.setattr(identity, "session_is_gone", session_is_gone)
    Session.log.clear()
    return found


@SESSIONS
@pytest.mark.parametrize("events", [(), (Text("a"), Text("b")), (Binary(b"a"),), (Ping(), Text("a"))], ids=repr)
def test_a_connection_whose_session_is_gone_is_closed_with_4401(site, settings, gone, session, events):
    settings.GRIP_RECHECK_SESSION = True
    site.serve(session)
    client = site.opened()
    client.post(Text("before"))
    gone.paths.add("/ws/")
    answer = client.post(*events)
    assert [frame for frame in answer.sent if frame[0] != "pong"] == [("close", 4401, "")]
    assert session.log == ["before"]
    assert client.post(Text("still under way"), Close(4401)).sent == [("close", 4401, "")]
    assert session.log == ["before", 4401]


@SESSIONS
def test_mail_does_not_reach_a_consumer_whose_session_is_gone(site, settings, gone, session):
    settings.GRIP_RECHECK_SESSION = True
    site.serve(session)
    client = site.opened()
    gone.paths.add("/ws/")
    async_to_sync(groups.send)("g", {"type": "note"})
    assert client.post().sent == [("close", 4401, "")]
    assert session.log == []


@SESSIONS
def test_the_session_is_asked_for_in_every_batch_but_the_first_and_only_if_it_is_wanted(site, settings, gone, session):
    site.serve(session)
    client = site.opened()
    client.post(Text("a"))
    assert gone.asked == []
    settings.GRIP_RECHECK_SESSION = True
    site.opened()
    assert gone.asked == []
    client.post(Text("b"))
    client.post()
    assert gone.asked == ["/ws/"] * 2


def test_a_session_that_cannot_be_asked_for_is_not_known_to_be_gone(site, settings, gone, monkeypatch, caplog):
    settings.GRIP_RECHECK_SESSION = True
    site.serve(Session)
    client = site.opened()

    def fail(scope):
        raise OSError("gone")

    monkeypatch.setattr(identity, "session_is_gone", fail)
    assert client.post(Text("a")).sent != [("close", 1011, "")]
    assert Session.log == ["a"]
    assert "cannot be checked" in errors(caplog)[0].getMessage()


def test_the_end_of_a_connection_is_reported_whatever_became_of_its_session(site, settings, gone):
    settings.GRIP_RECHECK_SESSION = True
    site.serve(Session)
    client = site.opened()
    client.post(Close(1001))
    assert gone.asked == []


def test_a_heartbeat_of_a_connection_without_mail_costs_nothing(site, monkeypatch):
    @importable
    class Silent(WebsocketConsumer):
        def __new__(cls, *args):
            made.append(cls)
            return super().__new__(cls)

    made = []
    site.serve(Silent)
    client = site.opened()
    client.post()
    made.clear()
    assert client.post(Ping(b"x")).sent == [("pong", b"x")]
    assert made == []


# State that does not open --------------------------------------------------------------------------------


def _no_state(client):
    client.meta.clear()


def _tampered(client):
    token = client.meta["Meta-State"]
    client.meta["Meta-State"] = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]


def _not_base64(client):
    client.meta["Meta-State"] = "§§§"


def _foreign(client):
    client.connection_id = "another"


def _of_another_query(client):
    client.query = "another=1"


def _of_another_key(client):
    client.meta["Meta-State"] = seal(b"i", client.identity, ["another key"])


def _of_another_release(client):
    content = b"i" + msgpack.packb([99, "a:b", b"", "c", [], False, b"", b"", b""])
    client.meta["Meta-State"] = seal(content, client.identity, conf.get().secrets)


def _of_no_format(client):
    client.meta["Meta-State"] = seal(b"i\xc1\xff", client.identity, conf.get().secrets)


DAMAGES = [
    _no_state,
    _tampered,
    _not_base64,
    _foreign,
    _of_another_query,
    _of_another_key,
    _of_another_release,
    _of_no_format,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_does_not_open_closes_with_1012_and_no_error_in_the_log(site, damage, caplog):
    site.serve(Leaves)
    Leaves.log.clear()
    client = site.opened()
    damage(client)
    answer = client.post(Text("x"))
    assert answer == Answer(
        200,
        [("content-type", "application/websocket-events"), ("set-meta-state", ENDED)],
        b"CLOSE 2\r\n\x03\xf4\r\n",
    )
    assert errors(caplog) == []
    assert all(record.exc_info is None for record in caplog.records)
    assert any(record.levelno == logging.WARNING for record in caplog.records)
    assert Leaves.log == []


def test_a_consumer_class_that_is_gone_closes_with_1012(site, caplog):
    @importable
    class Gone(WebsocketConsumer):
        pass

    site.serve(Gone)
    client = site.opened()
    batches.forget(Gone)
    assert client.post(Text("x")).sent == [("close", 1012, "")]
    assert errors(caplog) == []
    assert Gone.__qualname__ in caplog.text


def test_a_class_of_a_kept_value_that_is_gone_closes_with_1012(site, caplog):
    import enum

    @importable
    class Mood(enum.Enum):
        GOOD = 1

    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.mood = Mood.GOOD
            self.accept()

    site.serve(Chat)
    client = site.opened()
    batches.forget(Mood)
    assert client.post(Text("x")).sent == [("close", 1012, "")]
    assert errors(caplog) == []


def test_a_state_without_a_signed_request_is_refused_before_it_is_opened(site, settings):
    site.serve(Echo)
    client = site.opened()
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": "k" * 32}]
    assert client.post(Text("x")).status == 403


def test_a_client_that_brings_a_state_to_its_handshake_gains_nothing(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.admin = False
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            if text_data == "rise":
                self.admin = True
            self.send(text_data=str(self.admin))

    site.serve(Chat)
    client = site.opened()
    client.post(Text("rise"))
    client.post(Open())
    assert client.post(Text("?")).sent == [("text", "False")]


def test_an_attribute_that_cannot_be_kept_is_named_and_closes_with_1011(site, caplog):
    @importable
    class Chat(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            self.send(text_data="done")
            self.guard = threading.Lock()

    site.serve(Chat)
    client = site.opened()
    assert client.post(Text("x")).sent == [("text", "done"), ("close", 1011, "")]
    text = errors(caplog)[0].exc_text
    assert f"{Chat.__qualname__} cannot keep self.guard: " in text
    assert "_thread.lock" in text


def test_an_attribute_that_cannot_be_kept_at_connect_is_1011_after_the_accept(site, caplog):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.guard = threading.Lock()
            self.accept()

    site.serve(Chat)
    answer = site.client().post(Open())
    assert answer.sent == [("open",), ("close", 1011, "")]
    assert answer.header("set-meta-state") == ENDED
    assert "self.guard" in errors(caplog)[0].exc_text


# State that is too large for a header --------------------------------------------------------------------


@importable
class Heavy(WebsocketConsumer):
    def connect(self):
        self.load = "x" * 20_000
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "less":
            self.load = "x"
        if text_data == "more":
            self.load += "x" * 20_000
        self.send(text_data=str(len(self.load)))


def test_a_large_state_goes_to_the_cache_and_the_header_stays_small(site):
    caches["default"].clear()
    site.serve(Heavy)
    client = site.opened()
    assert len(client.meta["Meta-State"]) < 600
    assert client.post(Text("?")).sent == [("text", "20000")]
    assert client.post(Text("more")).sent == [("text", "40000")]
    assert client.post(Text("?")).sent == [("text", "40000")]


def test_an_evicted_large_state_closes_with_1012(site, caplog):
    site.serve(Heavy)
    client = site.opened()
    caches["default"].clear()
    assert client.post(Text("?")).sent == [("close", 1012, "")]
    assert errors(caplog) == []


@pytest.mark.parametrize("events", [(Close(1000),), (Text("less"),), (Disconnect(),)])
def test_a_large_state_leaves_the_cache_when_it_is_not_needed_any_more(site, events):
    caches["default"].clear()
    site.serve(Heavy)
    client = site.opened()
    assert len(caches["default"]._cache) == 1
    client.post(*events)
    assert len(caches["default"]._cache) == 0


@pytest.mark.parametrize("end", ["fail", "stop"])
def test_a_large_state_leaves_the_cache_when_its_consumer_ends(site, end):
    @importable
    class Ending(Heavy):
        def receive(self, text_data=None, bytes_data=None):
            raise StopConsumer if text_data == "stop" else LookupError

    caches["default"].clear()
    site.serve(Ending)
    client = site.opened()
    assert len(caches["default"]._cache) == 1
    client.post(Text(end))
    assert len(caches["default"]._cache) == 0


def test_a_large_state_stays_in_the_cache_until_the_client_has_answered_a_close_of_ours(site):
    found = []

    @importable
    class Closing(Heavy):
        def receive(self, **kwargs):
            self.close()

        def disconnect(self, code):
            found.append((code, len(self.load)))

    caches["default"].clear()
    site.serve(Closing)
    client = site.opened()
    client.post(Text("x"))
    assert len(caches["default"]._cache) == 1
    client.post(Close(1000))
    assert found == [(1000, 20_000)]
    assert len(caches["default"]._cache) == 0


def test_a_cache_that_is_down_is_an_error_in_the_log_and_1011(site, monkeypatch, caplog):
    site.serve(Heavy)
    client = site.opened()

    def fail(*args, **kwargs):
        raise ConnectionError("no cache")

    monkeypatch.setattr(type(caches["default"]), "get", fail)
    assert client.post(Text("?")).sent == [("close", 1011, "")]
    assert "no cache" in errors(caplog)[0].exc_text


def test_a_state_that_does_not_change_is_not_sent_again(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.numbers = {3, 1, 2}
            self.accept()

        def receive(self, **kwargs):
            self.numbers = set(self.numbers)

    site.serve(Chat)
    assert site.opened().post(Text("x")).header("set-meta-state") is None


def test_a_state_under_a_retired_key_is_read_and_sealed_anew(site, settings):
    site.serve(Echo)
    settings.SECRET_KEY = "the old key, long enough for everybody"
    client = site.opened()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new key, long enough for everybody"
    answer = client.post(Text("x"))
    assert answer.sent == [("text", "x")]
    assert answer.header("set-meta-state")
    settings.SECRET_KEY_FALLBACKS = []
    assert client.post(Text("y")).sent == [("text", "y")]


# Requests that are refused -------------------------------------------------------------------------------

KEY = "k" * 32


def _signed(key=KEY, iss="pushpin", exp=3_600):
    return jwt.encode({"iss": iss, "exp": int(time.time()) + exp}, key, algorithm="HS256")


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (None, 403),
        ("nonsense", 403),
        (_signed("z" * 32), 403),
        (_signed(exp=-600), 403),
        (_signed(iss="somebody"), 403),
        (_signed(), 200),
    ],
    ids=["none", "nonsense", "wrong key", "expired", "wrong issuer", "right"],
)
def test_with_a_key_only_its_signature_is_let_in(site, settings, token, status):
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": KEY, "verify_iss": "pushpin"}]
    site.serve(Echo)
    client = site.client()
    if token:
        client.extra.append(("Grip-Sig", token))
    answer = client.post(Open())
    assert answer.status == status
    assert answer.status == 200 or (KEY.encode() not in answer.body and b"Traceback" not in answer.body)


@pytest.mark.parametrize(("events", "status"), [((Disconnect(),), 200), ((Text("x"),), 403)])
def test_only_a_vanished_client_may_be_reported_with_an_expired_signature(site, settings, events, status):
    settings.GRIP_PROXIES = [{"control_uri": "http://127.0.0.1:1", "verify_key": KEY}]
    site.serve(Echo)
    client = site.client()
    client.extra.append(("Grip-Sig", jwt.encode({"exp": int(time.time()) + 60}, KEY, algorithm="HS256")))
    client.post(Open())
    client.extra[-1] = ("Grip-Sig", jwt.encode({"exp": int(time.time()) - 60}, KEY, algorithm="HS256"))
    assert client.post(*events).status == status


@pytest.mark.parametrize(
    "body",
    [
        b"OPEN",
        b"TEXT 5\r\nab\r\n",
        b"TEXT zz\r\nab\r\n",
        b"\x00\xff",
        b"NONSENSE\r\n",
        b"OPEN\r\nOPEN\r\n",
        b"PING\r\nOPEN\r\n",
        b"CLOSE\r\nTEXT 1\r\na\r\n",
        b"TEXT 1\r\n\xff\r\n",
    ],
)
def test_a_malformed_body_is_400(site, body):
    site.serve(Echo)
    answer = site.client().post(body=body)
    assert (answer.status, answer.headers) == (400, [("content-type", "text/plain")])
    assert b"Traceback" not in answer.body


def test_a_batch_without_a_connection_id_is_400(site):
    site.serve(Echo)
    answer = site.client(connection_id="").post(Open())
    assert (answer.status, answer.body) == (400, b"expected a Connection-Id header, got none\n")


def test_a_body_over_the_limit_is_refused(site, settings):
    settings.GRIP_BATCH_MAX_SIZE = 1_000
    site.serve(Echo)
    client = site.opened()
    assert client.post(Text("x" * 900)).sent == [("text", "x" * 900)]
    assert client.post(Text("x" * 1_100)).status in {400, 413}


def test_a_body_over_djangos_own_limit_is_no_matter(site, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    site.serve(Echo)
    assert site.opened().post(Text("x" * 900)).sent == [("text", "x" * 900)]


def test_too_many_events_are_refused(site, settings):
    settings.GRIP_BATCH_MAX_EVENTS = 3
    site.serve(Echo)
    assert site.opened().post(*[Text("x")] * 4).status in {400, 413}


# Without a consumer --------------------------------------------------------------------------------------


def test_an_application_that_accepts_without_a_consumer_is_told_to_route_to_one(site, caplog):
    async def bare(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    site.serve(bare)
    assert site.client().post(Open()).sent == [("open",), ("close", 1011, "")]
    assert "route the path to one, with as_asgi()" in errors(caplog)[0].exc_text


def test_an_application_without_a_consumer_may_reject(site):
    async def bare(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})

    site.serve(bare)
    assert site.client().post(Open()) == Answer(403, [("content-type", "text/plain")], b"")


def test_a_search_that_fails_after_the_accept_is_an_error_and_no_other_view_is_asked(site, caplog):
    async def bare(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        raise NoRoute("too late")

    site.serve(view=bare)
    assert site.client("/view/").post(Open()).sent == [("open",), ("close", 1011, "")]
    assert "too late" in errors(caplog)[0].exc_text


def test_an_application_that_decides_nothing_is_500(site, caplog):
    async def bare(scope, receive, send):
        pass

    site.serve(bare)
    assert site.client().post(Open()).status == 500
    assert len(errors(caplog)) == 1


def test_a_missing_asgi_application_names_the_setting(wsgi_site, settings, caplog):
    del settings.ASGI_APPLICATION
    assert wsgi_site.client().post(Open()).status == 404
    assert "found by the setting ASGI_APPLICATION, which is missing" in caplog.text


# Concurrency ---------------------------------------------------------------------------------------------


async def test_batches_of_many_connections_at_once_do_not_mix(site):
    @importable
    class Chat(AsyncWebsocketConsumer):
        async def connect(self):
            self.name = self.scope["query_string"].decode()
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            await asyncio.sleep(0)
            await self.send(text_data=f"{self.name}:{self.channel_name}:{text_data}")

    site.serve(Chat)
    clients = [site.client(query=f"n{number}") for number in range(30)]
    opened = await asyncio.gather(*(client.apost(Open()) for client in clients))
    answers = await asyncio.gather(
        *(client.apost(Text(f"t{number}"), Text("z")) for number, client in enumerate(clients))
    )
    assert len({answer.user for answer in opened}) == 30
    for number, (first, answer) in enumerate(zip(opened, answers, strict=True)):
        name = f"specific.grip!{first.user}"
        assert answer.sent == [("text", f"n{number}:{name}:t{number}"), ("text", f"n{number}:{name}:z")]


async def test_batches_of_sync_consumers_at_once_do_not_mix(site):
    @importable
    class Chat(WebsocketConsumer):
        def connect(self):
            self.name = self.scope["query_string"].decode()
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            time.sleep(0.001)
            self.send(text_data=f"{self.name}:{text_data}")

    site.serve(Chat)
    clients = [site.client(query=f"n{number}") for number in range(12)]
    await asyncio.gather(*(client.apost(Open()) for client in clients))
    answers = await asyncio.gather(*(client.apost(Text("t"), Text("z")) for client in clients))
    assert [answer.sent for answer in answers] == [
        [("text", f"n{number}:t"), ("text", f"n{number}:z")] for number in range(12)
    ]


def test_a_cache_that_cannot_be_made_is_nobodys_concern_until_it_is_used(wsgi_site, settings):
    settings.CACHES = {**settings.CACHES, "broken": {"BACKEND": "nowhere.to.be.Found"}}
    wsgi_site.serve(Echo)
    answers = []
    # A thread that has not answered a batch yet.
    thread = threading.Thread(target=lambda: answers.append(wsgi_site.opened().post(Text("x")).sent))
    thread.start()
    thread.join()
    assert answers == [[("text", "x")]]
