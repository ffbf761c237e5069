"""A connection's mail: what it finds in the mailbox at the beginning of a batch, and what it leaves at the end.

What others send to a connection alone, or to a group whose handler has to run for each member, waits in the
mailbox (`mail` lists the kinds of entries). The proxy is asked to call back; but as a callback can fall together
with frames of the client, every batch of a connection that may have mail looks for it.

The other way, what a batch sends back beyond what the proxy takes in one response is left in a log of the
connection's own. A ping behind what the response does carry brings the next batch as soon as the client has taken
that. A single message that is too large for any response is published on the connection's private channel, which
has no such limit.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from grip_consumers import delivery, followup, joining, mailbox, publisher, refresher, ticking
from grip_consumers.batch import Batch, milliseconds
from grip_consumers.exceptions import MailboxError, MessageTooLarge, PublishError
from grip_consumers.mail import Entry, Event, Frames, Join, Settled, Shut, pack, unpack
from grip_consumers.mailbox.base import Log
from grip_consumers.messages import NORMAL
from grip_consumers.naming import group_log, outgoing_log, private_channel, private_log
from grip_consumers.protocol import Binary, BinaryMessage, Close, Item, PingMessage, State, Text, TextMessage
from grip_consumers.state import Inbox
from grip_consumers.state.extensions import import_dotted

__all__ = ["EXPIRY", "check_size", "collect", "follow_up", "may_have_mail", "off_loop", "send_off"]

logger = logging.getLogger("grip_consumers.inbox")

#: Seconds for which an event waits for a connection, as long as channel layers keep one unless told otherwise.
EXPIRY = 60.0

#: Bytes and messages of one response. A larger one never arrives at Pushpin's default client_buffer_size; above
#: 400 messages one stalls now and then.
_RESPONSE_SIZE, _RESPONSE_COUNT = 24_000, 200
#: The same for one entry of the mailbox: some caches refuse values over 1 MB.
_ENTRY_SIZE, _ENTRY_COUNT = 400_000, 200
#: A proxy takes a million bytes at once, in which the message is wrapped.
_MESSAGE_SIZE = 900_000
#: Milliseconds after which a subscription is active though nothing has come by it.
_PROVEN_AFTER = 2_000
#: Milliseconds after which it is, once something has come by a channel that was subscribed to no later.
_SETTLED_AFTER = 500
#: Milliseconds after which a group that was left is unsubscribed from: what senders have published past the connection
#: is through the proxy, and at the next callback, `_LATE` seconds further on at most, they still know that it has left.
_LEFT_AFTER = 5_000
#: What the pings carry that ask whether a client has all copies.
_SETTLING = b"settling"
#: Milliseconds for which a published message may wait for its turn in the proxy: a response would overtake it.
_UNDER_WAY = 100
#: Milliseconds after which a client that has not answered a ping is taken for one that answers none.
_UNANSWERED = 1_000
#: Seconds after which to look for what was left for a next batch: after a message was published; and while the
#: client is to answer a ping, which brings that batch about sooner.
_AFTER_PUBLISH, _AFTER_PING = (0.11, 0.3, 1.0, 3.0), (1.1, 3.0)


P = ParamSpec("P")
R = TypeVar("R")


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what reaches for the mailbox, in a thread if that may take a while."""
    box = mailbox.get()
    if not box.blocking:
        return function(*args, **kwargs)
    return await sync_to_async(function, thread_sensitive=box.thread_sensitive)(*args, **kwargs)


# Reading ------------------------------------------------------------------------------------------------------


def may_have_mail(batch: Batch) -> bool:
    """Whether a later batch has to look into the mailbox: it costs a round trip."""
    exchange, inbox = batch.exchange, batch.inbox
    if exchange.parting or inbox.closing:
        return False
    if exchange.empty or inbox.expecting or inbox.pinged or inbox.published or batch.stack_runs or not batch.can_skip:
        return True
    if inbox.left:
        # Not mail, but something to be done in time.
        return True
    if inbox.joined and max(inbox.joined.values()) > milliseconds() - int(joining.EXPIRY * 1_000):
        return True
    try:
        return delivery.may_have_mail(import_dotted(batch.consumer_name))
    except (ImportError, AttributeError):
        # A class that is gone is noticed when it is to be revived.
        return False


def collect(batch: Batch) -> None:
    """Hand the batch what lies in the mailbox for its connection, in the order in which it was sent."""
    if batch.exchange.empty:
        # It was asked for by the private channel, or by one that was subscribed to with it.
        batch.inbox.unproven = 0
    if _is_held_up(batch):
        return
    try:
        found = mailbox.get().read(_cursors(batch))
    except Exception:
        # It lies there until the next batch: no reason to end a connection that may not have any.
        logger.exception("The mailbox cannot be read for %s", batch.consumer_name)
        return
    _take_outgoing(batch, found.pop(outgoing_log(batch.channel_name), []))
    if found:
        _take_mail(batch, found)


