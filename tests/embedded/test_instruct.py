from __future__ import annotations

import json
from typing import Any

import pytest

from grip_consumers.embedded.instruct import Channel, InstructError, is_instructed, read_instruct, without_grip

INSTRUCT = ("Content-Type", "application/grip-instruct")


def encoded(*headers: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def read(*headers: tuple[str, str], body: bytes = b"", status: int = 200) -> Any:
    return read_instruct(status, encoded(*headers), body)


def read_json(status: int = 200, **document: Any) -> Any:
    return read(INSTRUCT, body=json.dumps(document).encode(), status=status)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], False),
        ([("grip-channel", "a"), ("Grip-Status", "304")], False),
        ([("grip-hold", "stream")], True),
        ([("Grip-Link", "</>; rel=next")], True),
        ([INSTRUCT], True),
        ([("Content-Type", "application/grip-instruct; charset=utf-8")], True),
    ],
    ids=["nothing", "no hold", "hold", "link", "body", "body with parameters"],
)
def test_a_hold_a_link_or_a_body_of_its_own_type_instructs(headers: Any, expected: bool) -> None:
    assert is_instructed(encoded(*headers)) is expected


def test_no_header_for_the_proxy_is_left() -> None:
    headers = encoded(("Grip-Hold", "stream"), ("X-A", "1"), ("grip-x", "y"))
    assert without_grip(headers) == [(b"X-A", b"1")]


def test_channels_come_with_ids_and_filters_in_one_header_or_several() -> None:
    instruct = read(
        ("Grip-Hold", "stream"),
        ("Grip-Channel", 'a; prev-id=1; filter=skip-self; filter="build-id", grüße'),
        ("grip-channel", "c;prev-id="),
    )
    assert instruct.channels == (Channel("a", "1", ("skip-self", "build-id")), Channel("grüße"), Channel("c", ""))


def test_a_channel_may_have_an_equals_sign_in_its_name() -> None:
    instruct = read(("Grip-Hold", "stream"), ("Grip-Channel", "user=5; prev-id=a=b, a = b, c="))
    assert instruct.channels == (Channel("user=5", "a=b"), Channel("a = b"), Channel("c="))


def test_meta_data_may_be_quoted() -> None:
    instruct = read(("Grip-Set-Meta", r'user=joe, id_format="a,b;\"c\\"'), ("Grip-Set-Meta", "more"))
    assert instruct.meta == {"user": "joe", "id_format": 'a,b;"c\\', "more": ""}


def test_a_link_has_its_whole_query_and_the_first_one_counts() -> None:
    instruct = read(
        ("Grip-Link", "</gone>; rel=gone, </x?a=b&c=d>; rel=next; timeout=7"), ("Grip-Link", "</y>; rel=next")
    )
    assert (instruct.mode, instruct.link, instruct.link_timeout) == ("", "/x?a=b&c=d", 7)
    assert read(("Grip-Link", "</y>; rel=next")).link_timeout == 120


def test_what_is_not_said_has_pushpins_defaults() -> None:
    instruct = read(("Grip-Hold", "response"), ("Content-Length", "1"), ("X-A", "1"), body=b"x", status=404)
    assert (instruct.status, instruct.headers, instruct.body) == (404, [(b"X-A", b"1")], b"x")
    assert (instruct.timeout, instruct.keep_alive_timeout, instruct.link, instruct.link_timeout) == (55, None, "", None)
    assert read(("Grip-Keep-Alive", "x")).keep_alive_timeout == 55
    assert read(("Grip-Timeout", "2")).timeout == 5


@pytest.mark.parametrize(
    ("value", "data", "idle"),
    [
        ("a b", b"a b", True),
        ("a=b; mode=interval", b"a=b", False),
        (r"\\\r\n\x00\xff\t; format=cstring; mode=idle", b"\\\r\n\x00\xff", True),
        ("AP8=; format=base64", b"\x00\xff", True),
    ],
    ids=["raw", "interval", "cstring", "base64"],
)
def test_a_keep_alive_has_forms_for_any_bytes(value: str, data: bytes, idle: bool) -> None:
    instruct = read(("Grip-Keep-Alive", value))
    assert (instruct.keep_alive, instruct.keep_alive_idle) == (data, idle)


@pytest.mark.parametrize(
    "header",
    [
        ("Grip-Hold", "STREAM"),
        ("Grip-Timeout", "-1"),
        ("Grip-Status", "20"),
        ("Grip-Status", "OK"),
        ("Grip-Channel", '"a'),
        ("Grip-Link", "/x; rel=next"),
        ("Grip-Link", "</x>; rel=next; timeout=soon"),
        ("Grip-Keep-Alive", "; timeout=5"),
        ("Grip-Keep-Alive", "x; format=hex"),
        ("Grip-Keep-Alive", "x; mode=odd"),
        ("Grip-Keep-Alive", "x\\; format=cstring"),
        ("Grip-Keep-Alive", "!!; format=base64"),
        ("Grip-Keep-Alive", "x; timeout=1.5"),
    ],
    ids=": ".join,
)
def test_a_malformed_header_is_an_error(header: tuple[str, str]) -> None:
    with pytest.raises(InstructError, match="expected"):
        read(header)


def test_the_body_says_what_the_headers_can_say() -> None:
    hold = {
        "mode": "stream",
        "channels": [{"name": "a", "prev-id": "1", "filters": ["skip-self"]}],
        "timeout": 9,
        "meta": {"user": "joe"},
        "keep-alive": {"content": "é", "timeout": 3},
    }
    response = {"code": 299, "reason": "Fine", "headers": {"X-A": "1"}, "body-bin": "AP8="}
    instruct = read_json(hold=hold, response=response)
    assert (instruct.mode, instruct.channels) == ("stream", (Channel("a", "1", ("skip-self",)),))
    assert (instruct.timeout, instruct.meta) == (9, {"user": "joe"})
    assert (instruct.keep_alive, instruct.keep_alive_timeout) == ("é".encode(), 3)
    assert (instruct.status, instruct.reason) == (299, "Fine")
    assert (instruct.headers, instruct.body) == ([(b"X-A", b"1")], b"\x00\xff")


def test_a_body_without_a_mode_holds_the_response_and_its_own_content_is_not_shown() -> None:
    instruct = read_json(hold={"channels": []})
    assert (instruct.mode, instruct.headers, instruct.body) == ("response", [], b"")


@pytest.mark.parametrize(
    "document",
    [
        {"hold": []},
        {"hold": {"mode": "odd", "channels": []}},
        {"hold": {"mode": "stream"}},
        {"hold": {"channels": ["a"]}},
        {"hold": {"channels": [{"name": "a", "prev-id": 5}]}},
        {"hold": {"channels": [], "timeout": -1}},
        {"response": "x"},
        {"response": {"code": True}},
        {"response": {"headers": "X-A: 1"}},
        {"response": {"headers": [["X-A"]]}},
        {"response": {"body-bin": "!!"}},
    ],
    ids=json.dumps,
)
def test_a_malformed_body_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(InstructError, match="expected"):
        read_json(**document)


@pytest.mark.parametrize(("status", "body"), [(201, b"{}"), (200, b"{"), (200, b"[]")])
def test_a_body_must_be_an_object_with_status_200(status: int, body: bytes) -> None:
    with pytest.raises(InstructError, match="expected application/grip-instruct"):
        read(INSTRUCT, body=body, status=status)
