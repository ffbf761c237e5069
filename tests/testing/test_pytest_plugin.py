from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from websockets.sync.client import connect

from grip_consumers import conf
from grip_consumers.layers import get_channel_layer
from grip_consumers.testing import GripCommunicator, SyncCommunicator, pytest_plugin
from grip_consumers.testing.pytest_plugin import LiveServer

from . import site as project

pytestmark = pytest.mark.usefixtures("site")
PATIENCE = 20


async def test_communicators_of_the_projects_application(grip_communicator: Callable[..., GripCommunicator]) -> None:
    one, two = (grip_communicator("/ws/rooms/r/", application=project.routes) for _ in range(2))
    assert [await one.connect(), await two.connect()] == [(True, None)] * 2
    await get_channel_layer().group_send("r", {"type": "said", "text": "a"})
    assert [await one.receive_from(), await two.receive_from()] == ["a", "a"]
    whose = grip_communicator("/ws/whose/", headers=[(b"cookie", b"")])
    whose.scope["user"] = User(username="somebody")
    assert await whose.connect() == (True, None)


@pytest.mark.django_db
def test_clients_of_the_projects_application(grip_client: Callable[..., SyncCommunicator]) -> None:
    User.objects.create(username="of-the-test")
    clerk = grip_client("/ws/clerk/", batch_size=2)
    assert clerk.connect() == (True, None)
    clerk.send_to("of-the-consumer")
    assert clerk.receive_json_from() == ["of-the-consumer", "of-the-test"]


def test_what_is_left_open_is_closed(request: pytest.FixtureRequest) -> None:
    before = conf.get()
    made = pytest_plugin._made(SyncCommunicator, lambda communicator: communicator.stop())
    communicator = next(made)("/ws/rooms/r/", application=project.routes)
    communicator.connect()
    assert conf.get() != before
    with pytest.raises(StopIteration):
        next(made)
    assert conf.get() == before


def test_what_is_left_open_on_a_loop_that_goes_on_is_closed_though_nothing_runs_it() -> None:
    before = conf.get()
    loop = asyncio.new_event_loop()
    made = pytest_plugin._made(GripCommunicator, lambda communicator: communicator.stop(exceptions=False))
    communicator = next(made)("/ws/rooms/r/", application=project.routes)
    assert loop.run_until_complete(communicator.connect()) == (True, None)
    assert conf.get() != before
    with pytest.raises(StopIteration):
        next(made)
    assert conf.get() == before
    tasks = asyncio.all_tasks(loop)
    loop.run_until_complete(asyncio.wait(tasks, timeout=PATIENCE))
    assert asyncio.all_tasks(loop) == set()
    loop.close()


@pytest.mark.parametrize("word", ["first", "second"])
def test_the_live_server_serves_one_test_after_the_other(grip_live_server: LiveServer, word: str) -> None:
    with connect(f"{grip_live_server.ws_url}/ws/clerk/", proxy=None, open_timeout=PATIENCE) as socket:
        socket.send(word)
        assert socket.recv(PATIENCE) == f'["{word}"]'
    with connect(f"{grip_live_server.ws_url}/ws/rooms/r/", proxy=None, open_timeout=PATIENCE) as socket:
        async_to_sync(get_channel_layer().group_send)("r", {"type": "said", "text": word})
        assert socket.recv(PATIENCE) == word


def test_the_live_server_is_published_to_only_while_a_test_uses_it(request: pytest.FixtureRequest) -> None:
    before = conf.get()
    live = pytest_plugin._live(request, "_grip_embedded_server")
    next(live)
    assert [proxy.control_iss for proxy in conf.get().proxies or ()] == ["grip_consumers.embedded"]
    with pytest.raises(StopIteration):
        next(live)
    assert conf.get() == before


def test_the_plugin_is_loaded_without_django() -> None:
    code = "import grip_consumers.testing.pytest_plugin, sys; print('django' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "False", run.stderr


def test_the_fixtures_are_installed(pytestconfig: Any) -> None:
    assert pytestconfig.pluginmanager.get_plugin("grip_consumers") is pytest_plugin
