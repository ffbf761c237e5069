"""Consumers: classes whose methods handle the events of a connection (channels.consumer)."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from grip_consumers import DEFAULT_CHANNEL_LAYER, genuine, ticking
from grip_consumers.batch import EXTENSION, Batch
from grip_consumers.db import close_old_connections_if_used, database_sync_to_async
from grip_consumers.exceptions import StopConsumer, either
from grip_consumers.layers import get_channel_layer
from grip_consumers.messages import get_handler_name
from grip_consumers.registry import register
from grip_consumers.running import RestoredScope, application_of, arrive, refuse_slots
from grip_consumers.types import ASGIApplication, Message, Receive, Scope, Send
from grip_consumers.utils import await_many_dispatch

__all__ = ["AsyncConsumer", "SyncConsumer", "get_handler_name"]


class AsyncConsumer:
    """Hands each event to the method named by its type; the base of asynchronous consumers.

    An instance serves one connection: under a proxy it is made anew for each batch and given back its attributes,
    under another ASGI server it lives as long as the connection. Attributes: `scope`, `channel_layer` (None if its
    alias is not configured), `channel_name`, `base_send`.
    """

    _sync: ClassVar[bool] = False

    #: The alias of the channel layer in CHANNEL_LAYERS.
    channel_layer_alias: str = DEFAULT_CHANNEL_LAYER

    #: Names of attributes that are not kept between batches; `__init__` then runs for each batch to make them anew.
    #: `"scope.<key>"` leaves out a key of the scope.
    transient: tuple[str, ...] = ()

    #: Seconds, 20 or more, after which a WebSocket consumer's `tick(self)` is called again and again; None: it is not.
    tick_interval: int | None = None

    scope: Any = RestoredScope()
    channel_layer: Any
    channel_name: str
    channel_receive: Callable[[], Awaitable[Message]]
    base_send: Any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or one batch of it (the ASGI entry)."""
        batch = scope.get("extensions", {}).get(EXTENSION)
        if isinstance(batch, Batch):
            await arrive(batch, self, scope, receive, genuine.unwrapped(send))
            return
        self.scope = scope
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        timers: list[Callable[[], Awaitable[Message]]] = []
        if scope["type"] == "websocket" and ticking.applies(type(self)):
            timer = ticking.Timer(receive, send)
            receive, send, timers = timer.receive, timer.send, [functools.partial(timer.wait, self)]
        sources: list[Callable[[], Awaitable[Message]]] = [receive]
        if self.channel_layer is not None:
            self.channel_name = await self.channel_layer.new_channel()
            self.channel_receive = functools.partial(self.channel_layer.receive, self.channel_name)
            sources.append(self.channel_receive)
        sources += timers
        self.base_send = async_to_sync(send) if self._sync else send
        try:
            await await_many_dispatch(sources, self.dispatch)
        except either(StopConsumer):
            pass

    def _grip_attach(self, batch: Batch) -> None:
        """Take what belongs to one batch."""
        vars(self)["_grip_batch"] = batch
        self.channel_layer = get_channel_layer(self.channel_layer_alias)
        if self.channel_layer is not None:
            self.channel_name = batch.channel_name

    async def dispatch(self, message: Message) -> None:
        """Call the handler for `message`. Raises ValueError if there is none."""
        handler = _handler(self, message)
        await close_old_connections_if_used()
        await handler(message)

    async def grip_tick(self, message: Message) -> None:
        """Handle `grip.tick`: call the consumer's `tick`."""
        await ticking.call(self, message)

    async def send(self, message: Message) -> None:
        """Send one ASGI message."""
        await self.base_send(message)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGIApplication:
        """An ASGI application that makes an instance with `initkwargs` for each connection.

        `initkwargs` are kept with the connection and must be of types that can be. Raises TypeError for a class with
        `__slots__`, and for a `tick` that is none of its kind; ValueError for a `tick_interval` that no proxy keeps.
        """
        refuse_slots(cls)
        ticking.check(cls)
        register(cls)
        return application_of(cls, initkwargs)


class SyncConsumer(AsyncConsumer):
    """The base of consumers whose handlers are ordinary functions.

    Handlers run in a thread: that of the request under WSGI, the one for thread-sensitive code under ASGI.
    """

    _sync = True

    @database_sync_to_async
    def dispatch(self, message: Message) -> None:  # type: ignore[override]
        """Call the handler for `message`. Raises ValueError if there is none."""
        _handler(self, message)(message)

    def grip_tick(self, message: Message) -> None:  # type: ignore[override]
        """Handle `grip.tick`: call the consumer's `tick`."""
        ticking.call_now(self, message)

    def send(self, message: Message) -> None:  # type: ignore[override]
        """Send one ASGI message."""
        self.base_send(message)


def _handler(consumer: AsyncConsumer, message: Message) -> Any:
    handler = getattr(consumer, get_handler_name(message), None)
    if not handler:
        raise ValueError(f"No handler for message type {message['type']}")
    return handler
