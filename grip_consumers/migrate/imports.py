"""Import statements of Channels, and the names that they bind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

import libcst as cst
from libcst.metadata import Assignment, ClassScope, Scope

from . import libraries
from .names import FORMER, NEW, OLD, counterpart, has_name, is_module
from .source import Source, dotted_name, text_of

__all__ = ["binds_package", "plan", "uses_package"]

_VERSION = f"`__version__` of {NEW} is its own, not that of Channels: take out what depends on it."


def uses_package(source: Source) -> bool:
    """Whether a file imports Channels, or this package already."""
    return any(module.split(".")[0] in {OLD, NEW} for _, module in _imported(source))


def binds_package(source: Source) -> bool:
    """Whether a file has the name `channels` by an import of Channels."""
    return any(_binds(alias) for statement in source.find(cst.Import) for alias in statement.names)


def plan(
    source: Source, *, local: frozenset[str] = frozenset(), as_channels: bool = False, shared: bool = False
) -> None:
    """Plan the change of every import of Channels, and of the uses of the name `channels` that it binds.

    Args:
        source: the file.
        local: top-level packages of the project's own, which are nobody's library.
        as_channels: whether the project gives this package to libraries that import `channels`.
        shared: whether other files reach the name `channels` of this one.
    """
    for statement in source.find(cst.ImportFrom):
        _plan_from(source, statement)
    for plain in source.find(cst.Import):
        for alias in plain.names:
            if alias.asname is not None and _movable(source, alias):
                source.change(alias.name, _rename_root)
    _plan_bound(source, shared=shared)
    _note_versions(source)
    for node, module in _imported(source):
        libraries.plan(source, node, module, local=local, as_channels=as_channels)


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
            source.note(alias, "no-counterpart", _VERSION)
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


def _rename_root(node: cst.Name | cst.Attribute) -> cst.Name | cst.Attribute:
    if isinstance(node, cst.Attribute):
        assert isinstance(node.value, cst.Name | cst.Attribute)
        return node.with_changes(value=_rename_root(node.value))
    return node.with_changes(value=NEW)


def _plan_bound(source: Source, *, shared: bool) -> None:
    """``import channels`` and ``import channels.layers`` bind `channels`: its uses change with it.

    Where something else binds that name in the same scope (``except ImportError: channels = None``), it stays.
    """
    if not binds_package(source):
        return
    done: set[cst.CSTNode] = set()
    renamed: set[Scope] = set()
    shared = shared or _declared_elsewhere(source)
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
            renamed.add(scope)
    for scope in source.scopes() if renamed else ():
        _rename_uses(source, scope, renamed)


def _note_versions(source: Source) -> None:
    """``channels.__version__``, by whatever name the package was imported."""
    names = {
        alias.evaluated_alias or OLD
        for statement in source.find(cst.Import)
        for alias in statement.names
        if dotted_name(alias.name) == OLD or _binds(alias)
    }
    for attribute in source.find(cst.Attribute):
        if attribute.attr.value == "__version__" and dotted_name(attribute.value) in names:
            source.note(attribute, "no-counterpart", _VERSION)


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
    """Whether `channels` is declared global, deleted or exported, so that others may know it by that name.

    Or bound in ways whose scope the tree does not tell: by ``:=`` in a comprehension, or in a pattern.
    """
    declared = any(item.name.value == OLD for item in source.find(cst.NameItem))
    deleted = any(OLD in (dotted_name(part) for part in _deleted(node)) for node in source.find(cst.Del))
    exported = any(
        text_of(element.value) == OLD
        for statement in source.find(cst.Assign)
        if any(dotted_name(target.target) == "__all__" for target in statement.targets)
        if isinstance(statement.value, cst.List | cst.Tuple)
        for element in statement.value.elements
    )
    walrus = any(dotted_name(node.target) == OLD for node in source.find(cst.NamedExpr))
    captures = [
        *(node.name for node in source.find(cst.MatchAs)),
        *(node.name for node in source.find(cst.MatchStar)),
        *(node.rest for node in source.find(cst.MatchMapping)),
    ]
    return declared or deleted or exported or walrus or any(dotted_name(name) == OLD for name in captures)


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


def _rename_uses(source: Source, scope: Scope, renamed: set[Scope]) -> None:
    """Rename what a scope reads of `channels`, if that is bound where it was renamed."""
    for access in scope.accesses:
        node: cst.CSTNode = access.node
        while isinstance(node, cst.Attribute | cst.Call):
            node = node.value if isinstance(node, cst.Attribute) else node.func
        if source.is_changed(node):
            continue
        if isinstance(node, cst.Name):
            if node.value == OLD and _binder(source, scope, node) in renamed:
                source.change(node, lambda name: name.with_changes(value=NEW))
        elif isinstance(node, cst.SimpleString) and _binder(source, scope, node) in renamed:
            source.change(node, _rename_in_annotation)


def _binder(source: Source, scope: Scope, node: cst.CSTNode) -> Scope | None:
    """The scope whose `channels` is read by a node in this one, as Python finds it."""
    current = scope
    while True:
        if _is_bound(source, current, node, own=current is scope):
            return current
        if current is current.parent:  # the built-in names
            return None
        current = current.parent


def _is_bound(source: Source, scope: Scope, node: cst.CSTNode, *, own: bool) -> bool:
    assignments = [item.node for item in scope.assignments[OLD] if isinstance(item, Assignment)]
    if not isinstance(scope, ClassScope):
        return bool(assignments)
    # The body of a class is no scope of its methods, and until it binds a name it reads the name around it.
    if not own or not assignments:
        return False
    first = min(assignments, key=source.line)
    return source.line(first) <= source.line(node) and _statement(source, first) is not _statement(source, node)


def _statement(source: Source, node: cst.CSTNode) -> cst.CSTNode:
    small = (above for above, _ in source.ancestors(node) if isinstance(above, cst.BaseSmallStatement))
    return next(small, node)


def _rename_in_annotation(node: cst.SimpleString) -> cst.SimpleString:
    return node.with_changes(value=re.sub(rf"(?<![\w.]){OLD}(?=\.)", NEW, node.value))