def _cursors(batch: Batch) -> dict[str, int]:
    inbox, name = batch.inbox, batch.channel_name
    cursors = {private_log(name): inbox.cursor, **{group_log(group): at for group, at in batch.groups.items()}}
    return {**cursors, outgoing_log(name): inbox.outgoing} if inbox.expecting else cursors


def _take_outgoing(batch: Batch, entries: Log) -> None:
    """What there was no room for before: it was sent before all that is to be handled now."""
    batch.inbox.expecting = False
    if entries:
        batch.inbox.outgoing = entries[-1][0]
        for entry in _read(batch, outgoing_log(batch.channel_name), entries):
            batch.post(entry)


def _take_mail(batch: Batch, found: dict[str, Log]) -> None:
    own = private_log(batch.channel_name)
    if own in found:
        batch.inbox.cursor = found[own][-1][0]
        mailbox.get().acknowledge(own, batch.inbox.cursor, expiry=EXPIRY)
    for group in batch.groups:
        if (log := group_log(group)) in found:
            batch.groups[group] = found[log][-1][0]
    letters = {log: list(_read(batch, log, entries)) for log, entries in found.items()}
    if joins := [entry for entry in letters.get(own, ()) if isinstance(entry, Join)]:
        _announce_needs(batch)
        _read_joined(batch, letters, joins)
    for entry in heapq.merge(*letters.values(), key=attrgetter("sent")):
        batch.post(entry)


def _read_joined(batch: Batch, letters: dict[str, list[Entry]], joins: list[Join]) -> None:
    """Read the logs of groups that the connection is told to join as well, so that all of it is in one order."""
    own = private_log(batch.channel_name)
    # Who joins again goes on where it is; of two who have it join, the first says from where.
    cursors = {entry.group: batch.groups.get(entry.group, entry.cursor) for entry in reversed(joins)}
    new = {group_log(group): cursor for group, cursor in cursors.items() if group not in batch.groups}
    try:
        found = mailbox.get().read(new) if new else {}
    except Exception:
        # What lies there is read in the next batch.
        logger.exception("The logs of new groups cannot be read for %s", batch.consumer_name)
        return
    for group in cursors:
        if entries := found.get(group_log(group)):
            # Only for a member: it may be one group too many.
            read = _read(batch, group_log(group), entries)
            letters[group_log(group)] = [replace(e, group=group) if isinstance(e, (Event, Frames)) else e for e in read]
            cursors[group] = entries[-1][0]
    letters[own] = [
        replace(entry, cursor=cursors.get(entry.group, entry.cursor)) if isinstance(entry, Join) else entry
        for entry in letters[own]
    ]


def _is_held_up(batch: Batch) -> bool:
    """Whether the client has yet to take what was sent to it: then nothing more is read, or sent."""
    inbox = batch.inbox
    if inbox.pinged and batch.exchange.has_pong(_token(inbox)):
        batch.way_is_clear = True
    latest = max(inbox.published, inbox.pinged)
    if batch.way_is_clear or (latest and milliseconds() - latest > _UNANSWERED):
        batch.way_is_clear = True
        inbox.published = inbox.pinged = latest = 0
    batch.held_up = bool(latest)
    return batch.held_up


def _token(inbox: Inbox) -> bytes:
    """What a ping carries, and its pong."""
    return b"%d" % inbox.pinged


def _announce_needs(batch: Batch) -> None:
    """Tell senders what they have to mind with this connection, as `groups.add` does for whoever joins by itself."""
    if not batch.can_skip:
        joining.mark_without_filters()
    if batch.stack_runs:
        joining.mark_whole_class(batch.consumer_name)


def _read(batch: Batch, log: str, entries: Log) -> Iterator[Entry]:
    for _, data in entries:
        try:
            entry = unpack(data)
        except MailboxError as error:
            logger.error("%s cannot be given what lies in the mailbox's log %s: %s", batch.consumer_name, log, error)
            continue
        if not isinstance(entry, (Event, Frames)) or entry.is_for(batch.consumer_name, batch.user):
            yield entry


# Leaving ------------------------------------------------------------------------------------------------------


def send_off(batch: Batch) -> Callable[[], None] | None:
    """What has to be done, with mailbox and proxy, before the response is made; None if nothing."""
    delivering = _delivering(batch)
    if batch.ended or batch.exchange.state is not State.OPEN:
        return delivering
    if not batch.inbox.left and not ticking.concerns(batch):
        return delivering

    def both() -> None:
        _unsubscribe(batch)
        if delivering is not None:
            delivering()
        _arrange_callback(batch)

    return both


