"""What changes in settings: INSTALLED_APPS, MIDDLEWARE and CHANNEL_LAYERS, wherever a file has them.

Known by the names that things are assigned to, in a module, a class (django-configurations) or a call such as
``settings.configure()`` and ``override_settings()``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

import libcst as cst

from . import elements
from .names import NEW, OLD
from .source import Source, dotted_name, find_all, text_of

__all__ = ["app_entries", "layer_aliases", "plan"]

MIDDLEWARE = f"{NEW}.GripMiddleware"
LAYER = f"{NEW}.layers.GripChannelLayer"
DAPHNE_GOES = "`daphne` leaves the apps: runserver comes with grip_consumers."
STATIC_FILES = "django.contrib.staticfiles"

_CHANNELS = {OLD, f"{OLD}.apps.ChannelsConfig"}
_DAPHNE = {"daphne", "daphne.apps.DaphneConfig"}
_OURS = {NEW, f"{NEW}.apps.GripConsumersConfig", f"{NEW}.apps.ChannelsConfig"}
_APPS_NAME = re.compile(r"(^|_)APPS$")
_SETTINGS_NAMES = {"INSTALLED_APPS", "ROOT_URLCONF", "SECRET_KEY", "DATABASES", "ASGI_APPLICATION", "CHANNEL_LAYERS"}
#: Layers written for Channels, by the dotted paths of their classes.
_OTHER_LAYER = re.compile(rf"^({OLD}\.layers\.InMemoryChannelLayer|{OLD}_\w+\.[\w.]+|asgi_\w+\.[\w.]+)$")
#: The arguments of GripChannelLayer.
_OPTIONS = {"expiry", "capacity", "channel_capacity"}
_TEST_PATH = re.compile(r"(^|_)(tests?|testing|conftest)(_|$)")

Sequence = cst.List | cst.Tuple | cst.Set


def app_entries(source: Source) -> Iterator[tuple[cst.SimpleString, str]]:
    """Every entry of an app list that is about Channels, with the app: "channels", "daphne", "grip_consumers"."""
    for string in source.find(cst.SimpleString):
        app = _app(text_of(string))
        if app and (_app_list(source, string) is not None or _app_call(source, string) is not None):
            yield string, app


def layer_aliases(source: Source) -> Iterator[str]:
    """The aliases of channel layers that classes of this file name as theirs."""
    for statement in source.find(cst.Assign):
        if any(dotted_name(target.target) == "channel_layer_alias" for target in statement.targets):
            alias = text_of(statement.value)
            if alias:
                yield alias


def plan(source: Source, *, keep_daphne_place: bool, uses_channels: bool, aliases: frozenset[str]) -> None:
    """Plan the changes.

    Args:
        source: the file.
        keep_daphne_place: whether "daphne" is all that the project has of Channels in its apps, so that this package
            takes its place.
        uses_channels: whether the project has consumers at all: else MIDDLEWARE stays as it is.
        aliases: of the layers that consumers use.
    """
    _plan_apps(source, keep_daphne_place)
    if uses_channels and _is_settings(source):
        for statement in _assignments(source):
            if "MIDDLEWARE" in _targets(statement):
                _plan_middleware(source, statement)
    for value in _layer_settings(source):
        _plan_layers(source, value, aliases)


def _is_test(source: Source) -> bool:
    """Whether a file is for tests only, by its path."""
    parts = PurePosixPath(source.path).with_suffix("").parts
    return any(_TEST_PATH.search(part.lower()) for part in parts)


# INSTALLED_APPS


def _app(text: str | None) -> str:
    for name, paths in ((OLD, _CHANNELS), ("daphne", _DAPHNE), (NEW, _OURS)):
        if text in paths:
            return name
    return ""


def _app_list(source: Source, string: cst.CSTNode) -> Sequence | None:
    """The list of apps that a string is an element of."""
    element = source.parent(string)
    container = source.parent(element) if isinstance(element, cst.Element) else None
    if not isinstance(container, cst.List | cst.Tuple | cst.Set):
        return None
    named = _name_of(source, container)
    if named is None:
        return None
    siblings = [text_of(other.value) or "" for other in container.elements]
    apps = _APPS_NAME.search(named) or any(text.startswith("django.contrib.") for text in siblings)
    return container if apps else None


def _name_of(source: Source, node: cst.CSTNode) -> str | None:
    """The upper-case name to which the value goes that a node is part of; "" if it has another; None for none."""
    for above, below in source.ancestors(node):
        if isinstance(above, cst.Assign | cst.AnnAssign | cst.AugAssign):
            return next((name for name in _targets(above) if name.isupper()), "")
        if isinstance(above, cst.Arg) and above.keyword is not None and above.keyword.value.isupper():
            return above.keyword.value
        if isinstance(above, cst.DictElement) and below is above.value:
            key = text_of(above.key)
            if key is not None and key.isupper():
                return key
        if isinstance(above, cst.Call) and _APPS_NAME.search(_owner(above)):
            return _owner(above).rpartition(".")[2]
        if isinstance(above, cst.BaseStatement | cst.BaseSmallStatement):
            return None
    return None


def _assignments(source: Source) -> Iterator[cst.Assign | cst.AnnAssign]:
    yield from source.find(cst.Assign)
    yield from source.find(cst.AnnAssign)


def _targets(statement: cst.Assign | cst.AnnAssign | cst.AugAssign) -> list[str]:
    if isinstance(statement, cst.Assign):
        targets: list[cst.BaseExpression] = [target.target for target in statement.targets]
    else:
        targets = [statement.target]
    return [dotted_name(target).rpartition(".")[2] for target in targets]


def _owner(call: cst.Call) -> str:
    """The "INSTALLED_APPS" of ``INSTALLED_APPS.append(…)``"""
    func = call.func
    changing = isinstance(func, cst.Attribute) and func.attr.value in {"append", "insert", "extend", "remove"}
    return dotted_name(func.value) if changing and isinstance(func, cst.Attribute) else ""


def _app_call(source: Source, string: cst.CSTNode) -> cst.Call | None:
    """The ``INSTALLED_APPS.append("channels")`` or ``.insert(0, …)`` that a string is the argument of."""
    arg = source.parent(string)
    call = source.parent(arg) if isinstance(arg, cst.Arg) else None
    return call if isinstance(call, cst.Call) and _APPS_NAME.search(_owner(call)) else None


def _plan_apps(source: Source, keep_daphne_place: bool) -> None:
    in_lists: dict[Sequence, list[cst.SimpleString]] = defaultdict(list)
    for string, app in app_entries(source):
        container = _app_list(source, string)
        if container is not None:
            in_lists[container].append(string)
        elif app == OLD or (app == "daphne" and keep_daphne_place):
            source.change(string, lambda node: elements.quoted_like(NEW, node))
        elif app == "daphne":
            _plan_taking_out(source, string)
    for container, strings in in_lists.items():
        _plan_app_list(source, container, strings, keep_daphne_place)


def _plan_taking_out(source: Source, string: cst.SimpleString) -> None:
    call = _app_call(source, string)
    statement = source.parent(call) if call is not None else None
    if isinstance(statement, cst.Expr):
        source.change(statement, lambda node: None)
    source.note(string, "daphne", DAPHNE_GOES)


def _plan_app_list(
    source: Source, container: Sequence, strings: list[cst.SimpleString], keep_daphne_place: bool
) -> None:
    values = [element.value for element in container.elements]
    found = {values.index(string): _app(text_of(string)) for string in strings}
    if set(found.values()) == {NEW}:
        return
    has_ours = bool({OLD, NEW} & set(found.values())) or keep_daphne_place
    place = _place(values, found) if has_ours else -1
    gone = set(found) - {place}
    for index in sorted(found):
        if found[index] == "daphne":
            source.note(values[index], "daphne", DAPHNE_GOES)
    source.change(container, lambda node: _changed_apps(node, place, gone))


def _place(values: list[cst.BaseExpression], found: dict[int, str]) -> int:
    """Which entry becomes this package's: its own, or else the first."""
    ours = [index for index, app in found.items() if app == NEW]
    return min(ours or found)


