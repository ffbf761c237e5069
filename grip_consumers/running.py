"""A consumer's run on one batch: made or revived, given the messages, captured.

Works with any class that has the interface of `grip_consumers.consumer.AsyncConsumer`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import lru_cache, partial, update_wrapper
from typing import Any

from asgiref.sync import SyncToAsync, async_to_sync

from grip_consumers.batch import Batch, EndOfBatch
from grip_consumers.compatibility import advise
from grip_consumers.complaints import look_at_stack
from grip_consumers.db import database_sync_to_async
from grip_consumers.exceptions import StateError, StopConsumer, either
from grip_consumers.naming import new_channel_name
from grip_consumers.protocol import State
from grip_consumers.state import (
    ConnectionState,
    capture_attributes,
    capture_initkwargs,
    capture_scope,
    decode,
    restore_attributes,
    restore_scope,
)
from grip_consumers.state.extensions import dotted, import_dotted
from grip_consumers.state.table import CannotEncode
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send
from grip_consumers.watch import Watch

__all__ = [
    "RestoredScope",
    "application_of",
    "arrive",
    "capture",
    "plain_dispatch",
    "refuse_slots",
    "revive",
    "run_async",
    "run_plain",
    "scope_of",
]

PlainDispatch = Callable[[Any, Message], Any]


class RestoredScope:
    """The scope of a consumer that was revived, decoded when it is first read: many handlers never look."""

    def __get__(self, consumer: Any, owner: type) -> Any:
        if consumer is None:
            return self
        batch = vars(consumer).get("_grip_batch")
        if batch is None:
            raise AttributeError(f"{owner.__name__!r} object has no attribute 'scope'")
        scope = vars(consumer)["scope"] = scope_of(batch)
        return scope


def application_of(cls: type[Any], initkwargs: dict[str, Any]) -> ASGIApplication:
    """An ASGI application that makes an instance of a consumer for each connection: what `as_asgi` gives."""

    async def app(scope: Scope, receive: Receive, send: Send) -> Any:
        consumer = cls(**initkwargs)
        vars(consumer)["_grip_initkwargs"] = initkwargs
        return await consumer(scope, receive, send)

    app.consumer_class = cls  # type: ignore[attr-defined]
    app.consumer_initkwargs = initkwargs  # type: ignore[attr-defined]
    update_wrapper(app, cls, updated=())
    return app


def refuse_slots(cls: type[Any]) -> None:
    """Raises TypeError for a class with `__slots__`."""
    if any(vars(base).get("__slots__") for base in cls.__mro__):
        raise TypeError(f"{cls.__qualname__} has __slots__, whose attributes could not be kept between batches.")


@lru_cache(maxsize=1024)
def plain_dispatch(cls: type[Any]) -> PlainDispatch | None:
    """The synchronous function behind a consumer's `dispatch`; None if it is really asynchronous.

    With it a whole batch runs in one thread, without an event loop.
    """
    found = inspect.getattr_static(cls, "dispatch", None)
    function = found.func if isinstance(found, SyncToAsync) else None
    return None if inspect.iscoroutinefunction(function) else function


async def arrive(batch: Batch, consumer: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `consumer` as the end of the application stack: its `__call__` under a proxy.

    Raises StateError when the stack leads to another consumer than the one the connection began with.
    """
    # Bound methods are made anew at each look, and equal if they are of one object.
    batch.send_wrapped = send != batch.send
    batch.stack_runs = batch.send_wrapped or receive != batch.receive
    if batch.state is None:
        batch.channel_name = new_channel_name()
        batch.consumer_name = _name_of(type(consumer))
        look_at_stack()
    else:
        _check_class(batch.state, consumer)
        if batch.state.scope:
            # As it was at connect, whatever the stack has put there this time.
            scope = {**scope, **restore_scope(batch.state.scope, batch.base_scope)}
        _clear_attributes(consumer)
        vars(consumer).update(restore_attributes(batch.state.attributes, consumer, lambda: scope))
    consumer.scope = scope
    kind: Any = type(consumer)
    plain = plain_dispatch(kind)
    _attach(batch, consumer, send)
    if plain is not None and not batch.stack_runs:
        await database_sync_to_async(run_plain)(batch, plain)
    else:
        await run_async(batch, receive)


