"""HTTP clients in groups: responses that a proxy holds, and what a group event becomes for them.

For each class of view or consumer that handles an event's type the handler runs once, wherever `group_send` is called,
and what it sends is written into a log in the mailbox, one for each group and class, and published to one GRIP channel,
in the same publish as what WebSockets get. The position in the log is the item's id, and the position before it is its
prev-id: so a proxy notices by itself when a client has missed something. It then asks at the *next link*, saying what
the client had last (Grip-Last), and gets the rest of the log. A client that comes back says the same in its own way
(Last-Event-ID, `since`).

Between the response and the proxy's subscription lies a gap, in which something may be published. Therefore a new
stream's next link is followed once after a second of silence; clients who had the same last share that request.

This knows no view: a class that takes part is `Renderer`, and calls `registry.register_stream`.
"""

from __future__ import annotations

import copy
import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from heapq import merge
from operator import attrgetter
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote

import msgpack
from asgiref.sync import sync_to_async
from django.core.signing import BadSignature, Signer

from grip_consumers import conf, mailbox, publisher
from grip_consumers.exceptions import PublishError, SubscriptionLimitExceeded
from grip_consumers.inbox import off_loop
from grip_consumers.mailbox.base import microseconds
from grip_consumers.naming import stream_channel, stream_log
from grip_consumers.protocol import PUBLISH_MAX, Item, RemoteProtocolError, Response, encode_publish
from grip_consumers.protocol.holds import Channel, Hold, parse_last
from grip_consumers.protocol.items import Message as Format
from grip_consumers.registry import is_loaded, stream_classes
from grip_consumers.types import Message
from grip_consumers.verification import verify

__all__ = [
    "BUILD_ID",
    "LINK",
    "NOT_PROXIED",
    "Backlog",
    "Entry",
    "Membership",
    "Renderer",
    "Written",
    "ahandling",
    "before",
    "channels_of",
    "current_membership",
    "escape",
    "follow",
    "format_id",
    "handling",
    "id_meta",
    "is_proxied",
    "look_back",
    "name_of",
    "next_link",
    "open_link",
    "own_id",
    "parse_id",
    "prepare",
    "stream_hold",
]

logger = logging.getLogger("grip_consumers.streams")

#: The content filter with which a proxy writes each client's own positions into what it delivers (`%I`).
BUILD_ID = "build-id"

#: The query parameter of a next link.
LINK = "grip-next"

#: For a client that came without a proxy, which could not be held.
NOT_PROXIED = (
    "This address answers through a GRIP proxy, which holds the response open; the request came without one (or its "
    "Grip-Sig could not be verified: see GRIP_URL). Connect to the proxy's port (Pushpin, Fastly Fanout), or in "
    "development run manage.py runserver with 'grip_consumers' in INSTALLED_APPS: it brings a proxy along.\n"
)

#: Seconds of silence after which a stream's next link is followed: a new one's, once, and then at most.
_GAP, _SILENCE_MAX = 1, 600
#: The part of a log's expiry after which that is, so that the position is not too old: see `_margin`.
_SILENCE = 0.7
#: By how many seconds the clocks of two processes may differ, at most.
_MARGIN_MAX = 5.0
_SALT = "grip_consumers.streams"
#: Positions are signed 64-bit integers in some stores.
_POSITION_MAX = 2**63 - 1
_is_part = re.compile(r"([A-Za-z0-9_-]{1,64}):([0-9]{1,19})").fullmatch


# What is rendered ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What an event becomes for the clients of a class: a piece of their responses, or with `closes` their end."""

    content: str | bytes
    closes: bool = False
    #: Seconds since the epoch, which puts entries of several groups in order.
    sent: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Written:
    """An entry, and where in which channel's log it stands."""

    channel: str
    position: int
    entry: Entry


class Renderer(Protocol):
    """A class whose responses are held, and to which group events are sent."""

    #: Seconds for which a client can catch up; those of the channel layer if they are more.
    expiry: float

    @classmethod
    def grip_handles(cls, handler: str) -> bool:
        """Whether the class has a handler of this name."""

    @classmethod
    async def grip_render(cls, handler: str, event: Message) -> Sequence[Entry]:
        """What the handler makes of an event for any client. Does not raise."""

    @classmethod
    def grip_format(cls, written: Written) -> Format:
        """What is published of an entry."""

    @classmethod
    def grip_next(cls, backlog: Backlog) -> Response:
        """What a proxy is answered that follows a next link."""