def _changed_apps(container: Sequence, place: int, gone: set[int]) -> Sequence:
    texts = [text_of(element.value) for element in container.elements]
    static = texts.index(STATIC_FILES) if STATIC_FILES in texts else -1
    behind = 0 <= static < place
    if place >= 0:
        name = elements.quoted_like(NEW, container.elements[place].value)
        if behind:
            gone = gone | {place}
            return elements.insert(elements.remove(container, gone), static - _before(gone, static), cst.Element(name))
        container = container.with_deep_changes(container.elements[place], value=name)
    return elements.remove(container, gone) if gone else container


def _before(indexes: set[int], index: int) -> int:
    return sum(other < index for other in indexes)


# MIDDLEWARE


def _is_settings(source: Source) -> bool:
    if "settings" in source.path.lower():
        return True
    return any(_SETTINGS_NAMES & set(_targets(node)) for node in _assignments(source))


def _plan_middleware(source: Source, statement: cst.Assign | cst.AnnAssign) -> None:
    value = statement.value
    if value is None or _mentions_itself(value):
        return
    while isinstance(value, cst.BinaryOperation):
        value = value.left
    advice = f'`"{MIDDLEWARE}"` has to be the first entry of MIDDLEWARE: '
    if not isinstance(value, cst.List | cst.Tuple):
        source.note(statement, "by-hand", f"{advice}this is no list that could be changed.")
        return
    texts = [text_of(element.value) for element in value.elements]
    if MIDDLEWARE not in texts:
        example = value.elements[0].value if value.elements else None
        new = cst.Element(elements.quoted_like(MIDDLEWARE, example))
        source.change(value, lambda node: elements.insert(node, 0, new))
    elif texts[0] != MIDDLEWARE:
        source.note(value.elements[texts.index(MIDDLEWARE)], "by-hand", f"{advice}it stands further down.")


