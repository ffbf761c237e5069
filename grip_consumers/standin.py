"""Stand-ins: a consumer that is any member of a group, for rendering a group event once for all of them.

A stand-in is an instance of a subclass of the consumer, without any state. It permits what cannot differ between
members: methods, properties, and constants of the class that nothing assigns. The first read of anything else, and
any write, abandons the attempt: the handler then has to run for each member. Its `channel_name` can be compared: it
is that of any member who is not named, and the names that it was compared with are noted.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.utils import timezone, translation

from grip_consumers.analysis import PER_CONNECTION, permitted_names
from grip_consumers.exceptions import StopConsumer, either
from grip_consumers.mail import Outcome

__all__ = ["Abandoned", "Attempt", "current_attempt", "make_stand_in", "note_failure", "note_hidden_writes", "run_once"]


class Abandoned(BaseException):
    """A handler touched something that can differ between members.

    Not an Exception: a handler's own `except Exception` must not swallow it.
    """

    def __init__(self, attribute: str) -> None:
        super().__init__(attribute)
        self.attribute = attribute


class Attempt:
    """One attempt to run a handler once for all members.

    `abandoned` names the attribute that ended it; `compared` has the strings that `channel_name` was compared with:
    a member of such a name has to handle the event itself. `saw_channel_name` says that it was read at all.
    """

    def __init__(self) -> None:
        self.abandoned: str | None = None
        self.compared: set[str] = set()
        self.saw_channel_name = False

    def abandon(self, attribute: str) -> Abandoned:
        """Note that the attempt is over, even if the handler swallows it; gives the exception to raise."""
        self.abandoned = self.abandoned or attribute
        return Abandoned(attribute)


#: What a published frame would do to the others, but not to the state of their connections: `disconnect` must see the
#: code that its connection was closed with.
_NEVER = frozenset({"close", "accept"})
#: What all instances have in common, whatever the class.
_ALWAYS = frozenset({"base_send", "__class__"})

#: The attempt whose handler is running here. Not the stand-in: asgiref compares the values of context variables.
current_attempt: ContextVar[Attempt | None] = ContextVar("grip_consumers.attempt", default=None)


def make_stand_in(cls: type[Any], base_send: Any, attempt: Attempt, *, forced: bool = False) -> Any:
    """A stand-in for the members whose consumer is `cls`; what it sends goes to `base_send`.

    A forced one permits all that the class has, as it stands on the class, even what its methods assign.
    """
    stand_in: Any = object.__new__(_stand_in_class(cls, forced))
    object.__setattr__(stand_in, "base_send", base_send)
    object.__setattr__(stand_in, "_grip_attempt", attempt)
    return stand_in


def note_failure(attempt: Attempt) -> None:
    """Abandon the attempt if its handler's exception may be due to `channel_name` being no string."""
    if attempt.saw_channel_name:
        attempt.abandon("channel_name")


def note_hidden_writes(stand_in: Any, attempt: Attempt) -> None:
    """Abandon the attempt if its handler has written past `__setattr__`, as `object.__setattr__` does."""
    for name in object.__getattribute__(stand_in, "__dict__").keys() - {"base_send", "_grip_attempt"}:
        attempt.abandon(name)


def _abandon(stand_in: Any, attribute: str) -> Abandoned:
    attempt: Attempt = object.__getattribute__(stand_in, "_grip_attempt")
    return attempt.abandon(attribute)


