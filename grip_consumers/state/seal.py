"""Authenticated encryption of a connection's state, bound to that connection.

The proxy keeps the sealed state and hands it back with each batch; whoever can make a request to the backend
can send something in its place. What opens was sealed by a process with this project's SECRET_KEY, for this
very connection (`BatchRequest.identity`); everything else raises.
"""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from grip_consumers.exceptions import SealBroken

__all__ = ["open_sealed", "seal"]

_VERSION = b"\x01"
_NONCE_SIZE = 12
_TAG_SIZE = 16


def seal(plaintext: bytes, identity: str, secrets: Sequence[str | bytes]) -> str:
    """`plaintext` as a token that opens for the same `identity` alone: letters, digits, `-` and `_`.

    `secrets` are SECRET_KEY and its fallbacks; the first one seals.
    """
    nonce = os.urandom(_NONCE_SIZE)
    sealed = _cipher(secrets[0], identity).encrypt(nonce, plaintext, _VERSION)
    return _encoded(_VERSION + nonce + sealed)


def open_sealed(token: str, identity: str, secrets: Sequence[str | bytes]) -> tuple[bytes, bool]:
    """The plaintext of `token`, and whether it was sealed with an older key and should be sealed anew.

    Raises SealBroken for a token that is cut, altered, of another connection or of an unknown key.
    """
    raw = _decoded(token)
    nonce, sealed = raw[1 : 1 + _NONCE_SIZE], raw[1 + _NONCE_SIZE :]
    for position, secret in enumerate(secrets):
        try:
            return _cipher(secret, identity).decrypt(nonce, sealed, _VERSION), position > 0
        except InvalidTag:
            continue
    raise SealBroken(
        "The state of this connection cannot be opened: it was altered, belongs to another connection, or "
        "was sealed with a key that is no longer in SECRET_KEY or SECRET_KEY_FALLBACKS."
    )


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decoded(token: str) -> bytes:
    try:
        # b64decode drops characters outside of its alphabet unless told otherwise.
        raw = base64.b64decode(f"{token}{'=' * (-len(token) % 4)}", altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    # The last character has bits to spare, which b64decode ignores: one state has one token.
    if not raw or _encoded(raw) != token:
        raise SealBroken("The state of this connection is not a sealed token: expected URL-safe base64.")
    if raw[:1] != _VERSION or len(raw) < 1 + _NONCE_SIZE + _TAG_SIZE:
        raise SealBroken("The state of this connection is not a sealed token of this version, or it was cut.")
    return raw


@lru_cache(maxsize=1024)
def _cipher(secret: str | bytes, identity: str) -> AESGCM:
    # Remembered for the connections that talk most; making one takes about as long as opening a state.
    # A key per connection binds the token to it and keeps random nonces far from their birthday bound.
    return AESGCM(hmac.digest(_master_key(secret), identity.encode("utf-8", "surrogatepass"), "sha256"))


@lru_cache(maxsize=16)
def _master_key(secret: str | bytes) -> bytes:
    material = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"grip_consumers.state").derive(material)
