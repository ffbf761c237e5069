"""Groups: who is a member, and how an event reaches the members.

A group is one GRIP channel per consumer class, because each class renders an event its own way. For each routed
class that handles an event's type, one of two things is done (`delivery` decides):

shared           The handler runs once, on a stand-in for any member, and what it sends is published to the
                 class's channel.
per connection   The event is put into the group's log in the mailbox, and the proxy is asked to call back for
                 each subscriber of the class's channel. Each member then reads the log in a batch of its own.

The connection in whose batch an event is sent handles its own copy right there, in order. Whoever is just joining
is served by its own log (`joining`). While members may still be on their way to the log, what is rendered for all
of them goes there too, so that one sender's events stay in order.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from grip_consumers import conf, followup, joining, local_channels, mailbox, publisher, refresher, streams
from grip_consumers.batch import Batch, current_batch
from grip_consumers.delivery import delivery, learn, may_have_mail
from grip_consumers.exceptions import PerConnectionHandler
from grip_consumers.inbox import EXPIRY, check_size, off_loop
from grip_consumers.joining import Listing, Scene
from grip_consumers.mail import Discard, Entry, Event, Frames, Join, Outcome, Shut, pack
from grip_consumers.messages import closing, get_handler_name, payload
from grip_consumers.naming import (
    group_channel,
    group_log,
    is_connection,
    private_channel,
    private_log,
    user_of,
)
from grip_consumers.protocol import BinaryMessage, CloseAction, Item, State, TextMessage
from grip_consumers.registry import note_unheard, routed_consumers
from grip_consumers.running import plain_dispatch
from grip_consumers.standin import Attempt, current_attempt, make_stand_in, run_once
from grip_consumers.state.extensions import dotted
from grip_consumers.state.table import has_name
from grip_consumers.types import Message

__all__ = ["aadd", "add", "adiscard", "close", "discard", "reaches", "send", "send_to_channel"]

logger = logging.getLogger("grip_consumers.groups")

#: What a handler that runs once for all can have sent: a close only if it is declared to be shared.
Rendered: TypeAlias = TextMessage | BinaryMessage | CloseAction

#: Seconds after an event for each member during which events for all of them follow it through the log.
_WARM = 3.0
#: Seconds that members are given to read the log before something is published past it, and for how long that counts.
_CATCH_UP, _RECENT = 0.5, 1.0
#: Seconds more for all of these, as long as the proxies are still calling back.
_CALLED_BACK = 30.0


# Memberships --------------------------------------------------------------------------------------------------


def add(group: str, channel: str) -> None:
    """Make the connection `channel` a member of `group`. From when this returns it gets what is sent to the group.

    Raises SubscriptionLimitExceeded for a connection in whose batch this is called, and NotImplementedError for the
    name of something that is no connection behind a proxy.
    """
    _refresh(_add(group, channel))


def discard(group: str, channel: str) -> None:
    """End that membership; nothing happens if there is none. Raises NotImplementedError as `add`."""
    _refresh(_discard(group, channel))


async def aadd(group: str, channel: str) -> None:
    """As `add`, without holding up the event loop."""
    _not_while_rendering("group_add")
    await off_loop(add, group, channel)


async def adiscard(group: str, channel: str) -> None:
    """As `discard`, without holding up the event loop."""
    _not_while_rendering("group_discard")
    await off_loop(discard, group, channel)


def _add(group: str, channel: str) -> list[str]:
    """The channels that have to be refreshed for it."""
    batch = _own_batch(channel, "group_add")
    if batch is None:
        if (membership := _own_membership(channel)) is not None:
            membership.add(group)
            return []
        if local_channels.is_local(channel):
            local_channels.add(group, channel)
            return []
        cursor = joining.announce(group, Listing(channel, _end_of(private_log(channel))))
        return _leave(channel, Join(group, cursor))
    batch.can_join(group)
    if group not in batch.groups:
        if not batch.can_skip:
            joining.mark_without_filters()
        if batch.send_wrapped:
            joining.mark_whole_class(batch.consumer_name)
        batch.join(group, joining.announce(group, Listing(channel, batch.inbox.cursor)))
    return []


def _discard(group: str, channel: str) -> list[str]:
    batch = _own_batch(channel, "group_discard")
    if batch is None:
        if (membership := _own_membership(channel)) is not None:
            membership.discard(group)
            return []
        if local_channels.is_local(channel):
            local_channels.discard(group, channel)
            return []
        joining.announce(group, Listing(channel, leaving=True))
        return _leave(channel, Discard(group))
    if group in batch.groups and batch.exchange.state in (State.CONNECTING, State.OPEN):
        joining.announce(group, Listing(channel, leaving=True))
    batch.leave(group)
    return []


def _end_of(log: str) -> int:
    return mailbox.get().look([log])[0].get(log, 0)


# One connection -----------------------------------------------------------------------------------------------


async def send_to_channel(channel: str, message: Message, *, expiry: float = EXPIRY, capacity: int = 100) -> None:
    """Send an event to one connection, from anywhere.

    Raises ChannelFull when `capacity` events wait for it, TypeError for an event that another process cannot be given,
    NotImplementedError as `add`.
    """
    _not_while_rendering("send")
    batch = _own_batch(channel, "send")
    if batch is not None:
        await _deliver(batch, copy.deepcopy(message), expiry)
        return
    if local_channels.is_local(channel):
        await local_channels.send(channel, message, expiry=expiry, capacity=capacity)
        return
    await off_loop(_tell, channel, Event(message), expiry, capacity)


async def close(channel: str, code: int, reason: str) -> None:
    """Close one connection, from anywhere. Raises LocalProtocolError for a code that cannot be sent, else as `add`."""
    _not_while_rendering("close_connection")
    checked = CloseAction(code, reason)
    batch = _own_batch(channel, "close_connection")
    if batch is not None and not batch.mailed:
        batch.post(Shut(checked.code, checked.reason))
        return
    if local_channels.is_local(channel):
        raise NotImplementedError(
            "channel_layer.close_connection() expected the channel name of a connection (its self.channel_name), got "
            f"{channel!r}, which no proxy holds. Send it a message whose handler closes."
        )
    await off_loop(_tell, channel, Shut(checked.code, checked.reason))


def _leave(channel: str, entry: Entry, expiry: float = EXPIRY, capacity: int | None = None) -> list[str]:
    """Put an entry into a connection's own log. What has to be refreshed for it to be read."""
    mailbox.get().append(private_log(channel), pack(entry), expiry=expiry, capacity=capacity)
    return [_private(channel)]


