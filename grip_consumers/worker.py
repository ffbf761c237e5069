"""Workers: processes that handle what is sent to named channels (`channels.worker`)."""

# asgiref declares no types for its server.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from asgiref.compatibility import guarantee_single_callable
from asgiref.server import StatelessServer

from grip_consumers import local_channels
from grip_consumers.types import ASGIApplication, Message

__all__ = ["Worker"]

logger = logging.getLogger("django.channels.worker")


class _Input(asyncio.Queue[Message]):
    """An application's messages, one at a time: `idle` is set as long as it waits for the next."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = asyncio.Event()

    async def get(self) -> Message:
        if self.empty():
            self.idle.set()
        message = await super().get()
        self.idle.clear()
        return message


class Worker(StatelessServer):
    """Takes messages from channels of a layer and gives them to an application, one instance for each channel.

    A message is taken when the one before it has been handled: so workers that share a channel share its load, and
    one that is stopped holds no message that it has not begun with.

    Args:
        application: the ASGI application; scopes have the type "channel" and the channel's name as `channel`.
        channels: the names to receive from.
        channel_layer: the layer to receive from.
        max_applications: how many instances may be alive.

    Raises:
        ValueError: there is no such layer.
    """

    def __init__(
        self, application: ASGIApplication, channels: Sequence[str], channel_layer: Any, max_applications: int = 1000
    ) -> None:
        super().__init__(application, max_applications)
        self.channels = channels
        self.channel_layer = channel_layer
        if self.channel_layer is None:
            raise ValueError("Channel layer is not valid")
        self._stopping: asyncio.Event | None = None
        self._error: Exception | None = None

    async def handle(self) -> None:
        """Serve all channels until SIGTERM or SIGINT, then finish what was taken.

        Where one channel fails, the others finish what they have, too, before its error is raised.

        Raises:
            ValueError: a message has no type.
        """
        self._stopping, self._error = asyncio.Event(), None
        # A channel that is named twice is one channel.
        channels = dict.fromkeys(self.channels)
        try:
            with self._signals(asyncio.get_running_loop()):
                await asyncio.gather(*map(self._listen, channels), return_exceptions=True)
        finally:
            await self._end_applications()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Take no more messages; :meth:`handle` returns when those that were taken are handled. Call it on the loop."""
        if self._stopping is not None:
            self._stopping.set()

    async def _listen(self, channel: str) -> None:
        try:
            await self.listener(channel)
        except Exception as error:
            if self._error is None:
                self._error = error
            else:
                logger.error("The channel %s has failed, too", channel, exc_info=error)
            self.stop()

    async def listener(self, channel: str) -> None:
        """Serve one channel. Raises as :meth:`handle`, and what the layer raises."""
        while (message := await self._next(channel)) is not None:
            if not message.get("type", None):
                raise ValueError("Worker received message with no type.")
            known = self.application_instances.get(channel)
            if known is not None and known["future"].done():
                await self._forget(channel, known)
            scope = {"type": "channel", "channel": channel}
            queue = self.get_or_create_application_instance(channel, scope)
            details = self.application_instances[channel]
            queue.idle.clear()
            queue.put_nowait(message)
            await _first(queue.idle.wait(), details["future"])
            if details["future"].done():
                await self._forget(channel, details)

    async def _next(self, channel: str) -> Message | None:
        """The next message; None when this is to stop."""
        stopping = self._stopping
        if stopping is None or stopping.is_set():
            return None
        receiving = asyncio.ensure_future(self.channel_layer.receive(channel))
        try:
            await _first(receiving, stopping.wait())
        finally:
            if not receiving.done():
                receiving.cancel()
                # A layer may have taken one by now, and give it.
                await asyncio.wait([receiving])
        # What it was about to take is taken by now, and whoever is the next would get it too late.
        return await local_channels.leftover(channel) if receiving.cancelled() else receiving.result()

    def get_or_create_application_instance(self, scope_id: str, scope: Message) -> _Input:
        """The input of the channel's application, which is started if it does not run."""
        known = self.application_instances.get(scope_id)
        if known is not None:
            found: _Input = super().get_or_create_application_instance(scope_id, scope)
            return found
        while len(self.application_instances) > self.max_applications:
            self.delete_oldest_application_instance()
        queue = _Input()
        running = guarantee_single_callable(self.application)(
            scope=scope, receive=queue.get, send=partial(self.application_send, scope)
        )
        loop = asyncio.get_running_loop()
        self.application_instances[scope_id] = {
            "input_queue": queue,
            "future": asyncio.ensure_future(running),
            "scope": scope,
            "last_used": loop.time(),
        }
        return queue

    async def application_checker(self) -> None:
        """Do nothing: who hands an application its message looks after it."""
        await asyncio.Event().wait()

    async def _forget(self, channel: str, details: dict[str, Any]) -> None:
        """Report how the channel's application has ended. The next message gets another."""
        # It may have been put away already, to make room for another channel's.
        if self.application_instances.get(channel) is details:
            del self.application_instances[channel]
        future = details["future"]
        error = None if future.cancelled() else future.exception()
        if error is not None:
            await self.application_exception(error, details)

    async def _end_applications(self) -> None:
        futures = [details["future"] for details in self.application_instances.values()]
        for future in futures:
            future.cancel()
        await asyncio.gather(*futures, return_exceptions=True)
        self.application_instances.clear()

    @contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        taken: list[signal.Signals] = []

        def told(number: int) -> None:
            logger.info("Stopping when what was taken is handled; another signal stops at once")
            self.stop()
            for each in taken:
                loop.remove_signal_handler(each)
                # KeyboardInterrupt would wait for a synchronous handler that runs in a thread.
                signal.signal(each, signal.SIG_DFL)

        # Not on Windows, nor beside the main thread.
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in before:
                loop.add_signal_handler(number, told, number)
                taken.append(number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number] or signal.SIG_DFL)


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Return when one of them is done; what was made here to wait is cancelled."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    own = [task for task, each in zip(tasks, awaitables, strict=True) if task is not each]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in own:
            task.cancel()
