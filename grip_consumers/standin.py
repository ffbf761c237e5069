"""Stand-ins: a consumer that is any member of a group, for rendering a group event once for all of them.

A stand-in is an instance of a subclass of the consumer, without any state. It permits what cannot differ between
members: methods, properties, and constants of the class that nothing assigns. The first read of anything else, and
any write, abandons the attempt: the handler then has to run for each member.
"""

from __future__ import annotations

import functools
import weakref
from contextvars import ContextVar
from typing import Any

from grip_consumers.analysis import permitted_names

__all__ = ["Abandoned", "Attempt", "current_attempt", "make_stand_in", "note_hidden_writes"]


class Abandoned(BaseException):
    """A handler touched something that can differ between members.

    Not an Exception: a handler's own `except Exception` must not swallow it.
    """

    def __init__(self, attribute: str) -> None:
        super().__init__(attribute)
        self.attribute = attribute


class Attempt:
    """One attempt to run a handler once for all members; `abandoned` names the attribute that ended it."""

    def __init__(self) -> None:
        self.abandoned: str | None = None

    def abandon(self, attribute: str) -> Abandoned:
        """Note that the attempt is over, even if the handler swallows it; gives the exception to raise."""
        self.abandoned = self.abandoned or attribute
        return Abandoned(attribute)


#: The attempt whose handler is running here. Not the stand-in: asgiref compares the values of context variables.
current_attempt: ContextVar[Attempt | None] = ContextVar("grip_consumers.attempt", default=None)


def make_stand_in(cls: type[Any], base_send: Any, attempt: Attempt) -> Any:
    """A stand-in for the members whose consumer is `cls`; what it sends goes to `base_send`."""
    stand_in: Any = object.__new__(_stand_in_class(cls))
    object.__setattr__(stand_in, "base_send", base_send)
    object.__setattr__(stand_in, "_grip_attempt", attempt)
    return stand_in


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


class _StandInMixin:
    _grip_permitted: frozenset[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A stand-in is no consumer of the project: its registries must not hear of it."""

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "_grip_permitted"):
            return super().__getattribute__(name)
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


_stand_in_classes: weakref.WeakKeyDictionary[type, type] = weakref.WeakKeyDictionary()


def _stand_in_class(cls: type[Any]) -> type:
    found = _stand_in_classes.get(cls)
    if found is None:
        members = {
            "_grip_permitted": permitted_names(cls) | {"base_send"},
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
        }
        metaclass: Any = type(cls)
        # Past the metaclass's own hands: a project's registry of consumers must not hear of a stand-in.
        made: Any = type.__new__(_metaclass_for(metaclass), cls.__name__, (_StandInMixin, cls), members)
        found = _stand_in_classes.setdefault(cls, made)
    return found


@functools.lru_cache(maxsize=64)
def _metaclass_for(metaclass: type) -> type:
    return type("_StandInMeta", (_StandInMeta, metaclass), {})
