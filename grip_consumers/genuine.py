"""Genuine consumers: classes of Channels itself, behind the dispatcher.

With Channels and this package side by side one code base is served both ways: by an ASGI server that holds the
WebSockets, and behind a proxy. The classes of Channels are then given what they lack here, in their own modules, as
soon as a project has imported them (`fit`); an application that is served directly sees nothing of it:

- a consumer finds its batch in the scope, and takes part in it as one of ours does;
- `as_asgi` makes its class known to those who send to groups;
- a `tick` is called at its `tick_interval`, under a server as well;
- what `database_sync_to_async` does leaves a transaction alone, as a handler that runs for all members does so in
  the thread of a view;
- exceptions of either package decide on a connection and end it: see `exceptions`.

Without Channels, or with `as_channels` in its place, nothing is done.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from types import FunctionType, MethodType, ModuleType
from typing import Any

from django.urls import URLPattern

from grip_consumers import ticking
from grip_consumers.batch import EXTENSION, Batch
from grip_consumers.db import close_old_connections
from grip_consumers.registry import register
from grip_consumers.running import RestoredScope, application_of, arrive, refuse_slots
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["find_routed", "fit", "is_no_route", "parts", "unwrapped"]

_lock = threading.Lock()
_CONSUMER, _MARK = "channels.consumer", "_grip_fits"


def fit(*, now: bool = False) -> None:
    """Make the classes of Channels fit, if they have been imported; doing so again costs a look-up.

    `now` imports them.
    """
    module = sys.modules.get(_CONSUMER)
    if module is None and now:
        module = import_module(_CONSUMER)
    # The name may lead to one of our modules: see `as_channels`.
    if module is None or module.__name__ != _CONSUMER:
        return
    if not hasattr(getattr(module, "AsyncConsumer", None), _MARK):
        _fit_all()


def _fit_all() -> None:
    # By import, as another thread may not be through with it.
    consumer: Any = import_module(_CONSUMER)
    with _lock:
        if hasattr(consumer.AsyncConsumer, _MARK):
            return
        _fit_consumer(consumer.AsyncConsumer)
        _fit_ticks(consumer.AsyncConsumer, consumer.SyncConsumer)
        import_module("channels.db").close_old_connections = close_old_connections  # type: ignore[attr-defined]
        setattr(consumer.AsyncConsumer, _MARK, True)


# Consumers ------------------------------------------------------------------------------------------------------


def _fit_consumer(cls: Any) -> None:
    directly = cls.__call__

    @functools.wraps(directly)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        batch = scope.get("extensions", {}).get(EXTENSION)
        if isinstance(batch, Batch):
            refuse_slots(type(self))
            # Should anybody have routed it out of sight.
            register(type(self))
            await arrive(batch, self, scope, receive, unwrapped(send))
            return
        with _Ticking(self, scope, receive, send) as ticked:
            await directly(self, scope, ticked.receive, ticked.send)

    @classmethod  # type: ignore[misc]
    @functools.wraps(cls.as_asgi.__func__)
    def as_asgi(cls: type[Any], **initkwargs: Any) -> ASGIApplication:
        ticking.check(cls)
        register(cls)
        return application_of(cls, initkwargs)

    cls.__call__ = call
    cls.as_asgi = as_asgi
    cls.scope = RestoredScope()
    cls._grip_attach = _attach


def _attach(consumer: Any, batch: Batch) -> None:
    """Give a consumer what belongs to one batch, with the layer that Channels knows by its alias."""
    from channels.layers import get_channel_layer

    vars(consumer)["_grip_batch"] = batch
    consumer.channel_layer = get_channel_layer(consumer.channel_layer_alias)
    if consumer.channel_layer is not None:
        consumer.channel_name = batch.channel_name


def _fit_ticks(async_class: Any, sync_class: Any) -> None:
    async def grip_tick(self: Any, message: Message) -> None:
        await ticking.call(self, message)

    def grip_tick_now(self: Any, message: Message) -> None:
        ticking.call_now(self, message)

    async_class.tick_interval = None
    # Asked of an instance, it must not be its __getattr__ that answers.
    async_class.transient = ()
    async_class.grip_tick = grip_tick
    sync_class.grip_tick = grip_tick_now


class _Ticking:
    """What a consumer hears that a server drives: the server's messages, and its ticks. Cleared up by a with block.

    Attributes:
        receive, send: what the consumer is to use; the server's own where nothing ticks.
    """

    def __init__(self, consumer: Any, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive, self.send = receive, send
        self._sources: list[Receive] = []
        if scope.get("type") == "websocket" and ticking.applies(type(consumer)):
            timer = ticking.Timer(receive, send)
            self.receive, self.send = self._receive, timer.send
            self._sources = [timer.receive, functools.partial(timer.wait, consumer)]
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    def __enter__(self) -> _Ticking:
        return self

    def __exit__(self, *details: object) -> None:
        for task in self._waiting.values():
            task.cancel()

    async def _receive(self) -> Message:
        for number, source in enumerate(self._sources):
            if number not in self._waiting:
                self._waiting[number] = asyncio.ensure_future(source())
        await asyncio.wait(self._waiting.values(), return_when=asyncio.FIRST_COMPLETED)
        first = next(number for number, task in sorted(self._waiting.items()) if task.done())
        return self._waiting.pop(first).result()


# What is around them --------------------------------------------------------------------------------------------


def unwrapped(send: Send) -> Send:
    """A `send` without what Channels' session middleware has wrapped around it.

    It does so to save sessions when an HTTP response starts. Seen as somebody who wants to see every message, it would
    have the whole stack run for each batch.
    """
    while (wrapper := _session_wrapper(send)) is not None:
        send = wrapper.real_send
    return send


def _session_wrapper(send: Any) -> Any:
    wrapper = getattr(send, "__self__", None)
    sessions = sys.modules.get("channels.sessions")
    if wrapper is None or sessions is None or not isinstance(wrapper, sessions.InstanceSessionWrapper):
        return None
    # A subclass may do more.
    plain = send.__func__ is sessions.InstanceSessionWrapper.send
    acts = any(kind.startswith("websocket.") for kind in wrapper.save_message_types)
    return wrapper if plain and not acts else None


def is_no_route(error: Exception) -> bool:
    """Whether it is a router of Channels that found no route: it says so by a ValueError like any other."""
    routing = sys.modules.get("channels.routing")
    if type(error) is not ValueError or routing is None:
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    routers = (routing.URLRouter, routing.ProtocolTypeRouter)
    return trace is not None and trace.tb_frame.f_code in [getattr(r.__call__, "__code__", None) for r in routers]


def find_routed(application: Any) -> None:
    """Register the consumers that an ASGI application leads to.

    For those that were routed before `as_asgi` could take note of them, as before Django was set up.
    """
    seen: set[int] = set()
    waiting = [application]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        # Not those that an object makes up when it is asked, as mocks do.
        cls = getattr(found, "__dict__", {}).get("consumer_class")
        if isinstance(cls, type):
            register(cls)
        else:
            waiting.extend(parts(found))


def parts(found: Any) -> Iterator[Any]:
    """What it is made of, as far as that may be, or hold, an application."""
    if isinstance(found, dict):
        held = list(found.values())
    elif isinstance(found, (list, tuple)):
        held = list(found)
    elif isinstance(found, FunctionType):
        held = [*_contents(found), *vars(found).values()]
    elif isinstance(found, MethodType):
        held = [found.__self__, found.__func__]
    elif isinstance(found, functools.partial):
        held = [found.func, *found.args, *found.keywords.values()]
    else:
        held = list(getattr(found, "__dict__", {}).values())
    return filter(_may_lead_on, held)


def _may_lead_on(value: Any) -> bool:
    # By its type: to ask a lazy object what it is would evaluate it.
    kind = type(value)
    if issubclass(kind, (type, ModuleType)):
        return False
    return issubclass(kind, (dict, list, tuple, URLPattern)) or callable(value)


def _contents(function: Callable[..., Any]) -> Iterator[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        # Empty, while the function around it has yet to assign.
        with suppress(ValueError):
            yield cell.cell_contents
