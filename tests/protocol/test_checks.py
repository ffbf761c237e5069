from __future__ import annotations

import pytest

from grip_consumers.protocol import LocalProtocolError
from grip_consumers.protocol.checks import check_bytes, check_close, check_utf8, check_whole

GOOD_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
BAD_CODES = [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535, 65536, True, "1000", 1000.0]


@pytest.mark.parametrize("code", GOOD_CODES)
def test_a_sendable_code_becomes_two_bytes(code):
    assert check_close(code, "") == bytes([code >> 8, code & 0xFF])


@pytest.mark.parametrize("code", BAD_CODES)
def test_a_code_that_may_not_appear_on_the_wire_is_refused(code):
    with pytest.raises(LocalProtocolError, match="expected a close code of 1000-1003"):
        check_close(code, "")


def test_a_reason_is_measured_in_bytes_of_utf8():
    assert len(check_close(1000, "é" * 61 + "x")) == 125
    with pytest.raises(LocalProtocolError, match="at most 123 bytes in UTF-8, got 124"):
        check_close(1000, "é" * 62)


def test_text_with_a_lone_surrogate_is_refused_with_its_place():
    assert check_utf8("né", "text") == b"n\xc3\xa9"
    with pytest.raises(LocalProtocolError, match=r"expected text that UTF-8 can encode, got .* at 1"):
        check_utf8("a\ud800", "text")


@pytest.mark.parametrize("value", [b"x", 1, None])
def test_text_of_another_type_is_refused(value):
    with pytest.raises(LocalProtocolError, match="of type str"):
        check_utf8(value, "text")


def test_bytes_are_bytes_and_within_their_limit():
    assert check_bytes(b"ab", "data", 2) == b"ab"
    with pytest.raises(LocalProtocolError, match="at most 2 bytes, got 3"):
        check_bytes(b"abc", "data", 2)
    with pytest.raises(LocalProtocolError, match="expected data of type bytes, got str"):
        check_bytes("ab", "data")


@pytest.mark.parametrize("value", [True, "5", 5.0, None, 4, 8])
def test_a_whole_number_is_an_int_within_bounds(value):
    with pytest.raises(LocalProtocolError, match="expected n of 5 to 7"):
        check_whole(value, "n", 5, 7)
    assert check_whole(7, "n", 5, 7) == 7


def test_an_open_bound_reads_as_such():
    with pytest.raises(LocalProtocolError, match="expected n of 1 or more, got 0"):
        check_whole(0, "n", 1)
