"""Names of the headers that a GRIP proxy and its backend exchange, and what may stand in one.

`Connection-Id`, `Meta-*` and `Grip-Sig` come with a request; `Set-Meta-*` and `Keep-Alive-Interval` go with a
response of WebSocket-over-HTTP; `Grip-Hold` and its kin hold an ordinary response open (GRIP).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .errors import LocalProtocolError

__all__ = [
    "CONNECTION_ID",
    "CONTENT_TYPE",
    "CONTENT_TYPE_HEADER",
    "GRIP_CHANNEL",
    "GRIP_FEATURE",
    "GRIP_HOLD",
    "GRIP_KEEP_ALIVE",
    "GRIP_LAST",
    "GRIP_LINK",
    "GRIP_SET_META",
    "GRIP_SIG",
    "GRIP_STATUS",
    "GRIP_TIMEOUT",
    "KEEP_ALIVE_INTERVAL",
    "META_PREFIX",
    "SEC_WEBSOCKET_EXTENSIONS",
    "SEC_WEBSOCKET_PROTOCOL",
    "SET_META_PREFIX",
    "WEBSOCKET_EXTENSION",
    "accept_headers",
    "check_token",
    "check_tokens",
    "check_value",
    "is_batch",
    "reject_headers",
]

#: The media type of a batch of events, in both directions; compared exactly, never with parameters.
CONTENT_TYPE = "application/websocket-events"
CONTENT_TYPE_HEADER = "Content-Type"

CONNECTION_ID = "Connection-Id"
META_PREFIX = "Meta-"
SET_META_PREFIX = "Set-Meta-"
KEEP_ALIVE_INTERVAL = "Keep-Alive-Interval"
SEC_WEBSOCKET_EXTENSIONS = "Sec-WebSocket-Extensions"
SEC_WEBSOCKET_PROTOCOL = "Sec-WebSocket-Protocol"
#: The value of Sec-WebSocket-Extensions that switches on control messages.
WEBSOCKET_EXTENSION = "grip"

GRIP_SIG = "Grip-Sig"
GRIP_FEATURE = "Grip-Feature"
GRIP_LAST = "Grip-Last"
GRIP_HOLD = "Grip-Hold"
GRIP_CHANNEL = "Grip-Channel"
GRIP_TIMEOUT = "Grip-Timeout"
GRIP_KEEP_ALIVE = "Grip-Keep-Alive"
GRIP_LINK = "Grip-Link"
GRIP_SET_META = "Grip-Set-Meta"
GRIP_STATUS = "Grip-Status"

#: RFC 9110 §5.6.2.
_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
#: RFC 9110 §5.5 without the controls; the wider set is read as Latin-1, as ASGI does.
_is_value = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch

_FRAMING = frozenset({"connection", "keep-alive", "trailer", "transfer-encoding", "upgrade"})
_OURS = frozenset({KEEP_ALIVE_INTERVAL.lower()})
_OUR_PREFIXES = ("grip-", SET_META_PREFIX.lower())
_ACCEPT_ONLY = frozenset({"content-type", "content-length", "content-encoding"})


def is_batch(method: str, content_types: Sequence[str]) -> bool:
    """Whether a request is a batch of WebSocket events, as far as its method and content type can tell.

    A proxy refuses a client's own request with this media type, but was measured to let through other
    spellings of it and a second Content-Type header. So there must be exactly one header, equal to the byte.
    Even then nothing but the sealed state proves that the proxy made the request.

    Args:
        method: the request's method as it came.
        content_types: the values of all its Content-Type headers.
    """
    return method == "POST" and len(content_types) == 1 and content_types[0] == CONTENT_TYPE


def check_token(text: str, what: str) -> str:
    """Return `text` if it is a token (RFC 9110 §5.6.2); else raise LocalProtocolError that names `what`."""
    if not isinstance(text, str) or not _is_token(text):
        msg = f"expected {what} of letters, digits and !#$%&'*+-.^_`|~ only, got {text!r:.60}"
        raise LocalProtocolError(msg)
    return text


def check_tokens(texts: object, what: str) -> None:
    """Check a sequence of tokens, each called `what`, that is not a single str. Raises LocalProtocolError."""
    if not isinstance(texts, (list, tuple)):
        msg = f"expected a list or tuple for {what} each, got {type(texts).__name__}: {texts!r:.60}"
        raise LocalProtocolError(msg)
    for text in texts:
        check_token(text, what)


def check_value(text: str, what: str) -> str:
    """Return `text` if a header may carry it (Latin-1, no controls), else raise LocalProtocolError."""
    if not isinstance(text, str) or not _is_value(text):
        msg = f"expected {what} in Latin-1 without line breaks or other controls, got {text!r:.60}"
        raise LocalProtocolError(msg)
    return text


def accept_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return the application's headers for an accepted handshake, checked.

    Raises:
        LocalProtocolError: a name or value is malformed, or the name belongs to the protocol:
            Sec-WebSocket-*, Grip-*, Set-Meta-*, Keep-Alive-Interval, or what describes the body that carries
            the events.
    """
    checked = _decoded(headers)
    for name, _ in checked:
        lowered = name.lower()
        if _belongs_to_protocol(lowered) or lowered in _ACCEPT_ONLY or lowered.startswith("sec-websocket-"):
            hint = "; pass subprotocol= instead" if lowered == "sec-websocket-protocol" else ""
            msg = f"expected headers of the application's own to accept with, got {name}{hint}"
            raise LocalProtocolError(msg)
    return checked


def reject_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return the application's headers for a refused handshake, checked; text/plain if it names no content
    type.

    Content-Length is left out, because the server that sends the body counts it.

    Raises:
        LocalProtocolError: a name or value is malformed, or the name belongs to the protocol.
    """
    checked = [pair for pair in _decoded(headers) if pair[0].lower() != "content-length"]
    names = {name.lower() for name, _ in checked}
    for name in names:
        if _belongs_to_protocol(name):
            msg = f"expected headers of the application's own to reject with, got {name}"
            raise LocalProtocolError(msg)
    if "content-type" not in names:
        checked.append((CONTENT_TYPE_HEADER, "text/plain"))
    return checked


def _belongs_to_protocol(lowered: str) -> bool:
    return lowered in _FRAMING or lowered in _OURS or lowered.startswith(_OUR_PREFIXES)


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [
        (check_token(_latin1(name), "a header name"), check_value(_latin1(value), "a header value"))
        for name, value in headers
    ]


def _latin1(data: object) -> str:
    if not isinstance(data, bytes):
        msg = f"expected header names and values of type bytes, got {type(data).__name__}: {data!r:.60}"
        raise LocalProtocolError(msg)
    return data.decode("latin-1")
