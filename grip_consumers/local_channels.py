"""Channels that are no connection's behind a proxy: queues that processes receive from, as with any channel layer.

A name without a `!` is a queue that all processes share: what is sent to it lies in the mailbox until one of those who
receive takes it. A name that `new_name` has given belongs to this process, and what is sent to it from here never
leaves it. Other processes leave theirs in the mailbox under the channel's name, and say so in one log for the whole
process, which is read as long as anybody waits.

What is taken from the mailbox is taken and put where this process keeps it in one go, by a thread that nobody can
cancel; those who wait get it from there. So one who stops waiting loses nothing: the next one gets it.

Such a channel can be in groups, too, which this process alone knows of: so consumers that a server or a test drives
directly, without a proxy, reach each other.
"""

from __future__ import annotations

import asyncio
import atexit
import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import Context
from dataclasses import dataclass
from typing import TypeAlias

import msgpack
from django.db import connections

from grip_consumers import mailbox
from grip_consumers.exceptions import ChannelFull
from grip_consumers.inbox import EXPIRY, off_loop
from grip_consumers.mail import Discard, Entry, Event, Join, pack, unpack
from grip_consumers.naming import new_local_name, new_process, process_of, queue_log
from grip_consumers.types import Message

__all__ = [
    "Capacity",
    "add",
    "discard",
    "in_use",
    "is_local",
    "leftover",
    "new_name",
    "receive",
    "send",
    "send_to_group",
]

logger = logging.getLogger("grip_consumers.layers")

#: Seconds between two looks into the mailbox while nothing comes: the first, and the longest.
_SHORTEST, _LONGEST = 0.01, 0.25
#: Seconds between two clearances of what nobody has received.
_SWEEP_INTERVAL = 10.0
#: Seconds for which this process keeps a message that it took for somebody who is gone: one who waits for a limited
#: time, again and again, gets it in its turn.
_GRACE = 1.0

#: How many messages wait for a channel at most: for each the same, or as this says of its name.
Capacity: TypeAlias = int | Callable[[str], int]
_Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
#: A queue that all processes share, in the mailbox where it lies.
_Queue = tuple[mailbox.Mailbox, str]


@dataclass(eq=False)
class _Taken:
    """A message that this process has taken from a queue, until somebody receives it."""

    queue: _Queue
    message: Message
    #: When it expires, in seconds since the epoch.
    deadline: float
    #: As it lay in the mailbox.
    entry: bytes


@dataclass(eq=False)
class _Reader:
    """What reads this process's log on one event loop, for all who wait there."""

    task: asyncio.Task[None]
    users: int = 0


