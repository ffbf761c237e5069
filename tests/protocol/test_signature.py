from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import threading

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from grip_consumers.protocol import Key, LocalProtocolError, RemoteProtocolError, Verifier, signature

NOW = 1_000_000.0
SECRET = b"a secret that is long enough for HS256"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def public_pem(private) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(private) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def claims(**changes):
    return {"iss": "pushpin", "exp": NOW + 3600, **changes}


def by_hand(header: object, payload: object, key: bytes) -> str:
    """A token with whatever header, signed as HS256: PyJWT would refuse to make some of these."""
    parts = [header, payload]
    texts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
    signing = b".".join(base64.urlsafe_b64encode(text).rstrip(b"=") for text in texts)
    digest = hmac.new(key, signing, hashlib.sha256).digest()
    return (signing + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


def hs256(payload: object, key: bytes = SECRET) -> str:
    return by_hand({"alg": "HS256", "typ": "JWT"}, payload, key)


def verifier(*keys) -> Verifier:
    return Verifier(keys or [Key.parse(SECRET)])


def refused(token, words, *keys, now=NOW):
    with pytest.raises(RemoteProtocolError, match=words) as caught:
        verifier(*keys).verify(token, now)
    assert caught.value.status_hint == 403
    return str(caught.value)


# Keys


@pytest.mark.parametrize("value", [SECRET, SECRET.decode(), "changeme", b"\xff\x00"])
def test_a_secret_means_hs256(value):
    assert Key.parse(value).algorithm == "HS256"


@pytest.mark.parametrize(("private", "algorithm"), [(EC_KEY, "ES256"), (RSA_KEY, "RS256")])
def test_a_public_key_means_its_own_algorithm(private, algorithm):
    pem = public_pem(private)
    for value in (pem, pem.encode(), "\n  " + pem + "\n"):
        assert Key.parse(value).algorithm == algorithm


@pytest.mark.parametrize(
    "value",
    [
        "",
        b"",
        private_pem(EC_KEY),
        private_pem(RSA_KEY),
        public_pem(ec.generate_private_key(ec.SECP384R1())),
        public_pem(ed25519.Ed25519PrivateKey.generate()),
        "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        RSA_KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    ],
    ids=range(9),
)
def test_a_key_of_another_kind_is_refused_rather_than_taken_for_a_secret(value):
    with pytest.raises(LocalProtocolError, match=r"^expected a"):
        Key.parse(value)


@pytest.mark.parametrize("issuer", ["", 5, b"x"])
def test_an_issuer_is_text_or_none(issuer):
    with pytest.raises(LocalProtocolError, match="expected an issuer"):
        Key.parse(SECRET, issuer)


def test_a_key_does_not_show_its_secret():
    assert "secret" not in repr(Key.parse(SECRET))


# Tokens that pass


@pytest.mark.parametrize(
    ("private", "algorithm", "value"),
    [
        (SECRET, "HS256", SECRET),
        (EC_KEY, "ES256", public_pem(EC_KEY)),
        (RSA_KEY, "RS256", public_pem(RSA_KEY)),
    ],
)
def test_a_token_of_the_right_key_yields_its_claims(private, algorithm, value):
    token = jwt.encode(claims(), private, algorithm=algorithm)
    assert verifier(Key.parse(value)).verify(token, NOW) == claims()


def test_a_short_secret_verifies_without_a_warning():
    assert verifier(Key.parse("changeme")).verify(hs256(claims(), b"changeme"), NOW) == claims()


def test_any_of_several_keys_may_have_signed():
    keys = [
        Key.parse("other"),
        Key.parse(public_pem(RSA_KEY)),
        Key.parse(SECRET),
        Key.parse(public_pem(EC_KEY)),
    ]
    for token in (
        hs256(claims()),
        jwt.encode(claims(), EC_KEY, "ES256"),
        jwt.encode(claims(), RSA_KEY, "RS256"),
    ):
        assert verifier(*keys).verify(token, NOW)["iss"] == "pushpin"


def test_claims_that_do_not_concern_us_are_left_alone():
    odd = claims(aud="somebody", sub=5, jti=6)
    assert verifier().verify(hs256(odd), NOW) == odd


# Tokens that do not


def test_a_token_of_another_key_is_refused():
    refused(hs256(claims(), b"another"), "signed with one of 1 keys, got InvalidSignatureError")
    refused(jwt.encode(claims(), EC_KEY, "ES256"), "InvalidAlgorithmError")
    other = ec.generate_private_key(ec.SECP256R1())
    refused(jwt.encode(claims(), other, "ES256"), "InvalidSignatureError", Key.parse(public_pem(EC_KEY)))


@pytest.mark.parametrize("private", [EC_KEY, RSA_KEY])
def test_the_text_of_a_public_key_is_no_secret(private):
    pem = public_pem(private).encode()
    der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip(), der):
        refused(hs256(claims(), secret), "InvalidAlgorithmError", Key.parse(pem))
    refused(hs256(claims(), pem), "signed with one of 2 keys", Key.parse(pem), Key.parse(SECRET))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, "HS384", "hs256", "ES256", 5, ["HS256"], {}])
def test_the_token_does_not_choose_its_algorithm(algorithm):
    refused(by_hand({"alg": algorithm}, claims(), SECRET), "signed with one of 1 keys")


def test_an_unsigned_token_is_refused():
    unsigned = jwt.encode(claims(), None, algorithm="none")
    for token in (unsigned, unsigned + "AAAA", hs256(claims()).rsplit(".", 1)[0] + "."):
        refused(token, "signed with one of 1 keys")