def _tell(channel: str, entry: Entry, expiry: float = EXPIRY, capacity: int | None = None) -> None:
    _refresh(_leave(channel, entry, expiry, capacity))


def _refresh(channels: list[str], done: Callable[[], None] | None = None) -> None:
    """Have the proxies call back. Nobody waits for that, as on Channels nobody waits for a handler."""
    if channels:
        mailbox.get().when_visible(lambda: refresher.request(channels, done))


def _private(channel: str) -> str:
    return private_channel(conf.get().prefix, channel)


def _own_batch(channel: str, what: str) -> Batch | None:
    """The batch of the connection `channel`, if it is the current one."""
    _not_while_rendering(what)
    batch = current_batch()
    if batch is not None and batch.channel_name == channel:
        return batch
    return None


def reaches(channel: str) -> bool:
    """Whether a channel is a connection's behind a proxy, or an HTTP consumer's whose request is handled here."""
    return is_connection(channel) or _own_membership(channel) is not None


def _own_membership(channel: str) -> streams.Membership | None:
    """Where the HTTP consumer `channel` keeps its groups, if it is the one whose request is being handled here."""
    membership = streams.current_membership.get()
    return membership if membership is not None and membership.channel_name == channel else None


def _not_while_rendering(what: str) -> None:
    attempt = current_attempt.get()
    if attempt is not None:
        # Every member would do it once more.
        raise attempt.abandon(f"channel_layer.{what}")


# Events -------------------------------------------------------------------------------------------------------


async def send(
    group: str, message: Message, *, expiry: float = EXPIRY, capacity: local_channels.Capacity = 100
) -> None:
    """Send an event to the members of `group`.

    An event whose type is missing or malformed fails at every member, as with any other layer.

    Raises PerConnectionHandler for a handler declared `@shared` that is not, TypeError for an event that another
    process cannot be given, PublishError when a proxy does not take it.
    """
    _not_while_rendering("group_send")
    await local_channels.send_to_group(group, message, expiry=expiry, capacity=capacity)
    batch = current_batch()
    if batch is None and local_channels.in_use() and not _has_proxies():
        # A test, or a server that has all connections in this process.
        return
    sending = _Sending(group, message, batch, expiry)
    own = copy.deepcopy(message) if batch is not None and group in batch.groups else None
    if sending.classes:
        sending.scene = await off_loop(joining.look, group, sending.names, sending.flags)
        for cls in sending.classes:
            await sending.prepare(cls)
        await off_loop(sending.write)
    of_streams = []
    if sending.handler is not None and (viewers := await streams.ahandling(sending.handler)):
        of_streams = await streams.prepare(group, sending.handler, message, viewers, expiry=expiry)
    if not sending.classes and not of_streams:
        note_unheard(group)
    if sending.published or of_streams:
        if sending.overtakes:
            await asyncio.sleep(_CATCH_UP)
        await publisher.apublish([*sending.items(), *of_streams])
    if sending.to_refresh:
        await off_loop(sending.refresh)
    if batch is not None and own is not None:
        await _deliver(batch, own, expiry)


async def _deliver(batch: Batch, message: Message, expiry: float) -> None:
    """Give the connection of this batch an event of its own, in this batch or, if that takes too long, by mail.

    No capacity limits it: it is as if the next batch had begun.
    """
    if batch.takes_own():
        batch.deliver(message)
        return
    try:
        await off_loop(_tell, batch.channel_name, Event(message), expiry)
    except TypeError:
        # It cannot leave this process. Whether a handler may send it must not depend on how slow another was.
        batch.deliver(message)
        return
    if not may_have_mail(type(batch.consumer)):
        # The callback may fall together with frames of the client, whose batch does not look for mail.
        followup.watch(_private(batch.channel_name), {private_log(batch.channel_name): 0}, (_CATCH_UP,))


def _has_proxies() -> bool:
    if conf.get().proxies is not None:
        # An empty list, too: whoever says so means it.
        return True
    try:
        return bool(publisher.targets())
    except ImproperlyConfigured:
        return False


@dataclass
class _Rendering:
    """What any member of a class sends on an event."""

    messages: list[Rendered]
    outcome: Outcome
    #: The channel names that the handler compared its own with.
    compared: frozenset[str]


@dataclass
class _Published:
    """One class's messages, on their way to its channel."""

    consumer: str
    messages: list[Rendered]
    skip: set[str]


