"""What a mailbox's entries say: the events and instructions that a connection carries out in a batch of its own.

An entry is written by whoever sends and read by each connection it may concern, whose batch turns it back into
one of the classes here. `sent` is the sender's clock, in seconds since the epoch: what lies in several logs is
put in its order. `classes` names the consumer classes that an entry is for (`module:qualified.name`), None
meaning all; `skip` the users (see `naming.user_of`) that it is not for.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

import msgpack

from grip_consumers.exceptions import MailboxError
from grip_consumers.state import CannotEncode, decode, encode
from grip_consumers.types import Message

__all__ = ["Discard", "Entry", "Event", "Frames", "Join", "Outcome", "Settled", "Shut", "pack", "unpack"]


class Outcome(IntEnum):
    """How a handler ended that ran once for all."""

    RETURNED = 0
    FAILED = 1
    STOPPED = 2


@dataclass(frozen=True)
class Entry:
    """What the kinds of entries have in common."""

    kind: ClassVar[int]

    sent: float = field(default_factory=time.time, kw_only=True)


@dataclass(frozen=True)
class Event(Entry):
    """An event for the handler of its type."""

    kind: ClassVar[int] = 1

    message: Message
    classes: Collection[str] | None = None
    skip: Collection[str] = ()
    #: Only for those who are in this group when they come to it; None: for whoever reads it.
    group: str | None = None
    #: It stands in for what is published to this group, which its reader has just joined.
    copy_of: str | None = None

    def is_for(self, consumer: str, user: str) -> bool:
        """Whether it concerns a connection of that consumer class and user."""
        return _concerns(self.classes, self.skip, consumer, user)


@dataclass(frozen=True)
class Frames(Entry):
    """What a handler has sent that ran once for all: texts and bytes, then how it ended."""

    kind: ClassVar[int] = 2

    frames: Sequence[str | bytes]
    outcome: int = Outcome.RETURNED
    classes: Collection[str] | None = None
    skip: Collection[str] = ()
    #: The code and the reason with which the handler has closed.
    shut: Sequence[Any] | None = None
    #: As for an event.
    group: str | None = None

    def is_for(self, consumer: str, user: str) -> bool:
        """Whether it concerns a connection of that consumer class and user."""
        return _concerns(self.classes, self.skip, consumer, user)


@dataclass(frozen=True)
class Join(Entry):
    """Become a member of a group, whose log is to be read behind `cursor`."""

    kind: ClassVar[int] = 3

    group: str
    cursor: int


@dataclass(frozen=True)
class Discard(Entry):
    """Leave a group."""

    kind: ClassVar[int] = 4

    group: str


@dataclass(frozen=True)
class Shut(Entry):
    """Close the connection."""

    kind: ClassVar[int] = 5

    code: int
    reason: str = ""


@dataclass(frozen=True)
class Settled(Entry):
    """From here on the connection is served by what is published to the groups (see `joining`)."""

    kind: ClassVar[int] = 6

    groups: Collection[str]


def _concerns(classes: Collection[str] | None, skip: Collection[str], consumer: str, user: str) -> bool:
    return (classes is None or consumer in classes) and user not in skip


def pack(entry: Entry) -> bytes:
    """An entry as bytes. Raises TypeError for an event that holds what no other process could be given."""
    packed: bytes = msgpack.packb([entry.kind, entry.sent, *_PARTS[type(entry)](entry)], unicode_errors="surrogatepass")
    return packed


def unpack(data: bytes) -> Entry:
    """The entry that `pack` made `data` from. Raises MailboxError for anything else."""
    try:
        kind, sent, *parts = msgpack.unpackb(data, unicode_errors="surrogatepass")
        if kind == Event.kind:
            message, *others = parts
            return Event(decode(message), *others, sent=sent)
        found: Entry = _CLASSES[kind](*parts, sent=sent)
        return found
    except Exception as error:
        raise MailboxError(
            f"An entry of the mailbox cannot be read ({type(error).__name__}: {error}): it was left by another release "
            "of grip_consumers, or its values are of a class that is gone."
        ) from error


def _event_parts(event: Event) -> list[Any]:
    try:
        message = encode(event.message)
    except CannotEncode as error:
        raise TypeError(
            f"An event of type {event.message.get('type')!r} has to reach its handlers in other processes, but "
            f"{error}. Send plain values: text, numbers, bytes, dates, lists, dicts, model instances."
        ) from error
    return [message, _listed(event.classes), list(event.skip), event.group, event.copy_of]


def _listed(names: Collection[str] | None) -> list[str] | None:
    return None if names is None else list(names)


_PARTS: Mapping[type[Entry], Any] = {
    Event: _event_parts,
    Frames: lambda entry: [
        *(list(entry.frames), int(entry.outcome), _listed(entry.classes), list(entry.skip), entry.shut, entry.group),
    ],
    Join: lambda entry: [entry.group, entry.cursor],
    Discard: lambda entry: [entry.group],
    Shut: lambda entry: [entry.code, entry.reason],
    Settled: lambda entry: [list(entry.groups)],
}
_CLASSES: Mapping[int, Any] = {cls.kind: cls for cls in _PARTS}
