"""Channel layers: how a project reaches its connections from anywhere (`channels.layers`).

``get_channel_layer()`` returns the layer of an alias in the setting ``CHANNEL_LAYERS``. Without that setting
there is one, "default": a :class:`GripChannelLayer`, whose messages travel through the GRIP proxies. Any
other backend that is written for Channels may stand beside it, for example for work that processes pass to
each other.
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from grip_consumers import DEFAULT_CHANNEL_LAYER, groups
from grip_consumers.exceptions import InvalidChannelLayerError

__all__ = [
    "BaseChannelLayer",
    "ChannelLayerManager",
    "GripChannelLayer",
    "channel_layers",
    "get_channel_layer",
]

_DEFAULT_CONFIGS: dict[str, dict[str, Any]] = {
    DEFAULT_CHANNEL_LAYER: {"BACKEND": "grip_consumers.layers.GripChannelLayer"}
}

Capacities = Mapping[str | re.Pattern[str], int]


class ChannelLayerManager:
    """The channel layers of the project by alias, each made when it is first asked for.

    Attributes:
        backends: alias → layer, as far as they have been made.
    """

    def __init__(self) -> None:
        self.backends: dict[str, Any] = {}
        setting_changed.connect(self._reset_backends)

    def _reset_backends(self, setting: str, **kwargs: object) -> None:
        if setting == "CHANNEL_LAYERS":
            self.backends = {}

    @property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The setting ``CHANNEL_LAYERS``: alias → dict with BACKEND, CONFIG and TEST_CONFIG."""
        configs: dict[str, dict[str, Any]] = getattr(settings, "CHANNEL_LAYERS", _DEFAULT_CONFIGS)
        return configs

    def make_backend(self, name: str) -> Any:
        """Make the layer of an alias from its CONFIG.

        Raises:
            KeyError: nobody configured that alias.
            InvalidChannelLayerError: its BACKEND is missing or cannot be imported.
        """
        return self._make_backend(name, self.configs[name].get("CONFIG", {}))

    def make_test_backend(self, name: str) -> Any:
        """Make the layer of an alias from its TEST_CONFIG.

        Raises:
            InvalidChannelLayerError: there is none, or its BACKEND is missing or cannot be imported.
        """
        try:
            config = self.configs[name]["TEST_CONFIG"]
        except KeyError:
            raise InvalidChannelLayerError(f"No TEST_CONFIG specified for {name}") from None
        return self._make_backend(name, config)

    def _make_backend(self, name: str, config: dict[str, Any]) -> Any:
        if "ROUTING" in self.configs[name]:
            raise InvalidChannelLayerError(f"ROUTING key found for {name} - this is no longer needed in Channels 2.")
        try:
            path = self.configs[name]["BACKEND"]
        except KeyError:
            raise InvalidChannelLayerError(f"No BACKEND specified for {name}") from None
        try:
            backend_class = import_string(path)
        except ImportError as error:
            raise InvalidChannelLayerError(f"Cannot import BACKEND {path!r} specified for {name}") from error
        return backend_class(**config)

    def __getitem__(self, key: str) -> Any:
        """Return the layer of an alias; raises what :meth:`make_backend` raises."""
        if key not in self.backends:
            self.backends[key] = self.make_backend(key)
        return self.backends[key]

    def __contains__(self, key: object) -> bool:
        """Whether an alias is configured."""
        return key in self.configs

    def set(self, key: str, layer: Any) -> Any:
        """Put a layer in the place of an alias, as tests do, and return the one that was there, or None."""
        old = self.backends.get(key)
        self.backends[key] = layer
        return old


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


