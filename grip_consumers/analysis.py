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
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from asgiref.sync import SyncToAsync

__all__ = ["assigned_names", "is_code", "is_constant", "permitted_names"]

#: What differs between the members of a group by its nature.
PER_CONNECTION = frozenset({"scope", "channel_name", "channel_layer", "channel_receive", "groups"})

#: Packages whose classes assign only what is listed in PER_CONNECTION.
_FRAMEWORKS = frozenset({"grip_consumers", "channels"})

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
    """Every name that some method of `cls` assigns to or deletes from some object; None if they cannot be known.

    They cannot when a method reaches for `setattr`, `__dict__` and the like, or hands the instance to other code, or
    when a metaclass has a hand in making instances.
    """
    if type(cls).__call__ is not type.__call__:
        return None
    names: set[str] = set()
    for function, takes_instance in _all_functions(cls):
        for code in _nested_code(function.__code__):
            for instruction in dis.get_instructions(code):
                if instruction.opname in {"STORE_ATTR", "DELETE_ATTR"}:
                    names.add(instruction.argval)
                elif instruction.argval in _REFLECTION and instruction.opname.startswith("LOAD_"):
                    return None
        if takes_instance and _instance_escapes(function):
            return None
    return frozenset(names)


_FILLERS = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL"})
_REFLECTION = frozenset(
    {"setattr", "delattr", "vars", "locals", "eval", "exec", "__dict__", "__setattr__", "__delattr__", "__self__"}
)
_READS_PAST = "__getattribute__"
#: What may follow the instance on the stack without handing it on.
_ON_INSTANCE = frozenset({"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR"})


def _reads_past_interception(cls: type[Any]) -> bool:
    for base in _own_bases(cls):
        if _READS_PAST in vars(base):
            return True
    return any(
        instruction.argval == _READS_PAST
        for function, _ in _all_functions(cls)
        for code in _nested_code(function.__code__)
        for instruction in dis.get_instructions(code)
    )


def _hands_on(cls: type[Any], name: str, value: Any) -> bool:
    """Whether the method `name`, or what it is decorated with, hands its instance to other code."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
    if owner not in _own_bases(cls) or isinstance(value, (classmethod, staticmethod)):
        return False
    return any(_instance_escapes(function) for function in _functions(value, set()))


def _instance_escapes(function: types.FunctionType) -> bool:
    name, cells = _first_argument(function), _cells(function)
    return any(_escapes(name, _instructions(code), cells) for code in _nested_code(function.__code__))


def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    return [found for found in dis.get_instructions(code) if found.opname not in _FILLERS]


def _first_argument(function: types.FunctionType) -> str:
    names = function.__code__.co_varnames
    return names[0] if names else ""


def _escapes(name: str, instructions: Sequence[dis.Instruction], cells: Mapping[str, Any]) -> bool:
    """Whether the variable `name` is used for anything but its own attributes."""
    for position, instruction in enumerate(instructions):
        loaded = _loaded(instruction)
        if name in loaded and _calls_wrapped(instructions[position - 1], cells):
            # A decorator's wrapper calls the function that it wraps, which is looked into itself.
            continue
        if name in loaded[:-1]:
            # Covered by another value on the stack: it is an operand of something.
            return True
        if not name or loaded[-1:] != (name,):
            continue
        following = instructions[position + 1].opname if position + 1 < len(instructions) else ""
        if following in _ON_INSTANCE:
            continue
        # super(Class, self), as it was written before Python 3.
        if position >= 2 and instructions[position - 2].argval == "super":
            continue
        return True
    return False


def _calls_wrapped(before: dis.Instruction, cells: Mapping[str, Any]) -> bool:
    return before.opname == "LOAD_DEREF" and isinstance(cells.get(before.argval), types.FunctionType)


def _cells(function: types.FunctionType) -> dict[str, Any]:
    contents = [_cell_content(cell) for cell in function.__closure__ or ()]
    return dict(zip(function.__code__.co_freevars, contents, strict=True))


def _loaded(instruction: dis.Instruction) -> tuple[Any, ...]:
    """The variables that an instruction puts on the stack: newer Pythons have some that load two."""
    if not instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD")):
        return ()
    names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
    return names[1:] if instruction.opname.startswith("STORE_FAST_LOAD") else names


def _own_bases(cls: type[Any]) -> list[type[Any]]:
    return [base for base in cls.__mro__[:-1] if base.__module__.partition(".")[0] not in _FRAMEWORKS]


def _all_functions(cls: type[Any]) -> Iterator[tuple[types.FunctionType, bool]]:
    """The functions in and behind the attributes of `cls`, and whether their first argument is an instance."""
    seen: set[int] = set()
    for base in _own_bases(cls):
        for value in vars(base).values():
            bound = not isinstance(value, (classmethod, staticmethod))
            for function in _functions(value, seen):
                yield function, bound


def _functions(value: Any, seen: set[int]) -> Iterator[types.FunctionType]:
    if id(value) in seen or isinstance(value, _CONSTANTS):
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        yield value
    for part in _parts(value):
        if callable(part) or hasattr(type(part), "__get__"):
            yield from _functions(part, seen)


def _parts(value: Any) -> list[Any]:
    """What a function, descriptor or decorator's object is made around."""
    names = ("fget", "fset", "fdel", "__func__", "__wrapped__", "func", "awaitable")
    parts = [getattr(value, name, None) for name in names]
    if isinstance(value, types.FunctionType):
        return [*parts, *_cells(value).values()]
    return parts + list(getattr(value, "__dict__", {}).values())


def _cell_content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # A cell that is not filled yet.
        return None


def _nested_code(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested_code(constant)