class _Sending:
    """One event on its way to a group: first everything is decided and rendered, then written, then published."""

    def __init__(self, group: str, message: Message, batch: Batch | None, expiry: float) -> None:
        self.group, self.message, self.batch, self.expiry = group, message, batch, expiry
        self.handler = _handler_name(message)
        self.classes = [
            cls
            for cls in routed_consumers()
            # One without a name (within a test, mostly) has no connections behind a proxy.
            if (self.handler is None or getattr(cls, self.handler, None) is not None) and has_name(cls)
        ]
        self.names = [dotted(cls) for cls in self.classes]
        self.scene = Scene()
        self.published: list[_Published] = []
        self.to_refresh: list[str] = []
        self._prefix = conf.get().prefix
        #: The classes whose members run the handler themselves.
        self._run_by: list[str] = []
        #: What was rendered for all members of a class, but has to be read by each from the log.
        self._rendered: list[Frames] = []
        #: Members whom a shared handler treats differently, and their class.
        self._addressed: list[tuple[str, str]] = []

    @property
    def flags(self) -> list[str]:
        return [flag for name in self.names for flag in (self._warm(name), self._recent(name))]

    @property
    def overtakes(self) -> bool:
        """Whether what is published would overtake what was written into the log a moment ago."""
        return any(self._recent(published.consumer) in self.scene.flags for published in self.published)

    # Deciding

    async def prepare(self, cls: Any) -> None:
        """Decide how the event reaches the members of one class, and render it if once is enough."""
        name = dotted(cls)
        rendering = await self._rendering(cls, name)
        if rendering is None:
            self._run_by.append(name)
            return
        # A member handles its own copy in its batch; one that has just left is still subscribed until that is answered.
        own = {self.batch.user} if self.batch and self.batch.consumer_name == name else set()
        named = {channel for channel in rendering.compared if is_connection(channel) and user_of(channel) not in own}
        listed = {user_of(channel) for channel in self.scene.listings}
        self._addressed += [(channel, name) for channel in named]
        skip = own | {user_of(channel) for channel in named}
        if self._goes_through_log(name, rendering, skip | listed):
            self._rendered.append(_as_entry(rendering, name, skip | self._left))
        elif rendering.messages:
            self.published.append(_Published(name, rendering.messages, skip | self._left))

    async def _rendering(self, cls: Any, name: str) -> _Rendering | None:
        """None if each member has to run the handler itself."""
        if self.handler is None:
            return _Rendering([], Outcome.FAILED, frozenset())
        found = delivery(cls, self.handler)
        if not found.shared or self.scene.wants_all(name):
            return None
        return await _render(cls, self.handler, copy.deepcopy(self.message), forced=found.forced)

    def _goes_through_log(self, name: str, rendering: _Rendering, skip: set[str]) -> bool:
        return (
            rendering.outcome is not Outcome.RETURNED
            or self._warm(name) in self.scene.flags
            or (bool(skip) and self.scene.without_filters)
        )

    @property
    def _left(self) -> set[str]:
        return {user_of(channel) for channel in self.scene.leavers}

    # Writing

    def write(self) -> None:
        """Put into the mailbox what has to go by it."""
        entries: list[Entry] = list(self._rendered)
        if self._run_by:
            own = {self.batch.user} if self.batch else set()
            entries.append(Event(self.message, self._run_by, list(own | self._left)))
        self._write_log(entries)
        self._write_copies()
        for channel, name in self._addressed:
            self.to_refresh += _leave(channel, Event(self.message, [name], group=self.group), self.expiry)
            # Those after it must not overtake it.
            mailbox.get().raise_flag(self._warm(name), expiry=_WARM)

    def _write_log(self, entries: list[Entry]) -> None:
        box = mailbox.get()
        for entry in entries:
            box.append(group_log(self.group), pack(entry), expiry=self.expiry)
        self._raise_flags(_CALLED_BACK)
        self.to_refresh += map(self._channel, self._readers)

    @property
    def _readers(self) -> list[str]:
        """The classes whose members have to read the group's log."""
        return [*self._run_by, *(name for frames in self._rendered for name in frames.classes or ())]

    def _raise_flags(self, longer: float = 0.0) -> None:
        box = mailbox.get()
        for name in self._run_by:
            box.raise_flag(self._warm(name), expiry=_WARM + longer)
        for name in self._readers:
            box.raise_flag(self._recent(name), expiry=_RECENT + longer)

    def refresh(self) -> None:
        """Have the proxies call back. What follows counts its time from when they have done so."""
        _refresh(self.to_refresh, self._raise_flags if self._readers else None)
        for cls, name in zip(self.classes, self.names, strict=True):
            if name in self._readers and not may_have_mail(cls):
                # The callback may fall together with frames of a client, whose batch does not look for mail.
                followup.watch(self._channel(name), {group_log(self.group): 0}, (_CATCH_UP,))

    def _write_copies(self) -> None:
        """For those who are joining: and for whoever has settled meanwhile, nothing."""
        served = {channel for channel, _ in self._addressed} | ({self.batch.channel_name} if self.batch else set())
        joiners = [listing for listing in self.scene.joiners if listing.channel_name not in served]
        if not self.published or not joiners:
            return
        names = [published.consumer for published in self.published]
        event = Event(self.message, names, copy_of=self.group)
        copied, _ = joining.leave_copies(joiners, self.group, event, self.expiry)
        for published in self.published:
            published.skip |= {user_of(channel) for channel in copied}
        self.to_refresh += map(_private, copied)

    # Publishing

    def items(self) -> Iterator[Item]:
        """What is published, for each class."""
        for published in self.published:
            meta = {"skip_users": ",".join(sorted(published.skip))} if published.skip else {}
            for message in published.messages:
                # Proxies remember ids for a while: a publish that is tried again arrives once.
                yield Item(self._channel(published.consumer), message, id=uuid.uuid4().hex, meta=meta)

    def _channel(self, name: str) -> str:
        return group_channel(self._prefix, self.group, name)

    def _warm(self, name: str) -> str:
        return f"warm:{self._channel(name)}"

    def _recent(self, name: str) -> str:
        return f"recent:{self._channel(name)}"


