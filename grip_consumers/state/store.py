"""Where the sealed state lies between batches: with the proxy, or in a cache when it is too large for a
header.

The proxy keeps the token in either case. A large state is sealed into the cache, and the token seals a
reference to it with a digest, so that an entry that was evicted, replaced or is a step behind is noticed.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass

import msgpack
from django.core.cache import caches

from grip_consumers.conf import Settings
from grip_consumers.exceptions import SealBroken

from .record import ConnectionState
from .seal import open_sealed, seal

__all__ = ["Reference", "delete", "load", "open_token", "save", "seal_state"]

_INLINE, _REFERENCE = b"i", b"r"


@dataclass(frozen=True)
class Reference:
    """A state that lies in the cache."""

    key: str
    #: SHA-256 of what must be found there.
    digest: bytes
    #: When it was written, in seconds since the epoch.
    written: int


def seal_state(state: ConnectionState, identity: str, settings: Settings) -> tuple[str, dict[str, str]]:
    """The token for the proxy, and what must be put into the cache first: nothing, or one entry."""
    token = seal(_INLINE + state.pack(), identity, settings.secrets)
    if len(token) <= settings.state_inline_limit:
        return token, {}
    key = _cache_key(identity)
    content = msgpack.packb([key, _digest(token), int(time.time())])
    return seal(_REFERENCE + content, identity, settings.secrets), {key: token}


def open_token(token: str, identity: str, settings: Settings) -> tuple[ConnectionState | Reference, bool]:
    """What the proxy handed back, and whether it should be sealed anew.

    Raises SealBroken when it does not open, or was left by a release with another format.
    """
    plaintext, renew = open_sealed(token, identity, settings.secrets)
    kind, content = plaintext[:1], plaintext[1:]
    try:
        if kind == _REFERENCE:
            reference = Reference(*msgpack.unpackb(content))
            # Half of its time in the cache is over: write it again, or a quiet connection would lose its
            # state.
            return reference, renew or time.time() - reference.written > settings.state_timeout / 2
        if kind != _INLINE:
            raise ValueError(f"expected a state or a reference, got the kind {kind!r}")
        return ConnectionState.unpack(content), renew
    except (ValueError, TypeError) as error:
        raise SealBroken(
            f"The state of this connection was left by another release of grip_consumers: {error}."
        ) from error


def load(reference: Reference, identity: str, settings: Settings) -> ConnectionState:
    """Fetch a large state. Raises SealBroken when the cache does not hold it any more."""
    token = caches[settings.state_cache].get(reference.key)
    if not isinstance(token, str):
        raise SealBroken(
            f"The state of this connection is not in the cache {settings.state_cache!r} (GRIP_STATE_CACHE) any "
            "more: it was evicted, expired (GRIP_STATE_TIMEOUT), or the cache is not shared by all processes."
        )
    if not hmac.compare_digest(_digest(token), reference.digest):
        raise SealBroken("The state of this connection in the cache is not the one that was written last.")
    state, _ = open_token(token, identity, settings)
    if isinstance(state, Reference):
        raise SealBroken("The state of this connection in the cache is a reference, not a state.")
    return state


def save(entries: dict[str, str], settings: Settings) -> None:
    """Put what `seal_state` asked for into the cache."""
    for key, token in entries.items():
        caches[settings.state_cache].set(key, token, timeout=settings.state_timeout)


def delete(reference: Reference, settings: Settings) -> None:
    """Take a state out of the cache that no token refers to any more."""
    caches[settings.state_cache].delete(reference.key)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _cache_key(identity: str) -> str:
    # Hashed: some caches refuse long keys and odd characters, and the id is nobody else's business.
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return f"grip_consumers.state.{digest}"
