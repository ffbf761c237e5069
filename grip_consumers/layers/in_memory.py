"""A channel layer in the memory of one process (`channels.layers.InMemoryChannelLayer`), for tests and development."""

from __future__ import annotations

import asyncio
import copy
import secrets
import string
import time
from contextlib import suppress
from typing import Any

from grip_consumers.exceptions import ChannelFull

from .base import BaseChannelLayer, Capacities

__all__ = ["InMemoryChannelLayer"]

_Queue = asyncio.Queue[tuple[float, dict[str, Any]]]


class InMemoryChannelLayer(BaseChannelLayer):
    """Queues and groups of this process, for consumers that run in it without a proxy.

    It reaches no connection that a proxy holds. Use it on one event loop, as its queues belong to one each.

    Args:
        expiry: how many seconds a message that nobody receives is kept.
        group_expiry: how many seconds a channel stays in a group that it was added to.
        capacity: how many messages a channel holds.
        channel_capacity: exceptions to `capacity`, as in :class:`BaseChannelLayer`.

    Attributes:
        channels: channel name → its queue, of pairs of the time it expires and the message.
        groups: group → channel name → when it was added. Times are in seconds since the epoch.
    """

    extensions = ["groups", "flush"]

    def __init__(
        self,
        expiry: int = 60,
        group_expiry: int = 86400,
        capacity: int = 100,
        channel_capacity: Capacities | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity, **kwargs)
        self.channels: dict[str, _Queue] = {}
        self.groups: dict[str, dict[str, float]] = {}
        self.group_expiry = group_expiry

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Put a copy of a message into a channel.

        Raises:
            AssertionError: the message is not a dict, or has the key ``__asgi_channel__``, which is reserved.
            TypeError: `channel` is not a channel name.
            ChannelFull: it holds as many messages as its capacity permits.
        """
        if not isinstance(message, dict):
            raise AssertionError("message is not a dict")
        self.require_valid_channel_name(channel)
        if "__asgi_channel__" in message:
            raise AssertionError
        try:
            self._queue(channel).put_nowait((time.time() + self.expiry, copy.deepcopy(message)))
        except asyncio.QueueFull:
            raise ChannelFull(channel) from None

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of a channel; of several who wait, one gets it.

        Raises:
            TypeError: `channel` is not a channel name.
        """
        self.require_valid_channel_name(channel)
        self._clean_expired()
        queue = self._queue(channel)
        try:
            _, message = await queue.get()
        finally:
            if queue.empty():
                self.channels.pop(channel, None)
        return message

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return a channel name that nothing else has."""
        return f"{prefix}.inmemory!{''.join(secrets.choice(string.ascii_letters) for _ in range(12))}"

    async def flush(self) -> None:
        """Forget all messages and groups."""
        self.channels, self.groups = {}, {}

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, or add it anew. Raises TypeError for names that are none."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.groups.setdefault(group, {})[channel] = time.time()

    async def group_discard(self, group: str, channel: str) -> None:
        """Take a channel out of a group, if it is in it. Raises TypeError for names that are none."""
        self.require_valid_channel_name(channel)
        self.require_valid_group_name(group)
        members = self.groups.get(group)
        if members:
            members.pop(channel, None)
            if not members:
                del self.groups[group]

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to every channel in a group; one that is full misses it.

        Raises:
            AssertionError: the message is not a dict, or has a reserved key.
            TypeError: `group` is not a group name.
        """
        if not isinstance(message, dict):
            raise AssertionError("Message is not a dict")
        self.require_valid_group_name(group)
        self._clean_expired()
        for channel in list(self.groups.get(group, ())):
            with suppress(ChannelFull):
                await self.send(channel, message)

    def _queue(self, channel: str) -> _Queue:
        return self.channels.setdefault(channel, asyncio.Queue(maxsize=self.get_capacity(channel)))

    def _clean_expired(self) -> None:
        """Drop what has expired. A channel that a message has expired in leaves all groups: nobody receives there."""
        for channel, queue in list(self.channels.items()):
            waiting = queue._queue  # type: ignore[attr-defined]
            while waiting and waiting[0][0] < time.time():
                queue.get_nowait()
                self._remove_from_groups(channel)
                if queue.empty():
                    self.channels.pop(channel, None)
        oldest = int(time.time()) - self.group_expiry
        for members in self.groups.values():
            for channel in [channel for channel, added in members.items() if added and added < oldest]:
                del members[channel]

    def _remove_from_groups(self, channel: str) -> None:
        for members in self.groups.values():
            members.pop(channel, None)
