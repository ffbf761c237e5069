"""Deliveries: whether a group handler runs once for all members of a class, or once for each of them.

A handler that cannot tell its members apart is run once, and what it sends is published: *shared*. Any other runs in
each member's own batch: *per connection*. A decorator decides, else what a run has shown, else the handler's code,
before anything of it has run. In doubt, a handler is not shared.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from grip_consumers import bytecode
from grip_consumers.analysis import (
    PER_CONNECTION,
    assignments,
    functions_behind,
    is_code,
    is_constant,
    is_framework,
    own_bases,
)
from grip_consumers.outside import Outside
from grip_consumers.readings import Reading, read

__all__ = ["Delivery", "delivery", "group_handlers", "learn", "may_have_mail", "per_connection", "shared"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "_grip_delivery"


@dataclass(frozen=True)
class Delivery:
    """How the events for one handler reach the members of one class, and why.

    `certain` says that a run cannot change it: nothing that the code may do would end a run on a stand-in.
    """

    shared: bool
    reason: str
    certain: bool
    #: It is shared because a decorator says so, whatever the code looks like.
    forced: bool = False


# Decorators ---------------------------------------------------------------------------------------------------


def shared(function: F) -> F:
    """Decorate a group handler to be run once for all members, whatever its code looks like.

    Attributes of the class are then read as they stand on the class. A read of what only an instance has still
    fails, with PerConnectionHandler, where the event is sent.
    """
    return _marked(function, True)


def per_connection(function: F) -> F:
    """Decorate a group handler to be run once for each member, whatever its code looks like."""
    return _marked(function, False)


def _marked(function: F, value: bool) -> F:
    try:
        setattr(function, _MARK, value)
    except AttributeError:
        name = "shared" if value else "per_connection"
        raise TypeError(
            f"@{name} needs a function or method, whose attributes it can set; it was given {function!r}. "
            f"Put it closer to the function."
        ) from None
    return function


def _mark_of(value: Any) -> bool | None:
    """What a decorator has said of an attribute of a class, under whatever wraps it."""
    while value is not None:
        # Not those of its class: an object that makes up attributes is no function.
        mark = getattr(value, "__dict__", {}).get(_MARK)
        if isinstance(mark, bool):
            return mark
        names = ("__wrapped__", "__func__", "func", "fget")
        held = [name for name in names if inspect.getattr_static(value, name, None) is not None]
        value = getattr(value, held[0]) if held else None
    return None


# What is decided ----------------------------------------------------------------------------------------------

_lock = threading.Lock()
_learned: weakref.WeakKeyDictionary[type[Any], dict[str, str]] = weakref.WeakKeyDictionary()
_mail: weakref.WeakKeyDictionary[type[Any], bool] = weakref.WeakKeyDictionary()
_read: weakref.WeakKeyDictionary[type[Any], dict[str, Delivery]] = weakref.WeakKeyDictionary()


def learn(cls: type[Any], handler: str, reason: str) -> None:
    """Remember for this process that a run of the handler has shown that it must be per connection, and why."""
    with _lock:
        _learned.setdefault(cls, {}).setdefault(handler, reason)
        _mail[cls] = True


def delivery(cls: type[Any], handler: str) -> Delivery:
    """How events for the method `handler` reach the members whose consumer is `cls`."""
    with _lock:
        known = _read.get(cls, {}).get(handler)
        learned = _learned.get(cls, {}).get(handler)
    if known is None:
        known = _decide(cls, handler)
        with _lock:
            _read.setdefault(cls, {})[handler] = known
    if learned is not None and known.shared and not known.forced:
        return Delivery(False, learned, certain=True)
    return known


_SAME_FOR_ALL = "reads nothing that differs between connections"
_UNREAD = "the code of Python {0.major}.{0.minor} cannot be read by this release: mark it @shared if it is"
_MARKED_SHARED = "marked @shared"
_MARKED_PER_CONNECTION = "marked @per_connection"


def _decide(cls: type[Any], handler: str) -> Delivery:
    mark = _mark_of(inspect.getattr_static(cls, handler, None))
    if mark is not None:
        return Delivery(mark, _MARKED_SHARED if mark else _MARKED_PER_CONNECTION, certain=not mark, forced=mark)
    if not bytecode.is_known():
        return Delivery(False, _UNREAD.format(sys.version_info), certain=True)
    judge = _Judge(cls)
    try:
        judge.follow_event(handler)
    except _Differs as difference:
        return Delivery(False, str(difference), certain=True)
    if judge.compares_name:
        reason = "compares channel_name: the named connection is served on its own"
        return Delivery(True, reason, judge.certain)
    return Delivery(True, _SAME_FOR_ALL, judge.certain)


# The code ------------------------------------------------------------------------------------------------------


class _Differs(Exception):  # noqa: N818  # not an error: an answer
    """What makes a handler one for each connection."""


#: Names on the way of every event, whose framework's version does nothing but lead to the handler.
_ON_THE_WAY = ("__call__", "dispatch")
_ALWAYS_THE_SAME = frozenset({"base_send", "__name__", "__qualname__", "__module__", "__doc__", "__mro__"})
_ENDS = {"close": "closes its connection", "accept": "accepts its connection"}


class _Judge:
    """Goes through all that a handler does with its instance. Raises _Differs at what may not be the same for all."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.compares_name = False
        self._outside = Outside(cls)
        self._assignments = assignments(cls)
        self._seen: set[tuple[int, str]] = set()
        self._left_to_the_run = False
        #: The methods that are being followed, from the handler to what it calls.
        self._inside: list[str] = []

    @property
    def certain(self) -> bool:
        """Whether nothing that was seen could still end a run on a stand-in."""
        return not self._left_to_the_run and self._outside.known

    def follow_event(self, handler: str) -> None:
        """All that happens on an event: what dispatches it, if that is the project's, and the handler."""
        if any("__getattribute__" in vars(base) for base in own_bases(self.cls)):
            raise _Differs("its class has its own __getattribute__()")
        owner, value = self._found("dispatch", self.cls.__mro__)
        if owner is not None and not is_framework(owner):
            self._follow("dispatch", owner, value)
        owner, value = self._found(handler, self.cls.__mro__)
        if owner is None or not is_code(value):
            raise _Differs("is no method" if owner is None else f"is {_article(value)}, not a method")
        self._read_attribute(handler)

    # Attributes.

    def _found(self, name: str, mro: tuple[type[Any], ...]) -> tuple[type[Any] | None, Any]:
        return next(((base, vars(base)[name]) for base in mro if name in vars(base)), (None, None))

    def _read_attribute(self, name: str) -> None:
        """What is read from the instance."""
        if name in _ALWAYS_THE_SAME or name == "channel_name":
            return
        owner, value = self._found(name, self.cls.__mro__)
        if owner is None or name in PER_CONNECTION or (name.startswith("__") and name not in _ON_THE_WAY):
            raise self._differs(f"reads self.{name}")
        if name in _ENDS:
            raise self._differs(_ENDS[name])
        if name in _ON_THE_WAY:
            raise self._differs(f"calls self.{name}()")
        self._check_assigned(name, value)
        if is_code(value):
            self._follow(name, owner, value)
        elif not is_constant(value):
            raise self._differs(f"reads self.{name}, {_kind(value)}")

    def _check_assigned(self, name: str, value: Any) -> None:
        method = self._assignments.methods.get(name)
        if method is not None:
            raise self._differs(f"reads self.{name}, which {method}() assigns")
        if self._assignments.doubt and not is_code(value):
            raise self._differs(f"reads self.{name}, which {self._assignments.doubt}")

    def _read_class_attribute(self, name: str, mro: tuple[type[Any], ...], shown: str) -> None:
        """What is read from the class, or by super(): no instance has its own."""
        owner, value = self._found(name, mro)
        if owner is None or name in _ALWAYS_THE_SAME:
            return
        if is_code(value):
            if name in _ENDS:
                raise self._differs(_ENDS[name])
            if not (is_framework(owner) and name in _ON_THE_WAY):
                self._follow(name, owner, value)
        elif not is_constant(value):
            raise self._differs(f"reads {shown}.{name}, {_kind(value)}")

    # Code.

    def _follow(self, name: str, owner: type[Any], value: Any) -> None:
        mark = _mark_of(value)
        if mark is not None:
            if not mark:
                raise self._differs(f"calls {name}(), which is {_MARKED_PER_CONNECTION}")
            return
        functions = functions_behind(value)
        if not functions:
            raise self._differs(f"calls {name}(), whose code cannot be read")
        self._inside.append(name)
        for function in functions:
            self._follow_function(function, name, owner, _first_argument(value))
        self._inside.pop()

    def _differs(self, what: str) -> _Differs:
        elsewhere = self._inside[-1:] != self._inside[:1]
        return _Differs(f"{what}, in {self._inside[-1]}()" if elsewhere else what)

    def _follow_function(self, function: types.FunctionType, name: str, owner: type[Any], first: str) -> None:
        if (id(function), first) in self._seen:
            return
        self._seen.add((id(function), first))
        reading = read(function, first)
        self._check_reading(reading)
        if not is_framework(owner):
            self._outside.follow(function, reading)
        if self._outside.difference:
            raise self._differs(self._outside.difference)
        # The frameworks' own send() closes for those who ask it to: they are looked at where they ask.
        sends = is_framework(owner) and name == "send"
        for attribute in reading.attributes:
            if not (sends and attribute == "close"):
                self._read_attribute(attribute)
        for attribute in reading.of_class:
            self._read_class_attribute(attribute, self.cls.__mro__, "type(self)")
        mro = self.cls.__mro__
        for attribute in reading.of_super:
            self._read_class_attribute(attribute, mro[mro.index(owner) + 1 :], "super()")

    def _check_reading(self, reading: Reading) -> None:
        if reading.closes:
            raise self._differs(_ENDS["close"])
        for target in reading.writes:
            raise self._differs(f"writes {target}")
        for what in (*reading.handed_on, *reading.uses_name):
            raise self._differs(what)
        self.compares_name = self.compares_name or reading.compares_name
        self._left_to_the_run = self._left_to_the_run or reading.left_to_the_run


