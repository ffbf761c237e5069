"""Channels that are no connection's behind a proxy: queues that processes receive from, as with any channel layer.

A name without a `!` is a queue that all processes share: what is sent to it lies in the mailbox until one of those who
receive takes it. A name that `new_name` has given belongs to this process, and what is sent to it from here never
leaves it; other processes leave theirs in one log for the whole process, which is read as long as anybody waits.

Such a channel can be in groups, too, which this process alone knows of: so consumers that a server or a test drives
directly, without a proxy, reach each other.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgpack

from grip_consumers import mailbox
from grip_consumers.exceptions import ChannelFull, MailboxError
from grip_consumers.inbox import EXPIRY, off_loop
from grip_consumers.mail import Discard, Entry, Event, Join, pack, unpack
from grip_consumers.naming import new_local_name, new_process, process_of, queue_log
from grip_consumers.types import Message

__all__ = ["add", "discard", "in_use", "is_local", "new_name", "receive", "send", "send_to_group"]

logger = logging.getLogger("grip_consumers.layers")

#: Seconds between two looks into the mailbox while nothing comes: the first, and the longest.
_SHORTEST, _LONGEST = 0.01, 0.25
#: Seconds between two clearances of what nobody has received.
_SWEEP_INTERVAL = 10.0

_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class _Process:
    """The channels of this process. Its methods may be called from any thread and never wait."""

    def __init__(self) -> None:
        self.name = new_process()
        self.in_use = False
        #: How far this process's log has been read.
        self.cursor = 0
        self.reading = False
        self._lock = threading.RLock()
        self._queues: dict[str, deque[tuple[float, Message]]] = {}
        self._groups: dict[str, dict[str, None]] = {}
        self._waiters: dict[str, list[_Waiter]] = {}
        self._swept = time.monotonic()

    def put(self, channel: str, message: Message, expiry: float, capacity: int) -> None:
        """Raises ChannelFull."""
        with self._lock:
            self._sweep()
            self._drop_expired(channel)
            queue = self._queues.setdefault(channel, deque())
            if len(queue) >= capacity:
                raise ChannelFull(channel)
            queue.append((time.monotonic() + expiry, copy.deepcopy(message)))
        self.wake(channel)

    def pop(self, channel: str) -> Message | None:
        with self._lock:
            self._drop_expired(channel)
            queue = self._queues.get(channel)
            if not queue:
                return None
            _, message = queue.popleft()
            if not queue:
                del self._queues[channel]
            return message

    def add(self, group: str, channel: str) -> None:
        with self._lock:
            self._groups.setdefault(group, {})[channel] = None

    def discard(self, group: str, channel: str) -> None:
        with self._lock:
            members = self._groups.get(group, {})
            members.pop(channel, None)
            if not members:
                self._groups.pop(group, None)

    def members(self, group: str) -> list[str]:
        with self._lock:
            return list(self._groups.get(group, ()))

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < _SWEEP_INTERVAL:
            return
        self._swept = time.monotonic()
        for channel in list(self._queues):
            self._drop_expired(channel)

    def _drop_expired(self, channel: str) -> None:
        queue = self._queues.get(channel)
        if queue is None or queue[0][0] > time.monotonic():
            return
        while queue and queue[0][0] <= time.monotonic():
            queue.popleft()
        if not queue:
            del self._queues[channel]
        # Nobody receives from it: a consumer that has failed never left its groups.
        for group in list(self._groups):
            self.discard(group, channel)

    # Waiting

    @contextmanager
    def waiting(self, channel: str) -> Iterator[asyncio.Future[None]]:
        """A future that is done when something is sent to the channel from this process."""
        loop = asyncio.get_running_loop()
        waiter = (loop, loop.create_future())
        with self._lock:
            self._waiters.setdefault(channel, []).append(waiter)
        try:
            yield waiter[1]
        finally:
            with self._lock:
                waiters = self._waiters[channel]
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[channel]

    def wake(self, channel: str) -> None:
        with self._lock:
            waiters = list(self._waiters.get(channel, ()))
        for loop, future in waiters:
            # A loop that has ended waits for nothing.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_finish, future)

    @contextmanager
    def only_reader(self) -> Iterator[bool]:
        """Whether the caller is the one who reads this process's log now."""
        with self._lock:
            mine, self.reading = not self.reading, True
        try:
            yield mine
        finally:
            if mine:
                self.reading = False


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


#: By process id: a child of a fork has channels of its own.
_processes: dict[int, _Process] = {}


def _process() -> _Process:
    pid = os.getpid()
    return _processes.get(pid) or _processes.setdefault(pid, _Process())


# Channels -----------------------------------------------------------------------------------------------------


def is_local(channel: str) -> bool:
    """Whether a name is that of a queue or of some process, and not of a connection."""
    return "!" not in channel or process_of(channel) is not None


def in_use() -> bool:
    """Whether this process has channels of its own, of consumers that are driven without a proxy, say."""
    return _process().in_use


def new_name(prefix: str = "specific.") -> str:
    """A channel name that this process alone receives from."""
    process = _process()
    process.in_use = True
    return new_local_name(process.name, prefix)


