"""Which files are looked at, and their text in and out, byte for byte."""

from __future__ import annotations

import codecs
import io
import os
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Text", "python_files", "read", "requirement_files", "write"]

_SKIPPED = {
    "__pycache__",
    "build",
    "dist",
    "env",
    "node_modules",
    "site-packages",
    "venv",
}
_REQUIREMENTS = ("requirements*.txt", "requirements*.in", "constraints*.txt", "pyproject.toml", "setup.cfg", "Pipfile")


@dataclass(frozen=True)
class Text:
    """A file's text with what is needed to write it back.

    content   with the file's own line endings, without a byte order mark
    encoding  as PEP 263 has it
    mark      the byte order mark, or b""
    """

    content: str
    encoding: str
    mark: bytes

    def bytes_of(self, content: str) -> bytes:
        return self.mark + content.encode(self.encoding)


def python_files(path: Path, exclude: tuple[str, ...] = ()) -> Iterator[Path]:
    """The Python files at or below a path, in order of name.

    Not what a tool has put there (hidden folders, virtual environments, node_modules, build), and no symbolic links:
    what they lead to is looked at where it is. A file that is named itself is always looked at.
    """
    yield from _files(path, exclude, ("*.py", "*.pyi"))


def requirement_files(path: Path, exclude: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files below a path in which a project lists what it needs."""
    if path.is_dir():
        for file in _files(path, exclude, ("*.txt", "*.in", *_REQUIREMENTS)):
            listed = file.parent.name == "requirements" and file.suffix in {".txt", ".in"}
            if listed or any(fnmatch(file.name, pattern) for pattern in _REQUIREMENTS):
                yield file


def _files(path: Path, exclude: tuple[str, ...], patterns: tuple[str, ...]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not _skipped(here / name, path, exclude))
        for name in sorted(names):
            file = here / name
            wanted = any(fnmatch(name, pattern) for pattern in patterns)
            if wanted and not file.is_symlink() and not _excluded(file, path, exclude):
                yield file


def _skipped(folder: Path, root: Path, exclude: tuple[str, ...]) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _SKIPPED
    return hidden or (folder / "pyvenv.cfg").exists() or folder.is_symlink() or _excluded(folder, root, exclude)


def _excluded(path: Path, root: Path, exclude: tuple[str, ...]) -> bool:
    relative = path.relative_to(root).as_posix()
    return any(fnmatch(relative, pattern) or fnmatch(path.name, pattern) for pattern in exclude)


def read(file: Path) -> Text:
    """Read a Python file.

    Raises:
        OSError: it cannot be read.
        SyntaxError: its encoding is unknown, or it is not in that encoding.
    """
    data = file.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    encoding = encoding.removesuffix("-sig")
    try:
        return Text(data[len(mark) :].decode(encoding), encoding, mark)
    except UnicodeDecodeError as error:
        raise SyntaxError(f"is not in {encoding}: {error.reason} at byte {error.start}") from error


def write(file: Path, text: Text, content: str) -> None:
    """Write a file in place: its mode, owner and links stay.

    Raises:
        OSError: it cannot be written.
        UnicodeEncodeError: the new text has no place in the file's encoding.
    """
    file.write_bytes(text.bytes_of(content))
