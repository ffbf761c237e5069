"""The servers of this folder's suite: one project behind four ways in, which share a database and all proxies.

`GRIP_TESTS_LONG=1` tests all four of them, the short form two.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import fleet_of, shown
from tests.end_to_end.swarm import either
from tests.fleet import TARGETS, Fleet, Target


@pytest.fixture(scope="session")
def applications_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All servers, started once for the suite."""
    with fleet_of("applications", tmp_path_factory.mktemp("applications")) as started:
        yield started


#: Each of the proxies and each of the servers is among those of the short form.
WAYS = either(("embedded-uvicorn", "pushpin-gunicorn"), TARGETS)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, applications_fleet: Fleet) -> Iterator[Target]:
    """Each of these ways in; what its backend printed is shown when the test fails."""
    yield from shown(applications_fleet.targets[request.param])
