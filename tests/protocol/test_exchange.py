from __future__ import annotations

import pytest
from hypothesis import given

from grip_consumers.protocol import (
    Binary,
    Close,
    Disconnect,
    Exchange,
    LocalProtocolError,
    Open,
    Ping,
    Pong,
    RemoteProtocolError,
    Response,
    State,
    Text,
    control,
    decode,
    encode,
)

from . import strategies

EVENTS = ("Content-Type", "application/websocket-events")
GRIP = ("Sec-WebSocket-Extensions", "grip")


def opened(*events):
    exchange = Exchange([Open(), *events])
    assert exchange.next_event() == Open()
    exchange.accept()
    return exchange


def sent(exchange):
    return decode(exchange.response().body)


# What came


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Open()],
        [Text("a")],
        [Close()],
        [Disconnect()],
        [Open(), Text("a"), Close(1000)],
        [Open(), Disconnect()],
    ],
)
def test_a_proper_batch_is_taken(events):
    exchange = Exchange(events)
    assert exchange.opening is (Open() in events)
    assert exchange.state is (State.CONNECTING if exchange.opening else State.OPEN)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([Text("a"), Open()], "expected OPEN as the first event or none, got it as event 1"),
        ([Open(), Open()], "expected OPEN as the first event or none, got it as event 1"),
        ([Close(), Text("a")], "expected nothing after CLOSE, got event 1"),
        ([Text("a"), Close(), Close()], "expected nothing after CLOSE, got event 2"),
        ([Disconnect(), Ping()], "expected nothing after DISCONNECT, got event 1"),
        ([Close(), Disconnect()], "expected nothing after CLOSE"),
    ],
)
def test_an_impossible_order_is_the_proxys_error(events, words):
    with pytest.raises(RemoteProtocolError, match=words):
        Exchange(events)


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([], "empty"),
        ([Open()], ""),
        ([Open(), Ping()], ""),
        ([Ping()], "heartbeat"),
        ([Pong(b"x"), Ping()], "heartbeat"),
        ([Ping(), Text("")], ""),
        ([Binary(b"")], ""),
        ([Close()], "parting"),
        ([Disconnect()], "parting"),
        ([Ping(), Disconnect()], ""),
        ([Text("a"), Close()], ""),
    ],
    ids=repr,
)
def test_what_kind_of_batch_it_is(events, found):
    exchange = Exchange(events)
    kinds = {name: getattr(exchange, name) for name in ("empty", "heartbeat", "parting")}
    assert kinds == {name: name in found.split() for name in kinds}


def test_events_come_in_order_without_heartbeats():
    exchange = Exchange([Ping(), Text("a"), Pong(), Binary(b"b"), Ping(), Close(4000)])
    assert [exchange.next_event() for _ in range(5)] == [Text("a"), Binary(b"b"), Close(4000), None, None]


def test_a_ping_is_answered_in_its_place():
    exchange = Exchange([Text("1"), Ping(b"p"), Text("2"), Ping()])
    while (event := exchange.next_event()) is not None:
        exchange.send_text(event.text)
    assert sent(exchange) == [Text("m:1"), Pong(b"p"), Text("m:2"), Pong()]


# The handshake


def test_an_accepted_connection():
    exchange = opened()
    assert exchange.state is State.OPEN
    assert exchange.response() == Response(200, [EVENTS, GRIP], b"OPEN\r\n")


def test_acceptance_carries_subprotocol_and_headers():
    exchange = Exchange([Open()])
    exchange.accept(subprotocol="chat.v2", headers=[(b"Set-Cookie", b"a=\xe9"), (b"set-cookie", b"b=2")])
    assert exchange.response().headers == [
        EVENTS,
        GRIP,
        ("Sec-WebSocket-Protocol", "chat.v2"),
        ("Set-Cookie", "a=é"),
        ("set-cookie", "b=2"),
    ]


