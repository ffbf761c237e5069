"""The Django response that a proxy holds: what middleware would do to a response of its own must not be done to it."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse

__all__ = ["Held"]


class Held(HttpResponse):
    """A response that others go on to write: nothing may pack it."""

    def has_header(self, header: str) -> bool:
        """Whether there is such a header; an encoding is claimed, so that no middleware adds one."""
        return header.lower() == "content-encoding" or super().has_header(header)

    __contains__ = has_header

    def get(self, header: str, alternate: Any = None) -> Any:
        """The header, but for the ETag: by that, a middleware would answer 304 at once instead of waiting."""
        return alternate if header.lower() == "etag" else super().get(header, alternate)
