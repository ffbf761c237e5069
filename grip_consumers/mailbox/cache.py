"""A mailbox in a Django cache, which need not be able to do more than add a key that is not there.

Every entry is a key of its own, ``<log>:<position>``, made by `add`, with which exactly one of all who try at once
succeeds; whoever is beaten tries the next position. So a log has no holes, and where a key is missing behind one that
is there, the log ends. Where to start looking is told by a key ``<log>:end``, written after the entry: a hint, which
may stay behind the end for a moment while others append, but never tells a position that has not been taken.

The keys' own expiry, of whole seconds and less than exact in some caches, only clears away; what counts is the
deadline in the value.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Generator, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import BaseDatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from django.core.exceptions import ImproperlyConfigured

from grip_consumers.exceptions import ChannelFull, MailboxError

from .base import Clock, Log, Mailbox
from .per_thread import PerThread

__all__ = ["CacheMailbox", "configured", "is_process_local", "why_unfit"]

#: Slots that are asked for together with the hint, so that a few new entries cost no second round trip.
_FIRST_CHUNK = 4
#: Slots of a later request: of the first, and at most.
_CHUNK, _LARGEST_CHUNK = 16, 256
#: How many positions are tried one by one before looking where the log ends.
_TRIES = 8
#: Seconds for which the cache keeps things beyond their deadline: a cache may round, and the hint must not be gone
#: while somebody who has just read it goes on from there.
_SLACK, _END_SLACK = 1, 2
#: Seconds before a hint's deadline from which on it is prolonged before anybody relies on it.
_PROLONGED = 1.0

_END = struct.Struct(">qd")
_POSITION = struct.Struct(">q")
_DEADLINE = struct.Struct(">d")


class _End(NamedTuple):
    """The hint."""

    position: int
    #: When the log's last entry expires.
    deadline: float


class _Keys:
    """The keys of one log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.end = f"{name}:end"
        self.acknowledged = f"{name}:acknowledged"

    def claim(self, position: int) -> str:
        return f"{self._name}:{position}:taken"

    def slot(self, position: int) -> str:
        return f"{self._name}:{position}"

    def slots(self, first: int, last: int) -> list[str]:
        return [self.slot(position) for position in range(first, last + 1)]


#: What a reader of one log asks for, what it is given, and what it has found in the end.
_Reader: TypeAlias = Generator[list[str], Mapping[str, bytes], dict[int, bytes]]


