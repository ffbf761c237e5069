"""Looks at a consumer while it handles a batch, for what will not last or not end: see `compatibility`.

Cheap enough for every batch. What is found is logged, once for each class and place.
"""

from __future__ import annotations

import asyncio
import math
import sys
import sysconfig
import time
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from grip_consumers.analysis import functions_behind, own_bases
from grip_consumers.batch import Batch, batch_of
from grip_consumers.complaints import warn_once
from grip_consumers.readings import nested_code

__all__ = ["SLOW", "Watch", "is_of_the_project", "named_objects", "shared_containers", "uses_groups"]

#: Seconds after which a batch takes long: what it sends waits for all of it.
SLOW = 5.0

#: Looking for tasks takes time with their number: at most one part in so many is spent on it.
_REST = 50


class Watch:
    """A context around the run of one batch; with a `loop`, if it runs on one."""

    __slots__ = ("_batch", "_loop", "_shared", "_sizes", "_timer")

    def __init__(self, batch: Batch, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._batch = batch
        self._loop = loop

    def __enter__(self) -> None:
        batch = self._batch
        cls: Any = type(batch.consumer)
        self._shared = shared_containers(cls)
        self._sizes = [len(container) for _, container in self._shared]
        batch.slow_after = time.monotonic() + SLOW
        layer = getattr(batch.consumer, "channel_layer", None)
        if layer is not None and not getattr(layer, "reaches_connections", False) and uses_groups(cls):
            _warn_of_layer(batch.consumer_name, layer)
        if self._loop is not None:
            self._timer = self._loop.call_later(SLOW, _say_where, batch, asyncio.current_task(self._loop))

    def __exit__(self, *details: object) -> None:
        batch = self._batch
        if self._loop is not None:
            self._timer.cancel()
            _look_for_tasks(self._loop, batch)
        batch.note_slowness()
        batch.slow_after = math.inf
        for (name, container), size in zip(self._shared, self._sizes, strict=True):
            if len(container) != size:
                what = f"changes {name}, which only this process has"
                warn_once("process-state", batch.consumer_name, what, name)


# Groups of a layer that reaches nobody ----------------------------------------------------------------------------


def _warn_of_layer(consumer: str, layer: Any) -> None:
    kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
    what = f"uses groups or its channel_name with a {kind}, which does not reach connections that a proxy holds"
    warn_once("ordinary-layer", consumer, what)


@lru_cache(maxsize=1024)
def uses_groups(cls: type[Any]) -> bool:
    """Whether a consumer is in groups, or gives its name to somebody, as far as its code shows."""
    return bool(getattr(cls, "groups", None)) or any(_OF_GROUPS.intersection(code.co_names) for _, code in _codes(cls))


_OF_GROUPS = frozenset({"channel_name", "group_add"})


# What a process has for itself ------------------------------------------------------------------------------------

_CONTAINERS = (dict, list, set, deque, WeakKeyDictionary, WeakSet, WeakValueDictionary)
_OF_THE_FRAMEWORK = frozenset({"groups", "transient"})


@lru_cache(maxsize=1024)
def shared_containers(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The containers of a class, and those of modules and of their objects that its methods name, with these names."""
    found: dict[int, tuple[str, Any]] = {}
    for name, value in (*_of_class(cls), *_of_modules(cls)):
        if isinstance(value, _CONTAINERS):
            found.setdefault(id(value), (name, value))
    return tuple(found.values())


def _of_class(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    for base in own_bases(cls):
        for name, value in vars(base).items():
            if not name.startswith("__") and name not in _OF_THE_FRAMEWORK:
                yield f"{base.__qualname__}.{name}", value


def _of_modules(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    for name, value in _named(cls):
        yield name, value
        if is_of_the_project(type(value)):
            yield from ((f"{name}.{attribute}", held) for attribute, held in getattr(value, "__dict__", {}).items())


def _named(cls: type[Any]) -> Iterator[tuple[str, Any]]:
    """What the methods of a class name in their modules, with the modules' names."""
    for function, code in _codes(cls):
        for name in code.co_names:
            if name in function.__globals__ and not name.startswith("__"):
                yield f"{function.__module__}.{name}", function.__globals__[name]


def is_of_the_project(kind: type[Any]) -> bool:
    """Whether a class, which is no class of classes, lies beside the project's code, not among installed packages."""
    if issubclass(kind, type):
        return False
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return (
        bool(file)
        and not any(part in file for part in _INSTALLED)
        and kind.__module__.partition(".")[0] not in _SERVERS
    )


_INSTALLED = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"))


def named_objects(cls: type[Any]) -> dict[str, Any]:
    """The objects of the project's own classes that the methods of a consumer name, by these names."""
    return {name: value for name, value in _named(cls) if is_of_the_project(type(value))}


def _codes(cls: type[Any]) -> Iterator[tuple[Any, Any]]:
    for base in own_bases(cls):
        for value in vars(base).values():
            for function in functions_behind(value):
                yield from ((function, code) for code in nested_code(function.__code__))


# What takes long --------------------------------------------------------------------------------------------------


def _say_where(batch: Batch, task: asyncio.Task[Any] | None) -> None:
    batch.note_slowness(_place(task, type(batch.consumer)) if task is not None else "")


def _place(task: asyncio.Task[Any], cls: type[Any]) -> str:
    """Where the task waits, in the modules of a class: " at line 12 of chat/consumers.py"."""
    modules = {base.__module__ for base in own_bases(cls)}
    place = ""
    step: Any = task.get_coro()
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "gi_frame", None)
        if frame is not None and frame.f_globals.get("__name__") in modules:
            place = f" at line {frame.f_lineno} of {frame.f_code.co_filename}"
        step = getattr(step, "cr_await", None) or getattr(step, "gi_yieldfrom", None)
    return place


# What is left running ---------------------------------------------------------------------------------------------

_next_look = 0.0


def _look_for_tasks(loop: asyncio.AbstractEventLoop, batch: Batch) -> None:
    """Warn of the tasks that this batch, or one before it, has left running."""
    global _next_look
    started = time.perf_counter()
    if started < _next_look:
        return
    own = asyncio.current_task(loop)
    for task in asyncio.all_tasks(loop):
        left_by = _left_by(task) if task is not own and not _is_a_servers(task) else None
        if left_by is not None and (left_by is batch or not left_by.active):
            name = getattr(task.get_coro(), "__qualname__", "?")
            what = f"leaves a task running when its handler returns: {name}()"
            warn_once("background-task", left_by.consumer_name, what, name)
    ended = time.perf_counter()
    _next_look = ended + (ended - started) * _REST


def _is_a_servers(task: asyncio.Task[Any]) -> bool:
    """Whether it is not the project's: a handler's publish may set a proxy to work that runs in this process."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    module = frame.f_globals.get("__name__", "") if frame is not None else ""
    return module.partition(".")[0] in _SERVERS


_SERVERS = frozenset(
    {"asgiref", "asyncio", "channels", "channels_redis", "daphne", "django", "grip_consumers", "hypercorn", "uvicorn"}
)


def _left_by(task: asyncio.Task[Any]) -> Batch | None:
    """The batch whose handler started a task."""
    if (get_context := getattr(task, "get_context", None)) is not None:
        return batch_of(get_context())
    # Before Python 3.12 a task does not give its context away: those that run a method of a consumer are found.
    # No other frame is asked for its variables: what it has given away it keeps alive until it ends.
    frame = getattr(task.get_coro(), "cr_frame", None)
    if frame is None or frame.f_code.co_varnames[:1] != ("self",):
        return None
    found = getattr(frame.f_locals.get("self"), "__dict__", {}).get("_grip_batch")
    return found if isinstance(found, Batch) else None
