"""What one function does with the instance that it is given: read from its bytecode, nothing is run."""

from __future__ import annotations

import inspect
import types
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grip_consumers.bytecode import NOTHING, Machine, Path, Value

__all__ = ["Reading", "cells", "nested_code", "read"]

_SELF: Path = ("self",)
_CLASS: Path = ("type(self)",)
_SUPER: Path = ("super()",)
#: A list or tuple whose first item is the instance, on its way into a call.
_ARGUMENTS: Path = ("*self",)
_CHANNEL_NAME: Path = ("self", "channel_name")
_CALLED = "()"

_WRAPPERS = frozenset({"async_to_sync", "sync_to_async", "database_sync_to_async"})
#: Names that lead from something of the instance to the instance itself, past what is followed here.
_REFLECTION = frozenset({"__self__", "__closure__", "__getattribute__", "__reduce__", "__reduce_ex__"})
_REFLECTING_BUILTINS = frozenset({"eval", "exec", "locals"})
_CHANGES = frozenset(
    {
        *("append", "appendleft", "extend", "insert", "add", "update", "setdefault", "pop", "popleft", "popitem"),
        *("remove", "discard", "clear", "sort", "reverse", "subtract", "move_to_end", "__setitem__", "__delitem__"),
    }
)


@dataclass
class Reading:
    """What a function does. The dictionaries are ordered sets."""

    #: Attributes read from the instance, from `super()` and from its class.
    attributes: dict[str, None] = field(default_factory=dict)
    of_super: dict[str, None] = field(default_factory=dict)
    of_class: dict[str, None] = field(default_factory=dict)
    #: What is assigned to or deleted, and outlives the call: "self.count", "type(self).count", "ROOMS[…]".
    writes: dict[str, None] = field(default_factory=dict)
    #: What is done with the instance itself: "hands self to helper()".
    handed_on: dict[str, None] = field(default_factory=dict)
    #: The free variables whose functions are given the instance first, as a decorator's wrapper does.
    wrapped: dict[str, None] = field(default_factory=dict)
    #: Whether `channel_name` is compared, what is done with it beside, and whether it is only given to group_add and
    #: group_discard.
    compares_name: bool = False
    uses_name: dict[str, None] = field(default_factory=dict)
    joins_by_name: bool = False
    #: Whether something is sent with a `close` that is not visibly false.
    closes: bool = False
    #: Whether the values of a run decide if a stand-in is good enough: a `close` in a `**`, a set to look itself up in.
    left_to_the_run: bool = False
    #: Paths that begin at a global variable, a closure's cell or an import: all, those that are called, and those whose
    #: content is changed.
    outside: dict[Path, None] = field(default_factory=dict)
    calls: dict[Path, None] = field(default_factory=dict)
    changes: dict[Path, None] = field(default_factory=dict)


_readings: weakref.WeakKeyDictionary[types.FunctionType, dict[str, Reading]] = weakref.WeakKeyDictionary()


def read(function: types.FunctionType, first: str) -> Reading:
    """What `function` does when its first argument is `first`: "self", "type(self)", or "" for anything else."""
    found = _readings.get(function, {}).get(first)
    if found is None:
        found = _read(function, first)
        _readings.setdefault(function, {})[first] = found
    return found


def _read(function: types.FunctionType, first: str) -> Reading:
    variables = _initial_variables(function, first)
    followed = {name for name, content in cells(function).items() if _is_wrapped(content)}
    while True:
        reading = Reading(closes=_closes_by_default(function))
        before = dict(variables)
        for code in nested_code(function.__code__):
            _Reader(code, variables, reading, followed).run()
        if variables == before:
            reading.outside.update({("cell", name): None for name in followed - reading.wrapped.keys()})
            return reading


def _initial_variables(function: types.FunctionType, first: str) -> dict[str, Value]:
    code = function.__code__
    variables: dict[str, Value] = {name: frozenset({("cell", name)}) for name in code.co_freevars}
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    nested = list(nested_code(code))[1:]
    if "close" in names and not any("close" in inner.co_varnames for inner in nested):
        variables["close"] = frozenset({("parameter", "close")})
    if first and code.co_argcount:
        variables[code.co_varnames[0]] = frozenset({(first,)})
    elif first and code.co_flags & inspect.CO_VARARGS:
        variables[code.co_varnames[code.co_kwonlyargcount]] = frozenset({_ARGUMENTS})
    return variables


def _closes_by_default(function: types.FunctionType) -> bool:
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    by_name = {**dict(zip(names[::-1], defaults[::-1], strict=False)), **(function.__kwdefaults__ or {})}
    if by_name.get("close"):
        return True
    return any("websocket.close" in _texts(inner.co_consts) for inner in nested_code(code))


def _texts(constants: Sequence[Any]) -> Iterator[Any]:
    for constant in constants:
        if isinstance(constant, (tuple, frozenset)):
            yield from _texts(tuple(constant))
        elif isinstance(constant, str):
            yield constant


