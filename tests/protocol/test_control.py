from __future__ import annotations

import json

import pytest

from grip_consumers.protocol import LocalProtocolError, control


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (control.subscribe("room"), {"type": "subscribe", "channel": "room"}),
        (
            control.subscribe("röm", ["skip-self", "skip-users"]),
            {"type": "subscribe", "channel": "röm", "filters": ["skip-self", "skip-users"]},
        ),
        (control.unsubscribe('a"b'), {"type": "unsubscribe", "channel": 'a"b'}),
        (control.detach(), {"type": "detach"}),
        (control.set_meta("user", "ann"), {"type": "set-meta", "name": "user", "value": "ann"}),
        (control.set_meta("user", ""), {"type": "set-meta", "name": "user", "value": ""}),
        (
            control.keep_alive(timeout=30),
            {"type": "keep-alive", "message-type": "pong", "content": "", "timeout": 30},
        ),
        (
            control.keep_alive("tick", timeout=1, message_type="text"),
            {"type": "keep-alive", "message-type": "text", "content": "tick", "timeout": 1},
        ),
        (
            control.keep_alive(timeout=9, message_type="ping", mode="interval"),
            {"type": "keep-alive", "message-type": "ping", "content": "", "timeout": 9, "mode": "interval"},
        ),
        (
            control.send_delayed("é", timeout=2, message_type="ping"),
            {"type": "send-delayed", "message-type": "ping", "content": "é", "timeout": 2},
        ),
    ],
)
def test_a_control_message_is_prefixed_json(message, expected):
    assert message.startswith(b"c:")
    assert json.loads(message[2:]) == expected


def test_control_messages_are_compact():
    assert control.subscribe("a") == b'c:{"type":"subscribe","channel":"a"}'


BAD_NAMES = ["", "a\nb", "\x00", "a\x1f", "\x7f", "\x85", "\ud800", None, b"room", 5]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_with_controls_or_without_characters_is_refused(name):
    for call in (
        lambda: control.check_channel(name),
        lambda: control.subscribe(name),
        lambda: control.unsubscribe(name),
        lambda: control.subscribe("room", [name]),
        lambda: control.set_meta(name, "x"),
    ):
        with pytest.raises(LocalProtocolError, match="expected a"):
            call()


@pytest.mark.parametrize("value", [name for name in BAD_NAMES if name != ""])
def test_a_meta_value_has_no_controls(value):
    with pytest.raises(LocalProtocolError, match="expected a meta value"):
        control.set_meta("user", value)


def test_a_single_str_is_no_list_of_filters():
    with pytest.raises(LocalProtocolError, match="expected a sequence of filter names"):
        control.subscribe("room", "skip-self")


def test_a_message_fits_one_frame_or_is_refused():
    overhead = len(control.unsubscribe("x")) - 1
    assert len(control.unsubscribe("x" * (16_384 - overhead))) == 16_384
    with pytest.raises(LocalProtocolError, match="expected a unsubscribe message of at most 16384 bytes, got 16385"):
        control.unsubscribe("x" * (16_385 - overhead))


@pytest.mark.parametrize("timeout", [0, -1, True, 1.5, None])
def test_a_keep_alive_needs_whole_seconds(timeout):
    with pytest.raises(LocalProtocolError, match="expected a timeout in seconds of 1 or more"):
        control.keep_alive(timeout=timeout)
    with pytest.raises(LocalProtocolError, match="expected a timeout in seconds of 1 or more"):
        control.send_delayed(timeout=timeout)


def test_a_keep_alive_of_an_unknown_type_or_content_is_refused():
    with pytest.raises(LocalProtocolError, match="text, ping or pong, got 'close'"):
        control.keep_alive(timeout=5, message_type="close")
    with pytest.raises(LocalProtocolError, match="text, ping or pong, got 'binary'"):
        control.send_delayed(timeout=5, message_type="binary")
    with pytest.raises(LocalProtocolError, match="idle or interval, got 'never'"):
        control.keep_alive(timeout=5, mode="never")
    with pytest.raises(LocalProtocolError, match="UTF-8"):
        control.keep_alive("\ud800", timeout=5)
