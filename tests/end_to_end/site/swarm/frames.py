"""What a handler is asked to send, and what it looks like: numbered, of an exact size."""

from __future__ import annotations

from typing import Any

#: ["text" or "binary", number, size in bytes].
Spec = list[Any]


def arguments(spec: Spec) -> dict[str, Any]:
    """The arguments of `send` for one frame."""
    kind, number, size = spec
    text = f"{number} ".ljust(size, "x")
    return {"text_data": text} if kind == "text" else {"bytes_data": text.encode()}


def wanted(spec: Spec) -> str | bytes:
    """The frame as the client must get it."""
    (content,) = arguments(spec).values()
    return content
