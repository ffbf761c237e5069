"""Invariant: whatever the token, only RemoteProtocolError with status hint 403 may come out of
`Verifier.verify`, and a token passes only if a key of ours signed it. Signed nonsense is refused like any
other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sys

from hypothesis import example, given, settings
from hypothesis import strategies as st

from grip_consumers.protocol import Key, RemoteProtocolError, Verifier
from tests.fuzz.runner import main

NOW = 1_000.0
SECRET = b"a secret that is long enough for HS256"
KEYS = [Key.parse(SECRET, "pushpin"), Key.parse(b"another secret, just as long as that one")]


def sign(header: bytes, payload: bytes) -> bytes:
    signing = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    digest = hmac.new(SECRET, signing, hashlib.sha256).digest()
    return signing + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")


HEADER = b'{"alg":"HS256"}'
GOOD = sign(HEADER, b'{"iss":"pushpin","exp":2000}')
SEEDS = [
    GOOD,
    sign(b'{"alg":"none"}', b'{"exp":2000}'),
    b".",
    b"=",
    b"-",
    HEADER,
    b'{"iss":"pushpin","exp":1e9}',
    b"NaN",
]


def passes(token: bytes) -> bool:
    problem = None
    try:
        Verifier(KEYS).verify(token.decode("utf-8", "surrogateescape"), NOW)
    except RemoteProtocolError as error:
        problem = error
    assert problem is None or problem.status_hint == 403
    return problem is None


def fuzz_one(data: bytes) -> None:
    # PyJWT overlooks base64 padding ("=") at the end of a part, which is no part of what is signed there.
    assert not passes(data) or data.rstrip(b"=") == GOOD
    header, _, payload = data.partition(b"\n")
    passes(sign(header, payload))
    passes(sign(HEADER, data))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
@example(GOOD)
@example(b'{"alg":"HS256","crit":["b64"],"b64":false}\n')
@example(b'{"alg":"HS256","kid":5}\n{"exp":1e999}')
@example(b"[" * 3_000)
@example(b'{"exp":' + b"9" * 5_000 + b"}")
def test_only_403_comes_out_of_any_token(data):
    fuzz_one(data)


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({"exp": values}, optional={"iss": values, "nbf": values, "iat": values}))
def test_only_403_comes_out_of_any_signed_claims(claims):
    passes(sign(HEADER, json.dumps(claims).encode()))


if __name__ == "__main__":
    main(fuzz_one, SEEDS, sys.argv[1:])