async def send(channel: str, message: Message, *, expiry: float = EXPIRY, capacity: int = 100) -> None:
    """Send a message to such a channel.

    Raises ChannelFull when `capacity` messages wait there, TypeError for a message that no other process can be given.
    """
    process, owner = _process(), process_of(channel)
    if owner == process.name:
        process.put(channel, message, expiry, capacity)
    elif owner is not None:
        await off_loop(_leave, owner, channel, Event(message), expiry, capacity)
    else:
        await off_loop(_enqueue, channel, Event(message), expiry, capacity)


def _enqueue(channel: str, event: Event, expiry: float, capacity: int | None) -> None:
    box = mailbox.get()
    box.append(queue_log(channel), pack(event), expiry=expiry, capacity=capacity)
    box.when_visible(lambda: _process().wake(channel))


def _leave(owner: str, channel: str, entry: Entry, expiry: float = EXPIRY, capacity: int | None = None) -> None:
    letter: bytes = msgpack.packb([channel, pack(entry), expiry], unicode_errors="surrogatepass")
    mailbox.get().append(queue_log(owner), letter, expiry=expiry, capacity=capacity)


async def receive(channel: str) -> Message:
    """Wait for the next message of such a channel; of several who wait for one, one gets it.

    Raises ValueError for a channel of another process.
    """
    process, owner = _process(), process_of(channel)
    if owner is None:
        return await _receive_shared(process, channel)
    if owner != process.name:
        raise ValueError(f"Expected a channel of this process ({process.name}!), got {channel!r}, which is another's.")
    pause = _SHORTEST
    while True:
        with process.waiting(channel) as told:
            if (message := process.pop(channel)) is not None:
                return message
            if mailbox.get().blocking:
                with process.only_reader() as mine:
                    if mine and await off_loop(_read_letters, process):
                        pause = _SHORTEST
                        continue
            await _wait(told, pause)
        pause = min(2 * pause, _LONGEST)


async def _receive_shared(process: _Process, channel: str) -> Message:
    pause = _SHORTEST
    while True:
        with process.waiting(channel) as told:
            if (found := await _take(channel)) is not None:
                return found.message
            await _wait(told, pause)
        pause = min(2 * pause, _LONGEST)


async def _wait(told: asyncio.Future[None], pause: float) -> None:
    # What no other process can reach needs no looking after.
    await asyncio.wait([told], timeout=pause if mailbox.get().blocking else None)


async def _take(channel: str) -> Event | None:
    """The next message of a queue. Who is cancelled meanwhile puts it back: nothing is lost."""
    if not mailbox.get().blocking:
        return _unpacked(channel, mailbox.get().take(queue_log(channel)))
    taking = asyncio.ensure_future(off_loop(lambda: mailbox.get().take(queue_log(channel))))
    try:
        return _unpacked(channel, await asyncio.shield(taking))
    except asyncio.CancelledError:
        while not taking.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([taking])
        found = None if taking.cancelled() or taking.exception() else _unpacked(channel, taking.result())
        if found is not None:
            await asyncio.shield(off_loop(_enqueue, channel, found, EXPIRY, None))
        raise


def _unpacked(channel: str, data: bytes | None) -> Event | None:
    if data is None:
        return None
    try:
        found = unpack(data)
    except MailboxError as error:
        logger.error("A message for the channel %s is lost: %s", channel, error)
        return None
    return found if isinstance(found, Event) else None


def _read_letters(process: _Process) -> bool:
    """Hand out what other processes have left for this one; whether there was anything."""
    log = queue_log(process.name)
    try:
        letters = mailbox.get().read({log: process.cursor}).get(log, [])
        if letters:
            process.cursor = letters[-1][0]
            mailbox.get().acknowledge(log, process.cursor, expiry=EXPIRY)
    except Exception:
        # What comes from this process needs no mailbox.
        logger.exception("What other processes have left for this one cannot be read")
        return False
    for _, letter in letters:
        try:
            channel, data, expiry = msgpack.unpackb(letter, unicode_errors="surrogatepass")
            _obey(process, channel, unpack(data), expiry)
        except ChannelFull as error:
            logger.warning("A message for the channel %s is lost: it is full", error)
        except Exception:
            logger.exception("What another process has left for this one is lost")
    return bool(letters)


def _obey(process: _Process, channel: str, entry: Entry, expiry: float) -> None:
    if isinstance(entry, Event):
        process.put(channel, entry.message, expiry, _CAPACITY)
    elif isinstance(entry, Join):
        process.add(entry.group, channel)
    elif isinstance(entry, Discard):
        process.discard(entry.group, channel)


#: Messages of other processes that wait for one channel here; their senders have been held to the layer's capacity.
_CAPACITY = 10_000


# Groups -------------------------------------------------------------------------------------------------------


def add(group: str, channel: str) -> None:
    """Make such a channel a member of a group, within the process that it belongs to."""
    process, owner = _process(), process_of(channel)
    if owner is None or owner == process.name:
        process.add(group, channel)
    else:
        _leave(owner, channel, Join(group, 0))


def discard(group: str, channel: str) -> None:
    """End that membership; nothing happens if there is none."""
    process, owner = _process(), process_of(channel)
    if owner is None or owner == process.name:
        process.discard(group, channel)
    else:
        _leave(owner, channel, Discard(group))


async def send_to_group(group: str, message: Message, *, expiry: float = EXPIRY, capacity: int = 100) -> None:
    """Send a message to the members that this process knows of. A full channel misses it."""
    for channel in _process().members(group):
        with suppress(ChannelFull):
            await send(channel, message, expiry=expiry, capacity=capacity)
