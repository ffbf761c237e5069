"""The table of types that a connection's state keeps beyond those of msgpack: how each is written and read.

The numbers are part of the stored format: never reuse one. Rows are found by a value's type alone: asking a value
what it is an instance of would evaluate a lazy one.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeAlias

from django.utils.functional import cached_property as django_cached_property

__all__ = [
    "OWNER",
    "REFERENCE",
    "CannotEncode",
    "Decoder",
    "Encoder",
    "Row",
    "dotted",
    "has_name",
    "import_dotted",
    "is_derived",
    "name_local_classes",
    "refuse",
    "register",
    "register_node",
    "register_own",
    "register_raw",
    "row_for",
    "row_of",
    "type_name",
]


class Encoder(Protocol):
    """What a row may ask of the encoder at work (see `codec`)."""

    def encode(self, value: Any) -> bytes:
        """`value` as bytes. Raises CannotEncode."""

    def encode_or_none(self, value: Any) -> bytes | None:
        """The same; None for what cannot be encoded."""

    def can_encode(self, value: Any) -> bool:
        """Whether `encode` would do."""

    def ordered(self, values: Iterable[Any]) -> list[Any]:
        """`values` in an order that depends on nothing but what they are."""


class Decoder(Protocol):
    """What a row may ask of the decoder at work."""

    def decode(self, data: bytes) -> Any:
        """The value that `encode` made `data` from."""

    def remember(self, node: Any) -> None:
        """Make a new, still empty node known, before what may refer back to it is decoded."""


class CannotEncode(TypeError):  # noqa: N818 - it names what happened
    """A value that has no form outside of this process.

    `value_type` is the type's dotted name; `why` says more, and what to do, where there is more to say.
    """

    def __init__(self, value_type: str, why: str = "") -> None:
        self.value_type = value_type
        self.why = why
        super().__init__(f"a value of type {value_type} cannot be kept" + (f": {why}" if why else ""))


def type_name(kind: type) -> str:
    """The dotted name of a class, without `builtins`."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


# The table ---------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """How the values of one type are written and read."""

    code: int
    write: Callable[[Any, Encoder], bytes]
    read: Callable[[bytes, Decoder], Any]
    #: Written once however often it is met, so that it comes back as one object, and may lead back to itself.
    node: bool = False


Kinds: TypeAlias = "type | tuple[type, ...] | Callable[[type], bool]"

_by_type: dict[type, Row] = {}
_by_code: dict[int, Row] = {}
#: For the types that a predicate accepts, asked in order when the type itself has no row.
_by_predicate: list[tuple[Callable[[type], bool], Row]] = []
_refused: list[tuple[type, str]] = []

#: The codes without a row (see `codec`): an object that was met before, and whose attributes these are.
REFERENCE = 0
OWNER = 49


def _add(kinds: Kinds, row: Row) -> None:
    if row.code in _by_code or row.code in (REFERENCE, OWNER):
        raise ValueError(f"extension {row.code} is taken")
    _by_code[row.code] = row
    if isinstance(kinds, (type, tuple)):
        for kind in kinds if isinstance(kinds, tuple) else (kinds,):
            _by_type[kind] = row
    else:
        _by_predicate.append((kinds, row))
    row_of.cache_clear()


def register(kinds: Kinds, code: int, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
    """Add a row: `write` gives a plainer value, which is encoded in turn, `read` makes the value of that
    again.

    `kinds` are exact types, or a predicate on types, for their subclasses too. Raises ValueError for a number
    that is taken.
    """
    _add(
        kinds,
        Row(
            code,
            lambda value, encoder: encoder.encode(write(value)),
            lambda data, decoder: read(decoder.decode(data)),
        ),
    )


def register_raw(kinds: Kinds, code: int, write: Callable[[Any], bytes], read: Callable[[bytes], Any]) -> None:
    """Add a row that is written as bytes by itself."""
    _add(kinds, Row(code, lambda value, _: write(value), lambda data, _: read(data)))


def register_own(
    kinds: Kinds, code: int, write: Callable[[Any, Encoder], bytes], read: Callable[[bytes, Decoder], Any]
) -> None:
    """Add a row that asks the encoder and decoder for what it needs."""
    _add(kinds, Row(code, write, read))


def register_node(
    kinds: Kinds, code: int, write: Callable[[Any, Encoder], bytes], read: Callable[[bytes, Decoder], Any]
) -> None:
    """Add a row for objects that keep their identity: `read` must `remember` one before its content."""
    _add(kinds, Row(code, write, read, node=True))


def refuse(kind: type, why: str) -> None:
    """Say about a type and its subclasses what to keep in their place."""
    _refused.append((kind, why))


@functools.lru_cache(maxsize=1024)
def row_of(kind: Any) -> Row:
    """The row for the values of a type. Raises CannotEncode when there is none."""
    if (row := _by_type.get(kind)) is not None:
        return row
    for accepts, row in _by_predicate:
        if accepts(kind):
            return row
    raise CannotEncode(type_name(kind), next((why for base, why in _refused if issubclass(kind, base)), ""))


def row_for(code: int) -> Row:
    """The row that wrote `code`. Raises ValueError for an unknown one."""
    row = _by_code.get(code)
    if row is None:
        raise ValueError(f"unknown extension {code}: the state was written by a newer release")
    return row


# Classes by name ---------------------------------------------------------------------------------------


def dotted(cls: Any) -> str:
    """`module:qualified.name` of a class or function. Raises CannotEncode when no import finds it again."""
    reference = f"{cls.__module__}:{cls.__qualname__}"
    try:
        found = import_dotted(reference)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not cls and (name := _local_name(cls)):
        return name
    if found is not cls:
        raise CannotEncode(
            type_name(cls if isinstance(cls, type) else type(cls)),
            f"{reference} cannot be imported by that name; define it at the top level of a module",
        )
    return reference


def has_name(cls: Any) -> bool:
    """Whether `dotted` names it."""
    try:
        dotted(cls)
    except CannotEncode:
        return False
    return True


def import_dotted(reference: str) -> Any:
    """What `dotted` named. Raises ImportError or AttributeError when it is gone."""
    if _local is not None and (local := _local.get(reference)) is not None:
        return local
    return _imported(reference)


@functools.lru_cache(maxsize=512)
def _imported(reference: str) -> Any:
    module, _, path = reference.partition(":")
    # Not from sys.modules: another thread may be about to import it.
    found: Any = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found


#: Classes and functions defined within a function, by names that hold in this process: only in tests.
_local: weakref.WeakValueDictionary[str, Any] | None = None


def name_local_classes(on: bool) -> None:
    """Whether `dotted` names what is defined within a function, as consumers of tests are, too."""
    global _local
    _local = weakref.WeakValueDictionary() if on else None


def _local_name(cls: Any) -> str | None:
    if _local is None or "<locals>" not in cls.__qualname__:
        return None
    # A test that runs twice defines two.
    name = f"{cls.__module__}:{cls.__qualname__}@{id(cls):x}"
    _local[name] = cls
    return name


def is_derived(kind: type, name: str) -> bool:
    """Whether the attribute `name` is a cached property: left out, it is computed when it is next read."""
    return isinstance(getattr(kind, name, None), (functools.cached_property, django_cached_property))
