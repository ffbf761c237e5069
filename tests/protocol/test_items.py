from __future__ import annotations

import json

import pytest

from grip_consumers.protocol import (
    BinaryMessage,
    CloseAction,
    Item,
    LocalProtocolError,
    RefreshAction,
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
        (lambda: Item("a", RefreshAction(), id=5), "expected an id of type str"),
        (lambda: Item("a", RefreshAction(), prev_id="\ud800"), "expected a previous id"),
        (lambda: Item("a", RefreshAction(), meta={"k": 1}), "expected the meta value of k of type str"),
        (lambda: Item("a", RefreshAction(), meta={1: "v"}), "expected a meta name of type str"),
    ],
)
def test_what_cannot_be_sent_cannot_exist(make, words):
    with pytest.raises(LocalProtocolError, match=words):
        make()