def revive(batch: Batch, state: ConnectionState) -> PlainDispatch | None:
    """Put the consumer that `state` names onto the batch, as the last batch left it; gives its plain dispatch.

    Raises ImportError or AttributeError when the class no longer exists.
    """
    cls = import_dotted(state.consumer)
    # On Channels __init__ runs once for a connection. It runs for each batch only to make transient attributes anew.
    consumer = _made(cls, state) if getattr(cls, "transient", ()) else cls.__new__(cls)
    _clear_attributes(consumer)

    def scope() -> Scope:
        found = vars(consumer)["scope"] = scope_of(batch)
        return found

    vars(consumer).update(restore_attributes(state.attributes, consumer, scope))
    _attach(batch, consumer, batch.send)
    return plain_dispatch(cls)


def run_plain(batch: Batch, dispatch: PlainDispatch) -> None:
    """Handle all messages of the batch in this thread."""
    consumer = batch.consumer
    with batch, Watch(batch):
        try:
            for message in batch.messages():
                dispatch(consumer, message)
        except either(StopConsumer):
            _stop(batch)


async def run_async(batch: Batch, receive: Receive) -> None:
    """Handle all messages of the batch on this event loop; those of the client come by `receive`."""
    dispatch = batch.consumer.dispatch
    with batch, Watch(batch, asyncio.get_running_loop()):
        try:
            while True:
                # Mail first: it was sent before the client's frames came.
                for message in batch.own_events():
                    await dispatch(message)
                await dispatch(await receive())
        except EndOfBatch:
            # A task that the last handler has just started gets the turn that it would have had.
            await asyncio.sleep(0)
        except either(StopConsumer):
            _stop(batch)


def capture(batch: Batch) -> ConnectionState | None:
    """What the next batch needs; None if that is what this one had. Raises UnkeepableState."""
    consumer, before = batch.consumer, batch.state
    attributes = capture_attributes(consumer)
    scope = vars(consumer).get("scope")
    if before is None:
        initkwargs = capture_initkwargs(consumer, vars(consumer).get("_grip_initkwargs", {}))
        stored_scope = capture_scope(consumer, scope, batch.base_scope)
    else:
        initkwargs = before.initkwargs
        # A scope that nobody has looked at is one that nobody can have changed.
        stored_scope = before.scope if scope is None else capture_scope(consumer, scope, batch.base_scope)
        held = (attributes, stored_scope, list(batch.groups.items()), batch.inbox)
        if held == (before.attributes, before.scope, list(before.groups.items()), before.inbox):
            return None
    return ConnectionState(
        consumer=batch.consumer_name,
        initkwargs=initkwargs,
        channel_name=batch.channel_name,
        groups=dict(batch.groups),
        stack_runs=batch.stack_runs,
        attributes=attributes,
        scope=stored_scope,
        inbox=batch.inbox.copy(),
    )


def scope_of(batch: Batch) -> Scope:
    """The scope of a revived consumer, restored when it is first read."""
    return restore_scope(batch.state.scope if batch.state else b"", batch.base_scope)


def _stop(batch: Batch) -> None:
    # As a server does for an application that has returned.
    batch.ended = True
    state = batch.exchange.state
    if state is State.OPEN or state is State.CONNECTING:
        batch.exchange.close()


def _attach(batch: Batch, consumer: Any, send: Send) -> None:
    batch.consumer = consumer
    if consumer._sync:
        consumer.base_send = async_to_sync(send) if batch.send_wrapped else batch.emit
    else:
        consumer.base_send = send
    consumer._grip_attach(batch)
    if consumer.channel_layer is not None:
        # It says what to do instead.
        consumer.channel_receive = partial(consumer.channel_layer.receive, batch.channel_name)


def _name_of(cls: type[Any]) -> str:
    try:
        return dotted(cls)
    except CannotEncode as error:
        raise StateError(f"{error}. {advise('local-class')}") from None


def _made(cls: type[Any], state: ConnectionState) -> Any:
    return cls(**(decode(state.initkwargs) if state.initkwargs else {}))


def _clear_attributes(consumer: Any) -> None:
    attributes = vars(consumer)
    if attributes:
        # __init__ has run: what it made is replaced, but for what is made anew for each batch.
        transient = {name: attributes[name] for name in getattr(consumer, "transient", ()) if name in attributes}
        attributes.clear()
        attributes.update(transient)


def _check_class(state: ConnectionState, consumer: Any) -> None:
    if dotted(type(consumer)) != state.consumer:
        raise StateError(
            f"This connection belongs to {state.consumer}, but its path now leads to {dotted(type(consumer))}."
        )
