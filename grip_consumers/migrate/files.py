"""Which files are looked at, and their text in and out, byte for byte."""

from __future__ import annotations

import codecs
import io
import os
import stat
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Text", "exists", "is_excluded", "python_files", "read", "requirement_files"]

#: Is told of a folder that cannot be read.
Refused = Callable[[OSError], None]

_SKIPPED = {
    "__pycache__",
    "build",
    "dist",
    "env",
    "node_modules",
    "site-packages",
    "venv",
}
_REQUIREMENTS = (
    "requirements*.txt",
    "requirements*.in",
    "constraints*.txt",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "Pipfile",
    "environment*.yml",
    "environment*.yaml",
)


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
        """A text as it stands in the file.

        Raises:
            UnicodeError: it has no place in the file's encoding.
        """
        return self.mark + content.encode(self.encoding)


def python_files(path: Path, exclude: tuple[str, ...] = (), refused: Refused | None = None) -> Iterator[Path]:
    """The Python files at or below a path, in order of name.

    Not what a tool has put there (hidden folders, virtual environments, node_modules, build), and no symbolic links:
    what they lead to is looked at where it is. A file that is named itself is always looked at.
    """
    yield from _files(path, exclude, ("*.py", "*.pyi"), refused)


def requirement_files(path: Path, exclude: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files below a path in which a project lists what it needs."""
    if path.is_dir():
        for file in _files(path, exclude, ("*.txt", "*.in", *_REQUIREMENTS), None):
            listed = file.parent.name == "requirements" and file.suffix in {".txt", ".in"}
            if listed or any(fnmatch(file.name, pattern) for pattern in _REQUIREMENTS):
                yield file


def is_excluded(path: Path, root: Path, exclude: tuple[str, ...]) -> bool:
    """Whether a path below a root is one that the user leaves out."""
    relative = path.relative_to(root).as_posix()
    return any(fnmatch(relative, pattern) or fnmatch(path.name, pattern) for pattern in exclude)


def _files(path: Path, exclude: tuple[str, ...], patterns: tuple[str, ...], refused: Refused | None) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path, onerror=refused):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not _skipped(here / name, path, exclude))
        for name in sorted(names):
            file = here / name
            wanted = any(fnmatch(name, pattern) for pattern in patterns) and not is_excluded(file, path, exclude)
            if wanted and _is_regular(file):
                yield file


def _is_regular(file: Path) -> bool:
    """Neither a link nor a pipe or device, reading from which may wait for ever."""
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return True  # so that reading it says why it cannot be read


def _skipped(folder: Path, root: Path, exclude: tuple[str, ...]) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _SKIPPED
    return hidden or exists(folder / "pyvenv.cfg") or _is_link(folder) or is_excluded(folder, root, exclude)


def exists(path: Path) -> bool:
    """Whether something is there, as far as it can be seen; that a folder may not be entered is said elsewhere."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


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
        text = Text(data[len(mark) :].decode(encoding), encoding, mark)
        faithful = text.bytes_of(text.content) == data
    except UnicodeDecodeError as error:
        raise SyntaxError(f"is not in {encoding}: {error.reason} at byte {error.start}") from error
    # `# coding: rot13` is no encoding of bytes, `undefined` none at all; some codecs have errors of their own.
    except (LookupError, UnicodeError, ValueError) as error:
        raise SyntaxError(f"cannot be read in its encoding {encoding}: {error}; save it as UTF-8") from error
    if not faithful:
        raise SyntaxError(f"cannot be written back in its encoding {encoding} as it is; save it as UTF-8")
    return text
