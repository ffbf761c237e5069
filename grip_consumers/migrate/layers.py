"""CHANNEL_LAYERS: the layers that consumers use become GripChannelLayer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import libcst as cst

from . import elements
from .assigned import assignments, targets
from .names import NEW, OLD
from .source import Source, dotted_name, text_of

__all__ = ["aliases_of", "plan"]

LAYER = f"{NEW}.layers.GripChannelLayer"

#: Layers written for Channels, by the dotted paths of their classes.
_OTHER_LAYER = re.compile(rf"^({OLD}\.layers\.InMemoryChannelLayer|{OLD}_\w+\.[\w.]+|asgi_\w+\.[\w.]+)$")
#: The arguments of GripChannelLayer.
_OPTIONS = {"expiry", "capacity", "channel_capacity"}
_TEST_PATH = re.compile(r"(^|_)(tests?|testing|conftest)(_|$)")
_TAKES = f"GripChannelLayer takes {', '.join(sorted(_OPTIONS))} only"


def aliases_of(source: Source) -> Iterator[str]:
    """The aliases of channel layers that classes of this file name as theirs."""
    for statement in source.find(cst.Assign):
        if any(dotted_name(target.target) == "channel_layer_alias" for target in statement.targets):
            alias = text_of(statement.value)
            if alias:
                yield alias


def plan(source: Source, aliases: frozenset[str]) -> None:
    """Plan the change of the layers that have these aliases, wherever the file gives them to CHANNEL_LAYERS."""
    for value in _layer_settings(source):
        _plan_layers(source, value, aliases)
    for statement in source.find(cst.Assign):
        for target in statement.targets:
            path = _subscripts(target.target)
            if path is not None:
                _plan_item(source, statement, path, aliases)
    for call in source.find(cst.Call):
        name = dotted_name(call.func)
        if name.endswith(("CHANNEL_LAYERS.update", "CHANNEL_LAYERS.setdefault")):
            _plan_call(source, call, aliases)


def _is_test(source: Source) -> bool:
    """Whether a file is for tests only, by its path."""
    parts = PurePosixPath(source.path).with_suffix("").parts
    return any(_TEST_PATH.search(part.lower()) for part in parts)


def _layer_settings(source: Source) -> Iterator[cst.BaseExpression]:
    """Every value that is given to CHANNEL_LAYERS as a whole."""
    for statement in assignments(source):
        if "CHANNEL_LAYERS" in targets(statement) and statement.value is not None:
            yield statement.value
    for call in source.find(cst.Call):
        if dotted_name(call.func).rpartition(".")[2] == "configure":
            yield from (arg.value for arg in call.args if arg.keyword and arg.keyword.value == "CHANNEL_LAYERS")


def _plan_layers(source: Source, value: cst.BaseExpression, aliases: frozenset[str]) -> None:
    if not isinstance(value, cst.Dict):
        if LAYER not in cst.Module([]).code_for_node(value):
            source.note(value, "by-hand", _by_hand("CHANNEL_LAYERS"))
        return
    for element in value.elements:
        alias = text_of(element.key) if isinstance(element, cst.DictElement) else None
        if alias not in aliases:
            continue
        if isinstance(element.value, cst.Dict):
            _plan_layer(source, element.value)
        else:
            source.note(element, "by-hand", _by_hand(f"the layer {alias!r}"))


def _subscripts(node: cst.BaseExpression) -> list[str | None] | None:
    """The ["default", "BACKEND"] of ``CHANNEL_LAYERS["default"]["BACKEND"]``; None for what is not that setting."""
    keys: list[str | None] = []
    while isinstance(node, cst.Subscript):
        first = node.slice[0].slice
        keys.insert(0, text_of(first.value) if isinstance(first, cst.Index) else None)
        node = node.value
    named = dotted_name(node).rpartition(".")[2] == "CHANNEL_LAYERS"
    return keys if keys and named else None


def _plan_item(source: Source, statement: cst.Assign, path: list[str | None], aliases: frozenset[str]) -> None:
    """``CHANNEL_LAYERS["default"] = …``, and what is assigned below that."""
    alias, value = path[0], statement.value
    if alias is not None and alias not in aliases:
        return
    if len(path) == 1 and isinstance(value, cst.Dict):
        _plan_layer(source, value)
    elif path[1:] == ["BACKEND"]:
        _plan_backend(source, value)
    elif len(path) > 1 and (path[1] in {"CONFIG", "TEST_CONFIG"} or path[1] is None):
        if set(path[2:3]) & _OPTIONS or _takes_all(value):
            return
        source.note(statement, "by-hand", f"{_TAKES}; take the rest out of this CONFIG.")
    elif len(path) == 1 and LAYER not in cst.Module([]).code_for_node(value):
        source.note(statement, "by-hand", _by_hand(f"the layer {alias!r}" if alias else "CHANNEL_LAYERS"))


def _takes_all(config: cst.BaseExpression) -> bool:
    """Whether GripChannelLayer has all options of a CONFIG."""
    return isinstance(config, cst.Dict) and all(
        isinstance(element, cst.DictElement) and text_of(element.key) in _OPTIONS for element in config.elements
    )


def _plan_call(source: Source, call: cst.Call, aliases: frozenset[str]) -> None:
    """``CHANNEL_LAYERS.update(…)`` and ``CHANNEL_LAYERS.setdefault(…)``"""
    if dotted_name(call.func).endswith(".setdefault"):
        layers = {text_of(call.args[0].value): call.args[1].value} if len(call.args) == 2 else {}
    else:
        layers = {arg.keyword.value: arg.value for arg in call.args if arg.keyword is not None}
        for arg in call.args:
            if arg.keyword is None:
                _plan_layers(source, arg.value, aliases)
    for alias, value in layers.items():
        if alias not in aliases:
            continue
        if isinstance(value, cst.Dict):
            _plan_layer(source, value)
        elif LAYER not in cst.Module([]).code_for_node(value):
            source.note(value, "by-hand", _by_hand(f"the layer {alias!r}"))


def _by_hand(what: str) -> str:
    return f'This is no dictionary that could be changed: the BACKEND of {what} has to be "{LAYER}".'


def _plan_layer(source: Source, layer: cst.Dict) -> None:
    entries = _entries(layer)
    backend = entries.get("BACKEND")
    if backend is None or not _plan_backend(source, backend.value):
        return
    gone = set()
    for name in ("CONFIG", "TEST_CONFIG"):
        if name in entries and _plan_config(source, entries[name]):
            gone.add(layer.elements.index(entries[name]))
    if gone:
        source.change(layer, lambda node: elements.remove(node, gone))


def _plan_backend(source: Source, backend: cst.BaseExpression) -> bool:
    """Whether it changes."""
    path = text_of(backend)
    if path == LAYER:
        return False
    if _is_test(source) and path is not None and path.endswith(".layers.InMemoryChannelLayer"):
        return False  # `strings` moves it: tests want a layer of the process
    if path is None or not _OTHER_LAYER.match(path):
        if path != f"{NEW}.layers.InMemoryChannelLayer" and path != f"{NEW}.layers.DualChannelLayer":
            source.note(backend, "by-hand", f'The layer that consumers use has to be "{LAYER}", or to send to one.')
        return False
    source.change(backend, lambda node: elements.quoted_like(LAYER, node))
    return True


def _entries(dictionary: cst.Dict) -> dict[str, cst.DictElement]:
    pairs = [element for element in dictionary.elements if isinstance(element, cst.DictElement)]
    return {text_of(pair.key) or "": pair for pair in pairs}


def _plan_config(source: Source, entry: cst.DictElement) -> bool:
    """Take out of a CONFIG what GripChannelLayer does not know; whether nothing is left of it."""
    config = entry.value
    plain = isinstance(config, cst.Dict) and all(
        isinstance(element, cst.DictElement) and text_of(element.key) for element in config.elements
    )
    if not plain:
        source.note(entry, "by-hand", f"{_TAKES}; take the rest out of this CONFIG.")
        return False
    assert isinstance(config, cst.Dict)
    keys = [text_of(cst.ensure_type(element, cst.DictElement).key) or "" for element in config.elements]
    gone = {index for index, key in enumerate(keys) if key not in _OPTIONS}
    for index in sorted(gone):
        source.note(config.elements[index], "layer-option", _dropped(keys[index]))
    if len(gone) == len(keys):
        return True
    if gone:
        source.change(config, lambda node: elements.remove(node, gone))
    return False


def _dropped(key: str) -> str:
    advice = {
        "hosts": "What waits for a connection is kept in a cache that all workers share (CACHES, GRIP_MAILBOX).",
        "prefix": "GRIP_PREFIX keeps projects apart that share a proxy.",
    }
    return f"`{key}` is dropped: {_TAKES}. {advice.get(key, '')}".rstrip()
