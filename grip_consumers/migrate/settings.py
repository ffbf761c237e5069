"""What changes in settings, wherever a file has them: INSTALLED_APPS, CHANNEL_LAYERS, and here MIDDLEWARE.

Known by the names that things are assigned to, in a module, a class (django-configurations) or a call such as
``settings.configure()`` and ``override_settings()``.
"""

from __future__ import annotations

import libcst as cst

from . import apps, elements, layers
from .assigned import assignments, targets
from .names import NEW
from .source import Source, dotted_name, find_all, text_of

__all__ = ["plan"]

MIDDLEWARE = f"{NEW}.GripMiddleware"
_ADVICE = f'`"{MIDDLEWARE}"` has to be the first entry of MIDDLEWARE: '

_SETTINGS_NAMES = {"INSTALLED_APPS", "ROOT_URLCONF", "SECRET_KEY", "DATABASES", "ASGI_APPLICATION", "CHANNEL_LAYERS"}


def plan(source: Source, known: apps.Known, *, uses_channels: bool, aliases: frozenset[str]) -> None:
    """Plan the changes.

    Args:
        source: the file.
        known: of the project's apps.
        uses_channels: whether the project has consumers at all: else MIDDLEWARE stays as it is.
        aliases: of the layers that consumers use.
    """
    apps.plan(source, known)
    if uses_channels and _is_settings(source):
        for statement in assignments(source):
            if "MIDDLEWARE" in targets(statement):
                _plan_middleware(source, statement)
        for call in source.find(cst.Call):
            _note_insert(source, call)
    layers.plan(source, aliases)


def _is_settings(source: Source) -> bool:
    if "settings" in source.path.lower():
        return True
    return any(_SETTINGS_NAMES & set(targets(node)) for node in assignments(source))


def _plan_middleware(source: Source, statement: cst.Assign | cst.AnnAssign) -> None:
    value = statement.value
    if value is None:
        return
    while isinstance(value, cst.BinaryOperation):
        value = value.left
    if statement.value is not None and _mentions_itself(statement.value):
        if isinstance(value, cst.List | cst.Tuple) and _puts_before(value):
            source.note(statement, "by-hand", f"{_ADVICE}this puts others before it.")
        return
    if not isinstance(value, cst.List | cst.Tuple):
        source.note(statement, "by-hand", f"{_ADVICE}this is no list that could be changed.")
        return
    texts = [text_of(element.value) for element in value.elements]
    if MIDDLEWARE not in texts:
        example = value.elements[0].value if value.elements else None
        new = cst.Element(elements.quoted_like(MIDDLEWARE, example))
        source.change(value, lambda node: elements.insert(node, 0, new))
    elif texts[0] != MIDDLEWARE:
        source.note(value.elements[texts.index(MIDDLEWARE)], "by-hand", f"{_ADVICE}it stands further down.")


def _mentions_itself(value: cst.CSTNode) -> bool:
    return any(isinstance(node, cst.Name) and node.value == "MIDDLEWARE" for node in find_all(value))


def _puts_before(value: cst.List | cst.Tuple) -> bool:
    """Whether the first entry of a list is another middleware than ours, and not the list itself."""
    first = value.elements[0] if value.elements else None
    return first is not None and not _mentions_itself(first) and text_of(first.value) != MIDDLEWARE


def _note_insert(source: Source, call: cst.Call) -> None:
    """``MIDDLEWARE.insert(0, …)``"""
    if not dotted_name(call.func).endswith("MIDDLEWARE.insert") or len(call.args) != 2:
        return
    first = cst.Module([]).code_for_node(call.args[0].value) == "0"
    if first and text_of(call.args[1].value) != MIDDLEWARE:
        source.note(call, "by-hand", f"{_ADVICE}this puts another before it.")
