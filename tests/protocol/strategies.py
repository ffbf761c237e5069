"""Hypothesis strategies for events and batches, shared by the tests and the fuzz targets."""

from __future__ import annotations

from hypothesis import strategies as st

from grip_consumers.protocol import Binary, Close, Disconnect, Event, Open, Ping, Pong, Text

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
control_data = st.binary(max_size=125)
close_codes = st.sampled_from([1000, 1001, 1002, 1003, *range(1007, 1015)]) | st.integers(3000, 4999)
reasons = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)

messages = st.builds(Text, texts) | st.builds(Binary, st.binary(max_size=200))
heartbeats = st.builds(Ping, control_data) | st.builds(Pong, control_data)
partings = st.builds(Close) | st.builds(Close, close_codes, reasons) | st.just(Disconnect())
events: st.SearchStrategy[Event] = messages | heartbeats | partings | st.just(Open())


@st.composite
def batches(draw: st.DrawFn) -> list[Event]:
    """Events that a proxy may send together: OPEN only first, nothing after CLOSE or DISCONNECT."""
    opening: list[Event] = draw(st.just([]) | st.just([Open()]))
    ending: list[Event] = draw(st.just([]) | st.lists(partings, min_size=1, max_size=1))
    return opening + draw(st.lists(messages | heartbeats, max_size=8)) + ending


#: Bytes that look like a body in places: pieces of valid ones, pieces of nonsense, in any order.
near_bodies = st.lists(
    st.sampled_from(
        [
            *(b"OPEN", b"TEXT", b"BINARY", b"PING", b"PONG", b"CLOSE", b"DISCONNECT", b"text"),
            *(b" ", b"\r\n", b"\r", b"\n", b"0", b"1", b"5", b"f", b"0x", b"+", b"-", b"_", b"\x00"),
            *(b"hello", b"\x03\xe8", b"\xff", b"\xed\xa0\x80", b"TEXT 5\r\nhello\r\n", b"OPEN\r\n"),
        ]
    )
    | st.binary(max_size=6),
    max_size=14,
).map(b"".join)
