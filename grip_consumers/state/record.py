"""What is kept of one connection between its batches, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgpack

__all__ = ["ConnectionState"]

_FORMAT = 1


@dataclass
class ConnectionState:
    """The parts stay encoded until somebody needs them: who never reads the scope never decodes it."""

    #: `module:qualified.name` of the consumer class.
    consumer: str
    #: The encoded keyword arguments of `as_asgi`; empty without any.
    initkwargs: bytes
    channel_name: str
    groups: list[str] = field(default_factory=list)
    #: Some middleware wrapped receive or send: the application stack runs on each batch.
    stack_runs: bool = False
    #: The encoded attributes of the consumer; empty without any.
    attributes: bytes = b""
    #: The encoded additions to the scope; empty without any.
    scope: bytes = b""

    def pack(self) -> bytes:
        """The state as bytes; equal states give equal bytes."""
        packed: bytes = msgpack.packb(
            [
                _FORMAT,
                self.consumer,
                self.initkwargs,
                self.channel_name,
                self.groups,
                self.stack_runs,
                self.attributes,
                self.scope,
            ],
            # The names of groups are the project's own.
            unicode_errors="surrogatepass",
        )
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> ConnectionState:
        """Raises ValueError for a state of another format, as an older or newer release may have left it."""
        parts = msgpack.unpackb(data, unicode_errors="surrogatepass")
        if not isinstance(parts, list) or not parts:
            raise ValueError(f"expected a state of format {_FORMAT}, got a {type(parts).__name__}")
        found, *content = parts
        if found != _FORMAT:
            raise ValueError(f"expected a state of format {_FORMAT}, got one of format {found!r:.20}")
        if list(map(type, content)) != _TYPES:
            raise ValueError(f"expected the {len(_TYPES)} parts of a state of format {_FORMAT}, got other ones")
        return cls(*content)


_TYPES = [str, bytes, str, list, bool, bytes, bytes]
