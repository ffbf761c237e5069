"""A machine that goes through the bytecode of a function without running it, with paths in the place of values.

A path says where a value has come from: `("self", "room")` is the attribute `room` of the instance. What a value is
used for is told to the methods of a subclass. An instruction that is not known uses every value in reach, and every
variable that it names: what cannot be followed counts as handed on, so new ones make for more doubt, not for wrong
answers. That a new Python gives a known one another meaning cannot be seen here: on one whose instructions nobody has
looked at (`is_known`) nothing is taken from code.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Sequence
from typing import Any

__all__ = ["NOTHING", "Machine", "Path", "Value", "is_known"]

#: The first Python whose instructions may mean something else than is said here.
_UNKNOWN = (3, 14)

Path = tuple[str, ...]
#: All that a value may be; the empty set for what is of no interest.
Value = frozenset[Path]

NOTHING: Value = frozenset()
_NONE: Value = frozenset({("const", "None")})

_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})


def is_known() -> bool:
    """Whether the instructions of this Python are those that `Machine` follows."""
    return sys.version_info < _UNKNOWN


def _table(text: str) -> dict[str, int]:
    rows = [line.split(":") for line in text.strip().splitlines()]
    return {name: int(count) for count, names in rows for name in names.split()}


#: How many values an instruction uses; what it leaves in their place follows from its effect on the stack.
_USES = _table("""
0: CACHE COPY_FREE_VARS DELETE_DEREF DELETE_FAST EXTENDED_ARG GEN_START MAKE_CELL NOP POP_BLOCK RESUME RETURN_CONST
0: RETURN_GENERATOR LOAD_ASSERTION_ERROR LOAD_BUILD_CLASS LOAD_CLOSURE LOAD_LOCALS PUSH_NULL SETUP_FINALLY END_FOR
0: WITH_EXCEPT_START PUSH_EXC_INFO POP_EXCEPT FOR_ITER SEND CLEANUP_THROW ASYNC_GEN_WRAP RERAISE
0: JUMP_FORWARD JUMP_ABSOLUTE JUMP_BACKWARD JUMP_BACKWARD_NO_INTERRUPT
0: LOAD_SMALL_INT LOAD_COMMON_CONSTANT NOT_TAKEN POP_ITER
1: GET_ITER GET_YIELD_FROM_ITER GET_AITER TO_BOOL FORMAT_SIMPLE CONVERT_VALUE LIST_APPEND SET_ADD LIST_EXTEND
1: SET_UPDATE DICT_UPDATE DICT_MERGE YIELD_VALUE RETURN_VALUE UNPACK_SEQUENCE UNPACK_EX STORE_NAME
1: UNARY_INVERT UNARY_NEGATIVE UNARY_NOT UNARY_POSITIVE JUMP_IF_FALSE_OR_POP JUMP_IF_TRUE_OR_POP
1: POP_JUMP_IF_FALSE POP_JUMP_FORWARD_IF_FALSE POP_JUMP_BACKWARD_IF_FALSE
1: POP_JUMP_IF_TRUE POP_JUMP_FORWARD_IF_TRUE POP_JUMP_BACKWARD_IF_TRUE
1: BEFORE_WITH BEFORE_ASYNC_WITH SETUP_WITH LOAD_SPECIAL
2: BINARY_OP BINARY_SUBSCR FORMAT_WITH_SPEC MAP_ADD CALL_INTRINSIC_2 JUMP_IF_NOT_EXC_MATCH
2: BINARY_ADD BINARY_AND BINARY_FLOOR_DIVIDE BINARY_LSHIFT BINARY_MATRIX_MULTIPLY BINARY_MODULO BINARY_MULTIPLY
2: BINARY_OR BINARY_POWER BINARY_RSHIFT BINARY_SUBTRACT BINARY_TRUE_DIVIDE BINARY_XOR
2: INPLACE_ADD INPLACE_AND INPLACE_FLOOR_DIVIDE INPLACE_LSHIFT INPLACE_MATRIX_MULTIPLY INPLACE_MODULO
2: INPLACE_MULTIPLY INPLACE_OR INPLACE_POWER INPLACE_RSHIFT INPLACE_SUBTRACT INPLACE_TRUE_DIVIDE INPLACE_XOR
3: BINARY_SLICE MATCH_CLASS
4: STORE_SLICE
""")
#: The same for those that use as many as their argument says.
_USES_ITS_ARGUMENT = frozenset({"BUILD_SET", "BUILD_STRING", "BUILD_SLICE", "RAISE_VARARGS"})
#: Arguments of FORMAT_VALUE and CALL_INTRINSIC_1.
_WITH_FORMAT = 4
_LIST_TO_TUPLE = 6
#: Behind these, the next instruction is only reached by a jump, or by an exception.
_ENDS = frozenset(
    {
        *("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"),
        *("JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"),
    }
)


class Machine:
    """Goes through the code of one function; those inside of it, which share `variables`, are other machines' work.

    Without regard to the order of assignments: a variable may be all that is ever assigned to it. Whoever runs
    machines does so until `variables` grow no more.
    """

    def __init__(self, code: types.CodeType, variables: dict[str, Value]) -> None:
        self.code = code
        self.variables = variables
        self._cells = {*code.co_cellvars, *code.co_freevars}
        self._stack: list[Value] = []
        self._keywords: tuple[str, ...] = ()
        self._constant: Any = None

    # What happens to values: for subclasses.

    def on_attribute(self, owner: Value, name: str) -> Value:
        """`owner.name` is read."""
        return NOTHING

    def on_write(self, owner: Value, name: str | None) -> None:
        """`owner.name`, or an item of `owner` if the name is None, is assigned to or deleted."""

    def on_super(self, instance: Value) -> Value:
        """`super()` is called, or `super(…, instance)`."""
        return NOTHING

    def on_call(self, called: Value, arguments: Sequence[Value], keywords: dict[str, Value]) -> Value:
        """A function is called with positional and keyword arguments."""
        return NOTHING

    def on_spread_call(self, called: Value, arguments: Sequence[Value]) -> None:
        """A function is called with `*` or `**`: the sequence, and the mapping if there is one."""

    def on_compare(self, operator: str, left: Value, right: Value) -> None:
        """Values are compared: `operator` is that of Python, `not in` and `is not` without the `not`."""

    def on_global(self, name: str) -> Value:
        """A global variable or builtin is read."""
        return NOTHING

    def on_global_write(self, name: str) -> None:
        """A global variable is assigned to or deleted."""

    def on_import(self, name: str) -> Value:
        """A module is imported."""
        return NOTHING

    def on_sequence(self, items: Sequence[Value]) -> Value:
        """A list or tuple is made."""
        for item in items:
            self.on_use(item)
        return NOTHING

    def on_use(self, value: Value) -> None:
        """Anything else."""

    # The machine.

    def run(self) -> None:
        """Go through the code once, from its beginning to its end."""
        arriving: dict[int, list[Value]] = {}
        stack: list[Value] | None = []
        for found in dis.get_instructions(self.code):
            # An exception's handler: below what it is given lies nothing that its function has not used itself.
            self._stack = _merged(stack or [], arriving.get(found.offset, []))
            before = list(self._stack)
            self._step(found)
            if found.opcode in _JUMPS:
                target = arriving.get(found.argval, [])
                arriving[found.argval] = _merged(target, _shifted(before, _effect(found, jump=True)))
            stack = None if found.opname in _ENDS else self._stack

    def _step(self, found: dis.Instruction) -> None:
        name = found.opname
        special = getattr(self, f"_op_{name.lower()}", None)
        if special is not None:
            special(found)
        elif name in _USES:
            self._use(found, _USES[name])
        elif name in _USES_ITS_ARGUMENT:
            self._use(found, found.arg or 0)
        else:
            self._doubt(found)

    def _doubt(self, found: dis.Instruction) -> None:
        """An instruction that is not known: what it leaves may be whatever a variable that it names is."""
        names = found.argval if isinstance(found.argval, tuple) else (found.argval,)
        named = frozenset[Path]().union(*(self._read(name) for name in names if isinstance(name, str)))
        for value in (*self._stack, named):
            self.on_use(value)
        self._stack = _shifted(self._stack, _effect(found, jump=False), named)

    def _use(self, found: dis.Instruction, count: int) -> None:
        """Take `count` values, for whatever it is."""
        for value in self._pop(count):
            self.on_use(value)
        self._leave(found, count, NOTHING)

    def _leave(self, found: dis.Instruction, count: int, value: Value) -> None:
        """Put down what an instruction makes of the `count` values that it has taken."""
        self._stack = _shifted(self._stack, count + _effect(found, jump=False), value)

    def _pop(self, count: int) -> list[Value]:
        """The uppermost values, in the order in which they were put there."""
        missing = max(0, count - len(self._stack))
        found = [NOTHING] * missing + self._stack[len(self._stack) - count + missing :] if count else []
        del self._stack[len(self._stack) - count + missing :]
        return found

    # Variables.

    def _read(self, name: str) -> Value:
        return self.variables.get(name, NOTHING)

    def _assign(self, name: str, value: Value) -> None:
        self.variables[name] = self.variables.get(name, NOTHING) | value

    def _op_load_const(self, found: dis.Instruction) -> None:
        constant = self._constant = found.argval
        known = isinstance(constant, str) or constant is None or isinstance(constant, bool)
        self._stack.append(frozenset({("const", repr(constant))}) if known else NOTHING)

    def _op_load_fast(self, found: dis.Instruction) -> None:
        # Of a cell it is the cell itself that is loaded, on its way into a function.
        self._stack.append(NOTHING if found.argval in self._cells else self._read(found.argval))

    _op_load_fast_borrow = _op_load_fast

    def _op_load_deref(self, found: dis.Instruction) -> None:
        self._stack.append(self._read(found.argval))

    _op_load_fast_check = _op_load_classderef = _op_load_deref
    _op_load_fast_and_clear = _op_load_deref

    def _op_load_from_dict_or_deref(self, found: dis.Instruction) -> None:
        self._pop(1)
        self._stack.append(self._read(found.argval))

    def _op_load_from_dict_or_globals(self, found: dis.Instruction) -> None:
        self._pop(1)
        self._stack.append(self.on_global(found.argval))

    def _op_load_fast_load_fast(self, found: dis.Instruction) -> None:
        self._stack += [self._read(name) for name in found.argval]

    _op_load_fast_borrow_load_fast_borrow = _op_load_fast_load_fast

    def _op_store_fast(self, found: dis.Instruction) -> None:
        self._assign(found.argval, self._pop(1)[0])

    _op_store_deref = _op_store_fast_maybe_null = _op_store_fast

    def _op_store_fast_load_fast(self, found: dis.Instruction) -> None:
        stored, loaded = found.argval
        self._assign(stored, self._pop(1)[0])
        self._stack.append(self._read(loaded))

    def _op_store_fast_store_fast(self, found: dis.Instruction) -> None:
        for name in found.argval:
            self._assign(name, self._pop(1)[0])

    def _op_load_global(self, found: dis.Instruction) -> None:
        self._leave(found, 0, self.on_global(found.argval))

    _op_load_name = _op_load_global

    def _op_store_global(self, found: dis.Instruction) -> None:
        self.on_global_write(found.argval)
        if found.opname == "STORE_GLOBAL":
            self.on_use(self._pop(1)[0])

    _op_delete_global = _op_store_global

    # Imports.

    def _op_import_name(self, found: dis.Instruction) -> None:
        self._pop(2)
        self._stack.append(self.on_import(found.argval))

    def _op_import_from(self, found: dis.Instruction) -> None:
        module = self._stack[-1] if self._stack else NOTHING
        self._stack.append(self.on_attribute(module, found.argval))

    # Attributes and items.

    def _op_load_attr(self, found: dis.Instruction) -> None:
        owner = self._pop(1)[0]
        self._leave(found, 1, self.on_attribute(owner, found.argval))

    _op_load_method = _op_load_attr

    def _op_load_super_attr(self, found: dis.Instruction) -> None:
        _, _, instance = self._pop(3)
        self._leave(found, 3, self.on_attribute(self.on_super(instance), found.argval))

    def _op_store_attr(self, found: dis.Instruction) -> None:
        value, owner = self._pop(2)
        self.on_use(value)
        self.on_write(owner, found.argval)

    def _op_delete_attr(self, found: dis.Instruction) -> None:
        self.on_write(self._pop(1)[0], found.argval)

    def _op_store_subscr(self, found: dis.Instruction) -> None:
        value, owner, key = self._pop(3)
        self.on_use(value)
        self.on_use(key)
        self.on_write(owner, None)

    def _op_delete_subscr(self, found: dis.Instruction) -> None:
        owner, key = self._pop(2)
        self.on_use(key)
        self.on_write(owner, None)

    # Comparisons.

    def _op_compare_op(self, found: dis.Instruction) -> None:
        left, right = self._pop(2)
        self.on_compare(str(found.argval), left, right)
        self._stack.append(NOTHING)

    def _op_contains_op(self, found: dis.Instruction) -> None:
        left, right = self._pop(2)
        self.on_compare("in", left, right)
        self._stack.append(NOTHING)

    def _op_is_op(self, found: dis.Instruction) -> None:
        left, right = self._pop(2)
        self.on_compare("is", left, right)
        self._stack.append(NOTHING)

    def _op_pop_jump_if_none(self, found: dis.Instruction) -> None:
        self.on_compare("is", self._pop(1)[0], _NONE)

    _op_pop_jump_forward_if_none = _op_pop_jump_backward_if_none = _op_pop_jump_if_none
    _op_pop_jump_if_not_none = _op_pop_jump_if_none
    _op_pop_jump_forward_if_not_none = _op_pop_jump_backward_if_not_none = _op_pop_jump_if_none

    # Values that change places.

    def _op_pop_top(self, found: dis.Instruction) -> None:
        self._pop(1)

    def _op_dup_top(self, found: dis.Instruction) -> None:
        self._stack += self._pop(1) * 2

    def _op_dup_top_two(self, found: dis.Instruction) -> None:
        self._stack += self._pop(2) * 2

    def _op_copy(self, found: dis.Instruction) -> None:
        taken = self._pop(found.arg or 1)
        self._stack += [*taken, taken[0]]

    def _op_swap(self, found: dis.Instruction) -> None:
        taken = self._pop(found.arg or 2)
        self._stack += [taken[-1], *taken[1:-1], taken[0]]

    def _op_rot_n(self, found: dis.Instruction) -> None:
        taken = self._pop({"ROT_TWO": 2, "ROT_THREE": 3, "ROT_FOUR": 4}.get(found.opname) or found.arg or 0)
        self._stack += taken[-1:] + taken[:-1]

    _op_rot_two = _op_rot_three = _op_rot_four = _op_rot_n

    def _op_check_exc_match(self, found: dis.Instruction) -> None:
        self._pop(1)
        self._stack.append(NOTHING)

    def _op_get_awaitable(self, found: dis.Instruction) -> None:
        """What is awaited keeps its path: it says what was called for it."""

    def _op_end_send(self, found: dis.Instruction) -> None:
        self._stack.append(self._pop(2)[0])

    _op_yield_from = _op_end_send

    # Collections.

    def _op_build_list(self, found: dis.Instruction) -> None:
        self._stack.append(self.on_sequence(self._pop(found.arg or 0)))

    _op_build_tuple = _op_build_list

    def _op_list_to_tuple(self, found: dis.Instruction) -> None:
        """It stays a sequence of the same."""

    def _op_call_intrinsic_1(self, found: dis.Instruction) -> None:
        if found.arg != _LIST_TO_TUPLE:
            self._use(found, 1)

    def _op_build_map(self, found: dis.Instruction) -> None:
        self._use(found, 2 * (found.arg or 0))

    def _op_build_const_key_map(self, found: dis.Instruction) -> None:
        self._use(found, 1 + (found.arg or 0))

    def _op_format_value(self, found: dis.Instruction) -> None:
        self._use(found, 2 if (found.arg or 0) & _WITH_FORMAT else 1)

    # Functions.

    def _op_precall(self, found: dis.Instruction) -> None:
        """Nothing moves before the call."""

    def _op_make_function(self, found: dis.Instruction) -> None:
        self._use(found, 1 - _effect(found, jump=False))

    def _op_set_function_attribute(self, found: dis.Instruction) -> None:
        attribute, function = self._pop(2)
        self.on_use(attribute)
        self._stack.append(function)

    def _op_kw_names(self, found: dis.Instruction) -> None:
        self._keywords = self.code.co_consts[found.arg or 0]

    def _op_call(self, found: dis.Instruction) -> None:
        keywords, self._keywords = self._keywords, ()
        self._call(found.arg or 0, keywords, called=2)

    def _op_call_method(self, found: dis.Instruction) -> None:
        self._call(found.arg or 0, (), called=2)

    def _op_call_function(self, found: dis.Instruction) -> None:
        self._call(found.arg or 0, (), called=1)

    def _op_call_kw(self, found: dis.Instruction) -> None:
        self._pop(1)
        self._call(found.arg or 0, self._constant, called=2)

    def _op_call_function_kw(self, found: dis.Instruction) -> None:
        self._pop(1)
        self._call(found.arg or 0, self._constant, called=1)

    def _op_call_function_ex(self, found: dis.Instruction) -> None:
        taken = self._pop(1 - _effect(found, jump=False))
        # Since Python 3.14 there is always a place for a mapping.
        count = 2 if sys.version_info >= (3, 14) else 1 + ((found.arg or 0) & 1)
        self.on_spread_call(frozenset[Path]().union(*taken[:-count]), taken[-count:])
        self._stack.append(NOTHING)

    def _call(self, count: int, names: tuple[str, ...], called: int) -> None:
        arguments = self._pop(count)
        keywords = dict(zip(names, arguments[count - len(names) :], strict=True))
        # A function takes two places: beside it is the instance that it is bound to, or nothing.
        function = frozenset[Path]().union(*self._pop(called))
        self._stack.append(self.on_call(function, arguments[: count - len(names)], keywords))


def _effect(found: dis.Instruction, *, jump: bool) -> int:
    return dis.stack_effect(found.opcode, found.arg, jump=jump)


def _shifted(stack: Sequence[Value], effect: int, value: Value = NOTHING) -> list[Value]:
    """The stack with so many values more, or less, on top."""
    return [*stack, *[value] * effect] if effect >= 0 else list(stack[: max(0, len(stack) + effect)])


def _merged(one: list[Value], other: list[Value]) -> list[Value]:
    """The stack where two ways meet: what is on top of both is on top."""
    if not one or not other:
        return list(one or other)
    longer, shorter = sorted((one, other), key=len, reverse=True)
    rest = len(longer) - len(shorter)
    return longer[:rest] + [a | b for a, b in zip(longer[rest:], shorter, strict=True)]
