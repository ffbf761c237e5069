"""Where one held response stands in its channels, without I/O: what a published item means for it.

A channel with a `prev_id` is followed without gaps: an item that does not name that id as the one before it shows that
something was missed, and the backend has to be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .filters import CONTENT_FILTERS, FilterError, passes, rendered
from .handshake import Header
from .hub import Item
from .instruct import Channel

__all__ = ["Following", "GapError"]

logger = logging.getLogger("grip_consumers.embedded")


class GapError(Exception):
    """The backend has to be asked what was missed."""


class Following:
    """The channels of one held response, by name, and the meta data that filters look at.

    Args:
        limit: channels at most; more are ignored (and logged), as by Pushpin.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.channels: dict[str, Channel] = {}
        self.meta: Mapping[str, str] = {}

    def change(self, channels: Iterable[Channel], meta: Mapping[str, str]) -> tuple[set[str], set[str]]:
        """Follow these channels from now on, and no others; returns the names of new ones and of left ones."""
        before = set(self.channels)
        wanted = list(channels)
        if len(wanted) > self._limit:
            ignored = ", ".join(channel.name for channel in wanted[self._limit :])
            logger.warning("A response is held for at most %d channels; ignored: %s.", self._limit, ignored)
        self.channels = {channel.name: channel for channel in wanted[: self._limit]}
        self.meta = meta
        return set(self.channels) - before, before - set(self.channels)

    @property
    def without_gaps(self) -> bool:
        """Whether any channel is followed so."""
        return any(channel.prev_id is not None for channel in self.channels.values())

    def fits(self, item: Item) -> bool:
        """Whether an item comes next on its channel, as far as can be told."""
        channel = self.channels.get(item.channel)
        return channel is not None and channel.prev_id in {None, item.prev_id}

    def takes(self, item: Item) -> bool:
        """Move on to an item and return whether the client gets it. Raises GapError if it does not fit."""
        channel = self.channels.get(item.channel)
        if channel is None:
            return False
        if not self.fits(item):
            raise GapError
        if channel.prev_id is not None:
            self.channels[item.channel] = replace(channel, prev_id=item.id)
        return passes(channel.filters, self.meta.get("user"), item.meta, self.channels)

    def render(self, item: Item, content: bytes, expected: tuple[str, ...] | None) -> bytes:
        """Return an item's content for this client.

        Args:
            item: what the client gets.
            content: what was published.
            expected: the content filters that the publisher counts on, or None.

        Raises:
            FilterError: there are other filters, or they cannot render the content.
        """
        filters = self.channels[item.channel].filters
        present = tuple(name for name in filters if name in CONTENT_FILTERS)
        if expected is not None and expected != present:
            raise FilterError(f"expected the content filters {expected} on {item.channel!r:.60}, got {present}")
        ids = {name: channel.prev_id for name, channel in self.channels.items()}
        return rendered(content, filters, self.meta, ids)

    def last(self) -> list[Header]:
        """Return the Grip-Last headers, which tell the backend what the client has got."""
        return [
            (b"grip-last", f"{channel.name}; last-id={channel.prev_id}".encode())
            for channel in self.channels.values()
            if channel.prev_id is not None
        ]
