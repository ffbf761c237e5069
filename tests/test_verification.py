from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.exceptions import ImproperlyConfigured

from grip_consumers import discovery, verification
from grip_consumers.conf import Proxy, Settings
from grip_consumers.protocol import RemoteProtocolError

EC, RSA = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65_537, 2_048)
HS = "a shared secret of thirty-two bytes"


def pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


KEYS = [("HS256", HS, HS), ("ES256", EC, pem(EC)), ("RS256", RSA, pem(RSA))]
PROXIES = tuple(Proxy(f"http://{name}", verify_key=key, verify_iss=name) for name, _, key in KEYS)
SETTINGS = Settings(proxies=PROXIES, secrets=("s",))


def token(algorithm: str, key: Any, **claims: Any) -> str:
    return jwt.encode({"exp": int(time.time()) + 60, "iss": algorithm, **claims}, key, algorithm=algorithm)


@pytest.fixture(autouse=True)
def _new_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_throttle", verification._Throttle())


def refused(signature: str | None, settings: Settings = SETTINGS) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        verification.verify(signature, settings)
    assert caught.value.status_hint == 403
    return str(caught.value)


@pytest.mark.parametrize(("algorithm", "key", "_public"), KEYS, ids=lambda value: str(value)[:5])
def test_each_proxy_is_verified_with_its_own_key_and_issuer(algorithm: str, key: Any, _public: Any) -> None:
    verification.verify(token(algorithm, key), SETTINGS)
    for others in PROXIES:
        if others.verify_iss != algorithm:
            refused(token(algorithm, key, iss=others.verify_iss))
    refused(token(algorithm, key, iss="somebody"))


def test_a_key_without_an_issuer_takes_any() -> None:
    verification.verify(token("HS256", HS, iss="anybody"), Settings(proxies=(Proxy("http://h", verify_key=HS),)))


@pytest.mark.parametrize(("algorithm", "key", "_public"), KEYS, ids=lambda value: str(value)[:5])
def test_an_expired_signature_is_refused(algorithm: str, key: Any, _public: Any) -> None:
    assert "unexpired" in refused(token(algorithm, key, exp=int(time.time()) - 1))


def test_a_signature_that_was_good_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    signature = token("HS256", HS)
    verification.verify(signature, SETTINGS)
    later = time.time() + 61
    monkeypatch.setattr(verification.time, "time", lambda: later)
    assert "unexpired" in refused(signature)


@pytest.mark.parametrize("signature", [None, "", "x", "a.b.c"])
def test_a_batch_without_a_signature_is_refused(signature: str | None) -> None:
    assert refused(signature)


def test_a_signature_of_a_wrong_key_is_refused() -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    assert refused(token("ES256", stranger))
    assert refused(token("HS256", "another secret of thirty-two bytes!"))


def test_a_public_key_is_no_shared_secret() -> None:
    head, claims = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"exp": int(time.time()) + 60, "iss": "ES256"})
    )
    mac = hmac.digest(pem(EC), head + b"." + claims, hashlib.sha256)
    forged = b".".join((head, claims, base64.urlsafe_b64encode(mac).rstrip(b"="))).decode()
    assert refused(forged)


def test_an_unsigned_token_is_refused() -> None:
    assert refused(token("none", None, iss="HS256"))


def test_the_embedded_proxy_is_believed_beside_the_configured_ones() -> None:
    signature = token("HS256", discovery.signing_key(), iss=discovery.ISSUER)
    verification.verify(signature, SETTINGS)
    assert refused(token("HS256", discovery.signing_key(), iss="HS256"))


def test_without_any_key_everything_passes() -> None:
    for settings in (Settings(), Settings(proxies=()), Settings(proxies=(Proxy("http://h"),))):
        verification.verify(None, settings)
        verification.verify("anything", settings)


def test_a_proxy_without_a_key_does_not_open_the_door_that_another_one_closes() -> None:
    settings = Settings(proxies=(Proxy("http://h"), PROXIES[0]))
    verification.verify(token("HS256", HS), settings)
    assert refused(None, settings)


def test_a_required_proxy_without_a_key_must_at_least_have_signed() -> None:
    settings = Settings(proxies=(Proxy("http://h"),), proxy_required=True)
    assert refused(None, settings) == "expected a Grip-Sig header, got none"
    verification.verify("cannot be checked", settings)


def test_a_key_that_is_none_is_told_with_its_proxy() -> None:
    settings = Settings(proxies=(Proxy("http://u:p@h", verify_key="-----BEGIN PUBLIC KEY-----\nx"),))
    with pytest.raises(ImproperlyConfigured, match="verify_key of the proxy http://h in GRIP_URL or GRIP_PROXIES: "):
        verification.verify("x", settings)


def test_a_warning_comes_at_most_once_a_minute_and_counts_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [5.0]
    monkeypatch.setattr(verification.time, "monotonic", lambda: clock[0])

    def refused_at(moment: float) -> None:
        clock[0] = moment
        refused(None)

    for moment in (5.0, 6.0, 64.9):
        refused_at(moment)
    assert len(caplog.records) == 1
    refused_at(65.0)
    refused_at(124.9)
    first, second = caplog.records
    assert (first.name, first.levelno) == ("grip_consumers.security", logging.WARNING)
    assert first.getMessage().startswith("Refused a batch of WebSocket events: expected a Grip-Sig header, got none.")
    assert "(and 2 more since the last warning)" in second.getMessage()
    assert "verify_iss do not match the proxy's sig_key and sig_iss" in second.getMessage()


def test_a_batch_that_passes_leaves_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    verification.verify(token("HS256", HS), SETTINGS)
    assert caplog.records == []


def test_a_token_is_never_quoted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    signature = token("HS256", HS, iss="stranger")
    refused(signature)
    assert signature not in caplog.text


def test_a_signature_is_good_or_not_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    key = "k" * 32
    settings = Settings(proxies=(Proxy("http://a", verify_key=key),), secrets=("s",))
    token = jwt.encode({"iss": "x", "exp": int(time.time()) + 60}, key)
    forged = jwt.encode({"iss": "x", "exp": int(time.time()) + 60}, "f" * 32)
    found = [verification.is_signed(value, settings) for value in (token, forged, "rubbish", "", None)]
    assert found == [True, False, False, False, False]
    assert caplog.messages == []


def test_only_a_farewell_may_be_signed_late() -> None:
    assert verification.grace_for(b"DISCONNECT\r\n") > 0
    assert verification.grace_for(b"DISCONNECT\r\nTEXT\r\n") == 0