def name_of(cls: type[Any]) -> str:
    """What its channels and logs know a class by: the same in every process."""
    return f"{cls.__module__}:{cls.__qualname__}"


def handling(handler: str | None) -> Sequence[type[Renderer]]:
    """The classes whose clients are sent events by `handler`; loads the project's URLs and routes first."""
    classes = stream_classes()
    if not classes or handler is None:
        return ()
    return [cls for cls in classes if cls.grip_handles(handler)]


async def ahandling(handler: str | None) -> Sequence[type[Renderer]]:
    """As `handling`, without importing anything on the event loop."""
    if is_loaded():
        return handling(handler)
    return await sync_to_async(handling)(handler)


# Sending ------------------------------------------------------------------------------------------------------------


async def prepare(
    group: str, handler: str, event: Message, classes: Iterable[type[Renderer]], *, expiry: float
) -> list[Item]:
    """Render an event for each class and write it into its log: what is to be published of it, in order."""
    rendered = [(cls, entry) for cls in classes for entry in await cls.grip_render(handler, copy.deepcopy(event))]
    return await off_loop(_write, group, rendered, expiry) if rendered else []


def _write(group: str, rendered: list[tuple[type[Renderer], Entry]], expiry: float) -> list[Item]:
    box = mailbox.get()
    items = []
    addressed = [(cls, stream_channel(conf.get().prefix, group, name_of(cls)), entry) for cls, entry in rendered]
    for cls, channel, entry in addressed:
        # Before anything is written: clients would catch up with what the sender was told has failed.
        _check_size(Item(channel, cls.grip_format(Written(channel, _POSITION_MAX, entry)), id=str(_POSITION_MAX)))
    for cls, channel, entry in addressed:
        # A log that has expired starts anew at the present time; one that goes on stays behind it.
        now = box.start_position()
        position = box.append(stream_log(channel), _packed(entry), expiry=max(expiry, cls.expiry))
        follows = str(position - 1) if position < now else None
        message = cls.grip_format(Written(channel, position, entry))
        items.append(Item(channel, message, id=str(position), prev_id=follows))
    # A transaction that holds the entries back may yet be undone, and their positions taken by others.
    visible: list[bool] = []
    box.when_visible(lambda: visible.append(True))
    if not visible:
        box.when_visible(lambda: _publish_at_last(items))
        return []
    return items


def _check_size(item: Item) -> None:
    size = len(encode_publish([item]))
    if size > PUBLISH_MAX:
        raise PublishError(
            {"every proxy": f"one message makes {size:,} bytes; a proxy takes {PUBLISH_MAX:,} at a time"}
        )


def _publish_at_last(items: list[Item]) -> None:
    try:
        publisher.publish(items)
    except Exception:
        # What has been committed stays so, and others wait for their turn after it. Clients will catch up.
        logger.exception("An event that waited for a transaction to be committed was not published")


def _packed(entry: Entry) -> bytes:
    packed: bytes = msgpack.packb([entry.content, entry.closes, entry.sent])
    return packed


# Catching up --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backlog:
    """What clients of a class have not had yet."""

    #: How far each channel's log has been read: what a hold goes on from.
    positions: Mapping[str, int]
    entries: Sequence[Written] = ()
    #: Whether it is certain that nothing is missing before the entries.
    complete: bool = True


def channels_of(cls: type[Any], groups: Iterable[str]) -> list[str]:
    """The channels of the groups for clients of a class, each once.

    Raises SubscriptionLimitExceeded for more groups than a proxy serves, which it would not tell.
    """
    settings, name = conf.get(), name_of(cls)
    channels: dict[str, None] = {}
    for group in groups:
        channels[stream_channel(settings.prefix, group, name)] = None
        if len(channels) > settings.subscription_limit:
            raise SubscriptionLimitExceeded(group, settings.subscription_limit)
    return list(channels)


