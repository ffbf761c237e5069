"""What of `compatibility` can be found in the consumers that are routed, before any connection comes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from grip_consumers.analysis import own_bases
from grip_consumers.compatibility import RULES
from grip_consumers.exceptions import InvalidChannelLayerError
from grip_consumers.layers import get_channel_layer
from grip_consumers.scan import Finding, scan
from grip_consumers.scan_values import keeps
from grip_consumers.state.table import CannotEncode, dotted
from grip_consumers.syntax import Source
from grip_consumers.watch import named_objects, uses_groups

__all__ = ["findings"]


def findings(classes: Iterable[type[Any]], subscription_limit: int) -> list[Finding]:
    """What is to be found in the classes of consumers of WebSockets, by file and line.

    Their source is read, and that of their bases but for Channels' and ours.
    """
    chosen = [cls for cls in classes if hasattr(cls, "websocket_connect")]
    found = [*_in_source(chosen, subscription_limit), *_in_classes(chosen, subscription_limit)]
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.file, finding.line, finding.rule.id))


def _in_source(classes: Iterable[type[Any]], limit: int) -> Iterator[Finding]:
    by_module: dict[str, set[str]] = {}
    for cls in classes:
        for base in own_bases(cls):
            by_module.setdefault(base.__module__, set()).add(base.__qualname__)
    for name, names in by_module.items():
        module = sys.modules.get(name)
        try:
            source, file = inspect.getsource(module), inspect.getsourcefile(module)  # type: ignore[arg-type]
            found = scan(source, file or name, classes=names, subscription_limit=limit)
        except (OSError, TypeError, SyntaxError):
            # Made up while running, or without its source.
            continue
        # What is said of a class as a whole is found out from the class itself.
        yield from (finding for finding in found if finding.where not in names)


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
