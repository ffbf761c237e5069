"""request.wscontext, on batches made by hand."""

from __future__ import annotations

import json

import pytest

from grip_consumers.handshake import BatchRequest
from grip_consumers.protocol import (
    Binary,
    Close,
    Disconnect,
    LocalProtocolError,
    Open,
    Ping,
    Text,
    decode,
    encode,
)
from grip_consumers.views.connection import ViewConnection
from grip_consumers.views.wscontext import ClientDisconnected, WebSocketContext


@pytest.fixture(autouse=True)
def _no_proxies(settings):
    settings.GRIP_PROXIES = []


def context(*events, meta=None):
    """Of an opening batch, so that no state is needed."""
    request = BatchRequest("c", None, None, encode([Open(), *events]), "/", dict)
    return WebSocketContext(ViewConnection(request, meta=meta))


def answer(ws):
    ws.conclude()
    return ws._connection.response()


def sent(ws):
    return decode(answer(ws).content)


def test_messages_come_in_order_by_type():
    ws = context(Text("a"), Binary(b"\xff"), Text(""))
    assert (ws.id, ws.is_opening(), ws.can_recv()) == ("c", True, True)
    assert [ws.recv(), ws.recv(), ws.recv(), ws.can_recv()] == ["a", b"\xff", "", False]
    with pytest.raises(IndexError, match="read from empty buffer"):
        ws.recv()


def test_raw_messages_are_bytes():
    ws = context(Text("é"), Binary(b"\xff"), Close(1000))
    assert [ws.recv_raw(), ws.recv_raw(), ws.recv_raw()] == ["é".encode(), b"\xff", None]


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [(Close(4000, "bye"), 4000, "bye"), (Close(1001), 1001, ""), (Close(), 1005, "")],
)
def test_a_close_is_none_and_leaves_code_and_reason(event, code, reason):
    ws = context(Text("a"), event)
    ws.accept()
    assert (ws.recv(), ws.close_code, ws.can_recv()) == ("a", None, True)
    assert (ws.recv(), ws.close_code, ws.close_reason, ws.can_recv()) == (None, code, reason, False)
    ws.close()
    assert sent(ws) == [Open(), event]


def test_a_vanished_client_is_an_error_to_recv_and_the_end_to_a_loop():
    ws = context(Text("a"), Disconnect())
    assert (ws.recv(), ws.disconnected) == ("a", False)
    with pytest.raises(OSError, match="client disconnected unexpectedly") as caught:
        ws.recv()
    assert (type(caught.value), ws.disconnected) == (ClientDisconnected, True)
    again = context(Text("a"), Disconnect())
    assert (list(again), again.disconnected) == (["a"], True)


def test_iteration_ends_with_the_batch_and_with_the_connection():
    assert list(context(Text("a"), Ping(b"x"), Text("b"))) == ["a", "b"]
    ws = context(Text("a"), Close(4001))
    assert (list(ws), ws.close_code) == (["a"], 4001)


def test_pings_are_answered_in_their_place():
    ws = context(Text("a"), Ping(b"x"), Text("b"))
    ws.accept()
    for message in ws:
        ws.send(message)
    found = sent(ws)
    assert [type(event).__name__ for event in found] == ["Open", "Text", "Pong", "Text"]


def test_what_is_sent_is_marked_for_the_client():
    ws = context()
    ws.accept()
    ws.send("é")
    ws.send(b"bytes")
    ws.send_binary(b"\xff")
    ws.send_binary("é")
    assert sent(ws)[1:] == [Text("m:é"), Text("m:bytes"), Binary(b"m:\xff"), Binary("m:é".encode())]


def test_what_is_sent_before_the_accept_follows_it():
    ws = context()
    ws.send("early")
    ws.subscribe("room")
    ws.accept()
    ws.accept()
    found = sent(ws)
    assert found[0] == Open()
    assert Text("m:early") in found


def test_the_close_stands_behind_all_that_was_sent():
    ws = context()
    ws.accept()
    ws.close(4000, "enough")
    ws.send("last words")
    assert (ws.closed, sent(ws)) == (True, [Open(), Text("m:last words"), Close(4000, "enough")])


def test_a_close_without_a_code_is_a_normal_one():
    ws = context()
    ws.accept()
    ws.close()
    assert sent(ws) == [Open(), Close(1000)]


def test_a_close_that_cannot_be_is_refused_at_once():
    ws = context()
    for code, reason in ((0, ""), (1006, ""), (1000, "x" * 124)):
        with pytest.raises(LocalProtocolError):
            ws.close(code, reason)
    assert not ws.closed


def test_a_close_before_the_accept_refuses_the_handshake():
    ws = context()
    ws.close()
    assert answer(ws).status_code == 403


def test_channels_get_the_prefix_and_filters(settings):
    settings.GRIP_PREFIX = "my-"
    ws = context()
    ws.accept()
    ws.subscribe("a", filters=["skip-self"])
    ws.unsubscribe("b")
    ws.detach()
    ws.send_control(json.dumps({"type": "detach"}))
    assert [json.loads(event.text.removeprefix("c:")) for event in sent(ws)[1:]] == [
        {"type": "subscribe", "channel": "my-a", "filters": ["skip-self"]},
        {"type": "unsubscribe", "channel": "my-b"},
        {"type": "detach"},
        {"type": "detach"},
    ]
    with pytest.raises(LocalProtocolError, match="channel name"):
        ws.subscribe("a\nb")


def test_meta_is_kept_by_the_proxy_when_it_changes():
    ws = context(meta={"same": "1", "gone": "2", "other": "3"})
    ws.accept()
    ws.meta["other"] = "4"
    ws.meta["new"] = "5"
    del ws.meta["gone"]
    found = {name: value for name, value in answer(ws).headers.items() if name.startswith("Set-Meta-")}
    found.pop("Set-Meta-View-State")
    assert found == {"Set-Meta-gone": "", "Set-Meta-other": "4", "Set-Meta-new": "5"}


def test_a_meta_value_that_would_be_a_header_fails_the_handshake():
    ws = context()
    ws.accept()
    ws.meta["a"] = "b\r\nX: y"
    assert answer(ws).status_code == 500
