"""The channel layer of connections that GRIP proxies hold, and of queues in the mailbox."""

from __future__ import annotations

from typing import Any, NoReturn

from grip_consumers import groups, local_channels
from grip_consumers.compatibility import advise

from .base import BaseChannelLayer

__all__ = ["GripChannelLayer"]


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
    #: Whether what is sent by it reaches connections that proxies hold.
    reaches_connections = True

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
        await groups.send(group, message, expiry=self.expiry, capacity=self.get_capacity)

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
        """Return a channel name that nothing else has, and that this process alone receives from."""
        return local_channels.new_name(prefix)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of a queue (a name without ``!``) or of a channel from :meth:`new_channel`.

        Of several who wait for a queue, in all processes, one gets the message.

        Raises:
            TypeError: `channel` is not a channel name.
            NotImplementedError: it is the name of a connection: see the error.
            ValueError: it is a channel of another process.
        """
        self.require_valid_channel_name(channel)
        if not local_channels.is_local(channel):
            raise NotImplementedError(
                f"channel_layer.receive() expected a queue's name or one from new_channel(), got {channel!r}: no "
                f"process owns a connection, so none has a queue of its events. {advise('layer-receive')}"
            )
        message: Any = await local_channels.receive(channel)
        return message  # type: ignore[no-any-return]

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
