"""Headers on the way to the backend and back, as Pushpin 1.36 was measured to pass them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import jwt

from grip_consumers.protocol import headers as names

__all__ = ["GRIP_FEATURE", "Header", "Signer", "client_headers", "extension_prefix", "request_headers"]

Header = tuple[bytes, bytes]

#: What Pushpin 1.36 says that it can do.
GRIP_FEATURE = (
    "status, session, link:next, filter:skip-self, filter:skip-users, filter:require-sub, filter:build-id, "
    "filter:var-subst"
)
#: Seconds that a Grip-Sig is good for.
_SIGNATURE_LIFE = 3600

_CONTENT_TYPE = names.CONTENT_TYPE.encode()
#: Of the handshake, these do not reach the backend: they belong to one connection, or the proxy sets them.
_REPLACED = frozenset(
    {
        b"accept",
        b"connection",
        b"connection-id",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"sec-websocket-extensions",
        b"transfer-encoding",
        b"upgrade",
    }
)
_REPLACED_PREFIXES = (b"grip-", b"meta-")
#: Of a response, these never reach the client: they frame the response, or they are for the proxy.
_FRAMING = frozenset({b"connection", b"content-length", b"keep-alive", b"transfer-encoding", b"upgrade"})
_FOR_THE_PROXY = frozenset(
    {
        b"content-type",
        b"keep-alive-interval",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
    }
)
_SET_META = names.SET_META_PREFIX.lower().encode()


class Signer:
    """Makes Grip-Sig tokens (HS256); all requests of one second share one, as Pushpin's do."""

    def __init__(self, key: bytes, issuer: str) -> None:
        self._key = key
        self._issuer = issuer
        self._second = 0
        self._token = b""

    def token(self) -> bytes:
        """Return a token that expires an hour from now."""
        now = int(time.time())
        if now != self._second:
            claims = {"exp": now + _SIGNATURE_LIFE, "iss": self._issuer}
            self._token = jwt.encode(claims, self._key, algorithm="HS256").encode()
            self._second = now
        return self._token


def passed_on(handshake: Iterable[Header]) -> list[Header]:
    """Return the handshake's headers that each request repeats, in the client's order."""
    return [
        (name, value) for name, value in handshake if name not in _REPLACED and not name.startswith(_REPLACED_PREFIXES)
    ]


def request_headers(
    repeated: list[Header], *, connection_id: str, meta: Mapping[bytes, bytes], signature: bytes, length: int
) -> list[Header]:
    """Return the headers of one batch in Pushpin's order, names in lower case as ASGI has them.

    Args:
        repeated: what `passed_on` made of the handshake.
        connection_id: names the connection to the backend.
        meta: the values of Set-Meta-* so far, by lower-case name without prefix.
        signature: the Grip-Sig token.
        length: bytes of the body.
    """
    return [
        *repeated,
        (b"sec-websocket-extensions", b"grip"),
        (b"grip-sig", signature),
        (b"grip-feature", GRIP_FEATURE.encode()),
        (b"accept", _CONTENT_TYPE),
        (b"connection-id", connection_id.encode()),
        (b"content-type", _CONTENT_TYPE),
        *((b"meta-" + name, value) for name, value in meta.items()),
        (b"content-length", b"%d" % length),
    ]


def client_headers(headers: Iterable[Header], *, accepted: bool) -> list[Header]:
    """Return those of a response's headers that the client sees with its handshake, accepted or rejected."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() not in _FRAMING and not (accepted and _is_for_the_proxy(name.lower()))
    ]


def _is_for_the_proxy(name: bytes) -> bool:
    return name in _FOR_THE_PROXY or name.startswith(_SET_META)


def first_value(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the value of the first header of that (lower-case) name, or None."""
    return next((value for key, value in headers if key.lower() == name), None)


def set_meta(headers: Iterable[Header]) -> list[Header]:
    """Return the Set-Meta-* headers, names in lower case and without prefix; an empty value means remove."""
    return [
        (name.lower()[len(_SET_META) :], value)
        for name, value in headers
        if name.lower().startswith(_SET_META) and len(name) > len(_SET_META)
    ]


def extension_prefix(headers: Iterable[Header]) -> str | None:
    """Return the message prefix that a response asks for with `Sec-WebSocket-Extensions: grip`, or None
    without it.

    The prefix is `m:` unless the parameter `message-prefix` names another.
    """
    for name, value in headers:
        if name.lower() == b"sec-websocket-extensions":
            for offer in value.decode("latin-1").split(","):
                extension, *parameters = (part.strip() for part in offer.split(";"))
                if extension == names.WEBSOCKET_EXTENSION:
                    return _message_prefix(parameters)
    return None


def _message_prefix(parameters: list[str]) -> str:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "message-prefix":
            return value.strip().strip('"')
    return "m:"
