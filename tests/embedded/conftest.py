from __future__ import annotations

from collections.abc import Iterator

import pytest

from .rig import Proxy, embedded, pushpin


@pytest.fixture(scope="package", params=["embedded", "pushpin"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """Either proxy in front of a scripted backend. Tests share it: each has paths and channels of its own."""
    with {"embedded": embedded, "pushpin": pushpin}[request.param]() as running:
        yield running
