"""Held responses, in front of an ordinary HTTP server: through Pushpin, and through the embedded proxy before it.

The backend keeps a log, the publisher loses items, clients come at any time: each must get the whole log once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.protocol import (
    Channel,
    HeldResponse,
    Hold,
    Item,
    ResponseHint,
    StreamChunk,
    parse_last,
)
from grip_consumers.testing.pushpin import Pushpin
from tests.clients import http_client
from tests.embedded.rig import KEY, Backend, Proxy, Reply, Seen, serve
from tests.fronts import Forwarder

#: Seconds that a story may take.
PATIENCE = 30.0
ENTRIES = 25


@pytest.fixture(scope="module", params=["embedded", "pushpin"])
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    backend = Backend()
    with serve(backend) as port:
        if request.param == "pushpin":
            with Pushpin(port, sig_key=KEY.decode()) as pushpin:
                yield Proxy("pushpin", pushpin.port, f"{pushpin.control_uri}/publish/", backend)
        else:
            # The loop ends with the server, and with it no connection must be left.
            forwarder = Forwarder(f"http://127.0.0.1:{port}", idle=0)
            with serve(EmbeddedProxy(forwarder, signing_key=KEY)) as front:
                yield Proxy("embedded", front, f"http://127.0.0.1:{front}/.grip/publish/", backend)


class Log:
    """Numbered entries, which a stream gets as they come and a poll when they are there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.length = 0

    def stream(self, seen: Seen) -> Reply:
        start, end = self._last(seen, 0), self.length
        first = seen.query != b"more"
        # What falls between this answer and its hold is asked for after a second.
        timeout = 1 if first else 60
        hold = Hold("stream", [Channel(self.name, str(end))], next_link="?more", next_link_timeout=timeout)
        return self._reply(hold, range(start + 1, end + 1))

    def poll(self, seen: Seen) -> Reply:
        since, end = self._last(seen, int(seen.query)), self.length
        if since < end:
            return self._reply(None, range(since + 1, end + 1))
        return self._reply(Hold("response", [Channel(self.name, str(end))], timeout=5), ())

    def add(self) -> Item:
        self.length += 1
        entry = f"{self.length}\n"
        messages = [StreamChunk(entry), HeldResponse(body=entry)]
        return Item(self.name, messages, id=str(self.length), prev_id=str(self.length - 1))

    def _last(self, seen: Seen, otherwise: int) -> int:
        values = seen.values("grip-last")
        return int(parse_last(values)[self.name]) if values else otherwise

    def _reply(self, hold: Hold | None, numbers: range | tuple[()]) -> Reply:
        body = "".join(f"{number}\n" for number in numbers)
        return Reply(body.encode(), hold.headers() if hold else [], plain=True)


async def write(proxy: Proxy, log: Log) -> None:
    """Add the entries; every fifth is not published, as if the publisher had crashed, but never the last."""
    for number in range(1, ENTRIES + 1):
        item = log.add()
        if number % 5 or number == ENTRIES:
            # In order it would wait five seconds for an item that never comes.
            await proxy.publish({**item.as_dict(), "no-seq": True})
        await asyncio.sleep(0.02)
    # A poll that began to wait while the last entry was published would hear of it at its timeout only.
    await asyncio.sleep(0.5)
    await proxy.publish(Item(log.name, ResponseHint()).as_dict())


async def read_stream(proxy: Proxy, path: str, after: float) -> list[int]:
    await asyncio.sleep(after)
    text = ""
    async with (
        http_client(timeout=PATIENCE) as http,
        http.stream("GET", proxy.url + path) as response,
    ):
        async for part in response.aiter_text():
            text += part
            if f"\n{ENTRIES}\n" in text:
                break
    return [int(line) for line in text.split()]


async def read_polls(proxy: Proxy, path: str) -> list[int]:
    numbers: list[int] = []
    async with http_client(timeout=PATIENCE) as http:
        while not numbers or numbers[-1] < ENTRIES:
            response = await http.get(f"{proxy.url}{path}?{numbers[-1] if numbers else 0}")
            assert response.status_code == 200
            numbers += map(int, response.text.split())
    return numbers


async def test_every_client_gets_every_entry_once_though_some_are_not_published(proxy: Proxy) -> None:
    log = Log("log")
    proxy.backend.script("/stream", log.stream)
    proxy.backend.script("/poll", log.poll)
    readers = [read_stream(proxy, "/stream", number * 0.13) for number in range(4)]
    pollers = [read_polls(proxy, "/poll") for _ in range(2)]
    everything = asyncio.gather(*readers, *pollers, write(proxy, log))
    *numbers, _ = await asyncio.wait_for(everything, PATIENCE)
    assert [found == list(range(1, ENTRIES + 1)) for found in numbers] == [True] * len(numbers), numbers
