"""Second looks at the mailbox, for connections whose subscriptions are only just being made.

A proxy shows a client the accept a little before it has made the subscriptions of the same response. What is
written into the mailbox in between asks for a callback that goes nowhere. So for a few seconds after a response
that subscribes, a thread of the process that made it compares the ends of the logs concerned, and asks for the
callback again where something has come. It lives as long as there is something to look at.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grip_consumers import in_process, mailbox, refresher

__all__ = ["DELAYS", "watch"]

logger = logging.getLogger("grip_consumers.followup")

#: Seconds after the response at which to look: mostly the first is late enough, but a proxy may be busy.
DELAYS = (0.03, 0.1, 0.3, 1.0, 3.0)


def watch(channel: str, ends: Mapping[str, int], delays: Sequence[float] = DELAYS) -> None:
    """Refresh `channel` if any of the logs has grown beyond the end given for it.

    `delays` says when to look, in seconds from now. Returns at once.
    """
    _watcher().add(_Watch(channel, dict(ends), delays))


@dataclass
class _Watch:
    channel: str
    ends: dict[str, int]
    delays: Sequence[float]
    began: float = field(default_factory=time.monotonic)
    looks: int = 0
    #: How often everything had been forgotten when this began.
    cleared: int = 0

    @property
    def due(self) -> float:
        return self.began + self.delays[self.looks]

    def has_grown(self, ends: Mapping[str, int]) -> bool:
        return any(ends.get(log, 0) > known for log, known in self.ends.items())

    def note(self, ends: Mapping[str, int]) -> None:
        self.ends.update({log: max(known, ends.get(log, 0)) for log, known in self.ends.items()})


class _Watcher:
    """The watches of one process, soonest first, and the thread that looks after them."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Watch]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._running = False
        #: How often everything was forgotten.
        self._cleared = 0

    def add(self, watch: _Watch) -> None:
        with self._changed:
            watch.cleared = self._cleared
            heapq.heappush(self._heap, (watch.due, next(self._numbers), watch))
            if self._running:
                self._changed.notify()
            else:
                self._running = self._started()

    def clear(self) -> None:
        with self._changed:
            self._heap.clear()
            self._cleared += 1
            self._changed.notify()

    def _started(self) -> bool:
        try:
            threading.Thread(target=self._run, name="grip-followup", daemon=True).start()
        except RuntimeError:
            # No more threads; the next watch tries again. What is missed lies there until the next batch.
            logger.exception("Nobody looks after connections that have just subscribed")
            self._heap.clear()
            return False
        return True

    def _run(self) -> None:
        while watches := self._next_due():
            try:
                self._look(watches)
            except Exception:
                # The mailbox or a proxy is away; there is another look.
                if watches[0].cleared == self._cleared:
                    logger.exception("Could not look after connections that have just subscribed")
            self._put_back(watches)

    def _next_due(self) -> list[_Watch]:
        """Wait for what is due next; nothing, and the thread ends, when there is no more."""
        with self._changed:
            while self._heap and (wait := self._heap[0][0] - time.monotonic()) > 0:
                self._changed.wait(wait)
            now = time.monotonic()
            due = []
            while self._heap and self._heap[0][0] <= now:
                due.append(heapq.heappop(self._heap)[2])
            self._running = bool(due)
            return due

    def _look(self, watches: list[_Watch]) -> None:
        ends, _ = mailbox.get().look({log for watch in watches for log in watch.ends})
        if grown := [watch for watch in watches if watch.has_grown(ends)]:
            refresher.refresh([watch.channel for watch in grown])
            for watch in grown:
                watch.note(ends)

    def _put_back(self, watches: list[_Watch]) -> None:
        with self._changed:
            for watch in [watch for watch in watches if watch.cleared == self._cleared]:
                watch.looks += 1
                if watch.looks < len(watch.delays):
                    heapq.heappush(self._heap, (watch.due, next(self._numbers), watch))


_watchers: dict[int, _Watcher] = {}


def _watcher() -> _Watcher:
    # By process id, as threads do not survive a fork.
    found = _watchers.get(os.getpid())
    return found if found is not None else _watchers.setdefault(os.getpid(), _Watcher())


def _let_go() -> None:
    if (watcher := _watchers.get(os.getpid())) is not None:
        watcher.clear()


in_process.at_end(_let_go)