def _mentions_itself(value: cst.CSTNode) -> bool:
    return any(isinstance(node, cst.Name) and node.value == "MIDDLEWARE" for node in find_all(value))


# CHANNEL_LAYERS


def _layer_settings(source: Source) -> Iterator[cst.BaseExpression]:
    """Every value that is given to CHANNEL_LAYERS as a whole."""
    for statement in _assignments(source):
        if "CHANNEL_LAYERS" in _targets(statement) and statement.value is not None:
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


def _by_hand(what: str) -> str:
    return f'This is no dictionary that could be changed: the BACKEND of {what} has to be "{LAYER}".'


def _plan_layer(source: Source, layer: cst.Dict) -> None:
    entries = _entries(layer)
    backend = entries.get("BACKEND")
    path = text_of(backend.value) if backend is not None else None
    if path == LAYER or backend is None:
        return
    if _is_test(source) and path is not None and path.endswith(".layers.InMemoryChannelLayer"):
        return  # `strings` moves it: tests want a layer of the process
    if path is None or not _OTHER_LAYER.match(path):
        if path != f"{NEW}.layers.InMemoryChannelLayer" and path != f"{NEW}.layers.DualChannelLayer":
            source.note(backend, "by-hand", f'The layer that consumers use has to be "{LAYER}", or to send to one.')
        return
    source.change(backend.value, lambda node: elements.quoted_like(LAYER, node))
    gone = set()
    for name in ("CONFIG", "TEST_CONFIG"):
        if name in entries and _plan_config(source, entries[name]):
            gone.add(layer.elements.index(entries[name]))
    if gone:
        source.change(layer, lambda node: elements.remove(node, gone))


def _entries(dictionary: cst.Dict) -> dict[str, cst.DictElement]:
    pairs = [element for element in dictionary.elements if isinstance(element, cst.DictElement)]
    return {text_of(pair.key) or "": pair for pair in pairs}


def _plan_config(source: Source, entry: cst.DictElement) -> bool:
    """Take out of a CONFIG what GripChannelLayer does not know; whether nothing is left of it."""
    config = entry.value
    takes = f"GripChannelLayer takes {', '.join(sorted(_OPTIONS))} only"
    plain = isinstance(config, cst.Dict) and all(
        isinstance(element, cst.DictElement) and text_of(element.key) for element in config.elements
    )
    if not plain:
        source.note(entry, "by-hand", f"{takes}; take the rest out of this CONFIG.")
        return False
    assert isinstance(config, cst.Dict)
    keys = [text_of(cst.ensure_type(element, cst.DictElement).key) or "" for element in config.elements]
    gone = {index for index, key in enumerate(keys) if key not in _OPTIONS}
    for index in sorted(gone):
        source.note(config.elements[index], "layer-option", _dropped(keys[index], takes))
    if len(gone) == len(keys):
        return True
    if gone:
        source.change(config, lambda node: elements.remove(node, gone))
    return False


def _dropped(key: str, takes: str) -> str:
    advice = {
        "hosts": "What waits for a connection is kept in a cache that all workers share (CACHES, GRIP_MAILBOX).",
        "prefix": "GRIP_PREFIX keeps projects apart that share a proxy.",
    }
    return f"`{key}` is dropped: {takes}. {advice.get(key, '')}".rstrip()
