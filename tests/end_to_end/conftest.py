"""The servers of the end-to-end suite: one site behind four ways in, which share a database and all proxies."""

from __future__ import annotations

import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fleet import TARGETS, Fleet, Project, Target
from tests.servers import ROOT, environment

PROJECT = Project(
    asgi="tests.end_to_end.site.asgi:application",
    wsgi="tests.end_to_end.site.wsgi:application",
    ready_path="/",
    shared=True,
)


@pytest.fixture(scope="session")
def site_environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What the sample site reads: a database of its own, migrated, and a key of its own."""
    folder = tmp_path_factory.mktemp("end_to_end")
    env = {
        "SAMPLE_SITE_DATABASE": str(folder / "db.sqlite3"),
        "SAMPLE_SITE_SECRET_KEY": secrets.token_hex(16),
        "DJANGO_SETTINGS_MODULE": "sample_site.settings",
    }
    manage(env, "migrate", "--verbosity", "0")
    return env


@pytest.fixture(scope="session")
def fleet(site_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All servers, started once for the suite."""

    def of_backend(name: str, grip_proxies: str) -> Mapping[str, str]:
        settings = {"DJANGO_SETTINGS_MODULE": "tests.end_to_end.site.settings", "GRIP_PROXIES": grip_proxies}
        return {**site_environment, **settings}

    with Fleet(PROJECT, tmp_path_factory.mktemp("servers"), of_backend) as started:
        yield started


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[Target]:
    """Each of the ways in; what its backend printed is shown when the test fails."""
    yield from shown(fleet.targets[request.param])


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room-{uuid.uuid4().hex[:10]}"


def shown(target: Target) -> Iterator[Target]:
    """The target of a test; what its backend printed meanwhile is shown when the test fails."""
    target.mark()
    yield target
    print(target.log())


@contextmanager
def fleet_of(name: str, folder: Path) -> Iterator[Fleet]:
    """The servers of the project in the folder `name/site` beside this, which share a database and all proxies.

    Its settings read NAME_DATABASE, NAME_SECRET_KEY and GRIP_PROXIES.
    """
    site = f"tests.end_to_end.{name}.site"
    project = Project(asgi=f"{site}.asgi:application", wsgi=f"{site}.wsgi:application", ready_path="/", shared=True)
    env = {
        f"{name.upper()}_DATABASE": str(folder / "db.sqlite3"),
        f"{name.upper()}_SECRET_KEY": secrets.token_hex(16),
        "DJANGO_SETTINGS_MODULE": f"{site}.settings",
    }
    manage({**env, "GRIP_PROXIES": "[]"}, "migrate", "--run-syncdb", "--verbosity", "0")
    with Fleet(project, folder, lambda _, grip_proxies: {**env, "GRIP_PROXIES": grip_proxies}) as started:
        yield started


def manage(env: Mapping[str, str], *arguments: str) -> str:
    """Run a management command of the site in a process of its own and return what it printed."""
    command = [sys.executable, "-m", "django", *arguments]
    whole = environment(env)
    done = subprocess.run(command, env=whole, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout
