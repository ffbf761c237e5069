"""Channels and their subscribers: who gets a published item, and in which order.

An item that names the id of the one before it (`prev_id`) waits for that one a while if the channel has not seen it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from .effects import CloseClient, PingClient, Refresh, Send
from .filters import passes

__all__ = ["Answer", "Chunk", "Close", "Hint", "Hub", "Item", "Published", "Subscriber"]


@dataclass(frozen=True)
class Chunk:
    """A piece of a streamed body. `filters`: those that the subscription must have exactly, or None for any."""

    content: bytes
    filters: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Close:
    """The end of a streamed body."""


@dataclass(frozen=True)
class Hint:
    """The backend has something new: ask it."""


@dataclass(frozen=True)
class Answer:
    """The response to a request that waits for one."""

    status: int
    reason: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    filters: tuple[str, ...] | None = None


#: What can be published to WebSockets.
Published: TypeAlias = Send | CloseClient | PingClient | Refresh

#: Seconds during which an item with the same id on the same channel is taken for a repetition.
ID_MEMORY = 60.0
#: Seconds that an item waits for the one before it.
PATIENCE = 5.0


@dataclass(frozen=True)
class Item:
    """One published item: what WebSockets, streams and waiting requests get of it."""

    channel: str
    message: Published | None = None
    id: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    prev_id: str | None = None
    stream: Chunk | Close | Hint | None = None
    response: Answer | Hint | None = None
    #: Whether it may wait for the item before it.
    ordered: bool = True


class Subscriber(Protocol):
    """What the hub must know of a connection."""

    @property
    def user(self) -> str | None:
        """The value of `set-meta user`, or None."""

    def receive(self, item: Item) -> None:
        """Take what concerns this connection of a published item; must neither block nor raise."""


class Hub:
    """Maps channels to subscribers. All calls come from one thread, that of the event loop.

    Args:
        clock: tells seconds.
        later: calls a function after some seconds; that of the running event loop unless given.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._clock = clock
        self._later = later or _on_the_loop
        self._channels: dict[str, dict[Subscriber, frozenset[str]]] = {}
        self._seen: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._last: dict[str, str] = {}
        #: Of each channel, the items that wait, by the id that they wait for.
        self._waiting: dict[str, dict[str, Item]] = {}

    def subscribe(self, channel: str, subscriber: Subscriber, filters: frozenset[str]) -> None:
        """Add a subscriber; doing so again replaces the filters."""
        self._channels.setdefault(channel, {})[subscriber] = filters

    def unsubscribe(self, channel: str, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it is one."""
        members = self._channels.get(channel, {})
        members.pop(subscriber, None)
        if not members:
            self._channels.pop(channel, None)
            self._last.pop(channel, None)

    def remove(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Remove a subscriber from all of `channels`."""
        for channel in list(channels):
            self.unsubscribe(channel, subscriber)

    def subscribers(self, channel: str) -> int:
        """Return how many subscribers a channel has."""
        return len(self._channels.get(channel, ()))

    def last_id(self, channel: str) -> str | None:
        """Return the id of the latest item, if it is known: only while there are subscribers."""
        return self._last.get(channel)

    def forget_last_id(self, channel: str) -> None:
        """Have `last_id` return None until the next item."""
        self._last.pop(channel, None)

    def publish(self, item: Item) -> int:
        """Deliver an item to the subscribers whose filters let it pass, and return their number.

        What has to wait for the item before it reaches nobody yet and counts 0.
        """
        if item.id is not None and self._is_repeated((item.channel, item.id)):
            return 0
        last = self._last.get(item.channel)
        if item.ordered and last is not None and item.prev_id is not None and item.prev_id != last:
            self._wait(item, item.prev_id)
            return 0
        return self._deliver(item)

    # --- inside ---

    def _wait(self, item: Item, for_id: str) -> None:
        waiting = self._waiting.setdefault(item.channel, {})
        if for_id not in waiting:
            waiting[for_id] = item
            self._later(PATIENCE, lambda: self._give_up(item, for_id))

    def _give_up(self, item: Item, for_id: str) -> None:
        waiting = self._waiting.get(item.channel, {})
        if waiting.get(for_id) is item:
            self._stop_waiting(item.channel, for_id)
            self._deliver(item)

    def _stop_waiting(self, channel: str, for_id: str) -> Item | None:
        waiting = self._waiting.get(channel, {})
        item = waiting.pop(for_id, None)
        if not waiting:
            self._waiting.pop(channel, None)
        return item

    def _deliver(self, item: Item) -> int:
        count = self._hand_out(item)
        following = None if item.id is None else self._stop_waiting(item.channel, item.id)
        while following is not None:
            self._hand_out(following)
            following = None if following.id is None else self._stop_waiting(following.channel, following.id)
        return count

    def _hand_out(self, item: Item) -> int:
        members = self._channels.get(item.channel, {})
        if item.id is None or not members:
            self._last.pop(item.channel, None)
        else:
            self._last[item.channel] = item.id
        receivers = [
            subscriber for subscriber, filters in members.items() if passes(filters, subscriber.user, item.meta)
        ]
        for subscriber in receivers:
            subscriber.receive(item)
        return len(receivers)

    def _is_repeated(self, key: tuple[str, str]) -> bool:
        now = self._clock()
        while self._seen and now - next(iter(self._seen.values())) >= ID_MEMORY:
            self._seen.popitem(last=False)
        if key in self._seen:
            return True
        self._seen[key] = now
        return False


def _on_the_loop(seconds: float, callback: Callable[[], None]) -> object:
    import asyncio

    return asyncio.get_running_loop().call_later(seconds, callback)
