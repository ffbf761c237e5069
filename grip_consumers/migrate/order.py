"""In which order the lists of apps come together in INSTALLED_APPS, as far as one file says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import libcst as cst

from .assigned import Sequence, assignments, targets
from .source import Source, dotted_name, text_of

__all__ = ["are_together", "is_behind", "lists_of"]


def lists_of(source: Source, name: str, entries: Collection[str]) -> list[Sequence]:
    """The lists of which a setting is put together, in the order in which the first of these entries comes in each."""
    lists: dict[str, Sequence] = {}
    for statement in assignments(source):
        if isinstance(statement.value, cst.List | cst.Tuple | cst.Set):
            lists.update((target, statement.value) for target in targets(statement) if target != name)
    values = [statement.value for statement in assignments(source) if name in targets(statement)]
    return list(dict.fromkeys(part for value in values if value is not None for part in _flat(value, lists, entries)))


def _flat(value: cst.BaseExpression, lists: Mapping[str, Sequence], entries: Collection[str]) -> Iterator[Sequence]:
    if isinstance(value, cst.BinaryOperation):
        yield from _flat(value.left, lists, entries)
        yield from _flat(value.right, lists, entries)
    elif isinstance(value, cst.Call):
        for arg in value.args:
            yield from _flat(arg.value, lists, entries)
    elif isinstance(value, cst.List | cst.Tuple | cst.Set):
        for element in value.elements:
            if isinstance(element, cst.StarredElement):
                yield from _flat(element.value, lists, entries)
            elif text_of(element.value) in entries:
                yield value
    elif dotted_name(value) in lists:
        yield from _flat(lists[dotted_name(value)], {}, entries)


def are_together(source: Source, one: Sequence, other: Sequence) -> bool:
    """Whether two lists stand in one module or class, in assignments that are under no condition."""
    return _place(source, one) == _place(source, other) != (None,)


def _place(source: Source, container: Sequence) -> tuple[cst.CSTNode | None, ...]:
    classes: list[cst.CSTNode | None] = [source.tree]
    for above, _ in source.ancestors(container):
        if isinstance(above, cst.If | cst.Try | cst.FunctionDef | cst.IfExp | cst.AugAssign):
            return (None,)
        if isinstance(above, cst.ClassDef):
            classes.append(above)
    return tuple(classes)


def is_behind(source: Source, container: Sequence, name: str) -> bool:
    """Whether the entries of a list may come behind those of others in INSTALLED_APPS."""
    if name != "INSTALLED_APPS":
        return True
    if any(isinstance(element, cst.StarredElement) for element in container.elements[:1]):
        return True
    for above, below in source.ancestors(container):
        if isinstance(above, cst.AugAssign):
            return True
        if isinstance(above, cst.BinaryOperation) and below is above.right:
            return True
        if isinstance(above, cst.Call) and dotted_name(above.func).endswith(".extend"):
            return True
    return False
