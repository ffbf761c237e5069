"""That a file has its old text or its new one, whatever happens while it is written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from grip_consumers.migrate import writing

OLD, NEW = b"x = 1\n" * 10, b"x = 22\n" * 10


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file alone in its folder; copies for safety go to another one."""
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    path = tmp_path / "project" / "a.py"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def others(file: Path) -> list[Path]:
    """What is in the file's folder, and in that of the copies, besides the file."""
    return [path for path in (*file.parent.iterdir(), *(file.parent.parent / "copies").iterdir()) if path != file]


def fail_on(monkeypatch: pytest.MonkeyPatch, *names: str, error: BaseException | None = None) -> None:
    """Make the disk full, half-way, for files whose names end so."""
    fill = writing._fill

    def full(file: Path, content: bytes) -> None:
        if not file.name.endswith(names):
            fill(file, content)
            return
        with file.open("r+b") as stream:
            stream.write(content[: len(content) // 2])
        raise error or OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_fill", full)


def test_a_file_is_replaced_and_nothing_else_is_left(file: Path) -> None:
    writing.replace(file, OLD, NEW)
    assert file.read_bytes() == NEW
    assert others(file) == []


def test_the_mode_is_kept(file: Path) -> None:
    file.chmod(0o754)
    writing.replace(file, OLD, NEW)
    assert file.stat().st_mode & 0o777 == 0o754


def test_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(file)
    writing.replace(link, OLD, NEW)
    assert link.is_symlink()
    assert file.read_bytes() == NEW


def test_all_names_of_a_file_have_its_new_text(file: Path) -> None:
    other = file.with_name("b.py")
    os.link(file, other)
    writing.replace(file, OLD, NEW)
    writing.replace(other, OLD, NEW)
    assert (file.read_bytes(), other.read_bytes()) == (NEW, NEW)
    assert others(file) == [other]


def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on(monkeypatch, ".new")
    with pytest.raises(OSError, match="No space left"):
        writing.replace(file, OLD, NEW)
    assert file.read_bytes() == OLD
    assert others(file) == []


def test_a_run_that_is_stopped_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_on(monkeypatch, ".new", error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        writing.replace(file, OLD, NEW)
    assert file.read_bytes() == OLD
    assert others(file) == []


def test_a_size_limit_leaves_the_file_as_it_was(file: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            writing.replace(file, OLD, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_bytes() == OLD
    assert others(file) == []


def without_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which no file can be made."""
    make = tempfile.mkstemp

    def refuse(*args: Any, **keywords: Any) -> tuple[int, str]:
        if keywords.get("dir") is not None:
            raise PermissionError(13, "Permission denied")
        return make(*args, **keywords)

    monkeypatch.setattr(tempfile, "mkstemp", refuse)


def test_a_file_in_a_folder_that_is_not_writable_is_written_in_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_place(monkeypatch)
    inode = file.stat().st_ino
    writing.replace(file, OLD, NEW)
    assert (file.read_bytes(), file.stat().st_ino) == (NEW, inode)
    assert others(file) == []


def test_a_file_that_cannot_be_replaced_is_written_in_place(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    writing.replace(file, OLD, NEW)
    assert file.read_bytes() == NEW
    assert others(file) == []


def test_what_was_written_in_place_in_vain_is_put_back(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_place(monkeypatch)
    fill, calls = writing._fill, []

    def full_once(target: Path, content: bytes) -> None:
        calls.append(target)
        fill(target, content[:20] if calls.count(file) == 1 and target == file else content)
        if target == file and calls.count(file) == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_fill", full_once)
    with pytest.raises(OSError, match="No space left"):
        writing.replace(file, OLD, NEW)
    assert file.read_bytes() == OLD
    assert others(file) == []


def test_where_the_old_text_cannot_be_put_back_a_copy_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_place(monkeypatch)
    fail_on(monkeypatch, "a.py")
    with pytest.raises(OSError, match="the file is incomplete now, its old text is in ") as caught:
        writing.replace(file, OLD, NEW)
    (copy,) = others(file)
    assert str(copy) in str(caught.value)
    assert copy.read_bytes() == OLD


@pytest.mark.parametrize("linked", [False, True])
def test_a_file_that_was_changed_meanwhile_is_left(file: Path, *, linked: bool) -> None:
    if linked:
        os.link(file, file.parent.parent / "b.py")
    file.write_bytes(b"edited")
    with pytest.raises(writing.ChangedMeanwhileError, match="changed meanwhile"):
        writing.replace(file, OLD, NEW)
    assert file.read_bytes() == b"edited"
    assert others(file) == []


def test_a_file_that_is_not_writable_is_left(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="not writable"):
        writing.replace(file, OLD, NEW)
    assert file.read_bytes() == OLD
