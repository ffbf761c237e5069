"""The servers of this folder's suite: one site behind four ways in, which share a database and all proxies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import fleet_of, shown
from tests.fleet import TARGETS, Fleet, Target


@pytest.fixture(scope="session")
def views_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All servers, started once for the suite."""
    with fleet_of("views", tmp_path_factory.mktemp("views")) as started:
        yield started


@pytest.fixture(params=TARGETS)
def way(request: pytest.FixtureRequest, views_fleet: Fleet) -> Iterator[Target]:
    """Each of the ways in; what its backend printed is shown when the test fails."""
    yield from shown(views_fleet.targets[request.param])