def test_a_connection_is_accepted_once():
    with pytest.raises(LocalProtocolError, match="cannot accept in state OPEN: expected CONNECTING"):
        opened().accept()
    with pytest.raises(LocalProtocolError, match="cannot accept in state OPEN"):
        Exchange([]).accept()


@pytest.mark.parametrize(
    "arguments",
    [
        {"subprotocol": "a b"},
        {"subprotocol": ""},
        {"subprotocol": "a\r\nx: y"},
        {"headers": [(b"content-type", b"text/html")]},
        {"headers": [(b"x", b"a\nb")]},
    ],
)
def test_a_refused_acceptance_changes_nothing(arguments):
    exchange = Exchange([Open()])
    with pytest.raises(LocalProtocolError):
        exchange.accept(**arguments)
    assert exchange.state is State.CONNECTING
    exchange.accept()
    assert exchange.response() == Response(200, [EVENTS, GRIP], b"OPEN\r\n")


def test_nothing_is_decided_for_an_application_that_does_not():
    with pytest.raises(LocalProtocolError, match="cannot respond in state CONNECTING: accept or reject first"):
        Exchange([Open()]).response()


def test_a_rejection_is_a_plain_response():
    exchange = Exchange([Open()])
    exchange.reject()
    assert exchange.state is State.REJECTED
    assert exchange.response() == Response(403, [("Content-Type", "text/plain")], b"")


def test_a_rejection_carries_status_headers_and_body():
    exchange = Exchange([Open()])
    exchange.reject(302, [(b"Location", b"/login"), (b"content-type", b"text/html"), (b"Content-Length", b"2")], b"no")
    expected = [("Location", "/login"), ("content-type", "text/html")]
    assert exchange.response() == Response(302, expected, b"no")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_rejection_without_content_has_none(status):
    exchange = Exchange([Open()])
    exchange.reject(status)
    assert exchange.response().body == b""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"status": 101}, "expected a status to reject with of 201 to 599, got 101"),
        ({"status": 200}, "got 200"),
        ({"status": 600}, "got 600"),
        ({"status": True}, "got True"),
        ({"status": "403"}, "got '403'"),
        ({"body": b"x" * 100_001}, "of at most 100000 bytes, got 100001"),
        ({"body": "denied"}, "of type bytes, got str"),
        ({"headers": [(b"Grip-Hold", b"stream")]}, "headers of the application's own to reject with"),
    ],
)
def test_a_refused_rejection_changes_nothing(arguments, words):
    exchange = Exchange([Open()])
    with pytest.raises(LocalProtocolError, match=words):
        exchange.reject(**arguments)
    assert exchange.state is State.CONNECTING


def test_what_was_accepted_cannot_be_rejected_nor_rejected_twice():
    with pytest.raises(LocalProtocolError, match="cannot reject in state OPEN"):
        opened().reject()
    exchange = Exchange([Open()])
    exchange.reject()
    with pytest.raises(LocalProtocolError, match="cannot reject in state REJECTED"):
        exchange.reject()
    with pytest.raises(LocalProtocolError, match="cannot accept in state REJECTED"):
        exchange.accept()


def test_what_is_for_the_proxy_does_not_show_in_a_rejection():
    exchange = Exchange([Open()])
    exchange.set_meta("state", "secret")
    exchange.keep_alive_interval(30)
    exchange.subscribe("room")
    exchange.reject(404, body=b"gone")
    exchange.send_text("late")
    exchange.close()
    assert exchange.response() == Response(404, [("Content-Type", "text/plain")], b"gone")


# To the client


def test_sending_before_acceptance_is_an_error():
    exchange = Exchange([Open()])
    for send in (lambda: exchange.send_text("a"), lambda: exchange.send_binary(b"a")):
        with pytest.raises(LocalProtocolError, match=r"^Socket has not been accepted, so cannot send over it$"):
            send()
    exchange.accept()
    assert sent(exchange) == [Open()]