def look_back(channels: Iterable[str], known: Mapping[str, int], *, expiry: float = 60.0, had_at: int = 0) -> Backlog:
    """Read what lies behind the positions that a client knows; for a channel that it does not know, from now on.

    What it knows may have been made up. In a log without entries it is told the present time instead of a position:
    whatever is written later is behind that, and it can be seen whether that may have expired meanwhile.

    Args:
        channels: those that it was admitted to.
        known: its position in some channels.
        expiry: the seconds for which entries are kept at least.
        had_at: a time, in microseconds, at which it had all that there was in those that it knows.
    """
    box = mailbox.get()
    now, margin = box.start_position(), _margin(expiry)
    logs = {channel: stream_log(channel) for channel in channels}
    ends, _ = box.look(logs.values())
    # Who knows more than there is was told a time, or by a process that knew of entries before this one does.
    cursors = {
        log: 0 if known[channel] > ends[log] else known[channel]
        for channel, log in logs.items()
        if channel in known and known[channel] != ends[log]
    }
    found = box.read(cursors) if cursors else {}
    complete = True
    positions: dict[str, int] = {}
    streams: list[list[Written]] = []
    for channel, log in logs.items():
        had = known.get(channel, -1)
        read = found.get(log, [])
        if any(position == had for position, _ in read):
            read, ends[log] = [(position, data) for position, data in read if position > had], had
        recent = now - microseconds(expiry) + margin <= max(had, had_at if channel in known else 0) <= now + margin
        complete = complete and (recent or (had > 0 and had == ends[log]) or bool(read and read[0][0] == had + 1))
        positions[channel] = read[-1][0] if read else ends[log] or _told(now, margin)
        streams.append([Written(channel, position, Entry(*msgpack.unpackb(data))) for position, data in read])
    return Backlog(positions, list(merge(*streams, key=attrgetter("entry.sent"))), complete)


def _margin(expiry: float) -> int:
    """How far a time that a client is told lies back, in microseconds: for senders whose clocks are behind.

    That is also the step in which it is told: clients who say the same share a request.
    """
    return microseconds(min(_MARGIN_MAX, expiry / 12))


def _told(now: int, margin: int) -> int:
    return now // margin * margin - margin


def before(backlog: Backlog) -> dict[str, int]:
    """The position of a client that has had none of the entries."""
    firsts = {written.channel: written.position - 1 for written in reversed(backlog.entries)}
    return {channel: firsts.get(channel, position) for channel, position in backlog.positions.items()}


# Ids ----------------------------------------------------------------------------------------------------------------


def format_id(positions: Mapping[str, int]) -> str:
    """A client's position in all its channels, as it is told: `channel:position.channel:position`."""
    return ".".join(f"{channel}:{position}" for channel, position in positions.items())


def parse_id(text: str) -> dict[str, int]:
    """What `format_id` wrote, the later of two positions in one channel; nothing for a text of another form."""
    found: dict[str, int] = {}
    for part in text.split(".") if len(text) < 4_096 else ():
        match = _is_part(part)
        if match is None or int(match[2]) > _POSITION_MAX:
            return {}
        found[match[1]] = int(match[2])
    return found


def own_id(written: Written) -> str:
    """The id of a published entry: the proxy puts each client's positions for `%I`.

    Some proxies do so before, some after they have moved on by this entry; so it says its own behind that.
    """
    return f"%I.{written.channel}:{written.position}"


def escape(text: str) -> str:
    """Text that the filter `build-id` leaves as it is."""
    return text.replace("%", "%%")


# Holds --------------------------------------------------------------------------------------------------------------


def is_proxied(signature: str | None) -> bool:
    """Whether a request with this Grip-Sig comes from one of the proxies; without keys, from any proxy."""
    if not signature:
        return False
    try:
        verify(signature, conf.get())
    except RemoteProtocolError:
        return False
    return True


