"""Form feeds before statements, which the parser does not keep: each goes to a line of its own, and back."""

from __future__ import annotations

import re

__all__ = ["apart", "lines_apart", "together"]

#: White space that nobody writes, by which the lines are known again.
_MARK = "\x0c \x0c\t\x0c"
_BEFORE = re.compile(r"^\x0c+(?=[^\x0c\r\n])", re.MULTILINE)


def apart(text: str) -> str:
    """A text of which the parser keeps everything; the same text if it has no form feed before a statement."""
    if "\x0c" not in text or _MARK in text:
        return text
    newline = re.search(r"\r\n|\r|\n", text)
    ending = newline[0] if newline is not None else "\n"
    return _BEFORE.sub(lambda match: f"{match[0]}{_MARK}{ending}", text)


def together(text: str) -> str:
    """Takes back what `apart` did."""
    return re.sub(rf"{re.escape(_MARK)}(\r\n|\r|\n)", "", text)


def lines_apart(text: str) -> list[int]:
    """The lines, from 1, that `apart` has added."""
    lines = re.split(r"\r\n|\r|\n", text)
    return [number for number, line in enumerate(lines, 1) if line.endswith(_MARK)]
