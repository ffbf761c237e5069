"""A mailbox in the memory of one process."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from grip_consumers.exceptions import ChannelFull

from .base import Clock, Log, Mailbox

__all__ = ["MemoryMailbox"]

#: Seconds between two clearances of what has expired.
_SWEEP_INTERVAL = 10.0


@dataclass
class _Log:
    end: int
    #: Position, when it expires, and the entry itself.
    entries: deque[tuple[int, float, bytes]] = field(default_factory=deque)

    def unexpired(self, now: float) -> bool:
        return any(deadline > now for _, deadline, _ in self.entries)

    def behind(self, cursor: int, now: float) -> Log:
        """The unexpired entries behind a cursor. Costs as much as there are: the end is looked at first."""
        found = []
        for position, deadline, entry in reversed(self.entries):
            if position <= cursor:
                break
            if deadline > now:
                found.append((position, entry))
        return found[::-1]


class MemoryMailbox(Mailbox):
    """Logs that no other process sees: for development with one process, and for tests.

    Never waits, so it may be called on an event loop.
    """

    blocking = False

    def __init__(self, alias: str = "default", *, prefix: str = "", clock: Clock = time.time) -> None:
        super().__init__(alias, prefix=prefix, clock=clock)
        self._logs: dict[str, _Log] = {}
        self._flags: dict[str, float] = {}
        #: Position and deadline of what was acknowledged.
        self._acknowledged: dict[str, tuple[int, float]] = {}
        self._highest = 0
        self._swept = 0.0
        self._locks: dict[int, threading.Lock] = {}

    def append(self, log: str, entry: bytes, *, expiry: float, capacity: int | None = None) -> int:
        """See `Mailbox.append`."""
        with self._mine():
            now = self._clock()
            self._check_capacity(log, capacity, now)
            known = self._logs.get(log)
            position = known.end + 1 if known else max(self.start_position(), self._highest + 1)
            self._put(log, position, now + expiry, entry)
            self._sweep(now)
            return position

    def append_at(self, log: str, position: int, entry: bytes, *, expiry: float) -> bool:
        """See `Mailbox.append_at`."""
        with self._mine():
            now = self._clock()
            known = self._logs.get(log)
            if known and known.end != position - 1 and (position <= known.end or known.unexpired(now)):
                return False
            self._put(log, position, now + expiry, entry)
            return True

    def read(self, cursors: Mapping[str, int]) -> dict[str, Log]:
        """See `Mailbox.read`."""
        with self._mine():
            now = self._clock()
            found = {log: self._logs[log].behind(cursor, now) for log, cursor in cursors.items() if log in self._logs}
        return {log: entries for log, entries in found.items() if entries}

    def look(self, logs: Iterable[str], flags: Iterable[str] = ()) -> tuple[dict[str, int], frozenset[str]]:
        """See `Mailbox.look`."""
        with self._mine():
            now = self._clock()
            known = {log: self._logs.get(log) for log in logs}
            ends = {log: found.end if found and found.unexpired(now) else 0 for log, found in known.items()}
            return ends, frozenset(flag for flag in flags if self._flags.get(flag, now) > now)

    def raise_flag(self, flag: str, *, expiry: float) -> None:
        """See `Mailbox.raise_flag`."""
        with self._mine():
            self._flags[flag] = self._clock() + expiry

    def acknowledge(self, log: str, position: int, *, expiry: float) -> None:
        """See `Mailbox.acknowledge`."""
        with self._mine():
            self._acknowledged[log] = (position, self._clock() + expiry)

    def take(self, log: str) -> bytes | None:
        """See `Mailbox.take`."""
        with self._mine():
            now = self._clock()
            entries = self._logs[log].entries if log in self._logs else deque()
            while entries:
                _, deadline, entry = entries.popleft()
                if deadline > now:
                    return entry
        return None

    def _mine(self) -> threading.Lock:
        # A lock that some other thread held while the process forked would never come free in the child, so each
        # process has one of its own; setdefault() lets threads that ask at once go on with the same.
        pid = os.getpid()
        return self._locks.get(pid) or self._locks.setdefault(pid, threading.Lock())

    def _check_capacity(self, log: str, capacity: int | None, now: float) -> None:
        if capacity is None or log not in self._logs:
            return
        acknowledged, deadline = self._acknowledged.get(log, (0, now))
        waiting = self._logs[log].behind(acknowledged if deadline > now else 0, now)
        if len(waiting) >= capacity:
            raise ChannelFull(log)

    def _put(self, log: str, position: int, deadline: float, entry: bytes) -> None:
        known = self._logs.setdefault(log, _Log(position))
        known.entries.append((position, deadline, entry))
        known.end = position
        self._highest = max(self._highest, position)

    def _sweep(self, now: float) -> None:
        if abs(now - self._swept) < _SWEEP_INTERVAL:
            return
        self._swept = now
        for name, log in list(self._logs.items()):
            log.entries = deque(item for item in log.entries if item[1] > now)
            if not log.entries:
                del self._logs[name]
        self._flags = {flag: deadline for flag, deadline in self._flags.items() if deadline > now}
        self._acknowledged = {log: item for log, item in self._acknowledged.items() if item[1] > now}
