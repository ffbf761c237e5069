"""What can go wrong in a WebSocket-over-HTTP exchange, by whose fault it is.

    ProtocolError
    ├── LocalProtocolError    (also a ValueError) this side asked for something illegal
    └── RemoteProtocolError   the other side sent something illegal

Any other exception that leaves this package for bytes that came from outside is a bug of this package.
"""

from __future__ import annotations

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """Base of both: catch it where the culprit does not matter."""


class LocalProtocolError(ProtocolError, ValueError):
    """Our own side asked for something that the protocol does not allow, such as sending before accepting.

    Nothing has been emitted for the refused request, and the state is what it was before.
    """


class RemoteProtocolError(ProtocolError):
    """The proxy (or somebody posing as it) sent something that the protocol does not allow.

    Args:
        message: what was expected, what came, and where.
        status_hint: the HTTP status with which to answer the request.
    """

    status_hint: int

    def __init__(self, message: str, *, status_hint: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status_hint