def stream_hold(
    cls: type[Any],
    positions: Mapping[str, int],
    *,
    first: bool,
    whole: bool = True,
    filters: tuple[str, ...] = (),
    keep_alive: bytes = b"",
) -> Hold:
    """The hold of a stream that has been served up to `positions`, which is the `whole` of what there was."""
    had_at = _told(mailbox.get().start_position(), _margin(cls.expiry)) if whole else 0
    seconds = cls.keep_alive if keep_alive else None
    return Hold(
        "stream",
        [Channel(channel, str(position), filters) for channel, position in positions.items()],
        keep_alive=keep_alive if seconds else b"",
        keep_alive_timeout=seconds or None,
        next_link=next_link(cls, positions, had_at),
        next_link_timeout=_GAP if first or not whole else max(_GAP, min(_SILENCE_MAX, int(_SILENCE * cls.expiry))),
        meta=id_meta(positions) if BUILD_ID in filters else {},
    )


def id_meta(channels: Iterable[str]) -> dict[str, str]:
    """What `build-id` makes `%I` of."""
    return {"id_format": ".".join(f"{channel}:%({channel})s" for channel in channels)}


def next_link(cls: type[Any], channels: Iterable[str], had_at: int = 0) -> str:
    """A link, relative to the request, that asks for the channels whoever asks.

    The proxy follows it without the client's cookies, so that it has to say itself what was permitted: it is signed.
    Clients never see it. `had_at` is as in `look_back`: in an idle group positions alone would grow too old.
    """
    signed = Signer(salt=_SALT).sign(f"{name_of(cls)}/{'.'.join(channels)}/{had_at}")
    return f"?{LINK}={quote(signed, safe=':/')}"


def open_link(value: str) -> tuple[type[Renderer], list[str], int] | None:
    """The class, the channels and the time of a next link; None for one that was not made here."""
    with suppress(BadSignature, ValueError):
        name, channels, had_at = Signer(salt=_SALT).unsign(value).split("/")
        for cls in stream_classes():
            if name_of(cls) == name:
                return cls, channels.split("."), int(had_at)
    return None


def follow(query: str, signature: str | None, last: Iterable[str]) -> Response | None:
    """Answer a request that follows a next link; None for any other request.

    Args:
        query: the query string.
        signature: the Grip-Sig header.
        last: the Grip-Last headers.
    """
    if LINK not in query:
        return None
    value = dict(parse_qsl(query, keep_blank_values=True)).get(LINK)
    if value is None:
        return None
    found = open_link(value)
    if found is None or not is_proxied(signature):
        return Response(403, [("Content-Type", "text/plain")], b"This link is for a proxy, which was not recognised.\n")
    cls, channels, had_at = found
    return cls.grip_next(look_back(channels, _last_ids(last), expiry=cls.expiry, had_at=had_at))


def _last_ids(values: Iterable[str]) -> dict[str, int]:
    try:
        return {channel: int(position) for channel, position in parse_last(values).items()}
    except (RemoteProtocolError, ValueError):
        return {}


# Consumers ----------------------------------------------------------------------------------------------------------


class Membership:
    """The groups that an HTTP consumer joins while it handles its request."""

    def __init__(self, cls: type[Any], channel_name: str) -> None:
        self.channel_name = channel_name
        #: Channel → how far its log had been written when the group was joined.
        self.positions: dict[str, int] = {}
        #: The response has begun without a hold.
        self.too_late = False
        self._cls = cls

    def add(self, group: str) -> None:
        """Raises as `channels_of`, and RuntimeError when the response has begun."""
        if self.too_late:
            raise RuntimeError(
                f"{self._cls.__qualname__} joined the group {group!r} after it had begun to send its response: join "
                "before the first send_body(), so that the proxy can be told to hold the response."
            )
        (channel,) = channels_of(self._cls, [group])
        if channel not in self.positions:
            if len(self.positions) >= conf.get().subscription_limit:
                raise SubscriptionLimitExceeded(group, conf.get().subscription_limit)
            self.positions.update(look_back([channel], {}).positions)

    def discard(self, group: str) -> None:
        """End the membership, if there is one."""
        self.positions.pop(stream_channel(conf.get().prefix, group, name_of(self._cls)), None)


#: That of the HTTP consumer whose request is being handled here.
current_membership: ContextVar[Membership | None] = ContextVar("grip_consumers.membership", default=None)
