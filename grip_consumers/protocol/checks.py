"""Conditions that several modules here put on what they are given (all raise LocalProtocolError)."""

from __future__ import annotations

from .errors import LocalProtocolError

__all__ = ["CONTROL_CONTENT_MAX", "check_bytes", "check_close", "check_utf8", "check_whole"]

#: RFC 6455 §5.5: what a control frame (CLOSE, PING, PONG) carries is no longer than this.
CONTROL_CONTENT_MAX = 125

#: RFC 6455 §7.4 and the registry that it opens. 1004 has no meaning, 1005, 1006 and 1015 must never be sent,
#: 1016 to 2999 await a standard, and 3000 to 4999 (tested apart) belong to libraries and applications.
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


def check_utf8(text: object, what: str) -> bytes:
    """Return `text` in UTF-8; it must be a str without lone surrogates."""
    if not isinstance(text, str):
        msg = f"expected {what} of type str, got {type(text).__name__}"
        raise LocalProtocolError(msg)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        msg = f"expected {what} that UTF-8 can encode, got {text[error.start]!r} at {error.start}"
        raise LocalProtocolError(msg) from None


def check_bytes(data: object, what: str, limit: int | None = None) -> bytes:
    """Return `data`, which must be bytes, and at most `limit` of them."""
    if not isinstance(data, bytes):
        msg = f"expected {what} of type bytes, got {type(data).__name__}"
        raise LocalProtocolError(msg)
    if limit is not None and len(data) > limit:
        msg = f"expected {what} of at most {limit} bytes, got {len(data)}"
        raise LocalProtocolError(msg)
    return data


def check_whole(number: object, what: str, least: int, most: int | None = None) -> int:
    """Return `number`, which must be an int (not a bool) from `least` to `most`."""
    good = isinstance(number, int) and not isinstance(number, bool) and number >= least
    if not isinstance(number, int) or not good or (most is not None and number > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        msg = f"expected {what} of {bounds}, got {number!r:.60}"
        raise LocalProtocolError(msg)
    return number


def check_close(code: object, reason: object) -> bytes:
    """Return the content of a CLOSE frame: a code that may be sent, a reason of up to 123 bytes in UTF-8.

    Source: RFC 6455 §5.5.1 and §7.4.
    """
    if not isinstance(code, int) or not (code in _CLOSE_CODES or 3000 <= code <= 4999):
        msg = f"expected a close code of 1000-1003, 1007-1014 or 3000-4999, got {code!r:.60}"
        raise LocalProtocolError(msg)
    content = int(code).to_bytes(2, "big") + check_utf8(reason, "a close reason")
    if len(content) > CONTROL_CONTENT_MAX:
        msg = f"expected a close reason of at most 123 bytes in UTF-8, got {len(content) - 2}"
        raise LocalProtocolError(msg)
    return content
