"""Packages that a project no longer needs, in the files that list what it needs. They are only reported."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .source import Note

__all__ = ["notes"]

_NAMES = re.compile(
    r"""^\s*(?:-\s+)?["']?(channels(?:[-_.]redis)?|daphne)\s*(\[[^]]*\])?["']?\s*([=<>~!;@,"'#\]]|$)""", re.IGNORECASE
)
_INLINE = re.compile(r"""["'](channels(?:[-_.]redis)?|daphne)\s*(\[[^]]*\])?\s*(["'=<>~!;@])""", re.IGNORECASE)

_ADVICE = {
    "channels": 'Put "grip-consumers" in its place; "grip-consumers[server]" brings the server for runserver.',
    "channels-redis": "Not needed, unless another alias of CHANNEL_LAYERS uses it.",
    "daphne": "Not needed: any WSGI or ASGI server answers the proxy.",
}


def notes(text: str, *, in_python: bool = False) -> Iterator[Note]:
    """A note for each package of Channels that a line asks for.

    Args:
        text: of a file of requirements.
        in_python: whether it is a program (setup.py), in which only strings name packages.
    """
    for number, line in enumerate(text.splitlines(), 1):
        match = None if in_python else _NAMES.match(line)
        matches = [match] if match is not None else list(_INLINE.finditer(line))
        for name in dict.fromkeys(re.sub("[-_.]+", "-", match[1].lower()) for match in matches):
            yield Note(number, "dependency", f"`{name}`: {_ADVICE[name]}")
