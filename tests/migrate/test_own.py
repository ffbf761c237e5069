"""Which `channels` of a project is a top-level module of its own, and which is nobody's business."""

from __future__ import annotations

from pathlib import Path

import pytest

from grip_consumers.migrate.own import own_channels

from .test_files import tree

#: Files of a project, and the one among them that is meant by ``import channels``.
OWN = {
    ("channels/__init__.py", "a.py"): "channels/__init__.py",
    ("channels.py",): "channels.py",
    ("src/manage.py", "src/channels/__init__.py", "src/app/views.py"): "src/channels/__init__.py",
    ("backend/manage.py", "backend/__init__.py", "backend/channels.py"): "backend/channels.py",
    ("libs/one/setup.py", "libs/one/models.py", "libs/one/channels.py"): "libs/one/channels.py",
    ("src/channels/__init__.py",): "src/channels/__init__.py",
}

NOBODYS = [
    ("app/__init__.py", "app/channels/__init__.py"),
    ("app/__init__.py", "app/channels.py"),
    ("app/models.py", "app/channels.py"),
    ("app/channels/routing.py",),
    ("app/channels.pyi",),
    ("venv/channels.py",),
    (".tox/lib/channels/__init__.py",),
]


@pytest.mark.parametrize("names", OWN)
def test_a_channels_where_modules_are_imported_from_is_found(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert own_channels(tree(tmp_path, *names)) == tmp_path / OWN[names]


@pytest.mark.parametrize("names", NOBODYS)
def test_a_channels_in_a_package_is_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert own_channels(tree(tmp_path, *names)) is None


@pytest.mark.parametrize("name", ["src/app", "src/app/views.py", "src/app/sub", "src/channels", "src/channels/a.py"])
def test_it_is_found_from_within_a_package_beside_it(tmp_path: Path, name: str) -> None:
    packages = [f"src/{package}/__init__.py" for package in ("app", "app/sub", "channels")]
    tree(tmp_path, "src/app/views.py", "src/channels/a.py", *packages)
    assert own_channels(tmp_path / name) == tmp_path / "src" / "channels" / "__init__.py"


@pytest.mark.parametrize("text", ["from apps.radio import x", "import apps.radio", 'INSTALLED_APPS = ["apps.radio"]'])
def test_a_folder_from_which_the_project_imports_is_a_package(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path, "manage.py", "apps/channels/__init__.py")
    assert own_channels(root) == root / "apps" / "channels" / "__init__.py"
    (root / "settings.py").write_text(text)
    assert own_channels(root) is None


def test_a_folder_that_is_named_is_not_its_own_channels(tmp_path: Path) -> None:
    assert own_channels(tree(tmp_path / "channels", "a.py")) is None


@pytest.mark.parametrize("pattern", ["channels", "src/channels"])
def test_what_is_excluded_is_none(tmp_path: Path, pattern: str) -> None:
    assert own_channels(tree(tmp_path, "src/channels/__init__.py"), (pattern,)) is None
