"""Functions and lambdas written inside a function, such as the factory in `defaultdict(lambda: defaultdict(set))`.

No import finds one, but its code is a constant of the function around it. One that takes nothing from there (it has no
closure) and has no default values is that code and nothing else: it is named by where it stands, and made again of what
stands there. A digest of the code tells when a deploy has changed it.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from .table import CannotEncode, dotted, import_dotted

__all__ = ["read_function", "write_function"]

_LOCALS = ".<locals>."


def write_function(function: Any) -> str | list[Any]:
    """`module:name`, or what `read_function` finds a local function by. Raises CannotEncode."""
    try:
        return dotted(function)
    except CannotEncode:
        if type(function) is not types.FunctionType or (found := _described(function)) is None:
            raise
        return found


def read_function(written: str | list[Any]) -> Any:
    """What `write_function` wrote. Raises ImportError, AttributeError or ValueError when it is gone or another."""
    if isinstance(written, str):
        return import_dotted(written)
    module, qualified, number, digest = written
    outer, codes = _candidates(module, qualified)
    found = next((code for index, code in enumerate(codes) if index == number), None)
    if found is None or _digest(found) != digest:
        raise ValueError(f"{module}:{qualified} is not what it was when the state was stored")
    function = types.FunctionType(found, outer.__globals__, found.co_name)
    function.__qualname__ = qualified
    return function


def _described(function: types.FunctionType) -> list[Any] | None:
    if function.__closure__ or function.__defaults__ or function.__kwdefaults__ or vars(function):
        return None
    module, qualified = function.__module__, function.__qualname__
    try:
        outer, codes = _candidates(module, qualified)
    except (ImportError, AttributeError, ValueError):
        return None
    if outer.__globals__ is not function.__globals__:
        return None
    # Equal ones, as in a line that says the same twice, are interchangeable.
    number = next((index for index, code in enumerate(codes) if code == function.__code__), None)
    return None if number is None else [module, qualified, number, _digest(function.__code__)]


def _candidates(module: str, qualified: str) -> tuple[Any, Iterator[types.CodeType]]:
    """The importable function that all is written in, and the codes of that name in it, in their order."""
    outermost, *inner = qualified.split(_LOCALS)
    if not inner:
        raise ValueError(f"{module}:{qualified} is no local function")
    outer: Callable[..., Any] = inspect.unwrap(import_dotted(f"{module}:{outermost}"))
    if not isinstance(outer, types.FunctionType):
        raise ValueError(f"{module}:{outermost} is no function")
    codes = iter([outer.__code__])
    for name in inner:
        codes = _within(codes, name)
    return outer, codes


def _within(codes: Iterator[types.CodeType], name: str) -> Iterator[types.CodeType]:
    for code in codes:
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType) and constant.co_name == name:
                yield constant


def _digest(code: types.CodeType) -> bytes:
    return hashlib.sha256(repr(_content(code)).encode()).digest()[:8]


def _content(code: types.CodeType) -> list[Any]:
    """What a code does, without where it stands."""
    constants = [_content(item) if isinstance(item, types.CodeType) else item for item in code.co_consts]
    # A frozen set of constants has an order that changes from process to process.
    constants = [sorted(map(repr, item)) if isinstance(item, frozenset) else item for item in constants]
    return [code.co_code, code.co_names, code.co_varnames, code.co_argcount, code.co_flags, constants]
