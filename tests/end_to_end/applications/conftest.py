"""The servers of this folder's suite: one project behind four ways in, which share a database and all proxies.

`GRIP_TESTS_LONG=1` tests all four of them, the short form two.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.end_to_end.swarm import either
from tests.fleet import TARGETS, Fleet, Project, Target
from tests.servers import ROOT, environment

SITE = "tests.end_to_end.applications.site"
PROJECT = Project(asgi=f"{SITE}.asgi:application", wsgi=f"{SITE}.wsgi:application", ready_path="/", shared=True)


@pytest.fixture(scope="session")
def applications_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All servers, started once for the suite."""
    folder = tmp_path_factory.mktemp("applications")
    env = {
        "APPLICATIONS_DATABASE": str(folder / "db.sqlite3"),
        "APPLICATIONS_SECRET_KEY": secrets.token_hex(16),
        "DJANGO_SETTINGS_MODULE": f"{SITE}.settings",
    }
    migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity", "0"]
    done = subprocess.run(
        migrate, cwd=ROOT, env=environment({**env, "GRIP_PROXIES": "[]"}), capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr

    def of_backend(name: str, grip_proxies: str) -> Mapping[str, str]:
        return {**env, "GRIP_PROXIES": grip_proxies}

    with Fleet(PROJECT, folder, of_backend) as started:
        yield started


#: Each of the proxies and each of the servers is among those of the short form.
WAYS = either(("embedded-uvicorn", "pushpin-gunicorn"), TARGETS)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, applications_fleet: Fleet) -> Iterator[Target]:
    """Each of these ways in; what its backend printed is shown when the test fails."""
    found = applications_fleet.targets[request.param]
    found.mark()
    yield found
    print(found.log())
