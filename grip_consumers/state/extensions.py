"""The rows for what Python, Django's utilities and a project's own classes are made of (see `table`)."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import io
import ipaddress
import pathlib
import re
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.functional import Promise
from django.utils.safestring import SafeString

from .local_functions import read_function, write_function
from .table import (
    CannotEncode,
    Decoder,
    Encoder,
    dotted,
    import_dotted,
    is_derived,
    refuse,
    register,
    register_node,
    register_own,
    register_raw,
    type_name,
)

__all__ = ["dotted", "import_dotted", "read_object", "write_object"]

# Numbers, text and containers --------------------------------------------------------------------------

# The codec looks for these three before msgpack sees them.
register_raw(bytearray, 1, bytes, bytearray)
register_raw(memoryview, 18, bytes, memoryview)
register_raw(
    msgpack.ExtType,
    19,
    lambda value: bytes([value.code]) + value.data,
    lambda data: msgpack.ExtType(data[0], data[1:]),
)
register(tuple, 2, list, tuple)
register_own(
    set,
    3,
    lambda value, encoder: encoder.encode(encoder.ordered(value)),
    lambda data, decoder: set(decoder.decode(data)),
)
register_own(
    frozenset,
    4,
    lambda value, encoder: encoder.encode(encoder.ordered(value)),
    lambda data, decoder: frozenset(decoder.decode(data)),
)
# Only an integer beyond 64 bits gets here.
register_raw(int, 5, lambda value: hex(value).encode(), lambda data: int(data, 16))
register(complex, 6, lambda value: [value.real, value.imag], lambda parts: complex(*parts))
register(Decimal, 7, str, Decimal)
register(Fraction, 8, lambda value: [value.numerator, value.denominator], lambda parts: Fraction(*parts))
register_raw(uuid.UUID, 9, lambda value: value.bytes, lambda data: uuid.UUID(bytes=data))
register(range, 10, lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts))
register(OrderedDict, 11, lambda value: list(map(list, value.items())), OrderedDict)
register(Counter, 12, dict, Counter)
register(deque, 13, lambda value: [list(value), value.maxlen], lambda parts: deque(*parts))
register(defaultdict, 14, lambda value: [value.default_factory, dict(value)], lambda parts: defaultdict(*parts))
register(SafeString, 15, str.__str__, SafeString)
register(types.SimpleNamespace, 17, vars, lambda names: types.SimpleNamespace(**names))
register(re.Pattern, 26, lambda value: [value.pattern, value.flags], lambda parts: re.compile(*parts))
register(type(...), 27, lambda value: None, lambda _: ...)
register(
    (ipaddress.IPv4Address, ipaddress.IPv6Address),
    28,
    lambda value: [value.version, value.packed],
    lambda parts: (ipaddress.IPv4Address if parts[0] == 4 else ipaddress.IPv6Address)(parts[1]),
)


def _read_query_dict(parts: list[Any]) -> QueryDict:
    values, mutable, encoding = parts
    query = QueryDict(mutable=True, encoding=encoding)
    for name, texts in values:
        query.setlist(name, texts)
    query._mutable = mutable
    return query


register(
    QueryDict,
    16,
    lambda value: [[*map(list, value.lists())], value._mutable, value.encoding],
    _read_query_dict,
)
register(MultiValueDict, 29, lambda value: [*map(list, value.lists())], lambda lists: MultiValueDict(dict(lists)))


# Dates and times ---------------------------------------------------------------------------------------


def _write_zone(zone: datetime.tzinfo | None) -> Any:
    """A ZoneInfo by its key, UTC as 0, another fixed offset as its seconds and perhaps a name."""
    if zone is None:
        return None
    if zone is datetime.timezone.utc:
        return 0
    if type(zone) is datetime.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        return [offset.total_seconds(), *name]
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    raise CannotEncode(type_name(type(zone)), "use a zoneinfo.ZoneInfo made by its key, or datetime.timezone")


def _read_zone(written: Any) -> datetime.tzinfo | None:
    if written is None:
        return None
    if written == 0:
        return datetime.timezone.utc
    if isinstance(written, str):
        return ZoneInfo(written)
    return datetime.timezone(datetime.timedelta(seconds=written[0]), *written[1:])


def _write_moment(value: Any) -> Any:
    return [value.replace(tzinfo=None).isoformat(), value.fold, _write_zone(value.tzinfo)]


def _reader_of_moments(kind: Any) -> Callable[[list[Any]], Any]:
    return lambda parts: kind.fromisoformat(parts[0]).replace(fold=parts[1], tzinfo=_read_zone(parts[2]))


register(datetime.datetime, 20, _write_moment, _reader_of_moments(datetime.datetime))
register(datetime.date, 21, datetime.date.toordinal, datetime.date.fromordinal)
register(datetime.time, 22, _write_moment, _reader_of_moments(datetime.time))
register(
    datetime.timedelta,
    23,
    lambda value: [value.days, value.seconds, value.microseconds],
    lambda parts: datetime.timedelta(*parts),
)
register((datetime.timezone, ZoneInfo), 24, _write_zone, _read_zone)


# Values of the project's own classes -------------------------------------------------------------------


def _write_enum(value: enum.Enum) -> Any:
    # A combination of flags has no name of its own in every Python.
    return [dotted(type(value)), value.value if isinstance(value, enum.Flag) else value.name]


def _read_enum(parts: list[Any]) -> Any:
    cls = import_dotted(parts[0])
    return cls(parts[1]) if issubclass(cls, enum.Flag) else cls[parts[1]]


def write_object(value: Any, encoder: Encoder) -> bytes:
    """An object by its class and attributes: the fields of a dataclass, then what lies in its `__dict__`."""
    kind: Any = type(value)
    names = {name: getattr(value, name) for name in _field_names(kind) if hasattr(value, name)}
    for name, content in getattr(value, "__dict__", {}).items():
        if name not in names and (not is_derived(kind, name) or encoder.can_encode(content)):
            names[name] = content
    return dotted(kind).encode("utf-8") + b"\0" + encoder.encode(names)


def read_object(data: bytes, decoder: Decoder) -> Any:
    """What `write_object` wrote, without `__init__`: this is the object that was, not a new one."""
    reference, _, content = data.partition(b"\0")
    value = object.__new__(import_dotted(reference.decode("utf-8")))
    decoder.remember(value)
    for name, attribute in decoder.decode(content).items():
        # Past what a frozen class puts in the way.
        object.__setattr__(value, name, attribute)
    return value


@functools.lru_cache(maxsize=512)
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def _is_dataclass(kind: type) -> bool:
    if not dataclasses.is_dataclass(kind):
        return False
    try:
        # Refused for a class built on dict or the like, whose content is not in its attributes.
        object.__new__(kind)
    except TypeError:
        return False
    return True


_PATHS = (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath, pathlib.WindowsPath)

register(lambda kind: issubclass(kind, enum.Enum), 30, _write_enum, _read_enum)
register(
    lambda kind: issubclass(kind, tuple) and hasattr(kind, "_make"),
    31,
    lambda value: [dotted(type(value)), list(value)],
    lambda parts: import_dotted(parts[0])._make(parts[1]),
)
register_node(_is_dataclass, 32, write_object, read_object)
register(
    lambda kind: issubclass(kind, (type, types.FunctionType, types.BuiltinFunctionType)),
    33,
    write_function,
    read_function,
)
# By name: their module's name depends on the version of Python.
register(
    _PATHS,
    34,
    lambda value: [type(value).__name__, str(value)],
    lambda parts: {kind.__name__: kind for kind in _PATHS}[parts[0]](parts[1]),
)
# A lazily translated text is kept as the text it is in the language of the moment.
register(lambda kind: issubclass(kind, Promise), 35, str, str)

refuse(io.IOBase, "keep its name, and open it again where it is needed")
refuse(types.GeneratorType, "keep what it would still yield, as a list")
refuse(datetime.tzinfo, "use a zoneinfo.ZoneInfo made by its key, or datetime.timezone")