class _Process:
    """The channels of this process. Its methods may be called from any thread and never wait."""

    def __init__(self) -> None:
        self.name = new_process()
        self.in_use = False
        #: How far this process's log has been read, and whether that failed the last time.
        self.cursor = 0
        self.failing = False
        self._reading = False
        self._pause, self._due = _SHORTEST, 0.0
        self._readers: dict[asyncio.AbstractEventLoop, _Reader] = {}
        self._lock = threading.RLock()
        self._queues: dict[str, deque[tuple[float, Message]]] = {}
        self._groups: dict[str, dict[str, None]] = {}
        self._waiters: dict[str, list[_Waiter]] = {}
        self._swept = time.monotonic()
        self._taken: dict[_Queue, deque[_Taken]] = {}
        self._taking: set[_Queue] = set()

    # Its own channels

    def put(self, channel: str, message: Message, expiry: float, capacity: int) -> None:
        """Raises ChannelFull."""
        with self._lock:
            self._sweep()
            self._drop_expired(channel)
            if len(self._queues.get(channel, ())) >= capacity:
                raise ChannelFull(channel)
            self._queues.setdefault(channel, deque()).append((time.monotonic() + expiry, message))
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
        if not queue or queue[0][0] > time.monotonic():
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
        """A future that is done when there is something new for the channel in this process."""
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
                    self._nobody_waits(channel)

    def wake(self, channel: str) -> None:
        with self._lock:
            waiters = list(self._waiters.get(channel, ()))
        for loop, future in waiters:
            # A loop that has ended waits for nothing.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_finish, future)

    # What is taken from queues that all processes share

    @contextmanager
    def taking(self, queue: _Queue) -> Iterator[bool]:
        """Whether the calling thread is to take a message: somebody waits for one, and no other thread is at it.

        One at a time, or a thread might overtake another with a later message. Where nothing waits for a disk or
        another process there is no need.
        """
        with self._lock:
            wanted = len(self._waiters.get(queue[1], ())) > len(self._taken.get(queue, ()))
            mine = wanted and not (queue in self._taking and queue[0].blocking)
            if mine:
                self._taking.add(queue)
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    self._taking.discard(queue)
                self.wake(_end_of_taking(queue))

    def is_taking(self, queue: _Queue) -> bool:
        with self._lock:
            return queue in self._taking

    def has_taken(self, queue: _Queue) -> bool:
        with self._lock:
            return queue in self._taken

    def keep(self, taken: _Taken, *, first: bool = False) -> None:
        """Give a message to whoever receives next: behind those that were taken before it, or `first` of all."""
        channel = taken.queue[1]
        with self._lock:
            kept = self._taken.setdefault(taken.queue, deque())
            (kept.appendleft if first else kept.append)(taken)
            if channel not in self._waiters:
                _put_back_later(self, taken)
        self.wake(channel)

    def pop_taken(self, queue: _Queue) -> Message | None:
        with self._lock:
            while kept := self._taken.get(queue):
                taken = kept[0]
                self._remove(taken)
                if taken.deadline > time.time():
                    return taken.message
        return None

    def withdraw(self, taken: _Taken, *, anyway: bool = False) -> bool:
        """Take back a message that nobody waits for, or `anyway`; False if it is gone or will be at once."""
        with self._lock:
            awaited = taken.queue[1] in self._waiters and not anyway
            if awaited or taken not in self._taken.get(taken.queue, ()):
                return False
            self._remove(taken)
            return True

    def all_taken(self) -> list[_Taken]:
        with self._lock:
            return [taken for kept in self._taken.values() for taken in kept]

    def _remove(self, taken: _Taken) -> None:
        kept = self._taken[taken.queue]
        kept.remove(taken)
        if not kept:
            del self._taken[taken.queue]

    def _nobody_waits(self, channel: str) -> None:
        for taken in self.all_taken():
            if taken.queue[1] == channel:
                _put_back_later(self, taken)

    # Reading this process's log

    @contextmanager
    def read_here(self) -> Iterator[asyncio.Future[None]]:
        """Have this process's log read meanwhile: by one task for all who wait on this event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._readers:
                # Nobody's context: it outlives the request, or the consumer, that happens to be the first.
                self._readers[loop] = _Reader(Context().run(loop.create_task, _read_on(self)))
                self.hurry()
            reader = self._readers[loop]
            reader.users += 1
        try:
            yield reader.task
        finally:
            with self._lock:
                reader.users -= 1
                if not reader.users:
                    del self._readers[loop]
                    # The loop may have been closed without ending what waits on it.
                    with suppress(RuntimeError):
                        reader.task.cancel()

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """Whether the calling thread is to read this process's log: it is time, and no other thread is at it.

        The thread has to hand out what it finds before it leaves, or the next one would read the same again.
        """
        with self._lock:
            mine = not self._reading and self._due <= time.monotonic()
            self._reading = self._reading or mine
        try:
            yield mine
        finally:
            if mine:
                self._reading = False

    def until_reading(self) -> float:
        """Seconds until it is time to read the log again."""
        with self._lock:
            return _LONGEST if self._reading else max(0.0, self._due - time.monotonic())

    def has_read(self, came: bool) -> None:
        with self._lock:
            self._pause = _SHORTEST if came else min(2 * self._pause, _LONGEST)
            self._due = time.monotonic() + self._pause

    def hurry(self) -> None:
        """Have the log read soon: somebody begins to wait, or another process may be about to answer."""
        with self._lock:
            self._pause = _SHORTEST
            self._due = min(self._due, time.monotonic() + _SHORTEST)
        self.wake(self.name)


def _end_of_taking(queue: _Queue) -> str:
    """What to wait for until no thread takes from a queue: the name of no channel."""
    return f"taking {queue[1]}"


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
        process.put(channel, copy.deepcopy(message), expiry, capacity)
        return
    await off_loop(_enqueue, channel, Event(message), expiry, capacity)
    process.hurry()


def _enqueue(channel: str, event: Event, expiry: float, capacity: int) -> None:
    box, owner = mailbox.get(), process_of(channel)
    entry: bytes = msgpack.packb([time.time() + expiry, pack(event)])
    try:
        box.append(queue_log(channel), entry, expiry=expiry, capacity=capacity)
    except ChannelFull:
        # The mailbox knows it by the name of its log.
        raise ChannelFull(channel) from None
    if owner is not None:
        _leave(owner, channel, None, expiry)
    box.when_visible(lambda: _process().wake(channel))


def _leave(owner: str, channel: str, entry: Entry | None, expiry: float = EXPIRY) -> None:
    """Tell a process what is to become of one of its channels; None: there is a message for it."""
    letter: bytes = msgpack.packb([channel, None if entry is None else pack(entry)], unicode_errors="surrogatepass")
    mailbox.get().append(queue_log(owner), letter, expiry=expiry)


async def receive(channel: str) -> Message:
    """Wait for the next message of such a channel; of several who wait for one, one gets it.

    Who is cancelled meanwhile leaves it to the next. Raises ValueError for a channel of another process.
    """
    process, owner = _process(), process_of(channel)
    if owner is None:
        return await _receive_shared(process, (mailbox.get(), channel))
    if owner != process.name:
        raise ValueError(f"Expected a channel of this process ({process.name}!), got {channel!r}, which is another's.")
    while True:
        with process.waiting(channel) as told:
            if (message := process.pop(channel)) is not None:
                return message
            # What no other process can reach needs no looking after.
            with process.read_here() if mailbox.get().blocking else nullcontext(told) as reader:
                await asyncio.wait({told, reader}, return_when=asyncio.FIRST_COMPLETED)
                if reader.done():
                    # It never ends by itself: raise what it has failed with.
                    reader.result()


async def _receive_shared(process: _Process, queue: _Queue) -> Message:
    box, channel = queue
    pause = _SHORTEST
    while True:
        with process.waiting(channel) as told:
            more = True
            while more:
                if (message := process.pop_taken(queue)) is not None:
                    return message
                more = await off_loop(_take, process, queue)
            await asyncio.wait([told], timeout=pause if box.blocking else None)
        pause = min(2 * pause, _LONGEST)


def _take(process: _Process, queue: _Queue) -> bool:
    """Take a queue's next message into this process. False if there was nothing to take."""
    with process.taking(queue) as mine:
        if not mine:
            return process.has_taken(queue)
        box, channel = queue
        if (entry := box.take(queue_log(channel))) is None:
            return False
        if (found := _opened(channel, entry)) is not None:
            message, deadline = found
            process.keep(_Taken(queue, message, deadline, entry))
        return True


