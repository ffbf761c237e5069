"""The servers of the parity suite: Channels as the reference, and the migrated site behind both proxies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fleet import FRONT_KEY, Fleet, Project, Target, embedded
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
    folder = parity_folder / "references"
    folder.mkdir()
    backends = {}
    for name, command in (("uvicorn", uvicorn), ("daphne", daphne)):
        backends[name] = Backend(
            f"channels-{name}",
            command(f"{project.PACKAGE}.asgi:application"),
            folder=folder,
            cwd=parity_folder / "channels",
            env=_fresh_site(folder, f"channels-{name}"),
            ready_path="/ready/",
        )
    try:
        start_all(backends.values())
        yield References(backends)
    finally:
        stop_all(backends.values())


def _fresh_site(folder: Path, name: str, grip_proxies: str = "[]") -> dict[str, str]:
    (folder / name).mkdir()
    shutil.copy(folder.parent / "database" / "db.sqlite3", folder / name)
    return project.site_environment(folder / name, grip_proxies=grip_proxies)


@pytest.fixture(scope="session")
def fleet(parity_folder: Path) -> Iterator[Fleet]:
    """The migrated project behind both proxies, on both kinds of server."""
    with _fleet(project.migrated(parity_folder / "grip"), parity_folder / "migrated") as started:
        yield started


@pytest.fixture(scope="session")
def unmigrated_fleet(parity_folder: Path) -> Iterator[Fleet]:
    """The same with the project that is still one of Channels."""
    with _fleet(project.unmigrated(parity_folder / "beside"), parity_folder / "unmigrated") as started:
        yield started


@pytest.fixture(scope="session")
def both_ways(parity_folder: Path) -> Iterator[dict[str, Target]]:
    """One process of the project as it was: clients reach it by Daphne, and by a proxy in front of that."""
    folder = parity_folder / "both"
    code = project.unmigrated(folder, *project.BOTH_WAYS)
    front = Backend(
        "both-front", uvicorn("tests.fronts:before_backend", factory=True), folder=folder, ready_path="/ready/"
    )
    backend = Backend(
        "both-daphne",
        daphne(f"{project.PACKAGE}.asgi:application"),
        folder=folder,
        cwd=code,
        env=_fresh_site(folder, "both-daphne", json.dumps([embedded(front.port)])),
        ready_path="/ready/",
    )
    front.env |= {"FRONT_KEY": FRONT_KEY, "FRONT_BACKEND": backend.url}
    try:
        start_all([backend, front])
        yield {
            "daphne": Target("daphne", backend.url, backend, backend),
            "embedded-daphne": Target("embedded-daphne", front.url, backend, front),
        }
    finally:
        stop_all([backend, front])


def _fleet(code: Path, folder: Path) -> Fleet:
    folder.mkdir()
    served = Project(
        asgi=f"{project.PACKAGE}.asgi:application",
        wsgi=f"{project.PACKAGE}.wsgi:application",
        ready_path="/ready/",
        code=code,
    )
    return Fleet(served, folder, lambda name, proxies: _fresh_site(folder, name, proxies))