class CacheMailbox(Mailbox):
    """Logs in the cache that `alias` names in CACHES.

    The cache must be shared by all processes, its `add` atomic, and what is written must be seen by whoever reads
    next. Fit are Redis (one server, without replicas) and Memcached, with Django's backends or others for them.
    Unfit are the local-memory cache beyond one process, the file-based cache (its `add` looks first and writes then),
    the database cache (it takes part in its caller's transactions: use DatabaseMailbox) and the dummy cache;
    `why_unfit` knows them.

    A cache that is full evicts. An entry that is lost this way was never sent as far as its readers can tell, and a
    log whose hint is lost starts anew, further on; entries behind the old end that were not read yet may be lost.
    """

    def __init__(self, alias: str = "default", *, prefix: str = "", clock: Clock = time.time) -> None:
        """Raises ImproperlyConfigured when there is no such cache."""
        super().__init__(alias, prefix=prefix, clock=clock)
        configured(alias)
        # Not from `caches`: those belong to a context, so every task of an event loop would connect anew.
        self._caches = PerThread(lambda: configured(alias), lambda cache: cache.close())

    def append(self, log: str, entry: bytes, *, expiry: float, capacity: int | None = None) -> int:
        """See `Mailbox.append`. Raises MailboxError when the cache takes nothing."""
        cache, keys = self._caches.get(), self._keys(log)
        deadline = self._clock() + expiry
        end = self._end(cache, keys, self.start_position(), expiry)
        limit = None if capacity is None else _Limit(log, capacity, _acknowledged(cache, keys))
        position = self._take(cache, keys, end.position, _DEADLINE.pack(deadline) + entry, expiry, limit)
        self._tell_end(cache, keys, _End(position, max(deadline, end.deadline)))
        return position

    def append_at(self, log: str, position: int, entry: bytes, *, expiry: float) -> bool:
        """See `Mailbox.append_at`."""
        cache, keys = self._caches.get(), self._keys(log)
        deadline = self._clock() + expiry
        # Of several who start a log at positions of their own one sets the hint, and the others see it.
        end = self._end(cache, keys, position, expiry)
        if end.position != position - 1:
            return False
        won = bool(cache.add(keys.slot(position), _DEADLINE.pack(deadline) + entry, timeout=_timeout(expiry, _SLACK)))
        # Also if not: the hint may have been left behind by a process that died, and would be told again and again.
        self._tell_end(cache, keys, _End(position, max(deadline, end.deadline) if won else end.deadline))
        return won

    def read(self, cursors: Mapping[str, int]) -> dict[str, Log]:
        """See `Mailbox.read`."""
        cache, now = self._caches.get(), self._clock()
        readers = {log: _reader(self._keys(log), cursor) for log, cursor in cursors.items()}
        wanted = {log: next(reader) for log, reader in readers.items()}
        entries: dict[str, Log] = {}
        while wanted:
            found = _get_many(cache, [key for keys in wanted.values() for key in keys])
            wanted, answered = {}, wanted
            for log in answered:
                try:
                    wanted[log] = readers[log].send(found)
                except StopIteration as stop:
                    entries[log] = _unexpired(stop.value, now)
        return {log: entries[log] for log in cursors if entries[log]}

    def look(self, logs: Iterable[str], flags: Iterable[str] = ()) -> tuple[dict[str, int], frozenset[str]]:
        """See `Mailbox.look`."""
        now = self._clock()
        ends = {log: self._keys(log).end for log in logs}
        raised = {flag: self._key("flag", flag) for flag in flags}
        found = _get_many(self._caches.get(), [*ends.values(), *raised.values()])
        return (
            {log: _END.unpack(found[key])[0] if key in found else 0 for log, key in ends.items()},
            frozenset(flag for flag, key in raised.items() if key in found and _deadline(found[key]) > now),
        )

    def raise_flag(self, flag: str, *, expiry: float) -> None:
        """See `Mailbox.raise_flag`."""
        value = _DEADLINE.pack(self._clock() + expiry)
        self._caches.get().set(self._key("flag", flag), value, timeout=_timeout(expiry, _SLACK))

    def acknowledge(self, log: str, position: int, *, expiry: float) -> None:
        """See `Mailbox.acknowledge`."""
        key = self._keys(log).acknowledged
        self._caches.get().set(key, _POSITION.pack(position), timeout=_timeout(expiry, _SLACK))

    def take(self, log: str) -> bytes | None:
        """See `Mailbox.take`."""
        cache, keys = self._caches.get(), self._keys(log)
        taken = _acknowledged(cache, keys)
        while entries := _following(cache, keys, taken):
            for position, value in sorted(entries.items()):
                if self._claim(cache, keys, position, value):
                    return value[_DEADLINE.size :]
            taken = max(entries)
        return None

    def _claim(self, cache: BaseCache, keys: _Keys, position: int, value: bytes) -> bool:
        """Whether the entry is unexpired and this caller's own: of all who add its claim, one succeeds."""
        left = _deadline(value) - self._clock()
        if left <= 0 or not cache.add(keys.claim(position), b"", timeout=_timeout(left, _SLACK)):
            return False
        # Somebody slower may set this back, which costs the next one a look at what is taken already.
        cache.set(keys.acknowledged, _POSITION.pack(position), timeout=_timeout(left, _SLACK))
        # The slot stays, without its content: where a slot is missing, the log would end.
        cache.set(keys.slot(position), _DEADLINE.pack(0), timeout=_timeout(left, _SLACK))
        return True

    def _key(self, kind: str, name: str) -> str:
        return f"grip_consumers.mailbox.{super()._key(kind, name)}"

    def _keys(self, log: str) -> _Keys:
        return _Keys(self._key("log", log))

    def _end(self, cache: BaseCache, keys: _Keys, start: int, expiry: float) -> _End:
        """The hint, made if there is none, of a log whose first entry is to be at `start`."""
        now = self._clock()
        timeout = _timeout(expiry, _END_SLACK)
        found = cache.get(keys.end)
        if found is not None:
            end = _End(*_END.unpack(found))
            # Were it to expire now, others would start the log anew, and readers go on there, before this process
            # writes where the log ended.
            if end.deadline - now > _PROLONGED or cache.touch(keys.end, timeout=timeout):
                return end
        fresh = _End(start - 1, now + expiry)
        if cache.add(keys.end, _END.pack(*fresh), timeout=timeout):
            return fresh
        found = cache.get(keys.end)
        return fresh if found is None else _End(*_END.unpack(found))

    def _take(self, cache: BaseCache, keys: _Keys, end: int, value: bytes, expiry: float, limit: _Limit | None) -> int:
        """Write the value to the first free slot behind `end`, and return its position."""
        position, tries = end + 1, 0
        while True:
            if limit is not None:
                limit.check(cache, keys, position, self._clock())
            if cache.add(keys.slot(position), value, timeout=_timeout(expiry, _SLACK)):
                return position
            tries += 1
            if tries % _TRIES == 0:
                position = max(position, _last(cache, keys, position - _TRIES, alias=self.alias))
            position += 1

    def _tell_end(self, cache: BaseCache, keys: _Keys, end: _End) -> None:
        """Write the hint.

        Somebody may have appended behind this and told so before; what is written here would hide that from `look`.
        So this looks once more: then the last one to write the hint sees what lies behind it.
        """
        while True:
            cache.set(keys.end, _END.pack(*end), timeout=_timeout(max(end.deadline - self._clock(), 0), _END_SLACK))
            last = _last(cache, keys, end.position)
            if last == end.position:
                return
            end = end._replace(position=last)