def _opened(channel: str, entry: bytes) -> tuple[Message, float] | None:
    """A message and when it expires; None, and an error in the log, for what cannot be read."""
    try:
        deadline, packed = msgpack.unpackb(entry)
        found = unpack(packed)
        assert isinstance(found, Event)
        return found.message, float(deadline)
    except Exception as error:
        logger.error("A message for the channel %s is lost: %s: %s", channel, type(error).__name__, error)
        return None


async def leftover(channel: str) -> Message | None:
    """What was being taken from a queue for somebody in this process who has just stopped to wait; None if nothing."""
    process, queue = _process(), (mailbox.get(), channel)
    while True:
        with process.waiting(_end_of_taking(queue)) as ended:
            if not process.is_taking(queue):
                return process.pop_taken(queue)
            await asyncio.wait([ended])


# What nobody waits for any more -------------------------------------------------------------------------------


def _put_back_later(process: _Process, taken: _Taken) -> None:
    """Put a message back into its queue after a while, for other processes, unless somebody here receives it."""
    # Once will do; a process that is about to end has no while.
    atexit.unregister(_put_back_all)
    atexit.register(_put_back_all)
    # Not on an event loop: that may have ended by then.
    timer = threading.Timer(_GRACE, _put_back, [process, taken])
    timer.daemon = True
    # A process that is about to end starts no thread.
    with suppress(RuntimeError):
        timer.start()


