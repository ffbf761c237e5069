"""Packages that a project no longer needs, in the files that list what it needs. They are only reported."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .source import Note

__all__ = ["notes"]

_NAMES = re.compile(
    r"""^\s*["']?(channels(?:[-_.]redis)?|daphne)\s*(\[[^]]*\])?["']?\s*([=<>~!;@,"'#\]]|$)""", re.IGNORECASE
)
_INLINE = re.compile(r"""["'](channels(?:[-_.]redis)?|daphne)\s*(\[[^]]*\])?\s*(["'=<>~!;@])""", re.IGNORECASE)

_ADVICE = {
    "channels": 'Put "grip-consumers" in its place; "grip-consumers[server]" brings the server for runserver.',
    "channels-redis": "Not needed, unless another alias of CHANNEL_LAYERS uses it.",
    "daphne": "Not needed: any WSGI or ASGI server answers the proxy.",
}


def notes(text: str) -> Iterator[Note]:
    """A note for each line that asks for a package of Channels."""
    for number, line in enumerate(text.splitlines(), 1):
        match = _NAMES.match(line) or _INLINE.search(line)
        if match is not None:
            name = re.sub("[-_.]+", "-", match[1].lower())
            yield Note(number, "dependency", f"`{name}`: {_ADVICE[name]}")
