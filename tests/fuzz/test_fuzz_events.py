"""Invariant: whatever the bytes, only RemoteProtocolError may come out of `decode` and `Decoder`; they agree,
however the bytes are cut; and what decodes re-encodes to the same events."""

from __future__ import annotations

import sys

from hypothesis import example, given, settings
from hypothesis import strategies as st

from grip_consumers.protocol import Decoder, Event, RemoteProtocolError, decode, encode
from tests.fuzz.runner import main
from tests.protocol.strategies import near_bodies

SEEDS = [
    *(
        b"",
        b"OPEN\r\n",
        b"TEXT 5\r\nhello\r\n",
        b"BINARY 3\r\n\x00\xff\r\r\n",
        b"PING\r\n",
        b"PONG 1\r\nx\r\n",
    ),
    *(b"CLOSE\r\n", b"CLOSE 9\r\n\x0f\xa3bye now\r\n", b"DISCONNECT\r\n", b"TEXT 0\r\n\r\n", b"TEXT\r\n"),
    *(b" ", b"\r\n", b"0x", b"_", b"7d", b"ffffffff", b"\xc3\xa9", b"\xed\xa0\x80"),
]


def read_in_pieces(body: bytes, size: int) -> list[Event]:
    decoder, events = Decoder(max_events=50, max_size=5_000), []
    for start in range(0, len(body), size):
        events += decoder.feed(body[start : start + size])
    decoder.end()
    return events


def fuzz_one(body: bytes) -> None:
    events: list[Event] | None = None
    problem = RemoteProtocolError("")
    try:
        events = decode(body, max_events=50, max_size=5_000)
    except RemoteProtocolError as error:
        problem = error
    assert problem.status_hint in {400, 413}
    assert len(str(problem)) < 400
    for size in (1, 3, 8):
        try:
            found = read_in_pieces(body, size)
        except RemoteProtocolError:
            found = None
        assert found == events
    if events is not None:
        assert decode(encode(events)) == events


@settings(max_examples=300, deadline=None)
@given(near_bodies | st.binary(max_size=80))
@example(b"TEXT 5\r\nhello")
@example(b"PING\r\n" * 51)
@example(b"BINARY 1389\r\n")
def test_only_remote_errors_come_out_and_what_decodes_reencodes(body):
    fuzz_one(body)


if __name__ == "__main__":
    main(fuzz_one, SEEDS, sys.argv[1:])
