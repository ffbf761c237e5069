"""Who is just joining or leaving a group: served past what is published until their subscriptions have caught up.

`group_add` takes effect when it returns, but a proxy subscribes the connection only when it has read the
response. So whoever joins is listed for a while, in the mailbox. A sender leaves those who are listed out of
what it publishes, and puts a copy of the event into each one's own log instead.

That ends for a connection as soon as its client has what was copied to it, which the answer to a ping shows: it
then writes `Settled` behind the last copy in its own log, which succeeds only if nobody has put another one there.
A sender that finds it counts the connection among those whom the publish reaches. So each event comes by one of
the two ways, and in order. Who leaves is listed just so, and gets no copies.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import msgpack

from grip_consumers import mailbox
from grip_consumers.exceptions import MailboxError
from grip_consumers.mail import Entry, Event, Settled, pack, unpack
from grip_consumers.mailbox.base import Log
from grip_consumers.naming import group_log, joining_log, private_log

__all__ = ["EXPIRY", "Listing", "Scene", "announce", "leave_copies", "look", "mark_whole_class", "mark_without_filters"]

#: Seconds for which somebody is listed.
EXPIRY = 30.0
#: Seconds after which nobody gets a first copy: there would be too little time to settle.
_LATEST = 20.0
#: Seconds for which it is remembered that a class, or a proxy, cannot do with what is published.
_MARK_EXPIRY = 86_400.0
_WITHOUT_FILTERS = "without-filters"


@dataclass(frozen=True)
class Listing:
    """A connection that is just joining a group, or leaving it; its own log is to be looked at behind `position`."""

    channel_name: str
    position: int = 0
    leaving: bool = False
    #: When, in seconds since the epoch.
    since: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Scene:
    """What a sender has to know of a group before it sends."""

    flags: frozenset[str] = frozenset()
    listings: Mapping[str, Listing] = field(default_factory=dict)

    @property
    def joiners(self) -> list[Listing]:
        return [listing for listing in self.listings.values() if not listing.leaving]

    @property
    def leavers(self) -> list[str]:
        """Their channel names."""
        return [listing.channel_name for listing in self.listings.values() if listing.leaving]

    @property
    def without_filters(self) -> bool:
        """Some proxy cannot leave out named connections."""
        return _WITHOUT_FILTERS in self.flags

    def wants_all(self, consumer: str) -> bool:
        """Whether members of this class have to see every event themselves."""
        return _whole_class(consumer) in self.flags


def look(group: str, consumers: Iterable[str], flags: Iterable[str] = ()) -> Scene:
    """The scene for the classes `consumers`, with those of `flags` that are raised."""
    log = joining_log(group)
    wanted = [_WITHOUT_FILTERS, *map(_whole_class, consumers), *flags]
    ends, raised = mailbox.get().look([log], wanted)
    return Scene(raised, _listings(log) if ends.get(log) else {})


def _listings(log: str) -> dict[str, Listing]:
    found = mailbox.get().read({log: 0}).get(log, [])
    # The last word on each counts.
    return {listing.channel_name: listing for listing in (Listing(*msgpack.unpackb(data)) for _, data in found)}


def announce(group: str, listing: Listing) -> int:
    """List a connection. How far the group's log has been written by then: what comes later is for it."""
    data = msgpack.packb([listing.channel_name, listing.position, listing.leaving, listing.since])
    mailbox.get().append(joining_log(group), data, expiry=EXPIRY)
    log = group_log(group)
    return mailbox.get().look([log])[0].get(log, 0)


def mark_whole_class(consumer: str) -> None:
    """Note that some middleware of this class's connections has to see what they are sent."""
    mailbox.get().raise_flag(_whole_class(consumer), expiry=_MARK_EXPIRY)


def mark_without_filters() -> None:
    """Note that some proxy cannot leave out named connections."""
    mailbox.get().raise_flag(_WITHOUT_FILTERS, expiry=_MARK_EXPIRY)


def _whole_class(consumer: str) -> str:
    return f"every-event:{consumer}"


def leave_copies(joiners: Iterable[Listing], group: str, event: Event, expiry: float) -> tuple[list[str], list[str]]:
    """Put `event` into the log of each who is joining: the channel names of those, and of the settled ones."""
    copied: list[str] = []
    settled: list[str] = []
    data = pack(event)
    for listing in joiners:
        (copied if _leave_copy(listing, group, data, expiry) else settled).append(listing.channel_name)
    return copied, settled


def _leave_copy(listing: Listing, group: str, data: bytes, expiry: float) -> bool:
    """False if the connection is served by what is published. The log decides who was first, the sender or it."""
    log, box, known = private_log(listing.channel_name), mailbox.get(), listing.position
    while True:
        found = box.read({log: listing.position}).get(log, [])
        if _is_settled(listing, group, list(_readable(found))):
            return False
        end = found[-1][0] if found else box.look([log])[0].get(log, 0)
        if not found and end > known:
            # Written between the two looks; or expired, which a second look shows.
            known = end
            continue
        if box.append_at(log, end + 1 if end else box.start_position(), data, expiry=expiry):
            return True


def _readable(entries: Log) -> Iterator[Entry]:
    for _, data in entries:
        # Whose log it is complains of an entry that cannot be read.
        with suppress(MailboxError):
            yield unpack(data)


def _is_settled(listing: Listing, group: str, entries: list[Entry]) -> bool:
    if any(isinstance(entry, Settled) and group in entry.groups for entry in entries):
        return True
    # Of whichever group: what one sender sends to several is to stay in order, too.
    copied = any(isinstance(entry, Event) and entry.copy_of is not None for entry in entries)
    return not copied and time.time() - listing.since > _LATEST
