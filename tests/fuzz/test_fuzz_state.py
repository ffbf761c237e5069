"""Invariants: whatever the token, only SealBroken comes out of `open_sealed` and `open_token`, and nothing opens
that was not sealed; whatever the bytes of a state, only ValueError comes out of decoding them; and what decodes
encodes to bytes that decode to the same."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from grip_consumers.conf import Settings
from grip_consumers.exceptions import SealBroken
from grip_consumers.state import CannotDecode, CannotEncode, ConnectionState, decode, encode, open_token
from grip_consumers.state.seal import open_sealed, seal
from tests.fuzz.runner import main
from tests.state.kept import Colour, Pair
from tests.state.strategies import values

SETTINGS = Settings(secrets=("first", "second"))
TOKENS = [seal(b"i" + ConnectionState("a:B", b"", "c").pack(), "id", [secret]) for secret in SETTINGS.secrets]
SEEDS = [
    *(token.encode() for token in TOKENS),
    *map(encode, [{"a": [1, (2,), {3}]}, 2**70, Settings, SETTINGS, deque([1.5]), Decimal("1"), Pair(1, Colour.RED)]),
    *(b"\xc7\x05\x20", b"\xd4\x00\x30", b"\xd8", b"\x00", b"=", b"A", b"\xc1"),
]


def fuzz_one(data: bytes) -> None:
    fuzz_token(data.decode("utf-8", "surrogateescape"))
    fuzz_state(data)


def fuzz_token(token: str) -> None:
    for opened in (lambda: open_sealed(token, "id", SETTINGS.secrets), lambda: open_token(token, "id", SETTINGS)):
        try:
            opened()
        except SealBroken:
            continue
        assert token in TOKENS


def fuzz_state(data: bytes) -> None:
    with suppress(ValueError):
        ConnectionState.unpack(data)
    try:
        value = decode(data)
        encoded = encode(value)
    except (CannotDecode, CannotEncode):
        return
    assert encode(decode(encoded)) == encoded


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet="AQab-_=", max_size=80).map(str.encode)))
@example(b"\x91" * 5_000)
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x81\x90\x00")
@example(b"\xdd\xff\xff\xff\xff")
def test_only_the_expected_errors_come_out_of_any_bytes(data: bytes) -> None:
    fuzz_one(data)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TOKENS), st.integers(min_value=0), st.characters(), st.booleans())
def test_no_altered_token_opens(token: str, place: int, character: str, cut: bool) -> None:
    place %= len(token)
    fuzz_token(token[:place] + character + ("" if cut else token[place + 1 :]))


@settings(max_examples=200, deadline=None)
@given(values, st.data())
def test_only_value_errors_come_out_of_an_altered_state(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    fuzz_state(bytes(encoded[: data.draw(st.integers(place, len(encoded)))]))


if __name__ == "__main__":
    main(fuzz_one, SEEDS, sys.argv[1:])
