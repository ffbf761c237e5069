"""Invariant: whatever the batch and the application do, only RemoteProtocolError comes out of what the proxy
sent, and only LocalProtocolError out of what the application asks. The response, if there is one, decodes,
starts with OPEN exactly if a connection was accepted, and has nothing behind a CLOSE."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from grip_consumers.protocol import (
    Close,
    Exchange,
    LocalProtocolError,
    Open,
    RemoteProtocolError,
    State,
    Text,
    decode,
    encode,
)
from tests.fuzz.runner import main
from tests.protocol.strategies import batches, near_bodies

#: What an application may do, each chosen by one byte.
ACTS: list[Callable[[Exchange, str], object]] = [
    lambda exchange, text: exchange.next_event(),
    lambda exchange, text: exchange.accept(),
    lambda exchange, text: exchange.accept(subprotocol=text, headers=[(b"x-a", text.encode("utf-8", "replace"))]),
    lambda exchange, text: exchange.reject(body=text.encode("utf-8", "replace")),
    lambda exchange, text: exchange.reject(len(text) * 100, [(text.encode("utf-8", "replace"), b"")]),
    lambda exchange, text: exchange.send_text(text),
    lambda exchange, text: exchange.send_binary(text.encode("utf-8", "surrogatepass")),
    lambda exchange, text: exchange.close(1000 + len(text), text),
    lambda exchange, text: exchange.fail(),
    lambda exchange, text: exchange.subscribe(text, [text] if len(text) > 3 else ()),
    lambda exchange, text: exchange.unsubscribe(text),
    lambda exchange, text: exchange.set_user(text),
    lambda exchange, text: exchange.set_meta(text, text),
    lambda exchange, text: exchange.keep_alive_interval(len(text) - 1),
    lambda exchange, text: exchange.take_messages(len(text)),
    lambda exchange, text: exchange.fitting(len(text) * 10, len(text)),
]
TEXTS = ["", "a", "é", "\ud800", "a\r\nb", "four", "c:{}", "\x00", "x" * 130]


def run(exchange: Exchange, choices: bytes) -> bool:
    """Do what `choices` say; return whether the connection was accepted by it."""
    accepted = False
    for choice in choices:
        was = exchange.state
        with contextlib.suppress(LocalProtocolError):
            ACTS[choice % len(ACTS)](exchange, TEXTS[choice // len(ACTS) % len(TEXTS)])
        accepted |= was is State.CONNECTING and exchange.state is State.OPEN
    while exchange.next_event() is not None:
        pass
    return accepted


def check_response(exchange: Exchange, accepted: bool) -> None:
    if exchange.state is State.CONNECTING:
        exchange.fail()
    response = exchange.response()
    for name, value in response.headers:
        assert not set(name + value) & set("\r\n\x00")
    if exchange.state is State.REJECTED:
        assert response.status != 200
        assert ("Content-Type", "application/websocket-events") not in response.headers
        return
    events = decode(response.body)
    assert response.status == 200
    assert events[:1] == [Open()] if accepted else Open() not in events
    assert not any(isinstance(event, Close) for event in events[:-1])
    assert all(event.text[:2] in {"m:", "c:"} for event in events if isinstance(event, Text))


def fuzz_one(data: bytes) -> None:
    choices, _, body = data.partition(b"\xfe")
    try:
        exchange = Exchange(decode(body))
    except RemoteProtocolError:
        return
    accepted = run(exchange, choices)
    check_response(exchange, accepted)


choices = st.binary(max_size=12).filter(lambda data: b"\xfe" not in data)


@settings(max_examples=300, deadline=None)
@given(choices, batches())
def test_any_use_of_a_proper_batch_keeps_the_rules(choices, batch):
    fuzz_one(choices + b"\xfe" + encode(batch))


@settings(max_examples=100, deadline=None)
@given(choices, near_bodies)
def test_any_use_of_any_body_keeps_the_rules(choices, body):
    fuzz_one(choices + b"\xfe" + body)


if __name__ == "__main__":
    seeds = [
        b"\x01\x05\x00\xfeOPEN\r\n",
        b"\x00\x05\x07",
        b"\xfeTEXT 1\r\na\r\n",
        b"PING\r\n",
        b"CLOSE\r\n",
        b"\xfeOPEN\r\n",
    ]
    main(fuzz_one, seeds, sys.argv[1:])
