"""Import statements of Channels, and the names that they bind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

import libcst as cst
from libcst.metadata import Assignment, ImportAssignment, Scope

from .names import FORMER, NEW, OLD, counterpart, has_name, is_module
from .source import Source, dotted_name, text_of

__all__ = ["plan", "uses_package"]

#: Packages of layers: importing them says nothing of consumers.
_LAYERS = {"channels_postgres", "channels_rabbitmq", "channels_redis", "channels_valkey"}
#: Libraries of consumers for Channels whose names do not say so.
_LIBRARIES = {"strawberry.channels", "turbo", "django_private_chat2", "notifs"}


def uses_package(source: Source) -> bool:
    """Whether a file imports Channels, or this package already."""
    return any(module.split(".")[0] in {OLD, NEW} for _, module in _imported(source))


def plan(source: Source, *, local: frozenset[str] = frozenset(), as_channels: bool = False) -> None:
    """Plan the change of every import of Channels, and of the uses of the name `channels` that it binds.

    Args:
        source: the file.
        local: top-level packages of the project's own, which are nobody's library.
        as_channels: whether the project gives this package to libraries that import `channels`.
    """
    for statement in source.find(cst.ImportFrom):
        _plan_from(source, statement)
    for plain in source.find(cst.Import):
        for alias in plain.names:
            if alias.asname is not None and _movable(source, alias):
                source.change(alias.name, _rename_root)
    _plan_bound(source)
    for node, module in _imported(source):
        _note_library(source, node, module, local, as_channels)


def _imported(source: Source) -> Iterator[tuple[cst.CSTNode, str]]:
    """Each absolutely imported module with its statement."""
    for statement in source.find(cst.ImportFrom):
        if not statement.relative:
            yield statement, dotted_name(statement.module)
    for plain in source.find(cst.Import):
        for alias in plain.names:
            yield plain, dotted_name(alias.name)


def _plan_from(source: Source, statement: cst.ImportFrom) -> None:
    module = dotted_name(statement.module)
    if statement.relative or module.split(".")[0] != OLD or statement.module is None:
        return
    if not is_module(module):
        _note_unknown(source, statement, module)
        return
    source.change(statement.module, _rename_root)
    for alias in statement.names if not isinstance(statement.names, cst.ImportStar) else ():
        name = dotted_name(alias.name)
        if module == OLD and name == "__version__":
            source.note(alias, "no-counterpart", f"`__version__` of {NEW} is its own, not that of Channels.")
        elif not has_name(module, name):
            text = f"{counterpart(module)} has no `{name}`: Channels 4.3 keeps it to itself, or has none either."
            source.note(alias, "no-counterpart", text)


def _movable(source: Source, alias: cst.ImportAlias) -> bool:
    """Whether an ``import …`` names a module of Channels that is here, too."""
    module = dotted_name(alias.name)
    if module.split(".")[0] != OLD:
        return False
    if is_module(module):
        return True
    _note_unknown(source, alias, module)
    return False


def _note_unknown(source: Source, node: cst.CSTNode, module: str) -> None:
    advice = next((text for name, text in FORMER.items() if f"{module}.".startswith(f"{name}.")), "")
    source.note(node, "no-counterpart", f"Channels 4.3 has no module `{module}`: it stays. {advice}".rstrip())


def _note_library(source: Source, node: cst.CSTNode, module: str, local: frozenset[str], as_channels: bool) -> None:
    root = module.split(".")[0]
    if root == "daphne":
        text = "This is Daphne's own. Any WSGI or ASGI server behind the proxy will do; see the deployment page."
        source.note(node, "daphne", text)
    elif as_channels or root == OLD or root in local | _LAYERS:
        return
    elif OLD in root or module in _LIBRARIES or root in _LIBRARIES:
        text = (
            f"`{root}` is written for Channels and imports it. Begin your settings with "
            f"`import {NEW}.as_channels`, which gives it this package instead."
        )
        source.note(node, "third-party", text)


def _rename_root(node: cst.Name | cst.Attribute) -> cst.Name | cst.Attribute:
    if isinstance(node, cst.Attribute):
        assert isinstance(node.value, cst.Name | cst.Attribute)
        return node.with_changes(value=_rename_root(node.value))
    return node.with_changes(value=NEW)


def _plan_bound(source: Source) -> None:
    """``import channels`` and ``import channels.layers`` bind `channels`: its uses change with it.

    Where something else binds that name in the same scope (``except ImportError: channels = None``), it stays.
    """
    if not any(_binds(alias) for statement in source.find(cst.Import) for alias in statement.names):
        return
    done: set[cst.CSTNode] = set()
    shared = _declared_elsewhere(source)
    for scope in source.scopes():
        statements, others = _bindings(scope)
        statements = [statement for statement in statements if statement not in done]
        done.update(statements)
        aliases = [alias for statement in statements for alias in statement.names if _binds(alias)]
        movable = [alias for alias in aliases if _movable(source, alias)]
        if others or shared or len(movable) < len(aliases):
            _keep_name(source, statements, movable)
        elif movable:
            for alias in movable:
                source.change(alias.name, _rename_root)
            _rename_uses(source, scope)


def _binds(alias: cst.ImportAlias) -> bool:
    return alias.asname is None and dotted_name(alias.name).split(".")[0] == OLD


def _bindings(scope: Scope) -> tuple[list[cst.Import], bool]:
    """The import statements by which a scope has the name `channels`, and whether something else gives it, too."""
    statements: list[cst.Import] = []
    others = False
    for assignment in scope.assignments[OLD]:
        node = assignment.node if isinstance(assignment, Assignment) else None
        if isinstance(node, cst.Import) and any(_binds(alias) for alias in node.names):
            statements.append(node)
        else:
            others = True
    return list(dict.fromkeys(statements)), others


def _declared_elsewhere(source: Source) -> bool:
    """Whether `channels` is declared global, deleted or exported, so that others may know it by that name."""
    declared = any(item.name.value == OLD for item in source.find(cst.NameItem))
    deleted = any(OLD in (dotted_name(part) for part in _deleted(node)) for node in source.find(cst.Del))
    exported = any(
        text_of(element.value) == OLD
        for statement in source.find(cst.Assign)
        if any(dotted_name(target.target) == "__all__" for target in statement.targets)
        if isinstance(statement.value, cst.List | cst.Tuple)
        for element in statement.value.elements
    )
    return declared or deleted or exported


def _deleted(node: cst.Del) -> Sequence[cst.BaseExpression]:
    target = node.target
    return [element.value for element in target.elements] if isinstance(target, cst.Tuple) else [target]


def _keep_name(source: Source, statements: list[cst.Import], movable: list[cst.ImportAlias]) -> None:
    for statement in statements:
        if any(alias in movable for alias in statement.names):
            indexes = {index for index, alias in enumerate(statement.names) if alias in movable}
            source.change(statement, partial(_with_name, indexes=indexes))


def _with_name(statement: cst.Import, indexes: set[int]) -> cst.Import:
    """``import channels.layers`` → ``import grip_consumers.layers, grip_consumers as channels``"""
    names: list[cst.ImportAlias] = []
    for index, alias in enumerate(statement.names):
        if index not in indexes:
            names.append(alias)
            continue
        if isinstance(alias.name, cst.Attribute):
            names.append(cst.ImportAlias(_rename_root(alias.name)))
        names.append(cst.ImportAlias(cst.Name(NEW), cst.AsName(cst.Name(OLD))))
    with_commas = [alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in names]
    return statement.with_changes(names=with_commas)


def _rename_uses(source: Source, scope: Scope) -> None:
    for assignment in scope.assignments:
        if not isinstance(assignment, ImportAssignment) or assignment.name.split(".")[0] != OLD:
            continue
        for access in assignment.references:
            node: cst.CSTNode = access.node
            while isinstance(node, cst.Attribute):
                node = node.value
            if isinstance(node, cst.Name) and not source.is_changed(node):
                source.change(node, lambda name: name.with_changes(value=NEW))
            elif isinstance(node, cst.SimpleString) and not source.is_changed(node):
                source.change(node, _rename_in_annotation)


def _rename_in_annotation(node: cst.SimpleString) -> cst.SimpleString:
    return node.with_changes(value=re.sub(rf"(?<![\w.]){OLD}(?=\.)", NEW, node.value))