def _unsubscribe(batch: Batch) -> None:
    """End the subscriptions to groups that were left a while ago. The proxy is to call back in time for that."""
    now = milliseconds()
    for group in [group for group, since in batch.inbox.left.items() if since < now - _LEFT_AFTER]:
        batch.unsubscribe(group)


def _arrange_callback(batch: Batch) -> None:
    """Have the proxy call back by itself for whatever comes first: there is one interval for all."""
    wanted = ticking.arrange(batch)
    if batch.inbox.left or refresher.is_late():
        wanted.append(_LATE)
    batch.exchange.keep_alive_interval(min(wanted, default=0))


def _delivering(batch: Batch) -> Callable[[], None] | None:
    exchange = batch.exchange
    if exchange.state not in _DELIVERING or not batch.settings.subscription_limit:
        return None
    heavy = exchange.exceeds(_RESPONSE_SIZE, _RESPONSE_COUNT)
    if batch.ended:
        return (lambda: _cut(batch)) if heavy or batch.held_up or batch.inbox.expecting else None
    if batch.held_up:
        return lambda: _wait(batch)
    if heavy:
        return lambda: _split(batch)
    if exchange.state is State.OPEN and (settling := _settling(batch)):
        return lambda: _settle(batch, settling)
    return None if not _is_new_reader(batch) else lambda: _ask_for_callbacks(batch)


#: What is sent in other states goes nowhere.
_DELIVERING = frozenset({State.OPEN, State.CLOSING})


def _split(batch: Batch) -> None:
    """Send what the proxy takes, and leave the rest for a next batch.

    A message that is too large for any response is published, when it is the first. The proxy drops without a word what
    is published to a client that has not yet taken what was sent to it before; so only when the client has answered a
    ping.
    """
    exchange, inbox = batch.exchange, batch.inbox
    fitting = exchange.fitting(_RESPONSE_SIZE, _RESPONSE_COUNT)
    if not exchange.message_count:
        # What makes it large is for the proxy, or answers pings.
        return
    if fitting:
        _leave(batch, exchange.take_messages(fitting))
        _ping(batch)
    elif not _is_proven(batch):
        _leave(batch, exchange.take_messages())
    elif not batch.way_is_clear:
        _leave(batch, exchange.take_messages())
        _ping(batch)
    else:
        large, *following = exchange.take_messages()
        # Not a close: that is the last of all, and there are messages.
        assert not isinstance(large, Close)
        check_size(_content(large))
        _publish(batch, _item(batch, large))
        inbox.published = milliseconds()
        _leave(batch, following)


def _wait(batch: Batch) -> None:
    """Leave everything for the batch that the client's pong brings; ask for it once a publish had time to arrive."""
    inbox = batch.inbox
    _leave(batch, batch.exchange.take_messages())
    if not inbox.pinged and milliseconds() - inbox.published > _UNDER_WAY:
        # The way that the message went. Right behind it the ping would be dropped.
        inbox.pinged = milliseconds()
        _publish(batch, Item(_channel(batch), PingMessage(_token(inbox))))


def _publish(batch: Batch, item: Item) -> None:
    """Publish to the connection itself. Raises PublishError if no proxy takes it: any one may be that of the client."""
    try:
        publisher.publish([item])
    except PublishError as error:
        if len(error.failures) >= len(publisher.targets()):
            raise
        logger.warning("What %s sends may not arrive: %s", batch.consumer_name, error)


def _ping(batch: Batch) -> None:
    """Ask the client, behind all that it was sent until now. Its answer makes the next batch."""
    batch.inbox.pinged = milliseconds()
    batch.exchange.ping(_token(batch.inbox))


def _channel(batch: Batch) -> str:
    return private_channel(batch.settings.prefix, batch.channel_name)


def _is_proven(batch: Batch) -> bool:
    """Whether the connection's private channel is known to reach it."""
    return not batch.exchange.opening and milliseconds() - batch.inbox.unproven > _PROVEN_AFTER


def _cut(batch: Batch) -> None:
    """Leave out what the response cannot carry, as the consumer has ended and there is no next batch for it."""
    exchange = batch.exchange
    dropped = exchange.take_messages(exchange.fitting(_RESPONSE_SIZE, _RESPONSE_COUNT), with_close=False)
    logger.error(
        "%s has ended after it sent more than a proxy takes in one response: the rest is not delivered (%d messages, "
        "and what waited for the client).",
        batch.consumer_name,
        len(dropped),
    )


def _leave(batch: Batch, messages: list[Text | Binary | Close]) -> None:
    """Put messages into the connection's outgoing log, for its next batch."""
    if not messages:
        return
    for entry in _entries(messages):
        mailbox.get().append(outgoing_log(batch.channel_name), pack(entry), expiry=EXPIRY)
    batch.inbox.expecting = True
    _ask_for_callbacks(batch)