class _Limit:
    """How many unexpired entries may lie behind what was acknowledged."""

    def __init__(self, log: str, capacity: int, acknowledged: int) -> None:
        self._log = log
        self._capacity = capacity
        self._acknowledged = acknowledged

    def check(self, cache: BaseCache, keys: _Keys, position: int, now: float) -> None:
        """Raise ChannelFull if an entry at `position` would be one too many.

        As a log has no holes, that depends on a single slot: the one as far back as there may be entries.
        """
        oldest = position - self._capacity
        if oldest <= self._acknowledged:
            return
        value = cache.get(keys.slot(oldest))
        if value is not None and _deadline(value) > now:
            raise ChannelFull(self._log)


def _reader(keys: _Keys, cursor: int) -> _Reader:
    """Find what lies behind a cursor. What it asks for is fetched for all logs at once."""
    # Behind cursor 0 nothing can be guessed: positions start at the time of the first entry.
    ahead = keys.slots(cursor + 1, cursor + _FIRST_CHUNK) if cursor else []
    found = yield [keys.end, *ahead]
    entries: dict[int, bytes] = {}
    hint = _END.unpack(found[keys.end])[0] if keys.end in found else -1
    reached = cursor
    if ahead:
        reached = yield from _forward(keys, cursor, entries, found, _FIRST_CHUNK)
    if hint > reached or (not cursor and not hint):
        # What came next has expired, was evicted, or lies beyond a new start. Everything up to the hint was written
        # before the hint was read, so what a request that is made now does not find is gone for good.
        yield from _around(keys, hint, reached, entries)
    return entries


def _forward(
    keys: _Keys, position: int, entries: dict[int, bytes], found: Mapping[str, bytes], count: int
) -> Generator[list[str], Mapping[str, bytes], int]:
    """Take what follows on `position` up to the first gap, and return the last position before that.

    `found` answers for the first `count` slots. A slot beyond a gap may be there: a cache reads many keys one after
    the other while others write. Its predecessor is there by then, so it is left to the next time.
    """
    while True:
        for _ in range(count):
            value = found.get(keys.slot(position + 1))
            if value is None:
                return position
            position += 1
            entries[position] = value
        count = min(max(2 * count, _CHUNK), _LARGEST_CHUNK)
        found = yield keys.slots(position + 1, position + count)


def _around(
    keys: _Keys, hint: int, floor: int, entries: dict[int, bytes]
) -> Generator[list[str], Mapping[str, bytes], None]:
    """Take what is there between `floor` and the hint, back to where much is missing, and what follows the hint."""
    first, last, count = max(floor + 1, hint - _CHUNK + 1), hint, _CHUNK
    around = yield keys.slots(first, last + _FIRST_CHUNK)
    found = around
    while True:
        there = [position for position in range(first, last + 1) if keys.slot(position) in found]
        entries.update((position, found[keys.slot(position)]) for position in there)
        if not there or first == floor + 1:
            break
        count = min(2 * count, _LARGEST_CHUNK)
        first, last = max(floor + 1, first - count), first - 1
        found = yield keys.slots(first, last)
    yield from _forward(keys, hint, entries, around, _FIRST_CHUNK)


