"""`manage.py runserver` of the sample site: nothing else is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients import http_client
from tests.servers import ROOT, Backend

from .conftest import manage
from .talking import hear, members, nothing, say

SHELL = (
    "from asgiref.sync import async_to_sync; from grip_consumers.layers import get_channel_layer; "
    "async_to_sync(get_channel_layer().group_send)('chat_{room}', "
    "{{'type': 'chat.message', 'message': {{'id': 0, 'message': 'from a shell'}}}})"
)


@pytest.fixture(scope="module")
def runserver(site_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """The development server, started by the sample site's own manage.py."""
    command = [sys.executable, str(Path("sample_site") / "manage.py"), "runserver", "PORT", "--noreload"]
    folder = tmp_path_factory.mktemp("runserver")
    server = Backend("runserver", command, folder=folder, env=site_environment, cwd=ROOT)
    try:
        yield server.start()
    finally:
        server.stop()
        print(server.log())


async def test_pages_and_static_files_are_served(runserver: Backend, room: str) -> None:
    async with http_client(base_url=runserver.url) as client:
        index, page = await client.get("/"), await client.get(f"/chat/{room}/")
        script, style = await client.get("/static/chat/room.js"), await client.get("/static/chat/chat.css")
        nowhere = await client.get("/chat/no room/")
    assert [index.status_code, page.status_code, script.status_code, style.status_code] == [200] * 4
    assert f'data-socket-path="/ws/chat/{room}/"' in page.text
    assert "new WebSocket" in script.text
    assert nowhere.status_code == 404


@pytest.mark.parametrize("style", ["", "async-"], ids=["sync", "async"])
async def test_rooms_work(runserver: Backend, room: str, style: str) -> None:
    async with members([runserver.url] * 2, f"/ws/{style}chat/{room}/") as (first, second):
        await say(first, "hello")
        assert await hear(first) + await hear(second) == ["hello"] * 2
        assert await nothing(first, second)


async def test_another_process_reaches_the_room(
    runserver: Backend, site_environment: Mapping[str, str], room: str
) -> None:
    async with members([runserver.url], f"/ws/chat/{room}/") as (member,):
        manage(site_environment, "shell", "-c", SHELL.format(room=room))
        assert await hear(member) == ["from a shell"]
