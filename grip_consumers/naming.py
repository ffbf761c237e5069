"""The names under which the proxy knows groups and connections."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import string
from functools import lru_cache
from urllib.parse import quote

__all__ = [
    "group_channel",
    "group_log",
    "is_connection",
    "joining_log",
    "new_channel_name",
    "new_local_name",
    "new_process",
    "outgoing_log",
    "private_channel",
    "private_log",
    "process_of",
    "queue_log",
    "stream_channel",
    "stream_log",
    "user_of",
]

_ALPHABET = string.ascii_letters + string.digits


def group_channel(prefix: str, group: str, consumer: str) -> str:
    """The GRIP channel of a group's members whose consumer class is `consumer` (`module:qualified.name`).

    `prefix` keeps projects apart that share a proxy. A `!` is valid in no group name, so nothing can collide.
    """
    # Channels' check of group names lets a few characters pass that a GRIP channel must not hold.
    return f"{prefix}{quote(group, safe='')}!{_tag(consumer)}"


@lru_cache(maxsize=1024)
def _tag(consumer: str) -> str:
    # The class name is for whoever reads a proxy's log; the digest tells classes of one name apart.
    digest = hashlib.sha256(consumer.encode("utf-8")).hexdigest()[:8]
    return f"{quote(consumer.rpartition('.')[2].rpartition(':')[2])}-{digest}"


def private_channel(prefix: str, channel_name: str) -> str:
    """The GRIP channel of one connection: it says nothing about the connection id."""
    return f"{prefix}{quote(channel_name, safe='!')}"


def user_of(channel_name: str) -> str:
    """What the proxy's filters know a connection by: the random part of its channel name."""
    return channel_name.rpartition("!")[2]


def is_connection(channel_name: str) -> bool:
    """Whether a name is of the kind that connections behind a proxy have (see `new_channel_name`)."""
    return channel_name.rpartition("!")[0].endswith(_PROCESS)


@lru_cache(maxsize=1024)
def stream_channel(prefix: str, group: str, view: str) -> str:
    """The GRIP channel of a group's HTTP clients that `view` (`module:qualified.name`) serves.

    Clients see it, in their position: so it is short, says nothing of the group, and is made of letters, digits, `-`
    and `_` alone. Other channels have a `!`.
    """
    digest = hashlib.sha256("\0".join((prefix, group, view)).encode("utf-8")).digest()
    return base64.urlsafe_b64encode(digest[:12]).decode("ascii")


def stream_log(channel: str) -> str:
    """The mailbox's log of what the clients of a `stream_channel` were sent."""
    return f"stream:{channel}"


def group_log(group: str) -> str:
    """The mailbox's log of what the members of a group have to handle themselves."""
    return f"group:{group}"


def private_log(channel_name: str) -> str:
    """The mailbox's log of what one connection has to handle."""
    return f"private:{channel_name}"


def outgoing_log(channel_name: str) -> str:
    """The mailbox's log of what one connection has sent to its client, but no response had room for yet."""
    return f"outgoing:{channel_name}"


def queue_log(channel: str) -> str:
    """The mailbox's log of what is to be received from a channel that is no connection's."""
    return f"queue:{channel}"


def joining_log(group: str) -> str:
    """The mailbox's log of who is just joining or leaving a group."""
    return f"joining:{group}"


#: What stands before the `!` of every connection's channel name, behind the prefix.
_PROCESS = "grip"


def new_channel_name(prefix: str = "specific.") -> str:
    """A channel name that no other connection has (as BaseChannelLayer.new_channel)."""
    return f"{prefix}{_PROCESS}!{''.join(secrets.choice(_ALPHABET) for _ in range(16))}"


#: What stands before the `!` of a channel name that belongs to a process, behind the prefix.
_OF_PROCESS = re.compile(r"process-[a-zA-Z0-9]{12}\Z")


def new_process() -> str:
    """A name for a process, by which others know whose a channel is."""
    return f"process-{''.join(secrets.choice(_ALPHABET) for _ in range(12))}"


def new_local_name(process: str, prefix: str = "specific.") -> str:
    """A channel name that nothing else has, and that its `process` alone receives from."""
    return f"{prefix}{process}!{''.join(secrets.choice(_ALPHABET) for _ in range(12))}"


def process_of(channel: str) -> str | None:
    """The process that a channel belongs to; None for a connection's and for a queue that all processes share."""
    found = _OF_PROCESS.search(channel.partition("!")[0]) if "!" in channel else None
    return found[0] if found else None
