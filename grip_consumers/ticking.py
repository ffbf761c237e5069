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
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any

from asgiref.sync import AsyncToSync, iscoroutinefunction

from grip_consumers.batch import Batch, milliseconds
from grip_consumers.protocol.control import send_delayed
from grip_consumers.types import Message, Receive, Send

__all__ = [
    "SHORTEST",
    "Timer",
    "applies",
    "arrange",
    "call",
    "call_now",
    "check",
    "concerns",
    "deliver",
    "hurried",
    "interval_of",
    "is_due",
]

#: Seconds; no proxy keeps a shorter Keep-Alive-Interval.
SHORTEST = 20
#: The Connection-Ids of those whose next tick is due at once, whatever the clock says: how tests let time pass.
hurried: set[str] = set()
#: Milliseconds by which a batch may be early: proxies count in seconds and are not exact (Pushpin's timers are early by
#: up to 5 %), and another host's clock may have said when the tick is due.
_EARLY = 1_000
#: Seconds after which a connection without a proxy looks whether its interval has changed.
_LOOK = 1.0


# The consumer's class -----------------------------------------------------------------------------------------


def applies(cls: Any) -> bool:
    """Whether the class defines a tick: what can be called without an argument. With one it handles group events."""
    return hasattr(cls, "grip_tick") and _takes(cls, 0)


def check(cls: Any) -> None:
    """Raises ValueError for an interval that no proxy keeps, TypeError for a `tick` that cannot be called."""
    tick = getattr(cls, "tick", None)
    # A number or a property is something of the project's own.
    if not callable(tick) or cls.tick_interval is None:
        return
    if applies(cls):
        interval_of(cls)
        _check_kind(cls)
    elif not _takes(cls, 1):
        raise TypeError(
            f"{cls.__qualname__}.tick must be a method that takes nothing but self, as {cls.__qualname__} has a "
            f"tick_interval, not {tick!r}. What is no tick needs another name; without a tick_interval it may keep it."
        )


def _check_kind(cls: Any) -> None:
    function = _callable_of(cls)[0]
    is_coroutine = iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)
    # What a decorator has made of a function may return a coroutine, whatever it looks like.
    is_plain = isinstance(inspect.getattr_static(cls, "tick"), FunctionType) and not hasattr(function, "__wrapped__")
    if is_coroutine if cls._sync else (is_plain and not is_coroutine):
        kinds = ("a synchronous", "an ordinary function") if cls._sync else ("an asynchronous", "a coroutine function")
        raise TypeError(f"{cls.__qualname__}.tick must be {kinds[1]}, as {cls.__qualname__} is {kinds[0]} consumer.")


@lru_cache(maxsize=1024)
def _takes(cls: Any, count: int) -> bool:
    """Whether `tick` of an instance can be called with so many arguments."""
    function, given = _callable_of(cls)
    return function is not None and _accepts(function, given + count)


def _callable_of(cls: Any) -> tuple[Any, int]:
    """What `tick` of an instance calls, and how many arguments it has been given by then; (None, 0) if it cannot be."""
    found = inspect.getattr_static(cls, "tick", None)
    if isinstance(found, staticmethod):
        return found.__func__, 0
    if not callable(found) and hasattr(type(found), "__get__"):
        # A class method or a partial one; a property stays what it is.
        with suppress(Exception):
            found = cls.tick
    if isinstance(found, type) or not callable(found):
        return None, 0
    is_method = hasattr(type(found), "__get__") and not isinstance(found, MethodType)
    return found, int(is_method)


def _accepts(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with so many arguments; what hands on whatever it gets says so by what it wraps."""
    signature = _signature(function)
    if signature is None:
        return True
    inner = function.awaitable if isinstance(function, AsyncToSync) else getattr(function, "__wrapped__", None)
    if inner is not None and any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        return _accepts(inner, count)
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """None for what is not written in Python and does not tell."""
    # An object that binds itself is taken for a builtin one, unless it is asked by its method.
    for found in (function, function.__call__):  # type: ignore[operator]
        with suppress(TypeError, ValueError):
            return inspect.signature(found, follow_wrapped=False)
    return None


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


async def call(consumer: Any, message: Message) -> None:
    """Handle the event of a tick: an asynchronous consumer's is called. Raises TypeError for one of the other kind."""
    if not _is_late(consumer, message):
        called = consumer.tick()
        if not inspect.isawaitable(called):
            raise TypeError(f"{type(consumer).__qualname__}.tick must return what can be awaited, not {called!r}.")
        await called


def call_now(consumer: Any, message: Message) -> None:
    """Handle the event of a tick: a synchronous consumer's is called. Raises TypeError for one of the other kind."""
    if not _is_late(consumer, message):
        called = consumer.tick()
        if inspect.iscoroutine(called):
            called.close()
            raise TypeError(f"{type(consumer).__qualname__}.tick must not return a coroutine: nobody awaits it here.")


# With a proxy -------------------------------------------------------------------------------------------------


def is_due(batch: Batch) -> bool:
    """Whether a later batch calls the consumer's tick."""
    inbox = batch.inbox
    if not inbox.tick or inbox.closing or batch.exchange.parting:
        return False
    return batch.request.connection_id in hurried or milliseconds() >= inbox.tick - _EARLY


def deliver(batch: Batch) -> None:
    """Have the batch call the tick, behind its mail and before its frames."""
    batch.ticked = True
    hurried.discard(batch.request.connection_id)
    batch.deliver({"type": "grip.tick"}, follows=False)


def concerns(batch: Batch) -> bool:
    """Whether `arrange` has something to do."""
    consumer = batch.consumer
    if consumer is None or not applies(type(consumer)):
        return False
    # Anything but None is an interval, or has to be told that it is none.
    return bool(batch.inbox.tick) or consumer.tick_interval is not None


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


class Timer:
    """The ticks of a consumer that an ordinary server serves: from the accept until either side has closed.

    Args:
        receive, send: the server's; the consumer is to use those of the timer, which learns by them what happens.

    It does not keep the consumer, which keeps it: so it is freed as soon as it has ended.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        #: When it was accepted; None while it is not open.
        self._opened: float | None = None

    async def receive(self) -> Message:
        """The server's next message."""
        message = await self._receive()
        if message.get("type") == "websocket.disconnect":
            self._opened = None
        return message

    async def send(self, message: Message) -> None:
        """Send one message to the server."""
        if message.get("type") == "websocket.close":
            self._opened = None
        await self._send(message)
        if message.get("type") == "websocket.accept":
            self._opened = _seconds()

    async def wait(self, consumer: Any) -> Message:
        """Return the event of the consumer's tick when it is due. Raises as `interval_of`."""
        begun = _seconds()
        while True:
            interval, remaining = interval_of(consumer), _LOOK
            if interval is not None and self._opened is not None:
                remaining = max(begun, self._opened) + interval - _seconds()
                if remaining <= 0:
                    return {"type": "grip.tick", "timer": self}
            await asyncio.sleep(min(remaining, _LOOK))

    @property
    def is_open(self) -> bool:
        """Whether it has been accepted, and neither side has closed."""
        return self._opened is not None


def _is_late(consumer: Any, message: Message) -> bool:
    """Whether nothing is to tick any more: a handler may have been at work since the tick was due."""
    timer = message.get("timer")
    return isinstance(timer, Timer) and (not timer.is_open or consumer.tick_interval is None)


def _seconds() -> float:
    return asyncio.get_running_loop().time()