def _put_back(process: _Process, taken: _Taken) -> None:
    if not process.withdraw(taken):
        return
    try:
        _return(taken)
    except Exception:
        logger.warning("A message for the channel %s cannot be put back yet", taken.queue[1], exc_info=True)
        process.keep(taken, first=True)
    finally:
        # This thread's own.
        connections.close_all()


def _put_back_all() -> None:
    process = _process()
    for taken in process.all_taken():
        if process.withdraw(taken, anyway=True):
            try:
                _return(taken)
            except Exception:
                logger.exception("A message for the channel %s is lost: it cannot be put back", taken.queue[1])


def _return(taken: _Taken) -> None:
    box, channel = taken.queue
    left = taken.deadline - time.time()
    if left > 0:
        box.append(queue_log(channel), taken.entry, expiry=left)
        _process().wake(channel)


# What other processes leave -----------------------------------------------------------------------------------


async def _read_on(process: _Process) -> None:
    """Read this process's log again and again."""
    while True:
        with process.waiting(process.name) as hurried:
            if (delay := process.until_reading()) > 0:
                await asyncio.wait([hurried], timeout=delay)
                continue
        await off_loop(_read_letters, process)


def _read_letters(process: _Process) -> None:
    """Do what other processes have left for this one to do, if it is time to look."""
    with process.reading() as mine:
        if not mine:
            return
        came = False
        try:
            came = _follow_letters(process)
        except Exception:
            # What comes from this process needs no mailbox.
            if not process.failing:
                logger.exception("What other processes have left for this one cannot be read; this is tried again")
            process.failing = True
        else:
            if process.failing:
                logger.warning("What other processes have left for this one can be read again")
            process.failing = False
        process.has_read(came)


def _follow_letters(process: _Process) -> bool:
    """Whether there were any. Raises what the mailbox does: then the rest waits for the next time."""
    log = queue_log(process.name)
    letters = mailbox.get().read({log: process.cursor}).get(log, [])
    for position, letter in letters:
        try:
            channel, packed = msgpack.unpackb(letter, unicode_errors="surrogatepass")
            entry = None if packed is None else unpack(packed)
        except Exception:
            logger.exception("What another process has left for this one is lost")
        else:
            _follow(process, channel, entry)
        process.cursor = position
    return bool(letters)


def _follow(process: _Process, channel: str, entry: Entry | None) -> None:
    if entry is None:
        _collect(process, channel)
    elif isinstance(entry, Join):
        process.add(entry.group, channel)
    elif isinstance(entry, Discard):
        process.discard(entry.group, channel)


def _collect(process: _Process, channel: str) -> None:
    """Fetch what other processes have sent to one of this process's channels."""
    while (entry := mailbox.get().take(queue_log(channel))) is not None:
        if (found := _opened(channel, entry)) is not None:
            message, deadline = found
            try:
                process.put(channel, message, deadline - time.time(), _CAPACITY)
            except ChannelFull as error:
                logger.warning("A message for the channel %s is lost: it is full", error)


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


async def send_to_group(group: str, message: Message, *, expiry: float = EXPIRY, capacity: Capacity = 100) -> None:
    """Send a message to the members that this process knows of. A full channel misses it."""
    for channel in _process().members(group):
        with suppress(ChannelFull):
            limit = capacity if isinstance(capacity, int) else capacity(channel)
            await send(channel, message, expiry=expiry, capacity=limit)
