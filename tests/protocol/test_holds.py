from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grip_consumers.protocol import Channel, Hold, LocalProtocolError, RemoteProtocolError, parse_last
from grip_consumers.protocol.holds import HEADER_MAX

ONE = (Channel("a"),)


def made(mode="stream", channels=ONE, **values):
    return Hold(mode, channels, **values)


def headers(**values):
    return dict(made(**values).headers())


def test_the_least_hold_has_its_mode_and_its_channel():
    assert made().headers() == [("Grip-Hold", "stream"), ("Grip-Channel", "a")]


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"mode": "response"}, "Grip-Hold", "response"),
        (
            {"channels": [Channel("a", "7", ("skip-self", "skip-users")), Channel("b c", "1=")]},
            "Grip-Channel",
            "a; prev-id=7; filter=skip-self; filter=skip-users, b c; prev-id=1=",
        ),
        ({"channels": [Channel("é")]}, "Grip-Channel", "é".encode().decode("latin-1")),
        ({"timeout": 30}, "Grip-Timeout", "30"),
        ({"keep_alive": b"\n"}, "Grip-Keep-Alive", "\\n; format=cstring"),
        (
            {"keep_alive": b": x=y\r\n", "keep_alive_timeout": 20},
            "Grip-Keep-Alive",
            ": x=y\\r\\n; format=cstring; timeout=20",
        ),
        ({"keep_alive": b"a;b"}, "Grip-Keep-Alive", "YTti; format=base64"),
        ({"next_link": "/next?a=1&b=%20"}, "Grip-Link", "</next?a=1&b=%20>; rel=next"),
        ({"next_link": "/n?a=1,2;3", "next_link_timeout": 5}, "Grip-Link", "</n?a=1%2C2%3B3>; rel=next; timeout=5"),
        ({"meta": {"user": 'a"b\\', "x": "1, 2"}}, "Grip-Set-Meta", 'user="a\\"b\\\\", x="1, 2"'),
        ({"meta": {"user": "é"}}, "Grip-Set-Meta", 'user="Ã©"'),
        ({"status": 304}, "Grip-Status", "304"),
    ],
)
def test_each_part_has_its_header(values, name, expected):
    assert headers(**values)[name] == expected


def test_a_response_that_is_not_held_may_name_where_it_goes_on():
    assert made("", (), next_link="/b").headers() == [("Grip-Link", "</b>; rel=next")]


@given(st.binary(min_size=1, max_size=300))
def test_keep_alive_data_comes_out_as_it_was(data):
    """Read as Pushpin was measured to read it: up to the first semicolon, `\\r` and `\\n` for line breaks."""
    value, _, form = headers(keep_alive=data)["Grip-Keep-Alive"].partition("; format=")
    assert ";" not in value
    assert value == value.strip()
    if form == "base64":
        assert b64decode(value) == data
    else:
        assert value.replace("\\n", "\n").replace("\\r", "\r").encode("ascii") == data
        assert value.isprintable()


@given(st.text(min_size=1, max_size=30))
def test_no_text_adds_a_header_a_channel_or_a_parameter(text):
    for make in (
        lambda: made(channels=[Channel(text)]),
        lambda: made(channels=[Channel("a", text)]),
        lambda: made(channels=[Channel("a", None, (text,))]),
        lambda: made(next_link=text),
        lambda: made(meta={"user": text}),
        lambda: made(meta={text: "x"}),
    ):
        try:
            pairs = make().headers()
        except LocalProtocolError:
            continue
        for name, value in pairs:
            value.encode("latin-1")
            assert not set(value) & set("\r\n\0")
            if name == "Grip-Channel":
                assert value.count(";") <= 1
                assert "," not in value


@pytest.mark.parametrize(
    ("make", "words"),
    [
        *[
            (lambda bad=bad: Channel(bad), "expected a channel name")
            for bad in ("", " a", "a ", "a,b", "a;b", 'a"', "a\r\nX: y", "a\0", "a\x7f", "a\x85", "\ud800", b"a", None)
        ],
        (lambda: Channel("a", "1, b"), "expected a previous id"),
        (lambda: Channel("a", ""), "expected a previous id"),
        (lambda: Channel("a", "1\n2"), "expected a previous id"),
        (lambda: Channel("a", 1), "expected a previous id of type str"),
        (lambda: Channel("a", None, ("x; y",)), "expected a filter name"),
        (lambda: Channel("a", None, "skip-self"), "expected a list or tuple for a filter name each, got str"),
        (lambda: made("held"), "expected the mode"),
        (lambda: made(channels=()), "expected a channel to hold a stream for"),
        (lambda: made(channels=["a"]), "expected channels of type Channel, got str"),
        (lambda: made(timeout=0), "expected a timeout in seconds"),
        (lambda: made(timeout=True), "expected a timeout in seconds"),
        (lambda: made(timeout="5\r\nX: y"), "expected a timeout in seconds"),
        (lambda: made("", timeout=5), "expected a hold with a timeout"),
        (lambda: made(keep_alive="text"), "expected the data of a keep-alive of type bytes"),
        (lambda: made(keep_alive_timeout=5), "expected the data of a keep-alive with"),
        (lambda: made(keep_alive=b"x", keep_alive_timeout=-1), "expected a keep-alive's seconds"),
        (lambda: made(next_link_timeout=5), "expected a next link with"),
        *[
            (lambda bad=bad: made(next_link=bad), "expected a next link of the characters of a URI")
            for bad in ("/a b", "/a>; rel=x", "/\r\nX: y", "/é", '/"', "/a\\b", b"/a")
        ],
        (lambda: made(meta={"a b": "x"}), "expected a meta name"),
        (lambda: made(meta={"a": "x\ny"}), "expected the meta value of a without controls"),
        (lambda: made(meta={"a": 1}), "expected the meta value of a of type str"),
        (lambda: made(status=199), "expected a status"),
        (lambda: made(channels=[Channel("x" * HEADER_MAX + "x")]), "expected Grip-Channel of at most"),
        (lambda: made(keep_alive=b"x" * (HEADER_MAX + 1)), "expected Grip-Keep-Alive of at most"),
    ],
)
def test_what_would_corrupt_a_header_cannot_exist(make, words):
    with pytest.raises(LocalProtocolError, match=words):
        make()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a; last-id=1"], {"a": "1"}),
        (["a; last-id=1, b;last-id=2=3", "c; last-id="], {"a": "1", "b": "2=3", "c": ""}),
        (["Ã©; last-id=Ã©"], {"é": "é"}),
    ],
)
def test_the_last_ids_come_by_channel(values, expected):
    assert parse_last(values) == expected


def test_what_a_hold_names_is_read_back():
    (name, value), *_ = made("", [Channel("é =b", "7:é")]).headers()
    assert name == "Grip-Channel"
    assert parse_last([value.replace("prev-id", "last-id")]) == {"é =b": "7:é"}


@pytest.mark.parametrize(
    "value",
    ["", "a", "a; last-id", "a; x=1", "; last-id=1", "a; last-id=1,", "a; last-id=1, a; last-id=2", "a; last-id=\x00",
     "a; last-id=1; x=2", "\xff; last-id=1", "Ā; last-id=1", 'a"; last-id=1'],
)  # fmt: skip
def test_a_malformed_list_of_last_ids_is_refused(value):
    with pytest.raises(RemoteProtocolError):
        parse_last([value])