class GripChannelLayer(BaseChannelLayer):
    """Groups and channel names of connections that GRIP proxies hold.

    The proxies hold the memberships: a connection leaves all groups when it ends, and none expires. Events that
    every member has to handle itself, and those for one connection, wait in the mailbox (``GRIP_MAILBOX``) until the
    proxy has called back. Takes the arguments of other layers, so that a project's CONFIG may stay.

    Args:
        expiry: how many seconds an event waits for its connection.
        capacity: how many events that were sent to one connection by its name may wait for it.
        channel_capacity: exceptions to `capacity`, as in :class:`BaseChannelLayer`.
    """

    extensions = ["groups"]
    #: No process owns a connection, so there is none that could receive for it.
    has_queues = False

    async def group_add(self, group: str, channel: str) -> None:
        """Add a connection, this one or another, to a group. From when this returns it gets what is sent to it.

        Raises:
            TypeError: `group` is not a group name, or `channel` not a channel name.
            SubscriptionLimitExceeded: this connection would be in more groups than its proxy serves.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await groups.aadd(group, channel)

    def group_add_now(self, group: str, channel: str) -> None:
        """Do what :meth:`group_add` does, from synchronous code."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        groups.add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Take a connection, this one or another, out of a group; if it is not in it, nothing happens.

        Raises:
            TypeError: `group` is not a group name, or `channel` not a channel name.
        """
        self.require_valid_channel_name(channel)
        self.require_valid_group_name(group)
        await groups.adiscard(group, channel)

    def group_discard_now(self, group: str, channel: str) -> None:
        """Do what :meth:`group_discard` does, from synchronous code."""
        self.require_valid_channel_name(channel)
        self.require_valid_group_name(group)
        groups.discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send an event to every connection in a group; its ``type`` names the handler that it reaches.

        Raises:
            AssertionError: the message is not a dict.
            TypeError: `group` is not a group name, or the message holds what no other process could be given.
            PublishError: a proxy did not take it.
        """
        if not isinstance(message, dict):
            raise AssertionError("Message is not a dict")
        self.require_valid_group_name(group)
        await groups.send(group, message, expiry=self.expiry)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send an event to one connection, by its ``channel_name``.

        Raises:
            AssertionError: the message is not a dict, or has the key ``__asgi_channel__``, which is reserved.
            TypeError: `channel` is not a channel name, or the message holds what no other process could be given.
            ChannelFull: as many events as its capacity permits wait for the connection.
            PublishError: a proxy did not take it.
        """
        if not isinstance(message, dict):
            raise AssertionError("message is not a dict")
        self.require_valid_channel_name(channel)
        if "__asgi_channel__" in message:
            raise AssertionError("message has the reserved key '__asgi_channel__'")
        await groups.send_to_channel(channel, message, expiry=self.expiry, capacity=self.get_capacity(channel))

    async def close_connection(self, channel: str, code: int = 1000, reason: str = "") -> None:
        """Close one connection, by its ``channel_name``. Channels' own layers have no such method.

        Args:
            channel: whose.
            code: the close code (RFC 6455 §7.4).
            reason: a text for the client, of at most 123 bytes in UTF-8.

        Raises:
            TypeError: `channel` is not a channel name.
            LocalProtocolError: the code or the reason cannot be sent.
            PublishError: a proxy did not take it.
        """
        self.require_valid_channel_name(channel)
        await groups.close(channel, code, reason)

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return a channel name; inside a request of a connection, the connection's own ``channel_name``."""
        return groups.new_channel_name(prefix)

    async def receive(self, channel: str) -> NoReturn:
        """Refuse: see the error.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "GripChannelLayer has nothing to receive from: no process owns a connection, so none has a queue "
            "of its events. An event reaches the consumer's handler of its type by itself; for messages "
            "between processes (runworker, replies to be awaited) configure another backend beside this one, "
            "under an alias of its own in CHANNEL_LAYERS."
        )

    async def flush(self) -> NoReturn:
        """Refuse: see the error.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "flush() not implemented (flush extension): the GRIP proxies hold the groups and the connections "
            "in them, and end them with the connections. In tests, use groups of other names, or close the "
            "connections."
        )


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> Any:
    """Return the channel layer of an alias, or None if it is not configured.

    Raises:
        InvalidChannelLayerError: it is configured wrongly.
    """
    try:
        return channel_layers[alias]
    except KeyError:
        return None


#: The project's channel layers.
channel_layers = ChannelLayerManager()