def _first_argument(value: Any) -> str:
    if isinstance(value, staticmethod):
        return ""
    return "type(self)" if isinstance(value, classmethod) else "self"


def _kind(value: Any) -> str:
    if hasattr(type(value), "__get__"):
        return f"{_article(value)}, which may keep a value on the instance"
    return f"{_article(value)}, which may change"


def _article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


# Mail -----------------------------------------------------------------------------------------------------------


def may_have_mail(cls: type[Any]) -> bool:
    """Whether anybody may leave mail for connections of this class while they talk.

    Nobody does if all of its group handlers are certain to be shared, and it gives its `channel_name` to nobody.
    """
    # Without the lock, as this is asked in each batch: two that find nothing find out the same.
    known = _mail.get(cls)
    if known is None:
        known = (
            not bytecode.is_known()
            or _gives_its_name(cls)
            or not all(_needs_no_mail(cls, name) for name in _nameable(cls))
        )
        with _lock:
            # A run may have shown something meanwhile.
            known = _mail.setdefault(cls, known)
    return known


def _needs_no_mail(cls: type[Any], handler: str) -> bool:
    found = delivery(cls, handler)
    return found.shared and found.certain and found.reason == _SAME_FOR_ALL


def _gives_its_name(cls: type[Any]) -> bool:
    for base in own_bases(cls):
        for value in vars(base).values():
            for function in functions_behind(value):
                reading = read(function, _first_argument(value))
                if reading.handed_on or reading.uses_name:
                    return True
    return False


