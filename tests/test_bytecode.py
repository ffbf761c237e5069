"""The machine that goes through bytecode: it moves values as the interpreter does."""

from __future__ import annotations

import argparse
import asyncio.base_events
import contextlib
import dataclasses
import dis
import inspect
import tarfile
import types
import typing
import unittest.mock

import pytest

from grip_consumers import bytecode
from grip_consumers.bytecode import NOTHING, Machine


def _codes(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


class _Weighed(Machine):
    """A machine that compares each step's effect with what the interpreter says of it."""

    def __init__(self, *args):
        super().__init__(*args)
        self.wrong = []

    def _step(self, found):
        self._stack = [NOTHING] * 20 + self._stack
        height = len(self._stack)
        super()._step(found)
        effect = len(self._stack) - height
        if effect != _expected(found):
            self.wrong.append((found.opname, found.arg, effect, _expected(found)))
        del self._stack[:20]


def _expected(found):
    # Python 3.11 says of half of a call what the other half does.
    if found.opname == "PRECALL":
        return 0
    if found.opname == "CALL":
        return -1 - found.arg
    return dis.stack_effect(found.opcode, found.arg, jump=False)


MODULES = [argparse, asyncio.base_events, contextlib, dataclasses, inspect, tarfile, typing, unittest.mock]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_instruction_takes_and_leaves_as_many_values_as_the_interpreter_says(module):
    code = compile(inspect.getsource(module), module.__name__, "exec")
    machines = [_Weighed(found, {}) for found in _codes(code)]
    for machine in machines:
        machine.run()
    assert [wrong for machine in machines for wrong in machine.wrong] == []


class _Recording(Machine):
    def __init__(self, *args):
        super().__init__(*args)
        self.events = []

    def on_attribute(self, owner, name):
        return frozenset((*path, name) for path in owner)

    def on_global(self, name):
        return frozenset({("global", name)})

    def on_call(self, called, arguments, keywords):
        self.events.append(("call", called, list(arguments), keywords))
        return NOTHING

    def on_compare(self, operator, left, right):
        self.events.append((operator, left, right))

    def on_write(self, owner, name):
        self.events.append(("write", owner, name))

    def on_use(self, value):
        if value & A:
            self.events.append(("use", value))


A = frozenset({("a",)})


def _events(function):
    """What a function does with what it calls `a`."""
    variables = {"a": A}
    while True:
        before, events = dict(variables), []
        for code in _codes(function.__code__):
            machine = _Recording(code, variables)
            machine.run()
            events += machine.events
        if before == variables:
            return events


def _of(*path):
    return frozenset({path})


def test_calls_are_told_with_their_arguments_by_place_and_by_name():
    def function(a, b):
        a.method(a.x, b, name=a.y)

    called = ("call", _of("a", "method"), [_of("a", "x"), NOTHING], {"name": _of("a", "y")})
    assert _events(function) == [called]


def test_a_value_keeps_its_path_through_variables_conditions_and_awaits():
    async def function(a, b):
        x = a.x
        y = a.y if b else x
        print(y, await b, a.z)

    assert _events(function)[-1] == (
        "call",
        _of("global", "print"),
        [_of("a", "x") | _of("a", "y"), NOTHING, _of("a", "z")],
        {},
    )


@pytest.mark.parametrize("renamed", ["LOAD_", "STORE_", "CALL"])
def test_an_instruction_that_is_not_known_uses_what_it_may_have_to_do_with(renamed, monkeypatch):
    def function(a, b):
        x = a
        b(x.y, x)

    known = dis.get_instructions

    def instructions(code):
        for found in known(code):
            new = found.opname.startswith(renamed)
            yield found._replace(opname=f"{found.opname}_ANEW") if new else found

    monkeypatch.setattr(dis, "get_instructions", instructions)
    assert ("use", A) in _events(function)


def test_borrowed_variables_of_python_3_14_are_read_like_others(monkeypatch):
    def function(a, b):
        b(a.x, a)

    expected, known = _events(function), dis.get_instructions

    def instructions(code):
        return [found._replace(opname=found.opname.replace("LOAD_FAST", "LOAD_FAST_BORROW")) for found in known(code)]

    monkeypatch.setattr(dis, "get_instructions", instructions)
    assert _events(function) == expected


def test_comparisons_are_told_with_both_sides():
    def function(a, b):
        return a.x == b, b != a.y, a.z in b, a.u is None, a.v < b

    assert [event for event in _events(function) if event[0] != "use"] == [
        ("==", _of("a", "x"), NOTHING),
        ("!=", NOTHING, _of("a", "y")),
        ("in", _of("a", "z"), NOTHING),
        ("is", _of("a", "u"), _of("const", "None")),
        ("<", _of("a", "v"), NOTHING),
    ]


def test_writes_are_told_with_their_owner():
    def function(a, b):
        a.x = 1
        a.y += 1
        del a.z
        a["key"] = b
        del a.items[b]
        for a.each in b:
            pass

    assert [event[1:] for event in _events(function)] == [
        (A, "x"),
        (A, "y"),
        (A, "z"),
        (A, None),
        (_of("a", "items"), None),
        (A, "each"),
    ]


def _returned(a):
    return a


def _yielded(a):
    yield a


def _in_a_list(a):
    return [a]


def _in_a_dictionary(a):
    return {"a": a}


def _in_a_string(a):
    return f"{a} {a!r} {a:>{a}}"


def _iterated(a):
    for _ in a:
        pass


def _unpacked(a):
    _, _ = a


def _indexed(a):
    return a[0]


def _raised(a):
    raise a


def _entered(a):
    with a:
        pass


def _awaited(a):
    async def inner():
        async with a:
            pass

    return inner


def _inside(a):
    return lambda: [a for _ in ""]


def _by_default(a):
    def inner(b=a):
        pass

    return inner


def _matched(a):
    match a:
        case {"x": x}:
            return x
        case [y, *_]:
            return y


USES = [value for name, value in list(globals().items()) if isinstance(value, types.FunctionType) and name[:2] != "__"]
USES = USES[USES.index(_returned) :]


@pytest.mark.parametrize("function", USES, ids=lambda function: function.__name__)
def test_what_is_not_followed_is_a_use(function):
    assert ("use", A) in _events(function)


def test_an_unknown_instruction_uses_all_in_reach(monkeypatch):
    def function(a):
        print(a, -1 * a.x)

    monkeypatch.setattr(
        bytecode, "_USES", {name: count for name, count in bytecode._USES.items() if "BINARY" not in name}
    )
    assert ("use", A) in _events(function)
