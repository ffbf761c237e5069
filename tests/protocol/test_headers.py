from __future__ import annotations

import pytest

from grip_consumers.protocol import LocalProtocolError, headers, is_batch

EVENTS = "application/websocket-events"


def test_a_batch_is_a_post_of_exactly_one_exact_type():
    assert is_batch("POST", [EVENTS])
    assert is_batch("POST", (EVENTS,))


@pytest.mark.parametrize(
    ("method", "types"),
    [
        ("GET", [EVENTS]),
        ("post", [EVENTS]),
        ("POST", []),
        ("POST", [EVENTS, EVENTS]),
        ("POST", ["", EVENTS]),
        ("POST", ["text/plain", EVENTS]),
        ("POST", ["Application/WebSocket-Events"]),
        ("POST", [EVENTS + "; charset=utf-8"]),
        ("POST", [" " + EVENTS]),
        ("POST", [EVENTS + ", " + EVENTS]),
    ],
)
def test_what_a_client_could_slip_through_is_no_batch(method, types):
    assert not is_batch(method, types)


@pytest.mark.parametrize("name", ["a", "X-Y_z.1", "!#$%&'*+-.^_`|~"])
def test_a_token_is_taken(name):
    assert headers.check_token(name, "a name") == name


@pytest.mark.parametrize("name", ["", "a b", "a:", "é", "a\n", "a\r\nb", "(", None, b"a"])
def test_what_is_no_token_is_refused(name):
    with pytest.raises(LocalProtocolError, match="expected a name of letters"):
        headers.check_token(name, "a name")


@pytest.mark.parametrize("value", ["", "a b\tc", "é"])
def test_a_value_is_taken(value):
    assert headers.check_value(value, "a value") == value


@pytest.mark.parametrize("value", ["a\r\nb", "a\n", "\x00", "\x7f", "\x1b", "Ā", 5])
def test_what_a_header_cannot_carry_is_refused(value):
    with pytest.raises(LocalProtocolError, match="expected a value in Latin-1"):
        headers.check_value(value, "a value")


OURS = [
    *(
        "Sec-WebSocket-Extensions",
        "sec-websocket-accept",
        "SEC-WEBSOCKET-PROTOCOL",
        "Set-Meta-x",
        "set-meta-",
    ),
    *(
        "Grip-Hold",
        "grip-sig",
        "Keep-Alive-Interval",
        "Connection",
        "Upgrade",
        "Transfer-Encoding",
        "Trailer",
    ),
    *("Content-Type", "content-length", "Content-Encoding"),
]


@pytest.mark.parametrize("name", OURS)
def test_a_header_of_the_protocol_cannot_be_accepted_with(name):
    with pytest.raises(LocalProtocolError, match=f"application's own to accept with, got {name}"):
        headers.accept_headers([(b"X-Fine", b"1"), (name.encode(), b"x")])


def test_the_cure_for_a_subprotocol_header_is_named():
    with pytest.raises(LocalProtocolError, match="pass subprotocol= instead"):
        headers.accept_headers([(b"Sec-WebSocket-Protocol", b"chat")])


@pytest.mark.parametrize("name", ["Set-Meta-x", "GRIP-HOLD", "keep-alive-interval", "connection", "transfer-encoding"])
def test_a_header_of_the_protocol_cannot_be_rejected_with(name):
    with pytest.raises(LocalProtocolError, match=f"application's own to reject with, got {name.lower()}"):
        headers.reject_headers([(name.encode(), b"x")])


def test_a_rejection_has_a_content_type_and_no_length():
    assert headers.reject_headers([(b"Content-Length", b"9")]) == [("Content-Type", "text/plain")]
    assert headers.reject_headers([(b"CONTENT-TYPE", b"a/b")]) == [("CONTENT-TYPE", "a/b")]


@pytest.mark.parametrize("check", [headers.accept_headers, headers.reject_headers])
@pytest.mark.parametrize(
    "pair",
    [
        (b"a", b"x\r\nSet-Cookie: y"),
        (b"a\r\nb", b"x"),
        (b"a b", b"x"),
        (b"", b"x"),
        (b"a", b"\x00"),
        ("a", b"x"),
        (b"a", "x"),
    ],
)
def test_a_malformed_header_is_refused_wherever_it_goes(check, pair):
    with pytest.raises(LocalProtocolError, match=r"expected (a )?header"):
        check([pair])