# Group handlers ----------------------------------------------------------------------------------------------------


def group_handlers(cls: type[Any]) -> list[str]:
    """The methods of `cls` that look like handlers of group events, sorted.

    Public methods of the project's own classes that can be called with one event, and override nothing of a
    framework's.
    """
    return sorted(name for name in _nameable(cls) if not isinstance(inspect.getattr_static(cls, name), classmethod))


def _nameable(cls: type[Any]) -> list[str]:
    """The methods that an event's type can name and an event can be given to, but for what overrides a framework's."""
    taken = {name for base in cls.__mro__[:-1] if is_framework(base) for name in vars(base)} | _OF_FRAMEWORKS
    names = {name: None for base in own_bases(cls) for name in vars(base) if not name.startswith("_")}
    return [name for name in names if name not in taken and _takes_an_event(inspect.getattr_static(cls, name))]


#: Of consumers that are not generic ones, and of other frameworks' methods of the same purpose.
_OF_FRAMEWORKS = frozenset(
    {
        *("accept", "close", "connect", "decode_json", "disconnect", "dispatch", "encode_json", "http_disconnect"),
        *("http_request", "receive", "receive_json", "send", "send_json", "websocket_connect", "websocket_disconnect"),
        *("websocket_receive", "as_asgi"),
    }
)


def _takes_an_event(value: Any) -> bool:
    if not is_code(value) or isinstance(value, property):
        return False
    before: tuple[Any, ...] = () if isinstance(value, staticmethod) else (None,)
    named: dict[str, Any] = {}
    if isinstance(value, functools.partialmethod):
        before, named = (*before, *value.args), value.keywords
    functions = functions_behind(value)
    if not functions:
        return False
    try:
        inspect.signature(functions[0]).bind(*before, None, **named)
    except (TypeError, ValueError):
        return False
    return True
