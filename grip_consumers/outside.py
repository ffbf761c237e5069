"""What the code of a group handler uses beside its instance: modules, functions, classes and objects of the project.

Most of it is the same for all members. Some of it has effects that each member's own run would have had, and some
cannot be seen through.
"""

from __future__ import annotations

import builtins
import enum
import sys
import types
from collections import deque
from collections.abc import MutableMapping, MutableSequence, MutableSet
from typing import Any

from grip_consumers.analysis import is_constant
from grip_consumers.bytecode import Path
from grip_consumers.readings import Reading, cells, read

__all__ = ["Outside"]

#: Packages of which no function sends events, but for what `_DIFFERENCES` names.
_HARMLESS = frozenset({*sys.stdlib_module_names, "asgiref", "channels", "django", "grip_consumers"})
#: Parts of them through which code of the project may be called.
_NOT_SEEN_THROUGH = ("django.db", "django.dispatch", "django.template", "django.shortcuts", "django.core.cache")
#: Modules and functions that give every caller something else.
_RANDOM = frozenset({"random", "secrets", "uuid.uuid1", "uuid.uuid4", "posix.urandom", "nt.urandom"})
_UNSEEN_BUILTINS = frozenset({"__import__", "compile", "eval", "exec", "globals", "input", "locals", "open", "vars"})
_ENDINGS = frozenset({"StopConsumer", "AcceptConnection", "DenyConnection"})
_DATABASE_WRITES = frozenset(
    {
        prefix + name
        for prefix in ("", "a")
        for name in ("create", "save", "delete", "update", "get_or_create", "update_or_create", "bulk_create")
    }
)
#: Modules of objects that call nothing of a project's.
_PLAIN_OBJECTS = frozenset({"django.conf", "logging", "contextvars"})
_CONTAINERS = (MutableMapping, MutableSequence, MutableSet, deque)
_UNKNOWN = object()
_MOST_FUNCTIONS = 300


class Outside:
    """What was found so far: the first `difference` between connections, and whether all of it is `known`."""

    def __init__(self, cls: type[Any]) -> None:
        self._own = cls.__mro__
        self.difference = ""
        self.known = True
        self._seen: set[int] = set()

    def follow(self, function: types.FunctionType, reading: Reading) -> None:
        """Look at what a function uses, and the functions of the project that it calls."""
        for path in reading.outside:
            value = _resolved(path, function)
            name = ".".join(path[1:])
            self._note(_difference(name, value))
            self._look_at(value, path)
        for path in reading.calls:
            if path[-1] in _DATABASE_WRITES and _is_model(_resolved(path[:2], function)):
                self._note(f"writes to the database, by {path[1]}.…{path[-1]}(), which each connection does")
        for path in reading.changes:
            if isinstance(_resolved(path, function), _CONTAINERS):
                self._note(f"changes {'.'.join(path[1:])}, which is kept in the process")

    def _note(self, difference: str) -> None:
        self.difference = self.difference or difference

    def _look_at(self, value: Any, path: Path) -> None:
        if path[0] == "global" and path[1] in _UNSEEN_BUILTINS and value is getattr(builtins, path[1], None):
            self.known = False
        if is_harmless(value) or any(value is base for base in self._own):
            return
        if isinstance(value, types.FunctionType) and len(self._seen) < _MOST_FUNCTIONS:
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self._follow_function(value)
        else:
            self.known = False

    def _follow_function(self, function: types.FunctionType) -> None:
        reading = read(function, "")
        for target in reading.writes:
            self._note(f"writes {target}, in {function.__name__}()")
        self.follow(function, reading)


def is_harmless(value: Any) -> bool:
    """Whether nothing that is done with a value can reach other connections: it is plain, or of a known package."""
    if isinstance(value, types.ModuleType):
        return True
    if isinstance(value, type) and issubclass(value, (enum.Enum, BaseException)):
        return True
    if _is_model(value):
        return False
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return _is_of_known_package(value.__module__)
    if type(value).__module__ in _PLAIN_OBJECTS:
        return True
    return is_constant(value) or isinstance(value, _CONTAINERS)


def _is_of_known_package(module: str | None) -> bool:
    if module is None or (module + ".").startswith(tuple(f"{name}." for name in _NOT_SEEN_THROUGH)):
        return module is None
    return module.partition(".")[0] in _HARMLESS


def _is_model(value: Any) -> bool:
    """Whether a value is a class of Django's models, as the ORM itself asks: without importing it."""
    return isinstance(value, type) and any(base.__module__ == "django.db.models.base" for base in value.__mro__)


def _difference(name: str, value: Any) -> str:
    last = name.rpartition(".")[2]
    if last == "get_channel_layer":
        return f"sends through {last}(), which each connection does once"
    if last in _ENDINGS:
        return f"ends its connection, by {last}"
    module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    full = f"{module}.{getattr(value, '__name__', '')}"
    if not isinstance(value, types.ModuleType) and (module in _RANDOM or full in _RANDOM):
        return f"uses {name}, which gives each connection something else"
    return ""


def _resolved(path: Path, function: types.FunctionType) -> Any:
    """The object that a path leads to, as far as it can be told without running anything."""
    kind, name, *rest = path
    if kind == "import":
        value: Any = sys.modules.get(name, _UNKNOWN)
    elif kind == "cell":
        value = cells(function).get(name)
    else:
        value = function.__globals__.get(name, vars(builtins).get(name, _UNKNOWN))
    for attribute in rest:
        if not isinstance(value, types.ModuleType):
            # What an object has is as well known as the object.
            return None
        value = vars(value).get(attribute, _UNKNOWN)
    return value
