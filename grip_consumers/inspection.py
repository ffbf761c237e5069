"""What of `compatibility` can be found in the consumers that are routed, before any connection comes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any

from django.core.handlers.asgi import ASGIHandler

from grip_consumers.analysis import functions_behind, own_bases
from grip_consumers.compatibility import RULES
from grip_consumers.exceptions import InvalidChannelLayerError
from grip_consumers.genuine import parts
from grip_consumers.layers import get_channel_layer
from grip_consumers.scan import Finding, scan
from grip_consumers.scan_values import keeps
from grip_consumers.state.table import CannotEncode, dotted
from grip_consumers.syntax import Source
from grip_consumers.watch import named_objects, uses_groups

__all__ = ["findings", "library_of", "takes_websockets"]


def findings(classes: Iterable[type[Any]], subscription_limit: int, application: Any = None) -> list[Finding]:
    """What is to be found in the classes of consumers of WebSockets, and in what an application is wrapped in.

    Their source is read, and that of their bases but for Channels', ours and the standard library's. By file and line.
    """
    chosen = [cls for cls in classes if hasattr(cls, "websocket_connect")]
    found = [*_in_source(chosen, application, subscription_limit), *_in_classes(chosen, subscription_limit)]
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.file, finding.line, finding.rule.id))


def library_of(file: str) -> str:
    """The installed package that a file belongs to; "" for a file of the project."""
    steps = PurePath(file).parts
    for place in ("site-packages", "dist-packages"):
        if place in steps[:-1]:
            return steps[len(steps) - steps[::-1].index(place)].removesuffix(".py")
    return ""


def _in_source(classes: Iterable[type[Any]], application: Any, limit: int) -> Iterator[Finding]:
    by_module: dict[str, tuple[set[str], set[int]]] = {}
    for cls in classes:
        for base in own_bases(cls):
            by_module.setdefault(base.__module__, (set(), set()))[0].add(base.__qualname__)
    for module_name, line in _around(application):
        by_module.setdefault(module_name, (set(), set()))[1].add(line)
    for name, (names, lines) in by_module.items():
        if name.partition(".")[0] in sys.stdlib_module_names:
            continue
        module = sys.modules.get(name)
        try:
            source, file = inspect.getsource(module), inspect.getsourcefile(module)  # type: ignore[arg-type]
            found = scan(source, file or name, classes=names, lines=lines, subscription_limit=limit)
        except (OSError, TypeError, SyntaxError):
            # Made up while running, or without its source.
            continue
        # What is said of a class as a whole is found out from the class itself.
        yield from (finding for finding in found if finding.where not in names)


# What is around consumers --------------------------------------------------------------------------------------------

#: Packages whose middleware is as it has to be.
_FRAMEWORKS = frozenset({"asgiref", "channels", "django", "grip_consumers"})


def takes_websockets(application: Any) -> bool:
    """Whether an ASGI application may lead to consumers: not if all of it that can be seen is Django's own."""
    found = list(_reachable(application))
    routers = [it for it in found if _mapping(it) is not None]
    if routers:
        return any("websocket" in _mapping(router) for router in routers)
    return not any(isinstance(it, ASGIHandler) for it in found)


def _around(application: Any) -> Iterator[tuple[str, int]]:
    """Where the code begins that is called with a WebSocket on its way to a consumer: the modules and lines."""
    for found in _reachable(application):
        # What is called is a function, or an object with a method of the class.
        called = found if inspect.isfunction(found) else inspect.getattr_static(type(found), "__call__", None)
        for function in functions_behind(called):
            if function.__module__ and function.__module__.partition(".")[0] not in _FRAMEWORKS:
                yield function.__module__, function.__code__.co_firstlineno


def _reachable(application: Any) -> Iterator[Any]:
    """An application and what it holds, as far as that may get a WebSocket, down to the consumers."""
    seen: set[int] = set()
    waiting = [application]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or found is None:
            continue
        seen.add(id(found))
        yield found
        if (mapping := _mapping(found)) is not None:
            waiting.append(mapping.get("websocket"))
        elif "consumer_class" not in getattr(found, "__dict__", {}):
            waiting.extend(parts(found))


def _mapping(found: Any) -> Any:
    """What a ProtocolTypeRouter, of Channels too, hands connections on to; None of anything else."""
    mapping = getattr(found, "__dict__", {}).get("application_mapping")
    return mapping if isinstance(mapping, dict) else None


# Classes themselves --------------------------------------------------------------------------------------------------


def _in_classes(classes: Iterable[type[Any]], limit: int) -> Iterator[Finding]:
    for cls in classes:
        for name, detail in _broken(cls, limit):
            yield Finding(RULES[name], *_place(cls), cls.__qualname__, detail)


def _broken(cls: Any, limit: int) -> Iterator[tuple[str, str]]:
    groups = getattr(cls, "groups", None)
    if isinstance(groups, (list, tuple, set)) and len(groups) > limit - 1:
        yield "too-many-groups", f"joins {len(groups)} groups; its proxy serves it {limit - 1}"
    alias = getattr(cls, "channel_layer_alias", "default")
    layer = _layer(alias)
    if layer is not None and not getattr(layer, "reaches_connections", False) and uses_groups(cls):
        yield "ordinary-layer", f"uses groups of the channel layer {alias!r}, a {type(layer).__name__}"
    modules = {base.__module__ for base in own_bases(cls)}
    for name, value in named_objects(cls).items():
        # Those of a class in the same module are found in the source.
        if type(value).__module__ not in modules and (attribute := _kept_in(type(value))):
            yield "process-state", f"uses {name}, an object that fills {type(value).__qualname__}.{attribute}"
    try:
        dotted(cls)
    except CannotEncode:
        yield "local-class", "is defined where no import finds it"


def _kept_in(kind: type[Any]) -> str:
    """The attribute in which the objects of a class of the project keep what they are given."""
    try:
        source = Source(inspect.getsource(sys.modules[kind.__module__]), "")
    except (OSError, TypeError, SyntaxError):
        return ""
    known = source.classes.get(kind.__qualname__)
    return keeps(known) if known is not None else ""


def _layer(alias: str) -> Any:
    try:
        return get_channel_layer(alias)
    except InvalidChannelLayerError:
        # It says so where it is used.
        return None


def _place(cls: type[Any]) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(cls) or cls.__module__, inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return cls.__module__, 1
