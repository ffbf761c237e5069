from __future__ import annotations

import json
from typing import Any

import pytest

from grip_consumers.embedded.effects import (
    Delay,
    FlushDelayed,
    KeepAliveMessage,
    PingClient,
    Send,
    Subscribe,
    Unsubscribe,
)
from grip_consumers.embedded.grip import Grip


def told(grip: Grip, kind: str, **fields: Any) -> list[Any]:
    return grip.control(json.dumps({"type": kind} | {name.replace("_", "-"): value for name, value in fields.items()}))


def test_subscribing_again_replaces_the_filters() -> None:
    grip = Grip(20)
    assert told(grip, "subscribe", channel="a") == [Subscribe("a", frozenset())]
    again = told(grip, "subscribe", channel="a", filters=["skip-self"])
    assert again == [Subscribe("a", frozenset({"skip-self"}))]


def test_subscriptions_beyond_the_limit_are_ignored_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    grip = Grip(1)
    told(grip, "subscribe", channel="a")
    assert told(grip, "subscribe", channel="b") == []
    assert "'b' is ignored" in caplog.text
    assert told(grip, "subscribe", channel="a") != []


def test_a_filter_that_only_pushpin_has_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert told(Grip(20), "subscribe", channel="a", filters=["require-sub"]) != []
    assert "require-sub" in caplog.text


def test_unsubscribing_what_is_not_subscribed_does_nothing() -> None:
    grip = Grip(20)
    assert told(grip, "unsubscribe", channel="a") == []
    told(grip, "subscribe", channel="a")
    assert told(grip, "unsubscribe", channel="a") == [Unsubscribe("a")]
    assert grip.channels == set()


def test_meta_is_set_replaced_and_removed() -> None:
    grip = Grip(20)
    told(grip, "set-meta", name="user", value="a")
    told(grip, "set-meta", name="user", value="b")
    assert grip.meta == {"user": "b"}
    told(grip, "set-meta", name="user")
    assert grip.meta == {}


def test_delayed_and_keep_alive_messages_are_text_unless_they_say_otherwise() -> None:
    grip = Grip(20)
    assert told(grip, "send-delayed", content="x", timeout=2) == [Delay(Send("x"), 2.0)]
    binary = told(grip, "send-delayed", message_type="binary", content="x", timeout=2)
    assert binary == [Delay(Send(b"x"), 2.0)]
    assert told(grip, "flush-delayed") == [FlushDelayed()]
    assert told(grip, "keep-alive", content="x", timeout=3) == [KeepAliveMessage(Send("x"), 3.0)]
    assert told(grip, "keep-alive") == [KeepAliveMessage(None, 0.0)]


def test_a_ping_is_taken_for_answered_and_a_pong_that_cannot_be_sent_is_left_out() -> None:
    grip = Grip(20)
    assert told(grip, "send-delayed", message_type="ping", content="é", timeout=2) == [
        Delay(PingClient("é".encode()), 2.0)
    ]
    assert told(grip, "keep-alive", message_type="ping", content="", timeout=2) == [
        KeepAliveMessage(PingClient(b""), 2.0)
    ]
    assert told(grip, "send-delayed", message_type="pong", content="x", timeout=2) == [FlushDelayed()]
    assert told(grip, "keep-alive", message_type="pong", content="x", timeout=2) == [KeepAliveMessage(None, 2.0)]


@pytest.mark.parametrize(("mode", "interval"), [("interval", True), ("idle", False), ("any other", False)])
def test_a_keep_alive_waits_for_silence_unless_it_is_sent_at_an_interval(mode: str, interval: bool) -> None:
    found = told(Grip(20), "keep-alive", mode=mode, content="x", timeout=3)
    assert found == [KeepAliveMessage(Send("x"), 3.0, interval)]


def test_content_may_come_as_base64() -> None:
    grip = Grip(20)
    binary = told(grip, "send-delayed", message_type="binary", content_bin="AP8=", timeout=1)
    assert binary == [Delay(Send(b"\x00\xff"), 1.0)]
    assert told(grip, "keep-alive", content_bin="eA==", timeout=1) == [KeepAliveMessage(Send("x"), 1.0)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"type": 5}',
        '{"type": "nonsense"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "channel": ""}',
        '{"type": "subscribe", "channel": 5}',
        '{"type": "subscribe", "channel": "a", "filters": "skip-self"}',
        '{"type": "subscribe", "channel": "a", "filters": [5]}',
        '{"type": "set-meta", "value": "x"}',
        '{"type": "set-meta", "name": "user", "value": 5}',
        '{"type": "send-delayed", "content": 5}',
        '{"type": "send-delayed", "content-bin": 5}',
        '{"type": "send-delayed", "content-bin": "x"}',
        '{"type": "keep-alive", "content": "x", "timeout": 1, "mode": 5}',
        '{"type": "send-delayed", "content": "x", "timeout": "soon"}',
        '{"type": "send-delayed", "content": "x", "timeout": -1}',
        '{"type": "send-delayed", "content": "x", "message-type": "smoke"}',
    ],
)
def test_malformed_control_messages_change_nothing_and_are_logged(text: str, caplog: pytest.LogCaptureFixture) -> None:
    grip = Grip(20)
    assert grip.control(text) == []
    assert (grip.channels, grip.meta, grip.detached) == (set(), {}, False)
    assert "A control message is ignored: expected" in caplog.text or "Expecting" in caplog.text
