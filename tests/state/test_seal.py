from __future__ import annotations

import base64
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grip_consumers.exceptions import SealBroken
from grip_consumers.state.seal import open_sealed, seal

SECRET, OLDER, OTHER = "secret", b"older secret", "other"
URL_SAFE = string.ascii_letters + string.digits + "-_"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=30))
def test_what_was_sealed_opens_for_its_connection(plaintext: bytes, connection: str) -> None:
    token = seal(plaintext, connection, [SECRET])
    assert open_sealed(token, connection, [SECRET]) == (plaintext, False)


@pytest.mark.parametrize("size", [*range(8), 2_000])
def test_a_token_is_one_line_of_url_safe_characters(size: int) -> None:
    token = seal(b"\xff" * size, "c", [SECRET])
    assert set(token) <= set(URL_SAFE)
    assert len(token) <= (size + 29) * 4 / 3 + 1


def test_a_token_does_not_show_what_is_in_it() -> None:
    token = seal(b"the plaintext", "the connection", [SECRET])
    raw = base64.urlsafe_b64decode(token + "==")
    assert b"the plaintext" not in raw
    assert b"connection" not in raw


@pytest.mark.parametrize("plaintext", [b"", b"a", b"ab", b"state of a connection"])
def test_a_token_that_was_altered_anywhere_does_not_open(plaintext: bytes) -> None:
    token = seal(plaintext, "c", [SECRET])
    for place in range(len(token)):
        for character in set(URL_SAFE + "=+/ \n\x00é") - {token[place]}:
            with pytest.raises(SealBroken):
                open_sealed(token[:place] + character + token[place + 1 :], "c", [SECRET])


def test_a_token_that_was_cut_or_made_longer_does_not_open() -> None:
    token = seal(b"state", "c", [SECRET])
    for cut in range(len(token)):
        with pytest.raises(SealBroken):
            open_sealed(token[:cut], "c", [SECRET])
    for more in ("A", "=", "==", "AAAA", "\n", " "):
        for longer in (token + more, more + token):
            with pytest.raises(SealBroken):
                open_sealed(longer, "c", [SECRET])


def test_two_tokens_cannot_be_spliced() -> None:
    one, two = seal(b"one state", "c", [SECRET]), seal(b"two state", "c", [SECRET])
    spliced = {one[:cut] + two[cut:] for cut in range(len(one))} - {one, two}
    assert len(spliced) > len(one) / 2
    for token in spliced:
        with pytest.raises(SealBroken):
            open_sealed(token, "c", [SECRET])


@pytest.mark.parametrize("connection", ["", "c", "connection ", "Connection", "connectio", "c\x00"])
def test_a_token_does_not_open_for_another_connection(connection: str) -> None:
    with pytest.raises(SealBroken, match="belongs to another connection"):
        open_sealed(seal(b"state", "connection", [SECRET]), connection, [SECRET])


def test_an_unknown_key_does_not_open() -> None:
    with pytest.raises(SealBroken, match="no longer in SECRET_KEY or SECRET_KEY_FALLBACKS"):
        open_sealed(seal(b"state", "c", [SECRET]), "c", [OTHER, OLDER])
    with pytest.raises(SealBroken):
        open_sealed(seal(b"state", "c", [SECRET]), "c", [])


def test_a_fallback_opens_and_asks_for_a_new_seal() -> None:
    token = seal(b"state", "c", [OLDER])
    assert open_sealed(token, "c", [SECRET, OTHER, OLDER]) == (b"state", True)
    assert open_sealed(seal(b"state", "c", [SECRET, OLDER]), "c", [SECRET, OLDER]) == (b"state", False)


def test_the_text_and_the_bytes_of_a_secret_are_one_key() -> None:
    assert open_sealed(seal(b"state", "c", ["é"]), "c", ["é".encode()]) == (b"state", False)


def test_no_nonce_comes_twice() -> None:
    tokens = {seal(b"state", "c", [SECRET]) for _ in range(2_000)}
    assert len({base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[1:13] for token in tokens}) == 2_000


def test_another_process_with_the_same_secret_opens_a_token() -> None:
    code = "import sys; from grip_consumers.state.seal import *; print(open_sealed(sys.argv[1], 'c', ['secret'])[0])"
    command = [sys.executable, "-c", code, seal(b"state", "c", [SECRET])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "b'state'\n"


@pytest.mark.parametrize("token", ["", "A", "é", "\ud800", "AQ", "AQ" * 40, "!" * 40, "====", "A" * 100_000])
def test_what_never_was_a_token_does_not_open(token: str) -> None:
    with pytest.raises(SealBroken):
        open_sealed(token, "c", [SECRET])
