"""The diff of a file, and where its lines have gone."""

from __future__ import annotations

import difflib
import os
import re

__all__ = ["diff", "moved_lines"]


def diff(label: str, old: str, new: str, encoding: str) -> bytes:
    """A unified diff in the file's own encoding and line endings, so that it can be applied to the file.

    Raises:
        UnicodeError: a text has no place in the encoding.
    """
    name = label.lstrip("/")
    marked = difflib.unified_diff(_lines(old), _lines(new), f"a/{name}", f"b/{name}")
    lines = [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in marked]
    # The names as the file system has them, whatever the encoding of the text.
    return os.fsencode("".join(lines[:2])) + "".join(lines[2:]).encode(encoding)


def moved_lines(old: str, new: str) -> dict[int, int]:
    """Where each line of the old text is in the new one; what was taken out, where it would be."""
    if old == new:
        return {}
    moved: dict[int, int] = {}
    for _, start, end, new_start, new_end in difflib.SequenceMatcher(
        None, _lines(old), _lines(new), autojunk=False
    ).get_opcodes():
        for line in range(start, end):
            moved[line + 1] = min(new_start + line - start, max(new_end - 1, 0)) + 1
    return moved


def _lines(text: str) -> list[str]:
    """Lines as patch counts them: only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