def test_messages_are_prefixed_and_their_length_counts_bytes():
    exchange = Exchange([Text("x")])
    exchange.send_text("é")
    exchange.send_binary(b"\x00\xff")
    exchange.send_text("")
    assert exchange.response().body == b"TEXT 4\r\nm:\xc3\xa9\r\nBINARY 4\r\nm:\x00\xff\r\nTEXT 2\r\nm:\r\n"
    assert exchange.body_size == len(exchange.response().body)


def test_a_message_that_looks_like_a_control_message_is_none():
    exchange = Exchange([])
    exchange.send_text('c:{"type":"detach"}')
    assert sent(exchange) == [Text('m:c:{"type":"detach"}')]


@pytest.mark.parametrize("text", ["\ud800", b"x", None, 5])
def test_what_is_no_text_is_refused_in_every_state(text):
    gone = Exchange([Disconnect()])
    gone.next_event()
    for exchange in (Exchange([]), gone):
        with pytest.raises(LocalProtocolError, match="expected text that UTF-8 can encode"):
            exchange.send_text(text)
        assert exchange.response().body == b""


def test_what_is_not_bytes_is_refused():
    with pytest.raises(LocalProtocolError, match="expected a binary message of type bytes, got str"):
        Exchange([]).send_binary("x")


def test_a_close_ends_the_response():
    exchange = Exchange([Text("a"), Ping(b"p"), Close(1001)])
    exchange.next_event()
    exchange.close(4001, "é")
    assert exchange.state is State.CLOSING
    exchange.send_text("late")
    exchange.send_binary(b"late")
    exchange.subscribe("late")
    exchange.close(1000)
    assert exchange.next_event() == Close(1001)
    assert exchange.state is State.CLOSED
    assert sent(exchange) == [Close(4001, "é")]


def test_closing_before_acceptance_is_a_rejection():
    exchange = Exchange([Open()])
    exchange.close(4000)
    assert (exchange.state, exchange.response().status) == (State.REJECTED, 403)


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (999, ""), (2000, ""), (1000, "x" * 124), (1000, "\ud800")])
def test_a_close_that_may_not_be_sent_is_refused(code, reason):
    exchange = Exchange([])
    with pytest.raises(LocalProtocolError):
        exchange.close(code, reason)
    assert exchange.state is State.OPEN


@pytest.mark.parametrize("event", [Close(), Close(4002, "bye")])
def test_the_peers_close_is_answered_with_its_code_and_reason(event):
    exchange = Exchange([Text("a"), event])
    exchange.next_event()
    exchange.send_text("b")
    assert exchange.next_event() == event
    assert exchange.state is State.CLOSED
    exchange.send_text("late")
    exchange.close(4009)
    exchange.fail()
    assert sent(exchange) == [Text("m:b"), event]


def test_a_vanished_peer_gets_nothing():
    exchange = Exchange([Disconnect()])
    assert exchange.next_event() == Disconnect()
    exchange.send_text("late")
    exchange.unsubscribe("room")
    assert exchange.response() == Response(200, [EVENTS], b"")


def test_accepting_sending_and_closing_fit_one_response():
    exchange = opened()
    exchange.send_text("no room")
    exchange.close(4003)
    assert sent(exchange) == [Open(), Text("m:no room"), Close(4003)]


def test_a_peer_that_leaves_before_acceptance_leaves_nothing_behind():
    exchange = Exchange([Open(), Ping(), Close(1000)])
    assert [exchange.next_event(), exchange.next_event()] == [Open(), Close(1000)]
    assert exchange.state is State.CLOSED
    assert exchange.response() == Response(200, [EVENTS], b"")


@pytest.mark.parametrize(
    ("make", "status", "events"),
    [
        (lambda: opened(), 200, [Open(), Close(1011)]),
        (lambda: Exchange([]), 200, [Close(1011)]),
    ],
)
def test_a_failure_closes_with_1011(make, status, events):
    exchange = make()
    exchange.fail()
    exchange.fail()
    assert (exchange.response().status, sent(exchange)) == (status, events)


