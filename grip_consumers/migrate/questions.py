"""What asks for an app: ``"channels" in INSTALLED_APPS``, and of each app in ``for app in INSTALLED_APPS``."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from .assigned import is_part
from .source import Source, dotted_name

__all__ = ["is_asked"]


def is_asked(source: Source, string: cst.SimpleString, parts: frozenset[str]) -> bool:
    """Whether a string is compared with the apps of the project, alone or in a list of several.

    Args:
        source: the file.
        string: in it.
        parts: the names of what INSTALLED_APPS is put together from.
    """
    comparison = _comparison(source, string)
    if comparison is None:
        return False
    operands = [comparison.left, *(item.comparator for item in comparison.comparisons)]
    names = {dotted_name(operand) for operand in operands} - {""}
    if any(_is_apps(name, parts) for name in names):
        return True
    loops = _loops(source, comparison)
    return any(dotted_name(loop.target) in names and _is_apps(dotted_name(loop.iter), parts) for loop in loops)


def _comparison(source: Source, string: cst.SimpleString) -> cst.Comparison | None:
    above = source.parent(string)
    if isinstance(above, cst.Element):
        above = source.parent(source.parent(above) or above)
    if isinstance(above, cst.ComparisonTarget):
        above = source.parent(above)
    return above if isinstance(above, cst.Comparison) else None


def _is_apps(name: str, parts: frozenset[str]) -> bool:
    last = name.rpartition(".")[2]
    return last.isupper() and is_part(last, parts)


def _loops(source: Source, node: cst.CSTNode) -> Iterator[cst.CompFor | cst.For]:
    for above, _ in source.ancestors(node):
        if isinstance(above, cst.For):
            yield above
        elif isinstance(above, cst.BaseSimpleComp | cst.DictComp):
            yield above.for_in
