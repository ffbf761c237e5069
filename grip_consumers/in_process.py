"""Proxies within this very process, for tests: while there is one, it takes the place of the project's own.

What `testing` drives opens a `Place`. As long as any is open, this process publishes to the open places and nowhere
else, and its mailbox is plain memory: so nothing outside is needed, and nothing outside hears of a test.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

from grip_consumers import conf, discovery, mailbox
from grip_consumers.conf import Proxy, Settings
from grip_consumers.state.table import name_local_classes

__all__ = ["CONTROL_URI", "Place", "at_end", "is_test_run", "take"]

#: The control URI of all places that take what is published by a call.
CONTROL_URI = "in-process://tests/"

#: Bytes of sealed state that a proxy in this process keeps: all, so that no cache is needed.
_INLINE = 1 << 30


class Place:
    """Where this process publishes to while it is open. Open and close it from any thread.

    Args:
        take: takes the body of each publish, as a proxy's publish endpoint does; called in any thread.
        proxies: proxies that take publishes by HTTP: those of a server that a test has started.
    """

    def __init__(self, take: Callable[[bytes], None] | None = None, *, proxies: Sequence[Proxy] = ()) -> None:
        self.take = take
        self.proxies = tuple(proxies)

    def open(self) -> Place:
        """Publish here from now on. Closing undoes it."""
        with _lock:
            if not _places:
                _begin()
            _places[id(self)] = self
            _read.cache_clear()
        return self

    def close(self) -> None:
        """Publish here no more; nothing happens if it is closed."""
        with _lock:
            if _places.pop(id(self), None) is not None and not _places:
                _end()
            _read.cache_clear()


_lock = threading.RLock()
_places: dict[int, Place] = {}
_numbers = itertools.count(1)
#: The mailbox of one time in which places are open is not that of the next.
_mailbox = ""


#: What else has to be done when the last place is closed.
_at_end: list[Callable[[], None]] = []


def at_end(function: Callable[[], None]) -> None:
    """Have `function` called when the last place is closed, to let go of what belongs to the time before."""
    _at_end.append(function)


def take(bodies: Sequence[bytes]) -> None:
    """Hand publishes to all open places."""
    for place in list(_places.values()):
        if place.take is not None:
            for body in bodies:
                place.take(body)


def is_test_run() -> bool:
    """Whether Django's test environment is set up, in which mail goes to an outbox, too."""
    from django.core import mail

    return hasattr(mail, "outbox")


def _begin() -> None:
    global _mailbox
    _mailbox = f"in-process-{next(_numbers)}"
    name_local_classes(True)
    conf.change(_read)


def _end() -> None:
    for function in _at_end:
        function()
    conf.change(None)
    mailbox.forget(_mailbox)
    name_local_classes(False)


@lru_cache(maxsize=4)
def _read(settings: Settings) -> Settings:
    places = list(_places.values())
    proxies = dict.fromkeys(proxy for place in places for proxy in place.proxies)
    if any(place.take for place in places):
        proxies[Proxy(CONTROL_URI, control_iss=discovery.ISSUER)] = None
    return dataclasses.replace(
        settings,
        proxies=tuple(proxies),
        mailbox="memory",
        mailbox_alias=_mailbox,
        state_inline_limit=_INLINE,
    )
