"""Messages on their way to one client, in order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque

from .effects import Effect

__all__ = ["Outbox"]


class Outbox:
    """A queue with two doors: what a response says waits for room, what was published is dropped without it.

    Waiting holds up nobody but this one connection's backend; a publisher must never wait for a slow client.

    Args:
        size: effects that wait at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: deque[Effect] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    async def put(self, effect: Effect) -> None:
        """Add an effect, waiting for room. After `finish` it is discarded."""
        while len(self._queue) >= self._size and not self._closed:
            await self._change()
        self.offer(effect)

    def offer(self, effect: Effect) -> bool:
        """Add an effect if there is room; return False if there was none. After `finish` it is discarded."""
        if self._closed:
            return True
        if len(self._queue) >= self._size:
            return False
        self._queue.append(effect)
        self._changed.set()
        return True

    def finish(self, last: Effect) -> None:
        """Add the last effect, room or not, and discard all that comes later."""
        self._queue.append(last)
        self._closed = True
        self._changed.set()

    async def get(self) -> Effect:
        """Return the next effect, waiting for one."""
        while not self._queue:
            await self._change()
        self._changed.set()
        return self._queue.popleft()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
