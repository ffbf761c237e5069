"""Whether a batch really comes from one of the configured proxies."""

from __future__ import annotations

import logging
import time
from functools import lru_cache

from django.core.exceptions import ImproperlyConfigured

from grip_consumers import discovery
from grip_consumers.conf import Proxy, Settings
from grip_consumers.protocol import Key, LocalProtocolError, RemoteProtocolError, Verifier

__all__ = ["grace_for", "is_signed", "verify"]

logger = logging.getLogger("grip_consumers.security")

#: Seconds between two warnings about refused batches.
_WARNING_INTERVAL = 60


def grace_for(body: bytes) -> float:
    """The seconds for which an expired signature of a batch with that body is still good.

    Proxies may sign with a token that has expired meanwhile when they report a client that vanished. It can do no
    more than end a connection whose state it brings along, so a day's grace costs nothing.
    """
    return _FAREWELL_GRACE if body == _FAREWELL else 0.0


_FAREWELL, _FAREWELL_GRACE = b"DISCONNECT\r\n", 86_400.0


def is_signed(signature: str | None, settings: Settings) -> bool:
    """Whether one of the proxies' keys, or the embedded proxy's, has signed a request.

    Raises ImproperlyConfigured as `verify` does.
    """
    if not signature:
        return False
    try:
        _verifier(settings.proxies or (), settings.secrets).verify(signature, time.time())
    except RemoteProtocolError:
        return False
    return True


def verify(signature: str | None, settings: Settings, *, grace: float = 0.0) -> None:
    """Check the Grip-Sig of a batch.

    With a key configured for any proxy, one of the keys must have signed it. Without keys a signature is
    asked for only with GRIP_PROXY_REQUIRED, and cannot be checked.

    `grace` is the seconds for which an expired signature is still good.

    Raises RemoteProtocolError, with the status to answer with, for a batch to refuse, and warns about it in
    the log at most once a minute. Raises ImproperlyConfigured for a verify_key with which nothing can be
    verified.
    """
    keys_configured = any(proxy.verify_key for proxy in settings.proxies or ())
    if not keys_configured and not (settings.proxy_required and not signature):
        return
    try:
        if not signature:
            raise RemoteProtocolError("expected a Grip-Sig header, got none", status_hint=403)
        _verifier(settings.proxies or (), settings.secrets).verify(signature, time.time(), grace=grace)
    except RemoteProtocolError as error:
        _warn(str(error))
        raise


@lru_cache(maxsize=4)
def _verifier(proxies: tuple[Proxy, ...], secrets: tuple[str | bytes, ...]) -> Verifier:
    """Keys are parsed once; `secrets` is here because the embedded proxy's key is derived from them."""
    keys = [_parsed(proxy) for proxy in proxies if proxy.verify_key]
    return Verifier([*keys, Key.parse(discovery.signing_key(), discovery.ISSUER)])


def _parsed(proxy: Proxy) -> Key:
    try:
        return Key.parse(proxy.verify_key or b"", proxy.verify_iss)
    except LocalProtocolError as error:
        raise ImproperlyConfigured(
            f"The verify_key of the proxy {proxy.name} in GRIP_URL or GRIP_PROXIES: {error}."
        ) from error


class _Throttle:
    """When the next warning is due, and how many were kept back until then."""

    def __init__(self) -> None:
        self.silent_until = 0.0
        self.kept_back = 0


_throttle = _Throttle()


def _warn(reason: str) -> None:
    now = time.monotonic()
    if now < _throttle.silent_until:
        _throttle.kept_back += 1
        return
    more = f" (and {_throttle.kept_back} more since the last warning)" if _throttle.kept_back else ""
    logger.warning(
        "Refused a batch of WebSocket events%s: %s. It did not come from a proxy in GRIP_URL or GRIP_PROXIES, or "
        "their verify_key and verify_iss do not match the proxy's sig_key and sig_iss.",
        more,
        reason,
    )
    _throttle.silent_until = now + _WARNING_INTERVAL
    _throttle.kept_back = 0
