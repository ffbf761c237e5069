from __future__ import annotations

from typing import Any

import channels.consumer
import pytest

from grip_consumers.messages import disconnect, get_handler_name, to_asgi
from grip_consumers.protocol import Binary, Close, Disconnect, Event, Open, Ping, Pong, Text


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (Open(), {"type": "websocket.connect"}),
        (Text("é"), {"type": "websocket.receive", "text": "é"}),
        (Text(""), {"type": "websocket.receive", "text": ""}),
        (Binary(b"\xff"), {"type": "websocket.receive", "bytes": b"\xff"}),
        (Close(), {"type": "websocket.disconnect", "code": 1005, "reason": ""}),
        (Close(4001, "bye"), {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}),
        (Disconnect(), {"type": "websocket.disconnect", "code": 1006, "reason": ""}),
    ],
    ids=repr,
)
def test_each_event_is_the_message_that_a_server_would_have_sent(event: Event, message: dict[str, Any]) -> None:
    assert to_asgi(event) == message


@pytest.mark.parametrize("event", [Ping(), Pong(b"x")], ids=repr)
def test_pings_and_pongs_are_not_for_the_application(event: Event) -> None:
    with pytest.raises(KeyError):
        to_asgi(event)


def test_a_disconnect_carries_code_and_reason() -> None:
    assert disconnect(1000) == {"type": "websocket.disconnect", "code": 1000, "reason": ""}
    assert disconnect(4000, "x")["reason"] == "x"


@pytest.mark.parametrize(
    "message", [{"type": "chat.message"}, {"type": "a.b.c"}, {"type": "plain"}, {}, {"type": "_x"}, {"type": ".x"}]
)
def test_handlers_are_named_as_by_channels(message: dict[str, Any]) -> None:
    def outcome(function: Any) -> Any:
        try:
            return function(message)
        except ValueError as error:
            return str(error)

    assert outcome(get_handler_name) == outcome(channels.consumer.get_handler_name)
    assert outcome(get_handler_name)
