"""Channels and their subscribers: who gets a published item."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from .effects import CloseClient, PingClient, Refresh, Send

__all__ = ["Hub", "Item", "Published", "Subscriber"]

#: What can be published.
Published: TypeAlias = Send | CloseClient | PingClient | Refresh

#: Seconds during which an item with the same id on the same channel is taken for a repetition.
ID_MEMORY = 60.0


@dataclass(frozen=True)
class Item:
    """One published item, its message already an effect."""

    channel: str
    message: Published
    id: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)


class Subscriber(Protocol):
    """What the hub must know of a connection."""

    @property
    def user(self) -> str | None:
        """The value of `set-meta user`, or None."""

    def deliver(self, message: Published) -> None:
        """Pass a published message on; must neither block nor raise."""


class Hub:
    """Maps channels to subscribers. All calls come from one thread, that of the event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._channels: dict[str, dict[Subscriber, frozenset[str]]] = {}
        self._seen: dict[tuple[str, str], float] = {}

    def subscribe(self, channel: str, subscriber: Subscriber, filters: frozenset[str]) -> None:
        """Add a subscriber; doing so again replaces the filters."""
        self._channels.setdefault(channel, {})[subscriber] = filters

    def unsubscribe(self, channel: str, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it is one."""
        members = self._channels.get(channel, {})
        members.pop(subscriber, None)
        if not members:
            self._channels.pop(channel, None)

    def remove(self, subscriber: Subscriber, channels: Iterable[str]) -> None:
        """Remove a subscriber from all of `channels`."""
        for channel in list(channels):
            self.unsubscribe(channel, subscriber)

    def subscribers(self, channel: str) -> int:
        """Return how many subscribers a channel has."""
        return len(self._channels.get(channel, ()))

    def publish(self, item: Item) -> int:
        """Deliver an item to the subscribers whose filters let it pass, and return their number."""
        if item.id is not None and self._is_repeated((item.channel, item.id)):
            return 0
        receivers = [
            subscriber
            for subscriber, filters in self._channels.get(item.channel, {}).items()
            if _passes(filters, subscriber.user, item.meta)
        ]
        for subscriber in receivers:
            subscriber.deliver(item.message)
        return len(receivers)

    def _is_repeated(self, key: tuple[str, str]) -> bool:
        now = self._clock()
        for known, at in list(self._seen.items()):
            if now - at < ID_MEMORY:
                break
            del self._seen[known]
        if key in self._seen:
            return True
        self._seen[key] = now
        return False


def _passes(filters: frozenset[str], user: str | None, meta: Mapping[str, str]) -> bool:
    if user is None:
        return True
    if "skip-self" in filters and meta.get("sender") == user:
        return False
    skipped = meta.get("skip_users", "")
    return not ("skip-users" in filters and user in {name.strip() for name in skipped.split(",")})
