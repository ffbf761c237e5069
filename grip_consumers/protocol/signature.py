"""Verification of `Grip-Sig`: the JSON Web Token by which a proxy signs what it sends to the backend.

The algorithm follows from the key, never from the token: a PEM public key admits ES256 or RS256 by its kind,
anything else HS256. So a token that somebody signed with the text of a public key as an HMAC secret fails
(RFC 8725 §2.1). The time is passed in.
"""

from __future__ import annotations

import hmac
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import HMACAlgorithm

from .errors import LocalProtocolError, RemoteProtocolError

__all__ = ["Key", "Verifier"]

#: Seconds by which a proxy's clock may be ahead, for `nbf` and `iat`; `exp` is meant as it says.
_CLOCK_SKEW = 60
_TOKEN_MAX = 8_192
_REMEMBERED_MAX = 1_024

_Prepared: TypeAlias = "bytes | EllipticCurvePublicKey | RSAPublicKey"


class _PreparedHMAC(HMACAlgorithm):
    """HS256 over a key that `Key.parse` has examined.

    PyJWT would look for PEM, DER and certificates in it again for every token, and warn of every short one;
    whether a configured secret is long enough is a question for a check at start.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key.encode() if isinstance(key, str) else key

    def check_key_length(self, key: bytes) -> None:
        return None


def _make_jws() -> jwt.PyJWS:
    jws = jwt.PyJWS(algorithms=["ES256", "RS256"])
    jws.register_algorithm("HS256", _PreparedHMAC(HMACAlgorithm.SHA256))
    return jws


_jws = _make_jws()


@dataclass(frozen=True)
class Key:
    """A key that a proxy's tokens are verified with; made by `Key.parse`.

    Attributes:
        algorithm: HS256, ES256 or RS256.
        issuer: what the token's `iss` must be, or None if any will do.
    """

    algorithm: str
    issuer: str | None
    prepared: _Prepared = field(repr=False)

    @classmethod
    def parse(cls, value: str | bytes, issuer: str | None = None) -> Key:
        """Return the key that `value` holds: a PEM public key (ES256 or RS256 by its kind), or a secret
        (HS256).

        Args:
            value: PEM text or the secret itself, already freed of a `base64:` prefix.
            issuer: the expected `iss`, compared in constant time.

        Raises:
            LocalProtocolError: the value is empty, or a key of a kind with which nothing can be verified
                here: a private key, a certificate, a curve other than P-256, …
        """
        data = value.encode() if isinstance(value, str) else bytes(value)
        if issuer is not None and (not isinstance(issuer, str) or not issuer):
            msg = f"expected an issuer of one or more characters or None, got {issuer!r}"
            raise LocalProtocolError(msg)
        if b"-----BEGIN " in data:
            algorithm, key = _public_key(data)
            return cls(algorithm, issuer, key)
        return cls("HS256", issuer, _secret(data))


def _secret(data: bytes) -> bytes:
    try:
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(data) or _refuse_key("it is empty")
    except jwt.InvalidKeyError as error:
        msg = f"expected a secret or a PEM public key, got something else: {error}"
        raise LocalProtocolError(msg) from None


def _public_key(data: bytes) -> tuple[str, _Prepared]:
    try:
        key = load_pem_public_key(data.strip())
    except Exception as error:
        # What cryptography raises here depends on its version; whatever it is, this value is no key for us.
        msg = f"expected a PEM public key, got other PEM text ({type(error).__name__})"
        raise LocalProtocolError(msg) from None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    if isinstance(key, RSAPublicKey):
        return "RS256", key
    return _refuse_key(f"it is a {type(key).__name__.lstrip('_')} of another kind or curve")


def _refuse_key(why: str) -> NoReturn:
    msg = f"expected a secret, an RSA public key or an EC public key on P-256, got a key that is none: {why}"
    raise LocalProtocolError(msg)


@dataclass(frozen=True)
class _Remembered:
    """A verified token's claims and the span of time, in seconds since the epoch, in which it is good."""

    claims: dict[str, Any]
    begins: float
    expires: float


class Verifier:
    """Checks tokens against a set of keys, any of which may have signed; one may be shared between threads.

    A proxy sends the same token with many requests, so those that passed are remembered (at most 1,024), and
    only their time is checked again.

    Args:
        keys: the accepted keys; with none, every token is refused.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        self._remembered: dict[str, _Remembered] = {}
        self._lock = threading.Lock()

    def verify(self, token: str, now: float, *, grace: float = 0.0) -> dict[str, Any]:
        """Return the claims of a token that one of the keys signed and that is valid at `now`.

        Args:
            token: the value of `Grip-Sig`.
            now: the time, in seconds since the epoch.
            grace: seconds for which an expired token is still good. A proxy may report a vanished client with
                the token of the connection's last request.

        Raises:
            RemoteProtocolError: with status hint 403, for whichever reason. The token is never quoted.
        """
        known = self._remembered.get(token)
        if known is None:
            known = self._examine(token)
            self._check_time(known, now, grace)
            self._remember(token, known)
        else:
            self._check_time(known, now, grace)
        return known.claims.copy()

    def _examine(self, token: str) -> _Remembered:
        if not isinstance(token, str) or not token.isascii() or len(token) > _TOKEN_MAX:
            msg = f"a token of at most {_TOKEN_MAX} ASCII characters, got something else"
            raise _refused(msg)
        problem = "a key to verify it with, got none"
        for key in self._keys:
            try:
                payload = _jws.decode(token, key.prepared, algorithms=[key.algorithm])
            # PyJWT words its own errors; ValueError and RecursionError escape some releases for hostile JSON.
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                problem = f"a token signed with one of {len(self._keys)} keys, got {type(error).__name__}"
                continue
            claims = _read_claims(payload)
            if _issued_by(claims, key.issuer):
                return _Remembered(claims, _begins(claims), _timestamp(claims, "exp"))
            problem = f"the issuer {key.issuer!r}, got {claims.get('iss')!r:.60}"
        raise _refused(problem)

    def _check_time(self, known: _Remembered, now: float, grace: float) -> None:
        # Written so that a NaN in any place refuses.
        if not now < known.expires + grace:
            msg = f"an unexpired token, got one that expired {now - known.expires:.0f} s ago"
            raise _refused(msg)
        if not known.begins <= now + _CLOCK_SKEW:
            msg = f"a token that is valid already, got one that begins in {known.begins - now:.0f} s"
            raise _refused(msg)

    def _remember(self, token: str, known: _Remembered) -> None:
        with self._lock:
            while len(self._remembered) >= _REMEMBERED_MAX:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[token] = known


def _refused(expected: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"Grip-Sig refused: expected {expected}", status_hint=403)


def _read_claims(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        msg = "a JSON object as the token's payload, got something else"
        raise _refused(msg)
    return claims


def _issued_by(claims: dict[str, Any], issuer: str | None) -> bool:
    if issuer is None:
        return True
    found = claims.get("iss")
    if not isinstance(found, str):
        return False
    # JSON can spell a lone surrogate, which plain UTF-8 refuses.
    return hmac.compare_digest(found.encode("utf-8", "surrogatepass"), issuer.encode("utf-8", "surrogatepass"))


def _begins(claims: dict[str, Any]) -> float:
    return max((_timestamp(claims, name) for name in ("nbf", "iat") if name in claims), default=-math.inf)


def _timestamp(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # bool is an int to Python; beyond 2**53 a float is no longer exact, and no clock will get there.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    msg = f"the claim {name} as a number of seconds, got {value!r:.60}"
    raise _refused(msg)
