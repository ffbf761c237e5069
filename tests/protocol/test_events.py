"""The codec. Every case is also read split byte by byte, cut at every place, and with bytes behind it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grip_consumers.protocol import (
    Binary,
    Close,
    Decoder,
    Disconnect,
    Event,
    LocalProtocolError,
    Open,
    Ping,
    Pong,
    RemoteProtocolError,
    Text,
    decode,
    encode,
)
from grip_consumers.protocol import events as codec

from . import strategies

#: Bytes in the form that `encode` writes, and the events that they are.
CANONICAL = [
    (b"", []),
    (b"OPEN\r\n", [Open()]),
    (b"TEXT 5\r\nhello\r\n", [Text("hello")]),
    (b"TEXT 0\r\n\r\n", [Text("")]),
    (b"TEXT 2\r\n\xc3\xa9\r\n", [Text("é")]),
    (b"TEXT 4\r\n\xf0\x9f\x90\x8d\r\n", [Text("\N{SNAKE}")]),
    (b"TEXT 9\r\na\r\nOPEN\r\n\r\n", [Text("a\r\nOPEN\r\n")]),
    (b"TEXT a\r\n0123456789\r\n", [Text("0123456789")]),
    (b"TEXT 10\r\n0123456789abcdef\r\n", [Text("0123456789abcdef")]),
    (b"BINARY 3\r\n\x00\xff\r\r\n", [Binary(b"\x00\xff\r")]),
    (b"BINARY 0\r\n\r\n", [Binary(b"")]),
    (b"PING\r\n", [Ping()]),
    (b"PING 2\r\nhi\r\n", [Ping(b"hi")]),
    (b"PING 7d\r\n" + b"x" * 125 + b"\r\n", [Ping(b"x" * 125)]),
    (b"PONG\r\n", [Pong()]),
    (b"PONG 1\r\n\xff\r\n", [Pong(b"\xff")]),
    (b"CLOSE\r\n", [Close()]),
    (b"CLOSE 2\r\n\x03\xe8\r\n", [Close(1000)]),
    (b"CLOSE 9\r\n\x0f\xa3bye now\r\n", [Close(4003, "bye now")]),
    (b"CLOSE 7d\r\n\x0b\xb8" + b"r" * 123 + b"\r\n", [Close(3000, "r" * 123)]),
    (b"DISCONNECT\r\n", [Disconnect()]),
    (
        b"OPEN\r\nTEXT 1\r\na\r\nBINARY 1\r\nb\r\nPING\r\nCLOSE\r\n",
        [Open(), Text("a"), Binary(b"b"), Ping(), Close()],
    ),
]

#: Other forms of the same, which a proxy may send.
TOLERATED = [
    (b"TEXT\r\n", [Text("")]),
    (b"BINARY\r\n", [Binary(b"")]),
    (b"OPEN 0\r\n\r\n", [Open()]),
    (b"DISCONNECT 0\r\n\r\n", [Disconnect()]),
    (b"PING 0\r\n\r\n", [Ping()]),
    (b"PONG 0\r\n\r\n", [Pong()]),
    (b"CLOSE 0\r\n\r\n", [Close()]),
    (b"TEXT A\r\n0123456789\r\n", [Text("0123456789")]),
    (b"TEXT 00000005\r\nhello\r\n", [Text("hello")]),
]

#: Illegal bytes, and words that the error must say.
REFUSED = [
    (b"\r\n", "expected one of OPEN, TEXT"),
    (b"HELLO\r\n", "expected one of OPEN, TEXT, .*, got b'HELLO'"),
    (b"text 5\r\nhello\r\n", "expected one of"),
    (b" TEXT 5\r\nhello\r\n", "expected one of"),
    (b"TEXT\t5\r\nhello\r\n", "expected one of"),
    (b"TEXT \r\n\r\n", "hexadecimal digits, got b''"),
    (b"OPEN \r\n", "hexadecimal digits, got b''"),
    (b"TEXT  5\r\nhello\r\n", "hexadecimal digits"),
    (b"TEXT 5 \r\nhello\r\n", "hexadecimal digits"),
    (b"TEXT 0x5\r\nhello\r\n", "hexadecimal digits, got b'0x5'"),
    (b"TEXT +5\r\nhello\r\n", "hexadecimal digits"),
    (b"TEXT -0\r\n\r\n", "hexadecimal digits"),
    (b"TEXT 0_5\r\nhello\r\n", "hexadecimal digits"),
    (b"TEXT 5\n\r\nhello\r\n", "hexadecimal digits"),
    (b"TEXT 000000005\r\nhello\r\n", "hexadecimal digits|within 21 bytes"),
    (b"TEXT \xd9\xa5\r\nhello\r\n", "hexadecimal digits"),
    (b"TEXT 5\r\nhelloX\r\n", "expected CRLF after 5 bytes of content, got b'X"),
    (b"TEXT 5\r\nhello\n\n", "expected CRLF after 5 bytes"),
    (b"TEXT 5\r\nhello\rX", "expected CRLF after 5 bytes"),
    (b"TEXT 4\r\nhello\r\n", "expected CRLF after 4 bytes"),
    (b"OPEN\rTEXT 5\r\nhello\r\n", "expected one of"),
    (b"x" * 21, "CRLF within 21 bytes"),
    (b"OPEN 1\r\nx\r\n", "expected no content for OPEN, got 1 bytes"),
    (b"DISCONNECT 2\r\n\x03\xe8\r\n", "expected no content for DISCONNECT"),
    (b"TEXT 1\r\n\xff\r\n", "expected UTF-8, got b'\\\\xff' at byte 0"),
    (b"TEXT 3\r\n\xed\xa0\x80\r\n", "expected UTF-8"),
    (b"TEXT 2\r\n\xc0\x80\r\n", "expected UTF-8"),
    (b"TEXT 1\r\n\xc3\r\n", "expected UTF-8"),
    (b"PING 7e\r\n" + b"x" * 126 + b"\r\n", "at most 125 bytes, got 126"),
    (b"PONG 7e\r\n" + b"x" * 126 + b"\r\n", "at most 125 bytes, got 126"),
    (b"CLOSE 1\r\n\x03\r\n", "code of 2 bytes for CLOSE, got 1"),
    (b"CLOSE 2\r\n\x00\x00\r\n", "expected a close code"),
    (b"CLOSE 2\r\n\x03\xed\r\n", "expected a close code of .*, got 1005"),
    (b"CLOSE 2\r\n\x03\xee\r\n", "got 1006"),
    (b"CLOSE 2\r\n\x03\xf7\r\n", "got 1015"),
    (b"CLOSE 2\r\n\xff\xff\r\n", "got 65535"),
    (b"CLOSE 3\r\n\x03\xe8\xff\r\n", "expected UTF-8"),
    (b"CLOSE 7e\r\n\x03\xe8" + b"r" * 124 + b"\r\n", "at most 123 bytes"),
]

MARKER = b"PONG 1\r\n!\r\n"
accepted = pytest.mark.parametrize(("body", "events"), CANONICAL + TOLERATED)
refused = pytest.mark.parametrize(("body", "words"), REFUSED)


def feed_in_pieces(body: bytes, size: int, **limits: int) -> list[Event]:
    """Decode `body` through a Decoder, `size` bytes at a time."""
    decoder = Decoder(**limits)
    events: list[Event] = []
    for start in range(0, len(body), size):
        events += decoder.feed(body[start : start + size])
    decoder.end()
    return events


@accepted
def test_a_body_is_read(body, events):
    assert decode(body) == events


@accepted
def test_a_body_is_read_byte_by_byte(body, events):
    assert feed_in_pieces(body, 1) == events


@accepted
def test_a_body_is_read_with_another_event_behind_it(body, events):
    assert decode(body + MARKER) == [*events, Pong(b"!")]
    assert feed_in_pieces(body + MARKER, 3) == [*events, Pong(b"!")]


@accepted
def test_trailing_bytes_are_refused(body, events):
    for trailing in (b"\r\n", b"\n", b"X", b"\x00", b"TEXT 1\r\na\r"):
        with pytest.raises(RemoteProtocolError, match=rf"event {len(events)}, byte {len(body)}"):
            decode(body + trailing)
        with pytest.raises(RemoteProtocolError, match=rf"event {len(events)}, byte {len(body)}"):
            feed_in_pieces(body + trailing, 1)


@accepted
def test_a_body_cut_anywhere_is_refused_or_ends_between_events(body, events):
    for cut in range(len(body)):
        part = body[:cut]
        decoder = Decoder()
        whole = decoder.feed(part)
        assert whole == events[: len(whole)]
        problem = None
        try:
            found = decode(part)
        except RemoteProtocolError as error:
            problem = error
        if problem is None:
            decoder.end()
            assert found == whole
            assert part.endswith(b"\r\n") or not part
        else:
            with pytest.raises(RemoteProtocolError) as caught:
                decoder.end()
            assert str(caught.value) == str(problem)


@pytest.mark.parametrize("cut", range(1, len(b"TEXT 5\r\nhello\r\n")))
def test_a_truncated_length_or_content_is_refused(cut):
    with pytest.raises(RemoteProtocolError, match=r"\(event 1, byte 6\)"):
        decode(b"OPEN\r\n" + b"TEXT 5\r\nhello\r\n"[:cut])


@refused
def test_an_illegal_body_is_refused(body, words):
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        decode(body)
    assert caught.value.status_hint == 400


@refused
@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_illegal_body_is_refused_in_pieces(body, words, size):
    with pytest.raises(RemoteProtocolError, match=words):
        feed_in_pieces(body, size)


@refused
def test_an_illegal_body_is_refused_wherever_it_ends(body, words):
    for cut in range(len(body) - 1):
        try:
            decode(body[:cut])
        except RemoteProtocolError:
            continue
        # A cut that reads well has to end where an event does.
        assert body[:cut] == b"" or body[:cut].endswith(b"\r\n")


@refused
def test_an_error_says_where(body, words):
    with pytest.raises(RemoteProtocolError, match=r"\(event 2, byte 21\)"):
        decode(b"OPEN\r\n" + b"TEXT 5\r\nhello\r\n" + body + MARKER)


def test_an_error_quotes_little():
    for body in (b"TEXT 7d0\r\n" + b"s" * 1000, b"s" * 1000, b"TEXT 3e8\r\n" + b"\xff" * 1000 + b"\r\n"):
        with pytest.raises(RemoteProtocolError) as caught:
            decode(body)
        assert str(caught.value).count("s" * 41) == 0
        assert len(str(caught.value)) < 260


@pytest.mark.parametrize("read", [decode, lambda body, **limits: feed_in_pieces(body, 5, **limits)])
def test_too_many_events_are_refused_with_413(read):
    body = b"PING\r\n" * 4
    assert len(read(body, max_events=4)) == 4
    with pytest.raises(RemoteProtocolError, match=r"at most 3 events, got more \(event 3, byte 18\)") as caught:
        read(body, max_events=3)
    assert caught.value.status_hint == 413


@pytest.mark.parametrize("read", [decode, lambda body, **limits: feed_in_pieces(body, 5, **limits)])
def test_too_many_bytes_are_refused_with_413(read):
    body = b"TEXT 5\r\nhello\r\n" * 2
    assert len(read(body, max_size=30)) == 2
    with pytest.raises(RemoteProtocolError, match="at most 29 bytes, got 30") as caught:
        read(body, max_size=29)
    assert caught.value.status_hint == 413


def test_an_announced_length_over_the_limit_is_refused_before_the_content_came():
    with pytest.raises(RemoteProtocolError, match="at most 16777216 bytes, got 4294967314"):
        Decoder().feed(b"BINARY ffffffff\r\n")


def test_a_failed_decoder_stays_failed():
    decoder = Decoder(max_events=1)
    with pytest.raises(RemoteProtocolError) as first:
        decoder.feed(b"OPEN\r\nOPEN\r\n")
    for call in (lambda: decoder.feed(b"OPEN\r\n"), decoder.end):
        with pytest.raises(RemoteProtocolError) as again:
            call()
        assert (str(again.value), again.value.status_hint) == (str(first.value), 413)


def test_a_decoder_hands_out_events_as_they_become_complete():
    decoder = Decoder()
    assert decoder.feed(b"OPEN\r\nTEXT 5\r\nhel") == [Open()]
    assert decoder.feed(b"lo") == []
    assert decoder.feed(b"\r\nPING") == [Text("hello")]
    assert decoder.feed(b"\r\n") == [Ping()]
    decoder.end()


def test_a_long_message_in_small_pieces_is_not_read_again_for_each(monkeypatch):
    attempts = []
    parse = codec._parse

    def spy(data, *arguments):
        attempts.append(len(data))
        return parse(data, *arguments)

    monkeypatch.setattr(codec, "_parse", spy)
    body = encode([Text("x" * 5_000)])
    assert feed_in_pieces(body, 1) == [Text("x" * 5_000)]
    assert attempts == [*range(1, len(b"TEXT 1388\r\n") + 1), len(body)]


@pytest.mark.parametrize(("body", "events"), CANONICAL)
def test_events_are_written(body, events):
    assert encode(events) == body
    assert encode(iter(events)) == body


def test_only_events_can_be_written():
    with pytest.raises(LocalProtocolError, match=r"expected events of .*, got str"):
        encode([Open(), "TEXT"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Text(b"x"), "expected text of type str, got bytes"),
        (lambda: Text("\ud800"), "UTF-8 can encode"),
        (lambda: Binary("x"), "expected data for BINARY of type bytes, got str"),
        (lambda: Binary(bytearray(b"x")), "got bytearray"),
        (lambda: Ping(b"x" * 126), "expected data for PING of at most 125 bytes, got 126"),
        (lambda: Pong(b"x" * 126), "expected data for PONG of at most 125 bytes, got 126"),
        (lambda: Ping("x"), "type bytes"),
        (lambda: Close(1005), "close code"),
        (lambda: Close(1000, "r" * 124), "at most 123 bytes"),
        (lambda: Close(1000, b"r"), "close reason of type str"),
        (lambda: Close(None, "why"), "expected a close code with the reason 'why', got None"),
    ],
)
def test_an_illegal_event_cannot_exist(make, words):
    with pytest.raises(LocalProtocolError, match=words):
        make()


def test_events_are_values():
    assert Text("a") == Text("a") != Text("b")
    assert decode(b"TEXT 1\r\na\r\n") == [Text("a")]
    assert len({Ping(), Pong(), Ping(b""), Close(), Close(1000)}) == 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        Text("a").text = "b"


@given(st.lists(strategies.events, max_size=10))
def test_what_is_written_reads_back_equal(events):
    assert decode(encode(events)) == events


@given(st.lists(strategies.events, max_size=6), st.data())
def test_cutting_a_body_into_pieces_changes_nothing(events, data):
    body = encode(events)
    decoder, found, start = Decoder(), [], 0
    while start < len(body):
        size = data.draw(st.integers(0, len(body) - start))
        found += decoder.feed(body[start : start + size])
        start += max(size, 0)
        if size == 0:
            found += decoder.feed(body[start : start + 1])
            start += 1
    decoder.end()
    assert found == events
