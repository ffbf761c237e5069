from __future__ import annotations

import threading
from typing import Any

import pytest

from grip_consumers.embedded import EmbeddedProxy
from grip_consumers.testing.probe import probe
from grip_consumers.testing.processes import answers, wait_until
from tests.embedded.rig import KEY, serve
from tests.fronts import Forwarder


class Without:
    """A proxy to which requests for the probe's path go on, but for one kind of them that gets this status."""

    def __init__(self, port: int, kind: str, status: int) -> None:
        self.proxy = EmbeddedProxy(Forwarder(f"http://127.0.0.1:{port}"), signing_key=KEY)
        self.kind, self.status = kind, status

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != self.kind:
            await self.proxy(scope, receive, send)
            return
        prefix = {"http": "http", "websocket": "websocket.http"}[self.kind]
        await receive()
        await send({"type": f"{prefix}.response.start", "status": self.status, "headers": [(b"content-length", b"0")]})
        await send({"type": f"{prefix}.response.body", "body": b""})


@pytest.mark.parametrize(
    ("kind", "status", "through"),
    [("nothing", 0, True), ("websocket", 502, False), ("websocket", 200, False), ("http", 500, False)],
)
def test_it_comes_through_when_handshakes_and_instructions_do(kind: str, status: int, through: bool) -> None:
    with probe() as asked, serve(Without(asked.port, kind, status)) as port:
        # Each request is given up soon, and a busy machine may be late.
        if through:
            wait_until(lambda: asked.comes_through(port), timeout=30)
        else:
            assert not asked.comes_through(port)


def test_nothing_comes_through_where_nobody_listens() -> None:
    with probe() as asked:
        gone = asked
    assert not gone.comes_through(gone.port)


def test_its_path_cannot_be_guessed_and_nothing_is_left_of_it() -> None:
    before = threading.active_count()
    with probe() as one, probe() as other:
        assert one.path != other.path
        assert answers(one.port, path=one.path) == 200
    assert answers(one.port, path=one.path) is None
    assert threading.active_count() <= before
