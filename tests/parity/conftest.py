"""The servers of the parity suite: Channels as the reference, and the migrated site behind both proxies."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fleet import Fleet, Project
from tests.servers import Backend, daphne, start_all, stop_all, uvicorn

from . import project
from .client import Record


@pytest.fixture(scope="session")
def parity_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds both copies of the project and one migrated database to copy."""
    folder = tmp_path_factory.mktemp("parity")
    project.original(folder / "channels")
    (folder / "database").mkdir()
    project.create_database(folder / "database", folder / "channels")
    return folder


@dataclass
class References:
    """Channels by each server, and what was seen there so far, by the name of the behaviour."""

    servers: dict[str, Backend]
    transcripts: dict[str, list[Record]] = field(default_factory=dict)


@pytest.fixture(scope="session")
def references(parity_folder: Path) -> Iterator[References]:
    """The original project on real Channels, by two servers."""
    backends = {}
    for name, command in (("uvicorn", uvicorn), ("daphne", daphne)):
        backends[name] = Backend(
            f"channels-{name}",
            command(f"{project.PACKAGE}.asgi:application"),
            folder=parity_folder,
            cwd=parity_folder / "channels",
            env=_fresh_site(parity_folder, f"channels-{name}"),
            ready_path="/ready/",
        )
    try:
        start_all(backends.values())
        yield References(backends)
    finally:
        stop_all(backends.values())


def _fresh_site(folder: Path, name: str, grip_proxies: str = "[]") -> dict[str, str]:
    (folder / name).mkdir()
    shutil.copy(folder / "database" / "db.sqlite3", folder / name)
    return project.site_environment(folder / name, grip_proxies=grip_proxies)


@pytest.fixture(scope="session")
def fleet(parity_folder: Path) -> Iterator[Fleet]:
    """The migrated project behind both proxies, on both kinds of server."""
    code = project.migrated(parity_folder / "grip")
    served = Project(
        asgi=f"{project.PACKAGE}.asgi:application",
        wsgi=f"{project.PACKAGE}.wsgi:application",
        ready_path="/ready/",
        code=code,
    )
    with Fleet(served, parity_folder, lambda name, proxies: _fresh_site(parity_folder, name, proxies)) as started:
        yield started
