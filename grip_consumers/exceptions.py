"""Every exception of this package, in one place.

    Exception
    ├── RequestAborted                      channels.exceptions, same names and bases
    │   └── RequestTimeout
    ├── AcceptConnection, DenyConnection
    ├── ChannelFull, MessageTooLarge
    ├── StopConsumer
    ├── ValueError
    │   └── InvalidChannelLayerError
    └── GripError                           what only a connection held by a proxy can run into
        ├── StateError
        │   ├── UnkeepableState
        │   └── SealBroken
        ├── SubscriptionLimitExceeded
        ├── PublishError
        ├── MailboxError
        ├── HandlerFailed
        └── PerConnectionHandler            also a TypeError

Those of ours that say more than their name keep the facts as attributes and word them in ``__str__``; their
constructors take exactly the attributes, so instances survive copying and pickling.

Where Channels has been imported beside this package, an exception of a name that it has is of both kinds when it is
made, so that code written for either catches it; :func:`either` is for catching what code written for either raises.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from grip_consumers.compatibility import RULES, advise

__all__ = [
    "AcceptConnection",
    "ChannelFull",
    "DenyConnection",
    "GripError",
    "HandlerFailed",
    "InvalidChannelLayerError",
    "MailboxError",
    "MessageTooLarge",
    "PerConnectionHandler",
    "PublishError",
    "RequestAborted",
    "RequestTimeout",
    "SealBroken",
    "StateError",
    "StopConsumer",
    "SubscriptionLimitExceeded",
    "UnkeepableState",
]


E = TypeVar("E", bound=type[Exception])


def either(kind: type[Exception]) -> tuple[type[Exception], ...]:
    """For `except`: the class, and Channels' own of its name if Channels has been imported."""
    theirs = getattr(sys.modules.get("channels.exceptions"), kind.__name__, kind)
    return (kind, theirs)


def _of_both_kinds(kind: E) -> E:
    """Decorate a class of a name that Channels has, too."""

    def make(cls: Any, *args: Any, **kwargs: Any) -> Any:
        theirs: Any = either(kind)[1]
        return Exception.__new__(_joined(cls, theirs), *args, **kwargs)

    kind.__new__ = make  # type: ignore[method-assign]
    return kind


@functools.lru_cache(maxsize=256)
def _joined(cls: Any, theirs: Any) -> Any:
    if issubclass(cls, theirs):
        return cls
    # Copies and pickles are made by the class that has a name to be found by.
    members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    reduced = {"__reduce__": lambda self: (cls, self.args, self.__dict__ or None)}
    return type(cls.__name__, (cls, theirs), {**members, **reduced})


@_of_both_kinds
class RequestAborted(Exception):  # noqa: N818 - Channels' name
    """The client went away before its request body was complete."""


@_of_both_kinds
class RequestTimeout(RequestAborted):
    """A request body did not arrive in time."""


@_of_both_kinds
class InvalidChannelLayerError(ValueError):
    """A channel layer is missing, or configured in a way that cannot work."""


@_of_both_kinds
class AcceptConnection(Exception):  # noqa: N818 - Channels' name
    """Raise it in ``connect()`` to accept the connection and leave the handler."""


@_of_both_kinds
class DenyConnection(Exception):  # noqa: N818 - Channels' name
    """Raise it in ``connect()`` to refuse the connection and leave the handler."""


@_of_both_kinds
class ChannelFull(Exception):  # noqa: N818 - Channels' name
    """A channel holds as many messages as its capacity permits."""


@_of_both_kinds
class MessageTooLarge(Exception):  # noqa: N818 - Channels' name
    """A message is larger than its channel layer can carry."""


@_of_both_kinds
class StopConsumer(Exception):  # noqa: N818 - Channels' name
    """Raise it in a handler to end the consumer: no later event of the connection reaches it."""


class GripError(Exception):
    """Base class of the errors that Channels does not have."""


class StateError(GripError):
    """What a connection remembers between two requests cannot be kept, or cannot be opened again."""


