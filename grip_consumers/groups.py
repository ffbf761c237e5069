"""Groups: who is a member, and how an event reaches the members.

A group is one GRIP channel per consumer class, because each class renders an event its own way. An event for a
group is rendered once for each routed class that handles its type, on a stand-in for any member, and published to
that class's channel. The connection in whose batch it is sent handles its own copy right there, in order, and is
excluded from the published one.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone, translation

from grip_consumers import conf, publisher
from grip_consumers.batch import Batch, current_batch
from grip_consumers.exceptions import PerConnectionHandler, StopConsumer
from grip_consumers.messages import NORMAL, closing, get_handler_name, payload
from grip_consumers.naming import group_channel, new_channel_name
from grip_consumers.protocol import BinaryMessage, CloseAction, Item, TextMessage
from grip_consumers.registry import routed_consumers
from grip_consumers.running import plain_dispatch
from grip_consumers.standin import Abandoned, Attempt, current_attempt, make_stand_in, note_hidden_writes
from grip_consumers.state.extensions import dotted
from grip_consumers.types import Message

__all__ = ["add", "discard", "new_channel_name", "send", "send_to_channel"]

logger = logging.getLogger("grip_consumers.groups")

#: What a server closes a connection with (RFC 6455 §7.4.1) when the consumer has failed.
_INTERNAL_ERROR = 1011

#: What members get whose consumers fail before they have sent anything.
_FAILURE = [CloseAction(code=_INTERNAL_ERROR)]


def add(group: str, channel: str) -> None:
    """Make the connection `channel`, whose batch must be the current one, a member of `group`.

    Raises SubscriptionLimitExceeded, and NotImplementedError for another connection's name.
    """
    _own_batch(channel, "group_add").join(group)


def discard(group: str, channel: str) -> None:
    """End that membership; nothing happens if there is none. Raises as `add`."""
    _own_batch(channel, "group_discard").leave(group)


async def send(group: str, message: Message) -> None:
    """Send an event to the members of `group`.

    An event whose type is missing or malformed fails at every member, as with any other layer.

    Raises PerConnectionHandler for a handler that has to run for each member, PublishError when a proxy does not take
    it.
    """
    _not_while_rendering("group_send")
    batch = current_batch()
    items = [item async for item in _rendered(group, message, batch)]
    own = copy.deepcopy(message) if batch is not None and group in batch.groups else None
    if items:
        await publisher.apublish(items)
    if batch is not None and own is not None:
        batch.deliver(own)


async def send_to_channel(channel: str, message: Message) -> None:
    """Send an event to one connection: the one whose batch is the current one.

    Raises NotImplementedError for any other.
    """
    _own_batch(channel, "send").deliver(copy.deepcopy(message))


def _own_batch(channel: str, what: str) -> Batch:
    _not_while_rendering(what)
    batch = current_batch()
    if batch is not None and batch.channel_name == channel:
        return batch
    raise NotImplementedError(
        f"channel_layer.{what}() for another connection's channel name ({channel!r}) is not available in this "
        "release: call it in a handler of that very connection, with self.channel_name."
    )


def _not_while_rendering(what: str) -> None:
    attempt = current_attempt.get()
    if attempt is not None:
        # Every member would do it once more.
        raise attempt.abandon(f"channel_layer.{what}")


async def _rendered(group: str, message: Message, batch: Batch | None) -> AsyncIterator[Item]:
    """The items that bring `message` to the members, for each class that handles it."""
    prefix, handler = conf.get().prefix, _handler_name(message)
    for cls in routed_consumers():
        if handler is not None and getattr(cls, handler, None) is None:
            continue
        name = dotted(cls)
        # A member handles its own copy in its batch; one that has just left is still subscribed until that is answered.
        excluded = {"skip_users": batch.user} if batch and batch.consumer_name == name else {}
        for sent in await _render(cls, handler, copy.deepcopy(message)) if handler else _FAILURE:
            yield Item(
                channel=group_channel(prefix, group, name),
                message=sent,
                # Proxies remember ids for a while: a publish that is tried again arrives once.
                id=uuid.uuid4().hex,
                meta=excluded,
            )


def _handler_name(message: Message) -> str | None:
    try:
        return get_handler_name(message)
    except (AttributeError, ValueError) as error:
        logger.error("A group event fails at every member: %s", error)
        return None


async def _render(cls: Any, handler: str, message: Message) -> list[Any]:
    """What any member of class `cls` sends on handling `message`. Raises PerConnectionHandler."""
    attempt, frames = Attempt(), _Frames(f"{cls.__module__}.{cls.__qualname__}.{handler}")
    stand_in = make_stand_in(cls, frames.take if cls._sync else frames.atake, attempt)
    plain = plain_dispatch(cls)
    token = current_attempt.set(attempt)
    try:
        # The sender's language and time zone are not the members'.
        with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
            if plain is not None:
                await sync_to_async(plain)(stand_in, message)
            else:
                await stand_in.dispatch(message)
                # A task that the handler has just started sends before the next event, as it mostly would have.
                await asyncio.sleep(0)
    except Abandoned as error:
        attempt.abandon(error.attribute)
    except StopConsumer:
        frames.close(NORMAL)
    except Exception:
        # Every member's own run would have failed just so.
        logger.exception("Exception in %s for a group event", frames.handler)
        frames.close(_INTERNAL_ERROR)
    finally:
        current_attempt.reset(token)
    note_hidden_writes(stand_in, attempt)
    if attempt.abandoned is not None:
        raise PerConnectionHandler(handler=frames.handler, attribute=attempt.abandoned)
    return frames.finish()


class _Frames:
    """What a group handler sends, as it will be published: checked as it is sent, nothing after a close."""

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self._taken: list[TextMessage | BinaryMessage | CloseAction] = []
        self._closed = self._finished = False

    def take(self, message: Message) -> None:
        """Raises ValueError for what a group handler cannot send, as a connection would."""
        if self._finished:
            raise RuntimeError(
                f"{self.handler} has sent a frame after it returned, from a task that it left running: await it."
            )
        if not self._closed:
            self._taken.append(_to_publish(message))
            self._closed = isinstance(self._taken[-1], CloseAction)

    async def atake(self, message: Message) -> None:
        self.take(message)

    def close(self, code: int) -> None:
        if not self._closed:
            self._taken.append(CloseAction(code=code))

    def finish(self) -> list[TextMessage | BinaryMessage | CloseAction]:
        self._finished = True
        return self._taken


def _to_publish(message: Message) -> TextMessage | BinaryMessage | CloseAction:
    kind = message["type"]
    if kind == "websocket.close":
        return CloseAction(*closing(message))
    if kind != "websocket.send":
        raise ValueError(f"A group handler can send frames and close; it sent a message of type {kind!r}.")
    text, data = payload(message)
    return BinaryMessage(data) if text is None else TextMessage(text)
