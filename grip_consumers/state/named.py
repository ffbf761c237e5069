"""The rows for what is found again by a name: loggers, channel layers, methods, and calls with arguments filled in.

Consumers often keep such things in ``__init__``: ``self.logger = logging.getLogger(__name__)``,
``self.layer = get_channel_layer()``, ``self.actions = {"join": self.join}``.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from asgiref.sync import SyncToAsync

from .table import CannotEncode, register, type_name

__all__ = ["register_all"]

#: The modules whose `channel_layers` know layers by alias: this package's, and the one of Channels beside it.
_LAYERS = ("grip_consumers.layers", "channels.layers")


def register_all() -> None:
    """Add the rows to the table."""
    register(lambda kind: issubclass(kind, logging.Logger), 50, _write_logger, logging.getLogger)
    register(types.MethodType, 51, _write_method, lambda parts: getattr(*parts))
    register(functools.partial, 52, _write_partial, _read_partial)
    register(_is_layer, 53, _write_layer, lambda parts: import_module(parts[0]).channel_layers[parts[1]])


def _write_logger(logger: logging.Logger) -> str:
    if logging.getLogger(logger.name) is not logger:
        raise CannotEncode(type_name(type(logger)), "use logging.getLogger(name), which finds it again")
    return logger.name


def _write_method(method: types.MethodType) -> list[Any]:
    owner = method.__self__
    name = _name_of(owner, method.__func__)
    if name is None:
        kind = type_name(owner if isinstance(owner, type) else type(owner))
        function = getattr(method.__func__, "__name__", repr(method.__func__))
        raise CannotEncode("method", f"{kind} has no method {function} that is this one")
    return [owner, name]


def _name_of(owner: Any, wanted: Any) -> str | None:
    """The name by which a class, or that of an object, has a function: it may be a private one, or another altogether.

    Nothing is run, as a property or a comparison might be.
    """
    kind: type = owner if isinstance(owner, type) else type(owner)
    hidden = () if owner is kind else getattr(owner, "__dict__", ())
    first = getattr(wanted, "__name__", "")
    for name in dict.fromkeys([first, *(name for cls in kind.__mro__ for name in vars(cls))]):
        found = inspect.getattr_static(kind, name, None)
        if name not in hidden and (found.__func__ if isinstance(found, classmethod) else found) is wanted:
            return name
    return None


def _write_partial(call: functools.partial[Any]) -> list[Any]:
    decorated = getattr(call.func, "__self__", None)
    if isinstance(decorated, SyncToAsync) and len(call.args) == 1 and not call.keywords:
        # What `@sync_to_async` makes of a method gives this for an instance.
        name = _name_of(call.args[0], decorated)
        if name is not None:
            return [call.args[0], name]
    if vars(call):
        raise CannotEncode("functools.partial", "it has attributes of its own")
    return [call.func, list(call.args), call.keywords]


def _read_partial(parts: list[Any]) -> Any:
    return getattr(*parts) if len(parts) == 2 else functools.partial(parts[0], *parts[1], **parts[2])


def _layers() -> Iterator[tuple[str, str, Any]]:
    """Module, alias and layer, of all that have been made."""
    for name in _LAYERS:
        manager = getattr(sys.modules.get(name), "channel_layers", None)
        for alias, layer in dict(getattr(manager, "backends", ())).items():
            yield name, alias, layer


def _is_layer(kind: type) -> bool:
    return any(type(layer) is kind for _, _, layer in _layers())


def _write_layer(wanted: Any) -> list[str]:
    for module, alias, layer in _layers():
        if layer is wanted:
            return [module, alias]
    raise CannotEncode(type_name(type(wanted)), "use get_channel_layer(alias), which finds it again")
