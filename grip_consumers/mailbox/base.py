"""What a mailbox does, whatever it is kept in."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

__all__ = ["Clock", "Log", "Mailbox", "microseconds"]

#: Seconds since the epoch.
Clock = Callable[[], float]
#: What is read of a log: pairs of position and entry, in order.
Log = list[tuple[int, bytes]]


def microseconds(seconds: float) -> int:
    """A time or a duration in whole microseconds."""
    return round(seconds * 1_000_000)


class Mailbox(ABC):
    """Logs of entries that all processes of a project share.

    A log is known by a name, text of any kind, and exists as soon as something is appended to it. Its entries are
    opaque bytes at growing positions, each for `expiry` seconds. Who reads keeps a cursor, the position of the last
    entry it has seen: 0 where the log had none.

    All methods block until they are done, may be called from any thread, before and after a fork, and raise whatever
    the store raises that cannot be reached.
    """

    #: Whether a call may wait for another process or a disk. If not, it may be made on an event loop.
    blocking: bool = True
    #: Whether a call has to be made in the thread of whoever wants it, as it may take part in a transaction there.
    thread_sensitive: bool = False

    def __init__(self, alias: str = "default", *, prefix: str = "", clock: Clock = time.time) -> None:
        """`alias` names the store in its setting; `prefix` keeps projects apart that share a store."""
        self.alias = alias
        self.prefix = prefix
        self._clock = clock

    @abstractmethod
    def append(self, log: str, entry: bytes, *, expiry: float, capacity: int | None = None) -> int:
        """Put an entry at a log's end, for `expiry` seconds, and return its position.

        The positions of a log only ever grow, also after all of its entries have expired or were evicted: a log that
        starts anew starts at the present time in microseconds.

        Raises:
            ChannelFull: `capacity` unexpired entries lie behind what was acknowledged.
        """

    @abstractmethod
    def append_at(self, log: str, position: int, entry: bytes, *, expiry: float) -> bool:
        """Put an entry at `position`, if nobody has appended to the log meanwhile: False if somebody has.

        `position` is one more than the log's end as `look` told it, or anything from `start_position()` on if that
        was 0. Of any number of callers that ask for one end at once exactly one wins, against `append` as well.
        """

    @abstractmethod
    def read(self, cursors: Mapping[str, int]) -> dict[str, Log]:
        """The unexpired entries behind each cursor (log → position), in order; logs without any are left out.

        Where an entry is seen, all that were appended before it have been seen or have expired: a reader may put its
        cursor on the last one. One round trip when there is nothing new.
        """

    @abstractmethod
    def look(self, logs: Iterable[str], flags: Iterable[str] = ()) -> tuple[dict[str, int], frozenset[str]]:
        """The position of each log's last entry, and which of the flags are raised, in one round trip.

        The position is 0 for a log without unexpired entries. For a few seconds after its last one has expired a
        log may still tell that one's position, which serves as a cursor, and for `append_at`, just as well.
        """

    @abstractmethod
    def raise_flag(self, flag: str, *, expiry: float) -> None:
        """Raise a flag for `expiry` seconds from now. Flags and logs have names of their own."""

    @abstractmethod
    def acknowledge(self, log: str, position: int, *, expiry: float) -> None:
        """Count what lies up to `position` no more against the log's capacity, for `expiry` seconds."""

    @abstractmethod
    def take(self, log: str) -> bytes | None:
        """Remove a log's oldest unexpired entry and return it; None if there is none.

        Of any number of callers at once, in all processes, exactly one gets an entry; it no longer counts against the
        log's capacity then. For logs that nothing else reads: there is no cursor, and no position.
        """

    def when_visible(self, callback: Callable[[], None]) -> None:
        """Call back when others can see what this thread has written: at once, unless a transaction holds it back."""
        callback()

    def start_position(self) -> int:
        """Where a log starts that has no entry: the present time in microseconds."""
        return microseconds(self._clock())

    def _key(self, kind: str, name: str) -> str:
        """A name for a store that is picky about names: 32 hexadecimal digits."""
        text = "\0".join((self.prefix, kind, name))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
