"""A top-level `channels` of the project's own, which hides the real one: its imports do not mean Django Channels."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from . import files
from .names import OLD

__all__ = ["own_channels"]

#: What stands where modules are imported from.
_ROOT_MARKS = ("manage.py", "pyproject.toml", "setup.py", "setup.cfg")
#: What stands in a Django app, which may be a package without `__init__.py`.
_APP_MARKS = ("apps.py", "models.py", "views.py", "consumers.py", "migrations")


def own_channels(path: Path, exclude: tuple[str, ...] = ()) -> Path | None:
    """The first module `channels` at, around or below a path that is imported by that name alone; None without one.

    Args:
        path: a folder or a file.
        exclude: the patterns of what the user leaves out: such a module is nobody's `channels`.
    """
    return next(_found(path.absolute(), exclude), None)


def _found(path: Path, exclude: tuple[str, ...]) -> Iterator[Path]:
    around = _outside_of_packages(path)
    if around != path:
        candidates = (around / OLD / "__init__.py", around / f"{OLD}.py")
        there = (file for file in candidates if files.exists(file) and not files.is_excluded(file, around, exclude))
        yield from (file for file in there if _is_root(around))
    for file in files.python_files(path, exclude) if path.is_dir() else ():
        module = file.parent if file.name == "__init__.py" else file.with_suffix("")
        if module.name != OLD or module == path or file.suffix != ".py" or not _is_root(module.parent):
            continue
        if module.parent == path or _is_marked(module.parent) or not _is_imported(module.parent, path, exclude):
            yield file


def _outside_of_packages(path: Path) -> Path:
    """The folder from which the package that a path is in is imported."""
    folder = path if path.is_dir() else path.parent
    while files.exists(folder / "__init__.py") and folder != folder.parent:
        folder = folder.parent
    return folder


def _is_root(folder: Path) -> bool:
    """Whether modules may be imported from a folder by their names alone."""
    if files.exists(folder / "manage.py"):
        return True
    if files.exists(folder / "__init__.py"):
        return False
    return _is_marked(folder) or not any(files.exists(folder / mark) for mark in _APP_MARKS)


def _is_marked(folder: Path) -> bool:
    return folder.name == "src" or any(files.exists(folder / mark) for mark in _ROOT_MARKS)


def _is_imported(folder: Path, path: Path, exclude: tuple[str, ...]) -> bool:
    """Whether a folder is a package itself, without `__init__.py`, as the project imports from it."""
    name = re.escape(os.fsencode(folder.name))
    uses = re.compile(rb"\b(from|import)\s+%b\b|[\"']%b\.\w" % (name, name))
    return any(uses.search(_content(file)) for file in files.python_files(path, exclude))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""  # it is reported when it is read
