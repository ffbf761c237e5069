"""INSTALLED_APPS and the lists of which it is made: `channels` and `daphne` become this package."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import libcst as cst

from . import elements, order, questions
from .assigned import Sequence, assignments, is_part, targets
from .names import NEW, OLD
from .source import Source, dotted_name, find_all, text_of

__all__ = ["Known", "app_entries", "gather", "plan"]

STATIC_FILES = "django.contrib.staticfiles"
DAPHNE_GOES = "`daphne` leaves the apps: runserver comes with grip_consumers."
_DAPHNE_MISSED = "`daphne` is no app any more: this has to ask for `grip_consumers`, or to go."
_BEHIND = f"`{NEW}` has to come before `{STATIC_FILES}`, which has a runserver of its own: put it there."

_CHANNELS = {OLD, f"{OLD}.apps.ChannelsConfig"}
_DAPHNE = {"daphne", "daphne.apps.DaphneConfig"}
_OURS = {NEW, f"{NEW}.apps.GripConsumersConfig", f"{NEW}.apps.ChannelsConfig"}

_APPS_NAME = re.compile(r"(^|_)APPS$")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
#: Apps that go by a plain name, so that a list of them is one of apps.
_WELL_KNOWN = {
    "allauth",
    "corsheaders",
    "crispy_forms",
    "debug_toolbar",
    "django_celery_beat",
    "django_extensions",
    "django_filters",
    "drf_spectacular",
    "guardian",
    "rest_framework",
    "storages",
    "strawberry_django",
    "whitenoise",
    NEW,
}


@dataclass(frozen=True)
class Known:
    """What several files have to know of each other's apps.

    has_app     "channels" or "grip_consumers" is among them: "daphne" need not become it
    parts       the names of what INSTALLED_APPS is put together from
    is_apart    "django.contrib.staticfiles" is in none of the lists that hold this package's entry
    """

    has_app: bool = False
    parts: frozenset[str] = frozenset()
    is_apart: bool = False


def gather(sources: Collection[Source]) -> Known:
    """Look through all files of a project."""
    parts = frozenset(name for source in sources for name in _parts(source))
    found = [(source, string, app) for source in sources for string, app in app_entries(source, parts)]
    has_app = any(app != "daphne" for _, _, app in found)
    lists = [
        (source.parent(element), element)
        for source in sources
        for element in source.find(cst.Element)
        if text_of(element.value) == STATIC_FILES
    ]
    ours = {
        source.parent(source.parent(string) or string)
        for source, string, app in found
        if app != "daphne" or not has_app
    }
    return Known(has_app, parts, bool(lists) and not any(container in ours for container, _ in lists))


def _parts(source: Source) -> Iterator[str]:
    """The names that a file makes INSTALLED_APPS of."""
    names = {"INSTALLED_APPS"}
    values = [(set(targets(item)), item.value) for item in (*assignments(source), *source.find(cst.AugAssign))]
    for arg in source.find(cst.Arg):
        if arg.keyword is not None and arg.keyword.value.isupper():
            values.append(({arg.keyword.value}, arg.value))
    for call in source.find(cst.Call):
        values += [({_owner(call).rpartition(".")[2]}, arg.value) for arg in call.args if _owner(call)]
    before = 0
    while before < len(names):
        before = len(names)
        for given, value in values:
            if given & names and value is not None:
                names.update(node.value for node in find_all(value) if isinstance(node, cst.Name))
    # Names in lower case are any file's own.
    yield from (name for name in names if name.isupper())


def app_entries(source: Source, parts: frozenset[str]) -> Iterator[tuple[cst.SimpleString, str]]:
    """Every entry of an app list that is about Channels, with the app: "channels", "daphne", "grip_consumers".

    Args:
        source: the file.
        parts: see `Known`.
    """
    for string in source.find(cst.SimpleString):
        app = _app(text_of(string))
        if app and (_app_list(source, string, parts) is not None or _app_call(source, string, parts) is not None):
            yield string, app


def plan(source: Source, known: Known) -> None:
    """Plan the change of each entry, and of what asks for one."""
    in_lists: dict[Sequence, list[cst.SimpleString]] = defaultdict(list)
    for string, app in app_entries(source, known.parts):
        container = _app_list(source, string, known.parts)
        if container is not None:
            in_lists[container].append(string)
        elif app == OLD or (app == "daphne" and not known.has_app):
            source.change(string, lambda node: elements.quoted_like(NEW, node))
        elif app == "daphne":
            _plan_taking_out(source, string)
        if container is None:
            _note_place(source, string, app, known)
    home = _home(source, known, in_lists)
    if home is not None:
        in_lists.setdefault(home, [])
    for container, strings in in_lists.items():
        _plan_app_list(source, container, strings, known, home)
    for string in source.find(cst.SimpleString):
        app = _app(text_of(string))
        if app in {OLD, "daphne"} and not source.is_changed(string) and questions.is_asked(source, string, known.parts):
            _plan_asked(source, string, known)


def _app(text: str | None) -> str:
    for name, paths in ((OLD, _CHANNELS), ("daphne", _DAPHNE), (NEW, _OURS)):
        if text in paths:
            return name
    return ""


def _app_list(source: Source, string: cst.CSTNode, parts: frozenset[str]) -> Sequence | None:
    """The list of apps that a string is an element of."""
    element = source.parent(string)
    container = source.parent(element) if isinstance(element, cst.Element) else None
    if not isinstance(container, cst.List | cst.Tuple | cst.Set):
        return None
    named = _name_of(source, container)
    if named is None:
        return None
    if is_part(named, parts):
        return container
    texts = [text_of(other.value) or "" for other in container.elements]
    if any(text.startswith("django.contrib.") for text in texts):
        return container
    # Other things are called apps, too: SLACK_APPS = ["channels", "files"].
    apps = any(_DOTTED.fullmatch(text) or text in _WELL_KNOWN for text in texts)
    return container if apps and _APPS_NAME.search(named) else None


def _name_of(source: Source, node: cst.CSTNode) -> str | None:
    """The name to which the value goes that a node is part of, an upper-case one if there is one; None for none."""
    for above, below in source.ancestors(node):
        if isinstance(above, cst.Assign | cst.AnnAssign | cst.AugAssign):
            names = targets(above)
            return next((name for name in names if name.isupper()), names[0])
        if isinstance(above, cst.Arg) and above.keyword is not None and above.keyword.value.isupper():
            return above.keyword.value
        if isinstance(above, cst.DictElement) and below is above.value:
            key = text_of(above.key)
            if key is not None and key.isupper():
                return key
        if isinstance(above, cst.Call) and _APPS_NAME.search(_owner(above)):
            return _owner(above).rpartition(".")[2]
        if isinstance(above, cst.Comparison | cst.BaseStatement | cst.BaseSmallStatement):
            return None
    return None


def _owner(call: cst.Call) -> str:
    """The "INSTALLED_APPS" of ``INSTALLED_APPS.append(…)``"""
    func = call.func
    methods = {"append", "insert", "extend", "remove", "index"}
    return dotted_name(func.value) if isinstance(func, cst.Attribute) and func.attr.value in methods else ""


def _app_call(source: Source, string: cst.CSTNode, parts: frozenset[str]) -> cst.Call | None:
    """The ``INSTALLED_APPS.append("channels")`` or ``.insert(0, …)`` that a string is the argument of."""
    arg = source.parent(string)
    call = source.parent(arg) if isinstance(arg, cst.Arg) else None
    if not isinstance(call, cst.Call):
        return None
    return call if _owner(call) and is_part(_owner(call).rpartition(".")[2], parts) else None


def _is_call(source: Source, string: cst.CSTNode, *methods: str) -> bool:
    call = source.parent(source.parent(string) or string)
    return isinstance(call, cst.Call) and dotted_name(call.func).rpartition(".")[2] in methods


def _note_place(source: Source, string: cst.SimpleString, app: str, known: Known) -> None:
    """``INSTALLED_APPS.append("channels")`` behind what has a runserver of its own."""
    if known.is_apart and app != "daphne" and _is_call(source, string, "append"):
        source.note(string, "by-hand", _BEHIND)


def _plan_taking_out(source: Source, string: cst.SimpleString) -> None:
    call = source.parent(source.parent(string) or string)
    statement = source.parent(call) if call is not None else None
    if isinstance(statement, cst.Expr):
        source.change(statement, lambda node: None)
        source.note(string, "daphne", DAPHNE_GOES)
    else:
        source.note(string, "by-hand", _DAPHNE_MISSED)


# Lists


def _home(source: Source, known: Known, in_lists: dict[Sequence, list[cst.SimpleString]]) -> Sequence | None:
    """The list with "django.contrib.staticfiles" into which the entry of another list has to move; or None.

    Only where both are written in one place, and INSTALLED_APPS says which comes first; the rest is noted.
    """
    if not known.is_apart:
        return None
    others = [
        container
        for container, strings in in_lists.items()
        if any(_app(text_of(string)) != "daphne" for string in strings)
    ]
    lists = order.lists_of(source, "INSTALLED_APPS", _CHANNELS | _OURS | {STATIC_FILES})
    static = [part for part in lists if any(text_of(element.value) == STATIC_FILES for element in part.elements)]
    for other in others:
        if other in lists and static:
            if lists.index(other) < lists.index(static[0]):
                continue
            if len(others) == 1 and order.are_together(source, other, static[0]):
                return static[0]
        if order.is_behind(source, other, _name_of(source, other) or ""):
            source.note(in_lists[other][0], "by-hand", _BEHIND)
    return None


def _plan_app_list(
    source: Source, container: Sequence, strings: list[cst.SimpleString], known: Known, home: Sequence | None
) -> None:
    values = [element.value for element in container.elements]
    found = {values.index(string): _app(text_of(string)) for string in strings}
    leaves = home is not None and container is not home
    if set(found.values()) == {NEW} and not leaves:
        return
    ours = bool({OLD, NEW} & set(found.values())) or not known.has_app
    place = _place(values, found) if container is home or (ours and not leaves) else -1
    gone = set(found) - {place}
    for index in sorted(found):
        if found[index] == "daphne":
            source.note(values[index], "daphne", DAPHNE_GOES)
    source.change(container, lambda node: _changed_apps(node, place, gone))


def _place(values: list[cst.BaseExpression], found: dict[int, str]) -> int:
    """Which entry becomes this package's: its own, or else the first; without one, a place that is no entry's."""
    ours = [index for index, app in found.items() if app == NEW]
    return min(ours or found or [len(values)])


def _changed_apps(container: Sequence, place: int, gone: set[int]) -> Sequence:
    texts = [text_of(element.value) for element in container.elements]
    static = texts.index(STATIC_FILES) if STATIC_FILES in texts else -1
    if 0 <= static < place:
        example = container.elements[min(place, len(texts) - 1)].value
        gone = gone | {place} if place < len(texts) else gone
        container = elements.remove(container, gone) if gone else container
        new = cst.Element(elements.quoted_like(NEW, example))
        return elements.insert(container, static - sum(other < static for other in gone), new)
    if place >= 0:
        name = elements.quoted_like(NEW, container.elements[place].value)
        container = container.with_deep_changes(container.elements[place], value=name)
    return elements.remove(container, gone) if gone else container


def _plan_asked(source: Source, string: cst.SimpleString, known: Known) -> None:
    """``"channels" in INSTALLED_APPS``"""
    if _app(text_of(string)) == OLD or not known.has_app:
        source.change(string, lambda node: elements.quoted_like(NEW, node))
    elif not isinstance(source.parent(string), cst.Element):  # in a list of several it does no harm
        source.note(string, "by-hand", _DAPHNE_MISSED)
