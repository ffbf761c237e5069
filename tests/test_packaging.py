"""What is installed: a wheel with `routing/` in its place, and nothing of the project at the top level."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: setuptools builds within the tree, and would find there what an earlier build has left.
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("grip_consumers", "routing"):
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(folder / "tree")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return next(folder.glob("grip_consumers-*.whl"))


def sources(folder: str, package: str) -> set[str]:
    return {f"{package}/{path.relative_to(ROOT / folder)}" for path in (ROOT / folder).rglob("*.py")}


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = sources("grip_consumers", "grip_consumers") | sources("routing", "grip_consumers/routing")
    assert held == modules | {"grip_consumers/py.typed"}


def test_the_wheel_is_imported_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import grip_consumers.routing as r; print(r.__file__)"
    run = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.stdout.strip() == str(tmp_path / "grip_consumers" / "routing" / "__init__.py"), run.stderr
