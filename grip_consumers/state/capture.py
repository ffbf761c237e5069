"""What a consumer holds after a batch, encoded; and back onto a new instance before the next one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

from django.http import parse_cookie

from grip_consumers.exceptions import UnkeepableState
from grip_consumers.types import Scope

from .codec import decode, encode
from .table import CannotEncode, is_derived, type_name

__all__ = [
    "FRAMEWORK_ATTRIBUTES",
    "capture_attributes",
    "capture_initkwargs",
    "capture_scope",
    "restore_attributes",
    "restore_scope",
]

#: What the framework puts on a consumer by itself, anew for each batch.
FRAMEWORK_ATTRIBUTES = frozenset(
    {"scope", "channel_layer", "channel_name", "channel_receive", "base_send"} | {"_grip_batch", "_grip_initkwargs"}
)

#: Keys of the scope that belong to one batch.
_BATCH_KEYS = frozenset({"extensions"})


def capture_attributes(consumer: Any) -> bytes:
    """The instance attributes of `consumer`, without those of the framework and those named in `transient`.

    They may refer to the consumer, as its own methods do. One that is also a value of the scope, as after `self.user =
    self.scope["user"]`, or the scope itself is kept as such: it is one object afterwards, too. A cached property whose
    value cannot be kept is left out, as it is made anew when it is next read. Raises UnkeepableState naming consumer,
    attribute and type.
    """
    left_out, keys_left_out = _left_out(consumer)
    kept = {name: value for name, value in vars(consumer).items() if name not in left_out}
    shared = _shared_with_scope(kept, vars(consumer).get("scope"), keys_left_out)
    for name in shared:
        del kept[name]
    if not (kept or shared):
        return b""
    try:
        return encode([kept, shared] if shared else kept, consumer)
    except CannotEncode:
        kept = _without_unkeepable_caches(consumer, kept)
        return _encode_names(consumer, kept, "{}", *([shared] if shared else []), owner=consumer)


def restore_attributes(stored: bytes, consumer: Any, get_scope: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What `capture_attributes` stored, for a new `consumer`; the scope is asked for if some are values of it.

    Raises CannotDecode.
    """
    if not stored:
        return {}
    found = decode(stored, consumer)
    if isinstance(found, dict):
        return found
    kept, shared = found
    scope = get_scope()
    return {**kept, **{name: scope if key is None else scope[key] for name, key in shared.items()}}


def _shared_with_scope(values: Mapping[str, Any], scope: Any, left_out: Collection[str]) -> dict[str, str | None]:
    """Which of the values are values of the scope, and of which key; None for the scope itself.

    Plain ones do not count: nobody can tell.
    """
    if not isinstance(scope, dict):
        return {}
    keys: dict[int, str | None] = {
        id(value): key for key, value in scope.items() if key not in left_out and type(value) not in _PLAIN
    }
    keys[id(scope)] = None
    return {name: keys[id(value)] for name, value in values.items() if id(value) in keys}


_PLAIN = (str, bytes, int, float, bool, type(None))


def capture_initkwargs(consumer: Any, initkwargs: Mapping[str, Any]) -> bytes:
    """The keyword arguments given to `as_asgi`. Raises UnkeepableState."""
    return _encode_names(consumer, dict(initkwargs), "as_asgi({}=…)") if initkwargs else b""


def capture_scope(consumer: Any, scope: Scope, base: Scope) -> bytes:
    """What middleware, routing and consumer added to the scope that the request alone makes, and took from
    it.

    A key is left out with `transient = ("scope.<key>",)`. Raises UnkeepableState.
    """
    _, left_out = _left_out(consumer)
    added = {
        key: value
        for key, value in scope.items()
        if key not in left_out and (key not in base or base[key] is not value)
    }
    removed = [key for key in base if key not in scope and key not in left_out]
    # The proxy repeats the cookies with each batch: no need to keep them twice, and they can be large.
    cookies_repeat = "cookies" in added and added["cookies"] == _cookies(base)
    if cookies_repeat:
        del added["cookies"]
    if not (added or cookies_repeat or removed):
        return b""
    return _encode_names(consumer, added, "scope[{!r}]", cookies_repeat, removed)


def restore_scope(stored: bytes, base: Scope) -> dict[str, Any]:
    """A new scope: that of the request, with what was added to it since. Raises CannotDecode."""
    scope = dict(base)
    if stored:
        added, cookies_repeat, removed = decode(stored)
        for key in removed:
            scope.pop(key, None)
        if cookies_repeat:
            scope["cookies"] = _cookies(base)
        scope.update(added)
    return scope


def _left_out(consumer: Any) -> tuple[frozenset[str], frozenset[str]]:
    """The names of attributes, and of keys of the scope, that are not kept of `consumer`."""
    transient: Iterable[str] = getattr(consumer, "transient", ())
    if isinstance(transient, str):
        raise TypeError(
            f"{type_name(type(consumer))}.transient must be a tuple of names, not a str: write "
            f'transient = ("{transient}",).'
        )
    return _split(tuple(transient))


@lru_cache(maxsize=1024)
def _split(transient: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    keys = {name.removeprefix("scope.") for name in transient if name.startswith("scope.")}
    return FRAMEWORK_ATTRIBUTES.union(transient), _BATCH_KEYS.union(keys)


def _without_unkeepable_caches(consumer: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if not is_derived(type(consumer), name) or _refusal(value, consumer) is None
    }


def _cookies(base: Scope) -> dict[str, str]:
    # As Channels' CookieMiddleware reads them: the first Cookie header, as latin-1.
    for name, value in base.get("headers", ()):
        if name == b"cookie":
            return parse_cookie(value.decode("latin1"))
    return {}


def _encode_names(consumer: Any, values: dict[str, Any], wording: str, *more: Any, owner: object = None) -> bytes:
    try:
        return encode([values, *more] if more else values, owner)
    except CannotEncode:
        for name, value in values.items():
            if (refusal := _refusal(value, owner)) is not None:
                raise UnkeepableState(
                    consumer=type_name(type(consumer)),
                    attribute=wording.format(name),
                    type_name=refusal.value_type,
                    why=refusal.why,
                ) from refusal
        raise


def _refusal(value: Any, owner: object) -> CannotEncode | None:
    try:
        encode(value, owner)
    except CannotEncode as error:
        return error
    return None
