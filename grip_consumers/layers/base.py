"""What channel layers have in common (`channels.layers.BaseChannelLayer`)."""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["BaseChannelLayer", "Capacities"]

Capacities = Mapping[str | re.Pattern[str], int]


class BaseChannelLayer:
    """What channel layers have in common: names, their rules, and capacities.

    Args:
        expiry: how many seconds a message that nobody receives is kept.
        capacity: how many messages a channel holds.
        channel_capacity: exceptions to `capacity`: a glob or a compiled expression for channel names → how
            many messages those channels hold. The first that matches counts.

    Attributes:
        channel_capacity: those exceptions as pairs of a compiled expression and a capacity.
    """

    MAX_NAME_LENGTH = 100  # names are shorter than this

    channel_name_regex = re.compile(r"^[a-zA-Z\d\-_.]+(\![\d\w\-_.]*)?$")
    group_name_regex = re.compile(r"^[a-zA-Z\d\-_.]+$")
    invalid_name_error = (
        "{} name must be a valid unicode string "
        f"with length < {MAX_NAME_LENGTH} "
        "containing only ASCII alphanumerics, hyphens, underscores, or periods."
    )

    def __init__(self, expiry: int = 60, capacity: int = 100, channel_capacity: Capacities | None = None) -> None:
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = self.compile_capacities(channel_capacity or {})

    def compile_capacities(
        self, channel_capacity: Capacities | Iterable[tuple[str | re.Pattern[str], int]]
    ) -> list[tuple[re.Pattern[str], int]]:
        """Return the pairs for :meth:`get_capacity`; what is compiled already stays as it is."""
        pairs = channel_capacity.items() if isinstance(channel_capacity, Mapping) else channel_capacity
        return [(_compiled(pattern), capacity) for pattern, capacity in pairs]

    def get_capacity(self, channel: str) -> int:
        """Return how many messages a channel holds."""
        matches = (capacity for pattern, capacity in self.channel_capacity if pattern.match(channel))
        return next(matches, self.capacity)

    def match_type_and_length(self, name: object) -> bool:
        """Whether this is a text short enough for a name."""
        return isinstance(name, str) and len(name) < self.MAX_NAME_LENGTH

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """Return True for the name of a channel.

        Args:
            name: letters, digits, ``-``, ``_`` and ``.``; behind a ``!``, what tells one channel of a process
                from the others.
            receive: whether it is to be received from: then the name has to end at the ``!``.

        Raises:
            TypeError: it is none.
        """
        if not self.match_type_and_length(name) or not self.channel_name_regex.match(name):
            raise TypeError(self.invalid_name_error.format("Channel"))
        if receive and "!" in name and not name.endswith("!"):
            raise TypeError("Specific channel names in receive() must end at the !")
        return True

    def require_valid_group_name(self, name: str) -> bool:
        """Return True for the name of a group: letters, digits, ``-``, ``_`` and ``.``.

        Raises:
            TypeError: it is none.
        """
        if not self.match_type_and_length(name) or not self.group_name_regex.match(name):
            raise TypeError(self.invalid_name_error.format("Group"))
        return True

    def valid_channel_names(self, names: list[str], receive: bool = False) -> bool:
        """Return True for a list of channel names.

        Raises:
            AssertionError: it is not a list, or empty.
            TypeError: one of them is not a channel name.
        """
        if not isinstance(names, list) or not names:
            raise AssertionError("names must be a non-empty list")
        return all(self.require_valid_channel_name(name, receive=receive) for name in names)

    def non_local_name(self, name: str) -> str:
        """Return a channel name up to and with its ``!``; without one, all of it."""
        process, mark, _ = name.partition("!")
        return process + mark

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel. For subclasses to implement."""
        raise NotImplementedError("send() should be implemented in a channel layer")

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of a channel. For subclasses to implement."""
        raise NotImplementedError("receive() should be implemented in a channel layer")

    async def new_channel(self) -> str:
        """Return a channel name that nothing else has. For subclasses to implement."""
        raise NotImplementedError("new_channel() should be implemented in a channel layer")

    async def flush(self) -> None:
        """Forget all messages and groups. For subclasses with the flush extension."""
        raise NotImplementedError("flush() not implemented (flush extension)")

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group. For subclasses with the groups extension."""
        raise NotImplementedError("group_add() not implemented (groups extension)")

    async def group_discard(self, group: str, channel: str) -> None:
        """Take a channel out of a group. For subclasses with the groups extension."""
        raise NotImplementedError("group_discard() not implemented (groups extension)")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to every channel in a group. For subclasses with the groups extension."""
        raise NotImplementedError("group_send() not implemented (groups extension)")

    def valid_channel_name(self, channel_name: str, receive: bool = False) -> bool:
        """Deprecated, as in Channels: use :meth:`require_valid_channel_name`."""
        _warn_deprecated("valid_channel_name")
        return self.require_valid_channel_name(channel_name)

    def valid_group_name(self, group_name: str) -> bool:
        """Deprecated, as in Channels: use :meth:`require_valid_group_name`."""
        _warn_deprecated("valid_group_name")
        return self.require_valid_group_name(group_name)


def _compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern)) if isinstance(pattern, str) else pattern


def _warn_deprecated(name: str) -> None:
    warnings.warn(f"{name} is deprecated, use require_{name} instead.", DeprecationWarning, stacklevel=3)
