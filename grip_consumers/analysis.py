"""What the code of a consumer class shows about its instances: which names can be assigned to, and which cannot.

Read from the bytecode of the methods, with everything that wraps them. Where the code leaves a doubt, so does the
answer: a name is only called constant if nothing that could be seen, or could not be, assigns to it.
"""

from __future__ import annotations

import datetime
import decimal
import dis
import enum
import functools
import inspect
import logging
import re
import types
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import SyncToAsync

from grip_consumers.readings import cells, nested_code, read

__all__ = [
    "FRAMEWORKS",
    "PER_CONNECTION",
    "Assignments",
    "assigned_names",
    "assignments",
    "functions_behind",
    "is_code",
    "is_constant",
    "is_framework",
    "own_bases",
    "permitted_names",
]

#: What differs between the members of a group by its nature.
PER_CONNECTION = frozenset({"scope", "channel_name", "channel_layer", "channel_receive", "groups"})

#: Packages whose classes assign only what is listed in PER_CONNECTION.
FRAMEWORKS = frozenset({"grip_consumers", "channels"})

_CONSTANTS = (
    *(str, bytes, int, float, complex, bool, type(None), frozenset),
    *(decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, uuid.UUID, re.Pattern),
    *(enum.Enum, types.ModuleType, type, logging.Logger),
)
_CODE = (types.FunctionType, classmethod, staticmethod, property, functools.partialmethod, SyncToAsync)


def permitted_names(cls: type[Any]) -> frozenset[str]:
    """The attributes of `cls` that are the same for all of its instances, as far as its code shows.

    A method that hands its instance to other code is not among them: what comes of that cannot be seen.
    """
    if _reads_past_interception(cls):
        return frozenset()
    assigned = assigned_names(cls)
    names = set()
    for name in dir(cls):
        if name in PER_CONNECTION or (name.startswith("__") and name.endswith("__")):
            continue
        value = inspect.getattr_static(cls, name)
        if is_code(value):
            # Nobody replaces a method where no name of its kind is assigned; where any may be, trust that nobody does.
            if (assigned is None or name not in assigned) and not _hands_on(cls, name, value):
                names.add(name)
        elif assigned is not None and name not in assigned and is_constant(value):
            names.add(name)
    return frozenset(names)


def is_code(value: Any) -> bool:
    """Whether a class attribute is a method or property of a kind that keeps nothing on the instance."""
    return isinstance(value, _CODE)


def is_constant(value: Any) -> bool:
    """Whether a class attribute is a value that nobody can change in place."""
    if isinstance(value, tuple):
        return all(is_constant(item) for item in value)
    return isinstance(value, _CONSTANTS)


def assigned_names(cls: type[Any]) -> frozenset[str] | None:
    """Every name that some method of `cls` assigns to or deletes from some object; None if they cannot be known."""
    found = assignments(cls)
    return None if found.doubt else frozenset(found.methods)


@dataclass
class Assignments:
    """Which attributes are assigned to by which method; `doubt` says why there may be others, if so."""

    methods: dict[str, str] = field(default_factory=dict)
    doubt: str = ""


def assignments(cls: type[Any]) -> Assignments:
    """Every name that some method of `cls` assigns to or deletes from some object, and the method.

    There is a doubt when a method reaches for `setattr`, `__dict__` and the like, or hands the instance to other
    code, or when a metaclass has a hand in making instances.
    """
    found = Assignments()
    if type(cls).__call__ is not type.__call__:
        found.doubt = f"{type(cls).__name__}.__call__() may assign"
    for function, method, takes_instance in _all_functions(cls):
        for code in nested_code(function.__code__):
            for instruction in dis.get_instructions(code):
                if instruction.opname in {"STORE_ATTR", "DELETE_ATTR"}:
                    found.methods.setdefault(instruction.argval, method)
                elif instruction.argval in _REFLECTION and instruction.opname.startswith("LOAD_"):
                    found.doubt = found.doubt or f"{method}() may assign, for it uses {instruction.argval}"
        handed_on = read(function, "self").handed_on if takes_instance else {}
        if handed_on and not found.doubt:
            found.doubt = f"{method}() may have changed, for it {next(iter(handed_on))}"
    return found


_REFLECTION = frozenset(
    {"setattr", "delattr", "vars", "locals", "eval", "exec", "__dict__", "__setattr__", "__delattr__", "__self__"}
)
_READS_PAST = "__getattribute__"


def _reads_past_interception(cls: type[Any]) -> bool:
    for base in own_bases(cls):
        if _READS_PAST in vars(base):
            return True
    return any(
        instruction.argval == _READS_PAST
        for function, _, _ in _all_functions(cls)
        for code in nested_code(function.__code__)
        for instruction in dis.get_instructions(code)
    )


def _hands_on(cls: type[Any], name: str, value: Any) -> bool:
    """Whether the method `name`, or what it is decorated with, hands its instance to other code."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    if owner not in own_bases(cls) or isinstance(value, (classmethod, staticmethod)):
        return False
    return any(read(function, "self").handed_on for function in functions_behind(value))


def own_bases(cls: type[Any]) -> list[type[Any]]:
    """The classes of `cls` that belong to the project and its libraries, not to a framework."""
    return [base for base in cls.__mro__[:-1] if not is_framework(base)]


def is_framework(base: type[Any]) -> bool:
    """Whether a class is one of the library's or of Channels'."""
    return base.__module__.partition(".")[0] in FRAMEWORKS


def _all_functions(cls: type[Any]) -> Iterator[tuple[types.FunctionType, str, bool]]:
    """The functions in and behind the attributes of `cls`, which these are, and whether they are given an instance."""
    seen: set[int] = set()
    for base in own_bases(cls):
        for name, value in vars(base).items():
            bound = not isinstance(value, (classmethod, staticmethod))
            for function in _functions(value, seen):
                yield function, name, bound


def functions_behind(value: Any) -> list[types.FunctionType]:
    """The functions that a method, property or decorator's object is made of."""
    return list(_functions(value, set()))


def _functions(value: Any, seen: set[int]) -> Iterator[types.FunctionType]:
    if id(value) in seen or isinstance(value, _CONSTANTS):
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        yield value
    for part in _parts(value):
        if callable(part) or hasattr(type(part), "__get__"):
            yield from _functions(part, seen)


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


def _parts(value: Any) -> list[Any]:
    """What a function, descriptor or decorator's object is made around."""
    names = ("fget", "fset", "fdel", "__func__", "__wrapped__", "func", "awaitable")
    # Not what an object makes up when it is asked, as mocks do without end.
    parts = [getattr(value, name) for name in names if inspect.getattr_static(value, name, None) is not None]
    if isinstance(value, types.FunctionType):
        wrapped = read(value, "self").wrapped
        # A function that is not given the instance is not one of its methods.
        return [*parts, *(cell for name, cell in cells(value).items() if name in wrapped or not _is_function(cell))]
    return parts + list(getattr(value, "__dict__", {}).values())
