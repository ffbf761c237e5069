"""Values to bytes and back, their types kept.

msgpack carries what JSON and bytes can say; everything else is an extension, one row of the table that
`extensions` and `snapshots` fill. A class is named by module and qualified name, and looked up again when a value
is decoded: bytes are only ever decoded after their seal was opened, so a name can be trusted to be one that this
project wrote. Equal values of equal history give equal bytes.

Model instances and dataclasses are nodes: within one call of `encode` each is written once, so two names for
one object are still names for one object afterwards, and a cycle through one ends there. Lists and dicts are
values. Their owner, the consumer whose attributes they are, is not written: what refers to it refers to the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgpack

from grip_consumers.exceptions import StateError

from . import named, snapshots
from .table import OWNER, REFERENCE, CannotEncode, Encoder, row_for, row_of, type_name

__all__ = ["CannotDecode", "CannotEncode", "decode", "encode"]

snapshots.register_all()
named.register_all()

#: How deep tuples, objects and other extensions may lie in each other: decoding takes a few Python frames for
#: each, and has to do with what the caller's stack leaves.
_DEPTH_MAX = 100


class CannotDecode(StateError, ValueError):  # noqa: N818 - it names what happened
    """Bytes that are no encoded value here: damaged, or of a class that is gone or has changed."""


def encode(value: Any, owner: object = None) -> bytes:
    """`value`, which may refer to its `owner`, as bytes.

    Raises CannotEncode, naming the innermost value's type, for what has no form.
    """
    return _Encoder(owner).encode(value)


def decode(data: bytes, owner: object = None) -> Any:
    """The value that `encode` made `data` from; what referred to its owner refers to `owner`. Raises CannotDecode."""
    try:
        return _Decoder(owner).decode(data)
    except CannotDecode:
        raise
    except Exception as error:
        # A project's classes take part in this, so anything may come.
        raise CannotDecode(
            f"A value in the state of this connection cannot be restored ({type(error).__name__}: {error}): "
            "the class it belongs to has been removed, renamed or changed since it was stored."
        ) from error


class _Encoder:
    """One call of `encode`, with the nodes it has met by id (and held, so that no id is used twice)."""

    __slots__ = ("_depth", "_nodes", "_owner")

    def __init__(self, owner: object = None) -> None:
        self._owner = owner
        self._nodes: dict[int, tuple[int, Any]] = {}
        self._depth = 0

    def encode(self, value: Any) -> bytes:
        try:
            packed: bytes = msgpack.packb(
                _lowered(value, self) if _is_odd(value) else value,
                default=self._to_extension,
                # One for each level of nesting: the default of 256 kB would cost more than the packing.
                buf_size=1024,
                strict_types=True,
                unicode_errors="surrogatepass",
            )
        except (ValueError, RecursionError) as error:
            too_deep = "recursion" in str(error)
            why = "it contains itself or is nested too deeply" if too_deep else str(error)
            raise CannotEncode(type_name(type(value)), why) from error
        return packed

    def encode_or_none(self, value: Any) -> bytes | None:
        mark = len(self._nodes)
        try:
            return self.encode(value)
        except CannotEncode:
            self._forget(mark)
            return None

    def can_encode(self, value: Any) -> bool:
        mark = len(self._nodes)
        found = self.encode_or_none(value) is not None
        self._forget(mark)
        return found

    def ordered(self, values: Iterable[Any]) -> list[Any]:
        kinds = set(map(type, values))
        # Not what orders only in part, as sets do, or not at all.
        return (
            sorted(values)
            if kinds <= {str} or kinds <= {int}
            else sorted(values, key=lambda value: encode(value, self._owner))
        )

    def _forget(self, mark: int) -> None:
        while len(self._nodes) > mark:
            self._nodes.popitem()

    def _to_extension(self, value: Any) -> msgpack.ExtType:
        if value is self._owner:
            return msgpack.ExtType(OWNER, b"")
        kind: Any = type(value)
        row = row_of(kind)
        if row.node:
            known = self._nodes.get(id(value))
            if known is not None:
                return msgpack.ExtType(REFERENCE, b"%d" % known[0])
            self._nodes[id(value)] = (len(self._nodes), value)
        if self._depth >= _DEPTH_MAX:
            raise RecursionError("recursion limit of the state")
        self._depth += 1
        try:
            return msgpack.ExtType(row.code, row.write(value, self))
        finally:
            self._depth -= 1


class _Decoder:
    """One call of `decode`, with the nodes in the order in which they were written."""

    __slots__ = ("_nodes", "_owner")

    def __init__(self, owner: object = None) -> None:
        self._owner = owner
        self._nodes: list[Any] = []

    def decode(self, data: bytes) -> Any:
        return msgpack.unpackb(
            data,
            ext_hook=self._from_extension,
            raw=False,
            strict_map_key=False,
            unicode_errors="surrogatepass",
        )

    def remember(self, node: Any) -> None:
        self._nodes.append(node)

    def _from_extension(self, code: int, data: bytes) -> Any:
        if code == REFERENCE:
            return self._nodes[int(data)]
        if code == OWNER:
            if self._owner is None:
                raise ValueError("the value refers to an owner, and there is none")
            return self._owner
        return row_for(code).read(data, self)


# What msgpack would take for something else --------------------------------------------------------------
#
# It packs a bytearray or memoryview as bytes, and an ExtType as the extension it says it is, which somebody
# may have unpacked from what a client sent: it must not pass for one of ours. Looking for them first costs a
# fraction of what rewriting every value would.

_ODD = frozenset({bytearray, memoryview, msgpack.ExtType})
_SUSPECTS = _ODD | {list, dict}


def _is_odd(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        return not _ODD.isdisjoint(map(type, value)) or _holds_odd(value.values())
    return kind in _ODD or (kind is list and _holds_odd(value))


def _holds_odd(values: Collection[Any]) -> bool:
    return not _SUSPECTS.isdisjoint(map(type, values)) and any(map(_is_odd, values))


def _lowered(value: Any, encoder: Encoder) -> Any:
    kind: Any = type(value)
    if kind is dict:
        return {_lowered(key, encoder): _lowered(item, encoder) for key, item in value.items()}
    if kind is list:
        return [_lowered(item, encoder) for item in value]
    if kind in _ODD:
        row = row_of(kind)
        return msgpack.ExtType(row.code, row.write(value, encoder))
    return value
