"""Helpers of the consumers (channels.utils)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from grip_consumers.types import Message

__all__ = ["await_many_dispatch", "name_that_thing"]


async def await_many_dispatch(
    consumer_callables: Sequence[Callable[[], Awaitable[Message]]], dispatch: Callable[[Message], Awaitable[Any]]
) -> None:
    """Await all of the callables at once, again and again, and dispatch each result as it comes.

    Ends with the first exception of a callable or of `dispatch`; what is still awaited is cancelled.
    """
    tasks = [asyncio.ensure_future(source()) for source in consumer_callables]
    try:
        while True:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for position, task in enumerate(tasks):
                if task.done():
                    await dispatch(task.result())
                    tasks[position] = asyncio.ensure_future(consumer_callables[position]())
    finally:
        for task in tasks:
            task.cancel()
        # All of them, whatever the first one ended with; their results are nobody's any more.
        await asyncio.gather(*tasks, return_exceptions=True)


def name_that_thing(thing: Any) -> str:
    """Return the dotted name of a class or function; of a class method its class's, of another object its type's."""
    owner = getattr(thing, "__self__", None)
    found = owner if inspect.isclass(owner) else thing
    if not (inspect.isclass(found) or inspect.isroutine(found)) or found.__module__ is None:
        found = type(found)
    return f"{found.__module__}.{found.__name__}"
