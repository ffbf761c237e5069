from __future__ import annotations

import json

import pytest

from grip_consumers.protocol import (
    BinaryMessage,
    CloseAction,
    HeldResponse,
    Item,
    LocalProtocolError,
    OtherMessage,
    RefreshAction,
    ResponseHint,
    StreamChunk,
    StreamClose,
    StreamHint,
    TextMessage,
    encode_publish,
)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (TextMessage("hé"), {"content": "hé"}),
        (TextMessage(""), {"content": ""}),
        (BinaryMessage(b"\x00\xff"), {"content-bin": "AP8="}),
        (CloseAction(), {"action": "close", "code": 1000}),
        (CloseAction(4001, "bye"), {"action": "close", "code": 4001, "reason": "bye"}),
        (RefreshAction(), {"action": "refresh"}),
    ],
)
def test_each_message_has_its_format(message, expected):
    assert Item("room", message).as_dict() == {"channel": "room", "formats": {"ws-message": expected}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (StreamChunk("hé\n"), {"content": "hé\n"}),
        (StreamChunk(b"\x00\xff", ("build-id",)), {"content-bin": "AP8=", "content-filters": ["build-id"]}),
        (StreamClose(), {"action": "close"}),
        (StreamHint(), {"action": "hint"}),
    ],
)
def test_each_message_to_a_stream_has_its_format(message, expected):
    assert Item("room", message).as_dict() == {"channel": "room", "formats": {"http-stream": expected}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HeldResponse(), {"code": 200, "body-bin": ""}),
        (
            HeldResponse(201, "Made", [("X-A", "1"), ("X-A", "2")], "é", ["var-subst"]),
            {
                "code": 201,
                "reason": "Made",
                "headers": [["X-A", "1"], ["X-A", "2"]],
                "body": "é",
                "content-filters": ["var-subst"],
            },
        ),
        (ResponseHint(), {"action": "hint"}),
        (OtherMessage("http-response", {"body": "x"}), {"body": "x"}),
    ],
)
def test_each_message_to_a_held_request_has_its_format(message, expected):
    assert Item("room", message).as_dict() == {"channel": "room", "formats": {"http-response": expected}}


def test_one_item_carries_a_message_of_each_format():
    item = Item("room", [TextMessage("a"), StreamChunk("b"), HeldResponse(body="c"), OtherMessage("odd", {})])
    assert item.as_dict()["formats"] == {
        "ws-message": {"content": "a"},
        "http-stream": {"content": "b"},
        "http-response": {"code": 200, "body": "c"},
        "odd": {},
    }


def test_optional_parts_appear_when_given():
    item = Item("room", TextMessage("a"), id="2", prev_id="1", meta={"skip_users": "a,b"})
    assert item.as_dict() == {
        "channel": "room",
        "formats": {"ws-message": {"content": "a"}},
        "id": "2",
        "prev-id": "1",
        "meta": {"skip_users": "a,b"},
    }


def test_many_items_make_one_body_in_order():
    items = [Item("b", TextMessage("é")), Item("a", RefreshAction())]
    body = encode_publish(iter(items))
    assert json.loads(body) == {"items": [item.as_dict() for item in items]}
    assert "é".encode() in body
    assert encode_publish([]) == b'{"items":[]}'


def test_items_are_values():
    assert Item("a", TextMessage("x")) == Item("a", TextMessage("x")) != Item("a", BinaryMessage(b"x"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TextMessage("\ud800"), "expected text that UTF-8 can encode"),
        (lambda: TextMessage(b"x"), "expected text of type str"),
        (lambda: BinaryMessage("x"), "expected content of type bytes"),
        (lambda: CloseAction(1006), "expected a close code"),
        (lambda: CloseAction(1000, "x" * 124), "close reason of at most 123"),
        (lambda: Item("", RefreshAction()), "channel name"),
        (lambda: Item("a\nb", RefreshAction()), "channel name"),
        (lambda: Item("a\ud800", RefreshAction()), "channel name"),
        (lambda: Item("a", "text"), "expected a message or an action, got str"),
        (lambda: Item("a", []), "one message, or several of different formats, got none"),
        (lambda: Item("a", [TextMessage("x"), RefreshAction()]), "different formats, got ws-message, ws-message"),
        (lambda: Item("a", [TextMessage("x"), "y"]), "expected a message or an action, got str"),
        (lambda: StreamChunk("\ud800"), "expected content that UTF-8 can encode"),
        (lambda: StreamChunk(None), "expected content of type bytes"),
        (lambda: StreamChunk("x", "build-id"), "expected a list or tuple for a filter name each, got str"),
        (lambda: StreamChunk("x", ["a b"]), "expected a filter name"),
        (lambda: HeldResponse("x"), "expected a status"),
        (lambda: HeldResponse(99), "expected a status"),
        (lambda: HeldResponse(200, "a\nb"), "expected a reason phrase"),
        (lambda: HeldResponse(headers=[("X-A", "a\r\nb")]), "expected the value of X-A"),
        (lambda: HeldResponse(headers=[("X A", "a")]), "expected a header name"),
        (lambda: HeldResponse(body=5), "expected content of type bytes"),
        (lambda: HeldResponse(filters=["a,b"]), "expected a filter name"),
        (lambda: OtherMessage("a b", {}), "expected the name of a format"),
        (lambda: OtherMessage("a", "text"), "that JSON can say, got ValueError"),
        (lambda: OtherMessage("a", {"x": b"y"}), "that JSON can say, got TypeError"),
        (lambda: OtherMessage("a", {"x": "\ud800"}), "that JSON can say, got UnicodeEncodeError"),
        (lambda: Item("a", RefreshAction(), id=5), "expected an id of type str"),
        (lambda: Item("a", RefreshAction(), prev_id="\ud800"), "expected a previous id"),
        (lambda: Item("a", RefreshAction(), meta={"k": 1}), "expected the meta value of k of type str"),
        (lambda: Item("a", RefreshAction(), meta={1: "v"}), "expected a meta name of type str"),
    ],
)
def test_what_cannot_be_sent_cannot_exist(make, words):
    with pytest.raises(LocalProtocolError, match=words):
        make()
