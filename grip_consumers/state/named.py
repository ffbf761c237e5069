"""The rows for what is found again by a name: loggers, channel layers, methods, and calls with arguments filled in.

Consumers often keep such things in ``__init__``: ``self.logger = logging.getLogger(__name__)``,
``self.layer = get_channel_layer()``, ``self.actions = {"join": self.join}``.
"""

from __future__ import annotations

import functools
import logging
import sys
import types
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from .table import CannotEncode, register, type_name

__all__ = ["register_all"]

#: The modules whose `channel_layers` know layers by alias: this package's, and the one of Channels beside it.
_LAYERS = ("grip_consumers.layers", "channels.layers")


def register_all() -> None:
    """Add the rows to the table."""
    register(lambda kind: issubclass(kind, logging.Logger), 50, _write_logger, logging.getLogger)
    register(types.MethodType, 51, _write_method, lambda parts: getattr(*parts))
    register(functools.partial, 52, _write_partial, lambda parts: functools.partial(parts[0], *parts[1], **parts[2]))
    register(_is_layer, 53, _write_layer, lambda parts: import_module(parts[0]).channel_layers[parts[1]])


def _write_logger(logger: logging.Logger) -> str:
    if logging.getLogger(logger.name) is not logger:
        raise CannotEncode(type_name(type(logger)), "use logging.getLogger(name), which finds it again")
    return logger.name


def _write_method(method: types.MethodType) -> list[Any]:
    owner, name = method.__self__, method.__name__
    if getattr(owner, name, None) == method:
        return [owner, name]
    # It has another name there, such as a private one, or a decorator's function keeps its own.
    kind = owner if isinstance(owner, type) else type(owner)
    for name in dict.fromkeys(name for cls in kind.__mro__ for name in vars(cls)):
        if getattr(kind, name, None) in (method, method.__func__) and getattr(owner, name) == method:
            return [owner, name]
    raise CannotEncode("method", f"{type_name(kind)} has no method {method.__name__} that is this one")


def _write_partial(call: functools.partial[Any]) -> list[Any]:
    if vars(call):
        raise CannotEncode("functools.partial", "it has attributes of its own")
    return [call.func, list(call.args), call.keywords]


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