def test_a_changed_token_is_refused():
    head, _, tail = hs256(claims()).split(".")
    body = hs256(claims(exp=NOW + 10**6)).split(".")[1]
    refused(f"{head}.{body}.{tail}", "InvalidSignatureError")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "\ud800",
        "x" * 8_193,
        None,
        b"a.b.c",
        "bnVsbA.bnVsbA.AA",
    ],
)
def test_what_is_no_token_is_refused_and_not_quoted(token):
    message = refused(token, "Grip-Sig refused: expected a token")
    assert "xxx" not in message


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"[]", b"null", b'"x"', b"\xff", b"[" * 5_000])
def test_a_signed_payload_that_is_no_object_is_refused(payload):
    refused(hs256(payload), "JSON object")


def test_without_keys_every_token_is_refused():
    with pytest.raises(RemoteProtocolError, match="expected a key to verify it with, got none"):
        Verifier([]).verify(hs256(claims()), NOW)


# Issuers


@pytest.mark.parametrize("issuer", ["fastly:1", "", None, 5, ["pushpin"], "\ud800"])
def test_a_token_of_another_issuer_is_refused(issuer):
    refused(hs256(claims(iss=issuer)), "expected the issuer 'pushpin', got", Key.parse(SECRET, "pushpin"))


def test_a_missing_issuer_is_refused_where_one_is_expected_and_fine_elsewhere():
    token = hs256({"exp": NOW + 1})
    refused(token, "expected the issuer 'pushpin', got None", Key.parse(SECRET, "pushpin"))
    assert verifier().verify(token, NOW) == {"exp": NOW + 1}


def test_each_key_has_its_own_issuer():
    keys = [Key.parse(SECRET, "a"), Key.parse(SECRET, "b")]
    assert verifier(*keys).verify(hs256(claims(iss="b")), NOW)["iss"] == "b"


# Time


@pytest.mark.parametrize("exp", [NOW, NOW - 0.5, NOW - 3600, 0, -1])
def test_an_expired_token_is_refused(exp):
    refused(hs256(claims(exp=exp)), "unexpired token, got one that expired")


@pytest.mark.parametrize("exp", [None, "never", "1000000000", True, [], math.nan, math.inf, 10**400, 1e300])
def test_an_expiry_that_is_no_time_is_refused(exp):
    refused(hs256(claims(exp=exp)), "the claim exp as a number of seconds")


def test_a_token_without_expiry_is_refused():
    refused(hs256({"iss": "pushpin"}), "the claim exp as a number of seconds, got None")


def test_a_clock_that_tells_no_time_refuses():
    refused(hs256(claims()), "unexpired token", now=math.nan)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused_beyond_a_minute(name):
    assert verifier().verify(hs256(claims(**{name: NOW + 60})), NOW)
    refused(hs256(claims(**{name: NOW + 61})), "valid already, got one that begins in 61 s")
    refused(hs256(claims(**{name: "soon"})), f"the claim {name} as a number")


def test_a_grace_lets_an_expired_token_pass_for_so_long():
    token = hs256(claims(exp=NOW - 100))
    assert verifier().verify(token, NOW, grace=101)
    with pytest.raises(RemoteProtocolError, match="expired 100 s ago"):
        verifier().verify(token, NOW, grace=100)


# Remembering


def counting(monkeypatch) -> list[str]:
    seen: list[str] = []
    examine = Verifier._examine

    def spy(self, token):
        seen.append(token)
        return examine(self, token)

    monkeypatch.setattr(Verifier, "_examine", spy)
    return seen


def test_a_repeated_token_is_examined_once_and_still_expires(monkeypatch):
    seen = counting(monkeypatch)
    subject, token = verifier(), hs256(claims())
    assert subject.verify(token, NOW) == subject.verify(token, NOW + 3599) == claims()
    assert seen == [token]
    with pytest.raises(RemoteProtocolError, match="expired 0 s ago"):
        subject.verify(token, NOW + 3600)


def test_a_refused_token_is_not_remembered(monkeypatch):
    seen = counting(monkeypatch)
    subject = verifier()
    for token in (hs256(claims(), b"other"), hs256(claims(exp=NOW - 1))):
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                subject.verify(token, NOW)
    assert len(seen) == 4


def test_a_callers_changes_do_not_reach_the_next():
    subject, token = verifier(), hs256(claims())
    subject.verify(token, NOW)["iss"] = "forged"
    assert subject.verify(token, NOW) == claims()


def test_the_memory_is_bounded_and_drops_the_oldest(monkeypatch):
    monkeypatch.setattr(signature, "_REMEMBERED_MAX", 3)
    seen = counting(monkeypatch)
    subject = verifier()
    tokens = [hs256(claims(jti=str(number))) for number in range(5)]
    for token in [*tokens, tokens[4], tokens[0]]:
        subject.verify(token, NOW)
    assert seen == [*tokens, tokens[0]]
    assert len(subject._remembered) == 3


def test_threads_may_share_a_verifier(monkeypatch):
    monkeypatch.setattr(signature, "_REMEMBERED_MAX", 4)
    subject = verifier()
    tokens = [hs256(claims(jti=str(number))) for number in range(8)]
    results: list[str] = []

    def work() -> None:
        for _ in range(20):
            results.extend(subject.verify(token, NOW)["jti"] for token in tokens)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4 * 20 * 8
    assert len(subject._remembered) <= 4