def test_a_failed_handshake_is_a_500():
    exchange = Exchange([Open()])
    exchange.fail()
    exchange.fail()
    assert exchange.response() == Response(500, [("Content-Type", "text/plain")], b"Internal Server Error")


def test_a_failure_can_name_its_code():
    exchange = Exchange([])
    exchange.fail(1012)
    assert sent(exchange) == [Close(1012)]


# To the proxy


def test_joining_before_accepting_waits_for_the_open_event():
    exchange = Exchange([Open(), Ping(b"p")])
    exchange.next_event()
    exchange.subscribe("room", ["skip-users"])
    exchange.next_event()
    exchange.accept()
    exchange.send_text("hi")
    assert sent(exchange) == [
        Open(),
        Text('c:{"type":"subscribe","channel":"room","filters":["skip-users"]}'),
        Pong(b"p"),
        Text("m:hi"),
    ]


def test_control_messages_keep_their_place_among_sends():
    exchange = Exchange([])
    exchange.send_text("1")
    exchange.set_user("ann")
    exchange.unsubscribe("room")
    exchange.send_text("2")
    assert sent(exchange) == [
        Text("m:1"),
        Text('c:{"type":"set-meta","name":"user","value":"ann"}'),
        Text('c:{"type":"unsubscribe","channel":"room"}'),
        Text("m:2"),
    ]


def test_a_user_with_a_comma_is_refused():
    with pytest.raises(LocalProtocolError, match="without a comma"):
        Exchange([]).set_user("a,b")


def test_any_message_of_the_control_module_can_be_sent_and_nothing_else():
    exchange = Exchange([])
    exchange.send_control(control.keep_alive(timeout=45))
    assert sent(exchange)[0].text.startswith('c:{"type":"keep-alive"')
    for message in (b"m:x", b"", b"c:" + b"x" * 16_383):
        with pytest.raises(LocalProtocolError, match="expected a message of the control module"):
            exchange.send_control(message)


def test_meta_and_interval_travel_as_headers():
    exchange = Exchange([])
    exchange.set_meta("State", "old")
    exchange.set_meta("state", "new value=")
    exchange.set_meta("gone", "")
    exchange.keep_alive_interval(55)
    assert exchange.response().headers == [
        EVENTS,
        ("Set-Meta-state", "new value="),
        ("Set-Meta-gone", ""),
        ("Keep-Alive-Interval", "55"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("a b", "x"), ("", "x"), ("a:", "x"), ("a", "x\r\ny: z"), ("a", " x"), ("a", "é"), ("a", "\x00")],
)
def test_meta_that_would_not_come_back_equal_is_refused(name, value):
    exchange = Exchange([])
    with pytest.raises(LocalProtocolError):
        exchange.set_meta(name, value)
    assert exchange.response().headers == [EVENTS]


@pytest.mark.parametrize("seconds", [-1, 1.5, True, "20"])
def test_an_interval_is_whole_seconds(seconds):
    with pytest.raises(LocalProtocolError, match="expected seconds of 0 or more"):
        Exchange([]).keep_alive_interval(seconds)


# The outcome


def test_an_answer_that_the_proxy_would_not_take_is_an_error():
    exchange = Exchange([])
    exchange.send_binary(b"x" * 999_982)
    assert len(exchange.response().body) == 1_000_000
    exchange.send_text("")
    with pytest.raises(LocalProtocolError, match="at most 1000000 bytes of answer, got 1000012: publish"):
        exchange.response()


# Taking out again


def full_of_messages():
    exchange = opened()
    exchange.subscribe("a")
    exchange.send_text("one")
    exchange.send_binary(b"c:two")
    exchange.subscribe("b")
    exchange.send_text("m:three")
    return exchange


def test_only_what_is_for_the_client_counts_as_a_message():
    assert full_of_messages().message_count == 3
    assert opened(Ping()).message_count == Exchange([]).message_count == 0
    exchange = Exchange([Ping(b"m:"), Close(1000)])
    while exchange.next_event():
        pass
    assert exchange.message_count == 0


