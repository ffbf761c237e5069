"""A lazy object that can be restored from a connection's state without being decoded until somebody looks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from django.utils.functional import LazyObject, empty

from .table import CannotEncode, type_name

if TYPE_CHECKING:
    AnyLazyObject = LazyObject[Any]
else:
    # Generic in the stubs alone.
    AnyLazyObject = LazyObject

__all__ = ["AnyLazyObject", "StoredLazyObject", "StoredValue", "stored_form"]


class StoredLazyObject(AnyLazyObject):
    """Stands for a value that lies encoded in the state; decodes it at the first use.

    Made without stored bytes it is a placeholder, until somebody assigns `_wrapped`. A subclass comes back as
    what it is, and says in `_missing` what a placeholder that is used too early is to raise.
    """

    def __init__(self, stored: bytes | None = None) -> None:
        # LazyObject hands every other assignment on to the object it stands for.
        self.__dict__["_stored"] = stored
        super().__init__()

    def _setup(self) -> None:
        stored = self.__dict__["_stored"]
        if stored is None:
            raise self._missing()
        self._wrapped = StoredValue(stored)()

    def _missing(self) -> Exception:
        """The error for a placeholder that is used before it was given its object."""
        return ValueError(f"{type(self).__name__} was read before it was given its object.")

    # LazyObject copies an unevaluated object by making an empty one, which would lose the stored bytes.
    def __copy__(self) -> Any:
        return copy.copy(_evaluated(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(_evaluated(self), memo)


class StoredValue:
    """Gives the value that lies in `stored`: the function of a restored SimpleLazyObject."""

    __slots__ = ("stored",)

    def __init__(self, stored: bytes) -> None:
        self.stored = stored

    def __call__(self) -> Any:
        # The codec knows this class, which must not need the codec to be imported.
        from .codec import decode

        return decode(self.stored)


def stored_form(lazy: AnyLazyObject) -> bytes | None:
    """What `lazy` stands for, encoded: the very bytes it came from while nobody has looked. None: a
    placeholder.

    Raises CannotEncode.
    """
    from .codec import encode

    if lazy.__dict__.get("_wrapped", empty) is not empty:
        return encode(lazy.__dict__["_wrapped"])
    if isinstance(function := lazy.__dict__.get("_setupfunc"), StoredValue):
        return function.stored
    if type(lazy) is LazyObject or issubclass(type(lazy), StoredLazyObject):
        stored: bytes | None = lazy.__dict__.get("_stored")
        return stored
    return encode(_looked_up(lazy))


def _looked_up(lazy: AnyLazyObject) -> Any:
    # What it would find it by, a function most often, cannot be kept: it has to be found now.
    try:
        return _evaluated(lazy)
    except Exception as error:
        raise CannotEncode(
            type_name(type(lazy)),
            "nobody has looked at it yet, and finding its object now failed "
            f"({type(error).__name__}: {error}); read it in connect()",
        ) from error


def _evaluated(lazy: AnyLazyObject) -> Any:
    if lazy.__dict__.get("_wrapped", empty) is empty:
        lazy._setup()
    return lazy.__dict__["_wrapped"]
