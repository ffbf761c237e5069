from __future__ import annotations

import json
from typing import Any

import pytest

from grip_consumers.discovery import ISSUER
from grip_consumers.embedded.control import ControlError, answer, authenticate, read_items
from grip_consumers.embedded.effects import CloseClient, Refresh, Send
from grip_consumers.embedded.hub import Answer, Chunk, Close, Hint, Hub, Item
from grip_consumers.protocol import items

from .rig import KEY, bearer


def encoded(**message: Any) -> bytes:
    return json.dumps({"items": [{"channel": "c", "formats": {"ws-message": message}}]}).encode()


def check(headers: dict[str, str]) -> None:
    authenticate([(name.lower().encode(), value.encode()) for name, value in headers.items()], KEY, ISSUER)


def test_a_token_of_this_project_is_let_in() -> None:
    check(bearer())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": bearer()["Authorization"].replace("Bearer", "Basic")},
        bearer(key=b"another key that is just as long as it should be"),
        bearer(issuer="pushpin"),
        bearer(expires_in=-120),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ControlError) as caught:
        check(headers)
    assert caught.value.status == 401


def test_a_token_that_never_expires_or_is_not_signed_is_refused() -> None:
    import jwt

    eternal = jwt.encode({"iss": ISSUER}, KEY, algorithm="HS256")
    unsigned = jwt.encode({"iss": ISSUER, "exp": 99999999999}, None, algorithm="none")
    for token in (eternal, unsigned):
        with pytest.raises(ControlError):
            check({"Authorization": f"Bearer {token}"})


def test_two_authorization_headers_are_refused() -> None:
    headers = [(b"authorization", bearer()["Authorization"].encode())] * 2
    with pytest.raises(ControlError):
        authenticate(headers, KEY, ISSUER)


def test_what_the_publisher_encodes_is_read_as_it_was_meant() -> None:
    published = [
        items.Item("c", items.TextMessage("é"), id="1", meta={"sender": "u"}),
        items.Item("c", items.BinaryMessage(b"\x00\xff")),
        items.Item("c", items.CloseAction(4000, "why")),
        items.Item("c", items.RefreshAction()),
    ]
    assert read_items(items.encode_publish(published)) == [
        Item("c", Send("é"), "1", {"sender": "u"}),
        Item("c", Send(b"\x00\xff")),
        Item("c", CloseClient(4000, "why")),
        Item("c", Refresh()),
    ]


def test_binary_content_wins_over_text_as_in_pushpin() -> None:
    body = encoded(**{"content": "text", "content-bin": "YQ=="})
    assert read_items(body) == [Item("c", Send(b"a"))]


def test_items_for_other_transports_are_left_out() -> None:
    body = b'{"items": [{"channel": "c", "formats": {"xmpp-stanza": {"content": "a"}}}]}'
    assert read_items(body) == []


def test_one_item_may_carry_a_message_of_each_format() -> None:
    held = items.HeldResponse(201, "Made", [("X-A", "1")], b"\xff", filters=["build-id"])
    messages = [items.TextMessage("w"), items.StreamChunk("é", filters=["var-subst"]), held]
    (item,) = read_items(items.encode_publish([items.Item("c", messages, id="2", prev_id="1")]))
    assert (item.message, item.id, item.prev_id, item.ordered) == (Send("w"), "2", "1", True)
    assert item.stream == Chunk("é".encode(), ("var-subst",))
    assert item.response == Answer(201, "Made", [(b"X-A", b"1")], b"\xff", ("build-id",))


@pytest.mark.parametrize(
    ("message", "stream", "response"),
    [
        (items.StreamChunk(b"\x00"), Chunk(b"\x00"), None),
        (items.StreamClose(), Close(), None),
        (items.StreamHint(), Hint(), None),
        (items.ResponseHint(), None, Hint()),
        (items.HeldResponse(), None, Answer(200, "", [], b"")),
    ],
    ids=["chunk", "close", "stream hint", "response hint", "response"],
)
def test_messages_for_held_responses_are_read_as_they_were_meant(
    message: items.Message, stream: object, response: object
) -> None:
    (item,) = read_items(items.encode_publish([items.Item("c", message)]))
    assert (item.message, item.stream, item.response) == (None, stream, response)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("http-stream", {"content": 5}),
        ("http-stream", {"content-bin": "!!"}),
        ("http-response", {"body": "x", "code": 99}),
        ("http-response", {"body": "x", "headers": "X-A: 1"}),
        ("http-response", {"body": "x", "headers": {"X-A": "1\r\nX-B: 2"}}),
    ],
    ids=["number", "no base64", "code", "headers", "line break"],
)
def test_what_no_held_response_could_be_sent_is_refused(name: str, message: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as caught:
        read_items(json.dumps({"items": [{"channel": "c", "formats": {name: message}}]}).encode())
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "message",
    [
        {"content-bin": "!!"},
        {"content-bin": 5},
        {"action": "close", "code": 1005},
        {"action": "close", "code": "x"},
        {"action": "close", "code": 1000, "reason": "x" * 124},
        {"action": 5},
    ],
)
def test_what_no_client_could_be_sent_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as caught:
        read_items(encoded(**message))
    assert caught.value.status == 400
    assert str(caught.value).startswith("Invalid format: expected")


def test_nothing_is_published_when_a_later_item_is_malformed() -> None:
    hub = Hub()
    body = b'{"items": [{"channel": "c", "id": "1", "formats": {"ws-message": {"content": "a"}}}, {}]}'
    with pytest.raises(ControlError):
        answer(hub, body)
    assert hub._seen == {}


def test_a_body_over_the_limit_is_refused() -> None:
    with pytest.raises(ControlError) as caught:
        answer(Hub(), b" " * 1_000_001)
    assert caught.value.status == 413