def _last(cache: BaseCache, keys: _Keys, position: int, *, alias: str = "") -> int:
    """The last of the positions that are taken without a gap from behind `position` on, or `position` itself.

    With `alias`, raises MailboxError where none is: somebody was refused them all.
    """
    start, count = position, 1 if not alias else _TRIES
    while True:
        chunk = keys.slots(position + 1, position + count)
        found = _get_many(cache, chunk)
        for key in chunk:
            if key not in found:
                if position == start and alias and not found:
                    raise MailboxError(
                        f"The cache {alias!r} (GRIP_MAILBOX_ALIAS) refuses to add keys that it does not hold. "
                        "Is it full and not allowed to evict, or read from somewhere else than it is written to?"
                    )
                return position
            position += 1
        count = min(max(2 * count, _TRIES), _LARGEST_CHUNK)


def _following(cache: BaseCache, keys: _Keys, position: int) -> dict[int, bytes]:
    """Some of what lies behind a position, the oldest first of all; nothing only if there is nothing."""
    found = _get_many(cache, [keys.end, *keys.slots(position + 1, position + _FIRST_CHUNK)] if position else [])
    entries: dict[int, bytes] = {}
    for slot in range(position + 1, position + _FIRST_CHUNK + 1):
        if (value := found.get(keys.slot(slot))) is None:
            break
        entries[slot] = value
    if entries or (position and (keys.end not in found or _END.unpack(found[keys.end])[0] <= position)):
        return entries
    reader = _reader(keys, position)
    wanted = next(reader)
    while True:
        try:
            wanted = reader.send(_get_many(cache, wanted))
        except StopIteration as stop:
            behind: dict[int, bytes] = stop.value
            return behind


def _acknowledged(cache: BaseCache, keys: _Keys) -> int:
    found = cache.get(keys.acknowledged)
    return 0 if found is None else int(_POSITION.unpack(found)[0])


def _deadline(value: bytes) -> float:
    return float(_DEADLINE.unpack_from(value)[0])


def _unexpired(entries: Mapping[int, bytes], now: float) -> Log:
    return [
        (position, value[_DEADLINE.size :]) for position, value in sorted(entries.items()) if _deadline(value) > now
    ]


def _get_many(cache: BaseCache, keys: list[str]) -> Mapping[str, bytes]:
    # Redis knows no request for nothing.
    return cache.get_many(keys) if keys else {}


def _timeout(expiry: float, slack: int) -> int:
    return math.ceil(expiry) + slack


# Which caches will do ---------------------------------------------------------------------------------------------


def configured(alias: str) -> BaseCache:
    """A new instance of the cache of that alias, which connects when it is first used.

    Raises ImproperlyConfigured when CACHES has no such alias, or no such backend.
    """
    if alias not in caches.settings:
        known = ", ".join(map(repr, caches.settings))
        raise ImproperlyConfigured(f"GRIP_MAILBOX_ALIAS must be an alias in CACHES ({known}), not {alias!r}.")
    return caches.create_connection(alias)


def is_process_local(cache: BaseCache) -> bool:
    """Whether a cache keeps things in this process alone, or nowhere."""
    return isinstance(cache, (LocMemCache, DummyCache))


def why_unfit(cache: BaseCache) -> str | None:
    """Why several processes cannot share a mailbox in this cache; None if nothing is known against it."""
    if isinstance(cache, RedisCache):
        # Django writes to the first server and reads from the others, which learn of it a little later.
        replicated = len(getattr(cache, "_servers", ())) > 1
        return "it is read from replicas, which lag behind what was written" if replicated else None
    return next((reason for kind, reason in _UNFIT.items() if isinstance(cache, kind)), None)


_UNFIT: Mapping[type[BaseCache], str] = {
    LocMemCache: "it lies in the memory of one process",
    DummyCache: "it keeps nothing",
    FileBasedCache: "of two processes that add a key at once, both succeed",
    BaseDatabaseCache: "it takes part in the transactions of whoever writes (set GRIP_MAILBOX = 'database' instead)",
}
