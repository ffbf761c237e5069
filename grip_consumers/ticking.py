"""Ticks: a consumer's `tick` is called every `tick_interval` seconds, though no process waits for that.

A proxy asks again when a connection was quiet for a while (Keep-Alive-Interval), but not sooner than after 20 seconds,
and every batch begins that time anew. So the state says when the next tick is due, and whichever batch comes then, for
whatever reason, calls it first. Where the keep-alive would come too late, the proxy is asked to ping the client when
the tick is due: the answer makes a batch, within a second of that time. A client that answers no pings is served by the
keep-alive.

A tick is an event like others, `grip.tick`. The next one is due an interval after it has been handled.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import lru_cache
from typing import Any

from grip_consumers.batch import Batch, milliseconds
from grip_consumers.protocol.control import send_delayed
from grip_consumers.types import Message

__all__ = ["SHORTEST", "applies", "arrange", "check", "concerns", "deliver", "interval_of", "is_due", "wait"]

#: Seconds; no proxy keeps a shorter Keep-Alive-Interval.
SHORTEST = 20
#: Milliseconds by which a batch may be early: proxies count in seconds and are not exact (Pushpin's timers are early by
#: up to 5 %), and another host's clock may have said when the tick is due.
_EARLY = 1_000
#: Seconds after which a connection without a proxy looks whether its interval has changed.
_LOOK = 1.0


def applies(cls: type[Any]) -> bool:
    """Whether `cls` defines a tick: a method of that name that takes no argument. With one it handles group events."""
    key: Any = cls
    return _applies(key)


@lru_cache(maxsize=1024)
def _applies(cls: Any) -> bool:
    method = inspect.getattr_static(cls, "tick", None)
    if not inspect.isfunction(method) or not hasattr(cls, "grip_tick"):
        return False
    try:
        inspect.signature(method).bind(None)
    except TypeError:
        return False
    return True


def check(cls: type[Any]) -> None:
    """Raises ValueError for an interval that no proxy keeps, TypeError for a `tick` that cannot be called."""
    if not applies(cls) or interval_of(cls) is None:
        return
    is_coroutine = inspect.iscoroutinefunction(cls.tick)
    if is_coroutine == cls._sync:
        kinds = ("a synchronous", "an ordinary function") if cls._sync else ("an asynchronous", "a coroutine function")
        raise TypeError(f"{cls.__qualname__}.tick must be {kinds[1]}, as {cls.__qualname__} is {kinds[0]} consumer.")


def interval_of(consumer: Any) -> int | None:
    """The `tick_interval` of a consumer or its class, in seconds; None if it has none.

    Raises ValueError for anything but a whole number of seconds that a proxy keeps.
    """
    interval = consumer.tick_interval
    if interval is None:
        return None
    if type(interval) is not int or interval < SHORTEST:
        cls = consumer if isinstance(consumer, type) else type(consumer)
        raise ValueError(
            f"{cls.__qualname__}.tick_interval must be a whole number of seconds, {SHORTEST} or more, or None, not "
            f"{interval!r}: a proxy asks no more often. For anything faster let the client ask, or send to a group "
            "from a process of your own."
        )
    return interval


# With a proxy -------------------------------------------------------------------------------------------------


def is_due(batch: Batch) -> bool:
    """Whether a later batch calls the consumer's tick."""
    inbox = batch.inbox
    if not inbox.tick or inbox.closing or batch.exchange.parting:
        return False
    return milliseconds() >= inbox.tick - _EARLY


def deliver(batch: Batch) -> None:
    """Have the batch call the tick, behind its mail and before its frames."""
    batch.ticked = True
    batch.deliver(_message())


def concerns(batch: Batch) -> bool:
    """Whether `arrange` has something to do."""
    consumer = batch.consumer
    return consumer is not None and applies(type(consumer)) and bool(batch.inbox.tick or consumer.tick_interval)


def arrange(batch: Batch) -> list[int]:
    """Say when the next tick is due, and have the proxy ask at that time.

    Returns the Keep-Alive-Interval that it takes, in seconds; nothing if there is no tick. Raises as `interval_of`.
    """
    inbox = batch.inbox
    interval = interval_of(batch.consumer) if concerns(batch) else None
    if interval is None:
        inbox.tick, inbox.prompted = 0, False
        return []
    now = milliseconds()
    latest = now + interval * 1_000
    if batch.ticked or not 0 < inbox.tick <= latest:
        inbox.tick, inbox.prompted = latest, False
    # By its content: the answer to a ping for the last tick may come later than that tick.
    prompt = str(inbox.tick)
    if batch.exchange.has_pong(prompt.encode()):
        inbox.prompted = False
    remaining = round((inbox.tick - now) / 1_000)
    if remaining < SHORTEST and not inbox.prompted:
        batch.exchange.send_control(send_delayed(prompt, timeout=max(remaining, 1), message_type="ping"))
        inbox.prompted = True
    return [max(remaining, SHORTEST)]


# Without ------------------------------------------------------------------------------------------------------


async def wait(consumer: Any) -> Message:
    """Return the tick's event when it is due, of a consumer that an ordinary server serves. Raises as `interval_of`."""
    now = asyncio.get_running_loop().time
    begun = now()
    while True:
        interval = interval_of(consumer)
        remaining = _LOOK if interval is None else begun + interval - now()
        if remaining <= 0:
            return _message()
        await asyncio.sleep(min(remaining, _LOOK))


def _message() -> Message:
    return {"type": "grip.tick"}
