"""Writes a file so that at every moment either its old text or its new one is on the disk."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["ChangedMeanwhileError", "replace"]


class ChangedMeanwhileError(OSError):
    """The file holds something else than what was read from it."""

    def __init__(self) -> None:
        super().__init__("changed meanwhile: it is left as it is now; run the command again")


class _CannotReplaceError(Exception):
    """No file can be put in this one's place: it has to be written itself."""


def replace(file: Path, old: bytes, new: bytes) -> None:
    """Give a file another content; its mode, owner and links stay.

    Args:
        file: a regular file, or a link to one.
        old: what was read from it.
        new: what shall be in it.

    Raises:
        ChangedMeanwhileError: it holds something else than `old`; it stays.
        OSError: it cannot be written; it stays, or the message says where its old text is.
    """
    target = file.resolve()
    state = target.stat()
    if target.read_bytes() == new:  # another name of it was written already
        return
    if not os.access(target, os.W_OK):
        raise PermissionError("is not writable: it stays as it is")
    try:
        if state.st_nlink > 1:
            raise _CannotReplaceError
        _put_in_place(target, state, old, new)
    except _CannotReplaceError:
        _overwrite(target, old, new)


def _put_in_place(target: Path, state: os.stat_result, old: bytes, new: bytes) -> None:
    made = _beside(target, state)
    try:
        _fill(made, new)
        _refuse_if_changed(target, old)
        try:
            made.replace(target)
        except OSError as error:  # a file that is mounted by itself, or a folder whose names only their owners change
            raise _CannotReplaceError from error
    except BaseException:
        with suppress(OSError):
            made.unlink()
        raise


def _beside(target: Path, state: os.stat_result) -> Path:
    """An empty file in the same folder, with the mode and the owner of the other."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    except OSError as error:
        raise _CannotReplaceError from error
    os.close(handle)
    made = Path(name)
    try:
        now = made.stat()
        if (now.st_uid, now.st_gid) != (state.st_uid, state.st_gid):
            os.chown(made, state.st_uid, state.st_gid)
        made.chmod(stat.S_IMODE(state.st_mode))
    except OSError as error:
        made.unlink()
        raise _CannotReplaceError from error
    return made


def _overwrite(target: Path, old: bytes, new: bytes) -> None:
    """In the file itself, with a copy of the old text elsewhere until the new one is complete."""
    handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".old")
    os.close(handle)
    copy = Path(name)
    complete = True
    try:
        _fill(copy, old)
        _refuse_if_changed(target, old)
        try:
            _fill(target, new)
        except BaseException as error:
            complete = _restored(target, old)
            if not complete:
                raise OSError(f"{error}; the file is incomplete now, its old text is in {copy}") from error
            raise
    finally:
        if complete:
            copy.unlink()


def _restored(target: Path, old: bytes) -> bool:
    try:
        _fill(target, old)
    except OSError:
        return False
    return True


def _fill(file: Path, content: bytes) -> None:
    # Not truncated at first: the old text's place on the disk is there to put it back.
    with file.open("r+b") as stream:
        stream.write(content)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())


def _refuse_if_changed(target: Path, old: bytes) -> None:
    if target.read_bytes() != old:
        raise ChangedMeanwhileError
