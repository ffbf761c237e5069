"""Which files are found, and that nothing but the text changes in them."""

from __future__ import annotations

import codecs
import os
from pathlib import Path
from typing import Any

import pytest

from grip_consumers.migrate import files


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def found(root: Path, *exclude: str) -> list[str]:
    return [file.relative_to(root).as_posix() for file in files.python_files(root, exclude)]


def test_python_files_are_found_in_order(tmp_path: Path) -> None:
    assert found(tree(tmp_path, "b.py", "a/c.pyi", "a/b.py", "a/x.txt", "a.pyc")) == ["b.py", "a/b.py", "a/c.pyi"]


@pytest.mark.parametrize(
    "name", [".git/a.py", ".venv/a.py", "venv/a.py", "node_modules/a.py", "x/site-packages/a.py", "build/a.py"]
)
def test_what_tools_have_put_there_is_left_out(tmp_path: Path, name: str) -> None:
    assert found(tree(tmp_path, name)) == []


def test_a_virtual_environment_is_known_by_its_file(tmp_path: Path) -> None:
    assert found(tree(tmp_path, "mine/pyvenv.cfg", "mine/a.py")) == []


@pytest.mark.parametrize("pattern", ["old", "old/*", "a.py", "old/a.py"])
def test_what_is_excluded_is_left_out(tmp_path: Path, pattern: str) -> None:
    assert found(tree(tmp_path, "old/a.py"), pattern) == []


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a.py", "real/b.py")
    tree(tmp_path / "outside", "c.py")
    (root / "link.py").symlink_to(root / "a.py")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "round").symlink_to(root)
    assert found(root) == ["a.py", "real/b.py"]


def test_what_is_no_regular_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    os.mkfifo(tmp_path / "requirements.txt")
    assert found(tree(tmp_path, "b.py")) == ["b.py"]
    assert list(files.requirement_files(tmp_path)) == []


def test_it_is_told_which_folders_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tree(tmp_path, "a.py", "closed/b.py") / "closed"
    scan = os.scandir

    def refuse(path: str) -> Any:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused: list[OSError] = []
    assert [file.name for file in files.python_files(tmp_path, refused=refused.append)] == ["a.py"]
    assert [error.filename for error in refused] == [str(closed)]


def test_what_cannot_be_looked_at_is_not_taken_for_an_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "closed/b.py")
    exists = Path.exists

    def refuse(path: Path, **options: Any) -> bool:
        if path.name == "pyvenv.cfg":
            raise PermissionError(13, "Permission denied")
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", refuse)
    assert found(tmp_path) == ["closed/b.py"]


def test_a_file_that_is_named_is_taken(tmp_path: Path) -> None:
    file = tree(tmp_path, "node_modules/script") / "node_modules" / "script"
    assert list(files.python_files(file)) == [file]


def test_files_of_requirements(tmp_path: Path) -> None:
    listed = ["environment.yml", "pyproject.toml", "requirements-dev.txt", "requirements.txt", "setup.py"]
    tree(tmp_path, *listed, "requirements/prod.txt", "notes.txt")
    names = [file.relative_to(tmp_path).as_posix() for file in files.requirement_files(tmp_path)]
    assert names == [*listed, "requirements/prod.txt"]


@pytest.mark.parametrize(
    "data",
    [
        b"x = 1\r\ny = '''a\r\nb'''\r\n",
        b"x = 1\ny = 2\r\nz = 3",
        codecs.BOM_UTF8 + "x = 'é'\n".encode(),
        "# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"),
        b"\x0cx = 1\n\ty\n",
        b"",
    ],
)
def test_bytes_are_kept(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(data)
    text = files.read(file)
    assert text.bytes_of(text.content) == data


@pytest.mark.parametrize(
    "data",
    [
        b"x = '\xe9'\n",
        *(b"# coding: %b\nx = 1\n" % name for name in (b"nonsense", b"rot13", b"hex", b"undefined", b"punycode")),
        b"# coding: utf-16\nx = 1\n",
        b"# coding: unicode_escape\nx = '\\n'\n",
    ],
)
def test_what_cannot_be_decoded_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.py").write_bytes(data)
    with pytest.raises(SyntaxError):
        files.read(tmp_path / "a.py")
