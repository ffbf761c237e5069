"""A channel layer that sends to the layer that a site had before, too: for a move in steps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from django.utils.module_loading import import_string

from grip_consumers import groups
from grip_consumers.exceptions import InvalidChannelLayerError
from grip_consumers.standin import current_attempt

from .base import Capacities
from .grip import GripChannelLayer

__all__ = ["DualChannelLayer"]


class DualChannelLayer(GripChannelLayer):
    """Reaches the connections behind GRIP proxies, and the channels of another layer.

    A group's event goes to both. Whose a channel is its name tells: that of a connection behind a proxy is served as
    by :class:`GripChannelLayer`, any other, queues among them, by the other layer. Consumers that a server drives
    without a proxy have their names from there.

    Args:
        old: the alias of the other layer in ``CHANNEL_LAYERS``, or a mapping with its BACKEND and CONFIG.
        expiry, capacity, channel_capacity: for connections behind proxies, as in :class:`GripChannelLayer`.
    """

    def __init__(
        self,
        old: str | Mapping[str, Any],
        expiry: int = 60,
        capacity: int = 100,
        channel_capacity: Capacities | None = None,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity)
        self._old = old
        self._made: Any = None

    @property
    def old(self) -> Any:
        """The other layer, made when it is first needed.

        Raises:
            InvalidChannelLayerError: there is no such alias, or its BACKEND is missing or cannot be imported, or it
                leads back here.
        """
        found = layer = self._next()
        seen: list[Any] = [self]
        while isinstance(layer, DualChannelLayer):
            if layer in seen:
                raise InvalidChannelLayerError(
                    f"DualChannelLayer expected old to lead to a layer of another kind, got {self._old!r}, which leads "
                    "in a circle. Name the layer that the site had before."
                )
            seen.append(layer)
            layer = layer._next()
        return found

    def _next(self) -> Any:
        if isinstance(self._old, str):
            return self._named(self._old)
        if self._made is None:
            self._made = _make(self._old)
        return self._made

    def _named(self, alias: str) -> Any:
        from grip_consumers.layers import get_channel_layer

        found = get_channel_layer(alias)
        if found is None or found is self:
            raise InvalidChannelLayerError(
                f"DualChannelLayer expected old to be another alias in CHANNEL_LAYERS, or a dict with BACKEND and "
                f"CONFIG, got {alias!r}."
            )
        return found

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, at the layer that it is of. Raises what that one does."""
        await self._layer_of(channel).group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Take a channel out of a group, at the layer that it is of. Raises what that one does."""
        await self._layer_of(channel).group_discard(group, channel)

    def group_add_now(self, group: str, channel: str) -> None:
        """Do what :meth:`group_add` does, from synchronous code."""
        if groups.reaches(channel):
            super().group_add_now(group, channel)
        else:
            async_to_sync(self.old.group_add)(group, channel)

    def group_discard_now(self, group: str, channel: str) -> None:
        """Do what :meth:`group_discard` does, from synchronous code."""
        if groups.reaches(channel):
            super().group_discard_now(group, channel)
        else:
            async_to_sync(self.old.group_discard)(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send an event to every channel in a group, at both layers at once: where one fails, the other is served.

        Raises:
            AssertionError, TypeError, PublishError: as :meth:`GripChannelLayer.group_send`, and what the other raises.
        """
        if current_attempt.get() is not None:
            # It is refused, and every member does it once more: nobody may have it by then.
            await super().group_send(group, message)
        both = self.old.group_send(group, message), super().group_send(group, message)
        old, own = await asyncio.gather(*both, return_exceptions=True)
        try:
            _raise(old)
        finally:
            _raise(own)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel, at the layer that it is of. Raises what that one does."""
        await self._layer_of(channel).send(channel, message)

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return a channel name of the other layer, which begins with `prefix` if one is given."""
        # Each layer has a default of its own, and one may take no prefix.
        name: str = await self.old.new_channel(*([] if prefix == "specific." else [prefix]))
        return name

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of a channel of the other layer.

        Raises:
            NotImplementedError: it is the name of a connection: see the error.
        """
        layer = self._layer_of(channel)
        message: dict[str, Any] = await layer.receive(channel)
        return message

    def _layer_of(self, channel: str) -> Any:
        """What serves a channel: the other layer, or the one that this is built on."""
        return super() if groups.reaches(channel) else self.old


def _raise(result: object) -> None:
    """Raise what a call has ended with, if that is an error."""
    if isinstance(result, BaseException):
        raise result


def _make(config: Mapping[str, Any]) -> Any:
    try:
        backend = import_string(config["BACKEND"])
    except KeyError:
        raise InvalidChannelLayerError("DualChannelLayer expected a BACKEND in old, got none") from None
    except ImportError as error:
        raise InvalidChannelLayerError(f"Cannot import BACKEND {config['BACKEND']!r} of DualChannelLayer") from error
    return backend(**config.get("CONFIG", {}))