class UnkeepableState(StateError):  # noqa: N818 - it names what happened
    """Something holds a value that cannot outlive the request: a lock, a task, a client, a generator …

    Attributes:
        consumer: dotted name of the consumer class, ``"chat.consumers.ChatConsumer"``.
        attribute: what holds the value: an attribute's name, ``"scope['key']"``, or ``"as_asgi(name=…)"``.
        type_name: dotted name of the value's class, ``"_thread.lock"``.
        why: what is particular to the value, and what to keep in its place; may be empty.
    """

    def __init__(self, consumer: str, attribute: str, type_name: str, why: str = "") -> None:
        super().__init__(consumer, attribute, type_name, why)
        self.consumer = consumer
        self.attribute = attribute
        self.type_name = type_name
        self.why = why

    def __str__(self) -> str:
        if self.why:
            reason = f"cannot be stored: {self.why}"
        else:
            reason = (
                "does not outlive the request, because no process owns the connection between two of them. "
                + self._advice
            )
        text = f"{self.consumer} cannot keep {self._holder}: a value of type {self.type_name} {reason}"
        rule = _LEFT_RUNNING.get(self.type_name)
        if rule is not None and not self.why:
            return f"{self.consumer} cannot keep {self._holder}, of type {self.type_name}. {advise(rule)}"
        return f"{text}{self._way_out}. ({RULES['unkeepable-state'].check_id})"

    @property
    def _is_argument(self) -> bool:
        return self.attribute.startswith("as_asgi(")

    @property
    def _holder(self) -> str:
        return self.attribute if self._is_argument else f"self.{self.attribute}"

    @property
    def _advice(self) -> str:
        if self._is_argument:
            return "Pass what it is made from, and make it in the consumer when it is needed"
        return "Keep what it is made from and make it anew when it is needed (in a cached_property, say)"

    @property
    def _way_out(self) -> str:
        # A keyword argument of as_asgi() makes each batch's instance, so none can be left out.
        if self._is_argument:
            return ""
        key = re.fullmatch(r"scope\[['\"](.+)['\"]\]", self.attribute)
        name = f"scope.{key[1]}" if key else self.attribute
        return f'; or, if nothing later depends on it, name it in `transient = ("{name}",)` on the class'


#: What runs while nobody waits for it, by the name of its type → the rule about it.
_LEFT_RUNNING = {
    "_asyncio.Task": "background-task",
    "asyncio.tasks.Task": "background-task",
    "asyncio.events.TimerHandle": "timer",
    "threading.Thread": "background-task",
    "threading.Timer": "timer",
}


class SealBroken(StateError):  # noqa: N818 - it names what happened
    """A stored state does not open: altered, made for another connection, or sealed with a retired key."""


class SubscriptionLimitExceeded(GripError):  # noqa: N818 - it names what happened
    """A connection would be in more groups than its proxy serves.

    Attributes:
        group: the group that is one too many.
        limit: how many subscriptions a connection may hold.
        setting: name of the Django setting that holds the limit.
    """

    setting = "GRIP_SUBSCRIPTION_LIMIT"

    def __init__(self, group: str, limit: int) -> None:
        super().__init__(group, limit)
        self.group = group
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"Cannot add this connection to group {self.group!r}: it already holds the {self.limit} "
            f"subscriptions that {self.setting} permits. The proxy would ignore one more silently, and the "
            f"connection would miss every message of the group. {advise('too-many-groups')}"
        )


class PublishError(GripError):
    """At least one proxy did not take what was published to it; the others did.

    Attributes:
        failures: name of each proxy that failed → the reason, both text; never empty.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        self.failures: dict[str, str] = dict(failures)
        super().__init__(self.failures)

    def __str__(self) -> str:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
        count = f"{len(self.failures)} {'proxy' if len(self.failures) == 1 else 'proxies'}"
        return f"Publishing failed at {count}: {reasons}"


class MailboxError(GripError):
    """What lies in the mailbox cannot be read, or the mailbox cannot be used as it is configured."""


class HandlerFailed(GripError):  # noqa: N818 - it names what happened
    """A group handler has raised that ran once for all members: each of them ends as if its own had.

    Attributes:
        consumer: dotted name of the consumer class. The sender's log has the exception itself.
    """

    def __init__(self, consumer: str) -> None:
        super().__init__(consumer)
        self.consumer = consumer

    def __str__(self) -> str:
        return f"A group handler of {self.consumer} has failed in the process that sent the event; see its log."


class PerConnectionHandler(GripError, TypeError):  # noqa: N818 - it names what was met
    """A group handler that was declared ``@shared`` read what belongs to one connection.

    Attributes:
        handler: dotted name of the handler, ``"chat.consumers.ChatConsumer.chat_message"``.
        attribute: what it read or wrote on ``self`` that belongs to one connection: ``"scope"``.
    """

    def __init__(self, handler: str, attribute: str) -> None:
        super().__init__(handler, attribute)
        self.handler = handler
        self.attribute = attribute

    def __str__(self) -> str:
        return (
            f"Handler {self.handler} is declared @shared, so it runs once for all members of a group, but it uses "
            f"self.{self.attribute}, which belongs to one connection. Remove the decorator, or put what the handler "
            "needs into the event."
        )