def _as_entry(rendering: _Rendering, name: str, skip: set[str]) -> Frames:
    frames: list[str | bytes] = []
    shut = None
    for message in rendering.messages:
        if isinstance(message, CloseAction):
            shut = (message.code, message.reason)
        else:
            # Here the sender hears of it; there it would end each member.
            check_size(message.content)
            frames.append(message.content)
    return Frames(frames, rendering.outcome, [name], list(skip), shut)


def _handler_name(message: Message) -> str | None:
    try:
        return get_handler_name(message)
    except (AttributeError, ValueError) as error:
        logger.error("A group event fails at every member: %s", error)
        return None


# Rendering ----------------------------------------------------------------------------------------------------


async def _render(cls: Any, handler: str, message: Message, *, forced: bool) -> _Rendering | None:
    """What any member of class `cls` sends on handling `message`; None if members can differ.

    Raises PerConnectionHandler if they can although the handler is declared to be shared (`forced`).
    """
    attempt = Attempt()
    frames = _Frames(f"{cls.__module__}.{cls.__qualname__}.{handler}", attempt, forced=forced)
    stand_in = make_stand_in(cls, frames.take if cls._sync else frames.atake, attempt, forced=forced)
    running = _run(stand_in, plain_dispatch(cls), message)
    outcome = await run_once(stand_in, attempt, running, handler=frames.handler, logger=logger)
    if attempt.abandoned is None:
        return _Rendering(frames.finish(), outcome, frozenset(attempt.compared))
    if forced:
        raise PerConnectionHandler(handler=frames.handler, attribute=attempt.abandoned)
    learn(cls, handler, f"uses self.{attempt.abandoned}, as a run has shown")
    return None


async def _run(stand_in: Any, plain: Any, message: Message) -> None:
    if plain is not None:
        await sync_to_async(plain)(stand_in, message)
        return
    await stand_in.dispatch(message)
    # A task that the handler has just started sends before the next event, as it mostly would have.
    await asyncio.sleep(0)


class _Frames:
    """What a group handler sends, as it will be published: checked as it is sent."""

    def __init__(self, handler: str, attempt: Attempt, *, forced: bool) -> None:
        self.handler = handler
        self._attempt, self._forced = attempt, forced
        self._taken: list[Rendered] = []
        self._closed = self._finished = False

    def take(self, message: Message) -> None:
        """Raises ValueError for what a group handler cannot send, as a connection would."""
        if self._finished:
            raise RuntimeError(
                f"{self.handler} has sent a frame after it returned, from a task that it left running: await it."
            )
        kind = message["type"]
        if kind == "websocket.close" and not self._forced:
            # A proxy reports a close that was published without its code, which disconnect() is to be given.
            raise self._attempt.abandon("close")
        if self._closed:
            return
        if kind == "websocket.close":
            self._closed = True
            self._taken.append(CloseAction(*closing(message)))
            return
        if kind != "websocket.send":
            raise ValueError(f"A group handler can send frames and close; it sent a message of type {kind!r}.")
        text, data = payload(message)
        self._taken.append(BinaryMessage(data) if text is None else TextMessage(text))

    async def atake(self, message: Message) -> None:
        self.take(message)

    def finish(self) -> list[Rendered]:
        self._finished = True
        return self._taken
