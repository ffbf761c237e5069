from __future__ import annotations

import jwt
import pytest

from grip_consumers.embedded.handshake import (
    Signer,
    client_headers,
    extension_prefix,
    passed_on,
    request_headers,
    set_meta,
)

from .rig import KEY


def test_repeated_headers_keep_their_order_and_number() -> None:
    handshake = [
        (b"host", b"h"),
        (b"x-my", b"1"),
        (b"connection", b"Upgrade"),
        (b"x-my", b"2"),
        (b"cookie", b"c"),
    ]
    assert passed_on(handshake) == [(b"host", b"h"), (b"x-my", b"1"), (b"x-my", b"2"), (b"cookie", b"c")]


@pytest.mark.parametrize(
    "name",
    [b"meta-user", b"grip-sig", b"grip-anything", b"connection-id", b"accept", b"upgrade", b"content-length"],
)
def test_a_client_cannot_send_what_belongs_to_the_proxy(name: bytes) -> None:
    assert passed_on([(name, b"evil")]) == []


def test_the_headers_of_a_batch_come_in_pushpins_order() -> None:
    headers = request_headers([(b"host", b"h")], connection_id="id", meta={b"a": b"1"}, signature=b"token", length=12)
    assert [name for name, _ in headers] == [
        b"host",
        b"sec-websocket-extensions",
        b"grip-sig",
        b"grip-feature",
        b"accept",
        b"connection-id",
        b"content-type",
        b"meta-a",
        b"content-length",
    ]
    assert headers[-1] == (b"content-length", b"12")


def test_one_token_serves_a_second_and_expires_in_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000.2]
    monkeypatch.setattr("grip_consumers.embedded.handshake.time.time", lambda: now[0])
    signer = Signer(KEY, "me")
    first = signer.token()
    now[0] = 1_000_000.9
    assert signer.token() is first
    now[0] = 1_000_001.0
    claims = jwt.decode(signer.token(), KEY, algorithms=["HS256"], options={"verify_exp": False})
    assert claims == {"iss": "me", "exp": 1_003_601}


def test_a_rejection_shows_more_than_an_acceptance() -> None:
    headers = [
        (b"Content-Type", b"text/plain"),
        (b"Set-Meta-x", b"1"),
        (b"Content-Length", b"2"),
        (b"X-Own", b"y"),
    ]
    assert client_headers(headers, accepted=True) == [(b"X-Own", b"y")]
    assert client_headers(headers, accepted=False) == [headers[0], headers[1], headers[3]]


def test_meta_names_are_compared_without_case() -> None:
    assert set_meta([(b"Set-Meta-Color", b"x"), (b"set-meta-", b"y"), (b"Meta-z", b"z")]) == [(b"color", b"x")]


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        (b"grip", "m:"),
        (b'grip; message-prefix=""', ""),
        (b"grip;message-prefix=x:", "x:"),
        (b"other, grip", "m:"),
        (b"permessage-deflate", None),
        (b"gripping", None),
    ],
)
def test_the_extension_names_the_message_prefix(value: bytes, prefix: str | None) -> None:
    assert extension_prefix([(b"Sec-WebSocket-Extensions", value)]) == prefix
