"""Connections on which the client says little: their ticks come in time, and nothing drops them.

`GRIP_TESTS_LONG=1 pytest -s tests/end_to_end/test_quiet_connections.py` is the long form: it waits for the 20 seconds
that a real Pushpin takes, and for the stream timeout of one where that is short, and prints what it has seen.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.urls import path
from grip_consumers.routing import ProtocolTypeRouter, URLRouter
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from grip_consumers import ticking
from grip_consumers.discovery import ISSUER
from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.embedded.connection import Limits
from grip_consumers.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from grip_consumers.testing.pushpin import Pushpin, version
from tests.batches import importable
from tests.embedded.rig import KEY, serve

from .swarm import LONG

#: From this version on Pushpin holds the clients itself, with a stream timeout that cannot be set.
SELF_CONTAINED = (1, 38)
#: Seconds of the long form: the shortest interval of a tick, and Pushpin's stream timeout.
INTERVAL, STREAM_TIMEOUT = 20, 12


@importable
class Ticking(AsyncWebsocketConsumer):
    tick_interval = INTERVAL

    async def connect(self) -> None:
        self.ticks = 0
        await self.accept()

    async def tick(self) -> None:
        self.ticks += 1
        await self.send(f"tick {self.ticks}")


class Site:
    """An application whose batches are counted, by path."""

    def __init__(self, *consumers: type[Any]) -> None:
        self.requests: dict[str, int] = {}
        routes = [path(f"{consumer.__name__.lower()}/", consumer.as_asgi()) for consumer in consumers]
        self._application = ProtocolTypeRouter({"websocket": URLRouter(routes)})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.requests[scope["path"]] = self.requests.get(scope["path"], 0) + 1
        await self._application(scope, receive, send)


def by_embedded(site: Site, limits: Limits, settings: Any) -> Any:
    settings.GRIP_PROXIES = [
        {"control_uri": "http://127.0.0.1:9/", "control_iss": ISSUER, "key": KEY, "verify_iss": ISSUER}
    ]
    return serve(EmbeddedProxy(site, signing_key=KEY, limits=limits))


@contextmanager
def by_pushpin(site: Site, settings: Any) -> Iterator[int]:
    with serve(site) as port, Pushpin(port, sig_key=KEY.decode()) as pushpin:
        settings.GRIP_PROXIES = [{"control_uri": pushpin.control_uri, "verify_key": KEY}]
        yield pushpin.port


async def texts(url: str, seconds: float, says: tuple[float, ...] = (), **options: Any) -> list[tuple[float, str]]:
    """What a client gets that says something at these times, and when; "dropped" as the last if it was."""
    found: list[tuple[float, str]] = []
    async with connect(url, **options) as client:
        begun = time.monotonic()

        def now() -> float:
            return round(time.monotonic() - begun, 1)

        async def speak() -> None:
            for when in says:
                await asyncio.sleep(begun + when - time.monotonic())
                await client.send("x")

        speaking = asyncio.ensure_future(speak())
        try:
            while (left := begun + seconds - time.monotonic()) > 0:
                heard = await asyncio.wait_for(client.recv(), left)
                found.append((now(), str(heard)))
        except asyncio.TimeoutError:
            pass
        except ConnectionClosed:
            found.append((now(), "dropped"))
        speaking.cancel()
    return found


def at_pace(found: list[tuple[float, str]], interval: float, *, late: float) -> bool:
    """Whether ticks, and nothing else, have come at their time."""
    return [text for _, text in found] == [f"tick {number}" for number in range(1, len(found) + 1)] and all(
        interval - 1.1 <= after - before <= interval + late
        for (before, _), (after, _) in zip([(0.0, ""), *found], found, strict=False)
    )


async def test_ticks_come_in_time_whether_the_client_is_quiet_talks_or_pings(settings: Any, monkeypatch: Any) -> None:
    settings.GRIP_HEARTBEAT = 1
    monkeypatch.setattr(ticking, "SHORTEST", 2)
    monkeypatch.setattr(ticking, "_EARLY", 100)
    monkeypatch.setattr(Ticking, "tick_interval", 2)
    site = Site(Ticking)
    with by_embedded(site, Limits(keep_alive_minimum=2), settings) as port:
        url = f"ws://127.0.0.1:{port}/ticking/"
        clients = [{}, {"says": (0.3, 0.6, 1.2)}, {"ping_interval": 0.5}]
        found = await asyncio.gather(*(texts(url, 3.0, **client) for client in clients))  # type: ignore[arg-type]
    for heard in found:
        # By the keep-alive alone, the second would hear of it at 3.2 seconds.
        assert len(heard) == 1
        assert at_pace(heard, 2, late=0.9)


@pytest.mark.skipif(not LONG, reason="takes a minute: set GRIP_TESTS_LONG=1")
@pytest.mark.parametrize("proxy", ["embedded", "pushpin"])
async def test_ticks_of_the_shortest_interval_keep_their_pace(settings: Any, proxy: str) -> None:
    settings.GRIP_HEARTBEAT = 5
    site = Site(Ticking)
    with by_embedded(site, Limits(), settings) if proxy == "embedded" else by_pushpin(site, settings) as port:
        url = f"ws://127.0.0.1:{port}/ticking/"
        clients: dict[str, dict[str, Any]] = {
            "quiet": {"ping_interval": None},
            "talks": {"ping_interval": None, "says": tuple(range(1, 64, 3))},
            "pings": {"ping_interval": 7},
        }
        found = await asyncio.gather(*(texts(url, 65.0, **options) for options in clients.values()))
    for name, heard in zip(clients, found, strict=True):
        print(f"{proxy} {name}: {heard}")
        assert len(heard) == 3
        assert at_pace(heard, INTERVAL, late=1.5)


@importable
class Quiet(WebsocketConsumer):
    pass


@pytest.fixture
def short_stream_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Pushpin's connection manager drop clients after some seconds in place of 30 minutes."""
    if version() >= SELF_CONTAINED:
        pytest.skip("this Pushpin's stream timeout cannot be set")
    wrapper = tmp_path / "condure"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("condure")} --stream-timeout={STREAM_TIMEOUT} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.skipif(not LONG, reason="takes a minute: set GRIP_TESTS_LONG=1")
@pytest.mark.parametrize("seconds", [5, 0])
async def test_a_heartbeat_keeps_pushpin_from_dropping_a_quiet_client_and_asks_the_backend_nothing(
    settings: Any, short_stream_timeout: None, seconds: int
) -> None:
    settings.GRIP_HEARTBEAT = seconds
    site = Site(Quiet, Ticking)
    with ExitStack() as stack:
        port = stack.enter_context(by_pushpin(site, settings))
        urls = [f"ws://127.0.0.1:{port}/{name}/" for name in ("quiet", "ticking")]
        quiet, ticks = await asyncio.gather(
            *(texts(url, 3 * STREAM_TIMEOUT, ping_interval=None, close_timeout=1) for url in urls)
        )
        print(f"heartbeat {seconds}: {quiet}, {ticks}, requests {site.requests}", file=sys.stderr)
        if seconds:
            assert (quiet, site.requests["/quiet/"] <= 2) == ([], True)
            assert [text for _, text in ticks] == ["tick 1"]
        else:
            assert [text for _, text in quiet] == ["dropped"]
            assert STREAM_TIMEOUT - 1 <= quiet[0][0] <= STREAM_TIMEOUT + 3
            # What the proxy asks the backend does not count, and the first tick would have come too late.
            assert [text for _, text in ticks] == ["dropped"]