def _entries(messages: list[Text | Binary | Close]) -> Iterator[Frames | Shut]:
    frames: list[str | bytes] = []
    size = 0
    for message in messages:
        if isinstance(message, Close):
            yield Frames(frames)
            yield Shut(message.code or NORMAL, message.reason)
            return
        content = _content(message)
        check_size(content)
        if frames and (size + len(content) > _ENTRY_SIZE or len(frames) == _ENTRY_COUNT):
            yield Frames(frames)
            frames, size = [], 0
        frames.append(content)
        size += len(content)
    yield Frames(frames)


def check_size(content: str | bytes) -> None:
    """Raises MessageTooLarge for what no proxy takes as one message."""
    size = len(content.encode() if isinstance(content, str) else content)
    if size > _MESSAGE_SIZE:
        raise MessageTooLarge(
            f"Expected messages of at most {_MESSAGE_SIZE:,} bytes, got one of {size:,}: no proxy takes more at once."
        )


def _content(message: Text | Binary) -> str | bytes:
    return message.text if isinstance(message, Text) else message.data


def _item(batch: Batch, message: Text | Binary) -> Item:
    published = TextMessage(message.text) if isinstance(message, Text) else BinaryMessage(message.data)
    return Item(_channel(batch), published)


def _settling(batch: Batch) -> list[str]:
    """The groups that were joined a while ago, of which only copies have reached the connection until now.

    None as long as others were joined more recently: what one sender sends to several groups is to stay in order.
    """
    joined = batch.inbox.joined
    if batch.exchange.opening or not joined:
        return []
    now = milliseconds()
    for group in [group for group, since in joined.items() if since < now - int(joining.EXPIRY * 1_000)]:
        # It is listed no more.
        del joined[group]
    prompted = batch.exchange.empty or batch.exchange.has_pong(_SETTLING)
    latest = now - (_SETTLED_AFTER if prompted else _PROVEN_AFTER)
    return list(joined) if all(since < latest for since in joined.values()) else []


def _settle(batch: Batch, groups: list[str]) -> None:
    """Tell senders that what is published to the groups reaches this connection.

    Only when the client has answered a ping behind all that it was sent: what is published would overtake a response
    that is still on its way. And not if more has come meanwhile, which brings a batch by itself.
    """
    if batch.copied or not batch.exchange.has_pong(_SETTLING):
        batch.exchange.ping(_SETTLING)
    elif _settled(batch, Settled(groups)):
        batch.inbox.joined.clear()


def _settled(batch: Batch, entry: Settled) -> bool:
    log, cursor = private_log(batch.channel_name), batch.inbox.cursor
    box = mailbox.get()
    # A log that has no entries starts at the present time, which whoever writes next will know of as well.
    position = cursor + 1 if cursor else box.start_position()
    try:
        if not box.append_at(log, position, pack(entry), expiry=EXPIRY):
            return False
    except Exception:
        logger.exception("The mailbox cannot be told that %s is served by what is published", batch.consumer_name)
        return False
    batch.inbox.cursor = position
    return True


def follow_up(batch: Batch) -> None:
    """Have somebody look after mail that comes before the proxy knows where to send it.

    For what is sent until then, and the callbacks that are asked for until then, go nowhere.
    """
    state = batch.exchange.state
    if state is State.CLOSING and not batch.inbox.expecting:
        # For good: the batches that its callbacks still bring know nothing of the close.
        batch.inbox.closing = True
    if batch.inbox.expecting or (state is State.OPEN and (batch.joins or _is_new_reader(batch))):
        ends = {private_log(batch.channel_name): batch.inbox.cursor}
        if batch.inbox.expecting:
            ends[outgoing_log(batch.channel_name)] = batch.inbox.outgoing
        ends.update((group_log(group), batch.groups[group]) for group in batch.joins if group in batch.groups)
        followup.watch(_channel(batch), ends, _delays(batch.inbox))


def _delays(inbox: Inbox) -> tuple[float, ...]:
    if inbox.pinged:
        return _AFTER_PING
    return _AFTER_PUBLISH if inbox.published else followup.DELAYS


def _is_new_reader(batch: Batch) -> bool:
    """Whether a connection begins to which others may have something to say."""
    opening = batch.exchange.opening and batch.exchange.state is State.OPEN
    return opening and (bool(batch.joins) or delivery.may_have_mail(type(batch.consumer)))


def _ask_for_callbacks(batch: Batch) -> None:
    """Where no proxy can be asked for a callback, events arrive late rather than never."""
    if refresher.is_late():
        batch.exchange.keep_alive_interval(_LATE)


#: Seconds; the shortest interval that the proxy keeps.
_LATE = 20
