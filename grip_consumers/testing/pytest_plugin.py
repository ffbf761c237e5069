"""Fixtures for pytest, there as soon as this package is installed; importing this imports nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .grip import GripCommunicator
    from .sync import SyncCommunicator

__all__ = ["LiveServer"]


@dataclass(frozen=True)
class LiveServer:
    """The project on a port: `url` for pages, `ws_url` for WebSockets."""

    url: str
    ws_url: str


@pytest.fixture
def grip_communicator() -> Iterator[Callable[..., GripCommunicator]]:
    """Makes GripCommunicators: `grip_communicator(path, …)`, of the project's application unless another is given.

    That is the keyword argument `application`. Those that are left open are ended after the test.
    """
    from .grip import GripCommunicator

    yield from _made(GripCommunicator, lambda communicator: communicator.stop(exceptions=False))


@pytest.fixture
def grip_client() -> Iterator[Callable[..., SyncCommunicator]]:
    """Makes SyncCommunicators for tests that are no coroutines, as `grip_communicator` does."""
    from .sync import SyncCommunicator

    yield from _made(SyncCommunicator, lambda communicator: communicator.stop())


@pytest.fixture
def grip_live_server(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[LiveServer]:
    """The project behind the embedded proxy, on a port. Needs pytest-django and the extra `server`."""
    yield from _live(request, "_grip_embedded_server")


@pytest.fixture
def grip_pushpin_live_server(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[LiveServer]:
    """The same behind a private Pushpin, which has to be installed."""
    yield from _live(request, "_grip_pushpin_server")


@pytest.fixture(scope="module")
def _grip_embedded_server() -> Iterator[Any]:
    from .servers import EmbeddedServer

    yield from _served(EmbeddedServer)


@pytest.fixture(scope="module")
def _grip_pushpin_server() -> Iterator[Any]:
    from .servers import PushpinServer

    yield from _served(PushpinServer)


def _made(kind: Any, stop: Callable[[Any], object]) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(path: str, *args: Any, application: Any = None, **options: Any) -> Any:
        from grip_consumers.routing import get_default_application

        communicator = kind(application or get_default_application(), path, *args, **options)
        made.append(communicator)
        return communicator

    yield make
    for communicator in made:
        try:
            stop(communicator)
        except RuntimeError:
            # Its event loop is closed, and all tasks with it.
            continue


def _live(request: pytest.FixtureRequest, name: str) -> Iterator[LiveServer]:
    from django.test.utils import modify_settings

    from .live import ChannelsLiveServerTestCase

    # For each test: what a test does to the settings has to be undone in order.
    with modify_settings(ALLOWED_HOSTS={"append": ChannelsLiveServerTestCase.host}):
        server = request.getfixturevalue(name)
        server.publish_here(True)
        address = f"{server.host}:{server.port.value}"
        yield LiveServer(f"http://{address}", f"ws://{address}")
        server.publish_here(False)


def _served(kind: Any) -> Iterator[Any]:
    """A server for the tests of one file."""
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    from .live import ChannelsLiveServerTestCase, _started, make_application

    server = kind(ChannelsLiveServerTestCase.host, lambda: make_application(static_wrapper=ASGIStaticFilesHandler))
    _started(server)
    yield server
    server.terminate()
    server.join()