def test_messages_are_taken_out_in_order_and_without_their_prefix():
    exchange = full_of_messages()
    assert exchange.take_messages() == [Text("one"), Binary(b"c:two"), Text("m:three")]
    assert sent(exchange) == [Open(), *(decode_control(channel) for channel in "ab")]
    assert exchange.take_messages() == []


def decode_control(channel):
    return Text(control.subscribe(channel).decode())


def test_the_first_messages_can_be_left_in():
    exchange = full_of_messages()
    assert exchange.take_messages(2) == [Text("m:three")]
    assert sent(exchange) == [Open(), decode_control("a"), Text("m:one"), Binary(b"m:c:two"), decode_control("b")]
    assert full_of_messages().take_messages(3) == []


def test_our_own_close_is_taken_along_and_stays_decided():
    exchange = full_of_messages()
    exchange.close(4000, "why")
    assert exchange.take_messages(2) == [Text("m:three"), Close(4000, "why")]
    assert exchange.state is State.CLOSING
    assert not any(isinstance(event, Close) for event in sent(exchange))


def test_the_answer_to_the_peers_close_stays():
    exchange = Exchange([Text("x"), Close(4000)])
    exchange.next_event()
    exchange.send_text("y")
    exchange.next_event()
    assert exchange.take_messages() == [Text("y")]
    assert sent(exchange) == [Close(4000)]


def test_pongs_stay():
    exchange = opened(Ping(b"m:"))
    exchange.send_text("a")
    exchange.next_event()
    assert exchange.take_messages() == [Text("a")]
    assert sent(exchange) == [Open(), Pong(b"m:")]


def test_what_was_taken_can_be_sent_again():
    first, second = full_of_messages(), Exchange([])
    taken = first.take_messages()
    for event in taken:
        if isinstance(event, Text):
            second.send_text(event.text)
        else:
            second.send_binary(event.data)
    assert second.take_messages() == taken


@pytest.mark.parametrize(
    ("size", "count", "fitting"),
    [(1_000, 10, 3), (1_000, 2, 2), (1_000, 0, 0), (53, 10, 3), (52, 10, 2), (33, 10, 1), (14, 10, 0), (0, 10, 0)],
)
def test_how_many_messages_fit_counts_their_frames_and_nothing_else(size, count, fitting):
    """15, 19 and 19 bytes."""
    assert full_of_messages().fitting(size, count) == fitting


def test_none_fits_behind_one_that_does_not():
    exchange = Exchange([])
    for text in ("a", "x" * 100, "b"):
        exchange.send_text(text)
    assert exchange.fitting(50, 10) == 1


def test_more_messages_than_a_request_may_bring_can_be_taken_out():
    exchange = Exchange([])
    for _ in range(10_001):
        exchange.send_text("x")
    assert len(exchange.take_messages()) == 10_001


def test_responding_twice_gives_the_same():
    exchange = opened()
    exchange.send_text("a")
    first = exchange.response()
    first.headers.append(("X", "y"))
    assert exchange.response().headers == [EVENTS, GRIP]
    assert exchange.response().body == first.body


@given(strategies.batches())
def test_an_echo_returns_every_message_and_answers_every_ping(batch):
    exchange = Exchange(decode(encode(batch)))
    while (event := exchange.next_event()) is not None:
        if isinstance(event, Open):
            exchange.accept()
        elif isinstance(event, Text):
            exchange.send_text(event.text)
        elif isinstance(event, Binary):
            exchange.send_binary(event.data)
    answers = {
        Open: lambda event: event,
        Text: lambda event: Text("m:" + event.text),
        Binary: lambda event: Binary(b"m:" + event.data),
        Ping: lambda event: Pong(event.data),
        Close: lambda event: event,
    }
    assert sent(exchange) == [answers[type(event)](event) for event in batch if type(event) in answers]
