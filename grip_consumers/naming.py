"""The names under which the proxy knows groups and connections."""

from __future__ import annotations

import hashlib
import secrets
import string
from functools import lru_cache
from urllib.parse import quote

__all__ = ["group_channel", "new_channel_name"]

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


def new_channel_name(prefix: str = "specific.") -> str:
    """A channel name that no other connection has (as BaseChannelLayer.new_channel)."""
    return f"{prefix}grip!{''.join(secrets.choice(_ALPHABET) for _ in range(16))}"