def nested_code(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of all functions, classes and comprehensions inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from nested_code(constant)


def cells(function: types.FunctionType) -> dict[str, Any]:
    """What the free variables of a function hold; None for one that is not filled yet."""
    contents = [_content(cell) for cell in function.__closure__ or ()]
    return dict(zip(function.__code__.co_freevars, contents, strict=True))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _is_wrapped(content: Any) -> bool:
    """Whether a free variable holds the function that a decorator wraps, which is read itself."""
    return isinstance(content, types.FunctionType)


class _Reader(Machine):
    def __init__(self, code: types.CodeType, variables: dict[str, Value], reading: Reading, followed: set[str]) -> None:
        super().__init__(code, variables)
        self._reading = reading
        self._followed = followed

    # Names.

    def on_global(self, name: str) -> Value:
        if name in _REFLECTING_BUILTINS:
            self._reading.handed_on[f"uses {name}()"] = None
        self._reading.outside[("global", name)] = None
        return frozenset({("global", name)})

    def on_global_write(self, name: str) -> None:
        self._reading.writes[f"the global {name}"] = None

    def on_import(self, name: str) -> Value:
        self._reading.outside[("import", name)] = None
        return frozenset({("import", name)})

    # Attributes.

    def on_attribute(self, owner: Value, name: str) -> Value:
        if name in _REFLECTION:
            self._reading.handed_on[f"uses {name}"] = None
        if _ARGUMENTS in owner:
            self.on_use(owner)
        return frozenset(path for found in owner if (path := self._attribute(found, name)))

    def _attribute(self, owner: Path, name: str) -> Path:
        if owner == _SELF and name == "__class__":
            return _CLASS
        path = (*owner, name)
        if owner == _CHANNEL_NAME:
            self._reading.uses_name[f"uses self.channel_name.{name}"] = None
        elif owner in _OF_INSTANCE:
            getattr(self._reading, _OF_INSTANCE[owner])[name] = None
        elif owner[0] in _OUTSIDE:
            self._reading.outside[path] = None
        return path if len(path) <= _LONGEST else ()

    def on_write(self, owner: Value, name: str | None) -> None:
        for path in owner:
            if path in (_SELF, _CLASS, _SUPER) and name is None:
                self.on_use(owner)
            elif path[0] in _LASTING and _CALLED not in path:
                self._reading.writes[_text(path) + ("[…]" if name is None else f".{name}")] = None

    def on_super(self, instance: Value) -> Value:
        return frozenset({_SUPER}) if instance & _BOTH else NOTHING

    # Calls.

    def on_call(self, called: Value, arguments: Sequence[Value], keywords: dict[str, Value]) -> Value:
        builtin = next((path[1] for path in called if path[0] == "global" and len(path) == 2), "")
        special = _SPECIAL.get(builtin)
        if special is not None:
            found = special(self, arguments)
            if found is not None:
                return found
        self._look_for_close(called, arguments, keywords)
        self._look_for_changes(called)
        self._look_at_arguments(called, arguments, keywords)
        if arguments and any(path[-1] in _WRAPPERS for path in called):
            return arguments[0]
        return frozenset((*path, _CALLED) for path in called if len(path) < _LONGEST)

    def on_spread_call(self, called: Value, arguments: Sequence[Value]) -> None:
        self._look_for_changes(called)
        if any(path[0] in ("self", "super()") and path[-1] in ("send", "send_json") for path in called):
            self._reading.left_to_the_run = True
        for value in arguments:
            if not (_ARGUMENTS in value and self._calls_wrapped(called)):
                self._hand_on(value, called)

    def on_sequence(self, items: Sequence[Value]) -> Value:
        rest = items
        if items and _SELF in items[0]:
            rest = items[1:]
        for item in rest:
            self.on_use(item)
        return NOTHING if rest is items else frozenset({_ARGUMENTS})

    def _calls_wrapped(self, called: Value) -> bool:
        names = [path[1] for path in called if path[0] == "cell" and len(path) == 2 and path[1] in self._followed]
        self._reading.wrapped.update(dict.fromkeys(names))
        return bool(names)

    def _look_at_arguments(self, called: Value, arguments: Sequence[Value], keywords: dict[str, Value]) -> None:
        rest = list(arguments)
        if rest and rest[0] == frozenset({_SELF}) and self._calls_wrapped(called):
            rest = rest[1:]
        if rest and not keywords and rest[-1] == frozenset({_CHANNEL_NAME}) and _joins(called):
            self._reading.joins_by_name = True
            rest = rest[:-1]
        for value in (*rest, *keywords.values()):
            self._hand_on(value, called)

    def _hand_on(self, value: Value, called: Value) -> None:
        path = min(called, default=(_CALLED,))
        to = "other code" if path[-1] == _CALLED else f"{_text(path)}()"
        how = _BY_COMPUTED_NAME.get(path[-1], "hands {} to " + to)
        for whole in value & _WHOLE:
            self._reading.handed_on[how.format(_text(whole))] = None
        if _CHANNEL_NAME in value:
            self._reading.uses_name[f"passes self.channel_name to {to}"] = None

    def _look_for_close(self, called: Value, arguments: Sequence[Value], keywords: dict[str, Value]) -> None:
        concerned = [called, *arguments]
        if called and not any(path[0] in ("self", "super()", "type(self)") for value in concerned for path in value):
            return
        flags = [keywords["close"]] if "close" in keywords else []
        for path in called:
            place = {"send": 2, "send_json": 1}.get(path[-1])
            if place is not None and len(path) == 2:
                flags += arguments[place : place + 1]
        if any(not flag or flag - _OPEN for flag in flags):
            self._reading.closes = True

    def _look_for_changes(self, called: Value) -> None:
        for path in called:
            if path[0] in _OUTSIDE:
                self._reading.calls[path] = None
            if path[-1] in _CHANGES and len(path) > 2 and _CALLED not in path:
                self._reading.changes[path[:-1]] = None

    # What is built in, and does to the instance only what its name says.

    def _call_super(self, arguments: Sequence[Value]) -> Value | None:
        return self.on_super(arguments[1]) if len(arguments) == 2 else frozenset({_SUPER})

    def _call_type(self, arguments: Sequence[Value]) -> Value | None:
        return frozenset({_CLASS}) if list(arguments) == [frozenset({_SELF})] else None

    def _call_isinstance(self, arguments: Sequence[Value]) -> Value | None:
        return NOTHING if arguments[:1] == [frozenset({_SELF})] else None

    def _call_getattr(self, arguments: Sequence[Value]) -> Value | None:
        name = _constant_text(arguments)
        return None if name is None else self.on_attribute(arguments[0], name)

    def _call_setattr(self, arguments: Sequence[Value]) -> Value | None:
        name = _constant_text(arguments)
        if name is None:
            return None
        self.on_write(arguments[0], name)
        for value in arguments[2:]:
            self.on_use(value)
        return NOTHING

    # Anything else.

    def on_compare(self, operator: str, left: Value, right: Value) -> None:
        if operator == "is" and (left == _NONE or right == _NONE):
            return
        for value, other in ((left, right), (right, left)):
            for path in value & _WHOLE:
                self._reading.handed_on[f"compares {_text(path)}"] = None
            if _CHANNEL_NAME in value:
                self._compare_name(operator, value is left, other)

    def _compare_name(self, operator: str, is_left: bool, other: Value) -> None:
        if operator in ("==", "!=") or (operator == "in" and is_left):
            self._reading.compares_name = True
            self._reading.left_to_the_run |= operator == "in"
        else:
            self._reading.uses_name["looks into self.channel_name"] = None

    def on_use(self, value: Value) -> None:
        for path in value & _WHOLE:
            self._reading.handed_on[f"hands {_text(path)} on"] = None
        if _CHANNEL_NAME in value:
            self._reading.uses_name["does more with self.channel_name than comparing it"] = None


_NONE: Value = frozenset({("const", "None")})
_OPEN: Value = frozenset({("const", "False"), ("const", "None"), ("parameter", "close")})
_BOTH: Value = frozenset({_SELF, _CLASS})
_WHOLE: Value = frozenset({_SELF, _CLASS, _SUPER, _ARGUMENTS})
_BY_COMPUTED_NAME = {
    "getattr": "reads {} by a computed name, through getattr()",
    "hasattr": "reads {} by a computed name, through hasattr()",
    "setattr": "writes to {} by a computed name, through setattr()",
    "delattr": "deletes from {} by a computed name, through delattr()",
    "vars": "reads all of {}, through vars()",
}
_OF_INSTANCE: Mapping[Path, str] = {_SELF: "attributes", _CLASS: "of_class", _SUPER: "of_super"}
_OUTSIDE = frozenset({"global", "cell", "import"})
#: What is assigned to below one of these is there when the call has ended.
_LASTING = _OUTSIDE | {"self", "type(self)", "super()"}
_LONGEST = 8
_SPECIAL = {
    "super": _Reader._call_super,
    "type": _Reader._call_type,
    "isinstance": _Reader._call_isinstance,
    "getattr": _Reader._call_getattr,
    "hasattr": _Reader._call_getattr,
    "setattr": _Reader._call_setattr,
    "delattr": _Reader._call_setattr,
}


def _constant_text(arguments: Sequence[Value]) -> str | None:
    """The name that is given to getattr and the like, if the instance is what they look at and it is no variable."""
    if len(arguments) < 2 or not arguments[0] & _WHOLE or len(arguments[1]) != 1:
        return None
    kind, text = next(iter(arguments[1]))[:2] if len(next(iter(arguments[1]))) > 1 else ("", "")
    return text[1:-1] if kind == "const" and text[:1] in "'\"" and text.strip("'\"").isidentifier() else None


def _joins(called: Value) -> bool:
    return bool(called) and all(
        path[-1] in ("group_add", "group_discard") and (path[:2] == ("self", "channel_layer") or _LAYER in path)
        for path in called
    )


_LAYER = "get_channel_layer"


def _text(path: Path) -> str:
    """A path as it is written in Python."""
    if path == _ARGUMENTS:
        return "self"
    return ".".join(path[1:] if path[0] in _OUTSIDE else path).replace(".()", "()")