class _StandInMeta(type):
    """Assigning to the class of a stand-in would not reach the consumer's class."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise (current_attempt.get() or Attempt()).abandon(f"__class__.{name}")

    def __delattr__(cls, name: str) -> None:
        raise (current_attempt.get() or Attempt()).abandon(f"__class__.{name}")


class _AnyName:
    """The channel name of any member who is not named: it equals no string, and is good for nothing else."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        object.__setattr__(self, "_attempt", attempt)

    def __eq__(self, other: object) -> bool:
        if type(other) is _AnyName:
            return True
        if isinstance(other, str):
            attempt: Attempt = object.__getattribute__(self, "_attempt")
            attempt.compared.add(other)
        return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    def _abandon(self, *args: Any, **kwargs: Any) -> Any:
        attempt: Attempt = object.__getattribute__(self, "_attempt")
        raise attempt.abandon("channel_name")

    __hash__ = __bool__ = __repr__ = __str__ = __format__ = __len__ = __iter__ = __contains__ = _abandon
    __getitem__ = __add__ = __radd__ = __mod__ = __rmod__ = __mul__ = __rmul__ = _abandon
    __lt__ = __le__ = __gt__ = __ge__ = __bytes__ = __fspath__ = __index__ = __int__ = __float__ = _abandon
    __getattribute__ = __setattr__ = __delattr__ = __dir__ = __sizeof__ = _abandon
    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = _abandon


class _StandInMixin:
    _grip_permitted: frozenset[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A stand-in is no consumer of the project: its registries must not hear of it."""

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "_grip_permitted"):
            return super().__getattribute__(name)
        if name == "channel_name":
            attempt: Attempt = object.__getattribute__(self, "_grip_attempt")
            attempt.saw_channel_name = True
            return _AnyName(attempt)
        raise _abandon(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise _abandon(self, name)

    def __delattr__(self, name: str) -> None:
        raise _abandon(self, name)

    # Looked up on the type, past __getattribute__.
    def __repr__(self) -> str:
        raise _abandon(self, "__repr__")

    def __str__(self) -> str:
        raise _abandon(self, "__str__")

    def __hash__(self) -> int:
        raise _abandon(self, "__hash__")

    def __eq__(self, other: object) -> bool:
        raise _abandon(self, "__eq__")


_stand_in_classes: tuple[weakref.WeakKeyDictionary[type, type], ...] = (
    weakref.WeakKeyDictionary(),
    weakref.WeakKeyDictionary(),
)


def _stand_in_class(cls: type[Any], forced: bool) -> type:
    classes = _stand_in_classes[forced]
    found = classes.get(cls)
    if found is None:
        members = {
            "_grip_permitted": (_all_names(cls) if forced else permitted_names(cls) - _NEVER) | _ALWAYS,
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
        }
        metaclass: Any = type(cls)
        # Past the metaclass's own hands: a project's registry of consumers must not hear of a stand-in.
        made: Any = type.__new__(_metaclass_for(metaclass), cls.__name__, (_StandInMixin, cls), members)
        found = classes.setdefault(cls, made)
    return found


def _all_names(cls: type[Any]) -> frozenset[str]:
    """What `@shared` permits."""
    return frozenset(name for name in dir(cls) if not name.startswith("__")) - PER_CONNECTION


@functools.lru_cache(maxsize=64)
def _metaclass_for(metaclass: type) -> type:
    return type("_StandInMeta", (_StandInMeta, metaclass), {})


async def run_once(
    stand_in: Any, attempt: Attempt, running: Awaitable[object], *, handler: str, logger: logging.Logger
) -> Outcome:
    """Await a handler that runs on a stand-in: how it ended, which counts unless `attempt.abandoned` is set.

    What it raises is logged under the name `handler`, unless it was the stand-in that made it fail.
    """
    token = current_attempt.set(attempt)
    outcome = Outcome.RETURNED
    try:
        # The sender's language and time zone are not the members'.
        with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
            await running
    except Abandoned as error:
        attempt.abandon(error.attribute)
    except either(StopConsumer):
        outcome = Outcome.STOPPED
    except Exception:
        # Every member's own run would have failed just so; unless it was the stand-in that made it fail.
        note_failure(attempt)
        outcome = Outcome.FAILED
        if attempt.abandoned is None:
            logger.exception("Exception in %s for a group event", handler)
    finally:
        current_attempt.reset(token)
    note_hidden_writes(stand_in, attempt)
    return outcome
